#include "app/gateway.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/endpoints.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/resident.h"
#include "cache/archive.h"
#include "net/timer.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "route/embed.h"
#include "route/exchange.h"
#include "route/leg.h"
#include "route/service.h"

enum {
	GATEWAY_IDLE_CONNECTIONS = 64, /* to upstreams, of each worker */
	GATEWAY_HEAD_MAX_BYTES = 32 * 1024,
	GATEWAY_SWEEP_MS = 1000,
	GATEWAY_SWEEP_ITEMS = 4096, /* of the cache, each time */
	GATEWAY_BURST = 64,         /* requests, or connections, at a time */
	GATEWAY_TRIM_CACHE_BYTES = 16 * 1024 * 1024,
};

struct station { /* one worker and what belongs to it */
	struct gateway *gateway;
	struct service service;
	struct http_server *server;
	pthread_t thread;
	bool running;
	struct timer *sweep; /* owned: what is not needed any more goes */
	bool was_burst; /* it started, or there were many requests, since memory was given back */
};

struct gateway {
	struct log_sink *log_sink, *access_sink;
	struct log *log;
	struct metrics *metrics;
	struct plan *plan;     /* in force; the main thread's reference */
	struct load *requests; /* chat requests in flight, all workers together */
	struct cache *cache;
	struct helper *searcher; /* what takes long in the cache, or finds it locked */
	struct helper *reader;   /* reads large bodies */
	struct archive *archive; /* NULL: the cache has no file */
	struct station *stations;
	unsigned station_count;
	void (*on_drained)(void *arg);
	void *arg;
	unsigned undrained; /* atomic: workers that have not drained yet */
	unsigned places;    /* atomic: connections within server.max_connections, of all workers */
};

struct log *
gateway_log(const struct gateway *gateway)
{
	return gateway->log;
}

uint32_t
gateway_drain_timeout_ms(const struct gateway *gateway)
{
	return gateway->plan->config->server.drain_timeout_ms;
}

static struct http_server_options
server_options(const struct config *config, unsigned workers, struct station *station)
{
	const struct config_server *server = &config->server;

	return (struct http_server_options){
	        .max_head_bytes = GATEWAY_HEAD_MAX_BYTES,
	        .max_body_bytes = server->max_body_bytes,
	        .max_connections = server->max_connections,
	        .places = &station->gateway->places,
	        .read_timeout_ms = server->read_timeout_ms,
	        .write_timeout_ms = server->write_timeout_ms,
	        .idle_timeout_ms = server->idle_timeout_ms,
	        .share_port = workers > 1,
	        .tls_certificate = server->tls_certificate,
	        .tls_key = server->tls_key,
	        .on_refused = endpoints_refused,
	        .refused_arg = &station->service,
	        .on_left = endpoints_left,
	        .left_arg = &station->service,
	};
}

static struct cache_options
cache_options(const struct config *config)
{
	return (struct cache_options){
	        .max_bytes = config->cache.max_bytes,
	        .max_entries = config->cache.max_entries,
	        .caller_share = config->cache.caller_share,
	};
}

/* ---------------------------------------------------------------- memory after a burst */

/* Nothing is on its loop but what serves them all: each request has a connection, or asks an upstream. */
static bool
station_is_deserted(const struct station *station)
{
	return http_server_connections(station->server) == 0 &&
	       http_client_in_flight(station->service.client) == 0 && !station->service.draining;
}

/* What starting took, and what a burst of requests took and gave back, is held still; once nobody waits it goes back
 * to the kernel. Not with a large cache, whose pieces it would have to walk through. */
static void
return_memory(struct station *station)
{
	struct gateway *gateway = station->gateway;
	unsigned running = load_count(gateway->requests);

	if (running >= GATEWAY_BURST)
		station->was_burst = true;
	if (running > 0 || cache_figures(gateway->cache).bytes > GATEWAY_TRIM_CACHE_BYTES)
		return;
	if (http_server_most_connections(station->server) >= GATEWAY_BURST &&
	    station_is_deserted(station))
		worker_leave(station->service.worker); /* to station_renew */
	else if (station->was_burst)
		resident_return();
	station->was_burst = false;
}

static void
on_sweep(void *arg)
{
	struct station *station = arg;

	http_client_rest(station->service.client);
	if (station == station->gateway->stations)
		cache_sweep(station->gateway->cache, GATEWAY_SWEEP_ITEMS, clock_wall_ms());
	return_memory(station);
	timer_arm_ms(station->sweep, GATEWAY_SWEEP_MS);
}

/* Onto the worker's loop. */
static bool
station_enter(struct station *station)
{
	const struct http_client_options client = {.max_idle_connections =
	                                                   GATEWAY_IDLE_CONNECTIONS};
	struct service *service = &station->service;

	service->client = http_client_new(service->worker, &client);
	if (!service->client)
		return false;
	service->flush = timer_new(service->worker, exchange_flush_all, service);
	station->sweep = timer_new(service->worker, on_sweep, station);
	timer_arm_ms(station->sweep, GATEWAY_SWEEP_MS);
	return true;
}

static void
station_leave(struct station *station)
{
	http_client_free(station->service.client);
	timer_free(station->service.flush);
	timer_free(station->sweep);
	station->service.client = NULL;
	station->service.flush = station->sweep = NULL;
}

static void
on_leave(void *arg)
{
	struct station *station = arg;

	http_server_leave(station->server);
	station_leave(station);
}

static void
on_enter(void *arg)
{
	struct station *station = arg;

	if (!station_enter(station) || !http_server_enter(station->server))
		die("out of memory");
}

/* A loop that had thousands of connections keeps tables of that size for good, and the client its idle ones; so both
 * are made anew. */
static void
station_renew(struct station *station)
{
	if (!station_is_deserted(station))
		return; /* someone came in the last turn */
	if (worker_renew(station->service.worker, on_leave, on_enter, station))
		log_event(station->service.log, LOG_LEVEL_DEBUG, "loop_renewed", "worker=%u",
		          worker_index(station->service.worker));
	resident_return();
}

/* ---------------------------------------------------------------- start */

static bool
station_open(struct gateway *gateway, struct station *station, unsigned index, char *error,
             size_t size)
{
	struct http_server_options server;
	struct service *service = &station->service;

	station->gateway = gateway;
	station->was_burst = true;
	server = server_options(gateway->plan->config, gateway->station_count, station);
	service->worker = worker_new(index, gateway->log);
	service->metrics = gateway->metrics;
	service->shard = metrics_shard(gateway->metrics, index);
	service->log = gateway->log;
	service->access = gateway->access_sink;
	service->plan = plan_ref(gateway->plan);
	service->requests = gateway->requests;
	service->cache = gateway->cache;
	service->searcher = gateway->searcher;
	service->reader = gateway->reader;
	service->speculation_credit = 1;
	service->started_ms = clock_now_us() / 1000;
	TAILQ_INIT(&service->ripe);
	if (!service->worker || !station_enter(station)) {
		snprintf(error, size, "cannot make worker %u: %s", index, strerror(errno));
		return false;
	}
	station->server =
	        http_server_new(service->worker, &server, endpoints_handle, service, error, size);
	return station->server != NULL;
}

/* Every worker listens on the same addresses; the kernel spreads the connections. */
static bool
gateway_listen(struct gateway *gateway, char *error, size_t size)
{
	const struct config_server *server = &gateway->plan->config->server;

	for (size_t i = 0; i < server->listen_count; i++) {
		const char *host = server->listen[i].host;
		uint16_t port = server->listen[i].port;

		for (unsigned k = 0; k < gateway->station_count; k++) {
			if (!http_server_listen(gateway->stations[k].server, host, &port, error,
			                        size))
				return false;
		}
		log_event(gateway->log, LOG_LEVEL_INFO, "listening", "address=%s:%u workers=%u",
		          host, port, gateway->station_count);
	}
	return true;
}

static void *
station_thread(void *arg)
{
	struct station *station = arg;

	while (!worker_run(station->service.worker))
		station_renew(station);
	return NULL;
}

static bool
gateway_run_threads(struct gateway *gateway, char *error, size_t size)
{
	for (unsigned i = 0; i < gateway->station_count; i++) {
		struct station *station = &gateway->stations[i];
		int failure = pthread_create(&station->thread, NULL, station_thread, station);

		if (failure) {
			snprintf(error, size, "cannot start a thread: %s", strerror(failure));
			return false;
		}
		station->running = true;
	}
	return true;
}

static bool
gateway_open_archive(struct gateway *gateway, char *error, size_t size)
{
	const struct config_cache_store *store = &gateway->plan->config->cache;

	if (!store->file)
		return true;
	gateway->archive =
	        archive_start(gateway->cache, store->file, store->file_interval_ms, gateway->log);
	if (!gateway->archive)
		snprintf(error, size, "cannot start a thread for cache.file");
	return gateway->archive != NULL;
}

static bool
gateway_open_logs(struct gateway *gateway, const struct config *config, char *error, size_t size)
{
	bool same = config->access_file && strcmp(config->access_file, config->log_file) == 0;

	gateway->log_sink = log_sink_open(config->log_file, error, size);
	if (!gateway->log_sink)
		return false;
	gateway->log = log_new(gateway->log_sink, config->log_level);
	if (same)
		gateway->access_sink = gateway->log_sink;
	else if (config->access_file)
		gateway->access_sink = log_sink_open(config->access_file, error, size);
	return !config->access_file || gateway->access_sink;
}

struct gateway *
gateway_start(struct config *config, void (*on_drained)(void *arg), void *arg, char *error,
              size_t size)
{
	struct gateway *gateway = mem_new(sizeof(*gateway));
	bool opened = gateway_open_logs(gateway, config, error, size);
	struct cache_options cache = cache_options(config);

	gateway->on_drained = on_drained;
	gateway->arg = arg;
	gateway->plan = plan_new(config, NULL, error, size);
	if (!opened || !gateway->plan)
		goto fail;
	gateway->station_count = config->server.workers;
	gateway->undrained = config->server.workers;
	gateway->stations = mem_array(gateway->station_count, sizeof(*gateway->stations));
	gateway->requests = load_new();
	gateway->cache = cache_new(&cache);
	gateway->searcher = helper_new();
	gateway->reader = helper_new();
	gateway->metrics = metrics_new(gateway->station_count);
	for (unsigned i = 0; i < gateway->station_count; i++) {
		if (!station_open(gateway, &gateway->stations[i], i, error, size))
			goto fail;
	}
	if (!gateway_listen(gateway, error, size) || !gateway_run_threads(gateway, error, size) ||
	    !gateway_open_archive(gateway, error, size))
		goto fail;
	return gateway;
fail:
	gateway_stop(gateway, true);
	return NULL;
}

/* ---------------------------------------------------------------- reload */

struct reload {
	struct station *station;
	struct plan *plan; /* owned: one reference */
};

static void
on_station_reload(void *arg)
{
	struct reload *reload = arg;
	struct station *station = reload->station;
	struct http_server_options options =
	        server_options(reload->plan->config, station->gateway->station_count, station);
	char error[256];

	if (!http_server_reload(station->server, &options, error, sizeof(error)))
		log_event(station->service.log, LOG_LEVEL_ERROR, "reload_failed", "%s", error);
	plan_show_breakers(station->service.plan, reload->plan, station->service.shard);
	plan_unref(station->service.plan);
	station->service.plan = reload->plan;
	free(reload);
}

static bool
same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool
same_listeners(const struct config_server *a, const struct config_server *b)
{
	if (a->listen_count != b->listen_count || a->workers != b->workers)
		return false;
	for (size_t i = 0; i < a->listen_count; i++) {
		if (a->listen[i].port != b->listen[i].port ||
		    strcmp(a->listen[i].host, b->listen[i].host) != 0)
			return false;
	}
	return true;
}

bool
gateway_reload(struct gateway *gateway, struct config *config, char *error, size_t size)
{
	const struct config *old = gateway->plan->config;
	struct cache_options cache = cache_options(config);
	struct plan *plan = plan_new(config, gateway->plan, error, size);

	if (!plan)
		return false;
	if (!same_listeners(&old->server, &config->server) ||
	    !same_text(old->log_file, config->log_file) ||
	    !same_text(old->access_file, config->access_file) ||
	    !same_text(old->cache.file, config->cache.file) ||
	    old->cache.file_interval_ms != config->cache.file_interval_ms)
		log_event(gateway->log, LOG_LEVEL_WARN, "reload_partial",
		          "what=\"server.listen, server.port, server.workers, log files and the "
		          "cache's file change only by a restart\"");
	cache_configure(gateway->cache, &cache);
	log_set_level(gateway->log, config->log_level);
	for (unsigned i = 0; i < gateway->station_count; i++) {
		struct reload *reload = mem_new(sizeof(*reload));

		reload->station = &gateway->stations[i];
		reload->plan = plan_ref(plan);
		worker_post(gateway->stations[i].service.worker, on_station_reload, reload);
	}
	plan_unref(gateway->plan);
	gateway->plan = plan;
	return true;
}

void
gateway_reopen_logs(struct gateway *gateway)
{
	log_sink_reopen(gateway->log_sink);
	if (gateway->access_sink && gateway->access_sink != gateway->log_sink)
		log_sink_reopen(gateway->access_sink);
}

/* ---------------------------------------------------------------- drain and stop */

static void
on_station_drained(void *arg)
{
	struct station *station = arg;
	struct gateway *gateway = station->gateway;

	if (__atomic_sub_fetch(&gateway->undrained, 1, __ATOMIC_ACQ_REL) == 0)
		gateway->on_drained(gateway->arg);
}

static void
on_station_drain(void *arg)
{
	struct station *station = arg;

	station->service.draining = true;
	http_server_drain(station->server, on_station_drained, station);
}

void
gateway_drain(struct gateway *gateway)
{
	for (unsigned i = 0; i < gateway->station_count; i++)
		worker_post(gateway->stations[i].service.worker, on_station_drain,
		            &gateway->stations[i]);
}

static void
station_close(struct station *station)
{
	/* The thread is gone: what belonged to it is this thread's now. */
	if (station->server)
		http_server_free(station->server);
	if (station->service.worker)
		worker_run_posted(station->service.worker);
	leg_end_lingering(&station->service);
	embed_end_all(&station->service);
	station_leave(station);
	plan_unref(station->service.plan);
	chat_frame_fini(&station->service.frame);
	worker_free(station->service.worker);
}

void
gateway_stop(struct gateway *gateway, bool at_once)
{
	for (unsigned i = 0; i < gateway->station_count; i++) {
		if (gateway->stations[i].running)
			worker_stop(gateway->stations[i].service.worker);
	}
	for (unsigned i = 0; i < gateway->station_count; i++) {
		if (gateway->stations[i].running)
			pthread_join(gateway->stations[i].thread, NULL);
	}
	/* What they still hand to a worker is run by station_close. */
	helper_free(gateway->searcher);
	helper_free(gateway->reader);
	for (unsigned i = 0; i < gateway->station_count; i++)
		station_close(&gateway->stations[i]);
	archive_stop(gateway->archive, at_once);
	cache_free(gateway->cache);
	free(gateway->stations);
	if (gateway->metrics)
		metrics_free(gateway->metrics);
	plan_unref(gateway->plan);
	load_unref(gateway->requests);
	if (gateway->log)
		log_free(gateway->log);
	if (gateway->access_sink != gateway->log_sink)
		log_sink_close(gateway->access_sink);
	log_sink_close(gateway->log_sink);
	free(gateway);
}
