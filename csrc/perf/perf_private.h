/* SPDX-License-Identifier: Apache-2.0 */
/* perf_private.h - between core.c (contexts) and x86.c (counters). */
#ifndef PERF_PERF_PRIVATE_H_
#define PERF_PERF_PRIVATE_H_

#include "perf/perf_event.h"

/* The longest period a counter can be given: one bit less than its width. */
u64 x86_pmu_max_period(const struct perf_cpu *perf);

/* Nested; the PMU stops at the first and runs again at the last. */
void perf_pmu_disable(struct perf_cpu *perf);
void perf_pmu_enable(struct perf_cpu *perf);
/* Add an event to the PMU: 0, or -EAGAIN when no assignment exists. With the PMU disabled. */
int x86_pmu_add(struct perf_cpu *perf, struct perf_event *event);
void x86_pmu_del(struct perf_cpu *perf, struct perf_event *event);
void x86_pmu_stop(struct perf_cpu *perf, struct perf_event *event);
void x86_pmu_start(struct perf_cpu *perf, struct perf_event *event, bool reload);
void x86_perf_event_update(struct perf_cpu *perf, struct perf_event *event);
/* Counters an encoding may use, by the CPU's data; 0 when none. */
u64 x86_get_event_constraints(const struct perf_cpu *perf, u64 config);

#endif /* PERF_PERF_PRIVATE_H_ */
