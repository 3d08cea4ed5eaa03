/*
 * A line goes from any thread into `queued` under the mutex; the writer thread swaps that buffer for
 * its own and writes it out without the mutex. The two together hold at most QUEUE_BYTES.
 *
 * Only the writer touches the descriptor. What cannot be queued or written is counted in `dropped`,
 * and `unreported` until a line about it has been written. A write that may wait (a pipe, a
 * terminal) is preceded by poll(2) and is at most PIPE_BUF bytes, which is what poll promises room for,
 * because standard error belongs to others too and must not be made non-blocking.
 *
 * A writer that hangs in the kernel, on a dead network disk, is left behind at the close together with
 * its sink: the only memory it may still touch.
 */
#include "base/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
	QUEUE_BYTES = 1024 * 1024,
	LINE_BYTES_MAX = 64 * 1024,
	CLOSE_MS = 1000,    /* the flush at the end */
	POLL_MS = 100,      /* how soon a close is seen while the peer reads nothing */
	RETRY_MS = 1000,    /* between attempts to report a loss */
	GATHER_MS = 10,     /* for more lines to come, so that they are written together */
	JOIN_GRACE_MS = 200 /* beyond CLOSE_MS, for a writer that is not stuck */
};

static const char cut_mark[] = " [cut]";

struct chunk {
	char *p; /* owned; QUEUE_BYTES */
	size_t n;
};

struct log_sink {
	char *path; /* owned; "-": standard error */
	pthread_t writer;
	_Atomic uint64_t dropped;

	pthread_mutex_t mutex; /* guards what follows, up to the next blank line */
	pthread_cond_t work;   /* to the writer */
	pthread_cond_t done;   /* from the writer: finished */
	struct chunk queued;
	size_t writing_bytes; /* taken by the writer and not yet written */
	uint64_t unreported;  /* lines dropped of which no line tells yet */
	uint64_t deadline_us; /* 0: not closing */
	bool reopen_wanted, writer_waits, finished;
	bool json; /* the lines are JSON objects, so must be those of the sink itself */

	int fd; /* from here on: the writer's own */
	bool may_wait;
	bool torn; /* the last byte written was not the end of a line */
	struct chunk own;
};

/* -1 with errno. O_NONBLOCK: a FIFO without a reader must not hold up the start. */
static int
descriptor_open(const char *path)
{
	if (strcmp(path, "-") == 0)
		return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
}

static void
descriptor_adopt(struct log_sink *sink, int fd)
{
	struct stat st;

	sink->fd = fd;
	sink->may_wait = fstat(fd, &st) < 0 || !S_ISREG(st.st_mode);
	sink->torn = false;
}

static uint64_t
lines_in(const char *p, size_t n)
{
	uint64_t lines = 0;

	for (const char *end = p + n; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++)
		lines++;
	return lines;
}

static bool
is_past_deadline(struct log_sink *sink)
{
	uint64_t deadline_us;

	pthread_mutex_lock(&sink->mutex);
	deadline_us = sink->deadline_us;
	pthread_mutex_unlock(&sink->mutex);
	return deadline_us && clock_now_us() >= deadline_us;
}

/* Waits until the descriptor takes bytes, or has failed. False when the time to close is over. */
static bool
wait_for_room(struct log_sink *sink)
{
	struct pollfd fd = {.fd = sink->fd, .events = POLLOUT};

	if (!sink->may_wait)
		return !is_past_deadline(sink);
	do {
		if (is_past_deadline(sink))
			return false;
	} while (poll(&fd, 1, POLL_MS) <= 0);
	return true;
}

/* How much of n bytes to hand to one write(2): whole lines where possible, since other processes may
 * write to the same pipe. */
static size_t
portion(const struct log_sink *sink, const char *p, size_t n)
{
	const char *newline;

	if (!sink->may_wait || n <= PIPE_BUF)
		return n;
	newline = memrchr(p, '\n', PIPE_BUF);
	return newline ? (size_t)(newline - p) + 1 : PIPE_BUF;
}

/* Writes all n bytes, or as many as it can; how many that were. */
static size_t
write_bytes(struct log_sink *sink, const char *p, size_t n)
{
	const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};
	size_t written = 0;

	while (written < n && wait_for_room(sink)) {
		ssize_t k = write(sink->fd, p + written, portion(sink, p + written, n - written));

		if (k > 0) {
			written += (size_t)k;
			sink->torn = p[written - 1] != '\n';
		} else if (k < 0 && errno == EAGAIN) {
			/* Another process was faster: poll must not make this a busy loop. */
			nanosleep(&moment, NULL);
		} else if (k == 0 || errno != EINTR) {
			break;
		}
	}
	return written;
}

/* Lines of the sink's own, in the style of those around them. False when it was not written. */
static bool
write_notice(struct log_sink *sink, bool json, const char *event, const char *key, uint64_t value)
{
	char time[CLOCK_TEXT_SIZE], line[256];
	int n;

	clock_format(clock_wall_ms(), time);
	n = snprintf(line, sizeof(line),
	             json ? "{\"time\":\"%s\",\"event\":\"%s\",\"%s\":%llu}\n"
	                  : "%s warn %s %s=%llu\n",
	             time, event, key, (unsigned long long)value);
	return write_bytes(sink, line, (size_t)n) == (size_t)n;
}

/* Writes the writer's own chunk; how many lines of it were lost. */
static uint64_t
write_own(struct log_sink *sink)
{
	size_t written = 0;
	uint64_t lost;

	if (!sink->torn || write_bytes(sink, "\n", 1) == 1)
		written = write_bytes(sink, sink->own.p, sink->own.n);
	lost = lines_in(sink->own.p + written, sink->own.n - written);
	sink->own.n = 0;
	atomic_fetch_add_explicit(&sink->dropped, lost, memory_order_relaxed);
	pthread_mutex_lock(&sink->mutex);
	sink->writing_bytes = 0;
	sink->unreported += lost;
	pthread_mutex_unlock(&sink->mutex);
	return lost;
}

static void
report_loss(struct log_sink *sink, uint64_t lines, bool json)
{
	if (lines == 0 || (sink->torn && write_bytes(sink, "\n", 1) != 1) ||
	    !write_notice(sink, json, "lines_dropped", "count", lines))
		return;
	pthread_mutex_lock(&sink->mutex);
	sink->unreported -= lines;
	pthread_mutex_unlock(&sink->mutex);
}

static void
reopen(struct log_sink *sink, bool json)
{
	int fd;

	if (strcmp(sink->path, "-") == 0)
		return;
	fd = descriptor_open(sink->path);
	if (fd < 0) {
		write_notice(sink, json, "log_reopen_failed", "errno", (uint64_t)errno);
		return;
	}
	close(sink->fd);
	descriptor_adopt(sink, fd);
}

static struct timespec
time_after_ms(uint64_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)(ms / 1000);
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/* With the mutex held: waits for lines, a reopen or a close, or until a loss is worth another try. */
static void
wait_for_work(struct log_sink *sink)
{
	struct timespec retry = time_after_ms(RETRY_MS);
	int status = 0;

	sink->writer_waits = true;
	while (sink->queued.n == 0 && !sink->reopen_wanted && !sink->deadline_us &&
	       status != ETIMEDOUT) {
		if (sink->unreported)
			status = pthread_cond_timedwait(&sink->work, &sink->mutex, &retry);
		else
			status = pthread_cond_wait(&sink->work, &sink->mutex);
	}
	sink->writer_waits = false;
}

/* With the mutex held: where lines come often, to wake up and write for each would cost as much as a small request. */
static void
gather(struct log_sink *sink)
{
	struct timespec end = time_after_ms(GATHER_MS);

	while (sink->queued.n < QUEUE_BYTES / 4 && !sink->reopen_wanted && !sink->deadline_us &&
	       pthread_cond_timedwait(&sink->work, &sink->mutex, &end) != ETIMEDOUT)
		continue;
}

static void *
run_writer(void *arg)
{
	struct log_sink *sink = arg;
	bool closing = false;

	while (!closing) {
		struct chunk chunk;
		uint64_t lost;
		bool reopening, json;

		pthread_mutex_lock(&sink->mutex);
		wait_for_work(sink);
		gather(sink);
		chunk = sink->queued;
		sink->queued = sink->own;
		sink->own = chunk;
		sink->writing_bytes = chunk.n;
		lost = sink->unreported; /* all of them after the chunk's lines */
		reopening = sink->reopen_wanted;
		sink->reopen_wanted = false;
		closing = sink->deadline_us != 0;
		json = sink->json;
		pthread_mutex_unlock(&sink->mutex);
		if (reopening)
			reopen(sink, json);
		lost += write_own(sink);
		report_loss(sink, lost, json);
	}
	pthread_mutex_lock(&sink->mutex);
	sink->finished = true;
	pthread_cond_signal(&sink->done);
	pthread_mutex_unlock(&sink->mutex);
	return NULL;
}

/* Starts the writer with signals blocked: they are the main thread's, and a pipe without a reader is to
 * be EPIPE here. */
static int
start_writer(struct log_sink *sink)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
	sigset_t blocked, before;
	int status;

	sigfillset(&blocked);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&blocked, faults[i]);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	status = pthread_create(&sink->writer, NULL, run_writer, sink);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (status == 0)
		pthread_setname_np(sink->writer, "log");
	return status;
}

static void
sink_free(struct log_sink *sink)
{
	close(sink->fd);
	pthread_cond_destroy(&sink->work);
	pthread_cond_destroy(&sink->done);
	pthread_mutex_destroy(&sink->mutex);
	free(sink->queued.p);
	free(sink->own.p);
	free(sink->path);
	free(sink);
}

struct log_sink *
log_sink_open(const char *path, char *error, size_t size)
{
	struct log_sink *sink;
	pthread_condattr_t monotonic;
	int fd = descriptor_open(path), status;

	if (fd < 0) {
		snprintf(error, size, "%s: %s", path, strerror(errno));
		return NULL;
	}
	sink = mem_new(sizeof(*sink));
	sink->path = mem_copy(bytes_of(path));
	sink->queued.p = mem_new(QUEUE_BYTES);
	sink->own.p = mem_new(QUEUE_BYTES);
	descriptor_adopt(sink, fd);
	pthread_mutex_init(&sink->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&sink->work, &monotonic);
	pthread_cond_init(&sink->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
	status = start_writer(sink);
	if (status != 0) {
		snprintf(error, size, "%s: cannot start a thread: %s", path, strerror(status));
		sink_free(sink);
		return NULL;
	}
	return sink;
}

/* How much of a line too long is kept: never half a UTF-8 sequence. */
static size_t
cut_length(const char *line)
{
	size_t n = LINE_BYTES_MAX - (sizeof(cut_mark) - 1);

	for (unsigned i = 0; i < 3 && ((unsigned char)line[n] & 0xC0) == 0x80; i++)
		n--;
	return n;
}

static void
chunk_add(struct chunk *chunk, const char *p, size_t n)
{
	memcpy(chunk->p + chunk->n, p, n);
	chunk->n += n;
}

bool
log_sink_write(struct log_sink *sink, const char *line, size_t n)
{
	bool cut = n > LINE_BYTES_MAX, fits;
	size_t mark = cut ? sizeof(cut_mark) - 1 : 0;

	if (cut)
		n = cut_length(line);
	pthread_mutex_lock(&sink->mutex);
	fits = n + mark + 1 <= QUEUE_BYTES - sink->queued.n - sink->writing_bytes;
	if (fits) {
		sink->json = n > 0 && line[0] == '{';
		chunk_add(&sink->queued, line, n);
		chunk_add(&sink->queued, cut_mark, mark);
		chunk_add(&sink->queued, "\n", 1);
	} else {
		sink->unreported++;
		atomic_fetch_add_explicit(&sink->dropped, 1, memory_order_relaxed);
	}
	if (sink->writer_waits)
		pthread_cond_signal(&sink->work);
	pthread_mutex_unlock(&sink->mutex);
	return fits;
}

void
log_sink_reopen(struct log_sink *sink)
{
	pthread_mutex_lock(&sink->mutex);
	sink->reopen_wanted = true;
	pthread_cond_signal(&sink->work);
	pthread_mutex_unlock(&sink->mutex);
}

uint64_t
log_sink_dropped(const struct log_sink *sink)
{
	return atomic_load_explicit(&sink->dropped, memory_order_relaxed);
}

void
log_sink_close(struct log_sink *sink)
{
	struct timespec limit = time_after_ms(CLOSE_MS + JOIN_GRACE_MS);
	pthread_t writer;
	bool finished;

	if (!sink)
		return;
	pthread_mutex_lock(&sink->mutex);
	sink->deadline_us = clock_now_us() + (uint64_t)CLOSE_MS * 1000;
	pthread_cond_signal(&sink->work);
	while (!sink->finished &&
	       pthread_cond_timedwait(&sink->done, &sink->mutex, &limit) != ETIMEDOUT)
		continue;
	finished = sink->finished;
	writer = sink->writer;
	pthread_mutex_unlock(&sink->mutex);
	if (!finished) {
		pthread_detach(writer);
		return;
	}
	pthread_join(writer, NULL);
	sink_free(sink);
}
