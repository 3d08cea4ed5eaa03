/*
 * Which models one request may be answered by, in the order to ask them in: those of its route, or the one that was
 * pinned, and then its fallbacks. What cannot do what the request needs is left out; a pool is asked in the order
 * of its strategy; and a model that has used up a rate limit comes behind all that have not.
 *
 * Worker's thread; what is shared, health and turns, has locks of its own.
 */
#ifndef ROUTE_CHOOSE_H
#define ROUTE_CHOOSE_H

#include "route/plan.h"
#include "wire/api_error.h"
#include "wire/chat_request.h"

/* What a request needs of a model. */
struct needs {
	unsigned capabilities; /* MODEL_CAN_… */
	uint64_t tokens;       /* of its prompt, estimated; 0: nobody can tell */
};

struct needs needs_of(const struct chat_request *request);
/* What of it the model was declared to lack: MODEL_CAN_…, or MODEL_LACKS_CONTEXT. 0: nothing. */
enum { MODEL_LACKS_CONTEXT = 1 << 16 };
unsigned needs_lacking(const struct needs *needs, const struct config_model *model);

/* One leg's list. */
struct choice {
	const struct candidate *list; /* borrowed from the plan, or `own` */
	size_t count;
	struct candidate *own; /* owned; NULL: the plan's list serves as it is */
};

void choice_fini(struct choice *choice);

struct choose_spec {
	const struct plan *plan;           /* borrowed, as all of it; must outlive the choices */
	const struct config_route *route;  /* NULL: pinned */
	const struct config_model *pinned; /* asked whatever it lacks: the client chose it */
	const struct chat_request *request;
	uint64_t now_ms;
	bool peek; /* only to be told what would be: a pool's turn is not taken */
};

/* The drafters, of which there may be none, and the heavyweights. False with `error` filled, and nothing to be
 * freed: a fallback that is not known (400), or nobody who can do it (422). */
bool choose_models(const struct choose_spec *spec, struct choice *drafters,
                   struct choice *heavyweights, struct api_error *error);

#endif
