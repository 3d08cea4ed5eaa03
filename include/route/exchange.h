/*
 * One client request from its arrival to its log line. Read this file first.
 *
 *	http_call ─► exchange ─► chat_request (read) ─► route or model (resolve)
 *	                │
 *	                ├─► cascade: events in, actions out
 *	                ├─► attempts ─► leg (drafter) ─► draft: kept, scored, shown as far as it may be
 *	                ├─► attempts ─► leg (heavyweight) ─► relay: joined to what was shown
 *	                └─► deliver ─► client;   exchange_finish ─► access log, metrics
 *
 * It drives the cascade: what legs and client do becomes events, the actions that come back are
 * carried out in order. exchange_finish is the only end. Worker's thread; it owns itself and is buried
 * when finished.
 */
#ifndef ROUTE_EXCHANGE_H
#define ROUTE_EXCHANGE_H

#include "net/http_server.h"
#include "route/reading.h"
#include "route/service.h"
#include "wire/dialect.h"

/* Handles a chat request at the door that speaks this dialect. Takes over the call, and what was read of its
 * body: NULL: nothing yet. */
void exchange_begin(struct service *service, struct http_call *call, enum dialect dialect,
                    struct reading *reading);

/* Sends what has come in this turn of the loop, to each client in one piece: the service's flush. */
void exchange_flush_all(void *service);

#endif
