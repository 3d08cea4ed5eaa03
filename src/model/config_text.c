/* Readers of numbers, durations and sizes. */
#include "model/config_text.h"

#include <string.h>

#include "base/bytes.h"
#include "model/config_node.h"

enum { DISTANCE_LENGTH_MAX = 64 };

struct unit {
	const char *name;
	double factor;
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool
config_text_has_controls(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7F)
			return true;
	}
	return false;
}

/* The length of the number in JSON's grammar that text begins with, or 0. */
static size_t
number_length(const char *text)
{
	const char *p = text;

	p += *p == '-';
	if (!is_digit(*p) || (*p == '0' && is_digit(p[1])))
		return 0;
	while (is_digit(*p))
		p++;
	if (*p == '.') {
		if (!is_digit(*++p))
			return 0;
		while (is_digit(*p))
			p++;
	}
	if (*p == 'e' || *p == 'E') {
		const char *exponent = p + 1;

		exponent += *exponent == '+' || *exponent == '-';
		if (!is_digit(*exponent))
			return 0;
		while (is_digit(*exponent))
			exponent++;
		p = exponent;
	}
	return (size_t)(p - text);
}

bool
config_text_to_number(const char *text, double *out)
{
	size_t n = number_length(text);

	return n > 0 && text[n] == '\0' && bytes_to_double((struct bytes){text, n}, out);
}

bool
config_text_to_whole(const char *text, uint64_t *out)
{
	if (text[0] == '0' && text[1])
		return false;
	return bytes_to_u64(bytes_of(text), UINT64_MAX, out);
}

/* The factor of the unit of that name; 0 when there is none. */
static double
unit_find(const struct unit *units, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(units[i].name, name) == 0)
			return units[i].factor;
	}
	return 0;
}

bool
config_text_to_ms(const char *text, double *ms, bool *unit)
{
	static const struct unit units[] = {
	        {"", 1e3}, {"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 3.6e6}};
	size_t n = number_length(text);
	double value, factor = unit_find(units, sizeof(units) / sizeof(units[0]), text + n);

	*unit = text[n] != '\0';
	if (n == 0 || factor == 0 || !bytes_to_double((struct bytes){text, n}, &value))
		return false;
	*ms = value * factor;
	return true;
}

bool
config_text_to_bytes(const char *text, uint64_t *bytes, bool *unit)
{
	static const struct unit units[] = {
	        {"", 1}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}};
	size_t n = 0;
	double factor;

	while (is_digit(text[n]))
		n++;
	factor = unit_find(units, sizeof(units) / sizeof(units[0]), text + n);
	*unit = text[n] != '\0';
	if (factor == 0 || (n > 1 && text[0] == '0') ||
	    !bytes_to_u64((struct bytes){text, n}, UINT64_MAX, bytes))
		return false;
	return !__builtin_mul_overflow(*bytes, (uint64_t)factor, bytes);
}

bool
config_text_is_token(const char *text)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (const char *p = text; *p; p++) {
		if (!is_digit(*p) && !(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') &&
		    !strchr(others, *p))
			return false;
	}
	return *text != '\0';
}

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

/* The usual table of prefix distances, of which three rows are enough. */
unsigned
config_text_distance(const char *a, const char *b, unsigned limit)
{
	unsigned rows[3][DISTANCE_LENGTH_MAX + 1];
	size_t an = strlen(a), bn = strlen(b);

	if (an > DISTANCE_LENGTH_MAX || bn > DISTANCE_LENGTH_MAX || an > bn + limit ||
	    bn > an + limit)
		return limit + 1;
	for (size_t k = 0; k <= bn; k++)
		rows[0][k] = (unsigned)k;
	for (size_t i = 1; i <= an; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i - 1) % 3],
		         *above2 = rows[(i + 1) % 3];

		row[0] = (unsigned)i;
		for (size_t k = 1; k <= bn; k++) {
			row[k] = min3(above[k] + 1, row[k - 1] + 1,
			              above[k - 1] + (a[i - 1] != b[k - 1]));
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] &&
			    above2[k - 2] + 1 < row[k])
				row[k] = above2[k - 2] + 1;
		}
	}
	return rows[an % 3][bn] <= limit ? rows[an % 3][bn] : limit + 1;
}

bool
config_text_is_like(const char *name, const char *known, unsigned *distance)
{
	size_t n = strlen(name);
	unsigned limit = n <= 2 ? 0 : n <= 4 ? 1 : 2;

	*distance = config_text_distance(name, known, limit);
	return *distance <= limit;
}
