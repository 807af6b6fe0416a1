/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_x87.c - x87 of the guest CPU: when it faults, its stack, control and status words, what is
 * stored, counts.
 *
 * What an instruction computes is judged by the processor (tests/judges).
 */
#include "cpu/state.h"
#include "test_cpu_faulting.h"

#define C1 0x200u
#define STACK_FAULT 0x40u
#define INVALID 0x01u
#define ZERO_DIVIDE 0x04u
#define OVERFLOW 0x08u
#define PRECISION 0x20u
#define SUMMARY 0x8080u /* B, ES */
#define TOP(n) ((u32)(n) << 11)
#define CONTROL_START 0x37fu
#define ROUND_DOWN 0x400u
#define ROUND_UP 0x800u
#define SINGLE_PRECISION_BITS 0x300u /* clear: 24 bits */

static struct guest *x87_guest(const u8 *from, const u8 *end)
{
	struct guest *g = faulting_guest(from, end);

	cpu_set_reg(g->cpu, CPU_RSI, DATA_AT);
	return g;
}
#define GUEST(name) x87_guest(code_##name, code_##name##_end)

static u32 get16(const struct guest *g, u64 pa)
{
	return (u16)guest_get(g, pa);
}

static void set16(struct guest *g, u64 pa, u32 v)
{
	memcpy(g->ram + pa, &v, 2);
}

/* Eighty bits at @pa. */
#define EXPECT_REAL(exponent, significand, g, pa)                                                  \
	do {                                                                                       \
		EXPECT_EQ((u64)(significand), guest_get((g), (pa)));                               \
		EXPECT_EQ((u32)(exponent), get16((g), (pa) + 8));                                  \
	} while (0)

/* ---- when it is on ---- */

CODE(load_one, "fld1\nhlt");
CODE(init, "fninit\nhlt");
CODE(wait, "fwait\nhlt");

static int vector_with(const u8 *from, const u8 *end, u64 cr0)
{
	struct guest *g = x87_guest(from, end);
	int vector;

	g->start.cr0 = (g->start.cr0 & ~(CR0_EM | CR0_TS | CR0_MP)) | cr0;
	cpu_start(g->cpu, &g->start);
	vector = run(g);
	guest_free(g);
	return vector;
}
#define VECTOR_WITH(name, cr0) vector_with(code_##name, code_##name##_end, (cr0))

/* SDM, table of EM, MP and TS: escapes by EM or TS, WAIT by MP and TS together. */
TEST(control_registers_switch_it_off)
{
	EXPECT_EQ(NO_FAULT, VECTOR_WITH(load_one, CR0_MP));
	EXPECT_EQ(VECTOR_NM, VECTOR_WITH(load_one, CR0_TS));
	EXPECT_EQ(VECTOR_NM, VECTOR_WITH(load_one, CR0_EM));
	EXPECT_EQ(VECTOR_NM, VECTOR_WITH(init, CR0_TS));
	EXPECT_EQ(VECTOR_NM, VECTOR_WITH(init, CR0_EM));
	EXPECT_EQ(NO_FAULT, VECTOR_WITH(wait, CR0_TS));
	EXPECT_EQ(NO_FAULT, VECTOR_WITH(wait, CR0_MP));
	EXPECT_EQ(NO_FAULT, VECTOR_WITH(wait, CR0_EM));
	EXPECT_EQ(VECTOR_NM, VECTOR_WITH(wait, CR0_MP | CR0_TS));
}

/* ---- arithmetic under the control word ---- */

CODE(third, "fldcw (%rsi)\n fld1\n fidivs 2(%rsi)\n fstpt 16(%rsi)\n fnstsw %ax\n hlt");

static void expect_third(u32 control, u64 significand, u32 status)
{
	struct guest *g = GUEST(third);

	set16(g, DATA_AT, control);
	set16(g, DATA_AT + 2, 3);
	EXPECT_EQ(NO_FAULT, run(g));
	/* 1/3 is 1.0101..b times 2^-2 */
	EXPECT_REAL(0x3ffd, significand, g, DATA_AT + 16);
	EXPECT_EQ(status, (u16)cpu_reg(g->cpu, CPU_RAX));
	/* fldcw, fidiv; fstp */
	EXPECT_EQ(2, guest_total(g, PRIV_OS, EVENT_LOADS));
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_STORES));
	EXPECT_EQ(6, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* FSTP m80 rounds nothing and clears C1, which FIDIV had set when it rounded up. */
TEST(precision_and_rounding)
{
	expect_third(CONTROL_START, 0xaaaaaaaaaaaaaaab, PRECISION);
	expect_third(CONTROL_START | ROUND_DOWN, 0xaaaaaaaaaaaaaaaa, PRECISION);
	expect_third(CONTROL_START | ROUND_UP, 0xaaaaaaaaaaaaaaab, PRECISION);
	expect_third(CONTROL_START & ~SINGLE_PRECISION_BITS, 0xaaaaab0000000000, PRECISION);
	expect_third((CONTROL_START & ~SINGLE_PRECISION_BITS) | ROUND_DOWN, 0xaaaaaa0000000000,
		     PRECISION);
}

/* 3 and 4 by all ways in. Intel's names: AT&T's assemblers exchange the two forms of FSUB and FDIV. */
CODE(forms, ".intel_syntax noprefix\n"
	    "fld dword ptr [rsi]\n fld qword ptr [rsi + 8]\n fsubp st(1), st\n"
	    "fstp qword ptr [rsi + 32]\n" /* 3 - 4 */
	    "fild dword ptr [rsi + 4]\n fild dword ptr [rsi + 16]\n fsubrp st(1), st\n"
	    "fstp qword ptr [rsi + 40]\n" /* 4 - 3 */
	    "fild qword ptr [rsi + 24]\n fld qword ptr [rsi + 8]\n fdivp st(1), st\n"
	    "fstp qword ptr [rsi + 48]\n" /* 3 / 4 */
	    "fld1\n fadd st, st(0)\n fld1\n fxch\n fmulp st(1), st\n"
	    "fstp qword ptr [rsi + 56]\n" /* (1 + 1) * 1 */
	    "fldpi\n fchs\n fabs\n fistp word ptr [rsi + 64]\n hlt\n.att_syntax");

TEST(arithmetic_of_all_forms)
{
	struct guest *g = GUEST(forms);

	guest_set(g, DATA_AT, 0x0000000340400000);     /* 3.0f, 3 */
	guest_set(g, DATA_AT + 8, 0x4010000000000000); /* 4.0 */
	guest_set(g, DATA_AT + 16, 4);
	guest_set(g, DATA_AT + 24, 3);
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(0xbff0000000000000, guest_get(g, DATA_AT + 32)); /* -1.0 */
	EXPECT_EQ(0x3ff0000000000000, guest_get(g, DATA_AT + 40)); /* 1.0 */
	EXPECT_EQ(0x3fe8000000000000, guest_get(g, DATA_AT + 48)); /* 0.75 */
	EXPECT_EQ(0x4000000000000000, guest_get(g, DATA_AT + 56)); /* 2.0 */
	EXPECT_EQ(3, get16(g, DATA_AT + 64));			   /* pi, to the nearest */
	EXPECT_EQ(0, g->cpu->fpu.x87.status & TOP(7));		   /* the stack is empty again */
	EXPECT_EQ(0xffff, g->cpu->fpu.x87.tags);
	/* six operands; five results */
	EXPECT_EQ(6, guest_total(g, PRIV_OS, EVENT_LOADS));
	EXPECT_EQ(5, guest_total(g, PRIV_OS, EVENT_STORES));
	guest_free(g);
}

/* ---- the stack ---- */

CODE(overflow, ".rept 9\nfld1\n.endr\n fnstsw %ax\n fstpt 16(%rsi)\n hlt");
CODE(underflow, "fadd %st(1), %st\n fnstsw %ax\n fstpt 16(%rsi)\n hlt");

TEST(stack_faults)
{
	struct guest *g = GUEST(overflow);

	/* Nine pushes: TOP goes from 0 down to 7; C1 tells overflow from underflow. */
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(TOP(7) | STACK_FAULT | INVALID | C1, (u16)cpu_reg(g->cpu, CPU_RAX));
	EXPECT_REAL(0xffff, 0xc000000000000000, g, DATA_AT + 16);
	guest_free(g);

	g = GUEST(underflow);
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(STACK_FAULT | INVALID, (u16)cpu_reg(g->cpu, CPU_RAX));
	EXPECT_REAL(0xffff, 0xc000000000000000, g, DATA_AT + 16);
	guest_free(g);
}

CODE(tags, "fldz\n fld1\n fldpi\n fincstp\n fdecstp\n ffree %st(1)\n fnstenv (%rsi)\n hlt");

/* Pushed into R7, R6, R5; R6 is freed. Tags: R5 valid 0, R6 empty 3, R7 zero 1, the rest empty. */
TEST(layout_of_fnstenv)
{
	struct guest *g = GUEST(tags);

	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(0xffff0000 | CONTROL_START, (u32)guest_get(g, DATA_AT));
	EXPECT_EQ(0xffff0000 | TOP(5), (u32)guest_get(g, DATA_AT + 4));
	EXPECT_EQ(0xffff73ff, (u32)guest_get(g, DATA_AT + 8));
	EXPECT_EQ(CODE_AT + 10,
		  (u32)guest_get(g, DATA_AT + 12)); /* FFREE, behind five of two bytes */
	/* It masks exceptions behind itself; they were masked. */
	EXPECT_EQ(CONTROL_START, g->cpu->fpu.x87.control);
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_STORES));
	guest_free(g);
}

CODE(save, "fld1\n fldpi\n fnsave (%rsi)\n fnstsw %ax\n frstor (%rsi)\n fnsave 128(%rsi)\n hlt");

TEST(fnsave_and_frstor)
{
	struct guest *g = GUEST(save);

	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(0, (u16)cpu_reg(g->cpu, CPU_RAX)); /* as behind FNINIT */
	EXPECT_REAL(0x4000, 0xc90fdaa22168c235, g, DATA_AT + 28);
	EXPECT_REAL(0x3fff, 0x8000000000000000, g, DATA_AT + 38);
	EXPECT_TRUE(!memcmp(g->ram + DATA_AT, g->ram + DATA_AT + 128, 108));
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_LOADS));
	EXPECT_EQ(2, guest_total(g, PRIV_OS, EVENT_STORES));
	guest_free(g);
}

/* ---- unmasked exceptions ---- */

#define UNMASKED_ZERO_DIVIDE (CONTROL_START & ~ZERO_DIVIDE)

/* 3 + 2 + 2 + 2 bytes to FNSTSW, which does not wait; then FLD1 does. */
CODE(pending, "fldcw (%rsi)\n fld1\n fldz\n fdivr %st(1), %st\n fnstsw %ax\n fld1\n hlt");

TEST(an_exception_waits_for_the_next_instruction)
{
	struct guest *g = GUEST(pending);

	set16(g, DATA_AT, UNMASKED_ZERO_DIVIDE);
	EXPECT_EQ(VECTOR_MF, run(g));
	EXPECT_EQ(CODE_AT + 2 + 2 + 2 + 2 + 2, pushed_rip(g));
	EXPECT_EQ(TOP(6) | ZERO_DIVIDE | SUMMARY, (u16)cpu_reg(g->cpu, CPU_RAX));
	/* FOP, of instructions with an unmasked exception: FDIVR ST, ST(1) is d8 f9. */
	EXPECT_EQ(0x0f9, g->cpu->fpu.opcode);
	/* The operands are as they were: 0 on top, 1 below. */
	EXPECT_EQ(0, g->cpu->fpu.x87.st[0][7]);
	EXPECT_EQ(0x80, g->cpu->fpu.x87.st[1][7]);
	guest_free(g);

	/* Masked, infinity takes the place of 0. */
	g = GUEST(pending);
	set16(g, DATA_AT, CONTROL_START);
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(TOP(6) | ZERO_DIVIDE, (u16)cpu_reg(g->cpu, CPU_RAX));
	guest_free(g);

	/* By an interrupt, which there is none of. */
	g = GUEST(pending);
	set16(g, DATA_AT, UNMASKED_ZERO_DIVIDE);
	g->start.cr0 &= ~CR0_NE;
	cpu_start(g->cpu, &g->start);
	cpu_set_reg(g->cpu, CPU_RSI, DATA_AT);
	EXPECT_EQ(CPU_STOP_UNIMPLEMENTED, guest_run(g));
	EXPECT_EQ(CODE_AT + 10, cpu_rip(g->cpu));
	guest_free(g);
}

CODE(pending_wait, "fldcw (%rsi)\n fld1\n fldz\n fdivr %st(1), %st\n fwait\n hlt");
CODE(pending_cleared,
     "fldcw (%rsi)\n fld1\n fldz\n fdivr %st(1), %st\n fnclex\n fwait\n fld1\n hlt");
CODE(pending_unmasked, "fld1\n fldz\n fdivr %st(1), %st\n fldcw (%rsi)\n nop\n fld1\n hlt");

TEST(pending_exceptions_are_waited_for_and_cleared)
{
	struct guest *g = GUEST(pending_wait);

	set16(g, DATA_AT, UNMASKED_ZERO_DIVIDE);
	EXPECT_EQ(VECTOR_MF, run(g));
	EXPECT_EQ(CODE_AT + 8, pushed_rip(g));
	guest_free(g);

	g = GUEST(pending_cleared);
	set16(g, DATA_AT, UNMASKED_ZERO_DIVIDE);
	EXPECT_EQ(NO_FAULT, run(g));
	guest_free(g);

	/* A flag that is unmasked later is pending from then on: not for FLDCW itself. */
	g = GUEST(pending_unmasked);
	set16(g, DATA_AT, UNMASKED_ZERO_DIVIDE);
	EXPECT_EQ(VECTOR_MF, run(g));
	EXPECT_EQ(CODE_AT + 2 + 2 + 2 + 2 + 1, pushed_rip(g));
	guest_free(g);
}

/* 2^300 does not fit into a single: unmasked, nothing is stored and nothing popped. */
CODE(too_large, "fldcw (%rsi)\n fldl 8(%rsi)\n fstps 16(%rsi)\n fnstsw %ax\n hlt");

TEST(a_store_that_overflows)
{
	struct guest *g = GUEST(too_large);

	set16(g, DATA_AT, CONTROL_START & ~OVERFLOW);
	guest_set(g, DATA_AT + 8, 0x52b0000000000000); /* exponent 300 + 1023 */
	guest_set(g, DATA_AT + 16, 0xcccccccccccccccc);
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(0xcccccccccccccccc, guest_get(g, DATA_AT + 16));
	EXPECT_EQ(TOP(7) | SUMMARY | OVERFLOW, (u16)cpu_reg(g->cpu, CPU_RAX) & ~(C1 | PRECISION));
	guest_free(g);

	g = GUEST(too_large);
	set16(g, DATA_AT, CONTROL_START);
	guest_set(g, DATA_AT + 8, 0x52b0000000000000);
	guest_set(g, DATA_AT + 16, 0xcccccccccccccccc);
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(0xcccccccc7f800000, guest_get(g, DATA_AT + 16)); /* infinity */
	guest_free(g);
}

CODE(store_missing, "fld1\n fstpt (%rdi)\n hlt");

/* Ten bytes, the last two in a page that is not there. */
TEST(a_store_that_faults_pops_nothing)
{
	struct guest *g = GUEST(store_missing);

	guest_set(g, PT_AT + (MISSING_AT >> 12) * 8, 0);
	memset(g->ram + MISSING_AT - 8, 0xcc, 8);
	cpu_set_reg(g->cpu, CPU_RDI, MISSING_AT - 8);
	EXPECT_EQ(VECTOR_PF, run(g));
	EXPECT_EQ(MISSING_AT, g->cpu->cr2);
	EXPECT_EQ(0xcccccccccccccccc, guest_get(g, MISSING_AT - 8));
	EXPECT_EQ(TOP(7), g->cpu->fpu.x87.status & TOP(7));
	EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_STORES));
	guest_free(g);
}

/* ---- comparisons ---- */

CODE(compare, "fldl 8(%rsi)\n fldl (%rsi)\n fcomi %st(1), %st\n setp %dl\n setc %bl\n sete %cl\n"
	      "fcompp\n fnstsw %ax\n hlt");

static void expect_comparison(u64 a, u64 b, bool parity, bool carry, bool zero, u32 conditions)
{
	struct guest *g = GUEST(compare);

	guest_set(g, DATA_AT, a);
	guest_set(g, DATA_AT + 8, b);
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(carry, (u8)cpu_reg(g->cpu, CPU_RBX));
	EXPECT_EQ(zero, (u8)cpu_reg(g->cpu, CPU_RCX));
	EXPECT_EQ(conditions, (u16)cpu_reg(g->cpu, CPU_RAX) & 0x4500);
	EXPECT_EQ(parity, (u8)cpu_reg(g->cpu, CPU_RDX));
	guest_free(g);
}

/* C0 is 0x100, C2 0x400, C3 0x4000, in the places of CF, PF, ZF. */
TEST(comparisons)
{
	const u64 one = 0x3ff0000000000000, two = 0x4000000000000000, nan = 0x7ff8000000000000;

	expect_comparison(two, one, false, false, false, 0);
	expect_comparison(one, two, false, true, false, 0x100);
	expect_comparison(one, one, false, false, true, 0x4000);
	expect_comparison(one, nan, true, true, true, 0x4500);
}

/* ---- the host ---- */

static u16 host_control(void)
{
	u16 v;

	__asm__ volatile("fnstcw %0" : "=m"(v));
	return v;
}

/* The guest's precision is its own; the host finds control word and registers again. */
TEST(the_hosts_x87_is_its_own)
{
	const u16 odd = 0x0c7f, before = host_control(); /* to zero, 24 bits */
	struct guest *g = GUEST(third);
	u64 kept[2] = {0};

	set16(g, DATA_AT, CONTROL_START);
	set16(g, DATA_AT + 2, 3);
	__asm__ volatile("fldcw %0\n\tfldpi" : : "m"(odd));
	(void)guest_run(g);
	__asm__ volatile("fstpt %0" : "=m"(kept));
	EXPECT_EQ(odd, host_control());
	__asm__ volatile("fldcw %0" : : "m"(before));
	EXPECT_REAL(0x3ffd, 0xaaaaaaaaaaaaaaab, g, DATA_AT + 16);
	EXPECT_EQ(0x4000, (u16)kept[1]); /* pi, rounded to zero */
	EXPECT_EQ(0xc90fdaa22168c234, kept[0]);
	guest_free(g);
}

/* ---- landing ---- */

#define LOOP_BYTES 7 /* fld1: 2, mov: 5 */

/* A turn: fadd 3 bytes, fsts 3, dec 2, jnz 2; 1 load, 1 store. */
CODE(loop, "fld1\n mov $100, %ecx\n 1: fadds 8(%rsi)\n fsts 16(%rsi)\n dec %ecx\n jnz 1b\n hlt");

TEST(counters_land_inside)
{
	struct guest *g = GUEST(loop);

	memcpy(g->ram + DATA_AT + 8, "\0\0\x80\x3f", 4); /* 1.0f */
	g->goal[PRIV_OS][EVENT_STORES] = 42;
	g->stop_on_land = true;
	EXPECT_EQ(CPU_STOP_EVENT, guest_run(g));
	EXPECT_EQ(CODE_AT + LOOP_BYTES + 6, cpu_rip(g->cpu));
	EXPECT_EQ(2 + 41 * 4 + 2, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(0x422c0000, (u32)guest_get(g, DATA_AT + 16)); /* 43.0f */
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(100, guest_total(g, PRIV_OS, EVENT_LOADS));
	EXPECT_EQ(100, guest_total(g, PRIV_OS, EVENT_STORES));
	EXPECT_EQ(0x42ca0000, (u32)guest_get(g, DATA_AT + 16)); /* 101.0f */
	guest_free(g);
}

TEST_MAIN()
