/*
 * The line is put together by hand: one small allocation, and no printf, since it is paid for by every
 * request. Every text is bounded, so that the longest line, with all of its bytes escaped, is still
 * one that the sink does not cut, and so is always a whole JSON object.
 */
#include "observe/access_log.h"

#include <math.h>

#include "base/buf.h"
#include "base/clock.h"

enum {
	LINE_BYTES_TYPICAL = 1024,
	WORD_BYTES_MAX = 256, /* names, identifiers, reasons */
	PATH_BYTES_MAX = 1024,
	DETAIL_BYTES_MAX = 2048
};

static void
add_key(struct buf *line, const char *key)
{
	buf_add(line, ",\"", 2);
	buf_add_text(line, key);
	buf_add(line, "\":", 2);
}

/* At most `max` bytes of the text, and a mark where more was there. */
static void
add_text(struct buf *line, const char *key, const char *text, size_t max)
{
	static const char mark[] = "\xE2\x80\xA6"; /* … */
	struct bytes kept = {text, 0};

	if (!text)
		return;
	kept.n = strnlen(text, max + 1);
	add_key(line, key);
	if (kept.n <= max) {
		buf_add_json_string(line, kept);
		return;
	}
	kept.n = max;
	while (kept.n > 0 && ((unsigned char)text[kept.n] & 0xC0) == 0x80)
		kept.n--;
	buf_add_json_string(line, kept);
	if (line->failed)
		return;
	line->n--; /* the closing quote */
	buf_add(line, mark, sizeof(mark) - 1);
	buf_add(line, "\"", 1);
}

static void
add_word(struct buf *line, const char *key, const char *word)
{
	add_text(line, key, word, WORD_BYTES_MAX);
}

static void
add_count(struct buf *line, const char *key, int64_t count)
{
	if (count < 0)
		return;
	add_key(line, key);
	buf_add_u64(line, (uint64_t)count);
}

/* value / 10^digits, with that many decimals. */
static void
add_decimal(struct buf *line, uint64_t value, unsigned digits)
{
	char fraction[8];
	uint64_t rest = value;

	fraction[0] = '.';
	for (unsigned i = digits; i > 0; i--) {
		fraction[i] = (char)('0' + rest % 10);
		rest /= 10;
	}
	buf_add_u64(line, rest);
	buf_add(line, fraction, digits + 1);
}

static void
add_milliseconds(struct buf *line, const char *key, int64_t us)
{
	if (us < 0)
		return;
	add_key(line, key);
	add_decimal(line, (uint64_t)us, 3);
}

static void
add_score(struct buf *line, double score)
{
	const double largest = 1e12; /* beyond any score; its millionths fit an integer */
	double millionths = round(fmin(fabs(score), largest) * 1e6);

	if (!isfinite(score))
		return;
	add_key(line, "score");
	if (score < 0 && millionths > 0)
		buf_add(line, "-", 1);
	add_decimal(line, (uint64_t)millionths, 6);
}

/* Only what is so is told. */
static void
add_flag(struct buf *line, const char *key, bool flag)
{
	if (!flag)
		return;
	add_key(line, key);
	buf_add_text(line, "true");
}

static void
add_tokens(struct buf *line, const struct access_record *record)
{
	add_count(line, "prompt_tokens", record->prompt_tokens);
	add_count(line, "completion_tokens", record->completion_tokens);
	add_flag(line, "tokens_estimated", record->tokens_estimated);
	add_count(line, "draft_tokens", record->draft_tokens);
}

void
access_log_write(struct log_sink *sink, const struct access_record *record)
{
	char time[CLOCK_TEXT_SIZE];
	struct buf line;

	if (!sink)
		return;
	buf_init(&line, 0);
	buf_reserve(&line, LINE_BYTES_TYPICAL);
	clock_format(record->time_ms, time);
	buf_add_text(&line, "{\"time\":\"");
	buf_add_text(&line, time);
	buf_add(&line, "\"", 1);
	add_word(&line, "id", record->id);
	add_word(&line, "peer", record->peer);
	add_word(&line, "method", record->method);
	add_text(&line, "path", record->path, PATH_BYTES_MAX);
	add_count(&line, "status", record->status);
	add_key(&line, "stream");
	buf_add_text(&line, record->stream ? "true" : "false");
	add_word(&line, "route", record->route);
	add_word(&line, "decision", record->decision);
	add_word(&line, "reason", record->reason);
	add_score(&line, record->score);
	add_word(&line, "drafter", record->drafter);
	add_word(&line, "heavyweight", record->heavyweight);
	add_word(&line, "model", record->model);
	add_word(&line, "cache", record->cache);
	add_word(&line, "cache_guard", record->cache_guard);
	add_count(&line, "attempts", record->attempts);
	add_flag(&line, "speculated", record->speculated);
	add_flag(&line, "handed_off", record->handed_off);
	add_tokens(&line, record);
	if (record->cost_usd) {
		add_key(&line, "cost_usd");
		buf_add_text(&line, record->cost_usd);
	}
	add_key(&line, "sent_bytes");
	buf_add_u64(&line, record->sent_bytes);
	add_milliseconds(&line, "duration_ms", record->duration_us);
	add_milliseconds(&line, "first_byte_ms", record->first_byte_us);
	add_milliseconds(&line, "draft_ms", record->draft_us);
	add_milliseconds(&line, "heavyweight_ms", record->heavyweight_us);
	add_milliseconds(&line, "overhead_ms", record->overhead_us);
	add_word(&line, "end", record->end);
	add_word(&line, "error", record->error);
	add_text(&line, "detail", record->detail, DETAIL_BYTES_MAX);
	add_word(&line, "project_id", record->project_id);
	add_word(&line, "reasoning_effort", record->reasoning_effort);
	buf_add(&line, "}", 1);
	if (!line.failed)
		log_sink_write(sink, line.p, line.n);
	buf_fini(&line);
}
