/* Costs in nano-USD. */
#include "model/price.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PICO_PER_NANO = 1000, NANO_DIGITS = 9 };
#define NANO_PER_USD UINT64_C(1000000000)

uint64_t
price_add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t
multiply(uint64_t a, uint64_t b)
{
	uint64_t product;

	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/*
 * Adds tokens × pico as whole nano-USD and a rest of pico-USD.
 *
 * With pico = q·1000 + r and tokens = t·1000 + s the product is, in nano-USD,
 * tokens·q + t·r + s·r/1000: only the first can overflow, and nothing is lost to the division.
 */
static void
add_product(uint64_t tokens, uint64_t pico, uint64_t *nano, uint64_t *rest_pico)
{
	uint64_t r = pico % PICO_PER_NANO, s = tokens % PICO_PER_NANO;

	*nano = price_add(*nano, multiply(tokens, pico / PICO_PER_NANO));
	*nano = price_add(*nano, tokens / PICO_PER_NANO * r);
	*rest_pico += s * r;
}

bool
price_of(const struct config_price *price, const struct chat_usage *usage, uint64_t *nano_usd)
{
	uint64_t nano = 0, rest_pico = 0, cached = usage->cached_tokens;

	if (!price->known || !usage->known)
		return false;
	if (cached > usage->prompt_tokens)
		cached = usage->prompt_tokens;
	add_product(usage->prompt_tokens - cached, price->input_pico, &nano, &rest_pico);
	add_product(cached, price->cached_input_pico, &nano, &rest_pico);
	add_product(usage->completion_tokens, price->output_pico, &nano, &rest_pico);
	*nano_usd = price_add(nano, (rest_pico + PICO_PER_NANO / 2) / PICO_PER_NANO);
	return true;
}

bool
price_split(const struct config_price *price, const struct chat_usage *usage,
            struct price_parts *parts)
{
	struct chat_usage prompt = *usage;

	prompt.completion_tokens = 0;
	if (!price_of(price, usage, &parts->total_nano_usd) ||
	    !price_of(price, &prompt, &parts->input_nano_usd))
		return false;
	parts->output_nano_usd = parts->total_nano_usd - parts->input_nano_usd;
	return true;
}

const char *
price_format(uint64_t nano_usd, char text[PRICE_TEXT_MAX])
{
	uint64_t part = nano_usd % NANO_PER_USD;
	size_t n;

	if (part == 0) {
		snprintf(text, PRICE_TEXT_MAX, "%" PRIu64, nano_usd / NANO_PER_USD);
		return text;
	}
	snprintf(text, PRICE_TEXT_MAX, "%" PRIu64 ".%0*" PRIu64, nano_usd / NANO_PER_USD,
	         NANO_DIGITS, part);
	for (n = strlen(text); text[n - 1] == '0'; n--)
		text[n - 1] = '\0';
	return text;
}
