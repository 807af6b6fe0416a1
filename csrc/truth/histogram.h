/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram.h - percentiles of many values in bounded memory.
 *
 * Values below 1024 are kept exactly; above, to within 1/64. The maximum is exact.
 */
#ifndef TRUTH_HISTOGRAM_H_
#define TRUTH_HISTOGRAM_H_

#include "base/types.h"

#define HISTOGRAM_EXACT 1024u
#define HISTOGRAM_OCTAVES 54u
#define HISTOGRAM_PARTS 64u

struct histogram {
	u32 buckets[HISTOGRAM_EXACT + HISTOGRAM_OCTAVES * HISTOGRAM_PARTS];
	u64 count, max;
};

void histogram_add(struct histogram *h, u64 value);
/* All of @from, too. */
void histogram_add_all(struct histogram *h, const struct histogram *from);
/* The value at or below which @per_mille of 1000 values lie; 0 when empty. */
u64 histogram_percentile(const struct histogram *h, unsigned int per_mille);

#endif /* TRUTH_HISTOGRAM_H_ */
