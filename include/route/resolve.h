/* Which route or model a request names. Pure. */
#ifndef ROUTE_RESOLVE_H
#define ROUTE_RESOLVE_H

#include "model/config.h"
#include "wire/api_error.h"
#include "wire/chat_request.h"

/*
 * Sets one of `route` and `pinned`, the other to NULL. The name of a route gives the route; the name of a
 * model, or `provider/model`, pins that model; anything else, `auto` and an empty name included, is the
 * default route, so that an SDK call that was not changed is drafted like any other. False with `error`
 * filled: 404 for an unknown name where the configuration rejects those, 422 for a model that cannot chat.
 */
bool resolve_model(const struct config *config, const struct chat_request *request,
                   const struct config_route **route, const struct config_model **pinned,
                   struct api_error *error);

#endif
