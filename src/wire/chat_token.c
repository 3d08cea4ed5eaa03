/*
 * Tokens with their logprobs. This is where a stream's bytes mostly are: a frame of 800 bytes has 700
 * of them here.
 */
#include "wire/chat_token.h"

#include <math.h>

#include "wire/json_keys.h"

enum { KEY_TOKEN, KEY_LOGPROB, KEY_BYTES, KEY_TOP_LOGPROBS, KEY_COUNT };

static const struct bytes keys[KEY_COUNT] = {
        [KEY_TOKEN] = JSON_KEY("token"),
        [KEY_LOGPROB] = JSON_KEY("logprob"),
        [KEY_BYTES] = JSON_KEY("bytes"), /* not read, but in nearly every object */
        [KEY_TOP_LOGPROBS] = JSON_KEY("top_logprobs"),
};

/* From here down it is no probability: OpenAI's word for "not among the likeliest". */
static const double logprob_zero = -9999;

struct candidates {
	struct bytes texts[CHAT_TOP_LOGPROBS_MAX];
};

static bool
text_take(struct json_scan *s, struct json_value *text)
{
	return json_take(s, text) && text->kind == JSON_STRING;
}

static bool
logprob_take(struct json_scan *s, double *logprob)
{
	struct json_value value;

	if (!json_take(s, &value))
		return false;
	if (value.kind == JSON_NULL || json_string_is(value, "-inf") ||
	    json_string_is(value, "-Infinity")) {
		*logprob = -INFINITY;
		return true;
	}
	if (!json_to_double(value, logprob))
		return false;
	if (*logprob <= logprob_zero)
		*logprob = -INFINITY;
	return true;
}

static bool
candidate_read(struct json_scan *s, struct bytes *text, double *logprob)
{
	struct json_member member;
	struct json_value value = {.kind = JSON_NONE};
	uint32_t seen = 0;
	size_t key;

	*logprob = NAN;
	if (!json_enter(s, JSON_OBJECT))
		return false;
	while (json_next_member(s, &member)) {
		if (!json_key_find_once(member.key, keys, KEY_TOP_LOGPROBS, &seen, &key))
			return false;
		if (key == KEY_TOKEN) {
			if (!text_take(s, &value))
				return false;
		} else if (key == KEY_LOGPROB) {
			if (!logprob_take(s, logprob))
				return false;
		} else {
			json_skip(s);
		}
	}
	*text = json_value_text(value);
	return !s->fault;
}

static bool
candidates_read(struct chat_token *token, struct json_scan *s, struct candidates *candidates)
{
	if (json_peek(s) == JSON_NULL)
		return json_skip(s);
	if (!json_enter(s, JSON_ARRAY))
		return false;
	token->top_begin = s->p - 1;
	while (json_next_element(s)) {
		uint8_t i = token->top_count;

		if (i == CHAT_TOP_LOGPROBS_MAX) {
			json_skip(s);
			continue;
		}
		if (!candidate_read(s, &candidates->texts[i], &token->top[i]))
			return false;
		token->top_count++;
	}
	token->top_close = s->p - 1;
	return !s->fault;
}

/* The candidate with the sampled token's text; of several (two tokens may be spelled alike), the one
 * whose logprob is closest. */
static int8_t
sampled_find(const struct chat_token *token, const struct candidates *candidates)
{
	double best = INFINITY;
	int8_t found = -1;

	for (int8_t i = 0; i < token->top_count; i++) {
		double distance;

		if (!candidates->texts[i].p ||
		    !bytes_equal(candidates->texts[i], json_value_text(token->text)))
			continue;
		distance =
		        token->top[i] == token->logprob ? 0 : fabs(token->top[i] - token->logprob);
		if (found < 0 || distance < best) {
			found = i;
			best = distance;
		}
	}
	return found;
}

bool
chat_token_read(struct chat_token *token, struct json_scan *s)
{
	struct candidates candidates;
	struct json_member member;
	uint32_t seen = 0;
	bool good = true;
	size_t key;

	token->text = (struct json_value){.kind = JSON_NONE};
	token->logprob = NAN;
	token->top_begin = token->top_close = NULL;
	token->top_count = 0;
	if (!json_enter(s, JSON_OBJECT))
		return false;
	token->entry = (struct json_value){.p = s->p - 1, .kind = JSON_OBJECT};
	while (good && json_next_member(s, &member)) {
		good = json_key_find_once(member.key, keys, KEY_COUNT, &seen, &key);
		if (!good)
			break;
		if (key == KEY_TOKEN)
			good = text_take(s, &token->text);
		else if (key == KEY_LOGPROB)
			good = logprob_take(s, &token->logprob);
		else if (key == KEY_TOP_LOGPROBS)
			good = candidates_read(token, s, &candidates);
		else
			good = json_skip(s);
	}
	if (!good || s->fault || token->text.kind == JSON_NONE)
		return false;
	token->entry.n = (size_t)(s->p - token->entry.p);
	token->sampled = sampled_find(token, &candidates);
	return true;
}

const char *
chat_token_cut(const struct chat_token *token, unsigned count)
{
	struct json_scan s;
	const char *end;

	json_scan_init(&s, (struct bytes){token->top_begin,
	                                  (size_t)(token->top_close - token->top_begin) + 1});
	json_enter(&s, JSON_ARRAY);
	end = s.p;
	for (; count > 0 && json_next_element(&s); count--) {
		json_skip(&s);
		end = s.p;
	}
	/* Nothing more follows: then white space stays too. */
	return count > 0 || !json_next_element(&s) ? token->top_close : end;
}

void
chat_token_write(const struct chat_token *token, unsigned count, struct buf *out)
{
	const char *p = token->entry.p, *end = p + token->entry.n;

	if (token->top_begin) {
		const char *cut = chat_token_cut(token, count);

		buf_add(out, p, (size_t)(cut - p));
		p = token->top_close;
	}
	buf_add(out, p, (size_t)(end - p));
}
