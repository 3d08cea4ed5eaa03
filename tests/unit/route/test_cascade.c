/* The cascade as a table: a row is a request's story, told in one letter an event; what comes out is
 * the actions in order, and how it ended. */
#include "route/cascade.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "unit.h"

/*
 * Events                                       Actions
 *	B  begin                                    D  start the next drafter
 *	.  a sure token (0.1 bits)                  H  start the heavyweight
 *	~  a doubtful token (1.8 bits)              S  start it alongside the draft
 *	!  an uncertain token (3 bits)              J  take over the one that runs alongside
 *	=  a token of exactly the threshold         x  cancel a leg: xD, xH
 *	?  an unscorable token                      L  the draft begins to flow
 *	n  a frame without logprobs                 A  answer with the draft, or the rest of it
 *	v  the draft has output that may be seen    R  relay the heavyweight's stream
 *	d  the draft is done                        F  answer with the heavyweight
 *	f  the draft fails; another drafter is left E  answer with the heavyweight's failure
 *	g  the draft fails for good                 X  answer that the deadline has passed
 *	o  the heavyweight begins to say something  T  say that the answer is cut: TD, TH
 *	D  the heavyweight is done
 *	F  the heavyweight fails; it may be tried again
 *	G  the heavyweight fails for good
 *	N  the heavyweight refuses the request
 *	w  it follows another request               C  answer with what was at hand
 *	s  a part of the shared answer is delivered
 *	z  the shared answer fails
 *	c  an answer is at hand
 *	t  the deadline passes
 *	q  the client leaves
 */
enum flags {
	LIVE = 1 << 0,
	FINISH = 1 << 1,    /* stream.late: finish */
	SPECULATE = 1 << 2, /* above 1.6 bits */
	IF_DOWN = 1 << 3,   /* on_heavyweight_down: draft */
	LENIENT = 1 << 4,   /* on_unscorable: accept */
	PINNED = 1 << 5,
	POOL = 1 << 12,
	UNSCORABLE = 1 << 6, /* the request */
};

struct story {
	const char *rule; /* the rule this row proves */
	unsigned flags;
	const char *events;
	const char *actions;
	const char *decision, *reason; /* NULL: none */
	enum cascade_state state;
};

enum { THRESHOLD = 2 };

static const struct story stories[] = {
        {"a confident draft is accepted", 0, "B...d", "D A", "accept", "confident",
         CASCADE_ANSWERED},
        {"a token above the threshold among the first escalates at once", 0, "B..!", "D xD H",
         "escalate", "early_exit", CASCADE_ESCALATED},
        {"a token of exactly the threshold does not", 0, "B..=.d", "D A", "accept", "confident",
         CASCADE_ANSWERED},
        {"a single late token is averaged away", 0, "B.....!..d", "D A", "accept", "confident",
         CASCADE_ANSWERED},
        {"an uncertain window escalates", 0, "B.....!!!", "D xD H", "escalate", "window",
         CASCADE_ESCALATED},
        {"what a rejected draft still says is ignored", 0, "B!.!dfnv", "D xD H", "escalate",
         "early_exit", CASCADE_ESCALATED},
        {"the heavyweight's answer ends it", 0, "B!D", "D xD H F", "escalate", "early_exit",
         CASCADE_ANSWERED},
        {"the heavyweight's stream is relayed from its first output", 0, "B!ooD", "D xD H R F",
         "escalate", "early_exit", CASCADE_ANSWERED},
        {"the heavyweight's failure before a byte is answered", 0, "B!G", "D xD H E", "escalate",
         "early_exit", CASCADE_FAILED},
        {"but not before its attempts are used up", 0, "B!FFD", "D xD H H H F", "escalate",
         "early_exit", CASCADE_ANSWERED},
        {"the heavyweight's failure after a byte cuts the stream", 0, "B!oG", "D xD H R TH",
         "escalate", "early_exit", CASCADE_FAILED},
        {"also where it might be tried again", 0, "B!oF", "D xD H R TH", "escalate", "early_exit",
         CASCADE_FAILED},
        {"a drafter that fails hands over to the heavyweight", 0, "Bg", "D H", "escalate",
         "drafter_error", CASCADE_ESCALATED},
        {"a drafter that fails late hands over too", 0, "B...gD", "D H F", "escalate",
         "drafter_error", CASCADE_ANSWERED},
        {"the next drafter starts at once", 0, "Bf...d", "D D A", "accept", "confident",
         CASCADE_ANSWERED},
        {"the next drafter is judged afresh", 0, "B...f..!", "D D xD H", "escalate", "early_exit",
         CASCADE_ESCALATED},
        {"after the last drafter comes the heavyweight", 0, "BffgD", "D D D H F", "escalate",
         "drafter_error", CASCADE_ANSWERED},
        {"no logprobs in a frame with output is not certainty", 0, "B.n", "D xD H", "escalate",
         "unscorable", CASCADE_ESCALATED},
        {"an unscorable token is not certainty", 0, "B.?", "D xD H", "escalate", "unscorable",
         CASCADE_ESCALATED},
        {"a draft without any scored token is not certainty", 0, "Bd", "D H", "escalate",
         "unscorable", CASCADE_ESCALATED},
        {"the operator may accept what cannot be scored", LENIENT, "Bn?.d", "D A", "accept",
         "unscorable", CASCADE_ANSWERED},
        {"what can be scored is judged even then", LENIENT, "Bn!", "D xD H", "escalate",
         "early_exit", CASCADE_ESCALATED},
        {"an unscorable request goes straight to the heavyweight", UNSCORABLE, "BD", "H F",
         "escalate", "unscorable", CASCADE_ANSWERED},
        {"unless the operator accepts it", UNSCORABLE | LENIENT, "B!!!d", "D A", "accept",
         "unscorable", CASCADE_ANSWERED},
        {"a pinned model is asked directly", PINNED, "BoD", "H R F", "direct", "pinned",
         CASCADE_ANSWERED},
        {"a pinned model's failure is answered", PINNED, "BG", "H E", "direct", "pinned",
         CASCADE_FAILED},
        {"a pinned model may be tried again", PINNED, "BFD", "H H F", "direct", "pinned",
         CASCADE_ANSWERED},

        {"one model of a pool is asked directly", POOL, "BoD", "H R F", "direct", "pool",
         CASCADE_ANSWERED},
        {"the next of a pool is asked after it", POOL, "BFD", "H H F", "direct", "pool",
         CASCADE_ANSWERED},
        {"a draft in hold mode does not flow", 0, "B......vd", "D A", "accept", "confident",
         CASCADE_ANSWERED},
        {"a draft flows once the first tokens have passed", LIVE, "B....v.vd", "D L A", "accept",
         "confident", CASCADE_ANSWERED},
        {"not before", LIVE, "B...v!", "D xD H", "escalate", "early_exit", CASCADE_ESCALATED},
        {"a late trip hands over to the heavyweight", LIVE, "B....v!!!", "D L xD H", "escalate",
         "window", CASCADE_ESCALATED},
        {"which goes on with the stream", LIVE, "B....v!!!oD", "D L xD H R F", "escalate", "window",
         CASCADE_ANSWERED},
        {"its failure cuts what was delivered", LIVE, "B....v!!!F", "D L xD H TH", "escalate",
         "window", CASCADE_FAILED},
        {"before anything was delivered it may be tried again", LIVE, "B!FD", "D xD H H F",
         "escalate", "early_exit", CASCADE_ANSWERED},
        {"a drafter that fails while its draft flows cuts it", LIVE, "B....vf", "D L TD", "accept",
         "confident", CASCADE_FAILED},
        {"a late frame without logprobs hands over", LIVE, "B....vn", "D L xD H", "escalate",
         "unscorable", CASCADE_ESCALATED},
        {"a late trip lets the draft run out, if so wished", LIVE | FINISH, "B....v!!!!.d", "D L A",
         "accept", "window", CASCADE_ANSWERED},
        {"but an early one escalates", LIVE | FINISH, "B!", "D xD H", "escalate", "early_exit",
         CASCADE_ESCALATED},
        {"nor does a draft that is let out need logprobs", LIVE | FINISH, "B....v!!!n?d", "D L A",
         "accept", "window", CASCADE_ANSWERED},
        {"an unscorable draft that is accepted flows at once", LIVE | LENIENT, "Bnvd", "D L A",
         "accept", "unscorable", CASCADE_ANSWERED},

        {"a doubtful token starts the heavyweight alongside", SPECULATE, "B.~", "D S", NULL, NULL,
         CASCADE_DRAFTING},
        {"at the soft threshold or below nothing is started", SPECULATE, "B...d", "D A", "accept",
         "confident", CASCADE_ANSWERED},
        {"a token above the threshold that does not trip is doubtful too", SPECULATE, "B....!",
         "D S", NULL, NULL, CASCADE_DRAFTING},
        {"where speculation is off nothing is started", 0, "B.~d", "D A", "accept", "confident",
         CASCADE_ANSWERED},
        {"a draft that is accepted cancels it", SPECULATE, "B~.d", "D S xH A", "accept",
         "confident", CASCADE_ANSWERED},
        {"a whole calm window cancels it", SPECULATE, "B~...", "D S xH", NULL, NULL,
         CASCADE_DRAFTING},
        {"less than a window does not", SPECULATE, "B~..", "D S", NULL, NULL, CASCADE_DRAFTING},
        {"another doubt begins the window anew", SPECULATE, "B~..~..", "D S", NULL, NULL,
         CASCADE_DRAFTING},
        {"it is started once a request", SPECULATE, "B~...~.d", "D S xH A", "accept", "confident",
         CASCADE_ANSWERED},
        {"escalation takes it over", SPECULATE, "B~!", "D S xD J", "escalate", "early_exit",
         CASCADE_ESCALATED},
        {"its stream is relayed then", SPECULATE, "B~o!oD", "D S xD J R F", "escalate",
         "early_exit", CASCADE_ANSWERED},
        {"when it was done before, it is the answer at once", SPECULATE, "B~D!D", "D S xD J F",
         "escalate", "early_exit", CASCADE_ANSWERED},
        {"when it was cancelled before, the heavyweight is asked anew", SPECULATE, "B~...!!!",
         "D S xH xD H", "escalate", "window", CASCADE_ESCALATED},
        {"when it had failed, too", SPECULATE, "B~F!D", "D S xD H F", "escalate", "early_exit",
         CASCADE_ANSWERED},
        {"unless it had failed for good", SPECULATE, "B~G!", "D S xD E", "escalate", "early_exit",
         CASCADE_FAILED},
        {"its failure does no harm to a draft that is accepted", SPECULATE, "B~Gd", "D S A",
         "accept", "confident", CASCADE_ANSWERED},
        {"a drafter that fails takes it over", SPECULATE, "B~gD", "D S J F", "escalate",
         "drafter_error", CASCADE_ANSWERED},
        {"a further drafter goes on beside it", SPECULATE, "B~f!", "D S D xD J", "escalate",
         "early_exit", CASCADE_ESCALATED},
        {"a late trip takes it over", SPECULATE | LIVE, "B....v~!!", "D L S xD J", "escalate",
         "window", CASCADE_ESCALATED},
        {"where the draft will run out whatever comes, it ends", SPECULATE | LIVE | FINISH,
         "B...~vd", "D S xH L A", "accept", "confident", CASCADE_ANSWERED},
        {"and is not started", SPECULATE | LIVE | FINISH, "B....v~d", "D L A", "accept",
         "confident", CASCADE_ANSWERED},

        {"a rejected draft is kept while the heavyweight may be down", IF_DOWN, "B!", "D H",
         "escalate", "early_exit", CASCADE_ESCALATED},
        {"until the heavyweight says something", IF_DOWN, "B!o", "D H xD R", "escalate",
         "early_exit", CASCADE_RELAYING},
        {"or has answered", IF_DOWN, "B!D", "D H xD F", "escalate", "early_exit", CASCADE_ANSWERED},
        {"a heavyweight that is down leaves the whole draft", IF_DOWN, "B!dFG", "D H H A", "accept",
         "degraded", CASCADE_ANSWERED},
        {"a heavyweight that refuses the request is not down", IF_DOWN, "B!dN", "D H E", "escalate",
         "early_exit", CASCADE_FAILED},
        {"which is waited for", IF_DOWN, "B!G.d", "D H A", "accept", "degraded", CASCADE_ANSWERED},
        {"if it fails as well, the heavyweight's failure is answered", IF_DOWN, "B!Gg", "D H E",
         "escalate", "early_exit", CASCADE_FAILED},
        {"in whatever order", IF_DOWN, "B!gG", "D H E", "escalate", "early_exit", CASCADE_FAILED},
        {"what cannot be scored is not kept", IF_DOWN, "B.nG", "D xD H E", "escalate", "unscorable",
         CASCADE_FAILED},
        {"nor is a drafter that has failed", IF_DOWN, "BgG", "D H E", "escalate", "drafter_error",
         CASCADE_FAILED},
        {"a draft that was flowing goes on when the heavyweight is down", IF_DOWN | LIVE,
         "B....v!!!Gd", "D L H A", "accept", "degraded", CASCADE_ANSWERED},
        {"if it then fails, what was delivered is cut", IF_DOWN | LIVE, "B....v!!!Gg", "D L H TH",
         "escalate", "window", CASCADE_FAILED},

        {"the deadline ends a draft", 0, "B..t", "D xD X", NULL, NULL, CASCADE_FAILED},
        {"and a heavyweight that has not begun", 0, "B!t", "D xD H xH X", "escalate", "early_exit",
         CASCADE_FAILED},
        {"but no stream that has", 0, "B!otD", "D xD H R F", "escalate", "early_exit",
         CASCADE_ANSWERED},
        {"nor a draft that flows", LIVE, "B....vtd", "D L A", "accept", "confident",
         CASCADE_ANSWERED},
        {"nor the hand-over of one", LIVE, "B....v!!!tD", "D L xD H F", "escalate", "window",
         CASCADE_ANSWERED},
        {"it ends both legs", SPECULATE, "B~t", "D S xD xH X", NULL, NULL, CASCADE_FAILED},
        {"a whole draft at hand is better than nothing", IF_DOWN, "B!dt", "D H xH A", "accept",
         "degraded", CASCADE_ANSWERED},

        {"a client that leaves while drafting ends the draft", 0, "B..q", "D xD", NULL, NULL,
         CASCADE_ABANDONED},
        {"a client that leaves while the heavyweight thinks ends it", 0, "B!q", "D xD H xH",
         "escalate", "early_exit", CASCADE_ABANDONED},
        {"a client that leaves between two attempts ends it", 0, "B!Fq", "D xD H H xH", "escalate",
         "early_exit", CASCADE_ABANDONED},
        {"a client that leaves in mid-stream ends it", 0, "B!oq", "D xD H R xH", "escalate",
         "early_exit", CASCADE_ABANDONED},
        {"a client that leaves while the draft flows ends it", LIVE, "B....vq", "D L xD", "accept",
         "confident", CASCADE_ABANDONED},
        {"a client that leaves during speculation ends both", SPECULATE, "B~q", "D S xD xH", NULL,
         NULL, CASCADE_ABANDONED},
        {"a client that leaves during the hand-over ends it", LIVE, "B....v!!!q", "D L xD H xH",
         "escalate", "window", CASCADE_ABANDONED},
        {"a client that leaves ends a draft that was kept", IF_DOWN, "B!Gq", "D H xD", "escalate",
         "early_exit", CASCADE_ABANDONED},
        {"an answer at hand is given, and nobody is asked", 0, "c", "C", "cache_hit", "found",
         CASCADE_ANSWERED},
        {"one that comes later cuts the draft off", 0, "B..c", "D xD C", "cache_hit", "found",
         CASCADE_ANSWERED},
        {"and the heavyweight", 0, "B!c", "D xD H xH C", "cache_hit", "found", CASCADE_ANSWERED},
        {"and one that runs alongside", SPECULATE, "B~c", "D S xD xH C", "cache_hit", "found",
         CASCADE_ANSWERED},
        {"between two attempts too", 0, "B!Fc", "D xD H H xH C", "cache_hit", "found",
         CASCADE_ANSWERED},
        {"instead of the draft that was to be fallen back to", IF_DOWN, "B!Gc", "D H xD C",
         "cache_hit", "found", CASCADE_ANSWERED},
        {"it is too late once a draft flows", LIVE, "B....vcd", "D L A", "accept", "confident",
         CASCADE_ANSWERED},
        {"or the heavyweight's stream", 0, "B!ocD", "D xD H R F", "escalate", "early_exit",
         CASCADE_ANSWERED},
        {"or what was handed over", LIVE, "B....v!!!cD", "D L xD H F", "escalate", "window",
         CASCADE_ANSWERED},

        {"a request that follows another asks nobody", 0, "w", "", NULL, NULL, CASCADE_FOLLOWING},
        {"it gets the same answer", 0, "wc", "C", "cache_hit", "found", CASCADE_ANSWERED},
        {"part by part", 0, "wssc", "C", "cache_hit", "found", CASCADE_ANSWERED},
        {"or takes over", 0, "wB...d", "D A", "accept", "confident", CASCADE_ANSWERED},
        {"but not once it has a part", 0, "wsBc", "C", "cache_hit", "found", CASCADE_ANSWERED},
        {"the other's failure is its own", 0, "wz", "E", NULL, NULL, CASCADE_FAILED},
        {"and cuts what was delivered", 0, "wsz", "TH", "cache_hit", "shared", CASCADE_FAILED},
        {"it has a deadline of its own", 0, "wtc", "X", NULL, NULL, CASCADE_FAILED},
        {"which a stream that has begun may pass", 0, "wstc", "C", "cache_hit", "found",
         CASCADE_ANSWERED},
        {"it may leave", 0, "wqc", "", NULL, NULL, CASCADE_ABANDONED},
        {"one that asks for itself does not follow", 0, "Bwsz.d", "D A", "accept", "confident",
         CASCADE_ANSWERED},

        {"a client that leaves first starts nothing", 0, "qB", "", NULL, NULL, CASCADE_ABANDONED},
        {"nothing happens after the end", 0, "B.dqDFo!f", "D A", "accept", "confident",
         CASCADE_ANSWERED},
        {"a leg that was never started says nothing", 0, "BoDF.d", "D A", "accept", "confident",
         CASCADE_ANSWERED},
};

static struct cascade_event
event_of(char letter)
{
	struct cascade_event event = {.leg = CASCADE_DRAFT};

	switch (letter) {
	case 'B': event.kind = CASCADE_EVENT_BEGIN; break;
	case '.': event.kind = CASCADE_EVENT_TOKEN, event.entropy_bits = 0.1; break;
	case '~': event.kind = CASCADE_EVENT_TOKEN, event.entropy_bits = 1.8; break;
	case '!': event.kind = CASCADE_EVENT_TOKEN, event.entropy_bits = 3; break;
	case '=': event.kind = CASCADE_EVENT_TOKEN, event.entropy_bits = THRESHOLD; break;
	case '?': event.kind = CASCADE_EVENT_TOKEN, event.entropy_bits = (double)NAN; break;
	case 'n': event.kind = CASCADE_EVENT_NO_LOGPROBS; break;
	case 'd': event.kind = CASCADE_EVENT_LEG_DONE; break;
	case 'f': event.kind = CASCADE_EVENT_LEG_FAILED, event.again = true; break;
	case 'g': event.kind = CASCADE_EVENT_LEG_FAILED; break;
	case 'v': event.kind = CASCADE_EVENT_VISIBLE; break;
	case 'o': event.kind = CASCADE_EVENT_LEG_OUTPUT, event.leg = CASCADE_HEAVY; break;
	case 'D': event.kind = CASCADE_EVENT_LEG_DONE, event.leg = CASCADE_HEAVY; break;
	case 'F':
		event = (struct cascade_event){
		        .kind = CASCADE_EVENT_LEG_FAILED, .leg = CASCADE_HEAVY, .again = true};
		break;
	case 'G': event.kind = CASCADE_EVENT_LEG_FAILED, event.leg = CASCADE_HEAVY; break;
	case 'N':
		event = (struct cascade_event){
		        .kind = CASCADE_EVENT_LEG_FAILED, .leg = CASCADE_HEAVY, .refused = true};
		break;
	case 'w': event.kind = CASCADE_EVENT_FOLLOW; break;
	case 's': event.kind = CASCADE_EVENT_SHARED; break;
	case 'z': event.kind = CASCADE_EVENT_SHARED_FAILED; break;
	case 'c': event.kind = CASCADE_EVENT_CACHED, event.reason = "found"; break;
	case 't': event.kind = CASCADE_EVENT_DEADLINE; break;
	case 'q': event.kind = CASCADE_EVENT_CLIENT_GONE; break;
	default: ck_abort_msg("unknown event %c", letter);
	}
	return event;
}

static void
append_action(char *text, size_t size, const struct cascade_action *action)
{
	static const char letters[] = {
	        [CASCADE_SPECULATE] = 'S',     [CASCADE_JOIN] = 'J',
	        [CASCADE_CANCEL_LEG] = 'x',    [CASCADE_FLOW] = 'L',
	        [CASCADE_RELAY] = 'R',         [CASCADE_ANSWER_DRAFT] = 'A',
	        [CASCADE_ANSWER_HEAVY] = 'F',  [CASCADE_FAIL] = 'E',
	        [CASCADE_EXPIRE] = 'X',        [CASCADE_TRUNCATE] = 'T',
	        [CASCADE_ANSWER_CACHED] = 'C',
	};
	size_t n = strlen(text);
	const char *space = n ? " " : "";
	char leg = action->leg == CASCADE_DRAFT ? 'D' : 'H';

	if (action->kind == CASCADE_START_LEG)
		snprintf(text + n, size - n, "%s%c", space, leg);
	else if (action->kind == CASCADE_CANCEL_LEG || action->kind == CASCADE_TRUNCATE)
		snprintf(text + n, size - n, "%s%c%c", space, letters[action->kind], leg);
	else
		snprintf(text + n, size - n, "%s%c", space, letters[action->kind]);
}

static void
check_text(const struct story *story, const char *what, const char *got, const char *want)
{
	if ((got && want) ? strcmp(got, want) != 0 : got != want)
		ck_abort_msg("%s (%s): %s is %s, not %s", story->rule, story->events, what,
		             got ? got : "none", want ? want : "none");
}

static struct cascade_options
options_of(unsigned flags)
{
	return (struct cascade_options){
	        .rule = &rule_window,
	        .rule_options = {.threshold = THRESHOLD, .window_size = 3, .early_exit_count = 4},
	        .accept_unscorable = flags & LENIENT,
	        .live = flags & LIVE,
	        .finish_late = flags & FINISH,
	        .speculate = flags & SPECULATE,
	        .soft_bits = 1.6,
	        .draft_if_down = flags & IF_DOWN,
	        .begin = flags & PINNED       ? CASCADE_BEGIN_PINNED
	                 : flags & POOL       ? CASCADE_BEGIN_POOL
	                 : flags & UNSCORABLE ? CASCADE_BEGIN_UNSCORABLE
	                                      : CASCADE_BEGIN_CASCADE,
	};
}

START_TEST(test_every_story_ends_as_told)
{
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		const struct story *story = &stories[i];
		struct cascade_options options = options_of(story->flags);
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

static bool
is_answer(enum cascade_action_kind kind)
{
	return kind == CASCADE_ANSWER_DRAFT || kind == CASCADE_ANSWER_HEAVY ||
	       kind == CASCADE_ANSWER_CACHED || kind == CASCADE_FAIL || kind == CASCADE_EXPIRE ||
	       kind == CASCADE_TRUNCATE;
}

/* Whatever happens in whatever order, under whatever options: nothing dies, each leg that is started is
 * cancelled, done or failed, at most one answer is given, nothing follows it, no attempt is made and no status
 * answered once something was delivered, and no more than one leg of a kind runs. */
START_TEST(test_no_order_of_events_breaks_it)
{
	static const char letters[] = "....~!=?nvvdfgoDFGtqBwsszc";
	uint64_t seed = 1;

	for (unsigned round = 0; round < 64000; round++) {
		struct cascade_options options = options_of(round % 128);
		struct cascade_actions actions;
		struct cascade cascade;
		unsigned answers = 0, speculations = 0;

		cascade_init(&cascade, &options);
		for (unsigned i = 0; i < 16; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			struct cascade_event event =
			        event_of(i ? letters[(seed >> 33) % (sizeof(letters) - 1)]
			                 : round / 128 % 8 ? 'B'
			                                   : 'w');
			bool was_final = cascade_is_final(&cascade);
			bool begun = cascade.delivered || cascade.state == CASCADE_RELAYING;
			bool follows = cascade.state == CASCADE_FOLLOWING;

			cascade_step(&cascade, &event, &actions);
			ck_assert(!was_final || actions.count == 0);
			for (size_t k = 0; k < actions.count; k++) {
				enum cascade_action_kind kind = actions.list[k].kind;

				answers += is_answer(kind);
				speculations += kind == CASCADE_SPECULATE;
				ck_assert(!begun ||
				          (kind != CASCADE_FAIL && kind != CASCADE_EXPIRE));
				ck_assert(!begun || kind != CASCADE_START_LEG ||
				          event.kind != CASCADE_EVENT_LEG_FAILED);
				ck_assert(begun || kind != CASCADE_TRUNCATE);
				ck_assert(!begun || follows || kind != CASCADE_ANSWER_CACHED);
			}
			ck_assert_uint_le(answers, 1);
			ck_assert_uint_le(speculations, options.speculate);
			if (cascade_is_final(&cascade))
				ck_assert(!cascade.running[CASCADE_DRAFT] &&
				          !cascade.running[CASCADE_HEAVY]);
		}
		cascade_fini(&cascade);
	}
}
END_TEST

/* With the first 4 tokens judged singly and a window of 3: how many may be seen after so many. */
START_TEST(test_the_last_window_is_held_back)
{
	static const uint64_t visible[] = {0, 0, 0, 0, 1, 2, 3, 4};
	struct cascade_options options = options_of(LIVE), held = options_of(0);
	struct cascade_actions actions;
	struct cascade cascade, hold;
	struct cascade_event event = event_of('B');

	cascade_init(&cascade, &options);
	cascade_init(&hold, &held);
	for (size_t i = 0; i < sizeof(visible) / sizeof(visible[0]); i++) {
		cascade_step(&cascade, &event, &actions);
		cascade_step(&hold, &event, &actions);
		ck_assert_uint_eq(cascade_visible_tokens(&cascade), visible[i]);
		ck_assert_uint_eq(cascade_visible_tokens(&hold), 0);
		event = event_of('.');
	}
	cascade_fini(&cascade);
	cascade_fini(&hold);
}
END_TEST

/* Whatever the numbers: when the rule trips, none of the tokens of the window was visible before. */
START_TEST(test_no_token_of_an_uncertain_window_was_ever_visible)
{
	uint64_t seed = 7;

	for (unsigned round = 0; round < 20000; round++) {
		struct cascade_options options = options_of(LIVE);
		struct cascade_event event = event_of('B');
		struct cascade_actions actions;
		struct cascade cascade;
		uint64_t seen = 0;

		options.rule_options.window_size = 1 + round % 7;
		options.rule_options.early_exit_count = round % 11;
		cascade_init(&cascade, &options);
		for (unsigned i = 0; i < 60 && cascade.decision != DECISION_ESCALATE; i++) {
			seen = cascade_visible_tokens(&cascade);
			cascade_step(&cascade, &event, &actions);
			event = event_of('.');
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			event.entropy_bits =
			        (double)(seed >> 33) / (double)(UINT64_C(1) << 31) * 3.2;
		}
		if (cascade.decision == DECISION_ESCALATE && strcmp(cascade.reason, "window") == 0)
			ck_assert_uint_le(seen + options.rule_options.window_size,
			                  cascade.rule.token_count);
		else if (cascade.decision == DECISION_ESCALATE)
			ck_assert_uint_eq(seen, 0);
		cascade_fini(&cascade);
	}
}
END_TEST

START_TEST(test_the_score_is_the_number_that_was_compared)
{
	struct cascade_options options = options_of(0);
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
          test_the_last_window_is_held_back, test_no_token_of_an_uncertain_window_was_ever_visible,
          test_the_score_is_the_number_that_was_compared)
