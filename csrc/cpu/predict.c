/* SPDX-License-Identifier: Apache-2.0 */
/*
 * predict.c - what happens at a branch miss, and the predictor's initial state. See predict.h.
 */
#include <string.h>

#include "cpu/predict.h"

#define WEAKLY_NOT_TAKEN 1

void predictor_reset(struct predictor *p)
{
	memset(p, 0, sizeof(*p));
	memset(p->counter, WEAKLY_NOT_TAKEN, sizeof(p->counter));
}

/*
 * The branch is the last instruction of its block, so that the boundary behind it is the first where
 * a limit can be reached by this: leave the stretch there.
 */
__attribute__((noinline)) void branch_missed(struct cpu *c)
{
	u64 *misses = &c->totals.count[c->priv][EVENT_BRANCH_MISSES];

	++*misses;
	c->totals.sub[c->priv] += c->timing.branch_miss;
	c->slack_sub -= (s64)c->timing.branch_miss;
	if (c->slack_sub < 0 || *misses >= c->limit[EVENT_BRANCH_MISSES])
		end_stretch(c);
}
