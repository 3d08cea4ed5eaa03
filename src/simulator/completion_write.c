/*
 * How OpenAI spells a completion. A frame is put together from pieces that were rendered before: the
 * completion's head, the words of the vocabulary, the numbers of the distribution.
 */
#include "simulator/completion_private.h"

#include "simulator/mix.h"

#define ADD(out, literal) buf_add(out, "" literal, sizeof(literal) - 1)

void
sim_completion_write_head(const struct sim_completion *c, const char *object, struct buf *out)
{
	buf_add_format(out,
	               "{\"id\":\"chatcmpl-%016llx%08llx\",\"object\":\"%s\",\"created\":%llu,"
	               "\"model\":",
	               (unsigned long long)sim_mix(c->serial ^ c->created_s << 32),
	               (unsigned long long)(c->serial & 0xFFFFFFFF), object,
	               (unsigned long long)c->created_s);
	buf_add_bytes(out, buf_bytes(&c->model));
	buf_add_format(out, ",\"system_fingerprint\":\"fp_%010llx\",\"choices\":[",
	               (unsigned long long)(c->fingerprint & 0xFFFFFFFFFF));
}

static void
write_token_text(const struct sim_completion *c, const struct sim_token *token, struct buf *out)
{
	if (token->word != SIM_WORD_NONE)
		buf_add_bytes(out, sim_vocabulary_word(c->vocabulary, (unsigned)token->word)->json);
	else
		buf_add_json_string(out, (struct bytes){token->p, token->n});
}

/* {"token":…,"logprob":…,"bytes":[…], without the closing brace. */
static void
write_entry(const struct sim_completion *c, const struct sim_token *token,
            const struct sim_number *logprob, struct buf *out)
{
	if (token->word != SIM_WORD_NONE) {
		const struct sim_word *word =
		        sim_vocabulary_word(c->vocabulary, (unsigned)token->word);

		buf_add_bytes(out, word->head);
		buf_add(out, logprob->text, logprob->n);
		buf_add_bytes(out, word->tail);
		return;
	}
	ADD(out, "{\"token\":");
	buf_add_json_string(out, (struct bytes){token->p, token->n});
	ADD(out, ",\"logprob\":");
	buf_add(out, logprob->text, logprob->n);
	sim_vocabulary_add_bytes(out, (struct bytes){token->p, token->n});
}

/*
 * The logprobs entry of one token. It has a rank in the distribution, drawn by lot; the other ranks
 * are taken by words that follow each other in the vocabulary, itself left out.
 */
static void
write_logprob(const struct sim_completion *c, const struct sim_choice *choice, uint32_t index,
              struct buf *out)
{
	const struct sim_token *token = &choice->speech.tokens[index];
	uint64_t bits = sim_mix(choice->seed ^ sim_mix(index + 1)), more = sim_mix(bits);
	double wanted = sim_plan_entropy(&c->plan, index + 1, bits);
	const struct sim_distribution *d = sim_distribution_set_get(c->distributions, wanted);
	unsigned rank = sim_distribution_draw(d, sim_unit(more));
	unsigned count = sim_vocabulary_count(c->vocabulary);
	unsigned other = (unsigned)((bits >> 32) % count);
	struct sim_number number;

	number = rank < SIM_TOP_MAX ? d->top[rank] : sim_distribution_number(d, rank);
	write_entry(c, token, &number, out);
	ADD(out, ",\"top_logprobs\":[");
	for (unsigned i = 0; i < c->top_logprobs; i++) {
		struct sim_token candidate = *token;

		if (i > 0)
			ADD(out, ",");
		if (i != rank) {
			if ((int)other == token->word)
				other = (other + 1) % count;
			candidate.word = (int)other;
			other = (other + 1) % count;
		}
		write_entry(c, &candidate, &d->top[i], out);
		ADD(out, "}");
	}
	ADD(out, "]}");
}

/* The logprobs of the tokens [first, last) of a choice, or null. */
static void
write_logprobs(const struct sim_completion *c, const struct sim_choice *choice, uint32_t first,
               uint32_t last, struct buf *out)
{
	bool refusal = c->kind == SIM_ANSWER_REFUSAL;

	if (!c->logprobs) {
		ADD(out, "null");
		return;
	}
	if (refusal)
		ADD(out, "{\"content\":null,\"refusal\":[");
	else
		ADD(out, "{\"content\":[");
	for (uint32_t i = first; i < last; i++) {
		if (i > first)
			ADD(out, ",");
		write_logprob(c, choice, i, out);
	}
	if (refusal)
		ADD(out, "]}");
	else
		ADD(out, "],\"refusal\":null}");
}

static void
frame_begin(const struct sim_completion *c, unsigned index, struct buf *out)
{
	buf_add_bytes(out, buf_bytes(&c->head));
	ADD(out, "{\"index\":");
	buf_add_u64(out, index);
	ADD(out, ",\"delta\":");
}

static void
frame_end(const struct sim_completion *c, struct buf *out)
{
	if (c->include_usage)
		ADD(out, "}],\"usage\":null}\n\n");
	else
		ADD(out, "}]}\n\n");
}

/* The head of the one tool call, up to the value of its arguments. */
static void
write_call(const struct sim_completion *c, unsigned index, struct buf *out)
{
	buf_add_format(out, "\"id\":\"call_%016llx\",\"type\":\"function\",\"function\":{\"name\":",
	               (unsigned long long)c->choices[index].seed);
	buf_add_json_string(out, buf_bytes(&c->name));
	ADD(out, ",\"arguments\":");
}

void
sim_completion_write_role(const struct sim_completion *c, unsigned index, struct buf *out)
{
	frame_begin(c, index, out);
	if (c->kind == SIM_ANSWER_TOOL) {
		ADD(out, "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"index\":0,");
		write_call(c, index, out);
		ADD(out, "\"\"}}],\"refusal\":null}");
	} else if (c->kind == SIM_ANSWER_REFUSAL) {
		ADD(out, "{\"role\":\"assistant\",\"content\":null,\"refusal\":\"\"}");
	} else {
		ADD(out, "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}");
	}
	ADD(out, ",\"logprobs\":");
	write_logprobs(c, &c->choices[index], 0, 0, out);
	ADD(out, ",\"finish_reason\":null");
	frame_end(c, out);
}

void
sim_completion_write_token(const struct sim_completion *c, unsigned index, uint32_t token,
                           struct buf *out)
{
	const struct sim_choice *choice = &c->choices[index];

	frame_begin(c, index, out);
	if (c->kind == SIM_ANSWER_TOOL)
		ADD(out, "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":");
	else if (c->kind == SIM_ANSWER_REFUSAL)
		ADD(out, "{\"refusal\":");
	else
		ADD(out, "{\"content\":");
	write_token_text(c, &choice->speech.tokens[token], out);
	if (c->kind == SIM_ANSWER_TOOL)
		ADD(out, "}}]");
	ADD(out, "},\"logprobs\":");
	write_logprobs(c, choice, token, token + 1, out);
	ADD(out, ",\"finish_reason\":null");
	frame_end(c, out);
}

void
sim_completion_write_finish(const struct sim_completion *c, unsigned index, struct buf *out)
{
	frame_begin(c, index, out);
	ADD(out, "{},\"logprobs\":null,\"finish_reason\":\"");
	buf_add_text(out, c->choices[index].finish);
	ADD(out, "\"");
	frame_end(c, out);
}

void
sim_completion_write_usage(const struct sim_completion *c, struct buf *out)
{
	/* What is repeated was paid for with the prompt. */
	uint64_t made = c->tokens - (c->repeats ? c->choice_count : 0);

	ADD(out, "{\"prompt_tokens\":");
	buf_add_u64(out, c->prompt_tokens);
	ADD(out, ",\"completion_tokens\":");
	buf_add_u64(out, made);
	ADD(out, ",\"total_tokens\":");
	buf_add_u64(out, c->prompt_tokens + made);
	ADD(out, ",\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
	         "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
	         "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}");
}

void
sim_completion_write_usage_frame(const struct sim_completion *c, struct buf *out)
{
	buf_add_bytes(out, buf_bytes(&c->head));
	ADD(out, "],\"usage\":");
	sim_completion_write_usage(c, out);
	ADD(out, "}\n\n");
}

/* The text of a choice as one JSON string: the strings of its tokens without the quotes between. */
static void
write_text(const struct sim_completion *c, const struct sim_choice *choice, struct buf *out)
{
	ADD(out, "\"");
	for (uint32_t i = 0; i < choice->speech.count && !out->failed; i++) {
		size_t begin = out->n;

		write_token_text(c, &choice->speech.tokens[i], out);
		if (out->failed)
			return;
		memmove(out->p + begin, out->p + begin + 1, out->n - begin - 2);
		out->n -= 2;
	}
	ADD(out, "\"");
}

void
sim_completion_write_choice(const struct sim_completion *c, unsigned index, struct buf *out)
{
	const struct sim_choice *choice = &c->choices[index];

	ADD(out, "{\"index\":");
	buf_add_u64(out, index);
	ADD(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
	if (c->kind == SIM_ANSWER_TOOL) {
		ADD(out, "null,\"tool_calls\":[{");
		write_call(c, index, out);
		write_text(c, choice, out);
		ADD(out, "}}],\"refusal\":null");
	} else if (c->kind == SIM_ANSWER_REFUSAL) {
		ADD(out, "null,\"refusal\":");
		write_text(c, choice, out);
	} else {
		write_text(c, choice, out);
		ADD(out, ",\"refusal\":null");
	}
	ADD(out, ",\"annotations\":[]},\"logprobs\":");
	write_logprobs(c, choice, 0, choice->speech.count, out);
	ADD(out, ",\"finish_reason\":\"");
	buf_add_text(out, choice->finish);
	ADD(out, "\"}");
}

void
sim_completion_write_error(struct buf *out)
{
	ADD(out,
	    "{\"error\":{\"message\":\"The server had an error while processing your request.\","
	    "\"type\":\"server_error\",\"param\":null,\"code\":null}}");
}
