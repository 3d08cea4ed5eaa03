#include "wire/chat_frame.h"

#include <math.h>
#include <stdio.h>

#include "unit.h"
#include "wire/chat_frame_fixture.h"

#define TOKEN(entry) "{\"choices\":[{\"logprobs\":{\"content\":[" entry "]}}]}"

static const struct chat_frame_view keep_all = {true, 100, true};

/* Entries, and what is to be read: logprob, candidates, which of them was sampled. */
static const struct {
	const char *entry;
	double logprob;
	unsigned count;
	double top[3];
	int sampled;
} entries[] = {
        {"{\"token\":\"a\"}", NAN, 0, {0}, -1},
        {"{\"token\":\"a\",\"logprob\":null}", -INFINITY, 0, {0}, -1},
        {"{\"token\":\"a\",\"logprob\":-9999}", -INFINITY, 0, {0}, -1},
        {"{\"token\":\"a\",\"logprob\":-9999.0}", -INFINITY, 0, {0}, -1},
        {"{\"token\":\"a\",\"logprob\":-9998.5}", -9998.5, 0, {0}, -1},
        {"{\"token\":\"a\",\"logprob\":-1e999}", -INFINITY, 0, {0}, -1},
        {"{\"token\":\"a\",\"logprob\":\"-inf\"}", -INFINITY, 0, {0}, -1},
        {"{\"token\":\"a\",\"logprob\":\"-Infinity\"}", -INFINITY, 0, {0}, -1},
        {"{\"token\":\"a\",\"logprob\":-1.25,\"bytes\":null,\"top_logprobs\":null}",
         -1.25,
         0,
         {0},
         -1},
        {"{\"token\":\"a\",\"logprob\":-1,\"bytes\":[97],\"top_logprobs\":[]}", -1, 0, {0}, -1},
        {"{\"token\":\"a\",\"logprob\":-1,\"bytes\":[97],\"top_logprobs\":["
         "{\"token\":\"b\",\"logprob\":-0.5,\"bytes\":[98]},{\"token\":\"a\",\"logprob\":-1,"
         "\"bytes\":[97]}]}",
         -1,
         2,
         {-0.5, -1},
         1},
        /* The same bytes again, and those with more behind them. */
        {"{\"token\":\"a\",\"logprob\":-1,\"bytes\":[97],\"top_logprobs\":["
         "{\"token\":\"a\",\"logprob\":-1,\"bytes\":[97]},{\"token\":\"a\",\"logprob\":-1,"
         "\"bytes\":[97],\"x\":{}},{\"token\":\"a\",\"logprob\":-1.5,\"bytes\":[97]}]}",
         -1,
         3,
         {-1, -1, -1.5},
         0},
        {"{\"token\":\"a\",\"logprob\":-1,\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-1.5},"
         "{\"token\":\"a\",\"logprob\":-1e1},{\"token\":\"a\",\"logprob\":-1}]}",
         -1,
         3,
         {-1.5, -10, -1},
         2},
        {"{\"bytes\":null,\"logprob\":-9999.0,\"token\":\"\xC3\xA9\",\"top_logprobs\":["
         "{\"bytes\":null,\"logprob\":-9999.0,\"token\":\"\xC3\xA9\"}],\"x\":1}",
         -INFINITY,
         1,
         {-INFINITY},
         0},
        /* Not among them. */
        {"{\"token\":\"c\",\"logprob\":-9,\"top_logprobs\":["
         "{\"token\":\"b\",\"logprob\":-0.5},{\"token\":\"a\",\"logprob\":-1}]}",
         -9,
         2,
         {-0.5, -1},
         -1},
        /* Two are spelled alike: the closer one, whichever comes first. */
        {"{\"token\":\"a\",\"logprob\":-2,\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-0.5},"
         "{\"token\":\"a\",\"logprob\":-2},{\"token\":\"a\",\"logprob\":-1.9}]}",
         -2,
         3,
         {-0.5, -2, -1.9},
         1},
        {"{\"token\":\"a\",\"logprob\":-1.9,\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-2},"
         "{\"token\":\"a\",\"logprob\":-0.5},{\"token\":\"b\",\"logprob\":-1.9}]}",
         -1.9,
         3,
         {-2, -0.5, -1.9},
         0},
        {"{\"token\":\"a\",\"logprob\":-9999,\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-2},"
         "{\"token\":\"a\",\"logprob\":null}]}",
         -INFINITY,
         2,
         {-2, -INFINITY},
         1},
        {"{\"token\":\"a\",\"top_logprobs\":[{\"token\":\"a\"},{\"logprob\":-9999.0,\"token\":"
         "\"b\"}]}",
         NAN,
         2,
         {NAN, -INFINITY},
         0},
        /* One without a text is none of them, whatever stood before it. */
        {"{\"token\":\"a\",\"logprob\":-1,\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-2},{"
         "\"logprob\":-1}]}",
         -1,
         2,
         {-2, -1},
         0},
        /* Another order, other members, escapes, letters beyond ASCII. */
        {"{\"top_logprobs\":[{\"id\":4,\"bytes\":[],\"logprob\":-1,\"token\":\"\\n\\u00e9\"},"
         "{\"token\":\"\xC3\xA9\",\"logprob\":-2,\"bytes\":[195,169]}],\"logprob\":-2,\"token\":"
         "\"\xC3\xA9\"}",
         -2,
         2,
         {-1, -2},
         1},
        {"{\"id\":5,\"token\":\"\\\"\",\"bytes\":[34],\"logprob\":-2.5E-3,\"top_logprobs\":["
         "{\"id\":5,\"token\":\"\\\"\",\"bytes\":[34],\"logprob\":-2.5e-03}]}",
         -0.0025,
         1,
         {-0.0025},
         0},
        {"{\"tok\\u0065n\":\"a\",\"logprob\":-1,\"top_logprobs\":[{\"t\\u006fken\":\"a\","
         "\"logprob\":-1}]}",
         -1,
         1,
         {-1},
         0},
        {"{\"token\":\"a\",\"logprob\":-0.00001234567890123456789,\"top_logprobs\":["
         "{\"token\":\"a\",\"logprob\":-0.00001234567890123456789,\"bytes\":[0,10,100,255,0]}]}",
         -0.00001234567890123456789,
         1,
         {-0.00001234567890123456789},
         0},
};

/* The same JSON with white space wherever it may stand. */
static void
space_out(const char *text, const char *space, struct buf *out)
{
	bool in_string = false;

	buf_add_text(out, space);
	for (const char *p = text; *p; p++) {
		bool structural = !in_string && strchr("{}[],:", *p);

		if (structural)
			buf_add_text(out, space);
		buf_add(out, p, 1);
		if (structural)
			buf_add_text(out, space);
		if (*p == '\\' && in_string)
			buf_add(out, ++p, 1);
		else if (*p == '"')
			in_string = !in_string;
	}
	buf_add(out, "", 1);
}

static bool
double_same(double a, double b)
{
	return a == b || (isnan(a) && isnan(b));
}

static void
check_entry(size_t i, const char *text)
{
	struct chat_frame frame;
	struct chat_token *token;
	char *held;

	chat_frame_init(&frame);
	ck_assert_msg(frame_read(&frame, text, strlen(text), &held), "%s", text);
	ck_assert_uint_eq(frame.token_count, 1);
	token = &frame.tokens[0];
	ck_assert_msg(double_same(token->logprob, entries[i].logprob), "%s", text);
	ck_assert_msg(token->top_count == entries[i].count, "%s", text);
	for (unsigned k = 0; k < token->top_count; k++)
		ck_assert_msg(double_same(token->top[k], entries[i].top[k]), "%s: %g", text,
		              token->top[k]);
	ck_assert_msg(token->sampled == entries[i].sampled, "%s: %d", text, token->sampled);
	chat_frame_fini(&frame);
	free(held);
}

START_TEST(test_a_token_is_read_the_same_however_it_is_spaced)
{
	static const char *const spaces[] = {"", " ", "\n\t", "  "};
	struct buf text;
	char frame[2048];

	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		/* Well before the payload's end, and at it, where the quick reader gives way. */
		snprintf(frame, sizeof(frame), "%s%s%s%s",
		         "{\"choices\":[{\"logprobs\":{\"content\":[", entries[i].entry,
		         "]}}],\"x\":\"", "0123456789012345678901234567890123456789\"}");
		for (size_t k = 0; k < sizeof(spaces) / sizeof(spaces[0]); k++) {
			buf_init(&text, 0);
			space_out(frame, spaces[k], &text);
			check_entry(i, text.p);
			buf_fini(&text);
		}
		snprintf(frame, sizeof(frame), TOKEN("%s"), entries[i].entry);
		check_entry(i, frame);
	}
}
END_TEST

START_TEST(test_what_is_no_json_in_a_candidate_makes_a_frame_unreadable)
{
	static const char *const bytes[] = {
	        "[,]",
	        "[1,]",
	        "[,1]",
	        "[1,,2]",
	        "[01]",
	        "[1,02]",
	        "[00]",
	        "[-]",
	        "[1 2]",
	        "[1",
	        "1]",
	        "[1}",
	        "[1,2,3,4,5,6,7,8,09]",
	        "[1,2,3,4,5,6,7,0,0,00]",
	        "[1,2,3,4,5,6,7,8,]",
	        "[1,2,3,4,5,6,7,88,,]",
	        "[1,2,3,4,5,6,7,8,,1]",
	        "[123,123,123,1230,0123]",
	        "nul",
	        "nulll",
	};
	static const char *const numbers[] = {"-",   "01",        "-01", "1.",   ".5",
	                                      "+1",  "1e",        "1e+", "1.e5", "-inf",
	                                      "NaN", "-Infinity", "0x1", "1 2",  "--1"};
	static const char *const texts[] = {"\"a",      "a",        "\"\x01\"",  "\"\\x\"",
	                                    "\"\xC3\"", "\"\xFF\"", "\"\\ud8\"", "'a'"};
	char frame[512];
	static const char form[] = TOKEN(
	        "{\"token\":\"a\",\"logprob\":-1,\"top_logprobs\":[{\"token\":%s,\"logprob\":%s,"
	        "\"bytes\":%s},{\"token\":\"some more text\",\"logprob\":-1}]}");

	snprintf(frame, sizeof(frame), form, "\"a\"", "-1", "[0,10,100,255,0,0,1,2,3,0,5,60,0]");
	ck_assert(frame_is_readable(frame));
	for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		snprintf(frame, sizeof(frame), form, "\"a\"", "-1", bytes[i]);
		ck_assert_msg(!frame_is_readable(frame), "%s", frame);
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		snprintf(frame, sizeof(frame), form, "\"a\"", numbers[i], "[1]");
		ck_assert_msg(!frame_is_readable(frame), "%s", frame);
	}
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(frame, sizeof(frame), form, texts[i], "-1", "[1]");
		ck_assert_msg(!frame_is_readable(frame), "%s", frame);
	}
}
END_TEST

static void
candidates_write(struct buf *out, int count)
{
	buf_add_text(out, "{\"token\":\"t24\",\"logprob\":-24,\"top_logprobs\":[");
	for (int i = 0; i < count; i++)
		buf_add_format(out, "%s{\"token\":\"t%d\",\"logprob\":-%d}", i ? "," : "", i, i);
	buf_add_text(out, "]}");
}

START_TEST(test_of_more_than_twenty_candidates_the_first_twenty_are_read_and_all_written)
{
	struct chat_frame frame;
	struct buf text, out, want;

	buf_init(&text, 0);
	buf_init(&out, 0);
	buf_init(&want, 0);
	chat_frame_init(&frame);
	buf_add_text(&text, "{\"choices\":[{\"logprobs\":{\"content\":[");
	candidates_write(&text, 25);
	buf_add_text(&text, "]}}]}");
	ck_assert(chat_frame_read(&frame, buf_bytes(&text)));
	ck_assert_uint_eq(frame.tokens[0].top_count, 20);
	ck_assert_double_eq(frame.tokens[0].top[19], -19);
	ck_assert_int_eq(frame.tokens[0].sampled, -1);
	chat_frame_write(&frame, &keep_all, &out);
	ck_assert(bytes_equal(buf_bytes(&out), buf_bytes(&text)));
	for (unsigned keep = 0; keep <= 26; keep++) {
		struct chat_frame_view view = {
		        .logprobs = true, .top_logprobs = keep, .usage = true};

		buf_reset(&out);
		chat_frame_write(&frame, &view, &out);
		buf_reset(&want);
		buf_add_text(&want, "{\"choices\":[{\"logprobs\":{\"content\":[");
		candidates_write(&want, keep < 25 ? (int)keep : 25);
		buf_add_text(&want, "]}}]}");
		ck_assert(bytes_equal(buf_bytes(&out), buf_bytes(&want)));
	}
	chat_frame_fini(&frame);
	buf_fini(&text);
	buf_fini(&out);
	buf_fini(&want);
}
END_TEST

UNIT_MAIN("chat_token", test_a_token_is_read_the_same_however_it_is_spaced,
          test_what_is_no_json_in_a_candidate_makes_a_frame_unreadable,
          test_of_more_than_twenty_candidates_the_first_twenty_are_read_and_all_written)
