/* Access log lines, read back with a JSON library. */
#include "observe/access_log.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "unit.h"

/* Nothing but what every line has. */
static const struct access_record bare = {
        .time_ms = 1767323045678,
        .status = -1,
        .score = NAN,
        .prompt_tokens = -1,
        .completion_tokens = -1,
        .draft_tokens = -1,
        .duration_us = -1,
        .first_byte_us = -1,
        .draft_us = -1,
        .heavyweight_us = -1,
        .overhead_us = -1,
};

/* The line that the record becomes, with its newline; freed by the caller. */
static char *
line_of(const struct access_record *record)
{
	char path[] = "/tmp/draft-thinker-test-XXXXXX", error[128];
	int fd = mkstemp(path);
	struct log_sink *sink;
	char *line = NULL;
	size_t size = 0;
	FILE *file;

	ck_assert_int_ge(fd, 0);
	sink = log_sink_open(path, error, sizeof(error));
	ck_assert_ptr_nonnull(sink);
	access_log_write(sink, record);
	log_sink_close(sink);
	file = fdopen(fd, "r");
	ck_assert_int_gt(getline(&line, &size, file), 0);
	ck_assert_int_eq(getc(file), EOF);
	fclose(file);
	unlink(path);
	return line;
}

START_TEST(test_what_is_not_known_is_left_out)
{
	char *line = line_of(&bare);

	ck_assert_str_eq(line, "{\"time\":\"2026-01-02T03:04:05.678Z\",\"stream\":false,"
	                       "\"attempts\":0,\"sent_bytes\":0}\n");
	free(line);
}
END_TEST

START_TEST(test_a_whole_record_becomes_one_line)
{
	const struct access_record record = {
	        .time_ms = 1767323045678,
	        .id = "req-1",
	        .peer = "127.0.0.1",
	        .method = "POST",
	        .path = "/v1/chat/completions",
	        .status = 200,
	        .route = "auto",
	        .decision = "escalate",
	        .reason = "early_exit",
	        .score = 2.32192809488736,
	        .drafter = "small",
	        .heavyweight = "large",
	        .model = "large",
	        .end = "done",
	        .error = "upstream_error",
	        .detail = "a \"quoted\"\ntext",
	        .project_id = "p",
	        .reasoning_effort = "low",
	        .stream = true,
	        .attempts = 2,
	        .prompt_tokens = 10,
	        .completion_tokens = 0,
	        .tokens_estimated = true,
	        .draft_tokens = 3,
	        .sent_bytes = 18446744073709551615U,
	        .duration_us = 1234567,
	        .first_byte_us = 1000,
	        .draft_us = 999,
	        .heavyweight_us = 0,
	        .overhead_us = 42,
	};
	char *line = line_of(&record);

	ck_assert_str_eq(
	        line,
	        "{\"time\":\"2026-01-02T03:04:05.678Z\",\"id\":\"req-1\",\"peer\":\"127.0.0.1\","
	        "\"method\":\"POST\",\"path\":\"/v1/chat/"
	        "completions\",\"status\":200,\"stream\":true,"
	        "\"route\":\"auto\",\"decision\":\"escalate\",\"reason\":\"early_exit\","
	        "\"score\":2.321928,\"drafter\":\"small\",\"heavyweight\":\"large\",\"model\":"
	        "\"large\","
	        "\"attempts\":2,\"prompt_tokens\":10,\"completion_tokens\":0,"
	        "\"tokens_estimated\":true,\"draft_tokens\":3,\"sent_bytes\":18446744073709551615,"
	        "\"duration_ms\":1234.567,\"first_byte_ms\":1.000,\"draft_ms\":0.999,"
	        "\"heavyweight_ms\":0.000,\"overhead_ms\":0.042,\"end\":\"done\","
	        "\"error\":\"upstream_error\",\"detail\":\"a \\\"quoted\\\"\\ntext\","
	        "\"project_id\":\"p\",\"reasoning_effort\":\"low\"}\n");
	free(line);
}
END_TEST

static const struct {
	double score;
	const char *text; /* NULL: left out */
} scores[] = {
        {0, "0.000000"},         {-0.0, "0.000000"},         {1.9999995, "2.000000"},
        {0.0000004, "0.000000"}, {-0.0000004, "0.000000"},   {-1.5, "-1.500000"},
        {12, "12.000000"},       {-9999.25, "-9999.250000"}, {1e300, "1000000000000.000000"},
        {INFINITY, NULL},        {-INFINITY, NULL},          {NAN, NULL},
};

START_TEST(test_scores_are_rounded_to_six_decimals)
{
	for (size_t i = 0; i < sizeof(scores) / sizeof(scores[0]); i++) {
		struct access_record record = bare;
		char expected[64], *line;

		record.score = scores[i].score;
		line = line_of(&record);
		snprintf(expected, sizeof(expected), ",\"score\":%s,",
		         scores[i].text ? scores[i].text : "");
		if (scores[i].text)
			ck_assert_msg(strstr(line, expected), "%s is not in %s", expected, line);
		else
			ck_assert_msg(!strstr(line, "score"), "%s", line);
		free(line);
	}
}
END_TEST

/* Texts of any length and content in every field: the worst that configuration and peers can do. */
static char *
long_text(const char *unit, size_t units)
{
	char *text = mem_new(strlen(unit) * units + 1);

	for (size_t i = 0; i < units; i++)
		memcpy(text + i * strlen(unit), unit, strlen(unit));
	return text;
}

START_TEST(test_long_and_hostile_texts_leave_one_json_object_in_one_line)
{
	static const char *const units[] = {"x",  "\x01", "\"",           "\\",
	                                    "\n", "\xff", "\xE2\x82\xAC", "a\xF0\x9F\x98\x80"};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		char *text = long_text(units[i], 20000), *line;
		struct access_record record = bare;
		json_t *json;

		record.id = record.peer = record.method = record.path = record.route = text;
		record.decision = record.reason = record.drafter = record.heavyweight = text;
		record.model = record.end = record.error = record.detail = text;
		record.project_id = record.reasoning_effort = text;
		line = line_of(&record);
		ck_assert_uint_lt(strlen(line), 65536);
		ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
		json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
		ck_assert_msg(json, "%s", line);
		ck_assert_ptr_nonnull(
		        strstr(json_string_value(json_object_get(json, "detail")), "\xE2\x80\xA6"));
		ck_assert_uint_le(json_string_length(json_object_get(json, "model")), 256 * 3 + 3);
		json_decref(json);
		free(line);
		free(text);
	}
}
END_TEST

START_TEST(test_a_text_at_its_bound_is_kept_whole)
{
	char *word = long_text("x", 256), *longer = long_text("x", 257), *line;
	struct access_record record = bare;
	json_t *json;

	record.model = word;
	record.drafter = longer;
	line = line_of(&record);
	json = json_loads(line, 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(json, "model")), word);
	longer[256] = '\0';
	ck_assert_int_eq(memcmp(json_string_value(json_object_get(json, "drafter")), longer, 256),
	                 0);
	ck_assert_str_eq(json_string_value(json_object_get(json, "drafter")) + 256, "\xE2\x80\xA6");
	json_decref(json);
	free(line);
	free(word);
	free(longer);
}
END_TEST

START_TEST(test_without_a_sink_nothing_happens)
{
	access_log_write(NULL, &bare);
	ck_assert(true);
}
END_TEST

UNIT_MAIN("access_log", test_what_is_not_known_is_left_out, test_a_whole_record_becomes_one_line,
          test_scores_are_rounded_to_six_decimals,
          test_long_and_hostile_texts_leave_one_json_object_in_one_line,
          test_a_text_at_its_bound_is_kept_whole, test_without_a_sink_nothing_happens)
