#include "route/request_id.h"

#include <string.h>

#include "base/random.h"

bool
request_id_is_name(const char *text, size_t most)
{
	size_t n =
	        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");

	return n >= 1 && n <= most && text[n] == '\0';
}

void
request_id_choose(const char *given, char out[REQUEST_ID_MAX + 1])
{
	if (given && request_id_is_name(given, REQUEST_ID_MAX))
		memcpy(out, given, strlen(given) + 1);
	else
		random_hex(out, 16);
}

void
request_id_choose_long(const char *given, char out[REQUEST_ID_MAX + 1])
{
	static const char prefix[] = "req_";

	request_id_choose(given, out);
	if (given && strcmp(given, out) == 0)
		return;
	memcpy(out, prefix, sizeof(prefix));
	random_hex(out + strlen(prefix), 24);
}
