/* SPDX-License-Identifier: Apache-2.0 */
/*
 * misc_msrs.h - the few MSRs beside PMU, APIC and the CPU's own that guests touch at start.
 */
#ifndef PLATFORM_MISC_MSRS_H_
#define PLATFORM_MISC_MSRS_H_

#include "base/msr_access.h"
#include "base/types.h"

#define MSR_IA32_TSC 0x10
#define MSR_IA32_FEAT_CTL 0x3a
#define MSR_IA32_TSC_ADJUST 0x3b
#define MSR_IA32_SPEC_CTRL 0x48
#define MSR_IA32_PRED_CMD 0x49
#define MSR_IA32_UCODE_REV 0x8b
#define MSR_PLATFORM_INFO 0xce
#define MSR_IA32_MISC_ENABLE 0x1a0
#define MSR_IA32_DEBUGCTLMSR 0x1d9

#define MISC_ENABLE_EMON BIT_ULL(7)
#define MISC_ENABLE_BTS_UNAVAIL BIT_ULL(11)
#define MISC_ENABLE_PEBS_UNAVAIL BIT_ULL(12)

#define DEBUGCTLMSR_LBR BIT_ULL(0)
#define DEBUGCTLMSR_BTF BIT_ULL(1)
#define DEBUGCTLMSR_FREEZE_LBRS_ON_PMI BIT_ULL(11)

/* Which of them a machine has. */
struct misc_kind {
	bool feat_ctl, misc_enable, platform_info, debugctl;
	/* DEBUGCTL: bits that are taken and dropped, and bits that do what the model has not. Others are
	 * #GP. */
	u64 debugctl_dropped, debugctl_not_modelled;
	u64 ucode_rev;
};

extern const struct misc_kind misc_intel;     /* silicon */
extern const struct misc_kind misc_intel_kvm; /* what KVM has for an Intel guest */
extern const struct misc_kind misc_amd;	      /* silicon */
extern const struct misc_kind misc_amd_kvm;   /* what KVM has for an AMD guest */

struct misc_msrs {
	const struct misc_kind *kind;
	u64 spec_ctrl;
	u64 misc_enable;
	u64 debugctl, debugctl_valid; /* what KVM offers a guest with an LBR */
};

void misc_msrs_init(struct misc_msrs *m, const struct misc_kind *kind, bool has_pmu);
/* 0, -1 for #GP(0); a write may be MSR_NOT_MODELLED. */
int misc_rdmsr(const struct misc_msrs *m, u32 msr, u64 *value);
/* *forget is set by an IBPB: the caller clears the branch predictor. */
int misc_wrmsr(struct misc_msrs *m, u32 msr, u64 value, bool *forget);
/* From outside: MISC_ENABLE whole, and the value that a read-only register has. -1: none of these. */
int misc_restore_msr(struct misc_msrs *m, u32 msr, u64 value);

#endif /* PLATFORM_MISC_MSRS_H_ */
