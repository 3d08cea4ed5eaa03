/*
 * What the connections of one worker share. evhttp accepts and parses; each connection is a
 * struct http_conn from the moment in which evhttp asks for its bufferevent.
 */
#include "net/http_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/counter.h"
#include "base/mem.h"
#include "net/http_conn.h"

/* Connections that may be open at a time only to be turned away, at least. */
#define SURPLUS_MIN 64

static struct bufferevent *
on_accept(struct event_base *base, void *arg)
{
	(void)base;
	return http_conn_new(arg);
}

static struct http_conn *
conn_at(const struct http_server *server, int fd)
{
	return fd >= 0 && (size_t)fd < server->by_fd_count ? server->by_fd[fd] : NULL;
}

static void
on_request(struct evhttp_request *request, void *arg)
{
	struct http_server *server = arg;
	struct evhttp_connection *evcon = evhttp_request_get_connection(request);
	struct http_conn *conn =
	        conn_at(server, bufferevent_getfd(evhttp_connection_get_bufferevent(evcon)));

	/* Only where there was no memory for a bufferevent of ours; nothing guarded that one. */
	if (!conn || conn->evcon != evcon) {
		evhttp_connection_free(evcon);
		return;
	}
	http_conn_request(conn, request);
}

/* ------------------------------------------------------------------ connections come and go */

/* Takes one of the places that servers may share. */
static bool
place_take(struct http_server *server)
{
	return counter_enter(server->places, server->options.max_connections);
}

unsigned
http_server_surplus_max(unsigned max_connections)
{
	return max_connections / 8 > SURPLUS_MIN ? max_connections / 8 : SURPLUS_MIN;
}

/* The number of surplus connections, or the limit, changed. */
static void
server_update_full(struct http_server *server)
{
	unsigned max = server->options.max_connections;
	bool full = max > 0 && server->surplus >= http_server_surplus_max(max);

	if (full == server->full)
		return;
	server->full = full;
	http_listeners_update(server);
}

void
http_server_conn_opened(struct http_server *server, struct http_conn *conn)
{
	conn->surplus = !place_take(server);
	server->surplus += conn->surplus;
	if (++server->connections > server->most_connections)
		server->most_connections = server->connections;
	server_update_full(server);
}

bool
http_server_conn_admit(struct http_server *server, struct http_conn *conn)
{
	if (conn->surplus && place_take(server)) {
		conn->surplus = false;
		server->surplus--;
		server_update_full(server);
	}
	return !conn->surplus;
}

void
http_server_conn_adopted(struct http_server *server, struct http_conn *conn)
{
	size_t fd = (size_t)conn->fd;

	if (fd >= server->by_fd_count) {
		size_t count = fd * 2 + 64;

		server->by_fd = mem_resize(server->by_fd, count, sizeof(struct http_conn *));
		memset(server->by_fd + server->by_fd_count, 0,
		       (count - server->by_fd_count) * sizeof(struct http_conn *));
		server->by_fd_count = count;
	}
	server->by_fd[fd] = conn;
}

static void
event_soon(struct event *event)
{
	static const struct timeval now = {0, 0};

	evtimer_add(event, &now);
}

void
http_server_conn_closed(struct http_server *server, struct http_conn *conn)
{
	if (conn_at(server, conn->fd) == conn)
		server->by_fd[conn->fd] = NULL;
	server->connections--;
	if (conn->surplus)
		server->surplus--;
	else
		counter_leave(server->places);
	server_update_full(server);
	if (server->draining && !server->connections && !server->freeing)
		event_soon(server->drain);
}

/* ------------------------------------------------------------------ birth and end */

static void
options_set(struct http_server *server, const struct http_server_options *options)
{
	server->options = *options;
	/* Read already; the texts are the caller's. */
	server->options.tls_certificate = server->options.tls_key = NULL;
}

/* *tls: NULL where none is asked for. */
static bool
tls_load(const struct http_server_options *options, struct tls_server **tls, char *error,
         size_t size)
{
	*tls = NULL;
	if (!options->tls_certificate && !options->tls_key)
		return true;
	if (!options->tls_certificate || !options->tls_key) {
		snprintf(error, size, "TLS needs both a certificate and a key");
		return false;
	}
	*tls = tls_server_new(options->tls_certificate, options->tls_key, error, size);
	return *tls != NULL;
}

static void on_drain_step(evutil_socket_t fd, short what, void *arg);

struct http_server *
http_server_new(struct worker *worker, const struct http_server_options *options,
                http_handler *handler, void *arg, char *error, size_t size)
{
	struct http_server *server = mem_new(sizeof(*server));

	server->worker = worker;
	server->handler = handler;
	server->handler_arg = arg;
	server->places = options->places ? options->places : &server->own_places;
	LIST_INIT(&server->conns);
	buf_init(&server->head, 0);
	options_set(server, options);
	if (!tls_load(options, &server->tls, error, size)) {
		http_server_free(server);
		return NULL;
	}
	if (!http_server_enter(server)) {
		snprintf(error, size, "out of memory");
		http_server_free(server);
		return NULL;
	}
	return server;
}

bool
http_server_enter(struct http_server *server)
{
	struct event_base *base = worker_base(server->worker);

	server->evhttp = evhttp_new(base);
	server->drain = evtimer_new(base, on_drain_step, server);
	if (!server->evhttp || !server->drain || !http_listeners_enter(server))
		return false;
	evhttp_set_bevcb(server->evhttp, on_accept, server);
	evhttp_set_gencb(server->evhttp, on_request, server);
	evhttp_set_allowed_methods(server->evhttp, 0xFFFF);
	return true;
}

void
http_server_leave(struct http_server *server)
{
	http_listeners_leave(server);
	if (server->evhttp)
		evhttp_free(server->evhttp); /* closes each connection */
	if (server->drain)
		event_free(server->drain);
	server->evhttp = NULL;
	server->drain = NULL;
	server->most_connections = 0;
	free(server->by_fd);
	server->by_fd = NULL;
	server->by_fd_count = 0;
}

void
http_server_free(struct http_server *server)
{
	struct http_conn *conn;

	if (!server)
		return;
	server->freeing = true;
	http_listeners_close(server);
	http_server_leave(server);
	while ((conn = LIST_FIRST(&server->conns)))
		http_conn_close(conn);
	tls_server_free(server->tls);
	buf_fini(&server->head);
	free(server);
}

bool
http_server_reload(struct http_server *server, const struct http_server_options *options,
                   char *error, size_t size)
{
	struct http_conn *conn;
	struct tls_server *tls;

	if (!tls_load(options, &tls, error, size))
		return false;
	tls_server_free(server->tls);
	server->tls = tls;
	options_set(server, options);
	for (conn = LIST_FIRST(&server->conns); conn; conn = LIST_NEXT(conn, link)) {
		http_conn_set_limits(conn);
		http_conn_arm(conn);
	}
	server_update_full(server);
	return true;
}

uint16_t
http_server_port(const struct http_server *server)
{
	return server->port;
}

unsigned
http_server_connections(const struct http_server *server)
{
	return server->connections;
}

unsigned
http_server_most_connections(const struct http_server *server)
{
	return server->most_connections;
}

unsigned
http_server_calls(const struct http_server *server)
{
	return server->calls;
}

/* ------------------------------------------------------------------ draining */

/* The first turn after http_server_drain, when the listeners have accepted what the kernel had for
 * them: closing them earlier would reset clients whose connection the kernel had accepted. And
 * whenever the last connection closed. */
static void
on_drain_step(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *server = arg;

	(void)fd;
	(void)what;
	http_listeners_close(server);
	if (server->connections || server->drained)
		return;
	server->drained = true;
	server->on_drained(server->drained_arg);
}

void
http_server_drain(struct http_server *server, void (*on_drained)(void *arg), void *arg)
{
	struct http_conn *conn, *next;

	if (server->draining)
		return;
	server->draining = true;
	server->drain_us = clock_now_us();
	server->on_drained = on_drained;
	server->drained_arg = arg;
	for (conn = LIST_FIRST(&server->conns); conn; conn = next) {
		next = LIST_NEXT(conn, link);
		http_conn_drain(conn);
	}
	event_soon(server->drain);
}
