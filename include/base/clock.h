/* The two clocks. Pure code takes times as arguments, so that tests can make them up. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Microseconds on the monotonic clock; never 0. */
uint64_t clock_now_us(void);

/* Milliseconds since 1970-01-01 UTC. */
uint64_t clock_wall_ms(void);

enum { CLOCK_TEXT_SIZE = 25 };

/* Writes wall_ms as RFC 3339 in UTC, `2026-01-02T03:04:05.678Z`, terminated. Years beyond 9999 are
 * written as the last moment of 9999. */
void clock_format(uint64_t wall_ms, char out[CLOCK_TEXT_SIZE]);

#endif
