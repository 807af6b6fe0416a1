// SPDX-License-Identifier: Apache-2.0
/*
 * apic_registers.c - the local APIC as xAPIC page and as x2APIC MSRs: registers, reserved bits, ways
 * between the modes; IPIs to itself, and INIT and start-up IPIs to CPUs that are not there.
 */
#include "apic.h"
#include "runtime.h"

#define VECTOR 0x61
#define SELF 0x40000u
#define ALL_BUT_SELF 0xc0000u
#define ALL 0x80000u
#define ICR_INIT 0x4500u /* with level assert */
#define ICR_STARTUP 0x4600u
#define ESR_BAD_SEND_VECTOR 0x20u

static u64 nr_taken;

static void on_ipi(struct trap_frame *f)
{
	(void)f;
	nr_taken++;
	apic_eoi();
}

static void let_interrupts_in(void)
{
	__asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
}

static void check_common(enum apic_mode mode)
{
	const char *name = mode == X2APIC ? "x2APIC" : "xAPIC";
	u32 index = 0x10 * (VECTOR / 32), bit = 1u << VECTOR % 32;

	apic_enter(mode);
	expect(mode == X2APIC ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24, 0, "%s: ID", name);
	expect(apic_read(APIC_VERSION) & 0xff, 0x15, "%s: version", name);
	expect_between(apic_read(APIC_VERSION) >> 16 & 0xff, 4, 6,
		       "%s: the last LVT, that of counters among them", name);
	expect(apic_read(APIC_SVR), SVR_ENABLED | SPURIOUS_VECTOR, "%s: SVR", name);
	expect(apic_read(APIC_LVT_PMC), LVT_MASKED, "%s: the counters' LVT is masked", name);
	expect(apic_read(APIC_LVT_TIMER), LVT_MASKED, "%s: the timer's LVT too", name);
	apic_write(APIC_LVT_PMC, 0x55);
	expect(apic_read(APIC_LVT_PMC), 0x55, "%s: it takes a vector", name);
	apic_write(APIC_LVT_PMC, LVT_NMI | LVT_MASKED);
	expect(apic_read(APIC_LVT_PMC), LVT_NMI | LVT_MASKED, "%s: or NMI, and its mask", name);
	apic_write(APIC_TPR, 0x35);
	expect(apic_read(APIC_TPR), 0x35, "%s: TPR", name);
	apic_write(APIC_TPR, 0);

	nr_taken = 0;
	apic_write(APIC_ICR, SELF | VECTOR);
	expect(apic_read(APIC_IRR + index), bit, "%s: an IPI to itself waits in IRR", name);
	let_interrupts_in();
	expect(nr_taken, 1, "%s: and is taken", name);
	expect(apic_read(APIC_IRR + index) | apic_read(APIC_ISR + index), 0,
	       "%s: and done with EOI", name);
	apic_write(APIC_ICR, ALL | VECTOR);
	let_interrupts_in();
	expect(nr_taken, 2, "%s: an IPI to all comes here", name);
	apic_write(APIC_ICR, ALL_BUT_SELF | VECTOR);
	let_interrupts_in();
	expect(nr_taken, 2, "%s: one to all others does not", name);
	apic_write(APIC_ICR, SELF | 5);
	apic_write(APIC_ESR, 0);
	expect(apic_read(APIC_ESR), ESR_BAD_SEND_VECTOR, "%s: vector 5 is an error", name);
	apic_write(APIC_ESR, 0);
	expect(apic_read(APIC_ESR), 0, "%s: which a write clears", name);
	/* Software disabled: LVTs are masked and stay so. */
	apic_write(APIC_LVT_PMC, 0x55);
	apic_write(APIC_SVR, SPURIOUS_VECTOR);
	apic_write(APIC_LVT_PMC, 0x55);
	expect(apic_read(APIC_LVT_PMC), LVT_MASKED | 0x55, "%s: disabled, its LVTs are masked",
	       name);
	apic_write(APIC_SVR, SVR_ENABLED | SPURIOUS_VECTOR);
}

static void check_xapic(void)
{
	apic_enter(XAPIC);
	nr_taken = 0;
	apic_write(APIC_ICR_HIGH, 0);
	apic_write(APIC_ICR, VECTOR); /* to ID 0 */
	let_interrupts_in();
	expect(nr_taken, 1, "xAPIC: an IPI to its ID");
	apic_write(APIC_ICR_HIGH, 7u << 24);
	apic_write(APIC_ICR, VECTOR);
	let_interrupts_in();
	expect(nr_taken, 1, "xAPIC: not to another's");
	expect(apic_read(APIC_ICR_HIGH), 7u << 24, "xAPIC: the destination reads back");
	expect(attempt_wrmsr(0x80b, 0), VECTOR_GP, "xAPIC: no MSRs");
}

static void check_x2apic(void)
{
	static const struct {
		u32 msr;
		u64 value;
	} bad[] = {
		{0x802, 0},	     /* ID: read only */
		{0x803, 0},	     /* version */
		{0x80b, 1},	     /* EOI: 0 only */
		{0x80f, 0x10000},    /* SVR */
		{0x808, 0x100},	     /* TPR */
		{0x832, 1ull << 32}, /* above 32 bits */
		{0x834, 0x100000},   /* LVT */
		{0x83e, 0x100},	     /* divide */
		{0x839, 0},	     /* current count: read only */
		{0x831, 0},	     /* ICR is one register */
		{0x83f, 0x100},	     /* self IPI */
	};
	bool right = true;
	u64 value;

	apic_enter(X2APIC);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		right &= step(attempt_wrmsr(bad[i].msr, bad[i].value), VECTOR_GP, "write of MSR %x",
			      (u64)bad[i].msr);
	right &= step(attempt_rdmsr(0x80b, &value), VECTOR_GP, "read of EOI");
	right &= step(attempt_rdmsr(0x831, &value), VECTOR_GP, "read of MSR 0x831");
	right &= step(attempt_rdmsr(0x83f, &value), VECTOR_GP, "read of the self IPI register");
	right &= step(attempt_rdmsr(0x80e, &value), VECTOR_GP, "read of the destination format");
	expect_true(right, "x2APIC: what is not there, and what is reserved, is #GP");
	nr_taken = 0;
	wrmsr(0x83f, VECTOR);
	let_interrupts_in();
	expect(nr_taken, 1, "x2APIC: the self IPI register");
	wrmsr(0x830, VECTOR); /* to ID 0 */
	let_interrupts_in();
	expect(nr_taken, 2, "x2APIC: an IPI to its ID");
	wrmsr(0x830, 7ull << 32 | VECTOR);
	let_interrupts_in();
	expect(nr_taken, 2, "x2APIC: not to another's");
	expect(rdmsr(0x830), 7ull << 32 | VECTOR, "x2APIC: ICR reads back whole");
	expect(*(volatile u32 *)0xfee00030, 0xffffffff, "x2APIC: the page is not there");
}

/* Disabled, xAPIC, x2APIC, disabled: the only ways. */
static void check_ways(void)
{
	u64 base, on = APIC_BASE_ENABLED, both = APIC_BASE_ENABLED | APIC_BASE_X2APIC;
	bool right;

	apic_enter(X2APIC);
	base = rdmsr(MSR_APIC_BASE) & ~both;
	expect(base & APIC_BASE_BSP, APIC_BASE_BSP, "the only CPU is the first");
	expect(base & ~0xfffull, 0xfee00000, "the page is where it always is");
	right = step(attempt_wrmsr(MSR_APIC_BASE, base | on), VECTOR_GP, "x2APIC to xAPIC");
	right &= step(attempt_wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC), VECTOR_GP,
		      "x2APIC without being enabled");
	right &= step(attempt_wrmsr(MSR_APIC_BASE, base), NO_VECTOR, "x2APIC to disabled");
	right &= step(attempt_wrmsr(MSR_APIC_BASE, base | both), VECTOR_GP, "disabled to x2APIC");
	right &= step(attempt_wrmsr(MSR_APIC_BASE, base | on), NO_VECTOR, "disabled to xAPIC");
	right &= step(attempt_wrmsr(MSR_APIC_BASE, base | on | 1), VECTOR_GP, "a reserved bit");
	right &= step(attempt_wrmsr(MSR_APIC_BASE, base | both), NO_VECTOR, "xAPIC to x2APIC");
	expect_true(right, "the ways between the modes");
	apic_enter(XAPIC);
}

/*
 * What an image does that starts further CPUs: INIT and start-up to all others, then it waits until
 * as many have arrived as fw_cfg says, which is one: this.
 */
static void check_other_cpus(enum apic_mode mode)
{
	u32 cpus;

	apic_enter(mode);
	*(volatile u8 *)0x8000 = 0xf4; /* HLT, where they would begin */
	apic_write(APIC_ICR, ALL_BUT_SELF | ICR_INIT);
	apic_write(APIC_ICR, ALL_BUT_SELF | ICR_STARTUP | 8);
	apic_write(APIC_ICR, ALL_BUT_SELF | ICR_STARTUP | 8);
	__asm__ volatile("outw %0, %1" : : "a"((u16)5), "Nd"((u16)0x510));
	cpus = inb(0x511);
	cpus |= (u32)inb(0x511) << 8;
	expect(cpus, 1, "INIT and start-up reach nobody, and there is one CPU");
	expect(apic_read(APIC_ICR) & 0x1000, 0, "the IPI is sent");
}

void image_main(void)
{
	on_trap(VECTOR, on_ipi);
	check_common(XAPIC);
	check_xapic();
	check_other_cpus(XAPIC);
	if (!apic_has_x2apic())
		return;
	check_common(X2APIC);
	check_x2apic();
	check_other_cpus(X2APIC);
	check_ways();
}
