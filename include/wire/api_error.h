/*
 * An error as the OpenAI API spells it: {"error":{"message","type","param","code"}}.
 * Pure. Plain data; copies freely.
 */
#ifndef WIRE_API_ERROR_H
#define WIRE_API_ERROR_H

#include "base/buf.h"

enum { API_PARAM_BYTES = 96, API_MESSAGE_BYTES = 2560 };

struct api_error {
	int status;                  /* HTTP status; 0: no error */
	const char *type;            /* static; from the status unless set otherwise */
	const char *code;            /* static, or NULL: null */
	char param[API_PARAM_BYTES]; /* empty: null */
	char message[API_MESSAGE_BYTES];
	uint64_t retry_after_ms; /* 0: no Retry-After */
	bool no_retry;           /* say x-should-retry: false */
};

/* Fills `error`; the type follows from the status: 401 authentication_error, 402 insufficient_quota,
 * 403 permission_error, 429 rate_limit_error, any other 4xx invalid_request_error, 502 upstream_error,
 * 503 overloaded_error, 504 timeout_error, otherwise server_error. `param` and `code` may be NULL. What
 * does not fit is cut off. */
void api_error_set(struct api_error *error, int status, const char *param, const char *code,
                   const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The type that belongs to a status, static. */
const char *api_error_type(int status);

/* Appends the JSON document, without a newline. */
void api_error_write(const struct api_error *error, struct buf *out);

#endif
