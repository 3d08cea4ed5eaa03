/*
 * A scripted server for the tests of the HTTP client: a thread that runs one function, which accepts
 * connections and reads and writes bytes as it likes. All waits end after PEER_PATIENCE_MS, so a
 * script never hangs; what it saw is read by the test after peer_join.
 */
#ifndef PEER_H
#define PEER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

enum { PEER_PATIENCE_MS = 10000, PEER_REQUEST_MAX = 4 << 20 };

struct peer {
	int listener, fd; /* fd: the connection accepted last, or -1 */
	uint16_t port;
	pthread_t thread;
	void (*script)(struct peer *peer);
	void *arg;     /* for the script */
	char *request; /* the last one, terminated */
	size_t request_bytes, head_bytes;
	atomic_bool stop;
	int accepts, requests;
	uint64_t ended_us; /* when the other side closed or reset; 0: it did not */
};

static inline void *
peer_main(void *arg)
{
	struct peer *peer = arg;

	peer->script(peer);
	if (peer->fd >= 0)
		close(peer->fd);
	peer->fd = -1;
	return NULL;
}

/* A listener without a thread: nobody accepts. */
static inline void
peer_listen(struct peer *peer)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);

	*peer = (struct peer){.fd = -1};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	peer->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (peer->listener < 0 ||
	    bind(peer->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(peer->listener, 512) < 0 ||
	    getsockname(peer->listener, (struct sockaddr *)&address, &size) < 0)
		abort();
	peer->port = ntohs(address.sin_port);
	peer->request = malloc(PEER_REQUEST_MAX + 1);
}

static inline void
peer_start(struct peer *peer, void (*script)(struct peer *peer), void *arg)
{
	peer_listen(peer);
	peer->script = script;
	peer->arg = arg;
	if (pthread_create(&peer->thread, NULL, peer_main, peer) != 0)
		abort();
}

static inline void
peer_join(struct peer *peer)
{
	if (peer->script)
		pthread_join(peer->thread, NULL);
	close(peer->listener);
	free(peer->request);
	peer->request = NULL;
}

static inline bool
peer_wait(int fd, short events, int ms)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, ms) == 1;
}

static inline bool
peer_accept(struct peer *peer)
{
	int one = 1;

	if (peer->fd >= 0)
		close(peer->fd);
	peer->fd = -1;
	if (!peer_wait(peer->listener, POLLIN, PEER_PATIENCE_MS))
		return false;
	peer->fd = accept(peer->listener, NULL, NULL);
	if (peer->fd < 0)
		return false;
	setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	peer->accepts++;
	return true;
}

/* The next request of the connection, its head and as much of a body as Content-Length says. */
static inline bool
peer_read_request(struct peer *peer)
{
	size_t n = 0, want = SIZE_MAX;

	peer->head_bytes = 0;
	while (n < want && n < PEER_REQUEST_MAX) {
		ssize_t got;
		const char *end, *length;

		if (!peer_wait(peer->fd, POLLIN, PEER_PATIENCE_MS))
			return false;
		got = recv(peer->fd, peer->request + n, PEER_REQUEST_MAX - n, 0);
		if (got <= 0)
			return false;
		n += (size_t)got;
		peer->request[n] = '\0';
		end = strstr(peer->request, "\r\n\r\n");
		if (!end || want != SIZE_MAX)
			continue;
		peer->head_bytes = (size_t)(end - peer->request) + 4;
		want = peer->head_bytes;
		length = strcasestr(peer->request, "\r\nContent-Length:");
		if (length && length < end)
			want += strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
	}
	peer->request_bytes = n;
	peer->requests++;
	return true;
}

static inline bool
peer_send_bytes(struct peer *peer, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(peer->fd, p, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		p += sent;
		n -= (size_t)sent;
	}
	return true;
}

static inline bool
peer_send(struct peer *peer, const char *text)
{
	return peer_send_bytes(peer, text, strlen(text));
}

/* Accepts, reads a request, sends the answer. */
static inline bool
peer_serve(struct peer *peer, const char *answer)
{
	return peer_accept(peer) && peer_read_request(peer) && peer_send(peer, answer);
}

static inline void
peer_close(struct peer *peer)
{
	close(peer->fd);
	peer->fd = -1;
}

static inline void
peer_reset(struct peer *peer)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	peer_close(peer);
}

/* Reads until the other side closes or resets. */
static inline bool
peer_await_end(struct peer *peer)
{
	char sink[65536];

	while (peer_wait(peer->fd, POLLIN, PEER_PATIENCE_MS)) {
		if (recv(peer->fd, sink, sizeof(sink), 0) > 0)
			continue;
		peer->ended_us = clock_now_us();
		return true;
	}
	return false;
}

/* Accepts, reads a request, sends the answer and waits for the other side's end. */
static inline void
script_answer_and_await_end(struct peer *peer)
{
	if (peer_serve(peer, peer->arg))
		peer_await_end(peer);
}

/* The same, but closes at once. */
static inline void
script_answer_and_close(struct peer *peer)
{
	peer_serve(peer, peer->arg);
}

/* One answer to each request of each connection, until accepting takes too long or peer->stop. */
static inline void
script_answer_always(struct peer *peer)
{
	while (!atomic_load(&peer->stop) && peer_accept(peer)) {
		while (peer_read_request(peer) && peer_send(peer, peer->arg))
			;
	}
}

/* Ends script_answer_always. */
static inline void
peer_stop(struct peer *peer)
{
	atomic_store(&peer->stop, true);
	shutdown(peer->listener, SHUT_RDWR);
	peer_join(peer);
}

#endif
