/* An exchange looks for its answer in the cache: for the same request, then for the same question in other words. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cache/lexical.h"
#include "net/errand.h"
#include "route/exchange_private.h"

/* A look-up on the searcher's thread, where it takes long or others have the cache's lock. Only the worker's
 * thread looks at the exchange. */
struct recall_job {
	struct errand errand;
	struct cache *cache; /* borrowed */
	struct exchange *x;  /* borrowed; NULL: it has ended */
	uint64_t started_us;
	struct cache_match match; /* what was found; with a reference */
	/* For the same request. */
	struct sha256 key;
	bool needs_usage;
	/* For the same question. */
	struct cache_query query;
	struct sha256 scope;
	struct buf question;
	float *vector;
};

_Static_assert(offsetof(struct recall_job, errand) == 0, "a job begins with its errand");

static void
observe_lookup(const struct exchange *x, uint64_t started_us)
{
	metric_observe(x->service->shard, METRIC_CACHE_LOOKUP, NULL, NULL,
	               (double)(exchange_now_us(x) - started_us) / 1e6);
}

static bool
needs_usage(const struct exchange *x)
{
	return !x->client.wants_stream || x->client.view.usage;
}

bool
exchange_recall_init(struct exchange *x, struct api_error *error)
{
	struct http_call *call = x->client.call;
	struct recall_headers headers = {
	        .authorization = http_call_header(call, HTTP_FIELD_AUTHORIZATION),
	        .cache_control = http_call_header(call, HTTP_FIELD_CACHE_CONTROL),
	        .threshold = http_call_header(call, HTTP_FIELD_CACHE_THRESHOLD),
	};
	struct bytes identity = {"", 0};

	if (x->route)
		identity = buf_bytes(&plan_route(x->plan, x->route)->identity);
	return recall_init(&x->recall, x->route, x->client.request, identity, &headers, error);
}

/* ---------------------------------------------------------------- looking up */

/* True: it was not too late for it. */
static bool
take_hit(struct exchange *x, struct cache_entry *entry, double similarity, const char *result)
{
	const struct config_model *asked = x->answered;
	struct recall *recall = &x->recall;

	/* Whose answer is under way, it is not the one that is given. */
	x->answered = NULL;
	recall_set_hit(recall, entry, similarity, result);
	exchange_step(x, (struct cascade_event){.kind = CASCADE_EVENT_CACHED, .reason = result});
	if (x->cascade.decision == DECISION_CACHE_HIT)
		return true;
	cache_entry_unref(entry);
	x->answered = asked;
	recall->hit = NULL;
	recall->result = "miss";
	return false;
}

/* ---------------------------------------------------------------- elsewhere */

static struct recall_job *
job_new(struct exchange *x)
{
	struct recall_job *job = mem_new(sizeof(*job));

	job->cache = x->service->cache;
	job->x = x;
	job->started_us = exchange_now_us(x);
	job->needs_usage = needs_usage(x);
	buf_init(&job->question, 0);
	return job;
}

static void
job_free(struct recall_job *job)
{
	cache_entry_unref(job->match.entry);
	buf_fini(&job->question);
	free(job->vector);
	free(job);
}

/* False, and the job is no more: it cannot be done. */
static bool
job_send(struct recall_job *job, void (*run)(struct errand *), void (*done)(struct errand *))
{
	struct exchange *x = job->x;

	job->errand.run = run;
	job->errand.done = done;
	if (!errand_send(&job->errand, x->service->searcher, x->service->worker)) {
		job_free(job);
		return false;
	}
	x->recall.job = job;
	return true;
}

/* Who wanted it, and what was found, with its reference; NULL: nobody wants it any more. */
static struct exchange *
job_end(struct errand *errand, struct cache_match *match)
{
	struct recall_job *job = (struct recall_job *)errand;
	struct exchange *x = job->x;

	if (x) {
		*match = job->match;
		job->match.entry = NULL;
		x->recall.job = NULL;
		observe_lookup(x, job->started_us);
	}
	job_free(job);
	return x;
}

/* ---------------------------------------------------------------- the same request */

static void
find_run(struct errand *errand)
{
	struct recall_job *job = (struct recall_job *)errand;

	job->match.entry = cache_find(job->cache, &job->key, job->needs_usage, clock_wall_ms());
}

static void
find_done(struct errand *errand)
{
	struct cache_match match;
	struct exchange *x = job_end(errand, &match);

	if (x && !(match.entry && take_hit(x, match.entry, 1, "exact")))
		exchange_answer_anew(x);
}

static bool
find_elsewhere(struct exchange *x)
{
	struct recall_job *job = job_new(x);

	job->key = x->recall.key.exact;
	return job_send(job, find_run, find_done);
}

bool
exchange_recall_exact(struct exchange *x)
{
	struct recall *recall = &x->recall;
	uint64_t started_us = exchange_now_us(x);
	struct cache_entry *entry;

	if (!recall->looks_up)
		return false;
	recall->result = "miss";
	if (!cache_try_find(x->service->cache, &recall->key.exact, needs_usage(x), clock_wall_ms(),
	                    &entry))
		return find_elsewhere(x);
	observe_lookup(x, started_us);
	return entry && take_hit(x, entry, 1, "exact");
}

/* ---------------------------------------------------------------- the same question */

static void
note_match(struct exchange *x, struct cache_match *match)
{
	struct recall *recall = &x->recall;

	recall->similarity = match->similarity;
	recall->guard = match->guard;
	if (match->guard != GUARD_NONE)
		metric_add(x->service->shard, METRIC_CACHE_REFUSALS, guard_name(match->guard), NULL,
		           1);
	if (match->entry)
		take_hit(x, match->entry, match->similarity, "semantic");
}

static struct cache_query
make_query(const struct exchange *x)
{
	const struct recall *recall = &x->recall;

	return (struct cache_query){
	        .scope = &recall->key.scope,
	        .question = buf_bytes(&recall->key.question),
	        .vector = recall->vector,
	        .dimensions = recall->dimensions,
	        .threshold = recall->threshold,
	        .needs_usage = needs_usage(x),
	        .now_ms = clock_wall_ms(),
	};
}

static void
search_run(struct errand *errand)
{
	struct recall_job *job = (struct recall_job *)errand;

	cache_search(job->cache, &job->query, &job->match);
}

static void
search_done(struct errand *errand)
{
	struct cache_match match;
	struct exchange *x = job_end(errand, &match);

	if (x)
		note_match(x, &match);
}

/* Where that cannot be done it is a miss. */
static void
search_elsewhere(struct exchange *x)
{
	const struct recall *recall = &x->recall;
	size_t size = recall->dimensions * sizeof(float);
	struct recall_job *job = job_new(x);

	job->scope = recall->key.scope;
	buf_add_bytes(&job->question, buf_bytes(&recall->key.question));
	job->vector = mem_try(size);
	if (!job->vector || job->question.failed) {
		job_free(job);
		return;
	}
	memcpy(job->vector, recall->vector, size);
	job->query = make_query(x);
	job->query.scope = &job->scope;
	job->query.question = buf_bytes(&job->question);
	job->query.vector = job->vector;
	job->match.guard = GUARD_NONE; /* of a search that is not run */
	job_send(job, search_run, search_done);
}

/* The question's vector is there. */
static void
search(struct exchange *x)
{
	struct recall *recall = &x->recall;
	uint64_t started_us = exchange_now_us(x);
	struct cache_query query;
	struct cache_match match;

	if (!recall->looks_up)
		return;
	query = make_query(x);
	if (!cache_try_search(x->service->cache, &query, &match)) {
		search_elsewhere(x);
	} else if (!match.nothing) {
		observe_lookup(x, started_us);
		note_match(x, &match);
	}
}

static void
on_embedded(void *arg, struct embedding *embedding, const char *why)
{
	struct exchange *x = exchange_cast(arg);

	(void)why;
	x->recall.embed = NULL;
	if (!embedding)
		return;
	x->recall.vector = embedding->vector;
	x->recall.dimensions = embedding->dimensions;
	search(x);
}

static void
ask_embedder(struct exchange *x)
{
	const struct config_cache *config = x->recall.config;
	struct embed_spec spec = {
	        .plan = x->plan,
	        .model = config->embedding_model,
	        .text = buf_bytes(&x->recall.key.question),
	        .dimensions = config->embedding_dimensions,
	        .timeout_ms = config->embedding_timeout_ms,
	};
	const char *why;

	x->recall.embed = embed_start(x->service, &spec, on_embedded, x, &why);
}

static void
embed_here(struct exchange *x)
{
	float *vector = mem_array(LEXICAL_DIMENSIONS, sizeof(*vector));

	if (!lexical_embed(buf_bytes(&x->recall.key.question), vector)) {
		free(vector);
		return;
	}
	x->recall.vector = vector;
	x->recall.dimensions = LEXICAL_DIMENSIONS;
	search(x);
}

/* Is a vector of the question of any use? */
static bool
wants_vector(const struct exchange *x, enum config_embedder embedder)
{
	const struct recall *recall = &x->recall;

	return recall->config && recall->config->embedder == embedder &&
	       (recall->looks_up || recall->keeps) && recall_compares(recall);
}

void
exchange_recall_words(struct exchange *x)
{
	if (wants_vector(x, EMBEDDER_LEXICAL))
		embed_here(x);
}

void
exchange_recall_meaning(struct exchange *x)
{
	if (wants_vector(x, EMBEDDER_MODEL))
		ask_embedder(x);
}

void
exchange_recall_end(struct exchange *x)
{
	struct recall *recall = &x->recall;

	if (recall->embed)
		embed_cancel(recall->embed);
	if (recall->job)
		recall->job->x = NULL;
	recall->embed = NULL;
	recall->job = NULL;
}
