/* What the tests of frames share. */
#ifndef CHAT_FRAME_FIXTURE_H
#define CHAT_FRAME_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wire/chat_frame.h"

/* Reads a copy without slack, which the caller frees through `held`. */
static inline bool
frame_read(struct chat_frame *frame, const char *text, size_t n, char **held)
{
	*held = mem_new(n);
	memcpy(*held, text, n);
	return chat_frame_read(frame, (struct bytes){*held, n});
}

static inline bool
frame_is_readable(const char *text)
{
	struct chat_frame frame;
	char *held;
	bool readable;

	chat_frame_init(&frame);
	readable = frame_read(&frame, text, strlen(text), &held);
	chat_frame_fini(&frame);
	free(held);
	return readable;
}

#endif
