/*
 * A thread that does one after the other what would hold up an event loop. Started with the first job.
 */
#ifndef BASE_HELPER_H
#define BASE_HELPER_H

#include <stdbool.h>
#include <sys/queue.h>

struct helper;

/* The beginning of what its owner keeps of a job. */
struct helper_job {
	void (*run)(struct helper_job
	                    *job); /* on the helper's thread; not once the helper is being freed */
	/* On the helper's thread, in any case; then the job is its owner's again. */
	void (*done)(struct helper_job *job);
	STAILQ_ENTRY(helper_job) jobs; /* the helper's own */
};

struct helper *helper_new(void);
/* What was not begun by then is done without being run; nobody may submit any more. NULL is allowed. */
void helper_free(struct helper *helper);

/* Any thread. False when there is no thread to be had, or too many wait: the job stays the caller's. */
bool helper_submit(struct helper *helper, struct helper_job *job);

#endif
