#include "simulator/session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/timer.h"
#include "simulator/mix.h"

enum {
	SESSION_MAGIC = 0x51355E55,
	PIECE_BYTES = 64 * 1024,    /* of frames handed over at once */
	PENDING_BYTES = 512 * 1024, /* waiting for a slow client; above, it waits too */
	HEADERS_MAX = 8,
};

struct sim_session {
	uint32_t magic;
	struct simulator *simulator;       /* borrowed */
	struct http_call *call;            /* lent by the server until it is answered or gone */
	struct timer *timer;               /* owned; NULL: never needed */
	struct sim_completion *completion; /* owned; NULL: no chat */
	struct buf out;                    /* owned: a document, or frames not yet handed over */
	char *path, *model;                /* owned; NULL unless they are logged */
	struct sim_plan plan;
	uint64_t started_us; /* when the request came */
	uint64_t first_us;   /* when the first frame was due */
	int status;          /* 0: no head was sent */
	bool stream;
	bool is_waiting; /* for a slow client */
};

/* The headers that a model server's answers carry; the numbers are made up but well formed. */
struct reply_headers {
	struct http_header list[HEADERS_MAX];
	size_t count;
	char id[24], processing[24], retry_after[12];
};

static void
headers_fill(struct reply_headers *h, const struct simulator *simulator, uint64_t started_us,
             const char *type)
{
	snprintf(h->id, sizeof(h->id), "req_%016llx",
	         (unsigned long long)sim_mix(simulator->serial ^ started_us));
	snprintf(h->processing, sizeof(h->processing), "%llu",
	         (unsigned long long)((clock_now_us() - started_us) / 1000));
	h->list[0] = (struct http_header){"Content-Type", type};
	h->list[1] = (struct http_header){"x-request-id", h->id};
	h->list[2] = (struct http_header){"openai-processing-ms", h->processing};
	h->list[3] = (struct http_header){"x-ratelimit-limit-requests", "10000"};
	h->list[4] = (struct http_header){"x-ratelimit-remaining-requests", "9999"};
	h->count = 5;
}

static void
headers_add_retry_after(struct reply_headers *h, uint32_t seconds)
{
	snprintf(h->retry_after, sizeof(h->retry_after), "%u", seconds);
	h->list[h->count++] = (struct http_header){"Retry-After", h->retry_after};
}

/* The session's only end. The call must have been answered, or be gone. */
static void
session_finish(struct sim_session *s, const char *end)
{
	const struct sim_completion *c = s->completion;

	if (s->simulator->requests)
		simulator_log(s->simulator, s->path, bytes_of(s->model), s->status,
		              c ? sim_completion_frames(c) : 0, c ? sim_completion_sent(c) : 0,
		              s->started_us, end);
	s->magic = 0;
	timer_free(s->timer);
	sim_completion_free(s->completion);
	buf_fini(&s->out);
	free(s->path);
	free(s->model);
	free(s);
}

/* The error object that a status comes with. */
static void
status_error(struct api_error *error, int status)
{
	static const struct {
		int status;
		const char *type, *code, *message;
	} rows[] = {
	        {400, "invalid_request_error", NULL, "The request was not understood."},
	        {401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."},
	        {403, "invalid_request_error", "unsupported_country_region_territory",
	         "Country, region, or territory not supported."},
	        {404, "invalid_request_error", "model_not_found",
	         "The model does not exist or you do not have access to it."},
	        {429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."},
	        {503, "server_error", NULL,
	         "The engine is currently overloaded, please try again later."},
	};

	api_error_set(error, status, NULL, NULL, "%s",
	              status < 500 ? "The request was refused."
	                           : "The server had an error while processing your request.");
	if (status >= 500)
		error->type = "server_error";
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].status != status)
			continue;
		error->type = rows[i].type;
		error->code = rows[i].code;
		snprintf(error->message, sizeof(error->message), "%s", rows[i].message);
	}
}

static void
session_reply(struct sim_session *s, int status, const char *type, struct bytes body)
{
	struct reply_headers headers;

	headers_fill(&headers, s->simulator, s->started_us, type);
	if (status >= 400 && s->plan.retry_after_s != SIM_NEVER)
		headers_add_retry_after(&headers, s->plan.retry_after_s);
	s->status = status;
	http_reply(s->call, status, headers.list, headers.count, body);
}

static void
session_reply_status(struct sim_session *s, int status)
{
	struct api_error error;

	buf_reset(&s->out);
	status_error(&error, status);
	api_error_write(&error, &s->out);
	session_reply(s, status, "application/json", buf_bytes(&s->out));
	session_finish(s, "error");
}

static void
session_reply_html(struct sim_session *s)
{
	session_reply(s, 502, "text/html",
	              bytes_of("<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
	                       "<center><h1>502 Bad Gateway</h1></center>\r\n"
	                       "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"));
	session_finish(s, "error");
}

static void
session_begin(struct sim_session *s, const char *type)
{
	struct reply_headers headers;

	headers_fill(&headers, s->simulator, s->started_us, type);
	headers.list[headers.count++] = (struct http_header){"Cache-Control", "no-cache"};
	s->status = 200;
	http_reply_begin(s->call, 200, headers.list, headers.count);
}

static void
session_flush(struct sim_session *s)
{
	if (s->out.n > 0)
		http_reply_write(s->call, buf_bytes(&s->out));
	buf_reset(&s->out);
}

/* Ends an answer at a step that is no frame. */
static void
session_stop(struct sim_session *s, enum sim_step step)
{
	session_flush(s);
	if (step == SIM_STEP_STALL)
		return; /* until the client has had enough */
	if (step == SIM_STEP_CUT) {
		http_reply_abort(s->call);
		session_finish(s, "cut");
		return;
	}
	http_reply_end(s->call);
	session_finish(s, "done");
}

/* Puts into `out` what is to be sent, and does it only now, so that tokens count as sent only then.
 * False when there is no memory. */
static bool
session_make_document(struct sim_session *s)
{
	if (s->plan.error200 != SIM_NEVER) {
		buf_reset(&s->out);
		sim_completion_write_error(&s->out);
	} else if (s->completion) {
		sim_completion_write(s->completion, &s->out);
	}
	if (s->plan.garbage != SIM_NEVER)
		s->out.n /= 2;
	return !s->out.failed;
}

/* Sends a document, or as much of it as the plan says. */
static void
session_send_document(struct sim_session *s)
{
	const struct sim_plan *plan = &s->plan;

	if (plan->cut != 0 && plan->stall != 0) {
		if (!session_make_document(s)) {
			session_reply_status(s, 500);
			return;
		}
		if (plan->cut == SIM_NEVER && plan->stall == SIM_NEVER) {
			session_reply(s, 200, "application/json", buf_bytes(&s->out));
			session_finish(s, "done");
			return;
		}
		session_begin(s, "application/json");
		s->out.n /= 2;
		session_flush(s);
	}
	session_stop(s, plan->cut != SIM_NEVER ? SIM_STEP_CUT : SIM_STEP_STALL);
}

/* How many frames are due after so many seconds: the role of each choice and its first token come
 * with the first byte, then one token of each every 1/tps seconds. */
static double
frames_due(const struct sim_session *s, double elapsed_s)
{
	double choices = sim_completion_choices(s->completion);

	return choices * (2 + floor(elapsed_s * s->plan.tokens_per_s));
}

/* Milliseconds from now until the next frame is due. */
static uint64_t
next_due_ms(const struct sim_session *s, double elapsed_s)
{
	double choices = sim_completion_choices(s->completion);
	double rounds = floor(sim_completion_frames(s->completion) / choices) - 1;
	double wait_s = rounds / s->plan.tokens_per_s - elapsed_s;

	return wait_s > 0 ? (uint64_t)ceil(wait_s * 1000) : 0;
}

static struct timer *session_timer(struct sim_session *s);

/* Sends the frames that are due, as long as the client takes them. */
static void
session_pump(struct sim_session *s)
{
	double elapsed_s = (double)(clock_now_us() - s->first_us) / 1e6, due = INFINITY;

	if (s->plan.tokens_per_s > 0)
		due = frames_due(s, elapsed_s);
	while (http_reply_pending(s->call) <= PENDING_BYTES) {
		enum sim_step step = SIM_STEP_FRAME;
		bool more = true;

		while (step == SIM_STEP_FRAME && s->out.n < PIECE_BYTES) {
			more = sim_completion_frames(s->completion) < due;
			if (!more)
				break;
			step = sim_completion_next(s->completion, &s->out);
		}
		if (s->out.failed)
			step = SIM_STEP_CUT;
		if (step != SIM_STEP_FRAME) {
			session_stop(s, step);
			return;
		}
		session_flush(s);
		if (!more) {
			timer_arm_ms(session_timer(s), next_due_ms(s, elapsed_s));
			return;
		}
	}
	s->is_waiting = true; /* on_call_drain goes on */
}

/* What comes after the delay. */
static void
session_go(struct sim_session *s)
{
	const struct sim_plan *plan = &s->plan;

	if (plan->html502) {
		session_reply_html(s);
	} else if (plan->status || plan->retry_after_s != SIM_NEVER) {
		session_reply_status(s, plan->status ? plan->status : 429);
	} else if (!s->stream) {
		session_send_document(s);
	} else if (plan->cut == 0) {
		session_stop(s, SIM_STEP_CUT);
	} else if (plan->stall != 0) {
		session_begin(s, "text/event-stream; charset=utf-8");
		s->first_us = clock_now_us();
		session_pump(s);
	}
}

static void
on_session_timer(void *arg)
{
	struct sim_session *s = arg;

	if (s->status == 0)
		session_go(s);
	else
		session_pump(s);
}

static void
on_call_drain(void *arg)
{
	struct sim_session *s = arg;

	if (!s->is_waiting)
		return;
	s->is_waiting = false;
	session_pump(s);
}

static void
on_call_gone(void *arg)
{
	struct sim_session *s = arg;

	if (s->magic != SESSION_MAGIC)
		die("a client left a session that is over");
	session_finish(s, "client_gone");
}

static struct timer *
session_timer(struct sim_session *s)
{
	if (!s->timer)
		s->timer = timer_new(s->simulator->worker, on_session_timer, s);
	return s->timer;
}

/* The time before the first byte: for a whole chat answer, all its tokens have to be made first. */
static uint64_t
session_delay_ms(const struct sim_session *s)
{
	double ms = s->plan.delay_ms;

	if (s->completion && !s->stream && s->plan.tokens_per_s > 0 && !s->plan.status)
		ms += (double)sim_completion_tokens(s->completion) * 1000 /
		      sim_completion_choices(s->completion) / s->plan.tokens_per_s;
	return (uint64_t)ms;
}

void
sim_session_start(struct simulator *simulator, struct http_call *call, const struct sim_plan *plan,
                  struct bytes model, struct sim_completion *completion, bool stream,
                  struct buf *document)
{
	struct sim_session *s = mem_new(sizeof(*s));
	uint64_t delay_ms;

	s->magic = SESSION_MAGIC;
	s->simulator = simulator;
	s->call = call;
	s->plan = *plan;
	s->completion = completion;
	s->stream = stream;
	s->out = *document;
	*document = (struct buf){0};
	s->started_us = http_call_started_us(call);
	if (simulator->requests) {
		s->path = mem_copy(bytes_of(http_call_path(call)));
		s->model = mem_copy(model);
	}
	http_call_watch(call, on_call_gone, on_call_drain, s);
	delay_ms = session_delay_ms(s);
	if (delay_ms > 0)
		timer_arm_ms(session_timer(s), delay_ms);
	else
		session_go(s);
}

void
sim_reply_error(struct simulator *simulator, struct http_call *call, const struct api_error *error,
                const char *allow)
{
	struct reply_headers headers;
	struct buf body = {0};
	uint64_t started_us = http_call_started_us(call);

	api_error_write(error, &body);
	headers_fill(&headers, simulator, started_us, "application/json");
	if (allow)
		headers.list[headers.count++] = (struct http_header){"Allow", allow};
	simulator_log(simulator, http_call_path(call), (struct bytes){"", 0}, error->status, 0, 0,
	              started_us, "error");
	http_reply(call, error->status, headers.list, headers.count, buf_bytes(&body));
	buf_fini(&body);
}

void
sim_reply_json(struct simulator *simulator, struct http_call *call, struct bytes document)
{
	struct reply_headers headers;
	uint64_t started_us = http_call_started_us(call);

	headers_fill(&headers, simulator, started_us, "application/json");
	simulator_log(simulator, http_call_path(call), (struct bytes){"", 0}, 200, 0, 0, started_us,
	              "done");
	http_reply(call, 200, headers.list, headers.count, document);
}
