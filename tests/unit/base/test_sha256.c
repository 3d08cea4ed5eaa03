#include "unit.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/sha256.h"

static void
check_digest(struct bytes text, const char *expected)
{
	struct sha256 digest = sha256_of(text);
	char hex[65];

	for (size_t i = 0; i < sizeof(digest.bytes); i++)
		snprintf(hex + 2 * i, 3, "%02x", digest.bytes[i]);
	ck_assert_str_eq(hex, expected);
}

START_TEST(test_the_vectors_of_the_standard)
{
	size_t n = 1000000;
	char *text = mem_new(n);

	check_digest(bytes_of("abc"),
	             "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	check_digest(bytes_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
	             "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	check_digest(bytes_of("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
	                      "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"),
	             "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
	memset(text, 'a', n);
	check_digest((struct bytes){text, n},
	             "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	free(text);
}
END_TEST

START_TEST(test_no_text_is_an_empty_one)
{
	static const char expected[] =
	        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

	check_digest((struct bytes){NULL, 0}, expected);
	check_digest(bytes_of(""), expected);
}
END_TEST

/* One byte is padded to a block, 56 and 64 bytes to two. */
START_TEST(test_lengths_at_the_edge_of_a_block)
{
	static const struct {
		size_t n;
		const char *expected;
	} table[] = {
	        {1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
	        {55, "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7"},
	        {56, "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb"},
	        {64, "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"},
	};
	static const char zeros[64] = {0};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		check_digest((struct bytes){zeros, table[i].n}, table[i].expected);
}
END_TEST

START_TEST(test_digests_are_equal_byte_for_byte)
{
	struct sha256 a = sha256_of(bytes_of("a")), b = a;

	ck_assert(sha256_equal(&a, &b));
	for (size_t i = 0; i < sizeof(b.bytes); i++) {
		b = a;
		b.bytes[i] ^= 1;
		ck_assert(!sha256_equal(&a, &b));
	}
}
END_TEST

UNIT_MAIN("sha256", test_the_vectors_of_the_standard, test_no_text_is_an_empty_one,
          test_lengths_at_the_edge_of_a_block, test_digests_are_equal_byte_for_byte)
