/*
 * Any text is the same as itself, with a space at its end too; which of two is asked makes no difference; texts
 * that differ by what no rule may pass over, another word at the end or a negation, are refused; and none takes
 * long.
 *
 * Input: a text, a zero, another text. Without a zero the second is the first, its middle left out.
 */
#include "cache/guard.h"

#include <stdlib.h>
#include <time.h>

#include "base/buf.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);

static void
check(bool holds, const char *what)
{
	if (!holds)
		die("%s", what);
}

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static enum guard
compare(struct bytes one, struct bytes other)
{
	enum guard guard = guard_compare(one, other);

	check(guard < GUARD_COUNT && guard != GUARD_RUNNER_UP, "no such guard");
	check(guard_compare(other, one) == guard, "it matters which is asked");
	return guard;
}

/* The text with something behind it. */
static enum guard
compare_with(struct bytes text, const char *behind)
{
	struct buf longer;
	enum guard guard;

	buf_init(&longer, 0);
	buf_add_bytes(&longer, text);
	buf_add_text(&longer, behind);
	guard = compare(text, buf_bytes(&longer));
	buf_fini(&longer);
	return guard;
}

static bool
is_opening(struct bytes text)
{
	for (size_t i = 0; i < text.n; i++) {
		if (strchr("\"'`", text.p[i]) || (unsigned char)text.p[i] >= 0x80)
			return true;
	}
	return false;
}

static void
check_text(struct bytes text)
{
	bool is_short = guard_is_short(text);

	check(compare(text, text) == (is_short ? GUARD_SHORT : GUARD_NONE), "not itself");
	if (is_short || text.n > 60000)
		return;
	/* What is behind may end a quotation, or a word that the input broke off within. */
	if (!is_opening(text))
		check(compare_with(text, " ") == GUARD_NONE, "a space made it another");
	check(compare_with(text, "\nnot zymurgy") != GUARD_NONE, "words made no difference");
	check(compare_with(text, " 31337") != GUARD_NONE, "a number made no difference");
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	struct bytes one = {(const char *)input, n}, other = {(const char *)input, n / 2};
	const char *zero = n > 0 ? memchr(input, 0, n) : NULL;
	uint64_t before = now_ms();

	if (n == 0)
		return 0;
	if (zero) {
		one.n = (size_t)(zero - one.p);
		other = (struct bytes){zero + 1, n - one.n - 1};
	}
	compare(one, other);
	check_text(one);
	check_text(other);
	check(now_ms() - before < 2000, "took long");
	return 0;
}
