/*
 * The format of a snapshot. Numbers are little-endian.
 *
 *	header, SNAPSHOT_HEADER_BYTES:
 *		0	"DTCACHE\n"
 *		8	version, u32
 *		12	the float 1.25, as this machine has floats
 *		16	records, u64
 *		24	bytes of all records, u64: all that follows the header
 *		32	the last SHA-256 of the chain
 *		64	SHA-256 of the 64 bytes before
 *	a record, for each entry, the least recently used first:
 *		0	bytes of document, question, model, provider, and dimensions: five u32
 *		20	flags, u32
 *		24	stored_ms, expires_ms, u64
 *		40	id, 16 hexadecimal digits
 *		56	caller, key, scope
 *		152	sketch, four u64
 *		216	vector, document, question, model, provider
 *
 * The chain goes over the records in blocks of SNAPSHOT_BLOCK_BYTES, which begin and end anywhere in them: each SHA-256
 * is of the one before (zeros at first) and a block. The header is written when the last one is known.
 *
 * A sketch is of use only as long as sketch_make() makes the same of a vector: a change there is a new version.
 */
#ifndef CACHE_SNAPSHOT_PRIVATE_H
#define CACHE_SNAPSHOT_PRIVATE_H

#include "cache/entry.h"

enum {
	SNAPSHOT_VERSION = 1,
	SNAPSHOT_HEADER_BYTES = 96,
	SNAPSHOT_RECORD_BYTES = 216, /* without what has no fixed length */
	SNAPSHOT_BLOCK_BYTES = 64 * 1024,
	/* What a buffer for a block has in front, for the chain. */
	SNAPSHOT_BLOCK_FRONT = sizeof(struct sha256),
};

struct snapshot_header {
	uint64_t records, bytes;
	struct sha256 chain;
};

void snapshot_header_encode(const struct snapshot_header *header,
                            unsigned char out[SNAPSHOT_HEADER_BYTES]);
/* NULL, or what is wrong, to be read after the file's name. */
const char *snapshot_header_decode(const unsigned char in[SNAPSHOT_HEADER_BYTES],
                                   struct snapshot_header *header);

/* Can it be a record: is no part of it too long? */
bool snapshot_record_fits(const struct cache_entry *entry);
void snapshot_record_encode(const struct cache_entry *entry,
                            unsigned char out[SNAPSHOT_RECORD_BYTES]);
/* Sets all of the entry but for what has no fixed length, of which it sets the lengths. False when no entry is
 * written like that. */
bool snapshot_record_decode(const unsigned char in[SNAPSHOT_RECORD_BYTES],
                            struct cache_entry *entry);
/* Of what follows a record's fixed part. */
uint64_t snapshot_record_rest(const struct cache_entry *entry);

/* The chain goes on with the n bytes of a block, which stands at buffer + SNAPSHOT_BLOCK_FRONT. */
void snapshot_chain(struct sha256 *chain, unsigned char *buffer, size_t n);

#endif
