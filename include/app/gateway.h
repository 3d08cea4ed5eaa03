/*
 * The running gateway: workers with their listeners, the plan in force, logs and metrics. Created,
 * driven and freed by the main thread, which is no worker itself: it waits for signals.
 */
#ifndef APP_GATEWAY_H
#define APP_GATEWAY_H

#include "base/log.h"
#include "model/config.h"

struct gateway;

/*
 * Opens the logs, makes the workers, listens and starts their threads. Takes over the reference to
 * `config`. on_drained(arg) is called, from some worker's thread, when the last one has drained. NULL with
 * a message in error[size] when something cannot be had; nothing is left running then.
 */
struct gateway *gateway_start(struct config *config, void (*on_drained)(void *arg), void *arg,
                              char *error, size_t size);

struct log *gateway_log(const struct gateway *gateway);
uint32_t gateway_drain_timeout_ms(const struct gateway *gateway);

/* Puts another configuration in force for the requests that come from now on; takes over the
 * reference. What only a restart can change (listeners, workers, log files) is warned of in the log.
 * False with a message: the old one stays. */
bool gateway_reload(struct gateway *gateway, struct config *config, char *error, size_t size);

void gateway_reopen_logs(struct gateway *gateway);

/* Stops accepting and lets running requests finish. */
void gateway_drain(struct gateway *gateway);

/* Stops the workers, cutting what still runs, and frees everything. at_once: without writing the cache's file
 * once more. */
void gateway_stop(struct gateway *gateway, bool at_once);

#endif
