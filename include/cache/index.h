/*
 * The vectors of one scope, searched by cosine: sketches are scanned, what is near is compared exactly. Flat: all of
 * it is looked at. Lies in blocks, so that adding and removing take a bounded time, whatever its size; an index of
 * few items is small.
 *
 * Not locked: its owner does that. A search may be done in slices, with the lock given back in between. The index knows
 * the searches that are under way: an item that is removed meanwhile leaves what they have found, and an index that is
 * freed ends them with nothing found. What is in the index from a search's beginning to its end is looked at, wherever
 * it is moved; what is added meanwhile may be.
 */
#ifndef CACHE_INDEX_H
#define CACHE_INDEX_H

#include <stdbool.h>
#include <sys/queue.h>

#include "cache/sketch.h"

struct index;

/* Embedded in what is found. */
struct index_item {
	const float *vector; /* borrowed, unit length; must live until the item is removed */
	struct sketch sketch;
	size_t place; /* the index's own */
};

struct index *index_new(size_t dimensions);
/* Its items are let go of, not touched. NULL is allowed. */
void index_free(struct index *index);

/* vector and sketch are set. False when memory is out. */
bool index_add(struct index *index, struct index_item *item);
/* Another item may get its place. */
void index_remove(struct index *index, struct index_item *item);

size_t index_count(const struct index *index);
size_t index_bytes(const struct index *index); /* of memory, without the items and their vectors */

enum { INDEX_NEAREST = 4 };

/* On its user's stack, or wherever it stays in place from index_search_begin() to index_search_end(). */
struct index_search {
	/* Set by the caller; all else is set by index_search_begin(). */
	const float *vector; /* unit length, of the index's dimensions */
	struct sketch sketch;
	double least;          /* cosines below this are of no interest */
	struct sketch_cut cut; /* sketch_cut(least, …) */
	/* The nearest, best first. One that is removed during the search leaves a gap that none of those passed over
	 * for it fills. */
	struct {
		struct index_item *item;
		double cosine;
	} nearest[INDEX_NEAREST];
	size_t count;
	/* The index's own. */
	struct index *index; /* NULL: the search is over, or its index is */
	size_t next;         /* how many places are still to be looked at: the first of them all */
	LIST_ENTRY(index_search) link;
};

void index_search_begin(struct index *index, struct index_search *search);

/* Goes on with the search through at most `items` more. True when all was seen, or the index was freed. */
bool index_search(struct index_search *search, size_t items);

/* Must be called for each search begun, seen to its end or not, before its memory goes. What it found stays in it, but
 * is from then on not kept up to date: use it, or take a reference, before the lock is given back. */
void index_search_end(struct index_search *search);

#endif
