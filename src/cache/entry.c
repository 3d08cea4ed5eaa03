#include "cache/entry.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cache/cache_private.h"

/* What malloc makes of it: a word more, rounded up to two. */
static size_t
allocated(size_t size)
{
	const size_t step = 2 * sizeof(void *);

	return (size + sizeof(void *) + step - 1) / step * step;
}

static struct bytes
put(char **end, struct bytes text)
{
	struct bytes copy = {*end, text.n};

	if (text.n)
		memcpy(*end, text.p, text.n);
	*end += text.n;
	return copy;
}

struct cache_entry *
cache_entry_new(const struct cache_entry *from, bool with_sketch)
{
	size_t vector = from->vector ? from->dimensions * sizeof(float) : 0;
	size_t size = sizeof(*from) + vector + from->document.n + from->model.n + from->provider.n +
	              from->question.n;
	struct cache_entry *entry = mem_try(size);
	char *end;

	if (!entry)
		return NULL;
	end = (char *)(entry + 1);
	*entry = *from;
	entry->references = 1;
	entry->bytes = allocated(size) + CACHE_ENTRY_OVERHEAD;
	entry->vector = NULL;
	entry->dimensions = vector ? from->dimensions : 0;
	if (vector) {
		/* First, since it must be aligned. */
		memcpy(end, from->vector, vector);
		entry->vector = (const float *)(void *)end;
		end += vector;
	}
	entry->document = put(&end, from->document);
	entry->model = put(&end, from->model);
	entry->provider = put(&end, from->provider);
	entry->question = put(&end, from->question);
	if (!vector) {
		entry->sketch = (struct sketch){0};
	} else if (!with_sketch && !sketch_make(&entry->sketch, entry->vector, entry->dimensions)) {
		free(entry);
		return NULL;
	}
	return entry;
}

struct cache_entry *
cache_entry_with_vector(const struct cache_entry *entry, const float *vector, uint32_t dimensions)
{
	struct cache_entry with = {0};

	memcpy(&with, entry, offsetof(struct cache_entry, references));
	with.vector = vector;
	with.dimensions = dimensions;
	return cache_entry_new(&with, false);
}

struct cache_entry *
cache_entry_ref(struct cache_entry *entry)
{
	__atomic_add_fetch(&entry->references, 1, __ATOMIC_RELAXED);
	return entry;
}

void
cache_entry_unref(struct cache_entry *entry)
{
	if (entry && __atomic_sub_fetch(&entry->references, 1, __ATOMIC_ACQ_REL) == 0)
		free(entry);
}
