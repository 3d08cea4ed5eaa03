#include "simulator/speech.h"

#include <stdlib.h>

#include "base/mem.h"
#include "simulator/mix.h"

enum { ECHO_WORDS = 12, ECHO_BYTES = 24, FRAGMENT_BYTES = 6 };

/* Sentences by the parts they are made of: the letters are those of part_of_letter(). */
static const char *const sentences[] = {
        "ONVDN.",      "OANVDNPDN.",      "ONVDAN,LDNVDN.", "OAN,PDAN,VDN.",
        "ONRVDANPDN.", "ONVDN,LDANVDNR.", "ONPDNVDAN.",
};

static enum sim_part
part_of_letter(char letter)
{
	switch (letter) {
	case 'O': return SIM_PART_OPENER;
	case 'D': return SIM_PART_DETERMINER;
	case 'A': return SIM_PART_ADJECTIVE;
	case 'N': return SIM_PART_NOUN;
	case 'V': return SIM_PART_VERB;
	case 'P': return SIM_PART_PREPOSITION;
	case 'R': return SIM_PART_ADVERB;
	case 'L': return SIM_PART_LINK;
	default: return SIM_PART_MARK;
	}
}

void
sim_speech_fini(struct sim_speech *speech)
{
	free(speech->tokens);
	*speech = (struct sim_speech){0};
}

static bool
speech_begin(struct sim_speech *speech, size_t cap)
{
	sim_speech_fini(speech);
	/* One more than the speech needs, for sim_speech_repeat. */
	speech->tokens = mem_try((cap + 1) * sizeof(*speech->tokens));
	return speech->tokens != NULL;
}

static void
speech_add_word(struct sim_speech *speech, const struct sim_vocabulary *v, unsigned index)
{
	struct bytes text = sim_vocabulary_word(v, index)->text;

	speech->tokens[speech->count++] = (struct sim_token){text.p, (uint32_t)text.n, (int)index};
}

/* Adds a text that may or may not be a word of the vocabulary. */
static void
speech_add_text(struct sim_speech *speech, const struct sim_vocabulary *v, struct bytes text)
{
	int word = sim_vocabulary_find(v, text);

	if (word != SIM_WORD_NONE)
		speech_add_word(speech, v, (unsigned)word);
	else
		speech->tokens[speech->count++] =
		        (struct sim_token){text.p, (uint32_t)text.n, SIM_WORD_NONE};
}

static void
speech_add_literal(struct sim_speech *speech, const struct sim_vocabulary *v, const char *text)
{
	speech_add_text(speech, v, bytes_of(text));
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* The longest prefix of at most `max` bytes that ends between two UTF-8 characters. */
static size_t
prefix_length(struct bytes text, size_t max)
{
	size_t n = text.n < max ? text.n : max;

	while (n > 0 && n < text.n && ((unsigned char)text.p[n] & 0xC0) == 0x80)
		n--;
	return n;
}

/* The next token of the prompt: a word with the one white space before it, if there is any. */
static struct bytes
echo_next(struct bytes prompt, size_t *at)
{
	size_t i = *at, begin, end;

	while (i < prompt.n && is_space(prompt.p[i]))
		i++;
	if (i == prompt.n)
		return (struct bytes){NULL, 0};
	begin = i > *at ? i - 1 : i;
	for (end = i; end < prompt.n && !is_space(prompt.p[end]); end++)
		;
	*at = begin + prefix_length((struct bytes){prompt.p + begin, end - begin}, ECHO_BYTES);
	return (struct bytes){prompt.p + begin, *at - begin};
}

/* "You asked: …" and a full stop, in at most `count` tokens. */
static void
speech_echo(struct sim_speech *speech, const struct sim_vocabulary *v, struct bytes prompt,
            uint32_t count)
{
	static const char *const words[] = {"You", " asked", ":", " "};
	size_t at = 0, i;
	struct bytes text = {"", 0};

	while (prompt.n > 0 && is_space(prompt.p[0]))
		prompt = (struct bytes){prompt.p + 1, prompt.n - 1};
	for (i = 0; i < 4 - (prompt.n == 0) && speech->count < count; i++)
		speech_add_literal(speech, v, words[i]);
	for (i = 0; i < ECHO_WORDS && speech->count < count; i++) {
		struct bytes next = echo_next(prompt, &at);

		if (!next.p)
			break;
		text = next;
		speech_add_text(speech, v, text);
	}
	if (speech->count < count && (text.n == 0 || !strchr(".!?", text.p[text.n - 1])))
		speech_add_literal(speech, v, ".");
}

bool
sim_speech_answer(struct sim_speech *speech, const struct sim_vocabulary *v, uint64_t seed,
                  struct bytes prompt, uint32_t count)
{
	const char *letter = "";
	uint64_t bits = seed, form = sim_hash(0, prompt);

	if (count > SIM_SPEECH_MAX)
		count = SIM_SPEECH_MAX;
	if (!speech_begin(speech, count))
		return false;
	speech_echo(speech, v, prompt, count);
	while (speech->count < count) {
		bool last = speech->count + 1 == count;

		bits = sim_mix(bits);
		if (*letter == '\0' && last) {
			speech_add_literal(speech, v, "\n");
			break;
		}
		if (*letter == '\0') {
			form = sim_mix(form);
			letter = sentences[(form >> 32) %
			                   (sizeof(sentences) / sizeof(sentences[0]))];
		}
		if (last || *letter == '.')
			speech_add_literal(speech, v, ".");
		else if (*letter == ',')
			speech_add_literal(speech, v, ",");
		else
			speech_add_word(speech, v,
			                sim_vocabulary_pick(v, part_of_letter(*letter), bits));
		letter++;
	}
	return true;
}

bool
sim_speech_refusal(struct sim_speech *speech, const struct sim_vocabulary *v, uint32_t count)
{
	static const char *const words[] = {"I",       "'m",    " sorry", ",",     " but", " I",
	                                    " cannot", " help", " with",  " that", "."};

	if (!speech_begin(speech, sizeof(words) / sizeof(words[0])))
		return false;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) && i < count; i++)
		speech_add_literal(speech, v, words[i]);
	return true;
}

bool
sim_speech_fragments(struct sim_speech *speech, struct bytes text)
{
	/* A fragment is shorter than FRAGMENT_BYTES by three bytes at most. */
	if (!speech_begin(speech, text.n / (FRAGMENT_BYTES - 3) + 1))
		return false;
	while (text.n > 0) {
		size_t n = prefix_length(text, FRAGMENT_BYTES);

		speech->tokens[speech->count++] =
		        (struct sim_token){text.p, (uint32_t)n, SIM_WORD_NONE};
		text = (struct bytes){text.p + n, text.n - n};
	}
	return true;
}

void
sim_speech_text(const struct sim_speech *speech, struct buf *out)
{
	for (uint32_t i = 0; i < speech->count; i++)
		buf_add(out, speech->tokens[i].p, speech->tokens[i].n);
}

/* Drops what lies behind the first `bytes` bytes. */
static void
speech_cut(struct sim_speech *speech, size_t bytes)
{
	uint32_t i;

	for (i = 0; i < speech->count && bytes > 0; i++) {
		struct sim_token *token = &speech->tokens[i];

		if (token->n > bytes) {
			token->n =
			        (uint32_t)prefix_length((struct bytes){token->p, token->n}, bytes);
			token->word = SIM_WORD_NONE;
			bytes = token->n;
			if (token->n == 0)
				break;
		}
		bytes -= token->n;
	}
	speech->count = i;
}

bool
sim_speech_stop(struct sim_speech *speech, const struct bytes *stops, size_t count)
{
	const char *first = NULL;
	struct buf text;

	buf_init(&text, 0);
	sim_speech_text(speech, &text);
	for (size_t i = 0; i < count && text.n > 0; i++) {
		const char *at = stops[i].n ? memmem(text.p, text.n, stops[i].p, stops[i].n) : NULL;

		if (at && (!first || at < first))
			first = at;
	}
	if (first)
		speech_cut(speech, (size_t)(first - text.p));
	buf_fini(&text);
	return first != NULL;
}

enum letter { LETTER_SPACE, LETTER_WORD, LETTER_DIGIT, LETTER_WIDE, LETTER_MARK };

static enum letter
letter_of(unsigned char c)
{
	if (c <= ' ')
		return LETTER_SPACE;
	if (c >= 0x80)
		return LETTER_WIDE;
	if (c >= '0' && c <= '9')
		return LETTER_DIGIT;
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
		return LETTER_WORD;
	return LETTER_MARK;
}

uint64_t
sim_speech_count(struct bytes text)
{
	static const uint8_t bytes_per_token[] = {
	        [LETTER_WORD] = 8, [LETTER_DIGIT] = 3, [LETTER_WIDE] = 3, [LETTER_MARK] = 1};
	uint64_t count = 0;

	for (size_t i = 0; i < text.n;) {
		enum letter letter = letter_of((unsigned char)text.p[i]);
		size_t begin = i;

		while (i < text.n && letter_of((unsigned char)text.p[i]) == letter)
			i++;
		if (letter != LETTER_SPACE)
			count +=
			        (i - begin + bytes_per_token[letter] - 1) / bytes_per_token[letter];
	}
	return count;
}

/* The end of the token that begins at `i`: white space, and after it a word or one mark. */
static size_t
token_end(struct bytes text, size_t i)
{
	while (i < text.n && letter_of((unsigned char)text.p[i]) == LETTER_SPACE)
		i++;
	if (i < text.n && letter_of((unsigned char)text.p[i]) == LETTER_MARK)
		return i + 1;
	while (i < text.n && letter_of((unsigned char)text.p[i]) != LETTER_SPACE &&
	       letter_of((unsigned char)text.p[i]) != LETTER_MARK)
		i++;
	return i;
}

/* Does the token stand there in the text? A word of the vocabulary must end there too. */
static bool
stands_at(struct bytes text, size_t at, const struct sim_token *token)
{
	size_t end = at + token->n;
	enum letter next;

	if (end > text.n || memcmp(text.p + at, token->p, token->n) != 0)
		return false;
	if (token->word == SIM_WORD_NONE || end == text.n)
		return true;
	next = letter_of((unsigned char)text.p[end]);
	return next == LETTER_SPACE || next == LETTER_MARK;
}

void
sim_speech_skip(struct sim_speech *speech, struct bytes partial)
{
	uint32_t count = 0;
	size_t at = 0;

	/* The echo of the prompt is cut in its own way, but is the same in every answer to it. */
	while (at < partial.n && count < speech->count &&
	       stands_at(partial, at, &speech->tokens[count]))
		at += speech->tokens[count++].n;
	for (; count < speech->count && at < partial.n; count++)
		at = token_end(partial, at);
	speech->count -= count;
	memmove(speech->tokens, speech->tokens + count, speech->count * sizeof(*speech->tokens));
}

void
sim_speech_repeat(struct sim_speech *speech, struct bytes text)
{
	memmove(speech->tokens + 1, speech->tokens, speech->count * sizeof(*speech->tokens));
	speech->tokens[0] = (struct sim_token){text.p, (uint32_t)text.n, SIM_WORD_NONE};
	speech->count++;
}
