/* File descriptors of the process. */
#ifndef APP_DESCRIPTORS_H
#define APP_DESCRIPTORS_H

#include <stdint.h>

#include "base/log.h"

/* As many as the system allows. */
void descriptors_raise_limit(void);

/* What so many connections of clients (as server.max_connections; 0: no limit) can come to need: each
 * one for itself and one towards upstream, and on each worker those that are turned away. 0: there is
 * no such number. */
uint64_t descriptors_needed(unsigned max_connections, unsigned workers);

/* One line of warning if the process may have fewer than are needed: it would then stop accepting, or
 * fail requests, before it says that it is full. */
void descriptors_warn(struct log *log, unsigned max_connections, unsigned workers);

#endif
