/*
 * index [--simd NAME] [--items N] [--dimensions N] [--mean COSINE] [--miss PROBABILITY] [--wall]
 *
 * What the index of the cache takes in time and memory, and what it finds, as a table. Without arguments all sizes in
 * turn; --items, --dimensions and --mean (of strangers' cosines) choose one. --simd takes a lower version than the best
 * that the processor has.
 *
 * The vectors resemble embeddings: a component common to all, so that strangers have a cosine in common, and noise.
 * Each is allocated by itself, together with its item, as entries of the cache are. The same numbers every time.
 */
#include <getopt.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "cache/index_private.h"
#include "cache/vector_private.h"

/* What is near, and the least that a search is told: cosines are rounded. */
#define NEAR_COSINE 0.95
#define LEAST       (NEAR_COSINE - 1e-5)

enum { EXACT_QUERIES = 24, SLICE = 4096 };

struct setting {
	enum simd simd;
	size_t items, dimensions;
	double mean; /* of two strangers' cosine */
	double miss; /* the part of neighbours at NEAR_COSINE that may be passed over */
	clockid_t clock;
};

struct stored {
	struct index_item item;
	float vector[];
};

struct bench {
	struct setting setting;
	struct sketch_cut cut;
	uint64_t random;
	float *common; /* of unit length, as is each vector below */
	float *query;
	struct stored **stored;
	struct index *index;
};

/* A row of the table; times in microseconds. */
struct row {
	double near_median, near_high, far_median, far_high;
	double slice_most;
	double add_median, add_high, add_most;
	double remove_median, remove_most;
	double sketch_median;
	double bytes;
	size_t exact_found, exact_expected;
	size_t built_found, built_expected;
};

static double
now_us(const struct bench *b)
{
	struct timespec t;

	clock_gettime(b->setting.clock, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static uint64_t
random_next(struct bench *b)
{
	uint64_t x = b->random += 0x9E3779B97F4A7C15;

	x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
	x = (x ^ x >> 27) * 0x94D049BB133111EB;
	return x ^ x >> 31;
}

/* v += noise whose expected length is `length`: each coordinate the sum of two uniform numbers. */
static void
add_noise(struct bench *b, float *v, double length)
{
	size_t n = b->setting.dimensions;
	/* A uniform number of 16 bits has a variance of 2^32 / 12. */
	float scale = (float)(length / sqrt((double)n * 4294967296.0 / 6));

	for (size_t i = 0; i < n; i += 2) {
		uint64_t x = random_next(b);
		int first = (int)(x & 0xFFFF) + (int)(x >> 16 & 0xFFFF) - 0xFFFF;
		int second = (int)(x >> 32 & 0xFFFF) + (int)(x >> 48) - 0xFFFF;

		v[i] += scale * (float)first;
		if (i + 1 < n)
			v[i + 1] += scale * (float)second;
	}
}

/* A vector that is a stranger to all others. */
static void
make_stranger(struct bench *b, float *v)
{
	float part = (float)sqrt(b->setting.mean);

	for (size_t i = 0; i < b->setting.dimensions; i++)
		v[i] = part * b->common[i];
	add_noise(b, v, sqrt(1 - b->setting.mean));
	vector_normalise(v, b->setting.dimensions);
}

/* A vector at exactly that cosine to a stored one, and no nearer to strangers than they are to each other. */
static void
make_neighbour(struct bench *b, float *v, const float *stored, double cosine)
{
	size_t n = b->setting.dimensions;
	double mean = b->setting.mean, kept = (cosine - mean) / (1 - mean), along;

	for (size_t i = 0; i < n; i++)
		v[i] = (float)((1 - kept) * sqrt(mean)) * b->common[i];
	add_noise(b, v, sqrt((1 - mean) * (1 - kept * kept)));
	/* What is at a right angle to the stored one is given the length that makes the cosine. */
	along = vector_dot(v, stored, n);
	for (size_t i = 0; i < n; i++)
		v[i] -= (float)along * stored[i];
	vector_normalise(v, n);
	for (size_t i = 0; i < n; i++)
		v[i] = (float)cosine * stored[i] + (float)sqrt(1 - cosine * cosine) * v[i];
	vector_normalise(v, n);
}

static const struct stored *
any_stored(struct bench *b)
{
	return b->stored[random_next(b) % b->setting.items];
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
sort(double *times, size_t n)
{
	qsort(times, n, sizeof(*times), compare_doubles);
}

/* The whole of a look-up, from the vector on. Gives its time. */
static double
look_up(struct bench *b, const float *vector, struct index_search *search)
{
	double begin = now_us(b);

	*search = (struct index_search){.vector = vector, .least = LEAST, .cut = b->cut};
	if (!sketch_make(&search->sketch, vector, b->setting.dimensions))
		die("no memory");
	index_search_begin(b->index, search);
	index_search(search, SIZE_MAX);
	index_search_end(search);
	return now_us(b) - begin;
}

static void
fill(struct bench *b, struct row *row)
{
	size_t n = b->setting.items, dimensions = b->setting.dimensions;
	double *add = mem_array(n, sizeof(*add)), *sketch = mem_array(n, sizeof(*sketch));

	for (size_t i = 0; i < n; i++) {
		struct stored *s = mem_try(sizeof(*s) + dimensions * sizeof(float));
		double begin, middle;

		if (!s)
			die("no memory");
		make_stranger(b, s->vector);
		s->item.vector = s->vector;
		b->stored[i] = s;
		begin = now_us(b);
		if (!sketch_make(&s->item.sketch, s->vector, dimensions))
			die("no memory");
		middle = now_us(b);
		if (!index_add(b->index, &s->item))
			die("no memory");
		add[i] = now_us(b) - middle;
		sketch[i] = middle - begin;
	}
	row->bytes = (double)index_bytes(b->index) / (double)n +
	             (double)(sizeof(struct stored) + dimensions * sizeof(float));
	sort(add, n);
	row->add_median = add[n / 2];
	row->add_high = add[n - 1 - n / 100];
	row->add_most = add[n - 1];
	sort(sketch, n);
	row->sketch_median = sketch[n / 2];
	free(add);
	free(sketch);
}

static void
time_look_ups(struct bench *b, struct row *row)
{
	size_t n = b->setting.items > 500000 ? 300 : 2000;
	double *times = mem_array(n, sizeof(*times));
	struct index_search search;

	for (size_t i = 0; i < n; i++) {
		double cosine = NEAR_COSINE + (1 - NEAR_COSINE) * (double)i / (double)n;

		make_neighbour(b, b->query, any_stored(b)->vector, cosine);
		times[i] = look_up(b, b->query, &search);
	}
	sort(times, n);
	row->near_median = times[n / 2];
	row->near_high = times[n - 1 - n / 100];
	for (size_t i = 0; i < n; i++) {
		make_stranger(b, b->query);
		times[i] = look_up(b, b->query, &search);
	}
	sort(times, n);
	row->far_median = times[n / 2];
	row->far_high = times[n - 1 - n / 100];
	free(times);
}

/* The longest that an owner's lock is held by a search in slices. */
static void
time_slices(struct bench *b, struct row *row)
{
	struct index_search search;
	double begin;
	bool done;

	for (size_t i = 0; i < 20; i++) {
		make_stranger(b, b->query);
		look_up(b, b->query, &search); /* for its sketch */
		index_search_begin(b->index, &search);
		do {
			begin = now_us(b);
			done = index_search(&search, SLICE);
			row->slice_most = fmax(row->slice_most, now_us(b) - begin);
		} while (!done);
		index_search_end(&search);
	}
}

/* How many neighbours that are just near enough are found. */
static void
count_built(struct bench *b, struct row *row)
{
	size_t n = b->setting.items > 500000 ? 1000 : b->setting.items > 50000 ? 5000 : 20000;
	struct index_search search;

	row->built_expected = n;
	for (size_t i = 0; i < n; i++) {
		const struct stored *s = any_stored(b);

		make_neighbour(b, b->query, s->vector, NEAR_COSINE);
		look_up(b, b->query, &search);
		for (size_t k = 0; k < search.count; k++)
			row->built_found += search.nearest[k].item == &s->item;
	}
}

/* How many of what a comparison with every vector finds are found. */
static void
count_exact(struct bench *b, struct row *row)
{
	size_t dimensions = b->setting.dimensions;
	float *queries = mem_array(EXACT_QUERIES * dimensions, sizeof(*queries));
	struct index_search searches[EXACT_QUERIES];

	for (size_t q = 0; q < EXACT_QUERIES; q++) {
		double cosine = NEAR_COSINE + (1 - NEAR_COSINE) * (double)q / EXACT_QUERIES;

		make_neighbour(b, queries + q * dimensions, any_stored(b)->vector, cosine);
		look_up(b, queries + q * dimensions, &searches[q]);
		row->exact_found += searches[q].count;
	}
	for (size_t i = 0; i < b->setting.items; i++) {
		for (size_t q = 0; q < EXACT_QUERIES; q++)
			row->exact_expected +=
			        vector_dot(queries + q * dimensions, b->stored[i]->vector,
			                   dimensions) >= LEAST;
	}
	free(queries);
}

/* Removes all, in a random order. */
static void
drain(struct bench *b, struct row *row)
{
	size_t n = b->setting.items;
	double *times = mem_array(n, sizeof(*times));

	for (size_t left = n; left > 0; left--) {
		size_t i = random_next(b) % left;
		struct stored *s = b->stored[i];
		double begin = now_us(b);

		index_remove(b->index, &s->item);
		times[left - 1] = now_us(b) - begin;
		b->stored[i] = b->stored[left - 1];
		free(s);
	}
	sort(times, n);
	row->remove_median = times[n / 2];
	row->remove_most = times[n - 1];
	free(times);
}

static void
print_head(void)
{
	printf("times in microseconds; slice: the longest of 4096 items of a search\n"
	       "                               near look-up      far look-up   slice   sketch"
	       "        insertion               removal       bytes       found of what is near\n"
	       "    items  dims mean     cut    p50     p99       p50     p99     max      p50"
	       "    p50    p99     max    p50     max  per entry  by a scan     at 0.95\n");
}

static void
print_row(const struct bench *b, const struct row *r)
{
	printf("%9zu %5zu  %.1f %3u/%3u %6.0f %7.0f   %7.0f %7.0f %7.0f %8.1f  %5.2f  %5.2f"
	       " %7.1f  %5.2f %7.1f %10.0f    %3zu/%3zu %6zu/%zu\n",
	       b->setting.items, b->setting.dimensions, b->setting.mean, b->cut.first, b->cut.both,
	       r->near_median, r->near_high, r->far_median, r->far_high, r->slice_most,
	       r->sketch_median, r->add_median, r->add_high, r->add_most, r->remove_median,
	       r->remove_most, r->bytes, r->exact_found, r->exact_expected, r->built_found,
	       r->built_expected);
	fflush(stdout);
}

static void
run(const struct setting *setting)
{
	struct bench b = {.setting = *setting, .cut = sketch_cut(NEAR_COSINE, setting->miss)};
	struct row row = {0};

	b.common = mem_array(setting->dimensions, sizeof(*b.common));
	b.query = mem_array(setting->dimensions, sizeof(*b.query));
	b.stored = mem_array(setting->items, sizeof(struct stored *));
	b.index = index_new_by(setting->simd, setting->dimensions);
	add_noise(&b, b.common, 1);
	vector_normalise(b.common, setting->dimensions);
	fill(&b, &row);
	time_look_ups(&b, &row);
	time_slices(&b, &row);
	count_built(&b, &row);
	count_exact(&b, &row);
	drain(&b, &row);
	print_row(&b, &row);
	index_free(b.index);
	free(b.stored);
	free(b.query);
	free(b.common);
}

static void
run_all(struct setting setting)
{
	static const struct {
		size_t items, dimensions;
		double mean;
	} all[] = {{10000, 384, 0.3},   {10000, 1536, 0.3},   {100000, 384, 0.3},
	           {100000, 1536, 0.3}, {100000, 1536, 0.7},  {1000000, 384, 0.3},
	           {1000000, 384, 0.7}, {1000000, 1536, 0.3}, {1000000, 1536, 0.7}};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if ((setting.items && setting.items != all[i].items) ||
		    (setting.dimensions && setting.dimensions != all[i].dimensions) ||
		    (setting.mean > 0 && fabs(setting.mean - all[i].mean) > 1e-9))
			continue;
		run(&(struct setting){setting.simd, all[i].items, all[i].dimensions, all[i].mean,
		                      setting.miss, setting.clock});
	}
}

static enum simd
simd_find(const char *name)
{
	for (enum simd simd = SIMD_PLAIN; simd < SIMD_COUNT; simd++) {
		if (strcmp(name, simd_name(simd)) == 0 && simd_is_supported(simd))
			return simd;
	}
	fprintf(stderr, "not a version that this processor has: %s\n", name);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"simd", required_argument, NULL, 's'},
	                                        {"items", required_argument, NULL, 'n'},
	                                        {"dimensions", required_argument, NULL, 'd'},
	                                        {"mean", required_argument, NULL, 'm'},
	                                        {"miss", required_argument, NULL, 'p'},
	                                        {"wall", no_argument, NULL, 'w'},
	                                        {0}};
	struct setting setting = {
	        .simd = simd_best(), .miss = 1e-6, .clock = CLOCK_THREAD_CPUTIME_ID};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's': setting.simd = simd_find(optarg); break;
		case 'n': setting.items = strtoul(optarg, NULL, 10); break;
		case 'd': setting.dimensions = strtoul(optarg, NULL, 10); break;
		case 'm': setting.mean = strtod(optarg, NULL); break;
		case 'p': setting.miss = strtod(optarg, NULL); break;
		case 'w': setting.clock = CLOCK_MONOTONIC; break;
		default: return 2;
		}
	}
	printf("version %s (the best here is %s), a miss of %g at a cosine of %.2f\n",
	       simd_name(setting.simd), simd_name(simd_best()), setting.miss, NEAR_COSINE);
	print_head();
	run_all(setting);
	return 0;
}
