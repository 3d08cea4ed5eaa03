/* What the kernel knows of this process, as metrics. */
#ifndef OBSERVE_PROCESS_H
#define OBSERVE_PROCESS_H

#include "base/buf.h"

/* Appends the process_* metrics in the Prometheus text format. Any thread. A figure that cannot be had
 * is left out. */
void process_render(struct buf *out);

#endif
