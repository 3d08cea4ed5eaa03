#include "simulator/completion_private.h"

#include <stdlib.h>

#include "base/mem.h"
#include "simulator/mix.h"
#include "simulator/tool_call.h"

enum { TOKENS_MAX = 262144 }; /* of all choices of one answer */

/* Decides what a choice says and why it stops. False when there is no memory. */
static bool
choice_speak(struct sim_completion *c, struct sim_choice *choice, const struct sim_request *request)
{
	struct bytes prompt = buf_bytes(&c->prompt), stops[SIM_STOPS_MAX];
	uint32_t tokens = c->plan.empty ? 0 : c->plan.tokens;
	struct sim_speech *speech = &choice->speech;
	bool made;

	if (tokens > TOKENS_MAX / c->choice_count)
		tokens = TOKENS_MAX / c->choice_count;
	choice->finish = c->plan.finish[0] ? c->plan.finish : "stop";
	if (c->kind == SIM_ANSWER_TOOL) {
		if (!c->plan.finish[0])
			choice->finish = "tool_calls";
		return sim_speech_fragments(speech, buf_bytes(&c->arguments));
	}
	if (c->kind == SIM_ANSWER_REFUSAL)
		made = sim_speech_refusal(speech, c->vocabulary, tokens);
	else
		made = sim_speech_answer(speech, c->vocabulary, choice->seed, prompt, tokens);
	if (!made)
		return false;
	if (c->kind == SIM_ANSWER_TEXT)
		sim_speech_skip(speech, buf_bytes(&c->partial));
	if (speech->count > request->max_tokens) {
		speech->count = (uint32_t)request->max_tokens;
		choice->finish = "length";
	}
	for (size_t i = 0; i < request->stop_count; i++)
		stops[i] = buf_bytes(&request->stops[i]);
	if (sim_speech_stop(speech, stops, request->stop_count))
		choice->finish = c->plan.finish[0] ? c->plan.finish : "stop";
	if (c->repeats)
		sim_speech_repeat(speech, buf_bytes(&c->partial));
	return true;
}

static bool
completion_speak(struct sim_completion *c, const struct sim_completion_spec *spec)
{
	const struct sim_request *request = spec->request;
	uint64_t seed = sim_hash(spec->seed ^ request->seed, buf_bytes(&request->model));

	c->fingerprint = seed;
	seed = sim_hash(seed, spec->prompt);
	if (c->plan.tool && request->tools.kind == JSON_KIND_ARRAY && !c->plan.empty &&
	    sim_tool_call_make(json_value_text(request->tools), spec->prompt, &c->name,
	                       &c->arguments))
		c->kind = SIM_ANSWER_TOOL;
	else if (c->plan.refusal)
		c->kind = SIM_ANSWER_REFUSAL;
	c->repeats = c->plan.echo && !c->plan.empty && request->prefix && c->partial.n > 0 &&
	             c->kind == SIM_ANSWER_TEXT;
	c->logprobs = request->logprobs && !c->plan.no_logprobs && c->kind != SIM_ANSWER_TOOL;
	c->top_logprobs = request->top_logprobs;
	c->include_usage = request->include_usage;
	c->prompt_tokens = request->prompt_tokens;
	for (unsigned i = 0; i < c->choice_count; i++) {
		c->choices[i].seed = sim_mix(seed + i);
		if (!choice_speak(c, &c->choices[i], request))
			return false;
		c->tokens += c->choices[i].speech.count;
	}
	return true;
}

struct sim_completion *
sim_completion_new(const struct sim_completion_spec *spec)
{
	struct sim_completion *c = mem_new(sizeof(*c));

	c->plan = *spec->plan;
	c->vocabulary = spec->vocabulary;
	c->distributions = spec->distributions;
	c->serial = spec->serial;
	c->created_s = spec->created_s;
	c->choice_count = c->open = spec->request->n;
	c->choices = mem_array(c->choice_count, sizeof(*c->choices));
	buf_add_bytes(&c->prompt, spec->prompt);
	buf_add_bytes(&c->partial, buf_bytes(&spec->request->partial));
	buf_add_json_string(&c->model, buf_bytes(&spec->request->model));
	if (c->prompt.failed || c->partial.failed || c->model.failed || !completion_speak(c, spec))
		goto fail;
	buf_add_text(&c->head, "data: ");
	sim_completion_write_head(c, "chat.completion.chunk", &c->head);
	if (c->head.failed)
		goto fail;
	return c;
fail:
	sim_completion_free(c);
	return NULL;
}

void
sim_completion_free(struct sim_completion *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->choice_count; i++)
		sim_speech_fini(&c->choices[i].speech);
	free(c->choices);
	buf_fini(&c->prompt);
	buf_fini(&c->partial);
	buf_fini(&c->model);
	buf_fini(&c->name);
	buf_fini(&c->arguments);
	buf_fini(&c->head);
	free(c);
}

/* Writes the next frame of the choice whose turn it is, and passes the turn on. */
static void
completion_write_turn(struct sim_completion *c, struct buf *out)
{
	struct sim_choice *choice = &c->choices[c->turn];

	if (choice->at == 0) {
		sim_completion_write_role(c, c->turn, out);
	} else if (choice->at <= choice->speech.count) {
		sim_completion_write_token(c, c->turn, choice->at - 1, out);
		c->sent++;
	} else {
		sim_completion_write_finish(c, c->turn, out);
		c->open--;
	}
	choice->at++;
	for (unsigned i = 0; i < c->choice_count && c->open > 0; i++) {
		c->turn = (c->turn + 1) % c->choice_count;
		if (c->choices[c->turn].at <= c->choices[c->turn].speech.count + 1)
			break;
	}
}

enum sim_step
sim_completion_next(struct sim_completion *c, struct buf *out)
{
	if (c->ended)
		return SIM_STEP_END;
	if (c->frames == c->plan.cut)
		return SIM_STEP_CUT;
	if (c->frames == c->plan.stall)
		return SIM_STEP_STALL;
	if (c->frames == c->plan.error200) {
		buf_add_text(out, "data: ");
		sim_completion_write_error(out);
		buf_add_text(out, "\n\n");
		c->ended = true;
	} else if (c->frames == c->plan.garbage && !c->garbage_sent) {
		buf_add_text(out,
		             "data: {\"id\":\"chatcmpl-\",\"choices\":[{\"index\":0,\"del\n\n");
		c->garbage_sent = true;
	} else if (c->open > 0) {
		completion_write_turn(c, out);
	} else if (c->include_usage && !c->usage_sent) {
		sim_completion_write_usage_frame(c, out);
		c->usage_sent = true;
	} else {
		c->ended = true;
		if (c->plan.no_done)
			return SIM_STEP_END;
		buf_add_text(out, "data: [DONE]\n\n");
	}
	c->frames++;
	return SIM_STEP_FRAME;
}

void
sim_completion_write(struct sim_completion *c, struct buf *out)
{
	sim_completion_write_head(c, "chat.completion", out);
	for (unsigned i = 0; i < c->choice_count; i++) {
		if (i > 0)
			buf_add(out, ",", 1);
		sim_completion_write_choice(c, i, out);
	}
	buf_add_text(out, "],\"usage\":");
	sim_completion_write_usage(c, out);
	buf_add(out, "}", 1);
	c->sent = c->tokens;
}

uint64_t
sim_completion_tokens(const struct sim_completion *c)
{
	return c->tokens;
}

uint64_t
sim_completion_sent(const struct sim_completion *c)
{
	return c->sent;
}

uint32_t
sim_completion_frames(const struct sim_completion *c)
{
	return c->frames;
}

unsigned
sim_completion_choices(const struct sim_completion *c)
{
	return c->choice_count;
}
