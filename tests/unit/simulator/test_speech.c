#include "simulator/speech.h"

#include "simulator/distribution.h"
#include "unit.h"

static struct buf
text_of(const struct sim_speech *speech)
{
	struct buf text = {0};

	sim_speech_text(speech, &text);
	return text;
}

START_TEST(test_the_vocabulary_finds_each_of_its_words)
{
	struct sim_vocabulary *v = sim_vocabulary_new();

	ck_assert_uint_ge(sim_vocabulary_count(v), SIM_CANDIDATES);
	for (unsigned i = 0; i < sim_vocabulary_count(v); i++) {
		ck_assert_int_eq(sim_vocabulary_find(v, sim_vocabulary_word(v, i)->text), (int)i);
		ck_assert(bytes_is_utf8(sim_vocabulary_word(v, i)->text));
	}
	ck_assert_int_eq(sim_vocabulary_find(v, bytes_of("the")), SIM_WORD_NONE);
	ck_assert_int_eq(sim_vocabulary_find(v, bytes_of("")), SIM_WORD_NONE);
	sim_vocabulary_free(v);
}
END_TEST

START_TEST(test_a_word_has_its_json_and_its_bytes_ready)
{
	struct sim_vocabulary *v = sim_vocabulary_new();
	const struct sim_word *word =
	        sim_vocabulary_word(v, (unsigned)sim_vocabulary_find(v, bytes_of(" café")));

	ck_assert(bytes_is(word->json, "\" café\""));
	ck_assert(bytes_is(word->head, "{\"token\":\" café\",\"logprob\":"));
	ck_assert(bytes_is(word->tail, ",\"bytes\":[32,99,97,102,195,169]"));
	word = sim_vocabulary_word(v, (unsigned)sim_vocabulary_find(v, bytes_of("\n")));
	ck_assert(bytes_is(word->json, "\"\\n\""));
	ck_assert(bytes_is(word->tail, ",\"bytes\":[10]"));
	sim_vocabulary_free(v);
}
END_TEST

START_TEST(test_the_same_seed_and_prompt_give_the_same_tokens)
{
	struct sim_vocabulary *v = sim_vocabulary_new();
	struct sim_speech one = {0}, two = {0}, other = {0};
	struct buf a, b, c;

	ck_assert(sim_speech_answer(&one, v, 7, bytes_of("Why is the sky blue?"), 200));
	ck_assert(sim_speech_answer(&two, v, 7, bytes_of("Why is the sky blue?"), 200));
	ck_assert(sim_speech_answer(&other, v, 8, bytes_of("Why is the sky blue?"), 200));
	a = text_of(&one);
	b = text_of(&two);
	c = text_of(&other);
	ck_assert(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
	ck_assert(!bytes_equal(buf_bytes(&a), buf_bytes(&c)));
	ck_assert_uint_gt(a.n, 40);
	ck_assert_int_eq(memcmp(a.p, "You asked: Why is the sky blue? ", 32), 0);
	buf_fini(&a);
	buf_fini(&b);
	buf_fini(&c);
	sim_speech_fini(&one);
	sim_speech_fini(&two);
	sim_speech_fini(&other);
	sim_vocabulary_free(v);
}
END_TEST

START_TEST(test_an_answer_has_as_many_tokens_as_asked_for)
{
	static const char *const prompts[] = {"",
	                                      " ",
	                                      "\n\n",
	                                      "x",
	                                      "hello world",
	                                      "a b c d e f g h i j k l m n o p q",
	                                      "ééééééééééééééééééééééééééééééééééééééééé",
	                                      "line\none\ttwo  three",
	                                      "✓ ✓ the ."};
	struct sim_vocabulary *v = sim_vocabulary_new();

	for (size_t i = 0; i < sizeof(prompts) / sizeof(prompts[0]); i++) {
		for (uint32_t count = 0; count < 70; count++) {
			struct sim_speech speech = {0};
			struct buf text;

			ck_assert(
			        sim_speech_answer(&speech, v, count, bytes_of(prompts[i]), count));
			ck_assert_uint_eq(speech.count, count);
			for (uint32_t k = 0; k < count; k++) {
				struct sim_token token = speech.tokens[k];
				struct bytes piece = {token.p, token.n};

				ck_assert_uint_gt(token.n, 0);
				ck_assert(bytes_is_utf8(piece));
				ck_assert_int_eq(token.word, sim_vocabulary_find(v, piece));
			}
			text = text_of(&speech);
			/* Long enough to have said what was asked, it ends with a sentence. */
			if (count >= 30)
				ck_assert(text.p[text.n - 1] == '.' || text.p[text.n - 1] == '\n');
			buf_fini(&text);
			sim_speech_fini(&speech);
		}
	}
	sim_vocabulary_free(v);
}
END_TEST

START_TEST(test_an_answer_is_never_longer_than_the_limit)
{
	struct sim_vocabulary *v = sim_vocabulary_new();
	struct sim_speech speech = {0};

	ck_assert(sim_speech_answer(&speech, v, 1, bytes_of("x"), UINT32_MAX));
	ck_assert_uint_eq(speech.count, SIM_SPEECH_MAX);
	sim_speech_fini(&speech);
	sim_vocabulary_free(v);
}
END_TEST

START_TEST(test_a_stop_ends_the_speech_before_it)
{
	static const struct {
		const char *stops[2], *text;
		uint32_t count;
	} rows[] = {
	        {{"\xc3", ""}, "I'm sorry, but I cannot help with that.", 11},
	        {{"nope", NULL}, "I'm sorry, but I cannot help with that.", 11},
	        {{" cannot", NULL}, "I'm sorry, but I", 6},
	        {{"not", NULL}, "I'm sorry, but I can", 7},
	        {{"rry, b", NULL}, "I'm so", 3},
	        {{"I", NULL}, "", 0},
	        {{"that", "sorry"}, "I'm ", 3},
	        {{".", "."}, "I'm sorry, but I cannot help with that", 10},
	};
	struct sim_vocabulary *v = sim_vocabulary_new();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bytes stops[2] = {bytes_of(rows[i].stops[0]), bytes_of(rows[i].stops[1])};
		struct sim_speech speech = {0};
		struct buf text;

		ck_assert(sim_speech_refusal(&speech, v, 100));
		ck_assert(sim_speech_stop(&speech, stops, 2) == (speech.count < 11));
		text = text_of(&speech);
		ck_assert_msg(bytes_is(buf_bytes(&text), rows[i].text), "%zu: %.*s", i, (int)text.n,
		              text.p);
		ck_assert_uint_eq(speech.count, rows[i].count);
		buf_fini(&text);
		sim_speech_fini(&speech);
	}
	sim_vocabulary_free(v);
}
END_TEST

/* Any answer to a prompt goes on from the first tokens of any other to it. */
START_TEST(test_as_many_tokens_are_left_out_as_the_partial_answer_holds)
{
	static const char prompt[] = "Why,  if  the a'b caf\xc3\xa9 is "
	                             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, not b?!";
	struct sim_vocabulary *v = sim_vocabulary_new();
	struct sim_speech one = {0}, whole = {0};
	struct buf partial = {0};

	ck_assert(sim_speech_answer(&one, v, 1, bytes_of(prompt), 300));
	ck_assert(sim_speech_answer(&whole, v, 2, bytes_of(prompt), 300));
	for (uint32_t n = 0; n <= 300; n++) {
		struct sim_speech rest = {0};

		ck_assert(sim_speech_answer(&rest, v, 2, bytes_of(prompt), 300));
		sim_speech_skip(&rest, buf_bytes(&partial));
		ck_assert_msg(rest.count == 300 - n, "%u: %u", n, rest.count);
		for (uint32_t k = 0; k < rest.count; k++)
			ck_assert_ptr_eq(rest.tokens[k].p, whole.tokens[n + k].p);
		sim_speech_fini(&rest);
		if (n < 300)
			buf_add(&partial, one.tokens[n].p, one.tokens[n].n);
	}
	buf_fini(&partial);
	sim_speech_fini(&one);
	sim_speech_fini(&whole);
	sim_vocabulary_free(v);
}
END_TEST

START_TEST(test_a_partial_answer_of_another_is_counted_in_words_and_marks)
{
	static const struct {
		const char *partial;
		uint32_t count;
	} rows[] = {
	        {"", 0},        {"Sure", 1},          {"Sure, here.", 4}, {"don't", 3},
	        {"Sure \n", 2}, {"  a\n\nb2c  d", 3}, {"caf\xc3\xa9", 1}, {"Yours asked", 2},
	};
	struct sim_vocabulary *v = sim_vocabulary_new();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sim_speech speech = {0};

		ck_assert(sim_speech_answer(&speech, v, 1, bytes_of("x"), 30));
		sim_speech_skip(&speech, bytes_of(rows[i].partial));
		ck_assert_msg(speech.count == 30 - rows[i].count, "'%s': %u", rows[i].partial,
		              speech.count);
		sim_speech_repeat(&speech, bytes_of("again"));
		ck_assert_uint_eq(speech.count, 31 - rows[i].count);
		ck_assert(
		        bytes_is((struct bytes){speech.tokens[0].p, speech.tokens[0].n}, "again"));
		sim_speech_fini(&speech);
	}
	sim_vocabulary_free(v);
}
END_TEST

START_TEST(test_the_prompt_alone_decides_how_sentences_are_built)
{
	struct sim_vocabulary *v = sim_vocabulary_new();
	struct sim_speech one = {0}, two = {0};
	unsigned marks = 0, others = 0;

	ck_assert(sim_speech_answer(&one, v, 1, bytes_of("x"), 200));
	ck_assert(sim_speech_answer(&two, v, 2, bytes_of("x"), 200));
	for (uint32_t i = 0; i < 200; i++) {
		struct bytes a = {one.tokens[i].p, one.tokens[i].n};
		struct bytes b = {two.tokens[i].p, two.tokens[i].n};
		bool is_mark = bytes_is(a, ".") || bytes_is(a, ",");

		ck_assert_msg(is_mark == (bytes_is(b, ".") || bytes_is(b, ",")), "%u", i);
		marks += is_mark;
		others += !bytes_equal(a, b);
	}
	ck_assert_uint_gt(marks, 10);
	ck_assert_uint_gt(others, 50);
	sim_speech_fini(&one);
	sim_speech_fini(&two);
	sim_vocabulary_free(v);
}
END_TEST

START_TEST(test_fragments_are_whole_characters)
{
	const char *text = "{\"q\":\"Grüße, 日本語 и 🙂🙂🙂🙂\"}";
	struct sim_speech speech = {0};
	struct buf joined;

	ck_assert(sim_speech_fragments(&speech, bytes_of(text)));
	ck_assert_uint_gt(speech.count, 5);
	for (uint32_t i = 0; i < speech.count; i++)
		ck_assert(bytes_is_utf8((struct bytes){speech.tokens[i].p, speech.tokens[i].n}));
	joined = text_of(&speech);
	ck_assert(bytes_is(buf_bytes(&joined), text));
	buf_fini(&joined);
	sim_speech_fini(&speech);
	ck_assert(sim_speech_fragments(&speech, bytes_of("")));
	ck_assert_uint_eq(speech.count, 0);
	sim_speech_fini(&speech);
}
END_TEST

START_TEST(test_tokens_are_counted_by_kind_of_character)
{
	static const struct {
		const char *text;
		uint64_t count;
	} rows[] = {
	        {"", 0},
	        {"  \n\t", 0},
	        {"hello", 1},
	        {"hello world", 2},
	        {"abcdefgh", 1},
	        {"abcdefghi", 2},
	        {"1234", 2},
	        {"a1", 2},
	        {"...", 3},
	        {"don't", 3},
	        {"é", 1},
	        {"日本", 2},
	        {"Hello, world!", 4},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(sim_speech_count(bytes_of(rows[i].text)) == rows[i].count, "%s",
		              rows[i].text);
}
END_TEST

UNIT_MAIN("speech", test_the_vocabulary_finds_each_of_its_words,
          test_a_word_has_its_json_and_its_bytes_ready,
          test_the_same_seed_and_prompt_give_the_same_tokens,
          test_an_answer_has_as_many_tokens_as_asked_for,
          test_an_answer_is_never_longer_than_the_limit, test_a_stop_ends_the_speech_before_it,
          test_as_many_tokens_are_left_out_as_the_partial_answer_holds,
          test_a_partial_answer_of_another_is_counted_in_words_and_marks,
          test_the_prompt_alone_decides_how_sentences_are_built,
          test_fragments_are_whole_characters, test_tokens_are_counted_by_kind_of_character)
