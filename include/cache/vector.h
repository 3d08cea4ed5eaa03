/* Arithmetic on vectors of floats, by what the processor has (AVX-512, AVX2 with FMA, NEON, plain C). Pure. */
#ifndef CACHE_VECTOR_H
#define CACHE_VECTOR_H

#include <stdbool.h>
#include <stddef.h>

/* Of two unit vectors: the cosine of their angle. Accurate to about 1e-6 whatever the order of summation. */
double vector_dot(const float *a, const float *b, size_t dimensions);

/* Scales it to length 1. False, and nothing changed, when it is zero or not finite. */
bool vector_normalise(float *v, size_t dimensions);

#endif
