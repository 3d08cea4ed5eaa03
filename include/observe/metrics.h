/*
 * Counters, gauges and histograms in the Prometheus text format, declared once in
 * observe/metrics.def. Each worker writes to a shard of its own without locks; a scrape sums them,
 * also without locks.
 *
 * Label values come from configuration and from the program, never from a client; even so a metric
 * keeps at most METRIC_SERIES_MAX series, over all shards, and counts the rest under "other". The one
 * exception is the project of METRIC_PROJECT_REQUESTS: see observe/label_set.h.
 */
#ifndef OBSERVE_METRICS_H
#define OBSERVE_METRICS_H

#include <stdint.h>

#include "base/buf.h"

enum metric {
#define METRIC(id, type, name, labels, help) METRIC_##id,
#include "observe/metrics.def"
#undef METRIC
	METRIC_COUNT
};

enum { METRIC_SERIES_MAX = 1000 };

struct metrics;
struct metrics_shard;

struct metrics *metrics_new(unsigned shards);
void metrics_free(struct metrics *metrics); /* after its owners have ended; NULL is allowed */
struct metrics_shard *metrics_shard(struct metrics *metrics, unsigned index); /* borrowed */

/* Owner's thread only. Label values in the order declared, copied; NULL for those that the metric lacks.
 * A number that is not finite is ignored, and so is one below 0 for a counter. */
void metric_add(struct metrics_shard *shard, enum metric metric, const char *label1,
                const char *label2, double amount); /* counters and gauges */
void metric_observe(struct metrics_shard *shard, enum metric metric, const char *label1,
                    const char *label2, double value); /* histograms */

/* Any thread: appends the whole exposition, process figures included. */
void metrics_render(struct metrics *metrics, struct buf *out);

#endif
