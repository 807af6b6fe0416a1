/* SPDX-License-Identifier: Apache-2.0 */
/* hwpmu_private.h - between hwpmu.c, registers.c and the vendors' tables. */
#ifndef PMU_HWPMU_PRIVATE_H_
#define PMU_HWPMU_PRIVATE_H_

#include "pmu/hwpmu.h"

/* Bring counters in line with the control registers: take the value, then run or stop. */
void hwpmu_restart_counter(struct hwpmu *pmu, unsigned int idx);
void hwpmu_restart_counters(struct hwpmu *pmu, u64 mask);
void hwpmu_write_global_ctrl(struct hwpmu *pmu, u64 value);
void hwpmu_set_counter(struct hwpmu *pmu, unsigned int idx, u64 value);

#endif /* PMU_HWPMU_PRIVATE_H_ */
