/*
 * The process_* metrics under the names that every Prometheus client uses. /proc is read with plain
 * calls, without stdio: a scrape should not fail for want of memory.
 */
#include "observe/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "observe/exposition.h"

/* Reads a file of /proc, up to size - 1 bytes, as text; false when there is none. */
static bool
read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t total = 0;
	ssize_t n;

	if (fd < 0)
		return false;
	while (total < size - 1 && (n = read(fd, text + total, size - 1 - total)) > 0)
		total += (size_t)n;
	close(fd);
	text[total] = '\0';
	return total > 0;
}

/* The number at word `index`, from 0, of a text. */
static bool
number_at(const char *text, unsigned index, uint64_t *out)
{
	for (; index > 0; index--) {
		text = strchr(text, ' ');
		if (!text)
			return false;
		text++;
	}
	return bytes_to_u64((struct bytes){text, strcspn(text, " \n")}, UINT64_MAX, out);
}

static void
add_memory(struct buf *out)
{
	char text[256];
	uint64_t pages;

	if (!read_text("/proc/self/statm", text, sizeof(text)) || !number_at(text, 1, &pages))
		return;
	exposition_add_head(out, "process_resident_memory_bytes", "gauge",
	                    "Resident memory size in bytes.");
	buf_add_text(out, "process_resident_memory_bytes ");
	buf_add_u64(out, pages * (uint64_t)sysconf(_SC_PAGESIZE));
	buf_add(out, "\n", 1);
}

static void
add_cpu(struct buf *out)
{
	struct rusage usage;
	long long seconds, micros;

	if (getrusage(RUSAGE_SELF, &usage) < 0)
		return;
	micros = usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
	seconds = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + micros / 1000000;
	exposition_add_head(out, "process_cpu_seconds_total", "counter",
	                    "User and system CPU time in seconds.");
	buf_add_format(out, "process_cpu_seconds_total %lld.%06lld\n", seconds, micros % 1000000);
}

static void
add_descriptors(struct buf *out)
{
	DIR *folder = opendir("/proc/self/fd");
	struct rlimit limit;
	unsigned count = 0;

	if (folder) {
		for (struct dirent *entry; (entry = readdir(folder));)
			count += entry->d_name[0] != '.';
		closedir(folder);
		exposition_add_head(out, "process_open_fds", "gauge", "Open file descriptors.");
		/* Without the one that the counting itself took. */
		buf_add_format(out, "process_open_fds %u\n", count - 1);
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	exposition_add_head(out, "process_max_fds", "gauge",
	                    "Most file descriptors that may be open.");
	if (limit.rlim_cur == RLIM_INFINITY)
		buf_add_text(out, "process_max_fds +Inf\n");
	else
		buf_add_format(out, "process_max_fds %llu\n", (unsigned long long)limit.rlim_cur);
}

static double
seconds_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The kernel tells the start in ticks since the machine's own, which the boot clock counts too. */
static void
add_start(struct buf *out)
{
	char text[1024], *after_name;
	uint64_t ticks;
	double age_s;

	/* The program's name, in parentheses, may hold anything; the fields count from its end. */
	if (!read_text("/proc/self/stat", text, sizeof(text)) ||
	    !(after_name = strrchr(text, ')')) || !number_at(after_name, 20, &ticks))
		return;
	age_s = seconds_of(CLOCK_BOOTTIME) - (double)ticks / (double)sysconf(_SC_CLK_TCK);
	exposition_add_head(out, "process_start_time_seconds", "gauge",
	                    "Start of the process in seconds since 1970.");
	buf_add_format(out, "process_start_time_seconds %.2f\n",
	               seconds_of(CLOCK_REALTIME) - age_s);
}

void
process_render(struct buf *out)
{
	add_cpu(out);
	add_memory(out);
	add_descriptors(out);
	add_start(out);
}
