#include "cache/entry.h"

#include <pthread.h>

#include "cache/cache_fixture.h"

enum { THREADS = 4, ROUNDS = 20000 };

START_TEST(test_an_entry_is_a_copy_of_all_it_was_made_from)
{
	char document[] = "{\"object\":\"chat.completion\"}", model[] = "m", provider[] = "p",
	     question[] = "Why is it so?";
	float vector[DIMENSIONS];
	struct cache_entry from = {.id = "0123456789abcdef",
	                           .caller = name_of('c', 1),
	                           .key = name_of('k', 2),
	                           .scope = name_of('s', 3),
	                           .stored_ms = 4,
	                           .expires_ms = 5,
	                           .has_usage = true,
	                           .document = bytes_of(document),
	                           .model = bytes_of(model),
	                           .provider = bytes_of(provider),
	                           .question = bytes_of(question),
	                           .vector = vector,
	                           .dimensions = DIMENSIONS};
	struct cache_entry *entry;
	struct sketch sketch;

	vector_at(vector, 0, 30);
	ck_assert(sketch_make(&sketch, vector, DIMENSIONS));
	entry = cache_entry_new(&from, false);
	ck_assert_ptr_nonnull(entry);
	memset(document, 'x', sizeof(document) - 1);
	model[0] = provider[0] = question[0] = 'x';
	memset(vector, 0, sizeof(vector));

	ck_assert_str_eq(entry->id, "0123456789abcdef");
	ck_assert(sha256_equal(&entry->caller, &from.caller));
	ck_assert(sha256_equal(&entry->key, &from.key));
	ck_assert(sha256_equal(&entry->scope, &from.scope));
	ck_assert_uint_eq(entry->stored_ms, 4);
	ck_assert_uint_eq(entry->expires_ms, 5);
	ck_assert(entry->has_usage);
	ck_assert(bytes_is(entry->document, "{\"object\":\"chat.completion\"}"));
	ck_assert(bytes_is(entry->model, "m"));
	ck_assert(bytes_is(entry->provider, "p"));
	ck_assert(bytes_is(entry->question, "Why is it so?"));
	ck_assert_uint_eq(entry->dimensions, DIMENSIONS);
	ck_assert_uint_eq((uintptr_t)entry->vector % sizeof(float), 0);
	vector_at(vector, 0, 30);
	for (size_t i = 0; i < DIMENSIONS; i++)
		ck_assert_double_eq(entry->vector[i], vector[i]);
	ck_assert_int_eq(memcmp(&entry->sketch, &sketch, sizeof(sketch)), 0);
	ck_assert_uint_gt(entry->bytes, sizeof(*entry) + sizeof(vector) + strlen(document) + 2);
	ck_assert_uint_eq(entry->references, 1);
	cache_entry_unref(entry);
}
END_TEST

START_TEST(test_a_sketch_that_is_known_is_kept)
{
	float vector[DIMENSIONS] = {1};
	struct cache_entry from = {.vector = vector,
	                           .dimensions = DIMENSIONS,
	                           .sketch = {{{1, 2, 3, 4}}, {{5, 6, 7, 8}}}};
	struct cache_entry *kept = cache_entry_new(&from, true);
	struct cache_entry *made = cache_entry_new(&from, false);

	ck_assert_int_eq(memcmp(&kept->sketch, &from.sketch, sizeof(from.sketch)), 0);
	ck_assert_int_ne(memcmp(&made->sketch, &from.sketch, sizeof(from.sketch)), 0);
	cache_entry_unref(kept);
	cache_entry_unref(made);
}
END_TEST

START_TEST(test_an_entry_may_have_next_to_nothing)
{
	static const struct sketch none;
	struct cache_entry from = {.dimensions = 7, .references = 9, .bytes = 1};
	struct cache_entry *entry = cache_entry_new(&from, true);

	ck_assert_ptr_null(entry->vector);
	ck_assert_uint_eq(entry->dimensions, 0);
	ck_assert_int_eq(memcmp(&entry->sketch, &none, sizeof(none)), 0);
	ck_assert_uint_eq(entry->document.n + entry->question.n, 0);
	ck_assert_uint_ge(entry->bytes, sizeof(*entry));
	ck_assert_uint_eq(entry->references, 1);
	cache_entry_unref(entry);
	cache_entry_unref(NULL);
}
END_TEST

static void *
let_go(void *arg)
{
	struct cache_entry *entry = arg;

	for (unsigned i = 0; i < ROUNDS; i++)
		cache_entry_unref(cache_entry_ref(entry));
	cache_entry_unref(entry);
	return NULL;
}

START_TEST(test_the_last_thread_to_let_go_frees)
{
	struct cache_entry *entry = entry_of(&(struct recipe){.key = 1});
	pthread_t threads[THREADS];

	for (int i = 1; i < THREADS; i++)
		ck_assert_ptr_eq(cache_entry_ref(entry), entry);
	/* A sanitizer fails this program on a use after free or a leak. */
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, let_go, entry), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

/* ThreadSanitizer fails this program where the copy reads what the other threads write. */
START_TEST(test_a_vector_is_added_to_a_copy_while_others_let_go)
{
	struct cache_entry *entry = entry_of(&(struct recipe){.key = 1});
	float vector[DIMENSIONS];
	pthread_t threads[THREADS];

	vector_at(vector, 0, 30);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, let_go, cache_entry_ref(entry)),
		                 0);
	for (unsigned i = 0; i < ROUNDS / 100; i++) {
		struct cache_entry *with = cache_entry_with_vector(entry, vector, DIMENSIONS);

		ck_assert_ptr_nonnull(with);
		ck_assert_uint_eq(with->references, 1);
		ck_assert_str_eq(with->id, entry->id);
		ck_assert(sha256_equal(&with->key, &entry->key));
		ck_assert(sha256_equal(&with->scope, &entry->scope));
		ck_assert_uint_eq(with->expires_ms, entry->expires_ms);
		ck_assert(bytes_equal(with->document, entry->document));
		ck_assert_ptr_ne(with->document.p, entry->document.p);
		for (size_t k = 0; k < DIMENSIONS; k++)
			ck_assert_double_eq(with->vector[k], vector[k]);
		cache_entry_unref(with);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	cache_entry_unref(entry);
}
END_TEST

UNIT_MAIN("entry", test_an_entry_is_a_copy_of_all_it_was_made_from,
          test_a_sketch_that_is_known_is_kept, test_an_entry_may_have_next_to_nothing,
          test_the_last_thread_to_let_go_frees,
          test_a_vector_is_added_to_a_copy_while_others_let_go)
