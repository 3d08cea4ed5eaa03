/*
 * Validates the `messages` of a chat request while the body is scanned. Pure.
 */
#ifndef WIRE_CHAT_MESSAGES_H
#define WIRE_CHAT_MESSAGES_H

#include "wire/api_error.h"
#include "wire/json_scan.h"

struct chat_messages {
	unsigned count;
	bool has_images; /* a content part of type image_url */
	bool has_media; /* a content part that is no text: an image, audio, a file, or of an unknown type */
};

/* Reads the next value of the scan. False at a fault of the scan, which leaves `error` alone, and when
 * the messages are refused: then `error` is filled, `param` like `messages[2].content[0].type`. */
bool chat_messages_read(struct chat_messages *messages, struct json_scan *scan,
                        struct api_error *error);

#endif
