#include "cache/lexical.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "unit.h"

static double
cosine(const char *one, const char *other)
{
	float a[LEXICAL_DIMENSIONS], b[LEXICAL_DIMENSIONS];
	double sum = 0;

	ck_assert_msg(lexical_embed(bytes_of(one), a), "%s", one);
	ck_assert_msg(lexical_embed(bytes_of(other), b), "%s", other);
	for (size_t i = 0; i < LEXICAL_DIMENSIONS; i++)
		sum += (double)a[i] * b[i];
	return sum;
}

struct row {
	const char *one, *other;
};

static const struct row near[] = {
        /* A slip of the pen. */
        {"How do I reverse a linked list in Python without using extra memory?",
         "How do I reverse a linked list in Pyhton without using extra memory?"},
        {"What are the most common symptoms of type two diabetes in adults?",
         "What are the most common symptoms of type two dabetes in adults?"},
        {"Explain how photosynthesis works in green plants during the day",
         "Explain how photosyntesis works in green plants during the day"},
        {"Summarize the plot of Romeo and Juliet in three sentences for my class",
         "Sumarize the plot of Romeo and Juliet in three sentences for my class"},
        {"Is it safe to take ibuprofen together with paracetamol for a headache?",
         "Is it safe to take ibuprofen togehter with paracetamol for a headache?"},
        {"How do I configure nginx as a reverse proxy for several servers?",
         "How do I configure nginx as a reversse proxy for several servers?"},
        {"Warum ist der Himmel am Abend rot und am Mittag immer blau?",
         "Warum ist der Himmel am Abend rot und am Mitag immer blau?"},
        /* Another case. */
        {"What were the main causes of the First World War in Europe?",
         "what were the main causes of the first world war in europe"},
        {"Où est la gare de Lyon à Paris, s'il vous plaît ?",
         "OÙ EST LA GARE DE LYON À PARIS, S'IL VOUS PLAÎT ?"},
        {"Как включить тёмный режим на телефоне без интернета",
         "КАК ВКЛЮЧИТЬ ТЁМНЫЙ РЕЖИМ НА ТЕЛЕФОНЕ БЕЗ ИНТЕРНЕТА"},
        {"Πώς μπορώ να μάθω ελληνικά γρήγορα στο σπίτι μου;",
         "ΠΏΣ ΜΠΟΡΏ ΝΑ ΜΆΘΩ ΕΛΛΗΝΙΚΆ ΓΡΉΓΟΡΑ ΣΤΟ ΣΠΊΤΙ ΜΟΥ;"},
        /* A filler, or several. */
        {"How does a car engine convert fuel into motion step by step?",
         "Please, how does a car engine convert fuel into motion step by step?"},
        {"How does a car engine convert fuel into motion step by step?",
         "Hi, how does a car engine actually convert fuel into motion step by step? Thanks"},
        {"What is the best way to invest a small amount of money?",
         "So what is the best way to invest a small amount of money?"},
        /* Other punctuation and spaces. */
        {"What happens to the body when it stays in space for a year?",
         "What happens to the body -- when it stays in space -- for a year"},
        {"My dog's ears itch at night, why doesn't it sleep more?",
         "My dog’s ears itch at night:\n\twhy doesnt it sleep more"},
        {"(What) is \"the\" difference: a process, or a thread?",
         "What is the difference, a process or a thread?"},
        {"什么是光合作用，它在夜里也进行吗？", "什么是光合作用 它在夜里也进行吗"},
};

START_TEST(test_small_changes_leave_texts_near)
{
	for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
		double c = cosine(near[i].one, near[i].other);

		ck_assert_msg(c >= 0.95, "%.3f: %s | %s", c, near[i].one, near[i].other);
	}
}
END_TEST

START_TEST(test_strangers_are_far)
{
	for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
		for (size_t k = i + 1; k < sizeof(near) / sizeof(near[0]); k++) {
			double c = cosine(near[i].one, near[k].other);

			/* Some rows are about the same thing. */
			if (strncmp(near[i].one, near[k].one, 12) == 0)
				continue;
			ck_assert_msg(c < 0.5, "%.3f: %s | %s", c, near[i].one, near[k].other);
		}
	}
}
END_TEST

START_TEST(test_what_was_changed_counts)
{
	static const char text[] = "What is the tallest mountain in all of Europe?";
	double typo = cosine(text, "What is the tallest mountian in all of Europe?"),
	       word = cosine(text, "What is the tallest building in all of Europe?"),
	       two = cosine(text, "What is the oldest building in all of Europe?");

	ck_assert_double_gt(typo, word);
	ck_assert_double_gt(word, two);
	ck_assert_double_gt(cosine(text, "Is the tallest mountain in all of Europe what?"), 0.9);
	ck_assert_double_lt(cosine(text, "Is the tallest mountain in all of Europe what?"),
	                    1 - 1e-6);
	/* The tenth time says little that the first has not said. */
	ck_assert_double_gt(cosine("red green blue", "red green blue blue blue blue"), 0.8);
	ck_assert_double_lt(cosine("猫が好き", "犬が好き"), 0.9);
}
END_TEST

START_TEST(test_a_text_without_words_has_no_vector)
{
	static const char *const texts[] = {"", " ", "?!", "+ - *", "\xFF\xFE", "…—“”", "'"};
	float v[LEXICAL_DIMENSIONS];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_msg(!lexical_embed(bytes_of(texts[i]), v), "%s", texts[i]);
	ck_assert(!lexical_embed((struct bytes){NULL, 0}, v));
	ck_assert(lexical_embed(bytes_of("a"), v));
	ck_assert(lexical_embed(bytes_of("7"), v));
	ck_assert(lexical_embed(bytes_of("東"), v));
}
END_TEST

START_TEST(test_a_long_text_has_length_1)
{
	enum { LENGTH = 1 << 20 };
	char *text = mem_new(LENGTH);
	float v[LEXICAL_DIMENSIONS];
	double squares;

	for (unsigned kind = 0; kind < 3; kind++) {
		for (size_t i = 0; i < LENGTH; i++)
			text[i] = kind == 0                 ? 'x'
			          : kind == 1 && i % 4 == 3 ? ' '
			                                    : (char)('a' + i * i % 23);
		ck_assert(lexical_embed((struct bytes){text, LENGTH}, v));
		squares = 0;
		for (size_t i = 0; i < LEXICAL_DIMENSIONS; i++)
			squares += (double)v[i] * v[i];
		ck_assert_double_eq_tol(squares, 1, 1e-5);
	}
	free(text);
}
END_TEST

/* Vectors are kept in snapshots. When this fails, old ones are of no use any more, and must be told from new ones. */
START_TEST(test_a_vector_is_the_same_in_every_build)
{
	static const struct {
		const char *text, *hash;
	} rows[] = {
	        {"What is the capital of France?", "c256db2e0f831936"},
	        {"Größe, Ωμέγα, Жук, 東京都 and 1234 don't matter; don't, don't",
	         "934c6ff01069ff3b"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned char bytes[4 * LEXICAL_DIMENSIONS];
		float v[LEXICAL_DIMENSIONS];
		uint64_t hash = 0xCBF29CE484222325;
		char text[17];

		ck_assert(lexical_embed(bytes_of(rows[i].text), v));
		memcpy(bytes, v, sizeof(bytes));
		for (size_t k = 0; k < sizeof(bytes); k++)
			hash = (hash ^ bytes[k]) * 0x100000001B3;
		snprintf(text, sizeof(text), "%016llx", (unsigned long long)hash);
		ck_assert_str_eq(text, rows[i].hash);
	}
}
END_TEST

UNIT_MAIN("lexical", test_small_changes_leave_texts_near, test_strangers_are_far,
          test_what_was_changed_counts, test_a_text_without_words_has_no_vector,
          test_a_long_text_has_length_1, test_a_vector_is_the_same_in_every_build)
