/*
 * What is digested for a key, which can only be told by digesting what it should be; and bodies that are made to
 * cost much.
 */
#include "unit.h"

#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "wire/chat_key.h"

#define TALK "\"messages\":[{\"role\":\"system\",\"content\":\"s\"}]"
#define TEXT "\"messages\":[{\"content\":\"s\",\"role\":\"system\"}]"

static struct chat_request
read_valid(struct bytes body)
{
	struct chat_request request;
	struct api_error error;

	ck_assert_msg(chat_request_read(&request, body, &error), "%.*s: %s",
	              body.n < 1000 ? (int)body.n : 1000, body.p, error.message);
	return request;
}

static struct chat_key
key_of(struct bytes body)
{
	struct chat_request request = read_valid(body);
	struct chat_key key;

	ck_assert(chat_key_make(&key, &request, bytes_of("id")));
	return key;
}

static struct sha256
digest_of(char kind, struct bytes text)
{
	struct sha256 digest;
	struct buf all;

	buf_init(&all, 0);
	buf_add(&all, &kind, 1);
	buf_add(&all, "\2\0\0\0\0\0\0\0id", 10);
	buf_add_bytes(&all, text);
	digest = sha256_of(buf_bytes(&all));
	buf_fini(&all);
	return digest;
}

/* Of a request without a question. */
static void
check_text(struct bytes body, struct bytes text)
{
	struct sha256 expected = digest_of('r', text);
	struct chat_key key = key_of(body);

	ck_assert(!key.has_question);
	ck_assert_msg(sha256_equal(&key.exact, &expected), "%.*s",
	              body.n < 1000 ? (int)body.n : 1000, body.p);
	chat_key_fini(&key);
}

START_TEST(test_requests_have_one_text)
{
	static const char *const table[][2] = {
	        {"{" TALK "}", "{" TEXT "}"},
	        {"{\"x\":[1 , -2.50E+1,true,false,null,[],{ } ]," TALK ",\"a\":\"\"}",
	         "{\"a\":\"\"," TEXT ",\"x\":[1,-2.50E+1,true,false,null,[],{}]}"},
	        {"{\"model\":\"m\"," TALK ",\"stream\":null,\"user\":{\"a\":[]}}", "{" TEXT "}"},
	        {"{\"x\":{\"b\":1,\"a\":2,\"c\":3,\"a\":4,\"\":5,\"B\":6}," TALK "}",
	         "{" TEXT ",\"x\":{\"\":5,\"B\":6,\"a\":2,\"a\":4,\"b\":1,\"c\":3}}"},
	        {"{\"x\":{\"ab\":1,\"a\":2,\"a\\u0062\":3,\"abcdefgh\":4,\"abcdefg\":5}," TALK "}",
	         "{" TEXT ",\"x\":{\"a\":2,\"ab\":1,\"ab\":3,\"abcdefg\":5,\"abcdefgh\":4}}"},
	        {"{\"x\":{\"a!\":1,\"a\":2,\"a\xC3\xA9\":3,\"a\\\"\":4}," TALK "}",
	         "{" TEXT ",\"x\":{\"a!\":1,\"a\":2,\"a\\\"\":4,\"a\xC3\xA9\":3}}"},
	        {"{\"x\":{\"properties\":{\"b\":{\"d\":1,\"c\":2},\"a\":{}}}," TALK "}",
	         "{" TEXT ",\"x\":{\"properties\":{\"b\":{\"c\":2,\"d\":1},\"a\":{}}}}"},
	        {"{\"properties\":{\"b\":1,\"properties\":{\"z\":1,\"y\":1}}," TALK "}",
	         "{" TEXT ",\"properties\":{\"b\":1,\"properties\":{\"z\":1,\"y\":1}}}"},
	        {"{\"y\":{\"b\":[{\"d\":{\"f\":1,\"e\":2},\"c\":{\"h\":1,\"g\":2}}],\"a\":[{\"j\":"
	         "1,"
	         "\"i\":2}]},\"x\":0," TALK "}",
	         "{" TEXT
	         ",\"x\":0,\"y\":{\"a\":[{\"i\":2,\"j\":1}],\"b\":[{\"c\":{\"g\":2,\"h\":1}"
	         ",\"d\":{\"e\":2,\"f\":1}}]}}"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		check_text(bytes_of(table[i][0]), bytes_of(table[i][1]));
}
END_TEST

START_TEST(test_the_key_follows_from_the_scope_and_the_texts_of_the_question)
{
	static const struct {
		const char *body, *scope, *texts;
	} table[] = {
	        {"{\"seed\":1,\"messages\":[{\"role\":\"user\",\"content\":\"\\u0061\"}]}",
	         "{\"messages\":[{\"content\":?,\"role\":\"user\"}],\"seed\":1}", "\"a\""},
	        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"x\":\"text\","
	         "\"text\":\"a\"},{\"text\":\"\",\"type\":\"text\"}],\"name\":\"n\"}]}",
	         "{\"messages\":[{\"content\":[{\"text\":?,\"type\":\"text\",\"x\":\"text\"},"
	         "{\"text\":?,\"type\":\"text\"}],\"name\":\"n\",\"role\":\"user\"}]}",
	         "\"a\"\"\""},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct sha256 scope = digest_of('s', bytes_of(table[i].scope)), exact;
		struct chat_key key = key_of(bytes_of(table[i].body));
		struct buf all;

		buf_init(&all, 0);
		buf_add(&all, "q", 1);
		buf_add(&all, scope.bytes, sizeof(scope.bytes));
		buf_add_text(&all, table[i].texts);
		exact = sha256_of(buf_bytes(&all));
		buf_fini(&all);
		ck_assert(key.has_question && sha256_equal(&key.scope, &scope));
		ck_assert(sha256_equal(&key.exact, &exact));
		chat_key_fini(&key);
	}
}
END_TEST

/* Members with keys of six digits, the n-th being order[n], with as many letters behind them as `more` says. */
static struct buf
object_of(const unsigned *order, unsigned n, unsigned more)
{
	struct buf out;

	buf_init(&out, 0);
	buf_add_text(&out, "{");
	for (unsigned i = 0; i < n; i++)
		buf_add_format(&out, "%s\"%06u%.*s\":%u", i ? "," : "", order[i], (int)more,
		               "abcdefghijklmnopqrstuvwxyz", order[i]);
	buf_add_text(&out, "}");
	ck_assert(!out.failed);
	return out;
}

static void
check_order(const unsigned *order, const unsigned *sorted, unsigned n, unsigned more)
{
	struct buf object = object_of(order, n, more), expected = object_of(sorted, n, more);
	struct buf body, text;

	buf_init(&body, 0);
	buf_add_text(&body, "{" TALK ",\"x\":");
	buf_add_bytes(&body, buf_bytes(&object));
	buf_add_text(&body, "}");
	buf_init(&text, 0);
	buf_add_text(&text, "{" TEXT ",\"x\":");
	buf_add_bytes(&text, buf_bytes(&expected));
	buf_add_text(&text, "}");
	check_text(buf_bytes(&body), buf_bytes(&text));
	buf_fini(&object);
	buf_fini(&expected);
	buf_fini(&body);
	buf_fini(&text);
}

START_TEST(test_objects_of_every_size_are_sorted)
{
	enum { MOST = 150 };
	unsigned order[MOST], sorted[MOST], seed = 1;

	for (unsigned n = 1; n <= MOST; n++) {
		sorted[n - 1] = n;
		for (unsigned i = 0; i < n; i++)
			order[i] = n - i;
		check_order(order, sorted, n, n % 7);
		for (unsigned i = n; i-- > 1;) {
			unsigned k = (seed = seed * 1103515245 + 12345) / 65536 % (i + 1),
			         moved = order[i];

			order[i] = order[k];
			order[k] = moved;
		}
		check_order(order, sorted, n, n % 7);
	}
}
END_TEST

START_TEST(test_members_of_one_key_keep_their_order_however_many)
{
	struct buf body, text;

	buf_init(&body, 0);
	buf_init(&text, 0);
	buf_add_text(&body, "{" TALK ",\"x\":{");
	buf_add_text(&text, "{" TEXT ",\"x\":{");
	for (unsigned key = 0; key < 10; key++) {
		for (unsigned i = 0; i < 1000; i++)
			buf_add_format(&text, "%s\"key number %u\":%u", key + i ? "," : "", key, i);
	}
	for (unsigned i = 0; i < 10000; i++)
		buf_add_format(&body, "%s\"key number %u\":%u", i ? "," : "", 9 - i % 10, i / 10);
	buf_add_text(&body, "}}");
	buf_add_text(&text, "}}");
	check_text(buf_bytes(&body), buf_bytes(&text));
	buf_fini(&body);
	buf_fini(&text);
}
END_TEST

START_TEST(test_the_deepest_body_is_sorted_at_every_level)
{
	enum { LEVELS = JSON_DEPTH_MAX - 1 };
	struct buf body, text;

	buf_init(&body, 0);
	buf_init(&text, 0);
	buf_add_text(&body, "{" TALK ",\"x\":");
	buf_add_text(&text, "{" TEXT ",\"x\":");
	for (int i = 0; i < LEVELS; i++) {
		buf_add_text(&body, "{\"b\":1,\"a\":");
		buf_add_text(&text, "{\"a\":");
	}
	buf_add_text(&body, "0");
	buf_add_text(&text, "0");
	for (int i = 0; i < LEVELS; i++) {
		buf_add_text(&body, "}");
		buf_add_text(&text, ",\"b\":1}");
	}
	buf_add_text(&body, "}");
	buf_add_text(&text, "}");
	check_text(buf_bytes(&body), buf_bytes(&text));
	buf_fini(&body);
	buf_fini(&text);
}
END_TEST

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Ten megabytes: `head`, then `unit` again and again, with a comma between them if it says so, then `tail`. */
static double
cost_of(const char *head, const char *unit, const char *comma, const char *tail)
{
	struct buf body;
	struct chat_key key;
	double began;

	buf_init(&body, 0);
	buf_add_text(&body, head);
	buf_add_text(&body, unit);
	while (body.n < 10 << 20) {
		buf_add_text(&body, comma);
		buf_add_text(&body, unit);
	}
	buf_add_text(&body, tail);
	ck_assert(!body.failed);
	began = seconds();
	key = key_of(buf_bytes(&body));
	began = seconds() - began;
	chat_key_fini(&key);
	buf_fini(&body);
	return began;
}

#ifdef __SANITIZE_THREAD__
#define MOST_SECONDS 30
#else
#define MOST_SECONDS 5
#endif

/* What would take minutes if anything were done again for each of a million things. */
START_TEST(test_no_body_costs_more_than_its_size)
{
	static const char *const table[][4] = {
	        {"{" TALK ",\"b\":0,", "\"a\":0", ",", "}"},
	        {"{" TALK ",\"x\":{\"b\":0,", "\"a\":0", ",", "}}"},
	        {"{" TALK ",\"x\":[", "{\"b\":0,\"a\":0}", ",", "]}"},
	        {"{" TALK ",\"x\":[", "[]", ",", "]}"},
	        {"{" TALK ",\"x\":{\"b\":{\"b\":[", "{\"b\":[{\"b\":0,\"a\":0}],\"a\":0}", ",",
	         "],\"a\":0},\"a\":0}}"},
	        {"{" TALK ",\"model\":null,", "\"metadata\":0", ",", "}"},
	        {"{\"messages\":[", "{\"role\":\"user\",\"content\":\"a\"}", ",", "]}"},
	        {"{\"messages\":[{\"role\":\"user\",\"content\":[",
	         "{\"type\":\"text\",\"text\":\"a\"}", ",", "]}]}"},
	        {"{\"messages\":[{\"role\":\"user\",\"content\":\"", "\\u0041", "", "\"}]}"},
	        {"{\"messages\":[{\"role\":\"user\",\"content\":\"", "\\n", "", "\"}]}"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *const *t = table[i];
		double cost = cost_of(t[0], t[1], t[2], t[3]);

		ck_assert_msg(cost < MOST_SECONDS, "%s %s…: %.1f s", t[0], t[1], cost);
	}
}
END_TEST

/* The sanitizers have a realloc() of their own. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

void *__libc_realloc(void *p, size_t n);

static unsigned allocations_left = UINT32_MAX;

void *
realloc(void *p, size_t n)
{
	if (allocations_left == 0)
		return NULL;
	allocations_left--;
	return __libc_realloc(p, n);
}

START_TEST(test_a_failure_to_allocate_is_reported_wherever_it_comes)
{
	unsigned more = 0;
	bool made = false;
	struct buf body;

	buf_init(&body, 0);
	buf_add_text(&body, "{\"messages\":[{\"role\":\"user\",\"content\":[");
	for (int i = 0; i < 100; i++)
		buf_add_text(&body, "{\"type\":\"text\",\"text\":\"a question\"},");
	buf_add_text(&body, "{\"type\":\"text\",\"text\":\"\"}]}],\"x\":{\"b\":{\"b\":0,\"a\":0}");
	for (int i = 0; i < 100; i++)
		buf_add_format(&body, ",\"a%d\":{\"b\":0,\"a\":0}", i);
	buf_add_text(&body, "}}");
	for (; !made; more++) {
		struct chat_request request = read_valid(buf_bytes(&body));
		struct chat_key key;

		allocations_left = more;
		made = chat_key_make(&key, &request, bytes_of("id"));
		allocations_left = UINT32_MAX;
		ck_assert(made || (!key.has_question && !key.question.p));
		if (made)
			chat_key_fini(&key);
	}
	ck_assert_uint_gt(more, 10);
	buf_fini(&body);
}
END_TEST

#define TEST_OF_FAILURES , test_a_failure_to_allocate_is_reported_wherever_it_comes
#else
#define TEST_OF_FAILURES
#endif

UNIT_MAIN("chat_key_text", test_requests_have_one_text,
          test_the_key_follows_from_the_scope_and_the_texts_of_the_question,
          test_objects_of_every_size_are_sorted,
          test_members_of_one_key_keep_their_order_however_many,
          test_the_deepest_body_is_sorted_at_every_level,
          test_no_body_costs_more_than_its_size TEST_OF_FAILURES)
