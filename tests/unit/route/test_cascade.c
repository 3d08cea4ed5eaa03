/* The cascade as a table: a row is a request's story, told in one letter an event; what comes out is
 * the actions in order, and how it ended. */
#include "route/cascade.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "unit.h"

/*
 * Events                                       Actions
 *	B  begin                                    D0 D1  start drafter 0, 1
 *	.  a sure token (0.1 bits)                  H      start the heavyweight
 *	!  an uncertain token (3 bits)              xD xH  cancel a leg
 *	=  a token of exactly the threshold         A      answer with the draft
 *	?  an unscorable token                      R      relay the heavyweight's stream
 *	n  a frame without logprobs                 F      answer with the heavyweight
 *	d f  the draft is done, fails               E      answer with the heavyweight's failure
 *	o  the heavyweight begins to say something  T      say that the answer is cut
 *	D F  the heavyweight is done, fails
 *	g  the client leaves
 */
struct story {
	const char *rule; /* the rule this row proves */
	const char *events;
	const char *actions;
	const char *decision, *reason; /* NULL: none */
	enum cascade_state state;
	/* begin */
	enum cascade_begin begin;
	size_t drafters; /* 0 means 1 */
	bool accept_unscorable;
};

enum { THRESHOLD = 2 };

static const struct story stories[] = {
        {"a confident draft is accepted", "B...d", "D0 A", "accept", "confident", CASCADE_ANSWERED,
         0, 0, 0},
        {"a token above the threshold among the first escalates at once", "B..!", "D0 xD H",
         "escalate", "early_exit", CASCADE_ESCALATED, 0, 0, 0},
        {"a token of exactly the threshold does not", "B..=.d", "D0 A", "accept", "confident",
         CASCADE_ANSWERED, 0, 0, 0},
        {"a single late token is averaged away", "B.....!..d", "D0 A", "accept", "confident",
         CASCADE_ANSWERED, 0, 0, 0},
        {"an uncertain window escalates", "B.....!!!", "D0 xD H", "escalate", "window",
         CASCADE_ESCALATED, 0, 0, 0},
        {"what a rejected draft still says is ignored", "B!.!dfn", "D0 xD H", "escalate",
         "early_exit", CASCADE_ESCALATED, 0, 0, 0},
        {"the heavyweight's answer ends it", "B!D", "D0 xD H F", "escalate", "early_exit",
         CASCADE_ANSWERED, 0, 0, 0},
        {"the heavyweight's stream is relayed from its first output", "B!ooD", "D0 xD H R F",
         "escalate", "early_exit", CASCADE_ANSWERED, 0, 0, 0},
        {"the heavyweight's failure before a byte is answered", "B!F", "D0 xD H E", "escalate",
         "early_exit", CASCADE_FAILED, 0, 0, 0},
        {"the heavyweight's failure after a byte cuts the stream", "B!oF", "D0 xD H R T",
         "escalate", "early_exit", CASCADE_FAILED, 0, 0, 0},
        {"a drafter that fails hands over to the heavyweight", "Bf", "D0 H", "escalate",
         "drafter_error", CASCADE_ESCALATED, 0, 0, 0},
        {"a drafter that fails late hands over too", "B...fD", "D0 H F", "escalate",
         "drafter_error", CASCADE_ANSWERED, 0, 0, 0},
        {"the next drafter starts at once", "Bf...d", "D0 D1 A", "accept", "confident",
         CASCADE_ANSWERED, 0, 2, 0},
        {"the next drafter is judged afresh", "B...f..!", "D0 D1 xD H", "escalate", "early_exit",
         CASCADE_ESCALATED, 0, 2, 0},
        {"after the last drafter comes the heavyweight", "BfffD", "D0 D1 D2 H F", "escalate",
         "drafter_error", CASCADE_ANSWERED, 0, 3, 0},
        {"no logprobs in a frame with output is not certainty", "B.n", "D0 xD H", "escalate",
         "unscorable", CASCADE_ESCALATED, 0, 0, 0},
        {"an unscorable token is not certainty", "B.?", "D0 xD H", "escalate", "unscorable",
         CASCADE_ESCALATED, 0, 0, 0},
        {"a draft without any scored token is not certainty", "Bd", "D0 H", "escalate",
         "unscorable", CASCADE_ESCALATED, 0, 0, 0},
        {"the operator may accept what cannot be scored", "Bn?.d", "D0 A", "accept", "unscorable",
         CASCADE_ANSWERED, 0, 0, true},
        {"what can be scored is judged even then", "Bn!", "D0 xD H", "escalate", "early_exit",
         CASCADE_ESCALATED, 0, 0, true},
        {"an unscorable request goes straight to the heavyweight", "BD", "H F", "escalate",
         "unscorable", CASCADE_ANSWERED, CASCADE_BEGIN_UNSCORABLE, 0, 0},
        {"unless the operator accepts it", "B!!!d", "D0 A", "accept", "unscorable",
         CASCADE_ANSWERED, CASCADE_BEGIN_UNSCORABLE, 0, true},
        {"a pinned model is asked directly", "BoD", "H R F", "direct", "pinned", CASCADE_ANSWERED,
         CASCADE_BEGIN_PINNED, 0, 0},
        {"a pinned model's failure is answered", "BF", "H E", "direct", "pinned", CASCADE_FAILED,
         CASCADE_BEGIN_PINNED, 0, 0},
        {"a client that leaves while drafting ends the draft", "B..g", "D0 xD", NULL, NULL,
         CASCADE_ABANDONED, 0, 0, 0},
        {"a client that leaves while the heavyweight thinks ends it", "B!g", "D0 xD H xH",
         "escalate", "early_exit", CASCADE_ABANDONED, 0, 0, 0},
        {"a client that leaves in mid-stream ends it", "B!og", "D0 xD H R xH", "escalate",
         "early_exit", CASCADE_ABANDONED, 0, 0, 0},
        {"a client that leaves first starts nothing", "gB", "", NULL, NULL, CASCADE_ABANDONED, 0, 0,
         0},
        {"nothing happens after the end", "B.dgDFo!f", "D0 A", "accept", "confident",
         CASCADE_ANSWERED, 0, 0, 0},
        {"a leg that was never started says nothing", "BoDF.d", "D0 A", "accept", "confident",
         CASCADE_ANSWERED, 0, 0, 0},
};

static struct cascade_event
event_of(char letter)
{
	struct cascade_event event = {.leg = CASCADE_DRAFT};

	switch (letter) {
	case 'B': event.kind = CASCADE_EVENT_BEGIN; break;
	case '.': event.kind = CASCADE_EVENT_TOKEN, event.entropy_bits = 0.1; break;
	case '!': event.kind = CASCADE_EVENT_TOKEN, event.entropy_bits = 3; break;
	case '=': event.kind = CASCADE_EVENT_TOKEN, event.entropy_bits = THRESHOLD; break;
	case '?': event.kind = CASCADE_EVENT_TOKEN, event.entropy_bits = (double)NAN; break;
	case 'n': event.kind = CASCADE_EVENT_NO_LOGPROBS; break;
	case 'd': event.kind = CASCADE_EVENT_LEG_DONE; break;
	case 'f': event.kind = CASCADE_EVENT_LEG_FAILED; break;
	case 'o': event.kind = CASCADE_EVENT_LEG_OUTPUT, event.leg = CASCADE_HEAVY; break;
	case 'D': event.kind = CASCADE_EVENT_LEG_DONE, event.leg = CASCADE_HEAVY; break;
	case 'F': event.kind = CASCADE_EVENT_LEG_FAILED, event.leg = CASCADE_HEAVY; break;
	case 'g': event.kind = CASCADE_EVENT_CLIENT_GONE; break;
	default: ck_abort_msg("unknown event %c", letter);
	}
	return event;
}

static void
append_action(char *text, size_t size, const struct cascade_action *action)
{
	static const char answers[] = {[CASCADE_ANSWER_DRAFT] = 'A',
	                               [CASCADE_RELAY] = 'R',
	                               [CASCADE_ANSWER_HEAVY] = 'F',
	                               [CASCADE_FAIL] = 'E',
	                               [CASCADE_TRUNCATE] = 'T'};
	size_t n = strlen(text);
	const char *space = n ? " " : "";

	if (action->kind == CASCADE_START_LEG && action->leg == CASCADE_DRAFT)
		snprintf(text + n, size - n, "%sD%zu", space, action->index);
	else if (action->kind == CASCADE_START_LEG)
		snprintf(text + n, size - n, "%sH", space);
	else if (action->kind == CASCADE_CANCEL_LEG)
		snprintf(text + n, size - n, "%sx%c", space,
		         action->leg == CASCADE_DRAFT ? 'D' : 'H');
	else
		snprintf(text + n, size - n, "%s%c", space, answers[action->kind]);
}

static void
check_text(const struct story *story, const char *what, const char *got, const char *want)
{
	if ((got && want) ? strcmp(got, want) != 0 : got != want)
		ck_abort_msg("%s (%s): %s is %s, not %s", story->rule, story->events, what,
		             got ? got : "none", want ? want : "none");
}

START_TEST(test_every_story_ends_as_told)
{
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		const struct story *story = &stories[i];
		struct cascade_options options = {
		        .drafter_count = story->drafters ? story->drafters : 1,
		        .rule = &rule_window,
		        .rule_options = {.threshold = THRESHOLD,
		                         .window_size = 3,
		                         .early_exit_count = 4},
		        .accept_unscorable = story->accept_unscorable,
		        .begin = story->begin,
		};
		struct cascade_actions actions;
		struct cascade cascade;
		char text[128] = "";

		cascade_init(&cascade, &options);
		for (const char *letter = story->events; *letter; letter++) {
			struct cascade_event event = event_of(*letter);

			cascade_step(&cascade, &event, &actions);
			for (size_t k = 0; k < actions.count; k++)
				append_action(text, sizeof(text), &actions.list[k]);
		}
		check_text(story, "the action list", text, story->actions);
		check_text(story, "the decision", cascade_decision_name(cascade.decision),
		           story->decision);
		check_text(story, "the reason", cascade.reason, story->reason);
		ck_assert_msg(cascade.state == story->state, "%s: state %d", story->rule,
		              (int)cascade.state);
		cascade_fini(&cascade);
	}
}
END_TEST

/* Whatever happens in whatever order: nothing dies, each leg that is started is cancelled, done or failed,
 * at most one answer is given, and nothing follows it. */
START_TEST(test_no_order_of_events_breaks_it)
{
	static const char letters[] = ".!=?ndfoDFgB";
	uint64_t seed = 1;

	for (unsigned round = 0; round < 200000; round++) {
		struct cascade_options options = {
		        .drafter_count = 1 + round % 3,
		        .rule = &rule_window,
		        .rule_options = {.threshold = THRESHOLD,
		                         .window_size = 3,
		                         .early_exit_count = 4},
		        .accept_unscorable = round % 2,
		        .begin = (enum cascade_begin)(round % 5 % 3),
		};
		struct cascade_actions actions;
		struct cascade cascade;
		unsigned answers = 0;

		cascade_init(&cascade, &options);
		for (unsigned i = 0; i < 12; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			struct cascade_event event =
			        event_of(i ? letters[(seed >> 33) % (sizeof(letters) - 1)] : 'B');
			bool was_final = cascade_is_final(&cascade);

			cascade_step(&cascade, &event, &actions);
			ck_assert(!was_final || actions.count == 0);
			for (size_t k = 0; k < actions.count; k++)
				answers += actions.list[k].kind == CASCADE_ANSWER_DRAFT ||
				           actions.list[k].kind == CASCADE_ANSWER_HEAVY ||
				           actions.list[k].kind == CASCADE_FAIL ||
				           actions.list[k].kind == CASCADE_TRUNCATE;
			ck_assert_uint_le(answers, 1);
			if (cascade_is_final(&cascade))
				ck_assert(!cascade.running[CASCADE_DRAFT] &&
				          !cascade.running[CASCADE_HEAVY]);
		}
		cascade_fini(&cascade);
	}
}
END_TEST

START_TEST(test_the_score_is_the_number_that_was_compared)
{
	struct cascade_options options = {
	        .drafter_count = 1,
	        .rule = &rule_window,
	        .rule_options = {.threshold = THRESHOLD, .window_size = 3, .early_exit_count = 4}};
	struct cascade_actions actions;
	struct cascade cascade;

	cascade_init(&cascade, &options);
	ck_assert(isnan(cascade_score(&cascade)));
	for (const char *letter = "B..!"; *letter; letter++) {
		struct cascade_event event = event_of(*letter);

		cascade_step(&cascade, &event, &actions);
	}
	ck_assert_double_eq(cascade_score(&cascade), 3);
	cascade_fini(&cascade);
}
END_TEST

UNIT_MAIN("cascade", test_every_story_ends_as_told, test_no_order_of_events_breaks_it,
          test_the_score_is_the_number_that_was_compared)
