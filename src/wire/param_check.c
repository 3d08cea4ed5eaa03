#include "wire/param_check.h"

#include <math.h>
#include <stdio.h>

static const char *
kind_words(struct json_value value)
{
	switch (value.kind) {
	case JSON_KIND_NULL: return "null";
	case JSON_KIND_FALSE:
	case JSON_KIND_TRUE: return "a boolean";
	case JSON_KIND_NUMBER:
		for (size_t i = 0; i < value.n; i++) {
			if (value.p[i] == '.' || value.p[i] == 'e' || value.p[i] == 'E')
				return "a decimal";
		}
		return "an integer";
	case JSON_KIND_STRING: return "a string";
	case JSON_KIND_ARRAY: return "an array";
	case JSON_KIND_OBJECT: return "an object";
	case JSON_KIND_NONE: break;
	}
	return "nothing";
}

bool
param_refuse_type(struct api_error *error, const char *param, const char *expected,
                  struct json_value got)
{
	api_error_set(error, 400, param, "invalid_type",
	              "Invalid type for '%s': expected %s, but got %s instead.", param, expected,
	              kind_words(got));
	return false;
}

bool
param_refuse_missing(struct api_error *error, const char *param)
{
	api_error_set(error, 400, param, "missing_required_parameter",
	              "Missing required parameter: '%s'.", param);
	return false;
}

bool
param_refuse_twice(struct api_error *error, const char *param)
{
	api_error_set(error, 400, param, "duplicate_parameter",
	              "Duplicate parameter: '%s' is given more than once.", param);
	return false;
}

bool
param_refuse_body(struct api_error *error, const struct json_scan *scan)
{
	if (scan->begin == scan->end)
		api_error_set(error, 400, NULL, NULL,
		              "The body of your request is empty. Expected a JSON object.");
	else if (scan->fault == JSON_FAULT_NONE)
		api_error_set(error, 400, NULL, NULL,
		              "The body of your request is valid JSON, but not a JSON object.");
	else if (scan->fault == JSON_FAULT_DEPTH)
		api_error_set(
		        error, 400, NULL, NULL,
		        "We could not parse the JSON body of your request: nested deeper than %d "
		        "levels at byte %zu.",
		        JSON_DEPTH_MAX, json_scan_offset(scan));
	else
		api_error_set(error, 400, NULL, NULL,
		              "We could not parse the JSON body of your request: %s at byte %zu.",
		              json_fault_text(scan->fault), json_scan_offset(scan));
	return false;
}

enum { QUOTED_DIGITS = 40 }; /* of a client's number, in a message */

static bool
refuse_number(struct api_error *error, const char *param, struct json_value value, bool integer,
              bool above, const char *bound)
{
	static const char *const codes[2][2] = {
	        {"decimal_below_min_value", "decimal_above_max_value"},
	        {"integer_below_min_value", "integer_above_max_value"},
	};
	int shown = value.n > QUOTED_DIGITS ? QUOTED_DIGITS : (int)value.n;

	api_error_set(error, 400, param, codes[integer][above],
	              "Invalid '%s': %s %s value. Expected a value %s %s, but got %.*s%s instead.",
	              param, integer ? "integer" : "decimal",
	              above ? "above maximum" : "below minimum", above ? "<=" : ">=", bound, shown,
	              value.p, value.n > QUOTED_DIGITS ? "…" : "");
	return false;
}

bool
param_check_bool(struct api_error *error, const char *param, struct json_value value, bool *out)
{
	if (value.kind != JSON_KIND_TRUE && value.kind != JSON_KIND_FALSE)
		return param_refuse_type(error, param, "a boolean", value);
	*out = value.kind == JSON_KIND_TRUE;
	return true;
}

bool
param_check_integer(struct api_error *error, const char *param, struct json_value value,
                    uint64_t low, uint64_t high, uint64_t *out)
{
	char bound[24];
	uint64_t got;
	bool above;

	if (!param_check_any_integer(error, param, value))
		return false;
	if (json_to_u64(value, UINT64_MAX, &got)) {
		if (got >= low && got <= high) {
			*out = got;
			return true;
		}
		above = got > high;
	} else {
		above = value.p[0] != '-';
	}
	snprintf(bound, sizeof(bound), "%llu", (unsigned long long)(above ? high : low));
	return refuse_number(error, param, value, true, above, bound);
}

bool
param_check_any_integer(struct api_error *error, const char *param, struct json_value value)
{
	struct json_value magnitude = value;
	uint64_t number;
	double large;

	if (value.kind != JSON_KIND_NUMBER)
		return param_refuse_type(error, param, "an integer", value);
	if (value.p[0] == '-') {
		magnitude.p++;
		magnitude.n--;
	}
	if (strcmp(kind_words(value), "an integer") == 0 ||
	    json_to_u64(magnitude, UINT64_MAX, &number))
		return true;
	/* From 2^53 on a double has no fraction. */
	if (json_to_double(magnitude, &large) && large >= 0x1p53)
		return true;
	return param_refuse_type(error, param, "an integer", value);
}

bool
param_check_decimal(struct api_error *error, const char *param, struct json_value value, double low,
                    double high)
{
	char bound[24];
	double got;

	if (value.kind != JSON_KIND_NUMBER)
		return param_refuse_type(error, param, "a decimal", value);
	if (!json_to_double(value, &got)) {
		api_error_set(error, 400, param, "invalid_value", "Invalid '%s': too many digits.",
		              param);
		return false;
	}
	if (got >= low && got <= high)
		return true;
	snprintf(bound, sizeof(bound), "%g", got > high ? high : low);
	return refuse_number(error, param, value, false, got > high, bound);
}

bool
param_check_text(struct api_error *error, const char *param, struct json_value value, char *out,
                 size_t size)
{
	if (value.kind != JSON_KIND_STRING)
		return param_refuse_type(error, param, "a string", value);
	if (json_string_copy(value, out, size))
		return true;
	api_error_set(error, 400, param, "invalid_value",
	              "Invalid '%s': expected a string of at most %zu bytes without NUL.", param,
	              size - 1);
	return false;
}

bool
param_check_name(struct api_error *error, const char *param, struct json_value value, char *out,
                 size_t size)
{
	static const char allowed[] =
	        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";

	if (value.kind != JSON_KIND_STRING)
		return param_refuse_type(error, param, "a string", value);
	if (json_string_copy(value, out, size) && *out && out[strspn(out, allowed)] == '\0')
		return true;
	out[0] = '\0';
	api_error_set(
	        error, 400, param, "invalid_value",
	        "Invalid '%s': expected 1 to %zu characters out of letters, digits, '.', '_', "
	        "':' and '-'.",
	        param, size - 1);
	return false;
}

bool
param_check_strings(struct api_error *error, const char *param, struct json_value value,
                    unsigned most)
{
	struct json_scan scan;
	unsigned count = 0;

	if (value.kind != JSON_KIND_ARRAY)
		return param_refuse_type(error, param, "an array of strings", value);
	json_scan_init(&scan, json_value_text(value));
	json_enter(&scan, JSON_KIND_ARRAY);
	for (; json_next_element(&scan); count++) {
		struct json_value element;
		char path[API_PARAM_BYTES];

		json_take(&scan, &element);
		if (element.kind == JSON_KIND_STRING)
			continue;
		snprintf(path, sizeof(path), "%s[%u]", param, count);
		return param_refuse_type(error, path, "a string", element);
	}
	if (count <= most)
		return true;
	api_error_set(
	        error, 400, param, "array_above_max_length",
	        "Invalid '%s': array too long. Expected an array with maximum length %u, but got "
	        "an array with length %u instead.",
	        param, most, count);
	return false;
}
