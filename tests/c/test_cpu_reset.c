// SPDX-License-Identifier: Apache-2.0
/*
 * test_cpu_reset.c - INIT, the wait for SIPI, and the start-up code that a further CPU runs on its way
 * from real mode to long mode.
 */
#include <string.h>

#include "cpu/state.h"
#include "test_cpu_guest.h"

#define SIGNATURE 0x806f8u
#define VECTOR 0x07u
#define TRAMPOLINE_AT 0x7000u
#define RESULT_AT 0x3f000u
#define STARTUP_GDT_AT 0x7800u

#define EXPECT_REG(want, reg) EXPECT_EQ(want, cpu_reg(g->cpu, CPU_##reg))

static u32 result(const struct guest *g, unsigned int n)
{
	u32 v;

	memcpy(&v, g->ram + RESULT_AT + 4 * n, sizeof(v));
	return v;
}

CODE(halt, "hlt");
TEST(a_reset_cpu_waits_and_hears_nothing)
{
	struct guest *g = guest_new();
	u64 budget = 100;

	guest_code(g, CODE_AT, halt);
	guest_code(g, TRAMPOLINE_AT, halt);
	EXPECT_TRUE(!cpu_waits_for_sipi(g->cpu));
	cpu_start_at_vector(g->cpu, VECTOR); /* not waiting: no effect */
	EXPECT_EQ(CODE_AT, cpu_rip(g->cpu));

	cpu_init_reset(g->cpu, SIGNATURE);
	EXPECT_TRUE(cpu_waits_for_sipi(g->cpu));
	EXPECT_EQ(CPU_STOP_SIPI, cpu_run(g->cpu, &budget));
	EXPECT_EQ(100, budget);
	EXPECT_TRUE(!cpu_can_take_nmi(g->cpu));
	EXPECT_TRUE(!cpu_can_take_irq(g->cpu));
	cpu_want_window(g->cpu, true, true);
	EXPECT_EQ(CPU_STOP_SIPI, guest_run(g));
	EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	cpu_want_window(g->cpu, false, false);

	cpu_start_at_vector(g->cpu, VECTOR);
	EXPECT_TRUE(!cpu_waits_for_sipi(g->cpu));
	EXPECT_TRUE(cpu_can_take_nmi(g->cpu));
	EXPECT_EQ(0, cpu_rip(g->cpu));
	EXPECT_EQ(TRAMPOLINE_AT, cpu_linear_rip(g->cpu));
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	cpu_start_at_vector(g->cpu, VECTOR + 1); /* running: no effect */
	EXPECT_EQ(TRAMPOLINE_AT + 1, cpu_linear_rip(g->cpu));
	guest_free(g);
}

/* What the manual's table of states after INIT says, as the CPU itself sees it. */
CODE(state, ".code16\n"
	    "movl %edx, %cs:0x800\n movl %eax, %cs:0x804\n movl %esp, %cs:0x808\n"
	    "pushfl\n popl %cs:0x80c\n"
	    "movw %cs, %ax\n movw %ax, %cs:0x810\n movw %ds, %ax\n movw %ax, %cs:0x812\n"
	    "movw %ss, %ax\n movw %ax, %cs:0x814\n movw %gs, %ax\n movw %ax, %cs:0x816\n"
	    "movl %cr0, %eax\n movl %eax, %cs:0x818\n movl %cr3, %eax\n movl %eax, %cs:0x81c\n"
	    "movl %cr4, %eax\n movl %eax, %cs:0x820\n movl %cr2, %eax\n movl %eax, %cs:0x824\n"
	    "sgdtl %cs:0x828\n sidtl %cs:0x830\n movl %dr6, %eax\n movl %eax, %cs:0x838\n"
	    "movl %dr7, %eax\n movl %eax, %cs:0x83c\n"
	    "movl $0xc0000080, %ecx\n rdmsr\n movl %eax, %cs:0x840\n"
	    "movl $0xc0000082, %ecx\n rdmsr\n movl %eax, %cs:0x844\n hlt\n .code64");
CODE(long_mode, "mov $0xc0000082, %ecx\n mov $0x123456, %eax\n xor %edx, %edx\n wrmsr\n"
		"mov %cr0, %rax\n or $0x60000000, %eax\n mov %rax, %cr0\n"
		"std\n mov $77, %ebx\n mov %rbx, %cr2\n mov %rbx, %dr0\n hlt");
TEST(state_after_init_is_the_manuals)
{
	struct guest *g = guest_new();
	u32 base = TRAMPOLINE_AT + 0x800;
	u32 v[18];

	guest_code(g, CODE_AT, long_mode);
	guest_code(g, TRAMPOLINE_AT, state);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	cpu_init_reset(g->cpu, SIGNATURE);
	EXPECT_TRUE(!cpu_halted(g->cpu));
	for (unsigned int r = 0; r < 16; r++)
		EXPECT_EQ(r == CPU_RDX ? SIGNATURE : 0, cpu_reg(g->cpu, r));
	cpu_start_at_vector(g->cpu, VECTOR);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	memcpy(v, g->ram + base, sizeof(v));
	EXPECT_EQ(SIGNATURE, v[0]);
	EXPECT_EQ(0, v[1]);
	EXPECT_EQ(0, v[2]);
	EXPECT_EQ(2, v[3]);
	EXPECT_EQ(VECTOR << 8, v[4] & 0xffff);
	EXPECT_EQ(0, v[4] >> 16);
	EXPECT_EQ(0, v[5]);
	EXPECT_EQ(0x60000010, v[6]); /* CD and NW stay, ET is fixed */
	EXPECT_EQ(0, v[7]);
	EXPECT_EQ(0, v[8]);
	EXPECT_EQ(0, v[9]);
	EXPECT_EQ(0xffff, v[10]); /* GDTR: limit ffff, base 0 */
	EXPECT_EQ(0, v[11]);
	EXPECT_EQ(0xffff, v[12]);
	EXPECT_EQ(0, v[13]);
	EXPECT_EQ(0xffff0ff0, v[14]);
	EXPECT_EQ(0x400, v[15]);
	EXPECT_EQ(0, v[16]);	    /* EFER */
	EXPECT_EQ(0x123456, v[17]); /* LSTAR: INIT leaves MSRs alone */
	/* Totals go on: 12 in long mode; 5, 4 pairs for selectors, 4 for control registers, 2 tables,
	 * 2 pairs for debug registers, 2 MSRs by 3, HLT. */
	EXPECT_EQ(12 + 5 + 8 + 8 + 2 + 4 + 6 + 1, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* INIT leaves x87 and SSE registers alone, which a start from power-up does not. */
CODE(numbers, "mov %cr4, %rax\n or $0x600, %eax\n mov %rax, %cr4\n"
	      "mov $0x12345678, %eax\n movq %rax, %xmm5\n"
	      "movl $0x3f80, (%rsi)\n ldmxcsr (%rsi)\n"
	      "movw $0x77f, (%rsi)\n fldcw (%rsi)\n fld1\n hlt");
TEST(init_leaves_x87_and_sse_alone)
{
	struct guest *g = guest_new();
	const u64 one[] = {0x8000000000000000, 0x3fff}; /* 1.0 in 80 bits */
	struct fpu before;

	guest_code(g, CODE_AT, numbers);
	cpu_set_reg(g->cpu, CPU_RSI, DATA_AT);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	before = g->cpu->fpu;
	EXPECT_EQ(0x12345678, before.xmm[5][0]);
	EXPECT_EQ(0x3f80, before.mxcsr);
	EXPECT_EQ(0x77f, before.x87.control & 0xffff);
	EXPECT_TRUE(!memcmp(before.x87.st[0], one, sizeof(before.x87.st[0])));

	cpu_init_reset(g->cpu, SIGNATURE);
	cpu_start_at_vector(g->cpu, VECTOR);
	EXPECT_TRUE(!memcmp(&before.xmm, &g->cpu->fpu.xmm, sizeof(before.xmm)));
	EXPECT_EQ(0x3f80, g->cpu->fpu.mxcsr);
	EXPECT_TRUE(!memcmp(&before.x87, &g->cpu->fpu.x87, sizeof(before.x87)));

	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(0, g->cpu->fpu.xmm[5][0]);
	EXPECT_EQ(0x1f80, g->cpu->fpu.mxcsr);
	EXPECT_EQ(0x37f, g->cpu->fpu.x87.control & 0xffff);
	EXPECT_EQ(0xffff, g->cpu->fpu.x87.tags & 0xffff);
	guest_free(g);
}

TEST(init_ends_a_shutdown)
{
	struct guest *g = guest_new();

	g->start.idt_limit = 0;
	cpu_start(g->cpu, &g->start);
	g->ram[CODE_AT] = 0x0f; /* UD2, and no IDT */
	g->ram[CODE_AT + 1] = 0x0b;
	guest_code(g, TRAMPOLINE_AT, halt);
	EXPECT_EQ(CPU_STOP_SHUTDOWN, guest_run(g));
	cpu_init_reset(g->cpu, SIGNATURE);
	cpu_start_at_vector(g->cpu, VECTOR);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	guest_free(g);
}

/*
 * From SIPI to long mode: a GDT by LGDT, PE, a far jump to 32-bit code, segments and a stack, PAE, CR3,
 * LME, PG, a far jump to 64-bit code; there the APIC is enabled (the test's plain MSR) and the CPU says
 * that it is online by a locked increment.
 */
CODE(trampoline,
     ".code16\n"
     "cli\n movw %cs, %ax\n movw %ax, %ds\n lgdtl 0x820\n"
     "movl %cr0, %eax\n orl $1, %eax\n movl %eax, %cr0\n"
     "ljmpl $8, $0x7000 + 1f - code_trampoline\n"
     ".code32\n 1: movl $0x10, %eax\n movl %eax, %ds\n movl %eax, %es\n movl %eax, %ss\n"
     "movl $0x80000, %esp\n"
     "movl %cr4, %eax\n orl $0x20, %eax\n movl %eax, %cr4\n"
     "movl $0x1000, %eax\n movl %eax, %cr3\n"
     "movl $0xc0000080, %ecx\n rdmsr\n orl $0x100, %eax\n wrmsr\n"
     "movl %cr0, %eax\n orl $0x80000000, %eax\n movl %eax, %cr0\n"
     "ljmp $0x18, $0x7000 + 2f - code_trampoline\n"
     ".code64\n 2: mov $0x4000, %ecx\n mov $0xfee00c00, %eax\n xor %edx, %edx\n wrmsr\n"
     "lock incl 0x3f000\n push %rcx\n pop %rbx\n movabs $0x123456789abcdef0, %r8\n hlt");

static void put_startup_gdt(struct guest *g)
{
	guest_set(g, STARTUP_GDT_AT + 8, 0x00cf9b000000ffffull);
	guest_set(g, STARTUP_GDT_AT + 16, 0x00cf93000000ffffull);
	guest_set(g, STARTUP_GDT_AT + 24, 0x00af9b000000ffffull);
	guest_set(g, STARTUP_GDT_AT + 32, 0x1f | (u64)STARTUP_GDT_AT << 16);
}

/* 8 in 16-bit code, 18 in 32-bit code, 9 in 64-bit code. */
#define TRAMPOLINE_INSTRUCTIONS (8 + 18 + 9)

static struct guest *started(void)
{
	struct guest *g = guest_new();

	guest_code(g, TRAMPOLINE_AT, trampoline);
	put_startup_gdt(g);
	cpu_init_reset(g->cpu, SIGNATURE);
	cpu_start_at_vector(g->cpu, VECTOR);
	return g;
}

TEST(startup_code_goes_from_real_mode_to_long_mode)
{
	struct guest *g = started();

	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(1, result(g, 0));
	EXPECT_EQ(0xfee00c00, g->msr);
	EXPECT_REG(0x123456789abcdef0ull, R8);
	EXPECT_REG(0x4000, RBX);
	EXPECT_REG(STACK_TOP, RSP);
	EXPECT_EQ(TRAMPOLINE_INSTRUCTIONS, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(2, guest_total(g, PRIV_OS, EVENT_BRANCHES));
	EXPECT_EQ(3, guest_total(g, PRIV_OS, EVENT_LOADS));  /* LGDT, INC, POP */
	EXPECT_EQ(2, guest_total(g, PRIV_OS, EVENT_STORES)); /* INC, PUSH */
	EXPECT_EQ(0, guest_total(g, PRIV_USR, EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* Two CPUs one after the other, as far as one struct cpu can be both: INIT in long mode, then again. */
TEST(startup_code_runs_again_after_init_in_long_mode)
{
	struct guest *g = started();

	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	cpu_init_reset(g->cpu, SIGNATURE);
	cpu_start_at_vector(g->cpu, VECTOR);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(2, result(g, 0));
	EXPECT_EQ(2 * TRAMPOLINE_INSTRUCTIONS, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

TEST(landing_on_each_instruction_of_the_way)
{
	struct guest *plain = started(), *g = started();

	EXPECT_EQ(CPU_STOP_HALT, guest_run(plain));
	g->goal[PRIV_OS][EVENT_INSTRUCTIONS] = 1;
	g->step[EVENT_INSTRUCTIONS] = 1;
	g->budget_slice = 1;
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(TRAMPOLINE_INSTRUCTIONS, g->nr_landings);
	EXPECT_EQ(0,
		  memcmp(cpu_totals(g->cpu), cpu_totals(plain->cpu), sizeof(struct event_totals)));
	guest_free(g);
	guest_free(plain);
}

TEST_MAIN()
