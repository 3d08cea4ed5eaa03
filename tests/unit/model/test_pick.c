#include "model/pick.h"

#include <string.h>

#include "unit.h"

enum { MODELS_MAX = 4, NOW = 1000000 };

/* A pool in made-up time: each request asks one model, and that answers or fails at once. */
struct world {
	struct vitals vitals[MODELS_MAX];
	unsigned weight[MODELS_MAX];
	bool out[MODELS_MAX];
	unsigned fails_one_in[MODELS_MAX]; /* 0: never */
	uint64_t latency_ms[MODELS_MAX];
	size_t count;
	bool healthy;
	uint64_t now_ms;
	unsigned asked[MODELS_MAX];
	double gained[MODELS_MAX];
};

static size_t
world_ask(struct world *world, unsigned step_ms)
{
	struct pick_model models[MODELS_MAX];
	double weights[MODELS_MAX];
	size_t i;

	for (i = 0; i < world->count; i++) {
		models[i] = (struct pick_model){.weight = world->weight[i] ? world->weight[i] : 1,
		                                .out = world->out[i]};
		vitals_look(&world->vitals[i], world->now_ms, &models[i].look);
	}
	pick_weigh(models, world->count, world->healthy, weights);
	i = pick_next(world->gained, weights, world->count);
	world->now_ms += step_ms;
	if (i < world->count) {
		unsigned one_in = world->fails_one_in[i];

		vitals_result(&world->vitals[i], !one_in || world->asked[i] % one_in != 0,
		              world->now_ms);
		if (world->latency_ms[i])
			vitals_latency(&world->vitals[i],
			               world->latency_ms[i] + world->asked[i] % 7, world->now_ms);
		world->asked[i]++;
	}
	return i;
}

static void
world_run(struct world *world, unsigned requests, unsigned step_ms)
{
	memset(world->asked, 0, sizeof(world->asked));
	for (unsigned i = 0; i < requests; i++)
		world_ask(world, step_ms);
}

static struct world
world_of(size_t count)
{
	return (struct world){.count = count, .healthy = true, .now_ms = NOW};
}

START_TEST(test_equal_models_stay_within_one_of_equal)
{
	struct world world = world_of(3);

	for (size_t i = 0; i < 3; i++)
		world.latency_ms[i] = 100 + 30 * i; /* a difference that may be chance */
	for (unsigned n = 1; n <= 1000; n++) {
		world_ask(&world, 10);
		for (size_t i = 0; i < 3; i++)
			ck_assert_double_le(world.asked[i] * 3.0, n + 3.0);
	}
	for (size_t i = 0; i < 3; i++) {
		ck_assert_uint_ge(world.asked[i], 333);
		ck_assert_uint_le(world.asked[i], 334);
	}
}
END_TEST

START_TEST(test_weights_are_kept_smoothly)
{
	struct world world = world_of(3);
	size_t order[7];
	static const size_t smooth[] = {0, 0, 1, 0, 2, 0, 0};

	world.weight[0] = 5;
	for (size_t i = 0; i < 7; i++)
		order[i] = world_ask(&world, 10);
	ck_assert_mem_eq(order, smooth, sizeof(order));
	world_run(&world, 700, 10);
	ck_assert_uint_eq(world.asked[0], 500);
	ck_assert_uint_eq(world.asked[1], 100);
}
END_TEST

START_TEST(test_who_fails_half_the_time_gets_less_than_a_tenth_and_recovers)
{
	static const unsigned steps_ms[] = {5, 50, 200};

	for (size_t s = 0; s < 3; s++) {
		struct world world = world_of(2);

		world.fails_one_in[1] = 2;
		world_run(&world, 1000, steps_ms[s]);
		ck_assert_msg(world.asked[1] < 100, "%u of 1000 at %u ms", world.asked[1],
		              steps_ms[s]);
		ck_assert_uint_ge(world.asked[1], 5); /* or nobody would know when it has healed */
		world.fails_one_in[1] = 0;
		world_run(&world, 120000 / steps_ms[s], steps_ms[s]);
		world_run(&world, 100, steps_ms[s]);
		ck_assert_msg(world.asked[1] >= 48, "%u of 100 at %u ms", world.asked[1],
		              steps_ms[s]);
	}
}
END_TEST

START_TEST(test_who_always_fails_is_still_asked_now_and_then)
{
	struct world world = world_of(2);

	world.fails_one_in[0] = 1;
	world_run(&world, 1000, 10);
	ck_assert_uint_ge(world.asked[0], 5);
	ck_assert_uint_le(world.asked[0], 30);
}
END_TEST

START_TEST(test_who_is_slow_gets_less)
{
	struct world world = world_of(2);

	world.latency_ms[0] = 100;
	world.latency_ms[1] = 2500; /* a tenth of what would be as fast */
	world_run(&world, 1100, 10);
	ck_assert_uint_ge(world.asked[1], 80);
	ck_assert_uint_le(world.asked[1], 130);
}
END_TEST

START_TEST(test_who_has_much_in_flight_gets_less)
{
	struct pick_model models[2] = {
	        {.weight = 1, .look = {.success = 1, .headroom = 1, .in_flight = 8}},
	        {.weight = 1, .look = {.success = 1, .headroom = 1}}};
	double weights[2];

	pick_weigh(models, 2, true, weights);
	ck_assert_double_eq(weights[0], 1);
	models[0].look.in_flight = 80;
	pick_weigh(models, 2, true, weights);
	ck_assert_double_eq_tol(weights[0], 0.1, 1e-9);
	models[0].weight = 10;
	pick_weigh(models, 2, true, weights);
	ck_assert_double_eq_tol(weights[0], 10, 1e-9);
	ck_assert_double_eq(weights[1], 1);
}
END_TEST

START_TEST(test_who_is_out_is_not_asked_and_gains_nothing)
{
	struct world world = world_of(3);

	world.out[1] = true;
	vitals_quota_read(&world.vitals[2].requests, "9", "0", "1s", NOW);
	world_run(&world, 10, 0);
	ck_assert_uint_eq(world.asked[0], 10);
	world.out[1] = false;
	world.now_ms += 1000;
	world_run(&world, 30, 0);
	for (size_t i = 0; i < 3; i++)
		ck_assert_uint_eq(world.asked[i], 10);
	memset(world.out, 1, sizeof(world.out));
	ck_assert_uint_eq(world_ask(&world, 0), 3);
}
END_TEST

START_TEST(test_without_health_only_weights_count)
{
	struct world world = world_of(2);

	world.healthy = false;
	world.fails_one_in[0] = 2;
	world.latency_ms[0] = 5000;
	world.latency_ms[1] = 5;
	world_run(&world, 100, 10);
	ck_assert_uint_eq(world.asked[0], 50);
}
END_TEST

START_TEST(test_the_order_is_whose_turn_it_is_and_whose_turns_come_next)
{
	static const double weights[] = {1, 1, 0, 1}, none[] = {0, 0, 0, 0};
	static const size_t expected[3][4] = {{0, 1, 3, 2}, {1, 3, 0, 2}, {3, 0, 1, 2}};
	static const size_t as_listed[] = {0, 1, 2, 3};
	struct picker *picker = picker_new(4);
	size_t order[4];

	for (size_t i = 0; i < 9; i++) {
		picker_order(picker, weights, true, order);
		ck_assert_mem_eq(order, expected[i % 3], sizeof(order));
		picker_order(picker, weights, false, order);
		ck_assert_mem_eq(order, expected[i % 3], sizeof(order));
	}
	picker_order(picker, none, false, order);
	ck_assert_mem_eq(order, as_listed, sizeof(order));
	picker_free(picker);
	picker_free(NULL);
}
END_TEST

UNIT_MAIN("pick", test_equal_models_stay_within_one_of_equal, test_weights_are_kept_smoothly,
          test_who_fails_half_the_time_gets_less_than_a_tenth_and_recovers,
          test_who_always_fails_is_still_asked_now_and_then, test_who_is_slow_gets_less,
          test_who_has_much_in_flight_gets_less, test_who_is_out_is_not_asked_and_gains_nothing,
          test_without_health_only_weights_count,
          test_the_order_is_whose_turn_it_is_and_whose_turns_come_next)
