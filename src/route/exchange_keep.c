/* An exchange puts its answer into the cache. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "net/errand.h"
#include "route/exchange_private.h"
#include "wire/sse_reader.h"

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

/* refusal NULL: it is kept. */
static void
count_kept(struct service *service, const char *refusal)
{
	metric_add(service->shard, METRIC_CACHE_KEPT, refusal ? refusal : "kept", NULL, 1);
}

/* ---------------------------------------------------------------- elsewhere */

/* An insertion on the searcher's thread, where many have to go for it or others have the cache's lock. */
struct insertion {
	struct errand errand;
	struct service *service;   /* borrowed */
	struct cache_entry *entry; /* owned: a reference */
	/* Owned: a reference to what it replaces, if that is still there. NULL: it comes in any case. */
	struct cache_entry *instead;
	bool kept;
};

_Static_assert(offsetof(struct insertion, errand) == 0, "an insertion begins with its errand");

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
insertion_run(struct errand *errand)
{
	struct insertion *insertion = (struct insertion *)errand;
	struct cache *cache = insertion->service->cache;
	uint64_t now_ms = clock_wall_ms();

	if (!insertion->instead || is_kept(cache, insertion->instead, now_ms))
		insertion->kept = cache_insert(cache, cache_entry_ref(insertion->entry), now_ms);
}

static void
insertion_done(struct errand *errand)
{
	struct insertion *insertion = (struct insertion *)errand;

	if (!insertion->instead)
		count_kept(insertion->service, insertion->kept ? NULL : "no_room");
	cache_entry_unref(insertion->entry);
	cache_entry_unref(insertion->instead);
	free(insertion);
}

/* Takes over both references. */
static void
insert_elsewhere(struct service *service, struct cache_entry *entry, struct cache_entry *instead)
{
	struct insertion *insertion = mem_new(sizeof(*insertion));

	*insertion = (struct insertion){
	        .errand = {.run = insertion_run, .done = insertion_done},
	        .service = service,
	        .entry = entry,
	        .instead = instead,
	};
	if (!errand_send(&insertion->errand, service->searcher, service->worker))
		insertion_done(&insertion->errand);
}

/* ---------------------------------------------------------------- late vectors */

/* An answer that waits for its question's vector; until then it is found by the exact request. */
struct late_vector {
	struct service *service;
	struct cache_entry *entry; /* owned: a reference */
};

/* The entry comes with its vector in place of the one without, unless that is gone. Takes over both references. */
static void
replace(struct service *service, struct cache_entry *entry, struct cache_entry *instead)
{
	uint64_t now_ms = clock_wall_ms();
	struct cache_entry *found;
	bool is_there, kept;

	if (!cache_try_find(service->cache, &entry->key, false, now_ms, &found)) {
		insert_elsewhere(service, entry, instead);
		return;
	}
	is_there = found == instead;
	cache_entry_unref(found);
	if (is_there && !cache_try_insert(service->cache, entry, now_ms, &kept)) {
		insert_elsewhere(service, entry, instead);
		return;
	}
	if (!is_there)
		cache_entry_unref(entry);
	cache_entry_unref(instead);
}

static void
on_late_vector(void *arg, struct embedding *embedding, const char *why)
{
	struct late_vector *late = arg;
	struct cache_entry *entry = NULL;

	(void)why;
	if (embedding) {
		entry = cache_entry_with_vector(late->entry, embedding->vector,
		                                embedding->dimensions);
		free(embedding->vector);
	}
	if (entry)
		replace(late->service, entry, late->entry);
	else
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

/* ---------------------------------------------------------------- what is kept */

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

static void
keep(struct exchange *x, struct cache_entry *entry)
{
	struct service *service = x->service;
	bool kept = true;

	if (cache_try_insert(service->cache, cache_entry_ref(entry), entry->stored_ms, &kept))
		count_kept(service, kept ? NULL : "no_room");
	else
		insert_elsewhere(service, entry, NULL);
	if (kept && x->recall.embed)
		wait_for_vector(x, entry);
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
	if (refusal)
		count_kept(x->service, refusal);
	else
		keep(x, entry);
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
		count_kept(x->service, "too_large");
		return NULL;
	}
	buf_init(&completion, 0);
	if (assemble(x, &completion))
		entry = keep_record(x, buf_bytes(&completion), false);
	buf_fini(&completion);
	return entry;
}
