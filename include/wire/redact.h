/* Takes secrets out of texts that came from an upstream and are about to be shown. Pure. */
#ifndef WIRE_REDACT_H
#define WIRE_REDACT_H

#include "base/buf.h"

/*
 * Appends at most `max` bytes of `text`, cut at a character's end, with what looks like a secret
 * replaced by "[redacted]": every occurrence of one of
 * `keys` (ended by NULL; those shorter than 4 bytes do not count), words that begin
 * like well-known keys and account identifiers (sk-, org-, proj_, AIza, gsk_, hf_, …), and the word after
 * "Bearer". Every other byte stays, so a JSON document stays one.
 */
void redact(struct bytes text, const char *const *keys, size_t max, struct buf *out);

#endif
