/*
 * The HTTP/1.1 side towards clients: a listener and its connections on one worker. Requests come
 * whole (head and body), are checked by wire/http_guard before anything else reads them, and are
 * handed to one handler; the reply is sent whole or piece by piece.
 *
 * Errors raised before a handler runs (bad framing, too large, too slow) are answered here, in the
 * shape of wire/api_error.
 *
 * All functions: the worker's thread. The server owns its connections; an http_call is owned by
 * the server and lent to the handler until http_reply, http_reply_end, http_reply_abort, or until
 * on_gone is called: after that it must not be touched. Using it later ends the process.
 *
 * on_gone and on_drain come from the loop, never from inside a function of this header; the one
 * exception is http_server_free, which calls each on_gone. The process ignores SIGPIPE.
 */
#ifndef NET_HTTP_SERVER_H
#define NET_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "net/worker.h"
#include "wire/http_field.h"

struct http_server;
struct http_call;
struct http_body;

struct http_header {
	const char *name;
	const char *value;
};

struct http_server_options {
	size_t max_head_bytes; /* 431 above */
	size_t max_body_bytes; /* 413 above */
	/* 0: no limit. A connection above it is accepted all the same, so that its client learns why it
	 * is turned away: unless there is room by then, the first byte of its first request is answered by
	 * 503 with Retry-After, and the connection closed. It has 2 s (or read_timeout, if that is less)
	 * to bring that byte and as long to read the answer. Of these there are at most an eighth of
	 * max_connections, or 64 if that is more; beyond, accepting pauses until they go. */
	unsigned max_connections;
	unsigned *
	        places; /* connections within the limit, atomic; borrowed and shared by servers that
	                     have one limit. NULL: this one has a limit of its own */
	uint32_t
	        read_timeout_ms; /* from a request's first byte (or the accept) to its last; 0: none */
	uint32_t write_timeout_ms; /* a reply making no progress for so long is dropped; 0: none */
	uint32_t idle_timeout_ms;  /* between requests on a kept-alive connection; 0: none */
	bool share_port;           /* other workers of this process listen on the same addresses */
	const char *tls_certificate; /* PEM file, or NULL: plain HTTP */
	const char *tls_key;
	/* Called for each answer that the server gave by itself (framing, size, time). May be NULL. */
	void (*on_refused)(void *arg, int status, const char *why);
	void *refused_arg;
	/* Called for each client that left where no handler sees it: with its request half sent (asked
	 * false), or with its answer given but not all of it sent (asked true). May be NULL. */
	void (*on_left)(void *arg, bool asked);
	void *left_arg;
};

typedef void http_handler(struct http_call *call, void *arg);

/* options are copied, save what they point to: the TLS paths are read now, refused_arg and left_arg are borrowed.
 * NULL with a message in error[size] on failure (TLS files, memory). */
struct http_server *http_server_new(struct worker *worker,
                                    const struct http_server_options *options,
                                    http_handler *handler, void *arg, char *error, size_t size);

/* Listens on host ("" or "*": every interface, both families where there are two) and *port (0: a free
 * one, told in *port). An address that another process listens on is refused, also when the workers share
 * it: their first one (index 0) looks, and must be the first to listen. May be called more than
 * once. */
bool http_server_listen(struct http_server *server, const char *host, uint16_t *port, char *error,
                        size_t size);

/* The port of the first listener. */
uint16_t http_server_port(const struct http_server *server);

/* Applies other limits and timeouts to what comes from now on, on open connections too. The TLS
 * files are read again for new connections; when that fails everything stays as it was. */
bool http_server_reload(struct http_server *server, const struct http_server_options *options,
                        char *error, size_t size);

/* Off the worker's loop, and onto it again, for worker_renew: only while no connection is open. Clients that
 * come meanwhile wait in the kernel. http_server_enter is false when there is no memory; then there is only
 * http_server_free. */
void http_server_leave(struct http_server *server);
bool http_server_enter(struct http_server *server);

/* Stops accepting, closes idle connections, closes each other one after its reply; on_drained is
 * called once no connection is left (perhaps at once, but never from inside this call). */
void http_server_drain(struct http_server *server, void (*on_drained)(void *arg), void *arg);

/* The most connections that a server keeps beyond this max_connections, to turn them away. */
unsigned http_server_surplus_max(unsigned max_connections);

/* Open connections, and calls lent to the handler. */
unsigned http_server_connections(const struct http_server *server);
unsigned http_server_calls(const struct http_server *server);

/* The most connections that were open at a time since it was put onto the loop. */
unsigned http_server_most_connections(const struct http_server *server);

/* Closes everything at once; each call still lent gets on_gone. Not from inside a handler. */
void http_server_free(struct http_server *server);

/* The request. All texts are borrowed from the call. */
const char *http_call_method(const struct http_call *call); /* upper case, e.g. "POST" */
const char *http_call_path(const struct http_call *call);   /* percent-decoded, without the query */
const char *http_call_header(const struct http_call *call,
                             enum http_field field); /* the first, or NULL */
/* In one piece; empty when there is no memory for that. */
struct bytes http_call_body(struct http_call *call);
/* The header fields take memory that is not needed while an answer is waited for; http_call_header must not be
 * called any more. */
void http_call_drop_head(struct http_call *call);
size_t http_call_body_size(const struct http_call *call);
/* Nor need a body be kept once it was made use of; http_call_body is empty from then on. */
void http_call_drop_body(struct http_call *call);

/*
 * The body as it arrived, in many pieces: to put a large one into one piece takes its time. http_call_take_body
 * gives it to the caller, and the call's is empty from then on. The functions below: any thread, one at a time.
 */
struct http_body *http_call_take_body(struct http_call *call);
size_t http_body_size(const struct http_body *body);
void http_body_copy(const struct http_body *body, char *out); /* http_body_size bytes */
void http_body_free(struct http_body *body);                  /* NULL is allowed */
const char *http_call_peer(const struct http_call *call); /* address as text, without the port */
uint64_t
http_call_started_us(const struct http_call *call); /* when its first byte came, monotonic */

/* on_gone: the client left (or the server is being freed) before the reply was complete. A client
 * that closes its sending half has left. At most once.
 * on_drain: what waited for the client fell below the low mark after http_reply_pending exceeded it.
 * Either may be NULL. */
void http_call_watch(struct http_call *call, void (*on_gone)(void *arg),
                     void (*on_drain)(void *arg), void *arg);

/* A whole reply: copies headers and body; adds Content-Length, Date and, where it closes,
 * Connection, which must not be among the headers. Control characters in values become spaces.
 * HEAD, 204 and 304 get no body. Ends the call. */
void http_reply(struct http_call *call, int status, const struct http_header *headers, size_t count,
                struct bytes body);

/* A reply in pieces: chunked on HTTP/1.1, until the connection closes on HTTP/1.0. */
void http_reply_begin(struct http_call *call, int status, const struct http_header *headers,
                      size_t count);
void http_reply_write(struct http_call *call, struct bytes piece); /* copies */
size_t http_reply_pending(const struct http_call *call); /* bytes not yet taken by the kernel */
void http_reply_end(struct http_call *call);

/* Ends the call by closing the connection after what was written, without the mark of a complete
 * reply (no last chunk), so that the client can tell that it was cut. */
void http_reply_abort(struct http_call *call);

#endif
