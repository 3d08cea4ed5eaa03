/* Frames written with other values; what the view does is in test_chat_frame.c. */
#include "base/mem.h"
#include "unit.h"
#include "wire/chat_frame.h"

#define NONE                                                                                       \
	{                                                                                          \
		NULL, 0                                                                            \
	}
#define TEXT(text)                                                                                 \
	{                                                                                          \
		(text), sizeof(text) - 1                                                           \
	}

static const struct chat_frame_view keep_all = {true, 20, true}, keep_none = {false, 0, false};

struct row {
	const char *rule;
	const char *text;
	const struct chat_frame_view *view;
	struct chat_frame_patch patch;
	const char *want;
};

static const struct row rows[] = {
        {"nothing is changed by an empty patch",
         " { \"id\":\"a\",\"choices\":[{\"delta\":{\"role\":\"r\",\"content\":\"c\"}}] } ",
         &keep_all,
         {NONE, NONE, NONE, false},
         " { \"id\":\"a\",\"choices\":[{\"delta\":{\"role\":\"r\",\"content\":\"c\"}}] } "},
        {"id and created are replaced ahead of the choices",
         "{\"id\":\"up\",\"created\":7,\"choices\":[]}",
         &keep_all,
         {TEXT("\"mine\""), TEXT("1"), NONE, false},
         "{\"id\":\"mine\",\"created\":1,\"choices\":[]}"},
        {"id and created are replaced behind the choices, in whatever order",
         "{\"choices\":[{\"delta\":{}}], \"created\" : 7 , \"usage\":{}, \"id\" : \"up\" }",
         &keep_all,
         {TEXT("\"mine\""), TEXT("1"), NONE, false},
         "{\"choices\":[{\"delta\":{}}], \"created\" : 1 , \"usage\":{}, \"id\" : \"mine\" }"},
        {"null is replaced too",
         "{\"id\":null,\"created\":null,\"choices\":[]}",
         &keep_all,
         {TEXT("\"mine\""), TEXT("1"), NONE, false},
         "{\"id\":\"mine\",\"created\":1,\"choices\":[]}"},
        {"a member that is not there is not added",
         "{\"choices\":[{\"delta\":{}}]}",
         &keep_all,
         {TEXT("\"mine\""), TEXT("1"), TEXT("\"c\""), true},
         "{\"choices\":[{\"delta\":{}}]}"},
        {"content is replaced in the first choice only",
         "{\"choices\":[{\"delta\":{\"content\":\"a\"}},{\"delta\":{\"content\":\"a\"}}]}",
         &keep_all,
         {NONE, NONE, TEXT("\"b\""), false},
         "{\"choices\":[{\"delta\":{\"content\":\"b\"}},{\"delta\":{\"content\":\"a\"}}]}"},
        {"content of a message, and null",
         "{\"choices\":[{\"message\":{\"content\":null}}]}",
         &keep_all,
         {NONE, NONE, TEXT("\"b\""), false},
         "{\"choices\":[{\"message\":{\"content\":\"b\"}}]}"},
        {"roles go from every choice, the first member with the comma behind it",
         "{\"choices\":[{\"delta\":{\"role\":\"r\",\"content\":\"a\"}},"
         "{\"delta\":{ \"role\" : \"r\" }}]}",
         &keep_all,
         {NONE, NONE, NONE, true},
         "{\"choices\":[{\"delta\":{\"content\":\"a\"}},{\"delta\":{  }}]}"},
        {"a role behind other members goes with the comma before it",
         "{\"choices\":[{\"delta\":{\"content\":\"a\" , \"r\\u006fle\":null,\"x\":1}}]}",
         &keep_all,
         {NONE, NONE, TEXT("\"b\""), true},
         "{\"choices\":[{\"delta\":{\"content\":\"b\",\"x\":1}}]}"},
        {"a role elsewhere stays",
         "{\"role\":1,\"choices\":[{\"role\":2,\"delta\":{\"x\":{\"role\":3}}}]}",
         &keep_all,
         {NONE, NONE, NONE, true},
         "{\"role\":1,\"choices\":[{\"role\":2,\"delta\":{\"x\":{\"role\":3}}}]}"},
        {"logprobs ahead of the delta are cut as well",
         "{\"usage\":{},\"id\":\"up\",\"choices\":[{\"logprobs\":null,\"delta\":{\"role\":\"r\","
         "\"content\":\"a\"}}],\"created\":7}",
         &keep_none,
         {TEXT("\"mine\""), TEXT("1"), TEXT("\"b\""), true},
         "{\"id\":\"mine\",\"choices\":[{\"delta\":{\"content\":\"b\"}}],\"created\":1}"},
        {"logprobs behind the delta are cut as well",
         "{\"created\":7,\"choices\":[{\"delta\":{\"content\":\"a\",\"role\":\"r\"},"
         "\"logprobs\":{}}],\"usage\":{},\"id\":\"up\"}",
         &keep_none,
         {TEXT("\"mine\""), TEXT("1"), TEXT("\"b\""), true},
         "{\"created\":1,\"choices\":[{\"delta\":{\"content\":\"b\"}}],\"id\":\"mine\"}"},
        {"candidates are cut around a patched delta",
         "{\"choices\":[{\"logprobs\":{\"content\":[{\"token\":\"a\",\"top_logprobs\":[{}]}]},"
         "\"delta\":{\"content\":\"a\"}},{\"delta\":{\"role\":\"r\"},\"logprobs\":{\"content\":["
         "{\"token\":\"a\",\"top_logprobs\":[{}]}]}}]}",
         &(const struct chat_frame_view){true, 0, true},
         {NONE, NONE, TEXT("\"b\""), true},
         "{\"choices\":[{\"logprobs\":{\"content\":[{\"token\":\"a\",\"top_logprobs\":[]}]},"
         "\"delta\":{\"content\":\"b\"}},{\"delta\":{},\"logprobs\":{\"content\":["
         "{\"token\":\"a\",\"top_logprobs\":[]}]}}]}"},
        {"an error frame stays whole",
         "{\"error\":{},\"id\":\"up\"}",
         &keep_none,
         {TEXT("\"mine\""), TEXT("1"), TEXT("\"b\""), true},
         "{\"error\":{},\"id\":\"up\"}"},
};

START_TEST(test_a_patch_replaces_what_it_names_and_nothing_else)
{
	struct chat_frame frame;
	struct buf out;

	chat_frame_init(&frame);
	buf_init(&out, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		char *held = mem_new(strlen(row->text));

		/* Without a terminator, so that the sanitizer sees a byte read too far. */
		memcpy(held, row->text, strlen(row->text));
		ck_assert_msg(chat_frame_read(&frame, (struct bytes){held, strlen(row->text)}),
		              "%s", row->rule);
		buf_reset(&out);
		chat_frame_write_patched(&frame, row->view, &row->patch, &out);
		ck_assert_msg(bytes_is(buf_bytes(&out), row->want), "%s: %.*s", row->rule,
		              (int)out.n, out.p);
		free(held);
	}
	buf_fini(&out);
	chat_frame_fini(&frame);
}
END_TEST

START_TEST(test_what_does_not_fit_shows_as_a_failure)
{
	const struct chat_frame_patch patch = {.content = TEXT("\"0123456789\"")};
	struct chat_frame frame;
	struct buf out;

	chat_frame_init(&frame);
	buf_init(&out, 40);
	ck_assert(chat_frame_read(&frame,
	                          bytes_of("{\"choices\":[{\"delta\":{\"content\":\"\"}}]}")));
	chat_frame_write_patched(&frame, &keep_all, &patch, &out);
	ck_assert(out.failed);
	buf_fini(&out);
	chat_frame_fini(&frame);
}
END_TEST

UNIT_MAIN("chat_frame_write", test_a_patch_replaces_what_it_names_and_nothing_else,
          test_what_does_not_fit_shows_as_a_failure)
