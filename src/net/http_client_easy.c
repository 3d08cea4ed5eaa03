/*
 * The settings of libcurl's handles. Those that never change are made once in the life of a handle,
 * so a handle is not reset between fetches (7 % of a fetch's instructions); easy_prepare makes all
 * the others each time. Each setting that something relies on has a test in
 * tests/unit/net/test_http_client_settings.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/http_client_private.h"

static bool
socket_error_is_ours(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* What the kernel may take in ahead of us. Left alone it lets a fast connection's buffer grow to many
 * megabytes, all of which an upstream can still send (and bill) after a pause. Still enough for 10 MB/s
 * at 100 ms. Test: test_an_upstream_is_paused_while_its_client_does_not_read. */
static const int receive_bytes = 1024 * 1024;

/* A connection is being made for the fetch, or is there. */
static void
fetch_hold(struct http_fetch *fetch)
{
	if (!fetch->holds)
		fetch->client->holders++;
	fetch->holds = true;
}

static curl_socket_t
on_curl_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_fetch *fetch = fetch_cast(arg);
	int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

	(void)purpose;
	if (fd < 0) {
		fetch->no_descriptor = socket_error_is_ours(errno);
		return CURL_SOCKET_BAD;
	}
	fetch->client->open_sockets++;
	fetch_hold(fetch);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
	return fd;
}

/* The fetch for which it was opened may be long gone. */
static int
on_curl_close(void *arg, curl_socket_t fd)
{
	struct http_client *client = arg;

	client->open_sockets--;
	return close(fd);
}

/*
 * The connection is there and the request is about to be written; for a new connection and for one used
 * again. It is called once more when libcurl repeats the request: it does so when a connection that
 * had served before ends without a line of response, as a server that closes idle connections makes it
 * happen. The server may have seen such a request twice.
 */
static int
on_curl_ready(void *arg, char *peer, char *local, int peer_port, int local_port)
{
	struct http_fetch *fetch = fetch_cast(arg);
	long opened = 0;

	(void)peer;
	(void)local;
	(void)peer_port;
	(void)local_port;
	if (fetch->dead)
		return CURL_PREREQFUNC_ABORT;
	fetch_hold(fetch);
	curl_easy_getinfo(fetch->easy, CURLINFO_NUM_CONNECTS, &opened);
	fetch->client->connects += (uint64_t)(opened - fetch->new_connections);
	fetch->new_connections = opened;
	fetch->times.connected_us = worker_now_us(fetch->client->worker);
	fetch->phase = FETCH_WAITING;
	fetch_arm(fetch);
	return CURL_PREREQFUNC_OK;
}

static size_t
on_curl_read(char *out, size_t size, size_t count, void *arg)
{
	struct http_fetch *fetch = fetch_cast(arg);
	size_t n = size * count;

	if (fetch->dead)
		return CURL_READFUNC_ABORT;
	if (n > fetch->body_bytes - fetch->body_sent)
		n = fetch->body_bytes - fetch->body_sent;
	if (fetch->rope)
		rope_read(fetch->rope, fetch->body_sent, out, n);
	else if (n > 0)
		memcpy(out, fetch->body.p + fetch->body_sent, n);
	fetch->body_sent += n;
	return n;
}

/* For a request that is repeated. */
static int
on_curl_seek(void *arg, curl_off_t offset, int origin)
{
	struct http_fetch *fetch = fetch_cast(arg);

	if (fetch->dead || origin != SEEK_SET || offset < 0 || (uint64_t)offset > fetch->body_bytes)
		return CURL_SEEKFUNC_FAIL;
	fetch->body_sent = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

/* The macro checks each value's type at its call, which a table could not. */
#define SET(easy, option, value) (curl_easy_setopt(easy, option, value) == CURLE_OK)

static bool
easy_set_transport(CURL *easy, const struct http_client *client)
{
	return SET(easy, CURLOPT_NOSIGNAL, 1L) &&
	       /* WORKAROUND(curl-7.88): without it a handle that is removed during a look-up waits
	        * for the resolver's thread. Test: resolver_hang_does_not_stall_the_loop. */
	       SET(easy, CURLOPT_QUICK_EXIT, 1L) &&
	       /* The environment names proxies for other programs; the look-up also costs 3 %. */
	       SET(easy, CURLOPT_PROXY, "") && SET(easy, CURLOPT_PROTOCOLS_STR, "http,https") &&
	       SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
	       SET(easy, CURLOPT_FOLLOWLOCATION, 0L) &&
	       SET(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L) &&
	       SET(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) &&
	       SET(easy, CURLOPT_TCP_NODELAY, 1L) && SET(easy, CURLOPT_TCP_KEEPALIVE, 1L) &&
	       SET(easy, CURLOPT_TCP_KEEPIDLE, 60L) && SET(easy, CURLOPT_TCP_KEEPINTVL, 15L) &&
	       /* Many servers and balancers drop what was idle for 60 s. */
	       SET(easy, CURLOPT_MAXAGE_CONN, 50L) && SET(easy, CURLOPT_MAXLIFETIME_CONN, 600L) &&
	       /* WORKAROUND(curl-7.88): with a directory of certificates, which Debian compiles in,
	        * the bundle is parsed anew (31 ms and more) for each connection.
	        * Test: certificates_are_read_once. */
	       SET(easy, CURLOPT_CAPATH, NULL) && SET(easy, CURLOPT_CAINFO, client->ca_file) &&
	       SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
	       SET(easy, CURLOPT_SHARE, client->share);
}

static bool
easy_set_callbacks(CURL *easy, struct http_client *client)
{
	return SET(easy, CURLOPT_OPENSOCKETFUNCTION, on_curl_socket) &&
	       SET(easy, CURLOPT_CLOSESOCKETFUNCTION, on_curl_close) &&
	       SET(easy, CURLOPT_CLOSESOCKETDATA, client) &&
	       SET(easy, CURLOPT_PREREQFUNCTION, on_curl_ready) &&
	       SET(easy, CURLOPT_HEADERFUNCTION, on_curl_header) &&
	       SET(easy, CURLOPT_WRITEFUNCTION, on_curl_write) &&
	       SET(easy, CURLOPT_READFUNCTION, on_curl_read) &&
	       SET(easy, CURLOPT_SEEKFUNCTION, on_curl_seek);
}

CURL *
easy_take(struct http_client *client)
{
	CURL *easy;

	if (client->spare_count > 0)
		return client->spares[--client->spare_count];
	easy = curl_easy_init();
	if (easy && (!easy_set_transport(easy, client) || !easy_set_callbacks(easy, client))) {
		curl_easy_cleanup(easy);
		return NULL;
	}
	return easy;
}

/*
 * Leaves nothing in it that points to the fetch or its owner's memory.
 *
 * A transfer that failed early leaves its read buffer in the handle, and libcurl does not let the size of one
 * be changed: such a handle goes. Test: a_fetch_that_failed_leaves_no_handle_that_cannot_be_used.
 */
void
easy_give_back(struct http_client *client, CURL *easy)
{
	bool clean = SET(easy, CURLOPT_HTTPHEADER, NULL) && SET(easy, CURLOPT_POSTFIELDS, NULL) &&
	             SET(easy, CURLOPT_CURLU, NULL) && SET(easy, CURLOPT_ERRORBUFFER, NULL) &&
	             SET(easy, CURLOPT_BUFFERSIZE, (long)FETCH_READ_BYTES);

	if (clean && client->spare_count < CLIENT_SPARE_HANDLES)
		client->spares[client->spare_count++] = easy;
	else
		curl_easy_cleanup(easy);
}

/*
 * A small body is handed over as memory that libcurl writes together with the head, in the step that
 * on_curl_ready allows. Of a large one libcurl would read the rest at any later time, also
 * while a cancelled fetch waits to be removed and the memory is its owner's again; so it has to ask for each
 * piece.
 */
static bool
easy_set_body(CURL *easy, const struct http_fetch *fetch)
{
	bool large = fetch->rope || fetch->body_bytes >= FETCH_BODY_INLINE_BYTES;
	const char *inline_body = fetch->body.n > 0 ? fetch->body.p : "";

	return SET(easy, CURLOPT_POST, 1L) &&
	       SET(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)fetch->body_bytes) &&
	       SET(easy, CURLOPT_POSTFIELDS, large ? NULL : inline_body);
}

bool
easy_prepare(struct http_fetch *fetch, const struct http_fetch_spec *spec)
{
	CURL *easy = fetch->easy;
	void *self = fetch;
	bool done;

	if (strcmp(spec->method, "GET") == 0)
		done = SET(easy, CURLOPT_HTTPGET, 1L);
	else if (strcmp(spec->method, "POST") == 0)
		done = easy_set_body(easy, fetch);
	else
		done = false;
	return done && SET(easy, CURLOPT_URL, spec->target->url) &&
	       SET(easy, CURLOPT_CURLU, spec->target->parsed) &&
	       SET(easy, CURLOPT_HTTPHEADER, fetch->headers.first) &&
	       SET(easy, CURLOPT_BUFFERSIZE,
	           spec->trickles ? (long)FETCH_TRICKLE_BYTES : (long)FETCH_READ_BYTES) &&
	       /* So that a first address which does not answer leaves time for a second one. The largest
	        * value stands for none; 0 would mean 300 s. */
	       SET(easy, CURLOPT_CONNECTTIMEOUT_MS,
	           spec->connect_ms ? (long)spec->connect_ms : (long)INT32_MAX) &&
	       SET(easy, CURLOPT_ERRORBUFFER, fetch->error) && SET(easy, CURLOPT_PRIVATE, self) &&
	       SET(easy, CURLOPT_OPENSOCKETDATA, self) && SET(easy, CURLOPT_PREREQDATA, self) &&
	       SET(easy, CURLOPT_HEADERDATA, self) && SET(easy, CURLOPT_WRITEDATA, self) &&
	       SET(easy, CURLOPT_READDATA, self) && SET(easy, CURLOPT_SEEKDATA, self);
}
