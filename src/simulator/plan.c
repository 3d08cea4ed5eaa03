/*
 * The marks are one table: a name, how its value is read, and where it goes. A mark list is applied
 * to a copy of the plan, which replaces it only when the whole list was good.
 */
#include "simulator/plan.h"

#include <stdio.h>
#include <strings.h>

#include "base/duration.h"
#include "simulator/distribution.h"
#include "simulator/mix.h"
#include "simulator/speech.h"

enum {
	DELAY_MAX_MS = 3600000,
	FRAME_MAX = 1000000,
	TEXT_MAX = 128,  /* bytes of a mark quoted in a message */
	MARKS_MAX = 512, /* bytes between brackets, so that a text full of them costs little */
	LEVELS = 16,     /* of a token's entropy around the mean */
};

enum mark_kind {
	MARK_FLAG,   /* no value */
	MARK_COUNT,  /* a whole number between low and high; without a value: low */
	MARK_NUMBER, /* a number between low and high */
	MARK_DURATION,
	MARK_WORD, /* a short word, for finish */
};

#define AT(member) offsetof(struct sim_plan, member)

static const struct mark {
	const char *name;
	enum mark_kind kind;
	size_t offset;
	double low, high;
	const char *wants; /* for the message */
} mark_table[] = {
        {"tokens", MARK_COUNT, AT(tokens), 0, SIM_SPEECH_MAX, "a count up to 32768"},
        {"entropy", MARK_NUMBER, AT(entropy), 0, SIM_ENTROPY_MAX, "bits between 0 and 7"},
        {"uncertain", MARK_NUMBER, AT(uncertain), 0, 1, "a share between 0 and 1"},
        {"delay", MARK_DURATION, AT(delay_ms), 0, DELAY_MAX_MS, "a duration up to 1h"},
        {"first-byte", MARK_DURATION, AT(delay_ms), 0, DELAY_MAX_MS, "a duration up to 1h"},
        {"tps", MARK_NUMBER, AT(tokens_per_s), 0, 1e6, "tokens per second, 0 for at once"},
        {"cut", MARK_COUNT, AT(cut), 0, FRAME_MAX, "a count of frames"},
        {"stall", MARK_COUNT, AT(stall), 0, FRAME_MAX, "a count of frames"},
        {"garbage", MARK_COUNT, AT(garbage), 0, FRAME_MAX, "a count of frames"},
        {"error200", MARK_COUNT, AT(error200), 0, FRAME_MAX, "a count of frames"},
        {"retry-after", MARK_COUNT, AT(retry_after_s), 0, 86400, "seconds up to 86400"},
        {"html502", MARK_FLAG, AT(html502), 0, 0, "no value"},
        {"empty", MARK_FLAG, AT(empty), 0, 0, "no value"},
        {"no-logprobs", MARK_FLAG, AT(no_logprobs), 0, 0, "no value"},
        {"no-done", MARK_FLAG, AT(no_done), 0, 0, "no value"},
        {"refusal", MARK_FLAG, AT(refusal), 0, 0, "no value"},
        {"tool", MARK_FLAG, AT(tool), 0, 0, "no value"},
        {"echo", MARK_FLAG, AT(echo), 0, 0, "no value"},
        {"finish", MARK_WORD, AT(finish), 0, 0, "a word such as content_filter"},
};

const char *
sim_plan_help(void)
{
	return "  tokens=N          length of the answer (64)\n"
	       "  tps=N             tokens per second; 0: all at once (0)\n"
	       "  delay=DURATION    wait before the first byte; first-byte=DURATION is the same "
	       "(0)\n"
	       "  entropy=BITS      mean entropy of a token; each has 0.5 to 1.5 times that (0.3)\n"
	       "  entropy@7=BITS    the entropy of token 7; tokens count from 1\n"
	       "  entropy@7+=BITS   the entropy of token 7 and of all after it\n"
	       "  uncertain=SHARE   share of prompts with one token of 3.5 bits among the first "
	       "ten;\n"
	       "                    prompts with words like maybe, opinion, poem always have one\n"
	       "                    (0.25; 0 where an entropy is given)\n"
	       "  status=CODE       answer with an error of that status, 400 to 599\n"
	       "  retry-after=S     with that header; alone it means status=429\n"
	       "  cut=N             close the connection after N frames (or half of the "
	       "document);\n"
	       "                    0: before the head\n"
	       "  stall=N           say nothing more after N frames, but keep the connection open\n"
	       "  garbage=N         send a malformed frame after N frames (or a malformed "
	       "document)\n"
	       "  error200=N        send an error object after N frames, or instead of the "
	       "document,\n"
	       "                    with status 200\n"
	       "  html502           answer with a proxy's HTML page\n"
	       "  empty             answer without content\n"
	       "  no-logprobs       leave them out even when asked for\n"
	       "  no-done           end a stream without [DONE]\n"
	       "  refusal           refuse, in the refusal member\n"
	       "  tool              call the first of the request's tools\n"
	       "  echo              repeat a partial answer with \"prefix\": true before going on "
	       "from it\n"
	       "  finish=REASON     the finish_reason\n";
}

void
sim_plan_init(struct sim_plan *plan)
{
	*plan = (struct sim_plan){
	        .tokens = 64,
	        .entropy = 0.3,
	        .uncertain = -1,
	        .cut = SIM_NEVER,
	        .stall = SIM_NEVER,
	        .garbage = SIM_NEVER,
	        .error200 = SIM_NEVER,
	        .retry_after_s = SIM_NEVER,
	};
}

static bool
read_number(struct bytes text, double low, double high, double *out)
{
	return bytes_to_double(text, out) && *out >= low && *out <= high;
}

/* entropy@N=BITS or entropy@N+=BITS. */
static bool
plan_set_point(struct sim_plan *plan, struct bytes name, struct bytes value)
{
	struct sim_point point = {0};
	struct bytes place = {name.p + strlen("entropy@"), name.n - strlen("entropy@")};
	uint64_t token;

	if (place.n > 0 && place.p[place.n - 1] == '+') {
		point.onward = true;
		place.n--;
	}
	if (!bytes_to_u64(place, SIM_SPEECH_MAX, &token) || token == 0 ||
	    !read_number(value, 0, SIM_ENTROPY_MAX, &point.bits) ||
	    plan->point_count == SIM_POINTS_MAX)
		return false;
	point.token = (uint32_t)token;
	plan->points[plan->point_count++] = point;
	plan->entropy_said = true;
	return true;
}

static bool
is_word(struct bytes text)
{
	for (size_t i = 0; i < text.n; i++) {
		if (!(text.p[i] >= 'a' && text.p[i] <= 'z') && text.p[i] != '_')
			return false;
	}
	return text.n > 0;
}

/* Puts a value, NULL for none, where the table says. */
static bool
plan_set(struct sim_plan *plan, const struct mark *mark, struct bytes value)
{
	char *at = (char *)plan + mark->offset;
	double number = mark->low;
	uint64_t count = (uint64_t)mark->low;
	uint32_t narrow;
	bool yes = true;

	switch (mark->kind) {
	case MARK_FLAG: memcpy(at, &yes, sizeof(yes)); return !value.p;
	case MARK_COUNT:
		if (value.p && !bytes_to_u64(value, (uint64_t)mark->high, &count))
			return false;
		narrow = (uint32_t)count;
		memcpy(at, &narrow, sizeof(narrow));
		return true;
	case MARK_NUMBER:
		if (!read_number(value, mark->low, mark->high, &number))
			return false;
		memcpy(at, &number, sizeof(number));
		return true;
	case MARK_DURATION:
		if (!duration_parse_ms(value, (uint64_t)mark->high, &count))
			return false;
		narrow = (uint32_t)count;
		memcpy(at, &narrow, sizeof(narrow));
		return true;
	case MARK_WORD:
		if (value.n >= sizeof(plan->finish) || !is_word(value))
			return false;
		memcpy(at, value.p, value.n);
		at[value.n] = '\0';
		return true;
	}
	return false;
}

static enum sim_mark_result
mark_bad(struct bytes mark, const char *wants, char *error, size_t size)
{
	snprintf(error, size, "mark '%.*s' wants %s", (int)(mark.n < TEXT_MAX ? mark.n : TEXT_MAX),
	         mark.p, wants);
	return SIM_MARK_BAD;
}

/* Applies one `name` or `name=value`. */
static enum sim_mark_result
plan_apply_one(struct sim_plan *plan, struct bytes mark, char *error, size_t size)
{
	const char *equals = memchr(mark.p, '=', mark.n);
	struct bytes name = mark, value = {NULL, 0};
	uint64_t status;

	if (equals) {
		name.n = (size_t)(equals - mark.p);
		value = (struct bytes){equals + 1, mark.n - name.n - 1};
	}
	if (bytes_is(name, "status")) {
		if (!bytes_to_u64(value, 599, &status) || status < 400)
			return mark_bad(mark, "a status from 400 to 599", error, size);
		plan->status = (uint16_t)status;
		return SIM_MARK_OK;
	}
	if (name.n > 8 && memcmp(name.p, "entropy@", 8) == 0) {
		if (!plan_set_point(plan, name, value))
			return mark_bad(mark,
			                "entropy@N=BITS or entropy@N+=BITS, at most 16 of them",
			                error, size);
		return SIM_MARK_OK;
	}
	for (size_t i = 0; i < sizeof(mark_table) / sizeof(mark_table[0]); i++) {
		if (!bytes_is(name, mark_table[i].name))
			continue;
		if (!plan_set(plan, &mark_table[i], value))
			return mark_bad(mark, mark_table[i].wants, error, size);
		if (mark_table[i].offset == AT(entropy))
			plan->entropy_said = true;
		return SIM_MARK_OK;
	}
	snprintf(error, size, "no mark is called '%.*s'",
	         (int)(name.n < TEXT_MAX ? name.n : TEXT_MAX), name.p);
	return SIM_MARK_UNKNOWN;
}

/* Takes `MODEL:` off the front. Model names may hold colons, values never do. */
static struct bytes
marks_split_model(struct bytes *marks)
{
	const char *colon = memrchr(marks->p, ':', marks->n);
	struct bytes model = {NULL, 0};

	if (colon) {
		model = (struct bytes){marks->p, (size_t)(colon - marks->p)};
		*marks = (struct bytes){colon + 1, marks->n - model.n - 1};
	}
	return model;
}

enum sim_mark_result
sim_plan_apply(struct sim_plan *plan, struct bytes marks, const char *model, char *error,
               size_t size)
{
	struct sim_plan next = *plan;
	struct bytes addressee = marks_split_model(&marks);

	for (;;) {
		const char *comma = marks.n ? memchr(marks.p, ',', marks.n) : NULL;
		size_t n = comma ? (size_t)(comma - marks.p) : marks.n;
		enum sim_mark_result result =
		        plan_apply_one(&next, (struct bytes){marks.p, n}, error, size);

		if (result != SIM_MARK_OK)
			return result;
		if (!comma)
			break;
		marks = (struct bytes){comma + 1, marks.n - n - 1};
	}
	if (!addressee.p || (model && bytes_is(addressee, model)))
		*plan = next;
	return SIM_MARK_OK;
}

bool
sim_plan_read_prompt(struct sim_plan *plan, struct bytes prompt, enum sim_mark_scope scope,
                     const char *model, struct buf *text, char *error, size_t size)
{
	struct sim_plan next = *plan;

	next.entropy_said = false;
	while (prompt.n > 0) {
		const char *open = memmem(prompt.p, prompt.n, "[[", 2), *close = NULL;
		size_t n = open ? (size_t)(open - prompt.p) : prompt.n;
		enum sim_mark_result result = SIM_MARK_UNKNOWN;
		struct bytes marks;

		buf_add(text, prompt.p, n);
		prompt = (struct bytes){prompt.p + n, prompt.n - n};
		if (!open)
			break;
		n = prompt.n < MARKS_MAX ? prompt.n : MARKS_MAX;
		close = memmem(open + 2, n - 2, "]]", 2);
		if (close) {
			marks = (struct bytes){open + 2, (size_t)(close - open - 2)};
			if (scope == SIM_MARKS_ALL || memchr(marks.p, ':', marks.n))
				result = sim_plan_apply(&next, marks, model, error, size);
		}
		if (result == SIM_MARK_BAD)
			return false;
		/* Of brackets without a mark, the second may still begin one. */
		n = result == SIM_MARK_OK ? (size_t)(close + 2 - open) : 1;
		if (result != SIM_MARK_OK)
			buf_add(text, open, n);
		prompt = (struct bytes){prompt.p + n, prompt.n - n};
	}
	if (next.entropy_said)
		next.uncertain = 0;
	next.entropy_said |= plan->entropy_said;
	*plan = next;
	return true;
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
smells_of_doubt(struct bytes prompt)
{
	static const char *const words[] = {"maybe", "perhaps", "opinion", "opinions",
	                                    "poem",  "unsure",  "guess",   "probably"};

	for (size_t i = 0; i < prompt.n;) {
		size_t begin = i;

		while (i < prompt.n && is_letter(prompt.p[i]))
			i++;
		for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
			if (i - begin == strlen(words[w]) &&
			    strncasecmp(prompt.p + begin, words[w], i - begin) == 0)
				return true;
		}
		if (i == begin)
			i++;
	}
	return false;
}

void
sim_plan_add_doubt(struct sim_plan *plan, struct bytes prompt, uint64_t seed)
{
	double share = plan->uncertain;
	uint64_t bits = sim_hash(seed, prompt);

	if (share < 0)
		share = plan->entropy_said ? 0 : 0.25;
	if (share <= 0 || plan->point_count == SIM_POINTS_MAX)
		return;
	if (!smells_of_doubt(prompt) && sim_unit(bits) >= share)
		return;
	plan->points[plan->point_count++] = (struct sim_point){
	        .token = 3 + (uint32_t)(sim_mix(bits) % 7), .bits = SIM_DOUBT_BITS};
}

double
sim_plan_entropy(const struct sim_plan *plan, uint32_t token, uint64_t bits)
{
	for (size_t i = plan->point_count; i > 0; i--) {
		const struct sim_point *point = &plan->points[i - 1];

		if (point->token == token || (point->onward && point->token < token))
			return point->bits;
	}
	return plan->entropy * (0.5 + ((double)(bits % LEVELS) + 0.5) / LEVELS);
}
