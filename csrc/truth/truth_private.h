/* SPDX-License-Identifier: Apache-2.0 */
/* truth_private.h - between truth.c (the ideal PMU) and loss.c (intervals and causes). */
#ifndef TRUTH_TRUTH_PRIVATE_H_
#define TRUTH_TRUTH_PRIVATE_H_

#include "truth/truth.h"

/* True count of the current interval so far. */
u64 truth_delta(const struct truth *t, unsigned int idx);
u64 truth_value_mask(const struct truth *t, unsigned int idx);
u64 truth_instructions(const struct truth *t);

/* What the guest sees, if the causes explain every loss. */
u64 truth_expected(const struct truth *t, unsigned int idx);
/* Attribute what the ideal counter counted since the last time to the cause that held. */
void truth_settle(struct truth *t, unsigned int idx);
/* Correct the books for one emulated instruction: the ideal counter counts it, a credit was got. */
void truth_correct(struct truth *t, unsigned int idx, bool counts, bool got);
/* Enter the interval into the results and begin a new one at what the guest can see. At the end of
 * the run (@last) an interval that was read ends at its last read. */
void truth_close_interval(struct truth *t, unsigned int idx, u64 visible, bool last);
/* Add enabled and running time since the last call or start. Enabled counters only. */
void truth_account_time(struct truth *t, unsigned int idx);
/* End the silent error of the cause that holds; those of credits and of what silicon added. */
void truth_close_episode(struct truth *t, unsigned int idx);
void truth_close_single_episodes(struct truth *t, unsigned int idx);
struct pp_counter_result *truth_result_of(struct truth *t, u64 config);

#endif /* TRUTH_TRUTH_PRIVATE_H_ */
