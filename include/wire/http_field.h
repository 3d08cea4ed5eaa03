/*
 * The fields of a head that anything here reads. All others are passed over as they arrive: a parser that
 * copies each field of a request is spared three quarters of an SDK's, and an answer, which often has two
 * dozen, is not searched for each name anew. To read another one, name it in http_field.def or
 * http_answer_field.def.
 */
#ifndef WIRE_HTTP_FIELD_H
#define WIRE_HTTP_FIELD_H

#include "base/bytes.h"

/* Of a client's request. */
enum http_field {
	HTTP_FIELD_OTHER,
#define HTTP_FIELD(id, name) HTTP_FIELD_##id,
#include "wire/http_field.def"
#undef HTTP_FIELD
	HTTP_FIELD_COUNT,
};

/* Of a model server's answer. */
enum http_answer_field {
	HTTP_ANSWER_OTHER,
#define HTTP_ANSWER_FIELD(id, name) HTTP_ANSWER_##id,
#include "wire/http_answer_field.def"
#undef HTTP_ANSWER_FIELD
	HTTP_ANSWER_COUNT,
};

enum { HTTP_FIELD_NAME_MAX = 24 };

/* In any case of letters. */
enum http_field http_field_find(struct bytes name);
enum http_answer_field http_answer_field_find(struct bytes name);

/* As it is usually written; static. NULL for …_OTHER. */
const char *http_field_name(enum http_field field);
const char *http_answer_field_name(enum http_answer_field field);

#endif
