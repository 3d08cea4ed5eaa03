#include "wire/sse_write.h"

/* One of its lines, and the end of the event if that is the last one. */
static void
write_line(struct buf *out, struct bytes line, bool is_last)
{
	static const char field[] = "data: ";
	char *p;

	if (!buf_reserve(out, strlen(field) + line.n + 2))
		return;
	p = out->p + out->n;
	memcpy(p, field, strlen(field));
	p += strlen(field);
	memcpy(p, line.p, line.n);
	p += line.n;
	*p++ = '\n';
	if (is_last)
		*p++ = '\n';
	out->n = (size_t)(p - out->p);
}

void
sse_write_data(struct buf *out, struct bytes data)
{
	const char *end;

	/* It is one line as a rule. */
	while (data.n > 0 && (end = memchr(data.p, '\n', data.n))) {
		size_t n = (size_t)(end - data.p);

		write_line(out, (struct bytes){data.p, n}, false);
		data.p += n + 1;
		data.n -= n + 1;
	}
	write_line(out, data.n > 0 ? data : bytes_of(""), true);
}

void
sse_write_comment(struct buf *out, const char *text)
{
	buf_add(out, ": ", 2);
	buf_add_text(out, text);
	buf_add(out, "\n\n", 2);
}
