/*
 * The gateway's command: reads the configuration, starts the gateway and waits for signals. The signals
 * are blocked in every thread and taken here one at a time, so no handler ever runs and nothing about
 * them is asynchronous; it also makes them count as PID 1, for which the kernel drops signals that are
 * neither handled nor blocked.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/commands.h"
#include "app/descriptors.h"
#include "app/gateway.h"
#include "base/clock.h"
#include "net/http_client.h"

static const char usage[] = "usage: draft-thinker [-c FILE]\n"
                            "\n"
                            "Runs the gateway in the foreground. Without -c the file is "
                            "config/draft-thinker.yaml if there is\n"
                            "one, else built-in defaults.\n"
                            "\n"
                            "Signals: SIGTERM, SIGINT  drain: finish what runs within "
                            "server.drain_timeout; again: stop at once\n"
                            "         SIGHUP           read the file again; a bad file is reported "
                            "and the old one stays\n"
                            "         SIGUSR1          reopen the log files\n";

struct run {
	const char *path; /* NULL: built-in defaults */
	pthread_t main_thread;
	struct gateway *gateway;
};

/* The signal by which the last drained worker wakes the main thread. */
#define SIGNAL_DRAINED SIGUSR2

static void
on_drained(void *arg)
{
	struct run *run = arg;

	pthread_kill(run->main_thread, SIGNAL_DRAINED);
}

static void
block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGNAL_DRAINED);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk */
}

/* Logs each line of a report. */
static void
log_report(struct log *log, enum log_level level, const struct buf *lines)
{
	const char *p = lines->p, *end = lines->p + lines->n;

	while (p && p < end) {
		const char *stop = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((stop ? stop : end) - p);

		if (n > 0)
			log_event(log, level, "config", "%.*s", (int)n, p);
		p += n + 1;
	}
}

static void
run_reload(struct run *run)
{
	struct log *log = gateway_log(run->gateway);
	struct config_report report;
	struct config *config;
	char error[512];

	config_report_init(&report);
	config = config_load(run->path, &report);
	log_report(log, LOG_LEVEL_WARN, &report.warnings);
	if (!config) {
		log_report(log, LOG_LEVEL_ERROR, &report.errors);
		log_event(log, LOG_LEVEL_ERROR, "reload_failed",
		          "errors=%u kept=\"the old configuration\"", report.error_count);
	} else if (!gateway_reload(run->gateway, config, error, sizeof(error))) {
		log_event(log, LOG_LEVEL_ERROR, "reload_failed", "%s", error);
	} else {
		log_event(log, LOG_LEVEL_INFO, "reloaded", "file=%s",
		          run->path ? run->path : "(built-in defaults)");
	}
	config_report_fini(&report);
}

/* Waits until the workers have drained, the time is over, or a second signal comes. True: that one came. */
static bool
run_drain(struct run *run, const sigset_t *set)
{
	struct log *log = gateway_log(run->gateway);
	uint32_t drain_timeout_ms = gateway_drain_timeout_ms(run->gateway);
	uint64_t end_us = clock_now_us() + (uint64_t)drain_timeout_ms * 1000;

	log_event(log, LOG_LEVEL_INFO, "draining", "timeout_s=%.3f", drain_timeout_ms / 1e3);
	gateway_drain(run->gateway);
	for (;;) {
		uint64_t now_us = clock_now_us();
		uint64_t left_us = end_us > now_us ? end_us - now_us : 0;
		struct timespec left = {.tv_sec = (time_t)(left_us / 1000000),
		                        .tv_nsec = (long)(left_us % 1000000 * 1000)};
		int signal_number = sigtimedwait(set, NULL, &left);

		if (signal_number == SIGNAL_DRAINED) {
			log_event(log, LOG_LEVEL_INFO, "drained", "status=clean");
			return false;
		}
		if (signal_number == SIGTERM || signal_number == SIGINT) {
			log_event(log, LOG_LEVEL_WARN, "stopped", "why=\"second signal\"");
			return true;
		}
		if (signal_number == SIGUSR1)
			gateway_reopen_logs(run->gateway);
		if (signal_number < 0 && errno == EAGAIN) {
			log_event(log, LOG_LEVEL_WARN, "stopped", "why=\"drain_timeout is over\"");
			return false;
		}
	}
}

/* True: it is to stop at once. */
static bool
run_until_signal(struct run *run, const sigset_t *set)
{
	for (;;) {
		int signal_number = 0;

		if (sigwait(set, &signal_number) != 0)
			continue;
		if (signal_number == SIGHUP)
			run_reload(run);
		else if (signal_number == SIGUSR1)
			gateway_reopen_logs(run->gateway);
		else if (signal_number == SIGTERM || signal_number == SIGINT)
			break;
	}
	return run_drain(run, set);
}

static int
run_gateway(struct run *run)
{
	struct config_report report;
	struct config *config;
	char error[512];
	sigset_t set;

	config_report_init(&report);
	config = config_load(run->path, &report);
	if (!config) {
		fwrite(report.errors.p, 1, report.errors.n, stderr);
		fprintf(stderr, "draft-thinker: the configuration has %u error%s\n",
		        report.error_count, report.error_count == 1 ? "" : "s");
		config_report_fini(&report);
		return 1;
	}
	block_signals(&set);
	descriptors_raise_limit();
	if (!http_client_global_init()) {
		fprintf(stderr, "draft-thinker: libcurl cannot be initialised\n");
		config_unref(config);
		config_report_fini(&report);
		return 1;
	}
	run->main_thread = pthread_self();
	run->gateway = gateway_start(config, on_drained, run, error, sizeof(error));
	if (!run->gateway) {
		fprintf(stderr, "draft-thinker: %s\n", error);
		config_report_fini(&report);
		return 1;
	}
	log_report(gateway_log(run->gateway), LOG_LEVEL_WARN, &report.warnings);
	descriptors_warn(gateway_log(run->gateway), config->server.max_connections,
	                 config->server.workers);
	config_report_fini(&report);
	gateway_stop(run->gateway, run_until_signal(run, &set));
	return 0;
}

int
command_run(int argc, char **argv)
{
	static const struct option options[] = {
	        {"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'}, {0}};
	struct run run = {.path = config_default_path()};
	int option;

	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c': run.path = optarg; break;
		case 'h': fputs(usage, stdout); return 0;
		default: fputs(usage, stderr); return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "draft-thinker: unexpected argument `%s`\n%s", argv[optind], usage);
		return 2;
	}
	return run_gateway(&run);
}
