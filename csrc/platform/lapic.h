/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic.h - one local APIC: the physical one of a pCPU, or the one KVM models for a vCPU.
 *
 * State, events and I/O are apart: registers live here, time and re-arming come through struct
 * lapic_ops, accesses come in as MSRs (x2APIC), as MMIO offsets (xAPIC page) or as the functions
 * below. TSC values are TSC cycles.
 */
#ifndef PLATFORM_LAPIC_H_
#define PLATFORM_LAPIC_H_

#include "base/move.h"

#define MSR_IA32_APICBASE 0x1b
#define MSR_IA32_TSC_DEADLINE 0x6e0
#define APIC_X2APIC_MSR_BASE 0x800
#define APICBASE_EXTD BIT_ULL(10)
#define APIC_DEFAULT_PHYS_BASE 0xfee00000ull

/* Register offsets in the xAPIC page; x2APIC MSR = 0x800 + offset / 16. */
#define APIC_ID 0x20
#define APIC_LVR 0x30
#define APIC_TASKPRI 0x80
#define APIC_PROCPRI 0xa0
#define APIC_EOI 0xb0
#define APIC_LDR 0xd0
#define APIC_DFR 0xe0
#define APIC_SPIV 0xf0
#define APIC_ISR 0x100
#define APIC_TMR 0x180
#define APIC_IRR 0x200
#define APIC_ESR 0x280
#define APIC_LVTCMCI 0x2f0
#define APIC_ICR 0x300
#define APIC_ICR2 0x310
#define APIC_LVTT 0x320
#define APIC_LVTTHMR 0x330
#define APIC_LVTPC 0x340
#define APIC_LVT0 0x350
#define APIC_LVT1 0x360
#define APIC_LVTERR 0x370
#define APIC_TMICT 0x380
#define APIC_TMCCT 0x390
#define APIC_TDCR 0x3e0
#define APIC_SELF_IPI 0x3f0

#define APIC_LVT_MASKED 0x10000u
#define APIC_DM_FIXED 0x000u
#define APIC_DM_NMI 0x400u
#define APIC_MODE_MASK 0x700u
#define APIC_LVT_TIMER_TSCDEADLINE 0x40000u

struct lapic_ops {
	u64 (*now)(void *ctx);	    /* TSC */
	void (*changed)(void *ctx); /* a deadline or a pending interrupt may be new */

	/* On a bus only. An interrupt or NMI of another CPU is here, after changed(); may be NULL. */
	void (*arrived)(void *ctx);
	/* Its CPU waits for a SIPI from now on, and the APIC itself has been reset. */
	void (*init)(void *ctx);
	/* It starts at @vector << 12, if it waits. */
	void (*sipi)(void *ctx, u8 vector);
};

/* An IPI on its way: it takes effect at that TSC. */
struct lapic_message {
	u64 at;
	u16 mode; /* of the ICR */
	u8 vector;
};

#define LAPIC_INBOX_SIZE 32

struct apic_bus;

struct lapic {
	const struct lapic_ops *ops;
	void *ctx;

	/* Guest-visible registers */
	u64 apic_base; /* MSR 0x1b: base, bit 11 enable, bit 10 x2APIC */
	u32 id;
	u32 regs[0x40]; /* offset / 16: LVTs, SPIV, TPR, ESR, TMICT, TDCR ... */
	u32 isr[8], irr[8], tmr[8];
	u64 icr;	 /* x2APIC: one 64-bit register */
	u32 esr_pending; /* errors since the last ESR write, which latches them */

	/* Timer */
	u64 deadline;	  /* TSC at which it fires next, ~0 when off */
	u64 tsc_deadline; /* MSR 0x6e0 as read; 0 when disarmed */
	u64 timer_start;  /* TSC at which TMICT was last written */
	u64 tsc_adjust;	  /* what the TSC that the guest reads is ahead of ops->now() */
	u64 min_period;	  /* TSC cycles a periodic timer takes at least, 0: none */
	u32 tsc_per_tick_num, tsc_per_tick_den; /* TSC cycles per APIC bus tick at divide by 1 */

	/* What this one is like; lapic_init() says yes to both */
	bool masks_lvtpc;      /* the delivery of a PMI masks the LVTPC: Intel's, not AMD's */
	bool has_tsc_deadline; /* MSR 0x6e0 and the timer's mode for it */

	/* What waits outside the IRR */
	bool nmi_pending;
	u64 ignored_ipis; /* IPIs that reached no APIC */

	/* apic_bus.c */
	struct apic_bus *bus;			      /* NULL: alone */
	struct lapic_message inbox[LAPIC_INBOX_SIZE]; /* from others, in the order of their times */
	u32 nr_inbox;
};

enum lapic_delivery { LAPIC_MASKED, LAPIC_FIXED, LAPIC_NMI, LAPIC_IGNORED };

void lapic_init(struct lapic *l, u32 id, const struct lapic_ops *ops, void *ctx);

/* Take over the state of another one, its timer and what is pending or on its way included. */
void lapic_restore(struct lapic *l, const struct lapic *from);

/* MSRs 0x1b, 0x6e0, 0x800-0x83f. 0, or -1 for #GP (reserved bits, wrong mode, no such register). */
int lapic_rdmsr(struct lapic *l, u32 msr, u64 *value);
int lapic_wrmsr(struct lapic *l, u32 msr, u64 value);
/* xAPIC page; offsets 0..0xfff, 32-bit accesses. In x2APIC mode or disabled: reads ~0, writes lost. */
u32 lapic_mmio_read(struct lapic *l, u32 offset);
void lapic_mmio_write(struct lapic *l, u32 offset, u32 value);

static inline bool lapic_owns_msr(u32 msr)
{
	return msr == MSR_IA32_APICBASE || msr == MSR_IA32_TSC_DEADLINE ||
	       (msr >= APIC_X2APIC_MSR_BASE && msr < APIC_X2APIC_MSR_BASE + 0x100);
}

/* Whether @pa lies in the page that APIC_BASE names. */
static inline bool lapic_owns_page(const struct lapic *l, u64 pa)
{
	return (pa & ~0xfffull) == (l->apic_base & ~0xfffull);
}

static inline bool lapic_x2apic(const struct lapic *l)
{
	return l->apic_base & APICBASE_EXTD;
}

u32 lapic_reg(const struct lapic *l, u32 offset);
/* Raise the performance LVT: what became of it. Sets the mask bit when delivered (Intel). */
enum lapic_delivery lapic_deliver_lvtpc(struct lapic *l);
/* Post a vector into the IRR, as an IPI or the timer does. */
void lapic_post(struct lapic *l, u8 vector);
/* The interrupt the CPU would take now (IRR over PPR, APIC enabled); -1 when none. */
int lapic_pending_vector(const struct lapic *l);
/* The CPU takes @vector: IRR to ISR. */
void lapic_accept(struct lapic *l, u8 vector);
/* TSC of the next timer expiry; ~0 when none. lapic_timer_expired() at or after that time posts the
 * LVTT vector unless masked and re-arms a periodic timer. */
u64 lapic_deadline(const struct lapic *l);
void lapic_timer_expired(struct lapic *l);
/* The TSC that the guest reads is @adjust ahead of ops->now() from now on: TSC deadlines, which are in
 * terms of it, move. */
void lapic_tsc_adjusted(struct lapic *l, u64 adjust);
/* TSC at which the next IPI of another CPU takes effect; ~0 when none. lapic_inbox_due() delivers what
 * is due. */
static inline u64 lapic_inbox_deadline(const struct lapic *l)
{
	return l->nr_inbox ? l->inbox[0].at : ~0ull;
}
void lapic_inbox_due(struct lapic *l);

/* A copy: ctx and bus are those of the copy. */
void lapic_moved(struct lapic *l, const struct move *move);

#endif /* PLATFORM_LAPIC_H_ */
