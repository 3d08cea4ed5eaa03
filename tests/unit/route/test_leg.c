/* What a leg makes of one response, and what the model's health learns of it. Over real sockets. */
#include "route/leg.h"

#include "net/peer.h"
#include "net/timer.h"
#include "unit.h"

enum { PATIENCE_MS = 20000 };

#define HEAD(status, type)                                                                         \
	"HTTP/1.1 " status " X\r\nConnection: close\r\nContent-Type: " type "\r\n"
#define STREAM     HEAD("200", "text/event-stream") "\r\n"
#define SAID(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define STOPPED    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define DONE       "data: [DONE]\n\n"
#define WHOLE(text)                                                                                \
	"{\"choices\":[{\"message\":{\"content\":\"" text "\"},\"finish_reason\":\"stop\"}]}"

enum ending { ENDED_NOT, ENDED_DONE, ENDED_FAILED, ENDED_CANCELLED };

/* One model on a scripted server, and all that a leg needs around it. */
struct bench {
	struct peer peer;
	struct config config;
	struct config_provider provider;
	struct config_model model;
	struct http_target *target;
	struct plan plan;
	struct service service;
	struct timer *patience;
	struct health *health;
	struct load *load;
	char log_path[64];
	struct log_sink *sink;

	struct leg *leg;
	unsigned frames, cancel_at; /* cancel at this frame; 0: never */
	enum ending ending;
	struct leg_failure failure;
};

static void
on_bench_late(void *arg)
{
	(void)arg;
	ck_abort_msg("the leg did not end");
}

/* Starts the server, which answers once. */
static void
bench_serve(struct bench *bench, const char *answer)
{
	char url[64], error[128];

	peer_start(&bench->peer, script_answer_and_close, (void *)(uintptr_t)answer);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", bench->peer.port);
	bench->target = http_target_new(url, NULL, 0, error, sizeof(error));
	ck_assert_ptr_nonnull(bench->target);
}

static void
bench_open(struct bench *bench, const char *answer, uint32_t open_ms)
{
	struct breaker_options options = {
	        .failures = 1, .open_ms = open_ms, .open_max_ms = open_ms};
	char error[128];

	ck_assert(http_client_global_init());
	*bench = (struct bench){.model = {.label = (char *)(uintptr_t) "m"}};
	bench_serve(bench, answer);
	bench->model.provider = &bench->provider;
	bench->config.providers = &bench->provider;
	bench->config.provider_count = 1;
	bench->plan =
	        (struct plan){.config = &bench->config, .chat = &bench->target, .references = 1000};
	snprintf(bench->log_path, sizeof(bench->log_path), "/tmp/test_leg.%d", (int)getpid());
	bench->sink = log_sink_open(bench->log_path, error, sizeof(error));
	bench->service.log = log_new(bench->sink, LOG_LEVEL_INFO);
	bench->service.worker = worker_new(0, bench->service.log);
	bench->service.client =
	        http_client_new(bench->service.worker, &(struct http_client_options){0});
	bench->service.metrics = metrics_new(1);
	bench->service.shard = metrics_shard(bench->service.metrics, 0);
	bench->patience = timer_new(bench->service.worker, on_bench_late, NULL);
	timer_arm_ms(bench->patience, PATIENCE_MS);
	bench->health = health_new(&options);
	bench->load = load_new();
}

/* Everything must have been given back by now. */
static void
bench_close(struct bench *bench)
{
	ck_assert_uint_eq(load_count(bench->load), 0);
	timer_free(bench->patience);
	http_client_free(bench->service.client);
	chat_frame_fini(&bench->service.frame);
	worker_free(bench->service.worker);
	metrics_free(bench->service.metrics);
	log_free(bench->service.log);
	log_sink_close(bench->sink);
	http_target_free(bench->target);
	health_unref(bench->health);
	load_unref(bench->load);
	unlink(bench->log_path);
	peer_join(&bench->peer);
}

static void
on_frame(void *arg, struct leg *leg, const struct chat_frame *frame)
{
	struct bench *bench = arg;

	(void)frame;
	if (++bench->frames != bench->cancel_at)
		return;
	bench->ending = ENDED_CANCELLED;
	leg_cancel(leg, "cancelled");
	worker_stop(bench->service.worker);
}

static void
on_done(void *arg, struct leg *leg)
{
	struct bench *bench = arg;

	bench->ending = ENDED_DONE;
	leg_cancel(leg, "over");
	worker_stop(bench->service.worker);
}

static void
on_failed(void *arg, struct leg *leg)
{
	struct bench *bench = arg;

	bench->ending = ENDED_FAILED;
	bench->failure = *leg_failure(leg);
	leg_cancel(leg, "over");
	worker_stop(bench->service.worker);
}

static void
bench_start(struct bench *bench, enum cascade_leg role, bool stream)
{
	static const struct leg_events events = {on_frame, on_done, on_failed};
	struct leg_spec spec = {
	        .role = role, .model = &bench->model, .plan = &bench->plan, .stream = stream};

	rope_init(&spec.body, 0);
	rope_add(&spec.body, bytes_of("{}"));
	ck_assert_int_eq(health_admit(bench->health, bench->load, 0, false, clock_now_us() / 1000,
	                              &spec.permit),
	                 HEALTH_ADMITTED);
	bench->ending = ENDED_NOT;
	bench->leg = leg_start(&bench->service, &spec, &events, bench);
	ck_assert_ptr_nonnull(bench->leg);
	ck_assert_uint_eq(load_count(bench->load), 1);
}

static void
check_metric(const struct bench *bench, const char *rule, const char *line)
{
	struct buf text;

	buf_init(&text, 0);
	metrics_render(bench->service.metrics, &text);
	buf_add(&text, "", 1);
	ck_assert_msg(strstr(text.p, line) != NULL, "%s: no %s", rule, line);
	buf_fini(&text);
}

/* Closes the log, so that all of it is there. */
static void
check_log(struct bench *bench, const char *rule, const char *words)
{
	char text[4096] = "", error[128];
	FILE *file;
	size_t n;

	log_free(bench->service.log);
	log_sink_close(bench->sink);
	file = fopen(bench->log_path, "r");
	ck_assert_ptr_nonnull(file);
	n = fread(text, 1, sizeof(text) - 1, file);
	text[n] = '\0';
	fclose(file);
	ck_assert_msg(words ? strstr(text, words) != NULL : !strstr(text, "breaker"), "%s: %s",
	              rule, text);
	bench->sink = log_sink_open(bench->log_path, error, sizeof(error));
	bench->service.log = log_new(bench->sink, LOG_LEVEL_INFO);
}

static const struct {
	const char *rule, *answer;
	enum cascade_leg role;
	bool stream;
	unsigned cancel_at;
	enum ending ending;
	enum leg_failure_kind kind;
	enum attempt_retry retry;
	uint64_t retry_after_ms;
	const char *result; /* that the health was told */
} rows[] = {
        {"a complete stream is a success", STREAM SAID("x") STOPPED DONE, CASCADE_HEAVY, true, 0,
         ENDED_DONE, 0, 0, 0, "success"},
        {"a complete document too", HEAD("200", "application/json") "\r\n" WHOLE("x"),
         CASCADE_HEAVY, false, 0, ENDED_DONE, 0, 0, 0, "success"},
        {"a document for a stream too", HEAD("200", "application/json") "\r\n" WHOLE("x"),
         CASCADE_DRAFT, true, 0, ENDED_DONE, 0, 0, 0, "success"},
        {"a draft that says nothing is a failure", STREAM SAID("") STOPPED DONE, CASCADE_DRAFT,
         true, 0, ENDED_FAILED, LEG_EMPTY, ATTEMPT_RETRY_AGAIN, 0, "failure"},
        {"also in a document", HEAD("200", "application/json") "\r\n" WHOLE(""), CASCADE_DRAFT,
         true, 0, ENDED_FAILED, LEG_EMPTY, ATTEMPT_RETRY_AGAIN, 0, "failure"},
        {"a heavyweight that says nothing is none", STREAM SAID("") STOPPED DONE, CASCADE_HEAVY,
         true, 0, ENDED_DONE, 0, 0, 0, "success"},
        {"a cut stream is a failure", STREAM SAID("x"), CASCADE_HEAVY, true, 0, ENDED_FAILED,
         LEG_CUT, ATTEMPT_RETRY_AGAIN, 0, "failure"},
        {"a cancelled leg that had spoken is a success", STREAM SAID("") SAID("x") SAID("y"),
         CASCADE_DRAFT, true, 2, ENDED_CANCELLED, 0, 0, 0, "success"},
        {"one that had not tells nothing", STREAM SAID("") SAID("x"), CASCADE_DRAFT, true, 1,
         ENDED_CANCELLED, 0, 0, 0, "ignored"},
        {"a document can be cancelled at its frame",
         HEAD("200", "application/json") "\r\n" WHOLE("x"), CASCADE_DRAFT, true, 1, ENDED_CANCELLED,
         0, 0, 0, "success"},
        {"a 404 tells nothing", HEAD("404", "text/plain") "\r\n", CASCADE_HEAVY, true, 0,
         ENDED_FAILED, LEG_STATUS, ATTEMPT_RETRY_ELSEWHERE, 0, "ignored"},
        {"a 429 is a failure, with its wait", HEAD("429", "text/plain") "Retry-After: 1.5\r\n\r\n",
         CASCADE_HEAVY, true, 0, ENDED_FAILED, LEG_STATUS, ATTEMPT_RETRY_AGAIN, 1500, "failure"},
        {"milliseconds go first",
         HEAD("503", "text/plain") "Retry-After: 9\r\nRetry-After-Ms: 20\r\n\r\n", CASCADE_HEAVY,
         true, 0, ENDED_FAILED, LEG_STATUS, ATTEMPT_RETRY_AGAIN, 20, "failure"},
        {"upstream's advice counts", HEAD("503", "text/plain") "X-Should-Retry: false\r\n\r\n",
         CASCADE_HEAVY, true, 0, ENDED_FAILED, LEG_STATUS, ATTEMPT_RETRY_ELSEWHERE, 0, "failure"},
        {"either way", HEAD("400", "text/plain") "X-Should-Retry: true\r\n\r\n", CASCADE_HEAVY,
         true, 0, ENDED_FAILED, LEG_STATUS, ATTEMPT_RETRY_AGAIN, 0, "ignored"},
};

START_TEST(test_each_end_is_told_to_the_models_health)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *rule = rows[i].rule;
		bool failure = strcmp(rows[i].result, "failure") == 0;
		struct bench bench;
		char line[128];

		bench_open(&bench, rows[i].answer, 30000);
		bench.cancel_at = rows[i].cancel_at;
		bench_start(&bench, rows[i].role, rows[i].stream);
		worker_run(bench.service.worker);
		ck_assert_msg(bench.ending == rows[i].ending, "%s: %d %s", rule, bench.ending,
		              bench.failure.detail);
		ck_assert_msg(bench.failure.kind == rows[i].kind, "%s: %s", rule,
		              bench.failure.detail);
		ck_assert_msg(bench.failure.retry == rows[i].retry, "%s", rule);
		ck_assert_msg(bench.failure.retry_after_ms == rows[i].retry_after_ms, "%s", rule);
		snprintf(line, sizeof(line),
		         "\ndraftthinker_breaker_results_total{model=\"m\",result=\"%s\"} 1\n",
		         rows[i].result);
		check_metric(&bench, rule, line);
		ck_assert_msg((health_state(bench.health, clock_now_us() / 1000) == BREAKER_OPEN) ==
		                      failure,
		              "%s", rule);
		if (failure)
			check_metric(&bench, rule, "\ndraftthinker_breaker_state{model=\"m\"} 2\n");
		check_log(&bench, rule, failure ? " warn breaker_opened model=\"m\" why=" : NULL);
		bench_close(&bench);
	}
}
END_TEST

/* Starts the probe of a breaker that a cut stream has opened. */
static void
bench_begin_probe(struct bench *bench, const char *answer)
{
	bench_open(bench, STREAM SAID("x"), 1);
	bench_start(bench, CASCADE_HEAVY, true);
	worker_run(bench->service.worker);
	ck_assert_int_eq(bench->ending, ENDED_FAILED);
	peer_join(&bench->peer);
	http_target_free(bench->target);
	bench_serve(bench, answer);
	while (health_state(bench->health, clock_now_us() / 1000) != BREAKER_HALF_OPEN)
		usleep(100);
	bench_start(bench, CASCADE_HEAVY, true);
	check_metric(bench, "probe under way", "\ndraftthinker_breaker_state{model=\"m\"} 1\n");
}

START_TEST(test_a_probe_that_succeeds_closes_the_breaker)
{
	struct bench bench;

	bench_begin_probe(&bench, STREAM SAID("x") STOPPED DONE);
	worker_run(bench.service.worker);
	ck_assert_int_eq(bench.ending, ENDED_DONE);
	check_metric(&bench, "closed", "\ndraftthinker_breaker_state{model=\"m\"} 0\n");
	check_log(&bench, "closed", " info breaker_closed model=\"m\" why=success");
	bench_close(&bench);
}
END_TEST

START_TEST(test_a_probe_that_fails_opens_it_again)
{
	struct bench bench;

	bench_begin_probe(&bench, STREAM SAID("x"));
	worker_run(bench.service.worker);
	ck_assert_int_eq(bench.ending, ENDED_FAILED);
	check_metric(&bench, "open again", "\ndraftthinker_breaker_state{model=\"m\"} 2\n");
	bench_close(&bench);
}
END_TEST

START_TEST(test_a_probe_that_tells_nothing_leaves_it_waiting)
{
	struct bench bench;

	bench_begin_probe(&bench, HEAD("404", "text/plain") "\r\n");
	worker_run(bench.service.worker);
	ck_assert_int_eq(bench.ending, ENDED_FAILED);
	check_metric(&bench, "waiting", "\ndraftthinker_breaker_state{model=\"m\"} 2\n");
	bench_close(&bench);
}
END_TEST

START_TEST(test_a_leg_without_a_permit_tells_nothing)
{
	static const struct leg_events events = {on_frame, on_done, on_failed};
	struct bench bench;
	struct leg_spec spec = {.role = CASCADE_HEAVY, .stream = true};
	struct buf text;

	bench_open(&bench, STREAM SAID("x"), 30000);
	spec.model = &bench.model;
	spec.plan = &bench.plan;
	rope_init(&spec.body, 0);
	bench.leg = leg_start(&bench.service, &spec, &events, &bench);
	worker_run(bench.service.worker);
	ck_assert_int_eq(bench.ending, ENDED_FAILED);
	buf_init(&text, 0);
	metrics_render(bench.service.metrics, &text);
	buf_add(&text, "", 1);
	ck_assert_ptr_null(strstr(text.p, "breaker_results_total{"));
	buf_fini(&text);
	bench_close(&bench);
}
END_TEST

START_TEST(test_an_enormous_frame_leaves_no_room_behind)
{
	struct bench bench;
	struct buf answer;

	buf_init(&answer, 0);
	buf_add_text(&answer,
	             STREAM "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},"
	                    "\"logprobs\":{\"content\":[");
	for (int i = 0; i < 10000; i++)
		buf_add_text(&answer, i ? ",{\"token\":\"x\",\"logprob\":0}"
		                        : "{\"token\":\"x\",\"logprob\":0}");
	buf_add_text(&answer, "]}}]}\n\n" STOPPED DONE);
	buf_add(&answer, "", 1);
	bench_open(&bench, answer.p, 30000);
	bench_start(&bench, CASCADE_DRAFT, true);
	worker_run(bench.service.worker);
	ck_assert_int_eq(bench.ending, ENDED_DONE);
	ck_assert_int_eq(bench.frames, 2);
	ck_assert_uint_le(bench.service.frame.token_cap, 256);
	bench_close(&bench);
	buf_fini(&answer);
}
END_TEST

UNIT_MAIN("leg", test_an_enormous_frame_leaves_no_room_behind,
          test_each_end_is_told_to_the_models_health, test_a_probe_that_succeeds_closes_the_breaker,
          test_a_probe_that_fails_opens_it_again, test_a_probe_that_tells_nothing_leaves_it_waiting,
          test_a_leg_without_a_permit_tells_nothing)
