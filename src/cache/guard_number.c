#include "cache/guard_private.h"

#include "cache/letter.h"

static bool
is_digit_at(const char *p, const char *end)
{
	return p < end && letter_is_digit((unsigned char)*p);
}

const char *
guard_digits_end(const char *p, const char *end)
{
	while (is_digit_at(p, end))
		p++;
	return p;
}

/* The end of a number such as 1234, 1,234 or 1.50 at p; NULL: there is none. */
static const char *
number_end(const char *p, const char *end)
{
	const char *q = guard_digits_end(p, end), *group = q;

	if (q == p)
		return NULL;
	if (q - p <= 3) {
		while (group < end && *group == ',' &&
		       guard_digits_end(group + 1, end) - group == 4)
			group += 4;
	}
	if (group < end && *group == ',' && is_digit_at(group + 1, end))
		return NULL;
	if (group < end && *group == '.' && is_digit_at(group + 1, end))
		group = guard_digits_end(group + 1, end);
	return group;
}

/* The end of a time (10:30) or a date (2024-05-01, 1/5/2024, 1.5.2024) at p; NULL: there is none. */
static const char *
date_end(const char *p, const char *end)
{
	const char *first = guard_digits_end(p, end), *second, *third;
	char mark;

	if (first == p || first == end)
		return NULL;
	mark = *first;
	if (mark != ':' && mark != '-' && mark != '/' && mark != '.')
		return NULL;
	second = guard_digits_end(first + 1, end);
	if (second == first + 1)
		return NULL;
	if (second < end && *second == mark && is_digit_at(second + 1, end)) {
		third = guard_digits_end(second + 1, end);
		return third < end && *third == mark ? NULL : third;
	}
	return mark == ':' ? second : NULL;
}

static bool
is_ordinal_suffix(struct bytes text)
{
	static const char *const suffixes[] = {"st", "nd", "rd", "th"};

	for (unsigned i = 0; i < 4; i++) {
		if (bytes_is(text, suffixes[i]))
			return true;
	}
	return false;
}

/* The length of a sign of currency at p. */
static size_t
currency_length(const char *p, const char *end)
{
	static const char *const signs[] = {"$", "€", "£", "¥", "₹", "₽", "₩", "₿"};

	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		size_t n = strlen(signs[i]);

		if ((size_t)(end - p) > n && memcmp(p, signs[i], n) == 0)
			return n;
	}
	return 0;
}

/* A number or a date, with a sign of currency before it or a unit behind it. */
bool
guard_number_add(struct guard_reader *r, struct bytes piece)
{
	const char *p = piece.p, *end = piece.p + piece.n, *stop;
	size_t currency = currency_length(p, end);
	bool is_date, is_ordinal, is_version;
	struct bytes rest;
	size_t count = r->text->count;
	struct guard_reader before = *r;

	p += currency;
	stop = date_end(p, end);
	is_date = stop != NULL;
	if (!is_date)
		stop = number_end(p, end);
	if (!stop)
		return false;
	rest = (struct bytes){stop, (size_t)(end - stop)};
	is_ordinal = is_ordinal_suffix(rest) && !is_date;
	/* 1.2.3 is rather a version than a day. */
	is_version = is_date && *guard_digits_end(p, end) == '.' && stop - p < 8;
	if (currency > 0 && rest.n > 0)
		return false;
	guard_token_add(r, is_date && !is_version ? GUARD_DATES : GUARD_NUMBERS,
	                (struct bytes){p, (size_t)((is_ordinal ? end : stop) - p)})
	        ->is_number = !is_date && !is_ordinal;
	if (is_ordinal)
		r->text->flags |= SUPERLATIVE;
	if (currency > 0)
		return guard_unit_add(r, (struct bytes){piece.p, currency});
	if (rest.n == 0 || is_ordinal || guard_unit_add(r, rest))
		return true;
	*r = before;
	r->text->count = count;
	return false;
}

/* Signs of arithmetic and of comparison; the number of their bytes. */
static size_t
operator_length(const char *p, const char *end)
{
	static const char *const wide[] = {"×", "÷", "−", "–", "—", "≤", "≥",
	                                   "≠", "±", "√", "∞", "·", "→"};

	if (p < end && *p && strchr("+-*/=<>^%!&|~", *p))
		return 1;
	for (size_t i = 0; p < end && i < sizeof(wide) / sizeof(wide[0]); i++) {
		size_t n = strlen(wide[i]);

		if ((size_t)(end - p) >= n && memcmp(p, wide[i], n) == 0)
			return n;
	}
	return 0;
}

/* The end of an operand of a sum, a number or a single letter; NULL: it is none. */
static const char *
operand_end(const char *p, const char *end)
{
	const char *q = number_end(p, end);

	/* A piece lies within a text, so p < end is no null pointer. */
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
	if (!q && p < end && letter_is_letter((unsigned char)*p))
		q = p + 1;
	return q && (q == end || operator_length(q, end) > 0) ? q : NULL;
}

static bool
is_sum(struct bytes piece)
{
	const char *p = piece.p, *end = piece.p + piece.n;
	bool has_operator = false;

	while (p < end) {
		size_t n = operator_length(p, end);
		const char *stop = n > 0 ? p + n : operand_end(p, end);

		if (!stop)
			return false;
		has_operator |= n > 0;
		p = stop;
	}
	return has_operator;
}

/* All dashes are one: what is a minus and what is a stroke, few keyboards tell. */
static struct bytes
operator_text(const char *p, size_t n)
{
	struct bytes text = {p, n};

	return bytes_is(text, "−") || bytes_is(text, "–") || bytes_is(text, "—") ? bytes_of("-")
	                                                                         : text;
}

bool
guard_sum_add(struct guard_reader *r, struct bytes piece)
{
	const char *p = piece.p, *end = piece.p + piece.n;
	bool is_number;

	if (!is_sum(piece))
		return false;
	while (p < end) {
		size_t n = operator_length(p, end), more;
		const char *q = p + n;

		if (n == 0) {
			q = operand_end(p, end);
			is_number = letter_is_digit((unsigned char)*p);
			guard_token_add(r, is_number ? GUARD_NUMBERS : GUARD_NAMES,
			                (struct bytes){p, (size_t)(q - p)})
			        ->is_number = is_number;
		} else if (operator_length(q, end) == 0) {
			guard_token_add(r, GUARD_NUMBERS, operator_text(p, n));
		} else {
			/* <= is not < and =. */
			while ((more = operator_length(q, end)) > 0)
				q += more;
			guard_token_add(r, GUARD_NUMBERS, (struct bytes){p, (size_t)(q - p)});
		}
		p = q;
	}
	return true;
}
