#include "model/vitals.h"

#include <math.h>
#include <string.h>

#include "base/bytes.h"

enum {
	VITALS_RESET_MAX_MS = 24 * 3600 * 1000,
	VITALS_SCARCE_PART = 10, /* a limit is scarce when less than one in so many is left */
};

/* A model of which little is known is taken to be well: this much of a success is added to its results. */
static const double prior = 0.5;

static double
decay_of(const struct vitals *vitals, uint64_t now_ms)
{
	if (now_ms <= vitals->at_ms)
		return 1;
	return exp2(-(double)(now_ms - vitals->at_ms) / VITALS_HALF_LIFE_MS);
}

static void
vitals_decay(struct vitals *vitals, uint64_t now_ms)
{
	double decay = decay_of(vitals, now_ms);

	vitals->successes *= decay;
	vitals->results *= decay;
	vitals->latency_sum *= decay;
	vitals->latencies *= decay;
	if (now_ms > vitals->at_ms)
		vitals->at_ms = now_ms;
}

void
vitals_begin(struct vitals *vitals)
{
	vitals->in_flight++;
}

void
vitals_end(struct vitals *vitals)
{
	vitals->in_flight--;
}

void
vitals_result(struct vitals *vitals, bool success, uint64_t now_ms)
{
	vitals_decay(vitals, now_ms);
	vitals->results += 1;
	vitals->successes += success;
}

void
vitals_latency(struct vitals *vitals, uint64_t latency_ms, uint64_t now_ms)
{
	vitals_decay(vitals, now_ms);
	vitals->latencies += 1;
	vitals->latency_sum += (double)latency_ms;
}

/* The milliseconds of the unit at *p, which is moved past it; 0: there is none. */
static double
unit_take(const char **p)
{
	static const struct {
		const char *name;
		double ms;
	} units[] = {
	        {"ms", 1},      {"us", 1e-3},   {"ns", 1e-6},      {"s", 1000},
	        {"m", 60000.0}, {"h", 3600000}, {"d", 86400000.0},
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t n = strlen(units[i].name);

		if (strncmp(*p, units[i].name, n) == 0) {
			*p += n;
			return units[i].ms;
		}
	}
	return 0;
}

bool
vitals_reset_parse(const char *text, uint64_t *out_ms)
{
	const char *p = text;
	double total = 0, value, unit;

	while (*p) {
		size_t n = strspn(p, "0123456789.");
		bool bare = p == text && p[n] == '\0';

		if (n == 0 || !bytes_to_double((struct bytes){p, n}, &value))
			return false;
		p += n;
		unit = bare ? 1000 : unit_take(&p);
		if (!(unit > 0))
			return false;
		total += value * unit;
	}
	if (p == text || !(total <= VITALS_RESET_MAX_MS))
		return false;
	*out_ms = (uint64_t)ceil(total);
	return true;
}

void
vitals_quota_read(struct vitals_quota *quota, const char *limit, const char *remaining,
                  const char *reset, uint64_t now_ms)
{
	struct vitals_quota read = {.known = true};
	uint64_t reset_ms;

	if (!remaining || !bytes_to_u64(bytes_of(remaining), UINT64_MAX, &read.remaining))
		return;
	if (limit && !bytes_to_u64(bytes_of(limit), UINT64_MAX, &read.limit))
		read.limit = 0;
	if (reset && vitals_reset_parse(reset, &reset_ms))
		read.reset_ms = now_ms + reset_ms;
	*quota = read;
}

/* What is left of a limit: 1 as long as it is not scarce. */
static double
quota_headroom(const struct vitals_quota *quota, uint64_t now_ms)
{
	double scarce;

	/* Without a time of reset nobody knows how long it holds. */
	if (!quota->known || now_ms >= quota->reset_ms)
		return 1;
	if (quota->remaining == 0)
		return 0;
	scarce = (double)quota->limit / VITALS_SCARCE_PART;
	return (double)quota->remaining < scarce ? (double)quota->remaining / scarce : 1;
}

void
vitals_look(const struct vitals *vitals, uint64_t now_ms, struct vitals_look *look)
{
	double decay = decay_of(vitals, now_ms);

	look->success = (vitals->successes * decay + prior) / (vitals->results * decay + prior);
	look->latency_ms =
	        vitals->latencies * decay > 0.01 ? vitals->latency_sum / vitals->latencies : 0;
	look->headroom = fmin(quota_headroom(&vitals->requests, now_ms),
	                      quota_headroom(&vitals->tokens, now_ms));
	look->in_flight = vitals->in_flight;
}
