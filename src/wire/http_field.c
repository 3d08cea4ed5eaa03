#include "wire/http_field.h"

#include <strings.h>

static const struct {
	const char *name;
	size_t n;
} fields[] = {
#define HTTP_FIELD(id, name) [HTTP_FIELD_##id] = {name, sizeof(name) - 1},
#include "wire/http_field.def"
#undef HTTP_FIELD
};

#define HTTP_FIELD(id, name)                                                                       \
	_Static_assert(sizeof(name) - 1 <= HTTP_FIELD_NAME_MAX, "HTTP_FIELD_NAME_MAX is too "      \
	                                                        "small");
#include "wire/http_field.def"
#undef HTTP_FIELD

enum http_field
http_field_find(struct bytes name)
{
	for (unsigned i = HTTP_FIELD_OTHER + 1; i < HTTP_FIELD_COUNT; i++) {
		/* The length tells most of them apart. */
		if (fields[i].n == name.n && strncasecmp(fields[i].name, name.p, name.n) == 0)
			return (enum http_field)i;
	}
	return HTTP_FIELD_OTHER;
}

const char *
http_field_name(enum http_field field)
{
	return fields[field].name;
}
