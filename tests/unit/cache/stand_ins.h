/*
 * Simple, slow stand-ins for what the cache is built on: the index, sketches, vectors, guards, SHA-256. They are here
 * so that the cache can be tested alone; a program that has the real ones leaves this file out.
 */
#ifndef CACHE_STAND_INS_H
#define CACHE_STAND_INS_H

#include <ctype.h>
#include <math.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "cache/guard.h"
#include "cache/index.h"
#include "cache/sketch.h"
#include "cache/vector.h"

struct index {
	size_t dimensions, count, room;
	struct index_item **items;
	float *vectors; /* copies, one after the other */
};

struct sha256
sha256_of(struct bytes text)
{
	struct sha256 sum;

	SHA256((const unsigned char *)text.p, text.n, sum.bytes);
	return sum;
}

double
vector_dot(const float *a, const float *b, size_t dimensions)
{
	double sum = 0;

	for (size_t i = 0; i < dimensions; i++)
		sum += (double)a[i] * (double)b[i];
	return sum;
}

bool
vector_normalise(float *v, size_t dimensions)
{
	double length = sqrt(vector_dot(v, v, dimensions));

	if (!(length > 0) || isinf(length))
		return false;
	for (size_t i = 0; i < dimensions; i++)
		v[i] = (float)(v[i] / length);
	return true;
}

bool
sketch_make(struct sketch *sketch, const float *vector, size_t dimensions)
{
	*sketch = (struct sketch){0};
	for (size_t bit = 0; bit < SKETCH_BITS; bit++) {
		uint64_t state = bit + 1;
		double sum = 0;

		for (size_t i = 0; i < dimensions; i++) {
			state = state * 6364136223846793005U + 1442695040888963407U;
			sum += state >> 63 ? vector[i] : -vector[i];
		}
		if (sum > 0)
			sketch->words[bit / 64] |= (uint64_t)1 << bit % 64;
	}
	return true;
}

unsigned
sketch_cut(double cosine, double miss)
{
	(void)cosine;
	(void)miss;
	return SKETCH_BITS;
}

struct index *
index_new(size_t dimensions)
{
	struct index *index = calloc(1, sizeof(*index));

	if (index)
		index->dimensions = dimensions;
	return index;
}

void
index_free(struct index *index)
{
	free(index->items);
	free(index->vectors);
	free(index);
}

static bool
index_grow(struct index *index)
{
	size_t room = index->room ? index->room * 2 : 8;
	struct index_item **items = reallocarray(index->items, room, sizeof(struct index_item *));
	float *vectors;

	if (!items)
		return false;
	index->items = items;
	vectors = reallocarray(index->vectors, room * index->dimensions, sizeof(float));
	if (!vectors)
		return false;
	index->vectors = vectors;
	index->room = room;
	return true;
}

static void
index_put(struct index *index, size_t place, struct index_item *item)
{
	item->place = place;
	index->items[place] = item;
	memcpy(index->vectors + place * index->dimensions, item->vector,
	       index->dimensions * sizeof(float));
}

bool
index_add(struct index *index, struct index_item *item)
{
	if (index->count == index->room && !index_grow(index))
		return false;
	index_put(index, index->count++, item);
	return true;
}

void
index_remove(struct index *index, struct index_item *item)
{
	struct index_item *last = index->items[--index->count];

	if (last != item)
		index_put(index, item->place, last);
}

size_t
index_count(const struct index *index)
{
	return index->count;
}

size_t
index_bytes(const struct index *index)
{
	return sizeof(*index) +
	       index->room * (sizeof(struct index_item *) + index->dimensions * sizeof(float));
}

bool
index_search(const struct index *index, struct index_search *search, size_t items)
{
	for (; items > 0 && search->next < index->count; items--, search->next++) {
		struct index_item *item = index->items[search->next];
		double cosine = vector_dot(index->vectors + search->next * index->dimensions,
		                           search->vector, index->dimensions);
		size_t k = search->count;

		if (!(cosine >= search->least) ||
		    (k == INDEX_NEAREST && search->nearest[k - 1].cosine >= cosine))
			continue;
		if (k < INDEX_NEAREST)
			search->count++;
		else
			k--;
		for (; k > 0 && search->nearest[k - 1].cosine < cosine; k--)
			search->nearest[k] = search->nearest[k - 1];
		search->nearest[k].item = item;
		search->nearest[k].cosine = cosine;
	}
	return search->next >= index->count;
}

/* The digits of both must be the same. */
enum guard
guard_compare(struct bytes asked, struct bytes known)
{
	size_t i = 0, k = 0;

	for (;;) {
		while (i < asked.n && !isdigit((unsigned char)asked.p[i]))
			i++;
		while (k < known.n && !isdigit((unsigned char)known.p[k]))
			k++;
		if (i == asked.n || k == known.n)
			return i == asked.n && k == known.n ? GUARD_NONE : GUARD_NUMBERS;
		if (asked.p[i++] != known.p[k++])
			return GUARD_NUMBERS;
	}
}

#endif
