/*
 * The client's side of the tests of the HTTP client: a worker, a client, and a tape on which each
 * fetch writes down what it reports. A test runs the loop until all its fetches ended or were
 * cancelled; a loop that is not done after FETCHING_PATIENCE_MS fails the test.
 */
#ifndef FETCHING_H
#define FETCHING_H

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "net/http_client.h"
#include "net/timer.h"
#include "net/worker.h"
#include "peer.h"

enum { FETCHING_PATIENCE_MS = 20000 };

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define OK_HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

struct fetching {
	struct worker *worker;
	struct http_client *client;
	struct timer *patience;
	int left; /* fetches that have not ended */
	bool late;
};

struct tape {
	struct fetching *f;
	struct http_fetch *fetch; /* NULL once it is gone */
	int heads, status, pieces, ends;
	size_t largest, header_bytes;
	struct buf body;
	enum http_fetch_result result;
	char detail[256], header[256];
	enum http_answer_field field; /* looked up at the head */
	struct http_fetch_times times;
	/* Called after the event was written down. */
	void (*at_head)(struct tape *tape);
	void (*at_data)(struct tape *tape);
	void (*at_end)(struct tape *tape);
	void *arg;
};

static inline void
on_fetching_late(void *arg)
{
	struct fetching *f = arg;

	f->late = true;
	worker_stop(f->worker);
}

static inline void
fetching_open_with(struct fetching *f, const struct http_client_options *options)
{
	*f = (struct fetching){0};
	ck_assert(http_client_global_init());
	f->worker = worker_new(0, NULL);
	ck_assert_ptr_nonnull(f->worker);
	f->client = http_client_new(f->worker, options);
	ck_assert_ptr_nonnull(f->client);
	f->patience = timer_new(f->worker, on_fetching_late, f);
}

static inline void
fetching_open(struct fetching *f)
{
	fetching_open_with(f, &(struct http_client_options){.max_idle_connections = 16});
}

static inline void
fetching_close(struct fetching *f)
{
	timer_free(f->patience);
	http_client_free(f->client);
	worker_free(f->worker);
}

/* Runs the loop until `left` is 0. */
static inline void
fetching_run(struct fetching *f)
{
	if (f->left == 0)
		return;
	timer_arm_ms(f->patience, FETCHING_PATIENCE_MS);
	worker_run(f->worker);
	timer_disarm(f->patience);
	ck_assert_msg(!f->late, "the loop is not done: %d left", f->left);
}

static inline void
fetching_done_one(struct fetching *f)
{
	if (--f->left == 0)
		worker_stop(f->worker);
}

static inline void
on_tape_head(void *arg, struct http_fetch *fetch, int status)
{
	struct tape *tape = arg;
	const char *value = http_fetch_header(fetch, tape->field);

	ck_assert_ptr_eq(fetch, tape->fetch);
	ck_assert_int_eq(tape->heads, 0);
	ck_assert_int_eq(tape->ends, 0);
	tape->heads++;
	tape->status = status;
	snprintf(tape->header, sizeof(tape->header), "%s", value ? value : "(none)");
	tape->header_bytes = value ? strlen(value) : 0;
	if (tape->at_head)
		tape->at_head(tape);
}

static inline void
on_tape_data(void *arg, struct http_fetch *fetch, struct bytes piece)
{
	struct tape *tape = arg;

	ck_assert_ptr_eq(fetch, tape->fetch);
	ck_assert_int_eq(tape->heads, 1);
	ck_assert_int_eq(tape->ends, 0);
	ck_assert_uint_gt(piece.n, 0);
	tape->pieces++;
	if (piece.n > tape->largest)
		tape->largest = piece.n;
	buf_add_bytes(&tape->body, piece);
	if (tape->at_data)
		tape->at_data(tape);
}

static inline void
on_tape_end(void *arg, struct http_fetch *fetch, enum http_fetch_result result, const char *detail)
{
	struct tape *tape = arg;

	ck_assert_ptr_eq(fetch, tape->fetch);
	ck_assert_int_eq(tape->ends, 0);
	tape->ends++;
	tape->result = result;
	ck_assert_msg(result == HTTP_FETCH_OK || detail[0], "an end without a reason");
	snprintf(tape->detail, sizeof(tape->detail), "%s", detail);
	tape->times = http_fetch_times(fetch);
	if (tape->at_end)
		tape->at_end(tape);
	tape->fetch = NULL;
	fetching_done_one(tape->f);
}

static const struct http_fetch_events tape_events = {on_tape_head, on_tape_data, on_tape_end};

static inline struct tape *
tape_start(struct tape *tape, struct fetching *f, const struct http_fetch_spec *spec)
{
	tape->f = f;
	f->left++;
	tape->fetch = http_fetch_start(f->client, spec, &tape_events, tape);
	ck_assert_ptr_nonnull(tape->fetch);
	ck_assert_int_eq(tape->heads + tape->pieces + tape->ends, 0);
	return tape;
}

/* Cancels it; nothing may be written on the tape from then on. */
static inline void
tape_cancel(struct tape *tape)
{
	struct http_fetch *fetch = tape->fetch;

	tape->fetch = NULL;
	http_fetch_cancel(fetch);
	fetching_done_one(tape->f);
}

static inline void
tape_fini(struct tape *tape)
{
	buf_fini(&tape->body);
}

static inline bool
tape_body_is(const struct tape *tape, const char *text)
{
	return bytes_is(buf_bytes(&tape->body), text);
}

static inline struct http_target *
target_of_url(const char *url)
{
	char error[200] = "";
	struct http_target *target = http_target_new(url, NULL, 0, error, sizeof(error));

	ck_assert_msg(target, "%s", error);
	return target;
}

static inline struct http_target *
target_of_peer(const struct peer *peer)
{
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/v1/x", peer->port);
	return target_of_url(url);
}

static inline struct http_fetch_spec
spec_post(const struct http_target *target, const char *body)
{
	return (struct http_fetch_spec){.target = target, .method = "POST", .body = bytes_of(body)};
}

/* One POST of "{}" to a target, run to its end. */
static inline void
tape_run(struct tape *tape, struct fetching *f, const struct http_target *target)
{
	struct http_fetch_spec spec = spec_post(target, "{}");

	tape_start(tape, f, &spec);
	fetching_run(f);
	ck_assert_int_eq(tape->ends, 1);
}

#define assert_result(tape, expected)                                                              \
	ck_assert_msg((tape)->result == (expected), "%s instead of %s: %s",                        \
	              http_fetch_result_name((tape)->result), http_fetch_result_name(expected),    \
	              (tape)->detail)

/* Runs one fetch; what came of it is in the peer, which keeps its request. */
static inline void
run_spec(struct peer *peer, struct http_fetch_spec spec, void (*before_loop)(void *arg), void *arg)
{
	static char hello[] = OK_HELLO;
	struct fetching f;
	struct tape tape = {0};
	struct http_target *target;

	peer_start(peer, script_answer_and_close, hello);
	fetching_open(&f);
	target = spec.target ? NULL : target_of_peer(peer);
	if (!spec.target)
		spec.target = target;
	tape_start(&tape, &f, &spec);
	if (before_loop)
		before_loop(arg);
	fetching_run(&f);
	assert_result(&tape, HTTP_FETCH_OK);
	fetching_close(&f);
	http_target_free(target);
	pthread_join(peer->thread, NULL);
	peer->script = NULL;
	tape_fini(&tape);
}

static inline char *
body_of(size_t n)
{
	char *body = malloc(n + 1);

	for (size_t i = 0; i < n; i++)
		body[i] = (char)('a' + i % 23);
	body[n] = '\0';
	return body;
}

#endif
