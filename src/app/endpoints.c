#include "app/endpoints.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/endpoints_private.h"
#include "base/clock.h"
#include "model/health.h"
#include "observe/access_log.h"
#include "observe/cache_metrics.h"
#include "route/exchange.h"
#include "route/forward.h"
#include "route/reading.h"
#include "route/request_id.h"
#include "wire/api_error.h"

/* Of a number in a document: 0.1 is written as 0.1. */
enum { REAL_DIGITS = 12 };

typedef void endpoint_handler(struct service *service, struct http_call *call);
/* reading: what was read of the body; NULL: nothing yet. Taken over. */
typedef void body_handler(struct service *service, struct http_call *call, struct reading *reading);

struct endpoint {
	const char *path;
	bool prefix;         /* the path goes on with a name */
	const char *methods; /* as in Allow; HEAD is answered like GET, without the body */
	endpoint_handler *handle;
	/* Or, where there is a body: */
	enum reading_kind reads;
	body_handler *handle_body;
};

/* ---------------------------------------------------------------- small replies */

static void
endpoint_log(struct service *service, struct http_call *call, const char *id, int status,
             const char *error, size_t sent_bytes)
{
	uint64_t now_us = worker_now_us(service->worker);
	struct access_record record = {
	        .time_ms = clock_wall_ms(),
	        .id = id,
	        .peer = call ? http_call_peer(call) : NULL,
	        .method = call ? http_call_method(call) : NULL,
	        .path = call ? http_call_path(call) : NULL,
	        .status = status,
	        .score = (double)NAN,
	        .end = error           ? "error"
	               : status == 499 ? "client_gone"
	                               : "done",
	        .error = error,
	        .prompt_tokens = -1,
	        .completion_tokens = -1,
	        .draft_tokens = -1,
	        .sent_bytes = sent_bytes,
	        .duration_us = call ? (int64_t)(now_us - http_call_started_us(call)) : -1,
	        .first_byte_us = -1,
	        .draft_us = -1,
	        .heavyweight_us = -1,
	        .overhead_us = -1,
	};

	access_log_write(service->access, &record);
}

static void
endpoint_reply(struct service *service, struct http_call *call, const char *type, struct bytes body)
{
	char id[REQUEST_ID_MAX + 1];
	struct http_header headers[] = {
	        {"X-Request-ID", id}, {"Content-Type", type}, {"Cache-Control", "no-store"}};

	request_id_choose(http_call_header(call, HTTP_FIELD_REQUEST_ID), &service->random, id);
	endpoint_log(service, call, id, 200, NULL, body.n);
	http_reply(call, 200, headers, 3, body);
}

void
endpoint_fail(struct service *service, struct http_call *call, const struct api_error *error,
              const char *allow)
{
	char id[REQUEST_ID_MAX + 1];
	struct http_header headers[4] = {{"X-Request-ID", id},
	                                 {"Content-Type", "application/json"}};
	size_t count = 2;
	struct buf body;

	if (allow)
		headers[count++] = (struct http_header){"Allow", allow};
	if (error->retry_after_ms)
		headers[count++] = (struct http_header){"Retry-After", "1"};
	buf_init(&body, 0);
	api_error_write(error, &body);
	request_id_choose(http_call_header(call, HTTP_FIELD_REQUEST_ID), &service->random, id);
	metric_add(service->shard, METRIC_ERRORS, error->type, NULL, 1);
	endpoint_log(service, call, id, error->status, error->type, body.n);
	http_reply(call, error->status, headers, count, buf_bytes(&body));
	buf_fini(&body);
}

void
endpoint_done(struct service *service, struct http_call *call)
{
	char id[REQUEST_ID_MAX + 1];
	struct http_header header = {"X-Request-ID", id};

	request_id_choose(http_call_header(call, HTTP_FIELD_REQUEST_ID), &service->random, id);
	endpoint_log(service, call, id, 204, NULL, 0);
	http_reply(call, 204, &header, 1, (struct bytes){"", 0});
}

void
endpoint_reply_json(struct service *service, struct http_call *call, json_t *document)
{
	char *text = document
	                     ? json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS))
	                     : NULL;
	struct api_error error;

	json_decref(document);
	if (text) {
		endpoint_reply(service, call, "application/json", bytes_of(text));
	} else {
		api_error_set(&error, 500, NULL, NULL, "Out of memory.");
		endpoint_fail(service, call, &error, NULL);
	}
	free(text);
}

void
endpoints_refused(void *arg, int status, const char *why)
{
	struct service *service = arg;

	(void)why;
	metric_add(service->shard, METRIC_ERRORS, api_error_type(status), NULL, 1);
	endpoint_log(service, NULL, NULL, status, api_error_type(status), 0);
}

void
endpoints_left(void *arg, bool asked)
{
	struct service *service = arg;

	metric_add(service->shard, METRIC_CLIENT_GONE, NULL, NULL, 1);
	/* What was answered has its line. */
	if (!asked)
		endpoint_log(service, NULL, NULL, 499, NULL, 0);
}

/* ---------------------------------------------------------------- health */

static void
handle_live(struct service *service, struct http_call *call)
{
	endpoint_reply(service, call, "application/json", bytes_of("{\"status\":\"ok\"}"));
}

/* Would a request find a model whose breaker lets it through? */
static bool
is_model_usable(struct service *service)
{
	uint64_t now_ms = worker_now_us(service->worker) / 1000;

	for (size_t i = 0; i < service->plan->config->model_count; i++) {
		const struct candidate *candidate = &service->plan->models[i];

		if (config_model_chats(candidate->model) &&
		    health_state(candidate->health, now_ms) != BREAKER_OPEN)
			return true;
	}
	return false;
}

static void
handle_ready(struct service *service, struct http_call *call)
{
	struct api_error error;

	if (service->draining) {
		api_error_set(&error, 503, NULL, "draining", "The gateway is shutting down.");
	} else if (!is_model_usable(service)) {
		api_error_set(&error, 503, NULL, "no_upstream_available",
		              "No model server is available: each has failed too often lately.");
	} else {
		endpoint_reply(service, call, "application/json",
		               bytes_of("{\"status\":\"ready\"}"));
		return;
	}
	error.retry_after_ms = 1000;
	endpoint_fail(service, call, &error, NULL);
}

/* ---------------------------------------------------------------- metrics */

static void
handle_metrics(struct service *service, struct http_call *call)
{
	struct api_error error;
	struct buf text;

	buf_init(&text, 0);
	metrics_render(service->metrics, &text);
	cache_metrics_render(service->cache, &text);
	if (text.failed) {
		api_error_set(&error, 500, NULL, NULL, "Out of memory.");
		endpoint_fail(service, call, &error, NULL);
	} else {
		endpoint_reply(service, call, "text/plain; version=0.0.4; charset=utf-8",
		               buf_bytes(&text));
	}
	buf_fini(&text);
}

/* ---------------------------------------------------------------- chat, at each door */

static void
handle_chat(struct service *service, struct http_call *call, struct reading *reading)
{
	exchange_begin(service, call, DIALECT_PLAIN, reading);
}

static void
handle_chat_with_id(struct service *service, struct http_call *call, struct reading *reading)
{
	exchange_begin(service, call, DIALECT_REQUEST_ID, reading);
}

static void
handle_chat_with_extras(struct service *service, struct http_call *call, struct reading *reading)
{
	exchange_begin(service, call, DIALECT_EXTRA_FIELDS, reading);
}

/* ---------------------------------------------------------------- the table */

static const struct endpoint endpoints[] = {
        {"/v1/chat/completions", false, "POST", NULL, READING_CHAT, handle_chat},
        {"/api/client/v1/chat/completions", false, "POST", NULL, READING_CHAT, handle_chat_with_id},
        {"/openai/v1/chat/completions", false, "POST", NULL, READING_CHAT, handle_chat_with_extras},
        {"/v1/embeddings", false, "POST", NULL, READING_EMBEDDING, forward_begin},
        {"/openai/v1/embeddings", false, "POST", NULL, READING_EMBEDDING, forward_begin},
        {"/api/client/v1/embeddings", false, "POST", NULL, READING_EMBEDDING, forward_begin},
        {"/v1/models", false, "GET, HEAD", handle_models, READING_NONE, NULL},
        {"/v1/models/", true, "GET, HEAD", handle_model, READING_NONE, NULL},
        {"/v1/routing/status", false, "GET, HEAD", handle_status, READING_NONE, NULL},
        {"/v1/routing/explain", false, "POST", NULL, READING_CHAT, handle_explain},
        {"/v1/cache", false, "DELETE", handle_cache, READING_NONE, NULL},
        {"/v1/cache/", true, "DELETE", handle_cache_entry, READING_NONE, NULL},
        {"/health", false, "GET, HEAD", handle_ready, READING_NONE, NULL},
        {"/health/live", false, "GET, HEAD", handle_live, READING_NONE, NULL},
        {"/health/ready", false, "GET, HEAD", handle_ready, READING_NONE, NULL},
};

static const struct endpoint *
endpoint_find(const struct service *service, const char *path)
{
	static const struct endpoint metrics = {"",           false, "GET, HEAD", handle_metrics,
	                                        READING_NONE, NULL};
	const struct config *config = service->plan->config;

	for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
		const struct endpoint *endpoint = &endpoints[i];
		size_t n = strlen(endpoint->path);

		if (strncmp(path, endpoint->path, n) == 0 &&
		    (endpoint->prefix ? path[n] != '\0' : path[n] == '\0'))
			return endpoint;
	}
	if (config->metrics_enabled && strcmp(path, config->metrics_path) == 0)
		return &metrics;
	return NULL;
}

/* Is `method` one of the words of `methods`? */
static bool
method_allowed(const char *methods, const char *method)
{
	size_t n = strlen(method);

	for (const char *p = strstr(methods, method); p; p = strstr(p + 1, method)) {
		if ((p == methods || p[-1] == ' ') && (p[n] == '\0' || p[n] == ','))
			return n > 0;
	}
	return false;
}

static void
on_body_read(struct service *service, struct http_call *call, struct reading *reading,
             const void *arg)
{
	const struct endpoint *endpoint = arg;

	endpoint->handle_body(service, call, reading);
}

static void
on_reader_left(struct service *service)
{
	endpoints_left(service, false);
}

static const struct reading_events reading_events = {on_body_read, on_reader_left};

void
endpoints_handle(struct http_call *call, void *arg)
{
	struct service *service = arg;
	const struct endpoint *endpoint = endpoint_find(service, http_call_path(call));
	struct api_error error;

	if (!endpoint) {
		api_error_set(&error, 404, NULL, "unknown_url", "Unknown request URL: %s %.300s.",
		              http_call_method(call), http_call_path(call));
		endpoint_fail(service, call, &error, NULL);
	} else if (!method_allowed(endpoint->methods, http_call_method(call))) {
		api_error_set(&error, 405, NULL, "method_not_allowed",
		              "Method %s is not allowed here; allowed: %s.", http_call_method(call),
		              endpoint->methods);
		endpoint_fail(service, call, &error, endpoint->methods);
	} else if (endpoint->handle) {
		endpoint->handle(service, call);
	} else if (!reading_begin(service, call, endpoint->reads, &reading_events, endpoint)) {
		endpoint->handle_body(service, call, NULL);
	}
}
