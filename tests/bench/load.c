/*
 * load: the client of the benchmark. Sends one and the same request over and over, from so many connections, each of
 * which waits for its answer before it asks again; checks every answer, and prints one JSON object.
 *
 *	load --to PORT --request FILE [OPTION]...
 *
 *	--request FILE     the request's bytes, head and body
 *	--connections N    how many at a time (1)
 *	--requests N       how many in all (1)
 *	--status N         what the answers must have (200)
 *	--frames N         how many frames must be in each answer, in order, none missing and none twice (0)
 *	--varied SEED      each # in the request becomes a letter, others in each request
 *	--stamped          the frames tell when they were sent: measure how long those behind the first took
 *	--late MS          count those that took longer (50)
 *	--ramp N           open at most so many connections a second (all at once)
 *	--sources N        spread the connections over so many addresses, from 127.0.0.1 on (1)
 *	--timeout S        give up after so long (60)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "reply.h"
#include "samples.h"

enum { READ_BYTES = 128 * 1024, EVENTS = 256, REQUEST_MAX = 1024 * 1024 };

struct load;

struct conn {
	struct load *load;
	int fd; /* -1: closed */
	unsigned index;
	size_t sent; /* of the request */
	bool asking; /* an answer is to come */
	unsigned next_frame;
	double sent_us, first_us;
	struct reply reply;
};

struct load {
	/* What is wanted. */
	uint16_t port;
	char *request; /* owned */
	size_t request_n;
	unsigned connections, requests, frames, ramp, sources;
	int status;
	bool stamped, varied;
	size_t *places, place_count; /* owned: of what varies */
	uint64_t variations;
	double late_us, timeout_us;
	/* What runs. */
	int epoll;
	struct conn *conns; /* owned */
	unsigned opened, begun, done, alive;
	double begin_us, now_us; /* when bytes were last read */
	char *bytes;             /* owned; READ_BYTES */
	/* What was found. */
	unsigned wrong_status, cut, malformed, refused;
	unsigned long long frames_seen, missing, twice, late, body_bytes;
	struct samples latency, first, delay;
};

static _Noreturn void
fail(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double
clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* ---------------------------------------------------------------- answers */

static void
on_mark(void *arg, unsigned number, uint64_t sent_us)
{
	struct conn *c = arg;
	struct load *load = c->load;
	bool first = c->first_us == 0;

	load->frames_seen++;
	if (first)
		c->first_us = load->now_us;
	if (number < c->next_frame) {
		load->twice++;
	} else {
		load->missing += number - c->next_frame;
		c->next_frame = number + 1;
	}
	if (load->stamped) {
		uint64_t now = (uint64_t)load->now_us % MARK_PERIOD_US;
		double part = load->now_us - (double)(uint64_t)load->now_us;
		double us = (double)((now + MARK_PERIOD_US - sent_us) % MARK_PERIOD_US) + part;

		/* Before the first come the head and whatever it takes to find out whom to ask: it has samples
		 * of its own. */
		if (!first)
			samples_add(&load->delay, us);
		load->late += us > load->late_us;
	}
}

static void
conn_close(struct conn *c)
{
	if (c->fd < 0)
		return;
	close(c->fd);
	c->fd = -1;
	c->load->alive--;
}

/* The answer is over, one way or the other. */
static void
conn_count(struct conn *c)
{
	struct load *load = c->load;

	c->asking = false;
	load->done++;
	load->body_bytes += c->reply.body_n;
	if (c->next_frame < load->frames)
		load->missing += load->frames - c->next_frame;
	if (c->reply.state == REPLY_MALFORMED)
		load->malformed++;
	else if (c->reply.state != REPLY_DONE)
		load->cut++;
	else if (c->reply.status != load->status)
		load->wrong_status++;
	else {
		samples_add(&load->latency, load->now_us - c->sent_us);
		if (c->first_us > 0)
			samples_add(&load->first, c->first_us - c->sent_us);
	}
}

/* ---------------------------------------------------------------- connections */

static void
conn_watch(struct conn *c, int how, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = c};

	if (epoll_ctl(c->load->epoll, how, c->fd, &event) < 0)
		fail("epoll_ctl");
}

/* Other letters than before, the same ones in every run of a seed (splitmix64). */
static void
vary(struct load *load)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < load->place_count; i++) {
		if (i % 8 == 0) {
			bits = load->variations += 0x9E3779B97F4A7C15u;
			bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9u;
			bits = (bits ^ bits >> 27) * 0x94D049BB133111EBu;
			bits ^= bits >> 31;
		}
		load->request[load->places[i]] = (char)('a' + (bits & 255) % 26);
		bits >>= 8;
	}
}

/* Writes what is left of the request; the rest when there is room. */
static void
conn_send(struct conn *c)
{
	struct load *load = c->load;
	bool waited = c->sent > 0;
	ssize_t k;

	if (load->varied && waited) {
		fputs("load: a varied request did not fit the socket's buffer\n", stderr);
		exit(1);
	}
	if (load->varied)
		vary(load);

	if (c->sent == 0)
		c->sent_us = clock_us();
	k = send(c->fd, load->request + c->sent, load->request_n - c->sent, MSG_NOSIGNAL);
	if (k > 0)
		c->sent += (size_t)k;
	if (c->sent < load->request_n)
		conn_watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
	else if (waited)
		conn_watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

/* The next request, if there is one. */
static void
conn_ask(struct conn *c)
{
	struct load *load = c->load;

	if (load->begun == load->requests) {
		conn_close(c);
		return;
	}
	load->begun++;
	reply_begin(&c->reply);
	c->asking = true;
	c->sent = 0;
	c->next_frame = 0;
	c->first_us = 0;
	conn_send(c);
}

/* Blocking, since on loopback there is nothing to wait for: a refusal is known at once. */
static void
conn_open(struct conn *c)
{
	struct load *load = c->load;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(load->port)};
	struct sockaddr_in from = {.sin_family = AF_INET};
	int on = 1;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + c->index % load->sources);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fail("socket");
	load->alive++;
	if (load->sources > 1) {
		setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (bind(c->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
			fail("bind");
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		load->refused++;
		load->begun++;
		load->done++;
		conn_close(c);
		return;
	}
	conn_watch(c, EPOLL_CTL_ADD, EPOLLIN);
	conn_ask(c);
}

static void
conn_read(struct conn *c)
{
	struct load *load = c->load;
	ssize_t k = recv(c->fd, load->bytes, READ_BYTES, MSG_DONTWAIT);

	if (k < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	load->now_us = clock_us();
	if (k > 0 && c->asking) {
		reply_feed(&c->reply, load->bytes, (size_t)k);
		if (c->reply.state < REPLY_DONE)
			return;
	}
	if (c->asking)
		conn_count(c);
	if (k <= 0 || c->reply.closes || c->reply.state == REPLY_MALFORMED) {
		conn_close(c);
		if (load->begun < load->requests)
			conn_open(c);
	} else {
		conn_ask(c);
	}
}

/* ---------------------------------------------------------------- the loop */

/* Opens what is due; true when all are open. */
static bool
open_due(struct load *load)
{
	double seconds = (clock_us() - load->begin_us) / 1e6;
	unsigned due = load->connections;

	if (load->ramp > 0 && seconds * load->ramp < load->connections)
		due = (unsigned)(seconds * load->ramp) + 1;
	while (load->opened < due) {
		struct conn *c = &load->conns[load->opened];

		c->load = load;
		c->index = load->opened++;
		c->reply.on_mark = on_mark;
		c->reply.arg = c;
		conn_open(c);
	}
	return load->opened == load->connections;
}

static void
load_run(struct load *load)
{
	struct epoll_event events[EVENTS];

	load->begin_us = clock_us();
	while (load->done < load->requests && clock_us() - load->begin_us < load->timeout_us) {
		bool all = open_due(load);
		int count = epoll_wait(load->epoll, events, EVENTS, all ? 1000 : 1);

		for (int i = 0; i < count; i++) {
			struct conn *c = events[i].data.ptr;

			if (events[i].events & EPOLLOUT && c->sent < load->request_n)
				conn_send(c);
			if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->fd >= 0)
				conn_read(c);
		}
	}
}

static void
load_print(struct load *load)
{
	double seconds = (clock_us() - load->begin_us) / 1e6;

	printf("{\"requests\": %u, \"answered\": %zu, \"seconds\": %.6f, \"wrong_status\": %u, "
	       "\"cut\": %u, \"malformed\": %u, \"refused\": %u, \"unfinished\": %u, ",
	       load->requests, load->latency.count, seconds, load->wrong_status, load->cut,
	       load->malformed, load->refused, load->requests - load->done);
	printf("\"body_bytes\": %llu, \"frames\": %llu, \"missing\": %llu, \"twice\": %llu, "
	       "\"late\": %llu, ",
	       load->body_bytes, load->frames_seen, load->missing, load->twice, load->late);
	samples_print(&load->latency, "latency_us");
	printf(", ");
	samples_print(&load->first, "first_us");
	printf(", ");
	samples_print(&load->delay, "delay_us");
	printf("}\n");
}

/* ---------------------------------------------------------------- the command line */

static void
read_request(struct load *load, const char *path)
{
	FILE *file = fopen(path, "rb");

	if (!file)
		fail(path);
	load->request = malloc(REQUEST_MAX);
	if (!load->request)
		fail("memory");
	load->request_n = fread(load->request, 1, REQUEST_MAX, file);
	fclose(file);
}

/* Notes where the request varies. */
static void
find_places(struct load *load)
{
	load->places = calloc(load->request_n + 1, sizeof(*load->places));
	if (!load->places)
		fail("memory");
	for (size_t i = 0; i < load->request_n; i++) {
		if (load->request[i] == '#')
			load->places[load->place_count++] = i;
	}
}

static unsigned
number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

static void
read_options(struct load *load, int argc, char **argv)
{
	static const struct option options[] = {
	        {"to", required_argument, NULL, 't'},
	        {"request", required_argument, NULL, 'r'},
	        {"connections", required_argument, NULL, 'c'},
	        {"requests", required_argument, NULL, 'n'},
	        {"status", required_argument, NULL, 's'},
	        {"frames", required_argument, NULL, 'f'},
	        {"varied", required_argument, NULL, 'v'},
	        {"stamped", no_argument, NULL, 'm'},
	        {"late", required_argument, NULL, 'l'},
	        {"ramp", required_argument, NULL, 'a'},
	        {"sources", required_argument, NULL, 'o'},
	        {"timeout", required_argument, NULL, 'w'},
	        {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 't': load->port = (uint16_t)number(optarg); break;
		case 'r': read_request(load, optarg); break;
		case 'c': load->connections = number(optarg); break;
		case 'n': load->requests = number(optarg); break;
		case 's': load->status = (int)number(optarg); break;
		case 'f': load->frames = number(optarg); break;
		case 'v':
			load->varied = true;
			load->variations = (uint64_t)number(optarg) << 40;
			break;
		case 'm': load->stamped = true; break;
		case 'l': load->late_us = number(optarg) * 1e3; break;
		case 'a': load->ramp = number(optarg); break;
		case 'o': load->sources = number(optarg); break;
		case 'w': load->timeout_us = number(optarg) * 1e6; break;
		default: exit(2);
		}
	}
	if (!load->port || !load->request_n || !load->connections || !load->sources ||
	    load->requests < load->connections) {
		fputs("load: --to PORT and --request FILE are needed, and as many requests as "
		      "connections\n",
		      stderr);
		exit(2);
	}
}

int
main(int argc, char **argv)
{
	struct load load = {.connections = 1,
	                    .requests = 1,
	                    .status = 200,
	                    .sources = 1,
	                    .late_us = 50e3,
	                    .timeout_us = 60e6};

	signal(SIGPIPE, SIG_IGN);
	read_options(&load, argc, argv);
	find_places(&load);
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	load.conns = calloc(load.connections, sizeof(*load.conns));
	load.bytes = malloc(READ_BYTES);
	if (load.epoll < 0 || !load.conns || !load.bytes)
		fail("start");
	load_run(&load);
	load_print(&load);
	for (unsigned i = 0; i < load.opened; i++) {
		conn_close(&load.conns[i]);
		reply_free(&load.conns[i].reply);
	}
	close(load.epoll);
	free(load.conns);
	free(load.bytes);
	free(load.places);
	free(load.request);
	samples_free(&load.latency);
	samples_free(&load.first);
	samples_free(&load.delay);
	return 0;
}
