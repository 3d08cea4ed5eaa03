/*
 * The gate before evhttp: callbacks on a connection's input and output that see every byte in the
 * moment in which it is added, before any read callback and before the loop sends it. What
 * wire/http_guard refuses never reaches evhttp, and what evhttp would answer by itself never leaves.
 *
 * They run inside the read or the write, so they free nothing; what follows from what they saw happens on the
 * connection's next turn. The one change they make is that header fields which nothing reads leave the input.
 */
#include "net/http_conn.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define PIECES 8

/* Shows the guard the bytes that were just added, which stand at the buffer's end. */
static void
gate_show(struct http_conn *conn, struct evbuffer *input, size_t added)
{
	uint64_t opaque = http_guard_opaque(&conn->guard);
	struct evbuffer_iovec piece[PIECES];
	struct evbuffer_ptr at;
	size_t skip = opaque < added ? (size_t)opaque : added;

	if (skip > 0)
		http_guard_skip(&conn->guard, skip);
	added -= skip;
	while (added > 0 && conn->guard.state != HTTP_GUARD_REFUSED) {
		size_t seen = 0;
		int n;

		if (evbuffer_ptr_set(input, &at, evbuffer_get_length(input) - added,
		                     EVBUFFER_PTR_SET) < 0)
			die("input shorter than what was added to it");
		n = evbuffer_peek(input, (ev_ssize_t)added, &at, piece, PIECES);
		for (int i = 0; i < n && i < PIECES && seen < added; i++) {
			http_guard_feed(&conn->guard,
			                (struct bytes){piece[i].iov_base, piece[i].iov_len});
			seen += piece[i].iov_len;
		}
		added -= seen;
	}
}

/* The same with bytes that are all there is in the input. evhttp copies each field of a head, name and value, into
 * memory of its own, and frees it again: 2,700 instructions for each that nobody will ask for. */
static void
gate_sift(struct http_conn *conn, struct evbuffer *input, size_t added)
{
	struct evbuffer_iovec piece[PIECES];
	int pieces = evbuffer_peek(input, -1, NULL, piece, PIECES);
	char *kept = conn->server->sifted;
	size_t n = 0;

	if (pieces > PIECES) {
		gate_show(conn, input, added);
		return;
	}
	for (int i = 0; i < pieces; i++)
		n += http_guard_sift(&conn->guard,
		                     (struct bytes){piece[i].iov_base, piece[i].iov_len}, kept + n);
	if (n == added)
		return;
	evbuffer_cb_clear_flags(input, conn->input_cb, EVBUFFER_CB_ENABLED);
	if (evbuffer_drain(input, added) < 0 || evbuffer_add(input, kept, n) < 0)
		http_conn_break(conn);
	evbuffer_cb_set_flags(input, conn->input_cb, EVBUFFER_CB_ENABLED);
}

void
on_conn_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
	struct http_conn *conn = arg;

	if (info->n_added == 0)
		return;
	if (conn->deaf || conn->guard.state == HTTP_GUARD_REFUSED) {
		conn->discarded += info->n_added;
		http_conn_wake(conn);
		return;
	}
	if (conn->state == HTTP_CONN_FRESH || conn->state == HTTP_CONN_IDLE)
		http_conn_set_state(conn, HTTP_CONN_READING);
	/* Whatever it is going to ask; so its body takes no memory. */
	if (!http_server_conn_admit(conn->server, conn)) {
		conn->deaf = true;
		http_conn_own(conn);
		http_conn_wake(conn);
		return;
	}
	if (info->orig_size == 0 && info->n_added <= sizeof(conn->server->sifted) &&
	    http_guard_opaque(&conn->guard) == 0)
		gate_sift(conn, input, info->n_added);
	else
		gate_show(conn, input, info->n_added);
	if (conn->ours && evbuffer_get_length(input) > HTTP_AHEAD_BYTES)
		conn->deaf = conn->closing = true;
	/* Complete requests that came before the refused one are answered first. */
	if (conn->guard.state == HTTP_GUARD_REFUSED && conn->state == HTTP_CONN_READING &&
	    !conn->ours && conn->delivered == conn->guard.requests) {
		http_conn_own(conn);
		http_conn_wake(conn);
	}
}

/* WORKAROUND(libevent-2.1): evhttp answers what it cannot parse with pages of its own and has no
 * hook for that. While it has the connection it writes nothing else but "100 Continue", so other
 * output is noticed here and replaced before the loop sends it.
 * test_what_only_evhttp_refuses_is_answered_in_json */
static bool
is_page_of_evhttp(struct evbuffer *output, const struct evbuffer_cb_info *info)
{
	static const char go_on[] = " 100 Continue";
	struct evbuffer_iovec line;

	return info->orig_size > 0 || evbuffer_peek(output, -1, NULL, &line, 1) < 1 ||
	       !memmem(line.iov_base, line.iov_len, go_on, strlen(go_on));
}

void
on_conn_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
	struct http_conn *conn = arg;

	if (info->n_deleted > 0 || info->orig_size == 0)
		conn->progress_us = clock_now_us();
	if (info->n_added == 0)
		return;
	if (conn->ours) {
		if (info->orig_size == 0)
			http_conn_arm(conn);
	} else if (!conn->foreign && is_page_of_evhttp(output, info)) {
		conn->foreign = true;
		http_conn_wake(conn);
	}
}
