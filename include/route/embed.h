/*
 * One text sent to an embeddings model: asked for beside a draft, and never waited for longer than its time.
 * Passes the model's breaker and its provider's limit like any other request, and tells the breaker how it
 * went.
 *
 * Created by an exchange, which may pass it on (embed_adopt) or let go of it (embed_cancel); after its callback
 * it is gone. Worker's thread.
 */
#ifndef ROUTE_EMBED_H
#define ROUTE_EMBED_H

#include "route/service.h"
#include "wire/embedding.h"

struct embed;

/* embedding: the vector is the callee's to free; NULL: there is none. why: one word for metrics and logs: ok, timeout,
 * unreachable, status, malformed, dimensions, …. The embed is gone after this returns. */
typedef void embed_done(void *arg, struct embedding *embedding, const char *why);

struct embed_spec {
	const struct plan *plan;          /* borrowed; kept by a reference */
	const struct config_model *model; /* borrowed from the plan */
	struct bytes text;                /* copied */
	unsigned dimensions;              /* 0: any */
	uint32_t timeout_ms;
};

/* Never calls back before it returns. NULL when it cannot be asked now (the breaker is open, the provider busy,
 * no memory): *why says which. */
struct embed *embed_start(struct service *service, const struct embed_spec *spec, embed_done *done,
                          void *arg, const char **why);

/* From now on that one is told. */
void embed_adopt(struct embed *embed, embed_done *done, void *arg);

/* Closes the connection; no callback follows. */
void embed_cancel(struct embed *embed);

/* Before the service's HTTP client goes: ends those that are still under way, whoever waits for them is told. */
void embed_end_all(struct service *service);

#endif
