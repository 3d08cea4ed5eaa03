#include "cache/searcher.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

enum { SEARCHER_WAITING_MAX = 1024 };

struct searcher {
	struct cache *cache; /* borrowed */
	pthread_t thread;
	pthread_mutex_t mutex; /* guards the rest */
	pthread_cond_t changed;
	STAILQ_HEAD(, searcher_job) jobs;
	unsigned waiting;
	bool running, stopping;
};

static void *
searcher_run(void *arg)
{
	struct searcher *searcher = arg;

	pthread_mutex_lock(&searcher->mutex);
	for (;;) {
		struct searcher_job *job = STAILQ_FIRST(&searcher->jobs);
		bool search = !searcher->stopping;

		if (!job && searcher->stopping)
			break;
		if (!job) {
			pthread_cond_wait(&searcher->changed, &searcher->mutex);
			continue;
		}
		STAILQ_REMOVE_HEAD(&searcher->jobs, jobs);
		searcher->waiting--;
		pthread_mutex_unlock(&searcher->mutex);
		job->match = (struct cache_match){.guard = GUARD_NONE};
		if (search)
			cache_search(searcher->cache, &job->query, &job->match);
		job->done(job);
		pthread_mutex_lock(&searcher->mutex);
	}
	pthread_mutex_unlock(&searcher->mutex);
	return NULL;
}

struct searcher *
searcher_new(struct cache *cache)
{
	struct searcher *searcher = mem_new(sizeof(*searcher));

	searcher->cache = cache;
	pthread_mutex_init(&searcher->mutex, NULL);
	pthread_cond_init(&searcher->changed, NULL);
	STAILQ_INIT(&searcher->jobs);
	return searcher;
}

void
searcher_free(struct searcher *searcher)
{
	bool running;

	if (!searcher)
		return;
	pthread_mutex_lock(&searcher->mutex);
	searcher->stopping = true;
	running = searcher->running;
	pthread_cond_signal(&searcher->changed);
	pthread_mutex_unlock(&searcher->mutex);
	if (running)
		pthread_join(searcher->thread, NULL);
	pthread_cond_destroy(&searcher->changed);
	pthread_mutex_destroy(&searcher->mutex);
	free(searcher);
}

bool
searcher_submit(struct searcher *searcher, struct searcher_job *job)
{
	bool taken;

	pthread_mutex_lock(&searcher->mutex);
	if (!searcher->running && !searcher->stopping)
		searcher->running =
		        pthread_create(&searcher->thread, NULL, searcher_run, searcher) == 0;
	taken = searcher->running && !searcher->stopping &&
	        searcher->waiting < SEARCHER_WAITING_MAX;
	if (taken) {
		STAILQ_INSERT_TAIL(&searcher->jobs, job, jobs);
		searcher->waiting++;
		pthread_cond_signal(&searcher->changed);
	}
	pthread_mutex_unlock(&searcher->mutex);
	return taken;
}
