#include "wire/overlap.h"

#include <stdio.h>

#include "base/mem.h"
#include "unit.h"

struct row {
	const char *rule;
	enum overlap_kind kind;
	const char *text, *continuation, *want;
};

static const struct row rows[] = {
        {"none: a repetition passes", OVERLAP_NONE, "a b", "a b c", "a b c"},
        {"none: white space passes", OVERLAP_NONE, "a ", " b", " b"},

        {"echo: the whole text goes", OVERLAP_ECHO, "The capital", "The capital of", " of"},
        {"echo: nothing but the text", OVERLAP_ECHO, "The capital", "The capital", ""},
        {"echo: no repetition passes", OVERLAP_ECHO, "The capital", " of", " of"},
        {"echo: a part of it passes, for it goes on otherwise", OVERLAP_ECHO, "The capital",
         "The cap", "The cap"},
        {"echo: almost the whole text passes", OVERLAP_ECHO, "The capital", "The capitol",
         "The capitol"},
        {"echo: last words pass", OVERLAP_ECHO, "The capital", "capital of", "capital of"},
        {"echo: of an empty text is nothing", OVERLAP_ECHO, "", "a", "a"},

        {"space: the white space that was not sent goes", OVERLAP_SPACE, "a:\n\n", "\n\nb", "b"},
        {"space: an end of it goes", OVERLAP_SPACE, "a:\n\n", "\nb", "b"},
        {"space: the longest end goes", OVERLAP_SPACE, "a \n \n", " \nb", "b"},
        {"space: no more than was there", OVERLAP_SPACE, "a ", "  b", " b"},
        {"space: other white space passes", OVERLAP_SPACE, "a ", "\nb", "\nb"},
        {"space: a beginning of it that goes on otherwise passes", OVERLAP_SPACE, "a \n", " b",
         " b"},
        {"space: words pass", OVERLAP_SPACE, "a b ", "b c", "b c"},
        {"space: without white space at the end all passes", OVERLAP_SPACE, "a b", " b", " b"},
        {"space: a text of nothing else", OVERLAP_SPACE, " \n", " \nb", "b"},
        {"space: Unicode's", OVERLAP_SPACE, "a\xE3\x80\x80\xC2\xA0",
         "\xE3\x80\x80\xC2\xA0"
         "b",
         "b"},
        {"space: no half of a character", OVERLAP_SPACE, "a\xC2\xA0", "\xC3\xA0", "\xC3\xA0"},

        {"words: the whole text goes", OVERLAP_WORDS, "The capital of", "The capital of France",
         " France"},
        {"words: last words go", OVERLAP_WORDS, "The capital of", "capital of France", " France"},
        {"words: with the space before them", OVERLAP_WORDS, "The capital of", " of France",
         " France"},
        {"words: a word begun goes", OVERLAP_WORDS, "The capi", "capital of", "tal of"},
        {"words: the rest of a word passes", OVERLAP_WORDS, "The capi", "ital", "ital"},
        {"words: the end of a word is no repetition", OVERLAP_WORDS, "The capital", "tal", "tal"},
        {"words: the longest repetition goes", OVERLAP_WORDS, "ab a b a b", "a b a b c", " c"},
        {"words: a shorter one when the longer breaks off", OVERLAP_WORDS, "x a b a", "a b c",
         " b c"},
        {"words: of white space at the seam one is left", OVERLAP_WORDS, "The ", " capital",
         "capital"},
        {"words: a line feed too", OVERLAP_WORDS, "The:\n", "\ncapital", "capital"},
        {"words: other white space passes", OVERLAP_WORDS, "The ", "\ncapital", "\ncapital"},
        {"words: a punctuation mark", OVERLAP_WORDS, "Well,", ", yes", " yes"},
        {"words: an underscore and digits are of the word", OVERLAP_WORDS, "my_1name", "1name",
         "1name"},
        {"words: letters beyond ASCII are of the word", OVERLAP_WORDS, "d\xC3\xA9j\xC3\xA0",
         "j\xC3\xA0 vu", "j\xC3\xA0 vu"},
        {"words: and may be repeated", OVERLAP_WORDS, "un d\xC3\xA9j\xC3\xA0",
         "d\xC3\xA9j\xC3\xA0 vu", " vu"},
        {"words: a middle of the text passes", OVERLAP_WORDS, "The capital of", "capital city",
         "capital city"},
        {"words: nothing but a repetition", OVERLAP_WORDS, "The capital of", "capital of", ""},
        {"words: a repetition that breaks off passes at the end", OVERLAP_WORDS, "The capital of",
         "capital", "capital"},
        {"words: a long end of a word is one", OVERLAP_WORDS, "no d10 d11 d12", "0 d11 d12 d13",
         " d13"},
        {"words: white space before the whole text", OVERLAP_WORDS, "The capital of",
         "\n\nThe capital of France", " France"},
        {"words: before many words of it", OVERLAP_WORDS, "So the capital of the land",
         "\nthe capital of the land is", " is"},
        {"words: but not before few", OVERLAP_WORDS, "It is very", "\nvery good", "\nvery good"},
        {"words: nor where the text goes on otherwise", OVERLAP_WORDS, "The capital of",
         " \n The capital city", " \n The capital city"},
        {"words: white space that the text has somewhere", OVERLAP_WORDS, "The capital of",
         " The capital of France", " France"},
        {"words: white space alone", OVERLAP_WORDS, "The capital of", "\n\n", "\n\n"},
        {"words: an empty continuation", OVERLAP_WORDS, "The capital of", "", ""},
        {"words: an empty text", OVERLAP_WORDS, "", "The", "The"},
};

enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };

static size_t
char_length(const char *p)
{
	size_t n = 1;

	while (((unsigned char)p[n] & 0xC0) == 0x80)
		n++;
	return n;
}

/* Feeds the beginning, then the rest: at once, or character by character. */
static void
check_row(const struct row *row, size_t cut, bool single)
{
	const char *p = row->continuation + cut;
	struct bytes text = bytes_of(row->text);
	char *held = mem_copy(text);
	struct overlap *o = overlap_new(row->kind, (struct bytes){held, text.n});
	struct buf out;

	/* The text is copied. */
	memset(held, 'x', text.n);
	free(held);
	buf_init(&out, 0);
	ck_assert_ptr_nonnull(o);
	overlap_feed(o, (struct bytes){row->continuation, cut}, &out);
	while (*p) {
		size_t n = single ? char_length(p) : strlen(p);
		bool was_settled = overlap_is_settled(o);
		size_t before = out.n;

		overlap_feed(o, (struct bytes){p, n}, &out);
		if (was_settled)
			ck_assert_uint_eq(out.n, before + n);
		p += n;
	}
	overlap_end(o, &out);
	ck_assert_msg(overlap_is_settled(o), "%s: keeps something back", row->rule);
	ck_assert_msg(bytes_is(buf_bytes(&out), row->want), "%s (cut at %zu): %.*s", row->rule, cut,
	              (int)out.n, out.p);
	ck_assert_uint_eq(overlap_left_out(o) + out.n, strlen(row->continuation));
	overlap_free(o);
	buf_fini(&out);
}

START_TEST(test_repetitions_are_left_out_however_the_continuation_is_cut)
{
	for (size_t i = 0; i < ROW_COUNT; i++) {
		size_t cut = 0, n = strlen(rows[i].continuation);

		check_row(&rows[i], 0, true);
		for (; cut <= n; cut += cut < n ? char_length(rows[i].continuation + cut) : 1)
			check_row(&rows[i], cut, false);
	}
}
END_TEST

START_TEST(test_nothing_is_kept_back_longer_than_need_be)
{
	static const struct {
		enum overlap_kind kind;
		const char *text, *continuation;
		size_t settled_after;
	} cases[] = {
	        {OVERLAP_NONE, "a", "a", 0},          {OVERLAP_SPACE, "a", "a", 0},
	        {OVERLAP_SPACE, "a \n", "b", 1},      {OVERLAP_SPACE, "a \n", " \n", 2},
	        {OVERLAP_ECHO, "abc", "x", 1},        {OVERLAP_ECHO, "abc", "abc", 3},
	        {OVERLAP_WORDS, "one two", "two", 3}, {OVERLAP_WORDS, "one two", "txt", 2},
	        {OVERLAP_WORDS, "a a", "a a", 3},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct overlap *o = overlap_new(cases[i].kind, bytes_of(cases[i].text));
		struct buf out;

		buf_init(&out, 0);
		for (size_t n = 0; n < cases[i].settled_after; n++) {
			ck_assert_msg(!overlap_is_settled(o), "%s, %zu bytes", cases[i].text, n);
			overlap_feed(o, (struct bytes){cases[i].continuation + n, 1}, &out);
		}
		ck_assert_msg(overlap_is_settled(o), "%s", cases[i].text);
		overlap_free(o);
		buf_fini(&out);
	}
}
END_TEST

/* The text is `begin` and `fill_n` times `fill`; the continuation is `again`, or the text itself. */
static void
check_far(enum overlap_kind kind, const char *begin, char fill, size_t fill_n, const char *again,
          const char *want)
{
	struct overlap *o;
	struct buf text, out;

	buf_init(&text, 0);
	buf_init(&out, 0);
	buf_add_text(&text, begin);
	for (size_t i = 0; i < fill_n; i++)
		buf_add(&text, &fill, 1);
	o = overlap_new(kind, buf_bytes(&text));
	overlap_feed(o, again ? bytes_of(again) : buf_bytes(&text), &out);
	overlap_end(o, &out);
	ck_assert_msg(bytes_is(buf_bytes(&out), want), "%zu bytes", out.n);
	overlap_free(o);
	buf_fini(&text);
	buf_fini(&out);
}

START_TEST(test_only_the_whole_text_is_looked_for_from_afar)
{
	enum { FAR = OVERLAP_WORDS_MAX_BYTES };
	char *near = mem_new(FAR + 2), *far = mem_new(FAR + 2), *whole = mem_new(FAR + 1);

	memset(near, 'y', FAR + 2);
	near[FAR] = '\0';
	memset(far, 'y', FAR + 2);
	far[FAR + 1] = '\0';
	memset(whole, ' ', FAR + 1);
	whole[FAR] = '\0';
	check_far(OVERLAP_WORDS, "x ", 'y', FAR, near, "");
	check_far(OVERLAP_WORDS, "x ", 'y', FAR + 1, far, "y");
	check_far(OVERLAP_WORDS, "x ", 'y', 3 * FAR, NULL, "");
	check_far(OVERLAP_ECHO, "x ", 'y', 3 * FAR, NULL, "");
	check_far(OVERLAP_SPACE, "x", ' ', 3 * FAR, whole, "");
	free(near);
	free(far);
	free(whole);
}
END_TEST

START_TEST(test_white_space_is_trimmed_at_the_end_only)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
	        {"", ""},
	        {" a b \t\r\n\v\f\x1F", " a b"},
	        {" \n", ""},
	        {"a\xC2\x85\xC2\xA0\xE1\x9A\x80\xE2\x80\x80\xE2\x80\x8A\xE2\x80\xA8\xE2\x80\xA9",
	         "a"},
	        {"a\xE2\x80\xAF\xE2\x81\x9F\xE3\x80\x80", "a"},
	        {"a\xE2\x80\x8B", "a\xE2\x80\x8B"},
	        {"a\xC3\xA0", "a\xC3\xA0"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(bytes_is(overlap_trim(bytes_of(cases[i].text)), cases[i].want),
		              "row %zu", i);
	ck_assert_uint_eq(overlap_trim((struct bytes){NULL, 0}).n, 0);
}
END_TEST

UNIT_MAIN("overlap", test_repetitions_are_left_out_however_the_continuation_is_cut,
          test_nothing_is_kept_back_longer_than_need_be,
          test_only_the_whole_text_is_looked_for_from_afar,
          test_white_space_is_trimmed_at_the_end_only)
