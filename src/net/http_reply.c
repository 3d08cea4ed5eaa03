/*
 * Replies: written to the connection's output as they are made. evhttp formats none of them, since
 * it sends a body after HEAD, a wrong length on HTTP/1.0, and spends a printf on each header.
 */
#include "net/http_conn.h"

#include "base/clock.h"
#include "base/mem.h"
#include "wire/api_error.h"

enum { CHUNK_COPIED_BYTES = 4096 };

static const char *
reason_of(int status)
{
	switch (status) {
	case 200: return "OK";
	case 201: return "Created";
	case 202: return "Accepted";
	case 204: return "No Content";
	case 304: return "Not Modified";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 402: return "Payment Required";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 409: return "Conflict";
	case 411: return "Length Required";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 415: return "Unsupported Media Type";
	case 417: return "Expectation Failed";
	case 422: return "Unprocessable Content";
	case 429: return "Too Many Requests";
	case 431: return "Request Header Fields Too Large";
	case 500: return "Internal Server Error";
	case 501: return "Not Implemented";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	case 505: return "HTTP Version Not Supported";
	default: return status < 400 ? "OK" : "Error";
	}
}

/* The Date header's value, made anew once a second. */
static const char *
date_now(struct http_server *server)
{
	time_t now = (time_t)(clock_wall_ms() / 1000);
	struct tm tm;

	if (now != server->date_s && gmtime_r(&now, &tm)) {
		server->date_s = now;
		strftime(server->date, sizeof(server->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	}
	return server->date;
}

/* Control characters become spaces, so that no value can end its line. */
static void
add_header(struct buf *head, const char *name, const char *value)
{
	size_t n = strlen(value);

	buf_add_text(head, name);
	buf_add(head, ": ", 2);
	if (buf_reserve(head, n)) {
		for (size_t i = 0; i < n; i++) {
			unsigned char c = (unsigned char)value[i];

			head->p[head->n++] = (char)((c < 0x20 && c != '\t') || c == 0x7F ? ' ' : c);
		}
	}
	buf_add(head, "\r\n", 2);
}

/* Begins a head in the server's scratch buffer; the caller adds what remains. */
static struct buf *
head_begin(struct http_conn *conn, int status, const struct http_header *headers, size_t count)
{
	struct buf *head = &conn->server->head;

	buf_reset(head);
	buf_add_text(head, "HTTP/1.1 ");
	buf_add_u64(head, (uint64_t)status);
	buf_add(head, " ", 1);
	buf_add_text(head, reason_of(status));
	buf_add_text(head, "\r\nDate: ");
	buf_add_text(head, date_now(conn->server));
	buf_add(head, "\r\n", 2);
	for (size_t i = 0; i < count; i++)
		add_header(head, headers[i].name, headers[i].value);
	if (conn->server->draining)
		conn->closing = true;
	if (conn->closing)
		buf_add_text(head, "Connection: close\r\n");
	return head;
}

static void
head_end(struct http_conn *conn, struct buf *head)
{
	buf_add(head, "\r\n", 2);
	if (head->failed)
		http_conn_break(conn);
	else
		http_conn_write(conn, head->p, head->n);
}

static bool
is_bodyless(int status)
{
	return status < 200 || status == 204 || status == 304;
}

static void
reply_whole(struct http_conn *conn, int status, const struct http_header *headers, size_t count,
            struct bytes body, bool is_head)
{
	struct buf *head = head_begin(conn, status, headers, count);

	if (!is_bodyless(status)) {
		buf_add_text(head, "Content-Length: ");
		buf_add_u64(head, body.n);
		buf_add(head, "\r\n", 2);
	}
	head_end(conn, head);
	if (!is_bodyless(status) && !is_head && body.n > 0)
		http_conn_write(conn, body.p, body.n);
}

void
http_reply(struct http_call *call, int status, const struct http_header *headers, size_t count,
           struct bytes body)
{
	struct http_conn *conn = http_call_check(call)->conn;

	if (call->begun)
		die("a reply is begun twice");
	reply_whole(conn, status, headers, count, body, call->is_head);
	http_conn_call_end(conn);
}

void
http_reply_begin(struct http_call *call, int status, const struct http_header *headers,
                 size_t count)
{
	struct http_conn *conn = http_call_check(call)->conn;
	struct buf *head;

	if (call->begun)
		die("a reply is begun twice");
	call->begun = true;
	call->bodyless = call->is_head || is_bodyless(status);
	call->chunked = !call->http10 && !is_bodyless(status);
	head = head_begin(conn, status, headers, count);
	if (call->chunked)
		buf_add_text(head, "Transfer-Encoding: chunked\r\n");
	head_end(conn, head);
}

/* The size of a chunk as its line has it. */
static void
add_chunk_size(struct buf *out, size_t size)
{
	char digits[2 * sizeof(size)], *p = digits + sizeof(digits);

	do {
		*--p = "0123456789abcdef"[size & 15];
		size >>= 4;
	} while (size);
	buf_add(out, p, (size_t)(digits + sizeof(digits) - p));
	buf_add(out, "\r\n", 2);
}

/* A frame is small: one write of a copy costs less than three. */
static void
write_chunk(struct http_conn *conn, struct bytes piece)
{
	struct buf *chunk = &conn->server->head;
	bool small = piece.n <= CHUNK_COPIED_BYTES;

	buf_reset(chunk);
	add_chunk_size(chunk, piece.n);
	if (small) {
		buf_add_bytes(chunk, piece);
		buf_add(chunk, "\r\n", 2);
	}
	if (chunk->failed) {
		http_conn_break(conn);
		return;
	}
	http_conn_write(conn, chunk->p, chunk->n);
	if (small)
		return;
	http_conn_write(conn, piece.p, piece.n);
	http_conn_write(conn, "\r\n", 2);
}

void
http_reply_write(struct http_call *call, struct bytes piece)
{
	struct http_conn *conn = http_call_check(call)->conn;

	if (!call->begun)
		die("a reply is written before it is begun");
	if (call->bodyless || piece.n == 0)
		return;
	if (call->chunked)
		write_chunk(conn, piece);
	else
		http_conn_write(conn, piece.p, piece.n);
	if (http_reply_pending(call) > HTTP_PENDING_HIGH_BYTES)
		call->above = true;
}

size_t
http_reply_pending(const struct http_call *call)
{
	return evbuffer_get_length(bufferevent_get_output(http_call_check(call)->conn->bev));
}

void
http_reply_end(struct http_call *call)
{
	struct http_conn *conn = http_call_check(call)->conn;

	if (!call->begun)
		die("a reply is ended before it is begun");
	if (call->chunked && !call->bodyless)
		http_conn_write(conn, "0\r\n\r\n", 5);
	http_conn_call_end(conn);
}

void
http_reply_abort(struct http_call *call)
{
	struct http_conn *conn = http_call_check(call)->conn;

	conn->closing = true;
	http_conn_call_end(conn);
}

void
http_reply_refusal(struct http_conn *conn, int status, const char *why)
{
	static const struct http_header headers[] = {{"Content-Type", "application/json"},
	                                             {"Retry-After", "1"}};
	struct api_error error = {0};
	struct buf body;

	api_error_set(&error, status, NULL, NULL, "%s", why);
	buf_init(&body, 0);
	api_error_write(&error, &body);
	reply_whole(conn, status, headers, status == 503 ? 2 : 1, buf_bytes(&body), false);
	buf_fini(&body);
}
