/*
 * Any cutting of a stream gives the same events, and they are those of a reader too simple to be
 * wrong: it has the whole text, turns every line end into \n, and splits.
 *
 * Input: one byte for the limit, one that seeds the cutting, then the stream.
 */
#include "wire/sse_reader.h"

#include <stdlib.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);

static void
check(bool holds, const char *what)
{
	if (!holds)
		die("%s", what);
}

static void
event_write(struct buf *out, struct bytes name, struct bytes data)
{
	buf_add_json_string(out, name);
	buf_add_json_string(out, data);
	buf_add(out, "\n", 1);
}

/* Pieces of 1 to `most` bytes, each in memory of its own that is gone before the next. */
static void
read_in_pieces(struct bytes text, size_t limit, uint32_t seed, size_t most, struct buf *out)
{
	struct sse_reader r;
	struct sse_event event;

	sse_reader_init(&r, limit);
	for (size_t i = 0, size; i < text.n; i += size) {
		char *piece;

		seed = seed * 1664525 + 1013904223;
		size = 1 + (seed >> 16) % most;
		if (size > text.n - i)
			size = text.n - i;
		piece = mem_new(size);
		memcpy(piece, text.p + i, size);
		sse_reader_feed(&r, (struct bytes){piece, size});
		while (sse_reader_next(&r, &event))
			event_write(out, event.name, event.data);
		memset(piece, 0xAA, size);
		free(piece);
	}
	buf_add_text(out, r.failed ? "failed" : sse_reader_is_midway(&r) ? "midway" : "end");
	sse_reader_fini(&r);
}

struct simple {
	struct buf name, data; /* every data line followed by \n */
	size_t limit;
	bool failed;
};

static void
simple_line(struct simple *s, struct bytes line, struct buf *out)
{
	struct bytes field = line, value = {"", 0};

	if (line.n == 0) {
		if (s->data.n > 0)
			event_write(out, buf_bytes(&s->name),
			            (struct bytes){s->data.p, s->data.n - 1});
		buf_reset(&s->name);
		buf_reset(&s->data);
		return;
	}
	for (size_t i = 0; i < line.n; i++) {
		if (line.p[i] != ':')
			continue;
		field.n = i++;
		i += i < line.n && line.p[i] == ' ';
		value = (struct bytes){line.p + i, line.n - i};
		break;
	}
	if (bytes_is(field, "data")) {
		s->failed = s->failed || s->data.n + value.n > s->limit;
		buf_add_bytes(&s->data, value);
		buf_add(&s->data, "\n", 1);
	} else if (bytes_is(field, "event")) {
		buf_reset(&s->name);
		buf_add_bytes(&s->name, value);
	}
}

static void
read_simply(struct bytes text, size_t limit, struct buf *out)
{
	struct simple s = {.limit = limit};
	size_t begin = 0, i;
	bool first = true;

	for (i = 0; i <= text.n && !s.failed; i++) {
		struct bytes line = {text.p + begin, i - begin};

		s.failed = line.n > limit;
		if (i == text.n || s.failed)
			break;
		if (text.p[i] == '\n' && i > 0 && text.p[i - 1] == '\r') {
			begin = i + 1;
			continue;
		}
		if (text.p[i] != '\n' && text.p[i] != '\r')
			continue;
		if (first && line.n >= 3 && memcmp(line.p, "\xEF\xBB\xBF", 3) == 0)
			line = (struct bytes){line.p + 3, line.n - 3};
		first = false;
		begin = i + 1;
		simple_line(&s, line, out);
	}
	if (first && text.n - begin >= 3 && memcmp(text.p + begin, "\xEF\xBB\xBF", 3) == 0)
		begin += 3;
	if (s.failed)
		buf_add_text(out, "failed");
	else if ((begin < text.n && text.p[begin] != ':') || s.data.n > 0 || s.name.n > 0)
		buf_add_text(out, "midway");
	else
		buf_add_text(out, "end");
	buf_fini(&s.name);
	buf_fini(&s.data);
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	static const size_t most[] = {1, 3, 17, 200, SIZE_MAX};
	struct buf want, got;
	struct bytes text;

	if (n < 2)
		return 0;
	text = (struct bytes){(const char *)input + 2, n - 2};
	buf_init(&want, 0);
	buf_init(&got, 0);
	read_simply(text, (size_t)input[0] * 16, &want);
	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		buf_reset(&got);
		read_in_pieces(text, (size_t)input[0] * 16, input[1], most[i], &got);
		check(bytes_equal(buf_bytes(&want), buf_bytes(&got)),
		      "another cutting, other events");
	}
	buf_fini(&want);
	buf_fini(&got);
	return 0;
}
