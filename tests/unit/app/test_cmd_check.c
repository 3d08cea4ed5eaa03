/* The command `check`: what it prints where, and its exit code. */
#include "app/commands.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"

enum { ARGUMENTS_MAX = 4, OUTPUT_MAX = 65536 };

struct outcome {
	int status;
	char out[OUTPUT_MAX], error[OUTPUT_MAX];
};

/* Opens an unnamed file in place of the descriptor. */
static void
redirect(int fd)
{
	int file = memfd_create("output", 0);

	ck_assert_int_ge(file, 0);
	ck_assert_int_ge(dup2(file, fd), 0);
	close(file);
}

static void
collect(int fd, int saved, char *text)
{
	ssize_t n;

	ck_assert_int_ge(lseek(fd, 0, SEEK_SET), 0);
	n = read(fd, text, OUTPUT_MAX - 1);
	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	ck_assert_int_ge(dup2(saved, fd), 0);
	close(saved);
}

/* Runs `check` with these arguments, the last of which is NULL. */
static void
check_run(struct outcome *outcome, const char *const *arguments)
{
	char *argv[ARGUMENTS_MAX + 2];
	int argc = 0, saved[2] = {dup(1), dup(2)};

	argv[argc++] = strdup("check");
	for (; *arguments; arguments++)
		argv[argc++] = strdup(*arguments);
	argv[argc] = NULL;
	fflush(stdout);
	redirect(1);
	redirect(2);
	outcome->status = command_check(argc, argv);
	fflush(stdout);
	collect(2, saved[1], outcome->error);
	collect(1, saved[0], outcome->out);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
}

static void
file_make(char *path, const char *text)
{
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

START_TEST(test_faults_go_to_standard_output_and_the_exit_code_is_1)
{
	char path[] = "/tmp/draft-thinker-check-XXXXXX", expected[256];
	struct outcome outcome;

	file_make(path, "entropy:\n  treshold: 1\n  window_size: 0\n");
	check_run(&outcome, (const char *[]){"-c", path, NULL});
	snprintf(expected, sizeof(expected),
	         "%s:2: entropy.treshold: unknown key; did you mean `threshold`?\n"
	         "%s:3: entropy.window_size: must be between 1 and 1024\n",
	         path, path);
	ck_assert_str_eq(outcome.out, expected);
	ck_assert_ptr_nonnull(strstr(outcome.error, ": 2 faults\n"));
	ck_assert_int_eq(outcome.status, 1);
	unlink(path);
}
END_TEST

START_TEST(test_warnings_are_no_faults)
{
	char path[] = "/tmp/draft-thinker-check-XXXXXX", argument[64];
	struct outcome outcome;

	file_make(path, "trace: {file: t.jsonl}\n");
	snprintf(argument, sizeof(argument), "--config=%s", path);
	check_run(&outcome, (const char *[]){argument, NULL});
	ck_assert_str_eq(outcome.out, "");
	ck_assert_ptr_nonnull(strstr(outcome.error, ":1: trace: accepted, but"));
	ck_assert_ptr_nonnull(strstr(outcome.error, ": fine\n"));
	ck_assert_int_eq(outcome.status, 0);
	unlink(path);
}
END_TEST

START_TEST(test_a_file_that_is_not_there_is_a_fault)
{
	struct outcome outcome;

	check_run(&outcome, (const char *[]){"-c", "/nowhere/x.yaml", NULL});
	ck_assert_str_eq(outcome.out,
	                 "/nowhere/x.yaml: cannot be read: No such file or directory\n");
	ck_assert_int_eq(outcome.status, 1);
}
END_TEST

START_TEST(test_without_a_file_the_one_in_config_or_the_defaults_are_checked)
{
	struct outcome outcome;

	check_run(&outcome, (const char *[]){NULL});
	ck_assert_int_eq(outcome.status, 0);
	ck_assert_ptr_nonnull(strstr(outcome.error, "config/draft-thinker.yaml: fine\n"));
	ck_assert_int_eq(chdir("/"), 0);
	check_run(&outcome, (const char *[]){NULL});
	ck_assert_int_eq(outcome.status, 0);
	ck_assert_ptr_nonnull(strstr(outcome.error, "built-in defaults: fine\n"));
}
END_TEST

START_TEST(test_wrong_usage_is_exit_code_2)
{
	static const char *const lines[][3] = {
	        {"--wrong", NULL},
	        {"-c", NULL},
	        {"extra", NULL},
	        {"-x", NULL},
	};
	struct outcome outcome;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		check_run(&outcome, lines[i]);
		ck_assert_int_eq(outcome.status, 2);
		ck_assert_str_eq(outcome.out, "");
		ck_assert_ptr_nonnull(strstr(outcome.error, "usage: draft-thinker check"));
	}
}
END_TEST

START_TEST(test_help_and_keys_go_to_standard_output)
{
	struct outcome outcome;

	check_run(&outcome, (const char *[]){"--help", NULL});
	ck_assert_int_eq(outcome.status, 0);
	ck_assert_ptr_nonnull(strstr(outcome.out, "usage: draft-thinker check"));
	check_run(&outcome, (const char *[]){"--keys", NULL});
	ck_assert_int_eq(outcome.status, 0);
	ck_assert_ptr_nonnull(
	        strstr(outcome.out, "\nentropy.threshold (number 0 to 64; default 2.0)\n\tbits;"));
	ck_assert_ptr_nonnull(strstr(outcome.out, "\nentropy.tail (one of bound|renormalise; "));
	ck_assert_ptr_nonnull(strstr(outcome.out, "\nserver.port (whole number 1 to 65535; "));
	ck_assert_ptr_nonnull(
	        strstr(outcome.out, "\nbreaker.open (duration 0.001 to 86400; default 30)\n"));
	ck_assert_ptr_nonnull(strstr(outcome.out, "\n\tThis version does not write traces yet.\n"));
}
END_TEST

UNIT_MAIN("cmd_check", test_faults_go_to_standard_output_and_the_exit_code_is_1,
          test_warnings_are_no_faults, test_a_file_that_is_not_there_is_a_fault,
          test_without_a_file_the_one_in_config_or_the_defaults_are_checked,
          test_wrong_usage_is_exit_code_2, test_help_and_keys_go_to_standard_output)
