/* Entries for tests of the cache: named by small numbers. Static, since each program uses some of it. */
#ifndef CACHE_FIXTURE_H
#define CACHE_FIXTURE_H

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "cache/cache.h"
#include "cache/vector.h"
#include "unit.h"

enum { NOW = 1000000, FOREVER = 1000000000, DIMENSIONS = 16 };

/* What an entry is made from; what is left out is 0, and the time it has is FOREVER. */
struct recipe {
	unsigned key, caller, scope;
	size_t document_bytes; /* filled up to so many; 0: what it takes */
	uint64_t expires_ms;
	bool no_usage;
	const char *question, *answer;
	const float *vector; /* of DIMENSIONS, unless told otherwise */
	uint32_t dimensions;
};

/* Steele et al. (2014), SplitMix64. */
__attribute__((unused)) static uint64_t
random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9E3779B97F4A7C15U;

	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
	z = (z ^ z >> 27) * 0x94D049BB133111EBU;
	return z ^ z >> 31;
}

__attribute__((unused)) static unsigned
random_below(uint64_t *state, unsigned n)
{
	return (unsigned)(random_next(state) % n);
}

/* A stand-in for a hash: different for every number and kind of name. */
__attribute__((unused)) static struct sha256
name_of(char kind, unsigned number)
{
	uint64_t state = (uint64_t)(unsigned char)kind << 32 | number, word;
	struct sha256 name;

	for (size_t i = 0; i < sizeof(name.bytes); i += sizeof(word)) {
		word = random_next(&state);
		memcpy(name.bytes + i, &word, sizeof(word));
	}
	return name;
}

__attribute__((unused)) static void
id_of(unsigned key, char id[CACHE_ID_DIGITS + 1])
{
	uint64_t state = key;

	snprintf(id, CACHE_ID_DIGITS + 1, "%016llx", (unsigned long long)random_next(&state));
}

__attribute__((unused)) static struct cache_entry *
entry_of(const struct recipe *recipe)
{
	struct cache_entry from = {
	        .caller = name_of('c', recipe->caller),
	        .key = name_of('k', recipe->key),
	        .scope = name_of('s', recipe->scope),
	        .stored_ms = NOW,
	        .expires_ms = recipe->expires_ms ? recipe->expires_ms : FOREVER,
	        .has_usage = !recipe->no_usage,
	        .model = bytes_of("gpt-4.1"),
	        .provider = bytes_of("openai"),
	        .question = bytes_of(recipe->question ? recipe->question : ""),
	        .vector = recipe->vector,
	        .dimensions = recipe->dimensions ? recipe->dimensions : DIMENSIONS,
	};
	char *document =
	        mem_format("{\"object\":\"chat.completion\",\"key\":%u,\"choices\":[{\"message\":"
	                   "{\"content\":\"%s\"}}]}",
	                   recipe->key, recipe->answer ? recipe->answer : "yes");
	size_t n = strlen(document);
	struct cache_entry *entry;

	if (recipe->document_bytes > n) {
		document = mem_resize(document, recipe->document_bytes, 1);
		memset(document + n, ' ', recipe->document_bytes - n);
		n = recipe->document_bytes;
	}
	from.document = (struct bytes){document, n};
	id_of(recipe->key, from.id);
	entry = cache_entry_new(&from, false);
	/* No assertion: threads make entries, and Check's lock would order them. */
	if (!entry)
		die("no entry");
	free(document);
	return entry;
}

__attribute__((unused)) static bool
put(struct cache *cache, struct recipe recipe)
{
	return cache_insert(cache, entry_of(&recipe), NOW);
}

/* Is an entry of that key there? It is then the most recently used. */
__attribute__((unused)) static bool
has(struct cache *cache, unsigned key)
{
	struct sha256 name = name_of('k', key);
	struct cache_entry *entry = cache_find(cache, &name, false, NOW);

	ck_assert(!entry || sha256_equal(&entry->key, &name));
	cache_entry_unref(entry);
	return entry != NULL;
}

/* The unit vector at so many degrees in the plane of two axes. */
__attribute__((unused)) static void
vector_at(float vector[DIMENSIONS], unsigned axis, double degrees)
{
	memset(vector, 0, DIMENSIONS * sizeof(float));
	vector[axis] = (float)cos(degrees * M_PI / 180);
	vector[axis + 1] = (float)sin(degrees * M_PI / 180);
}

/* A unit vector of random direction. */
__attribute__((unused)) static void
vector_random(float *vector, size_t dimensions, uint64_t *state)
{
	do {
		for (size_t i = 0; i < dimensions; i++)
			vector[i] = (float)(random_next(state) >> 40) / (1 << 23) - 1;
	} while (!vector_normalise(vector, dimensions));
}

#endif
