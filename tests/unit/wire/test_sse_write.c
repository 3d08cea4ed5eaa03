#include "wire/sse_write.h"

#include "unit.h"
#include "wire/sse_reader.h"

START_TEST(test_data_of_several_lines_is_read_back_whole)
{
	static const char *const texts[] = {"{}",      "",       "a\nb",    "\n",
	                                    "\n\nx\n", "[DONE]", " leading"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct buf out;
		struct sse_reader reader;
		struct sse_event event;

		buf_init(&out, 0);
		sse_write_comment(&out, "keepalive");
		sse_write_data(&out, bytes_of(texts[i]));
		sse_reader_init(&reader, 1024);
		sse_reader_feed(&reader, buf_bytes(&out));
		ck_assert(sse_reader_next(&reader, &event));
		ck_assert(bytes_is(event.data, texts[i]));
		ck_assert(!sse_reader_next(&reader, &event));
		sse_reader_fini(&reader);
		buf_fini(&out);
	}
}
END_TEST

UNIT_MAIN("sse_write", test_data_of_several_lines_is_read_back_whole)
