#include "route/passed.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { PASSED_MAX = 7, PASSED_VALUE_MAX = 63 };

static const enum http_answer_field fields[] = {
        HTTP_ANSWER_PROCESSING_MS,      HTTP_ANSWER_LIMIT_REQUESTS,   HTTP_ANSWER_LIMIT_TOKENS,
        HTTP_ANSWER_REMAINING_REQUESTS, HTTP_ANSWER_REMAINING_TOKENS, HTTP_ANSWER_RESET_REQUESTS,
        HTTP_ANSWER_RESET_TOKENS,
};

_Static_assert(sizeof(fields) / sizeof(fields[0]) == PASSED_MAX, "headers");

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
passed_fini(struct passed *passed)
{
	free(passed->list);
	*passed = (struct passed){.list = NULL};
}

void
passed_take(struct passed *passed, struct http_fetch *fetch)
{
	struct http_header found[PASSED_MAX];
	size_t count = 0, bytes = 0;
	char *text;

	passed_fini(passed);
	for (size_t i = 0; i < PASSED_MAX; i++) {
		const char *value = http_fetch_header(fetch, fields[i]);

		if (!value || strlen(value) > PASSED_VALUE_MAX || !is_printable(value))
			continue;
		found[count++] = (struct http_header){http_answer_field_name(fields[i]), value};
		bytes += strlen(value) + 1;
	}
	if (count == 0)
		return;
	passed->list = mem_new(count * sizeof(*found) + bytes);
	text = (char *)(passed->list + count);
	for (passed->count = 0; passed->count < count; passed->count++) {
		size_t n = strlen(found[passed->count].value) + 1;

		memcpy(text, found[passed->count].value, n);
		passed->list[passed->count] = (struct http_header){found[passed->count].name, text};
		text += n;
	}
}
