// SPDX-License-Identifier: Apache-2.0
/*
 * floating_point.c - x87 and SSE: code as compilers emit it, bit for bit, flags and exceptions, #NM
 * and #UD where they are switched off; and that they count as any instruction does.
 *
 * Compiled for SSE2, unlike the other images: nothing of it may run before it is switched on.
 */
#pragma GCC push_options
#pragma GCC target("general-regs-only")

#include "page_tables.h"
#include "pmu.h"

#define CR0_MP BIT_ULL(1)
#define CR0_EM BIT_ULL(2)
#define CR0_TS BIT_ULL(3)
#define CR4_OSFXSR BIT_ULL(9)
#define CR4_OSXMMEXCPT BIT_ULL(10)
#define MXCSR_DEFAULT 0x1f80
#define MXCSR_ZE 0x04
#define MXCSR_ZM 0x200

/* ---- switches; the compiler must not use what they switch ---- */

static u64 attempt_sse(void)
{
	return attempt("movaps %%xmm0, %%xmm0", :: : "memory");
}

static u64 attempt_x87(void)
{
	return attempt("fnstsw %%ax", :: : "rax");
}

static void check_switches(void)
{
	u64 cr0 = read_cr0(), cr4 = read_cr4();
	u64 sse[4], x87[4], wait;

	write_cr0(cr0 | CR0_TS);
	sse[0] = attempt_sse();
	x87[0] = attempt_x87();
	wait = attempt("fwait", :: : "memory");
	__asm__ volatile("clts");
	sse[1] = attempt_sse();
	x87[1] = attempt_x87();
	write_cr0(cr0 | CR0_EM);
	sse[2] = attempt_sse();
	x87[2] = attempt_x87();
	write_cr0(cr0);
	write_cr4(cr4 & ~CR4_OSFXSR);
	sse[3] = attempt_sse();
	write_cr4(cr4);
	expect(sse[0], VECTOR_NM, "SSE with CR0.TS is #NM");
	expect(x87[0], VECTOR_NM, "x87 too");
	expect(wait, VECTOR_NM, "and FWAIT, with CR0.MP");
	expect(sse[1], NO_VECTOR, "CLTS allows SSE");
	expect(x87[1], NO_VECTOR, "and x87");
	expect(sse[2], VECTOR_UD, "SSE with CR0.EM is #UD");
	expect(x87[2], VECTOR_NM, "x87 is #NM");
	expect(sse[3], VECTOR_UD, "SSE without CR4.OSFXSR is #UD");
}

#pragma GCC pop_options

static u64 bits(double value)
{
	u64 result;

	__builtin_memcpy(&result, &value, sizeof(result));
	return result;
}

static u32 bits32(float value)
{
	u32 result;

	__builtin_memcpy(&result, &value, sizeof(result));
	return result;
}

/* Keep the compiler from doing it itself. */
static double hide(double value)
{
	__asm__ volatile("" : "+x"(value));
	return value;
}

static float hide32(float value)
{
	__asm__ volatile("" : "+x"(value));
	return value;
}

static u32 read_mxcsr(void)
{
	u32 value;

	__asm__ volatile("stmxcsr %0" : "=m"(value));
	return value;
}

static void write_mxcsr(u32 value)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(value));
}

/* ---- SSE as the compiler makes it ---- */

static void check_scalars(void)
{
	bool right = true;
	double root;

	/* 53 bits, rounded to nearest, ties to even. */
	right &= step(bits(hide(0.1) + hide(0.2)), 0x3fd3333333333334, "0.1 + 0.2");
	right &= step(bits(hide(10) / hide(3)), 0x400aaaaaaaaaaaab, "10 / 3");
	right &= step(bits(hide(1e308) * hide(10)), 0x7ff0000000000000, "too large is infinity");
	right &= step(bits(hide(5e-324) / hide(2)), 0, "half of the smallest is 0, to even");
	right &= step(bits(hide(0x1p-1022) / hide(2)), 0x0008000000000000, "a denormal number");
	right &= step(bits32(hide32(1) / hide32(3)), 0x3eaaaaab, "1 / 3 in 24 bits");
	root = hide(2);
	__asm__("sqrtsd %0, %0" : "+x"(root));
	right &= step(bits(root), 0x3ff6a09e667f3bcd, "the root of 2");
	right &= step(bits((double)hide32(0.1f)), 0x3fb99999a0000000, "24 bits to 53");
	right &= step(bits32((float)hide(1e-50)), 0, "53 bits to 24");
	expect_true(right, "SSE: arithmetic");

	right = step((u64)(s64)hide(-2.7), (u64)-2, "to an integer, towards 0");
	right &= step((u64)(s32)hide(1e10) & 0xffffffff, 0x80000000, "what does not fit");
	right &= step(bits((double)(s64)-7), 0xc01c000000000000, "from an integer");
	right &= step(bits32((float)(s32)16777217), 0x4b800000, "which is rounded");
	right &= step((u64)(hide(1) < hide(2)) << 1 | (hide(2) < hide(1)), 2, "comparison");
	right &= step(hide(0) / hide(0) == hide(0) / hide(0), 0, "NaN is not equal to itself");
	right &= step(hide(-0.0) == hide(0.0), 1, "the two zeros are");
	expect_true(right, "SSE: conversions and comparisons");
}

static double numbers[64];
static u32 integers[64];

/* Loops that the compiler may make vectors of. */
__attribute__((noinline)) static double sum_of(const double *at, u32 n)
{
	double sum = 0;

	for (u32 i = 0; i < n; i++)
		sum += at[i];
	return sum;
}

__attribute__((noinline)) static void scale(double *at, u32 n, double by)
{
	for (u32 i = 0; i < n; i++)
		at[i] *= by;
}

__attribute__((noinline, optimize("O3"))) static void mix(u32 *at, u32 n, u32 with)
{
	for (u32 i = 0; i < n; i++)
		at[i] = (at[i] + with) ^ at[i] << 3;
}

static void check_loops(void)
{
	bool right = true;

	for (u32 i = 0; i < 64; i++) {
		numbers[i] = i;
		integers[i] = i * 0x01010101;
	}
	scale(numbers, 64, 0.5);
	/* 0 + 1 + ... + 63 = 2016, all exact */
	right &= step(bits(sum_of(numbers, 64)), bits(1008), "a sum of halves");
	mix(integers, 64, 77);
	for (u32 i = 0; i < 64; i++)
		right &= step(integers[i], (u32)(i * 0x01010101 + 77) ^ (u32)(i * 0x01010101) << 3,
			      "integer %u", (u64)i);
	expect_true(right, "SSE: loops over arrays");
}

static void check_vectors(void)
{
	static u32 from[4] __attribute__((aligned(16))) = {1, 2, 3, 0x80000000};
	static u32 to[4] __attribute__((aligned(16)));
	bool right = true;
	u64 mask;

	__asm__ volatile("movdqa (%1), %%xmm1\n\t"
			 "movdqa %%xmm1, %%xmm2\n\t"
			 "paddd %%xmm2, %%xmm1\n\t"
			 "pshufd $0x1b, %%xmm1, %%xmm3\n\t"
			 "pxor %%xmm4, %%xmm4\n\t"
			 "pcmpeqd %%xmm1, %%xmm4\n\t"
			 "movmskps %%xmm4, %0\n\t"
			 "movups %%xmm3, (%2)"
			 : "=&r"(mask)
			 : "r"(from), "r"(to)
			 : "xmm1", "xmm2", "xmm3", "xmm4", "memory");
	/* Doubled: 2, 4, 6, 0; backwards. Only the last is equal to 0. */
	right &= step(to[0] | to[1] << 8 | to[2] << 16 | (u64)to[3] << 24, 0x02040600,
		      "PADDD, PSHUFD");
	right &= step(mask, 8, "PCMPEQD, MOVMSKPS");
	right &= step(attempt("movdqa 4(%0), %%xmm1", : : "r"(from) : "xmm1"), VECTOR_GP,
		      "MOVDQA of what is not aligned");
	right &= step(attempt("movdqu 4(%0), %%xmm1", : : "r"(from) : "xmm1"), NO_VECTOR, "MOVDQU");
	expect_true(right, "SSE: vectors and their alignment");
}

/* ---- exceptions ---- */

static void check_flags(void)
{
	bool right = true;
	u64 vector;

	write_mxcsr(MXCSR_DEFAULT);
	right &= step(bits(hide(1) / hide(0)), 0x7ff0000000000000, "1 / 0, masked");
	right &= step(read_mxcsr(), MXCSR_DEFAULT | MXCSR_ZE, "sets its flag");
	write_mxcsr(MXCSR_DEFAULT & ~MXCSR_ZM);
	vector = attempt("movl $1, %%eax\n cvtsi2sdl %%eax, %%xmm0\n xorps %%xmm1, %%xmm1\n"
			 "divsd %%xmm1, %%xmm0",
			 :: : "rax", "xmm0", "xmm1");
	right &= step(vector, VECTOR_XM, "1 / 0, unmasked");
	right &= step(read_mxcsr() & MXCSR_ZE, MXCSR_ZE, "its flag");
	write_mxcsr(MXCSR_DEFAULT);
	right &= step(attempt("ldmxcsr %0", : : "m"((u32){0x10000})), VECTOR_GP,
		      "a reserved bit of MXCSR");
	expect_true(right, "SSE: exceptions, masked and unmasked");
}

/* ---- x87 ---- */

struct extended {
	u64 mantissa;
	u16 exponent;
} __attribute__((packed));

static void check_x87(void)
{
	struct extended e;
	double d = 2.5, third;
	bool right = true;
	u16 control, status;
	s32 rounded;

	__asm__ volatile("fninit\n\tfnstcw %0\n\tfnstsw %1" : "=m"(control), "=m"(status));
	right &= step(control, 0x37f, "control word") & step(status, 0, "status word");
	/* 1, then 1 + 1 and 1 more: ST = 3, ST(1) = 1 */
	__asm__ volatile("fld1\n\t"
			 "fld1\n\t"
			 "fadd %%st(0), %%st\n\t"
			 "fadd %%st(1), %%st\n\t"
			 "fdivr %%st, %%st(1)\n\t" /* ST(1) = 3 / 1 */
			 "fld1\n\t"
			 "fdiv %%st(1), %%st\n\t" /* 1 / 3 */
			 "fstpt %0\n\t"
			 "fstpl %1\n\t"
			 "fstp %%st(0)"
			 : "=m"(e), "=m"(third));
	/* 64 bits of 1 / 3, rounded to nearest */
	right &= step(e.exponent, 0x3ffd, "1 / 3") &
		 step(e.mantissa, 0xaaaaaaaaaaaaaaab, "in 64 bits");
	right &= step(bits(third), bits(3), "1 + 1 + 1");
	__asm__ volatile("fldpi\n\tfstpt %0" : "=m"(e));
	right &= step(e.exponent, 0x4000, "pi") &
		 step(e.mantissa, 0xc90fdaa22168c235, "in 64 bits");
	__asm__ volatile("fldl %1\n\tfistpl %0" : "=m"(rounded) : "m"(d));
	right &= step((u32)rounded, 2, "2.5 is rounded to even");
	__asm__ volatile("fildl %1\n\tfsqrt\n\tfstpl %0" : "=m"(d) : "m"((s32){2}));
	right &= step(bits(d), 0x3ff6a09e667f3bcd, "the root of 2");
	__asm__ volatile("fnstsw %0" : "=m"(status));
	right &= step(status >> 11 & 7, 0, "the stack is empty again");
	expect_true(right, "x87: loads, additions, divisions, stores");
}

static u8 area[512] __attribute__((aligned(16)));

static void check_fxsave(void)
{
	u64 low = 0x1122334455667788, got;

	__asm__ volatile("movq %1, %%xmm7\n\t"
			 "fxsave %2\n\t"
			 "pxor %%xmm7, %%xmm7\n\t"
			 "fxrstor %2\n\t"
			 "movq %%xmm7, %0"
			 : "=r"(got)
			 : "r"(low), "m"(area)
			 : "xmm7", "memory");
	expect(got, low, "FXSAVE and FXRSTOR keep XMM7");
	expect(*(u64 *)(void *)(area + 160 + 16 * 7), low, "which is saved in its place");
	expect(*(u32 *)(void *)(area + 24), MXCSR_DEFAULT, "MXCSR in its place");
}

/* Counted as any other: 100 rounds of 4 instructions, 1 branch, with loads of a warm line. */
static void check_counting(void)
{
	pmu_init();
	set_counter(0, arch_events[EVENT_INSTRUCTIONS].encoding | SEL_OS);
	count_stretch(stretch_of(1),
		      "1: addsd (%%rdi), %%xmm0\n mulpd %%xmm1, %%xmm2\n decq %%rsi\n jnz 1b\n",
		      100, numbers);
	expect(read_counter(0), FRAME + 400, "SSE instructions count");
	set_counter(0, arch_events[EVENT_INSTRUCTIONS].encoding | SEL_OS);
	write_counter(0, 0);
	count_stretch(stretch_of(1), "1: fld1\n fstp %%st(0)\n decq %%rsi\n jnz 1b\n", 100, 0);
	expect(read_counter(0), FRAME + 400, "x87 instructions count");
}

__attribute__((noinline)) static void switched_on(void)
{
	check_scalars();
	check_loops();
	check_vectors();
	check_flags();
	check_switches();
	check_x87();
	check_fxsave();
	check_counting();
}

void image_main(void)
{
	write_cr0((read_cr0() | CR0_MP) & ~(CR0_EM | CR0_TS));
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	switched_on();
}
