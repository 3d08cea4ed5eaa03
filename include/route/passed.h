/* The headers of an upstream's response that the client of a direct call may see: openai-processing-ms and
 * x-ratelimit-*. */
#ifndef ROUTE_PASSED_H
#define ROUTE_PASSED_H

#include "net/http_client.h"

struct passed {                   /* zeroed: none */
	struct http_header *list; /* owned, in one piece with the values */
	size_t count;
};

/* Takes them from a response head, instead of what was there. */
void passed_take(struct passed *passed, struct http_fetch *fetch);
void passed_fini(struct passed *passed);

#endif
