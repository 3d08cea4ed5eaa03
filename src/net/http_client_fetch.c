/*
 * One request: started, its callbacks in the order in which they happen, its four deadlines, its end.
 *
 * One timer serves all deadlines. It is moved only when a deadline comes earlier than the time at which it is
 * to fire; a deadline that moved later, as the one between bytes does at each piece, is found when it fires.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/http_client_private.h"

struct http_fetch *
fetch_cast(void *p)
{
	struct http_fetch *fetch = p;

	if (!fetch || fetch->magic != HTTP_FETCH_MAGIC)
		die("http_client: not a fetch");
	return fetch;
}

/* ---------------------------------------------------------------- deadlines */

static void
deadline_add(uint64_t since_us, uint32_t ms, enum http_fetch_result kind, uint64_t *nearest,
             enum http_fetch_result *which)
{
	uint64_t at_us = since_us + (uint64_t)ms * 1000;

	if (ms == 0 || (*nearest != 0 && *nearest <= at_us))
		return;
	*nearest = at_us;
	*which = kind;
}

/* When it must have gone on, or 0; *which: what it has failed by otherwise. */
static uint64_t
fetch_deadline_us(const struct http_fetch *fetch, enum http_fetch_result *which)
{
	uint64_t nearest = 0;

	if (fetch->phase == FETCH_ENDED)
		return 0;
	if (fetch->phase == FETCH_CONNECTING)
		deadline_add(fetch->times.start_us, fetch->connect_ms, HTTP_FETCH_TIMEOUT_CONNECT,
		             &nearest, which);
	else if (fetch->phase == FETCH_WAITING)
		deadline_add(fetch->times.connected_us, fetch->first_byte_ms,
		             HTTP_FETCH_TIMEOUT_FIRST_BYTE, &nearest, which);
	else if (!fetch->paused)
		deadline_add(fetch->active_us, fetch->idle_ms, HTTP_FETCH_TIMEOUT_IDLE, &nearest,
		             which);
	deadline_add(fetch->times.start_us, fetch->total_ms, HTTP_FETCH_TIMEOUT_TOTAL, &nearest,
	             which);
	return nearest;
}

void
fetch_arm(struct http_fetch *fetch)
{
	enum http_fetch_result which;
	uint64_t at_us = fetch_deadline_us(fetch, &which);
	uint64_t now_us;

	if (at_us == 0 || (fetch->armed_us != 0 && fetch->armed_us <= at_us))
		return;
	now_us = worker_now_us(fetch->client->worker);
	timer_arm_ms(fetch->timer, at_us > now_us ? (at_us - now_us + 999) / 1000 : 0);
	fetch->armed_us = at_us;
}

/* ---------------------------------------------------------------- end */

/* Back with libcurl off the stack, or never attached. */
void
fetch_destroy(struct http_fetch *fetch)
{
	struct http_client *client = fetch->client;

	client_detach(fetch);
	client_todo_remove(fetch);
	if (fetch->next)
		fetch->next->prev = fetch->prev;
	if (fetch->prev)
		fetch->prev->next = fetch->next;
	else
		client->fetches = fetch->next;
	timer_free(fetch->timer);
	if (fetch->easy)
		easy_give_back(client, fetch->easy);
	header_list_fini(&fetch->headers);
	buf_fini(&fetch->head);
	fetch->magic = 0;
	free(fetch);
}

/* The one way to on_end. */
static void
fetch_deliver_end(struct http_fetch *fetch)
{
	struct http_client *client = fetch->client;

	fetch->told = true;
	client->in_flight--;
	client->telling++;
	fetch->events.on_end(fetch->arg, fetch, fetch->result, fetch->error);
	client->telling--;
	fetch_destroy(fetch);
}

/* fetch->error says why. A pause holds back what the peer did, not what a timer did. */
static void
fetch_end(struct http_fetch *fetch, enum http_fetch_result result)
{
	fetch->phase = FETCH_ENDED;
	fetch->result = result;
	client_detach(fetch);
	timer_disarm(fetch->timer);
	if (!fetch->paused || http_fetch_result_is_timeout(result))
		fetch_deliver_end(fetch);
}

void
fetch_on_done(struct http_fetch *fetch, CURLcode code)
{
	fetch_end(fetch, result_of(fetch, code));
}

static void
on_deadline(void *arg)
{
	struct http_fetch *fetch = fetch_cast(arg);
	enum http_fetch_result which = HTTP_FETCH_OK;
	uint64_t at_us = fetch_deadline_us(fetch, &which);

	fetch->armed_us = 0;
	if (at_us == 0)
		return;
	if (at_us > worker_now_us(fetch->client->worker)) {
		fetch_arm(fetch);
		return;
	}
	result_explain_timeout(fetch, which);
	fetch_end(fetch, which);
}

/* ---------------------------------------------------------------- response */

static size_t
fetch_refuse(struct http_fetch *fetch, const char *why)
{
	fetch->refusal = why;
	return 0;
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool
line_is_empty(const char *p, size_t n)
{
	return n > 0 && (p[0] == '\n' || (n > 1 && p[0] == '\r' && p[1] == '\n'));
}

static void
head_reset(struct http_fetch *fetch)
{
	buf_fini(&fetch->head);
	memset(fetch->head_values, 0, sizeof(fetch->head_values));
	fetch->head_field = HTTP_ANSWER_OTHER;
}

/* Keeps the value if the line has a field that is asked for. Each head, interim ones too, begins with a status. */
static void
head_note(struct http_fetch *fetch, struct bytes line)
{
	const char *colon = memchr(line.p, ':', line.n), *p, *end = line.p + line.n;

	if (line.n >= 5 && memcmp(line.p, "HTTP/", 5) == 0) {
		head_reset(fetch);
		return;
	}
	if (line.n > 0 && is_space(*line.p)) {
		fetch->head_values[fetch->head_field] = 0;
		return;
	}
	fetch->head_field = HTTP_ANSWER_OTHER;
	if (!colon)
		return;
	fetch->head_field =
	        http_answer_field_find((struct bytes){line.p, (size_t)(colon - line.p)});
	if (fetch->head_field == HTTP_ANSWER_OTHER)
		return;
	for (p = colon + 1; p < end && is_space(*p);)
		p++;
	while (end > p && is_space(end[-1]))
		end--;
	fetch->head_values[fetch->head_field] = (uint32_t)fetch->head.n + 1;
	buf_add(&fetch->head, p, (size_t)(end - p));
	buf_add(&fetch->head, "", 1);
}

/* A line of a head: interim ones, the final one, and the trailers of a chunked body. */
size_t
on_curl_header(char *p, size_t size, size_t count, void *arg)
{
	struct http_fetch *fetch = fetch_cast(arg);
	size_t n = size * count;
	long status = 0;

	if (fetch->dead)
		return 0;
	fetch->head_bytes += n;
	if (fetch->head_bytes > FETCH_HEAD_MAX_BYTES)
		return fetch_refuse(fetch, "the response's head is too large");
	if (fetch->phase != FETCH_WAITING)
		return n;
	if (!line_is_empty(p, n)) {
		head_note(fetch, (struct bytes){p, n});
		return n;
	}
	curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 100 || status == 101)
		return fetch_refuse(fetch, "the response's status is not one that was asked for");
	if (status < 200)
		return n;
	if (fetch->head.failed)
		return fetch_refuse(fetch, "there is no memory for the response's head");
	fetch->phase = FETCH_RECEIVING;
	fetch->active_us = worker_now_us(fetch->client->worker);
	fetch->times.first_byte_us = fetch->active_us;
	fetch_arm(fetch);
	fetch->events.on_head(fetch->arg, fetch, (int)status);
	head_reset(fetch);
	return fetch->dead ? 0 : n;
}

size_t
on_curl_write(char *p, size_t size, size_t count, void *arg)
{
	struct http_fetch *fetch = fetch_cast(arg);
	size_t n = size * count;

	if (fetch->dead)
		return 0;
	if (fetch->phase != FETCH_RECEIVING)
		return fetch_refuse(fetch, "the response has no head");
	if (fetch->paused) {
		/* libcurl keeps this piece, and stops reading. */
		fetch->stopped = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	/* Of many pieces that one read brought it is one time; to ask for it took longer than to hand a piece over. */
	fetch->active_us = fetch->client->entered_us;
	client_choose_close(fetch); /* it may be the last one */
	fetch->events.on_data(fetch->arg, fetch, (struct bytes){p, n});
	return fetch->dead ? 0 : n;
}

/* ---------------------------------------------------------------- what the owner calls */

bool
http_fetch_is_sent(const struct http_fetch *fetch)
{
	curl_off_t sent = -1;

	/* libcurl repeats a request only as long as there is no line of a response. */
	if (fetch->phase != FETCH_RECEIVING)
		return false;
	curl_easy_getinfo(fetch->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	return sent >= 0 && (uint64_t)sent == fetch->body_bytes;
}

struct http_fetch *
http_fetch_start(struct http_client *client, const struct http_fetch_spec *spec,
                 const struct http_fetch_events *events, void *arg)
{
	struct http_fetch *fetch = mem_new(sizeof(*fetch));
	struct curl_slist *shared = spec->target->headers.first;

	fetch->magic = HTTP_FETCH_MAGIC;
	fetch->client = client;
	fetch->next = client->fetches;
	if (fetch->next)
		fetch->next->prev = fetch;
	client->fetches = fetch;
	fetch->events = *events;
	fetch->arg = arg;
	fetch->body = spec->body;
	fetch->rope = spec->rope;
	/* Of one piece, as most are. */
	if (fetch->rope && fetch->rope->borrowed_count == 0) {
		fetch->body = buf_bytes(&fetch->rope->own);
		fetch->rope = NULL;
	}
	fetch->body_bytes = fetch->rope ? rope_size(fetch->rope) : fetch->body.n;
	fetch->connect_ms = spec->connect_ms;
	fetch->first_byte_ms = spec->first_byte_ms;
	fetch->idle_ms = spec->idle_ms;
	fetch->total_ms = spec->total_ms;
	fetch->keeps = ++client->started % CLIENT_KEEPS_ONE_OF == 0;
	fetch->timer = timer_new(client->worker, on_deadline, fetch);
	fetch->times.start_us = worker_now_us(client->worker);
	if (!header_list_make(&fetch->headers, spec->headers, spec->header_count, NULL, shared,
	                      fetch->error, sizeof(fetch->error)))
		goto fail;
	fetch->error[0] = '\0';
	fetch->easy = easy_take(client);
	if (!fetch->easy || !easy_prepare(fetch, spec))
		goto fail;
	if (client->depth > 0)
		fetch->waits_start = true;
	else if (!client_attach(fetch))
		goto fail;
	if (fetch->waits_start)
		client_todo_add(fetch);
	client->in_flight++;
	fetch_arm(fetch);
	return fetch;
fail:
	fetch_destroy(fetch);
	return NULL;
}

void
http_fetch_cancel(struct http_fetch *fetch)
{
	struct http_client *client = fetch_cast(fetch)->client;

	/* Inside its own on_end there is nothing left to cancel. */
	if (fetch->dead || fetch->told)
		return;
	fetch->dead = true;
	client->in_flight--;
	timer_disarm(fetch->timer);
	/* Removing the handle closes the socket; libcurl on the stack would refuse it. */
	if (client->depth > 0)
		client_todo_add(fetch);
	else
		fetch_destroy(fetch);
}

void
http_fetch_pause(struct http_fetch *fetch)
{
	fetch_cast(fetch)->paused = true;
	fetch->waits_resume = false;
}

/* What was held back is delivered from the loop, since the caller may not expect a callback now. */
void
http_fetch_resume(struct http_fetch *fetch)
{
	if (fetch_cast(fetch)->dead || fetch->told || !fetch->paused)
		return;
	if (fetch->stopped || fetch->phase == FETCH_ENDED) {
		fetch->waits_resume = true;
		client_todo_add(fetch);
		return;
	}
	fetch->paused = false;
	fetch->active_us = worker_now_us(fetch->client->worker);
	fetch_arm(fetch);
}

static void
fetch_release(struct http_fetch *fetch)
{
	struct http_client *client = fetch->client;
	CURLcode code;

	fetch->waits_resume = false;
	fetch->paused = false;
	if (fetch->phase == FETCH_ENDED) {
		fetch_deliver_end(fetch);
		return;
	}
	fetch->stopped = false;
	fetch->active_us = worker_now_us(client->worker);
	fetch_arm(fetch);
	/* Hands over what it held back before it returns, and may be stopped again thereby. */
	client->depth++;
	client->entered_us = fetch->active_us;
	code = curl_easy_pause(fetch->easy, CURLPAUSE_CONT);
	client->depth--;
	/* It says "bad argument" of a transfer that failed meanwhile, whose message is yet to be read. */
	if (code != CURLE_OK && code != CURLE_BAD_FUNCTION_ARGUMENT && !fetch->dead)
		fetch_on_done(fetch, code);
}

void
fetch_on_todo(struct http_fetch *fetch)
{
	if (fetch->dead) {
		fetch_destroy(fetch);
	} else if (fetch->waits_start) {
		fetch->waits_start = false;
		if (!client_attach(fetch)) {
			snprintf(fetch->error, sizeof(fetch->error), "libcurl refused it");
			fetch_end(fetch, HTTP_FETCH_FAULT);
		}
	} else if (fetch->waits_resume) {
		fetch_release(fetch);
	}
}

const char *
http_fetch_header(const struct http_fetch *fetch, enum http_answer_field field)
{
	uint32_t at = fetch->head_values[field];

	return at > 0 ? fetch->head.p + at - 1 : NULL;
}

struct http_fetch_times
http_fetch_times(const struct http_fetch *fetch)
{
	return fetch->times;
}
