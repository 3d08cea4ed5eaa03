/* Who waits for the cache's lock, and for how long. */
#include <time.h>

#include "base/clock.h"
#include "cache/cache_private.h"

enum {
	GIVE_WAY_NAPS = 20, /* of at least 20 µs, in practice some 70 */
	/* Of a loop: about as long as anybody has the lock who keeps its processor. */
	PATIENCE_US = 300,
	SPIN_PAUSES = 16,
};

void
cache_lock(struct cache *cache)
{
	if (pthread_mutex_trylock(&cache->lock) == 0)
		return;
	__atomic_add_fetch(&cache->waiting, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&cache->lock);
	__atomic_sub_fetch(&cache->waiting, 1, __ATOMIC_RELAXED);
}

static void
pause_a_little(void)
{
	for (int i = 0; i < SPIN_PAUSES; i++) {
#if defined(__x86_64__)
		__builtin_ia32_pause();
#else
		__asm__ volatile("" ::: "memory");
#endif
	}
}

/* Without sleeping: whoever sleeps gets a processor back when others have had their turn. */
static bool
spin(struct cache *cache)
{
	uint64_t until_us = clock_now_us() + PATIENCE_US;

	do {
		pause_a_little();
		if (pthread_mutex_trylock(&cache->lock) == 0)
			return true;
	} while (clock_now_us() < until_us);
	return false;
}

bool
cache_try_lock(struct cache *cache)
{
	bool locked;

	if (pthread_mutex_trylock(&cache->lock) == 0)
		return true;
	/* A turn of a loop is for many requests; not each of them shall wait. */
	if (__atomic_load_n(&cache->stuck, __ATOMIC_RELAXED))
		return false;
	__atomic_add_fetch(&cache->waiting, 1, __ATOMIC_RELAXED);
	locked = spin(cache);
	__atomic_sub_fetch(&cache->waiting, 1, __ATOMIC_RELAXED);
	if (!locked)
		__atomic_store_n(&cache->stuck, true, __ATOMIC_RELAXED);
	return locked;
}

void
cache_unlock(struct cache *cache)
{
	__atomic_store_n(&cache->stuck, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&cache->lock);
}

static const struct timespec nap = {.tv_nsec = 20 * 1000};

void
cache_rest(void)
{
	nanosleep(&nap, NULL);
}

/* A mutex goes to whoever asks first, which is the thread that has just given it back, rather than one that has to be
 * woken up. */
void
cache_give_way(struct cache *cache)
{
	for (int i = 0; i < GIVE_WAY_NAPS; i++) {
		if (__atomic_load_n(&cache->waiting, __ATOMIC_RELAXED) == 0)
			return;
		nanosleep(&nap, NULL);
	}
}
