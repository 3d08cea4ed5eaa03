#include "route/request_id.h"

#include <stdbool.h>
#include <string.h>

#include "base/random.h"

static bool
is_request_id(const char *text)
{
	size_t n =
	        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");

	return n >= 1 && n <= REQUEST_ID_MAX && text[n] == '\0';
}

void
request_id_choose(const char *given, char out[REQUEST_ID_MAX + 1])
{
	if (given && is_request_id(given))
		memcpy(out, given, strlen(given) + 1);
	else
		random_hex(out, 16);
}
