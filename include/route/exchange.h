/*
 * One client request from its arrival to its log line. Read this file first.
 *
 *	http_call ─► exchange ─► chat_request (read) ─► route or model (resolve)
 *	                │
 *	                ├─► cascade: events in, actions out
 *	                ├─► leg (drafter) ─► draft: kept, scored, shown as it proves itself
 *	                ├─► leg (heavyweight) ─► relayed
 *	                └─► deliver ─► client;   exchange_finish ─► access log, metrics
 *
 * It drives the cascade: what legs and client do becomes events, the actions that come back are
 * carried out in order. exchange_finish is the only end. Worker's thread; it owns itself and is buried
 * when finished.
 */
#ifndef ROUTE_EXCHANGE_H
#define ROUTE_EXCHANGE_H

#include "net/http_server.h"
#include "route/service.h"

/* Handles POST /v1/chat/completions. Takes over the call. */
void exchange_begin(struct service *service, struct http_call *call);

#endif
