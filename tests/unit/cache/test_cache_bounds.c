/* How much there may be, and who has to go: rules one by one, and all of them at random against a naive list. */
#include "cache/cache.h"

#include "cache/cache_fixture.h"

/* Bytes of an entry with a document of so many. */
static uint64_t
bytes_of_entry(size_t document_bytes)
{
	struct cache_entry *entry = entry_of(&(struct recipe){.document_bytes = document_bytes});
	uint64_t bytes = entry->bytes;

	cache_entry_unref(entry);
	return bytes;
}

/* Which of the first 64 keys are there, as bits; uses none of them. */
static uint64_t
keys_in(struct cache *cache)
{
	struct cache_walk *walk = cache_walk_begin(cache);
	struct cache_entry *entry;
	uint64_t keys = 0;

	while (cache_walk_next(walk, &entry, 1) > 0) {
		for (unsigned i = 0; i < 64; i++) {
			char id[CACHE_ID_DIGITS + 1];

			id_of(i, id);
			if (memcmp(id, entry->id, sizeof(id)) == 0)
				keys |= (uint64_t)1 << i;
		}
		cache_entry_unref(entry);
	}
	cache_walk_end(walk);
	return keys;
}

/* The keys from `first` on, so many. */
static uint64_t
keys_from(unsigned first, unsigned count)
{
	return (((uint64_t)1 << count) - 1) << first;
}

START_TEST(test_the_least_recently_used_goes_when_there_are_too_many)
{
	struct cache_options options = {.max_bytes = 1 << 20, .max_entries = 4, .caller_share = 1};
	struct cache *cache = cache_new(&options);

	for (unsigned i = 0; i < 4; i++)
		ck_assert(put(cache, (struct recipe){.key = i, .caller = i}));
	ck_assert(has(cache, 0));
	ck_assert(put(cache, (struct recipe){.key = 4}));
	ck_assert_uint_eq(keys_in(cache), 0x1D); /* 1 has gone */
	ck_assert_uint_eq(cache_figures(cache).evicted, 1);
	ck_assert(put(cache, (struct recipe){.key = 3}));
	ck_assert(put(cache, (struct recipe){.key = 5}));
	ck_assert_uint_eq(keys_in(cache), 0x39); /* and 2: 3 was replaced, which is a use */
	ck_assert_uint_eq(cache_figures(cache).evicted, 2);
	cache_free(cache);
}
END_TEST

START_TEST(test_one_big_entry_makes_many_small_ones_go)
{
	enum { SMALL = 1000 };
	uint64_t small = bytes_of_entry(0);
	struct cache_options options = {
	        .max_bytes = SMALL * small, .max_entries = 100000, .caller_share = 1};
	struct cache *cache = cache_new(&options);
	struct cache_figures figures;

	for (unsigned i = 0; i < SMALL; i++)
		ck_assert(put(cache, (struct recipe){.key = i}));
	ck_assert_uint_eq(cache_figures(cache).evicted, 0);
	ck_assert(put(cache, (struct recipe){.key = SMALL, .document_bytes = SMALL * small / 2}));
	figures = cache_figures(cache);
	ck_assert_uint_le(figures.bytes, options.max_bytes);
	ck_assert_uint_gt(figures.bytes + small, options.max_bytes);
	ck_assert_uint_ge(figures.evicted, SMALL / 2);
	ck_assert_uint_le(figures.evicted, SMALL / 2 + 2);
	ck_assert(has(cache, SMALL));
	ck_assert(has(cache, SMALL - 1));
	ck_assert(!has(cache, 0));
	cache_free(cache);
}
END_TEST

START_TEST(test_an_entry_larger_than_a_callers_part_is_refused_and_nothing_goes_for_it)
{
	struct cache_options options = {
	        .max_bytes = 1 << 20, .max_entries = 1000, .caller_share = 0.25};
	struct cache *cache = cache_new(&options);
	size_t fits = (1 << 18) - (bytes_of_entry(4096) - 4096) - 16;

	ck_assert(put(cache, (struct recipe){.key = 1}));
	ck_assert(put(cache, (struct recipe){.key = 2, .document_bytes = fits}));
	ck_assert(!put(cache, (struct recipe){.key = 2, .document_bytes = (1 << 18)}));
	ck_assert_uint_eq(cache_figures(cache).refused, 1);
	ck_assert_uint_eq(cache_figures(cache).evicted, 0);
	ck_assert_msg(has(cache, 2), "the one that it would have replaced is still there");
	ck_assert(has(cache, 1));
	cache_free(cache);
}
END_TEST

START_TEST(test_a_cache_without_room_takes_nothing)
{
	struct cache_options options = {.max_bytes = 1 << 20, .caller_share = 1};
	struct cache *cache = cache_new(&options);

	ck_assert(!put(cache, (struct recipe){.key = 1}));
	options = (struct cache_options){.max_entries = 10, .caller_share = 1};
	cache_configure(cache, &options);
	ck_assert(!put(cache, (struct recipe){.key = 1}));
	ck_assert_uint_eq(cache_figures(cache).refused, 2);
	ck_assert_uint_eq(cache_figures(cache).bytes, 0);
	ck_assert_uint_eq(cache_figures(cache).max_entries, 10);
	cache_free(cache);
}
END_TEST

START_TEST(test_a_caller_that_floods_pushes_out_only_itself_beyond_its_part)
{
	enum { PART = 20 };
	struct cache_options by_count = {
	        .max_bytes = 1 << 26, .max_entries = 2 * PART, .caller_share = 0.5};
	struct cache_options by_bytes = {.max_bytes = 2 * PART * bytes_of_entry(2000),
	                                 .max_entries = 1000,
	                                 .caller_share = 0.5};

	for (int i = 0; i < 2; i++) {
		struct cache *cache = cache_new(i ? &by_count : &by_bytes);

		for (unsigned k = 0; k < PART; k++)
			ck_assert(put(
			        cache,
			        (struct recipe){.key = k, .caller = 1, .document_bytes = 2000}));
		for (unsigned k = 0; k < 10 * PART; k++)
			ck_assert(put(cache, (struct recipe){.key = 100 + k,
			                                     .caller = 2,
			                                     .document_bytes = 2000}));
		ck_assert_uint_eq(keys_in(cache), keys_from(0, PART));
		ck_assert_uint_eq(cache_figures(cache).entries, 2 * PART);
		cache_free(cache);
	}
}
END_TEST

START_TEST(test_a_caller_may_have_all_of_what_nobody_else_wants)
{
	struct cache_options options = {
	        .max_bytes = 1 << 26, .max_entries = 40, .caller_share = 0.1};
	struct cache *cache = cache_new(&options);

	for (unsigned i = 0; i < 40; i++)
		ck_assert(put(cache, (struct recipe){.key = i, .caller = 1}));
	ck_assert_uint_eq(keys_in(cache), keys_from(0, 40));
	/* Others get their part of it. */
	for (unsigned i = 40; i < 44; i++)
		ck_assert(put(cache, (struct recipe){.key = i, .caller = 2}));
	ck_assert_uint_eq(keys_in(cache), keys_from(4, 40));
	/* And beyond that make room themselves. */
	ck_assert(put(cache, (struct recipe){.key = 44, .caller = 2}));
	ck_assert_uint_eq(keys_in(cache), keys_from(4, 36) | keys_from(41, 4));
	cache_free(cache);
}
END_TEST

START_TEST(test_a_sweep_removes_what_has_expired_as_far_as_it_goes)
{
	enum { COUNT = 5000 };
	struct cache_options options = {
	        .max_bytes = 1 << 26, .max_entries = COUNT, .caller_share = 1};
	struct cache *cache = cache_new(&options);
	uint64_t left = COUNT;

	for (unsigned i = 0; i < COUNT; i++)
		ck_assert(put(cache, (struct recipe){.key = i, .expires_ms = NOW + 1 + i % 2}));
	cache_sweep(cache, COUNT, NOW);
	ck_assert_uint_eq(cache_figures(cache).entries, COUNT);
	cache_sweep(cache, 100, NOW + 1);
	ck_assert_uint_eq(cache_figures(cache).entries, COUNT - 50);
	/* It goes on where it has stopped, and all round. */
	for (unsigned i = 0; i < COUNT / 100; i++) {
		cache_sweep(cache, 100, NOW + 1);
		ck_assert_uint_le(cache_figures(cache).entries, left);
		left = cache_figures(cache).entries;
	}
	ck_assert_uint_eq(left, COUNT / 2);
	cache_sweep(cache, SIZE_MAX, NOW + 2);
	ck_assert_uint_eq(cache_figures(cache).entries, 0);
	ck_assert_uint_eq(cache_figures(cache).expired, COUNT);
	ck_assert_uint_eq(cache_figures(cache).bytes, 0);
	cache_sweep(cache, 100, NOW + 2);
	cache_free(cache);
}
END_TEST

START_TEST(test_lower_bounds_are_met_by_and_by)
{
	enum { COUNT = 5000 };
	struct cache_options options = {
	        .max_bytes = 1 << 26, .max_entries = COUNT, .caller_share = 1};
	struct cache *cache = cache_new(&options);
	uint64_t before = COUNT, now;

	for (unsigned i = 0; i < COUNT; i++)
		ck_assert(put(cache, (struct recipe){.key = i}));
	options.max_entries = 100;
	cache_configure(cache, &options);
	ck_assert_uint_eq(cache_figures(cache).entries, COUNT);
	/* An insertion takes a part of it on itself, and never fails for it. */
	ck_assert(put(cache, (struct recipe){.key = COUNT}));
	now = cache_figures(cache).entries;
	ck_assert_uint_lt(now, before - 100);
	ck_assert_uint_gt(now, before - 1000);
	cache_sweep(cache, 1000, NOW);
	ck_assert_uint_eq(cache_figures(cache).entries, now - 1000);
	while (cache_figures(cache).entries > 100)
		ck_assert(put(cache, (struct recipe){.key = COUNT}));
	ck_assert(has(cache, COUNT));
	ck_assert(has(cache, COUNT - 1));
	ck_assert(!has(cache, 0));

	options.max_entries = 2 * COUNT;
	cache_configure(cache, &options);
	for (unsigned i = 0; i < 2 * COUNT; i++)
		ck_assert(put(cache, (struct recipe){.key = i}));
	ck_assert_uint_eq(cache_figures(cache).entries, 2 * COUNT);
	cache_free(cache);
}
END_TEST

/* Scopes take memory too. It is told, bounded, and given back. */
START_TEST(test_the_memory_of_scopes_counts)
{
	enum { COUNT = 2000 };
	struct cache_options options = {
	        .max_bytes = 400000, .max_entries = 100000, .caller_share = 0.5};
	struct cache *cache = cache_new(&options);
	uint64_t entry_bytes, seed = 3;
	float vector[DIMENSIONS];

	vector_random(vector, DIMENSIONS, &seed);
	ck_assert(put(cache, (struct recipe){.key = COUNT, .vector = vector}));
	entry_bytes = bytes_of_entry(0) + sizeof(vector);
	ck_assert_uint_gt(cache_figures(cache).bytes, entry_bytes);
	for (unsigned i = 0; i < COUNT; i++) {
		vector_random(vector, DIMENSIONS, &seed);
		ck_assert(put(cache, (struct recipe){.key = i,
		                                     .caller = i % 3,
		                                     .scope = random_below(&seed, i % 5 * 20 + 1),
		                                     .vector = vector}));
		ck_assert_uint_le(cache_figures(cache).bytes, options.max_bytes);
	}
	for (unsigned i = 0; i < 3; i++) {
		struct sha256 caller = name_of('c', i);

		cache_delete_caller(cache, &caller);
	}
	ck_assert_uint_eq(cache_figures(cache).entries, 0);
	ck_assert_uint_eq(cache_figures(cache).bytes, 0);
	cache_free(cache);
}
END_TEST

/* ---------------------------------------------------------------------------- the naive list */

enum { KEYS = 120, CALLERS = 4, MODEL_ROOM = 64 };

struct model_entry {
	unsigned key, caller;
	uint64_t bytes, expires_ms;
	bool has_usage;
};

struct model {
	struct cache_options options;
	struct model_entry list[MODEL_ROOM]; /* the least recently used first */
	unsigned count;
	uint64_t insertions, evicted, expired, replaced, deleted, refused;
};

static void
model_remove(struct model *model, unsigned i)
{
	memmove(&model->list[i], &model->list[i + 1],
	        (model->count - i - 1) * sizeof(model->list[0]));
	model->count--;
}

/* The place of that key, or model->count. */
static unsigned
model_place(const struct model *model, unsigned key)
{
	unsigned i = 0;

	while (i < model->count && model->list[i].key != key)
		i++;
	return i;
}

/* Bytes of that caller's, or of all; how many entries. */
static uint64_t
model_sum(const struct model *model, unsigned caller, bool all, unsigned *entries)
{
	uint64_t bytes = 0;

	*entries = 0;
	for (unsigned i = 0; i < model->count; i++) {
		if (all || model->list[i].caller == caller) {
			bytes += model->list[i].bytes;
			++*entries;
		}
	}
	return bytes;
}

static unsigned
model_victim(const struct model *model, const struct model_entry *entry)
{
	const struct cache_options *options = &model->options;
	unsigned entries, i = 0;
	uint64_t bytes = model_sum(model, entry->caller, false, &entries);

	if (entries == 0 ||
	    ((double)(bytes + entry->bytes) <= options->caller_share * (double)options->max_bytes &&
	     entries + 1 <= options->caller_share * options->max_entries))
		return 0;
	while (model->list[i].caller != entry->caller)
		i++;
	return i;
}

static bool
model_insert(struct model *model, const struct model_entry *entry, uint64_t now_ms)
{
	unsigned old = model_place(model, entry->key), entries;

	if (entry->expires_ms <= now_ms ||
	    (double)entry->bytes > model->options.caller_share * (double)model->options.max_bytes) {
		model->refused++;
		return false;
	}
	if (old < model->count) {
		model->replaced++;
		model_remove(model, old);
	}
	while (model_sum(model, 0, true, &entries) + entry->bytes > model->options.max_bytes ||
	       entries + 1 > model->options.max_entries) {
		unsigned victim = model_victim(model, entry);

		if (model->list[victim].expires_ms <= now_ms)
			model->expired++;
		else
			model->evicted++;
		model_remove(model, victim);
	}
	model->list[model->count++] = *entry;
	model->insertions++;
	return true;
}

static bool
model_find(struct model *model, unsigned key, bool needs_usage, uint64_t now_ms)
{
	unsigned i = model_place(model, key);
	struct model_entry entry;

	if (i == model->count)
		return false;
	entry = model->list[i];
	if (entry.expires_ms <= now_ms) {
		model->expired++;
		model_remove(model, i);
		return false;
	}
	if (needs_usage && !entry.has_usage)
		return false;
	model_remove(model, i);
	model->list[model->count++] = entry;
	return true;
}

static bool
model_delete(struct model *model, unsigned caller, unsigned key)
{
	unsigned i = model_place(model, key);

	if (i == model->count || model->list[i].caller != caller)
		return false;
	model->deleted++;
	model_remove(model, i);
	return true;
}

static void
model_delete_caller(struct model *model, unsigned caller)
{
	for (unsigned i = model->count; i-- > 0;) {
		if (model->list[i].caller == caller) {
			model->deleted++;
			model_remove(model, i);
		}
	}
}

static void
model_sweep(struct model *model, uint64_t now_ms)
{
	for (unsigned i = model->count; i-- > 0;) {
		if (model->list[i].expires_ms <= now_ms) {
			model->expired++;
			model_remove(model, i);
		}
	}
}

static void
compare_figures(struct cache *cache, const struct model *model)
{
	struct cache_figures figures = cache_figures(cache);
	unsigned entries;

	ck_assert_uint_eq(figures.bytes, model_sum(model, 0, true, &entries));
	ck_assert_uint_eq(figures.entries, entries);
	ck_assert_uint_eq(figures.insertions, model->insertions);
	ck_assert_uint_eq(figures.evicted, model->evicted);
	ck_assert_uint_eq(figures.expired, model->expired);
	ck_assert_uint_eq(figures.replaced, model->replaced);
	ck_assert_uint_eq(figures.deleted, model->deleted);
	ck_assert_uint_eq(figures.refused, model->refused);
}

/* The order too. */
static void
compare_order(struct cache *cache, const struct model *model)
{
	struct cache_walk *walk = cache_walk_begin(cache);
	struct cache_entry *entry;
	unsigned i = 0;

	for (; cache_walk_next(walk, &entry, 1) > 0; i++) {
		struct sha256 key;

		ck_assert_uint_lt(i, model->count);
		key = name_of('k', model->list[i].key);
		ck_assert(sha256_equal(&entry->key, &key));
		cache_entry_unref(entry);
	}
	ck_assert_uint_eq(i, model->count);
	cache_walk_end(walk);
}

static void
random_insert(struct cache *cache, struct model *model, uint64_t *seed, uint64_t now_ms)
{
	struct recipe recipe = {.key = random_below(seed, KEYS),
	                        .caller = random_below(seed, CALLERS) * random_below(seed, 2),
	                        .document_bytes = random_below(seed, 2500),
	                        .expires_ms = now_ms + random_below(seed, 200),
	                        .no_usage = random_below(seed, 4) == 0};
	struct cache_entry *entry;
	struct model_entry twin;

	if (random_below(seed, 50) == 0)
		recipe.document_bytes = 20000;
	entry = entry_of(&recipe);
	twin = (struct model_entry){.key = recipe.key,
	                            .caller = recipe.caller,
	                            .bytes = entry->bytes,
	                            .expires_ms = recipe.expires_ms,
	                            .has_usage = !recipe.no_usage};
	ck_assert_int_eq(cache_insert(cache, entry, now_ms), model_insert(model, &twin, now_ms));
}

static void
random_step(struct cache *cache, struct model *model, uint64_t *seed, uint64_t now_ms)
{
	unsigned what = random_below(seed, 1000), key = random_below(seed, KEYS);
	unsigned caller = random_below(seed, CALLERS);
	struct sha256 name = name_of('k', key), caller_name = name_of('c', caller);
	bool needs_usage = random_below(seed, 2) == 0;
	char id[CACHE_ID_DIGITS + 1];

	if (what < 500) {
		random_insert(cache, model, seed, now_ms);
	} else if (what < 900) {
		struct cache_entry *entry = cache_find(cache, &name, needs_usage, now_ms);

		ck_assert_int_eq(entry != NULL, model_find(model, key, needs_usage, now_ms));
		cache_entry_unref(entry);
	} else if (what < 985) {
		id_of(key, id);
		ck_assert_int_eq(cache_delete(cache, &caller_name, id),
		                 model_delete(model, caller, key));
	} else if (what < 990) {
		cache_delete_caller(cache, &caller_name);
		model_delete_caller(model, caller);
	} else {
		cache_sweep(cache, SIZE_MAX, now_ms);
		model_sweep(model, now_ms);
	}
}

START_TEST(test_it_behaves_as_a_naive_list_does)
{
	static const struct cache_options options[] = {
	        {.max_bytes = 50000, .max_entries = 40, .caller_share = 0.5},
	        {.max_bytes = 30000, .max_entries = 60, .caller_share = 0.3},
	        {.max_bytes = 100000, .max_entries = 30, .caller_share = 0.3},
	        {.max_bytes = 50000, .max_entries = 40, .caller_share = 1},
	        {.max_bytes = 1000000, .max_entries = 5, .caller_share = 0.1},
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		struct cache *cache = cache_new(&options[i]);
		struct model model = {.options = options[i]};
		uint64_t seed = i, now_ms = NOW;

		for (unsigned step = 0; step < 10000; step++) {
			now_ms += random_below(&seed, 8) == 0;
			random_step(cache, &model, &seed, now_ms);
			compare_figures(cache, &model);
			if (step % 50 == 0)
				compare_order(cache, &model);
		}
		ck_assert_uint_gt(model.evicted, 500);
		ck_assert_uint_gt(model.expired, 20);
		cache_free(cache);
	}
}
END_TEST

UNIT_MAIN("cache_bounds", test_the_least_recently_used_goes_when_there_are_too_many,
          test_one_big_entry_makes_many_small_ones_go,
          test_an_entry_larger_than_a_callers_part_is_refused_and_nothing_goes_for_it,
          test_a_cache_without_room_takes_nothing,
          test_a_caller_that_floods_pushes_out_only_itself_beyond_its_part,
          test_a_caller_may_have_all_of_what_nobody_else_wants,
          test_a_sweep_removes_what_has_expired_as_far_as_it_goes,
          test_lower_bounds_are_met_by_and_by, test_the_memory_of_scopes_counts,
          test_it_behaves_as_a_naive_list_does)
