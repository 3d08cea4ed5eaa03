/*
 * Which of a few known names is a member's key? Pure.
 */
#ifndef WIRE_JSON_KEYS_H
#define WIRE_JSON_KEYS_H

#include <endian.h>

#include "wire/json_scan.h"

struct json_name {
	char text[24]; /* ASCII, padded with zeros */
	size_t n;
};

#define JSON_NAME(text)                                                                            \
	{                                                                                          \
		(text), sizeof(text) - 1                                                           \
	}

/* The first eight bytes, padded with zeros. A call of memcmp() costs more than comparing most keys. */
static inline uint64_t
json_key_head(const char *p, size_t n)
{
	uint32_t low, high;
	uint64_t head = 0;

	if (n >= 8) {
		memcpy(&head, p, 8);
	} else if (n >= 4) {
		memcpy(&low, p, 4);
		memcpy(&high, p + n - 4, 4);
		low = le32toh(low);
		high = le32toh(high);
		head = htole64(low | (uint64_t)high << 8 * (n - 4));
	} else {
		memcpy(&head, p, n);
	}
	return head;
}

/* The index of `key`, escapes resolved, among `names`; `count` when it is none of them. Put the names
 * that come most often first. */
static inline size_t
json_key_find(struct bytes key, const struct json_name *names, size_t count)
{
	uint64_t head = json_key_head(key.p, key.n), other;

	for (size_t i = 0; i < count; i++) {
		memcpy(&other, names[i].text, 8);
		if (names[i].n == key.n && other == head &&
		    (key.n <= 8 || memcmp(names[i].text + 8, key.p + 8, key.n - 8) == 0))
			return i;
	}
	if (!memchr(key.p, '\\', key.n))
		return count;
	for (size_t i = 0; i < count; i++) {
		if (json_key_is(key, names[i].text))
			return i;
	}
	return count;
}

/* The same, for an object in which none of them may stand twice, for two readers could disagree on
 * which one counts: `seen`, zero at first, has a bit for each. False when the key came before. */
static inline bool
json_key_find_once(struct bytes key, const struct json_name *names, size_t count, uint32_t *seen,
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
