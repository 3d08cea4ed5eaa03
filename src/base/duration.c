#include "base/duration.h"

/* The milliseconds of the unit that ends the text, and how long its name is. */
static uint64_t
duration_unit_ms(struct bytes text, size_t *length)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t n = strlen(units[i].name);

		if (text.n > n && memcmp(text.p + text.n - n, units[i].name, n) == 0) {
			*length = n;
			return units[i].ms;
		}
	}
	*length = 0;
	return 1000;
}

bool
duration_parse_ms(struct bytes text, uint64_t max_ms, uint64_t *out)
{
	struct bytes whole, fraction = {"", 0};
	uint64_t unit, value, thousandths = 0;
	const char *point;
	size_t length;

	if (!text.p || text.n == 0)
		return false;
	unit = duration_unit_ms(text, &length);
	whole = (struct bytes){text.p, text.n - length};
	point = memchr(whole.p, '.', whole.n);
	if (point) {
		fraction = (struct bytes){point + 1, (size_t)(whole.p + whole.n - point - 1)};
		whole.n = (size_t)(point - whole.p);
		if (fraction.n == 0)
			return false;
	}
	if (!bytes_to_u64(whole, UINT64_MAX, &value))
		return false;
	for (size_t i = 0, weight = 100; i < fraction.n; i++, weight /= 10) {
		unsigned digit = (unsigned char)fraction.p[i] - (unsigned)'0';

		if (digit > 9)
			return false;
		thousandths += digit * weight;
	}
	if (__builtin_mul_overflow(value, unit, &value) ||
	    __builtin_add_overflow(value, thousandths * unit / 1000, &value) || value > max_ms)
		return false;
	*out = value;
	return true;
}
