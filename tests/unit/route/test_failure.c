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
        {"a 503 is upstream's",
         {.kind = LEG_STATUS, .status = 503, .retry_after_ms = 7000},
         "",
         502,
         "upstream_error",
         false,
         "answered 503.",
         0},
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
         500,
         "server_error",
         false,
         "out of memory",
         0},
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

UNIT_MAIN("failure", test_each_failure_has_its_answer, test_an_excerpt_is_at_most_two_kilobytes)
