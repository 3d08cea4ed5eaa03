#include "wire/http_field.h"

#include <strings.h>

#define HTTP_FIELD(id, name)        [HTTP_FIELD_##id] = {name, sizeof(name) - 1},
#define HTTP_ANSWER_FIELD(id, name) [HTTP_ANSWER_##id] = {name, sizeof(name) - 1},

static const struct bytes fields[] = {
#include "wire/http_field.def"
};

static const struct bytes answer_fields[] = {
#include "wire/http_answer_field.def"
};

#undef HTTP_FIELD
#define HTTP_FIELD(id, name)                                                                       \
	_Static_assert(sizeof(name) - 1 <= HTTP_FIELD_NAME_MAX, "HTTP_FIELD_NAME_MAX is too "      \
	                                                        "small");
#include "wire/http_field.def"

/* The index of the name among the count names behind the first, which is none; 0: not there. */
static inline unsigned
find(struct bytes name, const struct bytes *names, unsigned count)
{
	for (unsigned i = 1; i < count; i++) {
		/* The length tells most of them apart. */
		if (names[i].n == name.n && strncasecmp(names[i].p, name.p, name.n) == 0)
			return i;
	}
	return 0;
}

enum http_field
http_field_find(struct bytes name)
{
	return (enum http_field)find(name, fields, HTTP_FIELD_COUNT);
}

enum http_answer_field
http_answer_field_find(struct bytes name)
{
	return (enum http_answer_field)find(name, answer_fields, HTTP_ANSWER_COUNT);
}

const char *
http_field_name(enum http_field field)
{
	return fields[field].p;
}

const char *
http_answer_field_name(enum http_answer_field field)
{
	return answer_fields[field].p;
}
