#include "route/reading.h"

#include <stddef.h>
#include <stdlib.h>
#include <strings.h>

#include "base/mem.h"
#include "net/errand.h"
#include "wire/dialect.h"

enum { READING_LEAST_BYTES = 256 * 1024 };

struct reading {
	struct errand errand;
	struct service *service;
	struct http_call *call; /* lent; NULL: the client left */
	const struct reading_events *events;
	const void *arg;
	uint64_t began_us;

	enum reading_kind kind;
	struct http_body *arrived; /* owned; NULL once it is one piece */
	struct blob *body;         /* owned; what the request borrows */
	bool good;
	struct api_error error; /* unless good */
	union {
		struct chat_request chat;
		struct embedding_request embedding;
	};
};

_Static_assert(offsetof(struct reading, errand) == 0, "a reading begins with its errand");

void
reading_free(struct reading *reading)
{
	if (!reading)
		return;
	http_body_free(reading->arrived);
	blob_unref(reading->body);
	free(reading);
}

/* Is the body as it stands, without a Content-Encoding? */
static bool
check_encoding(const struct http_call *call, struct api_error *error)
{
	const char *encoding = http_call_header(call, HTTP_FIELD_CONTENT_ENCODING);

	if (!encoding || strcasecmp(encoding, "identity") == 0)
		return true;
	api_error_set(error, 415, NULL, NULL,
	              "The body's Content-Encoding is not supported; send it as it is.");
	return false;
}

/* Puts the body in one piece. */
static bool
join(struct reading *reading)
{
	reading->body = blob_try(http_body_size(reading->arrived));
	if (reading->body)
		http_body_copy(reading->arrived, reading->body->p);
	http_body_free(reading->arrived);
	reading->arrived = NULL;
	return reading->body != NULL;
}

/* The helper's thread: the reading is that thread's until it is done. */
static void
reading_run(struct errand *errand)
{
	struct reading *reading = (struct reading *)errand;
	struct bytes body;

	if (!join(reading)) {
		api_error_set(&reading->error, 503, NULL, NULL,
		              "There is no memory for the request at the moment.");
		return;
	}
	body = (struct bytes){reading->body->p, reading->body->n};
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
reading_done(struct errand *errand)
{
	struct reading *reading = (struct reading *)errand;

	if (reading->call)
		reading->events->done(reading->service, reading->call, reading, reading->arg);
	else
		reading_free(reading);
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

	if (kind == READING_NONE || http_call_body_size(call) < READING_LEAST_BYTES ||
	    !check_encoding(call, &error))
		return false;
	reading = mem_new(sizeof(*reading));
	reading->errand.run = reading_run;
	reading->errand.done = reading_done;
	reading->service = service;
	reading->call = call;
	reading->events = events;
	reading->arg = arg;
	reading->began_us = worker_now_us(service->worker);
	reading->kind = kind;
	reading->arrived = http_call_take_body(call);
	http_call_watch(call, on_client_gone, NULL, reading);
	if (errand_send(&reading->errand, service->reader, service->worker))
		return true;
	/* Nobody else can: it holds up the loop rather than fail. */
	reading_run(&reading->errand);
	reading_done(&reading->errand);
	return true;
}

uint64_t
reading_began_us(const struct reading *reading, struct worker *worker)
{
	return reading ? reading->began_us : worker_now_us(worker);
}

/* What does not depend on the kind. */
static bool
take(struct reading *reading, struct blob **body, struct api_error *error)
{
	bool good = reading->good;

	*error = reading->error;
	*body = reading->body;
	free(reading);
	return good;
}

bool
reading_take_chat(struct reading *reading, struct http_call *call, struct chat_request *request,
                  struct blob **body, struct api_error *error)
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
                       struct embedding_request *request, struct blob **body,
                       struct api_error *error)
{
	*body = NULL;
	if (!reading)
		return check_encoding(call, error) &&
		       embedding_request_read(request, http_call_body(call), error);
	*request = reading->embedding;
	return take(reading, body, error);
}
