/* What looks through sketches, by a chosen version, which must be supported. */
#ifndef CACHE_SKETCH_PRIVATE_H
#define CACHE_SKETCH_PRIVATE_H

#include "cache/simd.h"
#include "cache/sketch.h"

/* As sketch_scan() and sketch_sift(). All versions give the same. */
size_t sketch_scan_by(enum simd simd, const struct sketch_part *query, unsigned cut,
                      const struct sketch_part *list, size_t count, uint32_t *found, size_t room,
                      size_t *next);
size_t sketch_sift_by(enum simd simd, const struct sketch *query, unsigned cut,
                      const struct sketch_part *first, const struct sketch_part *second,
                      uint32_t *found, size_t count);

#endif
