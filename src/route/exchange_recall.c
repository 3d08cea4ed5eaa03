/* What an exchange has to do with the cache: its answer is looked up there, and kept. */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "cache/lexical.h"
#include "net/errand.h"
#include "route/exchange_private.h"
#include "wire/sse_reader.h"

enum {
	/* More are looked through by another thread: so many take 0.1 ms as a rule. */
	RECALL_ON_THE_SPOT_MAX = 100 * 1000,
};

/* A look-up on the searcher's thread. Only the worker's thread looks at the exchange. */
struct recall_job {
	struct errand errand;
	struct cache *cache; /* borrowed */
	struct cache_query query;
	struct cache_match match;
	struct exchange *x; /* borrowed; NULL: it has ended */
	struct sha256 scope;
	struct buf question;
	float *vector;
	uint64_t started_us;
};

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
	        .authorization = http_call_header(call, "Authorization"),
	        .cache_control = http_call_header(call, "Cache-Control"),
	        .threshold = http_call_header(call, "X-Cache-Threshold"),
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

bool
exchange_recall_exact(struct exchange *x)
{
	struct recall *recall = &x->recall;
	uint64_t started_us = exchange_now_us(x);
	struct cache_entry *entry;

	if (!recall->looks_up)
		return false;
	recall->result = "miss";
	entry = cache_find(x->service->cache, &recall->key.exact, needs_usage(x), clock_wall_ms());
	observe_lookup(x, started_us);
	return entry && take_hit(x, entry, 1, "exact");
}

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
job_free(struct recall_job *job)
{
	cache_entry_unref(job->match.entry);
	buf_fini(&job->question);
	free(job->vector);
	free(job);
}

static void
job_done(struct errand *errand)
{
	struct recall_job *job = (struct recall_job *)errand;
	struct exchange *x = job->x;

	if (x) {
		struct cache_match match = job->match;

		job->match.entry = NULL;
		x->recall.job = NULL;
		observe_lookup(x, job->started_us);
		note_match(x, &match);
	}
	job_free(job);
}

static void
job_run(struct errand *errand)
{
	struct recall_job *job = (struct recall_job *)errand;

	cache_search(job->cache, &job->query, &job->match);
}

_Static_assert(offsetof(struct recall_job, errand) == 0, "a job begins with its errand");

static bool
search_elsewhere(struct exchange *x)
{
	struct recall *recall = &x->recall;
	size_t size = recall->dimensions * sizeof(float);
	struct recall_job *job = mem_new(sizeof(*job));

	job->x = x;
	job->cache = x->service->cache;
	job->scope = recall->key.scope;
	job->started_us = exchange_now_us(x);
	buf_init(&job->question, 0);
	buf_add_bytes(&job->question, buf_bytes(&recall->key.question));
	job->vector = mem_try(size);
	if (!job->vector || job->question.failed) {
		job_free(job);
		return false;
	}
	memcpy(job->vector, recall->vector, size);
	job->query = make_query(x);
	job->query.scope = &job->scope;
	job->query.question = buf_bytes(&job->question);
	job->query.vector = job->vector;
	job->match.guard = GUARD_NONE; /* of a search that is not run */
	job->errand.run = job_run;
	job->errand.done = job_done;
	recall->job = job;
	if (errand_send(&job->errand, x->service->searcher, x->service->worker))
		return true;
	recall->job = NULL;
	job_free(job);
	return false;
}

/* The question's vector is there. What does not fit the time of a loop's turn is searched elsewhere, or not at all. */
static void
search(struct exchange *x)
{
	struct recall *recall = &x->recall;
	uint64_t started_us = exchange_now_us(x);
	size_t count = cache_scope_count(x->service->cache, &recall->key.scope);
	struct cache_query query;
	struct cache_match match;

	if (!recall->looks_up || count == 0)
		return;
	if (count > RECALL_ON_THE_SPOT_MAX) {
		search_elsewhere(x);
		return;
	}
	query = make_query(x);
	cache_search(x->service->cache, &query, &match);
	observe_lookup(x, started_us);
	note_match(x, &match);
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

/* ---------------------------------------------------------------- keeping */

void
exchange_note_usage(struct exchange *x, enum cascade_leg role, const struct chat_frame *frame)
{
	struct buf *usage = &x->recall.usage[role];

	if (!x->recall.keeps || !frame->usage_counts.known)
		return;
	buf_reset(usage);
	buf_add_bytes(usage, json_value_text(frame->usage.value));
	if (usage->failed)
		buf_reset(usage);
}

/* An answer that waits for its question's vector; until then it is found by the exact request. */
struct late_vector {
	struct service *service;
	struct cache_entry *entry; /* owned: a reference */
};

/* Has nobody deleted or replaced it meanwhile? */
static bool
is_kept(struct cache *cache, const struct cache_entry *entry, uint64_t now_ms)
{
	struct cache_entry *found = cache_find(cache, &entry->key, false, now_ms);
	bool same = found == entry;

	cache_entry_unref(found);
	return same;
}

static void
on_late_vector(void *arg, struct embedding *embedding, const char *why)
{
	struct late_vector *late = arg;
	struct cache *cache = late->service->cache;
	struct cache_entry with = *late->entry, *entry = NULL;
	uint64_t now_ms = clock_wall_ms();

	(void)why;
	if (embedding && is_kept(cache, late->entry, now_ms)) {
		with.vector = embedding->vector;
		with.dimensions = embedding->dimensions;
		entry = cache_entry_new(&with, false);
	}
	if (entry)
		cache_insert(cache, entry, now_ms);
	if (embedding)
		free(embedding->vector);
	cache_entry_unref(late->entry);
	free(late);
}

static void
wait_for_vector(struct exchange *x, struct cache_entry *entry)
{
	struct late_vector *late = mem_new(sizeof(*late));

	late->service = x->service;
	late->entry = cache_entry_ref(entry);
	embed_adopt(x->recall.embed, on_late_vector, late);
	x->recall.embed = NULL;
}

/* The completion that the events of the delivered stream tell. */
static bool
assemble(const struct exchange *x, struct buf *out)
{
	const struct chat_frame_view *view = &x->client.view;
	struct chat_answer *answer =
	        chat_answer_new(x->recall.said.limit * 2, view->logprobs, view->top_logprobs);
	struct sse_reader reader;
	struct sse_event event;
	struct chat_frame frame;
	bool good = answer != NULL;

	sse_reader_init(&reader, x->recall.said.limit);
	chat_frame_init(&frame);
	sse_reader_feed(&reader, buf_bytes(&x->recall.said));
	while (good && sse_reader_next(&reader, &event))
		good = chat_frame_read(&frame, event.data) && chat_answer_add(answer, &frame);
	good = good && !reader.failed;
	if (good)
		chat_answer_write(answer, out);
	chat_frame_fini(&frame);
	sse_reader_fini(&reader);
	if (answer)
		chat_answer_free(answer);
	return good && !out->failed;
}

static struct recall_source
source_of(const struct exchange *x)
{
	const struct cascade *cascade = &x->cascade;
	bool draft = cascade->decision == DECISION_ACCEPT;

	return (struct recall_source){
	        .draft = draft,
	        .both = x->used[CASCADE_DRAFT] && x->used[CASCADE_HEAVY],
	        .sure = draft && strcmp(cascade->reason, "confident") == 0,
	        .margin = cascade->options.rule_options.threshold - cascade_score(cascade),
	};
}

static struct cache_entry *
make_entry(const struct exchange *x, struct bytes record, bool has_usage)
{
	const struct recall *recall = &x->recall;
	bool compares = recall_compares(recall);
	struct cache_entry entry = {
	        .caller = recall->caller,
	        .key = recall->key.exact,
	        .stored_ms = clock_wall_ms(),
	        .has_usage = has_usage,
	        .document = record,
	        .model = bytes_of(x->answered ? x->answered->label : ""),
	        .provider = bytes_of(x->answered ? x->answered->provider->label : ""),
	        .vector = compares ? recall->vector : NULL,
	        .dimensions = recall->vector ? recall->dimensions : 0,
	};

	if (compares) {
		entry.scope = recall->key.scope;
		entry.question = buf_bytes(&recall->key.question);
	}
	entry.expires_ms = entry.stored_ms + recall->config->ttl_ms;
	random_pool_hex(&x->service->random, entry.id, CACHE_ID_DIGITS);
	return cache_entry_new(&entry, false);
}

/* NULL: it is kept. */
static const char *
keep(struct exchange *x, struct cache_entry *entry)
{
	if (!cache_insert(x->service->cache, cache_entry_ref(entry), entry->stored_ms))
		return "no_room";
	if (x->recall.embed)
		wait_for_vector(x, entry);
	return NULL;
}

/* in_one_piece: as a client who wants it so has got it; then it has the usage that there is, which may be none. */
static struct cache_entry *
keep_record(struct exchange *x, struct bytes completion, bool in_one_piece)
{
	struct recall_source source = source_of(x);
	const struct buf *usage = &x->recall.usage[source.draft ? CASCADE_DRAFT : CASCADE_HEAVY];
	struct chat_record_facts facts;
	struct cache_entry *entry = NULL;
	const char *refusal = "fault";
	struct buf record;

	buf_init(&record, 0);
	if (chat_record_make(completion, buf_bytes(usage), &facts, &record))
		entry = make_entry(x, buf_bytes(&record), facts.has_usage || in_one_piece);
	if (entry)
		refusal = recall_refusal(&x->recall, &source, &facts);
	if (!refusal && record.n > x->recall.config->max_answer_bytes)
		refusal = "too_large";
	if (!refusal)
		refusal = keep(x, entry);
	metric_add(x->service->shard, METRIC_CACHE_KEPT, refusal ? refusal : "kept", NULL, 1);
	buf_fini(&record);
	return entry;
}

struct cache_entry *
exchange_keep(struct exchange *x, struct bytes body)
{
	struct cache_entry *entry = NULL;
	struct buf completion;

	if (!x->recall.keeps || x->cascade.decision == DECISION_CACHE_HIT)
		return NULL;
	if (body.n > 0)
		return keep_record(x, body, true);
	if (!x->recall.said_all) {
		metric_add(x->service->shard, METRIC_CACHE_KEPT, "too_large", NULL, 1);
		return NULL;
	}
	buf_init(&completion, 0);
	if (assemble(x, &completion))
		entry = keep_record(x, buf_bytes(&completion), false);
	buf_fini(&completion);
	return entry;
}
