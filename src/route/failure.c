#include "route/failure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "base/mem.h"
#include "wire/json_scan.h"
#include "wire/redact.h"

enum { FAILURE_EXCERPT_MAX_BYTES = 2048, FAILURE_WAIT_MAX_MS = 24 * 60 * 60 * 1000 };

/* Digits, with or without a fraction. */
static bool
wait_of_number(const char *value, double unit_ms, uint64_t *wait_ms)
{
	double number;

	if (value[strspn(value, "0123456789.")] != '\0')
		return false;
	while (value[0] == '0' && value[1] >= '0' && value[1] <= '9')
		value++;
	if (!bytes_to_double(bytes_of(value), &number))
		return false;
	/* A little less, so that 1.1 s is no more than 1100 ms. */
	number = ceil(number * unit_ms - 1e-6);
	*wait_ms = number < FAILURE_WAIT_MAX_MS ? (uint64_t)number : FAILURE_WAIT_MAX_MS;
	return true;
}

/* The three spellings of a date that RFC 9110 wants understood. */
static uint64_t
wait_of_date(const char *value, uint64_t wall_ms)
{
	static const char *const formats[] = {
	        "%a, %d %b %Y %H:%M:%S GMT",
	        "%A, %d-%b-%y %H:%M:%S GMT",
	        "%a %b %e %H:%M:%S %Y",
	};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct tm date = {0};
		const char *end = strptime(value, formats[i], &date);
		time_t then;

		if (!end || *end != '\0')
			continue;
		then = timegm(&date);
		if (then <= 0 || (uint64_t)then <= wall_ms / 1000)
			return 0;
		if ((uint64_t)then - wall_ms / 1000 > FAILURE_WAIT_MAX_MS / 1000)
			return FAILURE_WAIT_MAX_MS;
		return (uint64_t)then * 1000 - wall_ms;
	}
	return 0;
}

uint64_t
failure_retry_after_ms(const char *retry_after_ms, const char *retry_after, uint64_t wall_ms)
{
	uint64_t wait_ms = 0;

	if (retry_after_ms && wait_of_number(retry_after_ms, 1, &wait_ms))
		return wait_ms;
	if (!retry_after || wait_of_number(retry_after, 1000, &wait_ms))
		return wait_ms;
	wait_ms = wait_of_date(retry_after, wall_ms);
	return wait_ms < FAILURE_WAIT_MAX_MS ? wait_ms : FAILURE_WAIT_MAX_MS;
}

enum leg_advice
failure_advice(const char *x_should_retry)
{
	if (x_should_retry && strcasecmp(x_should_retry, "true") == 0)
		return LEG_ADVICE_RETRY;
	if (x_should_retry && strcasecmp(x_should_retry, "false") == 0)
		return LEG_ADVICE_NO_RETRY;
	return LEG_ADVICE_NONE;
}

static enum leg_failure_kind
kind_of_fetch(enum http_fetch_result result)
{
	switch (result) {
	case HTTP_FETCH_DNS:
	case HTTP_FETCH_CONNECT:
	case HTTP_FETCH_TLS: return LEG_UNREACHABLE;
	case HTTP_FETCH_TIMEOUT_CONNECT:
	case HTTP_FETCH_TIMEOUT_FIRST_BYTE:
	case HTTP_FETCH_TIMEOUT_IDLE:
	case HTTP_FETCH_TIMEOUT_TOTAL: return LEG_TIMEOUT;
	case HTTP_FETCH_OK:
	case HTTP_FETCH_CUT: return LEG_CUT;
	case HTTP_FETCH_PROTOCOL: return LEG_MALFORMED;
	case HTTP_FETCH_FAULT: break;
	}
	return LEG_FAULT;
}

void
failure_of_fetch(struct leg_failure *failure, enum http_fetch_result result, const char *detail)
{
	static const char *const names[] = {
	        [LEG_TIMER_CONNECT] = "connect",
	        [LEG_TIMER_FIRST_BYTE] = "first byte",
	        [LEG_TIMER_IDLE] = "idle",
	        [LEG_TIMER_TOTAL] = "total",
	};

	failure->kind = kind_of_fetch(result);
	if (failure->kind != LEG_TIMEOUT) {
		snprintf(failure->detail, sizeof(failure->detail), "%s", detail);
		return;
	}
	failure->timer = result == HTTP_FETCH_TIMEOUT_CONNECT      ? LEG_TIMER_CONNECT
	                 : result == HTTP_FETCH_TIMEOUT_FIRST_BYTE ? LEG_TIMER_FIRST_BYTE
	                 : result == HTTP_FETCH_TIMEOUT_IDLE       ? LEG_TIMER_IDLE
	                                                           : LEG_TIMER_TOTAL;
	snprintf(failure->detail, sizeof(failure->detail), "%s timeout, %s", names[failure->timer],
	         detail);
}

static enum attempt_retry
retry_of_status(int status)
{
	if (status == 400 || status == 413 || status == 422)
		return ATTEMPT_RETRY_NEVER;
	if (status == 408 || status == 429 || status >= 500)
		return ATTEMPT_RETRY_AGAIN;
	return ATTEMPT_RETRY_ELSEWHERE;
}

enum attempt_retry
failure_retry(const struct leg_failure *failure)
{
	enum attempt_retry retry = ATTEMPT_RETRY_NEVER;

	switch (failure->kind) {
	case LEG_UNREACHABLE:
	case LEG_MALFORMED:
	case LEG_ERROR:
	case LEG_CUT:
	case LEG_EMPTY: retry = ATTEMPT_RETRY_AGAIN; break;
	case LEG_TIMEOUT:
		/* Beyond the connection upstream may be at work, and is paid for it. */
		retry = failure->timer == LEG_TIMER_CONNECT ? ATTEMPT_RETRY_AGAIN
		                                            : ATTEMPT_RETRY_ELSEWHERE;
		break;
	case LEG_STATUS:
		retry = failure->advice == LEG_ADVICE_RETRY ? ATTEMPT_RETRY_AGAIN
		                                            : retry_of_status(failure->status);
		break;
	case LEG_FAILURE_NONE:
	case LEG_FAULT: break;
	}
	if (retry == ATTEMPT_RETRY_AGAIN && failure->advice == LEG_ADVICE_NO_RETRY)
		return ATTEMPT_RETRY_ELSEWHERE;
	return retry;
}

enum health_result
failure_health(const struct leg_failure *failure)
{
	int status = failure->status;

	if (failure->kind == LEG_FAILURE_NONE || failure->kind == LEG_FAULT)
		return HEALTH_NEUTRAL;
	if (failure->kind == LEG_STATUS && status >= 400 && status <= 499 && status != 408 &&
	    status != 429)
		return HEALTH_NEUTRAL;
	return HEALTH_FAILURE;
}

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
	case 503:
	case 529:
		failure_status_error(failure, 502, "upstream_status", model, error);
		error->retry_after_ms = failure->retry_after_ms;
		break;
	default: failure_status_error(failure, 502, "upstream_status", model, error); break;
	}
}

static void
failure_fill_error(const struct leg_failure *failure, const struct config_model *model,
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
	case LEG_FAULT:
		/* No descriptors, no memory: it may be had again in a moment. */
		api_error_set(error, 503, NULL, "over_capacity",
		              "The request could not be carried out: %s.",
		              failure->detail[0] ? failure->detail : "out of memory");
		error->retry_after_ms = 1000;
		return;
	case LEG_FAILURE_NONE: break;
	}
	api_error_set(error, 500, NULL, NULL, "The request could not be carried out: %s.",
	              failure->detail[0] ? failure->detail : "out of memory");
}

void
failure_to_error(const struct leg_failure *failure, const struct config_model *model,
                 struct api_error *error, struct buf *body)
{
	failure_fill_error(failure, model, error, body);
	error->no_retry = failure->advice == LEG_ADVICE_NO_RETRY;
}

void
failure_refused(enum health_answer refusal, uint64_t due_ms, struct api_error *error)
{
	api_error_set(error, 503, NULL,
	              refusal == HEALTH_BUSY ? "over_capacity" : "no_upstream_available",
	              refusal == HEALTH_BUSY
	                      ? "The model server is at its limit of requests at a time."
	                      : "No model server is available: each has failed too often lately.");
	error->retry_after_ms = due_ms > 1000 ? due_ms : 1000;
}

void
failure_panicked(uint64_t due_ms, struct api_error *error)
{
	struct api_error failed = *error;

	if (failed.status < 500)
		return;
	failure_refused(HEALTH_OPEN, due_ms, error);
	error->no_retry = failed.no_retry;
	snprintf(error->message, sizeof(error->message),
	         "Every model server has failed too often lately, and the one tried again has "
	         "failed: %.2000s",
	         failed.message);
}
