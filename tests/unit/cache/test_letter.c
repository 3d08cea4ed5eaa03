#include "cache/letter.h"

#include "unit.h"

START_TEST(test_characters_are_read_and_written_back)
{
	for (uint32_t c = 0; c < LETTER_BAD_BYTE; c++) {
		char text[5] = {0};
		const char *p = text;
		size_t n;

		if (c >= 0xD800 && c <= 0xDFFF)
			continue;
		n = letter_write(c, text);
		ck_assert_msg(bytes_is_utf8((struct bytes){text, n}), "U+%04X", c);
		ck_assert_uint_eq(letter_next(&p, text + n), c);
		ck_assert_uint_eq(p - text, n);
	}
}
END_TEST

START_TEST(test_what_is_no_utf_8_is_read_byte_by_byte)
{
	static const char *const texts[] = {
	        "\x80",     "\xC3",         "\xC3(",        "\xE2\x82",         "\xF0\x9F\x98",
	        "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80",
	        "\xFF",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const char *p = texts[i];
		uint32_t c = letter_next(&p, texts[i] + strlen(texts[i]));
		char byte[4];

		ck_assert_uint_eq(c, LETTER_BAD_BYTE + (unsigned char)texts[i][0]);
		ck_assert_uint_eq(p - texts[i], 1);
		ck_assert_uint_eq(letter_write(c, byte), 1);
		ck_assert(byte[0] == texts[i][0]);
		ck_assert(!letter_is_letter(c) && !letter_is_space(c) && letter_fold(c) == c);
	}
}
END_TEST

START_TEST(test_case_is_folded)
{
	static const char *const pairs[][2] = {
	        {"ABCXYZ", "abcxyz"},
	        {"ÀÉÖØÞ", "àéöøþ"},
	        {"ĀĲŁŇŒŚŸŽ", "āĳłňœśÿž"},
	        {"ΑΩΆΈΉΊΌΎΏΪ", "αωάέήίόύώϊ"},
	        {"АЯЁЂЏҐӁӐԀ", "аяёђџґӂӑԁ"},
	        {"ẠỆỸḀ", "ạệỹḁ"},
	        {"az09ßíæ×÷ςящ東あ한ع", "az09ßíæ×÷ςящ東あ한ع"},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const char *p = pairs[i][0], *q = pairs[i][1];
		const char *end = p + strlen(p), *last = q + strlen(q);

		while (p < end) {
			uint32_t c = letter_next(&p, end), small = letter_next(&q, last);

			ck_assert_msg(letter_fold(c) == small, "%s: U+%04X", pairs[i][0], c);
			ck_assert_uint_eq(letter_fold(small), small);
		}
		ck_assert_ptr_eq(q, last);
	}
	/* None grows: callers write it where it was. */
	for (uint32_t c = 0; c < 0x20000; c++) {
		char text[4];
		size_t n = letter_write(c, text);

		ck_assert_uint_le(letter_write(letter_fold(c), text), n);
		ck_assert_uint_eq(letter_fold(letter_fold(c)), letter_fold(c));
	}
}
END_TEST

START_TEST(test_characters_are_sorted)
{
	static const struct {
		const char *text;
		bool space, letter, ideograph;
	} rows[] = {
	        {" ", true, false, false},      {"\n", true, false, false},
	        {"\u00A0", true, false, false}, {"\u3000", true, false, false},
	        {"a", false, true, false},      {"7", false, false, false},
	        {"é", false, true, false},      {"ß", false, true, false},
	        {"Ω", false, true, false},      {"ж", false, true, false},
	        {"ع", false, true, false},      {"ก", false, true, false},
	        {"한", false, true, false},     {"µ", false, true, false},
	        {"東", false, true, true},      {"あ", false, true, true},
	        {"ー", false, true, true},      {"。", false, false, false},
	        {"、", false, false, false},    {"？", false, false, false},
	        {"—", false, false, false},     {"“", false, false, false},
	        {"€", false, false, false},     {"²", false, false, false},
	        {"½", false, false, false},     {"×", false, false, false},
	        {"🙂", false, false, false},  {"→", false, false, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *p = rows[i].text;
		uint32_t c = letter_next(&p, rows[i].text + strlen(rows[i].text));

		ck_assert_msg(letter_is_space(c) == rows[i].space, "%s", rows[i].text);
		ck_assert_msg(letter_is_letter(c) == rows[i].letter, "%s", rows[i].text);
		ck_assert_msg(letter_is_ideograph(c) == rows[i].ideograph, "%s", rows[i].text);
	}
}
END_TEST

UNIT_MAIN("letter", test_characters_are_read_and_written_back,
          test_what_is_no_utf_8_is_read_byte_by_byte, test_case_is_folded,
          test_characters_are_sorted)
