#include "wire/http_guard.h"

#include <stdio.h>

#include "unit.h"

#define HEAD_MAX 512
#define BODY_MAX 4096

#define POST "POST /x HTTP/1.1\r\nHost: h\r\n"
#define TE   POST "Transfer-Encoding: chunked\r\n\r\n"

struct row {
	const char *input;
	unsigned requests; /* complete ones */
	int status;        /* of the refusal behind them; 0: none */
};

static const struct row rows[] = {
        /* What is let through. */
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 1, 0},
        {"GET / HTTP/1.0\r\n\r\n", 1, 0},
        {"GET / HTTP/1.9\r\nHost: h\r\n\r\n", 1, 0},
        {"GET /a?b=%20&c[]=\"{}|\\^`<>, HTTP/1.1\r\nHost: h\r\n\r\n", 1, 0},
        {"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 1, 0},
        {"GET HTTPS://h HTTP/1.1\r\nHost: h\r\n\r\n", 1, 0},
        {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 1, 0},
        {"HEAD / HTTP/1.1\r\nHost:\r\n\r\n", 1, 0},
        {"HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 1, 0},
        {"PUT / HTTP/1.1\r\nHost: h\r\n\r\nPATCH / HTTP/1.1\r\nHost: h\r\n\r\nDELETE / "
         "HTTP/1.1\r\nHost: h\r\n\r\n",
         3, 0},
        {POST "Content-Length: 5\r\n\r\nhello", 1, 0},
        {POST "Content-Length: 5\r\n\r\nhell", 0, 0},
        {POST "Content-Length: 5\r\n\r\nhello" POST "content-length:\t 2 \t\r\n\r\n\r\n", 2, 0},
        {POST "Content-Length: 0005\r\n\r\nhello", 1, 0},
        {POST "Content-Length: 4096\r\n\r\n", 0, 0},
        {POST "X: \t a \t b \x80\xff \t\r\nY:\r\n\r\n", 1, 0},
        {POST "X-Content-Length: nonsense\r\nTransfer-Encodings: gzip\r\n\r\n", 1, 0},
        {POST "Expect: 100-Continue\r\n\r\n", 1, 0},
        {"POST / HTTP/1.0\r\nExpect: whatever you like\r\n\r\n", 0, 417},
        {"POST / HTTP/1.0\r\nExpect: whatever\r\n\r\n", 1, 0},
        {TE "0\r\n\r\n", 1, 0},
        {TE "5\r\nhello\r\n0\r\n\r\n", 1, 0},
        {TE "1\r\n\r\r\n000A\r\n0123456789\r\n00\r\nTrailer: x\r\nOther:\r\n\r\n" POST "\r\n", 2,
         0},
        {POST "TRANSFER-ENCODING:\tCHUNKED \r\n\r\n0\r\n\r\n", 1, 0},
        {"", 0, 0},
        {"GET / HTTP/1.1\r\nHost: h\r\n\r", 0, 0},
        /* Two lengths. */
        {POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
        {POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 0, 400},
        {POST "Content-Length: 5\r\nContent-Length: 5\r\n", 0, 400},
        {POST "Content-Length: 5\r\ncontent-length: 6\r\n", 0, 400},
        {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 0, 400},
        /* Lengths that are none. */
        {POST "Content-Length: +5\r\n", 0, 400},
        {POST "Content-Length: -5\r\n", 0, 400},
        {POST "Content-Length: 5,5\r\n", 0, 400},
        {POST "Content-Length: 5 5\r\n", 0, 400},
        {POST "Content-Length: 0x5\r\n", 0, 400},
        {POST "Content-Length: 5a\r\n", 0, 400},
        {POST "Content-Length:\r\n", 0, 400},
        {POST "Content-Length: \t\r\n", 0, 400},
        {POST "Content-Length: 4097\r\n\r\n", 0, 413},
        {POST "Content-Length: 18446744073709551615\r\n\r\n", 0, 413},
        {POST "Content-Length: 18446744073709551616\r\n\r\n", 0, 413},
        {POST "Content-Length: 99999999999999999999999999\r\n\r\n", 0, 413},
        /* Encodings that are not chunked. */
        {POST "Transfer-Encoding: gzip\r\n", 0, 400},
        {POST "Transfer-Encoding: gzip, chunked\r\n", 0, 400},
        {POST "Transfer-Encoding: chunked, gzip\r\n", 0, 400},
        {POST "Transfer-Encoding: chunked;q=1\r\n", 0, 400},
        {POST "Transfer-Encoding: xchunked\r\n", 0, 400},
        {POST "Transfer-Encoding: chunkedx\r\n", 0, 400},
        {POST "Transfer-Encoding: \"chunked\"\r\n", 0, 400},
        {POST "Transfer-Encoding:\r\n", 0, 400},
        {POST "Transfer-Encoding: chunkedchunkedchunkedchunked\r\n", 0, 400},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
        /* Names. */
        {POST "Transfer-Encoding : chunked\r\n", 0, 400},
        {POST "Content-Length\t: 5\r\n", 0, 400},
        {POST ": x\r\n", 0, 400},
        {POST "no colon\r\n", 0, 400},
        {POST "nocolon\r\n", 0, 400},
        {POST "n\xc3\xa9: x\r\n", 0, 400},
        {POST "(x): y\r\n", 0, 400},
        {POST " folded: x\r\n", 0, 400},
        {POST "X: y\r\n\tz\r\n", 0, 400},
        {"GET / HTTP/1.1\r\n Host: h\r\n", 0, 400},
        /* Lines. */
        {"GET / HTTP/1.1\nHost: h\n\n", 0, 400},
        {POST "X: y\nZ: w\r\n\r\n", 0, 400},
        {POST "X: y\rZ: w\r\n\r\n", 0, 400},
        {POST "X: y\r\r\n\r\n", 0, 400},
        {POST "\n", 0, 400},
        {POST "\rX", 0, 400},
        {POST "X: \x01\r\n", 0, 400},
        {POST "X: \x7f\r\n", 0, 400},
        /* Hosts. */
        {"GET / HTTP/1.1\r\n\r\n", 0, 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 0, 400},
        {"GET / HTTP/1.1\r\nHost: a b\r\n", 0, 400},
        {"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n", 0, 400},
        /* Request lines. */
        {"\r\n", 0, 400},
        {" GET / HTTP/1.1\r\n", 0, 400},
        {"GET\t/ HTTP/1.1\r\n", 0, 400},
        {"GET  / HTTP/1.1\r\n", 0, 400},
        {"GET /  HTTP/1.1\r\n", 0, 400},
        {"GET / HTTP/1.1 \r\n", 0, 400},
        {"GET /\r\n", 0, 400},
        {"GET\r\n", 0, 400},
        {"GET x HTTP/1.1\r\n", 0, 400},
        {"GET * HTTP/1.1\r\n", 0, 400},
        {"GET http:// HTTP/1.1\r\n", 0, 400},
        {"GET ftp://h/ HTTP/1.1\r\n", 0, 400},
        {"GET /#a HTTP/1.1\r\n", 0, 400},
        {"GET /\x80 HTTP/1.1\r\n", 0, 400},
        {"GET / HTTP/1.\r\n", 0, 400},
        {"GET / HTTP/1.10\r\n", 0, 400},
        {"GET / http/1.1\r\n", 0, 400},
        {"GET / HTTP/2.0\r\n", 0, 505},
        {"GET / HTTP/0.9\r\n", 0, 505},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 505},
        {"BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 0, 501},
        {"get / HTTP/1.1\r\nHost: h\r\n\r\n", 0, 501},
        {"GETGETGETGETGETGETGETGETGET / HTTP/1.1\r\nHost: h\r\n\r\n", 0, 501},
        {"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 0, 501},
        {"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 0, 501},
        {"HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n", 0, 400},
        {"HEAD / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
        {POST "Expect: 100-continue, more\r\n", 0, 417},
        {POST "Expect: 200\r\n", 0, 417},
        {POST "Expect:\r\n", 0, 417},
        /* Chunks. */
        {TE "\r\n", 0, 400},
        {TE "5 \r\nhello\r\n", 0, 400},
        {TE " 5\r\nhello\r\n", 0, 400},
        {TE "+5\r\nhello\r\n", 0, 400},
        {TE "0x5\r\nhello\r\n", 0, 400},
        {TE "5;a=b\r\nhello\r\n", 0, 400},
        {TE "5\nhello\r\n", 0, 400},
        {TE "5\rhello\r\n", 0, 400},
        {TE "g\r\n", 0, 400},
        {TE "5\r\nhello0\r\n\r\n", 0, 400},
        {TE "5\r\nhello\n0\r\n\r\n", 0, 400},
        {TE "5\r\nhello\rX", 0, 400},
        {TE "00000000000000005\r\nhello\r\n", 0, 400},
        {TE "1001\r\n", 0, 413},
        {TE "800\r\n", 0, 0},
        {TE "FFFFFFFFFFFFFFFF\r\n", 0, 413},
        {TE "1\r\nx\r\nFFFFFFFFFFFFFFFF\r\n", 0, 413},
        {TE "0\r\nbad trailer\r\n", 0, 400},
        {TE "0\r\nX: \x01\r\n", 0, 400},
        {TE "0\r\n\n", 0, 400},
        {TE "0\r\nX: y\n\r\n", 0, 400},
};

static void
assert_row(const struct row *row, const struct http_guard *g, size_t cut)
{
	bool refused = g->state == HTTP_GUARD_REFUSED;

	ck_assert_msg(g->requests == row->requests, "cut at %zu: %u requests of: %s", cut,
	              (unsigned)g->requests, row->input);
	ck_assert_msg((refused ? g->status : 0) == row->status, "cut at %zu: %d for: %s", cut,
	              refused ? g->status : 0, row->input);
	ck_assert(!refused || (g->why && g->why[strlen(g->why) - 1] == '.'));
}

START_TEST(test_every_cutting_gives_the_same_verdict)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *input = rows[i].input;
		size_t n = strlen(input);
		struct http_guard g;

		for (size_t cut = 0; cut <= n; cut++) {
			http_guard_init(&g, HEAD_MAX, BODY_MAX);
			http_guard_feed(&g, (struct bytes){input, cut});
			http_guard_feed(&g, (struct bytes){input + cut, n - cut});
			assert_row(&rows[i], &g, cut);
		}
		http_guard_init(&g, HEAD_MAX, BODY_MAX);
		for (size_t at = 0; at < n; at++)
			http_guard_feed(&g, (struct bytes){input + at, 1});
		assert_row(&rows[i], &g, n + 1);
	}
}
END_TEST

START_TEST(test_bodies_may_be_skipped_unseen)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *input = rows[i].input;
		size_t n = strlen(input), at = 0;
		struct http_guard g;

		http_guard_init(&g, HEAD_MAX, BODY_MAX);
		while (at < n && g.state != HTTP_GUARD_REFUSED) {
			uint64_t opaque = http_guard_opaque(&g);

			if (opaque > n - at)
				opaque = n - at;
			if (opaque > 0)
				http_guard_skip(&g, opaque);
			else
				http_guard_feed(&g, (struct bytes){input + at, 1});
			at += opaque ? opaque : 1;
		}
		assert_row(&rows[i], &g, n);
	}
}
END_TEST

static size_t
sift(struct bytes input, size_t cut, char *kept)
{
	struct http_guard g;
	size_t n;

	http_guard_init(&g, HEAD_MAX, BODY_MAX);
	n = http_guard_sift(&g, (struct bytes){input.p, cut}, kept);
	return n + http_guard_sift(&g, (struct bytes){input.p + cut, input.n - cut}, kept + n);
}

START_TEST(test_fields_that_nothing_reads_are_left_out)
{
	static const char *const pairs[][2] = {
	        {"", ""},
	        {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
	        {"GET / HTTP/1.1\r\nUser-Agent: x\r\nHost: h\r\nX-A:\r\nX-B: \t b\r\n\r\n",
	         "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
	        {POST "AUTHORIZATION: Bearer a b\r\nAuthorizations: c\r\nAuthorizatio: d\r\n"
	              "x-gateway-force-model: m\r\nX-Gateway-Force-Models-That-Are-Long: m\r\n"
	              "Content-Length: 8\r\nX: y\r\n\r\nX: y\r\n\r\n" POST "X: y\r\n\r\n",
	         POST "AUTHORIZATION: Bearer a b\r\nx-gateway-force-model: m\r\n"
	              "Content-Length: 8\r\n\r\nX: y\r\n\r\n" POST "\r\n"},
	        /* The same name twice, chunks, and trailers, which stay. */
	        {POST "X: 1\r\nX: 2\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nX: y\r\n\r\n0\r\nX: "
	              "y\r\n\r\n",
	         TE "6\r\nX: y\r\n\r\n0\r\nX: y\r\n\r\n"},
	        /* From a refusal on everything stays. */
	        {POST "X: 1\r\nX : 2\r\nX: 3\r\n\r\n", POST "X : 2\r\nX: 3\r\n\r\n"},
	        {POST "X: 1\r\nX: 2\n", POST "X: 2\n"},
	        /* And a line that is not complete. */
	        {POST "X: 1\r\nX: 2\r", POST "X: 2\r"},
	};
	char kept[1024];

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct bytes input = bytes_of(pairs[i][0]);
		size_t n = sift(input, input.n, kept);

		ck_assert_msg(n == strlen(pairs[i][1]) && memcmp(kept, pairs[i][1], n) == 0,
		              "of %s is left %.*s", input.p, (int)n, kept);
	}
}
END_TEST

/* Wherever the input is cut: what is left has the same verdict, and is left whole if it is sifted once more, so that
 * no line that matters was touched; only a field that the cut went through may stay. */
START_TEST(test_what_is_left_has_the_same_verdict)
{
	char kept[1024], again[1024], whole[1024];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bytes input = bytes_of(rows[i].input);
		size_t n_whole = sift(input, input.n, whole);

		for (size_t cut = 0; cut <= input.n; cut++) {
			size_t n = sift(input, cut, kept);
			struct http_guard g;

			http_guard_init(&g, HEAD_MAX, BODY_MAX);
			http_guard_feed(&g, (struct bytes){kept, n});
			assert_row(&rows[i], &g, cut);
			ck_assert_uint_eq(sift((struct bytes){kept, n}, n, again), n_whole);
			ck_assert_int_eq(memcmp(again, whole, n_whole), 0);
		}
	}
}
END_TEST

START_TEST(test_a_nul_is_refused_everywhere_but_in_a_body)
{
	static const char text[] = POST "Content-Length: 5\r\n\r\nhello";
	char copy[sizeof(text)];
	struct http_guard g;

	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		memcpy(copy, text, sizeof(text));
		copy[i] = '\0';
		http_guard_init(&g, HEAD_MAX, BODY_MAX);
		http_guard_feed(&g, (struct bytes){copy, sizeof(text) - 1});
		ck_assert_int_eq(g.state == HTTP_GUARD_REFUSED, i < sizeof(text) - 1 - 5);
	}
}
END_TEST

/* Each byte value at each place of a part that is read in blocks: the verdict of one feed is that of byte by byte. */
START_TEST(test_a_byte_is_judged_alike_wherever_it_stands)
{
	static const char *const forms[][2] = {
	        {"GET /", " HTTP/1.1\r\nHost: h\r\n\r\n"},
	        {"GET / HTTP/1.1\r\nHost: h\r\nX", ": v\r\n\r\n"},
	        {"GET / HTTP/1.1\r\nHost: h\r\nX: ", "\r\n\r\n"},
	        {TE "0\r\nX: ", "\r\n\r\n"},
	};
	char part[41] = "", text[160];

	for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
		for (size_t at = 0; at < sizeof(part) - 1; at++) {
			for (int byte = 1; byte < 256; byte++) {
				struct http_guard whole, single;
				size_t n;

				memset(part, 'a', sizeof(part) - 1);
				part[at] = (char)byte;
				n = (size_t)snprintf(text, sizeof(text), "%s%s%s", forms[f][0],
				                     part, forms[f][1]);
				http_guard_init(&whole, HEAD_MAX, BODY_MAX);
				http_guard_feed(&whole, (struct bytes){text, n});
				http_guard_init(&single, HEAD_MAX, BODY_MAX);
				for (size_t i = 0; i < n; i++)
					http_guard_feed(&single, (struct bytes){text + i, 1});
				ck_assert_msg(whole.state == single.state &&
				                      whole.status == single.status &&
				                      whole.requests == single.requests,
				              "byte %d at %zu of form %zu", byte, at, f);
			}
		}
	}
}
END_TEST

START_TEST(test_a_refusal_is_final)
{
	struct http_guard g;

	http_guard_init(&g, HEAD_MAX, BODY_MAX);
	http_guard_feed(&g, bytes_of("\n"));
	ck_assert_int_eq(g.state, HTTP_GUARD_REFUSED);
	http_guard_feed(&g, bytes_of("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
	ck_assert_int_eq(g.state, HTTP_GUARD_REFUSED);
	ck_assert_uint_eq(g.requests, 0);
}
END_TEST

/* A head of exactly n bytes, its last field padded; or its target, if long_target. */
static size_t
head_of(char *out, size_t n, bool long_target)
{
	const char *start = long_target ? "GET /" : "GET / HTTP/1.1\r\nHost: h\r\nX: ";
	const char *end = long_target ? " HTTP/1.1\r\nHost: h\r\n\r\n" : "\r\n\r\n";
	size_t pad = n - strlen(start) - strlen(end);

	strcpy(out, start);
	memset(out + strlen(start), 'a', pad);
	strcpy(out + strlen(start) + pad, end);
	return n;
}

START_TEST(test_heads_are_let_through_up_to_the_limit)
{
	char head[1024] = "";
	struct http_guard g;

	http_guard_init(&g, HEAD_MAX, BODY_MAX);
	for (int i = 0; i < 3; i++) /* each head counts anew */
		http_guard_feed(&g, (struct bytes){head, head_of(head, HEAD_MAX, i == 1)});
	ck_assert_int_eq(g.state, HTTP_GUARD_HEAD);
	ck_assert_uint_eq(g.requests, 3);
	http_guard_feed(&g, (struct bytes){head, head_of(head, HEAD_MAX + 1, false)});
	ck_assert_int_eq(g.state, HTTP_GUARD_REFUSED);
	ck_assert_int_eq(g.status, 431);
	http_guard_init(&g, HEAD_MAX, BODY_MAX);
	http_guard_feed(&g, (struct bytes){head, head_of(head, HEAD_MAX + 100, true)});
	ck_assert_int_eq(g.status, 414);
	http_guard_init(&g, HEAD_MAX, BODY_MAX);
	http_guard_limit(&g, HEAD_MAX + 100, BODY_MAX);
	http_guard_feed(&g, (struct bytes){head, head_of(head, HEAD_MAX + 100, true)});
	ck_assert_uint_eq(g.requests, 1);
}
END_TEST

START_TEST(test_trailers_count_as_head)
{
	struct http_guard g;

	http_guard_init(&g, HEAD_MAX, BODY_MAX);
	http_guard_feed(&g, bytes_of(TE "0\r\n"));
	for (int i = 0; i < 100 && g.state != HTTP_GUARD_REFUSED; i++)
		http_guard_feed(&g, bytes_of("Trailer: x\r\n"));
	ck_assert_int_eq(g.state, HTTP_GUARD_REFUSED);
	ck_assert_int_eq(g.status, 431);
}
END_TEST

START_TEST(test_it_tells_whether_a_request_is_in_progress)
{
	struct http_guard g;

	http_guard_init(&g, HEAD_MAX, BODY_MAX);
	ck_assert(!g.head_started);
	http_guard_feed(&g, bytes_of("G"));
	ck_assert(g.head_started);
	http_guard_feed(&g, bytes_of("ET / HTTP/1.1\r\nHost: h\r\n\r\n"));
	ck_assert(!g.head_started);
	http_guard_feed(&g, bytes_of(TE "3\r\n"));
	ck_assert(g.head_started && g.chunked);
	ck_assert_int_eq(g.state, HTTP_GUARD_BODY);
	http_guard_feed(&g, bytes_of("abc\r\n0\r\n\r\n"));
	ck_assert(!g.head_started && g.chunked);
	http_guard_feed(&g, bytes_of("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
	ck_assert(!g.chunked);
}
END_TEST

UNIT_MAIN("http_guard", test_every_cutting_gives_the_same_verdict,
          test_a_byte_is_judged_alike_wherever_it_stands, test_bodies_may_be_skipped_unseen,
          test_a_nul_is_refused_everywhere_but_in_a_body, test_a_refusal_is_final,
          test_heads_are_let_through_up_to_the_limit, test_trailers_count_as_head,
          test_fields_that_nothing_reads_are_left_out, test_what_is_left_has_the_same_verdict,
          test_it_tells_whether_a_request_is_in_progress)
