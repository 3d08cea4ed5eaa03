#include "wire/redact.h"

#include "unit.h"

static void
check_redacted(const char *text, const char *key, size_t max, const char *want)
{
	const char *const keys[] = {key ? key : "", "another", NULL};
	struct buf out;

	buf_init(&out, 0);
	redact(bytes_of(text), keys, max, &out);
	buf_add(&out, "", 1);
	ck_assert_str_eq(out.p, want);
	buf_fini(&out);
}

START_TEST(test_secrets_are_taken_out)
{
	static const struct {
		const char *text, *key, *want;
	} rows[] = {
	        {"plain words stay", NULL, "plain words stay"},
	        {"Incorrect API key provided: sk-abcd1234*****. See", NULL,
	         "Incorrect API key provided: [redacted] See"},
	        {"organization org-AbC12345 is out of funds", NULL,
	         "organization [redacted] is out of funds"},
	        {"{\"key\":\"AIzaSyD-1234\"}", NULL, "{\"key\":\"[redacted]\"}"},
	        {"Authorization: Bearer abc.def-1", NULL, "Authorization: Bearer [redacted]"},
	        {"bearer token123", NULL, "bearer [redacted]"},
	        {"the key hunter2x failed (prehunter2xpost)", "hunter2x",
	         "the key [redacted] failed (pre[redacted]post)"},
	        {"a key of three letters is no key", "key", "a key of three letters is no key"},
	        {"risk-averse task-force", NULL, "risk-averse task-force"},
	        {"sk- is a prefix only", NULL, "sk- is a prefix only"},
	        {"lines\r\nand\ttabs\x7F", NULL, "lines\r\nand\ttabs\x7F"},
	        {"one and another", NULL, "one and [redacted]"},
	        {"", NULL, ""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_redacted(rows[i].text, rows[i].key, 2048, rows[i].want);
}
END_TEST

START_TEST(test_the_text_is_cut_at_a_character)
{
	check_redacted("0123456789", NULL, 4, "0123");
	check_redacted("h\xC3\xA9t\xC3\xA9", NULL, 2, "h");
	check_redacted("h\xC3\xA9t\xC3\xA9", NULL, 6, "h\xC3\xA9t\xC3\xA9");
	check_redacted("h\xC3\xA9t", NULL, 3, "h\xC3\xA9");
	check_redacted("a\xF0\x9F\x98\x80", NULL, 4, "a");
}
END_TEST

START_TEST(test_a_secret_at_the_cut_is_not_half_shown)
{
	check_redacted("see sk-abcdefghijkl", NULL, 8, "see [red");
	check_redacted("see hunter2x", "hunter2x", 6, "see [r");
}
END_TEST

UNIT_MAIN("redact", test_secrets_are_taken_out, test_the_text_is_cut_at_a_character,
          test_a_secret_at_the_cut_is_not_half_shown)
