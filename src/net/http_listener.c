/*
 * The listening sockets of a server. Accepting pauses for two reasons that come and go independently: as many
 * connections as may are open only to be turned away (full), or accept failed for want of descriptors or memory
 * (starved, tried again by a timer).
 */
#include "net/http_conn.h"

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

#define BACKLOG 1024

/* What the kernel holds of a reply ahead of what the client's window takes. Left alone it would hold
 * megabytes for a client that does not read, all of it paid for upstream, before anybody could see that
 * the client lags. Test: test_upstream_is_paused_and_nothing_piles_up. */
#define UNSENT_BYTES (128 * 1024)

#define STARVED_RETRY_MS 200

/* One line a minute is enough for a machine that is out of descriptors. */
#define STARVED_LOG_US ((uint64_t)60 * 1000 * 1000)

/* The retry event is always pending, see on_accept_error. */
#define RETRY_FAR_S 86400

struct http_listener {
	struct http_listener *next;
	int fd;                            /* owned */
	struct evhttp_bound_socket *bound; /* owned by evhttp; owns the listener */
	struct evconnlistener *listener;   /* NULL: off the loop */
};

void
http_listeners_update(struct http_server *server)
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
	http_listeners_update(server);
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
	http_listeners_update(server);
	retry_arm(server);
	if (server->starved_log_us && now - server->starved_log_us < STARVED_LOG_US)
		return;
	server->starved_log_us = now;
	if (worker_log(server->worker))
		log_event(worker_log(server->worker), LOG_LEVEL_WARN, "accept_paused",
		          "reason=\"%s\" connections=%u", strerror(reason), server->connections);
}

static bool
listener_enter(struct http_server *server, struct http_listener *l)
{
	/* It listens already (backlog 0), and gets its callback from evhttp_bind_listener. */
	l->listener = evconnlistener_new(worker_base(server->worker), NULL, NULL,
	                                 LEV_OPT_CLOSE_ON_EXEC, 0, l->fd);
	if (!l->listener)
		return false;
	evconnlistener_set_error_cb(l->listener, on_accept_error);
	l->bound = evhttp_bind_listener(server->evhttp, l->listener);
	if (l->bound)
		return true;
	evconnlistener_free(l->listener);
	l->listener = NULL;
	return false;
}

static void
listener_leave(struct http_server *server, struct http_listener *l)
{
	if (l->listener)
		evhttp_del_accept_socket(server->evhttp, l->bound);
	l->listener = NULL;
}

bool
http_listeners_enter(struct http_server *server)
{
	server->retry = evtimer_new(worker_base(server->worker), on_accept_retry, server);
	if (!server->retry)
		return false;
	retry_arm(server);
	for (struct http_listener *l = server->listeners; l; l = l->next) {
		if (!listener_enter(server, l))
			return false;
	}
	http_listeners_update(server);
	return true;
}

void
http_listeners_leave(struct http_server *server)
{
	for (struct http_listener *l = server->listeners; l; l = l->next)
		listener_leave(server, l);
	if (server->retry)
		event_free(server->retry);
	server->retry = NULL;
}

void
http_listeners_close(struct http_server *server)
{
	while (server->listeners) {
		struct http_listener *listener = server->listeners;

		server->listeners = listener->next;
		listener_leave(server, listener);
		close(listener->fd);
		free(listener);
	}
}

/* A listening socket for one address, or -1 with errno. NODELAY and NOTSENT_LOWAT are inherited by
 * what it accepts: without the one a small streamed reply waits 40 ms for an acknowledgement. */
static int
socket_open(const struct addrinfo *a, bool both, bool share)
{
	int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, only_v6 = !both, reuse_port = share, unsent = UNSENT_BYTES, reason;

	if (fd < 0)
		return -1;
	/* Not every kernel that calls itself Linux has it. */
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuse_port, sizeof(reuse_port)) == 0 &&
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

/* The same, for a server. Sockets that share a port share it with whoever else does, a second gateway
 * started by mistake included; so the first worker tries without sharing. */
static int
socket_listen(const struct http_server *server, const struct addrinfo *a, bool both)
{
	bool share = server->options.share_port;

	if (share && worker_index(server->worker) == 0) {
		int trial = socket_open(a, both, false);

		if (trial < 0)
			return -1;
		close(trial);
	}
	return socket_open(a, both, share);
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
	struct http_listener *listener = mem_new(sizeof(*listener));

	listener->fd = fd;
	if (!listener_enter(server, listener)) {
		close(fd);
		free(listener);
		errno = ENOMEM;
		return false;
	}
	listener->next = server->listeners;
	server->listeners = listener;
	if (!server->port)
		server->port = socket_port(fd);
	http_listeners_update(server);
	return true;
}

/* Every interface: one socket for both families, or for IPv4 where there is no IPv6. */
static int
listen_anywhere(const struct http_server *server, uint16_t port)
{
	struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct addrinfo a = {.ai_family = AF_INET6,
	                     .ai_socktype = SOCK_STREAM,
	                     .ai_addr = (struct sockaddr *)&any6,
	                     .ai_addrlen = sizeof(any6)};
	int fd = socket_listen(server, &a, true);

	if (fd >= 0 || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL))
		return fd;
	a.ai_family = AF_INET;
	a.ai_addr = (struct sockaddr *)&any4;
	a.ai_addrlen = sizeof(any4);
	return socket_listen(server, &a, false);
}

/* Each address of a name, all on one port. Families that this machine has not are passed over. */
static bool
listen_on(struct http_server *server, const struct addrinfo *list, uint16_t *port)
{
	bool any = false;

	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		in_port_t n_port = htons(*port);
		int fd;

		memcpy((char *)a->ai_addr + (a->ai_family == AF_INET6
		                                     ? offsetof(struct sockaddr_in6, sin6_port)
		                                     : offsetof(struct sockaddr_in, sin_port)),
		       &n_port, sizeof(n_port));
		fd = socket_listen(server, a, false);
		if (fd < 0 && (errno == EAFNOSUPPORT || (any && errno == EADDRNOTAVAIL)))
			continue;
		if (fd < 0)
			return false;
		*port = socket_port(fd);
		if (!listener_add(server, fd))
			return false;
		any = true;
	}
	return any;
}

bool
http_server_listen(struct http_server *server, const char *host, uint16_t *port, char *error,
                   size_t size)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	int fd, failure;
	bool ok;

	if (!*host || strcmp(host, "*") == 0) {
		fd = listen_anywhere(server, *port);
		ok = fd >= 0 && listener_add(server, fd);
		if (ok)
			*port = socket_port(fd);
	} else {
		failure = getaddrinfo(host, NULL, &hints, &list);
		if (failure) {
			snprintf(error, size, "cannot listen on %s: %s", host,
			         gai_strerror(failure));
			return false;
		}
		ok = listen_on(server, list, port);
	}
	if (!ok)
		snprintf(error, size, "cannot listen on %s:%u: %s", *host ? host : "*", *port,
		         strerror(errno));
	if (list)
		freeaddrinfo(list);
	return ok;
}
