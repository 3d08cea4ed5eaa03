/* Durations as people write them. Pure. */
#ifndef BASE_DURATION_H
#define BASE_DURATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * Reads all of `text` as a duration: a number of seconds (30, 0.5), or a number with a unit: 250ms,
 * 30s, 5m, 1h. At most three decimals count; what is finer than a millisecond is rounded down.
 * False for anything else, a sign, or more than max_ms.
 */
bool duration_parse_ms(struct bytes text, uint64_t max_ms, uint64_t *out);

#endif
