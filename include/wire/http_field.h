/*
 * The fields of a request's head that anything here reads. All others are thrown away as they arrive, which spares a
 * parser that copies each of them two thirds of an SDK's: to read another one, name it in http_field.def.
 */
#ifndef WIRE_HTTP_FIELD_H
#define WIRE_HTTP_FIELD_H

#include "base/bytes.h"

enum http_field {
	HTTP_FIELD_OTHER,
#define HTTP_FIELD(id, name) HTTP_FIELD_##id,
#include "wire/http_field.def"
#undef HTTP_FIELD
	HTTP_FIELD_COUNT,
};

enum { HTTP_FIELD_NAME_MAX = 24 };

/* In any case of letters. */
enum http_field http_field_find(struct bytes name);

/* As it is usually written; static. NULL for HTTP_FIELD_OTHER. */
const char *http_field_name(enum http_field field);

#endif
