/*
 * Whatever answer comes, what is read of it is a vector of length 1 with as many numbers as were wanted, and no part of
 * it is an answer. Whatever vector there is, both encodings of it are read alike, however the base64 is spelled.
 *
 * Input: one byte, of which the lowest bit tells what follows: an answer, or a vector as floats.
 */
#include "wire/embedding.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);

static void
check(bool holds, const char *what)
{
	if (!holds)
		die("%s", what);
}

/* Reads from memory of exactly the body's size. */
static enum embedding_fault
read_copy(struct embedding *e, struct bytes body, unsigned dimensions)
{
	char *copy = mem_try(body.n);
	enum embedding_fault fault;

	check(copy != NULL, "no memory");
	memcpy(copy, body.p, body.n);
	fault = embedding_answer_read(e, (struct bytes){copy, body.n}, dimensions);
	check(fault == EMBEDDING_FINE || (!e->vector && !e->dimensions),
	      "owned in spite of a fault");
	free(copy);
	return fault;
}

static void
check_vector(const struct embedding *e)
{
	double square = 0;

	check(e->dimensions > 0 && e->dimensions <= EMBEDDING_DIMENSIONS_MAX, "dimensions");
	for (unsigned i = 0; i < e->dimensions; i++)
		square += (double)e->vector[i] * (double)e->vector[i];
	check(fabs(square - 1) < 1e-5, "length");
}

static void
check_answer(struct bytes body, unsigned cut)
{
	struct embedding e, again;

	if (read_copy(&e, body, 0) != EMBEDDING_FINE)
		return;
	check_vector(&e);
	check(read_copy(&again, body, e.dimensions) == EMBEDDING_FINE, "as many as wanted");
	check(memcmp(e.vector, again.vector, e.dimensions * sizeof(float)) == 0, "another vector");
	free(again.vector);
	check(read_copy(&again, body, e.dimensions + 1) == EMBEDDING_DIMENSIONS, "one more");
	while (strchr(" \t\r\n", body.p[body.n - 1]))
		body.n--;
	body.n -= 1 + cut % body.n;
	check(read_copy(&again, body, 0) == EMBEDDING_MALFORMED, "cut");
	free(e.vector);
}

/* Bit by bit; the bits of `spelling` choose how. */
static void
write_base64(struct buf *out, const unsigned char *p, size_t n, unsigned spelling)
{
	static const char digits[] =
	        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t written = 0;

	for (size_t at = 0; at < n * 8; at += 6, written++) {
		unsigned digit = 0;

		for (size_t i = at; i < at + 6; i++)
			digit = digit << 1 | (i < n * 8 ? p[i / 8] >> (7 - i % 8) & 1 : 0);
		if (spelling & 2 && digit == 63)
			buf_add_text(out, "\\/");
		else if (spelling & 4)
			buf_add_format(out, "\\u%04x", (unsigned)digits[digit]);
		else
			buf_add(out, &digits[digit], 1);
	}
	for (; spelling & 8 && written % 4; written++)
		buf_add_text(out, "=");
}

static void
check_encodings(const unsigned char *bytes, size_t count, unsigned spelling)
{
	enum embedding_fault a, b;
	struct embedding x, y;
	struct buf packed, plain;
	bool finite = true;

	buf_init(&packed, 0);
	buf_init(&plain, 0);
	buf_add_text(&packed, "{\"data\":[{\"embedding\":\"");
	write_base64(&packed, bytes, count * 4, spelling);
	buf_add_text(&packed, "\"}]}");
	buf_add_text(&plain, "{\"data\":[{\"embedding\":[");
	for (size_t i = 0; i < count; i++) {
		const unsigned char *p = bytes + 4 * i;
		uint32_t bits =
		        p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
		float number;

		memcpy(&number, &bits, sizeof(number));
		finite = finite && isfinite(number);
		buf_add_format(&plain, "%s%.9g", i ? "," : "", finite ? (double)number : 0);
	}
	buf_add_text(&plain, "]}]}");
	a = read_copy(&x, buf_bytes(&packed), (unsigned)count);
	b = read_copy(&y, buf_bytes(&plain), (unsigned)count);
	check(a == b || (a == EMBEDDING_NUMBERS && !finite), "another fault");
	check(a != EMBEDDING_FINE || memcmp(x.vector, y.vector, count * sizeof(float)) == 0,
	      "another vector");
	if (a == EMBEDDING_FINE)
		check_vector(&x);
	free(x.vector);
	free(y.vector);
	buf_fini(&packed);
	buf_fini(&plain);
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	if (n < 1)
		return 0;
	if (input[0] & 1)
		check_encodings(input + 1, (n - 1) / 4, input[0]);
	else
		check_answer((struct bytes){(const char *)input + 1, n - 1}, input[0]);
	return 0;
}
