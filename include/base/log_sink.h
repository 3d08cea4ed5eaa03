/*
 * A file that lines are appended to without ever blocking the writer of a line: a bounded
 * buffer under a mutex and one thread that does the write(2). When the disk or the pipe is
 * slower than the program, lines are dropped and counted, and the loss is written as a line
 * of its own, `lines_dropped`, once there is room again: as a JSON object where the lines are JSON
 * objects, else as a line of the operator's log. Two sinks on one path are the caller's to avoid.
 *
 * Any thread may write. Created and closed by the main thread.
 */
#ifndef BASE_LOG_SINK_H
#define BASE_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_sink;

/* path: a file to append to (created 0640), or "-" for standard error.
 * NULL with a message in error[size] when it cannot be opened. */
struct log_sink *log_sink_open(const char *path, char *error, size_t size);

/* Queues `line`, which has no newline in it; one is added. Beyond 64 KiB it is cut and marked. False when
 * it had to be dropped. */
bool log_sink_write(struct log_sink *sink, const char *line, size_t n);

/* Has the file closed and opened again, after log rotation: soon, by the writer's thread. When that
 * fails the old file stays and a line `log_reopen_failed` in it says so. */
void log_sink_reopen(struct log_sink *sink);

/* Lines dropped since the start. */
uint64_t log_sink_dropped(const struct log_sink *sink);

/* Writes what is queued, for at most a second, and frees it; no thread may use it any more. NULL is
 * allowed. */
void log_sink_close(struct log_sink *sink);

#endif
