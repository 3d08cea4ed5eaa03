/* The simulator's only source of chance: a hash. The same input gives the same bits everywhere. */
#ifndef SIMULATOR_MIX_H
#define SIMULATOR_MIX_H

#include <stdint.h>

#include "base/bytes.h"

/* The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit moves every output bit. */
static inline uint64_t
sim_mix(uint64_t x)
{
	x += 0x9E3779B97F4A7C15u;
	x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
	x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
	return x ^ (x >> 31);
}

/* FNV-1a over the text, mixed with the seed. */
static inline uint64_t
sim_hash(uint64_t seed, struct bytes text)
{
	uint64_t h = 0xCBF29CE484222325u ^ sim_mix(seed);

	for (size_t i = 0; i < text.n; i++)
		h = (h ^ (unsigned char)text.p[i]) * 0x100000001B3u;
	return sim_mix(h);
}

/* Uniform in [0, 1). */
static inline double
sim_unit(uint64_t bits)
{
	return (double)(bits >> 11) * 0x1p-53;
}

#endif
