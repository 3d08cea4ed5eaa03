#include "route/reading.h"

#include <stddef.h>
#include <stdlib.h>
#include <strings.h>

#include "base/mem.h"
#include "wire/dialect.h"

struct reading {
	struct helper_job job;
	struct service *service;
	struct http_call *call; /* lent; NULL: the client left */
	const struct reading_events *events;
	const void *arg;
	uint64_t began_us;

	enum reading_kind kind;
	char *body; /* owned; what the request borrows */
	size_t body_bytes;
	bool good;
	struct api_error error; /* unless good */
	union {
		struct chat_request chat;
		struct embedding_request embedding;
	};
};

_Static_assert(offsetof(struct reading, job) == 0, "a reading begins with its job");

void
reading_free(struct reading *reading)
{
	if (!reading)
		return;
	free(reading->body);
	free(reading);
}

/* Is the body as it stands, without a Content-Encoding? */
static bool
check_encoding(const struct http_call *call, struct api_error *error)
{
	const char *encoding = http_call_header(call, "Content-Encoding");

	if (!encoding || strcasecmp(encoding, "identity") == 0)
		return true;
	api_error_set(error, 415, NULL, NULL,
	              "The body's Content-Encoding is not supported; send it as it is.");
	return false;
}

/* The helper's thread, until reading_done has posted it. */
static void
reading_run(struct helper_job *job)
{
	struct reading *reading = (struct reading *)job;
	struct bytes body = {reading->body, reading->body_bytes};

	if (reading->kind == READING_EMBEDDING) {
		reading->good = embedding_request_read(&reading->embedding, body, &reading->error);
		return;
	}
	reading->good = chat_request_read(&reading->chat, body, &reading->error);
	if (!reading->good && !reading->chat.request_id[0])
		dialect_find_request_id(body, reading->chat.request_id,
		                        sizeof(reading->chat.request_id));
}

static void
on_read(void *arg)
{
	struct reading *reading = arg;

	if (reading->call)
		reading->events->done(reading->service, reading->call, reading, reading->arg);
	else
		reading_free(reading);
}

static void
reading_done(struct helper_job *job)
{
	struct reading *reading = (struct reading *)job;

	worker_post(reading->service->worker, on_read, reading);
}

static void
on_client_gone(void *arg)
{
	struct reading *reading = arg;

	reading->call = NULL;
	reading->events->gone(reading->service);
}

bool
reading_begin(struct service *service, struct http_call *call, enum reading_kind kind,
              const struct reading_events *events, const void *arg)
{
	struct reading *reading;
	struct api_error error;

	if (kind == READING_NONE || http_call_body(call).n < HTTP_BODY_LARGE_BYTES ||
	    !check_encoding(call, &error))
		return false;
	reading = mem_new(sizeof(*reading));
	reading->job = (struct helper_job){.run = reading_run, .done = reading_done};
	reading->service = service;
	reading->call = call;
	reading->events = events;
	reading->arg = arg;
	reading->began_us = worker_now_us(service->worker);
	reading->kind = kind;
	reading->body_bytes = http_call_body(call).n;
	reading->body = http_call_take_body(call);
	http_call_watch(call, on_client_gone, NULL, reading);
	if (helper_submit(service->reader, &reading->job))
		return true;
	/* Nobody else can: it holds up the loop rather than fail. */
	reading_run(&reading->job);
	on_read(reading);
	return true;
}

uint64_t
reading_began_us(const struct reading *reading, struct worker *worker)
{
	return reading ? reading->began_us : worker_now_us(worker);
}

/* What does not depend on the kind. */
static bool
take(struct reading *reading, char **body, struct api_error *error)
{
	bool good = reading->good;

	*error = reading->error;
	*body = reading->body;
	free(reading);
	return good;
}

bool
reading_take_chat(struct reading *reading, struct http_call *call, struct chat_request *request,
                  char **body, struct api_error *error)
{
	*body = NULL;
	if (!reading)
		return check_encoding(call, error) &&
		       chat_request_read(request, http_call_body(call), error);
	*request = reading->chat;
	return take(reading, body, error);
}

bool
reading_take_embedding(struct reading *reading, struct http_call *call,
                       struct embedding_request *request, char **body, struct api_error *error)
{
	*body = NULL;
	if (!reading)
		return check_encoding(call, error) &&
		       embedding_request_read(request, http_call_body(call), error);
	*request = reading->embedding;
	return take(reading, body, error);
}
