#include "route/attempts.h"

enum { PAUSE_FIRST_MS = 100, PAUSE_MAX_MS = 2000 };

void
attempts_init(struct attempts *attempts, const struct candidate *list, size_t count, bool patient,
              uint64_t deadline_ms)
{
	*attempts = (struct attempts){
	        .list = list,
	        .count = count,
	        .patient = patient,
	        .deadline_ms = deadline_ms,
	        .refusal = HEALTH_ADMITTED,
	};
}

static bool
deadline_passed(const struct attempts *attempts, uint64_t now_ms)
{
	return attempts->deadline_ms && now_ms >= attempts->deadline_ms;
}

static enum health_answer
candidate_admit(const struct candidate *candidate, bool panic, uint64_t now_ms,
                struct permit *permit)
{
	return health_admit(candidate->health, candidate->load,
	                    candidate->model->provider->max_concurrent, panic, now_ms, permit);
}

static const struct candidate *
candidate_due_soonest(const struct attempts *attempts, uint64_t now_ms)
{
	const struct candidate *soonest = NULL;
	uint64_t soonest_ms = 0;

	for (size_t i = 0; i < attempts->count; i++) {
		uint64_t due_ms = health_due_in_ms(attempts->list[i].health, now_ms);

		if (!soonest || due_ms < soonest_ms) {
			soonest = &attempts->list[i];
			soonest_ms = due_ms;
		}
	}
	return soonest;
}

/* A refusal is worth telling only as long as nothing was begun; a busy provider outweighs an open breaker. */
static void
refusal_note(struct attempts *attempts, enum health_answer refusal)
{
	if (attempts->made == 0 && attempts->refusal != HEALTH_BUSY)
		attempts->refusal = refusal;
}

static struct attempt
attempt_none(const struct attempts *attempts)
{
	return (struct attempt){.kind = ATTEMPT_NONE, .refusal = attempts->refusal};
}

static struct attempt
attempt_start(struct attempts *attempts, const struct candidate *candidate,
              const struct permit *permit)
{
	attempts->made++;
	attempts->refusal = HEALTH_ADMITTED;
	return (struct attempt){
	        .kind = ATTEMPT_START,
	        .candidate = candidate,
	        .permit = *permit,
	        .panic = permit->panic,
	};
}

static struct attempt
attempt_panic(struct attempts *attempts, uint64_t now_ms)
{
	const struct candidate *candidate = candidate_due_soonest(attempts, now_ms);
	struct permit permit;
	enum health_answer answer = candidate_admit(candidate, true, now_ms, &permit);

	attempts->over = true;
	if (answer == HEALTH_ADMITTED)
		return attempt_start(attempts, candidate, &permit);
	refusal_note(attempts, answer);
	return attempt_none(attempts);
}

struct attempt
attempts_next(struct attempts *attempts, uint64_t now_ms)
{
	if (attempts->over || deadline_passed(attempts, now_ms))
		return attempt_none(attempts);
	if (now_ms < attempts->not_before_ms)
		return (struct attempt){.kind = ATTEMPT_WAIT,
		                        .wait_ms = attempts->not_before_ms - now_ms};
	while (attempts->next < attempts->count) {
		const struct candidate *candidate = &attempts->list[attempts->next++];
		struct permit permit;
		enum health_answer answer = candidate_admit(candidate, false, now_ms, &permit);

		if (answer == HEALTH_ADMITTED)
			return attempt_start(attempts, candidate, &permit);
		refusal_note(attempts, answer);
	}
	/* HEALTH_OPEN here: nothing was begun, and only breakers refused. */
	if (attempts->patient && attempts->refusal == HEALTH_OPEN)
		return attempt_panic(attempts, now_ms);
	attempts->over = true;
	return attempt_none(attempts);
}

static uint64_t
pause_ms(unsigned retries_made, uint64_t retry_after_ms, double chance)
{
	uint64_t longest = PAUSE_MAX_MS;

	if (retry_after_ms)
		return retry_after_ms;
	if (retries_made < 5) /* one more doubling would pass the longest */
		longest = (uint64_t)PAUSE_FIRST_MS << retries_made;
	return (uint64_t)(chance * (double)longest);
}

/* Plans the same model once more; false when its retries are used up or the pause is too long. */
static bool
retry_plan(struct attempts *attempts, uint64_t retry_after_ms, double chance, uint64_t now_ms)
{
	unsigned retries_made = attempts->made - 1;
	uint64_t until_ms;

	if (retries_made >= attempts->list->model->provider->retries ||
	    __builtin_add_overflow(now_ms, pause_ms(retries_made, retry_after_ms, chance),
	                           &until_ms) ||
	    deadline_passed(attempts, until_ms))
		return false;
	attempts->next = 0;
	attempts->not_before_ms = until_ms;
	return true;
}

bool
attempts_failed(struct attempts *attempts, enum attempt_retry retry, uint64_t retry_after_ms,
                double chance, uint64_t now_ms)
{
	bool left = false;

	if (attempts->over || retry == ATTEMPT_RETRY_NEVER)
		left = false;
	else if (attempts->count > 1)
		left = attempts->next < attempts->count && !deadline_passed(attempts, now_ms);
	else if (attempts->patient && retry == ATTEMPT_RETRY_AGAIN)
		left = retry_plan(attempts, retry_after_ms, chance, now_ms);
	attempts->over = !left;
	return left;
}

uint64_t
attempts_due_in_ms(const struct attempts *attempts, uint64_t now_ms)
{
	return health_due_in_ms(candidate_due_soonest(attempts, now_ms)->health, now_ms);
}
