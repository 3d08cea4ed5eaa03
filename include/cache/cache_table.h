/*
 * The cache's arrays and hash tables. Both grow without a pause: an array by a leaf of 4096 pointers, and what is there
 * never moves; a table by one bucket with every link that is added (linear hashing: Litwin, 1980, "Linear
 * hashing: a new tool for file and table addressing"), of which only one chain is divided. Neither shrinks.
 *
 * Not locked: the cache does that.
 */
#ifndef CACHE_CACHE_TABLE_H
#define CACHE_CACHE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CACHE_LEAF_CELLS = 4096, CACHE_BRANCH_LEAVES = 1024, CACHE_ROOT_BRANCHES = 1024 };

struct cache_leaf {
	void *cells[CACHE_LEAF_CELLS];
};

struct cache_branch {
	struct cache_leaf *leaves[CACHE_BRANCH_LEAVES];
};

/* Of 2^32 cells, all NULL at first; zeroed, it is empty. */
struct cache_array {
	struct cache_branch *branches[CACHE_ROOT_BRANCHES];
};

/* Provides memory for cell i. False when there is none. */
bool cache_array_reach(struct cache_array *array, uint32_t i);
/* Cell i, which was reached before. */
void **cache_array_cell(const struct cache_array *array, uint32_t i);
void cache_array_fini(struct cache_array *array); /* what the cells point to is not touched */

/* Embedded in what a table finds. */
struct cache_link {
	struct cache_link *next;
	uint32_t hash;
};

struct cache_table {
	struct cache_array buckets;
	uint32_t size;  /* buckets in use, at least 1 */
	uint32_t links; /* in all of them */
};

void cache_table_init(struct cache_table *table); /* zeroed before */
void cache_table_fini(struct cache_table *table);

/* Never fails: when there is no memory for a bucket more, chains grow longer instead. */
void cache_table_add(struct cache_table *table, struct cache_link *link, uint32_t hash);
void cache_table_remove(struct cache_table *table, struct cache_link *link);

/* The links of that hash, one after the other; NULL: no more. */
struct cache_link *cache_table_first(const struct cache_table *table, uint32_t hash);
struct cache_link *cache_link_next(const struct cache_link *link);

/* What a link, or another member, is embedded in. */
#define CACHE_OWNER(type, member, p) ((type *)(void *)((char *)(p)-offsetof(type, member)))

#endif
