#include "model/health.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/counter.h"
#include "base/mem.h"

struct load {
	unsigned count;      /* atomic */
	unsigned references; /* atomic */
};

/* What is kept for people to read, beside what decides. */
struct history {
	struct latency latency;
	uint64_t requests, failures;
	uint64_t opened_ms; /* when the breaker last left its closed state */
	uint64_t failed_ms;
	char detail[HEALTH_DETAIL_MAX];
};

struct health {
	pthread_mutex_t lock; /* guards the breaker */
	struct breaker breaker;
	struct vitals vitals;   /* guarded too */
	struct history history; /* guarded too */
	int shown;              /* guarded too: what the gauge was told */
	bool retired;           /* guarded too */
	unsigned references;    /* atomic */
};

struct load *
load_new(void)
{
	struct load *load = mem_new(sizeof(*load));

	load->references = 1;
	return load;
}

struct load *
load_ref(struct load *load)
{
	__atomic_add_fetch(&load->references, 1, __ATOMIC_RELAXED);
	return load;
}

void
load_unref(struct load *load)
{
	if (load && __atomic_sub_fetch(&load->references, 1, __ATOMIC_ACQ_REL) == 0)
		free(load);
}

bool
load_enter(struct load *load, unsigned limit)
{
	return counter_enter(&load->count, limit);
}

void
load_leave(struct load *load)
{
	counter_leave(&load->count);
}

unsigned
load_count(const struct load *load)
{
	return __atomic_load_n(&load->count, __ATOMIC_RELAXED);
}

struct health *
health_new(const struct breaker_options *options)
{
	struct health *health = mem_new(sizeof(*health));

	pthread_mutex_init(&health->lock, NULL);
	breaker_init(&health->breaker, options);
	health->references = 1;
	return health;
}

struct health *
health_ref(struct health *health)
{
	__atomic_add_fetch(&health->references, 1, __ATOMIC_RELAXED);
	return health;
}

void
health_unref(struct health *health)
{
	if (!health || __atomic_sub_fetch(&health->references, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	pthread_mutex_destroy(&health->lock);
	free(health);
}

void
health_configure(struct health *health, const struct breaker_options *options)
{
	pthread_mutex_lock(&health->lock);
	breaker_configure(&health->breaker, options);
	pthread_mutex_unlock(&health->lock);
}

/* `panic`: the breaker is not asked. What is not refused is in flight from now on. */
static enum breaker_answer
health_ask(struct health *health, bool panic, uint64_t now_ms)
{
	enum breaker_answer answer = BREAKER_PASS;

	pthread_mutex_lock(&health->lock);
	if (!panic)
		answer = breaker_ask(&health->breaker, now_ms);
	if (answer != BREAKER_REFUSED)
		vitals_begin(&health->vitals);
	pthread_mutex_unlock(&health->lock);
	return answer;
}

enum health_answer
health_admit(struct health *health, struct load *load, unsigned limit, bool panic, uint64_t now_ms,
             struct permit *permit)
{
	enum breaker_answer answer;

	*permit = (struct permit){0};
	/* The load first: a probe that was handed out and then found no place would be lost. */
	if (!load_enter(load, limit))
		return HEALTH_BUSY;
	answer = health_ask(health, panic, now_ms);
	if (answer == BREAKER_REFUSED) {
		load_leave(load);
		return HEALTH_OPEN;
	}
	*permit = (struct permit){
	        .health = health_ref(health),
	        .load = load_ref(load),
	        .probe = answer == BREAKER_PROBE,
	        .panic = panic,
	};
	return HEALTH_ADMITTED;
}

static void
breaker_tell(struct breaker *breaker, const struct permit *permit, enum health_result result,
             uint64_t now_ms)
{
	switch (result) {
	case HEALTH_SUCCESS: breaker_success(breaker, permit->probe, permit->panic, now_ms); break;
	case HEALTH_FAILURE: breaker_failure(breaker, permit->probe, now_ms); break;
	case HEALTH_NEUTRAL: breaker_neutral(breaker, permit->probe); break;
	}
}

bool
permit_return(struct permit *permit, enum health_result result, uint64_t now_ms,
              enum breaker_state *old, enum breaker_state *state)
{
	struct health *health = permit->health;
	enum breaker_state before, after;

	if (!health)
		return false;
	pthread_mutex_lock(&health->lock);
	before = breaker_state_at(&health->breaker, now_ms);
	breaker_tell(&health->breaker, permit, result, now_ms);
	after = breaker_state_at(&health->breaker, now_ms);
	vitals_end(&health->vitals);
	if (result != HEALTH_NEUTRAL)
		vitals_result(&health->vitals, result == HEALTH_SUCCESS, now_ms);
	health->history.requests++;
	health->history.failures += result == HEALTH_FAILURE;
	if (before == BREAKER_CLOSED && after == BREAKER_OPEN)
		health->history.opened_ms = now_ms;
	pthread_mutex_unlock(&health->lock);

	load_leave(permit->load);
	load_unref(permit->load);
	health_unref(health);
	*permit = (struct permit){0};
	if (before == after)
		return false;
	*old = before;
	*state = after;
	return true;
}

enum breaker_state
health_state(struct health *health, uint64_t now_ms)
{
	enum breaker_state state;

	pthread_mutex_lock(&health->lock);
	state = breaker_state_at(&health->breaker, now_ms);
	pthread_mutex_unlock(&health->lock);
	return state;
}

bool
health_look(struct health *health, uint64_t now_ms, struct vitals_look *look)
{
	const struct breaker *breaker = &health->breaker;
	enum breaker_state state;
	bool open;

	pthread_mutex_lock(&health->lock);
	state = breaker_state_at(breaker, now_ms);
	open = state == BREAKER_OPEN || (state == BREAKER_HALF_OPEN && breaker->probing);
	vitals_look(&health->vitals, now_ms, look);
	pthread_mutex_unlock(&health->lock);
	return !open;
}

void
health_note_limits(struct health *health, const struct health_limit *requests,
                   const struct health_limit *tokens, uint64_t now_ms)
{
	pthread_mutex_lock(&health->lock);
	vitals_quota_read(&health->vitals.requests, requests->limit, requests->remaining,
	                  requests->reset, now_ms);
	vitals_quota_read(&health->vitals.tokens, tokens->limit, tokens->remaining, tokens->reset,
	                  now_ms);
	pthread_mutex_unlock(&health->lock);
}

void
health_note_first_byte(struct health *health, uint64_t took_us, uint64_t now_ms)
{
	pthread_mutex_lock(&health->lock);
	latency_note(&health->history.latency, took_us, now_ms);
	vitals_latency(&health->vitals, took_us / 1000, now_ms);
	pthread_mutex_unlock(&health->lock);
}

void
health_note_failure(struct health *health, const char *detail, uint64_t now_ms)
{
	struct history *history = &health->history;

	pthread_mutex_lock(&health->lock);
	history->failed_ms = now_ms;
	snprintf(history->detail, sizeof(history->detail), "%s", detail);
	pthread_mutex_unlock(&health->lock);
}

/* The clocks of workers are a moment apart. */
static uint64_t
since(uint64_t then_ms, uint64_t now_ms)
{
	return now_ms > then_ms ? now_ms - then_ms : 0;
}

static void
report_history(struct history *history, uint64_t now_ms, struct health_report *report)
{
	static const double quantiles[HEALTH_QUANTILES] = {0.5, 0.9, 0.99};

	report->requests = history->requests;
	report->failures = history->failures;
	report->has_latency = true;
	for (size_t i = 0; i < HEALTH_QUANTILES && report->has_latency; i++)
		report->has_latency = latency_quantile(&history->latency, quantiles[i], now_ms,
		                                       &report->latency_ms[i]);
	if (!history->detail[0])
		return;
	snprintf(report->detail, sizeof(report->detail), "%s", history->detail);
	report->failed_ms = since(history->failed_ms, now_ms);
}

void
health_report(struct health *health, uint64_t now_ms, struct health_report *report)
{
	const struct breaker *breaker = &health->breaker;

	*report = (struct health_report){.in_flight = 0};
	pthread_mutex_lock(&health->lock);
	report->in_flight = health->vitals.in_flight;
	report->state = breaker_state_at(breaker, now_ms);
	report->probing = report->state == BREAKER_HALF_OPEN && breaker->probing;
	if (report->state == BREAKER_OPEN)
		report->due_ms = breaker->due_ms - now_ms;
	if (report->state != BREAKER_CLOSED)
		report->open_ms = since(health->history.opened_ms, now_ms);
	report_history(&health->history, now_ms, report);
	pthread_mutex_unlock(&health->lock);
}

static int
gauge_of(const struct health *health)
{
	const struct breaker *breaker = &health->breaker;

	if (health->retired || breaker->state == BREAKER_CLOSED)
		return 0;
	return breaker->state == BREAKER_HALF_OPEN && breaker->probing ? 1 : 2;
}

int
health_show(struct health *health)
{
	int step;

	pthread_mutex_lock(&health->lock);
	step = gauge_of(health) - health->shown;
	health->shown += step;
	pthread_mutex_unlock(&health->lock);
	return step;
}

void
health_retire(struct health *health)
{
	pthread_mutex_lock(&health->lock);
	health->retired = true;
	pthread_mutex_unlock(&health->lock);
}

uint64_t
health_due_in_ms(struct health *health, uint64_t now_ms)
{
	uint64_t due = 0;

	pthread_mutex_lock(&health->lock);
	if (breaker_state_at(&health->breaker, now_ms) == BREAKER_OPEN)
		due = health->breaker.due_ms - now_ms;
	pthread_mutex_unlock(&health->lock);
	return due;
}
