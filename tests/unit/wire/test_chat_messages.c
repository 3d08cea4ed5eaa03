#include "unit.h"

#include "wire/chat_messages.h"

#define TALK(messages) "[" messages "]"

static bool
read_messages(const char *text, struct chat_messages *messages, struct api_error *error)
{
	struct json_scan scan;

	error->status = 0;
	json_scan_init(&scan, bytes_of(text));
	return chat_messages_read(messages, &scan, error) && json_scan_end(&scan);
}

START_TEST(test_well_formed_messages_are_accepted)
{
	static const char *const texts[] = {
	        TALK("{\"role\":\"user\",\"content\":\"\"}"),
	        TALK("{\"content\":\"\\u0000\\ud800\",\"role\":\"some role to come\",\"name\":5}"),
	        TALK("{\"role\":\"user\",\"content\":[]}"),
	        TALK("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},{\"x\":[1]"
	             ",\"type\":\"y\"}]}"),
	        TALK("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c\"}]},"
	             "{\"role\":\"tool\",\"content\":\"4\",\"tool_call_id\":\"c\"}"),
	        TALK("{\"role\":\"assistant\",\"tool_calls\":[{}]}"),
	        TALK("{\"role\":\"assistant\",\"content\":null,\"function_call\":{\"name\":\"f\"}"
	             "}"),
	        TALK("{\"role\":\"assistant\",\"refusal\":\"no\"}"),
	        TALK("{\"role\":\"assistant\",\"audio\":{\"id\":\"a\"}}"),
	        TALK("{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":null}"),
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct chat_messages messages;
		struct api_error error;

		ck_assert_msg(read_messages(texts[i], &messages, &error), "%s: %s", texts[i],
		              error.message);
		ck_assert_uint_gt(messages.count, 0);
	}
}
END_TEST

static const struct {
	const char *text, *param, *code, *message;
} refusals[] = {
        {"null", "messages", "invalid_type",
         "Invalid type for 'messages': expected an array of objects, but got null instead."},
        {"\"hi\"", "messages", "invalid_type", NULL},
        {"{}", "messages", "invalid_type", NULL},
        {TALK(""), "messages", "empty_array",
         "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
         "empty "
         "array instead."},
        {TALK("5"), "messages[0]", "invalid_type",
         "Invalid type for 'messages[0]': expected an object, but got an integer instead."},
        {TALK("{\"role\":\"user\",\"content\":\"x\"},[]"), "messages[1]", "invalid_type", NULL},
        {TALK("{\"content\":\"x\"}"), "messages[0].role", "missing_required_parameter",
         "Missing required parameter: 'messages[0].role'."},
        {TALK("{\"content\":\"x\",\"role\":null}"), "messages[0].role",
         "missing_required_parameter", NULL},
        {TALK("{\"content\":\"x\",\"role\":1}"), "messages[0].role", "invalid_type", NULL},
        {TALK("{\"content\":\"x\",\"role\":\"\"}"), "messages[0].role", "invalid_value", NULL},
        {TALK("{\"role\":\"user\"}"), "messages[0].content", "missing_required_parameter", NULL},
        {TALK("{\"role\":\"user\",\"content\":null}"), "messages[0].content", "invalid_type",
         "Invalid type for 'messages[0].content': expected a string or an array of objects, but "
         "got "
         "null instead."},
        {TALK("{\"role\":\"user\",\"content\":5}"), "messages[0].content", "invalid_type", NULL},
        {TALK("{\"role\":\"user\",\"content\":{}}"), "messages[0].content", "invalid_type", NULL},
        {TALK("{\"role\":\"assistant\",\"content\":null}"), "messages[0].content", "invalid_type",
         NULL},
        {TALK("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]}"), "messages[0].content",
         "invalid_type", NULL},
        {TALK("{\"role\":\"assistant\",\"content\":null,\"refusal\":null}"), "messages[0].content",
         "invalid_type", NULL},
        {TALK("{\"role\":\"user\",\"refusal\":\"no\"}"), "messages[0].content",
         "missing_required_parameter", NULL},
        {TALK("{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":{}}"),
         "messages[0].tool_calls", "invalid_type", NULL},
        {TALK("{\"role\":\"user\",\"content\":\"\"},{\"role\":\"user\",\"content\":[\"x\"]}"),
         "messages[1].content[0]", "invalid_type", NULL},
        {TALK("{\"role\":\"user\",\"content\":[{\"type\":\"text\"},{\"text\":\"x\"}]}"),
         "messages[0].content[1].type", "missing_required_parameter", NULL},
        {TALK("{\"role\":\"user\",\"content\":[{\"type\":5}]}"), "messages[0].content[0].type",
         "invalid_type", NULL},
        {TALK("{\"role\":\"user\",\"content\":[{\"type\":\"a\",\"typ\\u0065\":\"b\"}]}"),
         "messages[0].content[0].type", "duplicate_parameter", NULL},
        {TALK("{\"role\":\"user\",\"role\":\"system\",\"content\":\"\"}"), "messages[0].role",
         "duplicate_parameter", NULL},
        {TALK("{\"role\":\"user\",\"content\":\"\",\"content\":\"\"}"), "messages[0].content",
         "duplicate_parameter", NULL},
        {TALK("{\"role\":\"user\",\"content\":[],\"content\":\"\"}"), "messages[0].content",
         "duplicate_parameter", NULL},
};

START_TEST(test_malformed_messages_are_refused_by_path)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct chat_messages messages;
		struct api_error error;

		ck_assert_msg(!read_messages(refusals[i].text, &messages, &error), "%s",
		              refusals[i].text);
		ck_assert_int_eq(error.status, 400);
		ck_assert_msg(strcmp(error.param, refusals[i].param) == 0, "%s: %s",
		              refusals[i].text, error.param);
		ck_assert_msg(error.code && strcmp(error.code, refusals[i].code) == 0, "%s: %s",
		              refusals[i].text, error.code);
		if (refusals[i].message)
			ck_assert_str_eq(error.message, refusals[i].message);
	}
}
END_TEST

START_TEST(test_messages_are_counted_and_images_noticed)
{
	static const struct {
		const char *text;
		unsigned count;
		bool has_images;
	} table[] = {
	        {TALK("{\"role\":\"user\",\"content\":\"image_url\"}"), 1, false},
	        {TALK("{\"role\":\"a\",\"content\":[{\"type\":\"text\"}]},{\"role\":\"b\","
	              "\"content\":\"\"}"),
	         2, false},
	        {TALK("{\"role\":\"a\",\"content\":[{\"type\":\"text\"},{\"type\":\"image_"
	              "\\u0075rl\"}]}"),
	         1, true},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct chat_messages messages;
		struct api_error error;

		ck_assert(read_messages(table[i].text, &messages, &error));
		ck_assert_uint_eq(messages.count, table[i].count);
		ck_assert_int_eq(messages.has_images, table[i].has_images);
	}
}
END_TEST

START_TEST(test_a_cut_text_is_the_scanners_to_report)
{
	static const char text[] = "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"x\":[1]}]"
	                           ",\"tool_calls\":[]}]";

	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		struct chat_messages messages;
		struct api_error error = {.status = 0};
		struct json_scan scan;

		json_scan_init(&scan, (struct bytes){text, n});
		ck_assert(!chat_messages_read(&messages, &scan, &error));
		ck_assert_int_eq(error.status, 0);
		ck_assert_int_eq(scan.fault, JSON_FAULT_TRUNCATED);
	}
}
END_TEST

UNIT_MAIN("chat_messages", test_well_formed_messages_are_accepted,
          test_malformed_messages_are_refused_by_path, test_messages_are_counted_and_images_noticed,
          test_a_cut_text_is_the_scanners_to_report)
