/* The identifier of a request, in headers and logs. */
#ifndef ROUTE_REQUEST_ID_H
#define ROUTE_REQUEST_ID_H

#include "base/random.h"

#include <stdbool.h>
#include <stddef.h>

enum { REQUEST_ID_MAX = 128 };

/* Writes the client's own (NULL: none) when it is 1 to REQUEST_ID_MAX of [A-Za-z0-9._:-], otherwise 16
 * random hexadecimal digits. */
void request_id_choose(const char *given, struct random_pool *random, char out[REQUEST_ID_MAX + 1]);

/* The same, but that what is generated is `req_` and 24 digits. */
void request_id_choose_long(const char *given, struct random_pool *random,
                            char out[REQUEST_ID_MAX + 1]);

/* Is it 1 to `most` of [A-Za-z0-9._:-]? */
bool request_id_is_name(const char *text, size_t most);

#endif
