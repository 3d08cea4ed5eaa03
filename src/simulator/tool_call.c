#include "simulator/tool_call.h"

#include <jansson.h>
#include <stdlib.h>

enum { QUOTE_BYTES = 48, PROPERTIES_MAX = 32 };

/* The prompt's first line, shortened to whole characters. */
static json_t *
quote(struct bytes prompt)
{
	const char *line = memchr(prompt.p, '\n', prompt.n);
	size_t n = line ? (size_t)(line - prompt.p) : prompt.n;

	if (n > QUOTE_BYTES) {
		n = QUOTE_BYTES;
		while (n > 0 && ((unsigned char)prompt.p[n] & 0xC0) == 0x80)
			n--;
	}
	return json_stringn(prompt.p, n);
}

static json_t *
value_of_schema(json_t *schema, struct bytes prompt)
{
	static const struct {
		const char *type, *value;
	} simple[] = {{"integer", "1"}, {"number", "1.5"}, {"boolean", "true"},
	              {"array", "[]"},  {"object", "{}"},  {"null", "null"}};
	json_t *first = json_array_get(json_object_get(schema, "enum"), 0);
	const char *type = json_string_value(json_object_get(schema, "type"));

	if (first)
		return json_incref(first);
	for (size_t i = 0; type && i < sizeof(simple) / sizeof(simple[0]); i++) {
		if (strcmp(type, simple[i].type) == 0)
			return json_loads(simple[i].value, JSON_DECODE_ANY, NULL);
	}
	return quote(prompt);
}

static json_t *
arguments_of_function(json_t *function, struct bytes prompt)
{
	json_t *properties = json_object_get(json_object_get(function, "parameters"), "properties");
	json_t *arguments = json_object(), *schema;
	const char *key;

	json_object_foreach(properties, key, schema)
	{
		if (json_object_size(arguments) < PROPERTIES_MAX)
			json_object_set_new(arguments, key, value_of_schema(schema, prompt));
	}
	return arguments;
}

bool
sim_tool_call_make(struct bytes tools, struct bytes prompt, struct buf *name, struct buf *arguments)
{
	json_t *document = json_loadb(tools.p, tools.n, JSON_ALLOW_NUL, NULL), *function = NULL;
	json_t *made, *tool;
	char *text;
	size_t i;

	json_array_foreach(document, i, tool)
	{
		function = json_object_get(tool, "function");
		if (json_is_string(json_object_get(function, "name")))
			break;
		function = NULL;
	}
	if (!function) {
		json_decref(document);
		return false;
	}
	buf_add_text(name, json_string_value(json_object_get(function, "name")));
	made = arguments_of_function(function, prompt);
	text = json_dumps(made, JSON_COMPACT);
	if (text)
		buf_add_text(arguments, text);
	free(text);
	json_decref(made);
	json_decref(document);
	return text && !name->failed && !arguments->failed;
}
