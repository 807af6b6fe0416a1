/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vendor.h - what differs between the PMUs of Intel and AMD: one constant table each.
 *
 * The first half is the map of a PMU's registers, the silicon's or a guest's: it needs no more than what
 * CPUID says. The second half is the register file of the silicon: which values a register takes.
 *
 *	const struct pmu_vendor *vendor = pmu_vendor(&caps);
 *	reg = vendor->find(&caps, msr);
 *
 * A counter index is the bit in GLOBAL_CTRL: GP 0..31, fixed 32 + i; -1 is none. hwpmu_intel.c and
 * hwpmu_amd.c have the tables; nothing else asks who made the CPU.
 */
#ifndef PMU_VENDOR_H_
#define PMU_VENDOR_H_

#include "base/types.h"
#include "pmu/access.h"
#include "pmupass.h"

struct hwpmu;

/* On which side of a VM-entry a counter counts. */
#define SIDE_GUEST 1u
#define SIDE_HOST 2u
#define SIDE_BOTH (SIDE_GUEST | SIDE_HOST)

struct pmu_vendor {
	const char *name;

	/* The map */
	/* For pmu_find(); .msr is filled in there. */
	struct pmu_register (*find)(const struct pp_pmu *pmu, u32 msr);
	int (*rdpmc_of)(const struct pp_pmu *pmu, u32 ecx);
	/* A register that is neither counter nor selector; ACCESS_NONE if it is not the PMU's. */
	enum access_kind (*control_kind)(u32 msr, bool write);
	/* The register that takes a counter's whole width, where there is one. */
	u32 (*counter_msr)(const struct pp_pmu *pmu, unsigned int idx);
	u32 (*selector_msr)(const struct pp_pmu *pmu, unsigned int idx);
	/* Whether the status can be set, which a PMU that changes hands needs. */
	bool (*can_be_mediated)(const struct pp_pmu *pmu);
	u32 global_ctrl, global_status, global_ovf_ctrl, global_status_set;
	u64 event_code; /* bits of a selector that name the event: select and umask */

	/* Around the PMU */
	bool masks_lvtpc;	/* the local APIC masks the LVTPC when it delivers a PMI */
	bool repeats_last_leaf; /* CPUID beyond the last leaf is the last basic one, else zeros */

	/* The register file. 0, or -1 for #GP(0) */
	bool (*has_control)(const struct hwpmu *pmu, u32 msr);
	int (*read_control)(struct hwpmu *pmu, u32 msr, u64 *value);
	int (*write_control)(struct hwpmu *pmu, u32 msr, u64 value);
	/* What becomes of a value that is written: *value is what the register then holds. */
	int (*take_counter)(const struct hwpmu *pmu, unsigned int idx, enum counter_alias alias,
			    u64 *value);
	int (*take_selector)(const struct hwpmu *pmu, unsigned int idx, u64 *value);
	/* SIDE_*, 0: it counts nowhere. */
	unsigned int (*sides)(const struct hwpmu *pmu, u64 eventsel);
};

extern const struct pmu_vendor pmu_vendor_intel;
extern const struct pmu_vendor pmu_vendor_amd;

static inline const struct pmu_vendor *pmu_vendor(const struct pp_pmu *pmu)
{
	return pmu->vendor == PP_VENDOR_AMD ? &pmu_vendor_amd : &pmu_vendor_intel;
}

/* The counter or selector that @msr names on a machine with this PMU; PMU_NO_REGISTER if it names
 * neither. */
static inline struct pmu_register pmu_find(const struct pp_pmu *pmu, u32 msr)
{
	struct pmu_register reg = pmu_vendor(pmu)->find(pmu, msr);

	reg.msr = msr;
	return reg;
}

#endif /* PMU_VENDOR_H_ */
