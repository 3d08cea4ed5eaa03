/* What may be asked for: URLs, headers, methods. */
#include "fetching.h"

struct refusal {
	const char *url;
	struct http_header header;
	const char *says;
};

static const struct refusal refusals[] = {
        {"", {"A", "b"}, "URL"},
        {"no url at all", {"A", "b"}, "URL"},
        {"ftp://example.com/", {"A", "b"}, "neither http nor https"},
        {"file:///etc/passwd", {"A", "b"}, "neither http nor https"},
        {"http://user@example.com/", {"A", "b"}, "user name"},
        {"https://user:secret@example.com/", {"A", "b"}, "user name"},
        {"http://example.com/#part", {"A", "b"}, "fragment"},
        {"http://example.com/\r\nX: y", {"A", "b"}, "URL"},
        {"http://example.com/\x7f", {"A", "b"}, "URL"},
        {"http://example.com:99999/", {"A", "b"}, "URL"},
        {"http://example.com/", {"", "b"}, "name"},
        {"http://example.com/", {"A b", "b"}, "name"},
        {"http://example.com/", {"A:", "b"}, "name"},
        {"http://example.com/", {"A\r\nB", "b"}, "name"},
        {"http://example.com/", {"A\xc3\xa9", "b"}, "name"},
        {"http://example.com/", {"A", "b\r\nHost: evil"}, "control"},
        {"http://example.com/", {"A", "b\nc"}, "control"},
        {"http://example.com/", {"A", "b\tc"}, "control"},
        {"http://example.com/", {"A", "b\x7f"}, "control"},
        {"http://example.com/", {"content-length", "5"}, "cannot be set"},
        {"http://example.com/", {"Transfer-Encoding", "chunked"}, "cannot be set"},
        {"http://example.com/", {"connection", "close"}, "cannot be set"},
        {"http://example.com/", {"EXPECT", "100-continue"}, "cannot be set"},
};

START_TEST(target_refuses_what_would_break_a_request)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *r = &refusals[i];
		char error[200] = "";

		ck_assert_msg(!http_target_new(r->url, &r->header, 1, error, sizeof(error)),
		              "taken: %s, %s: %s", r->url, r->header.name, r->header.value);
		ck_assert_msg(strstr(error, r->says), "\"%s\" for %s", error, r->url);
		ck_assert_ptr_null(strstr(error, "secret"));
	}
}
END_TEST

START_TEST(target_takes_what_is_allowed)
{
	static const struct http_header headers[] = {{"X-API_key.1", "\xc3\xa9 ~!\"#"},
	                                             {"Host", "a"}};
	static const char *const urls[] = {"http://example.com", "HTTPS://[::1]:8443/v1?x=y%20z"};

	for (size_t i = 0; i < 2; i++) {
		char error[200] = "";
		struct http_target *target =
		        http_target_new(urls[i], headers, 2, error, sizeof(error));

		ck_assert_msg(target, "%s", error);
		http_target_free(target);
	}
	http_target_free(NULL);
}
END_TEST

START_TEST(fetch_with_a_bad_header_or_method_is_not_started)
{
	static const struct http_header bad = {"X-A", "1\r\nX-B: 2"};
	struct fetching f;
	struct http_target *target = target_of_url("http://127.0.0.1:1/");
	struct http_fetch_spec spec = spec_post(target, "{}");

	fetching_open(&f);
	spec.headers = &bad;
	spec.header_count = 1;
	ck_assert_ptr_null(http_fetch_start(f.client, &spec, &tape_events, NULL));
	spec.header_count = 0;
	spec.method = "BREW";
	ck_assert_ptr_null(http_fetch_start(f.client, &spec, &tape_events, NULL));
	ck_assert_uint_eq(http_client_in_flight(f.client), 0);
	fetching_close(&f);
	http_target_free(target);
}
END_TEST

UNIT_MAIN("http_client_target", target_refuses_what_would_break_a_request,
          target_takes_what_is_allowed, fetch_with_a_bad_header_or_method_is_not_started)
