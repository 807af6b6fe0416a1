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

/* What an MSR is to a PMU. */
struct pmu_register {
	enum { PMU_NO_REGISTER, PMU_COUNTER, PMU_SELECTOR, PMU_CONTROL } kind;
	enum counter_alias alias; /* of a counter */
	unsigned int idx;	  /* of a counter or a selector */
	u32 msr;
};

static inline struct pmu_register pmu_counter_register(unsigned int idx, enum counter_alias alias)
{
	return (struct pmu_register){.kind = PMU_COUNTER, .alias = alias, .idx = idx};
}

static inline struct pmu_register pmu_selector_register(unsigned int idx)
{
	return (struct pmu_register){.kind = PMU_SELECTOR, .idx = idx};
}

enum access_kind pmu_register_access_kind(const struct pp_pmu *pmu, const struct pmu_register *reg,
					  bool write);

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
