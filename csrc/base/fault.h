/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - single faults that can be built into the PMU and the vPMU, to see that the suite finds them.
 *
 * FAULTY(id) is the constant false in every ordinary build: no code, no data. With the build option
 * `faults` it is true for the one fault that the environment variable PMUPASS_FAULT names when the
 * program starts, so that one build serves all faults and no configuration carries the choice along.
 * That build alone has a global.
 *
 *	if (FAULTY(HW_EN_IGNORED) || eventsel & ARCH_PERFMON_EVENTSEL_ENABLE)
 *
 * Hooks are small expressions at the place where the rule lives. faults.def lists the faults,
 * tests/faults/ runs them.
 */
#ifndef BASE_FAULT_H_
#define BASE_FAULT_H_

#include "base/types.h"

#ifdef PP_FAULTS
enum fault_id {
	FAULT_NONE,
#define FAULT(id, rule, text) FAULT_##id,
#include "base/faults.def"
#undef FAULT
};

extern enum fault_id base_fault; /* set before main(), then constant */

#define FAULTY(id) unlikely(base_fault == FAULT_##id)
#else
#define FAULTY(id) false
#endif

#endif /* BASE_FAULT_H_ */
