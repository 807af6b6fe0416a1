/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_fault.c - faults, the IDT, privilege changes, interrupts and what holds them back.
 */
#include "test_cpu_guest.h"

#define UNMAPPED 0x40000000000ull
#define FAULT_STATE (0x180000ull) /* where the recording handler leaves what it saw */

/*
 * Records CR2, the error code, the frame and RSP, then goes on at the address in R15. Vectors without
 * an error code enter one push later.
 */
CODE(record, "push $-1\n"
	     "mov %rsp, 0x180038\n"
	     "pop 0x180000\n" /* error code */
	     "pop 0x180008\n" /* RIP */
	     "pop 0x180010\n" /* CS */
	     "pop 0x180018\n" /* RFLAGS */
	     "pop 0x180020\n" /* RSP */
	     "pop 0x180028\n" /* SS */
	     "mov %cr2, %rax\n"
	     "mov %rax, 0x180030\n"
	     "cmp $0, %r15\n"
	     "je 1f\n"
	     "pushq 0x180028\npushq 0x180020\npushq 0x180018\npushq 0x180010\npush %r15\n"
	     "xor %r15d, %r15d\n"
	     "iretq\n"
	     "1: hlt");
#define WITHOUT_ERROR HANDLER_AT
#define WITH_ERROR (HANDLER_AT + 2)

enum { SAW_ERROR, SAW_RIP, SAW_CS, SAW_FLAGS, SAW_RSP, SAW_SS, SAW_CR2, SAW_HANDLER_RSP };

static u64 saw(const struct guest *g, unsigned int what)
{
	return guest_get(g, FAULT_STATE + 8 * what);
}

static struct guest *guest_with_handlers(void)
{
	struct guest *g = guest_new();

	guest_code(g, HANDLER_AT, record);
	for (unsigned int v = 0; v < 32; v++) {
		bool error = v == 8 || (v >= 10 && v <= 14);

		guest_gate(g, v, error ? WITH_ERROR : WITHOUT_ERROR, 0, 0);
	}
	return g;
}

static struct guest *run_fault(const u8 *from, const u8 *end)
{
	struct guest *g = guest_with_handlers();

	guest_bytes(g, CODE_AT, from, end);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	return g;
}
#define RUN(name) run_fault(code_##name, code_##name##_end)

static void expect_fault(const u8 *from, const u8 *end, s64 error, u64 offset, u64 instructions)
{
	struct guest *g = run_fault(from, end);

	EXPECT_EQ(error, saw(g, SAW_ERROR));
	EXPECT_EQ(CODE_AT + offset, saw(g, SAW_RIP));
	EXPECT_EQ(KERNEL_CS, saw(g, SAW_CS));
	EXPECT_EQ(STACK_TOP, saw(g, SAW_RSP));
	/* The handler: twelve instructions, one more where it pushes the error code. */
	EXPECT_EQ(instructions + (error < 0 ? 13 : 12),
		  guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}
#define FAULT(name, error, offset, instructions)                                                   \
	expect_fault(code_##name, code_##name##_end, (error), (offset), (instructions))

/* ---- which fault ---- */

CODE(divide, "xor %edx, %edx\nxor %ecx, %ecx\ndiv %ecx\nhlt");
CODE(overflow, "mov $1, %edx\nmov $1, %ecx\ndiv %ecx\nhlt");
CODE(ud2, "nop\nud2\nhlt");
CODE(ud1, "nop\n.byte 0x0f, 0xb9, 0xc0\nhlt");
CODE(ud0, "nop\n.byte 0x0f, 0xff, 0xc0\nhlt");
CODE(push_es, "nop\n.byte 0x06\nhlt");
CODE(bad_lock, "nop\n.byte 0xf0, 0x01, 0xc0\nhlt"); /* lock add %eax, %eax */
CODE(lock_mov, "nop\n.byte 0xf0, 0x89, 0x04, 0x24\nhlt");
CODE(vmcall, "nop\nvmcall\nhlt");
CODE(xgetbv, "nop\nxgetbv\nhlt");
CODE(bad_msr, "mov $0x4001, %ecx\nrdmsr\nhlt");
CODE(bad_msr_write, "mov $0x4001, %ecx\nwrmsr\nhlt");
CODE(bad_efer, "mov $0xc0000080, %ecx\nmov $0x2501, %eax\nxor %edx, %edx\nwrmsr\nhlt");
CODE(bad_base, "mov $0xc0000101, %ecx\nmov $0x1000000, %edx\nwrmsr\nhlt");
CODE(bad_cr4, "mov $0x200020, %eax\nmov %rax, %cr4\nhlt");
CODE(bad_cr0, "mov $0x80000000, %eax\nmov %rax, %cr0\nhlt");
CODE(non_canonical, "mov $0x800000000000, %rbx\nmov (%rbx), %eax\nhlt");
CODE(non_canonical_stack, "mov $0x800000000000, %rbp\nmov (%rbp), %eax\nhlt");
/* Nothing is mapped at the end of the lower half: that would be a page fault, which comes later. */
CODE(over_the_half, "mov $0x7ffffffffffc, %rbx\nmov (%rbx), %rax\nhlt");
CODE(over_the_half_store, "mov $0x7ffffffffffd, %rbx\nmovl $1, (%rbx)\nhlt");
CODE(over_the_half_stack, "mov $0x7fffffffffff, %rbp\nmov (%rbp), %ax\nhlt");
CODE(up_to_the_half, "mov $0x7ffffffffff8, %rbx\nmov (%rbx), %rax\nhlt");
CODE(non_canonical_jump, "mov $0x800000000000, %rbx\njmp *%rbx\nhlt");
CODE(bad_selector, "mov $0x78, %eax\nmov %eax, %ds\nhlt");
CODE(not_present_gate, "nop\nint $0x21\nhlt");
CODE(too_long, "nop\n.byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66\n"
	       "nop\nnop\nhlt");
CODE(misaligned, "mov $0x100008, %ebx\ncmpxchg16b (%rbx)\nhlt");

TEST(faults_with_their_codes)
{
	FAULT(divide, -1, 4, 2);
	FAULT(overflow, -1, 10, 2);
	FAULT(ud2, -1, 1, 1);
	FAULT(ud1, -1, 1, 1);
	FAULT(ud0, -1, 1, 1);
	FAULT(push_es, -1, 1, 1);
	FAULT(bad_lock, -1, 1, 1);
	FAULT(lock_mov, -1, 1, 1);
	FAULT(vmcall, -1, 1, 1);
	FAULT(xgetbv, -1, 1, 1);
	FAULT(bad_msr, 0, 5, 1);
	FAULT(bad_msr_write, 0, 5, 1);
	FAULT(bad_efer, 0, 12, 3);
	FAULT(bad_base, 0, 10, 2);
	FAULT(bad_cr4, 0, 5, 1);
	FAULT(bad_cr0, 0, 5, 1);
	FAULT(non_canonical, 0, 10, 1);
	FAULT(non_canonical_stack, 0, 10, 1);
	FAULT(non_canonical_jump, 0, 10, 1);
	FAULT(bad_selector, 0x78, 5, 1);
	FAULT(not_present_gate, 0x21 * 8 + 2, 1, 1);
	FAULT(misaligned, 0, 5, 1);
}

/* CR2 tells a page fault from the others. */
static void expect_cr2(const u8 *from, const u8 *end, u64 cr2)
{
	struct guest *g = run_fault(from, end);

	EXPECT_EQ(0, saw(g, SAW_ERROR));
	EXPECT_EQ(CODE_AT + 10, saw(g, SAW_RIP));
	EXPECT_EQ(cr2, saw(g, SAW_CR2));
	guest_free(g);
}
#define CR2(name, cr2) expect_cr2(code_##name, code_##name##_end, (cr2))

TEST(an_operand_over_the_end_of_the_lower_half_is_no_page_fault)
{
	CR2(over_the_half, 0);
	CR2(over_the_half_store, 0);
	CR2(over_the_half_stack, 0);
	CR2(up_to_the_half, 0x7ffffffffff8);
}

TEST(instruction_of_sixteen_bytes)
{
	/* 14 prefixes and the opcode are 15 bytes: fine. One more is not. */
	struct guest *g = guest_with_handlers();

	guest_code(g, CODE_AT, too_long);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(4, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
	g = guest_with_handlers();
	guest_code(g, CODE_AT, too_long);
	memset(g->ram + CODE_AT + 1, 0x66, 15);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0, saw(g, SAW_ERROR));
	EXPECT_EQ(CODE_AT + 1, saw(g, SAW_RIP));
	guest_free(g);
}

/* ---- page faults ---- */

CODE(read_unmapped, "mov $0x40000000123, %rbx\nmov (%rbx), %eax\nhlt");
CODE(write_unmapped, "mov $0x40000000123, %rbx\nmov %eax, (%rbx)\nhlt");
CODE(jump_unmapped, "mov $0x40000000123, %rbx\njmp *%rbx\nhlt");
CODE(write_protected, "mov $0x110000, %ebx\nstc\nmov $3, %eax\nadc %eax, (%rbx)\nhlt");
CODE(jump_nx, "mov $0x110000, %ebx\njmp *%rbx\nhlt");

static struct guest *run_paging(const u8 *from, const u8 *end, u64 entry, bool nxe, bool wp)
{
	struct guest *g = guest_with_handlers();

	guest_bytes(g, CODE_AT, from, end);
	guest_set(g, PT_AT + 0x110 * 8, entry);
	g->start.efer |= nxe ? 0x800 : 0;
	g->start.cr0 = wp ? 0x80010033 : 0x80000033;
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	return g;
}
#define PAGING(name, entry, nxe, wp)                                                               \
	run_paging(code_##name, code_##name##_end, (entry), (nxe), (wp))

TEST(page_faults)
{
	struct guest *g = RUN(read_unmapped);

	EXPECT_EQ(0, saw(g, SAW_ERROR));
	EXPECT_EQ(UNMAPPED + 0x123, saw(g, SAW_CR2));
	EXPECT_EQ(0x10002, saw(g, SAW_FLAGS)); /* RF */
	guest_free(g);
	g = RUN(write_unmapped);
	EXPECT_EQ(2, saw(g, SAW_ERROR));
	guest_free(g);
	g = RUN(jump_unmapped);
	EXPECT_EQ(0, saw(g, SAW_ERROR));
	EXPECT_EQ(UNMAPPED + 0x123, saw(g, SAW_RIP));
	EXPECT_EQ(2 + 12, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);

	g = PAGING(write_protected, 0x110000 | 1, false, true);
	EXPECT_EQ(3, saw(g, SAW_ERROR));
	EXPECT_EQ(1, saw(g, SAW_FLAGS) & 1);
	EXPECT_EQ(0, guest_get(g, 0x110000));
	EXPECT_EQ(0, guest_get(g, PT_AT + 0x110 * 8) & 0x40);
	guest_free(g);
	g = PAGING(write_protected, 0x110000 | 1, false, false);
	EXPECT_EQ(4, guest_get(g, 0x110000)); /* without WP the supervisor may */
	guest_free(g);

	g = PAGING(jump_nx, 0x110000 | 3 | BIT_ULL(63), true, true);
	EXPECT_EQ(0x11, saw(g, SAW_ERROR));
	EXPECT_EQ(0x110000, saw(g, SAW_CR2));
	guest_free(g);
	g = PAGING(write_protected, 0x110000 | 3 | BIT_ULL(63), false, true);
	EXPECT_EQ(0xb, saw(g, SAW_ERROR)); /* NX is reserved without NXE */
	guest_free(g);
}

/* A fault in the middle of a block leaves the rest undone, and the instruction can be restarted. */
CODE(demand, "mov $0x110000, %ebx\n"
	     "lea 2f(%rip), %r15\n"
	     "mov $5, %ecx\n"
	     "2: add %rcx, (%rbx)\n"
	     "inc %rcx\n"
	     "hlt");
CODE(map_page, "add $8, %rsp\nmovq $0x110003, 0x4880\niretq");

TEST(faulting_instruction_is_restarted)
{
	for (u64 slice = 0; slice < 3; slice++) {
		struct guest *g = guest_with_handlers();

		guest_code(g, CODE_AT, demand);
		guest_code(g, USER_AT, map_page);
		guest_gate(g, 14, USER_AT, 0, 0);
		guest_set(g, PT_AT + 0x110 * 8, 0);
		g->budget_slice = slice;
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		EXPECT_EQ(5, guest_get(g, 0x110000));
		EXPECT_EQ(6, cpu_reg(g->cpu, CPU_RCX));
		EXPECT_EQ(6 + 3, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
		guest_free(g);
	}
}

/* ---- stacks and privilege ---- */

CODE(ltr_ud2, "mov $0x28, %eax\nltr %ax\nud2");

TEST(interrupt_stack_table)
{
	struct guest *g = guest_with_handlers();

	guest_code(g, CODE_AT, ltr_ud2);
	guest_gate(g, 6, WITHOUT_ERROR, 1, 0);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(IST_TOP - 48, saw(g, SAW_HANDLER_RSP));
	EXPECT_EQ(STACK_TOP, saw(g, SAW_RSP));
	EXPECT_EQ(0x8b, g->ram[GDT_AT + TSS_SELECTOR + 5]); /* busy */
	guest_free(g);
}

CODE(to_user, "mov $0x28, %eax\nltr %ax\n"
	      "pushq $0x1b\npushq $0xb0000\npushq $0x202\npushq $0x23\npushq $0x30000\niretq");
CODE(user_fault, "mov $1, %eax\nmov 0x110000, %ecx\nhlt");
CODE(user_wrmsr, "nop\nwrmsr\nhlt");
CODE(user_hlt, "nop\nhlt");
CODE(user_cli, "nop\ncli\nhlt");
CODE(user_rdpmc, "nop\nrdpmc\nhlt");
CODE(user_out, "nop\nout %al, $0x99\nhlt");
CODE(user_int, "nop\nint $0x40\nhlt");
CODE(user_int_kernel, "nop\nint $0x41\nhlt");
CODE(user_int3, "nop\nint3\nhlt");

static struct guest *run_user(const u8 *from, const u8 *end)
{
	struct guest *g = guest_with_handlers();

	guest_code(g, CODE_AT, to_user);
	guest_bytes(g, USER_AT, from, end);
	guest_gate(g, 0x40, WITHOUT_ERROR, 0, 3);
	guest_gate(g, 0x41, WITHOUT_ERROR, 0, 0);
	guest_gate(g, 3, WITHOUT_ERROR, 0, 3);
	guest_set(g, PT_AT + 0x110 * 8, 0x110000 | 3);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(USER_CS, saw(g, SAW_CS));
	EXPECT_EQ(USER_SS, saw(g, SAW_SS));
	EXPECT_EQ(USER_STACK_TOP, saw(g, SAW_RSP));
	EXPECT_EQ(0, cpu_cpl(g->cpu));
	EXPECT_EQ(RSP0_TOP - 48, saw(g, SAW_HANDLER_RSP));
	return g;
}

static void expect_user(const u8 *from, const u8 *end, s64 error, u64 offset, u64 instructions,
			u64 branches)
{
	struct guest *g = run_user(from, end);

	EXPECT_EQ(error, saw(g, SAW_ERROR));
	EXPECT_EQ(USER_AT + offset, saw(g, SAW_RIP));
	EXPECT_EQ(instructions, guest_total(g, PRIV_USR, EVENT_INSTRUCTIONS));
	EXPECT_EQ(branches, guest_total(g, PRIV_USR, EVENT_BRANCHES));
	guest_free(g);
}
#define USER(name, error, offset, instructions, branches)                                          \
	expect_user(code_##name, code_##name##_end, (error), (offset), (instructions), (branches))

TEST(user_mode_faults)
{
	USER(user_fault, 5, 5, 1, 0);
	USER(user_wrmsr, 0, 1, 1, 0);
	USER(user_hlt, 0, 1, 1, 0);
	USER(user_cli, 0, 1, 1, 0);
	USER(user_rdpmc, 0, 1, 1, 0);
	USER(user_out, 0, 1, 1, 0);
	USER(user_int, -1, 3, 2, 1);
	USER(user_int_kernel, 0x41 * 8 + 2, 1, 1, 0);
	USER(user_int3, -1, 2, 2, 1);
}

TEST(privilege_checks_come_before_intercepts)
{
	struct cpu_intercept *in = calloc(1, sizeof(*in));
	struct guest *g = guest_with_handlers();

	in->rdpmc = true;
	memset(in->msr_write, 0xff, sizeof(in->msr_write));
	cpu_set_intercept(g->cpu, in);
	guest_code(g, CODE_AT, to_user);
	guest_code(g, USER_AT, user_rdpmc);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0, saw(g, SAW_ERROR));
	guest_free(g);
	free(in);
}

/* ---- double and triple faults ---- */

TEST(double_fault_and_shutdown)
{
	struct guest *g = guest_with_handlers();

	/* The page fault's gate has a null selector: #GP during #PF is #DF. */
	guest_code(g, CODE_AT, read_unmapped);
	guest_set(g, IDT_AT + 14 * 16, 0x8e0000000000ull);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0, saw(g, SAW_ERROR));
	EXPECT_EQ(CODE_AT + 10, saw(g, SAW_RIP));
	guest_free(g);

	g = guest_with_handlers();
	guest_code(g, CODE_AT, read_unmapped);
	guest_set(g, IDT_AT + 14 * 16, 0);
	guest_set(g, IDT_AT + 8 * 16, 0);
	EXPECT_EQ(CPU_STOP_SHUTDOWN, guest_run(g));
	EXPECT_EQ(CPU_STOP_SHUTDOWN, guest_run(g));
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* ---- interrupts ---- */

CODE(idle, "nop\nsti\nnop\nnop\ncli\nnop\nsti\nhlt\nnop\nmov $7, %edi\nhlt");
CODE(count_irq, "incl 0x190000\niretq");

TEST(interrupt_window_and_sti_shadow)
{
	struct guest *g = guest_with_handlers();

	guest_code(g, CODE_AT, idle);
	guest_code(g, USER_AT, count_irq);
	guest_gate(g, 0x80, USER_AT, 0, 0);
	cpu_want_window(g->cpu, true, false);
	EXPECT_EQ(CPU_STOP_WINDOW, guest_run(g));
	/* Not behind STI, but behind the instruction behind it. */
	EXPECT_EQ(CODE_AT + 3, cpu_rip(g->cpu));
	EXPECT_TRUE(cpu_can_take_irq(g->cpu));
	cpu_inject(g->cpu, CPU_EVENT_IRQ, 0x80, -1);
	EXPECT_EQ(USER_AT, cpu_rip(g->cpu));
	EXPECT_TRUE(!cpu_can_take_irq(g->cpu));
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(1, guest_get(g, 0x190000));
	/* Halted with interrupts on: an interrupt goes on behind the HLT. */
	EXPECT_EQ(CODE_AT + 8, cpu_rip(g->cpu));
	cpu_want_window(g->cpu, true, false);
	EXPECT_EQ(CPU_STOP_WINDOW, guest_run(g));
	EXPECT_TRUE(cpu_halted(g->cpu));
	cpu_inject(g->cpu, CPU_EVENT_IRQ, 0x80, -1);
	EXPECT_TRUE(!cpu_halted(g->cpu));
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(7, cpu_reg(g->cpu, CPU_RDI));
	EXPECT_EQ(2, guest_get(g, 0x190000));
	guest_free(g);
}

CODE(shadow, "mov %ss, %eax\nmov $5, %ecx\nmov %eax, %ss\nnop\nnop\nhlt");

TEST(mov_ss_shadow_blocks_nmi)
{
	struct guest *g = guest_with_handlers();
	u64 budget = 3;

	guest_code(g, CODE_AT, shadow);
	while (cpu_rip(g->cpu) < CODE_AT + 9) {
		budget = 1;
		EXPECT_EQ(CPU_STOP_BUDGET, cpu_run(g->cpu, &budget));
	}
	EXPECT_TRUE(!cpu_can_take_nmi(g->cpu));
	cpu_want_window(g->cpu, false, true);
	EXPECT_EQ(CPU_STOP_WINDOW, guest_run(g));
	EXPECT_EQ(CODE_AT + 10, cpu_rip(g->cpu));
	guest_free(g);
}

CODE(after_nmi, "nop\nnop\nnop\nhlt");
CODE(plain_iret, "nop\niretq");

TEST(nmi_is_blocked_until_iret)
{
	struct guest *g = guest_with_handlers();

	guest_code(g, CODE_AT, after_nmi);
	guest_code(g, USER_AT, plain_iret);
	guest_gate(g, 2, USER_AT, 0, 0);
	EXPECT_TRUE(cpu_can_take_nmi(g->cpu));
	cpu_inject(g->cpu, CPU_EVENT_NMI, 2, -1);
	EXPECT_TRUE(!cpu_can_take_nmi(g->cpu));
	EXPECT_EQ(6400, cpu_totals(g->cpu)->sub[PRIV_OS]);
	EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	cpu_want_window(g->cpu, false, true);
	EXPECT_EQ(CPU_STOP_WINDOW, guest_run(g));
	EXPECT_EQ(CODE_AT, cpu_rip(g->cpu));
	EXPECT_EQ(2, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_BRANCHES));
	EXPECT_EQ(5, guest_total(g, PRIV_OS, EVENT_LOADS));
	guest_free(g);
}

/* IRET with a null CS is #GP; the manual lets even an IRET that faults end the blocking. */
CODE(bad_iret, "movq $0, 8(%rsp)\niretq");

TEST(a_faulting_iret_unblocks_nmis)
{
	struct guest *g = guest_with_handlers();

	guest_code(g, CODE_AT, after_nmi);
	guest_code(g, USER_AT, bad_iret);
	guest_gate(g, 2, USER_AT, 0, 0);
	guest_gate(g, 13, HANDLER_AT, 0, 0);
	cpu_inject(g->cpu, CPU_EVENT_NMI, 2, -1);
	cpu_want_window(g->cpu, false, true);
	EXPECT_EQ(CPU_STOP_WINDOW, guest_run(g));
	EXPECT_EQ(HANDLER_AT, cpu_rip(g->cpu)); /* before the handler's first instruction */
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

TEST(injected_exception)
{
	struct guest *g = guest_with_handlers();

	guest_code(g, CODE_AT, after_nmi);
	cpu_inject(g->cpu, CPU_EVENT_EXCEPTION, 13, 0);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0, saw(g, SAW_ERROR));
	EXPECT_EQ(CODE_AT, saw(g, SAW_RIP));
	guest_free(g);
}

/* A delivery into the kernel is charged there; a limit that it crosses is landed on at once. */
TEST(delivery_that_reaches_a_limit)
{
	struct guest *g = guest_with_handlers();

	guest_code(g, CODE_AT, to_user);
	guest_code(g, USER_AT, user_int);
	guest_gate(g, 0x40, WITHOUT_ERROR, 0, 3);
	g->goal[PRIV_USR][EVENT_INSTRUCTIONS] = 2;
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(1, g->nr_landings);
	EXPECT_EQ(WITHOUT_ERROR, g->landings[0].rip);
	u64 entered = g->landings[0].totals.sub[PRIV_OS];

	guest_free(g);
	g = guest_with_handlers();
	guest_code(g, CODE_AT, to_user);
	guest_code(g, USER_AT, user_int);
	guest_gate(g, 0x40, WITHOUT_ERROR, 0, 3);
	g->goal_sub[PRIV_OS] = entered - 100;
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(1, g->nr_landings);
	EXPECT_EQ(WITHOUT_ERROR, g->landings[0].rip);
	EXPECT_EQ(entered, g->landings[0].totals.sub[PRIV_OS]);
	guest_free(g);
}

/* Transcendental functions stop. */
CODE(sine, "nop\nfsin\nhlt");

static void expect_unimplemented(const u8 *from, const u8 *end, u64 offset)
{
	struct guest *g = guest_with_handlers();

	guest_bytes(g, CODE_AT, from, end);
	EXPECT_EQ(CPU_STOP_UNIMPLEMENTED, guest_run(g));
	EXPECT_EQ(CODE_AT + offset, cpu_rip(g->cpu));
	guest_free(g);
}
#define UNIMPLEMENTED(name, offset) expect_unimplemented(code_##name, code_##name##_end, (offset))

TEST(what_is_absent_stops)
{
	UNIMPLEMENTED(sine, 1);
}

TEST_MAIN()
