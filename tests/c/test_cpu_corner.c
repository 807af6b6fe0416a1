/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_corner.c - corners of the instruction set and of delivery. What is expected is from the
 * SDM, or, where it says so, from what processors were seen to do.
 */
#include "test_cpu_guest.h"

#define NON_CANONICAL (1ull << 63)
#define FLAG_RF 0x10000ull
#define VECTORS 0x81
#define HANDLER_BYTES 16
#define TABLES_AT 0x200000ull /* more page tables */
#define IRETW_TARGET 0x7000ull

CODE(handler, "mov %cr2, %rax\nhlt");
#define HANDLER_HALT 4 /* RIP behind the HLT */

/* Every vector halts in a handler of its own, with the frame at RSP. */
static struct guest *corner_guest(unsigned int ist)
{
	struct guest *g = guest_new();

	for (unsigned int v = 0; v < VECTORS; v++) {
		guest_code(g, HANDLER_AT + v * HANDLER_BYTES, handler);
		guest_gate(g, v, HANDLER_AT + v * HANDLER_BYTES, ist, 3);
	}
	return g;
}

/* TR is loaded by the guest, so that gates may use the TSS. Leaves RIP behind it. */
CODE(load_tr, "mov $0x28, %ecx\nltr %cx");
#define LOAD_TR_BYTES 8
#define BEHIND_TR (CODE_AT + LOAD_TR_BYTES)

static struct guest *corner_guest_ist(void)
{
	struct guest *g = corner_guest(1);

	guest_code(g, CODE_AT, load_tr);
	return g;
}

/* Of the fault that the guest has halted in. */
static u64 frame_word(const struct guest *g, bool error, unsigned int word)
{
	return guest_get(g, cpu_reg(g->cpu, CPU_RSP) + 8 * (word + error));
}
enum { FRAME_RIP, FRAME_CS, FRAME_FLAGS, FRAME_RSP };

static bool vector_has_error(unsigned int vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14);
}

static void expect_fault(const struct guest *g, unsigned int vector, u64 error, u64 rip)
{
	bool has_error = vector_has_error(vector);

	EXPECT_EQ(HANDLER_AT + vector * HANDLER_BYTES + HANDLER_HALT, cpu_rip(g->cpu));
	EXPECT_EQ(rip, frame_word(g, has_error, FRAME_RIP));
	if (has_error)
		EXPECT_EQ(error, guest_get(g, cpu_reg(g->cpu, CPU_RSP)));
}

/* CR2 as the handler read it. */
static u64 seen_cr2(const struct guest *g)
{
	return cpu_reg(g->cpu, CPU_RAX);
}

struct bytes {
	u8 at[16];
	unsigned int n;
};
#define BYTES(...) {{__VA_ARGS__}, sizeof((u8[]){__VA_ARGS__})}

/* The instruction, then HLT. */
static void put_bytes(struct guest *g, u64 pa, const struct bytes *b)
{
	memcpy(g->ram + pa, b->at, b->n);
	g->ram[pa + b->n] = 0xf4;
}

/* ---- two virtual pages, one frame ---- */

#define FRAME_AT 0x50000ull
#define ALIAS_AT 0x51000ull

CODE(over_the_end, ".byte 0x48, 0xb8"); /* movabs $imm64, %rax: the last two bytes */
CODE(at_the_start, ".byte 0x78, 0x56, 0x34, 0x12\n.quad 0xc390909090"); /* imm64; ret */
CODE(write_shared, "mov $0x50ffe, %ebx\n"
		   "call *%rbx\nmov %rax, %r8\n"
		   "movb $1, 0x50fc8\n" /* beside the code, in its line */
		   "call *%rbx\nmov %rax, %r9\n"
		   "movb $0x99, 0x51000\n" /* the lowest byte of the immediate */
		   "call *%rbx\nmov %rax, %r10\n"
		   "movb $0x90, 0x50ffe\n" /* nop; mov $imm32, %eax; four nops */
		   "call *%rbx\n"
		   "hlt");

TEST(block_over_two_pages_of_one_frame)
{
	for (u64 slice = 0; slice < 3; slice++) {
		struct guest *g = guest_new();

		guest_set(g, PT_AT + (ALIAS_AT >> 12) * 8, FRAME_AT | 7);
		guest_code(g, FRAME_AT + 0xffe, over_the_end);
		guest_code(g, FRAME_AT, at_the_start);
		guest_code(g, CODE_AT, write_shared);
		g->budget_slice = slice;
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		/* Bytes 78 56 34 12 90 90 90 90, then with the first one 99; without REX.W the low four. */
		EXPECT_EQ(0x9090909012345678, cpu_reg(g->cpu, CPU_R8));
		EXPECT_EQ(0x9090909012345678, cpu_reg(g->cpu, CPU_R9));
		EXPECT_EQ(0x9090909012345699, cpu_reg(g->cpu, CPU_R10));
		EXPECT_EQ(0x12345699, cpu_reg(g->cpu, CPU_RAX));
		/* 1 + 4 calls + 3 moves + 3 stores + hlt; callees: 3 times 2, then nop, mov, 4 nops, ret */
		EXPECT_EQ(12 + 6 + 7, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
		guest_free(g);
	}
}

/* ---- operand sizes ---- */

TEST(rex_w_overrides_the_operand_size_prefix_on_the_stack)
{
	/* 8 bytes with REX.W whatever 66 says, 2 bytes with 66 alone. */
	static const struct {
		struct bytes code;
		s64 rsp;
	} cases[] = {
		{BYTES(0x66, 0x50), -2},
		{BYTES(0x66, 0x48, 0x50), -8},
		{BYTES(0x66, 0x48, 0x9c), -8},
		{BYTES(0x66, 0x48, 0x6a, 0x01), -8},
		{BYTES(0x66, 0x68, 0x11, 0x22), -2},
		{BYTES(0x66, 0x48, 0x68, 0x11, 0x22, 0x33, 0x44), -8},
		{BYTES(0x66, 0x48, 0xff, 0xf1), -8},
		{BYTES(0x66, 0x48, 0xff, 0x33), -8},
		{BYTES(0x66, 0x48, 0x0f, 0xa0), -8},
		{BYTES(0x66, 0x48, 0x0f, 0xa8), -8},
		{BYTES(0x66, 0x58), 2},
		{BYTES(0x66, 0x48, 0x58), 8},
		{BYTES(0x66, 0x48, 0x8f, 0xc1), 8},
		{BYTES(0x66, 0x48, 0x8f, 0x03), 8},
		{BYTES(0x66, 0x48, 0x9d), 8},
		{BYTES(0x66, 0x48, 0x0f, 0xa1), 8},
		{BYTES(0x66, 0x48, 0x0f, 0xa9), 8},
		/* ENTER 0x10: a push and 0x10. LEAVE: 8 above RBP, which is 0x100 below. */
		{BYTES(0x66, 0x48, 0xc8, 0x10, 0x00, 0x00), -8 - 0x10},
		{BYTES(0x66, 0x48, 0xc9), -0x100 + 8},
	};

	for (unsigned int k = 0; k < ARRAY_SIZE(cases); k++) {
		struct guest *g = corner_guest(0);

		put_bytes(g, CODE_AT, &cases[k].code);
		cpu_set_reg(g->cpu, CPU_RBX, DATA_AT);
		cpu_set_reg(g->cpu, CPU_RBP, STACK_TOP - 0x100);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		EXPECT_EQ(CODE_AT + cases[k].code.n + 1, cpu_rip(g->cpu));
		EXPECT_EQ(STACK_TOP + (u64)cases[k].rsp, cpu_reg(g->cpu, CPU_RSP));
		guest_free(g);
	}
}

TEST(rex_r_names_no_segment)
{
	static const struct bytes load = BYTES(0x4c, 0x8c, 0xe0);	    /* mov %fs, %rax */
	static const struct bytes last_rex = BYTES(0x45, 0x4e, 0x8c, 0xed); /* mov %gs, %rbp */
	static const struct bytes store = BYTES(0x44, 0x8e, 0xe1, 0x8c,
						0xe0); /* %ecx to FS to EAX */
	static const struct bytes to_cs = BYTES(0x44, 0x8e, 0xc8);
	static const struct bytes sixth = BYTES(0x44, 0x8c, 0xf0);
	static const struct {
		const struct bytes *code;
		enum cpu_reg reg;
		u64 want;
	} cases[] = {
		{&load, CPU_RAX, KERNEL_SS}, {&last_rex, CPU_RBP, KERNEL_SS}, {&store, CPU_RAX, 0}};
	const struct bytes *const invalid[] = {&to_cs, &sixth};

	for (unsigned int k = 0; k < ARRAY_SIZE(cases); k++) {
		struct guest *g = corner_guest(0);

		put_bytes(g, CODE_AT, cases[k].code);
		cpu_set_reg(g->cpu, cases[k].reg, ~0ull);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		EXPECT_EQ(CODE_AT + cases[k].code->n + 1, cpu_rip(g->cpu));
		EXPECT_EQ(cases[k].want, cpu_reg(g->cpu, cases[k].reg));
		guest_free(g);
	}
	for (unsigned int k = 0; k < ARRAY_SIZE(invalid); k++) {
		struct guest *g = corner_guest(0);

		put_bytes(g, CODE_AT, invalid[k]);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		expect_fault(g, 6, 0, CODE_AT);
		guest_free(g);
	}
}

TEST(movnti_takes_no_prefix)
{
	static const struct bytes invalid[] = {
		BYTES(0xf3, 0x0f, 0xc3, 0x03),
		BYTES(0xf2, 0x0f, 0xc3, 0x03),
		BYTES(0x66, 0x0f, 0xc3, 0x03),
		BYTES(0x66, 0x48, 0x0f, 0xc3, 0x03),
	};
	static const struct bytes plain = BYTES(0x48, 0x0f, 0xc3, 0x03);
	struct guest *g;

	for (unsigned int k = 0; k < ARRAY_SIZE(invalid); k++) {
		g = corner_guest(0);
		put_bytes(g, CODE_AT, &invalid[k]);
		cpu_set_reg(g->cpu, CPU_RBX, DATA_AT);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		expect_fault(g, 6, 0, CODE_AT);
		guest_free(g);
	}
	g = corner_guest(0);
	put_bytes(g, CODE_AT, &plain);
	cpu_set_reg(g->cpu, CPU_RBX, DATA_AT);
	cpu_set_reg(g->cpu, CPU_RAX, 0x123456789abcdef0);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0x123456789abcdef0, guest_get(g, DATA_AT));
	guest_free(g);
}

/* ---- addresses ---- */

#define TOP_STACK 0xfffffff8ull
#define TOP_STACK_PA 0x7ffff8ull
#define MARK 0x1122334455667788ull

/* The 2 MB below 4 GB are the RAM's last ones. */
static void map_below_4g(struct guest *g)
{
	guest_set(g, PDPT_AT + 3 * 8, TABLES_AT | 7);
	guest_set(g, TABLES_AT + 511 * 8, 0x600000 | 0x83);
}

TEST(pop_computes_its_address_behind_the_pop)
{
	/* With RSP as the base: RSP before, what POP adds, the displacement, FS; cut to 32 bits by 67. */
	static const struct {
		struct bytes code;
		u64 rsp, fs, to, want;
	} cases[] = {
		{BYTES(0x8f, 0x04, 0x24), STACK_TOP, 0, STACK_TOP + 8, MARK},
		{BYTES(0x64, 0x8f, 0x04, 0x24), STACK_TOP, 0, STACK_TOP + 8, MARK},
		{BYTES(0x64, 0x8f, 0x44, 0x24, 0x10), STACK_TOP, 0x2000, STACK_TOP + 0x2018, MARK},
		{BYTES(0x67, 0x8f, 0x04, 0x24), STACK_TOP, 0, STACK_TOP + 8, MARK},
		{BYTES(0x66, 0x67, 0x8f, 0x04, 0x24), STACK_TOP, 0, STACK_TOP + 2, 0x112233447788},
		{BYTES(0x67, 0x8f, 0x04, 0x24), TOP_STACK, 0, 0, MARK},
		{BYTES(0x64, 0x67, 0x8f, 0x04, 0x24), TOP_STACK, DATA_AT, DATA_AT, MARK},
		{BYTES(0x64, 0x8f, 0x00), STACK_TOP, 0x10, DATA_AT + 0x10,
		 MARK}, /* RAX: as it is */
	};

	for (unsigned int k = 0; k < ARRAY_SIZE(cases); k++) {
		struct guest *g = corner_guest(0);

		map_below_4g(g);
		put_bytes(g, CODE_AT, &cases[k].code);
		g->start.rsp = cases[k].rsp;
		g->start.ds.base = cases[k].fs;
		cpu_start(g->cpu, &g->start);
		cpu_set_reg(g->cpu, CPU_RAX, DATA_AT);
		guest_set(g, STACK_TOP, MARK);
		guest_set(g, TOP_STACK_PA, MARK);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		EXPECT_EQ(CODE_AT + cases[k].code.n + 1, cpu_rip(g->cpu));
		EXPECT_EQ(cases[k].want, guest_get(g, cases[k].to));
		guest_free(g);
	}
}

TEST(bit_offset_belongs_to_a_32_bit_address)
{
	/* EBX + 4 * (ECX >> 5), cut to 32 bits, then FS. Bit 0 there. */
	static const struct {
		struct bytes code;
		u64 rbx, rcx, at;
	} cases[] = {
		{BYTES(0x67, 0x0f, 0xab, 0x0b), 0xfffffff8, 128, 8},
		{BYTES(0x67, 0x0f, 0xbb, 0x0b), 0xfffffff8, 128, 8},
		{BYTES(0x67, 0x48, 0x0f, 0xab, 0x0b), 0x1fffffff8, 128, 8},
		{BYTES(0x64, 0x67, 0x0f, 0xab, 0x0b), 0xfffffff8, 128, DATA_AT + 8},
		{BYTES(0x64, 0x0f, 0xab, 0x0b), 0x100, 128, DATA_AT + 0x110},
		{BYTES(0x67, 0x0f, 0xab, 0x0b), DATA_AT + 0x100, -64ull, DATA_AT + 0xf8},
		/* An immediate stays in its operand: 128 modulo 32 is bit 0. */
		{BYTES(0x67, 0x0f, 0xba, 0x2b, 0x80), 0x100000000 + DATA_AT, 0, DATA_AT},
	};
	static const struct bytes test = BYTES(0x67, 0x0f, 0xa3, 0x0b);
	struct guest *g;

	for (unsigned int k = 0; k < ARRAY_SIZE(cases); k++) {
		g = corner_guest(0);
		put_bytes(g, CODE_AT, &cases[k].code);
		g->start.ds.base = DATA_AT;
		cpu_start(g->cpu, &g->start);
		cpu_set_reg(g->cpu, CPU_RBX, cases[k].rbx);
		cpu_set_reg(g->cpu, CPU_RCX, cases[k].rcx);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		EXPECT_EQ(CODE_AT + cases[k].code.n + 1, cpu_rip(g->cpu));
		EXPECT_EQ(1, guest_get(g, cases[k].at));
		guest_free(g);
	}
	/* 4 - 8 in 32 bits, where nothing is mapped. */
	g = corner_guest(0);
	put_bytes(g, CODE_AT, &test);
	cpu_set_reg(g->cpu, CPU_RBX, 4);
	cpu_set_reg(g->cpu, CPU_RCX, -64ull);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	expect_fault(g, 14, 0, CODE_AT);
	EXPECT_EQ(0xfffffffc, seen_cr2(g));
	guest_free(g);
}

/* ---- #SS or #GP ---- */

TEST(which_fault_a_non_canonical_address_is)
{
	/*
	 * RAX and RBP are not canonical, RBX points to a far pointer, RSP is as the case says. #SS is for
	 * what SS addresses: the stack, and operands based on RSP or RBP without FS or GS.
	 */
	static const struct {
		struct bytes code;
		bool bad_rsp;
		unsigned int vector;
	} cases[] = {
		{BYTES(0x48, 0x8b, 0x45, 0x00), false, 12},
		{BYTES(0x48, 0x89, 0x45, 0x00), false, 12},
		{BYTES(0x48, 0x01, 0x45, 0x00), false, 12},
		{BYTES(0x64, 0x48, 0x8b, 0x45, 0x00), false, 13},
		{BYTES(0x65, 0x48, 0x89, 0x45, 0x00), false, 13},
		{BYTES(0x64, 0x48, 0x8b, 0x04, 0x24), true, 13},
		{BYTES(0x36, 0x48, 0x8b, 0x00), false, 13}, /* an SS prefix means nothing */
		{BYTES(0xff, 0x30), false, 13},
		{BYTES(0xff, 0x75, 0x00), false, 12},
		{BYTES(0xff, 0x33), true, 12},
		{BYTES(0x8f, 0x00), false, 13},
		{BYTES(0x8f, 0x45, 0x00), false, 12},
		{BYTES(0x8f, 0x03), true, 12},
		{BYTES(0xff, 0x10), false, 13},
		{BYTES(0xff, 0x13), true, 12},
		{BYTES(0xff, 0x20), false, 13},
		{BYTES(0xff, 0x1b), true, 12}, /* far call */
		{BYTES(0xff, 0xd3), true, 12},
		/* The push faults before the target does (seen on a processor). */
		{BYTES(0xff, 0xd0), true, 12},
		{BYTES(0xff, 0xd0), false, 13},
		{BYTES(0x50), true, 12},
		{BYTES(0x58), true, 12},
		{BYTES(0x9c), true, 12},
		{BYTES(0x9d), true, 12},
		{BYTES(0xc3), true, 12},
		{BYTES(0x48, 0xcf), true, 12},
		{BYTES(0xc8, 0x00, 0x00, 0x00), true, 12},
		{BYTES(0xc9), false, 12},
		{BYTES(0x0f, 0xa0), true, 12},
		{BYTES(0x0f, 0xa1), true, 12},
		{BYTES(0xe8, 0x00, 0x00, 0x00, 0x00), true, 12},
	};

	for (unsigned int k = 0; k < ARRAY_SIZE(cases); k++) {
		struct guest *g = corner_guest_ist();

		put_bytes(g, BEHIND_TR, &cases[k].code);
		guest_set(g, DATA_AT, (u64)KERNEL_CS << 32 | CODE_AT);
		cpu_set_reg(g->cpu, CPU_RAX, NON_CANONICAL);
		cpu_set_reg(g->cpu, CPU_RBP, NON_CANONICAL);
		cpu_set_reg(g->cpu, CPU_RBX, DATA_AT);
		if (cases[k].code.at[1] == 0x13) /* a near pointer this time */
			guest_set(g, DATA_AT, CODE_AT);
		if (cases[k].bad_rsp)
			cpu_set_reg(g->cpu, CPU_RSP, NON_CANONICAL);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		expect_fault(g, cases[k].vector, 0, BEHIND_TR);
		guest_free(g);
	}
}

CODE(to_user, "mov $0x28, %eax\nltr %ax\n"
	      "pushq $0x1b\npushq $0xb0000\npushq $0x202\npushq $0x23\npushq $0x30000\niretq");
CODE(ud2, "ud2");

TEST(delivery_below_the_canonical_hole)
{
	/* RSP0 is canonical, the eight bytes below are not: #SS with EXT, which has a stack of its own. */
	struct guest *g = corner_guest(0);

	guest_code(g, CODE_AT, to_user);
	guest_code(g, USER_AT, ud2);
	guest_gate(g, 12, HANDLER_AT + 12 * HANDLER_BYTES, 1, 0);
	guest_set(g, TSS_AT + 4, 0xffff800000000000);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	expect_fault(g, 12, 1, USER_AT);
	EXPECT_EQ(USER_CS, frame_word(g, true, FRAME_CS));
	guest_free(g);
}

/* ---- page faults ---- */

TEST(enter_needs_the_new_stack_to_be_writable)
{
	/*
	 * RBP goes to RSP - 8, the new RSP is that less the immediate; eight bytes there must be
	 * writable. Where both fail it is the push that faults (seen on a processor).
	 */
	static const struct {
		u64 rsp;
		u16 bytes;
		u64 cr2; /* 0: no fault */
	} cases[] = {
		{0x70100, 0x0800, 0x6f8f8}, /* 0x700f8 - 0x800 */
		{0x70000, 0x0800, 0x6fff8},
		{0x70010, 0x100f, 0x6f000}, /* 0x6eff9: its eighth byte */
		{0x70010, 0x1010, 0},	    /* 0x6eff8 */
	};

	for (unsigned int k = 0; k < ARRAY_SIZE(cases); k++) {
		const struct bytes code = BYTES(0xc8, (u8)cases[k].bytes, (u8)(cases[k].bytes >> 8),
						0x00);
		u64 rsp = cases[k].rsp;
		struct guest *g = corner_guest_ist();

		guest_set(g, PT_AT + 0x6f * 8, 0);
		put_bytes(g, BEHIND_TR, &code);
		cpu_set_reg(g->cpu, CPU_RSP, rsp);
		cpu_set_reg(g->cpu, CPU_RBP, MARK);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		if (cases[k].cr2) {
			expect_fault(g, 14, 2, BEHIND_TR); /* a write */
			EXPECT_EQ(cases[k].cr2, seen_cr2(g));
			EXPECT_EQ(rsp, frame_word(g, true, FRAME_RSP));
			EXPECT_EQ(MARK, cpu_reg(g->cpu, CPU_RBP));
			EXPECT_EQ(0, guest_get(g, rsp - 8));
		} else {
			EXPECT_EQ(rsp - 8, cpu_reg(g->cpu, CPU_RBP));
			EXPECT_EQ(rsp - 8 - cases[k].bytes, cpu_reg(g->cpu, CPU_RSP));
			EXPECT_EQ(MARK, guest_get(g, rsp - 8));
			/* mov, ltr, enter, hlt; LTR loads nothing from memory, the probe is no store. */
			EXPECT_EQ(4, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
			EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_STORES));
			EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_LLC_REFERENCES));
		}
		guest_free(g);
	}
}

TEST(store_of_a_table_register_faults_at_its_first_byte)
{
	/* Pages 0x50 and 0x51 are absent, or the second alone; ten bytes from the address on. */
	static const struct {
		u64 at;
		bool second_only;
		u64 cr2;
	} cases[] = {
		{0x50ffc, false, 0x50ffc}, {0x50ffd, false, 0x50ffd}, {0x50ffe, false, 0x50ffe},
		{0x50fff, false, 0x50fff}, {0x50ffe, true, 0x51000},  {0x50fff, true, 0x51000},
		{0x50ff7, true, 0x51000},
	};

	for (unsigned int k = 0; k < 2 * ARRAY_SIZE(cases); k++) {
		const struct bytes code = BYTES(0x0f, 0x01, k & 1 ? 0x08 : 0x00); /* SGDT, SIDT */
		struct guest *g = corner_guest(0);

		if (!cases[k / 2].second_only)
			guest_set(g, PT_AT + 0x50 * 8, 0);
		guest_set(g, PT_AT + 0x51 * 8, 0);
		put_bytes(g, CODE_AT, &code);
		cpu_set_reg(g->cpu, CPU_RAX, cases[k / 2].at);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		expect_fault(g, 14, 2, CODE_AT);
		EXPECT_EQ(cases[k / 2].cr2, seen_cr2(g));
		EXPECT_EQ(0, guest_get(g, 0x50ff8)); /* all or nothing */
		guest_free(g);
	}
}

/* ---- flags ---- */

TEST(iret_of_sixteen_bits_keeps_the_upper_flags)
{
	/* IP, CS, FLAGS, SP, SS, two bytes each. FLAGS is CF and the fixed bit. */
	static const u16 frame[] = {IRETW_TARGET, KERNEL_CS, 3, 0x7800, KERNEL_SS};
	static const struct bytes code = BYTES(0x66, 0xcf);
	static const struct bytes nop = BYTES(0x90);
	struct guest *g = corner_guest(0);

	put_bytes(g, CODE_AT, &code);
	put_bytes(g, IRETW_TARGET, &nop);
	memcpy(g->ram + STACK_TOP, frame, sizeof(frame));
	g->start.rflags = 0x240042; /* ID, AC, ZF */
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(IRETW_TARGET + 2, cpu_rip(g->cpu));
	EXPECT_EQ(0x240003, cpu_rflags(g->cpu));
	EXPECT_EQ(0x7800, cpu_reg(g->cpu, CPU_RSP));
	guest_free(g);
}

TEST(resume_flag_between_iterations)
{
	static const struct bytes code = BYTES(0xf3, 0xaa);
	struct guest *g = corner_guest(0);
	u64 budget = 1;

	put_bytes(g, CODE_AT, &code);
	cpu_set_reg(g->cpu, CPU_RDI, DATA_AT);
	cpu_set_reg(g->cpu, CPU_RCX, 100000);
	/* Before the first iteration it is like any other instruction. */
	cpu_inject(g->cpu, CPU_EVENT_IRQ, 0x20, -1);
	EXPECT_EQ(CODE_AT, frame_word(g, false, FRAME_RIP));
	EXPECT_EQ(2, frame_word(g, false, FRAME_FLAGS));
	cpu_start(g->cpu, &g->start);

	/* One unit of the budget is 65536 iterations. */
	cpu_set_reg(g->cpu, CPU_RDI, DATA_AT);
	cpu_set_reg(g->cpu, CPU_RCX, 100000);
	EXPECT_EQ(CPU_STOP_BUDGET, cpu_run(g->cpu, &budget));
	EXPECT_EQ(100000 - 65536, cpu_reg(g->cpu, CPU_RCX));
	EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	cpu_inject(g->cpu, CPU_EVENT_IRQ, 0x20, -1);
	EXPECT_EQ(CODE_AT, frame_word(g, false, FRAME_RIP));
	EXPECT_EQ(2 | FLAG_RF, frame_word(g, false, FRAME_FLAGS));
	EXPECT_EQ(2, cpu_rflags(g->cpu));
	/* This one interrupts the handler, not the string. */
	cpu_inject(g->cpu, CPU_EVENT_NMI, 2, -1);
	EXPECT_EQ(HANDLER_AT + 0x20 * HANDLER_BYTES, frame_word(g, false, FRAME_RIP));
	EXPECT_EQ(2, frame_word(g, false, FRAME_FLAGS));
	guest_free(g);

	/* Behind the last iteration the string is done: the budget ends on its boundary. */
	g = corner_guest(0);
	put_bytes(g, CODE_AT, &code);
	cpu_set_reg(g->cpu, CPU_RDI, DATA_AT);
	cpu_set_reg(g->cpu, CPU_RCX, 65536);
	budget = 1;
	EXPECT_EQ(CPU_STOP_BUDGET, cpu_run(g->cpu, &budget));
	cpu_inject(g->cpu, CPU_EVENT_NMI, 2, -1);
	EXPECT_EQ(CODE_AT + 2, frame_word(g, false, FRAME_RIP));
	EXPECT_EQ(2, frame_word(g, false, FRAME_FLAGS));
	guest_free(g);
}

/* The string overwrites itself: what interrupts its successor finds RF clear. */
CODE(overwrite, "mov $0x10020, %edi\nmov $300000, %ecx\nmov $0x90, %eax\njmp 1f\n"
		".skip 15\n1: rep stosb\n");

TEST(resume_flag_goes_with_the_string)
{
	struct guest *g = corner_guest(0);
	u64 budget = 2; /* up to the string, 65536 iterations */
	u64 rip;

	guest_code(g, CODE_AT, overwrite);
	/* The NOPs cover the handlers, too, but none of them runs; not the stack. */
	g->start.rsp = 0x180000;
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_BUDGET, cpu_run(g->cpu, &budget));
	EXPECT_EQ(300000 - 65536, cpu_reg(g->cpu, CPU_RCX));
	EXPECT_EQ(CODE_AT + 0x20, cpu_rip(g->cpu));
	budget = 1; /* NOPs now */
	EXPECT_EQ(CPU_STOP_BUDGET, cpu_run(g->cpu, &budget));
	rip = cpu_rip(g->cpu);
	EXPECT_TRUE(rip > CODE_AT + 0x20);
	cpu_inject(g->cpu, CPU_EVENT_IRQ, 0x20, -1);
	EXPECT_EQ(rip, frame_word(g, false, FRAME_RIP));
	EXPECT_EQ(0, frame_word(g, false, FRAME_FLAGS) & FLAG_RF);
	guest_free(g);
}

/* ---- descriptors and selectors ---- */

TEST(invalid_tss_says_what_it_happened_in)
{
	/* The TSS ends before IST1. EXT: not for INT n. */
	static const struct {
		struct bytes code;
		u64 error;
	} cases[] = {{BYTES(0x0f, 0x0b), TSS_SELECTOR | 1}, {BYTES(0xcd, 0x40), TSS_SELECTOR}};

	for (unsigned int k = 0; k < ARRAY_SIZE(cases); k++) {
		struct guest *g = corner_guest(0);

		guest_code(g, CODE_AT, load_tr);
		put_bytes(g, BEHIND_TR, &cases[k].code);
		guest_gate(g, 6, HANDLER_AT, 1, 0);
		guest_gate(g, 0x40, HANDLER_AT, 1, 0);
		guest_set(g, GDT_AT + TSS_SELECTOR, 0x0000890000000020ull | TSS_AT << 16);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		expect_fault(g, 10, cases[k].error, BEHIND_TR);
		guest_free(g);
	}
}

#define CONFORMING_CS 0x30

TEST(far_transfers_look_at_the_rpl)
{
	/* At CPL 0, RPL 3: #GP for plain code, no matter for conforming code, which runs at CPL 0. */
	static const struct bytes cases[] = {BYTES(0xff, 0x2b), BYTES(0xff, 0x1b)}; /* JMP, CALL */
	static const struct bytes nop = BYTES(0x90);

	for (unsigned int k = 0; k < ARRAY_SIZE(cases); k++) {
		struct guest *g = corner_guest(0);

		put_bytes(g, CODE_AT, &cases[k]);
		cpu_set_reg(g->cpu, CPU_RBX, DATA_AT);
		guest_set(g, DATA_AT, (u64)(KERNEL_CS | 3) << 32 | USER_AT);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		expect_fault(g, 13, KERNEL_CS, CODE_AT);
		guest_free(g);

		g = corner_guest(0);
		put_bytes(g, CODE_AT, &cases[k]);
		put_bytes(g, USER_AT, &nop);
		cpu_set_reg(g->cpu, CPU_RBX, DATA_AT);
		guest_set(g, GDT_AT + CONFORMING_CS, 0x00af9f000000ffffull);
		guest_set(g, DATA_AT, (u64)(CONFORMING_CS | 3) << 32 | USER_AT);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		EXPECT_EQ(USER_AT + 2, cpu_rip(g->cpu));
		EXPECT_EQ(0, cpu_cpl(g->cpu));
		guest_free(g);
	}
}

TEST(system_descriptors_have_sixteen_bytes)
{
	/* LTR of 0x28, LLDT of 0x28: its last byte is 0x37. */
	static const struct bytes code[] = {BYTES(0x0f, 0x00, 0xd9), BYTES(0x0f, 0x00, 0xd1)};
	static const u64 attr[] = {0x89, 0x82};

	for (unsigned int k = 0; k < ARRAY_SIZE(code); k++) {
		for (u16 limit = 0x2f; limit <= 0x37; limit++) {
			struct guest *g = corner_guest(0);

			put_bytes(g, CODE_AT, &code[k]);
			guest_set(g, GDT_AT + TSS_SELECTOR, attr[k] << 40 | TSS_AT << 16 | 0x67);
			g->start.gdt_limit = limit;
			cpu_start(g->cpu, &g->start);
			cpu_set_reg(g->cpu, CPU_RCX, TSS_SELECTOR);
			EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
			if (limit == 0x37)
				EXPECT_EQ(CODE_AT + code[k].n + 1, cpu_rip(g->cpu));
			else
				expect_fault(g, 13, TSS_SELECTOR, CODE_AT);
			guest_free(g);
		}
	}
}

CODE(syscall, "mov $0xc0000081, %ecx\nmov $0xb, %edx\nxor %eax, %eax\nwrmsr\n"
	      "mov $0xc0000082, %ecx\nxor %edx, %edx\nlea 1f(%rip), %eax\nwrmsr\n"
	      "syscall\n1: mov %cs, %eax\nmov %ss, %ebx\nhlt");

TEST(syscall_selectors)
{
	/* STAR[47:32] is 0xb. CS is that without its RPL, SS that plus 8. */
	struct guest *g = corner_guest(0);

	guest_code(g, CODE_AT, syscall);
	g->start.efer |= 1;
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0x8, cpu_reg(g->cpu, CPU_RAX));
	EXPECT_EQ(0x13, cpu_reg(g->cpu, CPU_RBX));
	guest_free(g);
}

/* ---- branches out of the canonical addresses ---- */

#define LAST_PAGE 0x7ffffffff000ull
#define LAST_PAGE_PA 0x60000ull
#define BRANCH_OFFSET 0xf80

static struct guest *guest_at_the_end(const struct bytes *code)
{
	struct guest *g = corner_guest(0);

	guest_set(g, PML4_AT + 255 * 8, TABLES_AT | 7);
	guest_set(g, TABLES_AT + 511 * 8, (TABLES_AT + 0x1000) | 7);
	guest_set(g, TABLES_AT + 0x1000 + 511 * 8, (TABLES_AT + 0x2000) | 7);
	guest_set(g, TABLES_AT + 0x2000 + 511 * 8, LAST_PAGE_PA | 7);
	put_bytes(g, LAST_PAGE_PA + BRANCH_OFFSET, code);
	g->start.rip = LAST_PAGE + BRANCH_OFFSET;
	g->start.rflags = 0x42; /* ZF */
	cpu_start(g->cpu, &g->start);
	cpu_set_reg(g->cpu, CPU_RCX, 0x100000001); /* ECX is 1 */
	return g;
}

TEST(direct_branches_to_a_non_canonical_address)
{
	/* 0x7fffffffff80, the instruction's bytes and at least 0x7f: behind 0x7fffffffffff. */
	static const struct {
		struct bytes code;
		bool taken;
		u64 rcx; /* behind it */
	} cases[] = {
		{BYTES(0xeb, 0x7f), true, 0x100000001},
		{BYTES(0xe9, 0x00, 0x10, 0x00, 0x00), true, 0x100000001},
		{BYTES(0xe8, 0x00, 0x10, 0x00, 0x00), true, 0x100000001},
		{BYTES(0x74, 0x7f), true, 0x100000001},
		{BYTES(0x75, 0x7f), false, 0x100000001},
		{BYTES(0x0f, 0x84, 0x00, 0x10, 0x00, 0x00), true, 0x100000001},
		{BYTES(0x0f, 0x85, 0x00, 0x10, 0x00, 0x00), false, 0x100000001},
		{BYTES(0xe0, 0x7f), false, 0x100000000}, /* LOOPNE: ZF is set */
		{BYTES(0xe1, 0x7f), true, 0x100000001},
		{BYTES(0xe2, 0x7f), true, 0x100000001},
		{BYTES(0x67, 0xe2, 0x7f), false, 0}, /* ECX becomes 0, zero-extended */
		{BYTES(0xe3, 0x7f), false, 0x100000001},
	};

	for (unsigned int k = 0; k < ARRAY_SIZE(cases); k++) {
		struct guest *g = guest_at_the_end(&cases[k].code);
		u64 rip = g->start.rip;

		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		EXPECT_EQ(cases[k].rcx, cpu_reg(g->cpu, CPU_RCX));
		if (cases[k].taken) {
			expect_fault(g, 13, 0, rip);
			EXPECT_EQ(STACK_TOP, frame_word(g, true, FRAME_RSP));
			/* Only the handler's two; the branch has not retired. */
			EXPECT_EQ(2, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
			EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_BRANCHES));
			EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_STORES));
		} else {
			EXPECT_EQ(rip + cases[k].code.n + 1, cpu_rip(g->cpu));
			EXPECT_EQ(2, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
			EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_BRANCHES));
		}
		guest_free(g);
	}
}

TEST(jrcxz_to_a_non_canonical_address)
{
	/* With 67 it looks at ECX, without at RCX, which is 1 << 32. */
	static const struct bytes ecx = BYTES(0x67, 0xe3, 0x7f), rcx = BYTES(0xe3, 0x7f);
	struct guest *g = guest_at_the_end(&ecx);

	cpu_set_reg(g->cpu, CPU_RCX, 1ull << 32);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	expect_fault(g, 13, 0, g->start.rip);
	guest_free(g);
	g = guest_at_the_end(&rcx);
	cpu_set_reg(g->cpu, CPU_RCX, 1ull << 32);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(g->start.rip + 3, cpu_rip(g->cpu));
	guest_free(g);
}

TEST_MAIN()
