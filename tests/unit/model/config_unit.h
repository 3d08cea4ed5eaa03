/* What the tests of the configuration share. */
#ifndef CONFIG_UNIT_H
#define CONFIG_UNIT_H

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/config.h"
#include "unit.h"

/* A text read as the file `f`; NULL when it has faults. */
static inline struct config *
config_read(const char *yaml, struct config_report *report)
{
	config_report_init(report);
	return config_parse("f", bytes_of(yaml), report);
}

/* Faults and warnings as terminated texts; freed by the caller. */
static inline char *
report_errors(const struct config_report *report)
{
	return mem_copy(buf_bytes(&report->errors));
}

static inline char *
report_warnings(const struct config_report *report)
{
	return mem_copy(buf_bytes(&report->warnings));
}

/* A text that must be without faults. */
static inline struct config *
config_good(const char *yaml)
{
	struct config_report report;
	struct config *config = config_read(yaml, &report);
	char *errors = report_errors(&report);

	ck_assert_msg(config != NULL, "%s\n%s", yaml, errors);
	ck_assert_str_eq(errors, "");
	free(errors);
	config_report_fini(&report);
	return config;
}

static inline void
assert_errors(const char *yaml, const char *expected)
{
	struct config_report report;
	struct config *config = config_read(yaml, &report);
	char *errors = report_errors(&report);
	unsigned lines = 0;

	ck_assert_msg(strcmp(errors, expected) == 0, "of\n%s\nfaults:\n%s\nexpected:\n%s", yaml,
	              errors, expected);
	ck_assert_msg(config == NULL, "has faults, but was read: %s", yaml);
	for (const char *p = errors; *p; p++)
		lines += *p == '\n';
	ck_assert_uint_eq(report.error_count, lines);
	free(errors);
	config_report_fini(&report);
}

static inline void
assert_warnings(const char *yaml, const char *expected)
{
	struct config_report report;
	struct config *config = config_read(yaml, &report);
	char *warnings = report_warnings(&report), *errors = report_errors(&report);

	ck_assert_msg(config != NULL, "%s\n%s", yaml, errors);
	ck_assert_msg(strcmp(warnings, expected) == 0, "of\n%s\nwarnings:\n%s\nexpected:\n%s", yaml,
	              warnings, expected);
	free(errors);
	free(warnings);
	config_unref(config);
	config_report_fini(&report);
}

#endif
