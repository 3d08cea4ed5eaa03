/*
 * The vectors of one scope, searched by cosine: sketches are scanned, what is near is compared exactly. Flat: all of
 * it is looked at. Lies in blocks, so that adding never moves what is there and takes a bounded time, whatever its size.
 *
 * Not locked: its owner does that. A search may be done in slices, with the lock given back in between.
 */
#ifndef CACHE_INDEX_H
#define CACHE_INDEX_H

#include <stdbool.h>

#include "cache/sketch.h"

struct index;

/* Embedded in what is found. */
struct index_item {
	const float *vector; /* borrowed, unit length; must live until the item is removed */
	struct sketch sketch;
	size_t place; /* the index's own */
};

struct index *index_new(size_t dimensions);
void index_free(struct index *index); /* its items are let go of, not touched */

/* vector and sketch are set. False when memory is out. */
bool index_add(struct index *index, struct index_item *item);
/* Another item may get its place. */
void index_remove(struct index *index, struct index_item *item);

size_t index_count(const struct index *index);
size_t index_bytes(const struct index *index); /* of memory, without the items' vectors */

enum { INDEX_NEAREST = 4 };

struct index_search {
	/* Set by the caller. */
	const float *vector; /* unit length, of the index's dimensions */
	struct sketch sketch;
	double least; /* cosines below this are of no interest */
	unsigned cut; /* sketch_cut(least, …) */
	/* The nearest, best first. */
	struct {
		struct index_item *item;
		double cosine;
	} nearest[INDEX_NEAREST];
	size_t count;
	size_t next; /* where the scan goes on; 0 at first */
};

/* Goes on with the search through at most `items` more. True when all was seen. */
bool index_search(const struct index *index, struct index_search *search, size_t items);

#endif
