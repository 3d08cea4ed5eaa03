#include "cache/vector.h"

#include <float.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/vector_private.h"
#include "unit.h"
#include "vectors.h"

static const size_t sizes[] = {1,  2,  3,  4,   7,   8,   9,   15,  16,  17,   31,   32,
                               33, 63, 64, 127, 128, 129, 383, 384, 512, 1536, 3072, 4099};

enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

/* Two vectors, each followed by memory that nobody may read: the sanitizer does not see what some of a
 * processor's instructions load. */
struct pair {
	size_t bytes, page;
	char *memory[2];
	float *a, *b;
};

static float *
guarded_new(const struct pair *p, char **memory)
{
	size_t whole = (p->bytes + p->page - 1) / p->page * p->page;

	*memory = mmap(NULL, whole + p->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	               -1, 0);
	ck_assert_ptr_ne(*memory, MAP_FAILED);
	ck_assert_int_eq(mprotect(*memory + whole, p->page, PROT_NONE), 0);
	return (float *)(void *)(*memory + whole - p->bytes);
}

static struct pair
pair_new(size_t n)
{
	struct pair p = {.bytes = n * sizeof(float), .page = (size_t)sysconf(_SC_PAGESIZE)};

	p.a = guarded_new(&p, &p.memory[0]);
	p.b = guarded_new(&p, &p.memory[1]);
	return p;
}

static void
pair_free(struct pair *p)
{
	size_t whole = (p->bytes + p->page - 1) / p->page * p->page;

	munmap(p->memory[0], whole + p->page);
	munmap(p->memory[1], whole + p->page);
}

static double
dot_exactly(const float *a, const float *b, size_t n)
{
	long double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (long double)a[i] * (long double)b[i];
	return (double)sum;
}

START_TEST(test_every_version_of_the_product_is_accurate)
{
	uint64_t random = 1;

	for (size_t s = 0; s < SIZES; s++) {
		struct pair p = pair_new(sizes[s]);

		for (int round = 0; round < 20; round++) {
			random_unit(&random, p.a, sizes[s]);
			random_unit(&random, p.b, sizes[s]);
			if (round % 2 && sizes[s] > 1)
				random_neighbour(&random, p.b, p.a, sizes[s], 0.999);
			for (enum simd simd = SIMD_PLAIN; simd < SIMD_COUNT; simd++) {
				double exact = dot_exactly(p.a, p.b, sizes[s]), got;

				if (!simd_is_supported(simd))
					continue;
				got = vector_dot_by(simd, p.a, p.b, sizes[s]);
				ck_assert_msg(fabs(got - exact) < 1e-6, "%s, %zu: %.9f, not %.9f",
				              simd_name(simd), sizes[s], got, exact);
			}
			ck_assert_double_eq(vector_dot(p.a, p.b, sizes[s]),
			                    vector_dot_by(simd_best(), p.a, p.b, sizes[s]));
		}
		pair_free(&p);
	}
	ck_assert_double_eq(vector_dot(NULL, NULL, 0), 0);
}
END_TEST

START_TEST(test_the_product_is_accurate_when_all_terms_round_the_same_way)
{
	enum { N = 4096 };
	struct pair p = pair_new(N);

	for (size_t i = 0; i < N; i++)
		p.a[i] = p.b[i] = 0.0156249F;
	for (enum simd simd = SIMD_PLAIN; simd < SIMD_COUNT; simd++) {
		if (simd_is_supported(simd))
			ck_assert_double_eq_tol(vector_dot_by(simd, p.a, p.b, N),
			                        dot_exactly(p.a, p.b, N), 1e-6);
	}
	pair_free(&p);
}
END_TEST

/* Where the length of the vectors lies decides how early a cosine can be ruled out. */
static void
concentrate(float *v, size_t n, size_t round)
{
	for (size_t i = 0; i < n; i++) {
		if (round % 4 == 1)
			v[i] *= expf(-20.0F * (float)i / (float)n);
		else if (round % 4 == 2)
			v[i] *= expf(-20.0F * (float)(n - i) / (float)n);
		else if (round % 4 == 3 && i != round % n)
			v[i] = 0;
	}
	if (!vector_normalise(v, n))
		v[0] = 1;
}

START_TEST(test_a_cosine_below_the_least_is_bounded_and_no_other_is_touched)
{
	uint64_t random = 2;
	unsigned given_up = 0;

	for (size_t s = 0; s < SIZES; s++) {
		struct pair p = pair_new(sizes[s]);

		for (size_t round = 0; round < 100; round++) {
			double least = (double)(random_next(&random) % 2001) / 1000 - 1;

			random_unit(&random, p.a, sizes[s]);
			random_unit(&random, p.b, sizes[s]);
			if (round % 3 && sizes[s] > 1)
				random_neighbour(
				        &random, p.b, p.a, sizes[s],
				        fmax(-1, fmin(1, least + (round % 3 == 1 ? .02 : -.02))));
			concentrate(p.a, sizes[s], round / 3);
			concentrate(p.b, sizes[s], round / 3);
			for (enum simd simd = SIMD_PLAIN; simd < SIMD_COUNT; simd++) {
				double exact, got;

				if (!simd_is_supported(simd))
					continue;
				exact = vector_dot_by(simd, p.a, p.b, sizes[s]);
				got = vector_cosine_by(simd, p.a, p.b, sizes[s], least);
				given_up += got != exact;
				ck_assert_msg(exact >= least ? got == exact
				                             : got < least && got > exact - 1e-6,
				              "%s, %zu: %.9f, not %.9f, for %.9f", simd_name(simd),
				              sizes[s], got, exact, least);
			}
		}
		pair_free(&p);
	}
	ck_assert_uint_gt(given_up, 100);
}
END_TEST

START_TEST(test_a_normalised_vector_has_length_1_and_its_direction)
{
	static const float scales[] = {1, 1e-3F, 1e3F, 1e-30F, 1e38F, FLT_MIN, 1e-44F};
	uint64_t random = 3;

	for (size_t s = 0; s < SIZES; s++) {
		struct pair p = pair_new(sizes[s]);

		for (size_t k = 0; k < sizeof(scales) / sizeof(scales[0]); k++) {
			double length;

			random_unit(&random, p.a, sizes[s]);
			for (size_t i = 0; i < sizes[s]; i++)
				p.b[i] = p.a[i] * scales[k];
			length = sqrt(dot_exactly(p.b, p.b, sizes[s]));
			/* Small enough numbers are all rounded to zero. */
			ck_assert_int_eq(vector_normalise(p.b, sizes[s]), length > 0);
			if (!(length > 0))
				continue;
			ck_assert_double_eq_tol(dot_exactly(p.b, p.b, sizes[s]), 1, 1e-6);
			if (scales[k] >= FLT_MIN * 1e6F)
				ck_assert_double_eq_tol(dot_exactly(p.a, p.b, sizes[s]), 1, 1e-6);
		}
		pair_free(&p);
	}
}
END_TEST

START_TEST(test_what_has_no_direction_is_left_alone)
{
	static const float bad[][3] = {
	        {0, 0, 0}, {-0.0F, 0, 0}, {1, NAN, 0}, {INFINITY, 1, 1}, {1, 1, -INFINITY}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		float v[3];

		memcpy(v, bad[i], sizeof(v));
		ck_assert(!vector_normalise(v, 3));
		ck_assert_mem_eq(v, bad[i], sizeof(v));
	}
	ck_assert(!vector_normalise(NULL, 0));
}
END_TEST

UNIT_MAIN("vector", test_every_version_of_the_product_is_accurate,
          test_the_product_is_accurate_when_all_terms_round_the_same_way,
          test_a_cosine_below_the_least_is_bounded_and_no_other_is_touched,
          test_a_normalised_vector_has_length_1_and_its_direction,
          test_what_has_no_direction_is_left_alone)
