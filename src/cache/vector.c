/*
 * Sums are made in floats over a part of the vectors at a time and in doubles over the parts, so that the rounding
 * of floats cannot add up: within a part a lane of a sum takes few terms.
 */
#include "cache/vector.h"

#include <math.h>
#include <stdint.h>

#include "cache/vector_private.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET_AVX2   __attribute__((target("avx2,fma")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma")))
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { PART = 128 };

/* What is still to come of a unit vector may be this much longer, as a square, than what was read says: vectors
 * are of length 1 but for rounding, and the sums are rounded too. */
static const double slack = 1e-5;

struct sums {
	double ab, aa, bb; /* of products */
};

static void
add_plain(struct sums *sums, const float *a, const float *b, size_t n)
{
	double ab[4] = {0}, aa[4] = {0}, bb[4] = {0};
	size_t i = 0;

	for (; i + 4 <= n; i += 4) {
		for (size_t k = 0; k < 4; k++) {
			double x = (double)a[i + k], y = (double)b[i + k];

			ab[k] += x * y;
			aa[k] += x * x;
			bb[k] += y * y;
		}
	}
	for (; i < n; i++) {
		double x = (double)a[i], y = (double)b[i];

		ab[0] += x * y;
		aa[0] += x * x;
		bb[0] += y * y;
	}
	sums->ab += (ab[0] + ab[1]) + (ab[2] + ab[3]);
	sums->aa += (aa[0] + aa[1]) + (aa[2] + aa[3]);
	sums->bb += (bb[0] + bb[1]) + (bb[2] + bb[3]);
}

#if defined(__x86_64__)
TARGET_AVX2 static inline double
sum_avx2(__m256 v)
{
	__m256d four = _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(v)),
	                             _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
	__m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));

	return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

TARGET_AVX2 static void
add_avx2(struct sums *sums, const float *a, const float *b, size_t n)
{
	__m256 ab0 = _mm256_setzero_ps(), ab1 = ab0, aa0 = ab0, aa1 = ab0, bb0 = ab0, bb1 = ab0;
	size_t i = 0;

	for (; i + 16 <= n; i += 16) {
		__m256 a0 = _mm256_loadu_ps(a + i), a1 = _mm256_loadu_ps(a + i + 8);
		__m256 b0 = _mm256_loadu_ps(b + i), b1 = _mm256_loadu_ps(b + i + 8);

		ab0 = _mm256_fmadd_ps(a0, b0, ab0);
		ab1 = _mm256_fmadd_ps(a1, b1, ab1);
		aa0 = _mm256_fmadd_ps(a0, a0, aa0);
		aa1 = _mm256_fmadd_ps(a1, a1, aa1);
		bb0 = _mm256_fmadd_ps(b0, b0, bb0);
		bb1 = _mm256_fmadd_ps(b1, b1, bb1);
	}
	sums->ab += sum_avx2(_mm256_add_ps(ab0, ab1));
	sums->aa += sum_avx2(_mm256_add_ps(aa0, aa1));
	sums->bb += sum_avx2(_mm256_add_ps(bb0, bb1));
	if (i < n)
		add_plain(sums, a + i, b + i, n - i);
}

TARGET_AVX512 static inline double
sum_avx512(__m512 v)
{
	__m512i bits = _mm512_castps_si512(v);
	__m256 high = _mm256_castsi256_ps(_mm512_extracti64x4_epi64(bits, 1));
	__m512d eight =
	        _mm512_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(v)), _mm512_cvtps_pd(high));

	return _mm512_reduce_add_pd(eight);
}

TARGET_AVX512 static void
add_avx512(struct sums *sums, const float *a, const float *b, size_t n)
{
	__m512 ab0 = _mm512_setzero_ps(), ab1 = ab0, aa0 = ab0, aa1 = ab0, bb0 = ab0, bb1 = ab0;

	for (size_t i = 0; i < n; i += 32) {
		uint32_t mask = n - i >= 32 ? UINT32_MAX : (1U << (n - i)) - 1;
		__mmask16 low = (__mmask16)mask, high = (__mmask16)(mask >> 16);
		__m512 a0 = _mm512_maskz_loadu_ps(low, a + i);
		__m512 b0 = _mm512_maskz_loadu_ps(low, b + i);
		__m512 a1 = _mm512_maskz_loadu_ps(high, a + i + 16);
		__m512 b1 = _mm512_maskz_loadu_ps(high, b + i + 16);

		ab0 = _mm512_fmadd_ps(a0, b0, ab0);
		ab1 = _mm512_fmadd_ps(a1, b1, ab1);
		aa0 = _mm512_fmadd_ps(a0, a0, aa0);
		aa1 = _mm512_fmadd_ps(a1, a1, aa1);
		bb0 = _mm512_fmadd_ps(b0, b0, bb0);
		bb1 = _mm512_fmadd_ps(b1, b1, bb1);
	}
	sums->ab += sum_avx512(_mm512_add_ps(ab0, ab1));
	sums->aa += sum_avx512(_mm512_add_ps(aa0, aa1));
	sums->bb += sum_avx512(_mm512_add_ps(bb0, bb1));
}
#elif defined(__aarch64__)
static inline double
sum_neon(float32x4_t v)
{
	return vaddvq_f64(vaddq_f64(vcvt_f64_f32(vget_low_f32(v)), vcvt_high_f64_f32(v)));
}

static void
add_neon(struct sums *sums, const float *a, const float *b, size_t n)
{
	float32x4_t ab0 = vdupq_n_f32(0), ab1 = ab0, aa0 = ab0, aa1 = ab0, bb0 = ab0, bb1 = ab0;
	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		float32x4_t a0 = vld1q_f32(a + i), a1 = vld1q_f32(a + i + 4);
		float32x4_t b0 = vld1q_f32(b + i), b1 = vld1q_f32(b + i + 4);

		ab0 = vfmaq_f32(ab0, a0, b0);
		ab1 = vfmaq_f32(ab1, a1, b1);
		aa0 = vfmaq_f32(aa0, a0, a0);
		aa1 = vfmaq_f32(aa1, a1, a1);
		bb0 = vfmaq_f32(bb0, b0, b0);
		bb1 = vfmaq_f32(bb1, b1, b1);
	}
	sums->ab += sum_neon(vaddq_f32(ab0, ab1));
	sums->aa += sum_neon(vaddq_f32(aa0, aa1));
	sums->bb += sum_neon(vaddq_f32(bb0, bb1));
	if (i < n)
		add_plain(sums, a + i, b + i, n - i);
}
#endif

static inline void
add(enum simd simd, struct sums *sums, const float *a, const float *b, size_t n)
{
	switch (simd) {
#if defined(__x86_64__)
	case SIMD_AVX512: add_avx512(sums, a, b, n); return;
	case SIMD_AVX2: add_avx2(sums, a, b, n); return;
	case SIMD_NEON:
#elif defined(__aarch64__)
	case SIMD_NEON: add_neon(sums, a, b, n); return;
	case SIMD_AVX512:
	case SIMD_AVX2:
#else
	case SIMD_AVX512:
	case SIMD_AVX2:
	case SIMD_NEON:
#endif
	case SIMD_PLAIN:
	case SIMD_COUNT: add_plain(sums, a, b, n); return;
	}
}

/* What the cosine of two unit vectors can be at most, after what was summed. */
static double
highest(const struct sums *sums)
{
	double a = sums->aa < 1 ? 1 - sums->aa : 0, b = sums->bb < 1 ? 1 - sums->bb : 0;

	return sums->ab + sqrt((a + slack) * (b + slack));
}

double
vector_cosine_by(enum simd simd, const float *a, const float *b, size_t dimensions, double least)
{
	struct sums sums = {0};

	for (size_t i = 0, n; i < dimensions; i += n) {
		n = dimensions - i < PART ? dimensions - i : PART;
		add(simd, &sums, a + i, b + i, n);
		if (i + n < dimensions && highest(&sums) < least)
			return highest(&sums);
	}
	return sums.ab;
}

double
vector_dot_by(enum simd simd, const float *a, const float *b, size_t dimensions)
{
	return vector_cosine_by(simd, a, b, dimensions, -INFINITY);
}

double
vector_dot(const float *a, const float *b, size_t dimensions)
{
	return vector_dot_by(simd_best(), a, b, dimensions);
}

bool
vector_normalise(float *v, size_t dimensions)
{
	double square = 0, scale;

	/* In doubles no float's square is too large, nor that of one above zero zero. */
	for (size_t i = 0; i < dimensions; i++)
		square += (double)v[i] * (double)v[i];
	if (!(square > 0) || !isfinite(square))
		return false;
	scale = 1 / sqrt(square);
	for (size_t i = 0; i < dimensions; i++)
		v[i] = (float)((double)v[i] * scale);
	return true;
}
