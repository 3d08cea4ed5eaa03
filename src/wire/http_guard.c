/*
 * One step per byte; bodies are skipped, never looked at. The steps stand in the order in which a
 * request has its parts (RFC 9112). Trailers go through the same grammar as the head's fields, but
 * none of them matters.
 */
#include "wire/http_guard.h"

#include <strings.h>

#include "wire/http_bytes.h"

enum step {
	STEP_METHOD,
	STEP_TARGET,
	STEP_VERSION,
	STEP_LINE_LF,
	STEP_FIELD, /* at the first byte of a line after the request line */
	STEP_NAME,
	STEP_VALUE,
	STEP_VALUE_LF,
	STEP_HEAD_LF,
	STEP_LENGTH_BODY,
	STEP_CHUNK_SIZE,
	STEP_CHUNK_SIZE_LF,
	STEP_CHUNK_DATA,
	STEP_CHUNK_DATA_CR,
	STEP_CHUNK_DATA_LF,
	STEP_TRAILER,
	STEP_TRAILER_NAME,
	STEP_TRAILER_VALUE,
	STEP_TRAILER_VALUE_LF,
	STEP_TRAILER_LF,
};

enum method { METHOD_UNKNOWN, METHOD_HEAD, METHOD_OPTIONS, METHOD_OTHER };

/* More digits than any size needs are a way to hide one. */
#define CHUNK_DIGITS_MAX 16

void
http_guard_init(struct http_guard *g, size_t max_head_bytes, uint64_t max_body_bytes)
{
	*g = (struct http_guard){.max_head_bytes = max_head_bytes,
	                         .max_body_bytes = max_body_bytes};
}

void
http_guard_limit(struct http_guard *g, size_t max_head_bytes, uint64_t max_body_bytes)
{
	g->max_head_bytes = max_head_bytes;
	g->max_body_bytes = max_body_bytes;
}

static void
refuse(struct http_guard *g, int status, const char *why)
{
	g->state = HTTP_GUARD_REFUSED;
	g->status = status;
	g->why = why;
}

static void
token_start(struct http_guard *g)
{
	g->token_bytes = 0;
}

static void
token_add(struct http_guard *g, unsigned char c)
{
	if (g->token_bytes < sizeof(g->token))
		g->token[g->token_bytes] = (char)c;
	g->token_bytes++;
}

static void
token_add_all(struct http_guard *g, const char *p, size_t n)
{
	size_t room = sizeof(g->token) - g->token_bytes;

	if (g->token_bytes < sizeof(g->token))
		memcpy(g->token + g->token_bytes, p, n < room ? n : room);
	g->token_bytes += n;
}

/* Inline, so that each length is known. */
static inline bool
token_is(const struct http_guard *g, const char *text)
{
	size_t n = strlen(text);

	return g->token_bytes == n && strncasecmp(g->token, text, n) == 0;
}

static bool
token_begins(const struct http_guard *g, const char *text)
{
	size_t n = strlen(text);

	return g->token_bytes >= n && strncasecmp(g->token, text, n) == 0;
}

static enum method
method_of(const struct http_guard *g)
{
	static const char *const others[] = {"get", "post", "put", "patch", "delete"};

	if (g->method_lower)
		return METHOD_UNKNOWN;
	if (token_is(g, "head"))
		return METHOD_HEAD;
	if (token_is(g, "options"))
		return METHOD_OPTIONS;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (token_is(g, others[i]))
			return METHOD_OTHER;
	}
	return METHOD_UNKNOWN;
}

static void
on_method_byte(struct http_guard *g, unsigned char c)
{
	if (g->token_bytes == 0) {
		g->minor = 0;
		g->method_lower = false;
		g->chunked = g->has_host = g->has_length = g->has_encoding = false;
		g->content_length = g->body_bytes = g->body_left = 0;
	}
	if (c == ' ' && g->token_bytes > 0) {
		g->method = (uint8_t)method_of(g);
		g->step = STEP_TARGET;
		token_start(g);
	} else if (http_byte_is(HTTP_BYTE_TOKEN, c)) {
		g->method_lower |= c >= 'a' && c <= 'z';
		token_add(g, c);
	} else {
		refuse(g, 400, "The request line must begin with a method and a space.");
	}
}

static bool
is_target(const struct http_guard *g)
{
	if (token_is(g, "*"))
		return g->method == METHOD_OPTIONS || g->method == METHOD_UNKNOWN;
	return token_begins(g, "/") ||
	       (token_begins(g, "http://") && g->token_bytes > strlen("http://")) ||
	       (token_begins(g, "https://") && g->token_bytes > strlen("https://")) ||
	       g->method == METHOD_UNKNOWN;
}

static void
on_target_byte(struct http_guard *g, unsigned char c)
{
	if (c == ' ' && g->token_bytes > 0 && is_target(g)) {
		g->step = STEP_VERSION;
		token_start(g);
	} else if (http_byte_is(HTTP_BYTE_TARGET, c)) {
		token_add(g, c);
	} else {
		refuse(g, 400, "The request target must be a path or an http URL.");
	}
}

static void
on_version_byte(struct http_guard *g, unsigned char c)
{
	static const char form[] = "HTTP/1.";
	size_t at = g->token_bytes;

	if (at == 5 && c >= '0' && c <= '9' && c != '1') {
		refuse(g, 505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
	} else if (at < strlen(form) && c == (unsigned char)form[at]) {
		token_add(g, c);
	} else if (at == strlen(form) && c >= '0' && c <= '9') {
		g->minor = (uint8_t)(c - '0');
		token_add(g, c);
	} else if (at == strlen(form) + 1 && c == '\r') {
		g->step = STEP_LINE_LF;
	} else {
		refuse(g, 400, "The request line must end with a version such as HTTP/1.1.");
	}
}

static void
on_line_end(struct http_guard *g, unsigned char c, enum step next)
{
	if (c == '\n')
		g->step = (uint8_t)next;
	else
		refuse(g, 400, "A line must end with CR and LF.");
}

/* The field's value decides what the guard does. */
static bool
is_about_framing(const struct http_guard *g)
{
	return g->field == HTTP_FIELD_HOST || g->field == HTTP_FIELD_CONTENT_LENGTH ||
	       g->field == HTTP_FIELD_TRANSFER_ENCODING || g->field == HTTP_FIELD_EXPECT;
}

static void
on_field_start(struct http_guard *g)
{
	size_t n = g->token_bytes;
	bool *seen = NULL;

	g->value_ended = false;
	g->field = HTTP_FIELD_OTHER;
	if (n <= sizeof(g->token))
		g->field = (uint8_t)http_field_find((struct bytes){g->token, n});
	if (g->field == HTTP_FIELD_HOST)
		seen = &g->has_host;
	else if (g->field == HTTP_FIELD_CONTENT_LENGTH)
		seen = &g->has_length;
	else if (g->field == HTTP_FIELD_TRANSFER_ENCODING)
		seen = &g->has_encoding;
	if (seen && *seen)
		refuse(g, 400, "Host, Content-Length and Transfer-Encoding may stand once.");
	else if (seen)
		*seen = true;
	token_start(g);
}

static void
on_name_byte(struct http_guard *g, unsigned char c, enum step end, enum step value)
{
	bool first = g->step != STEP_NAME && g->step != STEP_TRAILER_NAME;

	if (first)
		token_start(g);
	if (first && c == '\r') {
		g->step = (uint8_t)end;
	} else if (http_byte_is(HTTP_BYTE_TOKEN, c)) {
		g->step = value == STEP_VALUE ? STEP_NAME : STEP_TRAILER_NAME;
		token_add(g, c);
	} else if (!first && c == ':') {
		g->step = (uint8_t)value;
		if (value == STEP_VALUE)
			on_field_start(g);
	} else {
		refuse(g, 400, "A field name must be a token followed by a colon.");
	}
}

/* The value of such a field is one word; white space may stand around it. */
static void
on_word_byte(struct http_guard *g, unsigned char c)
{
	if (c == ' ' || c == '\t') {
		g->value_ended = g->token_bytes > 0;
		return;
	}
	if (g->value_ended) {
		if (g->field == HTTP_FIELD_EXPECT)
			refuse(g, 417, "Only Expect: 100-continue is understood.");
		else
			refuse(g, 400, "Host, Content-Length and Transfer-Encoding are one word.");
		return;
	}
	token_add(g, c);
	if (g->field != HTTP_FIELD_CONTENT_LENGTH)
		return;
	if (c < '0' || c > '9')
		refuse(g, 400, "Content-Length must be digits.");
	else if (__builtin_mul_overflow(g->content_length, (uint64_t)10, &g->content_length) ||
	         __builtin_add_overflow(g->content_length, (uint64_t)(c - '0'), &g->content_length))
		refuse(g, 413, "The request body is too large.");
}

static void
on_value_end(struct http_guard *g)
{
	g->step = STEP_VALUE_LF;
	if (g->field == HTTP_FIELD_CONTENT_LENGTH) {
		if (g->token_bytes == 0)
			refuse(g, 400, "Content-Length must be digits.");
	} else if (g->field == HTTP_FIELD_TRANSFER_ENCODING) {
		g->chunked = token_is(g, "chunked");
		if (!g->chunked)
			refuse(g, 400, "Transfer-Encoding must be chunked.");
	} else if (g->field == HTTP_FIELD_EXPECT) {
		if (g->minor > 0 && !token_is(g, "100-continue"))
			refuse(g, 417, "Only Expect: 100-continue is understood.");
	}
}

static void
on_value_byte(struct http_guard *g, unsigned char c)
{
	if (c == '\r')
		on_value_end(g);
	else if (!http_byte_is(HTTP_BYTE_VALUE, c))
		refuse(g, 400, "A field value must not hold control characters.");
	else if (is_about_framing(g))
		on_word_byte(g, c);
}

static void
on_request_end(struct http_guard *g)
{
	g->requests++;
	g->state = HTTP_GUARD_HEAD;
	g->step = STEP_METHOD;
	g->head_started = false;
	g->head_bytes = 0;
	token_start(g);
}

static void
on_head_end(struct http_guard *g)
{
	if (g->method == METHOD_UNKNOWN) {
		refuse(g, 501, "The request method is not implemented.");
	} else if (g->minor > 0 && !g->has_host) {
		refuse(g, 400, "HTTP/1.1 needs a Host field.");
	} else if (g->has_encoding && (g->has_length || g->minor == 0)) {
		refuse(g, 400,
		       "Transfer-Encoding must not stand with Content-Length or on HTTP/1.0.");
	} else if (g->method == METHOD_HEAD && (g->chunked || g->content_length > 0)) {
		refuse(g, 400, "HEAD takes no body.");
	} else if (g->content_length > g->max_body_bytes) {
		refuse(g, 413, "The request body is too large.");
	} else if (g->chunked) {
		g->state = HTTP_GUARD_BODY;
		g->step = STEP_CHUNK_SIZE;
		g->chunk_digits = 0;
	} else if (g->content_length > 0) {
		g->state = HTTP_GUARD_BODY;
		g->step = STEP_LENGTH_BODY;
		g->body_left = g->content_length;
	} else {
		on_request_end(g);
	}
}

static void
on_chunk_size_byte(struct http_guard *g, unsigned char c)
{
	unsigned digit = 16;

	if (c >= '0' && c <= '9')
		digit = c - (unsigned)'0';
	else if ((c | 32) >= 'a' && (c | 32) <= 'f')
		digit = (c | 32u) - 'a' + 10;
	if (g->chunk_digits == 0)
		g->body_left = 0;
	if (c == '\r' && g->chunk_digits > 0) {
		g->step = STEP_CHUNK_SIZE_LF;
	} else if (digit < 16 && g->chunk_digits < CHUNK_DIGITS_MAX) {
		g->chunk_digits++;
		g->body_left = g->body_left * 16 + digit;
	} else {
		refuse(g, 400, "A chunk size must be hexadecimal digits and nothing else.");
	}
}

static void
on_chunk_size_end(struct http_guard *g, unsigned char c)
{
	on_line_end(g, c, g->body_left > 0 ? STEP_CHUNK_DATA : STEP_TRAILER);
	if (g->state == HTTP_GUARD_REFUSED)
		return;
	g->chunk_digits = 0;
	if (__builtin_add_overflow(g->body_bytes, g->body_left, &g->body_bytes) ||
	    g->body_bytes > g->max_body_bytes)
		refuse(g, 413, "The request body is too large.");
}

/* Between the head and the trailers. */
static bool
in_body(const struct http_guard *g)
{
	return g->step >= STEP_LENGTH_BODY && g->step <= STEP_CHUNK_DATA_LF;
}

/* What stands around chunks. */
static void
on_framing_byte(struct http_guard *g, unsigned char c)
{
	if (g->step == STEP_CHUNK_SIZE)
		on_chunk_size_byte(g, c);
	else if (g->step == STEP_CHUNK_SIZE_LF)
		on_chunk_size_end(g, c);
	else if (g->step == STEP_CHUNK_DATA_CR && c == '\r')
		g->step = STEP_CHUNK_DATA_LF;
	else if (g->step == STEP_CHUNK_DATA_LF && c == '\n')
		g->step = STEP_CHUNK_SIZE;
	else
		refuse(g, 400, "Chunk data must end with CR and LF.");
}

static void
on_head_byte(struct http_guard *g, unsigned char c)
{
	g->head_started = true;
	if (++g->head_bytes > g->max_head_bytes) {
		if (g->step == STEP_TARGET)
			refuse(g, 414, "The request target is too long.");
		else
			refuse(g, 431, "The request head is too large.");
		return;
	}
	switch ((enum step)g->step) {
	case STEP_METHOD: on_method_byte(g, c); break;
	case STEP_TARGET: on_target_byte(g, c); break;
	case STEP_VERSION: on_version_byte(g, c); break;
	case STEP_LINE_LF: on_line_end(g, c, STEP_FIELD); break;
	case STEP_FIELD:
	case STEP_NAME: on_name_byte(g, c, STEP_HEAD_LF, STEP_VALUE); break;
	case STEP_VALUE: on_value_byte(g, c); break;
	case STEP_VALUE_LF: on_line_end(g, c, STEP_FIELD); break;
	case STEP_HEAD_LF:
		on_line_end(g, c, STEP_METHOD);
		if (g->state != HTTP_GUARD_REFUSED)
			on_head_end(g);
		break;
	case STEP_TRAILER:
	case STEP_TRAILER_NAME: on_name_byte(g, c, STEP_TRAILER_LF, STEP_TRAILER_VALUE); break;
	case STEP_TRAILER_VALUE:
		if (c == '\r')
			g->step = STEP_TRAILER_VALUE_LF;
		else if (!http_byte_is(HTTP_BYTE_VALUE, c))
			refuse(g, 400, "A field value must not hold control characters.");
		break;
	case STEP_TRAILER_VALUE_LF: on_line_end(g, c, STEP_TRAILER); break;
	case STEP_TRAILER_LF:
		on_line_end(g, c, STEP_METHOD);
		if (g->state != HTTP_GUARD_REFUSED)
			on_request_end(g);
		break;
	case STEP_LENGTH_BODY:
	case STEP_CHUNK_SIZE:
	case STEP_CHUNK_SIZE_LF:
	case STEP_CHUNK_DATA:
	case STEP_CHUNK_DATA_CR:
	case STEP_CHUNK_DATA_LF: break;
	}
}

uint64_t
http_guard_opaque(const struct http_guard *g)
{
	bool body = g->step == STEP_LENGTH_BODY || g->step == STEP_CHUNK_DATA;

	return g->state == HTTP_GUARD_BODY && body ? g->body_left : 0;
}

void
http_guard_skip(struct http_guard *g, uint64_t n)
{
	g->body_left -= n;
	if (g->body_left > 0)
		return;
	if (g->step == STEP_LENGTH_BODY)
		on_request_end(g);
	else
		g->step = STEP_CHUNK_DATA_CR;
}

/* In the middle of a name, a target or a value that does not matter: how many of the next bytes change nothing but
 * what the step is about. Most of a head is such. */
static size_t
pass_run(struct http_guard *g, const char *p, size_t n)
{
	size_t room = g->max_head_bytes > g->head_bytes ? g->max_head_bytes - g->head_bytes : 0;
	uint8_t kind = 0;
	size_t run;

	if (g->step == STEP_NAME || g->step == STEP_TRAILER_NAME)
		kind = HTTP_BYTE_TOKEN;
	else if (g->step == STEP_TRAILER_VALUE || (g->step == STEP_VALUE && !is_about_framing(g)))
		kind = HTTP_BYTE_VALUE;
	else if (g->step == STEP_TARGET)
		kind = HTTP_BYTE_TARGET;
	if (kind == 0)
		return 0;
	run = http_bytes_run(kind, p, n < room ? n : room);
	if (kind != HTTP_BYTE_VALUE)
		token_add_all(g, p, run);
	g->head_bytes += run;
	return run;
}

/* At the start of a line: how long it is, if it is a field that is here as a whole and about whose value nothing is to
 * be found out. 0: it goes step by step. */
static size_t
pass_field(struct http_guard *g, const char *p, size_t n)
{
	size_t room = g->max_head_bytes > g->head_bytes ? g->max_head_bytes - g->head_bytes : 0;
	size_t most = n < room ? n : room, name = http_bytes_run(HTTP_BYTE_TOKEN, p, most), end;

	if (name == 0 || name == most || p[name] != ':')
		return 0;
	end = name + 1 + http_bytes_run(HTTP_BYTE_VALUE, p + name + 1, most - name - 1);
	if (most - end < 2 || p[end] != '\r' || p[end + 1] != '\n')
		return 0;
	g->field = (uint8_t)http_field_find((struct bytes){p, name});
	if (is_about_framing(g))
		return 0;
	g->head_bytes += end + 2;
	return end + 2;
}

/* What is left of an input: fields that nothing reads are passed over. */
struct sieve {
	char *kept; /* NULL: nobody asks for it */
	size_t n;
	const char *from; /* the first byte not yet kept */
};

static void
sieve_keep(struct sieve *sieve, const char *end)
{
	size_t n = (size_t)(end - sieve->from);

	memcpy(sieve->kept + sieve->n, sieve->from, n);
	sieve->n += n;
	sieve->from = end;
}

static void
sift(struct http_guard *g, struct bytes input, struct sieve *sieve)
{
	size_t passed;

	for (size_t i = 0; i < input.n && g->state != HTTP_GUARD_REFUSED;) {
		if (in_body(g)) {
			uint64_t opaque = http_guard_opaque(g);
			size_t n = opaque < input.n - i ? (size_t)opaque : input.n - i;

			if (opaque > 0)
				http_guard_skip(g, n);
			else
				on_framing_byte(g, (unsigned char)input.p[i]);
			i += opaque > 0 ? n : 1;
		} else if (g->step == STEP_FIELD &&
		           (passed = pass_field(g, input.p + i, input.n - i)) > 0) {
			if (sieve->kept && g->field == HTTP_FIELD_OTHER) {
				sieve_keep(sieve, input.p + i);
				sieve->from += passed;
			}
			i += passed;
		} else {
			i += pass_run(g, input.p + i, input.n - i);
			if (i < input.n)
				on_head_byte(g, (unsigned char)input.p[i++]);
		}
	}
}

enum http_guard_state
http_guard_feed(struct http_guard *g, struct bytes input)
{
	struct sieve sieve = {0};

	sift(g, input, &sieve);
	return g->state;
}

size_t
http_guard_sift(struct http_guard *g, struct bytes input, char *kept)
{
	struct sieve sieve = {.kept = kept, .from = input.p};

	sift(g, input, &sieve);
	sieve_keep(&sieve, input.p + input.n);
	return sieve.n;
}
