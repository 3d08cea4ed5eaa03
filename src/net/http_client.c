/*
 * The pool: libcurl's multi handle on the worker's loop.
 *
 * libcurl says which sockets and which time it waits for (on_curl_interest, on_curl_timeout); these only
 * take note. The loop's events call curl_multi_socket_action, and after each such call client_settle
 * does what had to wait until libcurl was off the stack: cancelled fetches are removed, ended ones
 * reported, new ones added, resumed ones resumed.
 */
#include "net/http_client.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/http_client_private.h"

/* A socket that libcurl has an interest in. Owned by the client, until libcurl removes it, which it does
 * before it closes the socket. */
struct client_socket {
	struct client_socket *next, *prev;
	struct http_client *client;
	struct event event;
};

bool
http_client_global_init(void)
{
	/* libcurl is told not to touch signals, and OpenSSL's writes raise it. */
	signal(SIGPIPE, SIG_IGN);
	return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

/* ---------------------------------------------------------------- after libcurl */

void
client_todo_add(struct http_fetch *fetch)
{
	struct http_client *client = fetch->client;

	if (fetch->in_todo)
		return;
	fetch->in_todo = true;
	fetch->todo_next = NULL;
	*client->todo_end = fetch;
	client->todo_end = &fetch->todo_next;
	if (client->depth == 0)
		timer_arm_ms(client->settle, 0);
}

void
client_todo_remove(struct http_fetch *fetch)
{
	struct http_client *client = fetch->client;
	struct http_fetch **at = &client->todo;

	if (!fetch->in_todo)
		return;
	while (*at != fetch)
		at = &(*at)->todo_next;
	*at = fetch->todo_next;
	if (!*at)
		client->todo_end = at;
	fetch->in_todo = false;
}

/* Cancelled fetches come first: their end may be among the messages. */
static void
client_settle(struct http_client *client)
{
	CURLMsg *message;
	int left;

	do {
		while (client->todo) {
			struct http_fetch *fetch = client->todo;

			client_todo_remove(fetch);
			fetch_on_todo(fetch);
		}
		message = curl_multi_info_read(client->multi, &left);
		if (message && message->msg == CURLMSG_DONE) {
			/* The message dies with the handle's removal. */
			CURLcode code = message->data.result;
			void *fetch = NULL;

			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &fetch);
			fetch_on_done(fetch_cast(fetch), code);
		}
	} while (message || client->todo);
}

static void
client_act(struct http_client *client, curl_socket_t fd, int ready)
{
	int running;

	client->depth++;
	client->entered_us = worker_now_us(client->worker);
	curl_multi_socket_action(client->multi, fd, ready, &running);
	client->depth--;
	client_settle(client);
}

/* ---------------------------------------------------------------- libcurl and the loop */

static void
on_socket_ready(evutil_socket_t fd, short what, void *arg)
{
	struct client_socket *s = arg;
	int ready =
	        (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);

	client_act(s->client, fd, ready); /* s may be gone */
}

static void
on_timer(void *arg)
{
	client_act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void
on_settle(void *arg)
{
	client_settle(arg);
}

static struct client_socket *
client_socket_new(struct http_client *client, curl_socket_t fd)
{
	struct client_socket *s = mem_new(sizeof(*s));

	s->client = client;
	s->next = client->sockets;
	if (s->next)
		s->next->prev = s;
	client->sockets = s;
	worker_note_fd(client->worker, fd);
	event_assign(&s->event, worker_base(client->worker), fd, 0, on_socket_ready, s);
	curl_multi_assign(client->multi, fd, s);
	return s;
}

static void
client_socket_free(struct client_socket *s)
{
	event_del(&s->event);
	if (s->next)
		s->next->prev = s->prev;
	if (s->prev)
		s->prev->next = s->next;
	else
		s->client->sockets = s->next;
	free(s);
}

static int
on_curl_interest(CURL *easy, curl_socket_t fd, int what, void *arg, void *of_socket)
{
	struct http_client *client = arg;
	struct client_socket *s = of_socket;
	short events = EV_PERSIST;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (s)
			client_socket_free(s);
		return 0;
	}
	if (!s)
		s = client_socket_new(client, fd);
	events = (short)(events | (what & CURL_POLL_IN ? EV_READ : 0) |
	                 (what & CURL_POLL_OUT ? EV_WRITE : 0));
	event_del(&s->event);
	event_assign(&s->event, worker_base(client->worker), fd, events, on_socket_ready, s);
	/* A failure shows as silence, which the fetch's deadlines end. */
	event_add(&s->event, NULL);
	return 0;
}

static int
on_curl_timeout(CURLM *multi, long after_ms, void *arg)
{
	struct http_client *client = arg;

	(void)multi;
	if (after_ms < 0)
		timer_disarm(client->timer);
	else
		timer_arm_ms(client->timer, (uint64_t)after_ms);
	return 0;
}

/* ---------------------------------------------------------------- transfers */

/*
 * WORKAROUND(curl-7.88): its limit is on all connections, not on the idle ones, and is 4 times the number
 * of transfers unless set: a burst would end with the pool emptied. A connection is counted while it is
 * being given back, hence the 1. Test: idle_connections_survive_a_burst.
 */
static void
client_limit_idle(struct http_client *client)
{
	long others = client->transfers > 0 ? (long)client->transfers - 1 : 0;

	curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS,
	                  others + (long)client->max_idle_connections);
}

/*
 * WORKAROUND(curl-7.88): to find an idle connection it looks at each one to that host, one that is in use or
 * not, which with thousands of streams takes longer than to open one. So where all of many are in use it is
 * told not to look. A socket too many (two addresses are tried at a time) only makes it look. Test:
 * with_all_connections_in_use_none_is_looked_for.
 */
static bool
client_has_none_idle(const struct http_client *client)
{
	return client->holders >= CLIENT_MANY && client->open_sockets <= client->holders;
}

/*
 * WORKAROUND(curl-7.88): a connection that is given back while as many are idle as may be makes it look at each
 * one, for the one that was idle longest; at the end of a burst of thousands that takes a loop's whole time for
 * seconds. So most of them are closed instead. Not all: the idle ones may be to a host that is not asked any
 * more. Test: enough_idle_connections_close_most_others.
 */
void
client_choose_close(struct http_fetch *fetch)
{
	const struct http_client *client = fetch->client;
	bool closes = !fetch->keeps && client->holders >= CLIENT_MANY &&
	              client->open_sockets >= client->holders + client->max_idle_connections;

	if (closes != fetch->closes &&
	    curl_easy_setopt(fetch->easy, CURLOPT_FORBID_REUSE, closes ? 1L : 0L) == CURLE_OK)
		fetch->closes = closes;
}

bool
client_attach(struct http_fetch *fetch)
{
	struct http_client *client = fetch->client;

	fetch->fresh = client_has_none_idle(client) &&
	               curl_easy_setopt(fetch->easy, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK;
	fetch->attached = curl_multi_add_handle(client->multi, fetch->easy) == CURLM_OK;
	if (fetch->attached) {
		client->transfers++;
		/* libcurl has armed its timer to begin at once; this spares the loop a turn. */
		timer_fire(client->timer);
	}
	client_limit_idle(client);
	return fetch->attached;
}

void
client_detach(struct http_fetch *fetch)
{
	struct http_client *client = fetch->client;

	if (!fetch->attached)
		return;
	fetch->attached = false;
	curl_multi_remove_handle(client->multi, fetch->easy);
	if (fetch->fresh)
		curl_easy_setopt(fetch->easy, CURLOPT_FRESH_CONNECT, 0L);
	if (fetch->closes)
		curl_easy_setopt(fetch->easy, CURLOPT_FORBID_REUSE, 0L);
	client->transfers--;
	client->holders -= fetch->holds;
	fetch->holds = false;
	client_limit_idle(client);
}

/* ---------------------------------------------------------------- life */

static const char *
system_ca_file(void)
{
	const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

	return info->cainfo ? info->cainfo : "/etc/ssl/certs/ca-certificates.crt";
}

static bool
client_set_up(struct http_client *client)
{
	client->multi = curl_multi_init();
	client->share = curl_share_init();
	return client->multi && client->share &&
	       /* No locks: a worker's thread alone uses it. */
	       curl_share_setopt(client->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) ==
	               CURLSHE_OK &&
	       curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_curl_interest) ==
	               CURLM_OK &&
	       curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client) == CURLM_OK &&
	       curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_curl_timeout) ==
	               CURLM_OK &&
	       curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client) == CURLM_OK &&
	       curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) ==
	               CURLM_OK;
}

struct http_client *
http_client_new(struct worker *worker, const struct http_client_options *options)
{
	struct http_client *client = mem_new(sizeof(*client));
	const char *ca_file = options->ca_file ? options->ca_file : system_ca_file();

	client->worker = worker;
	client->todo_end = &client->todo;
	client->ca_file = mem_copy(bytes_of(ca_file));
	client->max_idle_connections =
	        options->max_idle_connections ? options->max_idle_connections : CLIENT_IDLE_DEFAULT;
	client->timer = timer_new(worker, on_timer, client);
	client->settle = timer_new(worker, on_settle, client);
	if (!client_set_up(client)) {
		http_client_free(client);
		return NULL;
	}
	return client;
}

void
http_client_free(struct http_client *client)
{
	if (!client)
		return;
	if (client->depth > 0 || client->telling > 0)
		die("http_client_free: called inside a callback of one of its fetches");
	for (struct http_fetch *fetch = client->fetches, *next; fetch; fetch = next) {
		next = fetch->next;
		fetch_destroy(fetch);
	}
	while (client->spare_count > 0)
		curl_easy_cleanup(client->spares[--client->spare_count]);
	if (client->multi)
		curl_multi_cleanup(client->multi);
	if (client->share)
		curl_share_cleanup(client->share);
	for (struct client_socket *s = client->sockets, *next; s; s = next) {
		next = s->next;
		client_socket_free(s);
	}
	timer_free(client->timer);
	timer_free(client->settle);
	free(client->ca_file);
	free(client);
}

void
http_client_rest(struct http_client *client)
{
	if (client->in_flight > 0)
		return;
	while (client->spare_count > CLIENT_RESTING_HANDLES)
		curl_easy_cleanup(client->spares[--client->spare_count]);
}

unsigned
http_client_in_flight(const struct http_client *client)
{
	return client->in_flight;
}

uint64_t
http_client_connects(const struct http_client *client)
{
	return client->connects;
}
