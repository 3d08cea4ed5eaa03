#include "base/helper.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

enum { HELPER_WAITING_MAX = 1024 };

struct helper {
	pthread_t thread;
	pthread_mutex_t mutex; /* guards the rest */
	pthread_cond_t changed;
	STAILQ_HEAD(, helper_job) jobs;
	unsigned waiting;
	bool running, stopping;
};

static void *
helper_thread(void *arg)
{
	struct helper *helper = arg;

	pthread_mutex_lock(&helper->mutex);
	for (;;) {
		struct helper_job *job = STAILQ_FIRST(&helper->jobs);
		bool run = !helper->stopping;

		if (!job && helper->stopping)
			break;
		if (!job) {
			pthread_cond_wait(&helper->changed, &helper->mutex);
			continue;
		}
		STAILQ_REMOVE_HEAD(&helper->jobs, jobs);
		helper->waiting--;
		pthread_mutex_unlock(&helper->mutex);
		if (run)
			job->run(job);
		job->done(job);
		pthread_mutex_lock(&helper->mutex);
	}
	pthread_mutex_unlock(&helper->mutex);
	return NULL;
}

struct helper *
helper_new(void)
{
	struct helper *helper = mem_new(sizeof(*helper));

	pthread_mutex_init(&helper->mutex, NULL);
	pthread_cond_init(&helper->changed, NULL);
	STAILQ_INIT(&helper->jobs);
	return helper;
}

void
helper_free(struct helper *helper)
{
	bool running;

	if (!helper)
		return;
	pthread_mutex_lock(&helper->mutex);
	helper->stopping = true;
	running = helper->running;
	pthread_cond_signal(&helper->changed);
	pthread_mutex_unlock(&helper->mutex);
	if (running)
		pthread_join(helper->thread, NULL);
	pthread_cond_destroy(&helper->changed);
	pthread_mutex_destroy(&helper->mutex);
	free(helper);
}

bool
helper_submit(struct helper *helper, struct helper_job *job)
{
	bool taken;

	pthread_mutex_lock(&helper->mutex);
	if (!helper->running && !helper->stopping)
		helper->running = pthread_create(&helper->thread, NULL, helper_thread, helper) == 0;
	taken = helper->running && !helper->stopping && helper->waiting < HELPER_WAITING_MAX;
	if (taken) {
		STAILQ_INSERT_TAIL(&helper->jobs, job, jobs);
		helper->waiting++;
		pthread_cond_signal(&helper->changed);
	}
	pthread_mutex_unlock(&helper->mutex);
	return taken;
}
