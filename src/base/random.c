#include "base/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"

void
random_hex(char *out, size_t digits)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char bytes[64];

	for (size_t i = 0; i < digits; i++) {
		if (i % sizeof(bytes) == 0) {
			size_t want = digits - i < sizeof(bytes) ? digits - i : sizeof(bytes);

			/* Up to 256 bytes are never cut short once the pool is initialised. */
			while (getrandom(bytes, want, 0) != (ssize_t)want) {
				if (errno != EINTR)
					die("getrandom: %s", strerror(errno));
			}
		}
		out[i] = hex[bytes[i % sizeof(bytes)] & 15];
	}
	out[digits] = '\0';
}
