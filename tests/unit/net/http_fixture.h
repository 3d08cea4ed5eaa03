/*
 * A server on a free loopback port in a thread of its own, with a handler whose paths do what tests
 * need, and a raw client: plain blocking sockets in the test's thread.
 */
#ifndef HTTP_FIXTURE_H
#define HTTP_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/http_server.h"
#include "net/timer.h"
#include "net/worker.h"
#include "unit.h"

struct job;
struct log;

struct fixture {
	unsigned index; /* of the worker */
	struct http_server_options options;
	struct worker *worker;
	struct http_server *server;
	pthread_t thread;
	bool running;
	uint16_t port;
	char error[256];
	struct log *log;  /* borrowed; may be NULL */
	struct job *last; /* of the server's thread */
	/* What the handler saw; written by the server's thread. */
	atomic_int requests, held, gone, drains, drains_early, refused, refused_status, drained;
	atomic_ullong gone_us, written, age_us;
	atomic_size_t pending_max;
	unsigned connections, calls; /* of do_count */
};

/* A call that the handler keeps: /hold, /stream/N, /flood/N. */
struct job {
	struct fixture *f;
	struct http_call *call;
	struct timer *timer;
	unsigned long left; /* pieces yet to write */
	char piece[65536];
	size_t piece_bytes;
};

static const struct http_header fixture_text = {"Content-Type", "text/plain"};

static inline void
job_free(struct job *job)
{
	timer_free(job->timer);
	free(job);
}

static inline void
on_job_gone(void *arg)
{
	struct job *job = arg;

	atomic_store(&job->f->gone_us, clock_now_us());
	atomic_fetch_add(&job->f->gone, 1);
	job_free(job);
}

static inline void
on_job_step(void *arg)
{
	struct job *job = arg;
	size_t pending;

	while (job->left > 0) {
		http_reply_write(job->call, (struct bytes){job->piece, job->piece_bytes});
		atomic_fetch_add(&job->f->written, job->piece_bytes);
		job->left--;
		pending = http_reply_pending(job->call);
		if (pending > atomic_load(&job->f->pending_max))
			atomic_store(&job->f->pending_max, pending);
		if (job->piece_bytes < 100) {
			timer_arm_ms(job->timer, 0);
			return;
		}
		if (pending > (size_t)256 * 1024)
			return; /* on_job_drain goes on */
	}
	http_reply_end(job->call);
	job_free(job);
}

static inline void
on_job_drain(void *arg)
{
	struct job *job = arg;

	atomic_fetch_add(&job->f->drains, 1);
	if (http_reply_pending(job->call) > 0)
		atomic_fetch_add(&job->f->drains_early, 1);
	on_job_step(job);
}

static inline void
job_start(struct fixture *f, struct http_call *call, unsigned long pieces, size_t piece_bytes)
{
	struct job *job = mem_new(sizeof(*job));

	job->f = f;
	job->call = call;
	job->left = pieces;
	job->piece_bytes = piece_bytes;
	memset(job->piece, 'x', piece_bytes);
	job->timer = timer_new(f->worker, on_job_step, job);
	http_call_watch(call, on_job_gone, on_job_drain, job);
	if (pieces > 0) {
		http_reply_begin(call, 200, &fixture_text, 1);
		timer_arm_ms(job->timer, 0);
	}
	f->last = job;
	atomic_fetch_add(&f->held, 1);
}

/* For fixture_do: answers the last call of /hold. */
static inline void
job_release(struct fixture *f)
{
	http_reply(f->last->call, 200, &fixture_text, 1, bytes_of("released"));
	job_free(f->last);
}

static inline void
fixture_handle(struct http_call *call, void *arg)
{
	struct fixture *f = arg;
	const char *path = http_call_path(call), *header;
	struct bytes body = bytes_of("hello");

	atomic_fetch_add(&f->requests, 1);
	atomic_store(&f->age_us, clock_now_us() - http_call_started_us(call));
	if (strcmp(path, "/hold") == 0) {
		job_start(f, call, 0, 1);
		return;
	}
	if (strncmp(path, "/stream/", 8) == 0) {
		job_start(f, call, strtoul(path + 8, NULL, 10), 20);
		return;
	}
	if (strncmp(path, "/flood/", 7) == 0) {
		job_start(f, call, strtoul(path + 7, NULL, 10), 65536);
		return;
	}
	if (strcmp(path, "/abort") == 0) {
		http_reply_begin(call, 200, &fixture_text, 1);
		http_reply_write(call, body);
		http_reply_abort(call);
		return;
	}
	if (strcmp(path, "/nothing") == 0) {
		http_reply(call, 204, NULL, 0, bytes_of(""));
		return;
	}
	if (strcmp(path, "/inject") == 0) {
		struct http_header bad = {"X-Bad", "one\r\nX-Forged: two"};

		http_reply(call, 200, &bad, 1, body);
		return;
	}
	if (strcmp(path, "/echo") == 0)
		body = http_call_body(call);
	else if (strcmp(path, "/peer") == 0)
		body = bytes_of(http_call_peer(call));
	else if (strcmp(path, "/method") == 0)
		body = bytes_of(http_call_method(call));
	else if (strcmp(path, "/header") == 0)
		body = bytes_of((header = http_call_header(call, HTTP_FIELD_REQUEST_ID)) ? header
		                                                                         : "none");
	else if (strncmp(path, "/path", 5) == 0)
		body = bytes_of(path);
	http_reply(call, 200, &fixture_text, 1, body);
}

static inline void
on_fixture_refused(void *arg, int status, const char *why)
{
	struct fixture *f = arg;

	(void)why;
	atomic_fetch_add(&f->refused, 1);
	atomic_store(&f->refused_status, status);
}

static inline void *
fixture_thread(void *arg)
{
	worker_run(((struct fixture *)arg)->worker);
	return NULL;
}

static inline void
fixture_init(struct fixture *f)
{
	signal(SIGPIPE, SIG_IGN);
	memset(f, 0, sizeof(*f));
	f->options = (struct http_server_options){.max_head_bytes = 16 * 1024,
	                                          .max_body_bytes = 1024 * 1024,
	                                          .read_timeout_ms = 10000,
	                                          .write_timeout_ms = 10000,
	                                          .idle_timeout_ms = 10000,
	                                          .on_refused = on_fixture_refused,
	                                          .refused_arg = f};
}

static inline void
fixture_listen(struct fixture *f, const char *host)
{
	uint16_t port = 0;

	f->worker = worker_new(f->index, f->log);
	ck_assert_ptr_nonnull(f->worker);
	f->server = http_server_new(f->worker, &f->options, fixture_handle, f, f->error,
	                            sizeof(f->error));
	ck_assert_msg(f->server != NULL, "%s", f->error);
	ck_assert_msg(http_server_listen(f->server, host, &port, f->error, sizeof(f->error)), "%s",
	              f->error);
	f->port = http_server_port(f->server);
	ck_assert_uint_gt(f->port, 0);
}

static inline void
fixture_run(struct fixture *f)
{
	ck_assert_int_eq(pthread_create(&f->thread, NULL, fixture_thread, f), 0);
	f->running = true;
}

static inline void
fixture_start(struct fixture *f)
{
	fixture_listen(f, "127.0.0.1");
	fixture_run(f);
}

static inline void
fixture_stop(struct fixture *f)
{
	if (f->running) {
		worker_stop(f->worker);
		pthread_join(f->thread, NULL);
	}
	http_server_free(f->server);
	worker_free(f->worker);
}

struct fixture_errand {
	void (*run)(struct fixture *f);
	struct fixture *f;
	sem_t done;
};

static inline void
on_errand(void *arg)
{
	struct fixture_errand *errand = arg;

	errand->run(errand->f);
	sem_post(&errand->done);
}

/* Runs a function on the server's thread and waits for it. */
static inline void
fixture_do(struct fixture *f, void (*run)(struct fixture *f))
{
	struct fixture_errand errand = {.run = run, .f = f};

	sem_init(&errand.done, 0, 0);
	worker_post(f->worker, on_errand, &errand);
	while (sem_wait(&errand.done) < 0)
		continue;
	sem_destroy(&errand.done);
}

static inline void
do_count(struct fixture *f)
{
	f->connections = http_server_connections(f->server);
	f->calls = http_server_calls(f->server);
}

static inline unsigned
fixture_connections(struct fixture *f)
{
	fixture_do(f, do_count);
	return f->connections;
}

static inline unsigned
fixture_calls(struct fixture *f)
{
	fixture_do(f, do_count);
	return f->calls;
}

/* Waits until *counter reaches n, for at most `ms`. */
static inline bool
wait_for(atomic_int *counter, int n, int ms)
{
	for (int i = 0; i < ms * 5; i++) {
		if (atomic_load(counter) >= n)
			return true;
		usleep(200);
	}
	return atomic_load(counter) >= n;
}

/* ------------------------------------------------------------------ the client */

static inline int
dial(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
	                         .sin_port = htons(port),
	                         .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct timeval patience = {.tv_sec = 20};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	ck_assert_int_ge(fd, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	ck_assert_msg(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0, "connect: %s",
	              strerror(errno));
	return fd;
}

/* True when all of it was sent. */
static inline bool
say_bytes(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		at += sent;
		n -= (size_t)sent;
	}
	return true;
}

static inline bool
say(int fd, const char *text)
{
	return say_bytes(fd, text, strlen(text));
}

/* Reads until the server closes, or the buffer is full. The result is terminated. *reset (may be
 * NULL): the end was a reset, not a close. */
static inline size_t
hear_all(int fd, char *out, size_t size, bool *reset)
{
	size_t n = 0;

	if (reset)
		*reset = false;
	while (n + 1 < size) {
		ssize_t got = recv(fd, out + n, size - 1 - n, 0);

		if (got < 0 && reset)
			*reset = errno == ECONNRESET;
		ck_assert_msg(got >= 0 || errno == ECONNRESET,
		              "the server neither spoke nor closed");
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	out[n] = '\0';
	return n;
}

/* Reads until the text so far ends with `end`. */
static inline void
hear_until(int fd, char *out, size_t size, const char *end)
{
	size_t n = 0, tail = strlen(end);

	out[0] = '\0';
	while (n < tail || strcmp(out + n - tail, end) != 0) {
		ck_assert_uint_lt(n + 1, size);
		ck_assert_msg(recv(fd, out + n, 1, 0) == 1, "closed after: %s", out);
		out[++n] = '\0';
	}
}

/* One round trip on a connection of its own that the server is to close. */
static inline void
ask(struct fixture *f, const char *request, char *out, size_t size)
{
	int fd = dial(f->port);

	ck_assert(say(fd, request));
	hear_all(fd, out, size, NULL);
	close(fd);
}

#define GET(path)       "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define GET_CLOSE(path) "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

#define assert_has(text, part)                                                                     \
	ck_assert_msg(strstr(text, part) != NULL, "no \"%s\" in: %s", part, text)
#define assert_has_not(text, part)                                                                 \
	ck_assert_msg(strstr(text, part) == NULL, "\"%s\" in: %s", part, text)

#endif
