/* The headers of an upstream's response that the client of a direct call may see: openai-processing-ms and
 * x-ratelimit-*. Plain data, embedded; never copied, since the list points into it. */
#ifndef ROUTE_PASSED_H
#define ROUTE_PASSED_H

#include "net/http_client.h"

enum { PASSED_MAX = 7, PASSED_VALUE_MAX = 64 };

struct passed {
	struct http_header list[PASSED_MAX];
	char values[PASSED_MAX][PASSED_VALUE_MAX];
	size_t count;
};

/* Takes them from a response head, instead of what was there. */
void passed_take(struct passed *passed, struct http_fetch *fetch);

#endif
