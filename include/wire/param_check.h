/*
 * Checks of single request parameters, with the words in which the OpenAI API refuses them. Each gives
 * false after having filled `error` (status 400, `param` as given). Pure.
 */
#ifndef WIRE_PARAM_CHECK_H
#define WIRE_PARAM_CHECK_H

#include "wire/api_error.h"
#include "wire/json_scan.h"

/* Refusals; always false. expected: with its article, "a string". */
bool param_refuse_type(struct api_error *error, const char *param, const char *expected,
                       struct json_value got);
bool param_refuse_missing(struct api_error *error, const char *param);
bool param_refuse_twice(struct api_error *error, const char *param);
/* A body that is no JSON object, after its scan has ended. */
bool param_refuse_body(struct api_error *error, const struct json_scan *scan);

bool param_check_bool(struct api_error *error, const char *param, struct json_value value,
                      bool *out);

/* A number that is an integer however it is spelled, from low to high. */
bool param_check_integer(struct api_error *error, const char *param, struct json_value value,
                         uint64_t low, uint64_t high, uint64_t *out);

/* An integer of any sign and size. */
bool param_check_any_integer(struct api_error *error, const char *param, struct json_value value);

bool param_check_decimal(struct api_error *error, const char *param, struct json_value value,
                         double low, double high);

/* A string that fits out[size] decoded and holds no NUL. */
bool param_check_text(struct api_error *error, const char *param, struct json_value value,
                      char *out, size_t size);

/* The same, of at least one character and only of [A-Za-z0-9._:-]. */
bool param_check_name(struct api_error *error, const char *param, struct json_value value,
                      char *out, size_t size);

/* An array of at most `most` strings. */
bool param_check_strings(struct api_error *error, const char *param, struct json_value value,
                         unsigned most);

#endif
