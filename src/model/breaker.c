#include "model/breaker.h"

#include <string.h>

static void
breaker_close(struct breaker *breaker)
{
	breaker->state = BREAKER_CLOSED;
	breaker->opened_in_row = 0;
	breaker->failed_in_row = 0;
	memset(breaker->slots, 0, sizeof(breaker->slots));
}

static void
breaker_open(struct breaker *breaker, uint64_t now_ms)
{
	const struct breaker_options *options = &breaker->options;
	uint64_t longest =
	        options->open_max_ms > options->open_ms ? options->open_max_ms : options->open_ms;
	uint64_t pause = options->open_ms;

	/* open_ms of 0 never reaches the longest; 32 doublings pass every 32-bit number. */
	for (unsigned i = 0; i < breaker->opened_in_row && i < 32 && pause < longest; i++)
		pause *= 2;
	breaker->state = BREAKER_OPEN;
	breaker->opened_in_row++;
	breaker->due_ms = now_ms + (pause < longest ? pause : longest);
}

static bool
rules_off(const struct breaker_options *options)
{
	return options->failures == 0 && (options->failed_part <= 0 || options->window_ms == 0);
}

void
breaker_init(struct breaker *breaker, const struct breaker_options *options)
{
	memset(breaker, 0, sizeof(*breaker));
	breaker->options = *options;
}

void
breaker_configure(struct breaker *breaker, const struct breaker_options *options)
{
	/* Ticks of another length cannot be compared with the old ones. */
	if (breaker->options.window_ms != options->window_ms)
		memset(breaker->slots, 0, sizeof(breaker->slots));
	breaker->options = *options;
	if (rules_off(options) && breaker->state != BREAKER_CLOSED)
		breaker_close(breaker);
}

enum breaker_state
breaker_state_at(const struct breaker *breaker, uint64_t now_ms)
{
	if (breaker->state == BREAKER_OPEN && now_ms >= breaker->due_ms)
		return BREAKER_HALF_OPEN;
	return breaker->state;
}

enum breaker_answer
breaker_ask(struct breaker *breaker, uint64_t now_ms)
{
	breaker->state = breaker_state_at(breaker, now_ms);
	if (breaker->state == BREAKER_CLOSED)
		return BREAKER_PASS;
	if (breaker->state == BREAKER_OPEN || breaker->probing)
		return BREAKER_REFUSED;
	breaker->probing = true;
	return BREAKER_PROBE;
}

static uint64_t
tick_at(const struct breaker *breaker, uint64_t now_ms)
{
	uint32_t length = breaker->options.window_ms / BREAKER_SLOTS;

	return now_ms / (length ? length : 1);
}

static void
counts_add(struct breaker *breaker, bool failed, uint64_t now_ms)
{
	uint64_t tick = tick_at(breaker, now_ms);
	size_t i = tick % BREAKER_SLOTS;

	breaker->failed_in_row = failed ? breaker->failed_in_row + 1 : 0;
	if (breaker->slots[i].tick != tick) {
		breaker->slots[i].tick = tick;
		breaker->slots[i].failed = breaker->slots[i].total = 0;
	}
	breaker->slots[i].failed += failed;
	breaker->slots[i].total++;
}

static bool
part_reached(const struct breaker *breaker, uint64_t now_ms)
{
	const struct breaker_options *options = &breaker->options;
	uint64_t tick = tick_at(breaker, now_ms);
	uint64_t failed = 0, total = 0;

	if (options->failed_part <= 0 || options->window_ms == 0)
		return false;
	for (size_t i = 0; i < BREAKER_SLOTS; i++) {
		if (breaker->slots[i].tick + BREAKER_SLOTS <= tick)
			continue;
		failed += breaker->slots[i].failed;
		total += breaker->slots[i].total;
	}
	/* Divided: 14/25 is exactly what 0.56 is read as, but 0.56 * 25 is more than 14. */
	return total >= options->minimum && (double)failed / (double)total >= options->failed_part;
}

static void
breaker_count(struct breaker *breaker, bool failed, uint64_t now_ms)
{
	unsigned failures = breaker->options.failures;

	counts_add(breaker, failed, now_ms);
	if ((failures && breaker->failed_in_row >= failures) || part_reached(breaker, now_ms))
		breaker_open(breaker, now_ms);
}

/* Was the probe out, and does it decide? Not when a panic's success has closed the breaker meanwhile. */
static bool
probe_ended(struct breaker *breaker, bool probe)
{
	if (probe)
		breaker->probing = false;
	return probe && breaker->state == BREAKER_HALF_OPEN;
}

void
breaker_success(struct breaker *breaker, bool probe, bool panic, uint64_t now_ms)
{
	bool decides = probe_ended(breaker, probe);

	if (breaker->state == BREAKER_CLOSED)
		breaker_count(breaker, false, now_ms);
	else if (decides || panic)
		breaker_close(breaker);
}

void
breaker_failure(struct breaker *breaker, bool probe, uint64_t now_ms)
{
	bool decides = probe_ended(breaker, probe);

	if (breaker->state == BREAKER_CLOSED)
		breaker_count(breaker, true, now_ms);
	else if (decides)
		breaker_open(breaker, now_ms);
}

void
breaker_neutral(struct breaker *breaker, bool probe)
{
	if (probe)
		breaker->probing = false;
}

const char *
breaker_state_name(enum breaker_state state)
{
	switch (state) {
	case BREAKER_CLOSED: return "closed";
	case BREAKER_OPEN: return "open";
	case BREAKER_HALF_OPEN: return "half_open";
	}
	return "";
}
