/* SPDX-License-Identifier: Apache-2.0 */
/*
 * predict.h - the branch predictor of the timing model.
 *
 *  - Jcc, LOOP, JRCXZ: a 2-bit saturating counter, found by the address behind the branch; it starts
 *    as weakly not taken.
 *  - indirect JMP and CALL: the last target, found likewise; unknown at the start, which is a miss.
 *  - RET: a stack of 16 return addresses that every near CALL pushes; older ones are overwritten,
 *    popping more than was pushed finds old or no addresses and misses.
 *  - direct JMP and CALL, far transfers, interrupts and returns from them never miss.
 *
 * Its state depends on nothing but the branches that were executed. A miss is one BRANCH_MISSES and
 * costs timing.branch_miss.
 *
 * Not modelled
 *  - global history, aliasing of a real predictor, speculation and its side effects.
 */
#ifndef CPU_PREDICT_H_
#define CPU_PREDICT_H_

#include "cpu/state.h"

void predictor_reset(struct predictor *p);
void branch_missed(struct cpu *c);

static __always_inline void predict_conditional(struct cpu *c, u64 next, bool taken)
{
	u8 *counter = &c->predictor.counter[(next ^ next >> 12) & (PREDICT_COUNTERS - 1)];
	u8 state = *counter;

	*counter = taken ? state + (state < 3) : state - (state > 0);
	if (unlikely((state >> 1) != taken))
		branch_missed(c);
}

/* The branch is taken as predicted, however often, and the predictor stays as it is. */
static inline bool predicts_taken_always(const struct cpu *c, u64 next)
{
	return c->predictor.counter[(next ^ next >> 12) & (PREDICT_COUNTERS - 1)] == 3;
}

static __always_inline void predict_indirect(struct cpu *c, u64 next, u64 target)
{
	u64 *known = &c->predictor.target[(next ^ next >> 9) & (PREDICT_TARGETS - 1)];

	if (unlikely(*known != target)) {
		*known = target;
		branch_missed(c);
	}
}

static __always_inline void predict_push(struct cpu *c, u64 next)
{
	struct predictor *p = &c->predictor;

	p->returns[p->top++ % PREDICT_RETURNS] = next;
}

static __always_inline void predict_return(struct cpu *c, u64 target)
{
	struct predictor *p = &c->predictor;

	if (unlikely(p->returns[--p->top % PREDICT_RETURNS] != target))
		branch_missed(c);
}

#endif /* CPU_PREDICT_H_ */
