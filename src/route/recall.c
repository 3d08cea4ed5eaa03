#include "route/recall.h"

#include <math.h>
#include <stdlib.h>
#include <strings.h>

#include "base/mem.h"

enum {
	RECALL_BODY_MAX_BYTES = 256 * 1024,      /* to make a key of more would take too long */
	RECALL_QUESTION_MAX_BYTES = 4096,        /* to compare longer ones may take too long */
	RECALL_SAID_MAX_BYTES = 4 * 1024 * 1024, /* of events */
	RECALL_USAGE_MAX_BYTES = 16 * 1024,
};

/* Does a Cache-Control header have that directive? */
static bool
has_directive(const char *header, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = header; p && *p;) {
		size_t m;

		p += strspn(p, ", \t");
		m = strcspn(p, ",= \t");
		if (m == n && strncasecmp(p, name, n) == 0)
			return true;
		p += strcspn(p, ",");
	}
	return false;
}

/* A client may ask for more likeness than the operator does, not for less. */
static bool
read_threshold(struct recall *recall, const char *header, struct api_error *error)
{
	double asked;

	recall->threshold = recall->config->similarity_threshold;
	if (!header)
		return true;
	if (!bytes_to_double(bytes_of(header), &asked) || !(asked >= 0 && asked <= 1)) {
		api_error_set(error, 400, NULL, "invalid_value",
		              "The header X-Cache-Threshold must be a number from 0 to 1.");
		return false;
	}
	recall->threshold = fmax(recall->threshold, asked);
	return true;
}

struct sha256
recall_caller(const char *authorization)
{
	return authorization ? sha256_of(bytes_of(authorization)) : (struct sha256){{0}};
}

static bool
make_key(struct recall *recall, const struct chat_request *request, struct bytes identity)
{
	struct buf who;
	bool good;

	buf_init(&who, 0);
	buf_reserve(&who, sizeof(recall->caller.bytes) + identity.n);
	buf_add(&who, recall->caller.bytes, sizeof(recall->caller.bytes));
	buf_add_bytes(&who, identity);
	good = !who.failed && chat_key_make(&recall->key, request, buf_bytes(&who));
	buf_fini(&who);
	return good;
}

/* How many bytes of events may be needed to tell an answer of that length: a frame is some fifty times as long
 * as the token that it brings. For long answers that is cut short: the events are in memory while it is told. */
static uint64_t
said_max(uint64_t answer_bytes)
{
	uint64_t wanted = answer_bytes * 64;

	if (wanted > RECALL_SAID_MAX_BYTES)
		wanted = RECALL_SAID_MAX_BYTES;
	return wanted > answer_bytes * 2 ? wanted : answer_bytes * 2;
}

const char *
recall_exclusion(const struct config_route *route, const struct chat_request *request)
{
	if (!route)
		return "pinned";
	if (!route->cache.enabled)
		return "disabled";
	if (request->body.n > RECALL_BODY_MAX_BYTES)
		return "too_large";
	if (request->n > 1)
		return "choices";
	if (request->wants_audio || request->has_media)
		return "media";
	return request->temperature > route->cache.max_temperature ? "temperature" : NULL;
}

bool
recall_init(struct recall *recall, const struct config_route *route,
            const struct chat_request *request, struct bytes identity,
            const struct recall_headers *headers, struct api_error *error)
{
	const struct config_cache *config;

	*recall = (struct recall){.guard = GUARD_NONE};
	if (recall_exclusion(route, request))
		return true;
	recall->config = config = &route->cache;
	recall->looks_up = !has_directive(headers->cache_control, "no-cache");
	recall->keeps = !has_directive(headers->cache_control, "no-store");
	if (!read_threshold(recall, headers->threshold, error)) {
		recall->config = NULL;
		return false;
	}
	recall->caller = recall_caller(headers->authorization);
	if (!make_key(recall, request, identity)) {
		recall->config = NULL;
		api_error_set(error, 500, NULL, NULL, "Out of memory.");
		return false;
	}
	buf_init(&recall->said, said_max(config->max_answer_bytes));
	recall->said_all = true;
	for (enum cascade_leg leg = 0; leg < CASCADE_LEGS; leg++)
		buf_init(&recall->usage[leg], RECALL_USAGE_MAX_BYTES);
	return true;
}

void
recall_fini(struct recall *recall)
{
	if (!recall->config)
		return;
	chat_key_fini(&recall->key);
	cache_entry_unref(recall->hit);
	free(recall->vector);
	free(recall->model);
	free(recall->provider);
	buf_fini(&recall->said);
	for (enum cascade_leg leg = 0; leg < CASCADE_LEGS; leg++)
		buf_fini(&recall->usage[leg]);
}

void
recall_set_hit(struct recall *recall, struct cache_entry *entry, double similarity,
               const char *result)
{
	recall->hit = entry;
	recall->similarity = similarity;
	recall->result = result;
	recall->model = mem_copy(entry->model);
	recall->provider = mem_copy(entry->provider);
}

enum flight_form
recall_form(bool stream, bool usage)
{
	if (!stream)
		return FLIGHT_JSON;
	return usage ? FLIGHT_STREAM_USAGE : FLIGHT_STREAM;
}

bool
recall_compares(const struct recall *recall)
{
	return recall->config->embedder != EMBEDDER_NONE && recall->key.has_question &&
	       recall->key.question.n <= RECALL_QUESTION_MAX_BYTES &&
	       !guard_is_short(buf_bytes(&recall->key.question));
}

const char *
recall_refusal(const struct recall *recall, const struct recall_source *source,
               const struct chat_record_facts *facts)
{
	const struct config_cache *config = recall->config;

	if (source->both)
		return "handoff";
	if (source->draft && !source->sure)
		return "unsure";
	if (source->draft && !(source->margin >= config->min_margin))
		return "margin";
	if (facts->choices != 1)
		return "choices";
	if (facts->is_refusal)
		return "refusal";
	if (facts->has_calls || facts->end == CHAT_RECORD_CALLS)
		return config->tool_calls && facts->has_calls && facts->end == CHAT_RECORD_CALLS
		               ? NULL
		               : "tool_calls";
	if (facts->end != CHAT_RECORD_STOP)
		return "unfinished";
	return facts->has_text ? NULL : "empty";
}
