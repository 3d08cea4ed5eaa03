#include "route/request_id.h"

#include <string.h>

bool
request_id_is_name(const char *text, size_t most)
{
	size_t n =
	        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");

	return n >= 1 && n <= most && text[n] == '\0';
}

void
request_id_choose(const char *given, struct random_pool *random, char out[REQUEST_ID_MAX + 1])
{
	if (given && request_id_is_name(given, REQUEST_ID_MAX))
		memcpy(out, given, strlen(given) + 1);
	else
		random_pool_hex(random, out, 16);
}

void
request_id_choose_long(const char *given, struct random_pool *random, char out[REQUEST_ID_MAX + 1])
{
	static const char prefix[] = "req_";

	request_id_choose(given, random, out);
	if (given && strcmp(given, out) == 0)
		return;
	memcpy(out, prefix, sizeof(prefix));
	random_pool_hex(random, out + strlen(prefix), 24);
}
