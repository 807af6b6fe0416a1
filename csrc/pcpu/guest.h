/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.h - what a guest reaches of its CPU without an exit: MSRs, counters, TSC, CPUID; and the
 * interrupts that its local APIC hands to it.
 *
 * The bare machine and a vCPU each have one. The local APIC is the physical one natively, and the one
 * that KVM models under KVM. The guest's TSC is that of the pCPU plus tsc_offset. What the guest writes
 * moves tsc_offset and IA32_TSC_ADJUST together; a VMM sets them one by one.
 */
#ifndef PCPU_GUEST_H_
#define PCPU_GUEST_H_

#include "base/move.h"
#include "pcpu/pcpu.h"
#include "platform/misc_msrs.h"
#include "pmu/access.h"

struct pcpu_guest {
	/* What executes its code, what exact hardware would have counted for it, whatever pCPU it is on */
	struct cpu *cpu;
	struct truth truth;
	struct thresholds thresholds;
	bool truth_on;

	struct pcpu *pcpu;
	u64 left_at; /* TSC at which it has left another pCPU, of which it finds this one behind */
	struct lapic *lapic;
	const struct pp_config *config;

	struct misc_msrs misc;
	u64 tsc_offset;
	u64 tsc_adjust;	     /* IA32_TSC_ADJUST */
	bool has_tsc_adjust; /* as CPUID says */

	/* PMIs on their way from the LVTPC to the guest */
	bool pmi_is_nmi; /* the pending NMI is a PMI */
	int pmi_vector;	 /* vector a PMI was posted with, -1: none */

	struct access_books access; /* of the PMU */
};

/* Its code runs on @pcpu from now on, and no longer on the one where it does. */
void pcpu_guest_enter(struct pcpu_guest *g, struct pcpu *pcpu);
void pcpu_guest_leave(struct pcpu_guest *g);
static inline bool pcpu_guest_is_in(const struct pcpu_guest *g)
{
	return g->pcpu->cpu == g->cpu;
}
/* It is in nowhere, and @pcpu is where it will be next. */
void pcpu_guest_change_pcpu(struct pcpu_guest *g, struct pcpu *pcpu);
/* What a pCPU with its code has to land for: NULL, nobody asks for the truth. */
static inline struct truth *pcpu_guest_truth(struct pcpu_guest *g)
{
	return g->truth_on ? &g->truth : NULL;
}
/* The truth looks at what is here; after pcpu_guest_init(), or in a copy. */
void pcpu_guest_connect(struct pcpu_guest *g);
/* .cpu and .truth are there already. @misc: which MSRs of start-up code there are; @has_pmu: MISC_ENABLE tells of one. */
void pcpu_guest_init(struct pcpu_guest *g, struct pcpu *pcpu, struct lapic *lapic,
		     const struct pp_config *config, const struct misc_kind *misc, bool has_pmu);

/* INIT: the CPU waits for SIPI from here on. */
void pcpu_guest_reset(struct pcpu_guest *g);

/* Take over MSRs, TSC, PMIs on their way and books of another one. */
void pcpu_guest_restore(struct pcpu_guest *g, const struct pcpu_guest *from);
/* It has been copied to another place. */
void pcpu_guest_moved(struct pcpu_guest *g, const struct move *move);

/* The pCPU's TSC; never back, whatever pCPU it is. */
u64 pcpu_guest_now(const struct pcpu_guest *g);
u64 pcpu_guest_tsc(const struct pcpu_guest *g);

/* Direct accesses. 0, or -1 for #GP(0); those to the PMU are booked and told to the truth. */
int pcpu_guest_rdmsr(struct pcpu_guest *g, u32 msr, u64 *value);
int pcpu_guest_wrmsr(struct pcpu_guest *g, u32 msr, u64 value);
int pcpu_guest_rdpmc(struct pcpu_guest *g, u32 ecx, u64 *value);

/* The MSRs that are neither the PMU's nor the APIC's: TSC, start-up, and the CPU's own. */
int pcpu_guest_rdmsr_plain(struct pcpu_guest *g, u32 msr, u64 *value);
int pcpu_guest_wrmsr_plain(struct pcpu_guest *g, u32 msr, u64 value);
/* The same from outside, as a VMM restores them: what the guest may not change may be, one at a time. */
int pcpu_guest_restore_plain(struct pcpu_guest *g, u32 msr, u64 value);

/*
 * The configured leaf. On Intel's CPUs one that is behind the last of its range (basic, extended,
 * hypervisor) is the last basic leaf; any other that is not configured is all zero. regs: EAX, EBX, ECX,
 * EDX.
 */
void pcpu_guest_cpuid(const struct pcpu_guest *g, u32 leaf, u32 subleaf, u32 regs[4]);

/* Raise the guest's LVTPC. */
enum lapic_delivery pcpu_guest_deliver_pmi(struct pcpu_guest *g);
/* Hand the pending NMI, or @vector, to the CPU, which can take it. */
void pcpu_guest_inject_nmi(struct pcpu_guest *g);
void pcpu_guest_inject_irq(struct pcpu_guest *g, u8 vector);

#endif /* PCPU_GUEST_H_ */
