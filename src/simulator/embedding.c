#include "simulator/embedding.h"

#include <math.h>
#include <stdio.h>

#include "simulator/body.h"
#include "simulator/mix.h"
#include "simulator/speech.h"

enum { WORD_MAX = 64 }; /* bytes of a word that count */

void
sim_embedding_request_init(struct sim_embedding_request *r)
{
	memset(r, 0, sizeof(*r));
}

void
sim_embedding_request_fini(struct sim_embedding_request *r)
{
	buf_fini(&r->model);
	buf_fini(&r->texts);
}

struct bytes
sim_embedding_request_input(const struct sim_embedding_request *r, size_t index)
{
	size_t begin = index ? r->ends[index - 1] : 0;

	return (struct bytes){buf_bytes(&r->texts).p + begin, r->ends[index] - begin};
}

/* An array of token ids is a text too: the ids as they are spelled. */
static bool
is_token_array(struct json_value array, uint64_t *count)
{
	struct json_scan scan;
	struct json_value id;
	bool good = true;

	*count = 0;
	json_scan_init(&scan, json_value_text(array));
	if (!json_enter(&scan, JSON_KIND_ARRAY))
		return false;
	for (; json_next_element(&scan); ++*count) {
		json_take(&scan, &id);
		good = good && id.kind == JSON_KIND_NUMBER;
	}
	return good && *count > 0;
}

static bool
add_input(struct sim_embedding_request *r, struct json_value input, struct api_error *error)
{
	size_t begin = r->texts.n;
	uint64_t tokens;

	if (r->count == SIM_INPUTS_MAX)
		return sim_body_wrong(error, "input", "at most 2048 inputs");
	if (input.kind == JSON_KIND_STRING) {
		json_string_decode(input, &r->texts);
		if (r->texts.n == begin)
			return sim_body_wrong(error, "input", "no empty string");
		tokens = sim_speech_count((struct bytes){r->texts.p + begin, r->texts.n - begin});
	} else if (is_token_array(input, &tokens)) {
		buf_add_bytes(&r->texts, json_value_text(input));
	} else {
		return sim_body_wrong(error, "input", "a string, or an array of strings or tokens");
	}
	r->prompt_tokens += tokens;
	r->ends[r->count++] = r->texts.n;
	return true;
}

static bool
read_inputs(struct sim_embedding_request *r, struct json_value input, struct api_error *error)
{
	struct json_scan scan;
	struct json_value value;
	uint64_t tokens;

	if (input.kind != JSON_KIND_ARRAY || is_token_array(input, &tokens))
		return add_input(r, input, error);
	json_scan_init(&scan, json_value_text(input));
	json_enter(&scan, JSON_KIND_ARRAY);
	while (json_next_element(&scan)) {
		json_take(&scan, &value);
		if (!add_input(r, value, error))
			return false;
	}
	return r->count > 0 || sim_body_wrong(error, "input", "at least one input");
}

bool
sim_embedding_request_read(struct sim_embedding_request *r, struct bytes body,
                           struct api_error *error)
{
	static const char *const names[] = {"model", "input", "dimensions", "encoding_format"};
	struct json_value values[4] = {0};
	struct json_value format;
	uint64_t dimensions;

	buf_reset(&r->model);
	buf_reset(&r->texts);
	r->count = 0;
	r->prompt_tokens = 0;
	if (!sim_body_take(body, names, 4, values, error) ||
	    !sim_body_model(values[0], &r->model, error) || !read_inputs(r, values[1], error))
		return false;
	dimensions = memmem(r->model.p, r->model.n, "large", 5) ? 3072 : 1536;
	if (!sim_body_count(values[2], "dimensions", 1, SIM_DIMENSIONS_MAX, &dimensions, error))
		return false;
	r->dimensions = (unsigned)dimensions;
	format = values[3];
	r->base64 = format.kind == JSON_KIND_STRING && json_string_is(format, "base64");
	if (!r->base64 && !sim_body_is_absent(format) &&
	    !(format.kind == JSON_KIND_STRING && json_string_is(format, "float")))
		return sim_body_wrong(error, "encoding_format", "\"float\" or \"base64\"");
	if (r->model.failed || r->texts.failed) {
		api_error_set(error, 500, NULL, NULL, "There is no memory for this request.");
		return false;
	}
	return true;
}

static void
vector_add(float *vector, unsigned dimensions, struct bytes feature, float weight)
{
	uint64_t h = sim_hash(0, feature);

	vector[(h >> 1) % dimensions] += h & 1 ? weight : -weight;
}

static bool
is_common(struct bytes word)
{
	static const char *const common[] = {"a",      "an", "and", "are", "be",  "do",   "does",
	                                     "for",    "in", "is",  "it",  "of",  "on",   "or",
	                                     "please", "s",  "the", "to",  "was", "what", "with"};

	for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
		if (bytes_is(word, common[i]))
			return true;
	}
	return false;
}

/* word: lower case, with one byte before it and one behind it that mark its ends. */
static void
vector_add_word(float *vector, unsigned dimensions, const char *word, size_t n)
{
	float weight = is_common((struct bytes){word + 1, n}) ? 0.2F : 1.0F;

	vector_add(vector, dimensions, (struct bytes){word, n + 2}, weight);
	for (size_t i = 0; i + 3 <= n + 2; i++)
		vector_add(vector, dimensions, (struct bytes){word + i, 3}, 0.3F * weight);
}

static bool
is_inside_word(unsigned char c)
{
	return c >= 0x80 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

void
sim_embedding_vector(struct bytes text, float *vector, unsigned dimensions)
{
	char word[WORD_MAX + 2] = "^";
	double square = 0;

	memset(vector, 0, dimensions * sizeof(*vector));
	for (size_t i = 0, n = 0; i <= text.n; i++) {
		unsigned char c = i < text.n ? (unsigned char)text.p[i] : ' ';

		if (is_inside_word(c) && n < WORD_MAX) {
			word[++n] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
		} else if (!is_inside_word(c) && n > 0) {
			word[n + 1] = '$';
			vector_add_word(vector, dimensions, word, n);
			n = 0;
		}
	}
	for (unsigned i = 0; i < dimensions; i++)
		square += (double)vector[i] * (double)vector[i];
	if (square == 0) {
		/* No words, or features that cancel each other: the text as it stands decides. */
		vector_add(vector, dimensions, text, 1);
		return;
	}
	for (unsigned i = 0; i < dimensions; i++)
		vector[i] = (float)((double)vector[i] / sqrt(square));
}

static void
write_floats(const float *vector, unsigned dimensions, struct buf *out)
{
	char text[32];

	buf_add(out, "[", 1);
	for (unsigned i = 0; i < dimensions; i++) {
		if (i > 0)
			buf_add(out, ",", 1);
		if (vector[i] == 0) {
			buf_add(out, "0.0", 3);
		} else {
			int n = snprintf(text, sizeof(text), "%.9g", (double)vector[i]);

			buf_add(out, text, (size_t)n);
		}
	}
	buf_add(out, "]", 1);
}

/* RFC 4648, section 4. */
static void
write_base64(const unsigned char *p, size_t n, struct buf *out)
{
	static const char digits[] =
	        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (; n > 0; p += 3) {
		uint32_t bits = (uint32_t)p[0] << 16 | (uint32_t)(n > 1 ? p[1] : 0) << 8 |
		                (uint32_t)(n > 2 ? p[2] : 0);
		char text[4] = {digits[bits >> 18], digits[bits >> 12 & 63],
		                n > 1 ? digits[bits >> 6 & 63] : '=',
		                n > 2 ? digits[bits & 63] : '='};

		buf_add(out, text, 4);
		n -= n < 3 ? n : 3;
	}
}

/* The floats in little-endian order, whatever the machine's. */
static void
write_packed(const float *vector, unsigned dimensions, struct buf *out)
{
	unsigned char packed[SIM_DIMENSIONS_MAX * 4];

	for (unsigned i = 0; i < dimensions; i++) {
		uint32_t bits;

		memcpy(&bits, &vector[i], sizeof(bits));
		for (unsigned k = 0; k < 4; k++)
			packed[i * 4 + k] = (unsigned char)(bits >> (8 * k));
	}
	buf_add(out, "\"", 1);
	write_base64(packed, dimensions * 4, out);
	buf_add(out, "\"", 1);
}

void
sim_embedding_write(const struct sim_embedding_request *r, struct buf *out)
{
	float vector[SIM_DIMENSIONS_MAX];

	buf_add_text(out, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < r->count && !out->failed; i++) {
		sim_embedding_vector(sim_embedding_request_input(r, i), vector, r->dimensions);
		buf_add_text(out, i ? ",{\"object\":\"embedding\",\"index\":"
		                    : "{\"object\":\"embedding\",\"index\":");
		buf_add_u64(out, i);
		buf_add_text(out, ",\"embedding\":");
		if (r->base64)
			write_packed(vector, r->dimensions, out);
		else
			write_floats(vector, r->dimensions, out);
		buf_add(out, "}", 1);
	}
	buf_add_text(out, "],\"model\":");
	buf_add_json_string(out, buf_bytes(&r->model));
	buf_add_text(out, ",\"usage\":{\"prompt_tokens\":");
	buf_add_u64(out, r->prompt_tokens);
	buf_add_text(out, ",\"total_tokens\":");
	buf_add_u64(out, r->prompt_tokens);
	buf_add_text(out, "}}");
}
