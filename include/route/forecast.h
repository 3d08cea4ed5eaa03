/*
 * What route/attempts would make of a list of models now, without taking anything: no permit, no probe. Pure.
 */
#ifndef ROUTE_FORECAST_H
#define ROUTE_FORECAST_H

#include "route/attempts.h"

enum forecast {
	FORECAST_FIRST,   /* would be asked first */
	FORECAST_NEXT,    /* if those before it fail */
	FORECAST_OPEN,    /* passed over: its breaker is open */
	FORECAST_PROBING, /* passed over: its breaker waits for the result of a probe */
	FORECAST_BUSY,    /* passed over: its provider is at max_concurrent */
	FORECAST_PANIC, /* its breaker is open like all others, and it is due soonest: asked all the same */
};

/* How one model stands. */
struct forecast_look {
	bool busy; /* its provider is at max_concurrent */
	bool probing;
	enum breaker_state state;
	uint64_t due_ms; /* until an open breaker becomes half-open */
};

struct forecast_look forecast_look(const struct candidate *candidate, uint64_t now_ms);

/* One word for each of `looks`. patient: as attempts_init has it. */
void forecast_list(const struct forecast_look *looks, size_t count, bool patient,
                   enum forecast *words);

const char *forecast_name(enum forecast word);

#endif
