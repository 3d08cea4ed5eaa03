/*
 * 512 sign bits of a vector after a fixed random rotation: of two vectors at angle θ each bit differs with
 * probability θ/π (Charikar, 2002, "Similarity estimation techniques from rounding algorithms"). The rotation:
 * two rounds of random signs and a Walsh–Hadamard transform over the vector padded to a power of two (at least
 * 512), of which 512 coordinates are kept. It is the same in every process and on every machine, so that
 * sketches may be kept in files. Pure.
 *
 * In two parts: a search reads the first of every vector, and the second where the first is near. Two strangers
 * of an embedder whose vectors all point roughly the same way (cosines of 0.7 and more) are often near by 256
 * bits, and hardly ever by 512; to read twice as much of everything would take twice as long.
 */
#ifndef CACHE_SKETCH_H
#define CACHE_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SKETCH_BITS = 512, SKETCH_PART_BITS = 256, SKETCH_PART_WORDS = 4 };

struct sketch_part {
	uint64_t words[SKETCH_PART_WORDS];
};

struct sketch {
	struct sketch_part first, second;
};

/* False when memory is out. The vector need not be of length 1, but its numbers below 1e30. */
bool sketch_make(struct sketch *sketch, const float *vector, size_t dimensions);

/* In how many bits they differ. */
unsigned sketch_part_distance(const struct sketch_part *a, const struct sketch_part *b);
unsigned sketch_distance(const struct sketch *a, const struct sketch *b);

/* How far apart what is near may be: in the first part, and in both. */
struct sketch_cut {
	unsigned first, both;
};

/*
 * The least distances beyond which a vector at this cosine or nearer is found with a probability of less than
 * `miss`, half of it for each of the two: what is farther apart need not be looked at. By the exact tail of the
 * binomial distribution with p = acos(cosine)/π. Takes some tens of microseconds: to be kept.
 */
struct sketch_cut sketch_cut(double cosine, double miss);

/*
 * Looks through `count` first parts that lie one after the other and writes the positions of those at most
 * `cut` from the query to found[], in ascending order, up to `room` of them; *next: where to go on (count: all
 * were seen; else after the last one found). Gives how many were found. By what the processor has (AVX-512
 * VPOPCNTDQ, AVX2, NEON, plain C).
 */
size_t sketch_scan(const struct sketch_part *query, unsigned cut, const struct sketch_part *list,
                   size_t count, uint32_t *found, size_t room, size_t *next);

/*
 * Of `count` positions found[] in the lists of first and second parts keeps those at most `cut` from the query in both
 * parts together, in their order. Gives how many.
 */
size_t sketch_sift(const struct sketch *query, unsigned cut, const struct sketch_part *first,
                   const struct sketch_part *second, uint32_t *found, size_t count);

#endif
