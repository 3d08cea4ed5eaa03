/* What the handlers of app/ share: small replies, each with its line in the access log. Worker's thread. */
#ifndef APP_ENDPOINTS_PRIVATE_H
#define APP_ENDPOINTS_PRIVATE_H

#include <jansson.h>

#include "net/http_server.h"
#include "route/reading.h"
#include "route/service.h"
#include "wire/api_error.h"

/* Each ends the call. Takes over the document; NULL: there was no memory for it. */
void endpoint_reply_json(struct service *service, struct http_call *call, json_t *document);
void endpoint_done(struct service *service, struct http_call *call); /* with 204 */
/* allow: the value of the header Allow; NULL: none. */
void endpoint_fail(struct service *service, struct http_call *call, const struct api_error *error,
                   const char *allow);

/* app/introspection.c: what models there are, and how they do. */
void handle_models(struct service *service, struct http_call *call);
void handle_model(struct service *service, struct http_call *call);
void handle_status(struct service *service, struct http_call *call);

/* app/cache_deletion.c: what a caller wants to be forgotten. */
void handle_cache(struct service *service, struct http_call *call);
void handle_cache_entry(struct service *service, struct http_call *call);

/* app/routing_explain.c: what would be made of a chat request. */
void handle_explain(struct service *service, struct http_call *call, struct reading *reading);

#endif
