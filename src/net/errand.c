#include "net/errand.h"

#include <stddef.h>

static struct errand *
errand_of(struct helper_job *job)
{
	return (struct errand *)(void *)((char *)job - offsetof(struct errand, job));
}

static void
errand_run(struct helper_job *job)
{
	struct errand *errand = errand_of(job);

	errand->run(errand);
}

static void
on_done(void *arg)
{
	struct errand *errand = arg;

	errand->done(errand);
}

static void
errand_done(struct helper_job *job)
{
	struct errand *errand = errand_of(job);

	worker_post(errand->worker, on_done, errand);
}

bool
errand_send(struct errand *errand, struct helper *helper, struct worker *worker)
{
	errand->job = (struct helper_job){.run = errand_run, .done = errand_done};
	errand->worker = worker;
	return helper_submit(helper, &errand->job);
}
