// SPDX-License-Identifier: Apache-2.0
/*
 * pmu.c - the vPMU as far as both designs share it.
 *
 * Interface
 *  - kvm_pmu_set_msr()/get_msr()/rdpmc(): guest accesses that were intercepted, and the
 *    VMM's; not 0 is #GP.
 *  - kvm_pmu_handle_event(): KVM_REQ_PMU, before the next VM-entry.
 *  - kvm_pmu_deliver_pmi(): KVM_REQ_PMI.
 *  - kvm_pmu_instruction_retired(), kvm_pmu_branch_retired(): the credit of an emulated instruction.
 *
 * Errata: what a VM-exit or VM-entry adds to counters is counted with the guest's GLOBAL_CTRL in force,
 * before an exit loads the host's and after an entry has loaded the guest's, at the guest's CPL.
 *
 * Departure: the credit looks at the registers as they are after the emulated instruction; KVM looks
 * at bitmaps made before it (docs/model.md).
 *
 * Not modelled: more than one filter.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"
#include "pmu/hwpmu.h"

#include <string.h>

/* KVM's vendor module is that of the CPU it runs on, and a guest's PMU is of the same vendor. */
static const struct kvm_pmu_ops *kvm_pmu_ops_of(const struct pp_pmu *hw)
{
	return hw->vendor == PP_VENDOR_AMD ? &amd_pmu_ops : &intel_pmu_ops;
}

#define CPUID_1_ECX_PDCM (1u << 15)
#define CPUID_1_EDX_DS (1u << 21)

static bool guest_has_ds(struct kvm_vcpu *vcpu)
{
	u32 regs[4];

	pcpu_guest_cpuid(&vcpu->guest, 1, 0, regs);
	return regs[3] & CPUID_1_EDX_DS;
}

/* What the guest's model of a PMU means for registers that are not the PMU's. */
static void update_misc(struct kvm_vcpu *vcpu)
{
	vcpu->guest.misc.debugctl_valid = vcpu->pmu.lbr.nr
						  ? DEBUGCTLMSR_LBR | DEBUGCTLMSR_FREEZE_LBRS_ON_PMI
						  : 0;
}

static bool guest_has_pdcm(struct kvm_vcpu *vcpu)
{
	u32 regs[4];

	pcpu_guest_cpuid(&vcpu->guest, 1, 0, regs);
	return regs[2] & CPUID_1_ECX_PDCM;
}

void kvm_pmu_init(struct kvm_vcpu *vcpu, const struct kvm_pmu_backend *backend,
		  const struct pp_pmu *guest)
{
	struct kvm_pmu *pmu = &vcpu->pmu;

	memset(pmu, 0, sizeof(*pmu));
	pmu->backend = backend;
	pmu->policy = kvm_pmu_switch_policy(vcpu->config->kvm.switch_policy);
	pmu->idle_loads = vcpu->config->kvm.lazy_idle_loads;
	pmu->pebs.state = pmu->lbr.state = NR_STATS;
	for (unsigned int idx = 0; idx < NR_PMC_IDX; idx++) {
		pmu->pmc[idx].idx = (u8)idx;
		pmu->pmc[idx].vcpu = vcpu;
		pmu->pmc[idx].is_paused = true;
	}
	pmu->ops = kvm_pmu_ops_of(&vcpu->config->hw);
	pmu->pdcm = guest->version && (guest->perf_capabilities || guest_has_pdcm(vcpu));
	if (!guest->version)
		return;
	pmu->pebs.ds = guest->perf_capabilities & PERF_CAP_PEBS_FORMAT || guest_has_ds(vcpu);
	/* As a VMM sets it up for a guest with a debug store; there is no BTS. */
	if (pmu->pebs.ds)
		vcpu->guest.misc.misc_enable &= ~MISC_ENABLE_PEBS_UNAVAIL;
	pmu->ops->refresh(pmu, guest);
	update_misc(vcpu);
}

/* The guest's registers are as after reset; the truth follows. */
static void tell_of_reset(struct kvm_vcpu *vcpu)
{
	struct truth *truth = &vcpu->guest.truth;
	struct kvm_pmu *pmu = &vcpu->pmu;

	if (vcpu->restoring)
		return;
	for (unsigned int i = 0; i < pmu->nr_gp; i++)
		truth_control_written(truth, truth->vendor->selector_msr(&pmu->guest, i), 0);
	truth_control_written(truth, MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
	truth_control_written(truth, truth->vendor->global_ctrl, pmu->global_ctrl);
	truth_pebs_written(truth, pmu->pebs.enable);
}

void kvm_pmu_refresh(struct kvm_vcpu *vcpu, const struct pp_pmu *guest)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	unsigned int idx;

	for_each_set_bit(idx, pmu->all_valid_pmc_idx) {
		struct kvm_pmc *pmc = &pmu->pmc[idx];

		if (!FAULTY(KVM_REFRESH_KEEPS_COUNTERS))
			kvm_pmu_write_counter(pmc, 0);
		if (pmc_is_fixed(pmc))
			continue;
		pmc->eventsel = pmc->eventsel_hw = 0;
	}
	pmu->fixed_ctr_ctrl = pmu->fixed_ctr_ctrl_hw = 0;
	pmu->global_status = 0;
	pmu->reprogram_pmi = 0;
	pmu->hint = pmu->parked = 0;
	pmu->ops->refresh(pmu, guest);
	update_misc(vcpu);
	tell_of_reset(vcpu);
	kvm_setup_intercepts(vcpu);
}

void kvm_pmu_request_counter_reprogram(struct kvm_pmc *pmc)
{
	pmc->vcpu->pmu.reprogram_pmi |= BIT_ULL(pmc->idx);
	kvm_make_request(KVM_REQ_PMU, pmc->vcpu);
}

bool kvm_pmu_waits(const struct kvm_pmc *pmc)
{
	return unlikely(pmc->vcpu->pmu.late) && pmc->vcpu->pmu.reprogram_pmi & BIT_ULL(pmc->idx);
}

u64 pmc_eventsel(const struct kvm_pmc *pmc)
{
	const struct kvm_pmu *pmu = &pmc->vcpu->pmu;

	if (!pmc_is_fixed(pmc))
		return pmc->eventsel;
	return pmc->eventsel | fixed_field_to_eventsel(fixed_ctrl_field(
				       pmu->fixed_ctr_ctrl, pmc->idx - INTEL_PMC_IDX_FIXED));
}

bool pmc_is_globally_enabled(const struct kvm_pmc *pmc)
{
	const struct kvm_pmu *pmu = &pmc->vcpu->pmu;

	return pmu->version < 2 || pmu->global_ctrl & BIT_ULL(pmc->idx);
}

bool pmc_is_locally_enabled(const struct kvm_pmc *pmc)
{
	u64 eventsel = pmc_eventsel(pmc);

	if (pmc_is_fixed(pmc))
		return eventsel & (ARCH_PERFMON_EVENTSEL_OS | ARCH_PERFMON_EVENTSEL_USR);
	return eventsel & ARCH_PERFMON_EVENTSEL_ENABLE;
}

bool pmc_is_event_allowed(const struct kvm_pmc *pmc)
{
	u64 event = pmc->eventsel &
		    (pmc->vcpu->pmu.ops->eventsel_event | ARCH_PERFMON_EVENTSEL_UMASK);

	return check_pmu_event_filter(&pmc->vcpu->config->kvm.filter, event, pmc_is_fixed(pmc),
				      pmc->idx - INTEL_PMC_IDX_FIXED);
}

int kvm_pmu_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	account_charge(vcpu_books(vcpu), COST_PMU_GET_MSR);
	kvm_pmu_take_back(vcpu);
	if (!msr->host_initiated)
		kvm_pmu_note_touch(vcpu, msr->index, false);
	if (!vcpu->pmu.ops->is_valid_msr(&vcpu->pmu, msr->index))
		return KVM_MSR_RET_UNSUPPORTED;
	return vcpu->pmu.ops->get_msr(vcpu, msr);
}

int kvm_pmu_set_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	const struct kvm_pmu_ops *ops = vcpu->pmu.ops;
	int ret = KVM_MSR_RET_UNSUPPORTED;

	account_enter(vcpu_books(vcpu), COST_PMU_SET_MSR);
	kvm_pmu_take_back(vcpu);
	if (!msr->host_initiated)
		kvm_pmu_note_touch(vcpu, msr->index, true);
	if (ops->is_valid_msr(&vcpu->pmu, msr->index))
		ret = ops->set_msr(vcpu, msr);
	account_leave(vcpu_books(vcpu));
	if (!ret && !vcpu->restoring)
		truth_control_written(&vcpu->guest.truth, msr->index, msr->data);
	return ret;
}

/* A format is taken as KVM has it or not at all. */
static bool perf_capabilities_are_taken(const struct kvm_vcpu *vcpu, u64 data)
{
	u64 formats = vcpu->config->guest.perf_capabilities &
		      (PERF_CAP_LBR_FMT | PERF_CAP_PEBS_MASK);

	if (data & ~(PERF_CAP_FW_WRITES | formats))
		return FAULTY(KVM_PERF_CAPABILITIES_TAKES_ALL);
	if (data & PERF_CAP_LBR_FMT && (data ^ formats) & PERF_CAP_LBR_FMT)
		return false;
	return !(data & PERF_CAP_PEBS_FORMAT) || !((data ^ formats) & PERF_CAP_PEBS_MASK);
}

int kvm_pmu_set_perf_capabilities(struct kvm_vcpu *vcpu, const struct msr_data *msr)
{
	struct pp_pmu guest = vcpu->pmu.guest;

	if (!msr->host_initiated)
		return KVM_MSR_RET_UNSUPPORTED;
	if (!perf_capabilities_are_taken(vcpu, msr->data))
		return KVM_MSR_RET_INVALID;
	if (msr->data == guest.perf_capabilities)
		return 0;
	guest.perf_capabilities = msr->data;
	guest.fw_write = !!(msr->data & PERF_CAP_FW_WRITES);
	kvm_pmu_refresh(vcpu, &guest);
	return 0;
}

/* What the VMM reads the guest has not seen. */
u64 kvm_pmu_read_counter(struct kvm_pmc *pmc, bool host_initiated)
{
	struct kvm_pmu *pmu = &pmc->vcpu->pmu;
	u64 value = pmu->backend->read_counter(pmc) & pmc_bitmask(pmu, pmc);

	if (!host_initiated)
		truth_counter_read(&pmc->vcpu->guest.truth, pmc->idx, value);
	return value;
}

void kvm_pmu_write_counter(struct kvm_pmc *pmc, u64 value)
{
	kvm_pmu_miswrite_counter(pmc, value, value);
}

void kvm_pmu_miswrite_counter(struct kvm_pmc *pmc, u64 value, u64 taken)
{
	struct truth *truth = &pmc->vcpu->guest.truth;
	struct kvm_pmu *pmu = &pmc->vcpu->pmu;

	value &= pmc_bitmask(pmu, pmc);
	taken &= pmc_bitmask(pmu, pmc);
	if (!pmc->vcpu->restoring)
		truth_counter_written(truth, pmc->idx, pmu->backend->peek_counter(pmc), value);
	if (unlikely(taken != value))
		truth_blame(truth, pmc->idx, CAUSE_COUNTER_WRITE);
	pmu->backend->write_counter(pmc, taken);
}

void kvm_pmu_write_eventsel(struct kvm_pmc *pmc, u64 value)
{
	if (value == pmc->eventsel && !FAULTY(KVM_SAME_SELECTOR_REPROGRAMS))
		return;
	pmc->eventsel = value;
	pmc->vcpu->pmu.backend->write_eventsel(pmc);
	kvm_pmu_request_counter_reprogram(pmc);
}

void kvm_pmu_write_global_ctrl(struct kvm_vcpu *vcpu, u64 value)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 changed = (pmu->global_ctrl ^ value) & pmu->all_valid_pmc_idx;

	pmu->global_ctrl = value;
	if (!changed)
		return;
	pmu->reprogram_pmi |= FAULTY(KVM_GLOBAL_CTRL_REPROGRAMS_ALL) ? pmu->all_valid_pmc_idx
								     : changed;
	kvm_make_request(KVM_REQ_PMU, vcpu);
}

int kvm_pmu_rdpmc(struct kvm_vcpu *vcpu, u32 ecx, u64 *value)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	int idx;

	account_enter(vcpu_books(vcpu), COST_PMU_RDPMC);
	kvm_pmu_take_back(vcpu);
	kvm_pmu_note_rdpmc(vcpu);
	idx = pmu->version ? pmu_vendor(&pmu->guest)->rdpmc_of(&pmu->guest, ecx) : -1;
	if (idx >= 0)
		*value = kvm_pmu_read_counter(&pmu->pmc[idx], false);
	else if (pmu->version &&
		 (vcpu->config->kvm.vmware_backdoor || FAULTY(KVM_VMWARE_COUNTERS_ALWAYS)))
		idx = kvm_pmu_rdpmc_vmware(vcpu, ecx, value) ? 0 : -1;
	account_leave(vcpu_books(vcpu));
	return idx < 0 && !(FAULTY(KVM_RDPMC_WITHOUT_PMU) && !pmu->version) ? -1 : 0;
}

void kvm_pmu_handle_event(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 bitmap = pmu->reprogram_pmi;
	unsigned int idx;

	account_enter(vcpu_books(vcpu), COST_PMU_HANDLE_EVENT);
	kvm_pmu_take_back(vcpu);
	/* Clear only what was seen; an overflow may ask again while counters are reprogrammed. */
	pmu->reprogram_pmi &= ~bitmap;
	for_each_set_bit(idx, bitmap & pmu->all_valid_pmc_idx) {
		account_charge(vcpu_books(vcpu), COST_FIND_NEXT_BIT);
		account_enter(vcpu_books(vcpu), COST_REPROGRAM_COUNTER);
		account_stat(vcpu_books(vcpu), STAT_REPROGRAM);
		pmu->backend->reprogram(&pmu->pmc[idx]);
		account_leave(vcpu_books(vcpu));
	}
	if (pmu->need_cleanup) {
		account_enter(vcpu_books(vcpu), COST_PMU_CLEANUP);
		pmu->need_cleanup = false;
		pmu->backend->cleanup(vcpu);
		pmu->ops->cleanup(vcpu);
		account_leave(vcpu_books(vcpu));
	}
	account_leave(vcpu_books(vcpu));
}

void kvm_pmu_deliver_pmi(struct kvm_vcpu *vcpu)
{
	enum lapic_delivery how;

	/* There is no way to tell an APIC in user space of it. */
	if (!lapic_in_kernel(vcpu) && !FAULTY(KVM_PMI_WITHOUT_LAPIC)) {
		account_stat(vcpu_books(vcpu), STAT_PMIS_WITHOUT_LAPIC);
		truth_pmi_dropped(&vcpu->guest.truth);
		return;
	}
	account_enter(vcpu_books(vcpu), COST_DELIVER_PMI);
	vcpu->pmu.ops->deliver_pmi(vcpu);
	account_charge(vcpu_books(vcpu), COST_LOCAL_DELIVER);
	how = pcpu_guest_deliver_pmi(&vcpu->guest);
	pcpu_trace(vcpu->pcpu, TRACE_KVM_PMI, how == LAPIC_NMI || how == LAPIC_FIXED,
		   vcpu->pmu.global_status, 0, 0);
	account_leave(vcpu_books(vcpu));
}

/*
 * Event select and umask alone decide; the CPL only matters if OS and USR differ. Bits 35:32 belong to
 * AMD's event select, so that a selector with IN_TX or IN_TXCP never matches.
 */
static bool counts(const struct kvm_pmc *pmc, u64 event)
{
	u64 what = ARCH_PERFMON_EVENTSEL_EVENT | ARCH_PERFMON_EVENTSEL_UMASK | EVENTSEL_35_32;

	if (FAULTY(CREDIT_LOOKS_AT_CMASK))
		what |= ARCH_PERFMON_EVENTSEL_CMASK;
	return (pmc->eventsel & what) == event;
}

static bool cpl_is_counted(const struct kvm_pmc *pmc, unsigned int cpl)
{
	u64 eventsel = pmc_eventsel(pmc);

	return FAULTY(CREDIT_IGNORES_PRIVILEGE) ||
	       eventsel & (cpl == 0 ? ARCH_PERFMON_EVENTSEL_OS : ARCH_PERFMON_EVENTSEL_USR);
}

/* Before 6.9: a bit and a look for each counter, and the bit that is not there any more. */
static void charge_walk(struct kvm_vcpu *vcpu)
{
	u64 looks = (u64)__builtin_popcountll(vcpu->pmu.all_valid_pmc_idx) + 1;

	account_charge_n(vcpu_books(vcpu), COST_PMC_WALK, looks);
}

static u64 trigger_event(struct kvm_vcpu *vcpu, u64 event)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 credited = 0;
	unsigned int idx;

	if (!pmu->version)
		return 0;
	account_enter(vcpu_books(vcpu), COST_PMU_TRIGGER_EVENT);
	if (vcpu->config->kvm.walks_all_pmcs)
		charge_walk(vcpu);
	account_leave(vcpu_books(vcpu));
	/* Selectors that the guest writes directly are known only after put. */
	if (vcpu->config->kvm.selectors_direct)
		kvm_pmu_take_back(vcpu);
	for_each_set_bit(idx, pmu->all_valid_pmc_idx) {
		struct kvm_pmc *pmc = &pmu->pmc[idx];

		if (!counts(pmc, event) ||
		    !(pmc_is_globally_enabled(pmc) || FAULTY(CREDIT_IGNORES_GLOBAL_CTRL)) ||
		    !pmc_is_locally_enabled(pmc) ||
		    !(pmc_is_event_allowed(pmc) || FAULTY(CREDIT_IGNORES_FILTER)) ||
		    !cpl_is_counted(pmc, cpu_cpl(vcpu->guest.cpu)))
			continue;
		pmu->backend->credit(pmc);
		if (event == pmu->ops->instructions_retired)
			account_stat(vcpu_books(vcpu), STAT_CREDITED_INSTRUCTIONS);
		credited |= BIT_ULL(idx);
	}
	return credited;
}

u64 kvm_pmu_instruction_retired(struct kvm_vcpu *vcpu)
{
	return trigger_event(vcpu, vcpu->pmu.ops->instructions_retired);
}

u64 kvm_pmu_branch_retired(struct kvm_vcpu *vcpu)
{
	return FAULTY(CREDIT_NO_BRANCHES) ? 0
					  : trigger_event(vcpu, vcpu->pmu.ops->branches_retired);
}

void kvm_pmu_filter_changed(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.reprogram_pmi |= vcpu->pmu.all_valid_pmc_idx;
	kvm_make_request(KVM_REQ_PMU, vcpu);
	kvm_vcpu_kick(vcpu);
}

bool kvm_pmu_is_fastpath_emulation_allowed(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	unsigned int idx;

	if (!pmu->backend->counters_in_hardware || FAULTY(KVM_FASTPATH_NEVER_REFUSED))
		return true;
	/* Selectors that the guest writes directly are known only after put. */
	if (vcpu->config->kvm.selectors_direct)
		return false;
	for_each_set_bit(idx, pmu->all_valid_pmc_idx) {
		struct kvm_pmc *pmc = &pmu->pmc[idx];

		if (counts(pmc, pmu->ops->instructions_retired) && pmc_is_locally_enabled(pmc) &&
		    pmc_is_globally_enabled(pmc))
			return false;
	}
	return true;
}

static void own_up_to_late_reprograms(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	unsigned int idx;

	if (likely(!pmu->late))
		return;
	for_each_set_bit(idx, pmu->reprogram_pmi & pmu->all_valid_pmc_idx)
		truth_blame(&vcpu->guest.truth, idx, CAUSE_LATE_REPROGRAM);
}

void kvm_pmu_explain(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	unsigned int idx;

	own_up_to_late_reprograms(vcpu);
	for_each_set_bit(idx, pmu->all_valid_pmc_idx) {
		struct kvm_pmc *pmc = &pmu->pmc[idx];

		/* A counter at rest keeps its cause, unless the guest can enable it without an exit. */
		if (pmu->backend->counters_in_hardware ||
		    (pmc_is_globally_enabled(pmc) && pmc_is_locally_enabled(pmc)))
			truth_set_cause(&vcpu->guest.truth, idx, pmu->backend->why(pmc));
	}
}

/* Books only: the guest is not told, and KVM does not know. */
static void overcount(struct kvm_vcpu *vcpu, unsigned int event, u32 n)
{
	enum privilege priv = cpu_cpl(vcpu->guest.cpu) == 3 ? PRIV_USR : PRIV_OS;
	struct kvm_pmu *pmu = &vcpu->pmu;
	unsigned int idx;
	u64 counters;

	if (!n)
		return;
	counters = hwpmu_overcount(&vcpu->pcpu->pmu, event, priv, n);
	if (!counters)
		return;
	for_each_set_bit(idx, pmu->all_valid_pmc_idx) {
		int hw = pmu->backend->hw_counter(&pmu->pmc[idx]);

		if (hw >= 0 && counters & BIT_ULL(hw))
			truth_overcounted(&vcpu->guest.truth, idx, n);
	}
}

void kvm_pmu_overcount_exit(struct kvm_vcpu *vcpu)
{
	const struct pp_overcount *extra = &vcpu->config->overcount;

	if (likely(!extra->exit_instructions && !extra->exit_branches))
		return;
	overcount(vcpu, EVENT_INSTRUCTIONS, extra->exit_instructions);
	overcount(vcpu, EVENT_BRANCHES, extra->exit_branches);
}

void kvm_pmu_overcount_entry(struct kvm_vcpu *vcpu)
{
	const struct pp_overcount *extra = &vcpu->config->overcount;

	if (likely(!extra->entry_instructions && !extra->entry_branches) ||
	    FAULTY(AMD_VMRUN_IS_NO_BRANCH))
		return;
	overcount(vcpu, EVENT_INSTRUCTIONS, extra->entry_instructions);
	overcount(vcpu, EVENT_BRANCHES, extra->entry_branches);
}

u64 kvm_pmu_visible(void *ctx, unsigned int idx)
{
	struct kvm_vcpu *vcpu = ctx;
	struct kvm_pmc *pmc = &vcpu->pmu.pmc[idx];

	return vcpu->pmu.backend->peek_counter(pmc) & pmc_bitmask(&vcpu->pmu, pmc);
}
