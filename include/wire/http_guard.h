/*
 * A strict judge of HTTP/1.1 request framing (RFC 9112) in front of a lenient parser: it sees every
 * byte a client sends, in order, and says where a request ends and whether it must be refused. What
 * two parsers could read differently (the stuff of request smuggling) it refuses.
 *
 * Refused with 400: a bare LF or CR, a NUL or another control byte in the head; a request line that
 * is not METHOD SP target SP HTTP/1.x; a target that is not a path, an http(s) URL or the `*` of
 * OPTIONS; field names that are not tokens or are followed by white space; folded fields; an empty
 * name; no Host on HTTP/1.1, or two; Content-Length that is not digits, stands twice, or stands with
 * Transfer-Encoding; Transfer-Encoding other than `chunked`, twice, or on HTTP/1.0; chunk sizes that
 * are not plain hexadecimal digits (extensions too), or chunk data without its CRLF; a body on HEAD.
 * Refused otherwise: 413 a body over the limit, 414 a target and 431 a head over the limit, 417 an
 * Expect other than 100-continue, 501 a method other than GET HEAD POST PUT PATCH DELETE OPTIONS,
 * 505 another version of HTTP.
 *
 * Pure, no allocation; fed in any cutting it gives the same answers.
 */
#ifndef WIRE_HTTP_GUARD_H
#define WIRE_HTTP_GUARD_H

#include "base/bytes.h"
#include "wire/http_field.h"

enum http_guard_state {
	HTTP_GUARD_HEAD,    /* reading a head (or waiting for one) */
	HTTP_GUARD_BODY,    /* reading a body */
	HTTP_GUARD_REFUSED, /* final */
};

struct http_guard {
	enum http_guard_state state;
	/* Set by HTTP_GUARD_REFUSED: */
	int status;      /* 400, 413, 414, 417, 431, 501, 505 */
	const char *why; /* static, a sentence for the message */
	/* Of the request last completed or in progress: */
	bool chunked;
	bool head_started; /* at least one byte of it was seen, and it is not complete */
	uint64_t requests; /* requests whose last byte was seen */
	/* The rest is internal to http_guard.c. */
	size_t max_head_bytes;
	uint64_t max_body_bytes;
	uint64_t body_left;  /* of the body or chunk now being read */
	uint64_t body_bytes; /* of all chunks announced so far */
	uint64_t content_length;
	size_t head_bytes;   /* trailers included */
	size_t token_bytes;  /* length of the method, target start, name or value last read */
	size_t chunk_digits; /* of the chunk size being read */
	char token[HTTP_FIELD_NAME_MAX]; /* its first bytes */
	uint8_t step;
	uint8_t field;     /* enum http_field: which is being read, or was last */
	uint8_t method;    /* which of the methods */
	uint8_t minor;     /* HTTP/1.minor */
	bool method_lower; /* a lower-case letter in it: not a method of ours */
	bool value_ended;  /* white space came after the value's one word */
	bool has_host, has_length, has_encoding;
};

void http_guard_init(struct http_guard *g, size_t max_head_bytes, uint64_t max_body_bytes);

/* Other limits, from now on. */
void http_guard_limit(struct http_guard *g, size_t max_head_bytes, uint64_t max_body_bytes);

/* Looks at the next bytes. Stops early at a refusal. Returns the state after them. */
enum http_guard_state http_guard_feed(struct http_guard *g, struct bytes input);

/* As http_guard_feed, and puts into kept[input.n] what is left of these bytes without the header fields that
 * nothing here reads (http_field.h), as far as a field lies in them as a whole. Returns how many are left. */
size_t http_guard_sift(struct http_guard *g, struct bytes input, char *kept);

/* How many of the coming bytes are body, whatever they are: the caller may pass up to so many by
 * http_guard_skip instead of showing them to http_guard_feed. */
uint64_t http_guard_opaque(const struct http_guard *g);
void http_guard_skip(struct http_guard *g, uint64_t n);

#endif
