/*
 * What http_server.c, http_listener.c, http_conn.c, http_gate.c, http_call.c and http_reply.c share: the
 * server, its connections and the call that a connection may have lent to the handler. For these files only.
 *
 * Who has the bufferevent: evhttp while a request is read, we (conn->ours) while a call is answered, refused or
 * the connection is closed. Only the holder's callbacks are set.
 */
#ifndef NET_HTTP_CONN_H
#define NET_HTTP_CONN_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/http.h>
#include <sys/queue.h>
#include <time.h>

#include "base/buf.h"
#include "net/http_server.h"
#include "net/tls.h"
#include "wire/http_guard.h"

#define HTTP_CONN_MAGIC 0x636f6e6eu
#define HTTP_CALL_MAGIC 0x63616c6cu

/* Marks of what waits for a client: on_drain follows when it fell from above the one to below the
 * other. */
#define HTTP_PENDING_HIGH_BYTES ((size_t)256 * 1024)
#define HTTP_PENDING_LOW_BYTES  ((size_t)64 * 1024)

/* What a client may send ahead while a reply is under way. More is thrown away, and so is the
 * connection after that reply: reading goes on, since it is what tells that the client left. */
#define HTTP_AHEAD_BYTES ((size_t)256 * 1024)

enum http_conn_state {
	HTTP_CONN_FRESH,   /* accepted (TLS: shaking hands), not a byte came */
	HTTP_CONN_READING, /* a request is arriving */
	HTTP_CONN_CALL,    /* a call is lent to the handler */
	HTTP_CONN_FLUSH,   /* a reply is complete and on its way out */
	HTTP_CONN_IDLE,    /* between requests */
	HTTP_CONN_LINGER,  /* said all, waits for the client to close, so that it can read that */
	HTTP_CONN_CLOSED,
};

struct http_conn;

struct http_listener;

LIST_HEAD(http_conn_list, http_conn);

struct http_server {
	struct worker *worker; /* borrowed */
	struct http_server_options options;
	http_handler *handler;
	void *handler_arg;
	struct evhttp *evhttp;
	struct tls_server *tls; /* NULL: plain */
	struct http_listener *listeners;
	uint16_t port;
	struct http_conn_list conns;
	struct http_conn **by_fd; /* a connection knows its evhttp_connection, not the reverse */
	size_t by_fd_count;
	unsigned connections, most_connections, calls;
	unsigned *places, own_places; /* the first may point to the second */
	unsigned surplus;             /* of the connections: without a place, to be turned away */
	bool full;                    /* accepting paused: too many surplus ones */
	bool starved;                 /* accepting paused: no descriptors or memory */
	uint64_t starved_log_us;
	struct event *retry; /* always pending, see on_accept_error */
	bool draining, freeing, drained;
	uint64_t drain_us;
	struct event *drain; /* closes the listeners, then calls on_drained */
	void (*on_drained)(void *arg);
	void *drained_arg;
	struct buf head; /* scratch for reply heads */
	/* Scratch for what was read: as much as a plain bufferevent reads at a time, more than most heads. */
	char sifted[4096];
	time_t date_s;
	char date[32];
};

struct http_conn {
	uint32_t magic;
	enum http_conn_state state;
	struct http_server *server;
	LIST_ENTRY(http_conn) link;
	struct bufferevent *bev;         /* owned by evcon */
	struct evhttp_connection *evcon; /* NULL until adopted; owned by evhttp */
	int fd;                          /* -1 until adopted */
	struct evbuffer_cb_entry *input_cb, *output_cb;
	struct event turn;  /* runs on_conn_turn from the loop */
	struct event timer; /* may fire early and is then armed again */
	struct http_guard guard;
	uint64_t delivered;     /* requests that evhttp handed over */
	uint64_t since_us;      /* when the state began; READING: when the first byte came */
	uint64_t progress_us;   /* when the kernel last took bytes, or bytes began to wait */
	uint64_t armed_us;      /* when the timer fires; 0: not armed */
	size_t discarded;       /* bytes thrown away while lingering */
	struct http_call *call; /* in CALL */
	struct evhttp_request *request; /* in CALL and FLUSH, unless refused; evhttp's */
	bufferevent_data_cb evhttp_read, evhttp_write;
	bufferevent_event_cb evhttp_event;
	bool tls;
	bool ours;    /* the bufferevent's callbacks are ours */
	bool closing; /* closes after this reply */
	bool eof;     /* the client will send no more */
	bool foreign; /* evhttp is writing a page of its own */
	bool broken;  /* see http_conn_break */
	bool deaf;    /* input is thrown away unseen */
	bool surplus; /* without a place: turned away, unless there is one by its first byte */
};

struct http_call {
	uint32_t magic;
	struct http_conn *conn;
	struct evhttp_request *request; /* conn->request */
	uint64_t started_us;
	char *path; /* owned */
	const char *method;
	struct bytes body; /* once it is in one piece */
	bool http10, is_head;
	bool begun, chunked, bodyless;
	bool headless; /* see http_call_drop_head */
	bool above;    /* the high mark was exceeded, on_drain is due */
	void (*on_gone)(void *arg);
	void (*on_drain)(void *arg);
	void *arg;
};

/* http_conn.c */
struct bufferevent *http_conn_new(struct http_server *server); /* NULL: no memory */
void http_conn_set_limits(struct http_conn *conn);             /* from the server's options */
void http_conn_request(struct http_conn *conn, struct evhttp_request *request);
void http_conn_refuse(struct http_conn *conn, int status, const char *why);
void http_conn_write(struct http_conn *conn, const void *p, size_t n);
void http_conn_break(struct http_conn *conn);    /* no memory for output: closes on the next turn */
void http_conn_call_end(struct http_conn *conn); /* its reply is written; frees the call */
void http_conn_drain(struct http_conn *conn);    /* may free it */
void http_conn_close(struct http_conn *conn);    /* frees it */
void http_conn_set_state(struct http_conn *conn, enum http_conn_state next);
void http_conn_arm(struct http_conn *conn);  /* the deadline may have come nearer */
void http_conn_wake(struct http_conn *conn); /* on_conn_turn runs from the loop */
void http_conn_own(struct http_conn *conn);  /* takes the bufferevent from evhttp */

/* http_gate.c */
void on_conn_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg);
void on_conn_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg);

/* http_listener.c */
bool
http_listeners_enter(struct http_server *server); /* onto the worker's loop. False: no memory */
void http_listeners_leave(struct http_server *server);  /* off it; the sockets stay */
void http_listeners_update(struct http_server *server); /* full or starved may have changed */
void http_listeners_close(struct http_server *server);

/* http_server.c */
void http_server_conn_opened(struct http_server *server, struct http_conn *conn);
/* Its first byte is here. False: it is above max_connections and must be turned away. */
bool http_server_conn_admit(struct http_server *server, struct http_conn *conn);
void http_server_conn_adopted(struct http_server *server, struct http_conn *conn);
void http_server_conn_closed(struct http_server *server, struct http_conn *conn);

/* http_call.c. NULL when memory is out or the path cannot be decoded: *status and *why say what to
 * answer. */
struct http_call *http_call_new(struct http_conn *conn, struct evhttp_request *request, int *status,
                                const char **why);
void http_call_free(void *p);
/* Dies unless it is a call that is lent. */
struct http_call *http_call_check(const struct http_call *call);
bool http_call_wants_close(const struct http_call *call);

/* http_reply.c */
void http_reply_refusal(struct http_conn *conn, int status, const char *why);

#endif
