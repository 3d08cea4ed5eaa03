/*
 * What makes two chat requests the same question: digests of the request in a canonical form. Pure.
 *
 * Canonical: no white space between tokens; strings spelled in one way only whatever escapes they were written
 * with (json_string_respell); members of every object sorted by the bytes of their keys in that spelling, those
 * of one key in the order in which they came; numbers as they are spelled. Kept in their order are the members
 * of an object that is the value of `properties`: models write the members of structured output in the order of
 * the schema. Left out are the members of the request that do not shape the answer: model (the identity stands
 * for it), stream, stream_options, user, metadata, request_id, project_id; and, at the top level, members that are
 * null, which say nothing.
 */
#ifndef WIRE_CHAT_KEY_H
#define WIRE_CHAT_KEY_H

#include "base/sha256.h"
#include "wire/chat_request.h"

struct chat_key {
	struct sha256 exact; /* of the identity and all of the request */
	/* Is the last message a user's, of text alone (a string, or an array of text parts), and is that more than
	 * white space? Then the two below are there. */
	bool has_question;
	/* Of the identity and the request without that text. Never equal to an `exact`. */
	struct sha256 scope;
	/* Owned: that text, decoded as json_string_decode() does; of several parts joined by line feeds. */
	struct buf question;
};

/* identity: who asks for what, in the caller's own words; it comes before the request in what is digested, so
 * that no two pairs of identity and request run into each other. The request must be one that
 * chat_request_read found good. Linear in time and memory, but for sorting. False when memory is out; then
 * there is nothing to free. */
bool chat_key_make(struct chat_key *key, const struct chat_request *request, struct bytes identity);
void chat_key_fini(struct chat_key *key);

#endif
