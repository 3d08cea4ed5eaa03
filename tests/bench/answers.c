#include "answers.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CANDIDATES = 5, WORDS = 8, FRAME_BYTES_MAX = 4096 };

#define ID      "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT"
#define CREATED "1741569952"

static const char *const words[WORDS] = {" the",  " gateway", " answers", " before",
                                         " long", " with",    " every",   " word"};

/* Sure: 0.28 bits with the tail bounded, though no token is certain. In doubt: five equal ones, 2.7 bits. */
static const double sure[CANDIDATES] = {-0.030459207, -4.605170186, -5.298317367, -5.809142990,
                                        -6.214608098};
static const double doubt[CANDIDATES] = {-1.897119985, -1.897119985, -1.897119985, -1.897119985,
                                         -1.897119985};

static void
add_bytes(struct answer *answer, const char *p, size_t n)
{
	if (answer->n + n + 1 > answer->room) {
		answer->room = (answer->n + n + 1) * 2;
		answer->text = realloc(answer->text, answer->room);
		if (!answer->text) {
			fputs("upstream: out of memory\n", stderr);
			abort();
		}
	}
	memcpy(answer->text + answer->n, p, n);
	answer->n += n;
	answer->text[answer->n] = '\0';
}

__attribute__((format(printf, 2, 3))) static void
add(struct answer *answer, const char *format, ...)
{
	char text[FRAME_BYTES_MAX];
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	if (n < 0 || (size_t)n >= sizeof(text)) {
		fputs("upstream: a piece of an answer is too long\n", stderr);
		abort();
	}
	add_bytes(answer, text, (size_t)n);
}

/* ---------------------------------------------------------------- whole answers */

static void
add_whole(struct answer *answer, const char *status, const char *type, const struct answer *body)
{
	add(answer,
	    "HTTP/1.1 %s\r\nDate: Mon, 10 Mar 2025 01:25:52 GMT\r\nContent-Type: %s\r\n"
	    "Content-Length: %zu\r\nopenai-processing-ms: 412\r\n\r\n",
	    status, type, body->n);
	add_bytes(answer, body->text, body->n);
}

static void
make_json(struct answer *answer)
{
	struct answer body = {0};

	add(&body, "{\"id\":\"" ID "\",\"object\":\"chat.completion\",\"created\":" CREATED
	           ",\"model\":\"gpt-4.1-2025-04-14\",\"choices\":[{\"index\":0,\"message\":{"
	           "\"role\":\"assistant\",\"content\":\"A gateway stands between applications and "
	           "the servers they use.\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
	           "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":29,"
	           "\"completion_tokens\":10,\"total_tokens\":39,\"prompt_tokens_details\":{"
	           "\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}},"
	           "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_b376dfbbd5\"}\n");
	add_whole(answer, "200 OK", "application/json", &body);
	free(body.text);
}

static void
make_missing(struct answer *answer)
{
	struct answer body = {0};

	add(&body, "{\"error\":{\"message\":\"Not found.\",\"type\":\"invalid_request_error\"}}");
	add_whole(answer, "404 Not Found", "application/json", &body);
	free(body.text);
}

/* Little-endian floats, all of them alike, so that the vector has length 1 or near it. */
static void
add_base64(struct answer *body, unsigned dimensions)
{
	static const char digits[] =
	        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	static const unsigned char number[4] = {0x3B, 0x10, 0xD1, 0x3C}; /* 0.0255 */
	size_t total = (size_t)dimensions * 4;

	for (size_t i = 0; i < total; i += 3) {
		unsigned value = (unsigned)number[i % 4] << 16;
		char four[4];

		if (i + 1 < total)
			value |= (unsigned)number[(i + 1) % 4] << 8;
		if (i + 2 < total)
			value |= number[(i + 2) % 4];
		four[0] = digits[value >> 18];
		four[1] = digits[value >> 12 & 63];
		four[2] = '=';
		if (i + 1 < total)
			four[2] = digits[value >> 6 & 63];
		four[3] = '=';
		if (i + 2 < total)
			four[3] = digits[value & 63];
		add_bytes(body, four, 4);
	}
}

void
answer_make_embedding(struct answer *answer, unsigned dimensions, int base64)
{
	struct answer body = {0};

	add(&body,
	    "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,"
	    "\"embedding\":%s",
	    base64 ? "\"" : "[");
	if (base64)
		add_base64(&body, dimensions);
	for (unsigned i = 0; i < dimensions && !base64; i++)
		add(&body, "%s0.0255", i > 0 ? "," : "");
	add(&body,
	    "%s}],\"model\":\"text-embedding-3-small\",\"usage\":{\"prompt_tokens\":8,"
	    "\"total_tokens\":8}}",
	    base64 ? "\"" : "]");
	add_whole(answer, "200 OK", "application/json", &body);
	free(body.text);
}

/* ---------------------------------------------------------------- streams */

/* The bytes of a word as OpenAI lists them. */
static void
add_token_bytes(struct answer *frame, const char *word)
{
	add(frame, "\"bytes\":[");
	for (const char *p = word; *p; p++)
		add(frame, "%s%u", p > word ? "," : "", (unsigned)(unsigned char)*p);
	add(frame, "]");
}

/* The token is the word without its mark, which a model does not see. */
static void
add_logprobs(struct answer *frame, unsigned number, const double *values)
{
	const char *word = words[number % WORDS];

	add(frame, "{\"content\":[{\"token\":\"%s\",\"logprob\":%.12f,", word, values[0]);
	add_token_bytes(frame, word);
	add(frame, ",\"top_logprobs\":[");
	for (unsigned i = 0; i < CANDIDATES; i++) {
		const char *other = words[(number + i) % WORDS];

		add(frame, "%s{\"token\":\"%s\",\"logprob\":%.12f,", i > 0 ? "," : "", other,
		    values[i]);
		add_token_bytes(frame, other);
		add(frame, "}");
	}
	add(frame, "]}],\"refusal\":null}");
}

static void
add_frame_head(struct answer *frame)
{
	add(frame,
	    "data: {\"id\":\"" ID "\",\"object\":\"chat.completion.chunk\",\"created\":" CREATED
	    ",\"model\":\"gpt-4.1-nano\","
	    "\"system_fingerprint\":\"fp_b376dfbbd5\",\"choices\":[");
}

static void
add_frame_end(struct answer *frame, const struct stream_kind *kind)
{
	add(frame, "]%s}\n\n", kind->usage ? ",\"usage\":null" : "");
}

/* One frame is one chunk, as servers flush each of them. */
static void
add_chunk(struct answer *answer, struct answer *frame)
{
	add(answer, "%zx\r\n", frame->n);
	add_bytes(answer, frame->text, frame->n);
	add(answer, "\r\n");
	frame->n = 0;
}

/* Where a part's mark stands, and where it ends. */
static void
close_part(struct answer *answer, size_t begin)
{
	const char *mark = strchr(answer->text + begin, '@');

	answer->stamp[answer->parts] = (size_t)(mark - answer->text) + MARK_BYTES - MARK_DIGITS;
	answer->end[answer->parts++] = answer->n;
}

static void
add_content(struct answer *answer, struct answer *frame, const struct stream_kind *kind,
            unsigned number)
{
	add_frame_head(frame);
	add(frame, "{\"index\":0,\"delta\":{\"content\":\"%s@%02u:00000000\"},\"logprobs\":",
	    words[number % WORDS], number);
	if (kind->logprobs)
		add_logprobs(frame, number, kind->uncertain ? doubt : sure);
	else
		add(frame, "null");
	add(frame, ",\"finish_reason\":null}");
	add_frame_end(frame, kind);
	add_chunk(answer, frame);
}

static void
add_stream_end(struct answer *answer, struct answer *frame, const struct stream_kind *kind)
{
	add_frame_head(frame);
	add(frame, "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}");
	add_frame_end(frame, kind);
	add_chunk(answer, frame);
	if (kind->usage) {
		add_frame_head(frame);
		add(frame,
		    "],\"usage\":{\"prompt_tokens\":29,\"completion_tokens\":%d,"
		    "\"total_tokens\":%d,\"prompt_tokens_details\":{\"cached_tokens\":0}}}\n\n",
		    ANSWER_FRAMES, ANSWER_FRAMES + 29);
		add_chunk(answer, frame);
	}
	add(frame, "data: [DONE]\n\n");
	add_chunk(answer, frame);
	add(answer, "0\r\n\r\n");
}

static void
make_stream(struct answer *answer, const struct stream_kind *kind)
{
	struct answer frame = {0};
	size_t begin = 0;

	add(answer, "HTTP/1.1 200 OK\r\nDate: Mon, 10 Mar 2025 01:25:52 GMT\r\n"
	            "Content-Type: text/event-stream; charset=utf-8\r\n"
	            "Transfer-Encoding: chunked\r\nopenai-processing-ms: 212\r\n\r\n");
	add_frame_head(&frame);
	add(&frame,
	    "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
	    "\"logprobs\":null,\"finish_reason\":null}");
	add_frame_end(&frame, kind);
	add_chunk(answer, &frame);
	for (unsigned i = 0; i < ANSWER_FRAMES; i++) {
		add_content(answer, &frame, kind, i);
		if (i + 1 == ANSWER_FRAMES)
			add_stream_end(answer, &frame, kind);
		close_part(answer, begin);
		begin = answer->n;
	}
	free(frame.text);
}

void
answers_make(struct answers *all)
{
	make_json(&all->json);
	make_missing(&all->missing);
	for (int i = 0; i < 8; i++) {
		struct stream_kind kind = {i >> 2 & 1, i >> 1 & 1, i & 1};

		make_stream(&all->streams[kind.logprobs][kind.usage][kind.uncertain], &kind);
	}
}

void
mark_write(char *digits, uint64_t us)
{
	us %= MARK_PERIOD_US;
	for (int i = MARK_DIGITS; i-- > 0; us /= 10)
		digits[i] = (char)('0' + us % 10);
}
