/* What a processor can do with many numbers at once, and which of a function's versions it can run. Pure. */
#ifndef CACHE_SIMD_H
#define CACHE_SIMD_H

#include <stdbool.h>

enum simd {
	SIMD_PLAIN,
	SIMD_NEON,
	SIMD_AVX2,   /* with FMA and POPCNT */
	SIMD_AVX512, /* F, BW, VL and VPOPCNTDQ, and all of AVX2's */
	SIMD_COUNT,
};

bool simd_is_supported(enum simd simd);
enum simd simd_best(void);
const char *simd_name(enum simd simd);

#endif
