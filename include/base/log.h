/*
 * The operator's log: one line an event, `time level event text`, to a log_sink. Control
 * bytes in the text are escaped as \xNN, so a peer cannot forge a line; text beyond 4 KiB is cut.
 *
 * Of one event name at most 20 lines a second are written, debug lines excepted; what was left out is
 * summed up in one line `event suppressed=N` afterwards. Any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/log_sink.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

struct log;

/* sink: borrowed, must outlive the log. */
struct log *log_new(struct log_sink *sink, enum log_level level);
void log_free(struct log *log); /* NULL is allowed */
void log_set_level(struct log *log, enum log_level level);

/* event: a bare word such as `reload_failed`; format: logfmt pairs, `key=value key="two words"`.
 * log NULL: nothing is written. */
void log_event(struct log *log, enum log_level level, const char *event, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

#endif
