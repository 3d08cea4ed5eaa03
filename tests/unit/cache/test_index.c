#include "cache/index.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "cache/index_private.h"
#include "cache/vector_private.h"
#include "unit.h"
#include "vectors.h"

enum { DIMENSIONS = 20, CENTRES = 16, BLOCK = 4096 };

/* A cut that lets all pass, so that a search is exact. */
static const struct sketch_cut everything = {SKETCH_PART_BITS, SKETCH_BITS};

struct thing {
	struct index_item item;
	float vector[DIMENSIONS];
	unsigned age; /* when it came, in turns of the test */
	double cosine;
};

/* An index and, in an array, the same things. Each is allocated by itself and freed when it is removed, so that the
 * sanitizer sees it touched afterwards. */
struct world {
	struct index *index;
	enum simd simd;
	struct thing **things;
	size_t count, room;
	uint64_t random;
	unsigned turn;
	float centres[CENTRES][DIMENSIONS];
};

static void
world_init(struct world *w, enum simd simd, uint64_t seed)
{
	*w = (struct world){.simd = simd, .random = seed};
	w->index = index_new_by(simd, DIMENSIONS);
	for (size_t i = 0; i < CENTRES; i++)
		random_unit(&w->random, w->centres[i], DIMENSIONS);
}

static void
world_fini(struct world *w)
{
	index_free(w->index);
	for (size_t i = 0; i < w->count; i++)
		free(w->things[i]);
	free(w->things);
}

/* Near one of the centres, or one itself, so that there are many equal vectors too. */
static void
vector_near_centre(struct world *w, float *v)
{
	const float *centre = w->centres[random_next(&w->random) % CENTRES];

	if (random_next(&w->random) % 8 == 0)
		memcpy(v, centre, DIMENSIONS * sizeof(*v));
	else
		random_neighbour(&w->random, v, centre, DIMENSIONS,
		                 0.8 + 0.2 * (double)(random_next(&w->random) % 100) / 100);
}

static void
world_add(struct world *w)
{
	struct thing *thing = mem_new(sizeof(*thing));

	if (w->count == w->room) {
		w->room = w->room ? 2 * w->room : 64;
		w->things = mem_resize(w->things, w->room, sizeof(struct thing *));
	}
	vector_near_centre(w, thing->vector);
	thing->item.vector = thing->vector;
	thing->age = w->turn;
	ck_assert(sketch_make(&thing->item.sketch, thing->vector, DIMENSIONS));
	ck_assert(index_add(w->index, &thing->item));
	w->things[w->count++] = thing;
	ck_assert_uint_eq(index_count(w->index), w->count);
}

static void
world_remove(struct world *w, size_t i)
{
	struct thing *thing = w->things[i];

	index_remove(w->index, &thing->item);
	free(thing);
	w->things[i] = w->things[--w->count];
	ck_assert_uint_eq(index_count(w->index), w->count);
}

static struct thing *
thing_of(struct index_item *item)
{
	return (struct thing *)(void *)((char *)item - offsetof(struct thing, item));
}

static void
begin(struct world *w, struct index_search *search, float *vector, double least)
{
	vector_near_centre(w, vector);
	*search = (struct index_search){.vector = vector, .least = least, .cut = everything};
	ck_assert(sketch_make(&search->sketch, vector, DIMENSIONS));
	index_search_begin(w->index, search);
}

static bool
is_there(const struct world *w, const struct thing *thing)
{
	for (size_t i = 0; i < w->count; i++) {
		if (w->things[i] == thing)
			return true;
	}
	return false;
}

/* Is what was found there, with its cosine, once, in order and near enough? */
static void
check_found(const struct world *w, const struct index_search *search)
{
	ck_assert_uint_le(search->count, INDEX_NEAREST);
	for (size_t i = 0; i < search->count; i++) {
		const struct thing *thing = thing_of(search->nearest[i].item);

		ck_assert(is_there(w, thing));
		ck_assert_double_eq_tol(vector_dot(search->vector, thing->vector, DIMENSIONS),
		                        search->nearest[i].cosine, 1e-6);
		ck_assert_double_ge(search->nearest[i].cosine, search->least);
		for (size_t k = 0; k < i; k++) {
			ck_assert_ptr_ne(search->nearest[k].item, &thing->item);
			ck_assert_double_ge(search->nearest[k].cosine, search->nearest[i].cosine);
		}
	}
}

static int
compare_cosines(const void *a, const void *b)
{
	double x = (*(struct thing *const *)a)->cosine, y = (*(struct thing *const *)b)->cosine;

	return (x < y) - (x > y);
}

/* Is the search's outcome that of a comparison with every thing? */
static void
check_exact(struct world *w, const struct index_search *search)
{
	struct thing **sorted = mem_array(w->count + 1, sizeof(struct thing *));
	size_t expected = 0;

	check_found(w, search);
	for (size_t i = 0; i < w->count; i++) {
		w->things[i]->cosine =
		        vector_dot_by(w->simd, search->vector, w->things[i]->vector, DIMENSIONS);
		sorted[i] = w->things[i];
	}
	qsort(sorted, w->count, sizeof(struct thing *), compare_cosines);
	while (expected < INDEX_NEAREST && expected < w->count &&
	       sorted[expected]->cosine >= search->least)
		expected++;
	ck_assert_uint_eq(search->count, expected);
	for (size_t i = 0; i < expected; i++)
		ck_assert_double_eq(search->nearest[i].cosine, sorted[i]->cosine);
	free(sorted);
}

static void
search_exactly(struct world *w)
{
	float vector[DIMENSIONS];
	struct index_search search;

	begin(w, &search, vector, 1 - 0.5 * (double)(random_next(&w->random) % 10) / 10);
	ck_assert(index_search(&search, SIZE_MAX));
	index_search_end(&search);
	check_exact(w, &search);
}

START_TEST(test_a_search_finds_what_a_comparison_with_all_finds)
{
	const unsigned turns = SANITIZED ? 3000 : 20000;

	for (enum simd simd = SIMD_PLAIN; simd < SIMD_COUNT; simd++) {
		struct world w;

		if (!simd_is_supported(simd))
			continue;
		world_init(&w, simd, 11);
		search_exactly(&w);
		for (w.turn = 0; w.turn < turns; w.turn++) {
			/* It grows and shrinks in turn. */
			if (w.count == 0 || random_next(&w.random) % 8 > 2 + w.turn / 500 % 4)
				world_add(&w);
			else
				world_remove(&w, random_next(&w.random) % w.count);
			if (w.turn % 8 == 0)
				search_exactly(&w);
		}
		world_fini(&w);
	}
}
END_TEST

START_TEST(test_blocks_come_and_go)
{
	struct world w;
	size_t small, large;

	world_init(&w, simd_best(), 12);
	world_add(&w);
	small = index_bytes(w.index);
	ck_assert_uint_lt(small, 600);
	for (size_t n = 1; n < 3 * BLOCK + 2; n++) {
		size_t near_border = (n + 2) % BLOCK;

		world_add(&w);
		if (near_border < 4)
			search_exactly(&w);
	}
	large = index_bytes(w.index);
	ck_assert_uint_lt(large, 5 * BLOCK * 80);
	while (w.count > 1) {
		world_remove(&w, w.count % 3 ? w.count - 1 : random_next(&w.random) % w.count);
		if ((w.count + 2) % (BLOCK / 2) < 4)
			search_exactly(&w);
		ck_assert_uint_lt(index_bytes(w.index), (2 * w.count + 2 * BLOCK) * 80);
	}
	ck_assert_uint_lt(index_bytes(w.index), 2 * small);
	world_remove(&w, 0);
	search_exactly(&w);
	world_add(&w);
	search_exactly(&w);
	world_fini(&w);
}
END_TEST

/* Whatever was there throughout and was not found gave way to four that were at least as near, then. */
static void
check_sliced(struct world *w, const struct index_search *search, unsigned began, size_t removed)
{
	check_found(w, search);
	for (size_t i = 0; i < w->count; i++)
		w->things[i]->cosine =
		        vector_dot_by(w->simd, search->vector, w->things[i]->vector, DIMENSIONS);
	for (size_t i = 0; i < w->count; i++) {
		const struct thing *thing = w->things[i];
		size_t better = removed;
		bool is_found = false;

		if (thing->age >= began || thing->cosine < search->least)
			continue;
		for (size_t k = 0; k < search->count; k++)
			is_found |= search->nearest[k].item == &thing->item;
		for (size_t k = 0; k < w->count && better < INDEX_NEAREST; k++)
			better += k != i && w->things[k]->cosine >= thing->cosine;
		ck_assert(is_found || better >= INDEX_NEAREST);
	}
}

/* A search in slices, with things that come and go in between. */
static void
search_in_slices(struct world *w)
{
	struct index_search search;
	float vector[DIMENSIONS];
	/* Now and then nothing near is removed, so that nothing at all may be missing. */
	bool spare_near = random_next(&w->random) % 2;
	unsigned began = ++w->turn;
	size_t removed = 0;

	begin(w, &search, vector, 0.9);
	while (!index_search(&search, 1 + random_next(&w->random) % (w->count / 4 + 2))) {
		size_t changes = random_next(&w->random) % (w->count / 8 + 2);

		check_found(w, &search);
		for (size_t i = 0; i < changes; i++) {
			size_t at = w->count ? random_next(&w->random) % w->count : 0;
			double cosine;

			if (w->count == 0 || random_next(&w->random) % 2) {
				world_add(w);
				continue;
			}
			cosine = vector_dot(vector, w->things[at]->vector, DIMENSIONS);
			if (cosine >= 0.9) {
				if (spare_near)
					continue;
				removed++;
			}
			world_remove(w, at);
		}
	}
	check_sliced(w, &search, began, removed);
	index_search_end(&search);
}

START_TEST(test_a_search_in_slices_survives_what_comes_and_goes)
{
	struct world w;

	world_init(&w, simd_best(), 13);
	for (unsigned round = 0; round < (SANITIZED ? 500 : 5000); round++) {
		while (w.count < round % 200)
			world_add(&w);
		while (w.count > 200)
			world_remove(&w, 0);
		search_in_slices(&w);
	}
	for (unsigned round = 0; round < (SANITIZED ? 2 : 10); round++) {
		while (w.count < 2 * BLOCK)
			world_add(&w);
		while (w.count > 3 * BLOCK)
			world_remove(&w, 0);
		search_in_slices(&w);
	}
	world_fini(&w);
}
END_TEST

START_TEST(test_a_slice_looks_at_no_more_than_it_was_told)
{
	struct index_search search;
	float vector[DIMENSIONS];
	struct world w;
	unsigned slices = 1;

	world_init(&w, simd_best(), 14);
	for (size_t i = 0; i < BLOCK + 1000; i++)
		world_add(&w);
	begin(&w, &search, vector, -1);
	ck_assert(!index_search(&search, 0));
	ck_assert_uint_eq(search.count, 0);
	ck_assert(!index_search(&search, 3));
	ck_assert_uint_eq(search.count, 3);
	for (; !index_search(&search, 100); slices++)
		;
	ck_assert_uint_eq(slices, (BLOCK + 1000 - 3 + 99) / 100);
	ck_assert(index_search(&search, 100));
	check_exact(&w, &search);
	index_search_end(&search);
	index_search_end(&search); /* once more does no harm */
	world_fini(&w);
}
END_TEST

START_TEST(test_searches_end_with_their_index)
{
	struct index_search searches[3];
	float vectors[3][DIMENSIONS];
	struct world w;

	world_init(&w, simd_best(), 15);
	for (size_t i = 0; i < 100; i++)
		world_add(&w);
	for (size_t i = 0; i < 3; i++) {
		begin(&w, &searches[i], vectors[i], -1);
		ck_assert(!index_search(&searches[i], 50));
		ck_assert_uint_eq(searches[i].count, INDEX_NEAREST);
	}
	index_search_end(&searches[1]);
	memset(&searches[1], 0xFF, sizeof(searches[1]));
	while (w.count > 60)
		world_remove(&w, 0);
	check_found(&w, &searches[0]);
	check_found(&w, &searches[2]);
	world_fini(&w);
	for (size_t i = 0; i < 3; i += 2) {
		ck_assert_uint_eq(searches[i].count, 0);
		ck_assert(index_search(&searches[i], 50));
		index_search_end(&searches[i]);
	}
	index_free(NULL);
}
END_TEST

START_TEST(test_a_search_by_sketches_finds_neighbours_among_strangers)
{
	enum { N = 2000, LARGE = 384 };
	struct thing_of_384 {
		struct index_item item;
		float vector[LARGE];
	} *things = mem_array(N, sizeof(*things));
	struct index *index = index_new(LARGE);
	struct sketch_cut cut = sketch_cut(0.95, 1e-6);
	uint64_t random = 16;
	float vector[LARGE];

	for (size_t i = 0; i < N; i++) {
		random_unit(&random, things[i].vector, LARGE);
		things[i].item.vector = things[i].vector;
		ck_assert(sketch_make(&things[i].item.sketch, things[i].vector, LARGE));
		ck_assert(index_add(index, &things[i].item));
	}
	for (size_t i = 0; i < N; i++) {
		struct index_search search = {.vector = vector, .least = 0.9499, .cut = cut};

		random_neighbour(&random, vector, things[i].vector, LARGE, 0.95);
		ck_assert(sketch_make(&search.sketch, vector, LARGE));
		index_search_begin(index, &search);
		ck_assert(index_search(&search, N));
		index_search_end(&search);
		ck_assert_uint_eq(search.count, 1);
		ck_assert_ptr_eq(search.nearest[0].item, &things[i].item);
		ck_assert_double_eq_tol(search.nearest[0].cosine, 0.95, 1e-5);
	}
	index_free(index);
	free(things);
}
END_TEST

UNIT_MAIN("index", test_a_search_finds_what_a_comparison_with_all_finds, test_blocks_come_and_go,
          test_a_search_in_slices_survives_what_comes_and_goes,
          test_a_slice_looks_at_no_more_than_it_was_told, test_searches_end_with_their_index,
          test_a_search_by_sketches_finds_neighbours_among_strangers)
