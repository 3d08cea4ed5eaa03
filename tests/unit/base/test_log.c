/* Lines of the operator's log, read back from a file. */
#include "base/log.h"

#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "unit.h"

struct book {
	char path[64];
	struct log_sink *sink;
	struct log *log;
	char *text; /* after book_close */
};

static struct book
book_open(enum log_level level)
{
	struct book book = {.path = "/tmp/draft-thinker-test-XXXXXX"};
	char error[128];
	int fd = mkstemp(book.path);

	ck_assert_int_ge(fd, 0);
	close(fd);
	book.sink = log_sink_open(book.path, error, sizeof(error));
	ck_assert_ptr_nonnull(book.sink);
	book.log = log_new(book.sink, level);
	return book;
}

static void
book_close(struct book *book)
{
	FILE *file;
	size_t size = 0;

	log_free(book->log);
	log_sink_close(book->sink);
	file = fopen(book->path, "r");
	ck_assert_ptr_nonnull(file);
	book->text = NULL;
	if (getdelim(&book->text, &size, '\0', file) < 0) {
		free(book->text);
		book->text = mem_copy(bytes_of(""));
	}
	fclose(file);
	unlink(book->path);
}

static unsigned
occurrences(const char *text, const char *part)
{
	unsigned count = 0;

	for (; (text = strstr(text, part)); text += strlen(part))
		count++;
	return count;
}

START_TEST(test_a_line_has_time_level_event_and_text)
{
	struct book book = book_open(LOG_LEVEL_DEBUG);
	regex_t regex;

	log_event(book.log, LOG_LEVEL_WARN, "reload_failed", "file=%s line=%d", "a.yaml", 7);
	log_event(book.log, LOG_LEVEL_ERROR, "plain", "%s", "");
	book_close(&book);
	ck_assert_int_eq(regcomp(&regex,
	                         "^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
	                         "\\.[0-9]{3}Z warn reload_failed file=a.yaml line=7\n"
	                         "[^ ]{24} error plain\n$",
	                         REG_EXTENDED | REG_NOSUB),
	                 0);
	ck_assert_msg(regexec(&regex, book.text, 0, NULL, 0) == 0, "%s", book.text);
	regfree(&regex);
	free(book.text);
}
END_TEST

START_TEST(test_events_below_the_level_are_not_written_and_the_level_can_change)
{
	struct book book = book_open(LOG_LEVEL_WARN);

	log_event(book.log, LOG_LEVEL_INFO, "hidden", "a=1");
	log_event(book.log, LOG_LEVEL_ERROR, "shown", "a=1");
	log_set_level(book.log, LOG_LEVEL_DEBUG);
	log_event(book.log, LOG_LEVEL_DEBUG, "details", "a=1");
	log_set_level(book.log, LOG_LEVEL_ERROR);
	log_event(book.log, LOG_LEVEL_WARN, "hidden", "a=2");
	log_event(NULL, LOG_LEVEL_ERROR, "hidden", "a=3");
	book_close(&book);
	ck_assert_ptr_null(strstr(book.text, "hidden"));
	ck_assert_uint_eq(occurrences(book.text, " error shown a=1\n"), 1);
	ck_assert_uint_eq(occurrences(book.text, " debug details a=1\n"), 1);
	free(book.text);
}
END_TEST

static const struct {
	const char *text, *written;
} escapes[] = {
        {"a\nb", "a\\x0ab"},
        {"a\r\tb", "a\\x0d\\x09b"},
        {"\x1b[31m", "\\x1b[31m"},
        {"\x7f", "\\x7f"},
        {"\xc2\x9b", "\\xc2\\x9b"},                   /* a C1 control: CSI */
        {"\xc2\xa0", "\xc2\xa0"},                     /* the first beyond them */
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"}, /* text stays text */
        {"\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xff\xe2\x82", "\\xff\\xe2\\x82"}, /* no UTF-8 */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* a surrogate */
        {"a=\"b c\" \\", "a=\"b c\" \\"},
};

START_TEST(test_control_bytes_and_bytes_that_are_no_text_are_escaped)
{
	for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
		struct book book = book_open(LOG_LEVEL_DEBUG);
		char expected[128];

		log_event(book.log, LOG_LEVEL_DEBUG, "e", "[%s]", escapes[i].text);
		book_close(&book);
		snprintf(expected, sizeof(expected), " debug e [%s]\n", escapes[i].written);
		ck_assert_msg(strstr(book.text, expected), "%s is not in %s", expected, book.text);
		ck_assert_uint_eq(occurrences(book.text, "\n"), 1);
		free(book.text);
	}
}
END_TEST

START_TEST(test_a_text_too_long_is_cut_and_marked)
{
	struct book book = book_open(LOG_LEVEL_DEBUG);
	char *text = mem_new(100001);

	memset(text, '\a', 100000);
	log_event(book.log, LOG_LEVEL_INFO, "long", "%s", text);
	log_event(book.log, LOG_LEVEL_INFO, "short", "%.4096s", text);
	book_close(&book);
	ck_assert_uint_eq(occurrences(book.text, "\\x07"), 2 * 4096);
	ck_assert_uint_eq(occurrences(book.text, " [cut]\n"), 1);
	ck_assert_uint_eq(occurrences(book.text, "\\x07\n"), 1);
	free(text);
	free(book.text);
}
END_TEST

START_TEST(test_a_flood_of_one_event_is_summed_up_and_hides_no_other)
{
	struct book book = book_open(LOG_LEVEL_INFO);
	unsigned written;

	for (unsigned i = 0; i < 1000; i++)
		log_event(book.log, LOG_LEVEL_WARN, "upstream_failed", "i=%u", i);
	log_event(book.log, LOG_LEVEL_INFO, "other", "a=1");
	book_close(&book);
	written = occurrences(book.text, "upstream_failed i=");
	ck_assert_uint_ge(written, 20);
	ck_assert_uint_lt(written, 200); /* even if the machine made this take seconds */
	ck_assert_ptr_nonnull(strstr(book.text, " warn upstream_failed suppressed="));
	ck_assert_uint_eq(occurrences(book.text, " info other a=1\n"), 1);
	if (written == 20)
		ck_assert_ptr_nonnull(strstr(book.text, "upstream_failed suppressed=980\n"));
	free(book.text);
}
END_TEST

START_TEST(test_after_a_second_the_sum_is_told_and_lines_pass_again)
{
	struct book book = book_open(LOG_LEVEL_INFO);
	const char *sum, *again;

	for (unsigned i = 0; i < 25; i++)
		log_event(book.log, LOG_LEVEL_WARN, "flood", "first=%u", i);
	nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 50000000}, NULL);
	log_event(book.log, LOG_LEVEL_WARN, "flood", "again=1");
	book_close(&book);
	sum = strstr(book.text, " warn flood suppressed=5\n");
	again = strstr(book.text, " warn flood again=1\n");
	ck_assert_ptr_nonnull(sum);
	ck_assert_ptr_nonnull(again);
	ck_assert(sum < again);
	ck_assert_uint_eq(occurrences(book.text, "suppressed"), 1);
	free(book.text);
}
END_TEST

START_TEST(test_debug_lines_are_not_limited)
{
	struct book book = book_open(LOG_LEVEL_DEBUG);

	for (unsigned i = 0; i < 500; i++)
		log_event(book.log, LOG_LEVEL_DEBUG, "detail", "i=%u", i);
	book_close(&book);
	ck_assert_uint_eq(occurrences(book.text, "debug detail i="), 500);
	free(book.text);
}
END_TEST

START_TEST(test_more_event_names_than_are_remembered_lose_no_line)
{
	struct book book = book_open(LOG_LEVEL_INFO);

	for (unsigned i = 0; i < 200; i++) {
		char name[16];

		snprintf(name, sizeof(name), "event_%u", i);
		for (unsigned k = 0; k < 21; k++)
			log_event(book.log, LOG_LEVEL_INFO, name, "k=%u", k);
	}
	book_close(&book);
	ck_assert_uint_eq(occurrences(book.text, " k="), 200 * 20);
	ck_assert_uint_eq(occurrences(book.text, "suppressed=1\n"), 200);
	free(book.text);
}
END_TEST

static void *
run_logger(void *arg)
{
	for (unsigned i = 0; i < 1000; i++) {
		log_event(arg, LOG_LEVEL_INFO, i % 2 ? "odd" : "even", "i=%u", i);
		log_set_level(arg, i % 3 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG);
	}
	return NULL;
}

START_TEST(test_any_thread_may_log)
{
	struct book book = book_open(LOG_LEVEL_INFO);
	pthread_t threads[3];

	for (unsigned i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, run_logger, book.log);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	book_close(&book);
	ck_assert_uint_ge(occurrences(book.text, " info odd i="), 20);
	ck_assert_uint_ge(occurrences(book.text, " info even i="), 20);
	free(book.text);
}
END_TEST

static const struct {
	uint64_t wall_ms;
	const char *text;
} times[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1767323045678, "2026-01-02T03:04:05.678Z"},
        {951782400001, "2000-02-29T00:00:00.001Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {UINT64_MAX, "9999-12-31T23:59:59.999Z"},
};

START_TEST(test_times_are_rfc_3339_in_utc)
{
	char text[CLOCK_TEXT_SIZE];

	setenv("TZ", "America/New_York", 1);
	tzset();
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		clock_format(times[i].wall_ms, text);
		ck_assert_str_eq(text, times[i].text);
	}
}
END_TEST

UNIT_MAIN("log", test_a_line_has_time_level_event_and_text,
          test_events_below_the_level_are_not_written_and_the_level_can_change,
          test_control_bytes_and_bytes_that_are_no_text_are_escaped,
          test_a_text_too_long_is_cut_and_marked,
          test_a_flood_of_one_event_is_summed_up_and_hides_no_other,
          test_after_a_second_the_sum_is_told_and_lines_pass_again,
          test_debug_lines_are_not_limited, test_more_event_names_than_are_remembered_lose_no_line,
          test_any_thread_may_log, test_times_are_rfc_3339_in_utc)
