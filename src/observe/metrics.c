/*
 * A series is one set of label values of one metric. Series are shared by all shards, made under the
 * mutex, and live as long as the metrics; each shard has a cell of its own in a series, which its
 * owner alone writes. A scrape walks the lists of series and reads the cells without any lock: both
 * are published by an atomic pointer once they are complete, and neither is moved or freed before the
 * end.
 *
 * So an increment is: hash the labels, find the cell in the shard's private table, two relaxed
 * stores. The mutex is taken the first time a shard meets a set of labels, and, beyond
 * METRIC_SERIES_MAX, to find out that it counts as "other".
 */
#include "observe/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "observe/exposition.h"
#include "observe/label_set.h"
#include "observe/process.h"

enum { LABELS_MAX = 2, BUCKETS_MAX = 16, CHAINS = 256, SLOTS_FIRST = 64 };
enum { STATUSES_MAX = 16 }; /* as many as the gateway answers with, and some */

enum kind { COUNTER, GAUGE, SECONDS, FAST_SECONDS, BITS };

static const struct {
	const char *name, *labels, *help;
	enum kind kind;
} descriptions[METRIC_COUNT] = {
#define METRIC(id, type, name, labels, help) [METRIC_##id] = {name, labels, help, type},
#include "observe/metrics.def"
#undef METRIC
};

/* Upper bounds of a histogram's buckets, without the last, +Inf. */
static const struct {
	unsigned count;
	double bounds[BUCKETS_MAX];
} buckets[] = {
        [SECONDS] = {16,
                     {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
                      60, 120}},
        [FAST_SECONDS] = {16,
                          {1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 0.001, 0.0025, 0.005, 0.01,
                           0.025, 0.05, 0.1, 0.25, 0.5, 1}},
        [BITS] = {14, {0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 6, 8}},
};

/* Series that are there from the start, so that a rate over them has something to begin with. */
static const struct {
	enum metric metric;
	const char *label;
} presets[] = {
        {METRIC_DECISIONS, "accept"},         {METRIC_DECISIONS, "escalate"},
        {METRIC_DECISIONS, "cache_hit"},      {METRIC_DECISIONS, "direct"},
        {METRIC_UPSTREAM_LATENCY, "drafter"}, {METRIC_UPSTREAM_LATENCY, "heavyweight"},
};

/* One shard's part of a series: written by the shard's owner, read by anybody. */
struct cell {
	_Atomic double sum;        /* the value of a counter or gauge */
	_Atomic uint64_t counts[]; /* histograms: by bucket, not cumulative; the last is +Inf */
};

struct series {
	struct series *_Atomic next; /* of its metric */
	struct series *next_chain;   /* guarded by the mutex */
	enum metric metric;
	uint64_t hash;
	char *labels[LABELS_MAX];     /* owned; "" where the metric has no label */
	struct cell *_Atomic cells[]; /* owned; by shard; NULL until the shard has used it */
};

/* A place of a shard's private table. */
struct slot {
	struct series *series; /* borrowed; NULL: free */
	struct cell *cell;     /* borrowed from the series */
};

struct metrics_shard {
	struct metrics *metrics; /* borrowed */
	unsigned index;
	struct cell *plain[METRIC_COUNT]; /* borrowed; of metrics without labels; NULL until used */
	struct slot *slots;               /* owned; open addressing */
	size_t slot_count, used;
};

struct metrics {
	unsigned shard_count;
	struct metrics_shard *shards; /* owned */
	struct series *_Atomic first[METRIC_COUNT];

	pthread_mutex_t mutex; /* guards the making of series and what follows */
	struct series *_Atomic *last[METRIC_COUNT];
	struct series *chains[CHAINS];
	struct series *other[METRIC_COUNT];
	unsigned series_count[METRIC_COUNT];
	struct label_set projects; /* the first label of METRIC_PROJECT_REQUESTS */
};

static unsigned
label_count(enum metric metric)
{
	const char *labels = descriptions[metric].labels;

	if (!labels[0])
		return 0;
	return strchr(labels, ',') ? 2 : 1;
}

static bool
is_histogram(enum metric metric)
{
	return descriptions[metric].kind >= SECONDS;
}

/* How many counts a cell has. */
static unsigned
bucket_count(enum metric metric)
{
	return is_histogram(metric) ? buckets[descriptions[metric].kind].count + 1 : 0;
}

/* FNV-1a, with the terminators, so that ("a", "b") is not ("ab", ""). */
static uint64_t
hash_of(enum metric metric, const char *const labels[LABELS_MAX])
{
	const uint64_t prime = 1099511628211;
	uint64_t hash = (14695981039346656037U ^ (uint64_t)metric) * prime;

	for (unsigned i = 0; i < LABELS_MAX; i++) {
		const char *p = labels[i];

		do {
			hash = (hash ^ (unsigned char)*p) * prime;
		} while (*p++);
	}
	return hash ^ hash >> 32;
}

static bool
is_series(const struct series *series, uint64_t hash, enum metric metric,
          const char *const labels[LABELS_MAX])
{
	return series->hash == hash && series->metric == metric &&
	       strcmp(series->labels[0], labels[0]) == 0 &&
	       strcmp(series->labels[1], labels[1]) == 0;
}

/* With the mutex held, or before other threads know of the metrics. */
static struct series *
series_new(struct metrics *metrics, enum metric metric, const char *label1, const char *label2)
{
	const char *const labels[LABELS_MAX] = {label1, label2};
	struct series *series =
	        mem_new(sizeof(*series) + metrics->shard_count * sizeof(series->cells[0]));
	struct series **chain;

	series->metric = metric;
	series->hash = hash_of(metric, labels);
	for (unsigned i = 0; i < LABELS_MAX; i++)
		series->labels[i] = mem_copy(bytes_of(labels[i]));
	chain = &metrics->chains[series->hash % CHAINS];
	series->next_chain = *chain;
	*chain = series;
	atomic_store_explicit(metrics->last[metric], series, memory_order_release);
	metrics->last[metric] = &series->next;
	metrics->series_count[metric]++;
	return series;
}

/* With the mutex held: what stands for all series beyond the most that a metric may have. */
static struct series *
series_other(struct metrics *metrics, enum metric metric)
{
	if (!metrics->other[metric])
		metrics->other[metric] = series_new(metrics, metric, "other",
		                                    label_count(metric) > 1 ? "other" : "");
	return metrics->other[metric];
}

/* With the mutex held: the series of these labels, made if it is new, or that of the others. */
static struct series *
series_find(struct metrics *metrics, enum metric metric, const char *const labels[LABELS_MAX],
            unsigned most)
{
	uint64_t hash = hash_of(metric, labels);
	struct series *series = metrics->chains[hash % CHAINS];

	while (series && !is_series(series, hash, metric, labels))
		series = series->next_chain;
	/* One place is kept for the others. */
	if (!series && metrics->series_count[metric] < most - 1)
		series = series_new(metrics, metric, labels[0], labels[1]);
	else if (!series)
		series = series_other(metrics, metric);
	return series;
}

/* Any thread: the same. */
static struct series *
series_get(struct metrics *metrics, enum metric metric, const char *const labels[LABELS_MAX])
{
	const char *admitted[LABELS_MAX] = {labels[0], labels[1]};
	unsigned most = METRIC_SERIES_MAX;
	struct series *series;

	pthread_mutex_lock(&metrics->mutex);
	if (metric == METRIC_PROJECT_REQUESTS) {
		admitted[0] = label_set_admit(&metrics->projects, labels[0]);
		most = (LABEL_SET_MAX + 1) * STATUSES_MAX;
	}
	series = series_find(metrics, metric, admitted, most);
	pthread_mutex_unlock(&metrics->mutex);
	return series;
}

/* The shard's own cell of a series, made at its first use, by the owner: so that the allocator keeps
 * the cells of different threads apart. */
static struct cell *
cell_of(const struct metrics_shard *shard, struct series *series)
{
	struct cell *cell =
	        atomic_load_explicit(&series->cells[shard->index], memory_order_relaxed);

	if (!cell) {
		cell = mem_new(sizeof(*cell) +
		               bucket_count(series->metric) * sizeof(cell->counts[0]));
		atomic_store_explicit(&series->cells[shard->index], cell, memory_order_release);
	}
	return cell;
}

/* The place where the series with these labels is, or would go. */
static struct slot *
slot_find(const struct metrics_shard *shard, enum metric metric, uint64_t hash,
          const char *const labels[LABELS_MAX])
{
	size_t i = hash & (shard->slot_count - 1);

	while (shard->slots[i].series && !is_series(shard->slots[i].series, hash, metric, labels))
		i = (i + 1) & (shard->slot_count - 1);
	return &shard->slots[i];
}

static void
slots_grow(struct metrics_shard *shard)
{
	struct slot *old = shard->slots;
	size_t old_count = shard->slot_count;

	shard->slot_count = old_count ? old_count * 2 : SLOTS_FIRST;
	shard->slots = mem_array(shard->slot_count, sizeof(*shard->slots));
	for (size_t i = 0; i < old_count; i++) {
		const struct series *series = old[i].series;

		if (series)
			*slot_find(shard, series->metric, series->hash,
			           (const char *const *)series->labels) = old[i];
	}
	free(old);
}

static struct cell *
plain_cell(struct metrics_shard *shard, enum metric metric)
{
	if (!shard->plain[metric])
		shard->plain[metric] =
		        cell_of(shard, atomic_load_explicit(&shard->metrics->first[metric],
		                                            memory_order_acquire));
	return shard->plain[metric];
}

static struct cell *
cell_find(struct metrics_shard *shard, enum metric metric, const char *label1, const char *label2)
{
	const unsigned count = label_count(metric);
	const char *const labels[LABELS_MAX] = {label1 ? label1 : "",
	                                        count > 1 && label2 ? label2 : ""};
	struct series *series;
	struct slot *slot;
	struct cell *cell;
	uint64_t hash;

	if (count == 0)
		return plain_cell(shard, metric);
	hash = hash_of(metric, labels);
	slot = slot_find(shard, metric, hash, labels);
	if (slot->series)
		return slot->cell;
	series = series_get(shard->metrics, metric, labels);
	cell = cell_of(shard, series);
	if (!is_series(series, hash, metric, labels))
		return cell; /* one of the others, of which there may be any number */
	*slot = (struct slot){series, cell};
	if (++shard->used * 4 > shard->slot_count * 3)
		slots_grow(shard);
	return cell;
}

/* The owner is the only writer, so a load and a store are enough. */
static void
cell_add(struct cell *cell, double amount)
{
	double sum = atomic_load_explicit(&cell->sum, memory_order_relaxed);

	atomic_store_explicit(&cell->sum, sum + amount, memory_order_relaxed);
}

void
metric_add(struct metrics_shard *shard, enum metric metric, const char *label1, const char *label2,
           double amount)
{
	if (is_histogram(metric))
		die("metric %s is a histogram", descriptions[metric].name);
	if (!isfinite(amount) || (descriptions[metric].kind == COUNTER && amount < 0))
		return;
	cell_add(cell_find(shard, metric, label1, label2), amount);
}

void
metric_observe(struct metrics_shard *shard, enum metric metric, const char *label1,
               const char *label2, double value)
{
	const double *bounds;
	struct cell *cell;
	unsigned last, i = 0;
	uint64_t n;

	if (!is_histogram(metric))
		die("metric %s is not a histogram", descriptions[metric].name);
	if (!isfinite(value))
		return;
	cell = cell_find(shard, metric, label1, label2);
	bounds = buckets[descriptions[metric].kind].bounds;
	last = bucket_count(metric) - 1;
	while (i < last && value > bounds[i])
		i++;
	n = atomic_load_explicit(&cell->counts[i], memory_order_relaxed);
	atomic_store_explicit(&cell->counts[i], n + 1, memory_order_relaxed);
	cell_add(cell, value);
}

struct metrics *
metrics_new(unsigned shards)
{
	struct metrics *metrics = mem_new(sizeof(*metrics));

	metrics->shard_count = shards;
	metrics->shards = mem_array(shards, sizeof(*metrics->shards));
	pthread_mutex_init(&metrics->mutex, NULL);
	for (enum metric metric = 0; metric < METRIC_COUNT; metric++) {
		metrics->last[metric] = &metrics->first[metric];
		if (label_count(metric) == 0)
			series_new(metrics, metric, "", "");
	}
	for (size_t i = 0; i < sizeof(presets) / sizeof(presets[0]); i++)
		series_new(metrics, presets[i].metric, presets[i].label, "");
	for (unsigned i = 0; i < shards; i++) {
		metrics->shards[i].metrics = metrics;
		metrics->shards[i].index = i;
		slots_grow(&metrics->shards[i]);
	}
	return metrics;
}

static void
series_free(const struct metrics *metrics, struct series *series)
{
	for (unsigned i = 0; i < metrics->shard_count; i++)
		free(atomic_load(&series->cells[i]));
	for (unsigned i = 0; i < LABELS_MAX; i++)
		free(series->labels[i]);
	free(series);
}

void
metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	for (enum metric metric = 0; metric < METRIC_COUNT; metric++) {
		struct series *series = atomic_load(&metrics->first[metric]);

		while (series) {
			struct series *next = atomic_load(&series->next);

			series_free(metrics, series);
			series = next;
		}
	}
	for (unsigned i = 0; i < metrics->shard_count; i++)
		free(metrics->shards[i].slots);
	label_set_fini(&metrics->projects);
	pthread_mutex_destroy(&metrics->mutex);
	free(metrics->shards);
	free(metrics);
}

struct metrics_shard *
metrics_shard(struct metrics *metrics, unsigned index)
{
	if (index >= metrics->shard_count)
		die("there are %u metric shards; number %u was asked for", metrics->shard_count,
		    index);
	return &metrics->shards[index];
}

/* `{a="1",b="2"}`; bound: a histogram's `le`, or NULL. Nothing when there is no label at all. */
static void
add_labels(struct buf *out, const struct series *series, const double *bound)
{
	const char *name = descriptions[series->metric].labels;
	const char *separator = "{";

	for (unsigned i = 0; *name; i++) {
		size_t n = strcspn(name, ",");

		buf_add_text(out, separator);
		buf_add(out, name, n);
		buf_add(out, "=", 1);
		exposition_add_label_value(out, series->labels[i]);
		separator = ",";
		name += name[n] ? n + 1 : n;
	}
	if (bound) {
		buf_add_format(out, "%sle=\"", separator);
		exposition_add_number(out, *bound);
		buf_add(out, "\"", 1);
		separator = ",";
	}
	if (separator[0] == ',')
		buf_add(out, "}", 1);
}

/* Sums the shards' cells; the buckets of a histogram go to counts, which starts as zeros. */
static double
series_sum(const struct metrics *metrics, const struct series *series,
           uint64_t counts[BUCKETS_MAX + 1])
{
	double sum = 0;

	for (unsigned i = 0; i < metrics->shard_count; i++) {
		const struct cell *cell =
		        atomic_load_explicit(&series->cells[i], memory_order_acquire);

		if (!cell)
			continue;
		sum += atomic_load_explicit(&cell->sum, memory_order_relaxed);
		for (unsigned k = 0; k < bucket_count(series->metric); k++)
			counts[k] += atomic_load_explicit(&cell->counts[k], memory_order_relaxed);
	}
	return sum;
}

/* The count is the sum of the buckets as they were read, so that the two agree while others write. */
static void
add_histogram(struct buf *out, const struct metrics *metrics, const struct series *series)
{
	const char *name = descriptions[series->metric].name;
	const double *bounds = buckets[descriptions[series->metric].kind].bounds;
	const unsigned count = bucket_count(series->metric);
	uint64_t counts[BUCKETS_MAX + 1] = {0}, total = 0;
	double sum = series_sum(metrics, series, counts);

	for (unsigned i = 0; i < count; i++) {
		double bound = i + 1 < count ? bounds[i] : INFINITY;

		total += counts[i];
		buf_add_format(out, "%s_bucket", name);
		add_labels(out, series, &bound);
		buf_add_format(out, " %llu\n", (unsigned long long)total);
	}
	buf_add_format(out, "%s_sum", name);
	add_labels(out, series, NULL);
	buf_add(out, " ", 1);
	exposition_add_number(out, sum);
	buf_add_format(out, "\n%s_count", name);
	add_labels(out, series, NULL);
	buf_add_format(out, " %llu\n", (unsigned long long)total);
}

static void
add_value(struct buf *out, const struct metrics *metrics, const struct series *series)
{
	uint64_t counts[BUCKETS_MAX + 1] = {0};

	buf_add_text(out, descriptions[series->metric].name);
	add_labels(out, series, NULL);
	buf_add(out, " ", 1);
	exposition_add_number(out, series_sum(metrics, series, counts));
	buf_add(out, "\n", 1);
}

static void
add_metric(struct buf *out, const struct metrics *metrics, enum metric metric)
{
	static const char *const types[] = {
	        [COUNTER] = "counter",        [GAUGE] = "gauge",    [SECONDS] = "histogram",
	        [FAST_SECONDS] = "histogram", [BITS] = "histogram",
	};
	const char *name = descriptions[metric].name;
	const struct series *series;

	exposition_add_head(out, name, types[descriptions[metric].kind], descriptions[metric].help);
	series = atomic_load_explicit(&metrics->first[metric], memory_order_acquire);
	for (; series; series = atomic_load_explicit(&series->next, memory_order_acquire)) {
		if (is_histogram(metric))
			add_histogram(out, metrics, series);
		else
			add_value(out, metrics, series);
	}
}

void
metrics_render(struct metrics *metrics, struct buf *out)
{
	for (enum metric metric = 0; metric < METRIC_COUNT; metric++)
		add_metric(out, metrics, metric);
	exposition_add_head(out, "draftthinker_build_info", "gauge",
	                    "The version that runs; always 1.");
	buf_add_text(out, "draftthinker_build_info{version=\"" DT_VERSION "\"} 1\n");
	process_render(out);
}
