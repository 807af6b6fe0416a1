/* SPDX-License-Identifier: Apache-2.0 */
/* access.h - guest accesses to the PMU by kind: how many, direct or intercepted, at what cost. */
#ifndef PMU_ACCESS_H_
#define PMU_ACCESS_H_

#include "base/types.h"
#include "pmupass.h"

enum access_kind {
#define ACCESS_KIND(id, name, text) ACCESS_##id,
#include "base/access_kinds.def"
#undef ACCESS_KIND
	NR_ACCESS_KINDS,
	ACCESS_NONE = NR_ACCESS_KINDS,
};

struct access_books {
	u64 direct[NR_ACCESS_KINDS], intercepted[NR_ACCESS_KINDS];
	u64 cycles[NR_ACCESS_KINDS]; /* core cycles of all of them together */
};

enum counter_alias { ALIAS_LEGACY, ALIAS_FULL_WIDTH, ALIAS_FIXED };

/* The index of the counter that @msr names on a machine with this PMU, and by which alias; -1 if it
 * names none. */
int pmu_msr_to_counter(const struct pp_pmu *pmu, u32 msr, enum counter_alias *alias);

/* The kind of a RDMSR or WRMSR on a machine with this PMU; ACCESS_NONE if it is no PMU MSR. */
enum access_kind pmu_access_kind(const struct pp_pmu *pmu, u32 msr, bool write);

static inline void access_direct(struct access_books *books, enum access_kind kind, u64 cycles)
{
	if (kind == ACCESS_NONE)
		return;
	books->direct[kind]++;
	books->cycles[kind] += cycles;
}

#endif /* PMU_ACCESS_H_ */
