/*
 * Which of a few known names is a member's key? Pure.
 */
#ifndef WIRE_JSON_KEYS_H
#define WIRE_JSON_KEYS_H

#include "wire/json_scan.h"

#define JSON_KEY(text)                                                                             \
	{                                                                                          \
		("" text), sizeof(text) - 1                                                        \
	}

/* The index of `key`, escapes resolved, among `names` (ASCII); `count` when it is none of them. Put the
 * names that come most often first. */
static inline size_t
json_key_find(struct bytes key, const struct bytes *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (names[i].n == key.n && memcmp(names[i].p, key.p, key.n) == 0)
			return i;
	}
	if (!memchr(key.p, '\\', key.n))
		return count;
	for (size_t i = 0; i < count; i++) {
		if (json_key_is(key, names[i].p))
			return i;
	}
	return count;
}

/* The same, for an object in which none of them may stand twice, for two readers could disagree on
 * which one counts: `seen`, zero at first, has a bit for each. False when the key came before. */
static inline bool
json_key_find_once(struct bytes key, const struct bytes *names, size_t count, uint32_t *seen,
                   size_t *found)
{
	*found = json_key_find(key, names, count);
	if (*found == count)
		return true;
	if (*seen & (uint32_t)1 << *found)
		return false;
	*seen |= (uint32_t)1 << *found;
	return true;
}

#endif
