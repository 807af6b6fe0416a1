// SPDX-License-Identifier: Apache-2.0
/*
 * debug.c - #DB: single step, code, data and port breakpoints, INT1, DR6, DR7, RFLAGS.RF.
 */
#include "runtime.h"

#define DR6_B(n) (1ull << (n))
#define DR6_BD BIT_ULL(13)
#define DR6_BS BIT_ULL(14)
#define DR6_NAMED 0xe00full /* B0 to B3, BD, BS, BT */
#define DR7_ENABLE(n) (1ull << (2 * (n)))
#define DR7_GD BIT_ULL(13)
#define DR7_EXECUTE 0ull
#define DR7_WRITE 1ull
#define DR7_PORT 2ull
#define DR7_ACCESS 3ull
#define DR7_OF(n, kind, length) (((kind) | ((length) - 1ull) << 2) << (16 + 4 * (n)))
#define CR4_DE BIT_ULL(3)
#define RFLAGS_RF 0x10000ull

static volatile u64 nr_traps, dr6_seen, trap_at[16], rf_seen; /* between two instructions */

static u64 read_dr6(void)
{
	u64 value;

	__asm__ volatile("movq %%dr6, %0" : "=r"(value));
	return value;
}

static void write_dr6(u64 value)
{
	__asm__ volatile("movq %0, %%dr6" : : "r"(value));
}

static u64 read_dr7(void)
{
	u64 value;

	__asm__ volatile("movq %%dr7, %0" : "=r"(value));
	return value;
}

static void write_dr7(u64 value)
{
	__asm__ volatile("movq %0, %%dr7" : : "r"(value) : "memory");
}

static void watch(u64 at, u64 kind, u64 length)
{
	__asm__ volatile("movq %0, %%dr0" : : "r"(at));
	write_dr7(0x400 | DR7_ENABLE(0) | DR7_OF(0, kind, length));
	nr_traps = dr6_seen = 0;
}

static void unwatch(void)
{
	write_dr7(0x400);
	write_dr6(0xffff0ff0);
}

static void on_debug(struct trap_frame *f)
{
	dr6_seen = read_dr6() & DR6_NAMED;
	rf_seen = f->rflags & RFLAGS_RF;
	trap_at[nr_traps++ % ARRAY_SIZE(trap_at)] = f->rip;
	write_dr6(0xffff0ff0);
	/* The breakpoint would be met again: it is for the handler to set RF. */
	if (dr6_seen == DR6_B(1))
		f->rflags |= RFLAGS_RF;
}

/* TF from POPF to POPF: a trap behind each instruction but the first POPF, the last one included. */
static void check_single_step(void)
{
	u64 first;

	unwatch();
	nr_traps = 0;
	__asm__ volatile("leaq 1f(%%rip), %0\n\t"
			 "pushfq\n\t"
			 "orq $0x100, (%%rsp)\n\t"
			 "popfq\n\t"
			 "nop\n"
			 "1:\n\t"
			 "nop\n\t"
			 "pushfq\n\t"
			 "andq $~0x100, (%%rsp)\n\t"
			 "popfq"
			 : "=&r"(first)
			 :
			 : "memory", "cc");
	expect(nr_traps, 5, "single step: a trap behind each of 5 instructions");
	expect(trap_at[0], first, "behind the first of them");
	expect(dr6_seen, DR6_BS, "DR6 says so");
	expect(rf_seen, 0, "a trap has no RF");
}

static u64 value[4] __attribute__((aligned(64)));

static void check_data(void)
{
	volatile u64 *at = value;

	watch((uintptr_t)&value[1], DR7_WRITE, 4);
	*at = 1;
	expect(nr_traps, 0, "a write beside it");
	at[1] = 2;
	expect(nr_traps, 1, "a write to it");
	expect(dr6_seen, DR6_B(0), "is that of DR0");
	(void)at[1];
	expect(nr_traps, 1, "a read of it");
	*(volatile u8 *)((uintptr_t)value + 11) = 3;
	expect(nr_traps, 2, "a write of its last byte");
	watch((uintptr_t)&value[1], DR7_ACCESS, 1);
	(void)at[1];
	expect(nr_traps, 1, "a read where reads count");
	unwatch();
	at[1] = 4;
	expect(nr_traps, 1, "none when it is off");
}

/*
 * A loop of three rounds with a breakpoint on its first instruction, by DR1: three faults, each in
 * front of it. Unlike other faults it is pushed without RF.
 */
static void check_code(void)
{
	u64 at;

	nr_traps = dr6_seen = 0;
	__asm__ volatile("leaq 1f(%%rip), %0\n\t"
			 "movq %0, %%dr1\n\t"
			 "movl $0x404, %%ecx\n\t" /* L1 */
			 "movq %%rcx, %%dr7\n\t"
			 "movl $3, %%ecx\n"
			 "1:\n\t"
			 "decl %%ecx\n\t"
			 "jnz 1b"
			 : "=&r"(at)
			 :
			 : "rcx", "memory", "cc");
	unwatch();
	expect(nr_traps, 3, "a code breakpoint in a loop of three");
	expect(trap_at[0], at, "it is a fault, in front of the instruction");
	expect(dr6_seen, DR6_B(1), "of DR1");
	expect(rf_seen, 0, "pushed without RF");
}

static void check_registers(void)
{
	expect(read_dr7() & 0xffff, 0x400, "DR7: bit 10 is always set");
	write_dr6(0);
	expect(read_dr6() & ~DR6_NAMED & 0xffffffff, 0xffff0ff0, "DR6: the others are always set");
	expect(attempt("movq %0, %%dr7", : : "r"(1ull << 32)), VECTOR_GP, "DR7 above 32 bits");
	expect(attempt("movq %0, %%dr6", : : "r"(1ull << 32)), VECTOR_GP, "DR6 above 32 bits");
	/* DR4 and DR5 are DR6 and DR7 of old, unless CR4.DE. */
	write_cr4(read_cr4() | CR4_DE);
	expect(attempt(".byte 0x0f, 0x21, 0xe0", :: : "rax"), VECTOR_UD, "DR4 with CR4.DE");
	write_cr4(read_cr4() & ~CR4_DE);
	expect(attempt(".byte 0x0f, 0x21, 0xe0", :: : "rax"), NO_VECTOR, "and without");
}

/* GD: an access to a debug register is #DB, before it is done, and entering clears GD. */
static void check_general_detect(void)
{
	nr_traps = 0;
	write_dr7(0x400 | DR7_GD);
	__asm__ volatile("movq %%dr3, %%rax" : : : "rax");
	expect(nr_traps, 1, "general detect");
	expect(dr6_seen, DR6_BD, "DR6 says so");
	expect(read_dr7() & DR7_GD, 0, "and it is off behind");
}

/*
 * A port access exits to KVM, which completes it and looks at no breakpoint: there the trap does not
 * come.
 */
static void check_port(void)
{
	write_cr4(read_cr4() | CR4_DE);
	watch(0x80, DR7_PORT, 1);
	outb(1, 0x84);
	expect(nr_traps, 0, "a port beside it");
	outb(1, 0x80);
	if (under_kvm() && !nr_traps) {
		differs("port-breakpoint-lost");
	} else {
		expect(nr_traps, 1, "a port breakpoint");
		(void)inb(0x80);
		expect(nr_traps, 2, "reads too");
	}
	unwatch();
	write_cr4(read_cr4() & ~CR4_DE);
}

static void check_int1(void)
{
	u64 behind;

	nr_traps = 0;
	__asm__ volatile("leaq 1f(%%rip), %0\n\t.byte 0xf1\n1:" : "=r"(behind) : : "memory");
	expect(nr_traps, 1, "INT1");
	expect(trap_at[0], behind, "points behind it");
	expect(dr6_seen, 0, "and sets nothing in DR6");
}

void image_main(void)
{
	on_trap(VECTOR_DB, on_debug);
	check_registers();
	check_single_step();
	check_data();
	check_code();
	check_port();
	check_general_detect();
	check_int1();
}
