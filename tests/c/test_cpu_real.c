// SPDX-License-Identifier: Apache-2.0
/*
 * test_cpu_real.c - real mode and 16-bit code: addresses, stack, branches, the vector table, and the
 * ways to protected mode and back.
 *
 * Code stands at 1000:0, the stack segment at 2000:0, data at 3000:0.
 */
#include "test_cpu_guest.h"

#define CODE_SEGMENT 0x1000u
#define STACK_SEGMENT 0x2000u
#define DATA_SEGMENT 0x3000u
#define STACK_BASE (STACK_SEGMENT * 16u)
#define DATA_BASE (DATA_SEGMENT * 16u)
#define EXTRA_BASE 0x40000u /* segment 4000 */

#define CODE16_CS 0x38 /* base CODE_AT */
#define CODE32_CS 0x40
#define DATA16_DS 0x48 /* base DATA_BASE */

static struct cpu_segment real_mode_segment(u16 selector, u16 attr)
{
	return (struct cpu_segment){selector * 16u, 0xffff, selector, attr};
}

static struct guest *real_new(void)
{
	struct guest *g = guest_new();

	guest_set(g, GDT_AT + CODE16_CS, 0x00009b010000ffffull);
	guest_set(g, GDT_AT + CODE32_CS, 0x00cf9b000000ffffull);
	guest_set(g, GDT_AT + DATA16_DS, 0x000093030000ffffull);
	g->start.rip = 0;
	g->start.rsp = 0;
	g->start.cr0 = 0x10;
	g->start.cr3 = g->start.cr4 = g->start.efer = 0;
	g->start.cs = real_mode_segment(CODE_SEGMENT, 0x9b);
	g->start.ss = real_mode_segment(STACK_SEGMENT, 0x93);
	g->start.ds = real_mode_segment(DATA_SEGMENT, 0x93);
	g->start.gdt_limit = 0x4f;
	g->start.idt_base = 0;
	g->start.idt_limit = 0x3ff;
	cpu_start(g->cpu, &g->start);
	return g;
}

static void vector(struct guest *g, unsigned int n, u16 offset)
{
	u32 entry = offset | CODE_SEGMENT << 16;

	memcpy(g->ram + 4 * n, &entry, sizeof(entry));
}

static u16 word(const struct guest *g, u64 pa)
{
	u16 v;

	memcpy(&v, g->ram + pa, sizeof(v));
	return v;
}

#define EXPECT_REG(want, reg) EXPECT_EQ(want, cpu_reg(g->cpu, CPU_##reg))
#define EXPECT_BYTE(want, pa) EXPECT_EQ(want, g->ram[pa])

CODE(addresses, ".code16\n"
		"movw $0x20, %bx\n movw $0x30, %si\n movw $0x40, %di\n movw $0x50, %bp\n"
		"movw $0x4000, %ax\n movw %ax, %fs\n"
		"movb $1, (%bx,%si)\n movb $2, 5(%bx,%di)\n movb $3, (%bp,%si)\n"
		"movb $4, 0x100(%bp,%di)\n movb $5, (%si)\n movb $6, (%di)\n"
		"movb $7, (%bp)\n movb $8, (%bx)\n movb $9, 0x1234\n movb $10, %fs:(%bp)\n"
		"movw $0xfff0, %bx\n movb $11, 0x21(%bx)\n" /* wraps: 11 */
		"movb $12, -0x60(%bp)\n"		    /* wraps: fff0 */
		"movl $0x100, %ecx\n movb $13, 4(%ecx,%esi,2)\n"
		"leaw -1(%bx,%si), %ax\n leal (%bx,%si), %edx\n"
		"hlt\n .code64");
TEST(addresses_of_16_bits)
{
	struct guest *g = real_new();

	guest_code(g, CODE_AT, addresses);
	g->start.rsp = 0;
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_BYTE(1, DATA_BASE + 0x50);
	EXPECT_BYTE(2, DATA_BASE + 0x65);
	EXPECT_BYTE(3, STACK_BASE + 0x80);
	EXPECT_BYTE(4, STACK_BASE + 0x190);
	EXPECT_BYTE(5, DATA_BASE + 0x30);
	EXPECT_BYTE(6, DATA_BASE + 0x40);
	EXPECT_BYTE(7, STACK_BASE + 0x50);
	EXPECT_BYTE(8, DATA_BASE + 0x20);
	EXPECT_BYTE(9, DATA_BASE + 0x1234);
	EXPECT_BYTE(10, EXTRA_BASE + 0x50);
	EXPECT_BYTE(11, DATA_BASE + 0x11);
	EXPECT_BYTE(12, STACK_BASE + 0xfff0);
	EXPECT_BYTE(13, DATA_BASE + 0x100 + 2 * 0x30 + 4);
	EXPECT_REG(0x1f, RAX);	/* fff0 + 30 - 1, in 16 bits */
	EXPECT_REG(0x20, RDX);	/* likewise, in 32 */
	EXPECT_REG(0x100, RCX); /* a 66 prefix gives 32-bit operands */
	EXPECT_EQ(24, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(13, guest_total(g, PRIV_OS, EVENT_STORES));
	EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_LOADS));
	guest_free(g);
}

CODE(stack, ".code16\n"
	    "movl $0xabcd0000, %esp\n"
	    "pushw $0x1111\n pushl $0x22223333\n movl %esp, %ebx\n"
	    "popl %eax\n popw %cx\n movl %esp, %edx\n"
	    "pushfw\n popw %di\n pushfl\n popl %edi\n"
	    "movw $0x5678, %bp\n enterw $8, $0\n movw %sp, %si\n leavew\n"
	    "call 1f\n call 2f\n jmp 3f\n 1: incw %ax\n ret\n 2: popw %di\n jmp *%di\n"
	    "3: pushaw\n popaw\n pushal\n popal\n"
	    "pushw %ds\n popw %es\n pushl %ss\n popl %ds\n"
	    "hlt\n .code64");
TEST(stack_of_16_bits_wraps)
{
	struct guest *g = real_new();

	guest_code(g, CODE_AT, stack);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(0xabcdfffa, RBX); /* the upper half stays */
	EXPECT_REG(0x22223334, RAX); /* CALL 1 added one */
	EXPECT_REG(0x1111, RCX);
	EXPECT_REG(0xabcd0000, RDX);
	EXPECT_REG(0x5678, RBP);
	EXPECT_REG(0xfff6, RSI); /* BP, then 8 bytes */
	EXPECT_REG(0xabcd0000, RSP);
	/* 1 movl, 2 pushes, 1 movl, 2 pops, 1 movl, 4 for flags, 4 frame, call 1 with 2, call 2 with
	 * 2, jmp, 4 for all registers, 4 segments, hlt */
	EXPECT_EQ(1 + 2 + 1 + 2 + 1 + 4 + 4 + 3 + 3 + 1 + 4 + 4 + 1,
		  guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(5, guest_total(g, PRIV_OS, EVENT_BRANCHES));
	EXPECT_EQ(2 + 2 + 1 + 2 + 16 + 2, guest_total(g, PRIV_OS, EVENT_STORES));
	EXPECT_EQ(2 + 2 + 1 + 2 + 14 + 2, guest_total(g, PRIV_OS, EVENT_LOADS));
	guest_free(g);
}

CODE(to_end, ".code16\n movw $3, %cx\n jmp . + 0xfffc - 3\n .code64");
CODE(at_end, ".code16\n incw %ax\n jmp . + 0x16\n .code64"); /* 2 bytes of jump at fffd */
CODE(at_start, ".code16\n incw %dx\n loop . - 1\n jcxz 1f\n hlt\n"
	       "1: jecxz 2f\n incw %bx\n 2: decl %ecx\n .byte 0x67, 0xe2, 0\n hlt\n .code64");
TEST(near_branches_wrap_at_64_kilobytes)
{
	struct guest *g = real_new();

	/* JMP at fffd ends at ffff and goes to fffd + 16 = 10013, which is 13. */
	guest_code(g, CODE_AT, to_end);
	guest_code(g, CODE_AT + 0xfffc, at_end);
	guest_code(g, CODE_AT + 0x13, at_start);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(1, RAX);
	EXPECT_REG(3, RDX);
	EXPECT_REG(0, RBX);
	EXPECT_REG(0xfffffffe, RCX); /* 0, less one, less one by ECX */
	EXPECT_EQ(CODE_AT + 0x13 + (u64)(code_at_start_end - code_at_start),
		  CODE_AT + cpu_rip(g->cpu));
	guest_free(g);
}

CODE(far, ".code16\n lcall $0x1100, $0x20\n movw $0x40, 0x10\n movw $0x1100, 0x12\n lcall *0x10\n"
	  "movw %cs, %bx\n pushw $0x1200\n pushw $0x30\n lret\n .code64");
CODE(far_callee, ".code16\n incw %ax\n movw %cs, %si\n lret\n .code64");
CODE(far_callee2, ".code16\n addw $16, %ax\n lretw $0\n .code64");
CODE(last_far, ".code16\n movw %cs, %di\n hlt\n .code64");
TEST(far_transfers_load_selectors)
{
	struct guest *g = real_new();

	guest_code(g, CODE_AT, far);
	guest_code(g, 0x11020, far_callee);
	guest_code(g, 0x11040, far_callee2);
	guest_code(g, 0x12030, last_far);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(17, RAX);
	EXPECT_REG(0x1000, RBX);
	EXPECT_REG(0x1100, RSI);
	EXPECT_REG(0x1200, RDI);
	EXPECT_REG(0, RSP);
	EXPECT_EQ(0x33, cpu_rip(g->cpu));
	/* 8; 3 and 2 in the callees; 2 */
	EXPECT_EQ(8 + 3 + 2 + 2, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

CODE(strings, ".code16\n cld\n movl $0x70000003, %ecx\n movl $0x7000fffe, %esi\n"
	      "movl $0x70000100, %edi\n movw $0x4000, %ax\n movw %ax, %es\n rep movsw\n"
	      "movb $0x5a, %al\n stosb\n movw $0xffff, %cx\n repne scasb\n"
	      "movw $0x80, %bx\n movb $3, %al\n xlat\n hlt\n .code64");
TEST(strings_of_16_bit_addresses)
{
	struct guest *g = real_new();

	g->ram[DATA_BASE + 0xfffe] = 1;
	g->ram[DATA_BASE + 0xffff] = 2;
	g->ram[DATA_BASE] = 3;
	g->ram[DATA_BASE + 2] = 4;
	g->ram[EXTRA_BASE + 0x110] = 0x5a;
	g->ram[DATA_BASE + 0x83] = 0x99;
	guest_code(g, CODE_AT, strings);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0x0201, word(g, EXTRA_BASE + 0x100));
	EXPECT_EQ(3, word(g, EXTRA_BASE + 0x102));
	EXPECT_EQ(4, word(g, EXTRA_BASE + 0x104));
	EXPECT_BYTE(0x5a, EXTRA_BASE + 0x106);
	EXPECT_REG(0x70000004, RSI); /* the upper halves stay */
	EXPECT_REG(0x70000111, RDI);
	EXPECT_REG(0x70000000 + 0xffff - (0x111 - 0x107), RCX);
	EXPECT_REG(0x4099, RAX);
	guest_free(g);
}

/* Over the end of the segment and on at its start, in both directions. */
CODE(long_strings,
     ".code16\n cld\n movl $0x12348000, %ecx\n movl $0x5678c000, %edi\n movb $0x5a, %al\n"
     "rep stosb\n std\n movw $0x3000, %cx\n movw $0x1ffe, %si\n movw $0x7000, %di\n"
     "rep movsw\n hlt\n .code64");
TEST(long_strings_wrap_at_64_kilobytes)
{
	struct guest *g = real_new();

	for (u32 n = 0; n < 0x10000; n++)
		g->ram[DATA_BASE + n] = (u8)(n * 7 >> 3);
	guest_code(g, CODE_AT, long_strings);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	/* STOSB has left 5a in c000..ffff and 0..3fff; MOVSW reads 1ffe..0 and fffe..c000, all 5a, and
	 * writes 7000..1002. */
	for (u32 n = 0; n < 0x10000; n++) {
		bool filled = n >= 0xc000 || n < 0x7002;

		if (g->ram[DATA_BASE + n] != (filled ? 0x5a : (u8)(n * 7 >> 3))) {
			EXPECT_EQ(filled ? 0x5a : (u8)(n * 7 >> 3), g->ram[DATA_BASE + n]);
			break;
		}
	}
	EXPECT_REG(0x12340000, RCX);
	EXPECT_REG(0x1ffe - 2 * 0x3000 + 0x10000, RSI);
	EXPECT_REG(0x56781000, RDI);
	EXPECT_EQ(0x8000 + 0x3000, guest_total(g, PRIV_OS, EVENT_STORES));
	EXPECT_EQ(0x3000, guest_total(g, PRIV_OS, EVENT_LOADS));
	EXPECT_EQ(11, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

CODE(bits, ".code16\n movw $-1, %ax\n movw $8, %bx\n btsw %ax, 2(%bx)\n movl $0x1fffff, %ecx\n"
	   "btsl %ecx, (%bx)\n movw $0x2000, %cx\n addr32 btsw %cx, 0x10\n hlt\n .code64");
TEST(bit_numbers_are_a_part_of_the_address)
{
	struct guest *g = real_new();

	guest_code(g, CODE_AT, bits);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	/* Bit -1 of 0a is bit 15 of the word at 8; bit 1fffff of 8 is bit 31 of the double word at
	 * 8 + 3fffc, which is 4 in 16 bits; bit 2000 of 10 is bit 0 at 410. */
	EXPECT_EQ(0x8000, word(g, DATA_BASE + 8));
	EXPECT_BYTE(0x80, DATA_BASE + 7);
	EXPECT_BYTE(1, DATA_BASE + 0x410);
	guest_free(g);
}

CODE(interrupts, ".code16\n sti\n int $0x40\n movw %ax, 0x10\n xorw %dx, %dx\n xorw %cx, %cx\n"
		 "divw %cx\n int3\n hlt\n .code64");
CODE(on_int, ".code16\n pushfw\n popw %di\n movw %sp, %bp\n movw (%bp), %ax\n movw 2(%bp), %bx\n"
	     "movw 4(%bp), %dx\n movw %dx, 0x12\n iretw\n .code64");
CODE(on_divide, ".code16\n incw %si\n movw %sp, %bp\n addw $2, (%bp)\n iretw\n .code64");
CODE(on_int3, ".code16\n addw $16, %si\n iretw\n .code64");
TEST(interrupts_go_through_the_vector_table)
{
	struct guest *g = real_new();

	vector(g, 0x40, 0x200);
	vector(g, 0, 0x300);
	vector(g, 3, 0x400);
	guest_code(g, CODE_AT, interrupts);
	guest_code(g, CODE_AT + 0x200, on_int);
	guest_code(g, CODE_AT + 0x300, on_divide);
	guest_code(g, CODE_AT + 0x400, on_int3);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(3, word(g, DATA_BASE + 0x10));     /* IP behind the INT */
	EXPECT_EQ(0x202, word(g, DATA_BASE + 0x12)); /* FLAGS, IF set */
	EXPECT_REG(CODE_SEGMENT, RBX);
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RDI) & 0x200); /* IF is clear in the handler */
	EXPECT_EQ(0x200, cpu_rflags(g->cpu) & 0x200);	/* and back behind it */
	EXPECT_REG(17, RSI);
	EXPECT_REG(0, RSP);
	/* sti, int, mov, xor, xor, int3, hlt; 8; 4; 2: the DIV did not retire */
	EXPECT_EQ(7 + 8 + 4 + 2, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(5, guest_total(g, PRIV_OS, EVENT_BRANCHES)); /* 2 INT, 3 IRET */
	guest_free(g);
}

CODE(halt, ".code16\n hlt\n .code64");
CODE(on_nmi, ".code16\n incw %di\n iretw\n .code64");
TEST(injected_events_use_the_vector_table)
{
	struct guest *g = real_new();

	vector(g, 2, 0x200);
	vector(g, 13, 0x200);
	guest_code(g, CODE_AT, halt);
	guest_code(g, CODE_AT + 0x200, on_nmi);
	cpu_inject(g->cpu, CPU_EVENT_NMI, 0, -1);
	EXPECT_TRUE(!cpu_can_take_nmi(g->cpu));
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_TRUE(cpu_can_take_nmi(g->cpu));
	EXPECT_REG(1, RDI);
	/* An exception with an error code: there are none in real mode. */
	cpu_inject(g->cpu, CPU_EVENT_EXCEPTION, 13, 0x1234);
	EXPECT_EQ(0x10000 - 6, cpu_reg(g->cpu, CPU_RSP));
	EXPECT_EQ(1, word(g, STACK_BASE + 0xfffa));
	guest_free(g);
}

CODE(no_descriptors, ".code16\n lldt %ax\n ltr %ax\n sldt %ax\n str %ax\n verr %ax\n verw %ax\n"
		     "lar %ax, %ax\n lsl %ax, %ax\n hlt\n .code64");
CODE(on_invalid, ".code16\n incw %si\n movw %sp, %bp\n addw $3, (%bp)\n iretw\n .code64");
TEST(what_needs_descriptors_is_invalid)
{
	struct guest *g = real_new();

	vector(g, 6, 0x200);
	guest_code(g, CODE_AT, no_descriptors);
	guest_code(g, CODE_AT + 0x200, on_invalid);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(8, RSI);
	EXPECT_EQ(8 * 4 + 1, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

TEST(no_vector_table_is_a_shutdown)
{
	struct guest *g = real_new();

	g->start.idt_limit = 0;
	cpu_start(g->cpu, &g->start);
	guest_code(g, CODE_AT, interrupts);
	EXPECT_EQ(CPU_STOP_SHUTDOWN, guest_run(g));
	guest_free(g);
}

/* ---- protected mode and back ---- */

/*
 * Real mode; PE set, and still 16-bit code in the old segments; 16-bit code of a descriptor; 32-bit
 * code; 16-bit code again; PE cleared, with DS as its descriptor made it; real mode.
 */
CODE(tour, ".code16\n"
	   "lgdtl 0x100\n movl %cr0, %eax\n orl $1, %eax\n movl %eax, %cr0\n"
	   "movw $0x11, 0x10\n" /* DS has the base of real mode */
	   "ljmp $0x38, $1f - code_tour\n"
	   "1: movw $0x10, %ax\n movw %ax, %ds\n movl $0x22, 0x3012\n"
	   "ljmpl $0x40, $0x10000 + 2f - code_tour\n .code32\n"
	   "2: movw $0x10, %ax\n movw %ax, %ss\n movl $0x71000, %esp\n pushl $0x33\n popl 0x30014\n"
	   "movw $0x48, %ax\n movw %ax, %ds\n movw %ax, %ss\n movl $0x100, %esp\n"
	   "ljmp $0x38, $3f - code_tour\n .code16\n"
	   "3: movl %cr0, %eax\n andl $~1, %eax\n movl %eax, %cr0\n"
	   "movw $0x44, 0x18\n" /* DS keeps its base: DATA_BASE */
	   "pushw $0x55\n popw 0x1a\n"
	   "ljmp $0x1000, $4f - code_tour\n"
	   "4: movw $0x4000, %ax\n movw %ax, %ds\n movw $0x66, 0x1c\n smsw %bx\n"
	   "movw $1, %ax\n lmsw %ax\n xorw %ax, %ax\n lmsw %ax\n smsw %cx\n hlt\n .code64");
TEST(to_protected_mode_and_back)
{
	struct guest *g = real_new();
	const u16 limit = 0x4f;

	memcpy(g->ram + DATA_BASE + 0x100, &limit, 2);
	guest_set(g, DATA_BASE + 0x102, 0xffff000000000000ull | GDT_AT);
	g->start.gdt_limit = 0;
	cpu_start(g->cpu, &g->start);
	guest_code(g, CODE_AT, tour);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0x11, word(g, DATA_BASE + 0x10));
	EXPECT_EQ(0x22, word(g, 0x3012));
	EXPECT_EQ(0x33, word(g, 0x30014));
	EXPECT_EQ(0x44, word(g, DATA_BASE + 0x18));
	EXPECT_EQ(0x55, word(g, DATA_BASE + 0x1a));
	EXPECT_EQ(0x66, word(g, EXTRA_BASE + 0x1c));
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RBX) & 1);
	EXPECT_EQ(1, cpu_reg(g->cpu, CPU_RCX) & 1); /* LMSW sets PE and never clears it */
	EXPECT_REG(0x100, RSP);
	EXPECT_EQ(6 + 4 + 10 + 7 + 10, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(4, guest_total(g, PRIV_OS, EVENT_BRANCHES));
	guest_free(g);
}

/* LGDT with 16-bit operands loads 24 bits of the base; SGDT stores what is there. */
CODE(tables, ".code16\n lgdtw 0x20\n sgdtl 0x30\n lidtl 0x20\n sidtw 0x40\n hlt\n .code64");
TEST(descriptor_table_bases_by_operand_size)
{
	struct guest *g = real_new();

	guest_set(g, DATA_BASE + 0x20, 0xee12345678abcdull);
	guest_code(g, CODE_AT, tables);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0x00345678abcdull, guest_get(g, DATA_BASE + 0x30));
	EXPECT_EQ(0x12345678abcdull, guest_get(g, DATA_BASE + 0x40));
	guest_free(g);
}

/* Gates of 16 and 32 bits from 16-bit protected code with a 16-bit stack. */
CODE(gates, ".code16\n int $0x40\n int $0x41\n hlt\n .code64");
CODE(on_gate16, ".code16\n movw %sp, %si\n movw 0xfa, %ax\n iretw\n .code64");
CODE(on_gate32, ".code32\n movzwl %sp, %edi\n movl 0xf4, %ebx\n iretl\n .code64");
TEST(gates_of_both_sizes_on_a_16_bit_stack)
{
	struct guest *g = real_new();

	g->start.cr0 = 0x11;
	g->start.cs = (struct cpu_segment){CODE_AT, 0xffff, CODE16_CS, 0x9b};
	g->start.ss = g->start.ds = (struct cpu_segment){DATA_BASE, 0xffff, DATA16_DS, 0x93};
	g->start.rsp = 0xabcd0100;
	g->start.idt_base = IDT_AT;
	g->start.idt_limit = 0x7ff;
	cpu_start(g->cpu, &g->start);
	guest_code(g, CODE_AT, gates);
	guest_code(g, CODE_AT + 0x200, on_gate16);
	guest_code(g, HANDLER_AT, on_gate32);
	guest_set(g, GDT_AT + CODE32_CS, 0x00cf9b000000ffffull);
	guest_set(g, IDT_AT + 0x40 * 8,
		  0x200 | (u64)CODE16_CS << 16 | 0x86ull << 40 | 0x7777ull << 48);
	guest_set(g, IDT_AT + 0x41 * 8,
		  (HANDLER_AT & 0xffff) | (u64)CODE32_CS << 16 | 0x8eull << 40 |
			  HANDLER_AT >> 16 << 48);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(0xfa, RSI); /* 3 words of 2 */
	EXPECT_EQ(2, cpu_reg(g->cpu, CPU_RAX) & 0xffff);
	EXPECT_REG(0xf4, RDI); /* 3 words of 4 */
	EXPECT_REG(4, RBX);
	EXPECT_REG(0xabcd0100, RSP);
	guest_free(g);
}

/* A landing at each instruction leaves every total as a run without landings. */
TEST(landing_on_each_instruction)
{
	struct guest *plain = real_new();
	struct guest *g;

	guest_code(plain, CODE_AT, stack);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(plain));
	g = real_new();
	guest_code(g, CODE_AT, stack);
	g->goal[PRIV_OS][EVENT_INSTRUCTIONS] = 1;
	g->step[EVENT_INSTRUCTIONS] = 1;
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(guest_total(plain, PRIV_OS, EVENT_INSTRUCTIONS), g->nr_landings);
	EXPECT_EQ(0,
		  memcmp(cpu_totals(g->cpu), cpu_totals(plain->cpu), sizeof(struct event_totals)));
	for (unsigned int r = 0; r < 16; r++)
		EXPECT_EQ(cpu_reg(plain->cpu, r), cpu_reg(g->cpu, r));
	guest_free(g);
	guest_free(plain);
}

CODE(step16, ".code16\n"
	     "pushfw\n movw %sp, %bp\n orw $0x100, (%bp)\n popfw\n"
	     "nop\n incw %dx\n pushfw\n andw $~0x100, (%bp)\n popfw\n hlt\n .code64");
CODE(count16, ".code16\n incw %cx\n iretw\n .code64");

/* Five traps: nop, INC, PUSHF, AND, POPF. */
TEST(single_step_in_real_mode)
{
	struct guest *g = real_new();

	guest_code(g, CODE_AT, step16);
	guest_code(g, CODE_AT + 0x100, count16);
	vector(g, 1, 0x100);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_REG(5, RCX);
	EXPECT_REG(1, RDX);
	EXPECT_EQ(10 + 5 * 2, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

TEST_MAIN()
