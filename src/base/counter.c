#include "base/counter.h"

bool
counter_enter(unsigned *count, unsigned limit)
{
	unsigned seen = __atomic_load_n(count, __ATOMIC_RELAXED);

	do {
		if (limit && seen >= limit)
			return false;
	} while (!__atomic_compare_exchange_n(count, &seen, seen + 1, true, __ATOMIC_RELAXED,
	                                      __ATOMIC_RELAXED));
	return true;
}

void
counter_leave(unsigned *count)
{
	__atomic_sub_fetch(count, 1, __ATOMIC_RELAXED);
}
