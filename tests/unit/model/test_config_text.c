/* The small readers of texts: numbers, durations, sizes, addresses, near misses. */
#include "model/config_text.h"

#include <string.h>

#include "unit.h"

START_TEST(test_numbers_are_those_of_json)
{
	static const struct {
		const char *text;
		bool fine;
		double value;
	} rows[] = {
	        {"0", true, 0},         {"-0", true, 0},      {"2.0", true, 2},
	        {"0.125", true, 0.125}, {"1e3", true, 1000},  {"1E-2", true, .01},
	        {"-1.5", true, -1.5},   {"1.5e+1", true, 15}, {"", false, 0},
	        {"-", false, 0},        {".5", false, 0},     {"5.", false, 0},
	        {"01", false, 0},       {"+1", false, 0},     {"1e", false, 0},
	        {"1e+", false, 0},      {"0x1", false, 0},    {"1_000", false, 0},
	        {"inf", false, 0},      {"nan", false, 0},    {" 1", false, 0},
	        {"1 ", false, 0},       {"1,5", false, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double value = 0;

		ck_assert_msg(config_text_to_number(rows[i].text, &value) == rows[i].fine, "%s",
		              rows[i].text);
		ck_assert_double_eq(value, rows[i].value);
	}
}
END_TEST

START_TEST(test_whole_numbers)
{
	static const struct {
		const char *text;
		bool fine;
		uint64_t value;
	} rows[] = {
	        {"0", true, 0},
	        {"10", true, 10},
	        {"18446744073709551615", true, UINT64_MAX},
	        {"18446744073709551616", false, 0},
	        {"", false, 0},
	        {"-1", false, 0},
	        {"+1", false, 0},
	        {"00", false, 0},
	        {"1.0", false, 0},
	        {"1 ", false, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t value = 0;

		ck_assert_msg(config_text_to_whole(rows[i].text, &value) == rows[i].fine, "%s",
		              rows[i].text);
		ck_assert_uint_eq(value, rows[i].value);
	}
}
END_TEST

START_TEST(test_durations)
{
	static const struct {
		const char *text;
		bool fine;
		double ms;
		bool unit;
	} rows[] = {
	        {"30", true, 30000, false},  {"0.5", true, 500, false},
	        {"0", true, 0, false},       {"250ms", true, 250, true},
	        {"30s", true, 30000, true},  {"1.5m", true, 90000, true},
	        {"1h", true, 3600000, true}, {"1e2ms", true, 100, true},
	        {"-1", true, -1000, false},  {"", false, 0, false},
	        {"ms", false, 0, true},      {"1d", false, 0, true},
	        {"1 s", false, 0, true},     {"1S", false, 0, true},
	        {"1mss", false, 0, true},    {"1m30s", false, 0, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double ms = 0;
		bool unit;

		ck_assert_msg(config_text_to_ms(rows[i].text, &ms, &unit) == rows[i].fine, "%s",
		              rows[i].text);
		ck_assert_double_eq(ms, rows[i].ms);
		ck_assert(!rows[i].fine || unit == rows[i].unit);
	}
}
END_TEST

START_TEST(test_sizes)
{
	static const struct {
		const char *text;
		bool fine;
		uint64_t bytes;
	} rows[] = {
	        {"0", true, 0},
	        {"10485760", true, 10485760},
	        {"1KiB", true, 1024},
	        {"10MiB", true, 10485760},
	        {"2GiB", true, 2147483648},
	        {"17179869183GiB", true, 18446744072635809792u},
	};
	static const char *const wrong[] = {
	        "",
	        "KiB",
	        "1KB",
	        "1kib",
	        "1.5MiB",
	        "-1",
	        "1 KiB",
	        "010",
	        "1MiBx",
	        "99999999999999999999",
	        "17179869184GiB",
	        "18446744073709551615KiB",
	};
	uint64_t bytes;
	bool unit;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_msg(config_text_to_bytes(rows[i].text, &bytes, &unit), "%s",
		              rows[i].text);
		ck_assert_uint_eq(bytes, rows[i].bytes);
		ck_assert(unit == (strchr(rows[i].text, 'B') != NULL));
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(!config_text_to_bytes(wrong[i], &bytes, &unit), "%s", wrong[i]);
}
END_TEST

START_TEST(test_base_urls)
{
	static const char *const fine[] = {
	        "http://h",
	        "https://h/",
	        "https://h.example:8443/a/b/",
	        "http://127.0.0.1",
	        "http://[::1]:11434/v1",
	        "http://model_server:80/v1",
	};
	static const char *const wrong[] = {
	        "",
	        "h",
	        "//h",
	        "HTTP://h",
	        "http:/h",
	        "http://",
	        "http://:80",
	        "http://h:",
	        "http://h:x",
	        "http://h:65536",
	        "http://h:0",
	        "http://[::1",
	        "http://[h]",
	        "http://[::1]80",
	        "http://h\\i",
	        "http://-h",
	        "http://.h",
	        "http://u@h",
	        "http://h#f",
	        "http://h?q",
	        "http://h/ ",
	        "http://h/\n",
	        "http://h/\xc3",
	        "http://a b",
	        "http://h;i",
	        "file:///etc",
	        "http://[]",
	        "gopher://h",
	};

	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		ck_assert_msg(config_url_problem(fine[i]) == NULL, "%s", fine[i]);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(config_url_problem(wrong[i]) != NULL, "%s", wrong[i]);
}
END_TEST

START_TEST(test_addresses_to_listen_on)
{
	static const struct {
		const char *text, *host;
		unsigned port;
	} rows[] = {
	        {"127.0.0.1:8080", "127.0.0.1", 8080},
	        {"[::1]:8080", "::1", 8080},
	        {"[::]:1", "::", 1},
	        {":8080", "*", 8080},
	        {"*:0", "*", 0},
	        {"localhost:65535", "localhost", 65535},
	};
	static const char *const wrong[] = {
	        "",     ":",     "h",      "h:",      "h:65536", "h:-1", "[::1]", "[::1",
	        "[]:1", "[*]:1", "::1:80", "h:80:81", "a b:1",   "**:1", "h/x:1", "http://h:1",
	};
	char host[256], small[4];
	uint16_t port;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_msg(!config_address_split(rows[i].text, host, sizeof(host), &port), "%s",
		              rows[i].text);
		ck_assert_str_eq(host, rows[i].host);
		ck_assert_uint_eq(port, rows[i].port);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(config_address_split(wrong[i], host, sizeof(host), &port) != NULL,
		              "%s", wrong[i]);
	ck_assert_ptr_nonnull(config_address_split("host:1", small, sizeof(small), &port));
}
END_TEST

START_TEST(test_near_misses)
{
	static const struct {
		const char *name, *known;
		bool like;
	} rows[] = {
	        {"threshold", "threshold", true},
	        {"treshold", "threshold", true},
	        {"thresholds", "threshold", true},
	        {"thershold", "threshold", true},
	        {"Threshold", "threshold", true},
	        {"trsehold", "threshold", true},
	        {"hold", "threshold", false},
	        {"prot", "port", true},
	        {"pots", "port", false},
	        {"x", "y", false},
	        {"ab", "a", false},
	        {"", "a", false},
	        {"tls", "ttl", false},
	        {"tsl", "tls", true},
	};
	char long_text[128];
	unsigned distance;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(config_text_is_like(rows[i].name, rows[i].known, &distance) ==
		                      rows[i].like,
		              "%s %s %u", rows[i].name, rows[i].known, distance);
	ck_assert_uint_eq(config_text_distance("", "", 2), 0);
	ck_assert_uint_eq(config_text_distance("abc", "abc", 2), 0);
	ck_assert_uint_eq(config_text_distance("ab", "ba", 2), 1);
	ck_assert_uint_eq(config_text_distance("abcd", "badc", 2), 2);
	ck_assert_uint_eq(config_text_distance("kitten", "sitting", 5), 3);
	ck_assert_uint_eq(config_text_distance("kitten", "sitting", 2), 3);
	memset(long_text, 'a', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	ck_assert_uint_eq(config_text_distance(long_text, long_text, 2), 3);
}
END_TEST

UNIT_MAIN("config_text", test_numbers_are_those_of_json, test_whole_numbers, test_durations,
          test_sizes, test_base_urls, test_addresses_to_listen_on, test_near_misses)
