// SPDX-License-Identifier: Apache-2.0
/*
 * test_cpu_protected.c - 32-bit protected mode: decoding, stack, segments, its IDT, and the switches to
 * long mode, to compatibility mode and back.
 */
#include "test_cpu_guest.h"

#define CODE32_CS 0x38
#define BASED_DS 0x40 /* base DATA_AT */
#define USER_CODE32_CS 0x4b
#define BASED_CS 0x50 /* base 0x8000 */
#define GDT_BYTES 0x58
#define LONG_AT 0x11000ull
#define COMPAT_AT 0x12000ull
#define RESULT_AT 0x3f000ull

/* Outside long mode, paging off, flat 32-bit segments, with a 32-bit TSS. */
static struct guest *protected_new(void)
{
	struct guest *g = guest_new();

	guest_set(g, GDT_AT + CODE32_CS, 0x00cf9b000000ffffull);
	guest_set(g, GDT_AT + BASED_DS, 0x00cf93100000ffffull);
	guest_set(g, GDT_AT + (USER_CODE32_CS & ~3), 0x00cffb000000ffffull);
	guest_set(g, GDT_AT + BASED_CS, 0x00cf9b008000ffffull);
	guest_set(g, TSS_AT + 4, RSP0_TOP | (u64)KERNEL_SS << 32);
	g->start.cr0 = 0x11;
	g->start.cr3 = 0;
	g->start.cr4 = 0;
	g->start.efer = 0;
	g->start.rax = 0x2badb002;
	g->start.rbx = 0x12345678;
	g->start.cs = (struct cpu_segment){0, ~0u, CODE32_CS, 0xc09b};
	g->start.gdt_limit = GDT_BYTES - 1;
	cpu_start(g->cpu, &g->start);
	return g;
}

static void gate32(struct guest *g, unsigned int vector, u64 handler, unsigned int type)
{
	guest_set(g, IDT_AT + vector * 8,
		  (handler & 0xffff) | (u64)CODE32_CS << 16 | (u64)type << 40 |
			  (handler >> 16) << 48);
}

static u32 result(const struct guest *g, unsigned int n)
{
	u32 v;

	memcpy(&v, g->ram + RESULT_AT + 4 * n, sizeof(v));
	return v;
}

#define EXPECT_REG(want, reg) EXPECT_EQ(want, cpu_reg(g->cpu, CPU_##reg))

CODE(stack, ".code32\n"
	    "movl %eax, 0x3f000\n movl %ebx, 0x3f004\n"
	    "pushl $0x11223344\n pushl $-2\n popl %ecx\n popl %edx\n"
	    "incl %ecx\n decl %edx\n"
	    "call 1f\n jmp 2f\n 1: movl $7, %esi\n ret\n"
	    "2: movl $0x11, %eax\n movl $0x22, %ebx\n movl $0x33, %ebp\n movl $0x44, %edi\n"
	    "pushal\n xorl %eax, %eax\n xorl %edi, %edi\n movl 28(%esp), %ebx\n"
	    "movl %ebx, 0x3f008\n popal\n"
	    "pushw $0x5566\n popw %ax\n"
	    "enter $16, $0\n movl %esp, 0x3f00c\n leave\n"
	    "pushl 0x3f004\n popl 0x3f010\n"
	    "pushl $9\n popl 0x3f014-0x80000(%esp)\n"
	    "hlt\n .code64");
TEST(stack_and_registers)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, stack);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0x2badb002, result(g, 0));
	EXPECT_EQ(0x12345678, result(g, 1));
	EXPECT_REG(0xffffffff, RCX);
	EXPECT_REG(0x11223343, RDX);
	EXPECT_REG(7, RSI);
	EXPECT_EQ(0x11, result(g, 2)); /* EAX, pushed first */
	EXPECT_REG(0x5566, RAX);
	EXPECT_REG(0x44, RDI);
	EXPECT_REG(0x33, RBP);
	EXPECT_EQ(STACK_TOP - 20, result(g, 3));
	EXPECT_EQ(0x12345678, result(g, 4));
	EXPECT_EQ(9, result(g, 5)); /* the address is computed with ESP already moved */
	EXPECT_REG(STACK_TOP, RSP);
	EXPECT_EQ(32, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(3, guest_total(g, PRIV_OS, EVENT_BRANCHES));
	/* pushes 2, call, pusha 8, pushw, enter, pushl, pushl; moves 4; pops to memory 2 */
	EXPECT_EQ(2 + 1 + 8 + 1 + 1 + 1 + 1 + 4 + 2, guest_total(g, PRIV_OS, EVENT_STORES));
	/* pops 2, ret, 28(%esp), popa 7, popw, leave, pushl memory, pops 2 */
	EXPECT_EQ(2 + 1 + 1 + 7 + 1 + 1 + 1 + 2, guest_total(g, PRIV_OS, EVENT_LOADS));
	guest_free(g);
}

/*
 * PUSHA over itself: EAX, ECX and EDX behind it, EBX over it, and four more in the page before, which is
 * not dirty yet, other than its own. It is executed once as what it was: the stack has eight words more, and the next byte
 * is the second one of EBX, HLT. Executed again from the page before on, its first byte would be HLT.
 */
CODE(over_itself, ".code32\n movl $0x11010, %esp\n movl $0xf4f4f4f4, %ebx\n"
		  "movl $0x11000, %eax\n movl %eax, 0x20(%eax)\n jmpl *%eax\n .code64");
TEST(pusha_over_itself_is_executed_once)
{
	struct guest *g = protected_new();

	guest_set(g, PDPT_AT, PD_AT | 1); /* PAE: the other bits are reserved */
	g->start.cr0 |= 0x80000000;
	g->start.cr4 = 0x20;
	g->start.cr3 = PDPT_AT;
	cpu_start(g->cpu, &g->start);
	guest_code(g, CODE_AT, over_itself);
	g->ram[0x11000] = 0x60; /* PUSHA */
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(0x10ff0, RSP);
	EXPECT_EQ(0x11002, cpu_rip(g->cpu));
	EXPECT_EQ(7, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(1 + 8, guest_total(g, PRIV_OS, EVENT_STORES));
	guest_free(g);
}

CODE(indirect, ".code32\n"
	       "movl $0x10000 + 2f - 1f, %eax\n call *%eax\n movl $0x3f020, %ebx\n"
	       "movl $0x10000 + 3f - 1f, (%ebx)\n jmp *(%ebx)\n hlt\n"
	       "2: incl %edx\n ret $0\n"
	       "3: movl $3, %ecx\n 4: incl %esi\n loop 4b\n jecxz 5f\n hlt\n"
	       "5: leal -1(%ecx), %edi\n leal -1(,%ecx,2), %ebp\n hlt\n"
	       "1:\n .code64");
TEST(branches_are_32_bit)
{
	struct guest *g = protected_new();
	u64 length = (u64)(code_indirect_end - code_indirect);

	/* The constants in the text are relative to its end: load it so that the end is at 0x10000. */
	guest_code(g, CODE_AT - length, indirect);
	g->start.rip = CODE_AT - length;
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(1, RDX);
	EXPECT_REG(3, RSI);
	EXPECT_REG(0, RCX);
	EXPECT_REG(0xffffffff, RDI);
	EXPECT_REG(0xffffffff, RBP);
	EXPECT_REG(STACK_TOP, RSP);
	guest_free(g);
}

CODE(addresses, ".code32\n"
		"movl $0x40, %eax\n movl %eax, %ds\n" /* DS has a base */
		"movl $0xcafe, 0x10\n"
		"movl $0x20, %ebx\n movl $0xbeef, (%ebx)\n"
		"movl $0xfffffff0, %ebx\n movl $0x77, 0x30(%ebx)\n" /* wraps: 0x20 + 0x00 */
		"movl %ss:0x100010, %ecx\n"			    /* flat */
		"movl $0x10, %ebx\n movl $0x20, %esi\n"
		"addr16 movl $0x16, 0x10(%bx,%si)\n"
		"addr16 movl 0x40, %edx\n"
		"movl $0x20, %esi\n movl $0x100050, %edi\n movsl\n"
		"movl %ss, %eax\n movl %eax, %ds\n"
		"movb $3, %al\n movl $0x100040, %ebx\n xlat\n"
		"pushl %ds\n popl %es\n pushl %fs\n popl %gs\n"
		"hlt\n .code64");
TEST(segment_bases_and_16_bit_addresses)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, addresses);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0xcafe, (u32)guest_get(g, DATA_AT + 0x10));
	EXPECT_EQ(0x77, (u32)guest_get(g, DATA_AT + 0x20));
	EXPECT_REG(0xcafe, RCX);
	EXPECT_EQ(0x16, (u32)guest_get(g, DATA_AT + 0x40));
	EXPECT_REG(0x16, RDX);
	EXPECT_EQ(0x77, (u32)guest_get(g, DATA_AT + 0x50));
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RAX) & 0xff);
	EXPECT_REG(STACK_TOP, RSP);
	guest_free(g);
}

/* As multiboot guests do: PAE, CR3, EFER.LME, PG, a far jump. */
CODE(to_long, ".code32\n"
	      "movl $0x20, %eax\n movl %eax, %cr4\n movl $0x1000, %eax\n movl %eax, %cr3\n"
	      "movl $0xc0000080, %ecx\n rdmsr\n orl $0x100, %eax\n wrmsr\n"
	      "movl %cr0, %eax\n orl $0x80000000, %eax\n movl %eax, %cr0\n"
	      "rdmsr\n movl %eax, 0x3f000\n"
	      "incl %edx\n" /* compatibility mode: not a REX prefix */
	      "ljmp $8, $0x11000\n .code64");
CODE(in_long, "movabs $0x123456789abcdef0, %r8\n push %r8\n pop %r9\n"
	      "mov %cr0, %rax\n mov %eax, 0x3f004\n"
	      "movl $0x12000, 0x3f100\n movw $0x38, 0x3f104\n ljmp *0x3f100");
/* Back: to compatibility mode, paging off, EFER.LMA clear. */
CODE(to_protected, ".code32\n"
		   "movl $1, %ecx\n decl %ecx\n movl %ecx, 0x3f008\n"
		   "movl %cr0, %eax\n btrl $31, %eax\n movl %eax, %cr0\n"
		   "movl $0xc0000080, %ecx\n rdmsr\n movl %eax, 0x3f00c\n"
		   "hlt\n .code64");
TEST(long_mode_and_back)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, to_long);
	guest_code(g, LONG_AT, in_long);
	guest_code(g, COMPAT_AT, to_protected);
	g->ram[RESULT_AT + 8] = 0xff;
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0x500, result(g, 0));
	EXPECT_EQ(0x80000011, result(g, 1));
	EXPECT_EQ(0, result(g, 2));
	EXPECT_EQ(0x100, result(g, 3)); /* LME stays, LMA is gone */
	EXPECT_REG(0x123456789abcdef0ull, R9);
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RDX));
	EXPECT_EQ(15 + 8 + 10, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* The same bytes at the same address mean something else in each mode. */
CODE(both, ".byte 0x48, 0xff, 0xc0\n hlt"); /* inc %rax; dec %eax, inc %eax */
TEST(blocks_are_of_one_mode)
{
	struct guest *g = protected_new();
	struct cpu_start start64 = g->start;

	guest_code(g, CODE_AT, both);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(0x2badb002, RAX);
	EXPECT_EQ(3, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	start64.cr0 = 0x80010033;
	start64.cr3 = PML4_AT;
	start64.cr4 = 0x20;
	start64.efer = 0x500;
	start64.cs = (struct cpu_segment){0, ~0u, KERNEL_CS, 0xa09b};
	cpu_start(g->cpu, &start64);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(0x2badb003, RAX);
	EXPECT_EQ(5, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

CODE(lret_64, "pushq $0x38\n pushq $0x12000\n lretq");
CODE(compat, ".code32\n movl %cs, %eax\n movl %eax, 0x3f000\n int $0x40\n incl %edx\n"
	     "pushl $8\n pushl $0x11000\n lret\n .code64");
CODE(handler_64, "mov 8(%rsp), %rax\n mov %eax, 0x3f004\n iretq");
CODE(halt, "hlt");
TEST(compatibility_mode_by_lret_with_an_interrupt)
{
	struct guest *g = protected_new();
	struct cpu_start start64 = g->start;

	start64.cr0 = 0x80010033;
	start64.cr3 = PML4_AT;
	start64.cr4 = 0x20;
	start64.efer = 0x500;
	start64.cs = (struct cpu_segment){0, ~0u, KERNEL_CS, 0xa09b};
	cpu_start(g->cpu, &start64);
	guest_code(g, CODE_AT, lret_64);
	guest_code(g, COMPAT_AT, compat);
	guest_code(g, HANDLER_AT, handler_64);
	guest_code(g, LONG_AT, halt);
	guest_gate(g, 0x40, HANDLER_AT, 0, 0);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(CODE32_CS, result(g, 0));
	EXPECT_EQ(CODE32_CS, result(g, 1));
	EXPECT_REG(1, RDX);
	EXPECT_REG(STACK_TOP, RSP);
	EXPECT_EQ(LONG_AT + 1, cpu_rip(g->cpu));
	guest_free(g);
}

/* CS with a base: EIP 0x8000 is CODE_AT. */
CODE(to_based, ".code32\n ljmp $0x50, $0xa000\n .code64");
CODE(based, ".code32\n call 1f\n 1: popl %eax\n jmp 2f\n .skip 0x40\n 2: movl $5, %ecx\n"
	    "3: decl %ecx\n jnz 3b\n ljmp $0x38, $0x11000\n .code64");
TEST(code_segment_with_a_base)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, to_based);
	guest_code(g, 0x8000 + 0xa000, based);
	guest_code(g, LONG_AT, halt);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(0xa005, RAX);
	EXPECT_REG(0, RCX);
	EXPECT_EQ(LONG_AT + 1, cpu_rip(g->cpu));
	guest_free(g);
}

/* ---- its IDT ---- */

CODE(interrupts, ".code32\n sti\n int $0x40\n movl %eax, 0x3f000\n"
		 "xorl %edx, %edx\n xorl %ecx, %ecx\n movl $1, %eax\n divl %ecx\n"
		 "movl $0x999, %eax\n movl %eax, %es\n hlt\n .code64");
CODE(on_int, ".code32\n pushfl\n popl %ebp\n movl 8(%esp), %eax\n iretl\n .code64");
CODE(on_divide, ".code32\n incl %esi\n addl $2, (%esp)\n iretl\n .code64");
CODE(on_gp, ".code32\n popl %edi\n addl $2, (%esp)\n iretl\n .code64");
TEST(faults_and_interrupts_at_one_privilege)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, interrupts);
	guest_code(g, HANDLER_AT, on_int);
	guest_code(g, HANDLER_AT + 0x100, on_divide);
	guest_code(g, HANDLER_AT + 0x200, on_gp);
	gate32(g, 0x40, HANDLER_AT, 0x8e);
	gate32(g, 0, HANDLER_AT + 0x100, 0x8f);
	gate32(g, 13, HANDLER_AT + 0x200, 0x8e);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0x202, result(g, 0));
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RBP) & 0x200); /* an interrupt gate */
	EXPECT_REG(1, RSI);
	EXPECT_REG(0x998, RDI);
	EXPECT_REG(STACK_TOP, RSP);
	EXPECT_EQ(10 + 4 + 3 + 3 - 2, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

CODE(to_user32, ".code32\n movl $0x28, %eax\n ltr %ax\n"
		"pushl $0x1b\n pushl $0xb0000\n pushl $0x202\n pushl $0x4b\n pushl $0x30000\n"
		"iretl\n .code64");
CODE(user32, ".code32\n movl %cs, %eax\n movl %esp, %ecx\n pushl $1\n cli\n int $0x40\n .code64");
CODE(on_user_gp, ".code32\n popl %edi\n addl $1, (%esp)\n iretl\n .code64");
CODE(on_user_int, ".code32\n movl %esp, %edx\n movl 4(%esp), %ebx\n movl 12(%esp), %esi\n"
		  "movl 16(%esp), %ebp\n hlt\n .code64");
TEST(interrupts_change_privilege_by_the_tss)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, to_user32);
	guest_code(g, USER_AT, user32);
	guest_code(g, HANDLER_AT, on_user_int);
	guest_code(g, HANDLER_AT + 0x100, on_user_gp);
	gate32(g, 0x40, HANDLER_AT, 0xee);
	gate32(g, 13, HANDLER_AT + 0x100, 0x8e);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(USER_CODE32_CS, RAX);
	EXPECT_REG(USER_STACK_TOP, RCX);
	EXPECT_REG(RSP0_TOP - 20, RDX);
	EXPECT_REG(USER_CODE32_CS, RBX);
	EXPECT_REG(USER_STACK_TOP - 4, RSI);
	EXPECT_REG(USER_SS, RBP);
	EXPECT_REG(0, RDI); /* CLI at CPL 3 */
	EXPECT_EQ(4, guest_total(g, PRIV_USR, EVENT_INSTRUCTIONS));
	EXPECT_EQ(8 + 3 + 5, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

CODE(on_nmi, ".code32\n incl %edi\n iretl\n .code64");
TEST(nmi_is_blocked_until_iret)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, halt);
	guest_code(g, HANDLER_AT, on_nmi);
	gate32(g, 2, HANDLER_AT, 0x8e);
	cpu_inject(g->cpu, CPU_EVENT_NMI, 0, -1);
	EXPECT_EQ(HANDLER_AT, cpu_rip(g->cpu));
	EXPECT_TRUE(!cpu_can_take_nmi(g->cpu));
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_TRUE(cpu_can_take_nmi(g->cpu));
	EXPECT_REG(1, RDI);
	EXPECT_EQ(3, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

TEST(no_idt_is_a_shutdown)
{
	struct guest *g = protected_new();

	g->start.idt_limit = 0;
	cpu_start(g->cpu, &g->start);
	guest_code(g, CODE_AT, interrupts);
	EXPECT_EQ(CPU_STOP_SHUTDOWN, guest_run(g));
	guest_free(g);
}

/* ---- what 64-bit code does not have ---- */

CODE(checks, ".code32\n xorl %eax, %eax\n into\n movb $0x7f, %al\n incb %al\n into\n"
	     "movl $5, 0x3f000\n movl $9, 0x3f004\n movl $10, %eax\n boundl %eax, 0x3f000\n"
	     "movl $9, %eax\n boundl %eax, 0x3f000\n .byte 0xd4, 0\n hlt\n .code64");
CODE(on_overflow, ".code32\n incl %esi\n movl (%esp), %ebp\n iretl\n .code64");
CODE(on_bound, ".code32\n incl %edi\n addl $6, (%esp)\n iretl\n .code64");
CODE(on_aam, ".code32\n incl %edx\n addl $2, (%esp)\n iretl\n .code64");
TEST(into_bound_and_aam_trap)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, checks);
	guest_code(g, HANDLER_AT, on_overflow);
	guest_code(g, HANDLER_AT + 0x100, on_bound);
	guest_code(g, HANDLER_AT + 0x200, on_aam);
	gate32(g, 4, HANDLER_AT, 0x8e);
	gate32(g, 5, HANDLER_AT + 0x100, 0x8e);
	gate32(g, 0, HANDLER_AT + 0x200, 0x8e);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(1, RSI);
	EXPECT_REG(CODE_AT + 2 + 1 + 2 + 2 + 1, RBP); /* behind the second INTO */
	EXPECT_REG(1, RDI);			      /* 10 is out of 5..9, 9 is not */
	EXPECT_REG(1, RDX);
	/* 11 that retire of 13: neither the first BOUND nor AAM; 3 in each handler */
	EXPECT_EQ(11 + 3 + 3 + 3, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(2 + 3, guest_total(g, PRIV_OS, EVENT_BRANCHES)); /* INTO, taken or not; IRET */
	EXPECT_EQ(1 + 1 + 3 * 3 + 2, guest_total(g, PRIV_OS, EVENT_LOADS));
	guest_free(g);
}

CODE(pointers, ".code32\n movl $0x123, 0x3f000\n movw $0x40, 0x3f004\n ldsl 0x3f000, %eax\n"
	       "movl %ds:0x20, %ebx\n movl %ss, %ecx\n movl %ecx, %ds\n"
	       "movl $0x70000, 0x3f008\n movw $0x10, 0x3f00c\n lssl 0x3f008, %esp\n pushl $7\n"
	       "hlt\n .code64");
TEST(far_pointers_load_segments)
{
	struct guest *g = protected_new();

	guest_set(g, DATA_AT + 0x20, 0x5a5a);
	guest_code(g, CODE_AT, pointers);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(0x123, RAX);
	EXPECT_REG(0x5a5a, RBX);
	EXPECT_EQ(7, (u32)guest_get(g, 0x6fffc));
	EXPECT_EQ(3, guest_total(g, PRIV_OS, EVENT_LOADS));
	guest_free(g);
}

/*
 * ENTER with a nesting level of 3: EBP, the two words under it, and the new frame's address; 4 stores,
 * 2 loads.
 */
CODE(nested, ".code32\n movl $0x70000, %ebp\n movl $0x11, -4(%ebp)\n movl $0x22, -8(%ebp)\n"
	     "enter $16, $3\n hlt\n .code64");
TEST(enter_copies_outer_frames)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, nested);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(STACK_TOP - 4, RBP);
	EXPECT_REG(STACK_TOP - 16 - 16, RSP);
	EXPECT_EQ(0x70000, (u32)guest_get(g, STACK_TOP - 4));
	EXPECT_EQ(0x11, (u32)guest_get(g, STACK_TOP - 8));
	EXPECT_EQ(0x22, (u32)guest_get(g, STACK_TOP - 12));
	EXPECT_EQ(STACK_TOP - 4, (u32)guest_get(g, STACK_TOP - 16));
	EXPECT_EQ(2 + 4, guest_total(g, PRIV_OS, EVENT_STORES));
	EXPECT_EQ(2, guest_total(g, PRIV_OS, EVENT_LOADS));
	guest_free(g);
}

/* ---- SYSENTER ---- */

#define SYSENTER_CS 0x60 /* code, stack, user code, user stack: flat, never read */

CODE(sysenter, ".code32\n"
	       "movl $0x174, %ecx\n movl $0x60, %eax\n xorl %edx, %edx\n wrmsr\n"
	       "incl %ecx\n movl $0x70000, %eax\n wrmsr\n incl %ecx\n movl $0x20000, %eax\n wrmsr\n"
	       "rdmsr\n movl %eax, %edi\n"
	       "movl $0xb0000, %ecx\n movl $0x30000, %edx\n sti\n sysexit\n .code64");
CODE(sysenter_user, ".code32\n movl %cs, %eax\n movl %ss, %ebx\n pushl $1\n sysenter\n .code64");
CODE(sysenter_kernel, ".code32\n movl %cs, %esi\n movl %esp, %ebp\n pushfl\n popl %ecx\n hlt\n"
		      ".code64");
TEST(sysenter_and_sysexit_of_32_bits)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, sysenter);
	guest_code(g, USER_AT, sysenter_user);
	guest_code(g, HANDLER_AT, sysenter_kernel);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(HANDLER_AT, RDI);
	EXPECT_REG((SYSENTER_CS + 16) | 3, RAX);
	EXPECT_REG((SYSENTER_CS + 24) | 3, RBX);
	EXPECT_EQ(1, (u32)guest_get(g, USER_STACK_TOP - 4));
	EXPECT_REG(SYSENTER_CS, RSI);
	EXPECT_REG(0x70000, RBP);
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RCX) & 0x200); /* IF */
	EXPECT_EQ(4, guest_total(g, PRIV_USR, EVENT_INSTRUCTIONS));
	EXPECT_EQ(1, guest_total(g, PRIV_USR, EVENT_BRANCHES));
	EXPECT_EQ(16 + 5, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

CODE(sysexit_64, "mov $0x174, %ecx\n mov $0x60, %eax\n xor %edx, %edx\n wrmsr\n inc %ecx\n"
		 "mov $0x70000, %eax\n wrmsr\n inc %ecx\n mov $0x20000, %eax\n wrmsr\n"
		 "mov $0xb0000, %ecx\n mov $0x30000, %edx\n sysexitq");
CODE(sysenter_64_user, "mov %cs, %eax\n push %rax\n sysenter");
CODE(sysenter_64_kernel, "mov %cs, %esi\n mov %rsp, %rbp\n mov $1, %r8d\n hlt");
TEST(sysenter_and_sysexit_of_64_bits)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, sysexit_64);
	guest_code(g, USER_AT, sysenter_64_user);
	guest_code(g, HANDLER_AT, sysenter_64_kernel);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG((SYSENTER_CS + 32) | 3, RAX);
	EXPECT_EQ((SYSENTER_CS + 32) | 3, guest_get(g, USER_STACK_TOP - 8));
	EXPECT_REG(SYSENTER_CS, RSI);
	EXPECT_REG(0x70000, RBP);
	EXPECT_REG(1, R8);
	EXPECT_EQ(3, guest_total(g, PRIV_USR, EVENT_INSTRUCTIONS));
	guest_free(g);
}

CODE(no_sysenter, ".code32\n sysenter\n .code64");
CODE(on_no_sysenter, ".code32\n popl %edi\n incl %esi\n hlt\n .code64");
TEST(sysenter_without_a_segment_is_a_fault)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, no_sysenter);
	guest_code(g, HANDLER_AT, on_no_sysenter);
	gate32(g, 13, HANDLER_AT, 0x8e);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(1, RSI);
	EXPECT_REG(0, RDI);
	guest_free(g);
}

/* ---- what is absent ---- */

CODE(tss16, ".code32\n movw $0x28, %ax\n ltr %ax\n .code64");
CODE(vex, ".code32\n nop\n vzeroupper\n hlt\n .code64");

TEST(a_tss_of_16_bits_stops)
{
	struct guest *g = protected_new();

	guest_set(g, GDT_AT + TSS_SELECTOR, 0x000081000000002bull | TSS_AT << 16);
	guest_code(g, CODE_AT, tss16);
	EXPECT_EQ(CPU_STOP_UNIMPLEMENTED, guest_run(g));
	EXPECT_EQ(CODE_AT + 4, cpu_rip(g->cpu));
	guest_free(g);
}

TEST(virtual_8086_mode_and_inner_levels_stop)
{
	struct guest *g = protected_new();

	g->start.rflags |= 1 << 17;
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_UNIMPLEMENTED, guest_run(g));
	g->start.rflags = 2;
	g->start.cs.selector = CODE32_CS | 1;
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_UNIMPLEMENTED, guest_run(g));
	EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

static void expect_stop(const u8 *from, const u8 *end, u64 offset)
{
	struct guest *g = protected_new();

	guest_bytes(g, CODE_AT, from, end);
	EXPECT_EQ(CPU_STOP_UNIMPLEMENTED, guest_run(g));
	EXPECT_EQ(CODE_AT + offset, cpu_rip(g->cpu));
	EXPECT_EQ(from[offset], cpu_exit_info(g->cpu)->bytes[0]);
	guest_free(g);
}
#define EXPECT_STOP(name, offset) expect_stop(code_##name, code_##name##_end, (offset))

TEST(absent_instructions_stop)
{
	EXPECT_STOP(vex, 1);
}

/* A landing at each instruction leaves every total as a run without landings. */
TEST(landing_on_each_instruction)
{
	struct guest *plain = protected_new();
	struct guest *g;

	guest_code(plain, CODE_AT, stack);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(plain));
	g = protected_new();
	guest_code(g, CODE_AT, stack);
	g->goal[PRIV_OS][EVENT_INSTRUCTIONS] = 1;
	g->step[EVENT_INSTRUCTIONS] = 1;
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(32, g->nr_landings);
	EXPECT_EQ(0,
		  memcmp(cpu_totals(g->cpu), cpu_totals(plain->cpu), sizeof(struct event_totals)));
	for (unsigned int r = 0; r < 16; r++)
		EXPECT_EQ(cpu_reg(plain->cpu, r), cpu_reg(g->cpu, r));
	guest_free(g);
	guest_free(plain);
}

/* The handler counts, keeps EIP and EFLAGS of the last #DB, and lets a breakpoint pass by RF. */
CODE(count_db, ".code32\n"
	       "incl 0x3f000\n pushl %eax\n movl 4(%esp), %eax\n movl %eax, 0x3f004\n"
	       "movl 12(%esp), %eax\n movl %eax, 0x3f008\n"
	       "orl $0x10000, 12(%esp)\n popl %eax\n iretl\n .code64");
CODE(step32, ".code32\n"
	     "pushfl\n orl $0x100, (%esp)\n popfl\n"
	     "nop\n into\n pushfl\n andl $~0x100, (%esp)\n popfl\n"
	     "movl $0x11000, %eax\n movl %eax, %dr0\n movl $1, %eax\n movl %eax, %dr7\n"
	     "ljmp $0x50, $0x9000\n .code64"); /* a code segment with a base of 8000 */
CODE(broken32, ".code32\n"
	       "movl %dr6, %edx\n hlt\n .code64");
TEST(single_step_and_breakpoints_in_32_bit_code)
{
	struct guest *g = protected_new();

	guest_code(g, CODE_AT, step32);
	guest_code(g, LONG_AT, broken32);
	guest_code(g, HANDLER_AT, count_db);
	gate32(g, 1, HANDLER_AT, 0x8e);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	/* nop, INTO without OF, PUSHF, AND, POPF; then the breakpoint by its linear address. */
	EXPECT_EQ(6, result(g, 0));
	EXPECT_EQ(LONG_AT - 0x8000, result(g, 1));
	EXPECT_EQ(0, result(g, 2) & 0x10100);
	EXPECT_REG(0xffff4ff1, RDX); /* BS stays, B0 is the last one's */
	guest_free(g);
}

TEST_MAIN()
