/* The server over TLS, with certificates made here. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include "http_fixture.h"

struct files {
	char folder[64], certificate[96], key[96];
};

/* Writes a self-signed certificate with that name, and its key. */
static void
files_write(const struct files *files, const char *name)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	X509_NAME *subject = X509_get_subject_name(certificate);
	FILE *file;

	ck_assert_ptr_nonnull(key);
	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
	                           0);
	X509_set_issuer_name(certificate, subject);
	X509_set_pubkey(certificate, key);
	ck_assert_int_gt(X509_sign(certificate, key, EVP_sha256()), 0);
	file = fopen(files->certificate, "w");
	ck_assert_int_eq(PEM_write_X509(file, certificate), 1);
	fclose(file);
	file = fopen(files->key, "w");
	ck_assert_int_eq(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

static void
files_make(struct files *files)
{
	strcpy(files->folder, "/tmp/draft-thinker-tls-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(files->folder));
	snprintf(files->certificate, sizeof(files->certificate), "%s/cert.pem", files->folder);
	snprintf(files->key, sizeof(files->key), "%s/key.pem", files->folder);
	files_write(files, "first");
}

static void
files_remove(const struct files *files)
{
	unlink(files->certificate);
	unlink(files->key);
	rmdir(files->folder);
}

struct tls_client {
	int fd;
	SSL_CTX *context;
	SSL *ssl;
};

static bool
tls_dial(struct tls_client *client, uint16_t port, int max_version, const char *alpn)
{
	client->fd = dial(port);
	client->context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_security_level(client->context, 0);
	SSL_CTX_set_min_proto_version(client->context, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(client->context, max_version);
	client->ssl = SSL_new(client->context);
	if (alpn)
		SSL_set_alpn_protos(client->ssl, (const unsigned char *)alpn,
		                    (unsigned)strlen(alpn));
	SSL_set_fd(client->ssl, client->fd);
	return SSL_connect(client->ssl) == 1;
}

static void
tls_hang_up(struct tls_client *client)
{
	SSL_free(client->ssl);
	SSL_CTX_free(client->context);
	close(client->fd);
	ERR_clear_error();
}

static void
tls_say(struct tls_client *client, const char *text)
{
	ck_assert_int_eq(SSL_write(client->ssl, text, (int)strlen(text)), (int)strlen(text));
}

static void
tls_hear_until(struct tls_client *client, char *out, size_t size, const char *end)
{
	size_t n = 0, tail = strlen(end);

	out[0] = '\0';
	while (n < tail || strcmp(out + n - tail, end) != 0) {
		ck_assert_uint_lt(n + 1, size);
		ck_assert_msg(SSL_read(client->ssl, out + n, 1) == 1, "closed after: %s", out);
		out[++n] = '\0';
	}
}

/* What the server's certificate calls itself. */
static void
tls_name(struct tls_client *client, char *out, size_t size)
{
	X509 *certificate = SSL_get1_peer_certificate(client->ssl);

	ck_assert_ptr_nonnull(certificate);
	X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, out,
	                          (int)size);
	X509_free(certificate);
}

static void
tls_fixture(struct fixture *f, struct files *files)
{
	files_make(files);
	fixture_init(f);
	f->options.tls_certificate = files->certificate;
	f->options.tls_key = files->key;
	fixture_start(f);
}

START_TEST(test_requests_and_streams_work_over_tls_1_2_and_1_3)
{
	static const int version[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct fixture f;
	struct files files;
	struct tls_client client;
	char out[65536];

	tls_fixture(&f, &files);
	for (size_t i = 0; i < 2; i++) {
		ck_assert(tls_dial(&client, f.port, version[i], "\x02h2\x08http/1.1"));
		ck_assert_int_eq(SSL_version(client.ssl), version[i]);
		for (int k = 0; k < 3; k++) {
			tls_say(&client, GET("/hello"));
			tls_hear_until(&client, out, sizeof(out), "hello");
			tls_say(&client, GET("/stream/64"));
			tls_hear_until(&client, out, sizeof(out), "\r\n0\r\n\r\n");
		}
		tls_hang_up(&client);
	}
	fixture_stop(&f);
	files_remove(&files);
}
END_TEST

START_TEST(test_http_1_1_alone_is_agreed_on)
{
	struct fixture f;
	struct files files;
	struct tls_client client;
	const unsigned char *chosen;
	unsigned n;

	tls_fixture(&f, &files);
	ck_assert(tls_dial(&client, f.port, TLS1_3_VERSION, "\x02h2\x08http/1.1"));
	SSL_get0_alpn_selected(client.ssl, &chosen, &n);
	ck_assert_uint_eq(n, 8);
	ck_assert_mem_eq(chosen, "http/1.1", 8);
	tls_hang_up(&client);
	ck_assert(!tls_dial(&client, f.port, TLS1_3_VERSION, "\x02h2"));
	tls_hang_up(&client);
	ck_assert(!tls_dial(&client, f.port, TLS1_1_VERSION, NULL));
	tls_hang_up(&client);
	fixture_stop(&f);
	files_remove(&files);
}
END_TEST

START_TEST(test_refusals_are_readable_over_tls)
{
	struct fixture f;
	struct files files;
	struct tls_client client;
	char out[4096];

	tls_fixture(&f, &files);
	ck_assert(tls_dial(&client, f.port, TLS1_3_VERSION, NULL));
	tls_say(&client, "GET //[x HTTP/1.1\r\nHost: x\r\n\r\n");
	tls_hear_until(&client, out, sizeof(out), "}}");
	assert_has(out, "HTTP/1.1 400 ");
	/* The end is told, not cut. */
	ck_assert_int_le(SSL_read(client.ssl, out, 1), 0);
	ck_assert_int_eq(SSL_get_shutdown(client.ssl), SSL_RECEIVED_SHUTDOWN);
	tls_hang_up(&client);
	ck_assert(tls_dial(&client, f.port, TLS1_3_VERSION, NULL));
	tls_say(&client, "BREW / HTTP/1.1\r\nHost: x\r\n\r\n");
	tls_hear_until(&client, out, sizeof(out), "}}");
	assert_has(out, "HTTP/1.1 501 ");
	tls_hang_up(&client);
	fixture_stop(&f);
	files_remove(&files);
}
END_TEST

START_TEST(test_large_bodies_pass_both_ways_over_tls)
{
	struct fixture f;
	struct files files;
	struct tls_client client;
	size_t n = 1000000, at = 0;
	char *body = mem_new(n + 1), *out = mem_new(n + 1), head[4096];

	tls_fixture(&f, &files);
	for (size_t i = 0; i < n; i++)
		body[i] = (char)('a' + i % 23);
	ck_assert(tls_dial(&client, f.port, TLS1_3_VERSION, NULL));
	tls_say(&client, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
	tls_say(&client, body);
	tls_hear_until(&client, head, sizeof(head), "\r\n\r\n");
	while (at < n) {
		int got = SSL_read(client.ssl, out + at, (int)(n - at));

		ck_assert_int_gt(got, 0);
		at += (size_t)got;
	}
	ck_assert_str_eq(out, body);
	tls_hang_up(&client);
	free(body);
	free(out);
	fixture_stop(&f);
	files_remove(&files);
}
END_TEST

START_TEST(test_a_tls_client_that_leaves_is_noticed_within_50_ms)
{
	struct fixture f;
	struct files files;
	struct tls_client client;
	uint64_t left;

	tls_fixture(&f, &files);
	for (int i = 0; i < 2; i++) {
		ck_assert(tls_dial(&client, f.port, TLS1_3_VERSION, NULL));
		tls_say(&client, GET("/hold"));
		ck_assert(wait_for(&f.held, i + 1, 2000));
		left = clock_now_us();
		if (i == 1)
			SSL_shutdown(client.ssl);
		tls_hang_up(&client);
		ck_assert(wait_for(&f.gone, i + 1, 2000));
		ck_assert_uint_lt(f.gone_us - left, 50000);
	}
	fixture_stop(&f);
	files_remove(&files);
}
END_TEST

START_TEST(test_a_handshake_that_stalls_is_cut_at_the_deadline)
{
	struct fixture f;
	struct files files;
	char out[64];
	uint64_t start;
	int fd;

	files_make(&files);
	fixture_init(&f);
	f.options.tls_certificate = files.certificate;
	f.options.tls_key = files.key;
	f.options.read_timeout_ms = 200;
	fixture_start(&f);
	fd = dial(f.port);
	start = clock_now_us();
	ck_assert(say(fd, "\x16\x03\x01"));
	ck_assert_uint_eq(hear_all(fd, out, sizeof(out), NULL), 0);
	ck_assert_uint_lt(clock_now_us() - start, 1500000);
	close(fd);
	/* Not TLS at all. */
	fd = dial(f.port);
	ck_assert(say(fd, GET("/hello")));
	hear_all(fd, out, sizeof(out), NULL);
	ck_assert_int_eq(f.requests, 0);
	close(fd);
	fixture_stop(&f);
	files_remove(&files);
}
END_TEST

START_TEST(test_a_slow_reader_holds_back_the_writer_over_tls)
{
	struct fixture f;
	struct files files;
	struct tls_client client;
	const size_t chunk_bytes = strlen("10000\r\n") + 65536 + strlen("\r\n");
	const size_t body_bytes = 320 * chunk_bytes + strlen("0\r\n\r\n");
	size_t room = body_bytes + 4096, total = 0;
	char *out = mem_new(room), *body;
	int n;

	tls_fixture(&f, &files);
	ck_assert(tls_dial(&client, f.port, TLS1_3_VERSION, NULL));
	tls_say(&client, GET_CLOSE("/flood/320"));
	ck_assert(wait_for(&f.held, 1, 2000));
	usleep(200000);
	/* What the kernel takes, the high mark and the one piece that crossed it. */
	ck_assert_uint_lt(f.written, (size_t)12 * 1024 * 1024);
	ck_assert_uint_gt(f.pending_max, 256 * 1024);
	while (total < room && (n = SSL_read(client.ssl, out + total, (int)(room - total))) > 0)
		total += (size_t)n;
	ck_assert_uint_lt(f.pending_max, 384 * 1024);
	/* Each byte in its place. */
	body = memmem(out, total, "\r\n\r\n", 4);
	ck_assert_ptr_nonnull(body);
	body += 4;
	ck_assert_uint_eq(total - (size_t)(body - out), body_bytes);
	for (size_t i = 0; i < 320; i++, body += chunk_bytes) {
		ck_assert_int_eq(memcmp(body, "10000\r\nx", 8), 0);
		ck_assert_uint_eq(strspn(body + 7, "x"), 65536);
	}
	ck_assert_int_eq(memcmp(body, "0\r\n\r\n", 5), 0);
	tls_hang_up(&client);
	free(out);
	fixture_stop(&f);
	files_remove(&files);
}
END_TEST

static void
do_reload(struct fixture *f)
{
	f->error[0] = '\0';
	atomic_store(&f->drains,
	             http_server_reload(f->server, &f->options, f->error, sizeof(f->error)));
}

START_TEST(test_a_reload_reads_the_files_again_and_a_bad_one_keeps_the_old)
{
	struct fixture f;
	struct files files;
	struct tls_client old, client;
	char out[4096];
	FILE *file;

	tls_fixture(&f, &files);
	ck_assert(tls_dial(&old, f.port, TLS1_3_VERSION, NULL));
	tls_name(&old, out, sizeof(out));
	ck_assert_str_eq(out, "first");
	files_write(&files, "second");
	fixture_do(&f, do_reload);
	ck_assert_int_eq(f.drains, 1);
	file = fopen(files.certificate, "w");
	fputs("-----BEGIN CERTIFICATE-----\nnonsense\n", file);
	fclose(file);
	fixture_do(&f, do_reload);
	ck_assert_int_eq(f.drains, 0);
	assert_has(f.error, files.certificate);
	ck_assert(tls_dial(&client, f.port, TLS1_3_VERSION, NULL));
	tls_name(&client, out, sizeof(out));
	ck_assert_str_eq(out, "second");
	tls_hang_up(&client);
	/* A connection made before lives on. */
	tls_say(&old, GET("/hello"));
	tls_hear_until(&old, out, sizeof(out), "hello");
	tls_hang_up(&old);
	fixture_stop(&f);
	files_remove(&files);
}
END_TEST

START_TEST(test_files_that_cannot_be_used_are_told)
{
	struct fixture f;
	struct files files, other;

	files_make(&files);
	files_make(&other);
	fixture_init(&f);
	f.worker = worker_new(0, NULL);
	f.options.tls_certificate = files.certificate;
	ck_assert_ptr_null(http_server_new(f.worker, &f.options, fixture_handle, &f, f.error,
	                                   sizeof(f.error)));
	assert_has(f.error, "key");
	f.options.tls_key = "/nonexistent/key.pem";
	ck_assert_ptr_null(http_server_new(f.worker, &f.options, fixture_handle, &f, f.error,
	                                   sizeof(f.error)));
	assert_has(f.error, "/nonexistent/key.pem");
	f.options.tls_key = other.key;
	ck_assert_ptr_null(http_server_new(f.worker, &f.options, fixture_handle, &f, f.error,
	                                   sizeof(f.error)));
	assert_has(f.error, other.key);
	worker_free(f.worker);
	files_remove(&files);
	files_remove(&other);
}
END_TEST

UNIT_MAIN("tls", test_a_slow_reader_holds_back_the_writer_over_tls,
          test_requests_and_streams_work_over_tls_1_2_and_1_3, test_http_1_1_alone_is_agreed_on,
          test_refusals_are_readable_over_tls, test_large_bodies_pass_both_ways_over_tls,
          test_a_tls_client_that_leaves_is_noticed_within_50_ms,
          test_a_handshake_that_stalls_is_cut_at_the_deadline,
          test_a_reload_reads_the_files_again_and_a_bad_one_keeps_the_old,
          test_files_that_cannot_be_used_are_told)
