/* Whether the cache is for a request, and whether its answer is for the cache. */
#include "route/recall.h"

#include <math.h>

#include "unit.h"

static struct config_route route;

static void
route_reset(void)
{
	route = (struct config_route){
	        .cache = {.enabled = true,
	                  .similarity_threshold = 0.95,
	                  .embedder = EMBEDDER_LEXICAL,
	                  .min_margin = 0.2,
	                  .max_temperature = 1,
	                  .max_answer_bytes = 1024},
	};
}

#define BODY(members) "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]" members "}"

struct begun {
	struct chat_request request;
	struct recall recall;
	struct api_error error;
	bool fine;
};

static void
begin(struct begun *begun, const struct config_route *of, const char *body,
      const struct recall_headers *headers)
{
	struct recall_headers none = {0};

	ck_assert(chat_request_read(&begun->request, bytes_of(body), &begun->error));
	begun->fine = recall_init(&begun->recall, of, &begun->request, bytes_of("route"),
	                          headers ? headers : &none, &begun->error);
}

START_TEST(test_what_the_cache_is_not_for)
{
	static const struct {
		const char *body;
		bool taken;
	} rows[] = {
	        {BODY(""), true},
	        {BODY(",\"n\":1"), true},
	        {BODY(",\"n\":2"), false},
	        {BODY(",\"temperature\":1"), true},
	        {BODY(",\"temperature\":1.01"), false},
	        {BODY(",\"temperature\":0"), true},
	        {BODY(",\"modalities\":[\"audio\"]"), false},
	        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
	         false},
	        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\"}]}]}", false},
	        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}"
	         "]}"
	         "]}",
	         true},
	};
	struct begun begun;

	route_reset();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin(&begun, &route, rows[i].body, NULL);
		ck_assert(begun.fine);
		ck_assert_msg((begun.recall.config != NULL) == rows[i].taken, "%s", rows[i].body);
		recall_fini(&begun.recall);
	}
	begin(&begun, NULL, BODY(""), NULL);
	ck_assert(begun.fine && !begun.recall.config && !begun.recall.keeps);
	recall_fini(&begun.recall);
	route.cache.enabled = false;
	begin(&begun, &route, BODY(""), NULL);
	ck_assert(begun.fine && !begun.recall.config && !begun.recall.looks_up);
	recall_fini(&begun.recall);
}
END_TEST

START_TEST(test_without_a_temperature_it_is_1)
{
	struct begun begun;

	route_reset();
	route.cache.max_temperature = 0.5;
	begin(&begun, &route, BODY(""), NULL);
	ck_assert(!begun.recall.config);
	begin(&begun, &route, BODY(",\"temperature\":null"), NULL);
	ck_assert(!begun.recall.config);
	begin(&begun, &route, BODY(",\"temperature\":0.5"), NULL);
	ck_assert(begun.recall.config);
	recall_fini(&begun.recall);
}
END_TEST

START_TEST(test_cache_control_is_a_list_of_directives)
{
	static const struct {
		const char *header;
		bool looks_up, keeps;
	} rows[] = {
	        {"", true, true},
	        {"no-cache", false, true},
	        {"NO-STORE", true, false},
	        {"max-age=0, no-cache", false, true},
	        {" no-store ,no-cache", false, false},
	        {"no-cache=\"x\"", false, true},
	        {"no-cached", true, true},
	        {"x-no-store", true, true},
	        {"max-age=no-store", true, true},
	        {",,,", true, true},
	};

	route_reset();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct recall_headers headers = {.cache_control = rows[i].header};
		struct begun begun;

		begin(&begun, &route, BODY(""), &headers);
		ck_assert_msg(begun.recall.looks_up == rows[i].looks_up &&
		                      begun.recall.keeps == rows[i].keeps,
		              "%s", rows[i].header);
		recall_fini(&begun.recall);
	}
}
END_TEST

START_TEST(test_a_client_may_raise_the_threshold_and_not_lower_it)
{
	static const struct {
		const char *header;
		double threshold; /* 0: refused */
	} rows[] = {
	        {NULL, 0.95}, {"0.97", 0.97}, {"1", 1}, {"0.5", 0.95}, {"0", 0.95},
	        {"1.5", 0},   {"-1", 0},      {"x", 0}, {"", 0},       {"nan", 0},
	};

	route_reset();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct recall_headers headers = {.threshold = rows[i].header};
		struct begun begun;

		begin(&begun, &route, BODY(""), &headers);
		ck_assert_msg(begun.fine == (rows[i].threshold > 0), "%s", rows[i].header);
		if (begun.fine)
			ck_assert_double_eq(begun.recall.threshold, rows[i].threshold);
		else
			ck_assert_int_eq(begun.error.status, 400);
		recall_fini(&begun.recall);
	}
}
END_TEST

START_TEST(test_another_caller_has_other_keys)
{
	struct recall_headers one = {.authorization = "Bearer a"},
	                      other = {.authorization = "Bearer b"};
	struct begun a, b, nobody, again;

	route_reset();
	begin(&a, &route, BODY(""), &one);
	begin(&b, &route, BODY(""), &other);
	begin(&nobody, &route, BODY(""), NULL);
	begin(&again, &route, BODY(",\"user\":\"u\""), &one);
	ck_assert(!sha256_equal(&a.recall.key.exact, &b.recall.key.exact));
	ck_assert(!sha256_equal(&a.recall.key.scope, &b.recall.key.scope));
	ck_assert(!sha256_equal(&a.recall.key.exact, &nobody.recall.key.exact));
	ck_assert(sha256_equal(&a.recall.key.exact, &again.recall.key.exact));
	ck_assert(!sha256_equal(&a.recall.caller, &b.recall.caller));
	recall_fini(&a.recall);
	recall_fini(&b.recall);
	recall_fini(&nobody.recall);
	recall_fini(&again.recall);
}
END_TEST

#define SURE_DRAFT                                                                                 \
	{                                                                                          \
		.draft = true, .sure = true, .margin = 1                                           \
	}
#define GOOD                                                                                       \
	{                                                                                          \
		.choices = 1, .end = CHAT_RECORD_STOP, .has_text = true                            \
	}

START_TEST(test_which_answers_are_kept)
{
	static const struct {
		const char *refusal; /* NULL: it is kept */
		struct recall_source source;
		struct chat_record_facts facts;
		bool tool_calls;
	} rows[] = {
	        {NULL, SURE_DRAFT, GOOD, false},
	        {NULL, {.draft = false, .margin = -1}, GOOD, false},
	        {"handoff", {.both = true}, GOOD, false},
	        {"unsure", {.draft = true, .margin = 1}, GOOD, false},
	        {"margin", {.draft = true, .sure = true, .margin = 0.19}, GOOD, false},
	        {NULL, {.draft = true, .sure = true, .margin = 0.2}, GOOD, false},
	        {"margin", {.draft = true, .sure = true, .margin = (double)NAN}, GOOD, false},
	        {"choices",
	         SURE_DRAFT,
	         {.choices = 2, .end = CHAT_RECORD_STOP, .has_text = true},
	         false},
	        {"choices", SURE_DRAFT, {.choices = 0}, false},
	        {"unfinished",
	         SURE_DRAFT,
	         {.choices = 1, .end = CHAT_RECORD_OTHER, .has_text = true},
	         false},
	        {"empty", SURE_DRAFT, {.choices = 1, .end = CHAT_RECORD_STOP}, false},
	        {"refusal",
	         SURE_DRAFT,
	         {.choices = 1, .end = CHAT_RECORD_STOP, .has_text = true, .is_refusal = true},
	         false},
	        {"tool_calls",
	         SURE_DRAFT,
	         {.choices = 1, .end = CHAT_RECORD_CALLS, .has_calls = true},
	         false},
	        {NULL,
	         SURE_DRAFT,
	         {.choices = 1, .end = CHAT_RECORD_CALLS, .has_calls = true},
	         true},
	        {"tool_calls", SURE_DRAFT, {.choices = 1, .end = CHAT_RECORD_CALLS}, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct recall recall = {.config = &route.cache};
		const char *refusal;

		route_reset();
		route.cache.tool_calls = rows[i].tool_calls;
		refusal = recall_refusal(&recall, &rows[i].source, &rows[i].facts);
		if (rows[i].refusal)
			ck_assert_str_eq(refusal, rows[i].refusal);
		else
			ck_assert_ptr_null(refusal);
	}
}
END_TEST

UNIT_MAIN("recall", test_what_the_cache_is_not_for, test_without_a_temperature_it_is_1,
          test_cache_control_is_a_list_of_directives,
          test_a_client_may_raise_the_threshold_and_not_lower_it,
          test_another_caller_has_other_keys, test_which_answers_are_kept)
