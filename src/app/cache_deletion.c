/* Answers are deleted on the searcher's thread: a caller may have a million of them. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "app/endpoints.h"
#include "app/endpoints_private.h"
#include "base/mem.h"
#include "net/errand.h"
#include "route/recall.h"

struct deletion {
	struct errand errand;
	struct service *service;
	struct http_call *call; /* lent; NULL: the client left */
	struct sha256 caller;
	char *id;  /* owned; NULL: all of the caller's */
	bool done; /* it has been there */
};

_Static_assert(offsetof(struct deletion, errand) == 0, "a deletion begins with its errand");

static void
deletion_free(struct deletion *deletion)
{
	free(deletion->id);
	free(deletion);
}

static void
deletion_run(struct errand *errand)
{
	struct deletion *deletion = (struct deletion *)errand;
	struct cache *cache = deletion->service->cache;

	if (deletion->id) {
		deletion->done = cache_delete(cache, &deletion->caller, deletion->id);
		return;
	}
	cache_delete_caller(cache, &deletion->caller);
	deletion->done = true;
}

static void
deletion_done(struct errand *errand)
{
	struct deletion *deletion = (struct deletion *)errand;
	struct api_error error;

	if (deletion->call && deletion->done) {
		endpoint_done(deletion->service, deletion->call);
	} else if (deletion->call) {
		/* Nor is it told whether another caller has it. */
		api_error_set(&error, 404, NULL, "not_found",
		              "There is no answer `%.64s` in your cache.", deletion->id);
		endpoint_fail(deletion->service, deletion->call, &error, NULL);
	}
	deletion_free(deletion);
}

static void
on_client_gone(void *arg)
{
	struct deletion *deletion = arg;

	deletion->call = NULL;
	endpoints_left(deletion->service, false);
}

/* id NULL: all of the caller's. */
static void
deletion_begin(struct service *service, struct http_call *call, const char *id)
{
	struct deletion *deletion = mem_new(sizeof(*deletion));
	struct api_error error;

	*deletion = (struct deletion){
	        .errand = {.run = deletion_run, .done = deletion_done},
	        .service = service,
	        .call = call,
	        .caller = recall_caller(http_call_header(call, HTTP_FIELD_AUTHORIZATION)),
	        .id = id ? mem_copy(bytes_of(id)) : NULL,
	};
	if (errand_send(&deletion->errand, service->searcher, service->worker)) {
		http_call_watch(call, on_client_gone, NULL, deletion);
		return;
	}
	deletion_free(deletion);
	api_error_set(&error, 503, NULL, "over_capacity", "Too much is waiting for the cache.");
	error.retry_after_ms = 1000;
	endpoint_fail(service, call, &error, NULL);
}

void
handle_cache(struct service *service, struct http_call *call)
{
	deletion_begin(service, call, NULL);
}

void
handle_cache_entry(struct service *service, struct http_call *call)
{
	deletion_begin(service, call, http_call_path(call) + strlen("/v1/cache/"));
}
