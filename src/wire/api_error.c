#include "wire/api_error.h"

#include <stdarg.h>
#include <stdio.h>

const char *
api_error_type(int status)
{
	switch (status) {
	case 401: return "authentication_error";
	case 402: return "insufficient_quota";
	case 403: return "permission_error";
	case 429: return "rate_limit_error";
	case 502: return "upstream_error";
	case 503: return "overloaded_error";
	case 504: return "timeout_error";
	default: break;
	}
	return status >= 400 && status < 500 ? "invalid_request_error" : "server_error";
}

/* Takes away a character of UTF-8 that was cut in two at the end of a text. */
static void
trim_cut_character(char *text)
{
	size_t n = strlen(text), i = n;

	while (i > 0 && n - i < 4 && ((unsigned char)text[i - 1] & 0xC0) == 0x80)
		i--;
	if (i > 0 && (unsigned char)text[i - 1] >= 0xC0)
		i--;
	if (!bytes_is_utf8((struct bytes){text + i, n - i}))
		text[i] = '\0';
}

void
api_error_set(struct api_error *error, int status, const char *param, const char *code,
              const char *format, ...)
{
	va_list args;
	int n;

	error->status = status;
	error->type = api_error_type(status);
	error->code = code;
	error->retry_after_ms = 0;
	error->no_retry = false;
	snprintf(error->param, sizeof(error->param), "%s", param ? param : "");
	va_start(args, format);
	n = vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	if (n < 0)
		error->message[0] = '\0';
	else if ((size_t)n >= sizeof(error->message))
		trim_cut_character(error->message);
}

static void
add_text_or_null(struct buf *out, const char *text)
{
	if (text && *text)
		buf_add_json_string(out, bytes_of(text));
	else
		buf_add_text(out, "null");
}

void
api_error_write(const struct api_error *error, struct buf *out)
{
	buf_add_text(out, "{\"error\":{\"message\":");
	buf_add_json_string(out, bytes_of(error->message));
	buf_add_text(out, ",\"type\":");
	buf_add_json_string(out,
	                    bytes_of(error->type ? error->type : api_error_type(error->status)));
	buf_add_text(out, ",\"param\":");
	add_text_or_null(out, error->param);
	buf_add_text(out, ",\"code\":");
	add_text_or_null(out, error->code);
	buf_add_text(out, "}}");
}
