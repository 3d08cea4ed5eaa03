#include "model/latency.h"

#include <math.h>
#include <stddef.h>

enum {
	UNIT_SHIFT = 7, /* times are counted in 128 µs */
	SUB_BITS = 4,   /* so many bits below the leading one tell buckets apart */
	SUB_COUNT = 1 << SUB_BITS,
	FADE_STEP_MS = 5000, /* to fade all counts at each note would cost more than it is worth */
};

/* Up to SUB_COUNT units a bucket each; above that SUB_COUNT buckets to each doubling. */
static size_t
bucket_of(uint64_t took_us)
{
	uint64_t units = took_us >> UNIT_SHIFT;
	unsigned shift;
	size_t bucket;

	if (units < SUB_COUNT)
		return (size_t)units;
	shift = 63 - (unsigned)__builtin_clzll(units) - SUB_BITS;
	bucket = (size_t)(shift + 1) * SUB_COUNT + (size_t)((units >> shift) - SUB_COUNT);
	return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* The middle of a bucket. */
static double
bucket_ms(size_t bucket)
{
	double unit_ms = (1 << UNIT_SHIFT) / 1000.0;
	int shift;

	if (bucket < SUB_COUNT)
		return ((double)bucket + 0.5) * unit_ms;
	shift = (int)(bucket / SUB_COUNT) - 1;
	return ldexp((double)(SUB_COUNT + bucket % SUB_COUNT) + 0.5, shift) * unit_ms;
}

static void
fade(struct latency *latency, uint64_t now_ms)
{
	double factor;

	if (now_ms < latency->faded_ms + FADE_STEP_MS)
		return;
	factor = exp2(-(double)(now_ms - latency->faded_ms) / LATENCY_HALF_LIFE_MS);
	latency->faded_ms = now_ms;
	if (latency->total * factor < 0.5)
		factor = 0;
	/* Added up anew, so that what rounding loses does not add up. */
	latency->total = 0;
	for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
		latency->counts[i] = (float)(latency->counts[i] * factor);
		latency->total += (double)latency->counts[i];
	}
}

void
latency_note(struct latency *latency, uint64_t took_us, uint64_t now_ms)
{
	fade(latency, now_ms);
	latency->counts[bucket_of(took_us)] += 1;
	latency->total += 1;
}

bool
latency_quantile(struct latency *latency, double q, uint64_t now_ms, double *ms)
{
	double wanted, seen = 0;
	size_t last = 0;

	fade(latency, now_ms);
	if (latency->total <= 0)
		return false;
	wanted = q * latency->total;
	for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
		if (latency->counts[i] <= 0)
			continue;
		last = i;
		seen += (double)latency->counts[i];
		if (seen >= wanted)
			break;
	}
	*ms = bucket_ms(last);
	return true;
}
