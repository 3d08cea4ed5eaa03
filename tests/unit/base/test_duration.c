#include "base/duration.h"

#include "unit.h"

static const uint64_t max_ms = 86400000;

START_TEST(test_a_duration_is_seconds_or_a_number_with_a_unit)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} rows[] = {
	        {"0", 0},          {"30", 30000},       {"0.5", 500},     {"250ms", 250},
	        {"30s", 30000},    {"1.5s", 1500},      {"5m", 300000},   {"0.5m", 30000},
	        {"1h", 3600000},   {"0ms", 0},          {"1.2345", 1234}, {"1.9ms", 1},
	        {"24h", 86400000}, {"86400", 86400000},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t ms = 1;

		ck_assert_msg(duration_parse_ms(bytes_of(rows[i].text), max_ms, &ms), "%s",
		              rows[i].text);
		ck_assert_msg(ms == rows[i].ms, "%s gives %llu", rows[i].text,
		              (unsigned long long)ms);
	}
}
END_TEST

START_TEST(test_anything_else_is_no_duration)
{
	static const char *const rows[] = {
	        "",
	        "s",
	        "ms",
	        "-1",
	        "+1",
	        " 1",
	        "1 ",
	        "1 s",
	        "1d",
	        "1.",
	        ".5",
	        "1.s",
	        "1e3",
	        "1,5",
	        "0x10",
	        "1.2.3",
	        "25h",
	        "86401",
	        "86400001ms",
	        "99999999999999999999",
	        "18446744073709551615h",
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t ms = 7;

		ck_assert_msg(!duration_parse_ms(bytes_of(rows[i]), max_ms, &ms), "'%s'", rows[i]);
		ck_assert_uint_eq(ms, 7);
	}
	ck_assert(!duration_parse_ms((struct bytes){NULL, 0}, max_ms, &(uint64_t){0}));
}
END_TEST

UNIT_MAIN("duration", test_a_duration_is_seconds_or_a_number_with_a_unit,
          test_anything_else_is_no_duration)
