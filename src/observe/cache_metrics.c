#include "observe/cache_metrics.h"

#include "observe/exposition.h"

static void
add_figure(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
	exposition_add_head(out, name, type, help);
	buf_add_text(out, name);
	buf_add_text(out, " ");
	exposition_add_number(out, (double)value);
	buf_add_text(out, "\n");
}

static void
add_gone(struct buf *out, const struct cache_figures *figures)
{
	static const char name[] = "draftthinker_cache_evictions_total";
	const struct {
		const char *reason;
		uint64_t count;
	} rows[] = {
	        {"room", figures->evicted},
	        {"expired", figures->expired},
	        {"replaced", figures->replaced},
	        {"deleted", figures->deleted},
	};

	exposition_add_head(
	        out, name, "counter",
	        "Answers that left the cache: to make room, by age, for a newer answer to "
	        "the same request, or deleted by their caller.");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_add_text(out, name);
		buf_add_text(out, "{reason=");
		exposition_add_label_value(out, rows[i].reason);
		buf_add_text(out, "} ");
		exposition_add_number(out, (double)rows[i].count);
		buf_add_text(out, "\n");
	}
}

void
cache_metrics_render(struct cache *cache, struct buf *out)
{
	struct cache_figures figures = cache_figures(cache);

	add_figure(out, "draftthinker_cache_entries", "gauge", "Answers in the cache.",
	           figures.entries);
	add_figure(out, "draftthinker_cache_entries_max", "gauge", "Answers it may have at most.",
	           figures.max_entries);
	add_figure(out, "draftthinker_cache_bytes", "gauge", "Memory that they take.",
	           figures.bytes);
	add_figure(out, "draftthinker_cache_bytes_max", "gauge",
	           "Memory that they may take at most.", figures.max_bytes);
	add_figure(out, "draftthinker_cache_insertions_total", "counter",
	           "Answers put into the cache.", figures.insertions);
	add_gone(out, &figures);
}
