#include "wire/sse_write.h"

void
sse_write_data(struct buf *out, struct bytes data)
{
	buf_reserve(out, data.n + 16); /* at once: it is one line as a rule */
	for (;;) {
		const char *end = data.n ? memchr(data.p, '\n', data.n) : NULL;
		size_t n = end ? (size_t)(end - data.p) : data.n;

		buf_add(out, "data: ", 6);
		buf_add(out, data.p, n);
		buf_add(out, "\n", 1);
		if (!end)
			break;
		data.p += n + 1;
		data.n -= n + 1;
	}
	buf_add(out, "\n", 1);
}

void
sse_write_comment(struct buf *out, const char *text)
{
	buf_add(out, ": ", 2);
	buf_add_text(out, text);
	buf_add(out, "\n\n", 2);
}
