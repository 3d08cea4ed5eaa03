#include "route/deliver.h"

#include <math.h>
#include <stdio.h>

#include "wire/sse_write.h"

enum { DELIVER_HEADERS_MAX = 32 };

/* Header values that have to be composed; they must live until the headers are sent. */
struct deliver_headers {
	struct http_header list[DELIVER_HEADERS_MAX];
	size_t count;
	char score[32], similarity[32];
	char duration[BYTES_U64_MAX], attempts[BYTES_U64_MAX], age[BYTES_U64_MAX];
	char retry_after[BYTES_U64_MAX], retry_after_ms[BYTES_U64_MAX];
};

static void
headers_add(struct deliver_headers *headers, const char *name, const char *value)
{
	if (value && headers->count < DELIVER_HEADERS_MAX)
		headers->list[headers->count++] = (struct http_header){name, value};
}

static void
headers_add_cache(struct deliver_headers *headers, const struct deliver_facts *facts)
{
	headers_add(headers, "X-Cache-Id", facts->cache_id);
	if (!isnan(facts->cache_similarity)) {
		snprintf(headers->similarity, sizeof(headers->similarity), "%.6f",
		         facts->cache_similarity);
		headers_add(headers, "X-Cache-Similarity", headers->similarity);
	}
	if (facts->cache_age_s >= 0)
		headers_add(headers, "Age",
		            bytes_from_u64((uint64_t)facts->cache_age_s, headers->age));
}

static void
headers_fill(struct deliver_headers *headers, const struct deliver_facts *facts)
{
	headers->count = 0;
	headers_add(headers, "X-Request-ID", facts->request_id);
	headers_add(headers, "x-gateway-request-id", facts->request_id);
	headers_add(headers, "X-Routing-Decision", facts->decision);
	headers_add(headers, "X-Routing-Reason", facts->reason);
	if (!isnan(facts->score)) {
		snprintf(headers->score, sizeof(headers->score), "%.6f", facts->score);
		headers_add(headers, "X-Routing-Score", headers->score);
	}
	headers_add(headers, "X-Request-Duration-Ms",
	            bytes_from_u64(facts->duration_us / 1000, headers->duration));
	headers_add(headers, "x-gateway-provider", facts->provider);
	headers_add(headers, "x-gateway-model", facts->model);
	headers_add(headers, "x-gateway-attempts",
	            bytes_from_u64(facts->attempts, headers->attempts));
	headers_add(headers, "X-Gateway-Cost-USD", facts->cost_usd);
	headers_add(headers, "x-gateway-reasoning-effort", facts->reasoning_effort);
	headers_add(headers, "X-Cache-Guard", facts->cache_guard);
	if (facts->cache_id)
		headers_add_cache(headers, facts);
	for (size_t i = 0; i < facts->passed_count; i++)
		headers_add(headers, facts->passed[i].name, facts->passed[i].value);
}

void
deliver_json(struct http_call *call, const struct deliver_facts *facts, int status,
             struct bytes body)
{
	struct deliver_headers headers;

	headers_fill(&headers, facts);
	headers_add(&headers, "Content-Type", "application/json");
	http_reply(call, status, headers.list, headers.count, body);
}

void
deliver_error(struct http_call *call, const struct deliver_facts *facts,
              const struct api_error *error, struct bytes body)
{
	struct deliver_headers headers;
	struct buf document;

	headers_fill(&headers, facts);
	headers_add(&headers, "Content-Type", "application/json");
	if (error->retry_after_ms > 0) {
		headers_add(
		        &headers, "Retry-After",
		        bytes_from_u64((error->retry_after_ms + 999) / 1000, headers.retry_after));
		headers_add(&headers, "retry-after-ms",
		            bytes_from_u64(error->retry_after_ms, headers.retry_after_ms));
	}
	headers_add(&headers, "x-should-retry", error->no_retry ? "false" : NULL);
	buf_init(&document, 0);
	if (body.n == 0) {
		api_error_write(error, &document);
		body = buf_bytes(&document);
	}
	http_reply(call, error->status, headers.list, headers.count, body);
	buf_fini(&document);
}

void
deliver_stream_begin(struct http_call *call, const struct deliver_facts *facts)
{
	struct deliver_headers headers;

	headers_fill(&headers, facts);
	headers_add(&headers, "Content-Type", "text/event-stream");
	headers_add(&headers, "Cache-Control", "no-cache, no-transform");
	headers_add(&headers, "X-Accel-Buffering", "no");
	http_reply_begin(call, 200, headers.list, headers.count);
}

void
deliver_stream_end(struct http_call *call, const struct deliver_facts *facts)
{
	struct buf out;

	buf_init(&out, 0);
	buf_add_format(&out, ": routing decision=%s reason=%s", facts->decision, facts->reason);
	if (!isnan(facts->score))
		buf_add_format(&out, " score=%.6f", facts->score);
	if (facts->model)
		buf_add_format(&out, " model=%s", facts->model);
	buf_add_format(&out, " duration_ms=%llu\n\n",
	               (unsigned long long)(facts->duration_us / 1000));
	sse_write_data(&out, bytes_of("[DONE]"));
	http_reply_write(call, buf_bytes(&out));
	http_reply_end(call);
	buf_fini(&out);
}

void
deliver_stream_cut(struct http_call *call, struct bytes document)
{
	struct buf out;

	buf_init(&out, 0);
	sse_write_data(&out, document);
	http_reply_write(call, buf_bytes(&out));
	http_reply_abort(call);
	buf_fini(&out);
}
