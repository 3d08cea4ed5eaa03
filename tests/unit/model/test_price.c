/* What an answer costs. */
#include "model/price.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

/* USD per million tokens: 2, cached 0.5, output 8. */
static const struct config_price ordinary = {true, 2000000, 500000, 8000000};
/* 0.0375, cached 0.01875, output 0.15: not whole in nano-USD a token. */
static const struct config_price small = {true, 37500, 18750, 150000};
static const struct config_price least = {true, 1, 1, 1};
static const struct config_price free_of_charge = {.known = true};
static const struct config_price huge = {true, UINT64_MAX, UINT64_MAX, UINT64_MAX};

START_TEST(test_costs)
{
	static const struct {
		const char *rule;
		const struct config_price *price;
		uint64_t prompt, cached, completion, nano;
	} rows[] = {
	        {"nothing costs nothing", &ordinary, 0, 0, 0, 0},
	        {"a prompt token", &ordinary, 1, 0, 0, 2000},
	        {"a completion token", &ordinary, 0, 0, 1, 8000},
	        {"cached tokens are part of the prompt", &ordinary, 10, 4, 0, 6 * 2000 + 4 * 500},
	        {"a prompt wholly cached", &ordinary, 10, 10, 0, 10 * 500},
	        {"more cached than there are count as all", &ordinary, 10, 11, 0, 10 * 500},
	        {"cached without a prompt", &ordinary, 0, UINT64_MAX, 0, 0},
	        {"a million of each", &ordinary, 1000000, 0, 1000000, 10000000000},
	        {"half a nano-USD a token is not lost", &small, 2, 0, 0, 75},
	        {"quarters add up over the kinds", &small, 3, 1, 0, 94}, /* 75 + 18.75 */
	        {"a million of them is the price", &small, 1000000, 0, 0, 37500000},
	        {"rounded once and not for each kind", &least, 400, 200, 200, 1}, /* 0.6 */
	        {"half is rounded up", &least, 500, 0, 0, 1},
	        {"less than half is rounded down", &least, 499, 0, 0, 0},
	        {"free is a price", &free_of_charge, 1000, 10, 1000, 0},
	        {"absurd counts stay exact while they can", &least, UINT64_MAX, 0, 0,
	         18446744073709552},
	        {"the product is too large", &ordinary, UINT64_MAX, 0, 0, UINT64_MAX},
	        {"the sum is too large", &ordinary, UINT64_MAX / 2000, 0, UINT64_MAX / 8000,
	         UINT64_MAX},
	        {"as large as can be", &huge, UINT64_MAX, UINT64_MAX / 2, UINT64_MAX, UINT64_MAX},
	        {"one token of the dearest", &huge, 1, 0, 0, UINT64_MAX / 1000 + 1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct chat_usage usage = {
		        .prompt_tokens = rows[i].prompt,
		        .cached_tokens = rows[i].cached,
		        .completion_tokens = rows[i].completion,
		        .known = true,
		};
		uint64_t nano = 7;

		ck_assert_msg(price_of(rows[i].price, &usage, &nano), "%s", rows[i].rule);
		ck_assert_msg(nano == rows[i].nano, "%s: %llu, not %llu", rows[i].rule,
		              (unsigned long long)nano, (unsigned long long)rows[i].nano);
	}
}
END_TEST

START_TEST(test_what_is_unknown_is_not_free)
{
	static const struct config_price unknown = {.input_pico = 1000, .output_pico = 1000};
	struct chat_usage usage = {.prompt_tokens = 1, .completion_tokens = 1, .known = true};
	uint64_t nano = 7;

	ck_assert(!price_of(&unknown, &usage, &nano));
	usage.known = false;
	ck_assert(!price_of(&ordinary, &usage, &nano));
	ck_assert_uint_eq(nano, 7);
}
END_TEST

START_TEST(test_the_parts_of_a_cost_add_up_to_it)
{
	static const struct {
		const struct config_price *price;
		uint64_t prompt, cached, completion, input, output;
	} rows[] = {
	        {&ordinary, 10, 4, 3, 14000, 24000},
	        {&ordinary, 0, 0, 3, 0, 24000},
	        {&ordinary, 10, 0, 0, 20000, 0},
	        {&free_of_charge, 10, 0, 3, 0, 0},
	        {&least, 400, 0, 400, 0, 1}, /* 0.4 and 0.4 are 0.8 */
	        {&least, 600, 0, 600, 1, 0}, /* 0.6 and 0.6 are 1.2 */
	        {&huge, UINT64_MAX, 0, 1, UINT64_MAX, 0},
	};
	struct price_parts parts = {1, 2, 3};
	struct chat_usage unknown = {.prompt_tokens = 1};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct chat_usage usage = {rows[i].prompt, rows[i].completion, rows[i].cached,
		                           true};
		uint64_t total;

		ck_assert(price_split(rows[i].price, &usage, &parts));
		ck_assert(price_of(rows[i].price, &usage, &total));
		ck_assert_uint_eq(parts.input_nano_usd, rows[i].input);
		ck_assert_uint_eq(parts.output_nano_usd, rows[i].output);
		ck_assert_uint_eq(parts.total_nano_usd, total);
	}
	ck_assert(!price_split(&ordinary, &unknown, &parts));
}
END_TEST

/* Where the plain product fits, the result is the plain one. */
START_TEST(test_many_costs_agree_with_the_plain_product)
{
	uint64_t state = 1;

	for (int i = 0; i < 100000; i++) {
		uint64_t numbers[6], plain;
		struct config_price price = {.known = true};
		struct chat_usage usage = {.known = true};
		uint64_t nano;

		for (size_t k = 0; k < 6; k++) {
			state = state * 6364136223846793005U + 1442695040888963407U;
			numbers[k] = (state >> 33) >> (state >> 59);
		}
		price.input_pico = numbers[0];
		price.cached_input_pico = numbers[1];
		price.output_pico = numbers[2];
		usage.cached_tokens = numbers[3] / 4;
		usage.prompt_tokens = usage.cached_tokens + numbers[4] / 4;
		usage.completion_tokens = numbers[5] / 4;
		plain = numbers[0] * (numbers[4] / 4) + numbers[1] * (numbers[3] / 4) +
		        numbers[2] * (numbers[5] / 4);
		ck_assert(price_of(&price, &usage, &nano));
		ck_assert_uint_eq(nano, (plain + 500) / 1000);
	}
}
END_TEST

START_TEST(test_sums_stay_at_the_largest)
{
	ck_assert_uint_eq(price_add(1, 2), 3);
	ck_assert_uint_eq(price_add(UINT64_MAX - 1, 1), UINT64_MAX);
	ck_assert_uint_eq(price_add(UINT64_MAX, 1), UINT64_MAX);
	ck_assert_uint_eq(price_add(UINT64_MAX, UINT64_MAX), UINT64_MAX);
}
END_TEST

START_TEST(test_costs_are_written_without_loss)
{
	static const struct {
		uint64_t nano;
		const char *text;
	} rows[] = {
	        {0, "0"},
	        {1, "0.000000001"},
	        {10, "0.00000001"},
	        {1500, "0.0000015"},
	        {100000000, "0.1"},
	        {999999999, "0.999999999"},
	        {1000000000, "1"},
	        {1000000001, "1.000000001"},
	        {10000000000, "10"},
	        {12500000000, "12.5"},
	        {UINT64_MAX, "18446744073.709551615"},
	};
	char text[PRICE_TEXT_MAX];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(text, 'x', sizeof(text));
		ck_assert_ptr_eq(price_format(rows[i].nano, text), text);
		ck_assert_str_eq(text, rows[i].text);
	}
}
END_TEST

UNIT_MAIN("price", test_the_parts_of_a_cost_add_up_to_it, test_costs,
          test_what_is_unknown_is_not_free, test_many_costs_agree_with_the_plain_product,
          test_sums_stay_at_the_largest, test_costs_are_written_without_loss)
