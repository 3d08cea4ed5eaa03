#include "wire/chat_event.h"

#include "wire/sse_write.h"

struct chat_frame_view
chat_event_view(const struct chat_request *request)
{
	return (struct chat_frame_view){
	        .logprobs = request->logprobs,
	        .top_logprobs = request->top_logprobs,
	        .usage = request->include_usage,
	};
}

void
chat_event_write(const struct chat_frame *frame, const struct chat_frame_view *view,
                 struct buf *out)
{
	struct buf text;

	if (!memchr(frame->text.p, '\n', frame->text.n)) {
		buf_add(out, "data: ", 6);
		chat_frame_write(frame, view, out);
		buf_add(out, "\n\n", 2);
		return;
	}
	/* A pretty-printed frame: rare enough to take the long way. */
	buf_init(&text, out->limit);
	chat_frame_write(frame, view, &text);
	sse_write_data(out, buf_bytes(&text));
	out->failed |= text.failed;
	buf_fini(&text);
}
