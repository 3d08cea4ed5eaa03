/*
 * Asked anew at each call, which costs a few instructions: a remembered answer would be mutable state, and the
 * loader's way to choose a version (ifunc) runs before the sanitizers are ready for it.
 */
#include "cache/simd.h"

bool
simd_is_supported(enum simd simd)
{
	switch (simd) {
	case SIMD_PLAIN: return true;
	case SIMD_NEON:
#ifdef __aarch64__
		return true;
#else
		return false;
#endif
#ifdef __x86_64__
	case SIMD_AVX2:
		return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
		       __builtin_cpu_supports("popcnt");
	case SIMD_AVX512:
		return simd_is_supported(SIMD_AVX2) && __builtin_cpu_supports("avx512f") &&
		       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
		       __builtin_cpu_supports("avx512vpopcntdq");
#else
	case SIMD_AVX2:
	case SIMD_AVX512:
#endif
	case SIMD_COUNT: break;
	}
	return false;
}

enum simd
simd_best(void)
{
	if (simd_is_supported(SIMD_AVX512))
		return SIMD_AVX512;
	if (simd_is_supported(SIMD_AVX2))
		return SIMD_AVX2;
	return simd_is_supported(SIMD_NEON) ? SIMD_NEON : SIMD_PLAIN;
}

const char *
simd_name(enum simd simd)
{
	switch (simd) {
	case SIMD_PLAIN: return "plain";
	case SIMD_NEON: return "neon";
	case SIMD_AVX2: return "avx2";
	case SIMD_AVX512: return "avx512";
	case SIMD_COUNT: break;
	}
	return "none";
}
