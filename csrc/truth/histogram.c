// SPDX-License-Identifier: Apache-2.0
/* histogram.c - log-linear buckets. Interface: histogram.h. */
#include "truth/histogram.h"

#define EXACT_BITS 10u /* 2^10 = HISTOGRAM_EXACT */
#define PART_BITS 6u   /* 2^6 = HISTOGRAM_PARTS */

static u32 bucket_of(u64 value)
{
	u32 octave;

	if (value < HISTOGRAM_EXACT)
		return (u32)value;
	octave = 63u - (u32)__builtin_clzll(value);
	return HISTOGRAM_EXACT + (octave - EXACT_BITS) * HISTOGRAM_PARTS +
	       (u32)(value >> (octave - PART_BITS) & (HISTOGRAM_PARTS - 1));
}

/* The lowest value that falls into a bucket. */
static u64 bucket_value(u32 bucket)
{
	u32 octave, part;

	if (bucket < HISTOGRAM_EXACT)
		return bucket;
	octave = (bucket - HISTOGRAM_EXACT) / HISTOGRAM_PARTS + EXACT_BITS;
	part = (bucket - HISTOGRAM_EXACT) % HISTOGRAM_PARTS;
	return (u64)(HISTOGRAM_PARTS + part) << (octave - PART_BITS);
}

void histogram_add(struct histogram *h, u64 value)
{
	h->buckets[bucket_of(value)]++;
	h->count++;
	h->max = max_u64(h->max, value);
}

void histogram_add_all(struct histogram *h, const struct histogram *from)
{
	for (u32 b = 0; b < ARRAY_SIZE(h->buckets); b++)
		h->buckets[b] += from->buckets[b];
	h->count += from->count;
	h->max = max_u64(h->max, from->max);
}

u64 histogram_percentile(const struct histogram *h, unsigned int per_mille)
{
	u64 rank = (h->count * per_mille + 999) / 1000, seen = 0;

	if (!h->count)
		return 0;
	for (u32 b = 0; b < ARRAY_SIZE(h->buckets); b++) {
		seen += h->buckets[b];
		if (seen >= rank)
			return min_u64(bucket_value(b), h->max);
	}
	return h->max;
}
