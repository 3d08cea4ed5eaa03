#include "route/forecast.h"

#include <string.h>

#include "unit.h"

enum { MODELS_MAX = 4 };

/*
 * A row: how each model stands (c closed, o open, h half-open, p half-open with its probe out, b its provider
 * is busy, B that and open), when it is due, and what is said of it (1 first, n next, o open, p probing, b
 * busy, ! panic).
 */
static const struct row {
	const char *stand;
	uint64_t due_ms[MODELS_MAX];
	bool patient;
	const char *words;
} rows[] = {
        {"c", {0}, true, "1"},
        {"ccc", {0}, true, "1nn"},
        {"occ", {5}, true, "o1n"},
        {"ocp", {5}, true, "o1p"},
        {"bch", {0}, true, "b1n"},
        {"h", {0}, true, "1"},
        {"oh", {5}, true, "o1"},
        {"o", {5}, true, "!"},
        {"o", {5}, false, "o"},
        {"ooo", {7, 5, 6}, true, "o!o"},
        {"ooo", {7, 5, 5}, true, "o!o"},
        {"ooo", {7, 5, 6}, false, "ooo"},
        {"op", {7, 0}, true, "o!"}, /* a probe is out: it is due now */
        {"p", {0}, true, "!"},
        {"ob", {7, 0}, true, "ob"}, /* busy outweighs open: no panic */
        {"Bo", {7, 9}, true, "bo"},
        {"bb", {0}, true, "bb"},
};

static struct forecast_look
look_of(char stand, uint64_t due_ms)
{
	return (struct forecast_look){
	        .busy = stand == 'b' || stand == 'B',
	        .probing = stand == 'p',
	        .state = stand == 'o' || stand == 'B'   ? BREAKER_OPEN
	                 : stand == 'h' || stand == 'p' ? BREAKER_HALF_OPEN
	                                                : BREAKER_CLOSED,
	        .due_ms = due_ms,
	};
}

static char
letter_of(enum forecast word)
{
	static const char letters[] = {
	        [FORECAST_FIRST] = '1',   [FORECAST_NEXT] = 'n', [FORECAST_OPEN] = 'o',
	        [FORECAST_PROBING] = 'p', [FORECAST_BUSY] = 'b', [FORECAST_PANIC] = '!'};

	return letters[word];
}

START_TEST(test_what_is_said_of_each_model)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		size_t count = strlen(row->stand);
		struct forecast_look looks[MODELS_MAX];
		enum forecast words[MODELS_MAX];

		for (size_t k = 0; k < count; k++)
			looks[k] = look_of(row->stand[k], row->due_ms[k]);
		forecast_list(looks, count, row->patient, words);
		for (size_t k = 0; k < count; k++)
			ck_assert_msg(letter_of(words[k]) == row->words[k],
			              "row %zu, model %zu: %s", i, k, forecast_name(words[k]));
	}
}
END_TEST

static const struct breaker_options options = {.failures = 1, .open_ms = 1000, .open_max_ms = 1000};
static const struct config_provider provider = {.max_concurrent = 1};
static const struct config_model model = {.provider = &provider};

/* What is foretold is what attempts_next then does; and to foretell takes nothing. */
START_TEST(test_it_foretells_what_attempts_does)
{
	struct candidate list[2] = {{&model, health_new(&options), load_new()},
	                            {&model, health_new(&options), load_new()}};
	enum breaker_state old, state;

	for (unsigned round = 0; round < 16; round++) {
		uint64_t now_ms = 1000000 + (uint64_t)round * 100000;
		struct permit permits[2] = {{NULL, NULL, false, false}, {NULL, NULL, false, false}};
		struct forecast_look looks[2];
		enum forecast words[2];
		struct attempts attempts;
		struct attempt attempt;

		for (size_t k = 0; k < 2; k++) {
			unsigned kind = k ? round / 4 : round % 4;

			/* 0: closed, 1: open, 2: busy, 3: half-open */
			health_admit(list[k].health, list[k].load, 1, true, now_ms - 3000,
			             &permits[k]);
			if (kind != 2)
				permit_return(
				        &permits[k], kind == 0 ? HEALTH_SUCCESS : HEALTH_FAILURE,
				        kind == 3 ? now_ms - 2000 : now_ms - 500, &old, &state);
		}
		for (size_t k = 0; k < 2; k++)
			looks[k] = forecast_look(&list[k], now_ms);
		forecast_list(looks, 2, true, words);
		attempts_init(&attempts, list, 2, true, 0);
		attempt = attempts_next(&attempts, now_ms);
		for (size_t k = 0; k < 2; k++) {
			bool asked = attempt.kind == ATTEMPT_START && attempt.candidate == &list[k];

			ck_assert_msg(
			        asked == (words[k] == FORECAST_FIRST || words[k] == FORECAST_PANIC),
			        "round %u, model %zu: %s", round, k, forecast_name(words[k]));
			ck_assert(!asked || attempt.panic == (words[k] == FORECAST_PANIC));
		}
		permit_return(&attempt.permit, HEALTH_SUCCESS, now_ms, &old, &state);
		for (size_t k = 0; k < 2; k++) {
			permit_return(&permits[k], HEALTH_SUCCESS, now_ms, &old, &state);
			/* Closed again for the next round. */
			health_admit(list[k].health, list[k].load, 1, true, now_ms + 1,
			             &permits[k]);
			permit_return(&permits[k], HEALTH_SUCCESS, now_ms + 1, &old, &state);
		}
	}
	for (size_t k = 0; k < 2; k++) {
		health_unref(list[k].health);
		load_unref(list[k].load);
	}
}
END_TEST

UNIT_MAIN("forecast", test_what_is_said_of_each_model, test_it_foretells_what_attempts_does)
