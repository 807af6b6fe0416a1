/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu.h - one vCPU: KVM's run loop, exits, requests and vPMU.
 *
 * Stands for arch/x86/kvm (x86.c, vmx/vmx.c, pmu.c, vmx/pmu_intel.c, lapic.c) of Linux 7.0 as far as
 * the vPMU is concerned. Names are the kernel's where the thing is.
 *
 *	vm.c		a VM: for perf, its end
 *	vcpu.c		the loop: requests, injection, entry, exit
 *	exits.c		exit handlers	exception.c	those of exceptions, the emulator
 *	msr.c		MSR and RDPMC dispatch	ioctl.c	the VMM's accesses	state.c	save and restore
 *	direct.c	what the guest reaches without an exit
 *	vmx.c, svm.c	what differs by the vendor of the CPU
 *	msr_filter.c	MSRs that the VMM takes away	vmware.c	pseudo counters of RDPMC
 *	pmu.c		vPMU, both designs	pmu_intel.c, pmu_amd.c	its registers
 *	pebs.c, lbr.c	what an Intel guest of the emulated design may have beside
 *	pmu_emulated.c, pmu_mediated.c	the two backends
 *	pmu_switch.c	when the PMU is loaded and put	pmu_put_off.c	a load that waits
 *	pmu_hint.c	what a guest says of its use of the PMU
 */
#ifndef KVM_VCPU_H_
#define KVM_VCPU_H_

#include "base/types.h"
#include "cpu/cpu.h"
#include "kvm/msr_filter.h"
#include "kvm/pmu.h"
#include "kvm/vm.h"
#include "pcpu/guest.h"
#include "pcpu/pcpu.h"
#include "perf/perf_event.h"
#include "platform/lapic.h"
#include "platform/ports.h"
#include "pmupass.h"
#include "sched/sched.h"

enum exit_reason {
#define EXIT_REASON(id, number, text) EXIT_##id,
#include "base/exit_reasons.def"
#undef EXIT_REASON
	NR_EXIT_REASONS,
};

enum svm_exit {
#define SVM_EXIT(id, number, name, text) SVM_EXIT_##id,
#include "base/svm_exit_reasons.def"
#undef SVM_EXIT
	NR_SVM_EXITS,
};

/* Exits in the books, by the names of the vendor */
#define NR_EXIT_BOOKS 40
_Static_assert(NR_EXIT_BOOKS >= NR_SVM_EXITS && NR_EXIT_BOOKS >= NR_EXIT_REASONS,
	       "room for both lists");

#define DR6_BD BIT_ULL(13)
#define DR6_BS BIT_ULL(14)

#define DB_VECTOR 1
#define UD_VECTOR 6
#define GP_VECTOR 13
#define AC_VECTOR 17
#define MC_VECTOR 18

/* One access to an MSR: an instruction of the guest, or the VMM's KVM_GET_MSRS and KVM_SET_MSRS. */
struct msr_data {
	bool host_initiated;
	u32 index;
	u64 data;
};

/* What an access to an MSR comes to, beside 0; the guest gets #GP from either. */
#define KVM_MSR_RET_INVALID (-1)     /* a value or an access that the register does not take */
#define KVM_MSR_RET_UNSUPPORTED (-2) /* this vCPU has no such register */

#define KVM_REQ_PMU BIT_ULL(0)
#define KVM_REQ_PMI BIT_ULL(1)
#define KVM_REQ_RECALC_INTERCEPTS BIT_ULL(2)

/* The vector of the mediated PMI. */
#define PERF_GUEST_MEDIATED_PMI_VECTOR 0xf5

struct kvm_queued_exception {
	int vector; /* -1: none */
	int error;  /* -1: no error code */
	u64 dr6;    /* #DB: the payload */
};

/*
 * What differs by the CPU's virtualization, VMX or SVM: one constant instance each. Exits have VMX's
 * names in the code and the vendor's in the books. @..._cost: who is charged.
 */
struct kvm_x86_ops {
	const struct misc_kind *misc;
	/* A pCPU keeps what it has loaded of a vCPU, and another one has to ask for it (VMCS). */
	bool control_is_cached;
	/* The entry of the vendor's list that an exit is booked under; @exit: NULL, or the instruction's. */
	unsigned int (*exit_book)(enum exit_reason reason, const struct cpu_exit *exit);
	/* The exit that the end of the guest's timer causes, and whether the fastpath serves it. */
	enum exit_reason timer_exit;
	enum cost vmexit_cost, vmentry_cost, vcpu_run_cost, handle_exit_cost;
	enum cost exception_cost, dr_cost, sync_debugregs_cost;
	enum cost page_cost, mmio_cost, apic_write_cost;
};

extern const struct kvm_x86_ops vmx_x86_ops;
extern const struct kvm_x86_ops svm_x86_ops;

struct kvm_vcpu {
	struct task task;		    /* its thread, on the run queue of the pCPU */
	struct perf_event_context perf_ctx; /* the thread's */

	struct kvm *kvm; /* the VM */

	/* Belongs to the machine; the first two change with the pCPU */
	struct pcpu *pcpu;
	struct perf_cpu *perf;
	struct rq *loaded_on; /* kvm_arch_vcpu_load(), the last time; NULL: never */
	struct ports *ports;
	const struct pp_config *config;
	const struct kvm_x86_ops *x86_ops;

	/* The virtual machine's hardware as the guest sees it */
	struct lapic lapic;
	struct pcpu_guest guest;
	struct kvm_pmu pmu;
	struct kvm_msr_filter msr_filter; /* the VM's */

	/* Run loop */
	u64 requests;
	bool in_guest; /* between VM-entry and VM-exit */
	bool halted;
	bool init_pending;   /* INIT has come */
	int sipi_pending;    /* vector of a SIPI that has come, -1: none */
	bool has_run;	     /* it has entered the guest once */
	bool restoring;	     /* a saved state goes in, and the truth comes with it */
	bool intercept_exit; /* cpu_exit_info() tells what the exit is about */
	bool fastpath_done;  /* the exit's instruction was completed in the fastpath */
	int trap_exit;	     /* reason of an exit due after the instruction, -1: none */
	struct kvm_queued_exception exception; /* to inject at the next entry */
	enum lapic_delivery host_pmi;	       /* the host took a PMI and has not served it */
	struct cpu_intercept intercept;

	/* Books */
	u64 exits[NR_EXIT_BOOKS], profile_exits[NR_EXIT_BOOKS], exit_cycles[NR_EXIT_BOOKS];
	enum exit_reason exit_reason; /* of the exit being handled */
	unsigned int exit_book;	      /* the same, in the books */
	enum access_kind exit_access; /* the PMU access it is about */
	u64 exit_start;		      /* host cycles when it began */
};

/* The next vCPU of the VM, on this pCPU; those but the first wait to be started. */
int kvm_vcpu_init(struct kvm_vcpu *vcpu, struct kvm *kvm, struct pcpu *pcpu, struct perf_cpu *perf,
		  struct ports *ports, const struct pp_config *config, struct pp_error *error);
/* It has been copied to another place. */
void kvm_vcpu_moved(struct kvm_vcpu *vcpu, const struct move *move);

/* state.c: the registers of KVM_GET_MSR_INDEX_LIST, as a VMM keeps them. -1: one cannot be read, or is
 * refused. */
#define MAX_SAVED_MSRS 255
struct kvm_saved_state {
	bool valid;
	u32 nr_msrs;
	struct pp_msr_entry msrs[MAX_SAVED_MSRS];
};
int kvm_vcpu_save(struct kvm_vcpu *vcpu, struct kvm_saved_state *state);
int kvm_vcpu_restore(struct kvm_vcpu *vcpu, const struct kvm_vcpu *from,
		     const struct kvm_saved_state *state);
/* Serve what is requested, as before an entry. */
void kvm_vcpu_serve_requests(struct kvm_vcpu *vcpu);
/* Take the vCPU out of the guest and back to the VMM, as a signal does; no more than a place on the way
 * if it is not in the guest. */
/* Whoever has the pCPU gives way: its counters are not to count what the host does there for others. */
void kvm_interrupt_guest_on(struct rq *rq);
/* KVM_RUN returns to the VMM, which does something and comes back. */
void kvm_vcpu_exit_to_userspace(struct kvm_vcpu *vcpu);
void kvm_vcpu_kick_out(struct kvm_vcpu *vcpu);
/* Something that wakes a halted guest is pending. */
bool kvm_vcpu_has_events(const struct kvm_vcpu *vcpu);

/* A request for the vCPU is to be served soon: if it is in guest mode it comes out before its next
 * instruction, by an external interrupt. */
void kvm_vcpu_kick(struct kvm_vcpu *vcpu);
/* Its thread is not running, and its next pCPU is that of its run queue. */
void kvm_vcpu_change_pcpu(struct kvm_vcpu *vcpu);
/* Have it leave guest mode now, by an external interrupt; for what the host does on this CPU. */
void kvm_vcpu_leave_guest(struct kvm_vcpu *vcpu);
/* kvm.irqchip=userspace: an exit about no instruction whose rest is the VMM's: its timer, its APIC. */
void kvm_userspace_event_exit(struct kvm_vcpu *vcpu);

static inline void kvm_make_request(u64 request, struct kvm_vcpu *vcpu)
{
	vcpu->requests |= request;
}

static inline struct account *vcpu_books(struct kvm_vcpu *vcpu)
{
	return &vcpu->pcpu->account;
}

static inline bool lapic_in_kernel(const struct kvm_vcpu *vcpu)
{
	return !vcpu->config->kvm.userspace_lapic;
}

static inline bool kvm_is_x2apic_msr(u32 msr)
{
	return msr - APIC_X2APIC_MSR_BASE < 0x100;
}

/* exits.c */
enum pp_stop kvm_handle_exit(struct kvm_vcpu *vcpu);
/* True if the exit was done without leaving the inner run loop. */
bool kvm_handle_exit_fastpath(struct kvm_vcpu *vcpu);
enum exit_reason kvm_exit_reason_of(const struct cpu_exit *exit);
void kvm_skip_emulated_instruction(struct kvm_vcpu *vcpu);
/* Do the instruction that cpu_exit_info() describes. */
void kvm_emulate_exit(struct kvm_vcpu *vcpu);

/* exception.c */
void kvm_queue_exception(struct kvm_vcpu *vcpu, unsigned int vector, int error);
void kvm_queue_exception_p(struct kvm_vcpu *vcpu, unsigned int vector, u64 payload);
void kvm_handle_exception_nmi(struct kvm_vcpu *vcpu);
void kvm_handle_dr(struct kvm_vcpu *vcpu);
/* Around the run loop: what the debug registers cost there. */
void kvm_load_debug_registers(struct kvm_vcpu *vcpu);
void kvm_sync_debug_registers(struct kvm_vcpu *vcpu);

/* vmware.c */
bool kvm_pmu_rdpmc_vmware(struct kvm_vcpu *vcpu, u32 ecx, u64 *value);
bool kvm_handle_vmware_gp(struct kvm_vcpu *vcpu);

/* msr.c: 0 or KVM_MSR_RET_* */
int kvm_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr);
int kvm_set_msr(struct kvm_vcpu *vcpu, struct msr_data *msr);

/* ioctl.c: what the VMM asks of a vCPU. How many entries were done, or a negative errno. */
int kvm_vcpu_ioctl_get_msrs(struct kvm_vcpu *vcpu, struct pp_msr_entry *entries, u32 n);
int kvm_vcpu_ioctl_set_msrs(struct kvm_vcpu *vcpu, const struct pp_msr_entry *entries, u32 n);
/* @filter takes the place of @now, with @entries for PP_PMU_EVENT_FILTER_MAX entries; 0, or a negative
 * errno and nothing is changed. */
int kvm_vm_ioctl_set_pmu_event_filter(struct kvm_vcpu *const *vcpus, u32 nr,
				      const struct pp_pmu_event_filter *filter,
				      struct pp_filter *now, struct pp_filter_entry *entries);

/* direct.c */
extern const struct cpu_ops kvm_cpu_ops;
void kvm_setup_intercepts(struct kvm_vcpu *vcpu);
void kvm_update_msr_bitmap_x2apic(struct kvm_vcpu *vcpu);
/* By table and MSR filter, wherever the guest's PMU is just now. */
bool kvm_msr_is_direct(const struct kvm_vcpu *vcpu, u32 msr, bool write);
/* The PMU's part of the table, by where the guest's PMU is; how many bits of bitmaps and controls differ. */
unsigned int kvm_recalc_pmu_intercepts(struct kvm_vcpu *vcpu);
/* KVM_REQ_RECALC_INTERCEPTS: the table anew, under the MSR filter of now. */
void kvm_recalc_msr_intercepts(struct kvm_vcpu *vcpu);
bool kvm_event_due(struct kvm_vcpu *vcpu);

#endif /* KVM_VCPU_H_ */
