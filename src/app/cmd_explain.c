/*
 * Sends one prompt to the drafter, scores the draft as the gateway would, and shows how it went: the
 * text coloured by entropy, a line for each token, the verdict. The whole draft is read, also past the
 * token at which the gateway would have escalated.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "base/mem.h"
#include "net/http_client.h"
#include "route/draft.h"
#include "route/leg.h"

static const char usage[] =
        "usage: draft-thinker explain [-c FILE] [--route NAME] [--json] [--color WHEN] PROMPT\n"
        "\n"
        "Sends PROMPT to the drafter of a route and prints the draft with each token coloured by "
        "its\n"
        "entropy, the running score, and the verdict. Nothing is sent to the heavyweight.\n"
        "\n"
        "  -c, --config FILE  configuration (default: config/draft-thinker.yaml, else built-in "
        "defaults)\n"
        "  --route NAME       the route whose drafter and rule are used (default: the default "
        "route)\n"
        "  --json             one JSON document instead of text\n"
        "  --color WHEN       auto (default), always or never\n";

struct explained_token {
	char *text; /* owned; decoded */
	double logprob, entropy_bits, mean_bits;
	bool skipped; /* special, without text: not scored */
};

struct explain {
	const struct config_route *route;
	struct service service;
	struct leg *leg;
	struct chat_request request;
	struct rule rule;
	enum rule_verdict verdict;
	bool unscorable, done;
	size_t decided_at; /* index of the token that escalated */
	struct explained_token *tokens;
	size_t token_count;
	char failure[300]; /* empty: none */
	bool json, color;
};

/* ---------------------------------------------------------------- reading the draft */

static void
explain_token(struct explain *e, const struct chat_token *token)
{
	struct explained_token *out;
	struct buf text;

	e->tokens = mem_resize(e->tokens, e->token_count + 1, sizeof(*e->tokens));
	out = &e->tokens[e->token_count];
	buf_init(&text, 0);
	json_string_decode(token->text, &text);
	*out = (struct explained_token){
	        .text = mem_copy(buf_bytes(&text)),
	        .logprob = token->logprob,
	        .entropy_bits = draft_token_entropy(&e->route->entropy, token),
	        .skipped = !draft_token_counts(token),
	};
	buf_fini(&text);
	if (!out->skipped && isnan(out->entropy_bits))
		e->unscorable = true;
	if (!out->skipped && !isnan(out->entropy_bits) && e->verdict == RULE_CONTINUE) {
		e->verdict = rule_feed(&e->rule, out->entropy_bits);
		if (e->verdict == RULE_ESCALATE)
			e->decided_at = e->token_count;
	}
	out->mean_bits = rule_window_mean(&e->rule);
	e->token_count++;
}

static void
on_leg_frame(void *arg, struct leg *leg, const struct chat_frame *frame)
{
	struct explain *e = arg;

	(void)leg;
	if (draft_frame_scorable(frame) == DRAFT_NO_LOGPROBS)
		e->unscorable = true;
	for (size_t i = 0; i < frame->token_count; i++)
		explain_token(e, &frame->tokens[i]);
}

static void
on_leg_done(void *arg, struct leg *leg)
{
	struct explain *e = arg;

	(void)leg;
	if (e->verdict == RULE_CONTINUE)
		e->verdict = rule_finish(&e->rule);
	e->done = true;
	worker_stop(e->service.worker);
}

static void
on_leg_failed(void *arg, struct leg *leg)
{
	struct explain *e = arg;

	snprintf(e->failure, sizeof(e->failure), "%s", leg_failure(leg)->detail);
	worker_stop(e->service.worker);
}

/* ---------------------------------------------------------------- showing it */

/* ANSI colour for an entropy, by its part of the threshold. */
static const char *
explain_color(const struct explain *e, double entropy_bits)
{
	double part = e->rule.options.threshold > 0 ? entropy_bits / e->rule.options.threshold : 2;

	if (!e->color)
		return "";
	if (isnan(entropy_bits))
		return "\033[35m"; /* unscorable: magenta */
	if (part > 1)
		return "\033[1;31m"; /* above the threshold: red */
	if (part > 0.8)
		return "\033[33m"; /* near it: yellow */
	if (part > 0.4)
		return "\033[36m"; /* some doubt: cyan */
	return "\033[32m";         /* sure: green */
}

/* A C1 control in UTF-8: terminals may take it for the start of an escape sequence. */
static bool
is_c1_control(const char *p)
{
	return (unsigned char)p[0] == 0xC2 && (unsigned char)p[1] >= 0x80 &&
	       (unsigned char)p[1] <= 0x9F;
}

/* Prints a token's text with control characters made harmless; `visible` also marks line ends. */
static void
explain_print_text(const char *text, bool visible)
{
	for (const char *p = text; *p; p++) {
		if (*p == '\n' && !visible)
			putchar('\n');
		else if (*p == '\n')
			fputs("\\n", stdout);
		else if (is_c1_control(p))
			printf("\\x%02X", (unsigned char)*++p);
		else if ((unsigned char)*p < 0x20 || *p == 0x7F)
			printf("\\x%02X", (unsigned char)*p);
		else if ((unsigned char)p[0] == 0xC2 && (unsigned char)p[1] < 0xA0)
			printf("\\x%02X", (unsigned char)*++p); /* U+0080 to U+009F */
		else
			putchar(*p);
	}
}

static void
explain_verdict(const struct explain *e, const char **decision, const char **reason)
{
	bool accept_unscorable = e->route->entropy.on_unscorable == ON_UNSCORABLE_ACCEPT;

	*decision = "accept";
	*reason = "confident";
	if (e->verdict == RULE_ESCALATE) {
		*decision = "escalate";
		*reason = e->rule.reason;
	} else if (e->unscorable || e->rule.token_count == 0) {
		*decision = accept_unscorable ? "accept" : "escalate";
		*reason = "unscorable";
	}
}

static void
explain_print(const struct explain *e)
{
	const char *decision, *reason, *end = e->color ? "\033[0m" : "";

	for (size_t i = 0; i < e->token_count; i++) {
		fputs(explain_color(e, e->tokens[i].entropy_bits), stdout);
		explain_print_text(e->tokens[i].text, false);
		fputs(end, stdout);
	}
	printf("\n\ntoken  entropy   window  text\n");
	for (size_t i = 0; i < e->token_count; i++) {
		const struct explained_token *token = &e->tokens[i];

		printf("%5zu  ", i + 1);
		if (token->skipped)
			printf("%7s  ", "-");
		else if (isnan(token->entropy_bits))
			printf("%7s  ", "none");
		else
			printf("%s%7.3f%s  ", explain_color(e, token->entropy_bits),
			       token->entropy_bits, end);
		if (isnan(token->mean_bits))
			printf("%7s  ", "");
		else
			printf("%7.3f  ", token->mean_bits);
		explain_print_text(token->text, true);
		if (e->verdict == RULE_ESCALATE && i == e->decided_at)
			printf("   <- escalates here");
		putchar('\n');
	}
	explain_verdict(e, &decision, &reason);
	printf("\nroute %s, drafter %s, rule %s: threshold %g bits, the first %u tokens one by "
	       "one, "
	       "then the mean of %u\n",
	       e->route->name, leg_model(e->leg)->label, e->route->entropy.rule->name,
	       e->rule.options.threshold, e->rule.options.early_exit_count,
	       e->rule.options.window_size);
	printf("verdict: %s (%s)", decision, reason);
	if (!isnan(rule_score(&e->rule)))
		printf(", score %.3f", rule_score(&e->rule));
	putchar('\n');
}

/* ,"name":value with null for what is no number. */
static void
json_add_number(struct buf *out, const char *name, double value)
{
	if (isnan(value) || isinf(value))
		buf_add_format(out, ",\"%s\":null", name);
	else
		buf_add_format(out, ",\"%s\":%.9g", name, value);
}

static bool
explain_print_json(const struct explain *e)
{
	const char *decision, *reason;
	struct buf out;
	bool written;

	explain_verdict(e, &decision, &reason);
	buf_init(&out, 0);
	buf_add_text(&out, "{\"route\":");
	buf_add_json_string(&out, bytes_of(e->route->name));
	buf_add_text(&out, ",\"model\":");
	buf_add_json_string(&out, bytes_of(leg_model(e->leg)->label));
	buf_add_format(&out, ",\"decision\":\"%s\",\"reason\":\"%s\"", decision, reason);
	json_add_number(&out, "threshold", e->rule.options.threshold);
	json_add_number(&out, "score", rule_score(&e->rule));
	json_add_number(&out, "decided_at",
	                e->verdict == RULE_ESCALATE ? (double)e->decided_at + 1 : (double)NAN);
	buf_add_format(&out, ",\"completion_tokens\":%llu,\"tokens\":[",
	               (unsigned long long)leg_usage(e->leg).completion_tokens);
	for (size_t i = 0; i < e->token_count; i++) {
		const struct explained_token *token = &e->tokens[i];

		buf_add_text(&out, i ? ",\n{\"text\":" : "\n{\"text\":");
		buf_add_json_string(&out, bytes_of(token->text));
		json_add_number(&out, "logprob", token->logprob);
		json_add_number(&out, "entropy",
		                token->skipped ? (double)NAN : token->entropy_bits);
		json_add_number(&out, "window", token->mean_bits);
		buf_add_text(&out, "}");
	}
	buf_add_text(&out, "]}\n");
	written = !out.failed && fwrite(out.p, 1, out.n, stdout) == out.n;
	buf_fini(&out);
	return written;
}

/* ---------------------------------------------------------------- the command */

static bool
explain_start(struct explain *e, struct plan *plan, const char *prompt)
{
	static const struct leg_events events = {on_leg_frame, on_leg_done, on_leg_failed};
	const struct config_model *model = e->route->drafters[0];
	struct chat_rewrite rewrite = {.model = model->upstream_name,
	                               .draft = true,
	                               .top_logprobs = e->route->entropy.top_logprobs,
	                               .stream_usage = model->provider->stream_usage};
	struct leg_spec spec = {
	        .role = CASCADE_DRAFT, .model = model, .plan = plan, .stream = true};
	struct api_error error;
	struct buf body;
	bool read;

	buf_init(&body, 0);
	rope_init(&spec.body, 0);
	buf_add_text(&body, "{\"messages\":[{\"role\":\"user\",\"content\":");
	buf_add_json_string(&body, bytes_of(prompt));
	buf_add_text(&body, "}]}");
	read = !body.failed && chat_request_read(&e->request, buf_bytes(&body), &error);
	if (read)
		chat_request_write(&e->request, &rewrite, &spec.body);
	buf_fini(&body);
	if (!read || spec.body.own.failed) {
		rope_fini(&spec.body);
		snprintf(e->failure, sizeof(e->failure), "the request cannot be made");
		return false;
	}
	e->leg = leg_start(&e->service, &spec, &events, e);
	if (!e->leg)
		snprintf(e->failure, sizeof(e->failure), "the request cannot be started");
	return e->leg != NULL;
}

static int
explain_run(struct explain *e, struct plan *plan, const char *prompt)
{
	struct http_client_options client = {.max_idle_connections = 1};
	int status = 1;

	e->service.worker = worker_new(0, NULL);
	e->service.metrics = metrics_new(1);
	e->service.shard = metrics_shard(e->service.metrics, 0);
	if (e->service.worker)
		e->service.client = http_client_new(e->service.worker, &client);
	if (!e->service.client)
		snprintf(e->failure, sizeof(e->failure), "%s", strerror(errno));
	else if (explain_start(e, plan, prompt))
		worker_run(e->service.worker);
	if (e->done && e->json)
		status = explain_print_json(e) ? 0 : 1;
	else if (e->done)
		explain_print(e), status = 0;
	else
		fprintf(stderr, "draft-thinker: explain: %s: %s\n", e->route->drafters[0]->label,
		        e->failure);
	if (e->leg)
		leg_cancel(e->leg, "done");
	if (e->service.client)
		http_client_free(e->service.client);
	chat_frame_fini(&e->service.frame);
	worker_free(e->service.worker);
	metrics_free(e->service.metrics);
	return status;
}

static int
explain_with_config(struct explain *e, const char *path, const char *route, const char *prompt)
{
	struct config_report report;
	struct config *config;
	struct plan *plan;
	char error[512];
	int status = 1;

	config_report_init(&report);
	config = config_load(path, &report);
	if (!config)
		fwrite(report.errors.p, 1, report.errors.n, stderr);
	config_report_fini(&report);
	plan = config ? plan_new(config, NULL, error, sizeof(error)) : NULL;
	if (!plan) {
		if (config)
			fprintf(stderr, "draft-thinker: explain: %s\n", error);
		return 1;
	}
	e->route = route ? config_route_find(plan->config, route) : plan->config->default_route;
	if (!e->route) {
		fprintf(stderr, "draft-thinker: explain: no route named %s\n", route);
	} else if (e->route->is_pool) {
		fprintf(stderr,
		        "draft-thinker: explain: the route %s is a pool: it drafts nothing\n",
		        e->route->name);
	} else {
		rule_init(&e->rule, e->route->entropy.rule, &e->route->entropy.options);
		status = explain_run(e, plan, prompt);
		rule_fini(&e->rule);
	}
	for (size_t i = 0; i < e->token_count; i++)
		free(e->tokens[i].text);
	free(e->tokens);
	plan_unref(plan);
	return status;
}

int
command_explain(int argc, char **argv)
{
	static const struct option options[] = {
	        {"config", required_argument, NULL, 'c'}, {"route", required_argument, NULL, 'r'},
	        {"json", no_argument, NULL, 'j'},         {"color", required_argument, NULL, 'C'},
	        {"help", no_argument, NULL, 'h'},         {0}};
	struct explain e = {.color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR")};
	const char *path = config_default_path(), *route = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c': path = optarg; break;
		case 'r': route = optarg; break;
		case 'j': e.json = true; break;
		case 'C':
			if (strcmp(optarg, "auto") != 0)
				e.color = strcmp(optarg, "always") == 0;
			if (e.color || strcmp(optarg, "never") == 0 || strcmp(optarg, "auto") == 0)
				break;
			fputs(usage, stderr);
			return 2;
		case 'h': fputs(usage, stdout); return 0;
		default: fputs(usage, stderr); return 2;
		}
	}
	if (optind + 1 != argc) {
		fputs(usage, stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (!http_client_global_init()) {
		fprintf(stderr, "draft-thinker: libcurl cannot be initialised\n");
		return 1;
	}
	return explain_with_config(&e, path, route, argv[optind]);
}
