/* A vector is of length 1 or there is none; the same text gives the same one, and with other white space at its
 * ends too. */
#include "cache/lexical.h"

#include <math.h>

#include "base/buf.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);

static void
check(bool holds, const char *what)
{
	if (!holds)
		die("%s", what);
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	float one[LEXICAL_DIMENSIONS], other[LEXICAL_DIMENSIONS];
	struct buf spaced;
	double squares = 0;
	bool has_vector = lexical_embed((struct bytes){(const char *)input, n}, one);

	buf_init(&spaced, 0);
	buf_add_text(&spaced, " ");
	buf_add(&spaced, input, n);
	buf_add_text(&spaced, "\n");
	check(lexical_embed(buf_bytes(&spaced), other) == has_vector, "spaces made a difference");
	buf_fini(&spaced);
	if (!has_vector)
		return 0;
	for (size_t i = 0; i < LEXICAL_DIMENSIONS; i++) {
		check(isfinite(one[i]), "not finite");
		check(one[i] == other[i], "another vector");
		squares += (double)one[i] * one[i];
	}
	check(squares > 0.9999 && squares < 1.0001, "not of length 1");
	return 0;
}
