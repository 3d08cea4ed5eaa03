/*
 * One embeddings request from its arrival to its log line: passed to the provider of the model it names, byte for byte,
 * and its answer passed back the same way. The door is that of chats: the gateway's and the provider's limits, the
 * breaker, retries as for the only model of a list, the deadline; a client that leaves takes its upstream request with
 * him.
 *
 *	http_call ─► forward ─► embedding_request (read) ─► attempts ─► http_fetch ─► deliver ─► client
 *
 * forward_finish is the only end. Worker's thread; it owns itself and is buried when finished.
 */
#ifndef ROUTE_FORWARD_H
#define ROUTE_FORWARD_H

#include "net/http_server.h"
#include "route/reading.h"
#include "route/service.h"

/* Handles POST /v1/embeddings. Takes over the call, and what was read of its body: NULL: nothing yet. */
void forward_begin(struct service *service, struct http_call *call, struct reading *reading);

#endif
