/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pmu.h - the vPMU of one vCPU and the two designs behind it.
 *
 * Three kinds of counter index: the MSR number, the ECX of RDPMC (type in the upper half), and
 * pmc->idx, the bit in GLOBAL_CTRL (GP 0..31, fixed 32 + i). Only the last is used between functions.
 *
 * What the guest asked for stands beside what runs: eventsel and eventsel_hw, fixed_ctr_ctrl and
 * fixed_ctr_ctrl_hw. struct kvm_pmu_backend has two constant instances; nothing else knows the mode.
 */
#ifndef KVM_PMU_H_
#define KVM_PMU_H_

#include "account/account.h"
#include "base/types.h"
#include "pmu/msr_index.h"
#include "pmupass.h"
#include "truth/truth.h"

struct kvm_vcpu;
struct kvm_pmu;
struct msr_data;
struct perf_cpu;
struct perf_event;

struct kvm_pmc {
	u8 idx;
	struct kvm_vcpu *vcpu;

	/* Guest-visible */
	u64 counter;  /* base value; emulated: without what perf has counted since */
	u64 eventsel; /* GP: as the guest wrote it; fixed: the event it stands for */

	/* What hardware runs; mediated only */
	u64 eventsel_hw;

	/* Emulated only */
	u64 emulated_counter; /* credits not yet merged into counter */
	u64 current_config;   /* selector that perf_event was made for */
	struct perf_event *perf_event;
	bool is_paused;
	bool intr;    /* the guest wants a PMI; latched when the event was made */
	bool refused; /* perf refused to make the event */
};

/* pebs.c */
struct kvm_pebs {
	bool ds;	     /* the guest's CPUID has a debug store */
	u64 enable, ds_area; /* guest-visible */
	u64 enable_rsvd;

	/* Of the last VM-entry, for its VM-exit */
	u8 nr_loaded;	 /* registers of the load lists */
	enum stat state; /* what the time is booked under, NR_STATS: nothing */
	u64 entered;	 /* TSC */
};

#define MAX_LBR_RECORDS 32
#define NR_LBR_REGISTERS (2 + 3 * MAX_LBR_RECORDS)

/* lbr.c (lbr_desc) */
struct kvm_lbr {
	u32 nr;			  /* records; 0: the guest has no LBR */
	struct perf_event *event; /* takes the host's LBR */
	bool direct;		  /* the registers are not intercepted */

	/* The hardware's, while the event is active; perf keeps them meanwhile */
	u64 regs[NR_LBR_REGISTERS]; /* LBR_SELECT, TOS, all FROM, all TO, all INFO */

	/* Of the last VM-entry, for its VM-exit */
	enum stat state;
	u64 entered; /* TSC */
};

struct kvm_pmu {
	const struct kvm_pmu_backend *backend;
	const struct kvm_pmu_switch_policy *policy;
	bool loaded; /* by the policy; its registers in memory are of the last put */
	bool lvtpc_is_guests;
	bool put_off; /* not loaded while the guest runs: every access of its exits */
	u64 parked;   /* counters that stay behind while the others are loaded: their writes exit */
	bool touched; /* since it was put off, by an access that is direct otherwise */
	u32 idle_loads; /* in a row, with nothing that could count and no touch */
	const struct kvm_pmu_ops *ops;
	bool pdcm; /* the guest's CPUID has PERF_CAPABILITIES */
	u32 version, nr_gp, nr_fixed;
	struct pp_pmu guest;	 /* the same, as the guest's CPUID says it */
	u64 gp_mask, fixed_mask; /* counter values */
	u64 all_valid_pmc_idx;

	/* Guest-visible */
	u64 hint; /* PMU_HINT_VALID and the counters it uses; 0: it has not said */
	u64 global_ctrl, global_status, fixed_ctr_ctrl;
	u64 global_ctrl_rsvd, global_status_rsvd, fixed_ctr_ctrl_rsvd, eventsel_rsvd;

	/* What hardware runs; mediated only */
	u64 fixed_ctr_ctrl_hw;

	u64 reprogram_pmi; /* counters to look at before the next entry */
	bool late;	   /* by a fault, they were not looked at before this one */
	u64 pmc_in_use;	   /* touched by an MSR access in this time slice */
	bool need_cleanup;
	u32 event_count; /* perf events held */

	struct kvm_pmc pmc[NR_PMC_IDX];

	/* Intel, emulated, and only if the guest's PERF_CAPABILITIES have them */
	struct kvm_pebs pebs;
	struct kvm_lbr lbr;

	/* Accounting of the PMU switch; never read by the model */
	struct pp_switch_result sw;
	u64 blind_start; /* host cycles when host perf last had given the PMU away */
};

/* What differs by the vendor of the guest's PMU; one constant instance each. */
struct kvm_pmu_ops {
	u64 eventsel_event; /* a selector's bits of event select, as the event filter knows them */
	/* Selectors of the two events that an emulated instruction credits: event select and umask */
	u64 instructions_retired, branches_retired;

	/* Registers: 0, or -1 for #GP. set_msr leaves in msr->data what the register holds then. */
	void (*refresh)(struct kvm_pmu *pmu, const struct pp_pmu *guest);
	bool (*is_valid_msr)(const struct kvm_pmu *pmu, u32 msr);
	int (*get_msr)(struct kvm_vcpu *vcpu, struct msr_data *msr);
	int (*set_msr)(struct kvm_vcpu *vcpu, struct msr_data *msr);

	/* A PMI is about to be delivered; unused perf events are looked for. */
	void (*deliver_pmi)(struct kvm_vcpu *vcpu);
	void (*cleanup)(struct kvm_vcpu *vcpu);

	/* Emulated design: what VM-entry and VM-exit switch by themselves. */
	void (*emulated_vm_entry)(struct kvm_vcpu *vcpu);
	void (*emulated_vm_exit)(struct kvm_vcpu *vcpu);

	/* Mediated design: the selector that hardware gets for what the guest wrote; load and put of
	 * what is not a counter; VM-entry and VM-exit. */
	u64 (*eventsel_hw)(u64 eventsel);
	void (*mediated_load)(struct kvm_vcpu *vcpu);
	void (*mediated_put)(struct kvm_vcpu *vcpu);
	void (*mediated_vm_entry)(struct kvm_vcpu *vcpu);
	void (*mediated_vm_exit)(struct kvm_vcpu *vcpu);
};

extern const struct kvm_pmu_ops intel_pmu_ops;
extern const struct kvm_pmu_ops amd_pmu_ops;

struct kvm_pmu_backend {
	const char *name;
	bool counters_in_hardware; /* valid in memory only between put and load */
	/* What perf is told of a VM with a vPMU: 0 or a negative errno. */
	int (*create_vm)(struct perf_cpu *perf);
	void (*destroy_vm)(struct perf_cpu *perf);
	/* The vCPU ends before the run does: what it holds of the host's. */
	void (*destroy)(struct kvm_vcpu *vcpu);
	/* When the switch policy says so; resume: the guest goes on, and is loaded still. */
	void (*load)(struct kvm_vcpu *vcpu);
	void (*put)(struct kvm_vcpu *vcpu);
	void (*resume)(struct kvm_vcpu *vcpu);
	/* At each VM-entry and VM-exit: what hardware switches by itself. */
	void (*vm_entry)(struct kvm_vcpu *vcpu);
	void (*vm_exit)(struct kvm_vcpu *vcpu);
	/* The host takes the physical PMI: as an NMI right after the exit, or as an interrupt once the
	 * guest's PMU has been put. */
	void (*host_pmi)(struct kvm_vcpu *vcpu);
	/* One counter */
	u64 (*read_counter)(struct kvm_pmc *pmc);
	u64 (*peek_counter)(struct kvm_pmc *pmc); /* free of charge and side effects */
	void (*write_counter)(struct kvm_pmc *pmc, u64 value);
	void (*reprogram)(struct kvm_pmc *pmc);
	/* By a fault, KVM_REQ_PMU has to wait for another entry. */
	bool (*reprogram_is_late)(struct kvm_vcpu *vcpu);
	void (*credit)(struct kvm_pmc *pmc);
	/* The guest has written a GP selector; fixed counters have no more than their reprogramming. */
	void (*write_eventsel)(struct kvm_pmc *pmc);
	/* The physical counter behind it, -1 if there is none now. */
	int (*hw_counter)(struct kvm_pmc *pmc);
	/* Why the counter, enabled by the guest, does not count now. */
	enum loss_cause (*why)(struct kvm_pmc *pmc);
	/* The guest leaves this host: tell the truth what stays behind. */
	void (*leave)(struct kvm_pmc *pmc);
	/* Release what is unused. */
	void (*cleanup)(struct kvm_vcpu *vcpu);
};

/* Where the backend loads and puts; pmu_switch.c. */
struct kvm_pmu_switch_policy {
	/* The inner run loop begins and ends. */
	void (*enter_loop)(struct kvm_vcpu *vcpu);
	void (*leave_loop)(struct kvm_vcpu *vcpu);
	/* One VM-entry is about to begin; one VM-exit is over, and a late PMI latched. */
	void (*before_entry)(struct kvm_vcpu *vcpu);
	void (*after_exit)(struct kvm_vcpu *vcpu);
	bool stays_loaded; /* while KVM handles exits: a credit finds live counters */
	bool frugal;	   /* registers that can make no difference stay as they are */
	bool hinted;	   /* guests may say what they use: pmu_hint.c */
};

/* By enum pp_switch_policy; NULL: there is none. */
const struct kvm_pmu_switch_policy *kvm_pmu_switch_policy(u32 policy);
/* Whether a switch moves registers that can make no difference, too. Where the guest writes selectors
 * directly nobody knows which those are. */
bool kvm_pmu_moves_all(const struct kvm_vcpu *vcpu);
/* The PMU is the host's from now on, and the guest's registers are in memory. */
void kvm_pmu_take_back(struct kvm_vcpu *vcpu);

/* pmu_put_off.c: a load that waits. Whether the guest's next stay can do without, and that it does; or does
 * without the counters @parked alone. */
bool kvm_pmu_load_can_wait(struct kvm_vcpu *vcpu);
void kvm_pmu_leave_out(struct kvm_vcpu *vcpu, bool put_off, u64 parked);
/* Nothing in the guest can count, and KVM can serve it as silicon would. */
bool kvm_pmu_is_idle(const struct kvm_vcpu *vcpu);
bool kvm_counters_are_as_wide_as_silicons(const struct kvm_vcpu *vcpu);
/* The register is that of a parked counter. */
bool kvm_pmu_is_parked(const struct kvm_vcpu *vcpu, u32 msr);
/* With GLOBAL_CTRL's leave hardware would count: by its selector, after the filter. */
bool pmc_runs(const struct kvm_pmc *pmc);
/* The register is intercepted for no other reason; the guest has touched it, or RDPMC. */
bool kvm_pmu_waits_for(const struct kvm_vcpu *vcpu, u32 msr, bool write);
void kvm_pmu_note_touch(struct kvm_vcpu *vcpu, u32 msr, bool write);
void kvm_pmu_note_rdpmc(struct kvm_vcpu *vcpu);

/* pmu_hint.c: the guest's hint; kvm_set_pmu_hint(): 0 or KVM_MSR_RET_INVALID. */
bool kvm_pmu_hint_has_msr(const struct kvm_vcpu *vcpu, u32 msr);
void kvm_get_pmu_hint(const struct kvm_vcpu *vcpu, struct msr_data *msr);
int kvm_set_pmu_hint(struct kvm_vcpu *vcpu, const struct msr_data *msr);
/* The guest has no use for its PMU just now; the counters that the next load leaves out. */
bool kvm_pmu_hint_is_idle(const struct kvm_vcpu *vcpu);
u64 kvm_pmu_hint_parked(const struct kvm_vcpu *vcpu);

extern const struct kvm_pmu_backend kvm_pmu_emulated;
extern const struct kvm_pmu_backend kvm_pmu_mediated;

/* pmu.c: both designs */
void kvm_pmu_init(struct kvm_vcpu *vcpu, const struct kvm_pmu_backend *backend,
		  const struct pp_pmu *guest);
int kvm_pmu_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr);
int kvm_pmu_set_msr(struct kvm_vcpu *vcpu, struct msr_data *msr);
/* A new model of the guest's PMU, before the vCPU has run: registers as after reset. */
void kvm_pmu_refresh(struct kvm_vcpu *vcpu, const struct pp_pmu *guest);
int kvm_pmu_rdpmc(struct kvm_vcpu *vcpu, u32 ecx, u64 *value);
void kvm_pmu_handle_event(struct kvm_vcpu *vcpu);
void kvm_pmu_deliver_pmi(struct kvm_vcpu *vcpu);
/* An instruction, a branch, was completed by KVM: credit the counters that count it; returns them. */
u64 kvm_pmu_instruction_retired(struct kvm_vcpu *vcpu);
u64 kvm_pmu_branch_retired(struct kvm_vcpu *vcpu);
/* The event filter is another one: all counters are to be held against it. */
void kvm_pmu_filter_changed(struct kvm_vcpu *vcpu);
bool kvm_pmu_is_fastpath_emulation_allowed(struct kvm_vcpu *vcpu);
void kvm_pmu_explain(struct kvm_vcpu *vcpu);
/* A VM-exit is about to switch GLOBAL_CTRL, a VM-entry has: what silicon counts there by an erratum. */
void kvm_pmu_overcount_exit(struct kvm_vcpu *vcpu);
void kvm_pmu_overcount_entry(struct kvm_vcpu *vcpu);
u64 kvm_pmu_visible(void *vcpu, unsigned int idx);

/* pebs.c: registers as in pmu_intel.c; the physical counters that stand still in the guest. */
void kvm_pebs_refresh(struct kvm_pmu *pmu);
bool kvm_pebs_has_msr(const struct kvm_pmu *pmu, u32 msr);
int kvm_pebs_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr);
int kvm_pebs_set_msr(struct kvm_vcpu *vcpu, const struct msr_data *msr);
u64 kvm_pebs_vm_entry(struct kvm_vcpu *vcpu);
void kvm_pebs_vm_exit(struct kvm_vcpu *vcpu);
bool kvm_pebs_stops(const struct kvm_vcpu *vcpu, int hw_idx);

/* lbr.c */
void kvm_lbr_refresh(struct kvm_pmu *pmu);
bool kvm_lbr_has_msr(const struct kvm_pmu *pmu, u32 msr);
int kvm_lbr_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr);
int kvm_lbr_set_msr(struct kvm_vcpu *vcpu, const struct msr_data *msr);
void kvm_lbr_direct_read(struct kvm_vcpu *vcpu, u32 msr, u64 *value);
int kvm_lbr_direct_write(struct kvm_vcpu *vcpu, u32 msr, u64 value);
void kvm_lbr_set_direct(struct kvm_vcpu *vcpu, bool direct);
void kvm_lbr_debugctl_written(struct kvm_vcpu *vcpu);
void kvm_lbr_cleanup(struct kvm_vcpu *vcpu);
void kvm_lbr_release(struct kvm_vcpu *vcpu);
void kvm_lbr_vm_exit(struct kvm_vcpu *vcpu);
void vmx_passthrough_lbr_msrs(struct kvm_vcpu *vcpu);
void intel_pmu_legacy_freezing_lbrs_on_pmi(struct kvm_vcpu *vcpu);

/* Helpers of the vendors */
void kvm_pmu_write_global_ctrl(struct kvm_vcpu *vcpu, u64 value);
void kvm_pmu_write_counter(struct kvm_pmc *pmc, u64 value);
/* By a fault, what the counter holds is @taken where it had to be @value. */
void kvm_pmu_miswrite_counter(struct kvm_pmc *pmc, u64 value, u64 taken);
u64 kvm_pmu_read_counter(struct kvm_pmc *pmc, bool host_initiated);
/* PERF_CAPABILITIES, which only the VMM writes; see msr.c for what is returned. */
int kvm_pmu_set_perf_capabilities(struct kvm_vcpu *vcpu, const struct msr_data *msr);
void kvm_pmu_write_eventsel(struct kvm_pmc *pmc, u64 value);

/* pmu_mediated.c: register accesses of the switch: charged, counted, done. */
void kvm_switch_wrmsr(struct kvm_vcpu *vcpu, u32 msr, u64 value);
u64 kvm_switch_rdmsr(struct kvm_vcpu *vcpu, u32 msr);

/* Helpers of the backends */
void kvm_pmu_request_counter_reprogram(struct kvm_pmc *pmc);
/* By a fault, the guest runs without the reprogramming of the counter that is asked for. */
bool kvm_pmu_waits(const struct kvm_pmc *pmc);
bool pmc_is_globally_enabled(const struct kvm_pmc *pmc);
bool pmc_is_locally_enabled(const struct kvm_pmc *pmc);
bool pmc_is_event_allowed(const struct kvm_pmc *pmc);
/* GP: the selector; fixed: its event with the OS, USR and INT bits of its control field. */
u64 pmc_eventsel(const struct kvm_pmc *pmc);

/* With 48 bits of linear address. */
static inline bool kvm_is_canonical(u64 address)
{
	return (u64)((s64)(address << 16) >> 16) == address;
}

static inline bool pmc_is_fixed(const struct kvm_pmc *pmc)
{
	return pmc->idx >= INTEL_PMC_IDX_FIXED;
}

static inline u64 pmc_bitmask(const struct kvm_pmu *pmu, const struct kvm_pmc *pmc)
{
	return pmc_is_fixed(pmc) ? pmu->fixed_mask : pmu->gp_mask;
}

/* event_filter.c: @event_bits are those of the event select. 0 or a negative errno; then the filter as it
 * works, with @entries for PP_PMU_EVENT_FILTER_MAX entries. */
int kvm_check_pmu_event_filter(const struct pp_pmu_event_filter *filter, u64 event_bits);
void kvm_prepare_pmu_event_filter(const struct pp_pmu_event_filter *filter, u64 event_bits,
				  struct pp_filter *to, struct pp_filter_entry *entries);
/* @event: event select and umask of a selector */
bool check_pmu_event_filter(const struct pp_filter *filter, u64 event, bool fixed,
			    unsigned int fixed_index);

#endif /* KVM_PMU_H_ */
