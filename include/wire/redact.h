/* Takes secrets out of texts that came from an upstream and are about to be shown. Pure. */
#ifndef WIRE_REDACT_H
#define WIRE_REDACT_H

#include "base/buf.h"

/*
 * Appends at most `max` bytes of `text`, cut at a character's end, with what looks like a secret
 * replaced by "[redacted]": every occurrence of `key` (NULL or shorter than 4: none), words that begin
 * like well-known keys and account identifiers (sk-, org-, proj_, AIza, gsk_, hf_, …), and the word after
 * "Bearer". Line ends and other control characters become spaces.
 */
void redact(struct bytes text, const char *key, size_t max, struct buf *out);

#endif
