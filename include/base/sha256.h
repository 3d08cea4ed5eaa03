/* SHA-256 (FIPS 180-4), by OpenSSL. Any thread. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include "base/bytes.h"

struct sha256 {
	unsigned char bytes[32];
};

struct sha256 sha256_of(struct bytes text);

static inline bool
sha256_equal(const struct sha256 *a, const struct sha256 *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

#endif
