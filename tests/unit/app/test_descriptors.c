/* The warning when the process may have too few descriptors for its connections. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app/descriptors.h"
#include "unit.h"

static const struct {
	const char *rule;
	unsigned max_connections, workers;
	uint64_t needed;
} needs[] = {
        {"no limit, no number", 0, 1, 0},
        {"two each, those to be turned away, and what else there is", 1, 1, 1 * 2 + 64 + 256},
        {"at least 64 to be turned away", 512, 1, 512 * 2 + 64 + 256},
        {"an eighth to be turned away", 10000, 1, 10000 * 2 + 1250 + 256},
        {"that on each worker", 100, 3, 100 * 2 + 64 * 3 + 256},
        {"the largest number does not overflow", 4294967295u, 1,
         4294967295ull * 2 + 536870911 + 256},
};

START_TEST(test_what_connections_need)
{
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		ck_assert_msg(descriptors_needed(needs[i].max_connections, needs[i].workers) ==
		                      needs[i].needed,
		              "%s", needs[i].rule);
}
END_TEST

/* The log after descriptors_warn under a limit of 400. */
static void
warn(unsigned max_connections, char *out, size_t size)
{
	char path[] = "/tmp/draft-thinker-descriptors-XXXXXX", error[128];
	struct rlimit limit = {.rlim_cur = 400, .rlim_max = 400};
	int file = mkstemp(path);
	struct log_sink *sink;
	struct log *log;
	ssize_t n;

	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	sink = log_sink_open(path, error, sizeof(error));
	log = log_new(sink, LOG_LEVEL_INFO);
	descriptors_warn(log, max_connections, 1);
	log_free(log);
	log_sink_close(sink);
	n = read(file, out, size - 1);
	ck_assert_int_ge(n, 0);
	out[n] = '\0';
	close(file);
	unlink(path);
}

START_TEST(test_too_few_are_warned_of_in_one_line)
{
	char out[1024];

	warn(100, out, sizeof(out));
	ck_assert_msg(strstr(out, "few_descriptors limit=400 needed=520 max_connections=100") !=
	                      NULL,
	              "%s", out);
	ck_assert_ptr_eq(strchr(out, '\n'), out + strlen(out) - 1);
}
END_TEST

START_TEST(test_enough_and_no_limit_are_not_warned_of)
{
	char out[1024];

	warn(40, out, sizeof(out)); /* 400 are just enough */
	ck_assert_str_eq(out, "");
	warn(0, out, sizeof(out));
	ck_assert_str_eq(out, "");
}
END_TEST

UNIT_MAIN("descriptors", test_what_connections_need, test_too_few_are_warned_of_in_one_line,
          test_enough_and_no_limit_are_not_warned_of)
