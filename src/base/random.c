#include "base/random.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"

/* n ≤ 256: so many are never cut short once the pool is initialised. */
static void
random_bytes(void *out, size_t n)
{
	while (getrandom(out, n, 0) != (ssize_t)n) {
		if (errno != EINTR)
			die("getrandom: %s", strerror(errno));
	}
}

void
random_hex(char *out, size_t digits)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char bytes[64];

	for (size_t i = 0; i < digits; i++) {
		if (i % sizeof(bytes) == 0)
			random_bytes(bytes,
			             digits - i < sizeof(bytes) ? digits - i : sizeof(bytes));
		out[i] = hex[bytes[i % sizeof(bytes)] & 15];
	}
	out[digits] = '\0';
}

void
random_pool_hex(struct random_pool *pool, char *out, size_t digits)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < digits; i += 2) {
		unsigned char byte;

		if (pool->left == 0) {
			random_bytes(pool->bytes, sizeof(pool->bytes));
			pool->left = sizeof(pool->bytes);
		}
		byte = pool->bytes[--pool->left];
		out[i] = hex[byte & 15];
		if (i + 1 < digits)
			out[i + 1] = hex[byte >> 4];
	}
	out[digits] = '\0';
}

double
random_part(void)
{
	uint64_t bits;

	random_bytes(&bits, sizeof(bits));
	return ldexp((double)(bits >> 11), -53);
}
