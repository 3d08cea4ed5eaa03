#include "unit.h"

#include "wire/api_error.h"

static void
check_document(const struct api_error *error, const char *expected)
{
	struct buf out;

	buf_init(&out, 0);
	api_error_write(error, &out);
	ck_assert_msg(bytes_is(buf_bytes(&out), expected), "%.*s", (int)out.n, out.p);
	buf_fini(&out);
}

START_TEST(test_the_type_follows_from_the_status)
{
	static const struct {
		int status;
		const char *type;
	} table[] = {
	        {400, "invalid_request_error"}, {401, "authentication_error"},
	        {402, "insufficient_quota"},    {403, "permission_error"},
	        {404, "invalid_request_error"}, {405, "invalid_request_error"},
	        {413, "invalid_request_error"}, {415, "invalid_request_error"},
	        {422, "invalid_request_error"}, {429, "rate_limit_error"},
	        {431, "invalid_request_error"}, {499, "invalid_request_error"},
	        {500, "server_error"},          {501, "server_error"},
	        {502, "upstream_error"},        {503, "overloaded_error"},
	        {504, "timeout_error"},         {505, "server_error"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct api_error error;

		api_error_set(&error, table[i].status, NULL, NULL, "x");
		ck_assert_str_eq(error.type, table[i].type);
		ck_assert_int_eq(error.status, table[i].status);
		ck_assert_uint_eq(error.retry_after_ms, 0);
	}
}
END_TEST

START_TEST(test_the_document_has_all_four_members)
{
	struct api_error error;

	api_error_set(&error, 400, "messages[2].content", "invalid_type", "Got %d of %s.", 5,
	              "them");
	check_document(&error,
	               "{\"error\":{\"message\":\"Got 5 of them.\",\"type\":\"invalid_request_"
	               "error\",\"param\":\"messages[2].content\",\"code\":\"invalid_type\"}}");
	api_error_set(&error, 502, NULL, NULL, "down");
	check_document(
	        &error,
	        "{\"error\":{\"message\":\"down\",\"type\":\"upstream_error\",\"param\":null,"
	        "\"code\":null}}");
}
END_TEST

START_TEST(test_a_type_of_its_own_wins_over_the_status)
{
	struct api_error error;

	api_error_set(&error, 500, NULL, NULL, "x");
	error.type = "upstream_error";
	check_document(&error,
	               "{\"error\":{\"message\":\"x\",\"type\":\"upstream_error\",\"param\":null,"
	               "\"code\":null}}");
	error.type = NULL;
	check_document(&error,
	               "{\"error\":{\"message\":\"x\",\"type\":\"server_error\",\"param\":null,"
	               "\"code\":null}}");
}
END_TEST

START_TEST(test_text_of_others_cannot_break_out_of_the_document)
{
	struct api_error error;

	api_error_set(&error, 502, "a\"b", NULL, "%s", "\"}\\ \n\x01 \xFF \xC3\xA9");
	check_document(&error,
	               "{\"error\":{\"message\":\"\\\"}\\\\ \\n\\u0001 \xEF\xBF\xBD \xC3\xA9\","
	               "\"type\":\"upstream_error\",\"param\":\"a\\\"b\",\"code\":null}}");
}
END_TEST

START_TEST(test_a_long_message_is_cut_between_characters)
{
	static const char *const characters[] = {"a", "\xC3\xA9", "\xE4\xB8\x96",
	                                         "\xF0\x9F\x98\x80"};

	for (size_t k = 0; k < 4; k++) {
		size_t length = strlen(characters[k]);

		for (size_t shift = 0; shift < length; shift++) {
			struct api_error error;
			struct buf text;

			buf_init(&text, 0);
			buf_add(&text, "....", shift);
			while (text.n < API_MESSAGE_BYTES + 8)
				buf_add_text(&text, characters[k]);
			buf_add(&text, "", 1);
			api_error_set(&error, 502, NULL, NULL, "%s", text.p);
			ck_assert_uint_eq(strlen(error.message),
			                  shift + (API_MESSAGE_BYTES - 1 - shift) / length *
			                                  length);
			ck_assert(bytes_is_utf8(bytes_of(error.message)));
			buf_fini(&text);
		}
	}
}
END_TEST

UNIT_MAIN("api_error", test_the_type_follows_from_the_status,
          test_the_document_has_all_four_members, test_a_type_of_its_own_wins_over_the_status,
          test_text_of_others_cannot_break_out_of_the_document,
          test_a_long_message_is_cut_between_characters)
