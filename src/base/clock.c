#include "base/clock.h"

#include <string.h>
#include <time.h>

uint64_t
clock_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000 + 1;
}

uint64_t
clock_wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void
put_digits(char *out, unsigned value, unsigned digits)
{
	while (digits > 0) {
		out[--digits] = (char)('0' + value % 10);
		value /= 10;
	}
}

void
clock_format(uint64_t wall_ms, char out[CLOCK_TEXT_SIZE])
{
	const uint64_t last_ms = 253402300799999; /* 9999-12-31T23:59:59.999Z */
	struct tm tm;
	time_t seconds;

	if (wall_ms > last_ms)
		wall_ms = last_ms;
	seconds = (time_t)(wall_ms / 1000);
	gmtime_r(&seconds, &tm);
	memcpy(out, "0000-00-00T00:00:00.000Z", CLOCK_TEXT_SIZE);
	put_digits(out, (unsigned)tm.tm_year + 1900, 4);
	put_digits(out + 5, (unsigned)tm.tm_mon + 1, 2);
	put_digits(out + 8, (unsigned)tm.tm_mday, 2);
	put_digits(out + 11, (unsigned)tm.tm_hour, 2);
	put_digits(out + 14, (unsigned)tm.tm_min, 2);
	put_digits(out + 17, (unsigned)tm.tm_sec, 2);
	put_digits(out + 20, (unsigned)(wall_ms % 1000), 3);
}
