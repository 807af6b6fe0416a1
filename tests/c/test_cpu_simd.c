/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_simd.c - SSE and SSE2 of the guest CPU: when they fault, MXCSR, FXSAVE, counts, landing.
 *
 * What an instruction computes is judged by the processor (tests/judges).
 */
#include "cpu/state.h"
#include "test_cpu_faulting.h"

#define CR4_SSE (CR4_OSFXSR | CR4_OSXMMEXCPT)
#define MXCSR_DEFAULT 0x1f80u
#define IE 0x01u
#define DE 0x02u
#define ZE 0x04u
#define OE 0x08u
#define UE 0x10u
#define PE 0x20u
#define DAZ 0x40u
#define UNMASK(flag) (MXCSR_DEFAULT & ~((flag) << 7))
#define FTZ 0x8000u
#define RC(mode) ((u32)(mode) << 13)

/* SSE is on. */
static struct guest *simd_guest(const u8 *from, const u8 *end)
{
	struct guest *g = faulting_guest(from, end);

	g->start.cr4 |= CR4_SSE;
	cpu_start(g->cpu, &g->start);
	return g;
}
#define GUEST(name) simd_guest(code_##name, code_##name##_end)

static u32 get32(const struct guest *g, u64 pa)
{
	return (u32)guest_get(g, pa);
}

static void set32(struct guest *g, u64 pa, u32 v)
{
	memcpy(g->ram + pa, &v, 4);
}

/* ---- when they are on ---- */

CODE(one_move, "movaps %xmm1, %xmm0\nhlt");
CODE(one_add, "addps %xmm1, %xmm0\nhlt");
CODE(one_store, "mov $0x100000, %esi\nmovntdq %xmm1, (%rsi)\nhlt");
CODE(one_ldmxcsr, "mov $0x100000, %esi\nldmxcsr (%rsi)\nhlt");
CODE(locked, "mov $0x100000, %esi\n.byte 0xf0\nmovups %xmm0, (%rsi)\nhlt");

static int vector_with(const u8 *from, const u8 *end, u64 cr0, u64 cr4)
{
	struct guest *g = simd_guest(from, end);
	int vector;

	g->start.cr0 = (g->start.cr0 & ~(CR0_EM | CR0_TS)) | cr0;
	g->start.cr4 = (g->start.cr4 & ~CR4_SSE) | cr4;
	cpu_start(g->cpu, &g->start);
	vector = run(g);
	guest_free(g);
	return vector;
}
#define VECTOR_WITH(name, cr0, cr4) vector_with(code_##name, code_##name##_end, (cr0), (cr4))

#define EXPECT_SWITCHES(name)                                                                      \
	do {                                                                                       \
		EXPECT_EQ(NO_FAULT, VECTOR_WITH(name, 0, CR4_OSFXSR));                             \
		EXPECT_EQ(VECTOR_UD, VECTOR_WITH(name, 0, 0));                                     \
		EXPECT_EQ(VECTOR_UD, VECTOR_WITH(name, CR0_EM, CR4_OSFXSR));                       \
		EXPECT_EQ(VECTOR_NM, VECTOR_WITH(name, CR0_TS, CR4_OSFXSR));                       \
		EXPECT_EQ(VECTOR_UD, VECTOR_WITH(name, CR0_TS | CR0_EM, CR4_OSFXSR));              \
		EXPECT_EQ(VECTOR_UD, VECTOR_WITH(name, CR0_TS, 0));                                \
	} while (0)

/* SDM, "Checking for SSE": #UD by EM or without OSFXSR, else #NM by TS. */
TEST(control_registers_switch_it_off)
{
	EXPECT_SWITCHES(one_move);
	EXPECT_SWITCHES(one_add);
	EXPECT_SWITCHES(one_store);
	EXPECT_EQ(VECTOR_UD, VECTOR_WITH(one_ldmxcsr, 0, 0));
	EXPECT_EQ(VECTOR_NM, VECTOR_WITH(one_ldmxcsr, CR0_TS, CR4_OSFXSR));
	EXPECT_EQ(VECTOR_UD, VECTOR_WITH(locked, 0, CR4_OSFXSR));
}

CODE(task_switch,
     "mov %cr0, %rax\n or $8, %rax\n mov %rax, %cr0\n clts\n paddd %xmm0, %xmm0\n hlt");

TEST(clts_switches_it_on_again)
{
	struct guest *g = GUEST(task_switch);

	EXPECT_EQ(NO_FAULT, run(g));
	guest_free(g);
}

/* ---- alignment ---- */

CODE(aligned_load, "movaps 8(%rsi), %xmm0\nhlt");
CODE(aligned_store, "movntps %xmm0, 8(%rsi)\nhlt");
CODE(aligned_source, "paddd 8(%rsi), %xmm0\nhlt");
CODE(any_load, "movdqu 1(%rsi), %xmm0\nhlt");
CODE(any_scalar, "addsd 1(%rsi), %xmm0\nmovhpd 3(%rsi), %xmm1\ncvtps2pd 5(%rsi), %xmm2\nhlt");

static int vector_at_data(const u8 *from, const u8 *end)
{
	struct guest *g = simd_guest(from, end);
	int vector;

	cpu_set_reg(g->cpu, CPU_RSI, DATA_AT);
	vector = run(g);
	if (vector == VECTOR_GP)
		EXPECT_EQ(0, guest_get(g, cpu_reg(g->cpu, CPU_RSP))); /* the error code */
	guest_free(g);
	return vector;
}
#define AT_DATA(name) vector_at_data(code_##name, code_##name##_end)

TEST(sixteen_bytes_are_aligned_unless_the_instruction_says_so)
{
	EXPECT_EQ(VECTOR_GP, AT_DATA(aligned_load));
	EXPECT_EQ(VECTOR_GP, AT_DATA(aligned_store));
	EXPECT_EQ(VECTOR_GP, AT_DATA(aligned_source));
	EXPECT_EQ(NO_FAULT, AT_DATA(any_load));
	EXPECT_EQ(NO_FAULT, AT_DATA(any_scalar));
}

/* ---- MXCSR ---- */

/* 2.5 and -2.5 under the MXCSR at 0x100000. */
CODE(round, "mov $0x100000, %esi\n ldmxcsr (%rsi)\n cvtsd2si 16(%rsi), %rax\n"
	    "cvtsd2si 24(%rsi), %rbx\n cvttsd2si 24(%rsi), %rcx\n stmxcsr 4(%rsi)\n hlt");

TEST(rounding_modes)
{
	/* nearest (even), down, up, to zero */
	static const s64 up[] = {2, 2, 3, 2}, down[] = {-2, -3, -2, -2};

	for (unsigned int mode = 0; mode < 4; mode++) {
		struct guest *g = GUEST(round);

		set32(g, DATA_AT, MXCSR_DEFAULT | RC(mode));
		guest_set(g, DATA_AT + 16, 0x4004000000000000);
		guest_set(g, DATA_AT + 24, 0xc004000000000000);
		EXPECT_EQ(NO_FAULT, run(g));
		EXPECT_EQ((u64)up[mode], cpu_reg(g->cpu, CPU_RAX));
		EXPECT_EQ((u64)down[mode], cpu_reg(g->cpu, CPU_RBX));
		EXPECT_EQ((u64)-2, cpu_reg(g->cpu, CPU_RCX)); /* truncates in every mode */
		EXPECT_EQ(MXCSR_DEFAULT | RC(mode) | PE, get32(g, DATA_AT + 4));
		guest_free(g);
	}
}

/* A product of singles: at 16 times at 20, result at 24, MXCSR afterwards at 4. */
CODE(product,
     "mov $0x100000, %esi\n ldmxcsr (%rsi)\n movss 16(%rsi), %xmm0\n mulss 20(%rsi), %xmm0\n"
     "movss %xmm0, 24(%rsi)\n stmxcsr 4(%rsi)\n hlt");

#define SINGLE_1 0x3f800000u
#define SINGLE_HALF 0x3f000000u
#define SINGLE_LARGEST 0x7f7fffffu
#define SINGLE_LEAST_NORMAL 0x00800000u
#define SINGLE_DENORMAL 0x00400000u /* half of it */
#define SINGLE_INFINITY 0x7f800000u
#define SINGLE_SNAN 0x7f800001u
#define SINGLE_QNAN 0x7fc00001u
#define NOT_WRITTEN 0xccccccccu

struct product {
	u32 mxcsr, a, b;
	int vector;
	u32 result, flags;
};

static void expect_product(const struct product *p)
{
	struct guest *g = GUEST(product);

	set32(g, DATA_AT, p->mxcsr);
	set32(g, DATA_AT + 16, p->a);
	set32(g, DATA_AT + 20, p->b);
	set32(g, DATA_AT + 24, NOT_WRITTEN);
	EXPECT_EQ(p->vector, run(g));
	EXPECT_EQ(p->result, get32(g, DATA_AT + 24));
	EXPECT_EQ(p->mxcsr | p->flags, g->cpu->fpu.mxcsr);
	if (p->vector == NO_FAULT)
		EXPECT_EQ(p->mxcsr | p->flags, get32(g, DATA_AT + 4));
	else
		EXPECT_EQ(p->a, (u32)g->cpu->fpu.xmm[0][0]);
	guest_free(g);
}

TEST(flags_and_exceptions)
{
	static const struct product products[] = {
		{MXCSR_DEFAULT, SINGLE_1, SINGLE_HALF, NO_FAULT, SINGLE_HALF, 0},
		{MXCSR_DEFAULT, SINGLE_SNAN, SINGLE_1, NO_FAULT, SINGLE_QNAN, IE},
		{MXCSR_DEFAULT, SINGLE_LARGEST, SINGLE_LARGEST, NO_FAULT, SINGLE_INFINITY, OE | PE},
		/* Exact, so no underflow while it is masked. */
		{MXCSR_DEFAULT, SINGLE_LEAST_NORMAL, SINGLE_HALF, NO_FAULT, SINGLE_DENORMAL, 0},
		{MXCSR_DEFAULT, SINGLE_DENORMAL, SINGLE_1, NO_FAULT, SINGLE_DENORMAL, DE},
		/* Denormals are zeros: no DE, and zero comes out. */
		{MXCSR_DEFAULT | DAZ, SINGLE_DENORMAL, SINGLE_1, NO_FAULT, 0, 0},
		/* Flush to zero says UE and PE of every tiny result, but works only while masked. */
		{MXCSR_DEFAULT | FTZ, SINGLE_LEAST_NORMAL, SINGLE_HALF, NO_FAULT, 0, UE | PE},
		{UNMASK(UE) | FTZ, SINGLE_LEAST_NORMAL, SINGLE_HALF, VECTOR_XM, NOT_WRITTEN, UE},
		{UNMASK(UE), SINGLE_LEAST_NORMAL, SINGLE_HALF, VECTOR_XM, NOT_WRITTEN, UE},
		{UNMASK(UE), SINGLE_1, SINGLE_HALF, NO_FAULT, SINGLE_HALF, 0},
		{UNMASK(IE), SINGLE_SNAN, SINGLE_1, VECTOR_XM, NOT_WRITTEN, IE},
		{UNMASK(DE), SINGLE_DENORMAL, SINGLE_1, VECTOR_XM, NOT_WRITTEN, DE},
		{UNMASK(PE), 0x3f800001, 0x3f800001, VECTOR_XM, NOT_WRITTEN, PE},
		/* A masked one is only noted. */
		{UNMASK(ZE), 0x3f800001, SINGLE_HALF + 1, NO_FAULT, 0x3f000002, PE},
		/* Sticky: what was there stays. */
		{MXCSR_DEFAULT | ZE, SINGLE_DENORMAL, SINGLE_1, NO_FAULT, SINGLE_DENORMAL, DE},
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(products); n++)
		expect_product(&products[n]);
}

/* Lanes: 1/0, 1/3, 1/1, 1/1. ZE is found before the operation, so 1/3 says nothing. */
CODE(quotients, "mov $0x100000, %esi\n ldmxcsr (%rsi)\n movaps 16(%rsi), %xmm0\n"
		"divps 32(%rsi), %xmm0\n hlt");

static struct guest *quotients(u32 mxcsr)
{
	static const u32 dividends[] = {SINGLE_1, SINGLE_1, SINGLE_1, SINGLE_1};
	static const u32 divisors[] = {0, 0x40400000, SINGLE_1, SINGLE_1};
	struct guest *g = GUEST(quotients);

	set32(g, DATA_AT, mxcsr);
	memcpy(g->ram + DATA_AT + 16, dividends, 16);
	memcpy(g->ram + DATA_AT + 32, divisors, 16);
	return g;
}

TEST(an_unmasked_exception_in_one_lane)
{
	struct guest *g = quotients(MXCSR_DEFAULT);

	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(MXCSR_DEFAULT | ZE | PE, g->cpu->fpu.mxcsr);
	/* infinity, and 1/3 to the nearest */
	EXPECT_EQ(0x3eaaaaab7f800000, g->cpu->fpu.xmm[0][0]);
	guest_free(g);

	g = quotients(UNMASK(ZE));
	EXPECT_EQ(VECTOR_XM, run(g));
	EXPECT_EQ(UNMASK(ZE) | ZE, g->cpu->fpu.mxcsr);
	EXPECT_EQ(0x3f8000003f800000, g->cpu->fpu.xmm[0][0]);
	EXPECT_EQ(CODE_AT + 5 + 3 + 4, pushed_rip(g));		       /* mov, ldmxcsr, movaps */
	EXPECT_EQ(3, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS) - 1); /* and the HLT */
	guest_free(g);

	/* Without OSXMMEXCPT it is #UD. */
	g = quotients(UNMASK(ZE));
	g->start.cr4 &= ~CR4_OSXMMEXCPT;
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(VECTOR_UD, run(g));
	guest_free(g);
}

TEST(reserved_bits_of_mxcsr)
{
	struct guest *g = GUEST(one_ldmxcsr);

	set32(g, DATA_AT, MXCSR_DEFAULT | 0x10000);
	EXPECT_EQ(VECTOR_GP, run(g));
	EXPECT_EQ(MXCSR_DEFAULT, g->cpu->fpu.mxcsr);
	guest_free(g);
}

static u32 host_mxcsr(void)
{
	u32 v;

	__asm__ volatile("stmxcsr %0" : "=m"(v));
	return v;
}

/* The guest rounds as it says, and the host finds its own MXCSR again. */
TEST(the_hosts_mxcsr_is_its_own)
{
	const u32 odd = MXCSR_DEFAULT | RC(2) | DAZ | FTZ | OE, before = host_mxcsr();
	struct guest *g = quotients(MXCSR_DEFAULT);

	__asm__ volatile("ldmxcsr %0" : : "m"(odd));
	(void)guest_run(g);
	EXPECT_EQ(odd, host_mxcsr());
	__asm__ volatile("ldmxcsr %0" : : "m"(before));
	EXPECT_EQ(0x3eaaaaab7f800000, g->cpu->fpu.xmm[0][0]);
	EXPECT_EQ(MXCSR_DEFAULT | ZE | PE, g->cpu->fpu.mxcsr);
	guest_free(g);

	/* With unmasked exceptions it is loaded and put back around each. */
	g = quotients(UNMASK(OE));
	__asm__ volatile("ldmxcsr %0" : : "m"(odd));
	(void)guest_run(g);
	EXPECT_EQ(odd, host_mxcsr());
	__asm__ volatile("ldmxcsr %0" : : "m"(before));
	EXPECT_EQ(0x3eaaaaab7f800000, g->cpu->fpu.xmm[0][0]);
	guest_free(g);
}

/* ---- FXSAVE ---- */

CODE(save, "mov $0x100000, %esi\n ldmxcsr (%rsi)\n fldcw 4(%rsi)\n fld1\n fldpi\n"
	   "movdqa 16(%rsi), %xmm0\n movdqa 16(%rsi), %xmm15\n fxsave 0x100(%rsi)\n hlt");

TEST(layout_of_fxsave)
{
	struct guest *g = GUEST(save);
	const u64 area = DATA_AT + 0x100;

	set32(g, DATA_AT, MXCSR_DEFAULT | RC(1));
	set32(g, DATA_AT + 4, 0x027f);
	guest_set(g, DATA_AT + 16, 0x1122334455667788);
	guest_set(g, DATA_AT + 24, 0x99aabbccddeeff00);
	for (unsigned int n = 0; n < 512; n++)
		g->ram[area + n] = 0xcc;
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(0x027f, get32(g, area) & 0xffff);
	EXPECT_EQ(6 << 11, get32(g, area) >> 16);     /* two values: TOP is 6 */
	EXPECT_EQ(0xc0, get32(g, area + 4) & 0xffff); /* R6 and R7 are in use */
	EXPECT_EQ(0, get32(g, area + 4) >> 16);	      /* no unmasked exception yet */
	/* FLDPI is the last x87 instruction: behind mov 5, ldmxcsr 3, fldcw 3, fld1 2 bytes. */
	EXPECT_EQ(CODE_AT + 13, guest_get(g, area + 8));
	EXPECT_EQ(MXCSR_DEFAULT | RC(1), get32(g, area + 24));
	EXPECT_EQ(0xffff, get32(g, area + 28));
	EXPECT_EQ(0xc90fdaa22168c235, guest_get(g, area + 32)); /* pi, to the nearest */
	EXPECT_EQ(0x4000, guest_get(g, area + 40));
	EXPECT_EQ(BIT_ULL(63), guest_get(g, area + 48)); /* 1 */
	EXPECT_EQ(0x3fff, guest_get(g, area + 56));
	EXPECT_EQ(0x1122334455667788, guest_get(g, area + 160));
	EXPECT_EQ(0x99aabbccddeeff00, guest_get(g, area + 160 + 15 * 16 + 8));
	/* What stands behind XMM15 is not written. */
	for (unsigned int n = 416; n < 512; n++)
		EXPECT_EQ(0xcc, g->ram[area + n]);
	/* ldmxcsr, fldcw, two movdqa; fxsave */
	EXPECT_EQ(4, guest_total(g, PRIV_OS, EVENT_LOADS));
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_STORES));
	guest_free(g);
}

CODE(restore, "mov $0x100100, %esi\n fxrstor (%rsi)\n hlt");

TEST(fxrstor_takes_all_or_nothing)
{
	const u64 area = DATA_AT + 0x100;
	struct guest *g = GUEST(restore);

	set32(g, area, 0x037f);
	set32(g, area + 24, MXCSR_DEFAULT | FTZ);
	guest_set(g, area + 160 + 3 * 16, 42);
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(MXCSR_DEFAULT | FTZ, g->cpu->fpu.mxcsr);
	EXPECT_EQ(42, g->cpu->fpu.xmm[3][0]);
	guest_free(g);

	g = GUEST(restore);
	set32(g, area + 24, MXCSR_DEFAULT | 0x20000);
	guest_set(g, area + 160 + 3 * 16, 42);
	EXPECT_EQ(VECTOR_GP, run(g));
	EXPECT_EQ(MXCSR_DEFAULT, g->cpu->fpu.mxcsr);
	EXPECT_EQ(0x37f, g->cpu->fpu.x87.control);
	EXPECT_EQ(0, g->cpu->fpu.xmm[3][0]);
	guest_free(g);
}

CODE(save_unaligned, "mov $0x100108, %esi\n fxsave (%rsi)\n hlt");
CODE(save_plain, "mov $0x100000, %esi\n fxsave (%rsi)\n hlt");

TEST(fxsave_has_switches_of_its_own)
{
	EXPECT_EQ(VECTOR_GP, VECTOR_WITH(save_unaligned, 0, CR4_OSFXSR));
	EXPECT_EQ(NO_FAULT, VECTOR_WITH(save_plain, 0, 0));
	EXPECT_EQ(VECTOR_NM, VECTOR_WITH(save_plain, CR0_TS, CR4_OSFXSR));
	EXPECT_EQ(VECTOR_NM, VECTOR_WITH(save_plain, CR0_EM, CR4_OSFXSR));
}

/* ---- page boundaries ---- */

static void take_page_away(struct guest *g)
{
	guest_set(g, PT_AT + (MISSING_AT >> 12) * 8, 0);
}

CODE(store_across, "mov $0x1ff000, %esi\n movdqu %xmm0, -5(%rsi)\n hlt");
CODE(save_across, "mov $0x1ff000, %esi\n fxsave -0x100(%rsi)\n hlt");
CODE(load_across, "mov $0x1ff000, %esi\n movdqu -5(%rsi), %xmm0\n hlt");

static void expect_untouched(const u8 *from, const u8 *end, u64 error)
{
	struct guest *g = simd_guest(from, end);

	take_page_away(g);
	memset(g->ram + MISSING_AT - 512, 0xcc, 512);
	g->cpu->fpu.xmm[0] = (xmm_t){1, 2};
	EXPECT_EQ(VECTOR_PF, run(g));
	EXPECT_EQ(error, guest_get(g, cpu_reg(g->cpu, CPU_RSP)));
	EXPECT_EQ(MISSING_AT, g->cpu->cr2);
	for (unsigned int n = 1; n <= 512; n++)
		EXPECT_EQ(0xcc, g->ram[MISSING_AT - n]);
	EXPECT_EQ(1, g->cpu->fpu.xmm[0][0]);
	EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_STORES));
	EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_LOADS));
	guest_free(g);
}
#define UNTOUCHED(name, error) expect_untouched(code_##name, code_##name##_end, (error))

TEST(a_fault_in_the_second_page_changes_nothing)
{
	UNTOUCHED(store_across, 2); /* a write to a page that is not there */
	UNTOUCHED(save_across, 2);
	UNTOUCHED(load_across, 0);
}

CODE(masked, "mov $0x1ff000, %edi\n sub $8, %rdi\n maskmovdqu %xmm1, %xmm0\n hlt");

TEST(maskmovdqu_writes_what_is_selected)
{
	struct guest *g = GUEST(masked);

	memset(g->ram + MISSING_AT - 8, 0xcc, 16);
	g->cpu->fpu.xmm[0] = (xmm_t){0x0706050403020100, 0x0f0e0d0c0b0a0908};
	g->cpu->fpu.xmm[1] = (xmm_t){0x80007f00ff000080, 0x8000000000000000};
	EXPECT_EQ(NO_FAULT, run(g));
	/* bits 7 of the mask bytes: 0, 3, 7 and 15; byte 5 has 7f */
	EXPECT_EQ(0x07cccccc03cccc00, guest_get(g, MISSING_AT - 8));
	EXPECT_EQ(0x0fcccccccccccccc, guest_get(g, MISSING_AT));
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_STORES));
	guest_free(g);

	/* Nothing is selected: no fault, and the store counts all the same. */
	g = GUEST(masked);
	take_page_away(g);
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_STORES));
	guest_free(g);
}

/* ---- memory of other kinds ---- */

CODE(device, "mov $0x2000000, %esi\n movdqa (%rsi), %xmm0\n movups %xmm0, 16(%rsi)\n hlt");

TEST(a_device_sees_two_halves)
{
	struct guest *g = GUEST(device);

	g->device = 0x123456789abcdef0;
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(2, g->device_reads);
	EXPECT_EQ(2, g->device_writes);
	EXPECT_EQ(0x123456789abcdef0, g->cpu->fpu.xmm[0][0]);
	EXPECT_EQ(0x123456789abcdef0, g->cpu->fpu.xmm[0][1]);
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_LOADS));
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_STORES));
	guest_free(g);
}

/* The store overwrites sixteen NOPs behind it by sixteen INC %EAX (two bytes each). */
CODE(modifies, "mov $0x100000, %esi\n xor %eax, %eax\n movdqa (%rsi), %xmm0\n"
	       "movups %xmm0, 1f(%rip)\n 1: .fill 16, 1, 0x90\n hlt");

TEST(code_that_it_writes_is_executed)
{
	struct guest *g = GUEST(modifies);

	for (unsigned int n = 0; n < 8; n++)
		memcpy(g->ram + DATA_AT + 2 * n, "\xff\xc0", 2);
	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(8, cpu_reg(g->cpu, CPU_RAX));
	/* mov, xor, movdqa, movups, 8 inc, hlt */
	EXPECT_EQ(13, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* ---- counting ---- */

#define TURNS 1000u
#define LOOP_BYTES 10 /* in front of the loop */

/* A turn: 2 loads (movups, addsd), 2 stores (movaps, movlps), 1 branch, 7 instructions. */
CODE(loop, "mov $0x100000, %esi\n mov $1000, %ecx\n"
	   "1: movups 1(%rsi), %xmm0\n addsd 32(%rsi), %xmm1\n paddd %xmm0, %xmm0\n"
	   "movaps %xmm0, 64(%rsi)\n movlps %xmm0, 81(%rsi)\n dec %ecx\n jnz 1b\n hlt");

TEST(counts_of_a_loop)
{
	struct guest *g = GUEST(loop);

	EXPECT_EQ(NO_FAULT, run(g));
	EXPECT_EQ(2 + 7 * TURNS + 1, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(2 * TURNS, guest_total(g, PRIV_OS, EVENT_LOADS));
	EXPECT_EQ(2 * TURNS, guest_total(g, PRIV_OS, EVENT_STORES));
	EXPECT_EQ(TURNS, guest_total(g, PRIV_OS, EVENT_BRANCHES));
	guest_free(g);
}

/* Offsets behind each instruction of a turn, by length: 4, 5, 4, 4, 4, 2, 2 (the branch goes back). */
TEST(a_counter_lands_on_each_instruction)
{
	static const u64 behind[] = {4, 9, 13, 17, 21, 23, 0};

	for (u64 goal = 3; goal < 3 + 14; goal++) {
		struct guest *g = GUEST(loop);

		g->goal[PRIV_OS][EVENT_INSTRUCTIONS] = goal;
		g->stop_on_land = true;
		EXPECT_EQ(CPU_STOP_EVENT, guest_run(g));
		EXPECT_EQ(goal, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
		EXPECT_EQ(CODE_AT + LOOP_BYTES + behind[(goal - 3) % 7], cpu_rip(g->cpu));
		guest_free(g);
	}
}

/* Two loads a turn: the odd ones are MOVUPS. Two stores: the even ones are MOVLPS. */
TEST(a_counter_of_loads_and_stores_lands)
{
	struct guest *g = GUEST(loop);

	g->goal[PRIV_OS][EVENT_LOADS] = 501; /* MOVUPS of turn 251 */
	g->stop_on_land = true;
	EXPECT_EQ(CPU_STOP_EVENT, guest_run(g));
	EXPECT_EQ(CODE_AT + LOOP_BYTES + 4, cpu_rip(g->cpu));
	EXPECT_EQ(2 + 7 * 250 + 1, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	g->goal[PRIV_OS][EVENT_STORES] = 1000; /* MOVLPS of turn 500 */
	cpu_horizon_changed(g->cpu);
	EXPECT_EQ(CPU_STOP_EVENT, guest_run(g));
	EXPECT_EQ(CODE_AT + LOOP_BYTES + 21, cpu_rip(g->cpu));
	EXPECT_EQ(2 + 7 * 499 + 5, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* Sums of 1/n under a rounding mode: the same whatever slices it runs in. */
CODE(harmonic, "mov $0x100000, %esi\n ldmxcsr (%rsi)\n mov $1000, %ecx\n xorps %xmm0, %xmm0\n"
	       "1: cvtsi2sd %ecx, %xmm1\n movsd 8(%rsi), %xmm2\n divsd %xmm1, %xmm2\n"
	       "addsd %xmm2, %xmm0\n dec %ecx\n jnz 1b\n hlt");

static u64 harmonic(u64 slice, u32 mxcsr)
{
	struct guest *g = GUEST(harmonic);
	u64 sum;

	g->budget_slice = slice;
	set32(g, DATA_AT, mxcsr);
	guest_set(g, DATA_AT + 8, 0x3ff0000000000000);
	EXPECT_EQ(NO_FAULT, run(g));
	sum = g->cpu->fpu.xmm[0][0];
	EXPECT_EQ(mxcsr | PE, g->cpu->fpu.mxcsr);
	guest_free(g);
	return sum;
}

TEST(slices_change_no_sum)
{
	for (unsigned int mode = 0; mode < 4; mode++) {
		u64 sum = harmonic(0, MXCSR_DEFAULT | RC(mode));

		EXPECT_EQ(sum, harmonic(7, MXCSR_DEFAULT | RC(mode)));
		EXPECT_EQ(sum, harmonic(1, UNMASK(OE) | RC(mode)));
	}
	/* Rounded up at each step it is more than rounded down. */
	EXPECT_TRUE(harmonic(0, MXCSR_DEFAULT | RC(2)) > harmonic(0, MXCSR_DEFAULT | RC(1)));
}

/* ---- 32-bit code ---- */

CODE(legacy,
     ".code32\n mov $0x100000, %esi\n movups 1(%esi), %xmm7\n paddd 16(%esi), %xmm7\n"
     "cvtsi2sd 32(%esi), %xmm1\n movsd %xmm1, 40(%esi)\n fxsave 0x100(%esi)\n hlt\n.code64");

TEST(in_compatibility_mode)
{
	struct guest *g = GUEST(legacy);

	g->start.cs.attr = 0xc09b;
	cpu_start(g->cpu, &g->start);
	g->cpu->fpu.xmm[8] = (xmm_t){1, 1};
	for (unsigned int n = 0; n < 32; n++)
		g->ram[DATA_AT + n] = (u8)n;
	set32(g, DATA_AT + 32, 3);
	guest_set(g, DATA_AT + 0x100 + 160 + 8 * 16, 0xcccccccccccccccc);
	EXPECT_EQ(NO_FAULT, run(g));
	/* 04030201 + 13121110, and above 08070605 + 17161514 */
	EXPECT_EQ(0x1f1d1b1917151311, guest_get(g, DATA_AT + 0x100 + 160 + 7 * 16));
	EXPECT_EQ(0x4008000000000000, guest_get(g, DATA_AT + 40)); /* 3.0 */
	/* XMM8 and up do not exist and are not saved. */
	EXPECT_EQ(0xcccccccccccccccc, guest_get(g, DATA_AT + 0x100 + 160 + 8 * 16));
	guest_free(g);
}

TEST_MAIN()
