/*
 * Identical requests under way: the leader asks, its followers get what it gets, as it comes. Fails the leader, one of
 * those who have nothing yet asks in its place, once. Leaves the leader's client, a follower's client takes its place,
 * and the models go on without noticing; or, where none is in the same state, one of them asks anew.
 */
#include "route/exchange_private.h"
#include "wire/chat_event.h"
#include "wire/sse_reader.h"

void
exchange_lead(struct exchange *x)
{
	x->recall.flight =
	        flight_new(&x->service->flights, &x->recall.key.exact, exchange_form(x), x);
}

static void
join(struct exchange *x, struct flight *flight)
{
	x->recall.flight = flight;
	TAILQ_INSERT_TAIL(&flight->followers, x, followers);
}

static void
leave(struct exchange *x)
{
	TAILQ_REMOVE(&x->recall.flight->followers, x, followers);
	x->recall.flight = NULL;
}

/* ---------------------------------------------------------------- events as they come */

/* Events that tell the usage, for a client that has not asked for it. */
static void
write_without_usage(struct exchange *x, struct bytes piece)
{
	struct sse_reader reader;
	struct sse_event event;
	struct chat_frame frame;
	struct buf out;

	buf_init(&out, 0);
	sse_reader_init(&reader, piece.n + 1);
	chat_frame_init(&frame);
	sse_reader_feed(&reader, piece);
	while (sse_reader_next(&reader, &event)) {
		if (chat_frame_read(&frame, event.data) && !chat_frame_is_usage(&frame))
			chat_event_write(&frame, &x->client.view, &out);
	}
	if (out.n > 0)
		exchange_write(x, buf_bytes(&out));
	chat_frame_fini(&frame);
	sse_reader_fini(&reader);
	buf_fini(&out);
}

/* To one client of the flight. */
static void
write_asked(struct exchange *x, struct bytes piece)
{
	if (x->recall.flight->tells_usage && !x->client.view.usage)
		write_without_usage(x, piece);
	else
		exchange_write(x, piece);
}

static void
give(struct exchange *follower, const struct exchange *leader, struct bytes piece)
{
	if (!follower->client.streaming) {
		follower->answered = leader->answered;
		follower->recall.result = "shared";
		exchange_step(follower, (struct cascade_event){.kind = CASCADE_EVENT_SHARED});
		exchange_open_stream(follower);
	}
	write_asked(follower, piece);
}

bool
exchange_follow(struct exchange *x)
{
	struct flight *flight = NULL;

	if (x->recall.keeps && x->recall.looks_up)
		flight = flight_find(&x->service->flights, &x->recall.key.exact, exchange_form(x));
	if (!flight)
		return false;
	join(x, flight);
	exchange_step(x, (struct cascade_event){.kind = CASCADE_EVENT_FOLLOW});
	if (x->client.wants_stream && flight->leader->recall.said.n > 0)
		give(x, flight->leader, buf_bytes(&flight->leader->recall.said));
	/* Alone, the leader may have waited for its client. */
	exchange_pace(flight->leader);
	return true;
}

/* ---------------------------------------------------------------- without the leader */

/* Those who have nothing yet go on by themselves: one of them asks, in a form that all the others can follow. */
static void
part(struct exchange *x)
{
	struct flight *old = x->recall.flight;
	struct exchange *first = NULL, *follower, *next;

	flight_close(old);
	TAILQ_FOREACH(follower, &old->followers, followers)
	{
		enum flight_form form = exchange_form(follower);

		if (follower->cascade.delivered)
			continue;
		if (!first || (exchange_form(first) == FLIGHT_STREAM && form != FLIGHT_STREAM))
			first = follower;
	}
	if (!first)
		return;
	leave(first);
	exchange_lead(first);
	first->recall.flight->passed_on = true;
	for (follower = TAILQ_FIRST(&old->followers); follower; follower = next) {
		next = TAILQ_NEXT(follower, followers);
		if (!follower->cascade.delivered) {
			leave(follower);
			join(follower, first->recall.flight);
		}
	}
	exchange_ask(first);
}

static void
fail_followers(struct exchange *x, bool delivered, const struct api_error *error, struct bytes body)
{
	struct exchange *follower, *next;

	for (follower = TAILQ_FIRST(&x->recall.flight->followers); follower; follower = next) {
		next = TAILQ_NEXT(follower, followers);
		if (follower->cascade.delivered != delivered)
			continue;
		leave(follower);
		follower->shared_error = error;
		follower->shared_body = body;
		exchange_step(follower,
		              (struct cascade_event){.kind = CASCADE_EVENT_SHARED_FAILED});
	}
}

/* Could another attempt end better? */
static bool
may_pass(const struct exchange *x, const struct api_error *error)
{
	return !x->recall.flight->passed_on && (error->status >= 500 || error->status == 429);
}

void
exchange_share_failed(struct exchange *x, const struct api_error *error, struct bytes body)
{
	if (!exchange_leads(x))
		return;
	flight_close(x->recall.flight);
	if (may_pass(x, error))
		part(x);
	else
		fail_followers(x, false, error, body);
}

void
exchange_share_cut(struct exchange *x, const struct api_error *error)
{
	if (!exchange_leads(x))
		return;
	flight_close(x->recall.flight);
	fail_followers(x, true, error, (struct bytes){NULL, 0});
	exchange_share_failed(x, error, (struct bytes){NULL, 0});
}

/* ---------------------------------------------------------------- what was said */

/* Who joins later could not have it all, nor could who wants it in one piece. */
static void
said_too_much(struct exchange *x)
{
	x->recall.said_all = false;
	buf_fini(&x->recall.said);
	if (exchange_leads(x))
		part(x);
}

void
exchange_share_write(struct exchange *x, struct bytes piece)
{
	if (exchange_leads(x))
		write_asked(x, piece);
	else
		exchange_write(x, piece);
}

void
exchange_share_piece(struct exchange *x, struct bytes piece)
{
	struct recall *recall = &x->recall;
	struct exchange *follower;

	if (!recall->keeps)
		return;
	if (recall->said_all)
		buf_add_bytes(&recall->said, piece);
	if (exchange_leads(x)) {
		TAILQ_FOREACH(follower, &recall->flight->followers, followers)
		{
			if (follower->client.wants_stream)
				give(follower, x, piece);
		}
	}
	if (recall->said_all && recall->said.failed)
		said_too_much(x);
}

/* What was found for the leader by its likeness is not near enough for those who asked for more. */
static void
part_doubtful(struct exchange *x)
{
	struct exchange *follower, *next;

	for (follower = TAILQ_FIRST(&x->recall.flight->followers); follower; follower = next) {
		next = TAILQ_NEXT(follower, followers);
		if (follower->recall.threshold <= x->recall.similarity)
			continue;
		leave(follower);
		if (!exchange_follow(follower)) {
			exchange_lead(follower);
			exchange_ask(follower);
		}
	}
}

void
exchange_share_done(struct exchange *x, struct cache_entry *entry)
{
	bool hit = x->cascade.decision == DECISION_CACHE_HIT;
	struct exchange *follower;

	if (!exchange_leads(x))
		return;
	flight_close(x->recall.flight);
	if (!entry)
		part(x);
	else if (hit)
		part_doubtful(x);
	while ((follower = TAILQ_FIRST(&x->recall.flight->followers))) {
		leave(follower);
		follower->answered = x->answered;
		follower->recall.result = "shared";
		if (!follower->client.streaming)
			recall_set_hit(&follower->recall, cache_entry_ref(entry),
			               hit ? x->recall.similarity : 1, "shared");
		exchange_step(follower, (struct cascade_event){.kind = CASCADE_EVENT_CACHED,
		                                               .reason = "shared"});
	}
}

/* ---------------------------------------------------------------- leaving */

/* A follower whose client could take the leader's place: it has as much of the answer, and wants it in the same form.
 * Where none does and a stream has begun, one that wants no usage will do: it cannot begin anew. */
static struct exchange *
find_heir(const struct exchange *x)
{
	enum flight_form form = exchange_form(x);
	struct exchange *follower, *near = NULL;

	TAILQ_FOREACH(follower, &x->recall.flight->followers, followers)
	{
		if (follower->client.streaming != x->client.streaming)
			continue;
		if (exchange_form(follower) == form)
			return follower;
		if (!near && x->client.streaming)
			near = follower;
	}
	return near;
}

static void
swap_clients(struct exchange *x, struct exchange *heir)
{
	struct exchange_client gone = x->client;

	x->client = heir->client;
	heir->client = gone;
	x->recall.flight->form = exchange_form(x);
	x->recall.result = heir->recall.result = "miss";
	x->attempts[CASCADE_HEAVY].deadline_ms = x->client.deadline_ms;
	exchange_arm_deadline(x);
	exchange_watch(x);
}

struct exchange *
exchange_share_left(struct exchange *x)
{
	struct exchange *heir;
	enum flight_form form;

	if (!exchange_leads(x))
		return x;
	heir = find_heir(x);
	if (!heir) {
		part(x);
		return x;
	}
	form = x->recall.flight->form;
	leave(heir);
	swap_clients(x, heir);
	/* A heavyweight that is yet to be asked would no longer be asked for usage, which an answer in one
	 * piece has. */
	if (form != x->recall.flight->form && x->cascade.state == CASCADE_FLOWING)
		part(x);
	exchange_pace(x);
	return heir;
}

void
exchange_share_end(struct exchange *x)
{
	struct flight *flight = x->recall.flight;

	if (!flight)
		return;
	if (flight->leader == x) {
		flight_free(flight);
		x->recall.flight = NULL;
	} else {
		leave(x);
		exchange_pace(flight->leader);
	}
}
