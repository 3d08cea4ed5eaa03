/* An index that works by a chosen version of the vector functions, which must be supported. */
#ifndef CACHE_INDEX_PRIVATE_H
#define CACHE_INDEX_PRIVATE_H

#include "cache/index.h"
#include "cache/simd.h"

struct index *index_new_by(enum simd simd, size_t dimensions);

#endif
