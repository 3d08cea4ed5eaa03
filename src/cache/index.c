/*
 * Places 0 to count - 1 are taken, and lie in blocks of BLOCK_ITEMS places. Only the first block may be
 * smaller, and then it is the only one: it doubles until it is as large as the others.
 *
 * A search goes from the last place to the first, since a removal moves an item only down: from the last place into
 * the hole. So what a search has not yet looked at stays in front of it, and an item that it has looked at may at most
 * come before it again.
 */
#include "cache/index.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "cache/index_private.h"
#include "cache/sketch_private.h"
#include "cache/vector_private.h"

enum {
	BLOCK_ITEMS = 4096,
	BLOCK_LEAST = 4,
	DIRECTORY_LEAST = 4,
	CACHE_LINE = 64,
	/* From this size on memory comes from the kernel and goes back to it: that takes a time that depends on the
	 * size alone. malloc() and free() of so much tidy up the whole heap now and then. */
	MAPPED_BYTES = 65536,
	/* How many candidates are found by the scan before they are compared. */
	FOUND_ROOM = 256,
	/* How many candidates ahead of the comparison memory is asked for, so that its latency is waited for
	 * once for all of them. Of a vector so much is asked for as rules out most that are not near. */
	AHEAD = 4,
	AHEAD_BYTES = 1024,
};

/* Three arrays in one allocation, so that a scan reads first parts and nothing else. */
struct block {
	struct sketch_part *first; /* owns all three; at a cache line's beginning */
	struct sketch_part *second;
	struct index_item **items; /* borrowed */
};

/* Bytes of a place. */
#define PLACE_BYTES (sizeof(struct sketch) + sizeof(struct index_item *))

struct index {
	size_t dimensions;
	enum simd simd;
	size_t count;
	size_t room;          /* places in all blocks */
	struct block *blocks; /* owned */
	size_t directory;     /* for how many blocks there is room in blocks[] */
	LIST_HEAD(, index_search) searches;
};

static size_t
block_bytes(size_t room)
{
	/* aligned_alloc() wants a multiple of the alignment. */
	return (room * PLACE_BYTES + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

static bool
block_init(struct block *block, size_t room)
{
	size_t bytes = block_bytes(room);
	void *memory;

	if (bytes < MAPPED_BYTES) {
		memory = aligned_alloc(CACHE_LINE, bytes);
	} else {
		memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		              0);
		if (memory == MAP_FAILED)
			memory = NULL;
	}
	if (!memory)
		return false;
	block->first = memory;
	block->second = block->first + room;
	block->items = (struct index_item **)(void *)(block->second + room);
	return true;
}

static void
block_fini(struct block *block, size_t room)
{
	size_t bytes = block_bytes(room);

	if (bytes < MAPPED_BYTES)
		free(block->first);
	else
		munmap(block->first, bytes);
}

struct index *
index_new_by(enum simd simd, size_t dimensions)
{
	struct index *index = mem_new(sizeof(*index));

	index->simd = simd;
	index->dimensions = dimensions;
	LIST_INIT(&index->searches);
	return index;
}

struct index *
index_new(size_t dimensions)
{
	return index_new_by(simd_best(), dimensions);
}

static size_t
block_count(const struct index *index)
{
	return (index->room + BLOCK_ITEMS - 1) / BLOCK_ITEMS;
}

/* Takes the search off the index's list. */
static void
detach(struct index_search *search)
{
	LIST_REMOVE(search, link);
	search->index = NULL;
}

void
index_free(struct index *index)
{
	struct index_search *search;

	if (!index)
		return;
	while ((search = LIST_FIRST(&index->searches))) {
		search->count = 0;
		detach(search);
	}
	for (size_t i = 0; i < block_count(index); i++)
		block_fini(&index->blocks[i],
		           index->room < BLOCK_ITEMS ? index->room : BLOCK_ITEMS);
	free(index->blocks);
	free(index);
}

/* Gives the only block another size, which holds all items. */
static bool
resize_only(struct index *index, size_t room)
{
	struct block *old = index->blocks, block;

	if (!block_init(&block, room))
		return false;
	memcpy(block.first, old->first, index->count * sizeof(*block.first));
	memcpy(block.second, old->second, index->count * sizeof(*block.second));
	memcpy(block.items, old->items, index->count * sizeof(struct index_item *));
	block_fini(old, index->room);
	*old = block;
	index->room = room;
	return true;
}

static bool
add_block(struct index *index)
{
	size_t count = block_count(index), room = count ? BLOCK_ITEMS : BLOCK_LEAST;

	if (count == index->directory) {
		size_t directory = count ? 2 * count : DIRECTORY_LEAST;
		struct block *blocks = realloc(index->blocks, directory * sizeof(*blocks));

		if (!blocks)
			return false;
		index->blocks = blocks;
		index->directory = directory;
	}
	if (!block_init(&index->blocks[count], room))
		return false;
	index->room += room;
	return true;
}

/* Gives back memory with so much to spare that adding and removing in turn does not take and give it each time. */
static void
shrink(struct index *index)
{
	if (index->room > BLOCK_ITEMS) {
		if (index->count + BLOCK_ITEMS + BLOCK_ITEMS / 2 <= index->room) {
			block_fini(&index->blocks[block_count(index) - 1], BLOCK_ITEMS);
			index->room -= BLOCK_ITEMS;
		}
	} else if (index->room > BLOCK_LEAST && index->count <= index->room / 4) {
		resize_only(index, index->room / 2); /* if it cannot, it stays large */
	}
}

/* Puts it at a place within the room; what was there is forgotten. */
static void
put(struct index *index, size_t place, struct index_item *item)
{
	struct block *block = &index->blocks[place / BLOCK_ITEMS];

	block->first[place % BLOCK_ITEMS] = item->sketch.first;
	block->second[place % BLOCK_ITEMS] = item->sketch.second;
	block->items[place % BLOCK_ITEMS] = item;
	item->place = place;
}

bool
index_add(struct index *index, struct index_item *item)
{
	if (index->count == index->room) {
		bool grown = index->room > 0 && index->room < BLOCK_ITEMS
		                     ? resize_only(index, 2 * index->room)
		                     : add_block(index);

		if (!grown)
			return false;
	}
	put(index, index->count++, item);
	return true;
}

/* Takes an item out of what the search has found, if it is there. */
static void
forget(struct index_search *search, const struct index_item *item)
{
	for (size_t i = 0; i < search->count; i++) {
		if (search->nearest[i].item != item)
			continue;
		search->count--;
		memmove(search->nearest + i, search->nearest + i + 1,
		        (search->count - i) * sizeof(search->nearest[0]));
		return;
	}
}

void
index_remove(struct index *index, struct index_item *item)
{
	struct index_search *search;
	size_t place = --index->count;
	struct index_item *last = index->blocks[place / BLOCK_ITEMS].items[place % BLOCK_ITEMS];

	if (last != item)
		put(index, item->place, last);
	LIST_FOREACH(search, &index->searches, link)
	{
		forget(search, item);
		if (search->next > index->count)
			search->next = index->count;
	}
	shrink(index);
}

size_t
index_count(const struct index *index)
{
	return index->count;
}

size_t
index_bytes(const struct index *index)
{
	return sizeof(*index) + index->directory * sizeof(struct block) + index->room * PLACE_BYTES;
}

/* A cosine below this does not come among the nearest. */
static double
least_wanted(const struct index_search *search)
{
	double last;

	if (search->count < INDEX_NEAREST)
		return search->least;
	last = search->nearest[INDEX_NEAREST - 1].cosine;
	return last > search->least ? last : search->least;
}

/* Puts an item among the nearest, whose least goes when they are too many. */
static void
remember(struct index_search *search, struct index_item *item, double cosine)
{
	size_t i;

	for (i = 0; i < search->count; i++) {
		if (search->nearest[i].item == item) /* it was moved, and seen before */
			return;
	}
	if (search->count < INDEX_NEAREST)
		search->count++;
	else if (search->nearest[INDEX_NEAREST - 1].cosine >= cosine)
		return;
	for (i = search->count - 1; i > 0 && search->nearest[i - 1].cosine < cosine; i--)
		search->nearest[i] = search->nearest[i - 1];
	search->nearest[i].item = item;
	search->nearest[i].cosine = cosine;
}

static inline void
prefetch_vector(const struct index *index, const float *vector)
{
	size_t bytes = index->dimensions * sizeof(*vector);

	for (size_t i = 0; i < bytes && i < AHEAD_BYTES; i += CACHE_LINE)
		__builtin_prefetch((const char *)vector + i);
}

/* Compares the candidates items[found[…]] with what the search is for. */
static void
compare(const struct index *index, struct index_search *search, struct index_item **items,
        const uint32_t *found, size_t count)
{
	for (size_t i = 0; i < count + 2 * AHEAD; i++) {
		struct index_item *item;
		double cosine, least;

		if (i < count)
			__builtin_prefetch(items[found[i]]);
		if (i >= AHEAD && i - AHEAD < count)
			prefetch_vector(index, items[found[i - AHEAD]]->vector);
		if (i < 2 * AHEAD)
			continue;
		item = items[found[i - 2 * AHEAD]];
		least = least_wanted(search);
		cosine = vector_cosine_by(index->simd, search->vector, item->vector,
		                          index->dimensions, least);
		if (cosine >= least)
			remember(search, item, cosine);
	}
}

/* Looks at the places from `begin` to `end` of a block. */
static void
search_block(const struct index *index, struct index_search *search, const struct block *block,
             size_t begin, size_t end)
{
	while (begin < end) {
		uint32_t found[FOUND_ROOM];
		size_t next, count;

		count = sketch_scan_by(index->simd, &search->sketch.first, search->cut.first,
		                       block->first + begin, end - begin, found, FOUND_ROOM, &next);
		count = sketch_sift_by(index->simd, &search->sketch, search->cut.both,
		                       block->first + begin, block->second + begin, found, count);
		compare(index, search, block->items + begin, found, count);
		begin += next;
	}
}

void
index_search_begin(struct index *index, struct index_search *search)
{
	search->count = 0;
	search->index = index;
	search->next = index->count;
	LIST_INSERT_HEAD(&index->searches, search, link);
}

bool
index_search(struct index_search *search, size_t items)
{
	const struct index *index = search->index;

	if (!index)
		return true;
	while (search->next > 0 && items > 0) {
		size_t block = (search->next - 1) / BLOCK_ITEMS;
		size_t end = search->next - block * BLOCK_ITEMS;
		size_t begin = end > items ? end - items : 0;

		search_block(index, search, &index->blocks[block], begin, end);
		items -= end - begin;
		search->next -= end - begin;
	}
	return search->next == 0;
}

void
index_search_end(struct index_search *search)
{
	if (search->index)
		detach(search);
}
