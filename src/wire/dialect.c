#include "wire/dialect.h"

#include <inttypes.h>
#include <math.h>

#include "wire/json_splice.h"
#include "wire/param_check.h"

/* Where the members stand that a dialect adds or changes. */
struct places {
	struct json_object_span object;
	struct json_slot request_id, extra_fields, usage;
};

static bool
places_find(struct places *places, struct bytes document)
{
	struct json_walk walk;
	struct json_scan scan;

	*places = (struct places){.object = {.open = NULL}};
	json_scan_init(&scan, document);
	if (!json_walk_enter(&walk, &scan, &places->object))
		return false;
	while (json_walk_next(&walk)) {
		if (json_key_is(walk.member.key, "request_id"))
			json_walk_take(&walk, &places->request_id);
		else if (json_key_is(walk.member.key, "extra_fields"))
			json_walk_take(&walk, &places->extra_fields);
		else if (json_key_is(walk.member.key, "usage"))
			json_walk_take(&walk, &places->usage);
		else
			json_skip(&scan);
	}
	return json_scan_end(&scan);
}

/* ---------------------------------------------------------------- extra_fields */

/* A member behind others, the first of an object too: `out` ends in what that is opened with. */
static void
add_key(struct buf *out, const char *key)
{
	if (out->n > 0 && out->p[out->n - 1] != '{')
		buf_add(out, ",", 1);
	buf_add_format(out, "\"%s\":", key);
}

static void
add_text(struct buf *out, const char *key, const char *text)
{
	if (!text || !text[0])
		return;
	add_key(out, key);
	buf_add_json_string(out, bytes_of(text));
}

static void
add_count(struct buf *out, const char *key, int64_t number)
{
	if (number < 0)
		return;
	add_key(out, key);
	buf_add_u64(out, (uint64_t)number);
}

static void
add_ratio(struct buf *out, const char *key, double number)
{
	if (isnan(number))
		return;
	add_key(out, key);
	buf_add_format(out, "%.6f", number);
}

static void
add_cache(struct buf *out, const struct dialect_cache *cache)
{
	add_key(out, "cache_debug");
	buf_add_text(out, cache->hit ? "{\"cache_hit\":true" : "{\"cache_hit\":false");
	if (cache->hit)
		add_text(out, "hit_type", cache->hit_type);
	add_text(out, "cache_id", cache->cache_id);
	add_ratio(out, "similarity", cache->similarity);
	add_ratio(out, "threshold", cache->threshold);
	buf_add(out, "}", 1);
}

static void
extra_fields_write(const struct dialect_facts *facts, struct buf *out)
{
	buf_add(out, "{", 1);
	add_text(out, "request_type", facts->stream ? "chat_completion_stream" : "chat_completion");
	add_text(out, "provider", facts->provider);
	add_text(out, "model_requested", facts->model_requested);
	add_text(out, "model_deployment", facts->model_deployment);
	add_count(out, "latency", facts->latency_ms);
	add_count(out, "chunk_index", facts->chunk_index);
	if (facts->cache)
		add_cache(out, facts->cache);
	buf_add(out, "}", 1);
}

/* ---------------------------------------------------------------- usage */

static void
cost_write(const struct dialect_cost *cost, struct buf *out)
{
	buf_add_format(out,
	               "{\"input_tokens_cost\":%s,\"output_tokens_cost\":%s,"
	               "\"request_cost\":%s,\"total_cost\":%s}",
	               cost->input, cost->output, cost->request, cost->total);
}

static void
usage_make(const struct dialect_usage *usage, struct buf *out)
{
	uint64_t total;

	if (__builtin_add_overflow(usage->prompt_tokens, usage->completion_tokens, &total))
		total = UINT64_MAX;
	buf_add_format(out,
	               "{\"prompt_tokens\":%" PRIu64 ",\"completion_tokens\":%" PRIu64
	               ",\"total_tokens\":%" PRIu64,
	               usage->prompt_tokens, usage->completion_tokens, total);
	if (usage->cached_tokens > 0)
		buf_add_format(out, ",\"prompt_tokens_details\":{\"cached_tokens\":%" PRIu64 "}",
		               usage->cached_tokens);
	buf_add(out, "}", 1);
}

/* Appends the usage with its cost; nothing when there is none to tell. */
static void
usage_write(const struct dialect_facts *facts, const struct json_slot *slot, struct buf *out)
{
	struct json_object_span span;
	struct json_slot place = {.begin = NULL};
	struct buf made, cost;
	struct json_walk walk;
	struct json_scan scan;

	buf_init(&made, 0);
	buf_init(&cost, 0);
	if (slot->value.kind != JSON_KIND_OBJECT && facts->usage)
		usage_make(facts->usage, &made);
	json_scan_init(&scan, slot->value.kind == JSON_KIND_OBJECT ? json_value_text(slot->value)
	                                                           : buf_bytes(&made));
	if (json_walk_enter(&walk, &scan, &span)) {
		while (json_walk_next(&walk)) {
			if (json_key_is(walk.member.key, "cost"))
				json_walk_take(&walk, &place);
			else
				json_skip(&scan);
		}
		cost_write(facts->cost, &cost);
		json_splice(out, &span, &(struct json_change){"cost", &place, buf_bytes(&cost)}, 1);
	}
	out->failed |= made.failed || cost.failed;
	buf_fini(&cost);
	buf_fini(&made);
}

/* ---------------------------------------------------------------- the document */

/* The object changed, and around it the white space that is there. */
static void
document_write(struct bytes document, const struct json_object_span *object,
               const struct json_change *changes, size_t count, struct buf *out)
{
	const char *end = document.p + document.n, *after = object->close + 1;

	buf_add(out, document.p, (size_t)(object->open - document.p));
	json_splice(out, object, changes, count);
	buf_add(out, after, (size_t)(end - after));
}

bool
dialect_write(const struct dialect_facts *facts, struct bytes document, struct buf *out)
{
	struct json_change changes[2];
	struct places places;
	struct buf text, usage;
	size_t count = 0;

	if (!places_find(&places, document))
		return false;
	buf_init(&text, 0);
	buf_init(&usage, 0);
	if (facts->dialect == DIALECT_REQUEST_ID) {
		buf_add_json_string(&text, bytes_of(facts->request_id));
		changes[count++] =
		        (struct json_change){"request_id", &places.request_id, buf_bytes(&text)};
	} else if (facts->dialect == DIALECT_EXTRA_FIELDS) {
		if (facts->cost)
			usage_write(facts, &places.usage, &usage);
		if (usage.n > 0)
			changes[count++] =
			        (struct json_change){"usage", &places.usage, buf_bytes(&usage)};
		extra_fields_write(facts, &text);
		changes[count++] = (struct json_change){"extra_fields", &places.extra_fields,
		                                        buf_bytes(&text)};
	}
	document_write(document, &places.object, changes, count, out);
	out->failed |= text.failed || usage.failed;
	buf_fini(&usage);
	buf_fini(&text);
	return true;
}

bool
dialect_find_request_id(struct bytes body, char *out, size_t size)
{
	struct api_error unused;
	struct json_member member;
	struct json_value value;
	struct json_scan scan;

	json_scan_init(&scan, body);
	if (!json_enter(&scan, JSON_KIND_OBJECT))
		return false;
	while (json_next_member(&scan, &member) && json_take(&scan, &value)) {
		if (json_key_is(member.key, "request_id"))
			return param_check_name(&unused, "request_id", value, out, size);
	}
	return false;
}
