/*
 * What an answer costs, in nano-USD: whole numbers, so that a sum of many small costs is exact. Pure.
 *
 * Prices stand in pico-USD a token (struct config_price), each cost is rounded once, to the nearest
 * nano-USD. Token counts are an upstream's word and may be absurd: what is too large stays at
 * UINT64_MAX instead of starting again at 0.
 */
#ifndef MODEL_PRICE_H
#define MODEL_PRICE_H

#include <stdbool.h>
#include <stdint.h>

#include "model/config.h"
#include "wire/chat_frame.h"

enum { PRICE_TEXT_MAX = 24 }; /* "18446744073.709551615" and its end */

/* The cost of a usage. False, with nothing in *nano_usd changed, when price or usage are not known:
 * that is not the same as free. Cached tokens are part of the prompt's; more than it has count as
 * all of it. */
bool price_of(const struct config_price *price, const struct chat_usage *usage, uint64_t *nano_usd);

/* The same cost, told apart: `output` is what is left of the total, which is rounded once, so that the parts
 * always add up to it. */
struct price_parts {
	uint64_t input_nano_usd, output_nano_usd, total_nano_usd;
};

bool price_split(const struct config_price *price, const struct chat_usage *usage,
                 struct price_parts *parts);

/* a + b, at most UINT64_MAX. */
uint64_t price_add(uint64_t a, uint64_t b);

/* Writes USD as a decimal number without loss and without zeros at its end: 0, 0.0000015, 12.5. It
 * is also a number of JSON. Returns text. */
const char *price_format(uint64_t nano_usd, char text[PRICE_TEXT_MAX]);

#endif
