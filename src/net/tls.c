/*
 * TLS 1.2 and newer, HTTP/1.1 alone in ALPN. OpenSSL counts references to its context, so freeing a
 * tls_server leaves the connections made from it as they are; that is what makes a reload safe.
 */
#include "net/tls.h"

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct tls_server {
	SSL_CTX *context; /* owned */
};

/* A key behind a passphrase is refused: a daemon has nobody to ask. */
static int
on_passphrase(char *buffer, int size, int writing, void *arg)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)arg;
	return 0;
}

static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_bytes, const unsigned char *in,
        unsigned in_bytes, void *arg)
{
	static const unsigned char http11[] = "\x08http/1.1";
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_bytes, http11, sizeof(http11) - 1, in, in_bytes) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *
context_new(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	if (!context)
		return NULL;
	SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
	SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
	                                     SSL_OP_CIPHER_SERVER_PREFERENCE |
	                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* The output buffer's memory may move between two attempts to write the same bytes.
	 * WORKAROUND(libevent-2.1): but no SSL_MODE_ENABLE_PARTIAL_WRITE, which libevent does not expect: it
	 * takes a piece that was written in part for written, goes on with the next one, and so sends a client
	 * that lags something else than the answer. test_a_slow_reader_holds_back_the_writer_over_tls */
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_default_passwd_cb(context, on_passphrase);
	SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
	return context;
}

static void
error_set(char *error, size_t size, const char *what, const char *file)
{
	char reason[160] = "unknown error";
	unsigned long code = ERR_peek_last_error();

	if (code)
		ERR_error_string_n(code, reason, sizeof(reason));
	ERR_clear_error();
	snprintf(error, size, "%s %s: %s", what, file, reason);
}

struct tls_server *
tls_server_new(const char *certificate, const char *key, char *error, size_t size)
{
	SSL_CTX *context;
	struct tls_server *tls;

	ERR_clear_error();
	context = context_new();
	if (!context) {
		error_set(error, size, "cannot set up TLS for", certificate);
		return NULL;
	}
	if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
		error_set(error, size, "cannot use the certificate in", certificate);
		goto fail;
	}
	if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(context) != 1) {
		error_set(error, size, "cannot use the key in", key);
		goto fail;
	}
	tls = mem_new(sizeof(*tls));
	tls->context = context;
	return tls;
fail:
	SSL_CTX_free(context);
	return NULL;
}

void
tls_server_free(struct tls_server *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->context);
	free(tls);
}

struct bufferevent *
tls_server_bufferevent(struct tls_server *tls, struct event_base *base)
{
	SSL *ssl = SSL_new(tls->context);
	struct bufferevent *bev;

	if (!ssl)
		return NULL;
	bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
	                                     BEV_OPT_CLOSE_ON_FREE);
	if (!bev) {
		SSL_free(ssl);
		return NULL;
	}
	/* Many clients just close their socket; a cut request shows in its own length. */
	bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	return bev;
}

void
tls_close_notify(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	if (!ssl || !SSL_is_init_finished(ssl))
		return;
	ERR_clear_error();
	SSL_shutdown(ssl);
	ERR_clear_error();
}
