/* The inside of an exchange, shared by route/exchange*.c alone. */
#ifndef ROUTE_EXCHANGE_PRIVATE_H
#define ROUTE_EXCHANGE_PRIVATE_H

#include "route/cascade.h"
#include "route/deliver.h"
#include "route/draft.h"
#include "route/exchange.h"
#include "route/leg.h"
#include "route/request_id.h"

struct exchange {
	uint32_t magic;
	struct service *service; /* borrowed */
	struct plan *plan;       /* owned: one reference */
	struct http_call *call;  /* lent by the server; NULL once answered or gone */
	char id[REQUEST_ID_MAX + 1];
	char peer[64],
	        path[64]; /* for the log: the call is gone before the client's absence is told */
	struct chat_request request;       /* borrows the call's body */
	const struct config_route *route;  /* NULL when pinned or not resolved */
	const struct config_model *pinned; /* NULL when routed */

	struct cascade cascade;
	bool cascading; /* cascade and draft are initialised */
	struct draft draft;
	struct leg *legs[CASCADE_LEGS]; /* owned; NULL: none */
	struct buf opening;             /* the heavyweight's events before its first output */
	bool streaming;                 /* the reply's head is out */
	bool paused;                    /* the heavyweight waits for the client */
	struct timer *keepalive;        /* owned; NULL unless a stream is relayed */
	uint64_t sent_us;               /* when something was last sent on that */

	unsigned attempts;
	const struct config_model *asked[CASCADE_LEGS]; /* last model asked */
	const struct config_model *answered;            /* whose answer is delivered */
	struct chat_usage usage;                        /* of that answer */
	int64_t leg_us[CASCADE_LEGS];                   /* -1: never ended */
	char detail[256];                               /* last upstream failure, for the log */
	uint64_t started_us, first_byte_us, idle_since_us, own_us, sent_bytes;
};

/* What is known of the answer so far. */
struct deliver_facts exchange_facts(const struct exchange *x);

/* Writes the access line and counts the metrics of an exchange that ends now. `end` says how, `error` is
 * the type of an error answered, or NULL. */
void exchange_report(const struct exchange *x, const char *end, int status, const char *error,
                     uint64_t now_us);

#endif
