#include "route/failure.h"

#include <string.h>

#include "wire/json_scan.h"
#include "wire/redact.h"

enum { FAILURE_EXCERPT_MAX_BYTES = 2048 };

static bool
is_json_object(struct bytes text)
{
	struct json_scan scan;
	struct json_value value;

	json_scan_init(&scan, text);
	return json_take(&scan, &value) && value.kind == JSON_OBJECT && json_scan_end(&scan);
}

/* "upstream answered 503: <excerpt>", the excerpt redacted and bounded. */
static void
failure_status_error(const struct leg_failure *failure, int status, const char *code,
                     const struct config_model *model, struct api_error *error)
{
	struct buf excerpt;

	buf_init(&excerpt, 0);
	redact(failure->body, model->provider->api_key, FAILURE_EXCERPT_MAX_BYTES, &excerpt);
	if (excerpt.n > 0 && !excerpt.failed)
		api_error_set(error, status, NULL, code, "The model server answered %d: %.*s",
		              failure->status, (int)excerpt.n, excerpt.p);
	else
		api_error_set(error, status, NULL, code, "The model server answered %d.",
		              failure->status);
	buf_fini(&excerpt);
}

static bool
failure_of_status(const struct leg_failure *failure, const struct config_model *model,
                  struct api_error *error)
{
	switch (failure->status) {
	case 400:
	case 413:
	case 422:
		failure_status_error(failure, failure->status, NULL, model, error);
		return is_json_object(failure->body);
	case 429:
		failure_status_error(failure, 429, "rate_limit_exceeded", model, error);
		error->retry_after_s = failure->retry_after_s;
		return false;
	default: failure_status_error(failure, 502, "upstream_status", model, error); return false;
	}
}

bool
failure_to_error(const struct leg_failure *failure, const struct config_model *model,
                 struct api_error *error)
{
	switch (failure->kind) {
	case LEG_STATUS: return failure_of_status(failure, model, error);
	case LEG_TIMEOUT:
		api_error_set(error, 504, NULL, "upstream_timeout",
		              "The model server timed out: %s.", failure->detail);
		return false;
	case LEG_UNREACHABLE:
		api_error_set(error, 502, NULL, "upstream_unreachable",
		              "The model server could not be reached: %s.", failure->detail);
		return false;
	case LEG_CUT:
		api_error_set(error, 502, NULL, "upstream_truncated",
		              "The model server's answer was cut short: %s.", failure->detail);
		return false;
	case LEG_MALFORMED:
	case LEG_ERROR:
	case LEG_EMPTY:
		api_error_set(error, 502, NULL,
		              failure->kind == LEG_ERROR ? "upstream_error" : "upstream_malformed",
		              "The model server's answer cannot be used: %s.", failure->detail);
		return false;
	case LEG_FAILURE_NONE:
	case LEG_FAULT: break;
	}
	api_error_set(error, 500, NULL, NULL, "The request could not be carried out: %s.",
	              failure->detail[0] ? failure->detail : "out of memory");
	return false;
}
