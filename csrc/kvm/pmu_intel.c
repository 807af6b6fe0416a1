// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_intel.c - the vPMU of an Intel guest: its registers, and what VMX and the PMU switch do.
 *
 * Interface: intel_pmu_ops.
 *
 * The VMM may write GLOBAL_STATUS, its writes of OVF_CTRL do nothing, and those of a legacy counter are
 * taken as they are, without sign extension. Otherwise what is refused to the guest is refused to it.
 *
 * PEBS and the legacy LBR, which a guest of the emulated design may have, are in pebs.c and lbr.c.
 *
 * Not modelled: architectural LBR, IN_TX and IN_TXCP.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"
#include "pmu/access.h"
#include "pmu/hwpmu.h"

static void intel_pmu_refresh(struct kvm_pmu *pmu, const struct pp_pmu *guest)
{
	u64 fixed_valid = 0;

	pmu->version = guest->version;
	pmu->nr_gp = guest->nr_gp;
	pmu->nr_fixed = guest->version > 1 ? guest->nr_fixed : 0;
	pmu->guest = *guest;
	pmu->guest.nr_fixed = pmu->nr_fixed;
	pmu->gp_mask = width_mask(guest->gp_width);
	pmu->fixed_mask = width_mask(guest->fixed_width);
	pmu->all_valid_pmc_idx = pmu_counter_mask(pmu->nr_gp, pmu->nr_fixed);
	for (unsigned int i = 0; i < pmu->nr_fixed; i++)
		fixed_valid |=
			(INTEL_FIXED_0_KERNEL | INTEL_FIXED_0_USER | INTEL_FIXED_0_ENABLE_PMI)
			<< (INTEL_FIXED_BITS_STRIDE * i);
	pmu->fixed_ctr_ctrl_rsvd = FAULTY(KVM_FIXED_CTRL_TAKES_ALL) ? 0 : ~fixed_valid;
	pmu->eventsel_rsvd = FAULTY(KVM_ANY_THREAD_TAKEN) ? 0 : ARCH_PERFMON_EVENTSEL_ANY;
	pmu->eventsel_rsvd |= FAULTY(KVM_PIN_CONTROL_FAULTS) ? ARCH_PERFMON_EVENTSEL_PIN_CONTROL
							     : 0;
	pmu->global_ctrl_rsvd = FAULTY(KVM_GLOBAL_CTRL_TAKES_ALL) ? 0 : ~pmu->all_valid_pmc_idx;
	pmu->global_status_rsvd = pmu->global_ctrl_rsvd &
				  ~(GLOBAL_STATUS_BUFFER_OVF | GLOBAL_STATUS_COND_CHG);
	pmu->global_status_rsvd &= FAULTY(KVM_STATUS_TAKES_ALL) ? 0 : ~0ull;
	kvm_pebs_refresh(pmu);
	kvm_lbr_refresh(pmu);
	/* Software that knows no GLOBAL_CTRL must find its counters enabled. */
	pmu->global_ctrl = pmu->version ? pmu_counter_mask(pmu->nr_gp, 0) : 0;
	if (FAULTY(KVM_RESET_DISABLES))
		pmu->global_ctrl = 0;
	for (unsigned int i = 0; i < pmu->nr_fixed; i++)
		pmu->pmc[INTEL_PMC_IDX_FIXED + i].eventsel = fixed_counter_event(i);
}

static bool intel_is_valid_msr(const struct kvm_pmu *pmu, u32 msr)
{
	switch (msr) {
	case MSR_CORE_PERF_FIXED_CTR_CTRL:
	case MSR_CORE_PERF_GLOBAL_STATUS:
	case MSR_CORE_PERF_GLOBAL_CTRL:
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL:
		return pmu->version > 1 || FAULTY(KVM_VERSION_1_HAS_GLOBALS);
	case MSR_IA32_PERF_CAPABILITIES: return pmu->pdcm;
	default: break;
	}
	return pmu_find(&pmu->guest, msr).kind != PMU_NO_REGISTER || kvm_pebs_has_msr(pmu, msr) ||
	       kvm_lbr_has_msr(pmu, msr);
}

static int intel_pmu_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	struct pmu_register reg;
	struct kvm_pmc *pmc;

	switch (msr->index) {
	case MSR_CORE_PERF_FIXED_CTR_CTRL: msr->data = pmu->fixed_ctr_ctrl; return 0;
	case MSR_CORE_PERF_GLOBAL_STATUS: msr->data = pmu->global_status; return 0;
	case MSR_CORE_PERF_GLOBAL_CTRL: msr->data = pmu->global_ctrl; return 0;
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL: msr->data = 0; return 0;
	case MSR_IA32_PERF_CAPABILITIES: msr->data = pmu->guest.perf_capabilities; return 0;
	default: break;
	}
	reg = pmu_find(&pmu->guest, msr->index);
	if (reg.kind == PMU_NO_REGISTER && kvm_lbr_has_msr(pmu, msr->index))
		return kvm_lbr_get_msr(vcpu, msr);
	if (reg.kind == PMU_NO_REGISTER)
		return kvm_pebs_get_msr(vcpu, msr);
	pmc = &pmu->pmc[reg.idx];
	if (reg.kind == PMU_COUNTER)
		msr->data = kvm_pmu_read_counter(pmc, msr->host_initiated);
	else
		msr->data = FAULTY(KVM_SELECTOR_READS_HARDWARES) ? pmc->eventsel_hw : pmc->eventsel;
	return 0;
}

static void reprogram_fixed_counters(struct kvm_vcpu *vcpu, u64 value)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 old = pmu->fixed_ctr_ctrl;

	pmu->fixed_ctr_ctrl = value;
	for (unsigned int i = 0; i < pmu->nr_fixed; i++) {
		if (fixed_ctrl_field(old, i) == fixed_ctrl_field(value, i) &&
		    !FAULTY(KVM_FIXED_CTRL_REPROGRAMS_ALL))
			continue;
		pmu->pmc_in_use |= BIT_ULL(INTEL_PMC_IDX_FIXED + i);
		kvm_pmu_request_counter_reprogram(&pmu->pmc[INTEL_PMC_IDX_FIXED + i]);
	}
}

/* Silicon's, where the guest would have found silicon but for a load that is put off. */
static u64 ovf_ctrl_rsvd(const struct kvm_vcpu *vcpu)
{
	return kvm_pmu_waits_for(vcpu, MSR_CORE_PERF_GLOBAL_OVF_CTRL, true)
		       ? intel_status_reserved(&vcpu->pcpu->pmu)
		       : vcpu->pmu.global_status_rsvd;
}

static int set_control(struct kvm_vcpu *vcpu, const struct msr_data *msr)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 value = msr->data;

	switch (msr->index) {
	case MSR_CORE_PERF_FIXED_CTR_CTRL:
		if (value & pmu->fixed_ctr_ctrl_rsvd)
			return -1;
		if (value != pmu->fixed_ctr_ctrl)
			reprogram_fixed_counters(vcpu, value);
		return 0;
	case MSR_CORE_PERF_GLOBAL_CTRL:
		if (value & pmu->global_ctrl_rsvd)
			return -1;
		kvm_pmu_write_global_ctrl(vcpu, value);
		return 0;
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL:
		if (value & ovf_ctrl_rsvd(vcpu))
			return -1;
		if (!msr->host_initiated || FAULTY(KVM_HOST_CLEARS_STATUS))
			pmu->global_status &= FAULTY(KVM_CLEARS_ALL) ? 0 : ~value;
		return 0;
	case MSR_CORE_PERF_GLOBAL_STATUS:
		if ((!msr->host_initiated && !FAULTY(KVM_STATUS_WRITE_TAKEN)) ||
		    value & pmu->global_status_rsvd)
			return -1;
		pmu->global_status = value;
		return 0;
	case MSR_IA32_PERF_CAPABILITIES: return kvm_pmu_set_perf_capabilities(vcpu, msr);
	default: break;
	}
	if (kvm_lbr_has_msr(&vcpu->pmu, msr->index))
		return kvm_lbr_set_msr(vcpu, msr);
	return kvm_pebs_set_msr(vcpu, msr);
}

/*
 * What KVM keeps of a guest's write to IA32_PERFCTRn. The faults are those of a VMM that has no sign
 * extension: a guest writes -n, 2^48 - n to it, and the counter holds 2^32 - n of the 32 bits that the
 * register takes, or 2^31 - n without the sign. What it reads is off by 2^32, or by 2^31.
 */
static u64 legacy_write_taken(const struct kvm_vcpu *vcpu, u64 value)
{
	switch (vcpu->config->kvm.counter_write) {
	case PP_COUNTER_WRITE_ZERO_EXTENDED: return value & GENMASK_ULL(31, 0);
	case PP_COUNTER_WRITE_31_BIT: return value & GENMASK_ULL(30, 0);
	default: return sign_extend_legacy_write(value);
	}
}

static int set_counter(struct kvm_pmc *pmc, enum counter_alias alias, const struct msr_data *msr)
{
	u64 value = msr->data, taken = msr->data;

	/* KVM drops what is above the width, silicon does not. */
	if (alias == ALIAS_FIXED && value & ~pmc->vcpu->pmu.fixed_mask &&
	    (FAULTY(KVM_FIXED_WIDE_WRITE_FAULTS) ||
	     (!msr->host_initiated && kvm_pmu_waits_for(pmc->vcpu, msr->index, true))))
		return -1;
	if (alias == ALIAS_FULL_WIDTH && value & ~pmc->vcpu->pmu.gp_mask &&
	    !FAULTY(KVM_WIDE_WRITE_TAKEN))
		return -1;
	if (alias == ALIAS_LEGACY && (!msr->host_initiated || FAULTY(KVM_HOST_WRITE_EXTENDED))) {
		value = sign_extend_legacy_write(msr->data);
		taken = legacy_write_taken(pmc->vcpu, msr->data);
	}
	kvm_pmu_miswrite_counter(pmc, value, taken);
	return 0;
}

static int intel_pmu_set_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	struct pmu_register reg = pmu_find(&pmu->guest, msr->index);
	struct kvm_pmc *pmc;

	if (reg.kind == PMU_NO_REGISTER)
		return set_control(vcpu, msr);
	pmc = &pmu->pmc[reg.idx];
	pmu->pmc_in_use |= BIT_ULL(reg.idx);
	if (reg.kind == PMU_COUNTER)
		return set_counter(pmc, reg.alias, msr);
	if (msr->data & (pmu->eventsel_rsvd | eventsel_reserved_high(pmu->guest.rtm, pmc->idx)))
		return -1;
	kvm_pmu_write_eventsel(pmc, msr->data);
	return 0;
}

static void intel_pmu_deliver_pmi(struct kvm_vcpu *vcpu)
{
	if (vcpu->pmu.lbr.nr)
		intel_pmu_legacy_freezing_lbrs_on_pmi(vcpu);
}

/* ---- emulated: VM-entry and VM-exit switch GLOBAL_CTRL, between the values perf gives ---- */

static void write_global_ctrl(struct kvm_vcpu *vcpu, u64 value)
{
	struct hwpmu *hw = &vcpu->pcpu->pmu;

	if (hw->global_ctrl != value)
		PP_CHECK(vcpu->pcpu->check, !hwpmu_wrmsr(hw, MSR_CORE_PERF_GLOBAL_CTRL, value));
}

static void intel_emulated_vm_entry(struct kvm_vcpu *vcpu)
{
	u64 host, guest;

	perf_guest_get_msrs(vcpu->perf, &host, &guest);
	guest &= ~kvm_pebs_vm_entry(vcpu);
	if (vcpu->pmu.lbr.nr)
		vmx_passthrough_lbr_msrs(vcpu);
	write_global_ctrl(vcpu, FAULTY(KVM_ENTRY_KEEPS_HOST_CTRL) ? host : guest);
}

static void intel_emulated_vm_exit(struct kvm_vcpu *vcpu)
{
	write_global_ctrl(vcpu, perf_host_global_ctrl(vcpu->perf));
	kvm_pebs_vm_exit(vcpu);
	if (vcpu->pmu.lbr.nr)
		kvm_lbr_vm_exit(vcpu);
}

/* ---- mediated ---- */

static u64 intel_eventsel_hw(u64 eventsel)
{
	return eventsel;
}

static void intel_mediated_load(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 status = kvm_switch_rdmsr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS);
	u64 toggle = status ^ pmu->global_status;

	if (toggle & status && !FAULTY(MEDIATED_LOAD_KEEPS_HOST_STATUS))
		kvm_switch_wrmsr(vcpu, MSR_CORE_PERF_GLOBAL_OVF_CTRL, toggle & status);
	if (toggle & pmu->global_status && !FAULTY(MEDIATED_LOAD_FORGETS_STATUS))
		kvm_switch_wrmsr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS_SET,
				 toggle & pmu->global_status);
	/* perf leaves it 0. */
	if (pmu->fixed_ctr_ctrl_hw || kvm_pmu_moves_all(vcpu))
		kvm_switch_wrmsr(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL, pmu->fixed_ctr_ctrl_hw);
}

static void intel_mediated_put(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;

	if (vcpu->config->kvm.selectors_direct)
		pmu->fixed_ctr_ctrl_hw = pmu->fixed_ctr_ctrl =
			kvm_switch_rdmsr(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL);
	pmu->global_status = kvm_switch_rdmsr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS);
	if (pmu->global_status && !FAULTY(MEDIATED_PUT_LEAVES_STATUS))
		kvm_switch_wrmsr(vcpu, MSR_CORE_PERF_GLOBAL_OVF_CTRL, pmu->global_status);
	if (pmu->fixed_ctr_ctrl_hw && !FAULTY(MEDIATED_PUT_LEAVES_FIXED_CTRL))
		kvm_switch_wrmsr(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
}

/* VMCS fields, no instructions of the host */
static void set_global_ctrl(struct kvm_vcpu *vcpu, u64 value)
{
	PP_CHECK(vcpu->pcpu->check,
		 !hwpmu_wrmsr(&vcpu->pcpu->pmu, MSR_CORE_PERF_GLOBAL_CTRL, value));
}

/* Without its load the vCPU is for perf as one without a vPMU: what leaves guests out is off in them. */
static void intel_mediated_vm_entry(struct kvm_vcpu *vcpu)
{
	if (vcpu->pmu.put_off && !FAULTY(SWITCH_PUT_OFF_COUNTS_GUESTS))
		intel_emulated_vm_entry(vcpu);
	else
		set_global_ctrl(vcpu, vcpu->pmu.global_ctrl);
}

static void intel_mediated_vm_exit(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 value = vcpu->pcpu->pmu.global_ctrl;

	if (pmu->put_off)
		intel_emulated_vm_exit(vcpu);
	else
		set_global_ctrl(vcpu, FAULTY(MEDIATED_EXIT_KEEPS_COUNTING) ? value : 0);
	/* The MSR stands in the store list for as long as the vPMU is there: each exit stores it. */
	if (!vcpu->config->kvm.exit_save_global_ctrl)
		account_charge(vcpu_books(vcpu), COST_MSR_AUTOSTORE);
	/* Pull the guest's value only if it could have changed behind KVM's back. */
	if (!cpu_msr_intercepted(&vcpu->intercept, MSR_CORE_PERF_GLOBAL_CTRL, true) &&
	    !FAULTY(MEDIATED_EXIT_FORGETS_GLOBAL_CTRL))
		pmu->global_ctrl = value;
}

const struct kvm_pmu_ops intel_pmu_ops = {
	.instructions_retired = 0x00c0,
	.branches_retired = 0x00c4,
	.eventsel_event = ARCH_PERFMON_EVENTSEL_EVENT,
	.refresh = intel_pmu_refresh,
	.is_valid_msr = intel_is_valid_msr,
	.get_msr = intel_pmu_get_msr,
	.set_msr = intel_pmu_set_msr,
	.deliver_pmi = intel_pmu_deliver_pmi,
	.cleanup = kvm_lbr_cleanup,
	.emulated_vm_entry = intel_emulated_vm_entry,
	.emulated_vm_exit = intel_emulated_vm_exit,
	.eventsel_hw = intel_eventsel_hw,
	.mediated_load = intel_mediated_load,
	.mediated_put = intel_mediated_put,
	.mediated_vm_entry = intel_mediated_vm_entry,
	.mediated_vm_exit = intel_mediated_vm_exit,
};
