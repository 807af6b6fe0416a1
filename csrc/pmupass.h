/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pmupass.h - the public API of the core; the part between the cffi marks is the cdef.
 *
 * A machine is built from a struct pp_config, run for budgets of basic blocks, and read out in
 * batches. A handle belongs to one thread at a time; handles do not touch each other. Nothing
 * depends on how a run is cut into budgets.
 *
 *	struct pp_machine *m = pp_machine_new(&config, &error);
 *	while ((stop = pp_machine_run(m, 1u << 20)) == PP_STOP_BUDGET)
 *		;
 *	n = pp_read_counters(m, NULL, 0);
 *	...
 *	pp_machine_free(m);
 *
 * @guest: a CPU of the guests, vCPUs in the order of their VMs or natively pCPUs; @vm, @cpu: likewise.
 * pp_read_*() copies up to @cap records and returns how many there are. Sizes: cycles are core clock
 * cycles of the host's work, tsc values are TSC cycles, encodings are PERFEVTSEL bits.
 */
#ifndef PMUPASS_H_
#define PMUPASS_H_

#include <stdint.h>

/* cffi: begin */
struct pp_machine;

/* Lists that live once, as .def files; pp_list_name(list, i) is NULL past the end. */
enum pp_list {
	PP_LIST_BASE_EVENTS,
	PP_LIST_EXIT_REASONS,
	PP_LIST_LOSS_CAUSES,
	PP_LIST_COSTS,
	PP_LIST_ACCESS_KINDS,
	PP_LIST_MSRS,
	PP_LIST_TRACE_RECORDS,
	PP_LIST_STATS,
	PP_LIST_SVM_EXIT_REASONS,
	PP_LIST_KERNEL_WORK
};
const char *pp_list_name(uint32_t list, uint32_t i);
const char *pp_list_text(uint32_t list, uint32_t i);
uint64_t pp_list_value(uint32_t list, uint32_t i); /* MSR number; exit reason number; else i */

enum pp_mode { PP_MODE_NATIVE, PP_MODE_EMULATED, PP_MODE_MEDIATED };

enum pp_stop {
	PP_STOP_BUDGET,	       /* more to do */
	PP_STOP_EXIT,	       /* the guest wrote the exit port */
	PP_STOP_HALTED,	       /* HLT with nothing that could wake it */
	PP_STOP_TIME,	       /* config.time_limit or the end of the clock reached */
	PP_STOP_SHUTDOWN,      /* triple fault */
	PP_STOP_UNIMPLEMENTED, /* an instruction the guest CPU does not have */
	PP_STOP_INVARIANT,     /* the model is broken: a bug */
	PP_STOP_UNTIL	       /* pp_machine_run_until(): the time has come, there is more to do */
};

enum pp_error_code {
	PP_OK,
	PP_EINVAL = -22, /* a config that no caller of the command line can make */
	PP_ENOMEM = -12,
	PP_EPERM = -1,
	PP_E2BIG = -7,
	PP_EBUSY = -16, /* KVM_CREATE_VCPU: an include-guest host event exists */
	PP_EIMAGE = -8	/* malformed guest image */
};

struct pp_error {
	int32_t code;
	uint32_t vm; /* which it is about, 0: the first, or none */
	char text[248];
};

#define PP_MAX_CPUS 8
#define PP_MAX_HOST_TASKS 4
#define PP_MAX_GP 16
#define PP_MAX_FIXED 8

enum pp_vendor { PP_VENDOR_INTEL, PP_VENDOR_AMD };

/* A PMU as its CPUID describes it: the silicon's, or what the guest is told. */
struct pp_pmu {
	uint32_t vendor;  /* enum pp_vendor */
	uint32_t version; /* 0: none; AMD: 1, or 2 for PerfMonV2 */
	uint32_t nr_gp, nr_fixed;
	uint32_t gp_width, fixed_width;
	uint32_t fw_write;     /* full-width counter writes at 0x4c1+i */
	uint32_t rtm;	       /* the CPU has RTM: selectors have IN_TX and IN_TXCP */
	uint32_t perfctr_core; /* AMD: the core extension's registers, 0xc0010200 + 2i */
	uint32_t pdcm;	       /* Intel: there is a PERF_CAPABILITIES */
	uint32_t arch_events;  /* Intel: architectural events that CPUID speaks of, and ... */
	uint32_t
		unavailable_events; /* ... those it takes away; the maps have it, for information */
	/* Intel; PEBS and the legacy LBR are there if perf_capabilities has their formats */
	uint32_t lbr_depth; /* branch records of the legacy LBR */
	uint32_t pebs_ept;  /* the silicon writes PEBS records through EPT */
	uint32_t pdist;	    /* GP 0 has the precise distribution: for perf, and as KVM knows it */
	uint32_t pad;
	uint64_t perf_capabilities;
};

/* An erratum of the silicon: what a VM-exit or a VM-entry adds to counters of instructions and of
 * branches retired that are enabled at the guest's side of it. */
struct pp_overcount {
	uint32_t exit_instructions, exit_branches;
	uint32_t entry_instructions, entry_branches;
};

/* A quirk of the silicon's counters: host perf gives no sampling event a shorter period than @least,
 * and cuts periods to a multiple of @multiple. 0: no such quirk. */
struct pp_period_limit {
	uint32_t least, multiple;
};

/* Subcycles (1/64 cycle) each; see csrc/cpu/cpu.h, struct cpu_timing. */
struct pp_timing {
	uint32_t ref_num, ref_den, issue_width;
	uint32_t simple, load, store, multiply, divide, locked, string_iteration, serialize;
	uint32_t msr, rdpmc, rdtsc, pause, interrupt, branch_miss, llc_miss;
};

struct pp_cpuid {
	uint32_t leaf, subleaf;
	uint32_t any_subleaf; /* 1: the subleaf is not looked at */
	uint32_t regs[4];     /* EAX, EBX, ECX, EDX */
};

/* What an encoding counts and where it may be placed. Looked up with event, umask, edge, inv and
 * cmask first, then with event and umask alone. */
struct pp_event_map {
	uint64_t config;   /* event 7:0, umask 15:8, edge 18, inv 23, cmask 31:24 */
	uint64_t counters; /* bit n: GP n, bit 32+n: fixed n */
	uint32_t feed;	   /* event id (list BASE_EVENTS, then named events), 0xff: nothing */
	uint32_t pad;
};

struct pp_msr_intercept {
	uint32_t msr;
	uint8_t read, write;
	uint8_t pad[2];
};

struct pp_profile {
	uint64_t id;
	uint64_t rate[32]; /* per 2^20 instructions, by event id */
	uint32_t nr_exits, pad;
	uint32_t exit_reason[8]; /* index into list EXIT_REASONS */
	uint64_t exit_rate[8];
};

enum pp_filter_action { PP_FILTER_NONE, PP_FILTER_ALLOW, PP_FILTER_DENY };

/* KVM_SET_PMU_EVENT_FILTER, checked and sorted by policy/event_filter.py. */
struct pp_filter_entry {
	uint16_t select;
	uint8_t mask, match;
	uint8_t exclude;
	uint8_t pad[3];
};

#define PP_PMU_EVENT_FILTER_MAX 300

/* struct kvm_pmu_event_filter, as a VMM hands it in. */
struct pp_pmu_event_filter {
	uint32_t action; /* 0: allow, 1: deny */
	uint32_t nevents;
	uint32_t fixed_counter_bitmap;
	uint32_t flags; /* bit 0: masked events */
	const uint64_t *events;
};

struct pp_filter {
	uint32_t action;
	uint32_t fixed_bitmap;
	uint32_t nr_entries, pad;
	const struct pp_filter_entry *entries;
};

/* Whose events a host event counts: everybody's, on every pCPU; or one thread's, wherever it runs. */
enum pp_host_thread {
	PP_THREAD_NONE, /* CPU-wide */
	PP_THREAD_VCPU, /* a vCPU's */
	PP_THREAD_TASK	/* one of struct pp_host_task's; those of pCPU 0 come first */
};

/* perf_event_open() of the host */
struct pp_host_event {
	uint64_t config;	/* PERFEVTSEL bits with USR and OS */
	uint64_t sample_period; /* 0: counting; @freq: sample_freq, samples a second */
	uint8_t pinned;
	uint8_t exclude_host, exclude_guest;
	uint8_t precise_ip;   /* not 0: PEBS */
	uint8_t branch_stack; /* it uses the LBR */
	uint8_t freq;
	uint8_t disabled; /* until pp_enable_host_event(); those of a config until all are open */
	uint8_t pad;
	uint32_t group_leader; /* the place of its leader plus 1; 0: it leads, or is alone */
	uint32_t thread_kind;  /* enum pp_host_thread */
	uint32_t thread;       /* which, from 0 */
	uint32_t pad2;
};

/* Threads of the host on a pCPU, each of which computes for @burst TSC cycles and sleeps for @pause; 0:
 * it never does. */
struct pp_host_task {
	uint32_t cpu, nr;
	uint64_t burst, pause;
};

/* struct kvm_msr_entry */
struct pp_msr_entry {
	uint32_t index, pad;
	uint64_t data;
};

/* KVM_X86_SET_MSR_FILTER. A range with nmsrs 0 is none; bit i of its bitmap allows MSR base + i. */
#define PP_MSR_FILTER_MAX_RANGES 16
#define PP_MSR_FILTER_MAX_BITMAP 0x600

enum pp_msr_filter_flags {
	PP_MSR_FILTER_READ = 1,	       /* of a range */
	PP_MSR_FILTER_WRITE = 2,       /* of a range */
	PP_MSR_FILTER_DEFAULT_DENY = 1 /* of the filter: what no range has is denied */
};

struct pp_msr_range {
	uint32_t flags, nmsrs, base, pad;
	const uint8_t *bitmap;
};

struct pp_msr_filter {
	uint32_t flags;
	uint32_t user_exits; /* KVM_MSR_EXIT_REASON_FILTER: a denied access goes to user space */
	struct pp_msr_range ranges[PP_MSR_FILTER_MAX_RANGES];
};

/* Faults of host perf for the events of vCPUs' threads, 0: none. One in so many of the first three is hit. */
struct pp_perf_faults {
	uint32_t event_create; /* perf_event_create_kernel_counter() fails: -EOPNOTSUPP */
	uint32_t event_period; /* perf_event_period() fails: -EINVAL */
	uint32_t overflow;     /* its handler is not called */
	/* KVM's requests to reprogram counters are served so many VM-entries late */
	uint32_t late_reprogram;
};

/* What KVM takes of a guest's write to a legacy counter, IA32_PERFCTRn */
enum pp_counter_write {
	PP_COUNTER_WRITE_RIGHT,		/* bits 31:0, sign-extended */
	PP_COUNTER_WRITE_ZERO_EXTENDED, /* a fault: bits 31:0 */
	PP_COUNTER_WRITE_31_BIT		/* a fault: bits 30:0 */
};
/* Where the PMU changes hands */
enum pp_switch_policy {
	PP_SWITCH_UPSTREAM,
	PP_SWITCH_ENTRY_EXIT,
	PP_SWITCH_VCPU_LOOP,
	PP_SWITCH_LAZY,
	PP_SWITCH_ENLIGHTENED,
	PP_SWITCH_HINTED /* enlightened, and guests say what they use */
};
/* What PP_SWITCH_LAZY puts off */
enum pp_lazy { PP_LAZY_BOTH, PP_LAZY_PUT, PP_LAZY_LOAD };

enum pp_interception { PP_INTERCEPT_UPSTREAM, PP_INTERCEPT_RFC2024, PP_INTERCEPT_NONE };

struct pp_kvm {
	uint32_t vpmu;			/* 0: a VM without a vPMU */
	uint32_t exit_save_global_ctrl; /* VM-exit saves GLOBAL_CTRL; else the auto-store list */
	uint32_t apicv;			/* EOI, TPR and APIC reads without exits */
	uint32_t rdpmc_intercept;
	uint32_t selectors_direct;	 /* interception none: put reads the selectors back */
	uint32_t force_emulation_prefix; /* 0: off; bit 1: RFLAGS.RF is cleared first */
	uint32_t nr_intercepts;
	uint32_t nr_msrs_to_save;
	uint32_t pmi_nmi;	  /* mediated: the guest's PMIs come as NMIs, not on a vector */
	uint32_t userspace_lapic; /* the local APIC is the VMM's; without APICv */
	uint32_t vmware_backdoor; /* enable_vmware_backdoor: the pseudo counters of RDPMC */
	uint32_t in_txcp_period;  /* an IN_TXCP event gets a period, as before 2017 */
	uint32_t counter_write;	  /* enum pp_counter_write */
	uint32_t ignore_msrs;	  /* registers that nobody knows read 0, and take anything */
	uint32_t switch_policy;	  /* mediated: enum pp_switch_policy */
	uint32_t no_event_reuse;  /* emulated: each reprogramming creates an event, as before 5.5 */
	uint32_t walks_all_pmcs;  /* each counter is looked at for each completed instruction */
	uint32_t elide_wrmsr;	  /* mediated: load leaves out writes of values that are there */
	uint32_t lazy;		  /* enum pp_lazy */
	uint32_t
		lazy_idle_loads; /* loads without use, one after the other, before one is put off */
	const struct pp_msr_intercept *intercepts;
	const uint32_t *msrs_to_save; /* KVM_GET_MSR_INDEX_LIST */
	struct pp_filter filter;
	struct pp_msr_filter msr_filter;
};

/* The host's hard lockup detector, by what tells it the time */
enum pp_watchdog { PP_WATCHDOG_NONE, PP_WATCHDOG_PERF, PP_WATCHDOG_BUDDY, PP_WATCHDOG_HPET };

/*
 * A further VM, beside the one that the config is about, made after it. All else is as there: the computer,
 * the costs and profiles; so must be what KVM has for all VMs, its modules' parameters.
 */
struct pp_vm {
	uint64_t memory;
	struct pp_pmu guest;
	struct pp_kvm kvm;
	uint32_t nr_vcpus; /* 0: one */
	uint32_t nr_cpuid;
	const struct pp_cpuid *cpuid;
	const uint8_t *image;
	uint64_t image_size;
	const char *cmdline;
	const uint8_t *module;
	uint64_t module_size;
};

struct pp_config {
	uint32_t mode;
	uint32_t seed;
	uint64_t memory; /* bytes of guest RAM */
	uint64_t tsc_khz;
	uint64_t time_limit;	/* TSC cycles, 0: none */
	uint32_t skid_cycles;	/* overflow to PMI, core cycles */
	uint32_t trace_records; /* ring size, 0: no trace */
	uint32_t truth;		/* 0: leave the truth out (bench only) */
	uint32_t host_ipc_q20;	/* host instructions per core cycle, times 2^20 */
	struct pp_pmu hw, guest;
	struct pp_timing timing;
	struct pp_overcount overcount;
	struct pp_period_limit period_limit;
	struct pp_perf_faults perf_faults;
	struct pp_kvm kvm;
	uint32_t nr_cpuid, nr_event_maps, nr_profiles, nr_host_events, nr_costs;
	uint32_t one_by_one; /* no iterations at once, as below cpu_config; nothing shows it */
	uint32_t nr_vcpus;   /* natively CPUs; 0: one; PP_MAX_CPUS of all VMs together */
	uint32_t nr_cpus;    /* pCPUs of the host, 0: one */
	uint32_t quantum;    /* TSC cycles that one pCPU may be ahead of the others */
	uint32_t nr_host_tasks;
	uint64_t tick_period, slice; /* of the host's scheduler, TSC cycles */
	uint64_t mux_interval;	     /* of host perf, TSC cycles; 0: no turns */
	uint64_t watchdog_thresh;    /* TSC cycles */
	uint64_t watchdog_event;     /* the encoding of perf's cycles */
	uint32_t watchdog;	     /* enum pp_watchdog */
	uint32_t nr_vms;	     /* further ones; natively none */
	const struct pp_cpuid *cpuid;
	const struct pp_event_map *event_maps;
	const struct pp_profile *profiles;
	const struct pp_host_event *host_events;
	const struct pp_host_task *host_tasks;
	const uint32_t *costs; /* cycles, by list COSTS */
	const uint8_t *image;
	uint64_t image_size;
	const char *cmdline;
	const uint8_t *module; /* multiboot module, NULL: none */
	uint64_t module_size;
	const struct pp_vm *vms;
};

/* The run ends with the first VM, the one that the config is about; a further one that ends goes alone. */
struct pp_machine *pp_machine_new(const struct pp_config *config, struct pp_error *error);
void pp_machine_free(struct pp_machine *m);
/*
 * Between runs: a second machine that is in all as this one. Both go on to the results that this one
 * would have come to, and neither notices the other.
 */
struct pp_machine *pp_machine_clone(struct pp_machine *m, struct pp_error *error);
/*
 * Between runs, under KVM: the guest as a VMM saves it, once it has exited; @m does not notice. What is
 * returned is for pp_machine_restore(), as often as wanted, and for pp_machine_free().
 * Restored, the guest goes on on a machine of @config, emulated or mediated. PP_EINVAL: it would not
 * find the same computer (CPU, CPUID, memory); PP_EBUSY as for pp_machine_new().
 */
struct pp_machine *pp_machine_save(struct pp_machine *m, struct pp_error *error);
struct pp_machine *pp_machine_restore(const struct pp_config *config, struct pp_machine *saved,
				      struct pp_error *error);
/* enum pp_stop, or PP_EINVAL for a machine whose counters have been read out. */
int32_t pp_machine_run(struct pp_machine *m, uint64_t blocks);
/*
 * To a time at the latest, for what a VMM or the host does then: PP_STOP_UNTIL behind the first guest
 * instruction that ends at @tsc (of the TSC, 0 at the start) or later. What the host is busy with is
 * finished first, up to the next entry; a sleeping guest sleeps on. Of several pCPUs each is at that time
 * or up to one quantum beyond. Stopping shows nowhere.
 */
int32_t pp_machine_run_until(struct pp_machine *m, uint64_t blocks, uint64_t tsc);
/*
 * The one function for another thread: a pp_machine_run() that is running returns PP_STOP_BUDGET
 * within milliseconds. Where a run is cut shows nowhere.
 */
void pp_machine_pause(struct pp_machine *m);

/*
 * KVM_GET_MSRS and KVM_SET_MSRS, under KVM, between runs: how many entries were done before the first
 * that failed. A vCPU in the guest exits for it. PP_E2BIG: 256 entries or more; PP_EINVAL: a bare machine,
 * or one whose counters have been read out.
 */
int32_t pp_kvm_get_msrs(struct pp_machine *m, struct pp_msr_entry *entries, uint32_t n);
int32_t pp_kvm_set_msrs(struct pp_machine *m, const struct pp_msr_entry *entries, uint32_t n);
/*
 * KVM_SET_PMU_EVENT_FILTER, between runs: 0, or PP_EINVAL and PP_E2BIG in KVM's order of checks, and then
 * the old filter stays. A vCPU in the guest is kicked, and goes on with the new filter. PP_EPERM: a bare
 * machine, or one whose counters have been read out.
 */
int32_t pp_kvm_set_pmu_event_filter(struct pp_machine *m, const struct pp_pmu_event_filter *filter);

/*
 * Between two runs, as another thread of the host would do it; a vCPU in guest mode is kicked out. Not
 * for native machines: PP_EINVAL.
 */
/* KVM_X86_SET_MSR_FILTER: 0, or PP_EINVAL for a filter that KVM does not take. */
int32_t pp_set_msr_filter(struct pp_machine *m, const struct pp_msr_filter *filter);
/* sched_setaffinity() of a vCPU's thread, of all @guest of the machine: it goes on on pCPU @cpu. 0, or
 * PP_EINVAL for a vCPU or a pCPU that is not there; PP_EPERM: a bare machine, or one whose counters have
 * been read out. */
int32_t pp_move_vcpu(struct pp_machine *m, uint32_t guest, uint32_t cpu);
/*
 * perf_event_open(), on every pCPU or of a thread: its place in pp_read_host_events(), or a negative errno;
 * -ESRCH: there is no such thread, -EBADF: the leader is not open.
 */
int32_t pp_open_host_event(struct pp_machine *m, const struct pp_host_event *event);
/* PERF_EVENT_IOC_ENABLE of the event at this place: 0, or PP_EINVAL if it is not open. */
int32_t pp_enable_host_event(struct pp_machine *m, uint32_t place);
/* close() of the event at this place; its result stays. 0, or PP_EINVAL if it is not open. */
int32_t pp_close_host_event(struct pp_machine *m, uint32_t place);

struct pp_guest_info {
	uint64_t instructions; /* completed by the guest, emulated ones included */
	uint64_t emulated;     /* of these, completed by KVM */
	uint64_t tsc_cycles;   /* guest time since the start, host time included */
	uint64_t core_cycles;  /* non-root, not halted */
	uint64_t rip;	       /* where it stopped */
	uint32_t exit_value;
	uint32_t exited;
	uint32_t
		stop; /* enum pp_stop; of a further VM: its own end, PP_STOP_BUDGET: there was none */
	uint32_t serial_length;
	uint32_t serial_truncated;
	uint32_t has_report;
	uint8_t bytes[15]; /* PP_STOP_UNIMPLEMENTED: the instruction */
	uint8_t nr_bytes;
};
void pp_read_guest(struct pp_machine *m, uint32_t guest, struct pp_guest_info *out);
uint32_t pp_read_serial(struct pp_machine *m, uint32_t vm, char *out, uint32_t cap);
/* The raw struct pp_guest_report (csrc/guest/pp_guest.h) of CPU @n as the guest left it; its size, 0 if
 * none. */
uint32_t pp_read_report(struct pp_machine *m, uint32_t vm, uint32_t n, uint8_t *out, uint32_t cap);
uint32_t pp_read_physical(struct pp_machine *m, uint32_t vm, uint64_t pa, uint8_t *out, uint32_t n);

#define PP_MAX_CAUSES 16

/* One guest event (an encoding with its privileges), summed over the counters that ran it. */
struct pp_counter_result {
	uint64_t config; /* PERFEVTSEL bits; fixed counters by their architectural event */
	uint64_t true_count;
	uint64_t counted;
	int64_t causes[PP_MAX_CAUSES]; /* sum = true - counted; list LOSS_CAUSES */
	uint64_t enabled_cycles;       /* TSC cycles enabled on a guest counter */
	uint64_t true_running_cycles;  /* of these, really backed by a counting counter */
	uint64_t reads, wrong_reads;
	uint64_t overflows; /* in the truth */
	uint32_t filtered;
	uint32_t unread; /* intervals closed without a read */
	uint32_t fed;	 /* 0: a valid encoding that the model does not feed */
	uint32_t pad;
};
uint32_t pp_read_counters(struct pp_machine *m, uint32_t guest, struct pp_counter_result *out,
			  uint32_t cap);

struct pp_silent_error {
	uint64_t config;
	uint64_t tsc, until;
	int64_t lost;
	uint32_t cause, pad;
};
uint32_t pp_read_silent_errors(struct pp_machine *m, uint32_t guest, struct pp_silent_error *out,
			       uint32_t cap);

struct pp_pmi_result {
	uint64_t due, delivered, coalesced, masked, dropped;
	uint64_t latency_p50, latency_p99, latency_max; /* TSC cycles */
	uint64_t instructions_p50, instructions_p99, instructions_max;
};
/* Of @nr CPUs from @guest on, together. */
void pp_read_pmi(struct pp_machine *m, uint32_t guest, uint32_t nr, struct pp_pmi_result *out);

struct pp_exit_result {
	uint32_t reason, pad; /* index into list EXIT_REASONS, on an AMD CPU SVM_EXIT_REASONS */
	uint64_t count, profile, cycles;
};
uint32_t pp_read_exits(struct pp_machine *m, uint32_t guest, struct pp_exit_result *out,
		       uint32_t cap);

struct pp_access_result {
	uint32_t kind, pad; /* list ACCESS_KINDS */
	uint64_t direct, intercepted;
	uint64_t cycles; /* all of them together: the instruction, exit, handling, entry */
};
uint32_t pp_read_accesses(struct pp_machine *m, uint32_t guest, struct pp_access_result *out,
			  uint32_t cap);

struct pp_switch_result {
	uint64_t loads, puts, rdmsr, wrmsr, rdpmc, lvtpc, cycles, host_blind_cycles;
};
void pp_read_switch(struct pp_machine *m, uint32_t guest, struct pp_switch_result *out);

struct pp_cost_result {
	char stack[244]; /* kernel functions, outermost first, joined by ; */
	uint32_t cost;	 /* list COSTS */
	uint64_t count, cycles;
};
uint32_t pp_read_costs(struct pp_machine *m, uint32_t cpu, struct pp_cost_result *out,
		       uint32_t cap);

struct pp_host_event_result {
	uint64_t config;
	uint64_t count;
	uint64_t time_enabled, time_running; /* TSC cycles */
	/* What it would have counted on a counter of its own, by who did it; @excluded_guest: what guests
	 * did of it while it was open, and it leaves them out */
	uint64_t true_guest, true_host, excluded_guest;
	/* Of @count what guests did, ~0: not known (one of both sides with a threshold); how often its
	 * period was over, and how often of that the PMI interrupted a guest */
	uint64_t guest_count, samples, guest_samples;
	uint32_t state;	    /* 0 off, 1 error, 2 inactive, 3 active: the worst of the pCPUs */
	uint32_t has_truth; /* 0: one with a threshold */
};
uint32_t pp_read_host_events(struct pp_machine *m, struct pp_host_event_result *out, uint32_t cap);

struct pp_trace_record {
	uint64_t tsc;
	uint32_t type, x;
	uint64_t a, b, c;
};
/* Oldest first. The ring keeps the newest config.trace_records. */
uint32_t pp_read_trace(struct pp_machine *m, uint32_t cpu, struct pp_trace_record *out,
		       uint32_t cap);

/* By list STATS. */
uint32_t pp_read_stats(struct pp_machine *m, uint64_t *out, uint32_t cap);
const char *pp_invariant_text(struct pp_machine *m);
/* cffi: end */

#endif /* PMUPASS_H_ */
