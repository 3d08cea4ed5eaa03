/* A whole configuration with any one word of it replaced, or any two: it is read or refused, with a message for
 * each fault, and whatever one fault leaves unset does no harm to what is read after it. */
#include "config_unit.h"

static const char short_form[] =
        "server: {port: 8080, workers: 2, drain_timeout: 5s}\n"
        "drafter: {provider: mine, base_url: http://h/v1, model: s, api_key: sk, timeout: 5}\n"
        "heavyweight: {model: big, headers: {X-A: b}, retries: 2, prefill: vllm}\n"
        "cache: {embedding_model: words, embedding_dimensions: 8, ttl_seconds: 5m}\n"
        "entropy: {threshold: 1.5, tail: renormalise}\n"
        "stream: {mode: hold}\n";

/* Every kind of block, and every reference from one to another. */
static const char long_form[] =
        "server: {listen: [127.0.0.1:0, \"[::1]:8081\"], workers: 2, max_body_bytes: 1MiB}\n"
        "providers:\n"
        "  p: {base_url: http://h/v1, api_key: sk, headers: {X-A: b}, connect_timeout: 500ms}\n"
        "  q: {base_url: \"http://[::1]:1/v1\", stream_usage: false, prefill: vllm}\n"
        "models:\n"
        "  m: {provider: p, model: s, capabilities: [tools, logprobs], context: 128000}\n"
        "  n: {provider: q, price: {input: 2, output: 8}}\n"
        "  e: {provider: q, capabilities: [embeddings]}\n"
        "routes:\n"
        "  a: {drafter: [m, n], heavyweight: n, cache: {embedding_model: e}}\n"
        "  b: {models: [m, n], strategy: order}\n"
        "  c: {drafter: n, heavyweight: [m, n], cache: {embedding_model: words}}\n"
        "  auto: {drafter: m, heavyweight: n, entropy: {threshold: 1.5, tail: renormalise}}\n"
        "unknown_model: reject\n"
        "on_heavyweight_down: fail\n"
        "stream: {mode: hold}\n"
        "cache: {max_temperature: 0, max_bytes: 1MiB, file: f}\n"
        "log: {level: debug, access: \"off\"}\n";

static const char *const instead[] = {"", "nowhere", "~", "[]", "{}", "-1", "m", "[n, n]"};

enum { WORDS_MAX = 200, INSTEAD = sizeof(instead) / sizeof(instead[0]) };

/* Keys and values alike. */
static size_t
words_find(const char *whole, struct bytes *words)
{
	static const char between[] = "{}[],: \n\"";
	size_t count = 0;

	for (const char *p = whole; *(p += strspn(p, between)); p += words[count++].n) {
		ck_assert_uint_lt(count, WORDS_MAX);
		words[count] = (struct bytes){p, strcspn(p, between)};
	}
	return count;
}

static void
assert_is_read_or_refused(const char *text)
{
	struct config_report report;
	struct config *config = config_read(text, &report);

	ck_assert_msg((config != NULL) == (report.errors.n == 0), "%s\n%.*s", text,
	              (int)report.errors.n, report.errors.p);
	config_unref(config);
	config_report_fini(&report);
}

/* The second stands behind the first. */
static void
assert_replaced(const char *whole, struct bytes first, const char *for_first, struct bytes second,
                const char *for_second)
{
	char *text = mem_format("%.*s%s%.*s%s%s", (int)(first.p - whole), whole, for_first,
	                        (int)(second.p - first.p - first.n), first.p + first.n, for_second,
	                        second.p + second.n);

	assert_is_read_or_refused(text);
	free(text);
}

static void
assert_any_word(const char *whole)
{
	struct bytes words[WORDS_MAX];
	const struct bytes end = {whole + strlen(whole), 0};
	size_t count = words_find(whole, words);

	config_unref(config_good(whole));
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < INSTEAD; k++)
			assert_replaced(whole, words[i], instead[k], end, "");
	}
}

static void
assert_any_two_words(const char *whole)
{
	struct bytes words[WORDS_MAX];
	size_t count = words_find(whole, words);

	for (size_t i = 0; i < count; i++) {
		for (size_t j = i + 1; j < count; j++)
			assert_replaced(whole, words[i], "nowhere", words[j], "nowhere");
	}
}

START_TEST(test_any_word_replaced)
{
	assert_any_word(short_form);
	assert_any_word(long_form);
}
END_TEST

START_TEST(test_any_two_words_replaced)
{
	assert_any_two_words(short_form);
	assert_any_two_words(long_form);
}
END_TEST

UNIT_MAIN("config_broken", test_any_word_replaced, test_any_two_words_replaced)
