/* What the cache holds, as metrics. */
#ifndef OBSERVE_CACHE_METRICS_H
#define OBSERVE_CACHE_METRICS_H

#include "base/buf.h"
#include "cache/cache.h"

/* Appends them in the Prometheus text format. Any thread. */
void cache_metrics_render(struct cache *cache, struct buf *out);

#endif
