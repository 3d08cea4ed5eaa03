/* Random vectors for the tests of the cache; the same in every run. */
#ifndef VECTORS_H
#define VECTORS_H

#include <math.h>
#include <stdint.h>

#include "cache/vector.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static inline uint64_t
random_next(uint64_t *state)
{
	uint64_t x = *state += 0x9E3779B97F4A7C15;

	x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
	x = (x ^ x >> 27) * 0x94D049BB133111EB;
	return x ^ x >> 31;
}

/* Numbers of a bell-like distribution, each the sum of two uniform ones. */
static inline void
random_floats(uint64_t *state, float *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t x = random_next(state);

		v[i] = (float)(int32_t)x / 4294967296.0F +
		       (float)(int32_t)(x >> 32) / 4294967296.0F;
	}
}

static inline void
random_unit(uint64_t *state, float *v, size_t n)
{
	do
		random_floats(state, v, n);
	while (!vector_normalise(v, n));
}

/* A unit vector at that cosine to one of two dimensions or more. */
static inline void
random_neighbour(uint64_t *state, float *v, const float *of, size_t n, double cosine)
{
	double sine = sqrt(1 - cosine * cosine), along = 0;

	random_unit(state, v, n);
	for (size_t i = 0; i < n; i++)
		along += (double)v[i] * (double)of[i];
	for (size_t i = 0; i < n; i++)
		v[i] -= (float)(along * (double)of[i]);
	vector_normalise(v, n);
	for (size_t i = 0; i < n; i++)
		v[i] = (float)(cosine * (double)of[i] + sine * (double)v[i]);
}

#endif
