/*
 * Tokens with their logprobs. This is where a stream's bytes mostly are: of a frame of 800 bytes some
 * 700 are candidates. So there are two readers of a candidate: a strict one on the scanner, that takes
 * any JSON, and a quick one for the way in which servers spell it, that knows the three members and
 * hands everything it does not expect to the strict one. What the quick one accepts the strict one
 * accepts too, with the same values. And the candidate that was sampled stands, as a rule, in the same
 * bytes as the entry's own members, and is then not read at all.
 */
#include "wire/chat_token.h"

#include <math.h>

#include "wire/json_keys.h"
#include "wire/json_plain.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { KEY_TOKEN, KEY_LOGPROB, KEY_BYTES, KEY_TOP_LOGPROBS, KEY_COUNT };

static const struct json_name keys[KEY_COUNT] = {
        [KEY_TOKEN] = JSON_NAME("token"),
        [KEY_LOGPROB] = JSON_NAME("logprob"),
        [KEY_BYTES] = JSON_NAME("bytes"), /* not read, but in nearly every object */
        [KEY_TOP_LOGPROBS] = JSON_NAME("top_logprobs"),
};

enum { SEEN_BOTH = 1 << KEY_TOKEN | 1 << KEY_LOGPROB }; /* of an object's members */

/* From here down it is no probability: OpenAI's word for "not among the likeliest". */
static const double logprob_zero = -9999;

struct candidate {
	struct json_value text; /* JSON_KIND_NONE when missing */
	double logprob;         /* NAN when missing */
};

/* The sampled token is as a rule one of the candidates, and spelled alike there. */
struct sampled {
	struct candidate candidate;
	struct bytes
	        begin; /* the entry as far as it may stand so in a candidate; empty: not at all */
};

static bool
text_take(struct json_scan *s, struct json_value *text)
{
	return json_take(s, text) && text->kind == JSON_KIND_STRING;
}

static bool
logprob_of(struct json_value value, double *logprob)
{
	if (value.kind == JSON_KIND_NUMBER) {
		if (!json_to_double(value, logprob))
			return false;
		if (*logprob <= logprob_zero)
			*logprob = -INFINITY;
		return true;
	}
	*logprob = -INFINITY;
	return value.kind == JSON_KIND_NULL || json_string_is(value, "-inf") ||
	       json_string_is(value, "-Infinity");
}

static bool
logprob_take(struct json_scan *s, double *logprob)
{
	struct json_value value;

	return json_take(s, &value) && logprob_of(value, logprob);
}

static bool
candidate_read_strictly(struct json_scan *s, struct candidate *candidate)
{
	struct json_member member;
	uint32_t seen = 0;
	size_t key;

	candidate->text = (struct json_value){.kind = JSON_KIND_NONE};
	candidate->logprob = NAN;
	if (!json_enter(s, JSON_KIND_OBJECT))
		return false;
	while (json_next_member(s, &member)) {
		if (!json_key_find_once(member.key, keys, KEY_TOP_LOGPROBS, &seen, &key))
			return false;
		if (key == KEY_TOKEN) {
			if (!text_take(s, &candidate->text))
				return false;
		} else if (key == KEY_LOGPROB) {
			if (!logprob_take(s, &candidate->logprob))
				return false;
		} else {
			json_skip(s);
		}
	}
	return !s->fault;
}

/* The scanner must hold this many more bytes where the quick reader begins a member. */
enum { QUICK_MARGIN = 32 };

/* p: where so much is left. */
static inline bool
begins_with(const char *p, const char *text)
{
	return memcmp(p, text, strlen(text)) == 0;
}

/* p: where a string should begin. The place after its end, or NULL. */
static inline const char *
quick_text(struct json_scan *s, const char *p, struct json_value *text)
{
	const char *q;

	if (*p != '"')
		return NULL;
	q = json_pass_plain(p + 1, s->end);
	if (q < s->end && *q == '"') {
		*text = (struct json_value){p, (size_t)(q + 1 - p), JSON_KIND_STRING};
		return q + 1;
	}
	/* Escapes, and letters beyond ASCII, are the scanner's trade. */
	s->p = p;
	return json_take(s, text) ? s->p : NULL;
}

static inline const char *
quick_logprob(struct json_scan *s, const char *p, double *logprob)
{
	size_t n = bytes_begin_double((struct bytes){p, (size_t)(s->end - p)}, logprob);

	if (n == 0)
		return NULL;
	if (*logprob <= logprob_zero)
		*logprob = -INFINITY;
	return p + n;
}

#ifdef __SSE2__
/* p: where an array of bytes should begin, of numbers without sign, fraction or space. The place after
 * its end, or NULL. */
static inline const char *
quick_bytes(const char *p, const char *end)
{
	unsigned fresh = 1; /* bit 0: a number must begin with the block's first byte */
	unsigned zero = 0;  /* bit 0: the byte before the block is a zero that begins a number */

	if (begins_with(p, "null"))
		return p + 4;
	if (*p++ != '[')
		return NULL;
	if (*p == ']')
		return p + 1;
	for (; end - p >= 16; p += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i value = _mm_sub_epi8(v, _mm_set1_epi8('0'));
		__m128i is_digit = _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(9)), value);
		unsigned digits = (unsigned)_mm_movemask_epi8(is_digit);
		unsigned zeros = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('0')));
		unsigned commas =
		        (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(',')));
		unsigned n = (unsigned)__builtin_ctz(~(digits | commas)), mask = (1U << n) - 1;
		unsigned begins = commas << 1 | fresh; /* one bit beyond the block */
		unsigned zero_begins = (zeros & begins) << 1 | zero;

		/* No comma where a number must begin, no digit after a leading zero. */
		if (((begins & commas) | (zero_begins & digits)) & mask)
			return NULL;
		if (n < 16)
			return p[n] == ']' && !(begins >> n & 1) ? p + n + 1 : NULL;
		fresh = begins >> 16;
		zero = zero_begins >> 16;
	}
	return NULL;
}
#else
static inline const char *
quick_bytes(const char *p, const char *end)
{
	(void)end;
	return begins_with(p, "null") ? p + 4 : NULL;
}
#endif

/* Reads one of the members `token`, `logprob` and `bytes`, whose key should stand at p or one space
 * further. The place after its value; NULL when it is not spelled as servers do it, or stood before. */
static inline const char *
quick_member(struct json_scan *s, const char *p, struct candidate *candidate, uint32_t *seen)
{
	uint32_t bit;

	if (s->end - p < QUICK_MARGIN)
		return NULL;
	p += *p == ' ';
	if (begins_with(p, "\"token\":")) {
		bit = 1U << KEY_TOKEN;
		p += 8;
	} else if (begins_with(p, "\"logprob\":")) {
		bit = 1U << KEY_LOGPROB;
		p += 10;
	} else if (begins_with(p, "\"bytes\":")) {
		bit = 1U << KEY_BYTES;
		p += 8;
	} else {
		return NULL;
	}
	if (*seen & bit)
		return NULL;
	p += *p == ' ';
	if (bit == 1U << KEY_TOKEN)
		p = quick_text(s, p, &candidate->text);
	else if (bit == 1U << KEY_LOGPROB)
		p = quick_logprob(s, p, &candidate->logprob);
	else
		p = quick_bytes(p, s->end);
	if (p)
		*seen |= bit;
	return p;
}

/* Reads a candidate whose '{' is next. False when it is not spelled as servers do it, and then the scan
 * stands anywhere in it. */
static bool
candidate_read_quickly(struct json_scan *s, struct candidate *candidate)
{
	const char *p = s->p;
	uint32_t seen = 0;

	do {
		p = quick_member(s, p + 1, candidate, &seen);
		if (!p || p == s->end)
			return false;
	} while (*p == ',');
	if (*p != '}' || (~seen & SEEN_BOTH) != 0)
		return false;
	s->p = p + 1;
	return true;
}

/* Reads an entry's members, the first of which is next, as far as they are spelled as servers do it. */
static void
entry_begin_quickly(struct json_scan *s, struct candidate *sampled, uint32_t *seen)
{
	const char *p = quick_member(s, s->p, sampled, seen);

	while (p) {
		json_pass(s, p);
		p = p < s->end && *p == ',' ? quick_member(s, p + 1, sampled, seen) : NULL;
	}
}

static bool
candidate_read(struct json_scan *s, struct candidate *candidate)
{
	const char *begin = s->p;

	if (begin < s->end && *begin == '{' && candidate_read_quickly(s, candidate))
		return true;
	if (s->fault)
		return false;
	s->p = begin;
	return candidate_read_strictly(s, candidate);
}

/* Passes over a candidate that is the sampled token, byte for byte. */
static inline bool
sampled_again(struct json_scan *s, const struct sampled *sampled)
{
	size_t n = sampled->begin.n;

	if (n == 0 || (size_t)(s->end - s->p) <= n || s->p[n] != '}' ||
	    memcmp(s->p, sampled->begin.p, n) != 0)
		return false;
	s->p += n + 1;
	return true;
}

/* Is this candidate, the next in top, the sampled token? Of several with its text (two tokens may be
 * spelled alike) the one with the closest logprob. */
static void
sampled_judge(struct chat_token *token, const struct candidate *candidate)
{
	double distance, best;

	if (!candidate->text.p || !token->text.p || candidate->text.n != token->text.n ||
	    memcmp(candidate->text.p, token->text.p, token->text.n) != 0)
		return;
	if (token->sampled >= 0 && token->top[token->sampled] == token->logprob)
		return;
	best = token->sampled < 0 ? INFINITY : fabs(token->top[token->sampled] - token->logprob);
	distance = fabs(candidate->logprob - token->logprob);
	if (token->sampled < 0 || candidate->logprob == token->logprob || distance < best)
		token->sampled = (int8_t)token->top_count;
}

/* Reads the candidates. What begins like `sampled`, and ends there, is read already. */
static bool
candidates_read(struct chat_token *token, struct json_scan *s, const struct sampled *sampled)
{
	struct candidate candidate = {.logprob = (double)NAN};

	if (!json_enter(s, JSON_KIND_ARRAY))
		return json_skip_null(s);
	token->top_begin = s->p - 1;
	while (json_next_element(s)) {
		if (token->top_count == CHAT_TOP_LOGPROBS_MAX) {
			json_skip(s);
			continue;
		}
		if (token->sampled < 0 && sampled_again(s, sampled))
			candidate = sampled->candidate;
		else if (!candidate_read(s, &candidate))
			return false;
		token->top[token->top_count] = candidate.logprob;
		sampled_judge(token, &candidate);
		token->top_count++;
	}
	token->top_close = s->p - 1;
	return !s->fault;
}

/* The same where it is known which of them was sampled. */
static bool
candidates_read_after(struct chat_token *token, struct json_scan *s, const struct sampled *sampled)
{
	token->text = sampled->candidate.text;
	token->logprob = sampled->candidate.logprob;
	return candidates_read(token, s, sampled);
}

/* Reads the candidates that stand before the members that tell which of them was sampled. */
static bool
candidates_read_late(struct chat_token *token, struct json_value top)
{
	struct json_scan s;

	json_scan_init(&s, json_value_text(top));
	return candidates_read(token, &s, &(struct sampled){.begin.n = 0});
}

/* Reads what comes after the members read already. */
static bool
members_read(struct chat_token *token, struct json_scan *s, struct sampled *sampled, uint32_t seen,
             struct json_value *early)
{
	struct json_member member;
	bool good = true;
	size_t key;

	while (good && json_next_member(s, &member)) {
		if (!json_key_find_once(member.key, keys, KEY_COUNT, &seen, &key))
			return false;
		switch (key) {
		case KEY_TOKEN: good = text_take(s, &sampled->candidate.text); break;
		case KEY_LOGPROB: good = logprob_take(s, &sampled->candidate.logprob); break;
		case KEY_TOP_LOGPROBS:
			good = (~seen & SEEN_BOTH) == 0 ? candidates_read_after(token, s, sampled)
			                                : json_take(s, early);
			break;
		default: good = json_skip(s);
		}
	}
	return good && !s->fault;
}

bool
chat_token_read(struct chat_token *token, struct json_scan *s)
{
	struct sampled sampled = {.candidate.logprob = NAN};
	struct json_value early = {.kind = JSON_KIND_NONE};
	uint32_t seen = 0;

	token->top_begin = token->top_close = NULL;
	token->top_count = 0;
	token->sampled = -1;
	if (!json_enter(s, JSON_KIND_OBJECT))
		return false;
	token->entry = (struct json_value){.p = s->p - 1, .kind = JSON_KIND_OBJECT};
	entry_begin_quickly(s, &sampled.candidate, &seen);
	if ((~seen & SEEN_BOTH) == 0) {
		sampled.begin = (struct bytes){token->entry.p, (size_t)(s->p - token->entry.p)};
		if (json_pass_text(s, ",\"top_logprobs\":")) {
			seen |= 1U << KEY_TOP_LOGPROBS;
			if (!candidates_read_after(token, s, &sampled))
				return false;
		}
	}
	if (!members_read(token, s, &sampled, seen, &early) ||
	    sampled.candidate.text.kind == JSON_KIND_NONE)
		return false;
	token->entry.n = (size_t)(s->p - token->entry.p);
	token->text = sampled.candidate.text;
	token->logprob = sampled.candidate.logprob;
	return early.kind == JSON_KIND_NONE || candidates_read_late(token, early);
}

const char *
chat_token_cut(const struct chat_token *token, unsigned count)
{
	struct json_scan s;
	const char *end;

	json_scan_init(&s, (struct bytes){token->top_begin,
	                                  (size_t)(token->top_close - token->top_begin) + 1});
	json_enter(&s, JSON_KIND_ARRAY);
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
