#include "cache/sketch.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "cache/sketch_private.h"
#include "unit.h"
#include "vectors.h"

static struct sketch
sketch_of(const float *v, size_t n)
{
	struct sketch sketch;

	ck_assert(sketch_make(&sketch, v, n));
	return sketch;
}

/* Sketches are kept in files, so these never change. */
START_TEST(test_the_rotation_is_the_same_as_ever)
{
	static const struct {
		size_t dimensions;
		uint64_t first, last;
	} known[] = {
	        {3, 0xCC33444C74738AA3, 0x33F2FA4FAE0CEF37},
	        {256, 0x18DF44D974822CAB, 0x729A4E61F60E4E46},
	        {384, 0x515734D1548EACEA, 0x729B6463D60444C6},
	        {512, 0x71DF1CD1168FBCAB, 0x529B45FBDE0454C0},
	        {1536, 0xB7FD9491DF8F87BA, 0x9E9BFBB31E4586C7},
	        {3072, 0x26DCBFB287C722BF, 0xD6F6E3D35D3C5277},
	};
	float v[3072];

	for (size_t i = 0; i < 3072; i++)
		v[i] = (float)((int)(i * i % 101) - 50) / 64;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		struct sketch sketch = sketch_of(v, known[i].dimensions);

		ck_assert_msg(sketch.first.words[0] == known[i].first &&
		                      sketch.second.words[3] == known[i].last,
		              "%zu: 0x%016lx, 0x%016lx", known[i].dimensions,
		              (unsigned long)sketch.first.words[0],
		              (unsigned long)sketch.second.words[3]);
	}
}
END_TEST

START_TEST(test_length_does_not_matter_and_the_opposite_differs_everywhere)
{
	uint64_t random = 4;
	float v[600], w[600];

	for (size_t n = 1; n <= 600; n += n < 20 ? 1 : 29) {
		struct sketch sketch, other;

		random_unit(&random, v, n);
		sketch = sketch_of(v, n);
		for (size_t i = 0; i < n; i++)
			w[i] = v[i] * 0x1p40F;
		other = sketch_of(w, n);
		ck_assert_uint_eq(sketch_distance(&sketch, &other), 0);
		for (size_t i = 0; i < n; i++)
			w[i] = -v[i];
		other = sketch_of(w, n);
		/* Sums that are zero have no opposite; they are rare. */
		ck_assert_uint_ge(sketch_distance(&sketch, &other), SKETCH_BITS - 2);
	}
}
END_TEST

/* Are the distances at that cosine what independent bits would be, by their mean? */
static void
check_mean(const char *what, double cosine, double sum, unsigned pairs, unsigned bits)
{
	double p = acos(cosine) / M_PI;
	double deviation = sqrt(bits * p * (1 - p) / pairs), mean = sum / pairs;

	ck_assert_msg(fabs(mean - bits * p) <= 4 * deviation + 1e-9,
	              "%s, cosine %.2f: %.3f of %u bits, not %.3f", what, cosine, mean, bits,
	              bits * p);
}

START_TEST(test_distances_are_those_of_the_angles)
{
	static const size_t sizes[] = {8, 200, 384, 512, 1000, 1536, 3072};
	static const double cosines[] = {1, 0.99, 0.95, 0.9, 0.7, 0.3, 0, -0.5};
	const unsigned pairs = SANITIZED ? 200 : 2000;
	float v[3072], w[3072];
	uint64_t random = 5;

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (size_t c = 0; c < sizeof(cosines) / sizeof(cosines[0]); c++) {
			double first = 0, second = 0;

			for (unsigned i = 0; i < pairs; i++) {
				struct sketch a, b;

				random_unit(&random, v, sizes[s]);
				random_neighbour(&random, w, v, sizes[s], cosines[c]);
				a = sketch_of(v, sizes[s]);
				b = sketch_of(w, sizes[s]);
				first += sketch_part_distance(&a.first, &b.first);
				second += sketch_part_distance(&a.second, &b.second);
			}
			if (cosines[c] >= 1)
				continue; /* rounding may turn a bit */
			check_mean("first", cosines[c], first, pairs, SKETCH_PART_BITS);
			check_mean("second", cosines[c], second, pairs, SKETCH_PART_BITS);
			check_mean("both", cosines[c], first + second, pairs, SKETCH_BITS);
		}
	}
}
END_TEST

/* Vectors of few numbers that are not zero, as of short texts: one round of signs would not mix them. */
START_TEST(test_distances_of_sparse_vectors_are_those_of_the_angles)
{
	enum { N = 512, WORDS = 5 };
	const unsigned pairs = SANITIZED ? 500 : 5000;
	uint64_t random = 6;

	for (unsigned common = 1; common < WORDS; common++) {
		double sum = 0;

		for (unsigned i = 0; i < pairs; i++) {
			float v[N] = {0}, w[N] = {0};
			struct sketch a, b;

			for (unsigned set = 0; set < 2 * WORDS - common;) {
				size_t at = random_next(&random) % N;

				if (v[at] != 0 || w[at] != 0)
					continue;
				v[at] = set < WORDS;
				w[at] = set >= WORDS - common;
				set++;
			}
			a = sketch_of(v, N);
			b = sketch_of(w, N);
			sum += sketch_distance(&a, &b);
		}
		check_mean("sparse", (double)common / WORDS, sum, pairs, SKETCH_BITS);
	}
}
END_TEST

/* The chance that more than `most` of `bits` come out, by adding up products. */
static long double
chance_beyond(unsigned bits, unsigned most, long double p)
{
	long double sum = 0;

	for (unsigned k = most + 1; k <= bits; k++) {
		long double term = 1;

		for (unsigned i = 0; i < k; i++)
			term *= p * (bits - i) / (i + 1);
		sum += term * powl(1 - p, bits - k);
	}
	return sum;
}

static void
check_cut(unsigned cut, unsigned bits, double cosine, double miss)
{
	long double p = acosl(cosine) / acosl(-1);

	ck_assert_msg(chance_beyond(bits, cut, p) < miss, "%u of %u at %g: too near for %g", cut,
	              bits, cosine, miss);
	ck_assert_msg(cut == 0 || chance_beyond(bits, cut - 1, p) >= miss,
	              "%u of %u at %g: too far for %g", cut, bits, cosine, miss);
}

START_TEST(test_the_cut_is_the_binomial_quantile)
{
	static const double cosines[] = {0.9999, 0.99, 0.95, 0.9, 0.8, 0.5, 0, -0.9, -0.999};
	static const double misses[] = {0.5, 0.01, 1e-4, 1e-6, 1e-12, 1e-200};

	for (size_t c = 0; c < sizeof(cosines) / sizeof(cosines[0]); c++) {
		for (size_t m = 0; m < sizeof(misses) / sizeof(misses[0]); m++) {
			struct sketch_cut cut = sketch_cut(cosines[c], misses[m]);

			check_cut(cut.first, SKETCH_PART_BITS, cosines[c], misses[m] / 2);
			check_cut(cut.both, SKETCH_BITS, cosines[c], misses[m] / 2);
		}
	}
}
END_TEST

START_TEST(test_a_cut_without_a_sensible_answer_passes_what_it_must)
{
	static const struct {
		double cosine, miss;
		unsigned first, both;
	} edges[] = {
	        {1, 1e-6, 0, 0},        {1.0000001, 1e-6, 0, 0}, {-1, 1e-6, 256, 512},
	        {-1.5, 1e-6, 256, 512}, {NAN, 1e-6, 256, 512},   {0.95, 0, 256, 512},
	        {0.95, -1, 256, 512},   {0.95, NAN, 256, 512},   {0.95, 4, 0, 0},
	};

	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		struct sketch_cut cut = sketch_cut(edges[i].cosine, edges[i].miss);

		ck_assert_msg(cut.first == edges[i].first && cut.both == edges[i].both,
		              "%g, %g: %u and %u", edges[i].cosine, edges[i].miss, cut.first,
		              cut.both);
	}
}
END_TEST

START_TEST(test_neighbours_at_the_threshold_are_not_missed)
{
	static const size_t sizes[] = {384, 1536};
	const unsigned pairs = SANITIZED ? 2000 : 100000;
	struct sketch_cut cut = sketch_cut(0.95, 1e-6);
	float v[1536], w[1536];
	uint64_t random = 7;

	for (size_t s = 0; s < 2; s++) {
		unsigned missed = 0;

		for (unsigned i = 0; i < pairs; i++) {
			struct sketch a, b;

			random_unit(&random, v, sizes[s]);
			random_neighbour(&random, w, v, sizes[s], 0.95);
			a = sketch_of(v, sizes[s]);
			b = sketch_of(w, sizes[s]);
			missed += sketch_part_distance(&a.first, &b.first) > cut.first ||
			          sketch_distance(&a, &b) > cut.both;
		}
		ck_assert_uint_le(missed, 1);
	}
}
END_TEST

/* Random sketches, of which most are near the first: `flips` bits of it are turned, more or less. */
static struct sketch_part *
list_new(uint64_t *random, size_t count, unsigned flips)
{
	struct sketch_part *list = mem_try(count * sizeof(*list));

	ck_assert_ptr_nonnull(list);
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < SKETCH_PART_WORDS; k++)
			list[i].words[k] =
			        i == 0 || i % 7 == 3 ? random_next(random) : list[0].words[k];
		for (unsigned k = 0; i > 0 && k < flips + i % 5; k++) {
			unsigned bit = random_next(random) % SKETCH_PART_BITS;

			list[i].words[bit / 64] ^= 1ULL << bit % 64;
		}
	}
	return list;
}

static unsigned
distance_by_bits(const struct sketch_part *a, const struct sketch_part *b)
{
	unsigned distance = 0;

	for (unsigned bit = 0; bit < SKETCH_PART_BITS; bit++)
		distance += (a->words[bit / 64] ^ b->words[bit / 64]) >> bit % 64 & 1;
	return distance;
}

START_TEST(test_the_distance_is_the_number_of_bits_that_differ)
{
	uint64_t random = 8;
	struct sketch_part none = {0}, all;

	memset(&all, 0xFF, sizeof(all));
	ck_assert_uint_eq(sketch_part_distance(&none, &all), SKETCH_PART_BITS);
	ck_assert_uint_eq(sketch_distance(&(struct sketch){none, all}, &(struct sketch){all, none}),
	                  SKETCH_BITS);
	for (unsigned flips = 0; flips < 300; flips++) {
		struct sketch_part *list = list_new(&random, 3, flips);
		struct sketch a = {list[0], list[1]}, b = {list[1], list[2]};

		ck_assert_uint_eq(sketch_part_distance(&a.first, &b.first),
		                  distance_by_bits(&a.first, &b.first));
		ck_assert_uint_eq(sketch_distance(&a, &b),
		                  distance_by_bits(&a.first, &b.first) +
		                          distance_by_bits(&a.second, &b.second));
		free(list);
	}
}
END_TEST

/* Scans the whole list in calls of at most `room` found, into all[]. */
static size_t
scan_whole(enum simd simd, const struct sketch_part *list, size_t count, unsigned cut, size_t room,
           uint32_t *all)
{
	size_t total = 0, begin = 0;

	do {
		size_t next, n = sketch_scan_by(simd, list, cut, list + begin, count - begin,
		                                all + total, room, &next);

		ck_assert_uint_le(n, room);
		for (size_t i = 0; i < n; i++)
			all[total + i] += (uint32_t)begin;
		total += n;
		begin += next;
		/* It stops early only when the room is used up, and then right after the last one found. */
		ck_assert(begin == count || (n == room && all[total - 1] + 1 == begin));
	} while (begin < count);
	return total;
}

START_TEST(test_every_version_of_the_scan_finds_exactly_what_is_near)
{
	static const unsigned cuts[] = {0, 1, 20, 25, 51, 115, 128, 200, 255, 256, 300};
	static const size_t rooms[] = {1, 2, 7, 8, 9, 256};
	uint64_t random = 9;

	for (size_t count = 1; count < 1000; count += count < 40 ? 1 : 101) {
		struct sketch_part *list = list_new(&random, count, (unsigned)count % 60);
		uint32_t expected[1000], found[1000 + 256];

		for (size_t c = 0; c < sizeof(cuts) / sizeof(cuts[0]); c++) {
			size_t n = 0;

			for (size_t i = 0; i < count; i++) {
				expected[n] = (uint32_t)i;
				n += distance_by_bits(list, list + i) <= cuts[c];
			}
			for (unsigned run = 0; run < SIMD_COUNT * 6; run++) {
				enum simd simd = run % SIMD_COUNT;

				if (!simd_is_supported(simd))
					continue;
				ck_assert_uint_eq(scan_whole(simd, list, count, cuts[c],
				                             rooms[run / SIMD_COUNT], found),
				                  n);
				ck_assert(memcmp(found, expected, n * sizeof(*found)) == 0);
			}
		}
		free(list);
	}
}
END_TEST

START_TEST(test_a_scan_without_room_or_list_finds_nothing)
{
	struct sketch_part list[9] = {0};
	uint32_t found;
	size_t next;

	for (enum simd simd = SIMD_PLAIN; simd < SIMD_COUNT; simd++) {
		if (!simd_is_supported(simd))
			continue;
		next = 99;
		ck_assert_uint_eq(sketch_scan_by(simd, list, 256, list, 9, &found, 0, &next), 0);
		ck_assert_uint_eq(next, 0);
		next = 99;
		ck_assert_uint_eq(sketch_scan_by(simd, list, 256, NULL, 0, &found, 1, &next), 0);
		ck_assert_uint_eq(next, 0);
	}
	ck_assert_uint_eq(sketch_scan(list, 0, list, 9, &found, 1, &next), 1);
	ck_assert_uint_eq(next, 1);
}
END_TEST

START_TEST(test_every_version_of_the_sift_keeps_exactly_what_is_near_in_both_parts)
{
	enum { COUNT = 500 };
	uint64_t random = 10;

	for (unsigned cut = 0; cut <= SKETCH_BITS; cut += 32) {
		struct sketch_part *first = list_new(&random, COUNT, cut / 2);
		struct sketch_part *second = list_new(&random, COUNT, cut / 2);
		struct sketch query = {first[0], second[0]};

		for (enum simd simd = SIMD_PLAIN; simd < SIMD_COUNT; simd++) {
			uint32_t found[COUNT], expected[COUNT];
			size_t n = 0, count = 0;

			if (!simd_is_supported(simd))
				continue;
			for (uint32_t i = 0; i < COUNT; i += 1 + i % 3) {
				found[count++] = i;
				expected[n] = i;
				n += distance_by_bits(&query.first, first + i) +
				             distance_by_bits(&query.second, second + i) <=
				     cut;
			}
			ck_assert_uint_eq(
			        sketch_sift_by(simd, &query, cut, first, second, found, count), n);
			ck_assert(memcmp(found, expected, n * sizeof(*found)) == 0);
		}
		ck_assert_uint_eq(sketch_sift(&query, cut, first, second, (uint32_t[]){0}, 1), 1);
		free(first);
		free(second);
	}
}
END_TEST

UNIT_MAIN("sketch", test_the_rotation_is_the_same_as_ever,
          test_length_does_not_matter_and_the_opposite_differs_everywhere,
          test_distances_are_those_of_the_angles,
          test_distances_of_sparse_vectors_are_those_of_the_angles,
          test_the_cut_is_the_binomial_quantile,
          test_a_cut_without_a_sensible_answer_passes_what_it_must,
          test_neighbours_at_the_threshold_are_not_missed,
          test_the_distance_is_the_number_of_bits_that_differ,
          test_every_version_of_the_scan_finds_exactly_what_is_near,
          test_a_scan_without_room_or_list_finds_nothing,
          test_every_version_of_the_sift_keeps_exactly_what_is_near_in_both_parts)
