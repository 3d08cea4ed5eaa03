#include "base/rope.h"

#include <stdlib.h>

#include "base/blob.h"
#include "rope_text.h"
#include "unit.h"

/* Pieces of many lengths, empty ones too; the whole is the same however much of it is borrowed. */
static const char *const pieces[] = {"",        "a",  "bcd", "",   "efghijkl", "m",
                                     "nopqrst", "uv", "w",   "x",  "yz",       "0123",
                                     "45",      "6",  "789", "AB", "C",        "DEFGH"};
static const char whole[] = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH";

static void
fill(struct rope *rope, size_t borrow_bytes)
{
	rope_init(rope, borrow_bytes);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
		rope_add(rope, bytes_of(pieces[i]));
}

START_TEST(test_every_part_is_read_as_it_was_added)
{
	const size_t n = strlen(whole);

	for (size_t borrow = 0; borrow < 10; borrow++) {
		struct rope rope;
		char out[sizeof(whole)];

		fill(&rope, borrow);
		ck_assert_uint_eq(rope_size(&rope), n);
		for (size_t from = 0; from <= n + 1; from++) {
			for (size_t count = 0; count <= n + 1; count++) {
				size_t left = from < n ? n - from : 0;
				size_t got = rope_read(&rope, from, out, count < n ? count : n);

				ck_assert_uint_eq(got, count < left ? count : left);
				ck_assert(got == 0 || memcmp(out, whole + from, got) == 0);
			}
		}
		rope_fini(&rope);
	}
}
END_TEST

START_TEST(test_only_pieces_that_are_large_enough_are_borrowed)
{
	struct rope rope;

	fill(&rope, 5);
	ck_assert_uint_eq(rope.borrowed_count, 3);
	ck_assert_uint_eq(rope.own.n, strlen(whole) - 8 - 7 - 5);
	rope_fini(&rope);
	fill(&rope, 0);
	ck_assert_uint_eq(rope.borrowed_count, 0);
	rope_fini(&rope);
	fill(&rope, 1); /* more than can be */
	ck_assert_uint_eq(rope.borrowed_count, ROPE_BORROWED_MAX);
	rope_fini(&rope);
}
END_TEST

START_TEST(test_an_empty_rope_has_no_text)
{
	struct rope rope;
	struct buf text;

	rope_init(&rope, 1);
	ck_assert_uint_eq(rope_size(&rope), 0);
	text = rope_text(&rope, 3);
	ck_assert(!text.failed && text.n == 0);
	buf_fini(&text);
}
END_TEST

START_TEST(test_a_blob_goes_with_its_last_owner)
{
	struct blob *blob = blob_try(3);

	ck_assert_ptr_nonnull(blob);
	memcpy(blob->p, "abc", 3);
	ck_assert_ptr_eq(blob_ref(blob), blob);
	blob_unref(blob);
	ck_assert_int_eq(memcmp(blob->p, "abc", 3), 0);
	blob_unref(blob);
	blob_unref(NULL);
	ck_assert_ptr_null(blob_ref(NULL));
	ck_assert_ptr_null(blob_try(SIZE_MAX));
	ck_assert_ptr_null(blob_try(SIZE_MAX - 8));
}
END_TEST

UNIT_MAIN("rope", test_every_part_is_read_as_it_was_added,
          test_only_pieces_that_are_large_enough_are_borrowed, test_an_empty_rope_has_no_text,
          test_a_blob_goes_with_its_last_owner)
