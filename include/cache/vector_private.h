/* Vectors by a chosen version, and what only the index needs of them. The version must be supported. */
#ifndef CACHE_VECTOR_PRIVATE_H
#define CACHE_VECTOR_PRIVATE_H

#include "cache/simd.h"
#include "cache/vector.h"

double vector_dot_by(enum simd simd, const float *a, const float *b, size_t dimensions);

/*
 * The cosine of two unit vectors if it is at least `least`. Else a number below `least` that the cosine is not above:
 * as soon as what has been read rules it out (what remains of both vectors has a known length, which bounds what
 * it can add; Cauchy and Schwarz), the rest is not read.
 */
double vector_cosine_by(enum simd simd, const float *a, const float *b, size_t dimensions,
                        double least);

#endif
