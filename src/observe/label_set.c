#include "observe/label_set.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void
label_set_fini(struct label_set *set)
{
	for (unsigned i = 0; i < LABEL_SET_PLACES; i++)
		free(set->values[i]);
	*set = (struct label_set){.count = 0};
}

/* FNV-1a. It need not withstand collisions made on purpose: a search is at most LABEL_SET_MAX steps. */
static uint32_t
hash_of(const char *value)
{
	uint32_t hash = 2166136261U;

	for (; *value; value++)
		hash = (hash ^ (unsigned char)*value) * 16777619U;
	return hash;
}

const char *
label_set_admit(struct label_set *set, const char *value)
{
	uint32_t i = hash_of(value) % LABEL_SET_PLACES;

	for (; set->values[i]; i = (i + 1) % LABEL_SET_PLACES) {
		if (strcmp(set->values[i], value) == 0)
			return set->values[i];
	}
	if (set->count == LABEL_SET_MAX)
		return "other";
	set->count++;
	set->values[i] = mem_copy(bytes_of(value));
	return set->values[i];
}
