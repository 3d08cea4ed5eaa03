/*
 * One pass over the messages. A member that is read here may stand only once in its object, for the
 * upstream might read the other one.
 */
#include "wire/chat_messages.h"

#include <stdio.h>

#include "wire/param_check.h"

enum { NOT_A_PART = -1 };

/* The members of a message that are looked at. */
enum field { ROLE, CONTENT, TOOL_CALLS, FUNCTION_CALL, REFUSAL, AUDIO, FIELD_COUNT };

static const char *const field_names[FIELD_COUNT] = {"role",          "content", "tool_calls",
                                                     "function_call", "refusal", "audio"};

struct reader {
	struct json_scan *scan;
	struct api_error *error;
	struct chat_messages *messages;
	unsigned index; /* of the message being read */
	int part;       /* of the content part being read, or NOT_A_PART */
};

/* messages[2], messages[2].role, messages[2].content[0], messages[2].content[0].type */
static const char *
path_of(const struct reader *r, const char *member, char path[API_PARAM_BYTES])
{
	char part[32] = "";

	if (r->part != NOT_A_PART)
		snprintf(part, sizeof(part), ".content[%d]", r->part);
	snprintf(path, API_PARAM_BYTES, "messages[%u]%s%s%s", r->index, part, member ? "." : "",
	         member ? member : "");
	return path;
}

static bool
refuse_type(const struct reader *r, const char *member, const char *expected, struct json_value got)
{
	char path[API_PARAM_BYTES];

	return param_refuse_type(r->error, path_of(r, member, path), expected, got);
}

static bool
refuse_missing(const struct reader *r, const char *member)
{
	char path[API_PARAM_BYTES];

	return param_refuse_missing(r->error, path_of(r, member, path));
}

static bool
refuse_twice(const struct reader *r, const char *member)
{
	char path[API_PARAM_BYTES];

	return param_refuse_twice(r->error, path_of(r, member, path));
}

/* Takes the next value, which must not be what was hoped for, and refuses it. */
static bool
refuse_next(const struct reader *r, const char *member, const char *expected)
{
	struct json_value value;

	return json_take(r->scan, &value) && refuse_type(r, member, expected, value);
}

static bool
read_part(struct reader *r)
{
	struct json_value type = {.kind = JSON_KIND_NONE};
	struct json_member member;

	if (!json_enter(r->scan, JSON_KIND_OBJECT))
		return refuse_next(r, NULL, "an object");
	while (json_next_member(r->scan, &member)) {
		if (!json_key_is(member.key, "type")) {
			json_skip(r->scan);
			continue;
		}
		if (type.kind != JSON_KIND_NONE)
			return refuse_twice(r, "type");
		json_take(r->scan, &type);
	}
	if (r->scan->fault)
		return false;
	if (type.kind == JSON_KIND_NONE)
		return refuse_missing(r, "type");
	if (type.kind != JSON_KIND_STRING)
		return refuse_type(r, "type", "a string", type);
	if (json_string_is(type, "image_url"))
		r->messages->has_images = true;
	if (!json_string_is(type, "text") && !json_string_is(type, "refusal"))
		r->messages->has_media = true;
	return true;
}

/* An array is walked, anything else taken; `value` gets the kind in any case. */
static bool
read_content(struct reader *r, struct json_value *value)
{
	if (!json_enter(r->scan, JSON_KIND_ARRAY)) {
		if (!json_take(r->scan, value))
			return false;
		return value->kind == JSON_KIND_STRING || value->kind == JSON_KIND_NULL ||
		       refuse_type(r, "content", "a string or an array of objects", *value);
	}
	value->kind = JSON_KIND_ARRAY;
	for (r->part = 0; json_next_element(r->scan); r->part++) {
		if (!read_part(r))
			return false;
	}
	r->part = NOT_A_PART;
	return !r->scan->fault;
}

static bool
stands(struct json_value value)
{
	return value.kind != JSON_KIND_NONE && value.kind != JSON_KIND_NULL;
}

static bool
check_message(const struct reader *r, const struct json_value *fields)
{
	struct json_value role = fields[ROLE], content = fields[CONTENT];

	if (!stands(role))
		return refuse_missing(r, "role");
	if (role.kind != JSON_KIND_STRING)
		return refuse_type(r, "role", "a string", role);
	if (role.n == strlen("\"\"")) {
		char path[API_PARAM_BYTES];

		api_error_set(r->error, 400, path_of(r, "role", path), "invalid_value",
		              "Invalid '%s': empty string. Expected a role such as 'user'.", path);
		return false;
	}
	if (stands(fields[TOOL_CALLS]) && fields[TOOL_CALLS].kind != JSON_KIND_ARRAY)
		return refuse_type(r, "tool_calls", "an array", fields[TOOL_CALLS]);
	if (stands(content) || (stands(fields[TOOL_CALLS]) && !json_is_empty(fields[TOOL_CALLS])))
		return true;
	if (json_string_is(role, "assistant") &&
	    (stands(fields[FUNCTION_CALL]) || stands(fields[REFUSAL]) || stands(fields[AUDIO])))
		return true;
	if (content.kind == JSON_KIND_NONE)
		return refuse_missing(r, "content");
	return refuse_type(r, "content", "a string or an array of objects", content);
}

static bool
read_message(struct reader *r)
{
	struct json_value fields[FIELD_COUNT] = {{.kind = JSON_KIND_NONE}};
	struct json_member member;

	if (!json_enter(r->scan, JSON_KIND_OBJECT))
		return refuse_next(r, NULL, "an object");
	while (json_next_member(r->scan, &member)) {
		unsigned i = 0;

		while (i < FIELD_COUNT && !json_key_is(member.key, field_names[i]))
			i++;
		if (i == FIELD_COUNT) {
			json_skip(r->scan);
			continue;
		}
		if (fields[i].kind != JSON_KIND_NONE)
			return refuse_twice(r, field_names[i]);
		if (i == CONTENT ? !read_content(r, &fields[i]) : !json_take(r->scan, &fields[i]))
			return false;
	}
	return !r->scan->fault && check_message(r, fields);
}

bool
chat_messages_read(struct chat_messages *messages, struct json_scan *scan, struct api_error *error)
{
	struct reader r = {.scan = scan, .error = error, .messages = messages, .part = NOT_A_PART};
	struct json_value value;

	*messages = (struct chat_messages){.count = 0};
	if (!json_enter(scan, JSON_KIND_ARRAY))
		return json_take(scan, &value) &&
		       param_refuse_type(error, "messages", "an array of objects", value);
	for (; json_next_element(scan); r.index++) {
		if (!read_message(&r))
			return false;
	}
	if (scan->fault)
		return false;
	messages->count = r.index;
	if (messages->count > 0)
		return true;
	api_error_set(
	        error, 400, "messages", "empty_array",
	        "Invalid 'messages': empty array. Expected an array with minimum length 1, but got "
	        "an empty array instead.");
	return false;
}
