/* HTTPS: who is trusted, and what a connection costs. */
#include "fetching.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/* A certificate of its own authority for one address, and the file that names it as trusted. */
struct identity {
	EVP_PKEY *key;
	X509 *certificate;
	char ca_file[64];
};

struct tls_server {
	struct identity identity;
	SSL_CTX *context;
	SSL *ssl;
	int resumed; /* connections that went on with a session of before */
	int handshakes;
	bool alpn_h2;
};

static void
certificate_add(X509 *certificate, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	ck_assert_ptr_nonnull(extension);
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
}

static void
identity_open(struct identity *id, const char *address)
{
	X509_NAME *name;
	FILE *file;
	int fd;

	id->key = EVP_EC_gen("P-256");
	id->certificate = X509_new();
	X509_set_version(id->certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(id->certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(id->certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(id->certificate), 3600);
	X509_set_pubkey(id->certificate, id->key);
	name = X509_get_subject_name(id->certificate);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test\npeer",
	                           -1, -1, 0);
	X509_set_issuer_name(id->certificate, name);
	if (address)
		certificate_add(id->certificate, NID_subject_alt_name, address);
	certificate_add(id->certificate, NID_basic_constraints, "critical,CA:TRUE");
	ck_assert_int_gt(X509_sign(id->certificate, id->key, EVP_sha256()), 0);
	snprintf(id->ca_file, sizeof(id->ca_file), "/tmp/test_http_client_tls.XXXXXX");
	fd = mkstemp(id->ca_file);
	ck_assert_int_ge(fd, 0);
	file = fdopen(fd, "w");
	PEM_write_X509(file, id->certificate);
	fclose(file);
}

static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in,
        unsigned int in_bytes, void *arg)
{
	struct tls_server *server = arg;

	(void)ssl;
	for (unsigned int i = 0; i < in_bytes; i += in[i] + 1u) {
		if (in[i] == 2 && memcmp(in + i + 1, "h2", 2) == 0)
			server->alpn_h2 = true;
		*out = in + i + 1;
		*n = in[i];
	}
	return SSL_TLSEXT_ERR_OK;
}

static void
server_open(struct tls_server *server, const char *address)
{
	*server = (struct tls_server){0};
	identity_open(&server->identity, address);
	server->context = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(server->context, server->identity.certificate);
	SSL_CTX_use_PrivateKey(server->context, server->identity.key);
	SSL_CTX_set_session_id_context(server->context, (const unsigned char *)"t", 1);
	SSL_CTX_set_alpn_select_cb(server->context, on_alpn, server);
}

static void
server_close(struct tls_server *server)
{
	unlink(server->identity.ca_file);
	SSL_CTX_free(server->context);
	X509_free(server->identity.certificate);
	EVP_PKEY_free(server->identity.key);
}

static bool
tls_accept(struct peer *peer, struct tls_server *server)
{
	if (!peer_accept(peer))
		return false;
	server->ssl = SSL_new(server->context);
	SSL_set_fd(server->ssl, peer->fd);
	if (SSL_accept(server->ssl) != 1)
		return false;
	server->handshakes++;
	server->resumed += SSL_session_reused(server->ssl);
	return true;
}

static bool
tls_read_request(struct tls_server *server)
{
	char text[4096];
	int n = 0;

	while (n < (int)sizeof(text) - 1) {
		int got = SSL_read(server->ssl, text + n, (int)sizeof(text) - 1 - n);

		if (got <= 0)
			return false;
		n += got;
		text[n] = '\0';
		if (strstr(text, "\r\n\r\n{}"))
			return true;
	}
	return false;
}

/* One request a connection; each is closed in the orderly way. */
static void
script_tls(struct peer *peer)
{
	struct tls_server *server = peer->arg;

	while (!atomic_load(&peer->stop)) {
		if (tls_accept(peer, server) && tls_read_request(server)) {
			static const char text[] = "HTTP/1.1 200 OK\r\nConnection: "
			                           "close\r\nContent-Length: 5\r\n\r\nhello";

			SSL_write(server->ssl, text, sizeof(text) - 1);
			SSL_shutdown(server->ssl);
		}
		SSL_free(server->ssl);
		server->ssl = NULL;
	}
}

/* The connection ends within the body, without TLS's own sign of an end. */
static void
script_tls_cut(struct peer *peer)
{
	struct tls_server *server = peer->arg;

	if (tls_accept(peer, server) && tls_read_request(server)) {
		static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";

		SSL_write(server->ssl, text, sizeof(text) - 1);
	}
	SSL_free(server->ssl);
}

static void
open_trusting(struct fetching *f, const char *ca_file)
{
	fetching_open_with(f, &(struct http_client_options){.ca_file = ca_file});
}

static struct http_target *
target_tls(const struct peer *peer, const char *host)
{
	char url[64];

	snprintf(url, sizeof(url), "https://%s:%u/v1/x", host, peer->port);
	return target_of_url(url);
}

/* One fetch from a server of its own; NULL: the system's authorities are asked. */
static void
check_trust(struct tape *tape, void (*script)(struct peer *peer), const char *address, bool trusted)
{
	struct fetching f;
	struct peer peer;
	struct tls_server server;
	struct http_target *target;

	server_open(&server, address);
	peer_start(&peer, script, &server);
	open_trusting(&f, trusted ? server.identity.ca_file : NULL);
	target = target_tls(&peer, "127.0.0.1");
	tape_run(tape, &f, target);
	ck_assert(!server.alpn_h2);
	fetching_close(&f);
	http_target_free(target);
	peer_stop(&peer);
	server_close(&server);
}

START_TEST(certificate_of_a_named_authority_is_trusted)
{
	struct tape tape = {0};

	check_trust(&tape, script_tls, "IP:127.0.0.1", true);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert(tape_body_is(&tape, "hello"));
	tape_fini(&tape);
}
END_TEST

START_TEST(self_signed_certificate_is_not_trusted)
{
	struct tape tape = {0};

	check_trust(&tape, script_tls, "IP:127.0.0.1", false);
	assert_result(&tape, HTTP_FETCH_TLS);
	ck_assert_msg(strstr(tape.detail, "certificate"), "%s", tape.detail);
	ck_assert_uint_eq(tape.times.connected_us, 0);
}
END_TEST

START_TEST(certificate_for_another_host_is_not_trusted)
{
	struct tape tape = {0};

	check_trust(&tape, script_tls, "DNS:example.com", true);
	assert_result(&tape, HTTP_FETCH_TLS);
}
END_TEST

START_TEST(name_in_a_certificate_cannot_forge_a_line_of_a_log)
{
	struct tape tape = {0};

	check_trust(&tape, script_tls, NULL, true);
	assert_result(&tape, HTTP_FETCH_TLS);
	ck_assert_msg(strstr(tape.detail, "test?peer"), "%s", tape.detail);
}
END_TEST

START_TEST(end_within_a_body_over_tls_is_a_cut)
{
	struct tape tape = {0};

	check_trust(&tape, script_tls_cut, "IP:127.0.0.1", true);
	assert_result(&tape, HTTP_FETCH_CUT);
	ck_assert(tape_body_is(&tape, "hello"));
	tape_fini(&tape);
}
END_TEST

static void
script_answer_plainly(struct peer *peer)
{
	if (peer_accept(peer))
		peer_send(peer, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
	peer_await_end(peer);
}

START_TEST(plain_server_at_an_https_url_is_a_tls_failure)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {0};
	struct http_target *target;

	peer_start(&peer, script_answer_plainly, NULL);
	fetching_open(&f);
	target = target_tls(&peer, "127.0.0.1");
	tape_run(&tape, &f, target);
	assert_result(&tape, HTTP_FETCH_TLS);
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
}
END_TEST

START_TEST(missing_ca_file_is_a_tls_failure)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {0};
	struct http_target *target;

	peer_start(&peer, script_answer_plainly, NULL);
	open_trusting(&f, "/nonexistent/ca.pem");
	target = target_tls(&peer, "127.0.0.1");
	tape_run(&tape, &f, target);
	assert_result(&tape, HTTP_FETCH_TLS);
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
}
END_TEST

/* Three connections by one client, with the file gone after the first. */
START_TEST(certificates_are_read_once)
{
	struct fetching f;
	struct peer peer;
	struct tls_server server;
	struct http_target *target;

	server_open(&server, "IP:127.0.0.1");
	peer_start(&peer, script_tls, &server);
	open_trusting(&f, server.identity.ca_file);
	target = target_tls(&peer, "127.0.0.1");
	for (int i = 0; i < 3; i++) {
		struct tape tape = {0};

		tape_run(&tape, &f, target);
		assert_result(&tape, HTTP_FETCH_OK);
		tape_fini(&tape);
		unlink(server.identity.ca_file);
	}
	ck_assert_uint_eq(http_client_connects(f.client), 3);
	fetching_close(&f);
	http_target_free(target);
	peer_stop(&peer);
	server_close(&server);
	ck_assert_int_eq(server.handshakes, 3);
}
END_TEST

struct follow_up {
	struct tape tape;
	struct http_fetch_spec spec;
};

static void
on_tape_follow_up(struct tape *tape)
{
	struct follow_up *next = tape->arg;

	tape_start(&next->tape, tape->f, &next->spec);
}

/* The second starts inside the end of the first, so that another handle of libcurl serves it. */
START_TEST(new_connection_resumes_the_session_of_another_fetch)
{
	struct fetching f;
	struct peer peer;
	struct tls_server server;
	struct follow_up next = {0};
	struct tape tape = {.at_end = on_tape_follow_up, .arg = &next};
	struct http_target *target;

	server_open(&server, "IP:127.0.0.1");
	peer_start(&peer, script_tls, &server);
	open_trusting(&f, server.identity.ca_file);
	target = target_tls(&peer, "127.0.0.1");
	next.spec = spec_post(target, "{}");
	tape_run(&tape, &f, target);
	assert_result(&next.tape, HTTP_FETCH_OK);
	ck_assert_uint_eq(http_client_connects(f.client), 2);
	fetching_close(&f);
	http_target_free(target);
	peer_stop(&peer);
	ck_assert_int_eq(server.resumed, 1);
	server_close(&server);
	tape_fini(&tape);
	tape_fini(&next.tape);
}
END_TEST

static void
on_tape_cancel(struct tape *tape)
{
	tape_cancel(tape);
}

static void
script_tls_long(struct peer *peer)
{
	struct tls_server *server = peer->arg;

	if (tls_accept(peer, server) && tls_read_request(server)) {
		static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello";

		SSL_write(server->ssl, text, sizeof(text) - 1);
		peer_await_end(peer);
	}
	SSL_free(server->ssl);
}

START_TEST(cancel_closes_a_tls_connection_at_once)
{
	struct fetching f;
	struct peer peer;
	struct tls_server server;
	struct tape tape = {.at_data = on_tape_cancel};
	struct http_target *target;
	struct http_fetch_spec spec;
	uint64_t cancelled_us;

	server_open(&server, "IP:127.0.0.1");
	peer_start(&peer, script_tls_long, &server);
	open_trusting(&f, server.identity.ca_file);
	target = target_tls(&peer, "127.0.0.1");
	spec = spec_post(target, "{}");
	tape_start(&tape, &f, &spec);
	fetching_run(&f);
	cancelled_us = clock_now_us();
	peer_join(&peer);
	ck_assert_uint_ne(peer.ended_us, 0);
	ck_assert_uint_lt(peer.ended_us, cancelled_us + 50 * 1000);
	ck_assert_int_eq(tape.ends, 0);
	fetching_close(&f);
	http_target_free(target);
	server_close(&server);
	tape_fini(&tape);
}
END_TEST

UNIT_MAIN("http_client_tls", certificate_of_a_named_authority_is_trusted,
          self_signed_certificate_is_not_trusted, certificate_for_another_host_is_not_trusted,
          name_in_a_certificate_cannot_forge_a_line_of_a_log, end_within_a_body_over_tls_is_a_cut,
          plain_server_at_an_https_url_is_a_tls_failure, missing_ca_file_is_a_tls_failure,
          certificates_are_read_once, new_connection_resumes_the_session_of_another_fetch,
          cancel_closes_a_tls_connection_at_once)
