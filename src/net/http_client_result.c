/* What an end of a transfer means, out of libcurl's code and what the fetch itself saw. */
#include <stdio.h>
#include <string.h>

#include "net/http_client_private.h"

static const char *const result_names[] = {
        [HTTP_FETCH_OK] = "ok",
        [HTTP_FETCH_DNS] = "dns",
        [HTTP_FETCH_CONNECT] = "connect",
        [HTTP_FETCH_TLS] = "tls",
        [HTTP_FETCH_TIMEOUT_CONNECT] = "timeout_connect",
        [HTTP_FETCH_TIMEOUT_FIRST_BYTE] = "timeout_first_byte",
        [HTTP_FETCH_TIMEOUT_IDLE] = "timeout_idle",
        [HTTP_FETCH_TIMEOUT_TOTAL] = "timeout_total",
        [HTTP_FETCH_CUT] = "cut",
        [HTTP_FETCH_PROTOCOL] = "protocol",
        [HTTP_FETCH_FAULT] = "fault",
};

const char *
http_fetch_result_name(enum http_fetch_result result)
{
	return result_names[result];
}

bool
http_fetch_result_is_timeout(enum http_fetch_result result)
{
	return result >= HTTP_FETCH_TIMEOUT_CONNECT && result <= HTTP_FETCH_TIMEOUT_TOTAL;
}

void
result_explain_timeout(struct http_fetch *fetch, enum http_fetch_result result)
{
	const char *what = "";
	uint32_t ms = 0;
	bool seconds;

	if (result == HTTP_FETCH_TIMEOUT_CONNECT) {
		what = "no connection";
		ms = fetch->connect_ms;
	} else if (result == HTTP_FETCH_TIMEOUT_FIRST_BYTE) {
		what = "no response";
		ms = fetch->first_byte_ms;
	} else if (result == HTTP_FETCH_TIMEOUT_IDLE) {
		what = "nothing more of the response";
		ms = fetch->idle_ms;
	} else if (result == HTTP_FETCH_TIMEOUT_TOTAL) {
		what = "no complete response";
		ms = fetch->total_ms;
	}
	seconds = ms % 1000 == 0;
	if (ms == 0)
		snprintf(fetch->error, sizeof(fetch->error), "%s in time", what);
	else
		snprintf(fetch->error, sizeof(fetch->error), "%s within %u %s", what,
		         seconds ? ms / 1000 : ms, seconds ? "s" : "ms");
}

static bool
text_ends(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

static enum http_fetch_result
result_of_code(const struct http_fetch *fetch, CURLcode code)
{
	switch ((int)code) {
	case CURLE_OK:
		/* WORKAROUND(curl-7.88): a connection that ends within the head is a success to
		 * it. Test: each_answer_has_its_result. */
		return fetch->phase == FETCH_RECEIVING ? HTTP_FETCH_OK : HTTP_FETCH_CUT;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY: return HTTP_FETCH_DNS;
	case CURLE_COULDNT_CONNECT:
	case CURLE_INTERFACE_FAILED:
		return fetch->no_descriptor ? HTTP_FETCH_FAULT : HTTP_FETCH_CONNECT;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_ENGINE_INITFAILED:
	case CURLE_SSL_SHUTDOWN_FAILED: return HTTP_FETCH_TLS;
	/* The only one of libcurl's timers in use is that of the connection. */
	case CURLE_OPERATION_TIMEDOUT: return HTTP_FETCH_TIMEOUT_CONNECT;
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR: return HTTP_FETCH_CUT;
	case CURLE_RECV_ERROR:
		/* WORKAROUND(curl-7.88): a chunk that is none has the same code as a reset, only the
		 * text tells. Test: broken_chunk_is_a_protocol_fault. */
		return text_ends(fetch->error, "chunked-encoding") ? HTTP_FETCH_PROTOCOL
		                                                   : HTTP_FETCH_CUT;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
	case CURLE_FILESIZE_EXCEEDED:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM: return HTTP_FETCH_PROTOCOL;
	case CURLE_OUT_OF_MEMORY:
		/* WORKAROUND(curl-7.88): so it calls a line of the head that is longer than its
		 * own limit. Test: endless_header_line_is_a_protocol_fault. */
		return fetch->phase == FETCH_WAITING ? HTTP_FETCH_PROTOCOL : HTTP_FETCH_FAULT;
	default: return HTTP_FETCH_FAULT;
	}
}

/* libcurl's texts may quote what the peer sent, such as a name in a certificate. */
static void
error_clean(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e)
			*text = '?';
	}
}

enum http_fetch_result
result_of(struct http_fetch *fetch, CURLcode code)
{
	enum http_fetch_result result;

	if (fetch->refusal) {
		snprintf(fetch->error, sizeof(fetch->error), "%s", fetch->refusal);
		return HTTP_FETCH_PROTOCOL;
	}
	result = result_of_code(fetch, code);
	if (http_fetch_result_is_timeout(result))
		result_explain_timeout(fetch, result);
	else if (result == HTTP_FETCH_PROTOCOL && code == CURLE_OUT_OF_MEMORY)
		snprintf(fetch->error, sizeof(fetch->error), "the response's head is too large");
	else if (result == HTTP_FETCH_CUT && code == CURLE_OK)
		snprintf(fetch->error, sizeof(fetch->error),
		         "the connection ended within the response's head");
	else if (fetch->no_descriptor && result == HTTP_FETCH_FAULT)
		snprintf(fetch->error, sizeof(fetch->error), "no file descriptor for a socket");
	else if (result != HTTP_FETCH_OK && !fetch->error[0])
		snprintf(fetch->error, sizeof(fetch->error), "%s", curl_easy_strerror(code));
	error_clean(fetch->error);
	return result;
}
