/*
 * What a helper does for a worker, which is told afterwards, on its own thread. The beginning of what its owner
 * keeps of it.
 */
#ifndef NET_ERRAND_H
#define NET_ERRAND_H

#include "base/helper.h"
#include "net/worker.h"

struct errand {
	/* Set by the owner. On the helper's thread; not once the helper is being freed. */
	void (*run)(struct errand *errand);
	/* Likewise. On the worker's thread, in any case, and never before errand_send has returned; then it is
	 * its owner's again. */
	void (*done)(struct errand *errand);
	/* The errand's own. */
	struct helper_job job;
	struct worker *worker;
};

/* The worker's thread. False when there is no thread to be had, or too many wait: the errand stays the owner's. */
bool errand_send(struct errand *errand, struct helper *helper, struct worker *worker);

#endif
