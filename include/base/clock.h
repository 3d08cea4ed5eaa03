/* The two clocks. Pure code takes times as arguments, so that tests can make them up. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Microseconds on the monotonic clock; never 0. */
uint64_t clock_now_us(void);

/* Milliseconds since 1970-01-01 UTC. */
uint64_t clock_wall_ms(void);

#endif
