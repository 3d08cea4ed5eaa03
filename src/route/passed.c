#include "route/passed.h"

#include <string.h>

static const char *const names[] = {
        "openai-processing-ms",         "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",     "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
};

_Static_assert(sizeof(names) / sizeof(names[0]) == PASSED_MAX, "headers");

static bool
is_printable(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7E)
			return false;
	}
	return true;
}

void
passed_take(struct passed *passed, struct http_fetch *fetch)
{
	passed->count = 0;
	for (size_t i = 0; i < PASSED_MAX; i++) {
		const char *value = http_fetch_header(fetch, names[i]);
		char *copy = passed->values[passed->count];

		if (!value || strlen(value) >= PASSED_VALUE_MAX || !is_printable(value))
			continue;
		memcpy(copy, value, strlen(value) + 1);
		passed->list[passed->count++] = (struct http_header){names[i], copy};
	}
}
