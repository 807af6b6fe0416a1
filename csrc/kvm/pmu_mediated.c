// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_mediated.c - the mediated vPMU: the guest owns the physical counters.
 *
 * Interface: kvm_pmu_mediated, one instance of struct kvm_pmu_backend.
 *
 * Selectors and FIXED_CTR_CTRL are intercepted and staged in their _hw copies after the filter;
 * load and put move the PMU around the inner run loop; GLOBAL_CTRL is switched by VM-entry and
 * VM-exit. Values in hardware are zeroed at put: nothing leaks to the host, nothing counts there.
 *
 * Not modelled: other switch policies, PEBS, LBR and PERF_METRICS, nested guests.
 */
#include "kvm/vcpu.h"

static struct account *books(struct kvm_vcpu *vcpu)
{
	return vcpu_books(vcpu);
}

/* ---- register accesses of the switch: charged, counted, done ---- */

static void sw_wrmsr(struct kvm_vcpu *vcpu, u32 msr, u64 value)
{
	account_charge(books(vcpu), COST_WRMSR);
	vcpu->pmu.sw.wrmsr++;
	PP_CHECK(vcpu->pcpu->check, !hwpmu_wrmsr(&vcpu->pcpu->pmu, msr, value));
}

static u64 sw_rdmsr(struct kvm_vcpu *vcpu, u32 msr)
{
	u64 value = 0;

	account_charge(books(vcpu), COST_RDMSR);
	vcpu->pmu.sw.rdmsr++;
	PP_CHECK(vcpu->pcpu->check, !hwpmu_rdmsr(&vcpu->pcpu->pmu, msr, &value));
	return value;
}

static u64 sw_rdpmc(struct kvm_vcpu *vcpu, const struct kvm_pmc *pmc)
{
	account_charge(books(vcpu), COST_RDPMC);
	vcpu->pmu.sw.rdpmc++;
	return hwpmu_counter(&vcpu->pcpu->pmu, pmc->idx);
}

static void sw_lvtpc(struct kvm_vcpu *vcpu, u32 value)
{
	account_charge(books(vcpu), COST_LVTPC_WRITE);
	vcpu->pmu.sw.lvtpc++;
	lapic_mmio_write(&vcpu->pcpu->lapic, APIC_LVTPC, value);
}

/* ---- the VM ---- */

static int mediated_create(struct kvm_vcpu *vcpu)
{
	return perf_create_mediated_pmu(vcpu->perf);
}

static void mediated_destroy(struct kvm_vcpu *vcpu)
{
	perf_release_mediated_pmu(vcpu->perf);
}

/* ---- load ---- */

static void trace_state(struct kvm_vcpu *vcpu, u32 put)
{
	struct hwpmu *hw = &vcpu->pcpu->pmu;
	struct kvm_pmu *pmu = &vcpu->pmu;
	unsigned int idx;

	if (!vcpu->pcpu->account.trace_size)
		return;
	for_each_set_bit(idx, pmu->all_valid_pmc_idx) {
		pcpu_trace(vcpu->pcpu, TRACE_PMU_STATE, put, counter_msr(idx, true),
			   hwpmu_counter(hw, idx), pmu->pmc[idx].counter);
		if (idx < INTEL_PMC_IDX_FIXED)
			pcpu_trace(vcpu->pcpu, TRACE_PMU_STATE, put, MSR_IA32_PERFEVTSEL0 + idx,
				   hw->eventsel[idx], pmu->pmc[idx].eventsel_hw);
	}
	pcpu_trace(vcpu->pcpu, TRACE_PMU_STATE, put, MSR_CORE_PERF_GLOBAL_STATUS, hw->global_status,
		   pmu->global_status);
	pcpu_trace(vcpu->pcpu, TRACE_PMU_STATE, put, MSR_CORE_PERF_FIXED_CTR_CTRL,
		   hw->fixed_ctr_ctrl, pmu->fixed_ctr_ctrl_hw);
}

static void trace_switch(struct kvm_vcpu *vcpu, enum trace_type type,
			 const struct pp_switch_result *before)
{
	const struct pp_switch_result *sw = &vcpu->pmu.sw;

	pcpu_trace(vcpu->pcpu, type, (u32)(sw->lvtpc - before->lvtpc), sw->rdmsr - before->rdmsr,
		   sw->wrmsr - before->wrmsr, sw->rdpmc - before->rdpmc);
}

static void load_counter(struct kvm_vcpu *vcpu, struct kvm_pmc *pmc)
{
	/* Reading is cheap, writing is not: leave out the write of a value that is there. */
	if (sw_rdpmc(vcpu, pmc) != pmc->counter)
		sw_wrmsr(vcpu, counter_msr(pmc->idx, true), pmc->counter);
	else
		account_stat(books(vcpu), STAT_ELIDED);
	if (!pmc_is_fixed(pmc))
		sw_wrmsr(vcpu, (u32)(MSR_IA32_PERFEVTSEL0 + pmc->idx), pmc->eventsel_hw);
}

static void intel_load(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 status = sw_rdmsr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS);
	u64 toggle = status ^ pmu->global_status;

	if (toggle & status)
		sw_wrmsr(vcpu, MSR_CORE_PERF_GLOBAL_OVF_CTRL, toggle & status);
	if (toggle & pmu->global_status)
		sw_wrmsr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS_SET, toggle & pmu->global_status);
	sw_wrmsr(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL, pmu->fixed_ctr_ctrl_hw);
}

static void mediated_load(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 start = books(vcpu)->host_cycles;
	struct pp_switch_result before;
	unsigned int idx;

	account_enter(books(vcpu), COST_MEDIATED_LOAD);
	perf_load_guest_context(vcpu->perf);
	before = pmu->sw;
	trace_state(vcpu, 0);
	/* perf stops counters one by one; stop the whole PMU before foreign values go in. */
	sw_wrmsr(vcpu, MSR_CORE_PERF_GLOBAL_CTRL, 0);
	sw_lvtpc(vcpu, APIC_DM_FIXED | PERF_GUEST_MEDIATED_PMI_VECTOR |
			       (lapic_reg(&vcpu->lapic, APIC_LVTPC) & APIC_LVT_MASKED));
	for_each_set_bit(idx, pmu->all_valid_pmc_idx)
		load_counter(vcpu, &pmu->pmc[idx]);
	intel_load(vcpu);
	trace_switch(vcpu, TRACE_PMU_LOAD, &before);
	account_leave(books(vcpu));
	pmu->sw.loads++;
	pmu->blind_start = books(vcpu)->host_cycles;
	pmu->sw.cycles += pmu->blind_start - start;
}

/* ---- put ---- */

static void intel_put(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;

	if (vcpu->config->kvm.selectors_direct)
		pmu->fixed_ctr_ctrl_hw = pmu->fixed_ctr_ctrl =
			sw_rdmsr(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL);
	pmu->global_status = sw_rdmsr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS);
	if (pmu->global_status)
		sw_wrmsr(vcpu, MSR_CORE_PERF_GLOBAL_OVF_CTRL, pmu->global_status);
	if (pmu->fixed_ctr_ctrl_hw)
		sw_wrmsr(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
}

static void put_counter(struct kvm_vcpu *vcpu, struct kvm_pmc *pmc)
{
	u32 selector = (u32)(MSR_IA32_PERFEVTSEL0 + pmc->idx);

	pmc->counter = sw_rdpmc(vcpu, pmc);
	if (pmc->counter)
		sw_wrmsr(vcpu, counter_msr(pmc->idx, true), 0);
	if (pmc_is_fixed(pmc))
		return;
	if (vcpu->config->kvm.selectors_direct)
		pmc->eventsel_hw = pmc->eventsel = sw_rdmsr(vcpu, selector);
	if (pmc->eventsel_hw)
		sw_wrmsr(vcpu, selector, 0);
}

static void mediated_put(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 start = books(vcpu)->host_cycles;
	struct pp_switch_result before;
	unsigned int idx;

	pmu->sw.host_blind_cycles += start - pmu->blind_start;
	account_enter(books(vcpu), COST_MEDIATED_PUT);
	before = pmu->sw;
	trace_state(vcpu, 1);
	intel_put(vcpu);
	for_each_set_bit(idx, pmu->all_valid_pmc_idx)
		put_counter(vcpu, &pmu->pmc[idx]);
	sw_lvtpc(vcpu, APIC_DM_NMI);
	trace_switch(vcpu, TRACE_PMU_PUT, &before);
	perf_put_guest_context(vcpu->perf);
	account_leave(books(vcpu));
	pmu->sw.puts++;
	pmu->sw.cycles += books(vcpu)->host_cycles - start;
}

/* ---- VM-entry and VM-exit: VMCS fields, no instructions of the host ---- */

static void set_global_ctrl(struct kvm_vcpu *vcpu, u64 value)
{
	PP_CHECK(vcpu->pcpu->check,
		 !hwpmu_wrmsr(&vcpu->pcpu->pmu, MSR_CORE_PERF_GLOBAL_CTRL, value));
}

static void mediated_vm_entry(struct kvm_vcpu *vcpu)
{
	set_global_ctrl(vcpu, vcpu->pmu.global_ctrl);
}

static void mediated_vm_exit(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 value;

	value = vcpu->pcpu->pmu.global_ctrl;
	set_global_ctrl(vcpu, 0);
	/* The MSR stands in the store list for as long as the vPMU is there: each exit stores it. */
	if (!vcpu->config->kvm.exit_save_global_ctrl)
		account_charge(books(vcpu), COST_MSR_AUTOSTORE);
	/* Pull the guest's value only if it could have changed behind KVM's back. */
	if (!cpu_msr_intercepted(&vcpu->intercept, MSR_CORE_PERF_GLOBAL_CTRL, true))
		pmu->global_ctrl = value;
}

static void mediated_host_pmi(struct kvm_vcpu *vcpu)
{
	account_charge(books(vcpu), COST_MEDIATED_PMI);
	account_stat(books(vcpu), STAT_MEDIATED_PMIS);
	kvm_make_request(KVM_REQ_PMI, vcpu);
}

/* ---- counters, valid in memory while the PMU is not loaded ---- */

static u64 mediated_read_counter(struct kvm_pmc *pmc)
{
	return pmc->counter;
}

static u64 mediated_peek_counter(struct kvm_pmc *pmc)
{
	if (pmc->vcpu->perf->guest_ctx_loaded)
		return hwpmu_counter(&pmc->vcpu->pcpu->pmu, pmc->idx);
	return pmc->counter;
}

static void mediated_write_counter(struct kvm_pmc *pmc, u64 value)
{
	pmc->counter = value;
}

static void mediated_credit(struct kvm_pmc *pmc)
{
	struct kvm_vcpu *vcpu = pmc->vcpu;

	PP_CHECK(vcpu->pcpu->check, !vcpu->perf->guest_ctx_loaded);
	pmc->counter = (pmc->counter + 1) & pmc_bitmask(&vcpu->pmu, pmc);
	if (pmc->counter)
		return;
	vcpu->pmu.global_status |= BIT_ULL(pmc->idx);
	if (pmc_eventsel(pmc) & ARCH_PERFMON_EVENTSEL_INT)
		kvm_make_request(KVM_REQ_PMI, vcpu);
}

static void mediated_write_eventsel(struct kvm_pmc *pmc)
{
	pmc->eventsel_hw = pmc->eventsel;
}

/* Reprogramming is no more than holding the counter against the filter. */
static void mediated_reprogram(struct kvm_pmc *pmc)
{
	struct kvm_pmu *pmu = &pmc->vcpu->pmu;
	unsigned int shift = INTEL_FIXED_BITS_STRIDE * (pmc->idx - INTEL_PMC_IDX_FIXED);
	u64 field = INTEL_FIXED_BITS_MASK << (shift & 63);
	bool allowed;

	account_charge(books(pmc->vcpu), COST_CHECK_EVENT_FILTER);
	allowed = pmc_is_event_allowed(pmc);
	if (pmc_is_fixed(pmc)) {
		pmu->fixed_ctr_ctrl_hw &= ~field;
		if (allowed)
			pmu->fixed_ctr_ctrl_hw |= pmu->fixed_ctr_ctrl & field;
		return;
	}
	pmc->eventsel_hw &= ~ARCH_PERFMON_EVENTSEL_ENABLE;
	if (allowed && pmc_is_locally_enabled(pmc))
		pmc->eventsel_hw |= ARCH_PERFMON_EVENTSEL_ENABLE;
}

static int mediated_hw_counter(struct kvm_pmc *pmc)
{
	return pmc->vcpu->perf->guest_ctx_loaded ? pmc->idx : -1;
}

static enum loss_cause mediated_why(struct kvm_pmc *pmc)
{
	return pmc_is_event_allowed(pmc) ? CAUSE_NONE : CAUSE_FILTERED;
}

static void mediated_cleanup(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.pmc_in_use = 0;
}

const struct kvm_pmu_backend kvm_pmu_mediated = {
	.name = "mediated",
	.counters_in_hardware = true,
	.create = mediated_create,
	.destroy = mediated_destroy,
	.load = mediated_load,
	.put = mediated_put,
	.vm_entry = mediated_vm_entry,
	.vm_exit = mediated_vm_exit,
	.host_pmi = mediated_host_pmi,
	.read_counter = mediated_read_counter,
	.peek_counter = mediated_peek_counter,
	.write_counter = mediated_write_counter,
	.reprogram = mediated_reprogram,
	.credit = mediated_credit,
	.write_eventsel = mediated_write_eventsel,
	.hw_counter = mediated_hw_counter,
	.why = mediated_why,
	.cleanup = mediated_cleanup,
};
