/*
 * Any cutting of the input gives the same verdict, and whatever is let through as a complete request
 * has one reading of its length: a strict reader and a lenient one, which takes bare LF for a line's
 * end, white space around names, signs and lists for numbers, the first or the last of two
 * fields, find the same end.
 */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "wire/http_guard.h"

#define HEAD_MAX 2048
#define BODY_MAX 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

static void
feed(struct http_guard *g, const char *p, size_t n)
{
	http_guard_feed(g, (struct bytes){p, n});
}

/* The end of the line at p: *next is what follows it. The lenient reader ends lines at any LF. */
static const char *
line_end(const char *p, const char *end, bool lenient, const char **next)
{
	for (const char *at = p; at < end; at++) {
		if (lenient ? *at == '\n' : at + 1 < end && at[0] == '\r' && at[1] == '\n') {
			*next = at + (lenient ? 1 : 2);
			return lenient && at > p && at[-1] == '\r' ? at - 1 : at;
		}
	}
	return NULL;
}

struct reading {
	bool chunked, has_length;
	unsigned long long length;
};

static void
read_field(const char *p, const char *end, bool lenient, struct reading *r)
{
	const char *colon = memchr(p, ':', (size_t)(end - p)), *name_end = colon;
	char value[64] = {0};
	size_t n;

	if (!colon)
		return;
	while (lenient && p < name_end && isspace((unsigned char)*p))
		p++;
	while (lenient && p < name_end && isspace((unsigned char)name_end[-1]))
		name_end--;
	colon++;
	while (colon < end && isspace((unsigned char)*colon))
		colon++;
	n = (size_t)(end - colon) < sizeof(value) - 1 ? (size_t)(end - colon) : sizeof(value) - 1;
	memcpy(value, colon, n);
	if (name_end - p == 14 && strncasecmp(p, "content-length", 14) == 0) {
		if (r->has_length && lenient)
			return; /* the first counts; for the strict reader the last */
		r->has_length = true;
		r->length = strtoull(value, NULL, 10);
	} else if (name_end - p == 17 && strncasecmp(p, "transfer-encoding", 17) == 0) {
		r->chunked |= lenient ? strcasestr(value, "chunked") != NULL
		                      : strncasecmp(value, "chunked", 7) == 0;
	}
}

static const char *
read_chunks(const char *p, const char *end, bool lenient)
{
	const char *next, *stop;
	unsigned long long size = 1;

	while (size > 0) {
		if (!(stop = line_end(p, end, lenient, &next)))
			return NULL;
		if (stop == p && lenient) { /* empty lines between chunks are skipped */
			p = next;
			continue;
		}
		size = strtoull(p, NULL, 16);
		if (size > (size_t)(end - next))
			return NULL;
		p = next + size;
		if (size > 0 && !lenient)
			p += 2;
	}
	while ((stop = line_end(p, end, lenient, &next)) && stop > p)
		p = next;
	return stop ? next : NULL;
}

/* Where the request at p ends, or NULL. */
static const char *
request_end(const char *p, const char *end, bool lenient)
{
	struct reading r = {0};
	const char *next, *stop;
	bool first = true;

	while ((stop = line_end(p, end, lenient, &next)) && stop > p) {
		if (!first)
			read_field(p, stop, lenient, &r);
		first = false;
		p = next;
	}
	if (!stop)
		return NULL;
	if (r.chunked)
		return read_chunks(next, end, lenient);
	return r.has_length && r.length > (size_t)(end - next) ? NULL : next + r.length;
}

/* What is left of an input has the verdict of the whole, and is left as it is when it is sifted again. */
static void
check_sieve(const struct http_guard *whole, const char *input, size_t size, size_t cut)
{
	char *kept = malloc(size + 1), *again = malloc(size + 1);
	struct http_guard g;
	size_t n;

	if (!kept || !again)
		abort();
	http_guard_init(&g, HEAD_MAX, BODY_MAX);
	n = http_guard_sift(&g, (struct bytes){input, cut}, kept);
	n += http_guard_sift(&g, (struct bytes){input + cut, size - cut}, kept + n);
	if (g.state != whole->state || g.requests != whole->requests || g.status != whole->status ||
	    g.why != whole->why)
		fail("sifted, another verdict");
	http_guard_init(&g, HEAD_MAX, BODY_MAX);
	feed(&g, kept, n);
	/* A head that was too large may have become small enough. */
	if (whole->status != 431 && (g.requests != whole->requests || g.status != whole->status))
		fail("what is left has another verdict");
	if (cut == size && whole->status != 431) {
		http_guard_init(&g, HEAD_MAX, BODY_MAX);
		if (http_guard_sift(&g, (struct bytes){kept, n}, again) != n)
			fail("not everything was left out at once");
	}
	free(kept);
	free(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_guard whole, pieces;
	size_t step = size > 0 ? data[0] % 7 + 1u : 1, at = 0;
	const char *input, *request;

	if (size > 0) {
		data++;
		size--;
	}
	input = request = (const char *)data;
	http_guard_init(&whole, HEAD_MAX, BODY_MAX);
	feed(&whole, input, size);

	http_guard_init(&pieces, HEAD_MAX, BODY_MAX);
	while (at < size) {
		size_t n = step < size - at ? step : size - at;

		feed(&pieces, input + at, n);
		at += n;
		step = step % 7 + 1;
	}
	if (whole.state != pieces.state || whole.requests != pieces.requests ||
	    whole.status != pieces.status || whole.why != pieces.why)
		fail("another cutting, another verdict");
	check_sieve(&whole, input, size, size);
	check_sieve(&whole, input, size, size / 2);

	/* Byte by byte, to know where each request ends. */
	http_guard_init(&pieces, HEAD_MAX, BODY_MAX);
	for (size_t i = 0; i < size; i++) {
		uint64_t before = pieces.requests;

		feed(&pieces, input + i, 1);
		if (pieces.requests == before)
			continue;
		if (request_end(request, input + size, false) != input + i + 1)
			fail("the strict reader sees another end");
		if (request_end(request, input + size, true) != input + i + 1)
			fail("the lenient reader sees another end");
		request = input + i + 1;
	}
	if (pieces.requests != whole.requests)
		fail("another cutting, another verdict");
	return 0;
}
