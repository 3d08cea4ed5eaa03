/* Randomness from the kernel. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>

/* Writes `digits` random lower-case hexadecimal digits and a terminator to out[digits + 1]. */
void random_hex(char *out, size_t digits);

/* Bytes fetched ahead, so that not every request costs a call of the kernel. Plain data, zeroed at first; one
 * thread's. */
struct random_pool {
	unsigned char bytes[256];
	size_t left; /* of these, not given out yet */
};

/* As random_hex, out of the pool. */
void random_pool_hex(struct random_pool *pool, char *out, size_t digits);

/* Uniform over [0, 1). */
double random_part(void);

#endif
