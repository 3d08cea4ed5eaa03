/*
 * What each byte of a request's head may be part of (RFC 9110, 9112): a token, as methods and names are; a target; a
 * field's value. Pure.
 */
#ifndef WIRE_HTTP_BYTES_H
#define WIRE_HTTP_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_BYTE_TOKEN = 1, HTTP_BYTE_TARGET = 2, HTTP_BYTE_VALUE = 4 };

extern const uint8_t http_byte_kinds[256];

static inline bool
http_byte_is(uint8_t kind, unsigned char c)
{
	return http_byte_kinds[c] & kind;
}

/* How many of n bytes, from the first on, are of a kind. */
size_t http_bytes_run(uint8_t kind, const char *p, size_t n);

#endif
