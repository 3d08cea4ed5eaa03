/*
 * Identical requests under way at the same time: the first of them, the leader, asks the models, and the others, its
 * followers, get what it gets. Here is who flies together; what they send each other is route/exchange_share.c.
 *
 * One table for each worker: requests that came to different workers do not fly together. Worker's thread.
 */
#ifndef ROUTE_FLIGHT_H
#define ROUTE_FLIGHT_H

#include <sys/queue.h>

#include "base/sha256.h"

struct exchange;

/* In what form a request wants its answer. */
enum flight_form { FLIGHT_JSON, FLIGHT_STREAM, FLIGHT_STREAM_USAGE, FLIGHT_FORMS };

struct flight {
	struct sha256 key;
	enum flight_form form;                            /* the leader's */
	struct exchange *leader;                          /* borrowed */
	TAILQ_HEAD(flight_followers, exchange) followers; /* in the order in which they came */
	bool listed;                                      /* in its table: others may still join */
	bool tells_usage; /* its events do, whatever the leader wants that has come to it since */
	bool passed_on;   /* a follower has taken over once, after the leader had failed */
	LIST_ENTRY(flight) entries;
};

enum { FLIGHT_BUCKETS = 256 };

struct flight_table {
	LIST_HEAD(, flight) buckets[FLIGHT_BUCKETS];
};

/* Puts a new flight into the table. The leader's to free. */
struct flight *flight_new(struct flight_table *table, const struct sha256 *key,
                          enum flight_form form, struct exchange *leader);
/* It has no followers any more. */
void flight_free(struct flight *flight);

/* A flight that can give an answer of that form, usage included if that is wanted; NULL: none. */
struct flight *flight_find(struct flight_table *table, const struct sha256 *key,
                           enum flight_form form);

/* Nobody else may join. */
void flight_close(struct flight *flight);

#endif
