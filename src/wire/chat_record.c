#include "wire/chat_record.h"

#include "wire/chat_convert.h"
#include "wire/chat_frame.h"
#include "wire/sse_write.h"

/* ---------------------------------------------------------------- made */

/* Appends valid JSON without the white space between its tokens. */
static void
compact(struct bytes json, struct buf *out)
{
	const char *p = json.p, *end = json.p + json.n, *from = p;
	bool quoted = false;

	for (; p < end; p++) {
		if (quoted && *p == '\\') {
			p++;
		} else if (*p == '"') {
			quoted = !quoted;
		} else if (!quoted && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
			buf_add(out, from, (size_t)(p - from));
			from = p + 1;
		}
	}
	buf_add(out, from, (size_t)(end - from));
}

static bool
is_text(struct json_value value)
{
	return value.kind == JSON_KIND_STRING && value.n > 2;
}

static void
facts_note(struct chat_record_facts *facts, const struct chat_frame *frame)
{
	const struct chat_choice *choice = &frame->choices[0];

	*facts = (struct chat_record_facts){
	        .choices = frame->choice_count,
	        .end = CHAT_RECORD_OTHER,
	        .has_usage = frame->usage_counts.known,
	};
	if (frame->choice_count == 0)
		return;
	if (json_string_is(choice->finish_reason, "stop"))
		facts->end = CHAT_RECORD_STOP;
	else if (json_string_is(choice->finish_reason, "tool_calls") ||
	         json_string_is(choice->finish_reason, "function_call"))
		facts->end = CHAT_RECORD_CALLS;
	facts->has_text = is_text(choice->content);
	facts->is_refusal = is_text(choice->refusal);
	facts->has_calls = (choice->tool_calls.kind == JSON_KIND_ARRAY &&
	                    !json_is_empty(choice->tool_calls)) ||
	                   choice->function_call.kind == JSON_KIND_OBJECT;
}

/* The members one after the other; of a usage that says nothing, none. */
static void
members_write(struct bytes completion, bool has_usage, struct bytes usage, struct buf *out)
{
	struct json_scan scan;
	struct json_member member;
	struct json_value value;
	const char *comma = "";

	json_scan_init(&scan, completion);
	json_enter(&scan, JSON_KIND_OBJECT);
	buf_add_text(out, "{");
	while (json_next_member(&scan, &member) && json_take(&scan, &value)) {
		if (json_key_is(member.key, "id") || json_key_is(member.key, "created") ||
		    (!has_usage && json_key_is(member.key, "usage")))
			continue;
		buf_add_text(out, comma);
		compact((struct bytes){member.begin, (size_t)(value.p + value.n - member.begin)},
		        out);
		comma = ",";
	}
	if (!has_usage && usage.n > 0) {
		buf_add_text(out, comma);
		buf_add_text(out, "\"usage\":");
		compact(usage, out);
	}
	buf_add_text(out, "}");
}

bool
chat_record_make(struct bytes completion, struct bytes usage, struct chat_record_facts *facts,
                 struct buf *out)
{
	struct chat_frame frame;
	bool good;

	chat_frame_init(&frame);
	good = chat_frame_read(&frame, completion) && frame.error.kind == JSON_KIND_NONE;
	if (good) {
		facts_note(facts, &frame);
		members_write(completion, facts->has_usage, usage, out);
		facts->has_usage |= usage.n > 0;
	}
	chat_frame_fini(&frame);
	return good && !out->failed;
}

/* ---------------------------------------------------------------- given again */

void
chat_record_write(struct bytes record, const char *id, uint64_t created_s, struct buf *out)
{
	buf_add_text(out, "{\"id\":\"");
	buf_add_text(out, id);
	buf_add_text(out, "\",\"created\":");
	buf_add_u64(out, created_s);
	if (record.n > 2)
		buf_add(out, ",", 1);
	if (record.n > 1)
		buf_add(out, record.p + 1, record.n - 1);
}

/* What all events begin with: the text up to the choices. */
static void
begin_write(const struct chat_frame *frame, const char *id, uint64_t created_s, struct buf *out)
{
	struct buf rest;

	buf_init(&rest, 0);
	chat_convert_begin(frame, &rest);
	chat_record_write(buf_bytes(&rest), id, created_s, out);
	out->failed |= rest.failed;
	buf_fini(&rest);
}

/* Many readers stop at the first frame with a finish_reason: it has a frame of its own, behind the text. */
static bool
choice_write(const struct chat_frame *whole, size_t at, struct bytes begin, struct buf *payload,
             struct buf *out)
{
	struct chat_frame frame;
	struct json_value end;
	bool good;

	chat_frame_init(&frame);
	buf_reset(payload);
	chat_convert_choice(whole, at, begin, payload);
	good = !payload->failed && chat_frame_read(&frame, buf_bytes(payload)) &&
	       frame.choice_count == 1;
	if (good) {
		end = frame.choices[0].finish_reason;
		buf_add_text(out, "data: ");
		buf_add(out, payload->p, (size_t)(end.p - payload->p));
		buf_add_text(out, "null");
		buf_add(out, end.p + end.n, (size_t)(payload->p + payload->n - end.p - end.n));
		buf_add_text(out, "\n\ndata: ");
		buf_add_bytes(out, begin);
		buf_add_text(out, "{\"index\":");
		buf_add_u64(out, frame.choices[0].index);
		buf_add_text(out, ",\"delta\":{},\"finish_reason\":");
		buf_add_bytes(out, json_value_text(end));
		buf_add_text(out, "}]}\n\n");
	}
	chat_frame_fini(&frame);
	return good;
}

bool
chat_record_write_events(struct bytes record, const char *id, uint64_t created_s, bool usage,
                         struct buf *out)
{
	struct chat_frame frame;
	struct buf begin, payload;
	bool good;

	chat_frame_init(&frame);
	buf_init(&begin, 0);
	buf_init(&payload, 0);
	good = chat_frame_read(&frame, record) && frame.error.kind == JSON_KIND_NONE;
	if (good)
		begin_write(&frame, id, created_s, &begin);
	for (size_t i = 0; good && i < frame.choice_count; i++)
		good = choice_write(&frame, i, buf_bytes(&begin), &payload, out);
	if (good && usage && frame.usage_counts.known) {
		buf_reset(&payload);
		chat_convert_usage(&frame, buf_bytes(&begin), &payload);
		sse_write_data(out, buf_bytes(&payload));
	}
	good = good && !begin.failed && !payload.failed && !out->failed;
	buf_fini(&payload);
	buf_fini(&begin);
	chat_frame_fini(&frame);
	return good;
}
