/*
 * Below the level, an event costs one relaxed load. Above it, the mutex guards the memory of recent
 * events, which keeps a failing upstream from filling a disk: of one event name, RATE_LINES lines a
 * second are written and the rest is summed up in one line `event suppressed=N` once the second is
 * over and anything is logged again. Debug lines are not limited: who asks for them wants them all.
 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
	RATE_LINES = 20, /* of one event a second */
	RATE_US = 1000000,
	RECENT_EVENTS = 64,
	NAME_SIZE = 48,
	TEXT_BYTES_MAX = 4096, /* before escaping */
};

struct recent {
	char name[NAME_SIZE]; /* empty: unused */
	enum log_level level; /* of the last line suppressed */
	uint64_t since_us;    /* start of its second */
	unsigned lines;
	uint64_t suppressed;
};

struct log {
	struct log_sink *sink; /* borrowed */
	_Atomic int level;
	pthread_mutex_t mutex;
	struct recent recent[RECENT_EVENTS]; /* guarded by the mutex */
};

struct log *
log_new(struct log_sink *sink, enum log_level level)
{
	struct log *log = mem_new(sizeof(*log));

	log->sink = sink;
	atomic_init(&log->level, (int)level);
	pthread_mutex_init(&log->mutex, NULL);
	return log;
}

void
log_set_level(struct log *log, enum log_level level)
{
	atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
}

/* Length of the well-formed UTF-8 sequence at p that is not a C1 control, or 0. */
static size_t
printable_sequence(const char *p, size_t n)
{
	for (size_t k = 2; k <= 4 && k <= n; k++) {
		if (bytes_is_utf8((struct bytes){p, k}))
			return k == 2 && p[0] == '\xC2' && (unsigned char)p[1] < 0xA0 ? 0 : k;
	}
	return 0;
}

/* Copies text to out, which has room for four times as much; the length written. */
static size_t
escape(char *out, const char *text, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	char *p = out;

	for (size_t i = 0; i < n;) {
		unsigned char c = (unsigned char)text[i];
		size_t k = c < 0x80 ? c >= 0x20 && c != 0x7F : printable_sequence(text + i, n - i);

		if (k > 0) {
			memcpy(p, text + i, k);
			p += k;
			i += k;
			continue;
		}
		*p++ = '\\';
		*p++ = 'x';
		*p++ = hex[c >> 4];
		*p++ = hex[c & 15];
		i++;
	}
	return (size_t)(p - out);
}

static void
write_line(struct log *log, enum log_level level, const char *event, const char *text, bool cut)
{
	static const char *const names[] = {"debug", "info", "warn", "error"};
	char line[CLOCK_TEXT_SIZE + 8 + NAME_SIZE * 4 + TEXT_BYTES_MAX * 4 + 16],
	        time[CLOCK_TEXT_SIZE];
	size_t n;

	clock_format(clock_wall_ms(), time);
	n = (size_t)snprintf(line, sizeof(line), "%s %s ", time, names[level]);
	n += escape(line + n, event, strnlen(event, NAME_SIZE - 1));
	if (text[0]) {
		line[n++] = ' ';
		n += escape(line + n, text, strlen(text));
	}
	if (cut) {
		memcpy(line + n, " [cut]", 6);
		n += 6;
	}
	log_sink_write(log->sink, line, n);
}

static void
report_suppressed(struct log *log, struct recent *recent)
{
	char text[48];

	if (recent->suppressed == 0)
		return;
	snprintf(text, sizeof(text), "suppressed=%llu", (unsigned long long)recent->suppressed);
	recent->suppressed = 0;
	write_line(log, recent->level, recent->name, text, false);
}

/* With the mutex held: ends the seconds that are over, and finds the event's slot; an unknown event
 * takes a free one, else that of the event not seen for longest. */
static struct recent *
recent_find(struct log *log, const char *event, uint64_t now_us)
{
	struct recent *found = NULL, *oldest = &log->recent[0];

	for (size_t i = 0; i < RECENT_EVENTS; i++) {
		struct recent *recent = &log->recent[i];

		if (recent->name[0] && now_us - recent->since_us >= RATE_US) {
			report_suppressed(log, recent);
			recent->lines = 0;
		}
		if (strncmp(recent->name, event, NAME_SIZE - 1) == 0)
			found = recent;
		if (recent->since_us < oldest->since_us)
			oldest = recent;
	}
	if (found)
		return found;
	report_suppressed(log, oldest);
	*oldest = (struct recent){.since_us = now_us};
	snprintf(oldest->name, sizeof(oldest->name), "%s", event);
	return oldest;
}

/* May a line of this event be written now? */
static bool
admit(struct log *log, enum log_level level, const char *event)
{
	uint64_t now_us = clock_now_us();
	struct recent *recent;
	bool admitted;

	pthread_mutex_lock(&log->mutex);
	recent = recent_find(log, event, now_us);
	if (recent->lines == 0)
		recent->since_us = now_us;
	admitted = recent->lines < RATE_LINES;
	if (admitted) {
		recent->lines++;
	} else {
		recent->suppressed++;
		recent->level = level;
	}
	pthread_mutex_unlock(&log->mutex);
	return admitted;
}

/* Apart from log_event, so that an event below the level does not pay for the buffer. */
static __attribute__((noinline, format(printf, 4, 0))) void
write_event(struct log *log, enum log_level level, const char *event, const char *format,
            va_list args)
{
	char text[TEXT_BYTES_MAX + 1];
	int n = vsnprintf(text, sizeof(text), format, args);

	if (n < 0)
		snprintf(text, sizeof(text), "error=\"the text could not be formatted\"");
	write_line(log, level, event, text, n > TEXT_BYTES_MAX);
}

void
log_event(struct log *log, enum log_level level, const char *event, const char *format, ...)
{
	va_list args;

	if (!log || (int)level < atomic_load_explicit(&log->level, memory_order_relaxed))
		return;
	if (level != LOG_LEVEL_DEBUG && !admit(log, level, event))
		return;
	va_start(args, format);
	write_event(log, level, event, format, args);
	va_end(args);
}

void
log_free(struct log *log)
{
	if (!log)
		return;
	for (size_t i = 0; i < RECENT_EVENTS; i++)
		report_suppressed(log, &log->recent[i]);
	pthread_mutex_destroy(&log->mutex);
	free(log);
}
