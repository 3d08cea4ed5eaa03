/* The sink against a real file, a pipe that nobody reads, a pipe without a reader and a full disk. */
#include "base/log_sink.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "unit.h"

struct scratch {
	char folder[64];
	char path[96], second[96];
};

static struct scratch
scratch_new(void)
{
	struct scratch scratch;

	snprintf(scratch.folder, sizeof(scratch.folder), "/tmp/draft-thinker-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(scratch.folder));
	snprintf(scratch.path, sizeof(scratch.path), "%s/log", scratch.folder);
	snprintf(scratch.second, sizeof(scratch.second), "%s/log.1", scratch.folder);
	return scratch;
}

static void
scratch_end(const struct scratch *scratch)
{
	unlink(scratch->path);
	unlink(scratch->second);
	ck_assert_int_eq(rmdir(scratch->folder), 0);
}

static struct log_sink *
open_or_fail(const char *path)
{
	char error[256] = "";
	struct log_sink *sink = log_sink_open(path, error, sizeof(error));

	ck_assert_msg(sink, "%s", error);
	return sink;
}

static bool
put(struct log_sink *sink, const char *line)
{
	return log_sink_write(sink, line, strlen(line));
}

/* The whole file, terminated; freed by the caller. */
static char *
file_text(const char *path)
{
	struct buf b;
	char part[65536];
	ssize_t n;
	int fd = open(path, O_RDONLY);

	ck_assert_int_ge(fd, 0);
	buf_init(&b, 0);
	while ((n = read(fd, part, sizeof(part))) > 0)
		buf_add(&b, part, (size_t)n);
	close(fd);
	buf_add(&b, "", 1);
	return b.p;
}

static void
nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Waits until the file holds the text: the writer is another thread. */
static void
await_text(const char *path, const char *text)
{
	uint64_t end_us = clock_now_us() + 10000000;

	for (;;) {
		char *now = access(path, R_OK) == 0 ? file_text(path) : mem_copy(bytes_of(""));
		bool there = strstr(now, text) != NULL;

		free(now);
		if (there)
			return;
		ck_assert_msg(clock_now_us() < end_us, "%s never got %s", path, text);
		nap();
	}
}

/* Standard error becomes the writing end of a new pipe; the reading end. */
static int
stderr_to_pipe(void)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	return ends[0];
}

static uint64_t
count_lines(const char *text)
{
	uint64_t lines = 0;

	for (; (text = strchr(text, '\n')); text++)
		lines++;
	return lines;
}

START_TEST(test_lines_arrive_in_order_each_with_a_newline)
{
	struct scratch scratch = scratch_new();
	struct log_sink *sink = open_or_fail(scratch.path);
	struct stat st;
	char *text;

	ck_assert(put(sink, "one"));
	ck_assert(put(sink, ""));
	ck_assert(put(sink, "three"));
	ck_assert_int_eq(log_sink_dropped(sink), 0);
	log_sink_close(sink);
	text = file_text(scratch.path);
	ck_assert_str_eq(text, "one\n\nthree\n");
	free(text);
	ck_assert_int_eq(stat(scratch.path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0137, 0); /* at most rw-r----- */

	sink = open_or_fail(scratch.path);
	ck_assert(put(sink, "appended"));
	log_sink_close(sink);
	text = file_text(scratch.path);
	ck_assert_str_eq(text, "one\n\nthree\nappended\n");
	free(text);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_the_file_is_not_inherited_by_programs_started)
{
	struct scratch scratch = scratch_new();
	struct log_sink *sink = open_or_fail(scratch.path);
	DIR *folder = opendir("/proc/self/fd");
	unsigned seen = 0;

	for (struct dirent *entry; (entry = readdir(folder));) {
		char target[256] = "";

		if (readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1) > 0 &&
		    strcmp(target, scratch.path) == 0) {
			ck_assert_int_eq(fcntl(atoi(entry->d_name), F_GETFD), FD_CLOEXEC);
			seen++;
		}
	}
	closedir(folder);
	ck_assert_uint_eq(seen, 1);
	log_sink_close(sink);
	scratch_end(&scratch);
}
END_TEST

struct author {
	struct log_sink *sink;
	unsigned number;
};

static void *
run_author(void *arg)
{
	struct author *author = arg;

	for (unsigned i = 0; i < 2000; i++) {
		char line[64];

		snprintf(line, sizeof(line), "author %u line %u end", author->number, i);
		log_sink_write(author->sink, line, strlen(line));
	}
	return NULL;
}

START_TEST(test_lines_of_several_threads_never_mix)
{
	struct scratch scratch = scratch_new();
	struct log_sink *sink = open_or_fail(scratch.path);
	struct author authors[4];
	pthread_t threads[4];
	unsigned next[4] = {0};
	char *text, *save = NULL;

	for (unsigned i = 0; i < 4; i++) {
		authors[i] = (struct author){sink, i};
		pthread_create(&threads[i], NULL, run_author, &authors[i]);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(log_sink_dropped(sink), 0);
	log_sink_close(sink);
	text = file_text(scratch.path);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char expected[64];
		unsigned author;

		ck_assert_int_eq(sscanf(line, "author %u", &author), 1);
		ck_assert_uint_lt(author, 4);
		snprintf(expected, sizeof(expected), "author %u line %u end", author,
		         next[author]++);
		ck_assert_str_eq(line, expected);
	}
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(next[i], 2000);
	free(text);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_a_line_beyond_64_kib_is_cut_between_characters_and_marked)
{
	enum { LIMIT = 64 * 1024, LONG = 3 * LIMIT };
	static const char mark[] = " [cut]\n";
	char *line = mem_new(LONG + 1);

	/* The cut falls on each byte of a three-byte character. */
	for (unsigned shift = 0; shift < 3; shift++) {
		struct scratch scratch = scratch_new();
		struct log_sink *sink = open_or_fail(scratch.path);
		char *text;
		size_t n;

		memset(line, 'x', shift);
		for (size_t i = shift; i < LONG; i++)
			line[i] = "\xE2\x82\xAC"[(i - shift) % 3];
		ck_assert(log_sink_write(sink, line, LONG));
		ck_assert(log_sink_write(sink, line, LIMIT - (LIMIT - shift) % 3));
		log_sink_close(sink);
		text = file_text(scratch.path);
		n = (size_t)(strchr(text, '\n') - text) + 1;
		ck_assert_uint_le(n, LIMIT + 1);
		ck_assert_uint_ge(n, LIMIT - 4);
		ck_assert_int_eq(memcmp(text + n - strlen(mark), mark, strlen(mark)), 0);
		ck_assert(bytes_is_utf8(bytes_of(text)));
		ck_assert_uint_eq(strlen(text + n), LIMIT - (LIMIT - shift) % 3 + 1);
		free(text);
		scratch_end(&scratch);
	}
	free(line);
}
END_TEST

/* Fills standard error's pipe and the queue; the number of lines tried. */
static unsigned
flood(struct log_sink *sink)
{
	char line[1024];
	unsigned tried = 0;

	memset(line, 'x', sizeof(line));
	for (; tried < 3000; tried++)
		log_sink_write(sink, line, sizeof(line));
	return tried;
}

START_TEST(test_a_pipe_that_nobody_reads_stops_neither_a_caller_nor_the_close)
{
	int pipe_fd = stderr_to_pipe();
	struct log_sink *sink = open_or_fail("-");
	uint64_t start_us = clock_now_us(), close_us;

	flood(sink);
	ck_assert_uint_lt(clock_now_us() - start_us, 1000000);
	ck_assert_uint_gt(log_sink_dropped(sink), 1000);
	close_us = clock_now_us();
	log_sink_close(sink);
	ck_assert_uint_lt(clock_now_us() - close_us, 1500000);
	close(pipe_fd);
}
END_TEST

START_TEST(test_once_the_pipe_is_read_again_kept_lines_are_whole_and_the_loss_is_told)
{
	int pipe_fd = stderr_to_pipe();
	struct log_sink *sink = open_or_fail("-");
	uint64_t tried = flood(sink), kept = 0, told = 0, lost = log_sink_dropped(sink);
	FILE *reader = fdopen(pipe_fd, "r");
	char line[4096];

	ck_assert_uint_gt(lost, 0);
	while (told < lost) {
		ck_assert_ptr_nonnull(fgets(line, sizeof(line), reader));
		if (line[0] == 'x') {
			ck_assert_uint_eq(strlen(line), 1025);
			kept++;
		} else {
			char *count = strstr(line, " warn lines_dropped count=");

			ck_assert_msg(count, "%s", line);
			told += strtoull(strchr(count, '=') + 1, NULL, 10);
		}
	}
	ck_assert_uint_eq(told, lost);
	ck_assert_uint_eq(kept + lost, tried);
	ck_assert(put(sink, "after the loss"));
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), reader));
	ck_assert_str_eq(line, "after the loss\n");
	log_sink_close(sink);
	fclose(reader);
}
END_TEST

START_TEST(test_a_reader_that_is_gone_costs_lines_but_not_the_process)
{
	int pipe_fd = stderr_to_pipe();
	struct log_sink *sink = open_or_fail("-");
	uint64_t end_us = clock_now_us() + 10000000;

	close(pipe_fd);
	put(sink, "nobody will see this");
	while (log_sink_dropped(sink) < 1) {
		ck_assert_uint_lt(clock_now_us(), end_us);
		nap();
	}
	put(sink, "nor this");
	log_sink_close(sink);
}
END_TEST

START_TEST(test_a_full_disk_costs_lines_but_the_sink_goes_on)
{
	struct log_sink *sink = open_or_fail("/dev/full");
	uint64_t end_us = clock_now_us() + 10000000;

	for (uint64_t lines = 1; lines <= 3; lines++) {
		put(sink, "no room");
		while (log_sink_dropped(sink) < lines) {
			ck_assert_uint_lt(clock_now_us(), end_us);
			nap();
		}
	}
	log_sink_close(sink);
}
END_TEST

static void
limit_file_bytes(rlim_t bytes)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
	setrlimit(RLIMIT_FSIZE, &limit);
}

START_TEST(test_when_the_disk_has_room_again_a_torn_line_is_ended_and_the_loss_told)
{
	struct scratch scratch = scratch_new();
	uint64_t end_us = clock_now_us() + 10000000;
	struct log_sink *sink;
	char *text;

	sink = open_or_fail(scratch.path);
	limit_file_bytes(14); /* for Check's own files too: no assertion until it is lifted */
	put(sink, "{\"line\":1}");
	put(sink, "{\"line\":2}");
	while (log_sink_dropped(sink) < 1 && clock_now_us() < end_us)
		nap();
	limit_file_bytes(RLIM_INFINITY);
	ck_assert_uint_eq(log_sink_dropped(sink), 1);
	await_text(scratch.path, "\"lines_dropped\",\"count\":1}\n");
	put(sink, "{\"line\":3}");
	log_sink_close(sink);
	text = file_text(scratch.path);
	ck_assert_int_eq(memcmp(text, "{\"line\":1}\n{\"l\n{\"time\":\"", 24), 0);
	ck_assert_uint_eq(count_lines(text), 4);
	ck_assert_ptr_nonnull(strstr(text, "\n{\"line\":3}\n"));
	free(text);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_a_reopen_goes_on_in_a_new_file)
{
	struct scratch scratch = scratch_new();
	struct log_sink *sink = open_or_fail(scratch.path);
	char *text;

	put(sink, "before");
	await_text(scratch.path, "before\n");
	ck_assert_int_eq(rename(scratch.path, scratch.second), 0);
	log_sink_reopen(sink);
	put(sink, "after");
	log_sink_close(sink);
	text = file_text(scratch.second);
	ck_assert_str_eq(text, "before\n");
	free(text);
	text = file_text(scratch.path);
	ck_assert_str_eq(text, "after\n");
	free(text);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_a_reopen_without_lines_creates_the_new_file)
{
	struct scratch scratch = scratch_new();
	struct log_sink *sink = open_or_fail(scratch.path);
	uint64_t end_us = clock_now_us() + 10000000;

	ck_assert_int_eq(rename(scratch.path, scratch.second), 0);
	log_sink_reopen(sink);
	while (access(scratch.path, F_OK) != 0) {
		ck_assert_uint_lt(clock_now_us(), end_us);
		nap();
	}
	log_sink_close(sink);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_a_reopen_that_fails_leaves_the_old_file_in_use)
{
	struct scratch scratch = scratch_new();
	struct log_sink *sink = open_or_fail(scratch.path);
	char *text;

	ck_assert_int_eq(rename(scratch.path, scratch.second), 0);
	ck_assert_int_eq(mkdir(scratch.path, 0700), 0);
	log_sink_reopen(sink);
	put(sink, "still here");
	log_sink_close(sink);
	text = file_text(scratch.second);
	ck_assert_ptr_nonnull(strstr(text, " warn log_reopen_failed errno="));
	ck_assert_ptr_nonnull(strstr(text, "\nstill here\n"));
	free(text);
	ck_assert_int_eq(rmdir(scratch.path), 0);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_what_cannot_be_opened_is_said_at_once)
{
	struct scratch scratch = scratch_new();
	char error[256] = "", path[128];

	snprintf(path, sizeof(path), "%s/missing/log", scratch.folder);
	ck_assert_ptr_null(log_sink_open(path, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, path));
	ck_assert_ptr_nonnull(strstr(error, "No such file"));

	/* A FIFO without a reader: no waiting for one. */
	ck_assert_int_eq(mkfifo(scratch.path, 0600), 0);
	ck_assert_ptr_null(log_sink_open(scratch.path, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, scratch.path));

	close(STDERR_FILENO);
	ck_assert_ptr_null(log_sink_open("-", error, sizeof(error)));
	log_sink_close(NULL);
	scratch_end(&scratch);
}
END_TEST

UNIT_MAIN("log_sink", test_lines_arrive_in_order_each_with_a_newline,
          test_the_file_is_not_inherited_by_programs_started,
          test_lines_of_several_threads_never_mix,
          test_a_line_beyond_64_kib_is_cut_between_characters_and_marked,
          test_a_pipe_that_nobody_reads_stops_neither_a_caller_nor_the_close,
          test_once_the_pipe_is_read_again_kept_lines_are_whole_and_the_loss_is_told,
          test_a_reader_that_is_gone_costs_lines_but_not_the_process,
          test_a_full_disk_costs_lines_but_the_sink_goes_on,
          test_when_the_disk_has_room_again_a_torn_line_is_ended_and_the_loss_told,
          test_a_reopen_goes_on_in_a_new_file, test_a_reopen_without_lines_creates_the_new_file,
          test_a_reopen_that_fails_leaves_the_old_file_in_use,
          test_what_cannot_be_opened_is_said_at_once)
