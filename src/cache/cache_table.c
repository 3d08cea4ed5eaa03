#include "cache/cache_table.h"

#include <stdlib.h>

#include "base/mem.h"

bool
cache_array_reach(struct cache_array *array, uint32_t i)
{
	struct cache_branch **branch =
	        &array->branches[i / (CACHE_LEAF_CELLS * CACHE_BRANCH_LEAVES)];
	struct cache_leaf **leaf;

	if (!*branch && !(*branch = calloc(1, sizeof(**branch))))
		return false;
	leaf = &(*branch)->leaves[i / CACHE_LEAF_CELLS % CACHE_BRANCH_LEAVES];
	return *leaf || (*leaf = calloc(1, sizeof(**leaf)));
}

void **
cache_array_cell(const struct cache_array *array, uint32_t i)
{
	struct cache_branch *branch = array->branches[i / (CACHE_LEAF_CELLS * CACHE_BRANCH_LEAVES)];
	struct cache_leaf *leaf = branch->leaves[i / CACHE_LEAF_CELLS % CACHE_BRANCH_LEAVES];

	return &leaf->cells[i % CACHE_LEAF_CELLS];
}

void
cache_array_fini(struct cache_array *array)
{
	for (size_t i = 0; i < CACHE_ROOT_BRANCHES; i++) {
		struct cache_branch *branch = array->branches[i];

		for (size_t k = 0; branch && k < CACHE_BRANCH_LEAVES; k++)
			free(branch->leaves[k]);
		free(branch);
		array->branches[i] = NULL;
	}
}

void
cache_table_init(struct cache_table *table)
{
	if (!cache_array_reach(&table->buckets, 0))
		die("out of memory");
	table->size = 1;
}

void
cache_table_fini(struct cache_table *table)
{
	cache_array_fini(&table->buckets);
}

/* The largest power of two that is not above n, which is not 0. */
static uint32_t
power_below(uint32_t n)
{
	return (uint32_t)1 << (31 - __builtin_clz(n));
}

/* Of a hash as many low bits count as it takes to number the buckets, or one less where that bucket is not there
 * yet: its links are still in the bucket that it will be divided from. */
static uint32_t
bucket_of(const struct cache_table *table, uint32_t hash)
{
	uint32_t low = power_below(table->size), i = hash & (low | (low - 1));

	return i < table->size ? i : i & (low - 1);
}

static struct cache_link *
chain_of(const struct cache_table *table, uint32_t hash)
{
	return *cache_array_cell(&table->buckets, bucket_of(table, hash));
}

/* One bucket more, with its part of the chain it was in. */
static void
table_grow(struct cache_table *table)
{
	uint32_t last = table->size, low = power_below(last);
	struct cache_link *link, *next, *stay = NULL, *move = NULL;
	void **from;

	if (last == UINT32_MAX || !cache_array_reach(&table->buckets, last))
		return;
	from = cache_array_cell(&table->buckets, last - low);
	for (link = *from; link; link = next) {
		struct cache_link **chain = link->hash & low ? &move : &stay;

		next = link->next;
		link->next = *chain;
		*chain = link;
	}
	*from = stay;
	*cache_array_cell(&table->buckets, last) = move;
	table->size = last + 1;
}

void
cache_table_add(struct cache_table *table, struct cache_link *link, uint32_t hash)
{
	void **cell;

	if (table->links >= table->size)
		table_grow(table);
	cell = cache_array_cell(&table->buckets, bucket_of(table, hash));
	link->hash = hash;
	link->next = *cell;
	*cell = link;
	table->links++;
}

void
cache_table_remove(struct cache_table *table, struct cache_link *link)
{
	void **cell = cache_array_cell(&table->buckets, bucket_of(table, link->hash));
	struct cache_link *before = *cell;

	if (before == link) {
		*cell = link->next;
	} else {
		while (before->next != link)
			before = before->next;
		before->next = link->next;
	}
	table->links--;
}

static struct cache_link *
link_with(struct cache_link *link, uint32_t hash)
{
	while (link && link->hash != hash)
		link = link->next;
	return link;
}

struct cache_link *
cache_table_first(const struct cache_table *table, uint32_t hash)
{
	return link_with(chain_of(table, hash), hash);
}

struct cache_link *
cache_link_next(const struct cache_link *link)
{
	return link_with(link->next, link->hash);
}
