// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_amd.c - the vPMU of an AMD guest: its registers, and what SVM and the PMU switch do.
 *
 * Interface: amd_pmu_ops.
 *
 * No write faults, as on silicon: what is reserved is dropped. GLOBAL_STATUS ignores the guest's writes,
 * STATUS_CLR looks at no reserved bits, STATUS_SET at them only. The K7 registers are other names of the
 * first four counters. A selector's GuestOnly and HostOnly bits are reserved for the guest, which has no
 * SVM. The VMM may write GLOBAL_STATUS, without reserved bits; its writes of STATUS_CLR and STATUS_SET do
 * nothing.
 *
 * A VMRUN switches no PMU register. In the emulated design perf has set GuestOnly; in the mediated one
 * KVM sets it in every selector that goes into hardware, so that GLOBAL_CTL may be on from load to put
 * and nothing counts but the guest. It is read back after every #VMEXIT unless its writes exit.
 *
 * Not modelled: nested guests (GuestOnly and HostOnly of L1), PMU state in the VMCB, SEV-ES.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"
#include "pmu/access.h"
#include "pmu/hwpmu.h"

/* Bits that a guest may set, with an event select of 12 bits. */
#define AMD64_RAW_EVENT_MASK_GUEST                                                                 \
	(EVENTSEL_WHAT | ARCH_PERFMON_EVENTSEL_USR | ARCH_PERFMON_EVENTSEL_OS |                    \
	 ARCH_PERFMON_EVENTSEL_INT | ARCH_PERFMON_EVENTSEL_ENABLE)

static void amd_pmu_refresh(struct kvm_pmu *pmu, const struct pp_pmu *guest)
{
	pmu->version = guest->version;
	pmu->nr_gp = guest->nr_gp;
	pmu->nr_fixed = 0;
	pmu->guest = *guest;
	pmu->gp_mask = width_mask(guest->gp_width);
	pmu->fixed_mask = 0;
	pmu->all_valid_pmc_idx = pmu_counter_mask(pmu->nr_gp, 0);
	pmu->eventsel_rsvd = ~AMD64_RAW_EVENT_MASK_GUEST;
	if (FAULTY(AMD_KVM_EVENT_SELECT_OF_8_BITS))
		pmu->eventsel_rsvd |= EVENTSEL_35_32;
	pmu->global_ctrl_rsvd = ~pmu->all_valid_pmc_idx;
	pmu->global_status_rsvd = pmu->global_ctrl_rsvd;
	/* Software that knows no GLOBAL_CTL must find its counters enabled. */
	pmu->global_ctrl = pmu->all_valid_pmc_idx;
}

static bool is_global_msr(u32 msr)
{
	return msr - MSR_AMD64_PERF_CNTR_GLOBAL_STATUS < 4;
}

/*
 * Whose registers these are, not whether there are so many: K7 and core extension are there as a whole. One
 * of a counter that the guest lacks is refused, and not a register that KVM does not know (kvm_get_msr()).
 */
static bool amd_is_valid_msr(const struct kvm_pmu *pmu, u32 msr)
{
	if (is_global_msr(msr))
		return pmu->version > 1 || FAULTY(AMD_KVM_GLOBALS_WITHOUT_V2);
	if (msr - MSR_K7_EVNTSEL0 < NR_K7_COUNTERS || msr - MSR_K7_PERFCTR0 < NR_K7_COUNTERS)
		return pmu->version;
	if (msr - MSR_F15H_PERF_CTL0 < 2 * NR_CORE_COUNTERS)
		return pmu->guest.perfctr_core;
	return pmu->version && pmu_find(&pmu->guest, msr).kind != PMU_NO_REGISTER;
}

static int amd_pmu_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	struct pmu_register reg;

	switch (msr->index) {
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS: msr->data = pmu->global_status; return 0;
	case MSR_AMD64_PERF_CNTR_GLOBAL_CTL: msr->data = pmu->global_ctrl; return 0;
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR:
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET: msr->data = 0; return 0;
	default: break;
	}
	reg = pmu_find(&pmu->guest, msr->index);
	switch (reg.kind) {
	case PMU_COUNTER:
		msr->data = kvm_pmu_read_counter(&pmu->pmc[reg.idx], msr->host_initiated);
		return 0;
	case PMU_SELECTOR: msr->data = pmu->pmc[reg.idx].eventsel; return 0;
	default: return -1;
	}
}

static int set_status(struct kvm_pmu *pmu, const struct msr_data *msr)
{
	/* The guest's write is ignored. */
	if (!msr->host_initiated && !FAULTY(AMD_KVM_STATUS_WRITE_TAKEN))
		return 0;
	if (msr->data & pmu->global_status_rsvd)
		return -1;
	pmu->global_status = msr->data;
	return 0;
}

static int set_global(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	struct kvm_pmu *pmu = &vcpu->pmu;

	switch (msr->index) {
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS: return set_status(pmu, msr);
	case MSR_AMD64_PERF_CNTR_GLOBAL_CTL:
		if (FAULTY(AMD_KVM_GLOBAL_CTL_FAULTS) && msr->data & pmu->global_ctrl_rsvd)
			return -1;
		msr->data &= ~pmu->global_ctrl_rsvd;
		kvm_pmu_write_global_ctrl(vcpu, msr->data);
		return 0;
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR:
		if (!msr->host_initiated)
			pmu->global_status &= FAULTY(AMD_KVM_CLEARS_ALL) ? 0 : ~msr->data;
		return 0;
	default: /* STATUS_SET */
		if (!msr->host_initiated && !FAULTY(AMD_KVM_STATUS_SET_IGNORED))
			pmu->global_status |= msr->data & ~pmu->global_status_rsvd;
		return 0;
	}
}

static int amd_pmu_set_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	struct pmu_register reg;

	if (is_global_msr(msr->index))
		return set_global(vcpu, msr);
	reg = pmu_find(&pmu->guest, msr->index);
	if (reg.kind == PMU_NO_REGISTER)
		return -1;
	pmu->pmc_in_use |= BIT_ULL(reg.idx);
	if (reg.kind == PMU_COUNTER) {
		kvm_pmu_write_counter(&pmu->pmc[reg.idx], msr->data);
		return 0;
	}
	if (FAULTY(AMD_KVM_RESERVED_SELECTOR_FAULTS) && msr->data & pmu->eventsel_rsvd)
		return -1;
	msr->data &= ~pmu->eventsel_rsvd;
	kvm_pmu_write_eventsel(&pmu->pmc[reg.idx], msr->data);
	return 0;
}

static void no_switch(struct kvm_vcpu *vcpu)
{
	(void)vcpu;
}

/* ---- mediated ---- */

static u64 amd_eventsel_hw(u64 eventsel)
{
	return (eventsel & ~AMD64_EVENTSEL_HOSTONLY) |
	       (FAULTY(AMD_MEDIATED_NO_GUEST_ONLY) ? 0 : AMD64_EVENTSEL_GUESTONLY);
}

static void amd_mediated_load(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 status = kvm_switch_rdmsr(vcpu, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS);

	if (status && !FAULTY(AMD_MEDIATED_LOAD_KEEPS_HOST_STATUS))
		kvm_switch_wrmsr(vcpu, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, status);
	if (!FAULTY(AMD_MEDIATED_LOAD_FORGETS_STATUS))
		kvm_switch_wrmsr(vcpu, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET, pmu->global_status);
	kvm_switch_wrmsr(vcpu, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, pmu->global_ctrl);
}

static void amd_mediated_put(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;

	if (!FAULTY(AMD_MEDIATED_PUT_KEEPS_GLOBAL_CTL))
		kvm_switch_wrmsr(vcpu, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);
	pmu->global_status = kvm_switch_rdmsr(vcpu, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS);
	if (pmu->global_status && !FAULTY(AMD_MEDIATED_PUT_LEAVES_STATUS))
		kvm_switch_wrmsr(vcpu, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, pmu->global_status);
}

/* GLOBAL_CTL is the guest's since load; read before anybody looks at it, the fastpath included. */
static void amd_mediated_vm_exit(struct kvm_vcpu *vcpu)
{
	if (!cpu_msr_intercepted(&vcpu->intercept, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, true) &&
	    !FAULTY(AMD_MEDIATED_GLOBAL_CTL_NOT_READ_BACK))
		vcpu->pmu.global_ctrl = kvm_switch_rdmsr(vcpu, MSR_AMD64_PERF_CNTR_GLOBAL_CTL);
}

static void amd_nothing(struct kvm_vcpu *vcpu)
{
	(void)vcpu;
}

const struct kvm_pmu_ops amd_pmu_ops = {
	.instructions_retired = 0x00c0,
	.branches_retired = 0x00c2,
	.eventsel_event = ARCH_PERFMON_EVENTSEL_EVENT | EVENTSEL_35_32,
	.refresh = amd_pmu_refresh,
	.is_valid_msr = amd_is_valid_msr,
	.get_msr = amd_pmu_get_msr,
	.set_msr = amd_pmu_set_msr,
	.deliver_pmi = amd_nothing,
	.cleanup = amd_nothing,
	.emulated_vm_entry = no_switch,
	.emulated_vm_exit = no_switch,
	.eventsel_hw = amd_eventsel_hw,
	.mediated_load = amd_mediated_load,
	.mediated_put = amd_mediated_put,
	.mediated_vm_entry = no_switch,
	.mediated_vm_exit = amd_mediated_vm_exit,
};
