// SPDX-License-Identifier: Apache-2.0
/*
 * misc_msrs.c - MSRs of start-up code.
 *
 * Interface: misc_msrs.h.
 *
 * DEBUGCTL reads 0, for nothing that it turns on is modelled. Silicon would turn it on, so the run stops.
 * KVM has neither LBR nor BTF for a guest without a virtual LBR, takes their bits all the same and
 * drops them, and offers no other: no freezing on a PMI. With a virtual LBR it has LBR and freezing of the
 * LBR (debugctl_valid); what they do is in kvm/lbr.c.
 *
 * Not modelled: microcode updates, MTRRs, machine check banks, CPUID faulting (MSR_PLATFORM_INFO does not
 * offer it); an MSR that is not listed is #GP.
 */
#include "platform/misc_msrs.h"

#include "base/fault.h"

const struct misc_kind misc_intel = {
	.feat_ctl = true,
	.misc_enable = true,
	.platform_info = true,
	.debugctl = true,
	/* LBR, BTF, bus locks; TR to freezing in SMM; RTM */
	.debugctl_not_modelled = GENMASK_ULL(2, 0) | GENMASK_ULL(15, 6),
	.ucode_rev = 1ull << 32,
};

const struct misc_kind misc_intel_kvm = {
	.feat_ctl = true,
	.misc_enable = true,
	.platform_info = true,
	.debugctl = true,
	.debugctl_dropped = DEBUGCTLMSR_LBR | DEBUGCTLMSR_BTF,
	.ucode_rev = 1ull << 32,
};

const struct misc_kind misc_amd = {
	.ucode_rev = 1,
};

const struct misc_kind misc_amd_kvm = {
	.misc_enable = true,
	.platform_info = true,
	.ucode_rev = 0x01000065,
};

void misc_msrs_init(struct misc_msrs *m, const struct misc_kind *kind, bool has_pmu)
{
	m->kind = kind;
	m->spec_ctrl = 0;
	m->debugctl = m->debugctl_valid = 0;
	m->misc_enable = 1 | MISC_ENABLE_BTS_UNAVAIL | MISC_ENABLE_PEBS_UNAVAIL;
	if (has_pmu)
		m->misc_enable |= MISC_ENABLE_EMON;
}

int misc_rdmsr(const struct misc_msrs *m, u32 msr, u64 *value)
{
	switch (msr) {
	case MSR_IA32_FEAT_CTL: *value = 1; return m->kind->feat_ctl ? 0 : -1;
	case MSR_IA32_SPEC_CTRL: *value = m->spec_ctrl; return 0;
	case MSR_IA32_UCODE_REV: *value = m->kind->ucode_rev; return 0;
	case MSR_PLATFORM_INFO: *value = 0; return m->kind->platform_info ? 0 : -1;
	case MSR_IA32_MISC_ENABLE: *value = m->misc_enable; return m->kind->misc_enable ? 0 : -1;
	case MSR_IA32_DEBUGCTLMSR: *value = m->debugctl; return m->kind->debugctl ? 0 : -1;
	default: return -1;
	}
}

static int write_debugctl(struct misc_msrs *m, u64 value)
{
	const struct misc_kind *kind = m->kind;
	u64 taken = value & m->debugctl_valid;

	value &= ~(kind->debugctl_dropped | m->debugctl_valid);
	value &= FAULTY(DEBUGCTL_TAKES_FREEZE) ? ~BIT_ULL(12) : ~0ull;
	if (!kind->debugctl || value & ~kind->debugctl_not_modelled)
		return -1;
	m->debugctl = value ? m->debugctl : taken;
	return value ? MSR_NOT_MODELLED : 0;
}

int misc_wrmsr(struct misc_msrs *m, u32 msr, u64 value, bool *forget)
{
	const u64 read_only = MISC_ENABLE_BTS_UNAVAIL | MISC_ENABLE_PEBS_UNAVAIL;

	*forget = false;
	switch (msr) {
	case MSR_IA32_SPEC_CTRL:
		if (value & ~7ull)
			return -1;
		m->spec_ctrl = value;
		return 0;
	case MSR_IA32_PRED_CMD:
		if (value & ~1ull)
			return -1;
		*forget = value & 1;
		return 0;
	case MSR_IA32_UCODE_REV: return 0;
	case MSR_IA32_DEBUGCTLMSR: return write_debugctl(m, value);
	case MSR_IA32_MISC_ENABLE:
		if (!m->kind->misc_enable || (m->misc_enable ^ value) & read_only)
			return -1;
		/* The "performance monitoring available" bit ignores writes. */
		m->misc_enable = (value & ~MISC_ENABLE_EMON) | (m->misc_enable & MISC_ENABLE_EMON);
		if (FAULTY(MISC_ENABLE_EMON_TAKEN))
			m->misc_enable = value;
		return 0;
	default: return -1;
	}
}

int misc_restore_msr(struct misc_msrs *m, u32 msr, u64 value)
{
	u64 now;

	switch (msr) {
	case MSR_IA32_MISC_ENABLE: m->misc_enable = value; return m->kind->misc_enable ? 0 : -1;
	case MSR_IA32_FEAT_CTL:
	case MSR_IA32_UCODE_REV:
	case MSR_PLATFORM_INFO: return misc_rdmsr(m, msr, &now) || now != value ? -1 : 0;
	default: return -1;
	}
}
