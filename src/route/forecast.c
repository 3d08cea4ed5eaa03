#include "route/forecast.h"

struct forecast_look
forecast_look(const struct candidate *candidate, uint64_t now_ms)
{
	unsigned limit = candidate->model->provider->max_concurrent;
	struct health_report report;

	health_report(candidate->health, now_ms, &report);
	return (struct forecast_look){
	        .busy = limit > 0 && load_count(candidate->load) >= limit,
	        .probing = report.probing,
	        .state = report.state,
	        .due_ms = report.due_ms,
	};
}

/* The load is asked before the breaker, as in health_admit. */
static enum forecast
word_of(const struct forecast_look *look)
{
	if (look->busy)
		return FORECAST_BUSY;
	if (look->state == BREAKER_OPEN)
		return FORECAST_OPEN;
	return look->probing ? FORECAST_PROBING : FORECAST_NEXT;
}

void
forecast_list(const struct forecast_look *looks, size_t count, bool patient, enum forecast *words)
{
	size_t soonest = 0;
	bool found = false, busy = false;

	for (size_t i = 0; i < count; i++) {
		words[i] = word_of(&looks[i]);
		busy |= words[i] == FORECAST_BUSY;
		if (words[i] == FORECAST_NEXT && !found) {
			words[i] = FORECAST_FIRST;
			found = true;
		}
		if (looks[i].due_ms < looks[soonest].due_ms)
			soonest = i;
	}
	/* A busy provider outweighs open breakers: then there is no panic. */
	if (!found && !busy && patient && count > 0)
		words[soonest] = FORECAST_PANIC;
}

const char *
forecast_name(enum forecast word)
{
	switch (word) {
	case FORECAST_FIRST: return "first";
	case FORECAST_NEXT: return "next";
	case FORECAST_OPEN: return "breaker_open";
	case FORECAST_PROBING: return "probe_under_way";
	case FORECAST_BUSY: return "provider_busy";
	case FORECAST_PANIC: break;
	}
	return "panic";
}
