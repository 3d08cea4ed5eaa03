/*
 * Whatever object a dialect is added to stays valid, keeps its beginning up to the first change, and is the same when
 * it is added once more. The first byte says what is added.
 */
#include "wire/dialect.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "wire/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);

static void
check(bool holds, const char *what)
{
	if (!holds)
		die("%s", what);
}

static bool
is_object(struct bytes text)
{
	struct json_scan scan;
	bool object;

	json_scan_init(&scan, text);
	object = json_peek(&scan) == JSON_KIND_OBJECT;
	return json_scan_end(&scan) && object;
}

static void
check_facts(const struct dialect_facts *facts, struct bytes document)
{
	struct buf once, twice;

	buf_init(&once, 0);
	buf_init(&twice, 0);
	if (dialect_write(facts, document, &once)) {
		check(is_object(document) && is_object(buf_bytes(&once)), "no object");
		check(dialect_write(facts, buf_bytes(&once), &twice), "not twice");
		check(bytes_equal(buf_bytes(&once), buf_bytes(&twice)), "another the second time");
	} else {
		check(once.n == 0 && !is_object(document), "an object was left alone");
	}
	buf_fini(&twice);
	buf_fini(&once);
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	static const struct dialect_cost cost = {"0.1", "0.02", "0", "0.12"};
	static const struct dialect_usage usage = {3, 2, 1};
	struct dialect_cache cache = {true, "direct", "ab", 1, (double)NAN};
	struct dialect_facts facts = {.request_id = "r-1", .provider = "p", .latency_ms = 5};
	char id[16], *text;

	if (n == 0)
		return 0;
	text = mem_new(n);
	memcpy(text, input + 1, n - 1);
	facts.dialect = input[0] & 1 ? DIALECT_EXTRA_FIELDS : DIALECT_REQUEST_ID;
	facts.chunk_index = input[0] & 2 ? 7 : -1;
	facts.cache = input[0] & 4 ? &cache : NULL;
	facts.cost = input[0] & 8 ? &cost : NULL;
	facts.usage = input[0] & 16 ? &usage : NULL;
	check_facts(&facts, (struct bytes){text, n - 1});
	if (dialect_find_request_id((struct bytes){text, n - 1}, id, sizeof(id)))
		check(id[0] != '\0', "an id of nothing");
	free(text);
	return 0;
}
