#include "model/health.h"

#include <pthread.h>

#include "unit.h"

enum { NOW = 1000000, THREADS = 4, ROUNDS = 20000 };

static const struct breaker_options options = {.failures = 2, .open_ms = 1000, .open_max_ms = 8000};

/* Counts by both rules, and opens at more failures than a test makes. */
static const struct breaker_options patient = {
        .failures = 4 * 20000, .failed_part = 1, .minimum = 100000, .window_ms = 30000};

/* A permit's way back when nobody asks what became of the state. */
static bool
give_back(struct permit *permit, enum health_result result, uint64_t now_ms)
{
	enum breaker_state old, state;

	return permit_return(permit, result, now_ms, &old, &state);
}

static void
fail_times(struct health *health, struct load *load, unsigned times, uint64_t now_ms)
{
	for (unsigned i = 0; i < times; i++) {
		struct permit permit;

		ck_assert_int_eq(health_admit(health, load, 0, false, now_ms, &permit),
		                 HEALTH_ADMITTED);
		give_back(&permit, HEALTH_FAILURE, now_ms);
	}
}

START_TEST(test_a_load_counts_up_to_the_limit)
{
	struct load *load = load_new();

	ck_assert_uint_eq(load_count(load), 0);
	ck_assert(load_enter(load, 2));
	ck_assert(load_enter(load, 2));
	ck_assert(!load_enter(load, 2));
	ck_assert_uint_eq(load_count(load), 2);
	ck_assert(load_enter(load, 3));  /* a reload has raised it */
	ck_assert(!load_enter(load, 1)); /* and lowered it */
	load_leave(load);
	load_leave(load);
	ck_assert(!load_enter(load, 1));
	load_leave(load);
	ck_assert(load_enter(load, 1));
	load_leave(load);
	ck_assert_uint_eq(load_count(load), 0);
	load_unref(load);
}
END_TEST

START_TEST(test_a_limit_of_0_is_none)
{
	struct load *load = load_new();

	for (unsigned i = 0; i < 1000; i++)
		ck_assert(load_enter(load, 0));
	ck_assert_uint_eq(load_count(load), 1000);
	load_unref(load);
}
END_TEST

START_TEST(test_nothing_is_released_twice_or_missed)
{
	struct load *load = load_new();
	struct health *health = health_new(&options);
	struct permit permit;

	ck_assert_ptr_eq(load_ref(load), load);
	ck_assert_ptr_eq(health_ref(health), health);
	load_unref(load);
	health_unref(health);
	ck_assert_int_eq(health_admit(health, load, 1, false, NOW, &permit), HEALTH_ADMITTED);
	load_unref(load);
	health_unref(health);
	/* The permit holds both now; AddressSanitizer sees a use after free, or a leak. */
	ck_assert_uint_eq(load_count(permit.load), 1);
	ck_assert_int_eq(health_state(permit.health, NOW), BREAKER_CLOSED);
	give_back(&permit, HEALTH_SUCCESS, NOW);
	load_unref(NULL);
	health_unref(NULL);
}
END_TEST

START_TEST(test_a_permit_is_counted_until_it_is_returned_once)
{
	static const enum health_result results[] = {HEALTH_SUCCESS, HEALTH_FAILURE,
	                                             HEALTH_NEUTRAL};

	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		struct health *health = health_new(&options);
		struct load *load = load_new();
		struct permit permit;

		ck_assert_int_eq(health_admit(health, load, 1, false, NOW, &permit),
		                 HEALTH_ADMITTED);
		ck_assert_ptr_eq(permit.health, health);
		ck_assert(!permit.probe && !permit.panic);
		ck_assert_uint_eq(load_count(load), 1);
		ck_assert(!give_back(&permit, results[i], NOW));
		ck_assert_ptr_null(permit.health);
		ck_assert_ptr_null(permit.load);
		ck_assert_uint_eq(load_count(load), 0);
		ck_assert(!give_back(&permit, HEALTH_FAILURE, NOW));
		ck_assert(!give_back(&permit, HEALTH_FAILURE, NOW));
		ck_assert_uint_eq(load_count(load), 0);
		ck_assert_int_eq(health_state(health, NOW), BREAKER_CLOSED);
		health_unref(health);
		load_unref(load);
	}
}
END_TEST

START_TEST(test_a_busy_provider_leaves_the_breaker_as_it_was)
{
	struct health *health = health_new(&options);
	struct load *load = load_new();
	struct permit permit, other = {.panic = true};

	fail_times(health, load, 2, NOW);
	ck_assert(load_enter(load, 1));
	ck_assert_int_eq(health_admit(health, load, 1, false, NOW + 1000, &other), HEALTH_BUSY);
	ck_assert_ptr_null(other.health);
	ck_assert(!other.panic);
	load_leave(load);
	/* The one probe was not used up. */
	ck_assert_int_eq(health_admit(health, load, 1, false, NOW + 1000, &permit),
	                 HEALTH_ADMITTED);
	ck_assert(permit.probe);
	give_back(&permit, HEALTH_SUCCESS, NOW + 1000);
	health_unref(health);
	load_unref(load);
}
END_TEST

START_TEST(test_an_open_breaker_gives_the_load_back)
{
	struct health *health = health_new(&options);
	struct load *load = load_new();
	struct permit permit;

	fail_times(health, load, 2, NOW);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(health_admit(health, load, 1, false, NOW, &permit), HEALTH_OPEN);
		ck_assert_ptr_null(permit.health);
		ck_assert_uint_eq(load_count(load), 0);
	}
	health_unref(health);
	load_unref(load);
}
END_TEST

START_TEST(test_a_panic_passes_the_breaker_but_not_the_limit)
{
	struct health *health = health_new(&options);
	struct load *load = load_new();
	struct permit permit, second;
	enum breaker_state old, state;

	fail_times(health, load, 2, NOW);
	ck_assert_int_eq(health_admit(health, load, 1, true, NOW, &permit), HEALTH_ADMITTED);
	ck_assert(permit.panic && !permit.probe);
	ck_assert_int_eq(health_admit(health, load, 1, true, NOW, &second), HEALTH_BUSY);
	ck_assert(!give_back(&permit, HEALTH_FAILURE, NOW));
	ck_assert_uint_eq(health_due_in_ms(health, NOW), 1000);
	ck_assert_int_eq(health_admit(health, load, 1, true, NOW, &permit), HEALTH_ADMITTED);
	ck_assert(permit_return(&permit, HEALTH_SUCCESS, NOW, &old, &state));
	ck_assert_int_eq(old, BREAKER_OPEN);
	ck_assert_int_eq(state, BREAKER_CLOSED);
	health_unref(health);
	load_unref(load);
}
END_TEST

START_TEST(test_a_change_of_state_is_told_once)
{
	static const struct {
		const char *rule;
		unsigned failures_before;
		uint64_t after_ms;
		enum health_result result;
		bool changed;
		enum breaker_state old, state;
	} rows[] = {
	        {"the first failure", 0, 0, HEALTH_FAILURE, false, 0, 0},
	        {"a success", 1, 0, HEALTH_SUCCESS, false, 0, 0},
	        {"a neutral end", 1, 0, HEALTH_NEUTRAL, false, 0, 0},
	        {"the failure that opens", 1, 0, HEALTH_FAILURE, true, BREAKER_CLOSED,
	         BREAKER_OPEN},
	        {"the probe's success", 2, 1000, HEALTH_SUCCESS, true, BREAKER_HALF_OPEN,
	         BREAKER_CLOSED},
	        {"the probe's failure", 2, 1000, HEALTH_FAILURE, true, BREAKER_HALF_OPEN,
	         BREAKER_OPEN},
	        {"the probe's neutral end", 2, 1000, HEALTH_NEUTRAL, false, 0, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct health *health = health_new(&options);
		struct load *load = load_new();
		enum breaker_state old = 99, state = 99;
		uint64_t now = NOW + rows[i].after_ms;
		struct permit permit;
		bool changed;

		fail_times(health, load, rows[i].failures_before, NOW);
		ck_assert_int_eq(health_admit(health, load, 0, false, now, &permit),
		                 HEALTH_ADMITTED);
		changed = permit_return(&permit, rows[i].result, now, &old, &state);
		ck_assert_msg(changed == rows[i].changed, "%s", rows[i].rule);
		ck_assert_msg(old == (changed ? rows[i].old : 99), "%s", rows[i].rule);
		ck_assert_msg(state == (changed ? rows[i].state : 99), "%s", rows[i].rule);
		health_unref(health);
		load_unref(load);
	}
}
END_TEST

START_TEST(test_a_probe_that_tells_nothing_leaves_its_place_to_the_next)
{
	struct health *health = health_new(&options);
	struct load *load = load_new();
	struct permit permit, next;

	fail_times(health, load, 2, NOW);
	ck_assert_int_eq(health_admit(health, load, 0, false, NOW + 1000, &permit),
	                 HEALTH_ADMITTED);
	ck_assert_int_eq(health_admit(health, load, 0, false, NOW + 1000, &next), HEALTH_OPEN);
	give_back(&permit, HEALTH_NEUTRAL, NOW + 1000);
	ck_assert_int_eq(health_admit(health, load, 0, false, NOW + 1000, &next), HEALTH_ADMITTED);
	ck_assert(next.probe);
	give_back(&next, HEALTH_NEUTRAL, NOW + 1000);
	health_unref(health);
	load_unref(load);
}
END_TEST

START_TEST(test_it_is_due_when_the_pause_is_over)
{
	struct health *health = health_new(&options);
	struct load *load = load_new();
	struct permit permit;

	ck_assert_uint_eq(health_due_in_ms(health, NOW), 0);
	fail_times(health, load, 2, NOW);
	ck_assert_int_eq(health_state(health, NOW), BREAKER_OPEN);
	ck_assert_uint_eq(health_due_in_ms(health, NOW), 1000);
	ck_assert_uint_eq(health_due_in_ms(health, NOW + 999), 1);
	ck_assert_uint_eq(health_due_in_ms(health, NOW + 1000), 0);
	ck_assert_int_eq(health_state(health, NOW + 1000), BREAKER_HALF_OPEN);
	ck_assert_int_eq(health_admit(health, load, 0, false, NOW + 1000, &permit),
	                 HEALTH_ADMITTED);
	ck_assert_uint_eq(health_due_in_ms(health, NOW + 1000), 0);
	ck_assert_int_eq(health_state(health, NOW + 1000), BREAKER_HALF_OPEN);
	give_back(&permit, HEALTH_FAILURE, NOW + 1000);
	ck_assert_uint_eq(health_due_in_ms(health, NOW + 1000), 2000);
	health_unref(health);
	load_unref(load);
}
END_TEST

START_TEST(test_a_reload_changes_the_options_in_place)
{
	static const struct breaker_options strict = {.failures = 1, .open_ms = 50};
	struct health *health = health_new(&options);
	struct load *load = load_new();

	health_configure(health, &strict);
	fail_times(health, load, 1, NOW);
	ck_assert_uint_eq(health_due_in_ms(health, NOW), 50);
	health_unref(health);
	load_unref(load);
}
END_TEST

/* What the threads of a test share; the counters are atomic. */
struct crowd {
	struct health *health;
	struct load *load;
	unsigned limit;
	pthread_barrier_t start;
	unsigned inside, most_inside, admitted, probes;
};

static void
crowd_run(struct crowd *crowd, void *(*member)(void *))
{
	pthread_t threads[THREADS];

	ck_assert_int_eq(pthread_barrier_init(&crowd->start, NULL, THREADS), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, member, crowd), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	pthread_barrier_destroy(&crowd->start);
}

static void
crowd_enter(struct crowd *crowd)
{
	unsigned inside = __atomic_add_fetch(&crowd->inside, 1, __ATOMIC_SEQ_CST);
	unsigned most = __atomic_load_n(&crowd->most_inside, __ATOMIC_SEQ_CST);

	while (inside > most &&
	       !__atomic_compare_exchange_n(&crowd->most_inside, &most, inside, false,
	                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

static void *
come_and_go(void *arg)
{
	static const enum health_result results[] = {HEALTH_SUCCESS, HEALTH_NEUTRAL,
	                                             HEALTH_FAILURE};
	struct crowd *crowd = arg;

	pthread_barrier_wait(&crowd->start);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct permit permit;

		if (health_admit(crowd->health, crowd->load, crowd->limit, false, NOW + i,
		                 &permit) != HEALTH_ADMITTED)
			continue;
		crowd_enter(crowd);
		__atomic_add_fetch(&crowd->admitted, 1, __ATOMIC_SEQ_CST);
		__atomic_sub_fetch(&crowd->inside, 1, __ATOMIC_SEQ_CST);
		give_back(&permit, results[i % 3], NOW + i);
		if (i % 64 == 0)
			health_configure(crowd->health, &patient);
	}
	return NULL;
}

START_TEST(test_threads_never_pass_the_limit_and_lose_no_count)
{
	struct crowd crowd = {.health = health_new(&patient), .load = load_new(), .limit = 2};

	crowd_run(&crowd, come_and_go);
	ck_assert_uint_gt(crowd.admitted, 0);
	ck_assert_uint_ge(crowd.most_inside, 1);
	ck_assert_uint_le(crowd.most_inside, 2);
	ck_assert_uint_eq(load_count(crowd.load), 0);
	health_unref(crowd.health);
	load_unref(crowd.load);
}
END_TEST

static void *
ask_to_probe(void *arg)
{
	struct crowd *crowd = arg;
	struct permit permit;

	pthread_barrier_wait(&crowd->start);
	for (unsigned i = 0; i < 100; i++) {
		if (health_admit(crowd->health, crowd->load, 0, false, NOW + 1000, &permit) !=
		    HEALTH_ADMITTED)
			continue;
		__atomic_add_fetch(&crowd->probes, permit.probe, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&crowd->admitted, 1, __ATOMIC_SEQ_CST);
		/* Never returned, so that the probe stays out and the load counts it. */
		health_unref(permit.health);
		load_unref(permit.load);
	}
	return NULL;
}

START_TEST(test_threads_get_one_probe_among_them)
{
	for (int round = 0; round < 50; round++) {
		struct crowd crowd = {.health = health_new(&options), .load = load_new()};

		fail_times(crowd.health, crowd.load, 2, NOW);
		crowd_run(&crowd, ask_to_probe);
		ck_assert_uint_eq(crowd.probes, 1);
		ck_assert_uint_eq(crowd.admitted, 1);
		ck_assert_uint_eq(load_count(crowd.load), 1);
		health_unref(crowd.health);
		load_unref(crowd.load);
	}
}
END_TEST

static void *
let_go(void *arg)
{
	struct crowd *crowd = arg;

	pthread_barrier_wait(&crowd->start);
	for (unsigned i = 0; i < ROUNDS; i++) {
		health_unref(health_ref(crowd->health));
		load_unref(load_ref(crowd->load));
	}
	health_unref(crowd->health);
	load_unref(crowd->load);
	return NULL;
}

START_TEST(test_the_last_thread_to_let_go_frees)
{
	struct crowd crowd = {.health = health_new(&options), .load = load_new()};

	for (int i = 1; i < THREADS; i++) {
		health_ref(crowd.health);
		load_ref(crowd.load);
	}
	/* A sanitizer fails this program on a use after free or a leak. */
	crowd_run(&crowd, let_go);
}
END_TEST

START_TEST(test_what_is_told_of_the_gauge_adds_up_to_the_state)
{
	struct health *health = health_new(&options);
	struct load *load = load_new();
	struct permit permit, late;
	int gauge = health_show(health);

	ck_assert_int_eq(gauge, 0);
	ck_assert_int_eq(health_admit(health, load, 0, false, NOW, &late), HEALTH_ADMITTED);
	fail_times(health, load, 2, NOW);
	gauge += health_show(health);
	ck_assert_msg(gauge == 2, "open: %d", gauge);
	ck_assert_msg(health_show(health) == 0, "told once");
	ck_assert_int_eq(health_admit(health, load, 0, false, NOW + 1000, &permit),
	                 HEALTH_ADMITTED);
	gauge += health_show(health);
	ck_assert_msg(gauge == 1, "the probe is under way: %d", gauge);
	give_back(&permit, HEALTH_NEUTRAL, NOW + 1000);
	gauge += health_show(health);
	ck_assert_msg(gauge == 2, "it waits for a probe: %d", gauge);
	health_retire(health);
	gauge += health_show(health);
	ck_assert_msg(gauge == 0, "retired: %d", gauge);
	give_back(&late, HEALTH_FAILURE, NOW + 1000);
	gauge += health_show(health);
	ck_assert_msg(gauge == 0, "a late result of a retired one: %d", gauge);
	health_unref(health);
	load_unref(load);
}
END_TEST

START_TEST(test_a_look_tells_what_came_of_requests)
{
	struct load *load = load_new();
	struct health *health = health_new(&options);
	const struct health_limit used_up = {"60", "0", "2s"}, none = {0};
	struct vitals_look look;
	struct permit permit;

	ck_assert(health_look(health, NOW, &look));
	ck_assert_double_eq(look.success, 1);
	ck_assert_int_eq(health_admit(health, load, 0, false, NOW, &permit), HEALTH_ADMITTED);
	health_note_first_byte(health, 120000, NOW);
	ck_assert(health_look(health, NOW, &look));
	ck_assert_uint_eq(look.in_flight, 1);
	ck_assert_double_eq_tol(look.latency_ms, 120, 1e-9);
	give_back(&permit, HEALTH_NEUTRAL, NOW);
	ck_assert(health_look(health, NOW, &look));
	ck_assert_uint_eq(look.in_flight, 0);
	ck_assert_double_eq(look.success, 1);
	health_note_limits(health, &none, &used_up, NOW);
	health_look(health, NOW + 1999, &look);
	ck_assert_double_eq(look.headroom, 0);
	health_look(health, NOW + 2000, &look);
	ck_assert_double_eq(look.headroom, 1);
	/* An open breaker refuses; once it is due a look is no request, and takes no probe away. */
	fail_times(health, load, 2, NOW);
	ck_assert(!health_look(health, NOW, &look));
	ck_assert_double_lt(look.success, 0.5);
	ck_assert(health_look(health, NOW + 1000, &look));
	ck_assert_int_eq(health_admit(health, load, 0, false, NOW + 1000, &permit),
	                 HEALTH_ADMITTED);
	ck_assert(permit.probe);
	ck_assert(!health_look(health, NOW + 1000, &look));
	give_back(&permit, HEALTH_SUCCESS, NOW + 1000);
	ck_assert(health_look(health, NOW + 1000, &look));
	health_unref(health);
	load_unref(load);
}
END_TEST

START_TEST(test_a_report_tells_what_happened)
{
	struct health *health = health_new(&options);
	struct load *load = load_new();
	struct health_report report;
	struct permit permit;

	health_report(health, NOW, &report);
	ck_assert_int_eq(report.state, BREAKER_CLOSED);
	ck_assert(!report.has_latency && report.requests == 0 && report.detail[0] == '\0');

	ck_assert_int_eq(health_admit(health, load, 0, false, NOW, &permit), HEALTH_ADMITTED);
	health_note_first_byte(health, 20000, NOW);
	health_report(health, NOW, &report);
	ck_assert_uint_eq(report.in_flight, 1);
	ck_assert(report.has_latency && report.latency_ms[0] > 19 && report.latency_ms[2] < 21);
	give_back(&permit, HEALTH_SUCCESS, NOW);

	health_note_failure(health, "it broke", NOW);
	fail_times(health, load, 2, NOW);
	health_report(health, NOW + 400, &report);
	ck_assert_int_eq(report.state, BREAKER_OPEN);
	ck_assert_uint_eq(report.in_flight, 0);
	ck_assert_uint_eq(report.requests, 3);
	ck_assert_uint_eq(report.failures, 2);
	ck_assert_uint_eq(report.open_ms, 400);
	ck_assert_uint_eq(report.due_ms, 600);
	ck_assert_str_eq(report.detail, "it broke");
	ck_assert_uint_eq(report.failed_ms, 400);

	ck_assert_int_eq(health_admit(health, load, 0, false, NOW + 1000, &permit),
	                 HEALTH_ADMITTED);
	health_report(health, NOW + 1000, &report);
	ck_assert_int_eq(report.state, BREAKER_HALF_OPEN);
	ck_assert(report.probing && report.due_ms == 0 && report.open_ms == 1000);
	give_back(&permit, HEALTH_SUCCESS, NOW + 1000);
	health_report(health, NOW + 1000, &report);
	ck_assert(report.state == BREAKER_CLOSED && !report.probing && report.open_ms == 0);
	load_unref(load);
	health_unref(health);
}
END_TEST

UNIT_MAIN("health", test_a_look_tells_what_came_of_requests, test_a_report_tells_what_happened,
          test_what_is_told_of_the_gauge_adds_up_to_the_state, test_a_load_counts_up_to_the_limit,
          test_a_limit_of_0_is_none, test_nothing_is_released_twice_or_missed,
          test_a_permit_is_counted_until_it_is_returned_once,
          test_a_busy_provider_leaves_the_breaker_as_it_was,
          test_an_open_breaker_gives_the_load_back,
          test_a_panic_passes_the_breaker_but_not_the_limit, test_a_change_of_state_is_told_once,
          test_a_probe_that_tells_nothing_leaves_its_place_to_the_next,
          test_it_is_due_when_the_pause_is_over, test_a_reload_changes_the_options_in_place,
          test_threads_never_pass_the_limit_and_lose_no_count,
          test_threads_get_one_probe_among_them, test_the_last_thread_to_let_go_frees,
          test_a_look_tells_what_came_of_requests)
