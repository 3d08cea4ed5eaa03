#include "route/flight.h"

#include <stdlib.h>

#include "base/mem.h"

/* May a request of the second form follow a leader of the first? What upstream was not asked for, the usage of a
 * stream, cannot be given to a follower either. */
static const bool gives[FLIGHT_FORMS][FLIGHT_FORMS] = {
        [FLIGHT_JSON] = {true, true, true},
        [FLIGHT_STREAM] = {[FLIGHT_STREAM] = true},
        [FLIGHT_STREAM_USAGE] = {true, true, true},
};

static unsigned
bucket_of(const struct sha256 *key)
{
	return key->bytes[0] % FLIGHT_BUCKETS;
}

struct flight *
flight_new(struct flight_table *table, const struct sha256 *key, enum flight_form form,
           struct exchange *leader)
{
	struct flight *flight = mem_new(sizeof(*flight));

	flight->key = *key;
	flight->form = form;
	flight->leader = leader;
	flight->tells_usage = form == FLIGHT_STREAM_USAGE;
	TAILQ_INIT(&flight->followers);
	LIST_INSERT_HEAD(&table->buckets[bucket_of(key)], flight, entries);
	flight->listed = true;
	return flight;
}

void
flight_free(struct flight *flight)
{
	if (!TAILQ_EMPTY(&flight->followers))
		die("flight: it has followers still");
	flight_close(flight);
	free(flight);
}

struct flight *
flight_find(struct flight_table *table, const struct sha256 *key, enum flight_form form)
{
	struct flight *flight;

	LIST_FOREACH(flight, &table->buckets[bucket_of(key)], entries)
	{
		if (gives[flight->form][form] && sha256_equal(&flight->key, key))
			return flight;
	}
	return NULL;
}

void
flight_close(struct flight *flight)
{
	if (flight->listed)
		LIST_REMOVE(flight, entries);
	flight->listed = false;
}
