#include "route/failure.h"

#include "unit.h"

static const struct {
	const char *rule;
	struct leg_failure failure;
	const char *body;
	int status;
	const char *type;
	bool pass;              /* upstream's body goes to the client as it is */
	const char *says;       /* part of the message */
	unsigned retry_after_s; /* wanted */
} rows[] = {
        {"a 400 about the request passes",
         {.kind = LEG_STATUS, .status = 400},
         "{\"error\":{}}",
         400,
         "invalid_request_error",
         true,
         "400",
         0},
        {"so does a 413",
         {.kind = LEG_STATUS, .status = 413},
         "{}",
         413,
         "invalid_request_error",
         true,
         "413",
         0},
        {"and a 422",
         {.kind = LEG_STATUS, .status = 422},
         " {\"detail\": []}",
         422,
         "invalid_request_error",
         true,
         "422",
         0},
        {"but not what is no JSON",
         {.kind = LEG_STATUS, .status = 413},
         "<html>too large</html>",
         413,
         "invalid_request_error",
         false,
         "<html>too large",
         0},
        {"a 401 is the operator's fault",
         {.kind = LEG_STATUS, .status = 401},
         "{\"error\":{\"message\":\"Incorrect API key provided: sk-abcdef123\"}}",
         502,
         "upstream_error",
         false,
         "answered 401: {\"error\":{\"message\":\"Incorrect API key provided: [redacted]\"}}",
         0},
        {"a 404 too",
         {.kind = LEG_STATUS, .status = 404},
         "",
         502,
         "upstream_error",
         false,
         "answered 404.",
         0},
        {"a 500 is upstream's",
         {.kind = LEG_STATUS, .status = 500},
         "oops",
         502,
         "upstream_error",
         false,
         "answered 500: oops",
         0},
        {"a 500 is no matter of waiting",
         {.kind = LEG_STATUS, .status = 500, .retry_after_ms = 7000},
         "",
         502,
         "upstream_error",
         false,
         "answered 500.",
         0},
        {"a 503 is upstream's, and passes its Retry-After",
         {.kind = LEG_STATUS, .status = 503, .retry_after_ms = 7000},
         "",
         502,
         "upstream_error",
         false,
         "answered 503.",
         7},
        {"so does a 529",
         {.kind = LEG_STATUS, .status = 529, .retry_after_ms = 7000},
         "",
         502,
         "upstream_error",
         false,
         "answered 529.",
         7},
        {"a 429 passes its Retry-After",
         {.kind = LEG_STATUS, .status = 429, .retry_after_ms = 7000},
         "{}",
         429,
         "rate_limit_error",
         false,
         "answered 429",
         7},
        {"a timeout says which",
         {.kind = LEG_TIMEOUT, .detail = "idle timeout, silence"},
         "",
         504,
         "timeout_error",
         false,
         "idle timeout",
         0},
        {"an unreachable server",
         {.kind = LEG_UNREACHABLE, .detail = "refused"},
         "",
         502,
         "upstream_error",
         false,
         "refused",
         0},
        {"a cut answer",
         {.kind = LEG_CUT, .status = 200, .detail = "cut"},
         "",
         502,
         "upstream_error",
         false,
         "cut short",
         0},
        {"an answer that is none",
         {.kind = LEG_MALFORMED, .status = 200, .detail = "not JSON"},
         "",
         502,
         "upstream_error",
         false,
         "not JSON",
         0},
        {"an error inside a 200",
         {.kind = LEG_ERROR, .status = 200, .detail = "out of memory"},
         "",
         502,
         "upstream_error",
         false,
         "out of memory",
         0},
        {"a fault of ours",
         {.kind = LEG_FAULT},
         "",
         503,
         "overloaded_error",
         false,
         "out of memory",
         1},
};

START_TEST(test_each_failure_has_its_answer)
{
	struct config_provider provider = {.name = (char *)(uintptr_t) "p"};
	struct config_model model = {.provider = &provider};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct leg_failure failure = rows[i].failure;
		struct api_error error = {0};
		struct buf body;

		buf_init(&body, 0);
		failure.body = bytes_of(rows[i].body);
		failure_to_error(&failure, &model, &error, &body);
		ck_assert_msg(error.status == rows[i].status, "%s: %d", rows[i].rule, error.status);
		ck_assert_msg(strcmp(error.type, rows[i].type) == 0, "%s: %s", rows[i].rule,
		              error.type);
		ck_assert_msg((body.n > 0) == rows[i].pass, "%s", rows[i].rule);
		ck_assert(!rows[i].pass || bytes_is(buf_bytes(&body), rows[i].body));
		buf_fini(&body);
		ck_assert_msg(strstr(error.message, rows[i].says) != NULL, "%s: %s", rows[i].rule,
		              error.message);
		ck_assert_msg(error.retry_after_ms == 1000u * rows[i].retry_after_s, "%s",
		              rows[i].rule);
		ck_assert_msg(!error.no_retry, "%s", rows[i].rule);
		failure.advice = LEG_ADVICE_NO_RETRY;
		failure_to_error(&failure, &model, &error, &body);
		buf_fini(&body);
		ck_assert_msg(error.no_retry, "%s", rows[i].rule);
	}
}
END_TEST

START_TEST(test_an_excerpt_is_at_most_two_kilobytes)
{
	struct config_provider provider = {.name = (char *)(uintptr_t) "p"};
	struct config_model model = {.provider = &provider};
	char body[5000];
	struct leg_failure failure = {
	        .kind = LEG_STATUS, .status = 500, .body = {body, sizeof(body)}};
	struct api_error error;
	struct buf passed;

	buf_init(&passed, 0);
	memset(body, 'x', sizeof(body));
	failure_to_error(&failure, &model, &error, &passed);
	ck_assert_uint_ge(strlen(error.message), 2048);
	ck_assert_uint_le(strlen(error.message), 2048 + 100);
}
END_TEST

static const struct {
	const char *rule;
	struct leg_failure failure;
	enum attempt_retry retry;
	enum health_result health;
} meanings[] = {
#define NEVER     ATTEMPT_RETRY_NEVER
#define ELSEWHERE ATTEMPT_RETRY_ELSEWHERE
#define AGAIN     ATTEMPT_RETRY_AGAIN
#define STATUS(number)                                                                             \
	{                                                                                          \
		.kind = LEG_STATUS, .status = (number)                                             \
	}
#define ADVISED(number, yes)                                                                       \
	{                                                                                          \
		.kind = LEG_STATUS, .status = (number), .advice = (yes)                            \
	}
#define TIMEOUT(which)                                                                             \
	{                                                                                          \
		.kind = LEG_TIMEOUT, .timer = (which)                                              \
	}
#define YES LEG_ADVICE_RETRY
#define NO  LEG_ADVICE_NO_RETRY
        {"unreachable", {.kind = LEG_UNREACHABLE}, AGAIN, HEALTH_FAILURE},
        {"connect timeout", TIMEOUT(LEG_TIMER_CONNECT), AGAIN, HEALTH_FAILURE},
        {"first byte timeout", TIMEOUT(LEG_TIMER_FIRST_BYTE), ELSEWHERE, HEALTH_FAILURE},
        {"idle timeout", TIMEOUT(LEG_TIMER_IDLE), ELSEWHERE, HEALTH_FAILURE},
        {"total timeout", TIMEOUT(LEG_TIMER_TOTAL), ELSEWHERE, HEALTH_FAILURE},
        {"malformed", {.kind = LEG_MALFORMED, .status = 200}, AGAIN, HEALTH_FAILURE},
        {"error in a 200", {.kind = LEG_ERROR, .status = 200}, AGAIN, HEALTH_FAILURE},
        {"cut before the head", {.kind = LEG_CUT}, AGAIN, HEALTH_FAILURE},
        {"cut", {.kind = LEG_CUT, .status = 200}, AGAIN, HEALTH_FAILURE},
        {"empty", {.kind = LEG_EMPTY, .status = 200}, AGAIN, HEALTH_FAILURE},
        {"ours", {.kind = LEG_FAULT}, NEVER, HEALTH_NEUTRAL},
        {"302", STATUS(302), ELSEWHERE, HEALTH_FAILURE},
        {"400", STATUS(400), NEVER, HEALTH_NEUTRAL},
        {"401", STATUS(401), ELSEWHERE, HEALTH_NEUTRAL},
        {"403", STATUS(403), ELSEWHERE, HEALTH_NEUTRAL},
        {"404", STATUS(404), ELSEWHERE, HEALTH_NEUTRAL},
        {"408", STATUS(408), AGAIN, HEALTH_FAILURE},
        {"409", STATUS(409), ELSEWHERE, HEALTH_NEUTRAL},
        {"413", STATUS(413), NEVER, HEALTH_NEUTRAL},
        {"418", STATUS(418), ELSEWHERE, HEALTH_NEUTRAL},
        {"422", STATUS(422), NEVER, HEALTH_NEUTRAL},
        {"429", STATUS(429), AGAIN, HEALTH_FAILURE},
        {"499", STATUS(499), ELSEWHERE, HEALTH_NEUTRAL},
        {"500", STATUS(500), AGAIN, HEALTH_FAILURE},
        {"529", STATUS(529), AGAIN, HEALTH_FAILURE},
        {"599", STATUS(599), AGAIN, HEALTH_FAILURE},
        {"a 400 that may be tried again", ADVISED(400, YES), AGAIN, HEALTH_NEUTRAL},
        {"a 404 that may be tried again", ADVISED(404, YES), AGAIN, HEALTH_NEUTRAL},
        {"a 400 that may not", ADVISED(400, NO), NEVER, HEALTH_NEUTRAL},
        {"a 404 that may not", ADVISED(404, NO), ELSEWHERE, HEALTH_NEUTRAL},
        {"a 429 that may not", ADVISED(429, NO), ELSEWHERE, HEALTH_FAILURE},
        {"a 500 that may not", ADVISED(500, NO), ELSEWHERE, HEALTH_FAILURE},
        {"a cut that may not",
         {.kind = LEG_CUT, .status = 200, .advice = NO},
         ELSEWHERE,
         HEALTH_FAILURE},
        {"an idle timeout is no status",
         {.kind = LEG_TIMEOUT, .timer = LEG_TIMER_IDLE, .status = 200, .advice = YES},
         ELSEWHERE,
         HEALTH_FAILURE},
        {"advice does not mend a fault of ours",
         {.kind = LEG_FAULT, .advice = YES},
         NEVER,
         HEALTH_NEUTRAL},
};

START_TEST(test_each_failure_has_its_meaning)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		ck_assert_msg(failure_retry(&meanings[i].failure) == meanings[i].retry, "%s",
		              meanings[i].rule);
		ck_assert_msg(failure_health(&meanings[i].failure) == meanings[i].health, "%s",
		              meanings[i].rule);
	}
}
END_TEST

static const struct {
	const char *rule, *ms, *after;
	uint64_t wait_ms;
} waits[] = {
        {"nothing said", NULL, NULL, 0},
        {"seconds", NULL, "7", 7000},
        {"seconds with decimals", NULL, "1.1", 1100},
        {"seconds are rounded up to milliseconds", NULL, "0.0004", 1},
        {"leading zeros", NULL, "007", 7000},
        {"zero", NULL, "0", 0},
        {"milliseconds", "250", NULL, 250},
        {"milliseconds with decimals are rounded up", "250.2", NULL, 251},
        {"milliseconds go before seconds", "250", "7", 250},
        {"zero milliseconds too", "0", "7", 0},
        {"unless they cannot be read", "soon", "7", 7000},
        {"or are negative", "-5", "7", 7000},
        {"or empty", "", "7", 7000},
        {"no exponents", NULL, "1e3", 0},
        {"no sign", NULL, "+7", 0},
        {"not negative", NULL, "-7", 0},
        {"nor infinite", NULL, "inf", 0},
        {"nor hexadecimal", NULL, "0x10", 0},
        {"nor two points", NULL, "1.2.3", 0},
        {"nor a point alone", NULL, ".", 0},
        {"nothing after it", NULL, "7 s", 0},
        {"no more than a day", NULL, "86401", 86400000},
        {"however long it is", NULL, "99999999999999999999999999999999999999999999", 86400000},
        {"no more than a day of milliseconds", "86400001", NULL, 86400000},
        {"a date", NULL, "Thu, 01 Jan 2026 00:00:07 GMT", 6500},
        {"a date of RFC 850", NULL, "Thursday, 01-Jan-26 00:00:07 GMT", 6500},
        {"a date of asctime()", NULL, "Thu Jan  1 00:00:07 2026", 6500},
        {"a date that is past", NULL, "Wed, 31 Dec 2025 23:59:59 GMT", 0},
        {"a date that is now", NULL, "Thu, 01 Jan 2026 00:00:00 GMT", 0},
        {"a date before time began", NULL, "Mon, 01 Jan 1900 00:00:00 GMT", 0},
        {"a date far ahead", NULL, "Fri, 01 Jan 2027 00:00:00 GMT", 86400000},
        {"a date of a day and less than a second", NULL, "Fri, 02 Jan 2026 00:00:00 GMT", 86399500},
        {"a date elsewhere on earth", NULL, "Thu, 01 Jan 2026 00:00:07 CET", 0},
        {"a date and more", NULL, "Thu, 01 Jan 2026 00:00:07 GMT, later", 0},
        {"no date in milliseconds", "Thu, 01 Jan 2026 00:00:07 GMT", NULL, 0},
        {"words", NULL, "tomorrow", 0},
};

START_TEST(test_each_wait_is_read)
{
	const uint64_t wall_ms = UINT64_C(1767225600) * 1000 + 500; /* 2026-01-01T00:00:00.5Z */

	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		uint64_t got = failure_retry_after_ms(waits[i].ms, waits[i].after, wall_ms);

		ck_assert_msg(got == waits[i].wait_ms, "%s: %llu", waits[i].rule,
		              (unsigned long long)got);
	}
}
END_TEST

START_TEST(test_advice_is_true_or_false_or_none)
{
	ck_assert(failure_advice(NULL) == LEG_ADVICE_NONE);
	ck_assert(failure_advice("") == LEG_ADVICE_NONE);
	ck_assert(failure_advice("yes") == LEG_ADVICE_NONE);
	ck_assert(failure_advice("true") == LEG_ADVICE_RETRY);
	ck_assert(failure_advice("False") == LEG_ADVICE_NO_RETRY);
}
END_TEST

UNIT_MAIN("failure", test_each_failure_has_its_answer, test_an_excerpt_is_at_most_two_kilobytes,
          test_each_failure_has_its_meaning, test_each_wait_is_read,
          test_advice_is_true_or_false_or_none)
