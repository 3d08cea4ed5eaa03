/*
 * What the door adds that the request came in by: to an answer, to each frame of a stream, to errors.
 * Everything that is shared between clients or kept is made without it, and it is added at the write to one
 * client; so followers and hits have each their own, whatever door the answer was first asked for at.
 *
 * Extra fields tell the cost in the last frame. Which one that is shows only when no other follows, and the
 * usage mostly comes behind the finish_reason: so a frame that may be the last waits for the end.
 */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "route/exchange_private.h"
#include "wire/sse_reader.h"
#include "wire/sse_write.h"

enum { PROJECT_ID_MAX = 64 };

/* ---------------------------------------------------------------- whose request it is */

static void
choose_id(struct exchange *x, bool good)
{
	struct exchange_client *client = &x->client;
	const char *header = http_call_header(client->call, HTTP_FIELD_REQUEST_ID);
	char *asked = client->request->request_id;

	if (client->dialect != DIALECT_REQUEST_ID) {
		request_id_choose(header, &x->service->random, client->id);
		return;
	}
	/* A body that was refused may not have been read that far. */
	if (!good && !asked[0] && !client->body)
		dialect_find_request_id(http_call_body(client->call), asked,
		                        sizeof(client->request->request_id));
	if (asked[0])
		header = asked;
	request_id_choose_long(header, &x->service->random, client->id);
}

static bool
is_project_id(const char *header)
{
	return request_id_is_name(header, PROJECT_ID_MAX);
}

bool
exchange_check_project(const struct exchange *x, struct api_error *error)
{
	const char *header = http_call_header(x->client.call, HTTP_FIELD_PROJECT);

	if (header && !is_project_id(header)) {
		api_error_set(error, 400, NULL, "invalid_value",
		              "The header X-Gateway-Project-Id must be 1 to 64 of A-Z a-z 0-9 . _ "
		              ": -.");
		return false;
	}
	return true;
}

void
exchange_choose_names(struct exchange *x, bool good)
{
	const char *header = http_call_header(x->client.call, HTTP_FIELD_PROJECT);
	const char *project_id = x->client.request->project_id;

	choose_id(x, good);
	if (!project_id[0] && header && is_project_id(header))
		project_id = header;
	if (project_id[0])
		x->client.project_id = mem_copy(bytes_of(project_id));
}

/* ---------------------------------------------------------------- what is told */

/* All that facts borrow, in one place. */
struct telling {
	struct dialect_facts facts;
	struct dialect_cache cache;
	struct dialect_cost cost;
	struct dialect_usage usage;
	char input[PRICE_TEXT_MAX], output[PRICE_TEXT_MAX], total[PRICE_TEXT_MAX];
};

/* What the provider calls the model; of an answer that was kept, as long as it is configured. */
static const char *
deployment_of(const struct exchange *x, const char *label)
{
	const struct config *config = x->plan->config;

	if (x->answered)
		return x->answered->upstream_name;
	for (size_t i = 0; label && i < config->model_count; i++) {
		if (strcmp(config->models[i].label, label) == 0)
			return config->models[i].upstream_name;
	}
	return label;
}

static void
tell(struct telling *telling, const struct exchange *x)
{
	struct deliver_facts known = exchange_facts(x);

	telling->facts = (struct dialect_facts){
	        .dialect = x->client.dialect,
	        .request_id = x->client.id,
	        .stream = x->client.wants_stream,
	        .provider = known.provider,
	        .model_requested = x->client.model,
	        .latency_ms = -1,
	        .chunk_index = -1,
	};
}

static void
tell_answer(struct telling *telling, const struct exchange *x)
{
	struct deliver_facts known = exchange_facts(x);

	tell(telling, x);
	telling->facts.model_deployment = deployment_of(x, known.model);
	telling->facts.latency_ms = (int64_t)(known.duration_us / 1000);
}

/* What is known of it at its end only. */
static void
tell_cache(struct telling *telling, const struct exchange *x)
{
	const struct recall *recall = &x->recall;
	bool hit = x->cascade.decision == DECISION_CACHE_HIT;
	bool semantic = hit && strcmp(recall->result, "semantic") == 0;

	if (!recall->result)
		return;
	telling->cache = (struct dialect_cache){
	        .hit = hit,
	        .hit_type = semantic ? "semantic" : "direct",
	        .cache_id = hit && recall->hit && !x->answered ? recall->hit->id : NULL,
	        .similarity = hit && recall->hit && !x->answered ? recall->similarity : (double)NAN,
	        .threshold = semantic ? recall->threshold : (double)NAN,
	};
	telling->facts.cache = &telling->cache;
}

/* An answer from the cache was not paid for again, so that has none; nor has what is not known. */
static void
tell_cost(struct telling *telling, const struct exchange *x, const struct chat_usage *usage)
{
	struct price_parts parts;

	if (!x->answered || x->cascade.decision == DECISION_CACHE_HIT ||
	    !price_split(&x->answered->price, usage, &parts))
		return;
	telling->usage = (struct dialect_usage){usage->prompt_tokens, usage->completion_tokens,
	                                        usage->cached_tokens};
	telling->cost = (struct dialect_cost){
	        .input = price_format(parts.input_nano_usd, telling->input),
	        .output = price_format(parts.output_nano_usd, telling->output),
	        .request = "0", /* nobody is paid for a request as such */
	        .total = price_format(parts.total_nano_usd, telling->total),
	};
	telling->facts.usage = &telling->usage;
	telling->facts.cost = &telling->cost;
}

/* ---------------------------------------------------------------- streams */

static void
frame_write(struct exchange *x, struct telling *telling, struct bytes payload, struct buf *out)
{
	struct buf text;

	buf_init(&text, 0);
	telling->facts.chunk_index = (int64_t)x->client.chunk_count++;
	if (!dialect_write(&telling->facts, payload, &text))
		buf_add_bytes(&text, payload);
	sse_write_data(out, buf_bytes(&text));
	out->failed |= text.failed;
	buf_fini(&text);
}

/* Could it be the last one? */
static bool
may_be_last(const struct chat_frame *frame)
{
	if (chat_frame_is_usage(frame))
		return true;
	for (size_t i = 0; i < frame->choice_count; i++) {
		if (frame->choices[i].finish_reason.kind == JSON_KIND_STRING)
			return true;
	}
	return false;
}

static void
write_held(struct exchange *x, struct telling *telling, struct buf *out)
{
	if (x->client.held.n == 0)
		return;
	frame_write(x, telling, buf_bytes(&x->client.held), out);
	buf_reset(&x->client.held);
}

/* False: no memory. */
static bool
hold(struct exchange *x, struct bytes payload)
{
	struct buf *held = &x->client.held;

	buf_add_bytes(held, payload);
	if (!held->failed)
		return true;
	buf_reset(held);
	return false;
}

void
exchange_dialect_write(struct exchange *x, struct bytes piece)
{
	bool holds = x->client.dialect == DIALECT_EXTRA_FIELDS;
	struct sse_reader reader;
	struct sse_event event;
	struct chat_frame frame;
	struct telling telling;
	struct buf out;

	tell_answer(&telling, x);
	buf_init(&out, 0);
	sse_reader_init(&reader, piece.n + 1);
	chat_frame_init(&frame);
	sse_reader_feed(&reader, piece);
	while (sse_reader_next(&reader, &event)) {
		write_held(x, &telling, &out);
		if (!holds || !chat_frame_read(&frame, event.data) || !may_be_last(&frame) ||
		    !hold(x, event.data))
			frame_write(x, &telling, event.data, &out);
	}
	if (out.n > 0)
		exchange_write_raw(x, buf_bytes(&out));
	chat_frame_fini(&frame);
	sse_reader_fini(&reader);
	buf_fini(&out);
}

/* As the last frame tells it, or else as the model's server has told it to us. */
static struct chat_usage
usage_of(const struct exchange *x, struct bytes document)
{
	const struct leg *leg = x->legs[x->used[CASCADE_HEAVY] ? CASCADE_HEAVY : CASCADE_DRAFT];
	struct chat_usage usage = {.known = false};
	struct chat_frame frame;

	chat_frame_init(&frame);
	if (chat_frame_read(&frame, document))
		usage = frame.usage_counts;
	chat_frame_fini(&frame);
	return !usage.known && leg ? leg_usage(leg) : usage;
}

void
exchange_dialect_flush(struct exchange *x, bool last)
{
	struct chat_usage usage;
	struct telling telling;
	struct buf out;

	if (x->client.held.n == 0)
		return;
	tell_answer(&telling, x);
	if (last) {
		usage = usage_of(x, buf_bytes(&x->client.held));
		tell_cache(&telling, x);
		tell_cost(&telling, x, &usage);
	}
	buf_init(&out, 0);
	write_held(x, &telling, &out);
	exchange_write_raw(x, buf_bytes(&out));
	buf_fini(&out);
}

/* ---------------------------------------------------------------- in one piece */

void
exchange_dialect_answer(const struct exchange *x, struct bytes body, struct buf *out)
{
	struct chat_usage usage = usage_of(x, body);
	struct telling telling;

	tell_answer(&telling, x);
	tell_cache(&telling, x);
	tell_cost(&telling, x, &usage);
	if (!dialect_write(&telling.facts, body, out))
		buf_add_bytes(out, body);
}

void
exchange_dialect_error(struct exchange *x, const struct api_error *error, struct bytes body,
                       struct buf *out)
{
	struct telling telling;
	struct buf document;

	buf_init(&document, 0);
	if (body.n == 0) {
		api_error_write(error, &document);
		body = buf_bytes(&document);
	}
	tell(&telling, x);
	if (x->client.streaming)
		telling.facts.chunk_index = (int64_t)x->client.chunk_count++;
	if (x->client.dialect == DIALECT_PLAIN || !dialect_write(&telling.facts, body, out))
		buf_add_bytes(out, body);
	buf_fini(&document);
}
