/*
 * A request as the handler sees it. Headers and body stay in evhttp's request, which lives as long
 * as the call is lent.
 */
#include "net/http_conn.h"

#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <strings.h>

#include "base/mem.h"

struct http_call *
http_call_check(const struct http_call *call)
{
	if (!call || call->magic != HTTP_CALL_MAGIC || call->conn->call != call)
		die("a call is used after its end");
	return call->conn->call;
}

static const char *
method_text(const struct evhttp_request *request)
{
	switch (evhttp_request_get_command(request)) {
	case EVHTTP_REQ_GET: return "GET";
	case EVHTTP_REQ_POST: return "POST";
	case EVHTTP_REQ_HEAD: return "HEAD";
	case EVHTTP_REQ_PUT: return "PUT";
	case EVHTTP_REQ_DELETE: return "DELETE";
	case EVHTTP_REQ_OPTIONS: return "OPTIONS";
	case EVHTTP_REQ_TRACE: return "TRACE";
	case EVHTTP_REQ_CONNECT: return "CONNECT";
	case EVHTTP_REQ_PATCH: return "PATCH";
	}
	return "";
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The path of a target: what stands before the query and, in a URL, after the authority. */
static struct bytes
target_path(const char *target)
{
	const char *scheme_end = strstr(target, "://");
	const char *p = target;

	if (*p != '/' && scheme_end) {
		p = scheme_end + 3;
		p += strcspn(p, "/?");
		if (*p != '/')
			return bytes_of("/");
	}
	return (struct bytes){p, strcspn(p, "?")};
}

/* NULL when an escape is broken or stands for NUL, which would hide what follows it. */
static char *
path_decode(struct bytes path)
{
	char *text = mem_try(path.n + 1), *out = text;

	for (size_t i = 0; text && i < path.n; i++) {
		char c = path.p[i];

		if (c == '%') {
			int high = i + 2 < path.n ? hex_digit(path.p[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(path.p[i + 2]) : -1;

			if (low < 0 || high * 16 + low == 0) {
				free(text);
				return NULL;
			}
			c = (char)(high * 16 + low);
			i += 2;
		}
		*out++ = c;
	}
	if (text)
		*out = '\0';
	return text;
}

/* A larger body is put in one piece when it is first asked for: it may be taken as it is. */
enum { JOINED_AT_ONCE_BYTES = 64 * 1024 };

struct http_call *
http_call_new(struct http_conn *conn, struct evhttp_request *request, int *status, const char **why)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(request);
	struct http_call *call;
	struct bytes text = {"", 0};
	char *path;

	if (evbuffer_get_length(body) <= JOINED_AT_ONCE_BYTES) {
		text.n = evbuffer_get_length(body);
		text.p = text.n > 0 ? (const char *)evbuffer_pullup(body, -1) : "";
	}
	if (!text.p) {
		*status = 503;
		*why = "There is no memory for the request at the moment.";
		return NULL;
	}
	path = path_decode(target_path(evhttp_request_get_uri(request)));
	if (!path) {
		*status = 400;
		*why = "The path holds a percent escape that is not one.";
		return NULL;
	}
	call = mem_new(sizeof(*call));
	call->magic = HTTP_CALL_MAGIC;
	call->conn = conn;
	call->request = request;
	call->started_us = conn->since_us;
	call->path = path;
	call->method = method_text(request);
	call->body = text;
	call->http10 = request->major == 1 && request->minor == 0;
	call->is_head = evhttp_request_get_command(request) == EVHTTP_REQ_HEAD;
	return call;
}

void
http_call_free(void *p)
{
	struct http_call *call = p;

	call->magic = 0;
	free(call->path);
	free(call);
}

/* Does a comma-separated list hold the word "close"? */
static bool
list_has_close(const char *list)
{
	while (*list) {
		size_t n;

		list += strspn(list, " \t,");
		n = strcspn(list, " \t,");
		if (n == 5 && strncasecmp(list, "close", 5) == 0)
			return true;
		list += n;
	}
	return false;
}

/* The first letter tells most names apart: a request is asked for several that it does not have. */
static bool
is_named(const struct evkeyval *kept, enum http_field field)
{
	const char *name = http_field_name(field);

	return (kept->key[0] | 0x20) == (name[0] | 0x20) && strcasecmp(kept->key, name) == 0;
}

/* WORKAROUND(libevent-2.1): evhttp's reader of chunk sizes is lenient. The guard is strict, but no
 * second request is read behind a chunked one all the same.
 * test_a_chunked_request_is_answered_and_closes_the_connection */
bool
http_call_wants_close(const struct http_call *call)
{
	struct evkeyvalq *fields = evhttp_request_get_input_headers(call->request);
	struct evkeyval *field;

	if (call->http10 || *evhttp_request_get_uri(call->request) != '/')
		return true;
	TAILQ_FOREACH(field, fields, next)
	{
		if (is_named(field, HTTP_FIELD_CONNECTION) && list_has_close(field->value))
			return true;
		if (is_named(field, HTTP_FIELD_TRANSFER_ENCODING))
			return true;
	}
	return false;
}

const char *
http_call_method(const struct http_call *call)
{
	return http_call_check(call)->method;
}

const char *
http_call_path(const struct http_call *call)
{
	return http_call_check(call)->path;
}

const char *
http_call_header(const struct http_call *call, enum http_field field)
{
	struct evhttp_request *request = http_call_check(call)->request;
	struct evkeyval *kept;

	if (call->headless)
		die("a call is asked for a header that it has dropped");
	TAILQ_FOREACH(kept, evhttp_request_get_input_headers(request), next)
	{
		if (is_named(kept, field))
			return kept->value + strspn(kept->value, " \t");
	}
	return NULL;
}

void
http_call_drop_head(struct http_call *call)
{
	evhttp_clear_headers(evhttp_request_get_input_headers(http_call_check(call)->request));
	call->headless = true;
}

struct bytes
http_call_body(struct http_call *call)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(http_call_check(call)->request);

	if (call->body.n == 0 && evbuffer_get_length(body) > 0) {
		call->body.p = (const char *)evbuffer_pullup(body, -1);
		call->body.n = call->body.p ? evbuffer_get_length(body) : 0;
	}
	return call->body;
}

size_t
http_call_body_size(const struct http_call *call)
{
	return evbuffer_get_length(evhttp_request_get_input_buffer(http_call_check(call)->request));
}

void
http_call_drop_body(struct http_call *call)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(http_call_check(call)->request);

	evbuffer_drain(body, evbuffer_get_length(body));
	call->body = (struct bytes){"", 0};
}

struct http_body {
	struct evbuffer *buffer; /* owned; no lock, no callbacks */
};

struct http_body *
http_call_take_body(struct http_call *call)
{
	struct evbuffer *arrived = evhttp_request_get_input_buffer(http_call_check(call)->request);
	struct http_body *body = mem_new(sizeof(*body));

	call->body = (struct bytes){"", 0};
	body->buffer = evbuffer_new();
	if (!body->buffer || evbuffer_add_buffer(body->buffer, arrived) < 0)
		die("out of memory");
	return body;
}

size_t
http_body_size(const struct http_body *body)
{
	return evbuffer_get_length(body->buffer);
}

void
http_body_copy(const struct http_body *body, char *out)
{
	size_t n = http_body_size(body);

	if (evbuffer_copyout(body->buffer, out, n) != (ev_ssize_t)n)
		die("a body is shorter than it is");
}

void
http_body_free(struct http_body *body)
{
	if (!body)
		return;
	evbuffer_free(body->buffer);
	free(body);
}

const char *
http_call_peer(const struct http_call *call)
{
	static const char mapped[] = "::ffff:";
	char *address = NULL;
	uint16_t port;

	evhttp_connection_get_peer(http_call_check(call)->conn->evcon, &address, &port);
	if (!address)
		return "";
	/* An IPv4 client of a socket that serves both families. */
	if (strncasecmp(address, mapped, strlen(mapped)) == 0 && strchr(address, '.'))
		return address + strlen(mapped);
	return address;
}

uint64_t
http_call_started_us(const struct http_call *call)
{
	return http_call_check(call)->started_us;
}

void
http_call_watch(struct http_call *call, void (*on_gone)(void *arg), void (*on_drain)(void *arg),
                void *arg)
{
	http_call_check(call);
	call->on_gone = on_gone;
	call->on_drain = on_drain;
	call->arg = arg;
}
