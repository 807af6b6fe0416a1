// SPDX-License-Identifier: Apache-2.0
/*
 * interrupts.c - exceptions and interrupts through 64-bit gates: vectors, error codes, what is pushed
 * where, stacks of the TSS, and what is blocked when.
 *
 * Not exercised: #TS, #MC, #AC; #DB is in debug.c, page faults in paging.c too.
 */
#include "apic.h"
#include "runtime.h"

#define NON_CANONICAL 0x8000000000000000ull
#define UNMAPPED 0x100000000ull /* behind the 4 GB of the identity map */
#define SPARE_VECTOR 0x90
#define IDT_ERROR(vector) ((vector) * 8u + 2)

static struct trap_frame seen;
static u64 nr_seen, seen_stack; /* where the processor began to push */
static u8 other_stack[4096] __attribute__((aligned(16)));
static u8 trap_stack[4096] __attribute__((aligned(16)));

static void note(struct trap_frame *f)
{
	seen = *f;
	seen_stack = (uintptr_t)(f + 1);
	nr_seen++;
}

static u64 top(const u8 *stack)
{
	return (uintptr_t)(stack + 4096);
}

/* ---- exceptions ---- */

static void check_fault(u64 vector, u64 expected, u64 error, const char *name)
{
	if (expect(vector, expected, "%s", name))
		step(caught.error, error, "error code of %s", name);
}

static void check_arithmetic(void)
{
	check_fault(attempt("xorl %%ecx, %%ecx\n divl %%ecx", :: : "eax", "ecx", "edx", "cc"),
		    VECTOR_DE, 0, "#DE, division by 0");
	check_fault(attempt("movl $2, %%edx\n movl $2, %%ecx\n divl %%ecx", :: : "eax", "ecx",
			    "edx", "cc"),
		    VECTOR_DE, 0, "#DE, the quotient does not fit");
	check_fault(attempt("movl $0x80000000, %%eax\n cltd\n movl $-1, %%ecx\n idivl %%ecx",
			    :: : "eax", "ecx", "edx", "cc"),
		    VECTOR_DE, 0, "#DE, the lowest number by -1");
	check_fault(attempt("ud2", :: : "memory"), VECTOR_UD, 0, "#UD");
	/* A fault points at its instruction: what stands before UD2 is 5 bytes of mov. */
	attempt("leaq 1f(%%rip), %%rax\n1: ud2\n", :: : "rax");
	expect(*(u16 *)(uintptr_t)caught.rip, 0x0b0f, "the address pushed is that of UD2");
}

static void check_memory_faults(void)
{
	u64 value;

	check_fault(attempt("movq (%1), %0", : "=r"(value) : "r"(NON_CANONICAL)), VECTOR_GP, 0,
		    "#GP, an address that is not canonical");
	/* An address by RBP is one of the stack segment. RBP has to come back after the fault. */
	check_fault(attempt("movq $7f, resume_at\n"
			    "movq %%rbp, %%r8\n"
			    "movq %0, %%rbp\n"
			    "movq (%%rbp), %%rax\n"
			    "7: movq %%r8, %%rbp\n",
			    : : "r"(NON_CANONICAL) : "rax", "r8"),
		    VECTOR_SS, 0, "#SS, a stack address that is not canonical");
	check_fault(attempt("movq (%1), %0", : "=r"(value) : "r"(UNMAPPED)), VECTOR_PF, 0,
		    "#PF, read of nothing");
	step(caught.cr2, UNMAPPED, "CR2");
	check_fault(attempt("movq %0, (%1)", : : "r"(0ull), "r"(UNMAPPED + 8) : "memory"),
		    VECTOR_PF, 2, "#PF, write to nothing");
	step(caught.cr2, UNMAPPED + 8, "CR2");
	check_fault(attempt("jmp *%0", : : "r"(UNMAPPED + 16)), VECTOR_PF, 0x10,
		    "#PF, jump to nothing");
	step(caught.cr2, UNMAPPED + 16, "CR2");
	step(caught.rip, UNMAPPED + 16, "RIP is where the jump went");
}

static void check_selectors(void)
{
	u64 *descriptor = &gdt[FREE_SELECTOR / 8];

	check_fault(attempt("movl %0, %%es", : : "r"(8 * GDT_ENTRIES)), VECTOR_GP, 8 * GDT_ENTRIES,
		    "#GP, a selector behind the GDT");
	*descriptor = 0x00cf13000000ffff; /* data, not present */
	check_fault(attempt("movl %0, %%es", : : "r"(FREE_SELECTOR)), VECTOR_NP, FREE_SELECTOR,
		    "#NP, a segment that is not present");
	check_fault(attempt("movl %0, %%ss", : : "r"(FREE_SELECTOR)), VECTOR_SS, FREE_SELECTOR,
		    "#SS, a stack segment that is not present");
	*descriptor = 0;
	check_fault(attempt("int $0x91", :: : "memory"), NO_VECTOR, 0, "INT to a handler");
	set_gate(SPARE_VECTOR, vector_stub(SPARE_VECTOR), GATE_INTERRUPT & 0x7f, 0);
	check_fault(attempt("int $0x90", :: : "memory"), VECTOR_NP, IDT_ERROR(SPARE_VECTOR),
		    "#NP, a gate that is not present");
	set_gate(SPARE_VECTOR, vector_stub(SPARE_VECTOR), 0x80, 0);
	check_fault(attempt("int $0x90", :: : "memory"), VECTOR_GP, IDT_ERROR(SPARE_VECTOR),
		    "#GP, a gate of no kind");
	set_gate(SPARE_VECTOR, vector_stub(SPARE_VECTOR), GATE_INTERRUPT, 0);
}

static void check_double_fault(void)
{
	u64 value;

	set_gate(VECTOR_GP, vector_stub(VECTOR_GP), GATE_INTERRUPT & 0x7f, 0);
	set_gate(VECTOR_DF, vector_stub(VECTOR_DF), GATE_INTERRUPT, 2);
	tss.ist[1] = top(other_stack);
	attempt("movq (%1), %0", : "=r"(value) : "r"(NON_CANONICAL));
	set_gate(VECTOR_GP, vector_stub(VECTOR_GP), GATE_INTERRUPT, 0);
	check_fault(caught.vector, VECTOR_DF, 0, "#DF, when #GP has no gate");
}

/* ---- what is pushed, and where ---- */

static void check_frame(void)
{
	u64 rsp, after, flags;

	on_trap(VECTOR_BP, note);
	__asm__ volatile("movq %%rsp, %0\n\t"
			 "leaq 1f(%%rip), %1\n\t"
			 "stc\n\t"
			 "int3\n"
			 "1:"
			 : "=&r"(rsp), "=&r"(after)
			 :
			 : "cc", "memory");
	expect(seen.vector, VECTOR_BP, "#BP");
	expect(seen.rip, after, "it points behind INT3");
	expect(seen.rsp, rsp, "RSP as it was");
	expect(seen.ss, KERNEL_DS, "SS as it was");
	expect(seen.cs, KERNEL_CS, "CS as it was");
	expect(seen.rflags & 0x203, 3, "RFLAGS with carry, without IF");
	expect(seen_stack, rsp & ~15ull, "the frame begins at 16 bytes");
	/* The same from a stack that is not aligned. */
	__asm__ volatile("movq %%rsp, %0\n\t"
			 "subq $8, %%rsp\n\t"
			 "andq $-16, %%rsp\n\t"
			 "subq $8, %%rsp\n\t"
			 "int3\n\t"
			 "movq %0, %%rsp"
			 : "=&r"(rsp)
			 :
			 : "cc", "memory");
	expect(seen.rsp & 15, 8, "from a stack at 8");
	expect(seen_stack, seen.rsp & ~15ull, "it is rounded down");
	on_trap(VECTOR_BP, NULL);
	/* Interrupt gates turn interrupts off, trap gates leave them. */
	on_trap(SPARE_VECTOR, note);
	__asm__ volatile("sti\n\tint $0x90\n\tpushfq\n\tpopq %0\n\tcli" : "=r"(flags) : : "memory");
	expect(flags & RFLAGS_IF, RFLAGS_IF, "IRET brings IF back");
	expect(seen.rflags & RFLAGS_IF, RFLAGS_IF, "it was pushed");
}

static u64 flags_in_handler;

static void note_flags(struct trap_frame *f)
{
	note(f);
	__asm__ volatile("pushfq\n\tpopq %0" : "=r"(flags_in_handler));
}

static void check_gate_kinds(void)
{
	on_trap(SPARE_VECTOR, note_flags);
	__asm__ volatile("sti\n\tint $0x90\n\tcli" : : : "memory");
	expect(flags_in_handler & RFLAGS_IF, 0, "behind an interrupt gate IF is off");
	set_gate(SPARE_VECTOR, vector_stub(SPARE_VECTOR), GATE_TRAP, 0);
	__asm__ volatile("sti\n\tint $0x90\n\tcli" : : : "memory");
	expect(flags_in_handler & RFLAGS_IF, RFLAGS_IF, "behind a trap gate it stays on");
	set_gate(SPARE_VECTOR, vector_stub(SPARE_VECTOR), GATE_INTERRUPT, 0);
	on_trap(SPARE_VECTOR, NULL);
}

static void check_ist(void)
{
	bool right = true;

	on_trap(SPARE_VECTOR, note);
	for (u8 i = 1; i <= 7; i++) {
		for (u32 j = 0; j < 7; j++)
			tss.ist[j] = j == i - 1u ? top(other_stack) : 0;
		set_gate(SPARE_VECTOR, vector_stub(SPARE_VECTOR), GATE_INTERRUPT, i);
		seen_stack = 0;
		__asm__ volatile("int $0x90" : : : "memory");
		right &= step(seen_stack, top(other_stack), "stack of IST %u", (u64)i);
	}
	expect_true(right, "each of 7 ISTs is a stack of its own");
	set_gate(SPARE_VECTOR, vector_stub(SPARE_VECTOR), GATE_INTERRUPT, 0);
	on_trap(SPARE_VECTOR, NULL);
}

/* ---- user mode ---- */

static u64 user_trap(u64 unused)
{
	__asm__ volatile("int3" : : : "memory");
	return unused + 1;
}

static u64 user_int(u64 unused)
{
	attempt("int $0x90", :: : "memory");
	return unused;
}

static u64 user_privileged(u64 which)
{
	u64 value;

	switch (which) {
	case 0: return attempt("hlt", :: : "memory");
	case 1: return attempt("cli", :: : "memory");
	case 2: return attempt("movq %%cr0, %0", : "=r"(value));
	case 3: return attempt_rdmsr(MSR_APIC_BASE, &value);
	case 4: return attempt("inb $0x80, %%al", :: : "rax");
	case 5: return attempt("lidt (%%rsp)", :: : "memory");
	case 6: return attempt("invlpg (%%rsp)", :: : "memory");
	default: return NO_VECTOR;
	}
}

static void check_user(void)
{
	bool right = true;

	on_trap(VECTOR_BP, note);
	run_user_with(user_trap, 0, RFLAGS_ALWAYS | RFLAGS_IF);
	expect(seen.rflags & RFLAGS_IF, RFLAGS_IF, "user code with interrupts on");
	expect(run_user(user_trap, 41), 42, "user code comes back from INT3");
	on_trap(VECTOR_BP, NULL);
	expect(seen.rflags & RFLAGS_IF, 0, "and with interrupts off");
	expect(seen.cs, USER_CS, "CS was the user's");
	expect(seen.ss, USER_DS, "SS too");
	expect(seen_stack, tss.rsp[0] & ~15ull, "the frame is on the TSS's stack for CPL 0");
	run_user(user_int, 0);
	check_fault(caught.vector, VECTOR_GP, IDT_ERROR(SPARE_VECTOR),
		    "#GP, INT to a gate of the kernel");
	for (u64 i = 0; i < 7; i++)
		right &= step(run_user(user_privileged, i), VECTOR_GP,
			      "privileged instruction %u in user mode", i);
	expect_true(right, "privileged instructions are #GP in user mode");
}

/* ---- interrupts: shadow, order, blocking ---- */

#define LOW_VECTOR 0x41
#define HIGH_VECTOR 0x71
#define IPI_SELF 0x40000u

static u32 order[8], nr_order;
static u64 interrupted_at;

static void note_order(struct trap_frame *f)
{
	order[nr_order++ % 8] = (u32)f->vector;
	interrupted_at = f->rip;
	apic_eoi();
}

static void send_self(u32 vector)
{
	apic_write(APIC_ICR, IPI_SELF | vector);
}

static void check_shadow(void)
{
	u64 behind;

	nr_order = 0;
	send_self(LOW_VECTOR);
	expect(nr_order, 0, "an interrupt waits while IF is off");
	__asm__ volatile("sti\n\tcli" : : : "memory");
	expect(nr_order, 0, "STI and CLI let none in");
	__asm__ volatile("leaq 1f(%%rip), %0\n\tsti\n\tnop\n1:\n\tnop\n\tcli"
			 : "=r"(behind)
			 :
			 : "memory");
	expect(nr_order, 1, "it comes when IF is on");
	expect(interrupted_at, behind, "one instruction behind STI");
	send_self(LOW_VECTOR);
	__asm__ volatile(
		"leaq 1f(%%rip), %0\n\tpushfq\n\torq $0x200, (%%rsp)\n\tpopfq\n1:\n\tnop\n\t"
		"cli"
		: "=r"(behind)
		:
		: "memory", "cc");
	expect(interrupted_at, behind, "and at once behind POPF");
}

static void nested(struct trap_frame *f)
{
	(void)f;
	order[nr_order++ % 8] = HIGH_VECTOR;
	send_self(LOW_VECTOR);
	__asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
	order[nr_order++ % 8] = 0;
	apic_eoi();
	__asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
}

static void check_order(void)
{
	nr_order = 0;
	send_self(LOW_VECTOR);
	send_self(HIGH_VECTOR);
	send_self(LOW_VECTOR); /* the IRR has one bit for both */
	__asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
	expect(nr_order, 2, "two vectors, one of them twice");
	expect(order[0] << 8 | order[1], HIGH_VECTOR << 8 | LOW_VECTOR, "the higher one first");

	nr_order = 0;
	apic_write(APIC_TPR, 0x50);
	send_self(LOW_VECTOR);
	send_self(HIGH_VECTOR);
	__asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
	expect(nr_order == 1 && order[0] == HIGH_VECTOR, 1, "the task priority holds one back");
	apic_write(APIC_TPR, 0);
	__asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
	expect(nr_order == 2 && order[1] == LOW_VECTOR, 1, "until it is lowered");

	nr_order = 0;
	on_trap(HIGH_VECTOR, nested);
	send_self(HIGH_VECTOR);
	__asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
	expect(nr_order, 3, "a handler of a higher one");
	expect(order[1] == 0 && order[2] == LOW_VECTOR, 1, "is not interrupted before its EOI");
	on_trap(HIGH_VECTOR, note_order);
}

static u64 nmi_depth, nmi_deepest, nr_nmis, nmis_inside;
static u64 nmi_plan; /* what the first one does */

enum { NMI_PLAIN, NMI_SECOND, NMI_SECOND_AND_FAULT };

static void on_nmi(struct trap_frame *f)
{
	(void)f;
	nmi_depth++;
	nmi_deepest = max_u64(nmi_deepest, nmi_depth);
	if (++nr_nmis == 1 && nmi_plan != NMI_PLAIN) {
		send_self(LVT_NMI);
		send_self(LVT_NMI);
		if (nmi_plan == NMI_SECOND_AND_FAULT)
			attempt("ud2", :: : "memory");
		nmis_inside = nr_nmis - 1;
	}
	nmi_depth--;
}

static void nmi_test(u64 plan)
{
	nmi_plan = plan;
	nr_nmis = nmi_deepest = nmis_inside = 0;
	send_self(LVT_NMI);
	__asm__ volatile("nop\n\tnop" : : : "memory");
}

static void check_nmi(void)
{
	on_trap(VECTOR_NMI, on_nmi);
	nmi_test(NMI_PLAIN);
	expect(nr_nmis, 1, "an NMI does not ask for IF");
	nmi_test(NMI_SECOND);
	expect(nmis_inside, 0, "none comes within the handler of another");
	expect(nr_nmis, 2, "but behind its IRET, one for two");
	expect(nmi_deepest, 1, "not nested");
	nmi_test(NMI_SECOND_AND_FAULT);
	expect(nmis_inside, 1, "the IRET of a fault within unblocks it");
	expect(nmi_deepest, 2, "nested");
	on_trap(VECTOR_NMI, NULL);
}

/* HLT ends with an interrupt, and RIP is behind it. */
static void check_halt(void)
{
	u64 behind;

	nr_order = 0;
	send_self(LOW_VECTOR);
	__asm__ volatile("leaq 1f(%%rip), %0\n\tsti\n\thlt\n1:\n\tcli" : "=r"(behind) : : "memory");
	expect(nr_order, 1, "an interrupt ends HLT");
	expect(interrupted_at, behind, "and returns behind it");
}

void image_main(void)
{
	apic_enter(XAPIC);
	on_trap(0x91, note);
	on_trap(LOW_VECTOR, note_order);
	on_trap(HIGH_VECTOR, note_order);
	tss.rsp[0] = top(trap_stack);
	check_arithmetic();
	check_memory_faults();
	check_selectors();
	check_double_fault();
	check_frame();
	check_gate_kinds();
	check_ist();
	check_user();
	check_shadow();
	check_order();
	check_nmi();
	check_halt();
}
