/* The doors of the gateway: which path and method is answered by what. Worker's thread. */
#ifndef APP_ENDPOINTS_H
#define APP_ENDPOINTS_H

#include "net/http_server.h"
#include "route/service.h"

/* Handles any request; `arg` is the worker's struct service. */
void endpoints_handle(struct http_call *call, void *arg);

/* Notes a request that the HTTP server refused by itself; `arg` as above. */
void endpoints_refused(void *arg, int status, const char *why);

/* Notes a client that left where no handler saw it; see http_server_options.on_left. */
void endpoints_left(void *arg, bool asked);

#endif
