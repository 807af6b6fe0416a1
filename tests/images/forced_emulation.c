// SPDX-License-Identifier: Apache-2.0
/*
 * forced_emulation.c - UD2 and the bytes 6b 76 6d in front of an instruction. Where KVM's module
 * parameter is off, and where there is no KVM, it is #UD at UD2. Where it is on, KVM emulates the
 * instruction behind, which counts once, and as a branch if it is one.
 *
 * The first line says what was found; it is the setting of the run that decides.
 */
#include "pmu.h"

#define FORCED ".byte 0x0f, 0x0b, 0x6b, 0x76, 0x6d\n"
#define ROUNDS 20

static u64 target[8] __attribute__((aligned(64)));

static void check_off(void)
{
	u64 vector, at, rax = 0;

	vector = attempt("leaq 1f(%%rip), %1\n1: " FORCED "movl $1, %%eax", : "+a"(rax), "=&r"(at));
	expect(vector, VECTOR_UD, "UD2 in front is #UD");
	/* The attempt was ended by the fault: its outputs are as the registers were. */
	expect(*(u16 *)(uintptr_t)caught.rip, 0x0b0f, "at UD2");
	expect(caught.error, 0, "without an error code");
	(void)at;
}

static void select_counters(void)
{
	pmu_clear();
	set_counter(0, arch_events[EVENT_INSTRUCTIONS].encoding | SEL_OS);
	set_counter(1, arch_events[EVENT_BRANCHES].encoding | SEL_OS);
}

#define check(code, instructions, branches, name)                                                  \
	do {                                                                                       \
		select_counters();                                                                 \
		count_stretch(stretch_of(3), "1:\n" code "\n decq %%rsi\n jnz 1b\n", ROUNDS,       \
			      target);                                                             \
		expect(read_counter(0), FRAME + ROUNDS * ((instructions) + 2), "%s: instructions", \
		       name);                                                                      \
		expect(read_counter(1), ROUNDS * ((branches) + 1), "%s: branches", name);          \
	} while (0)

static void check_on(void)
{
	u64 at;

	check(FORCED "movl $1, %%eax", 1, 0, "an emulated MOV");
	check(FORCED "addq $3, (%%rdi)", 1, 0, "an emulated ADD to memory");
	expect(target[0], 3 * ROUNDS, "it is done");
	check(FORCED "jmp 2f\n nop\n2:", 1, 1, "an emulated jump");
	check("cmpl %%eax, %%eax\n" FORCED "je 2f\n nop\n2:", 2, 1, "an emulated branch, taken");
	check("cmpl %%eax, %%eax\n" FORCED "jne 2f\n nop\n2:", 3, 1, "and not taken");
	check(FORCED "cpuid", 1, 0, "an emulated CPUID");
	check("pushq %%rax\n" FORCED "popq %%rax", 2, 0, "an emulated POP");
	/* A fault of the emulated instruction has its address, behind the prefix. */
	at = 1ull << 45;
	expect(attempt(FORCED "movq (%0), %%rax", : : "r"(at) : "rax"), VECTOR_PF,
	       "a fault of the emulated instruction");
	expect(caught.cr2, at, "its address in CR2");
	expect(*(u8 *)(uintptr_t)caught.rip == 0x48, 1, "it is pushed behind the prefix");
}

void image_main(void)
{
	bool on;

	pmu_init();
	on = attempt(FORCED "nop", :: : "memory") == NO_VECTOR;
	print("# forced emulation is %s\n", on ? "on" : "off");
	if (on)
		check_on();
	else
		check_off();
	expect(attempt("ud2", :: : "memory"), VECTOR_UD, "UD2 alone is #UD");
	expect(attempt(".byte 0x0f, 0x0b, 0x6b, 0x76, 0x6e", :: : "memory"), VECTOR_UD,
	       "and with other bytes behind it");
}
