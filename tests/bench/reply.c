#include "reply.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void
reply_free(struct reply *reply)
{
	free(reply->head);
	reply->head = NULL;
}

void
reply_begin(struct reply *reply)
{
	reply->state = REPLY_HEAD;
	reply->status = 0;
	reply->closes = false;
	reply->left = reply->body_n = 0;
	reply->head_n = reply->mark_n = 0;
}

/* ---------------------------------------------------------------- marks */

static bool
number_of(const char *digits, size_t n, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < n; i++) {
		if (!isdigit((unsigned char)digits[i]))
			return false;
		*out = *out * 10 + (uint64_t)(digits[i] - '0');
	}
	return true;
}

static void
read_mark(struct reply *reply, const char *mark)
{
	uint64_t number, sent_us;

	if (number_of(mark + 1, 2, &number) && mark[3] == ':' &&
	    number_of(mark + 4, MARK_DIGITS, &sent_us))
		reply->on_mark(reply->arg, (unsigned)number, sent_us);
}

static void
read_body(struct reply *reply, const char *p, size_t n)
{
	const char *end = p + n;

	reply->body_n += n;
	if (reply->mark_n > 0) {
		size_t more = MARK_BYTES - reply->mark_n;

		if (more > n)
			more = n;
		memcpy(reply->mark + reply->mark_n, p, more);
		reply->mark_n += more;
		p += more;
		if (reply->mark_n < MARK_BYTES)
			return;
		reply->mark_n = 0;
		read_mark(reply, reply->mark);
	}
	while (p < end && (p = memchr(p, '@', (size_t)(end - p)))) {
		if ((size_t)(end - p) < MARK_BYTES) {
			reply->mark_n = (size_t)(end - p);
			memcpy(reply->mark, p, reply->mark_n);
			return;
		}
		read_mark(reply, p);
		p += MARK_BYTES;
	}
}

/* ---------------------------------------------------------------- head */

/* The head with its empty line, as text. */
static void
read_head(struct reply *reply, const char *head)
{
	bool chunked = false;

	if (strncmp(head, "HTTP/1.1 ", 9) != 0) {
		reply->state = REPLY_MALFORMED;
		return;
	}
	reply->status = (int)strtol(head + 9, NULL, 10);
	for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
		const char *field = line + 2;

		if (strncasecmp(field, "Content-Length:", 15) == 0)
			reply->left = strtoull(field + 15, NULL, 10);
		else if (strncasecmp(field, "Transfer-Encoding: chunked", 26) == 0)
			chunked = true;
		else if (strncasecmp(field, "Connection: close", 17) == 0)
			reply->closes = true;
	}
	if (chunked) {
		reply->left = 0;
		reply->state = REPLY_SIZE;
	} else {
		reply->state = reply->left > 0 ? REPLY_LENGTH : REPLY_DONE;
	}
}

/* How many of the bytes belong to the head. */
static size_t
feed_head(struct reply *reply, const char *p, size_t n)
{
	size_t before = reply->head_n, taken = n;
	const char *end;

	if (!reply->head)
		reply->head = malloc(REPLY_HEAD_MAX + 1);
	if (!reply->head) {
		reply->state = REPLY_MALFORMED;
		return n;
	}
	if (taken > REPLY_HEAD_MAX - before)
		taken = REPLY_HEAD_MAX - before;
	memcpy(reply->head + before, p, taken);
	end = memmem(reply->head, before + taken, "\r\n\r\n", 4);
	if (end)
		reply->head_n = (size_t)(end - reply->head) + 4;
	else
		reply->head_n = before + taken;
	reply->head[reply->head_n] = '\0';
	if (end)
		read_head(reply, reply->head);
	else if (reply->head_n == REPLY_HEAD_MAX)
		reply->state = REPLY_MALFORMED;
	return reply->head_n - before;
}

/* ---------------------------------------------------------------- body */

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of what stands around the chunks. */
static void
feed_frame(struct reply *reply, char c)
{
	int digit = hex_digit(c);

	if (reply->state == REPLY_SIZE) {
		if (digit >= 0)
			reply->left = reply->left * 16 + (uint64_t)digit;
		else if (c == '\n')
			reply->state = reply->left > 0 ? REPLY_CHUNK : REPLY_LAST;
		else if (c != '\r')
			reply->state = REPLY_MALFORMED;
	} else if (c == '\n') {
		reply->state = reply->state == REPLY_LAST ? REPLY_DONE : REPLY_SIZE;
	} else if (c != '\r') {
		reply->state = REPLY_MALFORMED;
	}
}

void
reply_feed(struct reply *reply, const char *p, size_t n)
{
	while (n > 0) {
		size_t taken = 1;

		switch (reply->state) {
		case REPLY_HEAD: taken = feed_head(reply, p, n); break;
		case REPLY_LENGTH:
		case REPLY_CHUNK:
			taken = n < reply->left ? n : (size_t)reply->left;
			read_body(reply, p, taken);
			reply->left -= taken;
			if (reply->left == 0)
				reply->state =
				        reply->state == REPLY_CHUNK ? REPLY_CHUNK_END : REPLY_DONE;
			break;
		case REPLY_SIZE:
		case REPLY_CHUNK_END:
		case REPLY_LAST: feed_frame(reply, *p); break;
		case REPLY_DONE: reply->state = REPLY_MALFORMED; return;
		case REPLY_MALFORMED: return;
		}
		p += taken;
		n -= taken;
	}
}
