/* What the simulator's event code shares. */
#ifndef SIMULATOR_SIMULATOR_PRIVATE_H
#define SIMULATOR_SIMULATOR_PRIVATE_H

#include "net/http_server.h"
#include "simulator/completion.h"
#include "simulator/embedding.h"
#include "simulator/simulator.h"

struct sim_profile {
	char *model; /* owned */
	struct sim_plan plan;
};

struct simulator {
	struct worker *worker;      /* borrowed */
	struct log_sink *requests;  /* borrowed; may be NULL */
	struct http_server *server; /* owned, as all below */
	struct sim_vocabulary *vocabulary;
	struct sim_distribution_set *distributions;
	char *authorization; /* the value of the header that is wanted; NULL: any */
	struct sim_plan defaults;
	struct sim_profile *profiles;
	size_t profile_count;
	char **faults;
	size_t fault_count;
	double fault_rate;
	uint64_t seed;
	uint64_t serial;            /* requests so far */
	struct sim_request request; /* the one being read; used again */
	struct sim_embedding_request embedding_request;
	struct buf text; /* its prompt without marks; used again */
};

/* Writes a line about an answer that is over. end: a bare word. */
void simulator_log(const struct simulator *simulator, const char *path, struct bytes model,
                   int status, uint64_t frames, uint64_t tokens, uint64_t started_us,
                   const char *end);

#endif
