/*
 * Server-sent events, one line at a time.
 *
 * What always holds between two calls: `line` has the bytes since the last line end seen in earlier
 * chunks, at most `limit` of them; the event being read has its data in `data` (borrowed) or, if
 * is_joined, in `joined`; nothing but `data` and `chunk` points into memory of others. Line ends are
 * only looked for in new bytes, and a line or an event is copied at most twice, so the time taken is
 * linear in the input however it is cut.
 */
#include "wire/sse_reader.h"

void
sse_reader_init(struct sse_reader *r, size_t limit)
{
	*r = (struct sse_reader){.limit = limit};
	buf_init(&r->line, 0);
	buf_init(&r->name, 0);
	buf_init(&r->joined, 0);
}

void
sse_reader_fini(struct sse_reader *r)
{
	buf_fini(&r->line);
	buf_fini(&r->name);
	buf_fini(&r->joined);
}

void
sse_reader_feed(struct sse_reader *r, struct bytes chunk)
{
	if (r->chunk.n > 0) {
		r->failed = true;
		return;
	}
	r->chunk = chunk;
	r->lf = r->cr = NULL;
}

/*
 * Where the next line ends. Both marks are remembered until they are passed: a chunk that has only
 * one kind of line end would otherwise be searched whole for the other kind at every line.
 */
static const char *
line_end(struct sse_reader *r, const char *p, const char *end)
{
	if (!r->lf || r->lf < p) {
		r->lf = memchr(p, '\n', (size_t)(end - p));
		if (!r->lf)
			r->lf = end;
	}
	if (!r->cr || r->cr < p) {
		r->cr = memchr(p, '\r', (size_t)(end - p));
		if (!r->cr)
			r->cr = end;
	}
	return r->lf < r->cr ? r->lf : r->cr;
}

/* The next complete line without its end. The rest of the chunk, when it has none, goes to `line`. */
static bool
line_next(struct sse_reader *r, struct bytes *line)
{
	const char *p = r->chunk.p, *end, *stop;
	size_t n;

	if (r->chunk.n == 0)
		return false;
	end = p + r->chunk.n;
	if (r->skip_lf) {
		r->skip_lf = false;
		p += *p == '\n';
	}
	if (p == end) {
		r->chunk.n = 0;
		return false;
	}
	stop = line_end(r, p, end);
	n = (size_t)(stop - p);
	if (n > r->limit - r->line.n) {
		r->failed = true;
		return false;
	}
	*line = (struct bytes){p, n};
	if (r->line.n > 0 || stop == end) {
		buf_add(&r->line, p, n);
		r->failed = r->line.failed;
		*line = buf_bytes(&r->line);
	}
	if (stop == end) {
		r->chunk.n = 0;
		return false;
	}
	r->skip_lf = *stop == '\r';
	r->chunk = (struct bytes){stop + 1, (size_t)(end - stop - 1)};
	return !r->failed;
}

/* Moves borrowed data to memory of the reader's own. */
static void
data_own(struct sse_reader *r)
{
	if (!r->has_data || r->is_joined)
		return;
	buf_reset(&r->joined);
	buf_add_bytes(&r->joined, r->data);
	r->joined_from = 0;
	r->is_joined = true;
}

static void
data_add(struct sse_reader *r, struct bytes value)
{
	size_t n = 0;

	if (!r->has_data) {
		r->has_data = true;
		r->is_joined = r->line.n > 0;
		r->data = value;
		if (r->is_joined) {
			/* The value stands in `line`, which the next line may need: they change places. */
			struct buf other = r->joined;

			r->joined_from = (size_t)(value.p - r->line.p);
			r->joined = r->line;
			r->line = other;
			buf_reset(&r->line);
		}
		return;
	}
	n = r->is_joined ? r->joined.n - r->joined_from : r->data.n;
	if (value.n >= r->limit - n) {
		r->failed = true;
		return;
	}
	data_own(r);
	buf_add(&r->joined, "\n", 1);
	buf_add_bytes(&r->joined, value);
	r->failed = r->joined.failed;
}

/* Takes in a line that is not empty. */
static void
line_read(struct sse_reader *r, struct bytes line)
{
	const char *colon = memchr(line.p, ':', line.n);
	struct bytes field = {line.p, colon ? (size_t)(colon - line.p) : line.n};
	struct bytes value = {line.p + line.n, 0};

	if (colon) {
		value.p = colon + 1;
		value.n = line.n - field.n - 1;
		if (value.n > 0 && *value.p == ' ') {
			value.p++;
			value.n--;
		}
	}
	if (bytes_is(field, "data")) {
		data_add(r, value);
	} else if (bytes_is(field, "event")) {
		buf_reset(&r->name);
		buf_add_bytes(&r->name, value);
		r->failed = r->name.failed;
	}
}

static void
event_reset(struct sse_reader *r)
{
	r->has_data = r->is_joined = r->reported = false;
	buf_reset(&r->name);
}

static bool
event_finish(struct sse_reader *r, struct sse_event *event)
{
	if (!r->has_data) {
		event_reset(r);
		return false;
	}
	event->data = r->data;
	if (r->is_joined) {
		event->data = buf_bytes(&r->joined);
		event->data.p += r->joined_from;
		event->data.n -= r->joined_from;
	}
	event->name = buf_bytes(&r->name);
	r->reported = true;
	return true;
}

static struct bytes
mark_strip(struct bytes line)
{
	if (line.n >= 3 && memcmp(line.p, "\xEF\xBB\xBF", 3) == 0)
		return (struct bytes){line.p + 3, line.n - 3};
	return line;
}

bool
sse_reader_next(struct sse_reader *r, struct sse_event *event)
{
	struct bytes line;

	if (r->reported)
		event_reset(r);
	while (!r->failed && line_next(r, &line)) {
		if (!r->started)
			line = mark_strip(line);
		r->started = true;
		if (line.n > 0)
			line_read(r, line);
		r->line.n = 0;
		if (line.n == 0 && event_finish(r, event))
			return true;
	}
	data_own(r);
	r->failed = r->failed || r->joined.failed;
	return false;
}

bool
sse_reader_is_midway(const struct sse_reader *r)
{
	struct bytes line = buf_bytes(&r->line);

	if (!r->started)
		line = mark_strip(line);
	if (line.n > 0 && line.p[0] != ':')
		return true;
	return !r->reported && (r->has_data || r->name.n > 0);
}
