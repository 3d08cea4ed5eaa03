/* turns: put into the gateway with LD_PRELOAD, tells how long the longest turn of any event loop took: the
 * processor time from the end of an epoll_wait to the next one of the same thread, and the time that it waited
 * for locks meanwhile. As nanoseconds in the 8 bytes of the file named by TURNS_FILE, which whoever reads it
 * may set back to 0. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int wait_fn(int, struct epoll_event *, int, int);

static _Atomic uint64_t *longest;
typedef int lock_fn(pthread_mutex_t *);
static wait_fn *real_wait;
static lock_fn *real_lock;
static _Thread_local uint64_t began;  /* 0: no turn yet */
static _Thread_local uint64_t waited; /* for locks */

static uint64_t
clock_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

__attribute__((constructor)) static void
start(void)
{
	*(void **)&real_wait = dlsym(RTLD_NEXT, "epoll_wait");
	*(void **)&real_lock = dlsym(RTLD_NEXT, "pthread_mutex_lock");
	const char *path = getenv("TURNS_FILE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *shared =
	        fd >= 0 ? mmap(NULL, sizeof *longest, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
	                : MAP_FAILED;
	if (fd >= 0)
		close(fd);
	if (!real_wait || !real_lock || shared == MAP_FAILED)
		abort();
	longest = shared;
}

int
pthread_mutex_lock(pthread_mutex_t *mutex)
{
	uint64_t since;
	int result = pthread_mutex_trylock(mutex);
	if (result != EBUSY)
		return result;
	if (!real_lock)
		*(void **)&real_lock = dlsym(RTLD_NEXT, "pthread_mutex_lock");
	since = clock_ns(CLOCK_MONOTONIC);
	result = real_lock(mutex);
	waited += clock_ns(CLOCK_MONOTONIC) - since;
	return result;
}

int
epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	uint64_t took = began ? clock_ns(CLOCK_THREAD_CPUTIME_ID) - began + waited : 0;
	uint64_t known = atomic_load(longest);
	while (took > known && !atomic_compare_exchange_weak(longest, &known, took))
		;
	int n = real_wait(fd, events, max, timeout);
	began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	waited = 0;
	return n;
}
