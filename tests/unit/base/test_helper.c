#include "base/helper.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "unit.h"

#define JOBS  1200 /* more than may wait */
#define EXTRA 1000

struct errand {
	struct helper_job job; /* first */
	pthread_t thread;      /* that of run or done */
	int ran, done;         /* as the how manieth; 0: not */
};

static atomic_int clock_ran, clock_done;
static int hold[2]; /* a pipe: the first job ends once a byte is there */

static void
run(struct helper_job *job)
{
	struct errand *errand = (struct errand *)job;

	errand->thread = pthread_self();
	errand->ran = ++clock_ran;
}

static void
run_long(struct helper_job *job)
{
	char byte;

	run(job);
	ck_assert_int_eq(read(hold[0], &byte, 1), 1);
}

static void
done(struct helper_job *job)
{
	struct errand *errand = (struct errand *)job;

	errand->done = ++clock_done;
}

static void
open_gate(void)
{
	ck_assert_int_eq(write(hold[1], "x", 1), 1);
}

START_TEST(test_jobs_are_run_elsewhere_one_after_the_other)
{
	static struct errand errands[8];
	struct helper *helper = helper_new();

	for (int i = 0; i < 8; i++) {
		errands[i].job = (struct helper_job){.run = run, .done = done};
		ck_assert(helper_submit(helper, &errands[i].job));
	}
	while (clock_done < 8)
		usleep(1000);
	helper_free(helper);
	for (int i = 0; i < 8; i++) {
		ck_assert_int_eq(errands[i].ran, i + 1);
		ck_assert_int_eq(errands[i].done, i + 1);
		ck_assert(!pthread_equal(errands[i].thread, pthread_self()));
	}
}
END_TEST

static void *
free_helper(void *helper)
{
	helper_free(helper);
	return NULL;
}

START_TEST(test_what_waits_when_it_is_freed_is_done_without_being_run)
{
	static struct errand errands[4 + EXTRA];
	struct helper *helper = helper_new();
	pthread_t thread;
	int taken = 0;

	ck_assert_int_eq(pipe(hold), 0);
	for (int i = 0; i < 4; i++) {
		errands[i].job = (struct helper_job){.run = i ? run : run_long, .done = done};
		ck_assert(helper_submit(helper, &errands[i].job));
	}
	while (clock_ran < 1)
		usleep(1000);
	pthread_create(&thread, NULL, free_helper, helper);
	/* It refuses from the moment on in which it is being freed; what it takes before is one more that waits. */
	while (taken < EXTRA) {
		errands[4 + taken].job = (struct helper_job){.run = run, .done = done};
		if (!helper_submit(helper, &errands[4 + taken].job))
			break;
		taken++;
		usleep(1000);
	}
	ck_assert_int_lt(taken, EXTRA);
	open_gate();
	pthread_join(thread, NULL);
	ck_assert_int_eq(clock_done, 4 + taken);
	for (int i = 0; i < 4 + taken; i++)
		ck_assert_int_eq(errands[i].ran, i == 0);
}
END_TEST

START_TEST(test_too_many_that_wait_are_refused)
{
	static struct errand errands[JOBS];
	struct helper *helper = helper_new();
	int taken = 0;

	ck_assert_int_eq(pipe(hold), 0);
	for (int i = 0; i < JOBS; i++) {
		errands[i].job = (struct helper_job){.run = i ? run : run_long, .done = done};
		taken += helper_submit(helper, &errands[i].job);
	}
	ck_assert_int_ge(taken, 1024);
	ck_assert_int_le(taken, 1025);
	open_gate();
	helper_free(helper);
	ck_assert_int_eq(clock_done, taken);
}
END_TEST

UNIT_MAIN("helper", test_jobs_are_run_elsewhere_one_after_the_other,
          test_what_waits_when_it_is_freed_is_done_without_being_run,
          test_too_many_that_wait_are_refused)
