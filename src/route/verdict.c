#include "route/verdict.h"

/* The gauge is the sum of what all workers add to it. */
static void
show_breaker(struct service *service, const struct config_model *model, struct health *health)
{
	int step = health_show(health);

	if (step)
		metric_add(service->shard, METRIC_BREAKER_STATE, model->label, NULL, step);
}

void
verdict_begin(struct service *service, const struct config_model *model,
              const struct permit *permit)
{
	if (permit->health)
		show_breaker(service, model, permit->health);
}

static void
tell_breaker(struct service *service, const struct config_model *model,
             const struct verdict *verdict, enum breaker_state state)
{
	if (state == BREAKER_OPEN)
		log_event(service->log, LOG_LEVEL_WARN, "breaker_opened",
		          "model=\"%s\" why=%s status=%d", model->label, verdict->why,
		          verdict->status);
	else if (state == BREAKER_CLOSED)
		log_event(service->log, LOG_LEVEL_INFO, "breaker_closed",
		          "model=\"%s\" why=success", model->label);
}

void
verdict_give(struct service *service, const struct config_model *model, struct permit *permit,
             const struct verdict *verdict)
{
	static const char *const names[] = {
	        [HEALTH_SUCCESS] = "success",
	        [HEALTH_FAILURE] = "failure",
	        [HEALTH_NEUTRAL] = "ignored",
	};
	uint64_t now_ms = worker_now_us(service->worker) / 1000;
	enum breaker_state old, state;
	struct health *health;

	if (!permit->health)
		return;
	health = health_ref(permit->health);
	metric_add(service->shard, METRIC_BREAKER_RESULTS, model->label, names[verdict->result], 1);
	if (verdict->result == HEALTH_FAILURE)
		health_note_failure(health, verdict->detail, now_ms);
	if (permit_return(permit, verdict->result, now_ms, &old, &state))
		tell_breaker(service, model, verdict, state);
	show_breaker(service, model, health);
	health_unref(health);
}
