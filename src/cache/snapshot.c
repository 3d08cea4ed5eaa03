#include "cache/snapshot_private.h"

static const char magic[8] = "DTCACHE\n";

enum {
	AT_VERSION = 8,
	AT_FLOAT = 12,
	AT_RECORDS = 16,
	AT_BYTES = 24,
	AT_CHAIN = 32,
	AT_SUM = 64,

	AT_DOCUMENT = 0,
	AT_QUESTION = 4,
	AT_MODEL = 8,
	AT_PROVIDER = 12,
	AT_DIMENSIONS = 16,
	AT_FLAGS = 20,
	AT_STORED = 24,
	AT_EXPIRES = 32,
	AT_ID = 40,
	AT_CALLER = 56,
	AT_KEY = 88,
	AT_SCOPE = 120,
	AT_SKETCH = 152,

	FLAG_USAGE = 1,
};

/* A float as it lies in this machine's memory. */
static uint32_t
float_mark(void)
{
	const float value = 1.25F;
	uint32_t mark;

	memcpy(&mark, &value, sizeof(mark));
	return mark;
}

static void
put_number(unsigned char *out, uint64_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		out[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t
get_number(const unsigned char *in, size_t bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < bytes; i++)
		value |= (uint64_t)in[i] << 8 * i;
	return value;
}

void
snapshot_header_encode(const struct snapshot_header *header,
                       unsigned char out[SNAPSHOT_HEADER_BYTES])
{
	uint32_t mark = float_mark();
	struct sha256 sum;

	memcpy(out, magic, sizeof(magic));
	put_number(out + AT_VERSION, SNAPSHOT_VERSION, 4);
	memcpy(out + AT_FLOAT, &mark, sizeof(mark));
	put_number(out + AT_RECORDS, header->records, 8);
	put_number(out + AT_BYTES, header->bytes, 8);
	memcpy(out + AT_CHAIN, header->chain.bytes, sizeof(header->chain.bytes));
	sum = sha256_of((struct bytes){(const char *)out, AT_SUM});
	memcpy(out + AT_SUM, sum.bytes, sizeof(sum.bytes));
}

const char *
snapshot_header_decode(const unsigned char in[SNAPSHOT_HEADER_BYTES],
                       struct snapshot_header *header)
{
	struct sha256 sum = sha256_of((struct bytes){(const char *)in, AT_SUM});
	uint32_t mark = float_mark();

	if (memcmp(in, magic, sizeof(magic)) != 0)
		return "is no snapshot of a cache";
	if (get_number(in + AT_VERSION, 4) != SNAPSHOT_VERSION)
		return "is a snapshot of another version";
	if (memcmp(in + AT_FLOAT, &mark, sizeof(mark)) != 0)
		return "is a snapshot of another kind of machine";
	if (memcmp(in + AT_SUM, sum.bytes, sizeof(sum.bytes)) != 0)
		return "is damaged";
	header->records = get_number(in + AT_RECORDS, 8);
	header->bytes = get_number(in + AT_BYTES, 8);
	memcpy(header->chain.bytes, in + AT_CHAIN, sizeof(header->chain.bytes));
	return NULL;
}

bool
snapshot_record_fits(const struct cache_entry *entry)
{
	return entry->document.n <= UINT32_MAX && entry->question.n <= UINT32_MAX &&
	       entry->model.n <= UINT32_MAX && entry->provider.n <= UINT32_MAX;
}

void
snapshot_record_encode(const struct cache_entry *entry, unsigned char out[SNAPSHOT_RECORD_BYTES])
{
	put_number(out + AT_DOCUMENT, entry->document.n, 4);
	put_number(out + AT_QUESTION, entry->question.n, 4);
	put_number(out + AT_MODEL, entry->model.n, 4);
	put_number(out + AT_PROVIDER, entry->provider.n, 4);
	put_number(out + AT_DIMENSIONS, entry->dimensions, 4);
	put_number(out + AT_FLAGS, entry->has_usage ? FLAG_USAGE : 0, 4);
	put_number(out + AT_STORED, entry->stored_ms, 8);
	put_number(out + AT_EXPIRES, entry->expires_ms, 8);
	memcpy(out + AT_ID, entry->id, CACHE_ID_DIGITS);
	memcpy(out + AT_CALLER, entry->caller.bytes, sizeof(entry->caller.bytes));
	memcpy(out + AT_KEY, entry->key.bytes, sizeof(entry->key.bytes));
	memcpy(out + AT_SCOPE, entry->scope.bytes, sizeof(entry->scope.bytes));
	memcpy(out + AT_SKETCH, &entry->sketch, sizeof(entry->sketch));
}

bool
snapshot_record_decode(const unsigned char in[SNAPSHOT_RECORD_BYTES], struct cache_entry *entry)
{
	uint64_t flags = get_number(in + AT_FLAGS, 4);

	*entry = (struct cache_entry){
	        .stored_ms = get_number(in + AT_STORED, 8),
	        .expires_ms = get_number(in + AT_EXPIRES, 8),
	        .has_usage = flags & FLAG_USAGE,
	        .document.n = get_number(in + AT_DOCUMENT, 4),
	        .question.n = get_number(in + AT_QUESTION, 4),
	        .model.n = get_number(in + AT_MODEL, 4),
	        .provider.n = get_number(in + AT_PROVIDER, 4),
	        .dimensions = (uint32_t)get_number(in + AT_DIMENSIONS, 4),
	};
	memcpy(entry->id, in + AT_ID, CACHE_ID_DIGITS);
	memcpy(entry->caller.bytes, in + AT_CALLER, sizeof(entry->caller.bytes));
	memcpy(entry->key.bytes, in + AT_KEY, sizeof(entry->key.bytes));
	memcpy(entry->scope.bytes, in + AT_SCOPE, sizeof(entry->scope.bytes));
	memcpy(&entry->sketch, in + AT_SKETCH, sizeof(entry->sketch));
	return flags <= FLAG_USAGE &&
	       strspn(entry->id, "0123456789abcdefABCDEF") == CACHE_ID_DIGITS;
}

uint64_t
snapshot_record_rest(const struct cache_entry *entry)
{
	return (uint64_t)entry->dimensions * sizeof(float) + entry->document.n + entry->question.n +
	       entry->model.n + entry->provider.n;
}

void
snapshot_chain(struct sha256 *chain, unsigned char *buffer, size_t n)
{
	memcpy(buffer, chain->bytes, sizeof(chain->bytes));
	*chain = sha256_of((struct bytes){(const char *)buffer, SNAPSHOT_BLOCK_FRONT + n});
}
