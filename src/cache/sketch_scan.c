/*
 * The scan and the sift. On x86 a vector version of the scan looks at eight first parts at a time and leaves the last
 * few of a list to the plain one. It counts bits in lanes of 64, puts the counts of four sketches side by side into
 * one lane, 16 bits for each (the most is 256), and so adds up the lanes of all four at once.
 */
#include "cache/sketch_private.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET_POPCNT __attribute__((target("popcnt")))
#define TARGET_AVX2   __attribute__((target("avx2")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vpopcntdq,avx2")))
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum {
	GROUP = 8,  /* how many sketches a vector version looks at together */
	AHEAD = 32, /* how many positions ahead a sift asks for memory */
};

/* What a scan has found so far. */
struct finds {
	uint32_t *found;
	size_t count, room;
};

/* Bits set in each byte. */
static inline uint64_t
count_bytes(uint64_t x)
{
	x -= x >> 1 & 0x5555555555555555;
	x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
	return (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F;
}

/* Without an instruction for it, which not every x86 has. The counts of the four words' bytes are added first (32 at
 * most), then in pairs, since the sum of all eight would not fit in a byte. */
static inline unsigned
distance(const struct sketch_part *a, const struct sketch_part *b)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < SKETCH_PART_WORDS; i++)
		bytes += count_bytes(a->words[i] ^ b->words[i]);
	bytes = (bytes & 0x00FF00FF00FF00FF) + (bytes >> 8 & 0x00FF00FF00FF00FF);
	return (unsigned)(bytes * 0x0001000100010001 >> 48);
}

unsigned
sketch_part_distance(const struct sketch_part *a, const struct sketch_part *b)
{
	return distance(a, b);
}

unsigned
sketch_distance(const struct sketch *a, const struct sketch *b)
{
	return distance(&a->first, &b->first) + distance(&a->second, &b->second);
}

/* Notes the sketches from `first` on whose bits are set in `hits`. True when there is no more room; *next is then
 * after the last noted. */
static bool
take(struct finds *finds, size_t first, unsigned hits, size_t *next)
{
	for (; hits; hits &= hits - 1) {
		size_t i = first + (size_t)__builtin_ctz(hits);

		finds->found[finds->count++] = (uint32_t)i;
		if (finds->count == finds->room) {
			*next = i + 1;
			return true;
		}
	}
	return false;
}

/*
 * The versions look through list[*next…count). True: there is no more room. Else they have come to *next: the
 * end, or as near to it as they can.
 */

static bool
scan_plain(const struct sketch_part *query, unsigned cut, const struct sketch_part *list,
           size_t count, struct finds *finds, size_t *next)
{
	for (size_t i = *next; i < count; i++) {
		if (distance(query, list + i) <= cut && take(finds, i, 1, next))
			return true;
	}
	*next = count;
	return false;
}

#if defined(__x86_64__)
/* Of each 64-bit lane the number of bits in which sketch and query differ. */
TARGET_AVX2 static inline __m256i
differ_avx2(const struct sketch_part *part, __m256i query)
{
	const __m256i bits_of = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0,
	                                         1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
	const __m256i nibble = _mm256_set1_epi8(15);
	__m256i x = _mm256_loadu_si256((const __m256i *)(const void *)part);
	__m256i low, high;

	x = _mm256_xor_si256(x, query);
	low = _mm256_shuffle_epi8(bits_of, _mm256_and_si256(x, nibble));
	high = _mm256_shuffle_epi8(bits_of, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
	return _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
}

TARGET_AVX2 static inline __m256i
differ_four_avx2(const struct sketch_part *list, __m256i query)
{
	__m256i a = differ_avx2(list, query);
	__m256i b = _mm256_slli_epi64(differ_avx2(list + 1, query), 16);
	__m256i c = _mm256_slli_epi64(differ_avx2(list + 2, query), 32);
	__m256i d = _mm256_slli_epi64(differ_avx2(list + 3, query), 48);

	return _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
}

TARGET_AVX2 static bool
scan_avx2(const struct sketch_part *query, unsigned cut, const struct sketch_part *list,
          size_t count, struct finds *finds, size_t *next)
{
	const __m256i q = _mm256_loadu_si256((const __m256i *)(const void *)query);
	const __m256i above = _mm256_set1_epi16((short)(cut + 1));
	size_t i = *next;

	for (; i + GROUP <= count; i += GROUP) {
		__m256i a = differ_four_avx2(list + i, q), b = differ_four_avx2(list + i + 4, q);
		__m256i sum = _mm256_add_epi64(_mm256_permute2x128_si256(a, b, 0x20),
		                               _mm256_permute2x128_si256(a, b, 0x31));
		__m256i near;
		unsigned hits;

		sum = _mm256_add_epi64(sum, _mm256_shuffle_epi32(sum, 0x4E));
		near = _mm256_cmpgt_epi16(above, sum);
		hits = (unsigned)_mm256_movemask_epi8(_mm256_packs_epi16(near, near));
		hits = (hits & 0xF) | (hits >> 12 & 0xF0);
		if (hits && take(finds, i, hits, next))
			return true;
	}
	*next = i;
	return false;
}

TARGET_AVX512 static inline __m512i
differ_avx512(const struct sketch_part *two, __m512i query)
{
	return _mm512_popcnt_epi64(_mm512_xor_si512(_mm512_loadu_si512(two), query));
}

TARGET_AVX512 static bool
scan_avx512(const struct sketch_part *query, unsigned cut, const struct sketch_part *list,
            size_t count, struct finds *finds, size_t *next)
{
	/* Four bits, spread to every second of eight. */
	static const uint8_t spread[16] = {0x00, 0x01, 0x04, 0x05, 0x10, 0x11, 0x14, 0x15,
	                                   0x40, 0x41, 0x44, 0x45, 0x50, 0x51, 0x54, 0x55};
	const __m512i q =
	        _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)query));
	const __m512i most = _mm512_set1_epi16((short)cut);
	size_t i = *next;

	for (; i + GROUP <= count; i += GROUP) {
		__m512i a = differ_avx512(list + i, q);
		__m512i b = _mm512_slli_epi64(differ_avx512(list + i + 2, q), 16);
		__m512i d = _mm512_slli_epi64(differ_avx512(list + i + 4, q), 32);
		__m512i e = _mm512_slli_epi64(differ_avx512(list + i + 6, q), 48);
		__m512i sum = _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(d, e));
		unsigned near, hits;

		sum = _mm512_add_epi64(sum, _mm512_permutex_epi64(sum, 0x4E));
		sum = _mm512_add_epi64(sum, _mm512_permutex_epi64(sum, 0xB1));
		near = _mm512_cmple_epu16_mask(sum, most) & 0x000F000F;
		if (!near)
			continue;
		/* The lower half has the first of each two, the upper half the second. */
		hits = spread[near & 0xF] | (unsigned)spread[near >> 16] << 1;
		if (take(finds, i, hits, next))
			return true;
	}
	*next = i;
	return false;
}
#elif defined(__aarch64__)
static bool
scan_neon(const struct sketch_part *query, unsigned cut, const struct sketch_part *list,
          size_t count, struct finds *finds, size_t *next)
{
	const uint64x2_t low = vld1q_u64(query->words), high = vld1q_u64(query->words + 2);

	for (size_t i = *next; i < count; i++) {
		uint64x2_t a = veorq_u64(vld1q_u64(list[i].words), low);
		uint64x2_t b = veorq_u64(vld1q_u64(list[i].words + 2), high);
		uint8x16_t sum = vaddq_u8(vcntq_u8(vreinterpretq_u8_u64(a)),
		                          vcntq_u8(vreinterpretq_u8_u64(b)));

		if (vaddlvq_u8(sum) <= cut && take(finds, i, 1, next))
			return true;
	}
	*next = count;
	return false;
}
#endif

size_t
sketch_scan_by(enum simd simd, const struct sketch_part *query, unsigned cut,
               const struct sketch_part *list, size_t count, uint32_t *found, size_t room,
               size_t *next)
{
	struct finds finds = {.found = found, .room = room};
	bool full = false;

	*next = 0;
	if (room == 0)
		return 0;
	if (cut > SKETCH_PART_BITS)
		cut = SKETCH_PART_BITS;
	switch (simd) {
#if defined(__x86_64__)
	case SIMD_AVX512: full = scan_avx512(query, cut, list, count, &finds, next); break;
	case SIMD_AVX2: full = scan_avx2(query, cut, list, count, &finds, next); break;
	case SIMD_NEON:
#elif defined(__aarch64__)
	case SIMD_NEON: full = scan_neon(query, cut, list, count, &finds, next); break;
	case SIMD_AVX512:
	case SIMD_AVX2:
#else
	case SIMD_AVX512:
	case SIMD_AVX2:
	case SIMD_NEON:
#endif
	case SIMD_PLAIN:
	case SIMD_COUNT: break;
	}
	if (!full)
		scan_plain(query, cut, list, count, &finds, next);
	return finds.count;
}

size_t
sketch_scan(const struct sketch_part *query, unsigned cut, const struct sketch_part *list,
            size_t count, uint32_t *found, size_t room, size_t *next)
{
	return sketch_scan_by(simd_best(), query, cut, list, count, found, room, next);
}

/* By the processor's instruction where the calling function may use it. */
static inline __attribute__((always_inline)) unsigned
distance_counted(const struct sketch_part *a, const struct sketch_part *b)
{
	int bits = 0;

	for (size_t i = 0; i < SKETCH_PART_WORDS; i++)
		bits += __builtin_popcountll(a->words[i] ^ b->words[i]);
	return (unsigned)bits;
}

/* The second parts lie far apart; each is asked for well before its turn, and no branch waits for it. */
static inline __attribute__((always_inline)) size_t
sift(bool counted, const struct sketch *query, unsigned cut, const struct sketch_part *first,
     const struct sketch_part *second, uint32_t *found, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count && i < AHEAD; i++)
		__builtin_prefetch(second + found[i]);
	for (size_t i = 0; i < count; i++) {
		uint32_t at = found[i];
		unsigned apart = counted ? distance_counted(&query->first, first + at) +
		                                   distance_counted(&query->second, second + at)
		                         : distance(&query->first, first + at) +
		                                   distance(&query->second, second + at);

		if (i + AHEAD < count)
			__builtin_prefetch(second + found[i + AHEAD]);
		found[kept] = at;
		kept += apart <= cut;
	}
	return kept;
}

#if defined(__x86_64__)
TARGET_POPCNT static size_t
sift_popcnt(const struct sketch *query, unsigned cut, const struct sketch_part *first,
            const struct sketch_part *second, uint32_t *found, size_t count)
{
	return sift(true, query, cut, first, second, found, count);
}
#endif

size_t
sketch_sift_by(enum simd simd, const struct sketch *query, unsigned cut,
               const struct sketch_part *first, const struct sketch_part *second, uint32_t *found,
               size_t count)
{
#if defined(__x86_64__)
	if (simd == SIMD_AVX2 || simd == SIMD_AVX512)
		return sift_popcnt(query, cut, first, second, found, count);
#endif
	return sift(simd == SIMD_NEON, query, cut, first, second, found, count);
}

size_t
sketch_sift(const struct sketch *query, unsigned cut, const struct sketch_part *first,
            const struct sketch_part *second, uint32_t *found, size_t count)
{
	return sketch_sift_by(simd_best(), query, cut, first, second, found, count);
}
