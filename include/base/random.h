/* Randomness from the kernel. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>

/* Writes `digits` random lower-case hexadecimal digits and a terminator to out[digits + 1]. */
void random_hex(char *out, size_t digits);

/* Uniform over [0, 1). */
double random_part(void);

#endif
