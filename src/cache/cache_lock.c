/* Who waits for the cache's lock, and for how long. */
#include <time.h>

#include "cache/cache_private.h"

enum {
	GIVE_WAY_NAPS = 20, /* of at least 20 µs, in practice some 70 */
	PATIENCE_NS =
	        300 *
	        1000, /* of a loop: about as long as anybody has the lock who keeps its processor */
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

/* By the wall clock, since sanitizers do not know pthread_mutex_clocklock. Is it set back just then, the wait is as long as
 * the lock is taken. */
static struct timespec
after_patience(void)
{
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_nsec += PATIENCE_NS;
	if (at.tv_nsec >= 1000000000) {
		at.tv_nsec -= 1000000000;
		at.tv_sec++;
	}
	return at;
}

bool
cache_try_lock(struct cache *cache)
{
	struct timespec until;
	bool locked;

	if (pthread_mutex_trylock(&cache->lock) == 0)
		return true;
	/* A turn of a loop is for many requests; not each of them shall wait. */
	if (__atomic_load_n(&cache->stuck, __ATOMIC_RELAXED))
		return false;
	until = after_patience();
	__atomic_add_fetch(&cache->waiting, 1, __ATOMIC_RELAXED);
	locked = pthread_mutex_timedlock(&cache->lock, &until) == 0;
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
