/*
 * `draft-thinker simulate`: reads the command line and runs a simulator until a signal comes. The
 * signals are taken by a thread of their own, which stops the loop.
 */
#include "app/commands.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/descriptors.h"
#include "base/mem.h"
#include "simulator/plan.h"
#include "simulator/simulator.h"

enum { LIST_MAX = 256 };

enum { EXIT_USAGE = 2 };

/* A repeatable option's values. */
struct list {
	char *items[LIST_MAX]; /* owned */
	size_t count;
};

struct command {
	struct simulator_options options;
	struct list defaults, profiles, faults;
	char *host; /* owned */
	bool verbose;
};

static void
print_help(void)
{
	printf("Usage: draft-thinker simulate [OPTION]...\n"
	       "\n"
	       "A model server to try things on: POST /v1/chat/completions (stream or not, with "
	       "real\n"
	       "logprobs, usage, tools), POST /v1/embeddings, GET /v1/models, GET /health. It "
	       "answers\n"
	       "for any model's name; the same seed, model and prompt give the same answer.\n"
	       "\n"
	       "  --listen HOST:PORT       where to listen (127.0.0.1:8090); port 0: a free one\n"
	       "  --api-key KEY            ask for this key; without, any key will do\n"
	       "  --tokens N               length of an answer (64)\n"
	       "  --first-byte DURATION    wait before the first byte: 0.2, 200ms, 5s (0)\n"
	       "  --tokens-per-second N    speed; 0: all at once (0)\n"
	       "  --entropy BITS           mean entropy of a token, up to 7 (0.3)\n"
	       "  --uncertain SHARE        share of prompts with an early uncertain token (0.25;\n"
	       "                           0 where --entropy is given)\n"
	       "  --profile MODEL:MARKS    other defaults for one model; may be repeated\n"
	       "  --fault MARKS            something that goes wrong; of several, one is drawn\n"
	       "  --fault-rate SHARE       share of requests that meet a fault (1 with --fault; "
	       "else 0;\n"
	       "                           without --fault, a choice of the usual faults)\n"
	       "  --seed N                 another seed gives other answers (1)\n"
	       "  --verbose                log a line for each request to standard error\n"
	       "  --help                   this text\n"
	       "\n"
	       "MARKS is a list of NAME or NAME=VALUE with commas between. The same marks, in "
	       "double\n"
	       "brackets in the last user message, change one answer: [[status=503]]. With MODEL: "
	       "in\n"
	       "front they are for that model only: [[gpt-4.1-nano:entropy@7=3.5]]; an embeddings "
	       "call\n"
	       "heeds only such marks. Frames count from 1, the one with the role included.\n"
	       "\n"
	       "A last message of the assistant is gone on from, and so is one that the gateway's\n"
	       "instruction follows: the answer to the user message before it comes without as "
	       "many\n"
	       "tokens as were said already. Marks are read from that user message.\n"
	       "\n"
	       "%s"
	       "\n"
	       "Examples:\n"
	       "  draft-thinker simulate --listen 127.0.0.1:8090 --tokens-per-second 50\n"
	       "  draft-thinker simulate --profile gpt-4.1-nano:entropy=0.3,tps=200 \\\n"
	       "                         --profile gpt-4.1:entropy=0.1,tps=40,delay=300ms\n"
	       "  draft-thinker simulate --fault-rate 0.1 --fault status=503 --fault cut=5\n"
	       "  curl http://127.0.0.1:8090/v1/chat/completions -d '{\"model\": "
	       "\"gpt-4.1-nano\",\n"
	       "    \"stream\": true, \"logprobs\": true, \"top_logprobs\": 5, \"messages\":\n"
	       "    [{\"role\": \"user\", \"content\": \"Hello [[tokens=5,entropy@3=2.5]]\"}]}'\n",
	       sim_plan_help());
}

static bool
list_add(struct list *list, const char *option, char *item)
{
	if (list->count == LIST_MAX) {
		fprintf(stderr, "draft-thinker simulate: --%s is given too often\n", option);
		free(item);
		return false;
	}
	list->items[list->count++] = item;
	return true;
}

/* Adds marks to a list, once they were found to be well formed. */
static bool
add_marks(struct list *list, const char *option, char *marks)
{
	char why[256];

	if (simulator_check_marks(marks, strcmp(option, "profile") == 0, why, sizeof(why)))
		return list_add(list, option, marks);
	fprintf(stderr, "draft-thinker simulate: --%s: %s\n", option, why);
	free(marks);
	return false;
}

/* An option that is one mark, such as --tokens. */
static bool
add_default(struct list *list, const char *option, const char *mark, const char *value)
{
	if (strpbrk(value, ",:")) {
		fprintf(stderr, "draft-thinker simulate: --%s: '%s' is no single value\n", option,
		        value);
		return false;
	}
	return add_marks(list, option, mem_format("%s=%s", mark, value));
}

/* HOST:PORT, with brackets around an IPv6 address. */
static bool
read_listen(struct command *c, const char *text)
{
	const char *colon = strrchr(text, ':');
	struct bytes host = {text, colon ? (size_t)(colon - text) : 0};
	uint64_t port;

	if (!colon || !bytes_to_u64(bytes_of(colon + 1), 65535, &port)) {
		fprintf(stderr, "draft-thinker simulate: --listen: '%s' is not HOST:PORT\n", text);
		return false;
	}
	if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = (struct bytes){host.p + 1, host.n - 2};
	free(c->host);
	c->host = mem_copy(host);
	c->options.port = (uint16_t)port;
	return true;
}

static bool
read_rate(double *out, const char *text)
{
	if (bytes_to_double(bytes_of(text), out) && *out >= 0 && *out <= 1)
		return true;
	fprintf(stderr, "draft-thinker simulate: --fault-rate: '%s' is not between 0 and 1\n",
	        text);
	return false;
}

static bool
read_seed(uint64_t *out, const char *text)
{
	if (bytes_to_u64(bytes_of(text), UINT64_MAX, out))
		return true;
	fprintf(stderr, "draft-thinker simulate: --seed: '%s' is not a whole number\n", text);
	return false;
}

enum option_code {
	OPTION_LISTEN = 256,
	OPTION_API_KEY,
	OPTION_TOKENS,
	OPTION_FIRST_BYTE,
	OPTION_TPS,
	OPTION_ENTROPY,
	OPTION_UNCERTAIN,
	OPTION_PROFILE,
	OPTION_FAULT,
	OPTION_FAULT_RATE,
	OPTION_SEED,
	OPTION_VERBOSE,
	OPTION_HELP,
};

static const struct option option_table[] = {
        {"listen", required_argument, NULL, OPTION_LISTEN},
        {"api-key", required_argument, NULL, OPTION_API_KEY},
        {"tokens", required_argument, NULL, OPTION_TOKENS},
        {"first-byte", required_argument, NULL, OPTION_FIRST_BYTE},
        {"tokens-per-second", required_argument, NULL, OPTION_TPS},
        {"entropy", required_argument, NULL, OPTION_ENTROPY},
        {"uncertain", required_argument, NULL, OPTION_UNCERTAIN},
        {"profile", required_argument, NULL, OPTION_PROFILE},
        {"fault", required_argument, NULL, OPTION_FAULT},
        {"fault-rate", required_argument, NULL, OPTION_FAULT_RATE},
        {"seed", required_argument, NULL, OPTION_SEED},
        {"verbose", no_argument, NULL, OPTION_VERBOSE},
        {"help", no_argument, NULL, OPTION_HELP},
        {NULL, 0, NULL, 0},
};

static bool
read_option(struct command *c, int option)
{
	switch (option) {
	case OPTION_LISTEN: return read_listen(c, optarg);
	case OPTION_API_KEY: c->options.api_key = optarg; return true;
	case OPTION_TOKENS: return add_default(&c->defaults, "tokens", "tokens", optarg);
	case OPTION_FIRST_BYTE: return add_default(&c->defaults, "first-byte", "delay", optarg);
	case OPTION_TPS: return add_default(&c->defaults, "tokens-per-second", "tps", optarg);
	case OPTION_ENTROPY: return add_default(&c->defaults, "entropy", "entropy", optarg);
	case OPTION_UNCERTAIN: return add_default(&c->defaults, "uncertain", "uncertain", optarg);
	case OPTION_PROFILE: return add_marks(&c->profiles, "profile", mem_copy(bytes_of(optarg)));
	case OPTION_FAULT: return add_marks(&c->faults, "fault", mem_copy(bytes_of(optarg)));
	case OPTION_FAULT_RATE: return read_rate(&c->options.fault_rate, optarg);
	case OPTION_SEED: return read_seed(&c->options.seed, optarg);
	case OPTION_VERBOSE: c->verbose = true; return true;
	default: return false; /* getopt_long has said why */
	}
}

/* The exit code, or -1 to go on. */
static int
read_options(struct command *c, int argc, char **argv)
{
	int option;

	optind = 0; /* the program's own options were read before */
	while ((option = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
		if (option == OPTION_HELP) {
			print_help();
			return EXIT_SUCCESS;
		}
		if (!read_option(c, option)) {
			fprintf(stderr, "Try 'draft-thinker simulate --help'.\n");
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "draft-thinker simulate: '%s' is no option\n", argv[optind]);
		fprintf(stderr, "Try 'draft-thinker simulate --help'.\n");
		return EXIT_USAGE;
	}
	return -1;
}

static sigset_t
stop_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	return set;
}

static void *
wait_for_signal(void *worker)
{
	sigset_t set = stop_signals();
	int received;

	sigwait(&set, &received);
	worker_stop(worker);
	return NULL;
}

static void
print_address(const struct command *c, uint16_t port)
{
	bool is_any = c->host[0] == '\0' || strcmp(c->host, "*") == 0;
	bool is_ipv6 = strchr(c->host, ':') != NULL;

	fprintf(stderr, "simulator listening on http://%s%s%s:%u\n", is_ipv6 ? "[" : "",
	        is_any ? "0.0.0.0" : c->host, is_ipv6 ? "]" : "", port);
}

/* Runs the loop until a signal comes. */
static int
run_worker(struct worker *worker)
{
	pthread_t waiter;
	int failure = pthread_create(&waiter, NULL, wait_for_signal, worker);

	if (failure) {
		fprintf(stderr, "draft-thinker simulate: %s\n", strerror(failure));
		return EXIT_FAILURE;
	}
	worker_run(worker);
	pthread_join(waiter, NULL);
	return EXIT_SUCCESS;
}

static int
run(struct command *c)
{
	sigset_t set = stop_signals();
	struct log_sink *sink;
	struct log *log = NULL;
	struct worker *worker = NULL;
	struct simulator *simulator = NULL;
	char error[512] = "no event loop is to be had";
	int status = EXIT_FAILURE;

	/* Threads inherit the mask, so only the one that waits for a signal gets it. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	descriptors_raise_limit();
	sink = log_sink_open("-", error, sizeof(error));
	if (sink)
		log = log_new(sink, LOG_LEVEL_INFO);
	if (log)
		worker = worker_new(0, log);
	if (c->verbose)
		c->options.requests = sink;
	if (worker)
		simulator = simulator_new(worker, &c->options, error, sizeof(error));
	if (simulator) {
		print_address(c, simulator_port(simulator));
		status = run_worker(worker);
	} else {
		fprintf(stderr, "draft-thinker simulate: %s\n", error);
	}
	simulator_free(simulator);
	worker_free(worker);
	log_free(log);
	log_sink_close(sink);
	return status;
}

static void
list_free(struct list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
}

int
command_simulate(int argc, char **argv)
{
	struct command *c = mem_new(sizeof(*c));
	int status;

	c->host = mem_copy(bytes_of("127.0.0.1"));
	c->options.port = 8090;
	c->options.seed = 1;
	c->options.fault_rate = -1;
	status = read_options(c, argc, argv);
	if (status < 0) {
		c->options.host = c->host;
		c->options.defaults = (const char *const *)c->defaults.items;
		c->options.default_count = c->defaults.count;
		c->options.profiles = (const char *const *)c->profiles.items;
		c->options.profile_count = c->profiles.count;
		c->options.faults = (const char *const *)c->faults.items;
		c->options.fault_count = c->faults.count;
		status = run(c);
	}
	list_free(&c->defaults);
	list_free(&c->profiles);
	list_free(&c->faults);
	free(c->host);
	free(c);
	return status;
}
