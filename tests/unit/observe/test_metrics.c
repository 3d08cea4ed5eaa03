/*
 * The exposition is read by a strict little parser: HELP and TYPE once and first, all samples of a metric
 * together, names and escapes as the format has them, no series twice, histograms cumulative.
 */
#include "observe/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "unit.h"

enum { SAMPLES_MAX = 40000, FAMILIES_MAX = 100 };

struct sample {
	char *series; /* name and labels, as written */
	double value;
	const char *number; /* as written */
};

struct family {
	char name[96], type[16];
};

struct page {
	char *text; /* cut into pieces by the parser */
	struct sample *samples;
	size_t sample_count;
	struct family families[FAMILIES_MAX];
	size_t family_count;
};

static bool
is_name(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789",
		            p[i]))
			return false;
	}
	return n > 0 && (p[0] < '0' || p[0] > '9');
}

/* The end of a quoted value, after its last quote. */
static const char *
value_end(const char *p)
{
	ck_assert_int_eq(*p++, '"');
	for (; *p != '"'; p++) {
		ck_assert_int_ne(*p, '\0');
		if (*p == '\\') {
			p++;
			ck_assert_msg(*p == '\\' || *p == '"' || *p == 'n', "escape \\%c", *p);
		}
	}
	return p + 1;
}

static const char *
labels_end(const char *p)
{
	do {
		size_t n = strcspn(++p, "=");

		ck_assert_msg(is_name(p, n), "label name at %s", p);
		p = value_end(p + n + 1);
	} while (*p == ',');
	ck_assert_int_eq(*p, '}');
	return p + 1;
}

static void
parse_head(struct page *page, const char *line, const char *next)
{
	struct family *family = &page->families[page->family_count++];
	char help_name[96], type_name[96], text[512];

	ck_assert_uint_lt(page->family_count, FAMILIES_MAX);
	ck_assert_int_eq(sscanf(line, "# HELP %95s %511[^\n]", help_name, text), 2);
	ck_assert_msg(next, "HELP without TYPE: %s", line);
	ck_assert_int_eq(sscanf(next, "# TYPE %95s %15s", type_name, family->type), 2);
	ck_assert_str_eq(help_name, type_name);
	ck_assert_msg(is_name(help_name, strlen(help_name)), "%s", help_name);
	ck_assert_msg(strcmp(family->type, "counter") == 0 || strcmp(family->type, "gauge") == 0 ||
	                      strcmp(family->type, "histogram") == 0,
	              "%s", family->type);
	snprintf(family->name, sizeof(family->name), "%s", help_name);
	for (size_t i = 0; i + 1 < page->family_count; i++)
		ck_assert_str_ne(page->families[i].name, family->name);
}

static void
parse_sample(struct page *page, char *line)
{
	const struct family *family = &page->families[page->family_count - 1];
	size_t name_n = strcspn(line, "{ "), family_n = strlen(family->name);
	struct sample *sample = &page->samples[page->sample_count++];
	const char *end = line + name_n;
	char *rest;

	ck_assert_uint_gt(page->family_count, 0);
	ck_assert_uint_lt(page->sample_count, SAMPLES_MAX);
	ck_assert_msg(strncmp(line, family->name, family_n) == 0, "%s is not of %s", line,
	              family->name);
	if (strcmp(family->type, "histogram") == 0) {
		const char *suffix = line + family_n;
		size_t n = name_n - family_n;

		ck_assert_msg((n == 7 && strncmp(suffix, "_bucket", n) == 0) ||
		                      (n == 4 && strncmp(suffix, "_sum", n) == 0) ||
		                      (n == 6 && strncmp(suffix, "_count", n) == 0),
		              "%s", line);
	} else {
		ck_assert_uint_eq(name_n, family_n);
	}
	if (*end == '{')
		end = labels_end(end);
	ck_assert_int_eq(*end, ' ');
	line[end - line] = '\0';
	sample->series = line;
	sample->number = end + 1;
	sample->value = strtod(sample->number, &rest);
	ck_assert_msg(rest != sample->number && *rest == '\0', "number %s", sample->number);
}

static int
compare_samples(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return strcmp(x->series, y->series);
}

/* The buckets of each series rise, their bounds too, and end with +Inf, which is the count. */
static void
check_histograms(const struct page *page)
{
	double last_bound = -INFINITY, last_count = 0, bound;

	for (size_t i = 0; i < page->sample_count; i++) {
		const struct sample *sample = &page->samples[i];
		const char *le = strstr(sample->series, "le=\"");
		size_t name_n = strcspn(sample->series, "{");

		if (le && strncmp(sample->series + name_n - 7, "_bucket", 7) == 0) {
			bound = strncmp(le + 4, "+Inf", 4) == 0 ? INFINITY : strtod(le + 4, NULL);
			ck_assert_double_gt(bound, last_bound);
			ck_assert_double_ge(sample->value, last_count);
			last_bound = bound;
			last_count = sample->value;
		} else if (last_bound > -INFINITY) {
			ck_assert(isinf(last_bound));
			ck_assert_msg(strstr(sample->series, "_sum"), "%s", sample->series);
			ck_assert_msg(strstr(sample[1].series, "_count"), "%s", sample[1].series);
			ck_assert_double_eq(sample[1].value, last_count);
			last_bound = -INFINITY;
			last_count = 0;
		}
	}
}

static struct page
page_read(struct metrics *metrics)
{
	struct page page = {.samples = mem_array(SAMPLES_MAX, sizeof(struct sample))};
	struct buf out;
	char *line, *next;

	buf_init(&out, 0);
	metrics_render(metrics, &out);
	ck_assert(!out.failed);
	ck_assert(bytes_is_utf8(buf_bytes(&out)));
	ck_assert_int_eq(out.p[out.n - 1], '\n');
	out.p[out.n - 1] = '\0';
	page.text = out.p;
	for (line = page.text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (strncmp(line, "# TYPE", 6) == 0)
			continue; /* read with its HELP */
		if (line[0] == '#')
			parse_head(&page, line, next);
		else
			parse_sample(&page, line);
	}
	check_histograms(&page);
	qsort(page.samples, page.sample_count, sizeof(page.samples[0]), compare_samples);
	for (size_t i = 1; i < page.sample_count; i++)
		ck_assert_str_ne(page.samples[i - 1].series, page.samples[i].series);
	return page;
}

static void
page_free(struct page *page)
{
	free(page->samples);
	free(page->text);
}

static const struct sample *
find(const struct page *page, const char *series)
{
	for (size_t i = 0; i < page->sample_count; i++) {
		if (strcmp(page->samples[i].series, series) == 0)
			return &page->samples[i];
	}
	return NULL;
}

static const char *
number(const struct page *page, const char *series)
{
	const struct sample *sample = find(page, series);

	ck_assert_msg(sample, "there is no %s", series);
	return sample->number;
}

static unsigned
count_series(const struct page *page, const char *start)
{
	unsigned count = 0;

	for (size_t i = 0; i < page->sample_count; i++)
		count += strncmp(page->samples[i].series, start, strlen(start)) == 0;
	return count;
}

START_TEST(test_every_metric_is_there_from_the_start)
{
	static const char *const zero[] = {
	        "draftthinker_requests_in_flight",
	        "draftthinker_speculative_triggers_total",
	        "draftthinker_speculative_latency_saved_seconds",
	        "draftthinker_cache_hits_total",
	        "draftthinker_entropy_distribution_count",
	        "draftthinker_entropy_distribution_bucket{le=\"+Inf\"}",
	        "draftthinker_routing_decisions_total{decision=\"accept\"}",
	        "draftthinker_routing_decisions_total{decision=\"escalate\"}",
	        "draftthinker_routing_decisions_total{decision=\"cache_hit\"}",
	        "draftthinker_routing_decisions_total{decision=\"direct\"}",
	        "draftthinker_upstream_latency_seconds_count{provider=\"drafter\"}",
	};
	static const char *const names[] = {
#define METRIC(id, type, name, labels, help) name,
#include "observe/metrics.def"
#undef METRIC
	};
	struct metrics *metrics = metrics_new(2);
	struct page page = page_read(metrics);

	for (size_t i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
		ck_assert_str_eq(number(&page, zero[i]), "0");
	for (size_t i = 0; i < METRIC_COUNT; i++)
		ck_assert_str_eq(page.families[i].name, names[i]);
	ck_assert_uint_eq(count_series(&page, "draftthinker_requests_total"), 0);
	page_free(&page);
	metrics_free(metrics);
	metrics_free(NULL);
}
END_TEST

START_TEST(test_shards_are_summed)
{
	struct metrics *metrics = metrics_new(3);
	struct page page;

	for (unsigned i = 0; i < 3; i++) {
		struct metrics_shard *shard = metrics_shard(metrics, i);

		metric_add(shard, METRIC_REQUESTS, "m", "200", 1);
		metric_add(shard, METRIC_IN_FLIGHT, NULL, NULL, i == 0 ? 5 : -1);
		metric_observe(shard, METRIC_ENTROPY, NULL, NULL, i);
	}
	metric_add(metrics_shard(metrics, 1), METRIC_REQUESTS, "m", "502", 1);
	page = page_read(metrics);
	ck_assert_str_eq(number(&page, "draftthinker_requests_total{model=\"m\",status=\"200\"}"),
	                 "3");
	ck_assert_str_eq(number(&page, "draftthinker_requests_total{model=\"m\",status=\"502\"}"),
	                 "1");
	ck_assert_str_eq(number(&page, "draftthinker_requests_in_flight"), "3");
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_sum"), "3");
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_count"), "3");
	page_free(&page);
	metrics_free(metrics);
}
END_TEST

START_TEST(test_counts_are_exact_and_fractions_come_back_as_they_were)
{
	struct metrics *metrics = metrics_new(1);
	struct metrics_shard *shard = metrics_shard(metrics, 0);
	struct page page;

	metric_add(shard, METRIC_TOKENS, "m", "prompt", 9007199254740991.0);
	metric_add(shard, METRIC_TOKENS, "m", "wasted", 1e9);
	metric_add(shard, METRIC_TOKENS, "m", "wasted", 1);
	metric_add(shard, METRIC_SPECULATIVE_SAVED, NULL, NULL, 0.1);
	metric_add(shard, METRIC_SPECULATIVE_SAVED, NULL, NULL, 0.2);
	page = page_read(metrics);
	ck_assert_str_eq(number(&page, "draftthinker_tokens_total{model=\"m\",kind=\"prompt\"}"),
	                 "9007199254740991");
	ck_assert_str_eq(number(&page, "draftthinker_tokens_total{model=\"m\",kind=\"wasted\"}"),
	                 "1000000001");
	ck_assert_str_eq(number(&page, "draftthinker_speculative_latency_saved_seconds"),
	                 "0.30000000000000004");
	page_free(&page);
	metrics_free(metrics);
}
END_TEST

START_TEST(test_a_bucket_holds_what_is_at_most_its_bound)
{
	struct metrics *metrics = metrics_new(1);
	struct metrics_shard *shard = metrics_shard(metrics, 0);
	struct page page;

	metric_observe(shard, METRIC_ENTROPY, NULL, NULL, 0);
	metric_observe(shard, METRIC_ENTROPY, NULL, NULL, 2.0);
	metric_observe(shard, METRIC_ENTROPY, NULL, NULL, 2.0001);
	metric_observe(shard, METRIC_ENTROPY, NULL, NULL, 100);
	metric_observe(shard, METRIC_REQUEST_DURATION, "accept", NULL, 0.3);
	metric_observe(shard, METRIC_OVERHEAD, NULL, NULL, 0.00001);
	page = page_read(metrics);
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_bucket{le=\"0.1\"}"),
	                 "1");
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_bucket{le=\"1.75\"}"),
	                 "1");
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_bucket{le=\"2\"}"), "2");
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_bucket{le=\"2.5\"}"),
	                 "3");
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_bucket{le=\"8\"}"), "3");
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_bucket{le=\"+Inf\"}"),
	                 "4");
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_count"), "4");
	ck_assert_str_eq(number(&page,
	                        "draftthinker_request_duration_seconds_bucket{decision=\"accept\","
	                        "le=\"0.25\"}"),
	                 "0");
	ck_assert_str_eq(number(&page,
	                        "draftthinker_request_duration_seconds_bucket{decision=\"accept\","
	                        "le=\"0.5\"}"),
	                 "1");
	ck_assert_str_eq(number(&page,
	                        "draftthinker_request_duration_seconds_bucket{decision=\"accept\","
	                        "le=\"120\"}"),
	                 "1");
	ck_assert_str_eq(
	        number(&page, "draftthinker_gateway_overhead_seconds_bucket{le=\"1e-05\"}"), "1");
	page_free(&page);
	metrics_free(metrics);
}
END_TEST

START_TEST(test_numbers_that_are_none_and_counters_that_fall_are_ignored)
{
	struct metrics *metrics = metrics_new(1);
	struct metrics_shard *shard = metrics_shard(metrics, 0);
	struct page page;

	metric_add(shard, METRIC_CACHE_HITS, NULL, NULL, 2);
	metric_add(shard, METRIC_CACHE_HITS, NULL, NULL, -1);
	metric_add(shard, METRIC_CACHE_HITS, NULL, NULL, NAN);
	metric_add(shard, METRIC_CACHE_HITS, NULL, NULL, INFINITY);
	metric_observe(shard, METRIC_ENTROPY, NULL, NULL, NAN);
	metric_observe(shard, METRIC_ENTROPY, NULL, NULL, INFINITY);
	page = page_read(metrics);
	ck_assert_str_eq(number(&page, "draftthinker_cache_hits_total"), "2");
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_count"), "0");
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_sum"), "0");
	page_free(&page);
	metrics_free(metrics);
}
END_TEST

static const struct {
	const char *value, *written;
} labels[] = {
        {"gpt-4.1/nano", "gpt-4.1/nano"},
        {"a\"b", "a\\\"b"},
        {"a\\b", "a\\\\b"},
        {"a\nb", "a\\nb"},
        {"}{,=", "}{,="},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xff!", "?!"},
        {"", ""},
};

START_TEST(test_label_values_are_escaped)
{
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
		struct metrics *metrics = metrics_new(1);
		char series[128];
		struct page page;

		metric_add(metrics_shard(metrics, 0), METRIC_ERRORS, labels[i].value, NULL, 1);
		page = page_read(metrics);
		snprintf(series, sizeof(series), "draftthinker_errors_total{type=\"%s\"}",
		         labels[i].written);
		ck_assert_str_eq(number(&page, series), "1");
		page_free(&page);
		metrics_free(metrics);
	}
}
END_TEST

START_TEST(test_labels_are_told_apart_and_an_absent_one_is_empty)
{
	struct metrics *metrics = metrics_new(1);
	struct metrics_shard *shard = metrics_shard(metrics, 0);
	struct page page;

	metric_add(shard, METRIC_REQUESTS, "ab", "c", 1);
	metric_add(shard, METRIC_REQUESTS, "a", "bc", 2);
	metric_add(shard, METRIC_REQUESTS, "a", NULL, 3);
	metric_add(shard, METRIC_REQUESTS, NULL, "a", 4);
	page = page_read(metrics);
	ck_assert_str_eq(number(&page, "draftthinker_requests_total{model=\"ab\",status=\"c\"}"),
	                 "1");
	ck_assert_str_eq(number(&page, "draftthinker_requests_total{model=\"a\",status=\"bc\"}"),
	                 "2");
	ck_assert_str_eq(number(&page, "draftthinker_requests_total{model=\"a\",status=\"\"}"),
	                 "3");
	ck_assert_str_eq(number(&page, "draftthinker_requests_total{model=\"\",status=\"a\"}"),
	                 "4");
	page_free(&page);
	metrics_free(metrics);
}
END_TEST

START_TEST(test_series_beyond_the_most_are_counted_under_other)
{
	enum { MODELS = 3 * METRIC_SERIES_MAX };
	struct metrics *metrics = metrics_new(2);
	const char *other = "draftthinker_requests_total{model=\"other\",status=\"other\"}";
	double total = 0;
	struct page page;

	for (unsigned i = 0; i < MODELS; i++) {
		char model[16];

		snprintf(model, sizeof(model), "m%u", i);
		metric_add(metrics_shard(metrics, i % 2), METRIC_REQUESTS, model, "200", 1);
		metric_add(metrics_shard(metrics, 1), METRIC_REQUESTS, model, "200", 1);
		metric_observe(metrics_shard(metrics, 0), METRIC_REQUEST_DURATION, model, NULL, 1);
	}
	page = page_read(metrics);
	ck_assert_uint_eq(count_series(&page, "draftthinker_requests_total"), METRIC_SERIES_MAX);
	ck_assert_uint_eq(count_series(&page, "draftthinker_request_duration_seconds_count"),
	                  METRIC_SERIES_MAX);
	for (size_t i = 0; i < page.sample_count; i++) {
		if (strncmp(page.samples[i].series, "draftthinker_requests_total", 27) == 0)
			total += page.samples[i].value;
	}
	ck_assert_double_eq(total, 2 * MODELS);
	ck_assert_double_eq(find(&page, other)->value, 2 * (MODELS - METRIC_SERIES_MAX + 1));
	page_free(&page);

	/* What had its place before keeps it. */
	metric_add(metrics_shard(metrics, 0), METRIC_REQUESTS, "m7", "200", 1);
	page = page_read(metrics);
	ck_assert_str_eq(number(&page, "draftthinker_requests_total{model=\"m7\",status=\"200\"}"),
	                 "3");
	page_free(&page);
	metrics_free(metrics);
}
END_TEST

enum { ROUNDS = 20000, NAMES = 300 };

struct owner {
	struct metrics_shard *shard;
	_Atomic bool *go;
};

static void *
run_owner(void *arg)
{
	struct owner *owner = arg;

	while (!atomic_load(owner->go))
		continue;
	for (unsigned i = 0; i < ROUNDS; i++) {
		char model[16];

		snprintf(model, sizeof(model), "m%u", i % NAMES);
		metric_add(owner->shard, METRIC_REQUESTS, model, "200", 1);
		metric_observe(owner->shard, METRIC_ENTROPY, NULL, NULL, 1);
		metric_observe(owner->shard, METRIC_UPSTREAM_LATENCY,
		               i % 2 ? "drafter" : "heavyweight", NULL, 0.5);
	}
	return NULL;
}

START_TEST(test_owners_write_while_others_read)
{
	struct metrics *metrics = metrics_new(2);
	_Atomic bool go = false;
	struct owner owners[2];
	pthread_t threads[2];
	double seen = 0;
	struct page page;

	for (unsigned i = 0; i < 2; i++) {
		owners[i] = (struct owner){metrics_shard(metrics, i), &go};
		pthread_create(&threads[i], NULL, run_owner, &owners[i]);
	}
	atomic_store(&go, true);
	for (unsigned i = 0; i < 20; i++) {
		double now;

		page = page_read(metrics);
		now = find(&page, "draftthinker_entropy_distribution_count")->value;
		ck_assert_double_ge(now, seen);
		seen = now;
		page_free(&page);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	page = page_read(metrics);
	ck_assert_str_eq(number(&page, "draftthinker_entropy_distribution_count"), "40000");
	ck_assert_str_eq(
	        number(&page, "draftthinker_upstream_latency_seconds_count{provider=\"drafter\"}"),
	        "20000");
	ck_assert_uint_eq(count_series(&page, "draftthinker_requests_total"), NAMES);
	ck_assert_str_eq(number(&page, "draftthinker_requests_total{model=\"m0\",status=\"200\"}"),
	                 "134");
	page_free(&page);
	metrics_free(metrics);
}
END_TEST

START_TEST(test_the_process_figures_are_plausible)
{
	struct metrics *metrics = metrics_new(1);
	struct page page = page_read(metrics);
	double before = find(&page, "process_open_fds")->value, now = (double)time(NULL);
	int fd = dup(STDIN_FILENO);

	ck_assert_int_ge(fd, 0);
	ck_assert_double_gt(find(&page, "process_resident_memory_bytes")->value, 100000);
	ck_assert_double_gt(find(&page, "process_cpu_seconds_total")->value, 0);
	ck_assert_double_gt(find(&page, "process_max_fds")->value, before);
	ck_assert_double_lt(find(&page, "process_start_time_seconds")->value, now + 2);
	ck_assert_double_gt(find(&page, "process_start_time_seconds")->value, now - 300);
	ck_assert_str_eq(number(&page, "draftthinker_build_info{version=\"" DT_VERSION "\"}"), "1");
	page_free(&page);
	page = page_read(metrics);
	ck_assert_double_eq(find(&page, "process_open_fds")->value, before + 1);
	close(fd);
	page_free(&page);
	metrics_free(metrics);
}
END_TEST

UNIT_MAIN("metrics", test_every_metric_is_there_from_the_start, test_shards_are_summed,
          test_counts_are_exact_and_fractions_come_back_as_they_were,
          test_a_bucket_holds_what_is_at_most_its_bound,
          test_numbers_that_are_none_and_counters_that_fall_are_ignored,
          test_label_values_are_escaped, test_labels_are_told_apart_and_an_absent_one_is_empty,
          test_series_beyond_the_most_are_counted_under_other, test_owners_write_while_others_read,
          test_the_process_figures_are_plausible)
