/*
 * A stand-in for an OpenAI-style model server: chat, embeddings and models, with settable speed,
 * entropy and faults. It runs on a worker, and everything of it is touched by that thread alone.
 */
#ifndef SIMULATOR_SIMULATOR_H
#define SIMULATOR_SIMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log_sink.h"
#include "net/worker.h"

/* Texts are copied. A zeroed struct listens on every interface, on a free port. */
struct simulator_options {
	const char *host; /* NULL, "" or "*": every interface */
	uint16_t port;    /* 0: a free one */
	uint64_t seed;
	const char *api_key;         /* NULL: none is asked for */
	const char *const *defaults; /* marks (simulator/plan.h) for every answer */
	size_t default_count;
	const char *const *profiles; /* "MODEL:marks" */
	size_t profile_count;
	const char *const *faults; /* marks, of which a request may meet one */
	size_t fault_count;        /* 0, with a rate: a choice of the usual ones */
	double fault_rate; /* share of requests that meet one; negative: all if there are any */
	struct log_sink *requests; /* borrowed; a line for each request; NULL: none */
};

struct simulator;

/* Listens. NULL with a message in error[size] when an option is wrong or the address is not to be had. */
struct simulator *simulator_new(struct worker *worker, const struct simulator_options *options,
                                char *error, size_t size);

/* The port it listens on. */
uint16_t simulator_port(const struct simulator *simulator);

/* Closes everything at once. NULL is allowed. */
void simulator_free(struct simulator *simulator);

/* Are the marks well formed? needs_model: `MODEL:` must stand before them. Otherwise false, with a
 * message in error[size]. */
bool simulator_check_marks(const char *marks, bool needs_model, char *error, size_t size);

#endif
