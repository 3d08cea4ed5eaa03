#include "simulator/plan.h"

#include <stdio.h>
#include "unit.h"

/* Applies a prompt's marks for model "m"; gives the text that is left. */
static bool
read_prompt(struct sim_plan *plan, const char *prompt, struct buf *text, char error[256])
{
	sim_plan_init(plan);
	buf_reset(text);
	return sim_plan_read_prompt(plan, bytes_of(prompt), SIM_MARKS_ALL, "m", text, error, 256);
}

START_TEST(test_a_mark_changes_its_member)
{
	struct sim_plan p;
	char error[256];
	struct buf text = {0};

	ck_assert(read_prompt(&p,
	                      "a[[status=503]][[retry-after=2]]b[[cut=5]][[stall=6]][[garbage=7]]"
	                      "[[error200=8]][[tokens=9]][[delay=200ms]][[tps=40]][[html502]]"
	                      "[[empty,no-logprobs,no-done]][[refusal]][[tool]][[finish=length]]c",
	                      &text, error));
	ck_assert(bytes_is(buf_bytes(&text), "abc"));
	ck_assert_uint_eq(p.status, 503);
	ck_assert_uint_eq(p.retry_after_s, 2);
	ck_assert_uint_eq(p.cut, 5);
	ck_assert_uint_eq(p.stall, 6);
	ck_assert_uint_eq(p.garbage, 7);
	ck_assert_uint_eq(p.error200, 8);
	ck_assert_uint_eq(p.tokens, 9);
	ck_assert_uint_eq(p.delay_ms, 200);
	ck_assert_double_eq(p.tokens_per_s, 40);
	ck_assert(p.html502 && p.empty && p.no_logprobs && p.no_done && p.refusal && p.tool);
	ck_assert_str_eq(p.finish, "length");
	buf_fini(&text);
}
END_TEST

START_TEST(test_a_count_left_out_is_zero)
{
	struct sim_plan p;
	char error[256];
	struct buf text = {0};

	ck_assert(read_prompt(&p, "[[cut]]", &text, error));
	ck_assert_uint_eq(p.cut, 0);
	ck_assert_uint_eq(p.stall, SIM_NEVER);
	buf_fini(&text);
}
END_TEST

START_TEST(test_a_bad_value_is_told)
{
	static const char *const prompts[] = {
	        "[[status=200]]",
	        "[[status=600]]",
	        "[[status]]",
	        "[[cut=-1]]",
	        "[[cut=x]]",
	        "[[cut=]]",
	        "[[tokens=99999]]",
	        "[[entropy=8]]",
	        "[[entropy=-1]]",
	        "[[entropy=nan]]",
	        "[[entropy]]",
	        "[[entropy@0=1]]",
	        "[[entropy@x=1]]",
	        "[[entropy@7]]",
	        "[[entropy@7=9]]",
	        "[[html502=1]]",
	        "[[delay=1d]]",
	        "[[delay=2h]]",
	        "[[uncertain=1.1]]",
	        "[[finish=Stop]]",
	        "[[finish=]]",
	        "[[cut=5,status=1]]",
	        "[[m:cut=x]]",
	        "[[other:cut=x]]",
	        "[[finish=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]]",
	};
	struct buf text = {0};

	for (size_t i = 0; i < sizeof(prompts) / sizeof(prompts[0]); i++) {
		struct sim_plan p;
		char error[256] = "";

		ck_assert_msg(!read_prompt(&p, prompts[i], &text, error), "%s", prompts[i]);
		ck_assert_msg(strncmp(error, "mark '", 6) == 0, "%s: %s", prompts[i], error);
		ck_assert_uint_eq(p.cut, SIM_NEVER);
	}
	buf_fini(&text);
}
END_TEST

START_TEST(test_brackets_without_a_known_mark_are_text)
{
	static const struct {
		const char *prompt, *text;
	} rows[] = {
	        {"", ""},
	        {"[[", "[["},
	        {"a [[b", "a [[b"},
	        {"if [[ -f x ]]; then", "if [[ -f x ]]; then"},
	        {"[[wiki link]]", "[[wiki link]]"},
	        {"[[https://example.org]]", "[[https://example.org]]"},
	        {"[[cut=5,foo]]", "[[cut=5,foo]]"},
	        {"[[[empty]]]", "[]"},
	        {"[[a [[empty]] b]]", "[[a  b]]"},
	        {"[[]]", "[[]]"},
	        {"[[m:]]", "[[m:]]"},
	        {"[[:empty]]", ""},
	};
	struct buf text = {0};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sim_plan p;
		char error[256];

		ck_assert_msg(read_prompt(&p, rows[i].prompt, &text, error), "%s", rows[i].prompt);
		ck_assert_msg(bytes_is(buf_bytes(&text), rows[i].text), "%s gives %.*s",
		              rows[i].prompt, (int)text.n, text.p);
		ck_assert_uint_eq(p.cut, SIM_NEVER);
	}
	buf_fini(&text);
}
END_TEST

START_TEST(test_a_text_full_of_brackets_is_read_in_linear_time)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	/* They look at the rest of the text each time that a library's function is given it. */
	enum { SIZE = 16 << 10 };
#else
	enum { SIZE = 4 << 20 };
#endif
	char *prompt = malloc(SIZE + 1), error[256];
	struct buf text = {0};
	struct sim_plan p;

	memset(prompt, '[', SIZE);
	memcpy(prompt + SIZE - 2, "]]", 2);
	prompt[SIZE] = '\0';
	ck_assert(read_prompt(&p, prompt, &text, error));
	ck_assert_uint_eq(text.n, SIZE);
	free(prompt);
	buf_fini(&text);
}
END_TEST

START_TEST(test_a_mark_may_be_for_one_model_only)
{
	static const struct {
		const char *marks, *model;
		uint32_t cut;
	} rows[] = {
	        {"m:cut=1", "m", 1},
	        {"m:cut=1", "n", SIM_NEVER},
	        {"m:cut=1", NULL, SIM_NEVER},
	        {"cut=1", "n", 1},
	        {"llama3:8b:cut=1", "llama3:8b", 1},
	        {"llama3:8b:cut=1", "8b", SIM_NEVER},
	        {"m:empty,cut=1", "m", 1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sim_plan p;
		char error[256];

		sim_plan_init(&p);
		ck_assert_int_eq(sim_plan_apply(&p, bytes_of(rows[i].marks), rows[i].model, error,
		                                sizeof(error)),
		                 SIM_MARK_OK);
		ck_assert_msg(p.cut == rows[i].cut, "%s", rows[i].marks);
	}
}
END_TEST

START_TEST(test_of_an_embedding_only_addressed_marks_count)
{
	struct buf text = {0};
	struct sim_plan p;
	char error[256];

	sim_plan_init(&p);
	ck_assert(sim_plan_read_prompt(&p, bytes_of("x [[status=503]] [[m:cut=2]]"),
	                               SIM_MARKS_ADDRESSED, "m", &text, error, sizeof(error)));
	ck_assert_uint_eq(p.status, 0);
	ck_assert_uint_eq(p.cut, 2);
	ck_assert(bytes_is(buf_bytes(&text), "x [[status=503]] "));
	buf_fini(&text);
}
END_TEST

START_TEST(test_the_entropy_of_a_token_is_what_was_said_last_of_it)
{
	static const struct {
		uint32_t token;
		double low, high;
	} rows[] = {{1, 0.5, 1.5}, {6, 0.5, 1.5}, {7, 3, 3},  {8, 0.5, 1.5},
	            {9, 2, 2},     {10, 4, 4},    {11, 2, 2}, {32768, 2, 2}};
	struct buf text = {0};
	struct sim_plan p;
	char error[256];

	ck_assert(read_prompt(&p, "[[entropy=1,entropy@7=3,entropy@9+=2]][[entropy@10=4]]", &text,
	                      error));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double sum = 0;

		for (uint64_t bits = 0; bits < 1600; bits++) {
			double entropy = sim_plan_entropy(&p, rows[i].token, bits);

			ck_assert_double_ge(entropy, rows[i].low);
			ck_assert_double_le(entropy, rows[i].high);
			sum += entropy;
		}
		ck_assert_double_eq_tol(sum / 1600, (rows[i].low + rows[i].high) / 2, 1e-9);
	}
	buf_fini(&text);
}
END_TEST

START_TEST(test_more_points_than_fit_are_refused)
{
	struct buf text = {0};
	struct sim_plan p;
	char error[256];

	sim_plan_init(&p);
	for (int i = 0; i < SIM_POINTS_MAX; i++)
		ck_assert_int_eq(sim_plan_apply(&p, bytes_of("entropy@7=3"), "m", error, 256),
		                 SIM_MARK_OK);
	ck_assert_int_eq(sim_plan_apply(&p, bytes_of("entropy@7=3"), "m", error, 256),
	                 SIM_MARK_BAD);
	buf_fini(&text);
}
END_TEST

/* Is there a doubtful token in the answer to this prompt, and where? 0: no. */
static uint32_t
doubt(struct sim_plan p, const char *prompt)
{
	sim_plan_add_doubt(&p, bytes_of(prompt), 1);
	for (uint32_t token = 1; token <= 64; token++) {
		if (sim_plan_entropy(&p, token, 0) == SIM_DOUBT_BITS)
			return token;
	}
	return 0;
}

START_TEST(test_one_prompt_in_four_is_doubtful_early)
{
	unsigned doubtful = 0;
	struct sim_plan p;

	sim_plan_init(&p);
	for (unsigned i = 0; i < 4000; i++) {
		char prompt[64];
		uint32_t at;

		snprintf(prompt, sizeof(prompt), "question number %u", i);
		at = doubt(p, prompt);
		ck_assert_uint_le(at, 10);
		doubtful += at > 0;
		ck_assert_uint_eq(at, doubt(p, prompt));
	}
	ck_assert_uint_gt(doubtful, 900);
	ck_assert_uint_lt(doubtful, 1100);
}
END_TEST

START_TEST(test_words_of_doubt_are_whole_words)
{
	struct sim_plan p;

	sim_plan_init(&p);
	p.uncertain = 1e-9;
	ck_assert_uint_gt(doubt(p, "Write a POEM, please"), 0);
	ck_assert_uint_gt(doubt(p, "maybe"), 0);
	ck_assert_uint_gt(doubt(p, "your opinion?"), 0);
	ck_assert_uint_eq(doubt(p, "poems are opinionated"), 0);
	ck_assert_uint_eq(doubt(p, ""), 0);
}
END_TEST

START_TEST(test_an_entropy_that_is_said_leaves_no_room_for_doubt)
{
	struct buf text = {0};
	struct sim_plan p;
	char error[256];

	ck_assert(read_prompt(&p, "a poem [[entropy=0.1]]", &text, error));
	ck_assert_uint_eq(doubt(p, "a poem"), 0);
	ck_assert(read_prompt(&p, "a poem [[other:entropy=0.1]]", &text, error));
	ck_assert_uint_gt(doubt(p, "a poem"), 0);
	sim_plan_init(&p);
	ck_assert_int_eq(sim_plan_apply(&p, bytes_of("entropy=0.1"), "m", error, 256), SIM_MARK_OK);
	ck_assert_uint_eq(doubt(p, "a poem"), 0);
	ck_assert_int_eq(sim_plan_apply(&p, bytes_of("uncertain=1"), "m", error, 256), SIM_MARK_OK);
	ck_assert_uint_gt(doubt(p, "anything"), 0);
	buf_reset(&text);
	ck_assert(sim_plan_read_prompt(&p, bytes_of("[[entropy@9=0]]"), SIM_MARKS_ALL, "m", &text,
	                               error, 256));
	ck_assert_uint_eq(doubt(p, "a poem"), 0);
	buf_fini(&text);
}
END_TEST

START_TEST(test_the_help_names_every_mark)
{
	static const char *const names[] = {
	        "tokens=",     "tps=",       "delay=",  "first-byte=",  "entropy=",    "entropy@7=",
	        "entropy@7+=", "uncertain=", "status=", "retry-after=", "cut=",        "stall=",
	        "garbage=",    "error200=",  "html502", "empty",        "no-logprobs", "no-done",
	        "refusal",     "tool",       "finish="};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		ck_assert_msg(strstr(sim_plan_help(), names[i]), "%s", names[i]);
}
END_TEST

UNIT_MAIN("plan", test_a_mark_changes_its_member, test_a_count_left_out_is_zero,
          test_a_bad_value_is_told, test_brackets_without_a_known_mark_are_text,
          test_a_text_full_of_brackets_is_read_in_linear_time,
          test_a_mark_may_be_for_one_model_only, test_of_an_embedding_only_addressed_marks_count,
          test_the_entropy_of_a_token_is_what_was_said_last_of_it,
          test_more_points_than_fit_are_refused, test_one_prompt_in_four_is_doubtful_early,
          test_words_of_doubt_are_whole_words,
          test_an_entropy_that_is_said_leaves_no_room_for_doubt, test_the_help_names_every_mark)
