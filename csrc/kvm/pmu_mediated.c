// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_mediated.c - the mediated vPMU: the guest owns the physical counters.
 *
 * Interface: kvm_pmu_mediated, one instance of struct kvm_pmu_backend.
 *
 * Selectors and FIXED_CTR_CTRL are intercepted and staged in their _hw copies after the filter;
 * load and put move the PMU when the switch policy says so (pmu_switch.c); GLOBAL_CTRL is switched by
 * VM-entry and VM-exit. Values in hardware are zeroed at put: nothing leaks to the host, nothing counts there.
 *
 * With kvm.pmi=nmi the PMIs of a loaded guest are NMIs, as the host's are: the arrangement that the
 * dedicated vector is there to avoid.
 *
 * Not modelled: PEBS, LBR and PERF_METRICS, nested guests.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"

static struct account *books(struct kvm_vcpu *vcpu)
{
	return vcpu_books(vcpu);
}

/* ---- register accesses of the switch: charged, counted, done ---- */

static void sw_wrmsr(struct kvm_vcpu *vcpu, struct pmu_register reg, u64 value)
{
	account_charge(books(vcpu), COST_WRMSR);
	vcpu->pmu.sw.wrmsr++;
	PP_CHECK(vcpu->pcpu->check, !hwpmu_write(&vcpu->pcpu->pmu, &reg, value));
}

void kvm_switch_wrmsr(struct kvm_vcpu *vcpu, u32 msr, u64 value)
{
	sw_wrmsr(vcpu, hwpmu_find(&vcpu->pcpu->pmu, msr), value);
}

u64 kvm_switch_rdmsr(struct kvm_vcpu *vcpu, u32 msr)
{
	u64 value = 0;

	account_charge(books(vcpu), COST_RDMSR);
	vcpu->pmu.sw.rdmsr++;
	PP_CHECK(vcpu->pcpu->check, !hwpmu_rdmsr(&vcpu->pcpu->pmu, msr, &value));
	return value;
}

/* By the alias that takes the whole width, which every mediated PMU has. */
static struct pmu_register counter_register(const struct kvm_pmc *pmc)
{
	return pmu_counter_register(pmc->idx, pmc_is_fixed(pmc) ? ALIAS_FIXED : ALIAS_FULL_WIDTH);
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

static int mediated_create_vm(struct perf_cpu *perf)
{
	return perf_create_mediated_pmu(perf);
}

static void mediated_destroy_vm(struct perf_cpu *perf)
{
	if (!FAULTY(MEDIATED_VM_NOT_RELEASED))
		perf_release_mediated_pmu(perf);
}

/* Outside of the guest it holds nothing. */
static void mediated_destroy(struct kvm_vcpu *vcpu)
{
	(void)vcpu;
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
		pcpu_trace(vcpu->pcpu, TRACE_PMU_STATE, put,
			   hw->vendor->counter_msr(&hw->caps, idx), hwpmu_counter(hw, idx),
			   pmu->pmc[idx].counter);
		if (idx < INTEL_PMC_IDX_FIXED)
			pcpu_trace(vcpu->pcpu, TRACE_PMU_STATE, put,
				   hw->vendor->selector_msr(&hw->caps, idx), hw->eventsel[idx],
				   pmu->pmc[idx].eventsel_hw);
	}
	pcpu_trace(vcpu->pcpu, TRACE_PMU_STATE, put, hw->vendor->global_status, hw->global_status,
		   pmu->global_status);
	if (!hw->caps.nr_fixed)
		return;
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

/*
 * perf leaves selectors behind with their enable bit off, and the guest cannot read them: another one whose
 * bit is off does not have to go in. Selectors that the guest writes directly do.
 */
static bool selector_moves(const struct kvm_pmc *pmc)
{
	return kvm_pmu_moves_all(pmc->vcpu) || pmc_runs(pmc);
}

/* Of the guest's it holds 0, so that this is all that may be left there: a value of the host. */
static void load_parked(struct kvm_vcpu *vcpu, struct kvm_pmc *pmc)
{
	if (sw_rdpmc(vcpu, pmc) && !FAULTY(HINT_SHOWS_HOST_VALUE))
		sw_wrmsr(vcpu, counter_register(pmc), 0);
}

static void load_counter(struct kvm_vcpu *vcpu, struct kvm_pmc *pmc)
{
	if (vcpu->pmu.parked & BIT_ULL(pmc->idx)) {
		load_parked(vcpu, pmc);
		return;
	}
	/* Reading is cheap, writing is not: leave out the write of a value that is there. */
	if (!vcpu->config->kvm.elide_wrmsr || sw_rdpmc(vcpu, pmc) != pmc->counter ||
	    FAULTY(MEDIATED_LOAD_WRITES_ALL))
		sw_wrmsr(vcpu, counter_register(pmc), pmc->counter);
	else
		account_stat(books(vcpu), STAT_ELIDED);
	if (!pmc_is_fixed(pmc) && selector_moves(pmc))
		sw_wrmsr(vcpu, pmu_selector_register(pmc->idx), pmc->eventsel_hw);
}

/* Of the guest's own LVTPC only the mask counts; the rest holds when the virtual PMI is delivered. */
static u32 guest_lvtpc(const struct kvm_vcpu *vcpu)
{
	u32 how = vcpu->config->kvm.pmi_nmi ? APIC_DM_NMI
					    : APIC_DM_FIXED | PERF_GUEST_MEDIATED_PMI_VECTOR;

	if (FAULTY(MEDIATED_LVTPC_MASK_NOT_MIRRORED))
		return how;
	return how | (lapic_reg(&vcpu->lapic, APIC_LVTPC) & APIC_LVT_MASKED);
}

/* A counter that is not enabled raises no PMI, and the guest enables none without an exit. */
static bool lvtpc_moves(const struct kvm_vcpu *vcpu)
{
	const struct kvm_pmu *pmu = &vcpu->pmu;
	unsigned int idx;

	if (kvm_pmu_moves_all(vcpu) || pmu->fixed_ctr_ctrl_hw)
		return true;
	for_each_set_bit(idx, pmu->all_valid_pmc_idx) {
		if (idx < INTEL_PMC_IDX_FIXED &&
		    pmu->pmc[idx].eventsel_hw & ARCH_PERFMON_EVENTSEL_ENABLE)
			return true;
	}
	return false;
}

static void mediated_load(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 start = books(vcpu)->host_cycles;
	struct pp_switch_result before;
	unsigned int idx;

	account_enter(books(vcpu), COST_MEDIATED_LOAD);
	perf_load_guest_context(vcpu->perf);
	pmu->blind_start = books(vcpu)->host_cycles;
	before = pmu->sw;
	trace_state(vcpu, 0);
	/* perf stops counters one by one; stop the whole PMU before foreign values go in. */
	kvm_switch_wrmsr(vcpu, vcpu->pcpu->pmu.vendor->global_ctrl, 0);
	pmu->lvtpc_is_guests = lvtpc_moves(vcpu);
	if (pmu->lvtpc_is_guests)
		sw_lvtpc(vcpu, guest_lvtpc(vcpu));
	for_each_set_bit(idx, FAULTY(MEDIATED_LOADS_UNEXPOSED) ? vcpu->pcpu->pmu.counter_mask
							       : pmu->all_valid_pmc_idx)
		load_counter(vcpu, &pmu->pmc[idx]);
	pmu->ops->mediated_load(vcpu);
	trace_switch(vcpu, TRACE_PMU_LOAD, &before);
	account_leave(books(vcpu));
	pmu->sw.loads++;
	pmu->sw.cycles += books(vcpu)->host_cycles - start;
}

/* What a guest whose PMU stays loaded can have changed without KVM taking the PMU back: the mask of PMIs,
 * which hardware sets, too. */
static void mediated_resume(struct kvm_vcpu *vcpu)
{
	u32 lvtpc = guest_lvtpc(vcpu);

	if (vcpu->pmu.lvtpc_is_guests && lapic_reg(&vcpu->pcpu->lapic, APIC_LVTPC) != lvtpc)
		sw_lvtpc(vcpu, lvtpc);
}

/* ---- put ---- */

static void put_counter(struct kvm_vcpu *vcpu, struct kvm_pmc *pmc)
{
	const struct hwpmu *hw = &vcpu->pcpu->pmu;

	if (vcpu->pmu.parked & BIT_ULL(pmc->idx)) {
		PP_CHECK(vcpu->pcpu->check, !hwpmu_counter(hw, pmc->idx));
		return;
	}
	pmc->counter = sw_rdpmc(vcpu, pmc);
	if (pmc->counter && !FAULTY(MEDIATED_SECRET_IN_COUNTER))
		sw_wrmsr(vcpu, counter_register(pmc), 0);
	if (pmc_is_fixed(pmc))
		return;
	if (vcpu->config->kvm.selectors_direct)
		pmc->eventsel_hw = pmc->eventsel =
			kvm_switch_rdmsr(vcpu, hw->vendor->selector_msr(&hw->caps, pmc->idx));
	if (pmc->eventsel_hw && selector_moves(pmc) && !FAULTY(MEDIATED_SECRET_IN_SELECTOR))
		sw_wrmsr(vcpu, pmu_selector_register(pmc->idx), 0);
}

static void mediated_put(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 start = books(vcpu)->host_cycles;
	struct pp_switch_result before;
	unsigned int idx;

	account_enter(books(vcpu), COST_MEDIATED_PUT);
	before = pmu->sw;
	trace_state(vcpu, 1);
	pmu->ops->mediated_put(vcpu);
	for_each_set_bit(idx, pmu->all_valid_pmc_idx)
		put_counter(vcpu, &pmu->pmc[idx]);
	if (pmu->lvtpc_is_guests && !FAULTY(MEDIATED_PUT_KEEPS_LVTPC))
		sw_lvtpc(vcpu, APIC_DM_NMI);
	trace_switch(vcpu, TRACE_PMU_PUT, &before);
	pmu->sw.host_blind_cycles += books(vcpu)->host_cycles - pmu->blind_start;
	perf_put_guest_context(vcpu->perf);
	account_leave(books(vcpu));
	pmu->sw.puts++;
	pmu->sw.cycles += books(vcpu)->host_cycles - start;
}

/* ---- VM-entry and VM-exit ---- */

static void mediated_vm_entry(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.ops->mediated_vm_entry(vcpu);
}

static void mediated_vm_exit(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.ops->mediated_vm_exit(vcpu);
}

/*
 * An NMI does not say where it comes from. One that ended the guest's stay is taken for the guest's PMI;
 * one that comes in the host, behind an exit for another reason, is offered to perf, which claims none
 * while a guest's PMU is loaded, and is nobody's.
 */
static void nmi_pmi(struct kvm_vcpu *vcpu)
{
	if ((vcpu->exit_reason == EXIT_EXCEPTION_NMI && !vcpu->intercept_exit) ||
	    FAULTY(MEDIATED_LATE_NMI_TAKEN)) {
		kvm_make_request(KVM_REQ_PMI, vcpu);
		return;
	}
	perf_event_nmi_handler(vcpu->perf);
	account_stat(books(vcpu), STAT_UNKNOWN_NMIS);
	truth_pmi_dropped(&vcpu->guest.truth);
}

static void mediated_host_pmi(struct kvm_vcpu *vcpu)
{
	/* The LVTPC is the host's. */
	if (vcpu->pmu.put_off && !FAULTY(SWITCH_PUT_OFF_PMI_IS_GUESTS)) {
		perf_event_nmi_handler(vcpu->perf);
		return;
	}
	if (vcpu->config->kvm.pmi_nmi) {
		nmi_pmi(vcpu);
		return;
	}
	account_charge(books(vcpu), COST_MEDIATED_PMI);
	account_stat(books(vcpu), STAT_MEDIATED_PMIS);
	if (!FAULTY(MEDIATED_PMI_LOST))
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

/* On the live counter; false: it would wrap, which is for the copies in memory to see to. */
static bool credit_live(struct kvm_pmc *pmc)
{
	u64 value = (sw_rdpmc(pmc->vcpu, pmc) + 1) & pmc_bitmask(&pmc->vcpu->pmu, pmc);

	if (!value)
		return false;
	sw_wrmsr(pmc->vcpu, counter_register(pmc), value);
	return true;
}

static void mediated_credit(struct kvm_pmc *pmc)
{
	struct kvm_vcpu *vcpu = pmc->vcpu;

	if (vcpu->pmu.policy->stays_loaded && vcpu->pmu.loaded) {
		if (credit_live(pmc))
			return;
		kvm_pmu_take_back(vcpu);
	}
	PP_CHECK(vcpu->pcpu->check, !vcpu->perf->guest_ctx_loaded);
	pmc->counter = (pmc->counter + (FAULTY(MEDIATED_CREDIT_TWICE) ? 2 : 1)) &
		       pmc_bitmask(&vcpu->pmu, pmc);
	if (pmc->counter || FAULTY(MEDIATED_CREDIT_WRAPS_UNSEEN))
		return;
	vcpu->pmu.global_status |= BIT_ULL(pmc->idx);
	if (pmc_eventsel(pmc) & ARCH_PERFMON_EVENTSEL_INT)
		kvm_make_request(KVM_REQ_PMI, vcpu);
}

static void mediated_write_eventsel(struct kvm_pmc *pmc)
{
	pmc->eventsel_hw = pmc->vcpu->pmu.ops->eventsel_hw(pmc->eventsel);
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
		if (allowed || FAULTY(FILTER_BYPASS_ON_FIXED_CTRL))
			pmu->fixed_ctr_ctrl_hw |= pmu->fixed_ctr_ctrl & field;
		return;
	}
	pmc->eventsel_hw &= ~ARCH_PERFMON_EVENTSEL_ENABLE;
	if ((allowed || FAULTY(FILTER_BYPASS_ON_SELECTOR)) && pmc_is_locally_enabled(pmc))
		pmc->eventsel_hw |= ARCH_PERFMON_EVENTSEL_ENABLE;
}

/* Nothing of host perf is in it. */
static bool mediated_reprogram_is_late(struct kvm_vcpu *vcpu)
{
	(void)vcpu;
	return false;
}

static int mediated_hw_counter(struct kvm_pmc *pmc)
{
	return pmc->vcpu->perf->guest_ctx_loaded ? pmc->idx : -1;
}

static enum loss_cause mediated_why(struct kvm_pmc *pmc)
{
	return pmc_is_event_allowed(pmc) ? CAUSE_NONE : CAUSE_FILTERED;
}

/* What has overflowed is in the status. */
static void mediated_leave(struct kvm_pmc *pmc)
{
	(void)pmc;
}

static void mediated_cleanup(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.pmc_in_use = 0;
}

const struct kvm_pmu_backend kvm_pmu_mediated = {
	.name = "mediated",
	.counters_in_hardware = true,
	.create_vm = mediated_create_vm,
	.destroy_vm = mediated_destroy_vm,
	.destroy = mediated_destroy,
	.load = mediated_load,
	.put = mediated_put,
	.resume = mediated_resume,
	.vm_entry = mediated_vm_entry,
	.vm_exit = mediated_vm_exit,
	.host_pmi = mediated_host_pmi,
	.read_counter = mediated_read_counter,
	.peek_counter = mediated_peek_counter,
	.write_counter = mediated_write_counter,
	.reprogram = mediated_reprogram,
	.reprogram_is_late = mediated_reprogram_is_late,
	.credit = mediated_credit,
	.write_eventsel = mediated_write_eventsel,
	.hw_counter = mediated_hw_counter,
	.why = mediated_why,
	.leave = mediated_leave,
	.cleanup = mediated_cleanup,
};
