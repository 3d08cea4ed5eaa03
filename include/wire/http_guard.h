/*
 * A strict judge of HTTP/1.1 request framing (RFC 9112) in front of a lenient parser: it sees every
 * byte a client sends, in order, and says where a request ends and whether it must be refused. What
 * two parsers could read differently (the stuff of request smuggling) it refuses.
 *
 * Refused: a bare LF or CR or NUL in the head; a request line that is not METHOD SP target SP
 * HTTP/1.x; field names that are not tokens or are followed by white space; folded fields; an empty
 * name; no Host or two on HTTP/1.1; Content-Length that is not digits, stands twice, or stands with
 * Transfer-Encoding; Transfer-Encoding other than `chunked`, twice, or on HTTP/1.0; chunk sizes that
 * are not plain hexadecimal digits, or chunk data without its CRLF; a head or body over the limits.
 *
 * Pure, no allocation; fed in any cutting it gives the same answers.
 */
#ifndef WIRE_HTTP_GUARD_H
#define WIRE_HTTP_GUARD_H

#include "base/bytes.h"

enum http_guard_state {
	HTTP_GUARD_HEAD,     /* reading a head (or waiting for one) */
	HTTP_GUARD_BODY,     /* reading a body */
	HTTP_GUARD_REFUSED,  /* final */
};

struct http_guard {
	enum http_guard_state state;
	/* Set by HTTP_GUARD_REFUSED: */
	int status;          /* 400, 413, 414, 431, 501, 505 */
	const char *why;     /* static, for the message */
	/* Of the request last completed or in progress: */
	bool chunked;
	bool head_started;   /* at least one byte of the current head was seen */
	uint64_t requests;   /* requests whose last byte was seen */
	/* The rest is internal to http_guard.c. */
	size_t max_head_bytes;
	uint64_t max_body_bytes;
	uint64_t body_left, body_bytes;
	size_t head_bytes, name_bytes;
	uint64_t content_length;
	char name[32];
	char value[32];
	size_t value_bytes;
	uint8_t step;
	uint8_t minor;
	bool has_host, has_length, has_encoding;
};

void http_guard_init(struct http_guard *g, size_t max_head_bytes, uint64_t max_body_bytes);

/* Looks at the next bytes. Stops early at a refusal. Returns the state after them. */
enum http_guard_state http_guard_feed(struct http_guard *g, struct bytes input);

#endif
