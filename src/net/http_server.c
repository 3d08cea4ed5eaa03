/*
 * The listeners of one worker and what all their connections share. evhttp accepts and parses; each
 * connection is a struct http_conn from the moment in which evhttp asks for its bufferevent.
 *
 * Accepting pauses for two reasons that come and go independently: max_connections are open (full),
 * or accept failed for want of descriptors or memory (starved, tried again by a timer).
 */
#include "net/http_server.h"

#include <errno.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/http_conn.h"

#define BACKLOG 1024

#define STARVED_RETRY_MS 200

/* One line a minute is enough for a machine that is out of descriptors. */
#define STARVED_LOG_US ((uint64_t)60 * 1000 * 1000)

/* The retry event is always pending, see on_accept_error. */
#define RETRY_FAR_S 86400

/* ------------------------------------------------------------------ accepting */

static void
accept_update(struct http_server *server)
{
	bool on = !server->full && !server->starved;

	for (struct http_listener *l = server->listeners; l; l = l->next) {
		if (on)
			evconnlistener_enable(l->listener);
		else
			evconnlistener_disable(l->listener);
	}
}

static void
retry_arm(struct http_server *server)
{
	struct timeval after = {.tv_sec = server->starved ? 0 : RETRY_FAR_S,
	                        .tv_usec = server->starved ? STARVED_RETRY_MS * 1000 : 0};

	evtimer_add(server->retry, &after);
}

static void
on_accept_retry(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *server = arg;

	(void)fd;
	(void)what;
	server->starved = false;
	accept_update(server);
	retry_arm(server);
}

struct retry_search {
	struct evhttp *evhttp;
	struct http_server *found;
};

static int
on_each_event(const struct event_base *base, const struct event *event, void *arg)
{
	struct retry_search *search = arg;
	struct http_server *server;

	(void)base;
	if (event_get_callback(event) != on_accept_retry)
		return 0;
	server = event_get_callback_arg(event);
	if (server->evhttp != search->evhttp)
		return 0;
	search->found = server;
	return 1;
}

/* WORKAROUND(libevent-2.1): when accept fails, a listener without this callback spins and warns at
 * each turn. The argument is evhttp's, not ours, so the server is found through its retry event,
 * which is pending for that reason. test_accepting_pauses_without_descriptors_and_resumes */
static void
on_accept_error(struct evconnlistener *listener, void *arg)
{
	struct retry_search search = {.evhttp = arg};
	int reason = errno;
	struct http_server *server;
	uint64_t now = clock_now_us();

	event_base_foreach_event(evconnlistener_get_base(listener), on_each_event, &search);
	server = search.found;
	if (!server)
		die("a listener fails that belongs to no server");
	server->starved = true;
	accept_update(server);
	retry_arm(server);
	if (server->starved_log_us && now - server->starved_log_us < STARVED_LOG_US)
		return;
	server->starved_log_us = now;
	if (worker_log(server->worker))
		log_event(worker_log(server->worker), LOG_LEVEL_WARN, "accept_paused",
		          "reason=\"%s\" connections=%u", strerror(reason), server->connections);
}

static struct bufferevent *
on_accept(struct event_base *base, void *arg)
{
	(void)base;
	return http_conn_new(arg);
}

static void
on_request(struct evhttp_request *request, void *arg)
{
	struct http_server *server = arg;
	struct evhttp_connection *evcon = evhttp_request_get_connection(request);
	int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(evcon));
	struct http_conn *conn =
	        fd >= 0 && (size_t)fd < server->by_fd_count ? server->by_fd[fd] : NULL;

	/* Only where there was no memory for a bufferevent of ours; nothing guarded that one. */
	if (!conn || conn->evcon != evcon) {
		evhttp_connection_free(evcon);
		return;
	}
	http_conn_request(conn, request);
}

/* ------------------------------------------------------------------ connections come and go */

void
http_server_conn_opened(struct http_server *server)
{
	server->connections++;
	if (server->options.max_connections &&
	    server->connections >= server->options.max_connections) {
		server->full = true;
		accept_update(server);
	}
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
	if (conn->fd >= 0 && server->by_fd[conn->fd] == conn)
		server->by_fd[conn->fd] = NULL;
	server->connections--;
	if (server->full && server->connections < server->options.max_connections) {
		server->full = false;
		accept_update(server);
	}
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
	struct event_base *base = worker_base(worker);

	server->worker = worker;
	server->handler = handler;
	server->handler_arg = arg;
	LIST_INIT(&server->conns);
	buf_init(&server->head, 0);
	options_set(server, options);
	if (!tls_load(options, &server->tls, error, size)) {
		http_server_free(server);
		return NULL;
	}
	server->evhttp = evhttp_new(base);
	server->retry = evtimer_new(base, on_accept_retry, server);
	server->drain = evtimer_new(base, on_drain_step, server);
	if (!server->evhttp || !server->retry || !server->drain) {
		snprintf(error, size, "out of memory");
		http_server_free(server);
		return NULL;
	}
	evhttp_set_bevcb(server->evhttp, on_accept, server);
	evhttp_set_gencb(server->evhttp, on_request, server);
	evhttp_set_allowed_methods(server->evhttp, 0xFFFF);
	retry_arm(server);
	return server;
}

void
http_server_free(struct http_server *server)
{
	struct http_conn *conn;

	if (!server)
		return;
	server->freeing = true;
	if (server->evhttp)
		evhttp_free(server->evhttp); /* closes the listeners and each connection */
	while ((conn = LIST_FIRST(&server->conns)))
		http_conn_close(conn);
	while (server->listeners) {
		struct http_listener *listener = server->listeners;

		server->listeners = listener->next;
		free(listener);
	}
	if (server->retry)
		event_free(server->retry);
	if (server->drain)
		event_free(server->drain);
	tls_server_free(server->tls);
	buf_fini(&server->head);
	free(server->by_fd);
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
	LIST_FOREACH(conn, &server->conns, link)
	{
		http_conn_set_limits(conn);
		http_conn_arm(conn);
	}
	server->full = options->max_connections && server->connections >= options->max_connections;
	accept_update(server);
	return true;
}

/* ------------------------------------------------------------------ listening */

/* A listening socket for one address, or -1 with errno. NODELAY is inherited by what it accepts:
 * without it a small streamed reply waits 40 ms for an acknowledgement. */
static int
socket_listen(const struct addrinfo *a, bool both)
{
	int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, only_v6 = !both, reason;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 &&
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
	    (a->ai_family != AF_INET6 ||
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof(only_v6)) == 0) &&
	    bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	reason = errno;
	close(fd);
	errno = reason;
	return -1;
}

/* The port that a socket is bound to. */
static uint16_t
socket_port(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t size = sizeof(address);
	in_port_t port = 0;

	if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
		return 0;
	if (address.ss_family == AF_INET6)
		memcpy(&port, (char *)&address + offsetof(struct sockaddr_in6, sin6_port), 2);
	else
		memcpy(&port, (char *)&address + offsetof(struct sockaddr_in, sin_port), 2);
	return ntohs(port);
}

static bool
listener_add(struct http_server *server, int fd)
{
	struct event_base *base = worker_base(server->worker);
	struct http_listener *listener;
	struct evconnlistener *lev;
	struct evhttp_bound_socket *bound;

	/* It listens already (backlog 0), and gets its callback from evhttp_bind_listener. */
	lev = evconnlistener_new(base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0,
	                         fd);
	if (!lev) {
		close(fd);
		return false;
	}
	evconnlistener_set_error_cb(lev, on_accept_error);
	bound = evhttp_bind_listener(server->evhttp, lev);
	if (!bound) {
		evconnlistener_free(lev);
		return false;
	}
	listener = mem_new(sizeof(*listener));
	listener->listener = lev;
	listener->bound = bound;
	listener->next = server->listeners;
	server->listeners = listener;
	if (!server->port)
		server->port = socket_port(fd);
	accept_update(server);
	return true;
}

/* Every interface: one socket for both families, or for IPv4 where there is no IPv6. */
static int
listen_anywhere(uint16_t port)
{
	struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct addrinfo a = {.ai_family = AF_INET6,
	                     .ai_socktype = SOCK_STREAM,
	                     .ai_addr = (struct sockaddr *)&any6,
	                     .ai_addrlen = sizeof(any6)};
	int fd = socket_listen(&a, true);

	if (fd >= 0 || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL))
		return fd;
	a.ai_family = AF_INET;
	a.ai_addr = (struct sockaddr *)&any4;
	a.ai_addrlen = sizeof(any4);
	return socket_listen(&a, false);
}

bool
http_server_listen(struct http_server *server, const char *host, uint16_t *port, char *error,
                   size_t size)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
	                         .ai_socktype = SOCK_STREAM,
	                         .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	char service[8];
	int fd, failure;
	bool ok = false;

	if (!*host || strcmp(host, "*") == 0) {
		fd = listen_anywhere(*port);
	} else {
		snprintf(service, sizeof(service), "%u", *port);
		failure = getaddrinfo(host, service, &hints, &list);
		if (failure) {
			snprintf(error, size, "cannot listen on %s: %s", host,
			         gai_strerror(failure));
			return false;
		}
		fd = socket_listen(list, false);
	}
	if (fd < 0)
		snprintf(error, size, "cannot listen on %s:%u: %s", *host ? host : "*", *port,
		         strerror(errno));
	else if (!(ok = listener_add(server, fd)))
		snprintf(error, size, "out of memory");
	if (ok)
		*port = socket_port(fd);
	if (list)
		freeaddrinfo(list);
	return ok;
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
	while (server->listeners) {
		struct http_listener *listener = server->listeners;

		server->listeners = listener->next;
		evhttp_del_accept_socket(server->evhttp, listener->bound);
		free(listener);
	}
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
