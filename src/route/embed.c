#include "route/embed.h"

#include <stdlib.h>

#include "base/mem.h"
#include "model/price.h"
#include "route/verdict.h"

enum { EMBED_ANSWER_MAX_BYTES = 4 * 1024 * 1024 };

struct embed {
	struct service *service; /* borrowed */
	struct plan *plan;       /* owned: one reference, for the target */
	const struct config_model *model;
	unsigned dimensions;
	embed_done *done;
	void *arg;
	struct http_fetch *fetch; /* NULL once the transfer is over */
	struct buf body;          /* what we send; the fetch borrows it */
	struct buf answer;
	struct permit permit; /* owned; empty once given back */
	int status;
	uint64_t started_us;
	LIST_ENTRY(embed) embeds; /* in service->embeds until the end */
};

static void
embed_destroy(void *p)
{
	struct embed *embed = p;

	buf_fini(&embed->body);
	buf_fini(&embed->answer);
	plan_unref(embed->plan);
	free(embed);
}

static void
return_permit(struct embed *embed, enum health_result result, const char *why)
{
	struct verdict verdict = {result, "embedding", embed->status, why};

	verdict_give(embed->service, embed->model, &embed->permit, &verdict);
}

/* The one end. */
static void
embed_end(struct embed *embed, struct embedding *embedding, const char *why,
          enum health_result result)
{
	struct metrics_shard *shard = embed->service->shard;
	uint64_t now_us = worker_now_us(embed->service->worker);

	LIST_REMOVE(embed, embeds);
	return_permit(embed, result, why);
	metric_add(shard, METRIC_CACHE_EMBEDDINGS, why, NULL, 1);
	metric_observe(shard, METRIC_CACHE_EMBEDDING_LATENCY, NULL, NULL,
	               (double)(now_us - embed->started_us) / 1e6);
	worker_bury(embed->service->worker, embed, embed_destroy);
	if (embed->done)
		embed->done(embed->arg, embedding, why);
}

/* What the answer's tokens have cost. */
static void
count_tokens(struct embed *embed, const struct embedding *embedding)
{
	struct chat_usage usage = {.prompt_tokens = embedding->prompt_tokens, .known = true};
	struct metrics_shard *shard = embed->service->shard;
	const struct config_model *model = embed->model;
	uint64_t nano_usd;

	metric_add(shard, METRIC_TOKENS, model->label, "embedding",
	           (double)embedding->prompt_tokens);
	if (price_of(&model->price, &usage, &nano_usd))
		metric_add(shard, METRIC_COST, model->label, "embedding", (double)nano_usd / 1e9);
}

static void
on_fetch_head(void *arg, struct http_fetch *fetch, int status)
{
	struct embed *embed = arg;

	(void)fetch;
	embed->status = status;
}

static void
on_fetch_data(void *arg, struct http_fetch *fetch, struct bytes piece)
{
	struct embed *embed = arg;
	uint64_t now_us = worker_now_us(embed->service->worker);

	(void)fetch;
	if (embed->answer.n == 0 && embed->status >= 200 && embed->status <= 299)
		health_note_first_byte(embed->permit.health, now_us - embed->started_us,
		                       now_us / 1000);
	buf_add_bytes(&embed->answer, piece);
}

static const char *
word_of(enum embedding_fault fault)
{
	switch (fault) {
	case EMBEDDING_FINE: return "ok";
	case EMBEDDING_ERROR: return "error";
	case EMBEDDING_DIMENSIONS: return "dimensions";
	case EMBEDDING_NO_MEMORY: return "fault";
	case EMBEDDING_MALFORMED:
	case EMBEDDING_NUMBERS: break;
	}
	return "malformed";
}

/* The whole answer is here. */
static void
read_answer(struct embed *embed)
{
	struct embedding embedding;
	enum embedding_fault fault;

	if (embed->answer.failed) {
		embed_end(embed, NULL, "malformed", HEALTH_FAILURE);
		return;
	}
	fault = embedding_answer_read(&embedding, buf_bytes(&embed->answer), embed->dimensions);
	if (fault != EMBEDDING_FINE) {
		log_event(embed->service->log, LOG_LEVEL_WARN, "embedding_failed",
		          "model=\"%s\" why=\"%s\"", embed->model->label,
		          embedding_fault_text(fault));
		embed_end(embed, NULL, word_of(fault),
		          fault == EMBEDDING_NO_MEMORY ? HEALTH_NEUTRAL : HEALTH_FAILURE);
		return;
	}
	count_tokens(embed, &embedding);
	embed_end(embed, &embedding, "ok", HEALTH_SUCCESS);
}

/* A status about this one text (too long, say) says nothing of the model. */
static enum health_result
health_of_status(int status)
{
	return status == 400 || status == 413 || status == 422 ? HEALTH_NEUTRAL : HEALTH_FAILURE;
}

static void
on_fetch_end(void *arg, struct http_fetch *fetch, enum http_fetch_result result, const char *detail)
{
	struct embed *embed = arg;

	(void)fetch;
	embed->fetch = NULL;
	if (result == HTTP_FETCH_OK && embed->status >= 200 && embed->status <= 299) {
		read_answer(embed);
		return;
	}
	log_event(embed->service->log, LOG_LEVEL_DEBUG, "embedding_failed",
	          "model=\"%s\" status=%d why=\"%s\"", embed->model->label, embed->status, detail);
	if (http_fetch_result_is_timeout(result))
		embed_end(embed, NULL, "timeout", HEALTH_FAILURE);
	else if (embed->status != 0 && result == HTTP_FETCH_OK)
		embed_end(embed, NULL, "status", health_of_status(embed->status));
	else
		embed_end(embed, NULL, result == HTTP_FETCH_FAULT ? "fault" : "unreachable",
		          result == HTTP_FETCH_FAULT ? HEALTH_NEUTRAL : HEALTH_FAILURE);
}

static bool
take_permit(struct embed *embed, const char **why)
{
	const struct candidate *candidate = plan_candidate(embed->plan, embed->model);
	enum health_answer answer = health_admit(
	        candidate->health, candidate->load, embed->model->provider->max_concurrent, false,
	        worker_now_us(embed->service->worker) / 1000, &embed->permit);

	*why = answer == HEALTH_OPEN ? "breaker" : "busy";
	if (answer == HEALTH_ADMITTED)
		verdict_begin(embed->service, embed->model, &embed->permit);
	return answer == HEALTH_ADMITTED;
}

static bool
send_request(struct embed *embed, const struct embed_spec *spec)
{
	static const struct http_fetch_events events = {on_fetch_head, on_fetch_data, on_fetch_end};
	struct http_fetch_spec fetch = {
	        .target = plan_embeddings_target(spec->plan, spec->model),
	        .method = "POST",
	        .total_ms = spec->timeout_ms,
	};

	embedding_request_write(bytes_of(spec->model->upstream_name), spec->text, spec->dimensions,
	                        &embed->body);
	if (embed->body.failed)
		return false;
	fetch.body = buf_bytes(&embed->body);
	embed->fetch = http_fetch_start(embed->service->client, &fetch, &events, embed);
	return embed->fetch != NULL;
}

struct embed *
embed_start(struct service *service, const struct embed_spec *spec, embed_done *done, void *arg,
            const char **why)
{
	struct embed *embed = mem_new(sizeof(*embed));

	embed->service = service;
	embed->plan = plan_ref((struct plan *)(uintptr_t)spec->plan);
	embed->model = spec->model;
	embed->dimensions = spec->dimensions;
	embed->done = done;
	embed->arg = arg;
	buf_init(&embed->answer, EMBED_ANSWER_MAX_BYTES);
	embed->started_us = worker_now_us(service->worker);
	if (!take_permit(embed, why)) {
		metric_add(service->shard, METRIC_CACHE_EMBEDDINGS, *why, NULL, 1);
		embed_destroy(embed);
		return NULL;
	}
	if (!send_request(embed, spec)) {
		*why = "fault";
		metric_add(service->shard, METRIC_CACHE_EMBEDDINGS, *why, NULL, 1);
		return_permit(embed, HEALTH_NEUTRAL, *why);
		embed_destroy(embed);
		return NULL;
	}
	LIST_INSERT_HEAD(&service->embeds, embed, embeds);
	return embed;
}

void
embed_adopt(struct embed *embed, embed_done *done, void *arg)
{
	embed->done = done;
	embed->arg = arg;
}

void
embed_cancel(struct embed *embed)
{
	http_fetch_cancel(embed->fetch);
	embed->done = NULL;
	embed_end(embed, NULL, "cancelled", HEALTH_NEUTRAL);
}

void
embed_end_all(struct service *service)
{
	struct embed *embed;

	while ((embed = LIST_FIRST(&service->embeds))) {
		http_fetch_cancel(embed->fetch);
		embed_end(embed, NULL, "cancelled", HEALTH_NEUTRAL);
	}
}
