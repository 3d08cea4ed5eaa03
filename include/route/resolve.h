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

/* The model that the header X-Gateway-Force-Model names: as resolve_model pins one, but no name is taken for
 * another: 404 for one that is not known, whatever the configuration says. */
bool resolve_forced(const struct config *config, const char *name,
                    const struct config_model **pinned, struct api_error *error);

/* The models that the member `fallbacks` names, in its order. False with `error` filled: 400 with the param
 * `fallbacks[i]` for one that is not known, 422 for one that cannot chat. */
bool resolve_fallbacks(const struct config *config, const struct chat_request *request,
                       const struct config_model *models[CHAT_FALLBACKS_MAX], size_t *count,
                       struct api_error *error);

#endif
