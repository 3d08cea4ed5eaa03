/*
 * One client connection: its birth, the hand-over of the bufferevent between evhttp and us, its
 * deadlines, and its end.
 *
 *	FRESH ─► READING ─► CALL ─► FLUSH ─► IDLE ─► READING …
 *	            └─ refused ────►  │
 *	                              └────► LINGER ─► CLOSED
 *
 * evhttp has the connection while a request arrives. It is ours (conn->ours) from the moment in
 * which evhttp hands over a request, or in which the guard refuses one, until the reply has left.
 * Replies go to the bufferevent directly, so no page of evhttp's making is ever seen by a client.
 *
 * A connection dies in evhttp_connection_free alone, which calls on_conn_closed; what it leaves is
 * buried, since callbacks further up the stack may still look at it.
 */
#include "net/http_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mem.h"

/* How long and for how many bytes a client that is being turned away may go on sending, so that it
 * comes to read the answer instead of a reset. */
#define LINGER_MS    2000
#define LINGER_BYTES ((size_t)64 * 1024 * 1024)

#define WRITE_BYTES ((size_t)64 * 1024)

/* How long a connection above max_connections may wait before its request begins: enough to shake
 * hands and speak, too short to hold such a place for long. */
#define SURPLUS_FRESH_MS 2000

/* For a new connection that has not yet sent a byte when draining begins. */
#define DRAIN_FRESH_MS 1000

static void on_owned_read(struct bufferevent *bev, void *arg);
static void on_owned_write(struct bufferevent *bev, void *arg);
static void on_owned_event(struct bufferevent *bev, short what, void *arg);
static void on_evhttp_close(struct evhttp_connection *evcon, void *arg);
static void on_conn_turn(evutil_socket_t fd, short what, void *arg);
static void conn_bury(struct http_conn *conn);

/* ------------------------------------------------------------------ deadlines */

static uint64_t
deadline_after(uint64_t since_us, uint32_t timeout_ms)
{
	return timeout_ms ? since_us + (uint64_t)timeout_ms * 1000 : 0;
}

static uint64_t
fresh_deadline_us(const struct http_conn *conn)
{
	uint64_t deadline = deadline_after(conn->since_us, conn->server->options.read_timeout_ms);
	uint64_t sooner = 0;

	if (conn->server->draining)
		sooner = deadline_after(conn->server->drain_us, DRAIN_FRESH_MS);
	else if (conn->surplus)
		sooner = deadline_after(conn->since_us, SURPLUS_FRESH_MS);
	if (!deadline || (sooner && sooner < deadline))
		deadline = sooner;
	return deadline;
}

/* 0: none. */
static uint64_t
conn_deadline_us(const struct http_conn *conn)
{
	const struct http_server_options *options = &conn->server->options;

	switch (conn->state) {
	case HTTP_CONN_FRESH: return fresh_deadline_us(conn);
	case HTTP_CONN_READING: return deadline_after(conn->since_us, options->read_timeout_ms);
	case HTTP_CONN_IDLE: return deadline_after(conn->since_us, options->idle_timeout_ms);
	case HTTP_CONN_LINGER: return deadline_after(conn->since_us, LINGER_MS);
	case HTTP_CONN_CALL:
	case HTTP_CONN_FLUSH:
		if (evbuffer_get_length(bufferevent_get_output(conn->bev)) == 0)
			return 0;
		return deadline_after(conn->progress_us, options->write_timeout_ms);
	case HTTP_CONN_CLOSED: break;
	}
	return 0;
}

/* Makes the timer fire at the deadline or before. Firing early is cheaper than moving the timer
 * twice per request. */
void
http_conn_arm(struct http_conn *conn)
{
	uint64_t deadline = conn_deadline_us(conn), now, wait;
	struct timeval after;

	if (!deadline || (conn->armed_us && conn->armed_us <= deadline))
		return;
	now = clock_now_us();
	wait = deadline > now ? deadline - now : 0;
	after.tv_sec = (time_t)(wait / 1000000);
	after.tv_usec = (suseconds_t)(wait % 1000000);
	conn->armed_us = deadline;
	evtimer_add(&conn->timer, &after);
}

static void
on_conn_timer(evutil_socket_t fd, short what, void *arg)
{
	struct http_conn *conn = arg;
	uint64_t deadline = conn_deadline_us(conn);

	(void)fd;
	(void)what;
	conn->armed_us = 0;
	if (!deadline)
		return;
	if (clock_now_us() < deadline)
		http_conn_arm(conn);
	else if (conn->state == HTTP_CONN_READING)
		http_conn_refuse(conn, 408, "The request did not arrive in time.");
	else
		http_conn_close(conn);
}

/* ------------------------------------------------------------------ states */

void
http_conn_set_state(struct http_conn *conn, enum http_conn_state next)
{
	static const unsigned legal[] = {
	        [HTTP_CONN_FRESH] = 1 << HTTP_CONN_READING | 1 << HTTP_CONN_CLOSED,
	        [HTTP_CONN_READING] =
	                1 << HTTP_CONN_CALL | 1 << HTTP_CONN_FLUSH | 1 << HTTP_CONN_CLOSED,
	        [HTTP_CONN_CALL] = 1 << HTTP_CONN_FLUSH | 1 << HTTP_CONN_CLOSED,
	        [HTTP_CONN_FLUSH] = 1 << HTTP_CONN_FLUSH | 1 << HTTP_CONN_IDLE |
	                            1 << HTTP_CONN_LINGER | 1 << HTTP_CONN_CLOSED,
	        [HTTP_CONN_IDLE] = 1 << HTTP_CONN_READING | 1 << HTTP_CONN_CLOSED,
	        [HTTP_CONN_LINGER] = 1 << HTTP_CONN_CLOSED,
	};

	if (conn->magic != HTTP_CONN_MAGIC || conn->state >= HTTP_CONN_CLOSED ||
	    !(legal[conn->state] & 1u << next))
		die("connection goes from state %d to %d", conn->state, next);
	conn->state = next;
	if (next != HTTP_CONN_CALL)
		conn->since_us = clock_now_us();
	if (next != HTTP_CONN_CLOSED)
		http_conn_arm(conn);
}

/* ------------------------------------------------------------------ birth */

/* WORKAROUND(libevent-2.1): evhttp creates its connection after it asked for the bufferevent, and
 * tells nobody. This runs from the loop right after the accept: evhttp's connection is the argument
 * of the callbacks that it has set by then. test_each_accepted_connection_is_adopted */
static void
conn_adopt(struct http_conn *conn)
{
	bufferevent_data_cb read_cb, write_cb;
	bufferevent_event_cb event_cb;
	void *evcon;

	bufferevent_getcb(conn->bev, &read_cb, &write_cb, &event_cb, &evcon);
	conn->fd = bufferevent_getfd(conn->bev);
	if (!evcon || conn->fd < 0) {
		/* evhttp gave up on it for want of memory. */
		conn_bury(conn);
		return;
	}
	conn->evcon = evcon;
	worker_note_fd(conn->server->worker, conn->fd);
	evhttp_connection_set_closecb(conn->evcon, on_evhttp_close, conn);
	http_server_conn_adopted(conn->server, conn);
	http_conn_set_limits(conn);
}

struct bufferevent *
http_conn_new(struct http_server *server)
{
	struct event_base *base = worker_base(server->worker);
	struct bufferevent *bev = server->tls
	                                  ? tls_server_bufferevent(server->tls, base)
	                                  : bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	struct http_conn *conn;

	if (!bev)
		return NULL;
	conn = mem_new(sizeof(*conn));
	conn->magic = HTTP_CONN_MAGIC;
	conn->server = server;
	conn->bev = bev;
	conn->tls = server->tls != NULL;
	conn->fd = -1;
	conn->since_us = clock_now_us();
	bufferevent_incref(bev);
	bufferevent_set_max_single_write(bev, WRITE_BYTES);
	conn->input_cb = evbuffer_add_cb(bufferevent_get_input(bev), on_conn_input, conn);
	conn->output_cb = evbuffer_add_cb(bufferevent_get_output(bev), on_conn_output, conn);
	if (!conn->input_cb || !conn->output_cb)
		die("out of memory");
	event_assign(&conn->turn, base, -1, 0, on_conn_turn, conn);
	evtimer_assign(&conn->timer, base, on_conn_timer, conn);
	http_guard_init(&conn->guard, server->options.max_head_bytes,
	                server->options.max_body_bytes);
	LIST_INSERT_HEAD(&server->conns, conn, link);
	http_server_conn_opened(server, conn);
	http_conn_arm(conn);
	http_conn_wake(conn);
	return bev;
}

/* evhttp's own limits are a second net just above ours. What one connection can make us hold is bounded by the guard
 * while evhttp reads, and by on_conn_input while it is ours. A watermark would bound it too, but at each line of a head
 * that evhttp takes from the buffer it would ask for reading anew: 10,000 instructions a request.
 * test_pipelined_input_during_a_reply_does_not_grow_memory */
void
http_conn_set_limits(struct http_conn *conn)
{
	const struct http_server_options *options = &conn->server->options;

	http_guard_limit(&conn->guard, options->max_head_bytes, options->max_body_bytes);
	if (!conn->evcon)
		return;
	evhttp_connection_set_max_headers_size(conn->evcon,
	                                       (ev_ssize_t)options->max_head_bytes + 1024);
	evhttp_connection_set_max_body_size(conn->evcon,
	                                    (ev_ssize_t)options->max_body_bytes + 1024);
}

/* ------------------------------------------------------------------ end */

/* Tells the handler, at most once, that its call is over. */
static void
conn_call_gone(struct http_conn *conn)
{
	struct http_call *call = conn->call;

	if (!call)
		return;
	conn->call = NULL;
	conn->server->calls--;
	worker_bury(conn->server->worker, call, http_call_free);
	if (call->on_gone)
		call->on_gone(call->arg);
}

/* A client that leaves while its call is lent is the handler's to tell. */
static void
conn_tell_left(struct http_conn *conn)
{
	const struct http_server *server = conn->server;
	bool asked = conn->state == HTTP_CONN_FLUSH;

	if (!server->options.on_left || server->freeing || conn->deaf ||
	    (asked ? evbuffer_get_length(bufferevent_get_output(conn->bev)) == 0
	           : conn->state != HTTP_CONN_READING))
		return;
	server->options.on_left(server->options.left_arg, asked);
}

static void
conn_bury(struct http_conn *conn)
{
	conn_tell_left(conn);
	http_conn_set_state(conn, HTTP_CONN_CLOSED);
	event_del(&conn->turn);
	evtimer_del(&conn->timer);
	evbuffer_remove_cb_entry(bufferevent_get_input(conn->bev), conn->input_cb);
	evbuffer_remove_cb_entry(bufferevent_get_output(conn->bev), conn->output_cb);
	bufferevent_decref(conn->bev);
	LIST_REMOVE(conn, link);
	conn_call_gone(conn);
	http_server_conn_closed(conn->server, conn);
	conn->magic = 0;
	worker_bury(conn->server->worker, conn, free);
}

/* Called by evhttp_connection_free, whoever calls that. */
static void
on_evhttp_close(struct evhttp_connection *evcon, void *arg)
{
	(void)evcon;
	conn_bury(arg);
}

void
http_conn_close(struct http_conn *conn)
{
	/* Not yet adopted: evhttp_free closes it. */
	if (conn->evcon)
		evhttp_connection_free(conn->evcon);
	else
		conn_bury(conn);
}

/* Everything is said. A close now could destroy what the client has not read yet: the kernel answers
 * bytes that arrive for a closed socket with a reset. So we close our half, and throw away what
 * still comes until the client closes too. */
static void
conn_linger(struct http_conn *conn)
{
	if (conn->eof) {
		http_conn_close(conn);
		return;
	}
	tls_close_notify(conn->bev);
	shutdown(conn->fd, SHUT_WR);
	conn->deaf = true;
	conn->discarded = 0;
	http_conn_set_state(conn, HTTP_CONN_LINGER);
	evbuffer_drain(bufferevent_get_input(conn->bev),
	               evbuffer_get_length(bufferevent_get_input(conn->bev)));
}

/* ------------------------------------------------------------------ whose it is */

/* Takes the bufferevent from evhttp. Reading goes on, since it is what tells that the client left.
 *
 * WORKAROUND(libevent-2.1): evhttp stops reading while a call is answered and so does not notice
 * that the client left; and its read callback, should it see bytes then, ends the process.
 * test_a_client_that_leaves_during_a_call_is_noticed_within_50_ms */
void
http_conn_own(struct http_conn *conn)
{
	void *arg;

	if (conn->ours)
		return;
	bufferevent_getcb(conn->bev, &conn->evhttp_read, &conn->evhttp_write, &conn->evhttp_event,
	                  &arg);
	bufferevent_setcb(conn->bev, on_owned_read, on_owned_write, on_owned_event, conn);
	bufferevent_setwatermark(conn->bev, EV_WRITE, HTTP_PENDING_LOW_BYTES, 0);
	conn->ours = true;
	if (conn->tls) {
		bufferevent_enable(conn->bev, EV_READ | EV_WRITE);
		return;
	}
	/* See conn_send. What evhttp wrote, which is "100 Continue", may still wait. */
	bufferevent_disable(conn->bev, EV_WRITE);
	bufferevent_enable(conn->bev, EV_READ);
	if (evbuffer_get_length(bufferevent_get_output(conn->bev)) > 0)
		http_conn_wake(conn);
}

/* Gives it back for the next request. evhttp thinks that it is in the middle of a reply of which
 * nothing waits any more; told that the reply is over, it turns to the next request, or frees the
 * connection when it has no memory for that. A whole request that is here already is read on
 * evhttp's next turn, before an end of input could make evhttp close the connection. */
static void
conn_give_back(struct http_conn *conn)
{
	struct evhttp_request *request = conn->request;
	bool more = evbuffer_get_length(bufferevent_get_input(conn->bev)) > 0;

	conn->request = NULL;
	conn->ours = false;
	bufferevent_setwatermark(conn->bev, EV_WRITE, 0, 0);
	bufferevent_setcb(conn->bev, conn->evhttp_read, conn->evhttp_write, conn->evhttp_event,
	                  conn->evcon);
	http_conn_set_state(conn, HTTP_CONN_IDLE);
	if (more)
		http_conn_set_state(conn, HTTP_CONN_READING);
	evhttp_send_reply_end(request);
	if (conn->state == HTTP_CONN_READING && conn->delivered < conn->guard.requests)
		bufferevent_disable(conn->bev, EV_READ);
}

/* The reply has left. */
static void
conn_flushed(struct http_conn *conn)
{
	if (conn->server->draining)
		conn->closing = true;
	if (conn->closing || (conn->eof && conn->delivered == conn->guard.requests))
		conn_linger(conn);
	else if (conn->guard.state == HTTP_GUARD_REFUSED && conn->delivered == conn->guard.requests)
		http_conn_refuse(conn, conn->guard.status, conn->guard.why);
	else
		conn_give_back(conn);
}

/* WORKAROUND(libevent-2.1): evhttp may have scheduled a look at pipelined bytes, which calls whatever
 * read callback is set with its own argument instead of ours; so this one looks at nothing but the
 * buffer, and what the bytes mean is on_conn_input's business.
 * test_garbage_behind_a_request_is_answered_in_order */
static void
on_owned_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *input = bufferevent_get_input(bev);

	(void)arg;
	if (evbuffer_get_length(input) > HTTP_AHEAD_BYTES)
		evbuffer_drain(input, evbuffer_get_length(input));
}

/* The kernel took some of the output, or all of it. */
static void
conn_sent(struct http_conn *conn)
{
	size_t waiting = evbuffer_get_length(bufferevent_get_output(conn->bev));
	struct http_call *call = conn->call;

	if (call && call->above && waiting <= HTTP_PENDING_LOW_BYTES) {
		call->above = false;
		if (call->on_drain)
			call->on_drain(call->arg);
	} else if (conn->state == HTTP_CONN_FLUSH && waiting == 0) {
		conn_flushed(conn);
	}
}

/* The loop wrote; it was asked to by conn_send, or encrypts. */
static void
on_owned_write(struct bufferevent *bev, void *arg)
{
	struct http_conn *conn = arg;

	if (!conn->tls && evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		bufferevent_disable(bev, EV_WRITE);
	conn_sent(conn);
}

/* Sends what this turn of the loop wrote, without asking the loop first whether it may: there nearly always is
 * room, and asking costs two changes of interest and a turn for each frame. The loop sends what
 * the kernel does not take. A bufferevent leaves its output alone while EV_WRITE is disabled; one of
 * TLS encrypts as it is written to. */
static void
conn_send(struct http_conn *conn)
{
	struct evbuffer *output = bufferevent_get_output(conn->bev);
	int sent = 0;

	if (!conn->ours || conn->tls || bufferevent_get_enabled(conn->bev) & EV_WRITE)
		return;
	if (evbuffer_get_length(output) > 0) {
		evbuffer_unfreeze(output, 1);
		sent = evbuffer_write_atmost(output, conn->fd, (ev_ssize_t)WRITE_BYTES);
		evbuffer_freeze(output, 1);
	}
	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		http_conn_close(conn);
		return;
	}
	if (evbuffer_get_length(output) > 0)
		bufferevent_enable(conn->bev, EV_WRITE);
	conn_sent(conn);
}

static void
on_owned_event(struct bufferevent *bev, short what, void *arg)
{
	struct http_conn *conn = arg;

	if (what == BEV_EVENT_CONNECTED)
		return;
	/* A client may close its half once it sent all; it still gets a reply that is complete. */
	if (what == (BEV_EVENT_READING | BEV_EVENT_EOF) && conn->state == HTTP_CONN_FLUSH) {
		conn->eof = true;
		bufferevent_enable(bev, EV_WRITE);
		return;
	}
	http_conn_close(conn);
}

/* ------------------------------------------------------------------ calls and refusals */

void
http_conn_request(struct http_conn *conn, struct evhttp_request *request)
{
	struct http_server *server = conn->server;
	const char *why = "evhttp and the guard disagree on where the request ends.";
	int status = 400;
	struct http_call *call;

	conn->request = request;
	call = conn->delivered < conn->guard.requests ? http_call_new(conn, request, &status, &why)
	                                              : NULL;
	if (!call) {
		http_conn_refuse(conn, status, why);
		return;
	}
	conn->delivered++;
	conn->call = call;
	conn->closing = http_call_wants_close(call);
	server->calls++;
	http_conn_own(conn);
	http_conn_set_state(conn, HTTP_CONN_CALL);
	server->handler(call, server->handler_arg);
}

void
http_conn_call_end(struct http_conn *conn)
{
	struct http_call *call = conn->call;

	conn->call = NULL;
	conn->server->calls--;
	http_call_free(call);
	http_conn_set_state(conn, HTTP_CONN_FLUSH);
	if (evbuffer_get_length(bufferevent_get_output(conn->bev)) == 0)
		http_conn_wake(conn);
}

void
http_conn_refuse(struct http_conn *conn, int status, const char *why)
{
	struct http_server *server = conn->server;

	http_conn_own(conn);
	conn->closing = true;
	conn->deaf = true;
	http_conn_set_state(conn, HTTP_CONN_FLUSH);
	http_reply_refusal(conn, status, why);
	if (server->options.on_refused)
		server->options.on_refused(server->options.refused_arg, status, why);
}

void
http_conn_write(struct http_conn *conn, const void *p, size_t n)
{
	if (evbuffer_add(bufferevent_get_output(conn->bev), p, n) < 0)
		conn->broken = true;
	http_conn_wake(conn);
}

void
http_conn_break(struct http_conn *conn)
{
	conn->broken = true;
	http_conn_wake(conn);
}

/* Throws away the page that evhttp is about to send; gives its status. */
static int
conn_drop_page(struct http_conn *conn)
{
	struct evbuffer *output = bufferevent_get_output(conn->bev);
	struct evbuffer_iovec line;
	uint64_t status = 400;

	if (evbuffer_peek(output, -1, NULL, &line, 1) >= 1 && line.iov_len >= 12)
		bytes_to_u64((struct bytes){(const char *)line.iov_base + 9, 3}, 599, &status);
	/* A plain bufferevent keeps its output's front frozen; a TLS one does not. */
	evbuffer_unfreeze(output, 1);
	evbuffer_drain(output, evbuffer_get_length(output));
	if (!conn->tls)
		evbuffer_freeze(output, 1);
	return status >= 400 ? (int)status : 400;
}

void
http_conn_wake(struct http_conn *conn)
{
	event_active(&conn->turn, 0, 0);
}

/* What a callback saw but must not do itself. Each branch may free the connection. */
static void
on_conn_turn(evutil_socket_t fd, short what, void *arg)
{
	struct http_conn *conn = arg;

	(void)fd;
	(void)what;
	if (!conn->evcon)
		conn_adopt(conn);
	else if (conn->broken || conn->discarded > LINGER_BYTES)
		http_conn_close(conn);
	else if (conn->state == HTTP_CONN_READING && conn->foreign)
		http_conn_refuse(conn, conn_drop_page(conn), "The request is malformed.");
	else if (conn->state == HTTP_CONN_READING && conn->ours && conn->surplus)
		http_conn_refuse(conn, 503, "Too many connections are open at the moment.");
	else if (conn->state == HTTP_CONN_READING && conn->ours)
		http_conn_refuse(conn, conn->guard.status, conn->guard.why);
	else if (conn->tls)
		conn_sent(conn);
	else
		conn_send(conn);
}

void
http_conn_drain(struct http_conn *conn)
{
	if (conn->state == HTTP_CONN_IDLE)
		http_conn_close(conn);
	else
		http_conn_arm(conn);
}
