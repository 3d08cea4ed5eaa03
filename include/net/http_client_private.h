/*
 * What the files of the HTTP client share; for src/net/http_client*.c only.
 *
 *   http_client.c         the pool: libcurl's multi handle on the worker's loop
 *   http_client_fetch.c   one request: its callbacks, its deadlines, its end
 *   http_client_easy.c    the settings of a libcurl handle
 *   http_client_result.c  libcurl's codes as results
 *   http_client_target.c  a destination prepared once
 *
 * What always holds:
 * - `depth` is above 0 exactly while libcurl is on the stack and may call us. libcurl then refuses
 *   to add or remove a handle, so both are put off until it returned (client_settle).
 * - A fetch that was cancelled (`dead`) never calls its owner again, and none of its owner's memory
 *   is read any more, even while its handle still waits to be removed.
 * - on_end is called with libcurl off the stack; on_head and on_data with libcurl on it.
 */
#ifndef NET_HTTP_CLIENT_PRIVATE_H
#define NET_HTTP_CLIENT_PRIVATE_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/http_client.h"
#include "net/timer.h"

enum {
	/* Handles kept for later fetches; each holds some kilobytes. */
	CLIENT_SPARE_HANDLES = 32,
	CLIENT_RESTING_HANDLES = 2, /* of those, while nothing is asked for */
	CLIENT_IDLE_DEFAULT = 256,
	CLIENT_MANY =
	        64, /* transfers: from so many on, what libcurl does with all connections takes long */
	CLIENT_KEEPS_ONE_OF = 64, /* then, when enough are idle */
	/* All heads and trailers of one response together. */
	FETCH_HEAD_MAX_BYTES = 128 * 1024,
	/* What is read at a time: of a response as it is, and of one that trickles. */
	FETCH_READ_BYTES = 16 * 1024,
	FETCH_TRICKLE_BYTES = 2 * 1024,
	/* Bodies below it leave in one packet with the head. */
	FETCH_BODY_INLINE_BYTES = 32 * 1024,
};

/* The nodes are ours, laid out in one piece of memory; libcurl only walks them. */
struct header_list {
	struct curl_slist *first;
	void *memory; /* owned; NULL: no nodes */
};

struct http_target {
	char *url;     /* owned */
	CURLU *parsed; /* owned: the same, so that no request takes it apart; read by all threads */
	struct header_list headers;
};

struct http_client {
	struct worker *worker; /* borrowed */
	CURLM *multi;          /* owned */
	CURLSH *share;         /* owned: the TLS sessions, so that a new connection resumes one */
	char *ca_file;         /* owned */
	unsigned max_idle_connections;
	struct timer *timer;  /* libcurl's own */
	struct timer *settle; /* for client_settle when nothing else causes it */
	unsigned depth;
	uint64_t entered_us; /* when libcurl was last called so that it may call us */
	unsigned telling;    /* on_end callbacks on the stack */

	struct client_socket *sockets;       /* owned, by libcurl's add and remove */
	struct http_fetch *fetches;          /* every one that is not destroyed */
	struct http_fetch *todo, **todo_end; /* those that wait for client_settle */
	unsigned in_flight;                  /* those that have not ended for their owner */
	unsigned transfers;                  /* those that the multi handle knows */
	unsigned holders; /* of these, those that have a connection, or its socket */
	unsigned open_sockets;
	unsigned started; /* fetches, so far */
	uint64_t connects;

	CURL *spares[CLIENT_SPARE_HANDLES]; /* owned */
	unsigned spare_count;
};

enum fetch_phase {
	FETCH_CONNECTING, /* until the connection can take the request */
	FETCH_WAITING,    /* until the head of the response is complete */
	FETCH_RECEIVING,  /* until the end of its body */
	FETCH_ENDED,      /* on_end was called, or is held back by a pause */
};

#define HTTP_FETCH_MAGIC 0x66657463u

struct http_fetch {
	uint32_t magic;
	struct http_client *client;     /* borrowed; outlives it */
	struct http_fetch *next, *prev; /* client->fetches */
	struct http_fetch *todo_next;
	struct http_fetch_events events;
	void *arg;
	CURL *easy; /* owned */
	struct timer *timer;
	struct header_list headers; /* this request's own, then the target's */
	struct bytes body;          /* borrowed from the owner */
	const struct rope *rope;    /* likewise; instead of body, unless NULL */
	size_t body_bytes, body_sent;

	enum fetch_phase phase;
	bool attached;     /* the multi handle knows it */
	bool holds;        /* among client->holders */
	bool fresh;        /* takes no idle connection */
	bool keeps;        /* one of the few whose connection is kept though enough are idle */
	bool closes;       /* its connection is not kept */
	bool in_todo;      /* on client->todo, for one of the next three */
	bool dead;         /* cancelled */
	bool waits_start;  /* to be attached */
	bool waits_resume; /* resumed, with a piece or the end held back */
	bool paused;       /* by the owner */
	bool stopped;      /* libcurl holds a piece back and does not read */
	bool told;         /* on_end was called */
	bool no_descriptor;

	uint32_t connect_ms, first_byte_ms, idle_ms, total_ms;
	struct http_fetch_times times;
	uint64_t active_us; /* the last byte of the response, or the resumption */
	uint64_t armed_us;  /* when `timer` fires; 0: not armed */

	size_t head_bytes;
	struct buf head; /* the values of the head that is arriving, each with a NUL behind it */
	uint32_t
	        head_values[HTTP_ANSWER_COUNT]; /* where in it each begins, and one more; 0: none */
	enum http_answer_field head_field;      /* of the last line */
	long new_connections;                   /* counted in client->connects */
	const char *refusal;                    /* why we broke the response off, or NULL */
	enum http_fetch_result result;          /* once ended */
	char error[CURL_ERROR_SIZE];            /* why, in words */
};

/* http_client.c; attach and detach with libcurl off the stack */
void client_choose_close(struct http_fetch *fetch); /* is its connection kept? */
bool client_attach(struct http_fetch *fetch);
void client_detach(struct http_fetch *fetch);
/* Has client_settle look at it, once libcurl is off the stack or else on the next turn. */
void client_todo_add(struct http_fetch *fetch);
void client_todo_remove(struct http_fetch *fetch);

/* http_client_fetch.c */
struct http_fetch *fetch_cast(void *p);
void fetch_arm(struct http_fetch *fetch);
/* With libcurl off the stack; the fetch may be gone afterwards. */
void fetch_on_done(struct http_fetch *fetch, CURLcode code);
void fetch_on_todo(struct http_fetch *fetch);
void fetch_destroy(struct http_fetch *fetch);
/* The callbacks of its handle, with libcurl on the stack. */
size_t on_curl_header(char *p, size_t size, size_t count, void *arg);
size_t on_curl_write(char *p, size_t size, size_t count, void *arg);

/* http_client_easy.c */
CURL *easy_take(struct http_client *client); /* NULL: no memory */
void easy_give_back(struct http_client *client, CURL *easy);
bool easy_prepare(struct http_fetch *fetch, const struct http_fetch_spec *spec);

/* http_client_result.c: reads and completes fetch->error */
enum http_fetch_result result_of(struct http_fetch *fetch, CURLcode code);
void result_explain_timeout(struct http_fetch *fetch, enum http_fetch_result result);

/* http_client_target.c. `bare`: names that libcurl shall not send by itself, ended by NULL; `next`: a list
 * to go on with, borrowed. False with a message in error[size]. */
bool header_list_make(struct header_list *list, const struct http_header *headers, size_t count,
                      const char *const *bare, struct curl_slist *next, char *error, size_t size);
void header_list_fini(struct header_list *list);

#endif
