/*
 * upstream: the model server of the benchmark. One thread, one epoll; every answer is made before the first request,
 * so that what it costs is little beside a proxy and always the same.
 *
 *	upstream [PORT]		prints "port N" once it listens on 127.0.0.1
 *
 * POST …/chat/completions answers as an OpenAI server would by the request's `stream`, `logprobs` and `include_usage`;
 * without `stream` always the same JSON. Words anywhere in the request change a stream: `uncertain` gives tokens
 * of 2.7 bits, `paced-N` sends a frame each N milliseconds instead of all in one write; `wait-N` sends any answer only
 * after N milliseconds. POST …/embeddings gives as many numbers as `dimensions` says.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "answers.h"

enum {
	REQUEST_MAX = 256 * 1024,
	READ_BYTES = 16 * 1024,
	EVENTS = 256,
	TIME_MAX_MS = 4000,
	WHEEL = 4096, /* slots of a millisecond; more than the longest time */
	DIMENSIONS = 1536,
	DIMENSIONS_MAX = 8192,
};

struct conn {
	int fd;
	char *in; /* owned */
	size_t in_n, in_room;
	const char *out; /* borrowed: what is still to be written of an answer */
	size_t out_n;
	char *rest; /* owned: what a paced stream could not write yet */
	size_t rest_n, rest_room;
	const struct answer *timed; /* what is sent, or goes on, at due_ms; NULL: nothing */
	unsigned part, pace_ms;     /* pace_ms == 0: all of it */
	uint64_t due_ms;
	struct conn *next, **at; /* in a slot of the wheel; at == NULL: in none */
};

struct server {
	int epoll, listener;
	struct conn **by_fd; /* owned */
	size_t by_fd_count;
	struct answers answers;
	struct answer embedding; /* the last one that was asked for */
	unsigned dimensions;
	bool base64;
	struct conn *wheel[WHEEL];
	unsigned timed;
	uint64_t tick_ms; /* up to here the wheel was turned */
};

static _Noreturn void
fail(const char *what)
{
	fprintf(stderr, "upstream: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---------------------------------------------------------------- connections */

static void
wheel_remove(struct server *server, struct conn *c)
{
	if (!c->at)
		return;
	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	c->at = NULL;
	server->timed--;
}

static void
wheel_add(struct server *server, struct conn *c)
{
	struct conn **slot = &server->wheel[c->due_ms % WHEEL];

	c->next = *slot;
	if (c->next)
		c->next->at = &c->next;
	c->at = slot;
	*slot = c;
	server->timed++;
}

static void
conn_close(struct server *server, struct conn *c)
{
	wheel_remove(server, c);
	close(c->fd);
	free(c->in);
	free(c->rest);
	free(c);
}

static void *
grow(void *p, size_t n)
{
	p = realloc(p, n);
	if (!p)
		fail("memory");
	return p;
}

/* How much of it was written; -1: the peer is gone. */
static ssize_t
write_some(int fd, const char *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t k = send(fd, p + done, n - done, MSG_NOSIGNAL);

		if (k < 0 && errno == EAGAIN)
			break;
		if (k < 0 && errno != EINTR)
			return -1;
		if (k > 0)
			done += (size_t)k;
	}
	return (ssize_t)done;
}

/* What waits goes out as far as the peer takes it. False: it is gone. */
static bool
conn_flush(struct conn *c)
{
	ssize_t k;

	if (c->out_n > 0) {
		k = write_some(c->fd, c->out, c->out_n);
		if (k < 0)
			return false;
		c->out += k;
		c->out_n -= (size_t)k;
	}
	if (c->rest_n > 0) {
		k = write_some(c->fd, c->rest, c->rest_n);
		if (k < 0)
			return false;
		c->rest_n -= (size_t)k;
		memmove(c->rest, c->rest + k, c->rest_n);
	}
	return true;
}

/* ---------------------------------------------------------------- answers with a time */

/* Sends the next part with the time in it. False: the peer is gone. */
static bool
conn_send_part(struct conn *c)
{
	const struct answer *answer = c->timed;
	size_t begin = c->part > 0 ? answer->end[c->part - 1] : 0;
	size_t n = answer->end[c->part] - begin;
	char *part;

	if (c->rest_n + n > c->rest_room) {
		c->rest_room = c->rest_n + n;
		c->rest = grow(c->rest, c->rest_room);
	}
	part = c->rest + c->rest_n;
	memcpy(part, answer->text + begin, n);
	mark_write(part + (answer->stamp[c->part] - begin), now_us());
	c->rest_n += n;
	c->part++;
	return conn_flush(c);
}

static bool
conn_send_whole(struct conn *c, const struct answer *answer)
{
	c->out = answer->text;
	c->out_n = answer->n;
	return conn_flush(c);
}

/* What is due now. */
static void
conn_step(struct server *server, struct conn *c, uint64_t now_ms)
{
	const struct answer *answer = c->timed;

	if (!(c->pace_ms > 0 ? conn_send_part(c) : conn_send_whole(c, answer))) {
		conn_close(server, c);
	} else if (c->pace_ms == 0 || c->part == answer->parts) {
		c->timed = NULL;
	} else {
		c->due_ms += c->pace_ms;
		if (c->due_ms <= now_ms)
			c->due_ms = now_ms + 1;
		wheel_add(server, c);
	}
}

/* Not while events are being gone through, for it may close a connection that one of them is about. */
static void
wheel_turn(struct server *server)
{
	uint64_t now_ms = now_us() / 1000;

	while (server->tick_ms < now_ms) {
		struct conn *c;
		uint64_t tick = ++server->tick_ms;

		while ((c = server->wheel[tick % WHEEL])) {
			wheel_remove(server, c);
			conn_step(server, c, now_ms);
		}
	}
}

/* ---------------------------------------------------------------- requests */

static bool
has(const char *text, size_t n, const char *word)
{
	return memmem(text, n, word, strlen(word)) != NULL;
}

/* Is the member there and true? Blanks after its colon are allowed. */
static bool
member_is_true(const char *text, size_t n, const char *member)
{
	const char *end = text + n;
	const char *p = memmem(text, n, member, strlen(member));

	if (!p)
		return false;
	p += strlen(member);
	while (p < end && (*p == ' ' || *p == ':'))
		p++;
	return end - p >= 4 && memcmp(p, "true", 4) == 0;
}

/* The number behind a word, 0 when it is not there, at most max. */
static unsigned
number_after(const char *text, size_t n, const char *word, unsigned max)
{
	const char *p = memmem(text, n, word, strlen(word));
	unsigned long number;

	if (!p)
		return 0;
	p += strlen(word);
	while (*p == ' ' || *p == ':')
		p++;
	number = strtoul(p, NULL, 10);
	return number > max ? max : (unsigned)number;
}

static const struct answer *
embedding_answer(struct server *server, const char *body, size_t n)
{
	unsigned dimensions = number_after(body, n, "\"dimensions\"", DIMENSIONS_MAX);
	bool base64 = has(body, n, "\"base64\"");

	if (dimensions == 0)
		dimensions = DIMENSIONS;
	if (dimensions != server->dimensions || base64 != server->base64) {
		/* The old one is not freed: another connection may be writing it. */
		server->embedding = (struct answer){0};
		answer_make_embedding(&server->embedding, dimensions, base64);
		server->dimensions = dimensions;
		server->base64 = base64;
	}
	return &server->embedding;
}

/* Answers the request of so many bytes. False: the peer is gone. */
static bool
conn_answer(struct server *server, struct conn *c, size_t head_n, size_t n)
{
	const char *body = c->in + head_n;
	size_t body_n = n - head_n, line_n = (size_t)((char *)memchr(c->in, '\n', n) - c->in);
	const struct answer *answer = &server->answers.missing;
	unsigned pace_ms = number_after(c->in, n, "paced-", TIME_MAX_MS);
	unsigned wait_ms = number_after(c->in, n, "wait-", TIME_MAX_MS);

	if (has(c->in, line_n, "/embeddings ")) {
		answer = embedding_answer(server, body, body_n);
	} else if (has(c->in, line_n, "/chat/completions ")) {
		answer = &server->answers.json;
		if (member_is_true(body, body_n, "\"stream\""))
			answer =
			        &server->answers
			                 .streams[member_is_true(body, body_n, "\"logprobs\"")]
			                         [member_is_true(body, body_n, "\"include_usage\"")]
			                         [has(c->in, n, "uncertain")];
	}
	c->part = 0;
	c->pace_ms = answer->parts > 0 ? pace_ms : 0;
	if (c->pace_ms == 0 && wait_ms == 0)
		return conn_send_whole(c, answer);
	/* The first frame of a paced stream comes at once, or after the wait. */
	c->timed = answer;
	if (wait_ms == 0 && !conn_send_part(c))
		return false;
	c->due_ms = now_us() / 1000 + (wait_ms > 0 ? wait_ms : pace_ms);
	wheel_add(server, c);
	return true;
}

/* The length of a whole request at the front of the input, its head's in *head_n; 0: more is to come. */
static size_t
request_length(struct conn *c, size_t *head_n)
{
	const char *end = memmem(c->in, c->in_n, "\r\n\r\n", 4);
	size_t body_n = 0;

	if (!end)
		return 0;
	*head_n = (size_t)(end - c->in) + 4;
	for (const char *p = c->in; p < end;
	     p = (const char *)memchr(p, '\n', (size_t)(end + 2 - p)) + 1) {
		if (strncasecmp(p, "Content-Length:", 15) == 0)
			body_n = strtoul(p + 15, NULL, 10);
	}
	return c->in_n >= *head_n + body_n ? *head_n + body_n : 0;
}

/* A request is answered when the answer before it has gone out. False: the peer is gone. */
static bool
conn_serve(struct server *server, struct conn *c)
{
	size_t n, head_n = 0;

	while (c->out_n == 0 && c->rest_n == 0 && !c->timed && c->in_n > 0 &&
	       (n = request_length(c, &head_n)) > 0) {
		if (!conn_answer(server, c, head_n, n))
			return false;
		c->in_n -= n;
		memmove(c->in, c->in + n, c->in_n + 1);
	}
	return c->in_n < REQUEST_MAX;
}

/* ---------------------------------------------------------------- the loop */

/* A byte of 0 stays behind the input, for the functions that read numbers. False: the peer is gone. */
static bool
conn_read(struct conn *c)
{
	ssize_t k;
	size_t room;

	do {
		if (c->in_n + READ_BYTES + 1 > c->in_room) {
			c->in_room = c->in_n + READ_BYTES + 1;
			c->in = grow(c->in, c->in_room);
		}
		room = c->in_room - c->in_n - 1;
		k = recv(c->fd, c->in + c->in_n, room, 0);
		if (k == 0 || (k < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (k > 0)
			c->in_n += (size_t)k;
		c->in[c->in_n] = '\0';
	} while (k == (ssize_t)room && c->in_n < REQUEST_MAX);
	return true;
}

static void
on_event(struct server *server, struct conn *c, uint32_t events)
{
	bool ok = true;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		ok = conn_read(c);
	if (ok && events & EPOLLOUT)
		ok = conn_flush(c);
	if (!ok || !conn_serve(server, c))
		conn_close(server, c);
}

static void
conn_open(struct server *server, int fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
	struct conn *c = calloc(1, sizeof(*c));
	size_t i = (size_t)fd;
	int on = 1;

	if (!c)
		fail("memory");
	if (i >= server->by_fd_count) {
		server->by_fd_count = i * 2 + 64;
		server->by_fd = grow(server->by_fd, server->by_fd_count * sizeof(struct conn *));
	}
	server->by_fd[i] = c;
	c->fd = fd;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		fail("epoll_ctl");
}

static void
accept_all(struct server *server)
{
	struct sockaddr_in peer;
	socklen_t size = sizeof(peer);
	int fd;

	while ((fd = accept4(server->listener, (struct sockaddr *)&peer, &size,
	                     SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		conn_open(server, fd);
	if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		fail("accept");
}

static void
server_run(struct server *server)
{
	struct epoll_event events[EVENTS];

	for (;;) {
		int count = epoll_wait(server->epoll, events, EVENTS, server->timed > 0 ? 1 : -1);

		if (count < 0 && errno != EINTR)
			fail("epoll_wait");
		if (server->timed == 0)
			server->tick_ms = now_us() / 1000;
		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;

			if (fd == server->listener)
				accept_all(server);
			else
				on_event(server, server->by_fd[fd], events[i].events);
		}
		if (server->timed > 0)
			wheel_turn(server);
	}
}

int
main(int argc, char **argv)
{
	static struct server server;
	struct sockaddr_in address = {.sin_family = AF_INET};
	struct epoll_event event = {.events = EPOLLIN};
	socklen_t size = sizeof(address);
	int on = 1;

	signal(SIGPIPE, SIG_IGN);
	answers_make(&server.answers);
	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	address.sin_port = htons((uint16_t)(argc > 1 ? strtoul(argv[1], NULL, 10) : 0));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	event.data.fd = server.listener;
	if (server.epoll < 0 || server.listener < 0 ||
	    setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(server.listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(server.listener, 4096) < 0 ||
	    getsockname(server.listener, (struct sockaddr *)&address, &size) < 0 ||
	    epoll_ctl(server.epoll, EPOLL_CTL_ADD, server.listener, &event) < 0)
		fail("listen");
	printf("port %u\n", ntohs(address.sin_port));
	fflush(stdout);
	server_run(&server);
}
