/*
 * The answer is scanned whole before anything of it is believed; only then is the vector read. Its numbers become
 * floats before they are scaled, so that both encodings of one vector come out alike.
 */
#include "wire/embedding.h"

#include <endian.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "wire/json_scan.h"

void
embedding_request_write(struct bytes model, struct bytes text, unsigned dimensions, struct buf *out)
{
	buf_add_text(out, "{\"model\":");
	buf_add_json_string(out, model);
	buf_add_text(out, ",\"input\":");
	buf_add_json_string(out, text);
	if (dimensions > 0) {
		buf_add_text(out, ",\"dimensions\":");
		buf_add_u64(out, dimensions);
	}
	buf_add_text(out, ",\"encoding_format\":\"base64\"}");
}

/* What is looked at of the answer. */
struct answer {
	struct json_value error, data, usage; /* of the document */
	struct json_value vector;             /* data[0].embedding */
	struct json_value prompt_tokens;
};

/* Takes the next value, which must be the first one for `slot`: of two, nobody knows which one counts. */
static bool
take_once(struct json_scan *s, struct json_value *slot)
{
	return slot->kind == JSON_KIND_NONE && json_take(s, slot);
}

/* The value of one member of an object. False when it stands there twice. */
static bool
find_member(struct json_value object, const char *name, struct json_value *value)
{
	struct json_member member;
	struct json_scan s;

	*value = (struct json_value){.kind = JSON_KIND_NONE};
	json_scan_init(&s, json_value_text(object));
	if (!json_enter(&s, JSON_KIND_OBJECT))
		return true;
	while (json_next_member(&s, &member)) {
		if (json_key_is(member.key, name) ? !take_once(&s, value) : !json_skip(&s))
			return false;
	}
	return true;
}

static bool
scan_document(struct answer *answer, struct bytes body)
{
	struct json_member member;
	struct json_scan s;

	json_scan_init(&s, body);
	if (!json_enter(&s, JSON_KIND_OBJECT))
		return false;
	while (json_next_member(&s, &member)) {
		bool fine;

		if (json_key_is(member.key, "data"))
			fine = take_once(&s, &answer->data);
		else if (json_key_is(member.key, "error"))
			fine = take_once(&s, &answer->error);
		else if (json_key_is(member.key, "usage"))
			fine = take_once(&s, &answer->usage);
		else
			fine = json_skip(&s);
		if (!fine)
			return false;
	}
	return json_scan_end(&s);
}

/* The document as far as it is the same for one text and for many. */
static enum embedding_fault
scan_frame(struct answer *answer, struct bytes body)
{
	if (!scan_document(answer, body))
		return EMBEDDING_MALFORMED;
	if (answer->error.kind != JSON_KIND_NONE && answer->error.kind != JSON_KIND_NULL)
		return EMBEDDING_ERROR;
	if (answer->data.kind != JSON_KIND_ARRAY)
		return EMBEDDING_MALFORMED;
	if (answer->usage.kind == JSON_KIND_OBJECT &&
	    !find_member(answer->usage, "prompt_tokens", &answer->prompt_tokens))
		return EMBEDDING_MALFORMED;
	return EMBEDDING_FINE;
}

static enum embedding_fault
scan_answer(struct answer *answer, struct bytes body)
{
	enum embedding_fault fault = scan_frame(answer, body);
	struct json_value first;
	struct json_scan s;

	if (fault)
		return fault;
	json_scan_init(&s, json_value_text(answer->data));
	if (!json_enter(&s, JSON_KIND_ARRAY) || !json_next_element(&s) || !json_take(&s, &first) ||
	    first.kind != JSON_KIND_OBJECT || !find_member(first, "embedding", &answer->vector))
		return EMBEDDING_MALFORMED;
	return EMBEDDING_FINE;
}

/* A number that makes no sense is as one that was not told. */
static void
read_tokens(const struct answer *answer, uint64_t *tokens)
{
	if (answer->prompt_tokens.kind == JSON_KIND_NUMBER)
		json_to_u64(answer->prompt_tokens, UINT64_MAX, tokens);
}

enum embedding_fault
embedding_answer_check(struct bytes body, uint64_t *tokens)
{
	struct answer answer = {.error = {.kind = JSON_KIND_NONE}};
	enum embedding_fault fault = scan_frame(&answer, body);

	*tokens = 0;
	if (!fault)
		read_tokens(&answer, tokens);
	return fault;
}

/* Room for a vector, if it is as long as one must be. */
static enum embedding_fault
make_room(struct embedding *e, size_t count, unsigned wanted)
{
	if (count == 0 || count > EMBEDDING_DIMENSIONS_MAX || (wanted > 0 && count != wanted))
		return EMBEDDING_DIMENSIONS;
	e->dimensions = (unsigned)count;
	e->vector = mem_try(count * sizeof(*e->vector));
	return e->vector ? EMBEDDING_FINE : EMBEDDING_NO_MEMORY;
}

static const char *
skip_space(const char *p)
{
	while (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')
		p++;
	return p;
}

/* That the array is valid is known, not that only numbers are in it. */
static enum embedding_fault
read_numbers(struct embedding *e, struct json_value array, unsigned wanted)
{
	const char *p = array.p + 1, *end = array.p + array.n;
	size_t count = !json_is_empty(array), length;
	enum embedding_fault fault;
	double number;

	for (const char *comma = p; (comma = memchr(comma, ',', (size_t)(end - comma))); comma++)
		count++;
	fault = make_room(e, count, wanted);
	for (size_t i = 0; i < count && !fault; i++) {
		p = skip_space(p);
		length = bytes_begin_double((struct bytes){p, (size_t)(end - p)}, &number);
		/* Nor is one of more than 511 bytes a number that anybody means. */
		if (length == 0)
			return EMBEDDING_MALFORMED;
		e->vector[i] = (float)number; /* infinite when too large for one (IEC 60559) */
		p = skip_space(p + length) + 1;
	}
	return fault;
}

/* RFC 4648, section 4: n digits without padding, not one more than a multiple of four. False when there is anything
 * else among them, or bits of the last one are left over that are not zero. */
static bool
decode_digits(const char *p, size_t n, unsigned char *out)
{
	static const char digits[] =
	        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	enum { NO_DIGIT = 64 };
	uint8_t values[256];
	unsigned seen = 0; /* all values, one over the other */
	uint32_t bits = 0;

	memset(values, NO_DIGIT, sizeof(values));
	for (unsigned i = 0; i < NO_DIGIT; i++)
		values[(unsigned char)digits[i]] = (uint8_t)i;
	for (; n >= 4; n -= 4, p += 4, out += 3) {
		unsigned a = values[(unsigned char)p[0]], b = values[(unsigned char)p[1]],
		         c = values[(unsigned char)p[2]], d = values[(unsigned char)p[3]];

		seen |= a | b | c | d;
		out[0] = (unsigned char)(a << 2 | b >> 4);
		out[1] = (unsigned char)(b << 4 | c >> 2);
		out[2] = (unsigned char)(c << 6 | d);
	}
	for (size_t i = 0; i < n; i++) {
		seen |= values[(unsigned char)p[i]];
		bits = bits << 6 | values[(unsigned char)p[i]];
	}
	if (n > 0)
		bits <<= 6 * (4 - n);
	if (n >= 2)
		out[0] = (unsigned char)(bits >> 16);
	if (n == 3)
		out[1] = (unsigned char)(bits >> 8);
	return !(seen & NO_DIGIT) && (bits & (n == 2 ? 0xFFFF : 0xFF)) == 0;
}

static enum embedding_fault
read_digits(struct embedding *e, struct bytes text, unsigned wanted)
{
	enum embedding_fault fault;
	size_t size;

	if (text.n % 4 == 0) {
		for (int i = 0; i < 2 && text.n > 0 && text.p[text.n - 1] == '='; i++)
			text.n--;
	}
	size = text.n / 4 * 3 + text.n % 4 * 3 / 4;
	if (text.n % 4 == 1 || size % sizeof(*e->vector) != 0)
		return EMBEDDING_MALFORMED;
	fault = make_room(e, size / sizeof(*e->vector), wanted);
	if (fault)
		return fault;
	if (!decode_digits(text.p, text.n, (unsigned char *)e->vector))
		return EMBEDDING_MALFORMED;
	for (unsigned i = 0; i < e->dimensions; i++) {
		uint32_t bits;

		memcpy(&bits, &e->vector[i], sizeof(bits));
		bits = le32toh(bits);
		memcpy(&e->vector[i], &bits, sizeof(bits));
	}
	return EMBEDDING_FINE;
}

/* Some writers of JSON escape the digits + and /. */
static enum embedding_fault
read_string(struct embedding *e, struct json_value string, unsigned wanted)
{
	struct bytes text = {string.p + 1, string.n - 2};
	enum embedding_fault fault = EMBEDDING_NO_MEMORY;
	struct buf plain;

	if (!memchr(text.p, '\\', text.n))
		return read_digits(e, text, wanted);
	buf_init(&plain, 0);
	if (buf_reserve(&plain, text.n)) {
		json_string_decode(string, &plain);
		fault = read_digits(e, buf_bytes(&plain), wanted);
	}
	buf_fini(&plain);
	return fault;
}

static enum embedding_fault
scale_to_one(struct embedding *e)
{
	double square = 0;

	/* Of floats none is too large or too small to be squared as a double. */
	for (unsigned i = 0; i < e->dimensions; i++)
		square += (double)e->vector[i] * (double)e->vector[i];
	if (!isfinite(square) || square == 0)
		return EMBEDDING_NUMBERS;
	for (unsigned i = 0; i < e->dimensions; i++)
		e->vector[i] = (float)((double)e->vector[i] / sqrt(square));
	return EMBEDDING_FINE;
}

static enum embedding_fault
read_vector(struct embedding *e, const struct answer *answer, unsigned wanted)
{
	enum embedding_fault fault = EMBEDDING_MALFORMED;

	if (answer->vector.kind == JSON_KIND_STRING)
		fault = read_string(e, answer->vector, wanted);
	else if (answer->vector.kind == JSON_KIND_ARRAY)
		fault = read_numbers(e, answer->vector, wanted);
	return fault ? fault : scale_to_one(e);
}

enum embedding_fault
embedding_answer_read(struct embedding *embedding, struct bytes body, unsigned dimensions)
{
	struct answer answer = {.error = {.kind = JSON_KIND_NONE}};
	enum embedding_fault fault;

	*embedding = (struct embedding){.vector = NULL};
	fault = scan_answer(&answer, body);
	if (!fault)
		fault = read_vector(embedding, &answer, dimensions);
	if (fault) {
		free(embedding->vector);
		*embedding = (struct embedding){.vector = NULL};
		return fault;
	}
	read_tokens(&answer, &embedding->prompt_tokens);
	return EMBEDDING_FINE;
}

const char *
embedding_fault_text(enum embedding_fault fault)
{
	switch (fault) {
	case EMBEDDING_FINE: return "no fault";
	case EMBEDDING_MALFORMED: return "not an answer with an embedding";
	case EMBEDDING_ERROR: return "an error instead of an embedding";
	case EMBEDDING_DIMENSIONS: return "another number of dimensions";
	case EMBEDDING_NUMBERS: return "numbers that make no direction";
	case EMBEDDING_NO_MEMORY: return "no memory";
	}
	return "unknown fault";
}
