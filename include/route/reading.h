/*
 * The body of a request, read by wire/ before its handler sees it, and on another thread: for a body so large
 * that reading it would hold up the event loop.
 *
 *	http_call ─► reading ─► handler
 */
#ifndef ROUTE_READING_H
#define ROUTE_READING_H

#include "base/blob.h"
#include "net/http_server.h"
#include "route/service.h"
#include "wire/api_error.h"
#include "wire/chat_request.h"
#include "wire/embedding_request.h"

enum reading_kind { READING_NONE, READING_CHAT, READING_EMBEDDING };

struct reading;

struct reading_events {
	/* The call is the callee's, and so is the reading, for the functions below. */
	void (*done)(struct service *service, struct http_call *call, struct reading *reading,
	             const void *arg);
	/* Instead: the client left. */
	void (*gone)(struct service *service);
};

/* Takes over the call until `done` or `gone`. False when its body is not large, or encoded: the call stays the
 * caller's. `arg` is borrowed. service->reader does the work; if that takes no more, it is done at once, and
 * `done` called before this returns. */
bool reading_begin(struct service *service, struct http_call *call, enum reading_kind kind,
                   const struct reading_events *events, const void *arg);

/* When it began, monotonic; of none, now. */
uint64_t reading_began_us(const struct reading *reading, struct worker *worker);

/*
 * What was read, as chat_request_read and embedding_request_read have it; frees the reading. *body is what the
 * request borrows, with one share for the caller. Without a reading (NULL), the call's body is read now, *body
 * is NULL, and the request borrows from the call; a Content-Encoding is an error then, 415. A reading that
 * failed has looked for a request_id all the same, as dialect_find_request_id does.
 */
bool reading_take_chat(struct reading *reading, struct http_call *call,
                       struct chat_request *request, struct blob **body, struct api_error *error);
bool reading_take_embedding(struct reading *reading, struct http_call *call,
                            struct embedding_request *request, struct blob **body,
                            struct api_error *error);

/* NULL is allowed. */
void reading_free(struct reading *reading);

#endif
