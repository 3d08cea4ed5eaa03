/* A count of things that several threads share, with a limit that its user brings. Atomic. */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include <stdbool.h>

/* Counts one more, unless there are `limit` already (0: no limit). */
bool counter_enter(unsigned *count, unsigned limit);
void counter_leave(unsigned *count);

#endif
