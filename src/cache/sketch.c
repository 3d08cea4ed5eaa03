/*
 * The rotation: signs, a Walsh–Hadamard transform of the padded vector, other signs, and of a second transform the
 * first 512 coordinates. These see a coordinate of the vector only by its index modulo 512, so the second transform is
 * one of 512 sums.
 *
 * Only additions in a fixed order and changes of sign: no rounding depends on the machine or the compiler.
 */
#include "cache/sketch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Digits of π and e. */
static const uint64_t first_signs = 0x3141592653589793, second_signs = 0x2718281828459045;

/* The index-th of a seed's random words (SplitMix64; Steele, Lea and Flood, 2014). */
static uint64_t
random_word(uint64_t seed, uint64_t index)
{
	uint64_t x = seed + (index + 1) * 0x9E3779B97F4A7C15;

	x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
	x = (x ^ x >> 27) * 0x94D049BB133111EB;
	return x ^ x >> 31;
}

typedef float four_floats __attribute__((vector_size(16)));
typedef uint32_t four_words __attribute__((vector_size(16)));

static inline four_floats
load_four(const float *x)
{
	four_floats v;

	memcpy(&v, x, sizeof(v));
	return v;
}

static inline void
store_four(float *x, four_floats v)
{
	memcpy(x, &v, sizeof(v));
}

/* Gives each number a random sign; n is a multiple of 64. */
static void
flip_signs(float *x, size_t n, uint64_t seed)
{
#define SIGN(bits, i) ((bits) >> (i)&1 ? 0x80000000 : 0)
#define SIGNS(bits)                                                                                \
	{                                                                                          \
		SIGN(bits, 0), SIGN(bits, 1), SIGN(bits, 2), SIGN(bits, 3)                         \
	}
	static const four_words signs_of[16] = {SIGNS(0),  SIGNS(1),  SIGNS(2),  SIGNS(3),
	                                        SIGNS(4),  SIGNS(5),  SIGNS(6),  SIGNS(7),
	                                        SIGNS(8),  SIGNS(9),  SIGNS(10), SIGNS(11),
	                                        SIGNS(12), SIGNS(13), SIGNS(14), SIGNS(15)};

	for (size_t i = 0; i < n; i += 64) {
		uint64_t signs = random_word(seed, i / 64);

		for (size_t k = i; k < i + 64; k += 4, signs >>= 4) {
			four_words bits = (four_words)load_four(x + k);

			store_four(x + k, (four_floats)(bits ^ signs_of[signs & 15]));
		}
	}
}

/* The Walsh–Hadamard transform without scaling; n is a power of two, at least 4. */
static void
transform(float *x, size_t n)
{
	for (size_t i = 0; i < n; i += 4) {
		float a = x[i] + x[i + 1], b = x[i] - x[i + 1];
		float c = x[i + 2] + x[i + 3], d = x[i + 2] - x[i + 3];

		x[i] = a + c;
		x[i + 1] = b + d;
		x[i + 2] = a - c;
		x[i + 3] = b - d;
	}
	for (size_t half = 4; half < n; half *= 2) {
		for (size_t i = 0; i < n; i += 2 * half) {
			for (size_t k = i; k < i + half; k += 4) {
				four_floats a = load_four(x + k), b = load_four(x + k + half);

				store_four(x + k, a + b);
				store_four(x + k + half, a - b);
			}
		}
	}
}

static void
take_signs(struct sketch_part *part, const float *x)
{
	*part = (struct sketch_part){0};
	for (size_t i = 0; i < SKETCH_PART_BITS; i++)
		part->words[i / 64] |= (uint64_t)(x[i] < 0) << i % 64;
}

bool
sketch_make(struct sketch *sketch, const float *vector, size_t dimensions)
{
	size_t padded = SKETCH_BITS;
	float *x;

	while (padded < dimensions) {
		if (padded > SIZE_MAX / sizeof(*x) / 2)
			return false;
		padded *= 2;
	}
	x = mem_try(padded * sizeof(*x));
	if (!x)
		return false;
	memcpy(x, vector, dimensions * sizeof(*x));
	memset(x + dimensions, 0, (padded - dimensions) * sizeof(*x));
	flip_signs(x, padded, first_signs);
	transform(x, padded);
	flip_signs(x, padded, second_signs);
	for (size_t i = SKETCH_BITS; i < padded; i += 4) {
		float *sum = x + i % SKETCH_BITS;

		store_four(sum, load_four(sum) + load_four(x + i));
	}
	transform(x, SKETCH_BITS);
	take_signs(&sketch->first, x);
	take_signs(&sketch->second, x + SKETCH_PART_BITS);
	free(x);
	return true;
}

/* ln of the probability that `k` of `n` come out at probability p each, 0 < p < 1. */
static double
log_binomial(double n, double k, double p)
{
	int sign;

	return lgamma_r(n + 1, &sign) - lgamma_r(k + 1, &sign) - lgamma_r(n - k + 1, &sign) +
	       k * log(p) + (n - k) * log1p(-p);
}

/* The least k such that more than k of `bits` differ with a probability of less than `miss`. */
static unsigned
cut_of(unsigned bits, double cosine, double miss)
{
	double p = acos(cosine) / M_PI, beyond = 0;
	unsigned k = bits;

	if (cosine >= 1)
		return 0;
	if (!(p < 1)) /* also what is no cosine */
		return bits;
	/* From the far end, so that the sum begins with its smallest terms. */
	for (; k > 0; k--) {
		beyond += exp(log_binomial(bits, k, p));
		if (!(beyond < miss))
			break;
	}
	return k;
}

struct sketch_cut
sketch_cut(double cosine, double miss)
{
	return (struct sketch_cut){cut_of(SKETCH_PART_BITS, cosine, miss / 2),
	                           cut_of(SKETCH_BITS, cosine, miss / 2)};
}
