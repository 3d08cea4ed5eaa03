#include "wire/sse_reader.h"

#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "unit.h"

enum { LIMIT = 1 << 22 };

/* What the reader said, one event a line: name|data, line feeds in the data as ^ and NUL as @, then
 * `!` for a failure or `~` when the end of the stream would cut an event. */
static void
events_drain(struct sse_reader *r, struct buf *out)
{
	struct sse_event event;

	while (sse_reader_next(r, &event)) {
		ck_assert_ptr_nonnull(event.data.p);
		buf_add_bytes(out, event.name);
		buf_add(out, "|", 1);
		for (size_t i = 0; i < event.data.n; i++) {
			char c = event.data.p[i];

			buf_add(out, c == '\n' ? "^" : c == '\0' ? "@" : &c, 1);
		}
		buf_add(out, "\n", 1);
	}
}

/* A copy without slack, so that a sanitizer sees every read past the chunk, and freed after the
 * reader said that it has no more events, so that it sees what was not kept. */
static void
chunk_feed(struct sse_reader *r, const char *p, size_t n, struct buf *out)
{
	char *chunk = mem_new(n);

	memcpy(chunk, p, n);
	sse_reader_feed(r, (struct bytes){chunk, n});
	events_drain(r, out);
	memset(chunk, '#', n);
	free(chunk);
}

static void
stream_end(struct sse_reader *r, struct buf *out)
{
	buf_add_text(out, r->failed ? "!" : sse_reader_is_midway(r) ? "~" : "");
	buf_add(out, "", 1);
	sse_reader_fini(r);
}

static void
check_cut(struct bytes text, size_t limit, size_t first, size_t second, const char *want)
{
	struct sse_reader r;
	struct buf out;

	buf_init(&out, 0);
	sse_reader_init(&r, limit);
	chunk_feed(&r, text.p, first, &out);
	chunk_feed(&r, text.p + first, second - first, &out);
	chunk_feed(&r, text.p + second, text.n - second, &out);
	stream_end(&r, &out);
	ck_assert_msg(strcmp(out.p, want) == 0,
	              "\"%.*s\" cut at %zu and %zu gives\n%s\ninstead of\n%s", (int)text.n, text.p,
	              first, second, out.p, want);
	buf_fini(&out);
}

static void
check_every_cut(struct bytes text, size_t limit, const char *want)
{
	struct sse_reader r;
	struct buf out;

	for (size_t first = 0; first <= text.n; first++) {
		for (size_t second = first; second <= text.n; second++)
			check_cut(text, limit, first, second, want);
	}
	buf_init(&out, 0);
	sse_reader_init(&r, limit);
	for (size_t i = 0; i < text.n; i++)
		chunk_feed(&r, text.p + i, 1, &out);
	stream_end(&r, &out);
	ck_assert_str_eq(out.p, want);
	buf_fini(&out);
}

static const struct {
	const char *text, *want;
} streams[] = {
        {"", ""},
        {"data: a\n\n", "|a\n"},
        {"data: a\r\n\r\n", "|a\n"},
        {"data: a\r\r", "|a\n"},
        {"data: a\n\r\n", "|a\n"},
        {"data: a\r\n\n", "|a\n"},
        {"data: a\n\rdata: b\r\n\r", "|a\n|b\n"},
        {"data: a\r\n\r\ndata: b\r\n\r\n", "|a\n|b\n"},
        /* One space after the colon goes, the others stay. */
        {"data:a\n\n", "|a\n"},
        {"data:  a \n\n", "| a \n"},
        {"data:\ta\n\n", "|\ta\n"},
        {"data: a:b: c\n\n", "|a:b: c\n"},
        /* Several data lines are joined. */
        {"data: a\ndata: b\n\n", "|a^b\n"},
        {"data: a\r\ndata\r\ndata: c\r\n\r\n", "|a^^c\n"},
        {"data: a\n: comment\nid: 7\ndata: b\n\n", "|a^b\n"},
        /* Empty data are data, no data are no event. */
        {"data\n\n", "|\n"},
        {"data:\n\n", "|\n"},
        {"data: \n\n", "|\n"},
        {"data\ndata\n\ndata:", "|^\n~"},
        {"event: x\n\ndata: a\n\n", "|a\n"},
        {"\n\n\n", ""},
        {": keepalive\n\n", ""},
        {":\n\n:\n\ndata: a\n\n:\n", "|a\n"},
        /* Names. */
        {"event: error\ndata: a\n\n", "error|a\n"},
        {"data: a\nevent:error\n\ndata: b\n\n", "error|a\n|b\n"},
        {"event: one\nevent: two\ndata: a\n\n", "two|a\n"},
        {"event: one\nevent\ndata: a\n\n", "|a\n"},
        /* Fields that mean nothing here. */
        {"id: 1\nretry: 10\ndata: a\n\n", "|a\n"},
        {"Data: a\n\n", ""},
        {" data: a\n\n", ""},
        {"dat: a\ndatas: b\n\n", ""},
        {"data : a\n\n", ""},
        {"{\"error\":1}\n\n", ""},
        /* A byte order mark is dropped at the very beginning only. */
        {"\xEF\xBB\xBF"
         "data: a\n\ndata: b\n\n",
         "|a\n|b\n"},
        {"\n\xEF\xBB\xBF"
         "data: a\n\n",
         ""},
        {"\xEF\xBB\xBF\xEF\xBB\xBF"
         "data: a\n\n",
         ""},
        {"\xEF\xBB\xBF\ndata: a\n\n", "|a\n"},
        {"\xEF\xBB\xBF", ""},
        {"data: \xEF\xBB\xBF"
         "a\n\n",
         "|\xEF\xBB\xBF"
         "a\n"},
        /* What the end of the stream cuts is no event. */
        {"data: a", "~"},
        {"data: a\n", "~"},
        {"data: a\r\n\r\ndata: b\r\n", "|a\n~"},
        {"event: x\n", "~"},
        {"data: a\n\nda", "|a\n~"},
        {"data: a\n\n: comm", "|a\n"},
        {"data: a\n: comm", "~"},
};

START_TEST(test_a_stream_gives_the_same_events_in_every_cutting)
{
	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++)
		check_every_cut(bytes_of(streams[i].text), LIMIT, streams[i].want);
}
END_TEST

START_TEST(test_any_byte_may_stand_in_the_data)
{
	check_every_cut((struct bytes){"data: a\0b\xff\n\n", 12}, LIMIT, "|a@b\xff\n");
}
END_TEST

static const struct {
	const char *text, *want;
} limited[] = {
        /* The limit is 10 bytes for a line and for the data of an event. */
        {"data: 0123\n\n", "|0123\n"},
        {"data: 01234\n\n", "!"},
        {"data: 01234", "!"},
        {"data: a\n\ndata: 01234\n\ndata: b\n\n", "|a\n!"},
        {": 23456789\ndata: a\n\n", "|a\n"},
        {": 234567890", "!"},
        {"data:1234\ndata:56789\n\n", "|1234^56789\n"},
        {"data:12345\ndata:67890\n\n", "!"},
        {"data:12345\ndata:678\ndata:\n\n", "|12345^678^\n"},
        {"data:12345\ndata:678\ndata:\ndata:\n\n", "!"},
};

START_TEST(test_an_event_past_the_limit_fails_in_every_cutting)
{
	for (size_t i = 0; i < sizeof(limited) / sizeof(limited[0]); i++)
		check_every_cut(bytes_of(limited[i].text), 10, limited[i].want);
}
END_TEST

START_TEST(test_a_failed_reader_says_nothing_more)
{
	struct sse_reader r;
	struct sse_event event;

	sse_reader_init(&r, 8);
	sse_reader_feed(&r, bytes_of("data: too long\n\n"));
	ck_assert(!sse_reader_next(&r, &event));
	ck_assert(r.failed);
	sse_reader_feed(&r, bytes_of("data: a\n\n"));
	ck_assert(!sse_reader_next(&r, &event));
	ck_assert(r.failed);
	sse_reader_fini(&r);
}
END_TEST

START_TEST(test_a_chunk_fed_before_its_forerunner_was_read_is_a_failure)
{
	struct sse_reader r;
	struct sse_event event;

	sse_reader_init(&r, LIMIT);
	sse_reader_feed(&r, bytes_of("data: a\n\ndata: b\n\n"));
	ck_assert(sse_reader_next(&r, &event));
	sse_reader_feed(&r, bytes_of("data: c\n\n"));
	ck_assert(!sse_reader_next(&r, &event));
	ck_assert(r.failed);
	sse_reader_fini(&r);
}
END_TEST

START_TEST(test_data_within_one_chunk_are_not_copied)
{
	static const char text[] = "event: x\ndata: abc\n\ndata: de\r\n\r\n";
	struct sse_reader r;
	struct sse_event event;

	sse_reader_init(&r, LIMIT);
	sse_reader_feed(&r, bytes_of(text));
	ck_assert(sse_reader_next(&r, &event));
	ck_assert_ptr_eq(event.data.p, strstr(text, "abc"));
	ck_assert(sse_reader_next(&r, &event));
	ck_assert_ptr_eq(event.data.p, strstr(text, "de\r"));
	ck_assert(!sse_reader_next(&r, &event));
	ck_assert_ptr_null(r.joined.p);
	sse_reader_fini(&r);
}
END_TEST

static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Feeds `text` in pieces of `size`, wants one event of `data_bytes`, gives the seconds it took. */
static double
feed_seconds(struct bytes text, size_t size, size_t data_bytes)
{
	struct sse_reader r;
	struct sse_event event;
	double begin = cpu_seconds();
	size_t events = 0;

	sse_reader_init(&r, LIMIT);
	for (size_t i = 0; i < text.n; i += size) {
		sse_reader_feed(&r,
		                (struct bytes){text.p + i, text.n - i < size ? text.n - i : size});
		while (sse_reader_next(&r, &event)) {
			ck_assert_uint_eq(event.data.n, data_bytes);
			events++;
		}
	}
	ck_assert(!r.failed);
	ck_assert_uint_eq(events, 1);
	sse_reader_fini(&r);
	return cpu_seconds() - begin;
}

START_TEST(test_a_large_event_in_small_pieces_takes_linear_time)
{
	static const size_t sizes[] = {1, 3, 64, 1000};
	static const char *const fills[] = {"x", "\ndata:", "\rdata:", "\r\ndata:y"};
	struct buf text;

	/* Rescanning what is held would take 5·10^11 steps a text; the bound leaves room for a
	 * sanitizer on a busy machine. */
	for (size_t i = 0; i < sizeof(fills) / sizeof(fills[0]); i++) {
		size_t n = strlen(fills[i]), times = (1 << 20) / n;

		buf_init(&text, 0);
		buf_add_text(&text, "data:");
		for (size_t k = 0; k < times; k++)
			buf_add_text(&text, fills[i]);
		buf_add_text(&text, "\n\n");
		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
			ck_assert_double_lt(feed_seconds(buf_bytes(&text), sizes[k],
			                                 n == 8 ? 2 * times : times),
			                    5);
		buf_fini(&text);
	}
}
END_TEST

START_TEST(test_many_events_in_one_chunk_take_linear_time)
{
	/* Each kind of line end alone: the search for the other kind must not run to the chunk's
	 * end at every line. */
	static const char *const events[] = {"data:a\n\n", "data:a\r\r", "data:a\r\n\r\n", ":\r",
	                                     ":\n"};
	struct sse_reader r;
	struct sse_event event;
	struct buf text;

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		size_t count = 0;
		double begin;

		buf_init(&text, 0);
		while (text.n < 4 << 20)
			buf_add_text(&text, events[i]);
		sse_reader_init(&r, LIMIT);
		begin = cpu_seconds();
		sse_reader_feed(&r, buf_bytes(&text));
		while (sse_reader_next(&r, &event))
			count++;
		ck_assert_double_lt(cpu_seconds() - begin, 5);
		ck_assert(!r.failed);
		ck_assert_uint_eq(count, events[i][0] == 'd' ? text.n / strlen(events[i]) : 0);
		sse_reader_fini(&r);
		buf_fini(&text);
	}
}
END_TEST

UNIT_MAIN("sse_reader", test_a_stream_gives_the_same_events_in_every_cutting,
          test_any_byte_may_stand_in_the_data, test_an_event_past_the_limit_fails_in_every_cutting,
          test_a_failed_reader_says_nothing_more,
          test_a_chunk_fed_before_its_forerunner_was_read_is_a_failure,
          test_data_within_one_chunk_are_not_copied,
          test_a_large_event_in_small_pieces_takes_linear_time,
          test_many_events_in_one_chunk_take_linear_time)
