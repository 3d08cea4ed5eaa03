/*
 * 256 sign bits of a vector after a fixed random rotation: of two vectors at angle θ each bit differs with
 * probability θ/π (Charikar, 2002, "Similarity estimation techniques from rounding algorithms"). The rotation:
 * two rounds of random signs and a Walsh–Hadamard transform over the vector padded to a power of two (at least
 * 256), of which 256 coordinates are kept. It is the same in every process and on every machine, so that sketches may be
 * kept in files. Pure.
 */
#ifndef CACHE_SKETCH_H
#define CACHE_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SKETCH_BITS = 256, SKETCH_WORDS = 4 };

struct sketch {
	uint64_t words[SKETCH_WORDS];
};

/* False when memory is out. The vector need not be of length 1. */
bool sketch_make(struct sketch *sketch, const float *vector, size_t dimensions);

unsigned sketch_distance(const struct sketch *a, const struct sketch *b);

/*
 * The least distance beyond which a vector at this cosine or nearer is found with a probability of less than
 * `miss`: what is farther apart need not be looked at. By the exact tail of the binomial distribution
 * with p = acos(cosine)/π.
 */
unsigned sketch_cut(double cosine, double miss);

/*
 * Looks through `count` sketches that lie one after the other and writes the positions of those at most `cut`
 * from the query to found[], up to `room` of them; *next: where to go on (count: all were seen). Gives how
 * many were found. By what the processor has (AVX-512 VPOPCNTDQ, AVX2, NEON, plain C).
 */
size_t sketch_scan(const struct sketch *query, unsigned cut, const struct sketch *list,
                   size_t count, uint32_t *found, size_t room, size_t *next);

#endif
