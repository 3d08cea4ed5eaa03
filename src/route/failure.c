#include "route/failure.h"

#include <stdlib.h>

#include "base/mem.h"
#include "wire/json_scan.h"
#include "wire/redact.h"

enum { FAILURE_EXCERPT_MAX_BYTES = 2048 };

void
failure_redact(struct bytes text, const struct config_provider *provider, size_t max,
               struct buf *out)
{
	const char **secrets = mem_array(provider->header_count + 2, sizeof(*secrets));
	size_t count = 0;

	if (provider->api_key)
		secrets[count++] = provider->api_key;
	for (size_t i = 0; i < provider->header_count; i++)
		secrets[count++] = provider->headers[i].value;
	redact(text, secrets, max, out);
	free(secrets);
}

static bool
is_json_object(struct bytes text)
{
	struct json_scan scan;
	struct json_value value;

	json_scan_init(&scan, text);
	return json_take(&scan, &value) && value.kind == JSON_KIND_OBJECT && json_scan_end(&scan);
}

/* "upstream answered 503: <excerpt>", the excerpt redacted and bounded. */
static void
failure_status_error(const struct leg_failure *failure, int status, const char *code,
                     const struct config_model *model, struct api_error *error)
{
	struct buf excerpt;

	buf_init(&excerpt, 0);
	failure_redact(failure->body, model->provider, FAILURE_EXCERPT_MAX_BYTES, &excerpt);
	if (excerpt.n > 0 && !excerpt.failed)
		api_error_set(error, status, NULL, code, "The model server answered %d: %.*s",
		              failure->status, (int)excerpt.n, excerpt.p);
	else
		api_error_set(error, status, NULL, code, "The model server answered %d.",
		              failure->status);
	buf_fini(&excerpt);
}

static void
failure_of_status(const struct leg_failure *failure, const struct config_model *model,
                  struct api_error *error, struct buf *body)
{
	switch (failure->status) {
	case 400:
	case 413:
	case 422:
		failure_status_error(failure, failure->status, NULL, model, error);
		if (is_json_object(failure->body))
			failure_redact(failure->body, model->provider, SIZE_MAX, body);
		if (body->failed)
			buf_reset(body);
		break;
	case 429:
		failure_status_error(failure, 429, "rate_limit_exceeded", model, error);
		error->retry_after_ms = failure->retry_after_ms;
		break;
	default: failure_status_error(failure, 502, "upstream_status", model, error); break;
	}
}

void
failure_to_error(const struct leg_failure *failure, const struct config_model *model,
                 struct api_error *error, struct buf *body)
{
	switch (failure->kind) {
	case LEG_STATUS: failure_of_status(failure, model, error, body); return;
	case LEG_TIMEOUT:
		api_error_set(error, 504, NULL, "upstream_timeout",
		              "The model server timed out: %s.", failure->detail);
		return;
	case LEG_UNREACHABLE:
		api_error_set(error, 502, NULL, "upstream_unreachable",
		              "The model server could not be reached: %s.", failure->detail);
		return;
	case LEG_CUT:
		api_error_set(error, 502, NULL, "upstream_truncated",
		              "The model server's answer was cut short: %s.", failure->detail);
		return;
	case LEG_MALFORMED:
	case LEG_ERROR:
	case LEG_EMPTY:
		api_error_set(error, 502, NULL,
		              failure->kind == LEG_ERROR ? "upstream_error" : "upstream_malformed",
		              "The model server's answer cannot be used: %s.", failure->detail);
		return;
	case LEG_FAILURE_NONE:
	case LEG_FAULT: break;
	}
	api_error_set(error, 500, NULL, NULL, "The request could not be carried out: %s.",
	              failure->detail[0] ? failure->detail : "out of memory");
}
