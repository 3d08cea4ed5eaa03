#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
buf_init(struct buf *b, size_t limit)
{
	*b = (struct buf){.limit = limit};
}

void
buf_fini(struct buf *b)
{
	free(b->p);
	*b = (struct buf){.limit = b->limit};
}

void
buf_reset(struct buf *b)
{
	b->n = 0;
	b->failed = false;
}

/* Makes room for `more` bytes that count against the limit, and `spare` that do not. */
static bool
reserve(struct buf *b, size_t more, size_t spare)
{
	size_t need, cap;
	char *p;

	if (b->failed)
		return false;
	if (__builtin_add_overflow(b->n, more, &need) || (b->limit && need > b->limit) ||
	    __builtin_add_overflow(need, spare, &need))
		goto fail;
	if (need <= b->cap)
		return true;
	cap = b->cap ? b->cap : 256;
	while (cap < need) {
		if (__builtin_mul_overflow(cap, (size_t)2, &cap))
			goto fail;
	}
	p = realloc(b->p, cap);
	if (!p)
		goto fail;
	b->p = p;
	b->cap = cap;
	return true;
fail:
	b->failed = true;
	return false;
}

bool
buf_reserve(struct buf *b, size_t more)
{
	return reserve(b, more, 0);
}

void
buf_add(struct buf *b, const void *p, size_t n)
{
	if (n == 0 || !buf_reserve(b, n))
		return;
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

void
buf_add_bytes(struct buf *b, struct bytes text)
{
	buf_add(b, text.p, text.n);
}

void
buf_add_text(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

void
buf_add_u64(struct buf *b, uint64_t value)
{
	char digits[BYTES_U64_MAX];

	buf_add_text(b, bytes_from_u64(value, digits));
}

void
buf_add_format(struct buf *b, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0 || !reserve(b, (size_t)n, 1)) { /* one for the terminator */
		b->failed = true;
		return;
	}
	va_start(args, format);
	vsnprintf(b->p + b->n, (size_t)n + 1, format, args);
	va_end(args);
	b->n += (size_t)n;
}

/* Length of the well-formed UTF-8 sequence at p, or 0. */
static size_t
utf8_length(const char *p, size_t n)
{
	for (size_t k = 1; k <= 4 && k <= n; k++) {
		if (bytes_is_utf8((struct bytes){p, k}))
			return k;
	}
	return 0;
}

void
buf_add_json_string(struct buf *b, struct bytes text)
{
	static const char hex[] = "0123456789abcdef";
	size_t plain = 0; /* start of the run that needs no escape */

	buf_add(b, "\"", 1);
	for (size_t i = 0; i < text.n;) {
		unsigned char c = (unsigned char)text.p[i];
		size_t length = 0;

		if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
			i++;
			continue;
		}
		if (c >= 0x80 && (length = utf8_length(text.p + i, text.n - i)) > 0) {
			i += length;
			continue;
		}
		char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

		buf_add(b, text.p + plain, i - plain);
		if (c == '"' || c == '\\') {
			escape[1] = (char)c;
			buf_add(b, escape, 2);
		} else if (c == '\n') {
			buf_add(b, "\\n", 2);
		} else if (c >= 0x80) {
			buf_add(b, "\xEF\xBF\xBD", 3);
		} else {
			buf_add(b, escape, 6);
		}
		plain = ++i;
	}
	buf_add(b, text.p + plain, text.n - plain);
	buf_add(b, "\"", 1);
}

void
buf_drop(struct buf *b, size_t n)
{
	if (n >= b->n) {
		b->n = 0;
		return;
	}
	memmove(b->p, b->p + n, b->n - n);
	b->n -= n;
}
