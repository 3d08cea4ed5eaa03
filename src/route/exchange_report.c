/* What an exchange leaves behind: one access line, and its metrics. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "model/price.h"
#include "observe/access_log.h"
#include "route/exchange_private.h"

static const char *
model_name(const struct config_model *model)
{
	return model ? model->label : NULL;
}

static const char *
exchange_reason(const struct exchange *x)
{
	if (x->panic && x->answered && x->answered == x->asked[CASCADE_HEAVY])
		return "panic";
	/* The rule tripped, and the heavyweight was under way already. */
	if (x->head_start && x->cascade.decision == DECISION_ESCALATE &&
	    x->cascade.reason == x->cascade.rule.reason)
		return "speculative";
	return x->cascade.reason;
}

static const char *
guard_of(const struct exchange *x)
{
	return x->recall.guard != GUARD_NONE ? guard_name(x->recall.guard) : NULL;
}

/* Of an answer that was kept; what is shared with a request under way is nobody's entry yet. */
static void
facts_of_hit(const struct exchange *x, struct deliver_facts *facts)
{
	const struct recall *recall = &x->recall;
	uint64_t now_ms = clock_wall_ms(), stored_ms = recall->hit->stored_ms;

	facts->provider = recall->provider;
	facts->model = recall->model;
	facts->cache_id = recall->hit->id;
	facts->cache_similarity = recall->similarity;
	facts->cache_age_s = now_ms > stored_ms ? (int64_t)((now_ms - stored_ms) / 1000) : 0;
}

struct deliver_facts
exchange_facts(const struct exchange *x)
{
	bool judged = x->cascading && x->cascade.decision != DECISION_NONE;
	struct deliver_facts facts = {
	        .request_id = x->client.id,
	        .decision = judged ? cascade_decision_name(x->cascade.decision) : NULL,
	        .reason = judged ? exchange_reason(x) : NULL,
	        .score = judged ? cascade_score(&x->cascade) : (double)NAN,
	        .attempts = x->attempts_made,
	        .reasoning_effort = x->client.effort,
	        .duration_us = worker_now_us(x->service->worker) - x->client.started_us,
	        .cache_guard = guard_of(x),
	        .cache_similarity = (double)NAN,
	        .cache_age_s = -1,
	};

	if (x->answered) {
		facts.provider = x->answered->provider->label;
		facts.model = x->answered->label;
	} else if (x->recall.hit) {
		facts_of_hit(x, &facts);
	}

	if (x->legs[CASCADE_HEAVY])
		facts.passed = leg_passed_headers(x->legs[CASCADE_HEAVY], &facts.passed_count);
	return facts;
}

/* Upstream was cut off before it told its usage: what it said was counted, and of the prompt's length there
 * is another leg's word, or else the rule of thumb of four bytes a token. */
static void
estimate_usage(const struct exchange *x, enum cascade_leg role, struct chat_usage *usage)
{
	const struct leg *other = x->legs[role == CASCADE_DRAFT];
	uint64_t prompt_tokens = x->prompt_tokens;

	if (!prompt_tokens && other && leg_usage(other).known)
		prompt_tokens = leg_usage(other).prompt_tokens;
	usage->prompt_tokens = prompt_tokens ? prompt_tokens : x->client.body_bytes / 4;
	usage->known = true;
}

void
exchange_count_leg(struct exchange *x, const struct leg *leg)
{
	const struct config_model *model = leg_model(leg);
	enum cascade_leg role = leg_role(leg);
	struct metrics_shard *shard = x->service->shard;
	struct chat_usage usage = leg_usage(leg);
	bool failed = leg_failure(leg)->kind != LEG_FAILURE_NONE;
	const char *kind = !x->used[role]          ? "wasted"
	                   : role == CASCADE_DRAFT ? "draft"
	                                           : "heavyweight";
	uint64_t nano_usd;

	if (usage.known)
		x->prompt_tokens = usage.prompt_tokens;
	else if (failed && usage.completion_tokens == 0)
		return; /* an error costs nothing */
	if (x->used[role]) {
		metric_add(shard, METRIC_TOKENS, model->label, "prompt",
		           (double)usage.prompt_tokens);
		metric_add(shard, METRIC_TOKENS, model->label, "completion",
		           (double)usage.completion_tokens);
	} else {
		metric_add(shard, METRIC_TOKENS, model->label, "wasted",
		           (double)usage.completion_tokens);
	}
	if (!usage.known)
		estimate_usage(x, role, &usage);
	if (price_of(&model->price, &usage, &nano_usd)) {
		x->cost_nano_usd = price_add(x->cost_nano_usd, nano_usd);
		metric_add(shard, METRIC_COST, model->label, kind, (double)nano_usd / 1e9);
	}
}

static void
exchange_log(const struct exchange *x, const char *end, int status, const char *error,
             uint64_t now_us)
{
	struct deliver_facts facts = exchange_facts(x);
	bool cached = x->cascade.decision == DECISION_CACHE_HIT;
	bool answer = x->answered && status == 200 && !cached;
	struct access_record record = {
	        .time_ms = clock_wall_ms(),
	        .id = x->client.id,
	        .peer = x->client.peer,
	        .method = "POST",
	        .path = x->client.path,
	        .status = status,
	        .route = x->route ? x->route->name : NULL,
	        .decision = facts.decision,
	        .reason = facts.reason,
	        .score = facts.score,
	        .drafter = model_name(x->asked[CASCADE_DRAFT]),
	        .heavyweight = model_name(x->asked[CASCADE_HEAVY]),
	        .model = facts.model,
	        .cache = x->recall.result,
	        .cache_guard = facts.cache_guard,
	        .end = end,
	        .error = error,
	        .detail = x->detail,
	        .cost_usd = x->cost_text[0] ? x->cost_text : NULL,
	        .project_id = x->client.project_id,
	        .reasoning_effort = facts.reasoning_effort,
	        .stream = x->client.wants_stream,
	        .attempts = x->attempts_made,
	        .speculated = x->cascade.speculated,
	        .handed_off = x->used[CASCADE_DRAFT] && x->used[CASCADE_HEAVY],
	        .prompt_tokens = answer && x->usage.known ? (int64_t)x->usage.prompt_tokens : -1,
	        .completion_tokens = answer ? (int64_t)x->usage.completion_tokens : -1,
	        .tokens_estimated = answer && !x->usage.known,
	        .draft_tokens = x->cascading && x->asked[CASCADE_DRAFT]
	                                ? (int64_t)x->draft.token_count
	                                : -1,
	        .sent_bytes = x->client.sent_bytes,
	        .duration_us = (int64_t)(now_us - x->client.started_us),
	        .first_byte_us = x->client.first_byte_us
	                                 ? (int64_t)(x->client.first_byte_us - x->client.started_us)
	                                 : -1,
	        .draft_us = x->leg_us[CASCADE_DRAFT],
	        .heavyweight_us = x->leg_us[CASCADE_HEAVY],
	        .overhead_us = (int64_t)x->own_us,
	};

	access_log_write(x->service->access, &record);
}

static void
exchange_measure(const struct exchange *x, int status, const char *error, uint64_t now_us)
{
	struct metrics_shard *shard = x->service->shard;
	struct deliver_facts facts = exchange_facts(x);
	const char *decision = facts.decision;
	const char *label = decision ? decision : "none";
	char digits[BYTES_U64_MAX];
	const char *code = bytes_from_u64((uint64_t)status, digits);

	metric_add(shard, METRIC_REQUESTS, facts.model ? facts.model : "none", code, 1);
	if (x->client.project_id)
		metric_add(shard, METRIC_PROJECT_REQUESTS, x->client.project_id, code, 1);
	if (decision)
		metric_add(shard, METRIC_DECISIONS, decision, NULL, 1);
	if (error)
		metric_add(shard, METRIC_ERRORS, error, NULL, 1);
	metric_observe(shard, METRIC_REQUEST_DURATION, label, NULL,
	               (double)(now_us - x->client.started_us) / 1e6);
	if (x->client.first_byte_us)
		metric_observe(shard, METRIC_FIRST_BYTE, label, NULL,
		               (double)(x->client.first_byte_us - x->client.started_us) / 1e6);
	metric_observe(shard, METRIC_OVERHEAD, NULL, NULL, (double)x->own_us / 1e6);
	metric_add(shard, METRIC_IN_FLIGHT, NULL, NULL, -1);
	if (x->recall.result) {
		metric_add(shard, METRIC_CACHE_RESULTS, x->recall.result, NULL, 1);
		metric_add(shard,
		           strcmp(x->recall.result, "miss") == 0 ? METRIC_CACHE_MISSES
		                                                 : METRIC_CACHE_HITS,
		           NULL, NULL, 1);
	}
}

void
exchange_report(const struct exchange *x, const char *end, int status, const char *error,
                uint64_t now_us)
{
	exchange_log(x, end, status, error, now_us);
	exchange_measure(x, status, error, now_us);
}
