/*
 * The HTTP side towards model servers: a pool of connections on one worker and the requests in
 * flight. HTTP/1.1 over libcurl's multi interface.
 *
 * All functions: the worker's thread, except http_target_new/free (any thread; a target is
 * immutable and may be shared by workers).
 */
#ifndef NET_HTTP_CLIENT_H
#define NET_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/rope.h"
#include "net/http_server.h"
#include "net/worker.h"
#include "wire/http_field.h"

struct http_client;
struct http_target;
struct http_fetch;

struct http_client_options {
	const char *ca_file;           /* PEM bundle; NULL: the system's */
	unsigned max_idle_connections; /* kept for reuse; 0: 256 */
};

/* Once per process, before any thread. */
bool http_client_global_init(void);

struct http_client *http_client_new(struct worker *worker,
                                    const struct http_client_options *options);
/* Cancels what is in flight, without callbacks. Not from inside a callback. */
void http_client_free(struct http_client *client);

/* To be called now and then: while nothing is in flight, memory is given up that only many requests at a time need. */
void http_client_rest(struct http_client *client);

/* A destination prepared once: URL (http or https, without user name, password or fragment) and request
 * headers. Header names and values are checked: no control characters, none of the headers that
 * frame a message or belong to a connection. NULL with a message in error[size]. */
struct http_target *http_target_new(const char *url, const struct http_header *headers,
                                    size_t count, char *error, size_t size);
void http_target_free(struct http_target *target);

enum http_fetch_result {
	HTTP_FETCH_OK,      /* a whole response was received, whatever its status; one with
	                                * neither length nor chunks is whole wherever it ends */
	HTTP_FETCH_DNS,     /* the name could not be resolved */
	HTTP_FETCH_CONNECT, /* refused, unreachable, reset before the request was sent */
	HTTP_FETCH_TLS,
	HTTP_FETCH_TIMEOUT_CONNECT,    /* includes the name's resolution and the TLS handshake */
	HTTP_FETCH_TIMEOUT_FIRST_BYTE, /* connected, but no response head */
	HTTP_FETCH_TIMEOUT_IDLE,       /* silence between bytes of the response */
	HTTP_FETCH_TIMEOUT_TOTAL,
	HTTP_FETCH_CUT,      /* the connection ended before the response did */
	HTTP_FETCH_PROTOCOL, /* what came is not HTTP */
	HTTP_FETCH_FAULT,    /* ours: no memory, no descriptors */
};

/* Is it one of the four timers? */
bool http_fetch_result_is_timeout(enum http_fetch_result result);

/* A word for logs and metrics: ok, dns, connect, tls, timeout_connect, … */
const char *http_fetch_result_name(enum http_fetch_result result);

struct http_fetch_spec {
	const struct http_target *target;  /* borrowed until on_end or cancel */
	const char *method;                /* "POST" or "GET" */
	struct bytes body;                 /* borrowed until http_fetch_is_sent, on_end or cancel */
	const struct rope *rope;           /* instead of body, unless NULL; borrowed likewise */
	const struct http_header *headers; /* extra ones for this request, checked like a
	                                    * target's; copied */
	size_t header_count;
	uint32_t connect_ms, first_byte_ms, idle_ms, total_ms; /* 0: none */
	/* The response is a stream of small pieces, and as a rule one of many that wait for their next: a small
	 * buffer does. */
	bool trickles;
};

struct http_fetch_times {
	/* Monotonic; 0: not reached. first_byte: the head was complete. */
	uint64_t start_us, connected_us, first_byte_us;
};

struct http_fetch_events {
	/* The response head is complete (interim 1xx heads are not reported). */
	void (*on_head)(void *arg, struct http_fetch *fetch, int status);
	/* A piece of the body, transfer coding removed. */
	void (*on_data)(void *arg, struct http_fetch *fetch, struct bytes piece);
	/* The end; the fetch is gone after this returns. detail: a short text for the log, never empty
	 * on failure; borrowed. Not called after http_fetch_cancel. */
	void (*on_end)(void *arg, struct http_fetch *fetch, enum http_fetch_result result,
	               const char *detail);
};

/*
 * Starts a request. Never calls back before it returns. NULL when it cannot even be started.
 *
 * A request is written once, but for one case: a connection that had served before and ends without a line
 * of response was most likely closed for idleness, so the request is written again on another one,
 * unseen by the caller. Nothing else is tried again.
 */
struct http_fetch *http_fetch_start(struct http_client *client, const struct http_fetch_spec *spec,
                                    const struct http_fetch_events *events, void *arg);

/* Tears it down: the socket is closed (never reused) within this loop turn; no callback follows.
 * Allowed from inside any callback of this or another fetch. The fetch is gone after this returns. */
void http_fetch_cancel(struct http_fetch *fetch);

/*
 * Stops and resumes reading the response; idle time does not run while paused. Allowed inside callbacks.
 * While paused neither on_data is called nor on_end, except for a timeout; resuming never calls back
 * before it returns.
 */
void http_fetch_pause(struct http_fetch *fetch);
void http_fetch_resume(struct http_fetch *fetch);

/* Was the request written whole, and has the response begun? Then nothing of the body is read any more, and it
 * may go. */
bool http_fetch_is_sent(const struct http_fetch *fetch);

/* Of a response header the last one, without the space around it; NULL: none. A folded one is none. Inside
 * on_head only, and valid until that returns. */
const char *http_fetch_header(const struct http_fetch *fetch, enum http_answer_field field);
struct http_fetch_times http_fetch_times(const struct http_fetch *fetch);

/* Requests in flight, and connections opened since the start. */
unsigned http_client_in_flight(const struct http_client *client);
uint64_t http_client_connects(const struct http_client *client);

#endif
