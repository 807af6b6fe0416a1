/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_debug.c - #DB: single step, breakpoints, the debug registers, RFLAGS.RF; intercepted
 * exceptions. Expected values are derived from the rules at the head of csrc/cpu/debug.c.
 */
#include "test_cpu_guest.h"

#define RF 0x10000ull
#define TF 0x100ull
#define BS 0x4000ull
#define BD 0x2000ull
#define DR6_CLEAR 0xffff0ff0ull
#define LOG_AT 0x180000ull /* next entry; flags that the handler sets, flags that it keeps */
#define PARAMETERS_AT 0x180100ull
#define ENTRIES_AT 0x181000ull

/* Logs RIP, RFLAGS and DR6 of a #DB, clears DR6, changes the flags that IRET restores. */
CODE(log, "push %rax\npush %rbx\n"
	  "mov 0x180000, %rbx\n"
	  "mov 16(%rsp), %rax\nmov %rax, (%rbx)\n"
	  "mov 32(%rsp), %rax\nmov %rax, 8(%rbx)\n"
	  "mov %dr6, %rax\nmov %rax, 16(%rbx)\n"
	  "add $24, %rbx\nmov %rbx, 0x180000\n"
	  "mov $0xffff0ff0, %eax\nmov %rax, %dr6\n"
	  "mov 0x180008, %rax\nor %rax, 32(%rsp)\n"
	  "mov 0x180010, %rax\nand %rax, 32(%rsp)\n"
	  "pop %rbx\npop %rax\niretq");
#define LOG_INSTRUCTIONS 20
#define NO_ERROR_AT (HANDLER_AT + 0x1000)
#define INT_AT (HANDLER_AT + 0x2000)
#define LABEL(name) ".globl at_" #name "\nat_" #name ":\n"
#define LABELS(...) extern const u8 __VA_ARGS__
#define AT(code, name) (CODE_AT + (u64)(at_##name - code_##code))

CODE(plain_iret, "iretq");
CODE(halt, "hlt");

static struct guest *guest_with_log(void)
{
	struct guest *g = guest_new();

	guest_code(g, HANDLER_AT, log);
	guest_code(g, INT_AT, plain_iret);
	guest_code(g, NO_ERROR_AT, halt);
	for (unsigned int v = 0; v < 32; v++)
		guest_gate(g, v, NO_ERROR_AT, 0, 0);
	guest_gate(g, 1, HANDLER_AT, 0, 0);
	guest_gate(g, 2, INT_AT, 0, 0);
	guest_gate(g, 0x40, INT_AT, 0, 3);
	guest_set(g, LOG_AT, ENTRIES_AT);
	guest_set(g, LOG_AT + 8, 0);
	guest_set(g, LOG_AT + 16, ~0ull);
	return g;
}

static u64 nr_logged(const struct guest *g)
{
	return (guest_get(g, LOG_AT) - ENTRIES_AT) / 24;
}

#define EXPECT_LOGGED(g, n, rip, flags, dr6)                                                       \
	do {                                                                                       \
		u64 entry = ENTRIES_AT + 24ull * (n);                                              \
		EXPECT_EQ((rip), guest_get((g), entry));                                           \
		EXPECT_EQ((flags), guest_get((g), entry + 8) & (RF | TF));                         \
		EXPECT_EQ(DR6_CLEAR | (dr6), guest_get((g), entry + 16));                          \
	} while (0)

static struct guest *run_logged_from(struct guest *g, const u8 *from, const u8 *end)
{
	guest_bytes(g, CODE_AT, from, end);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	return g;
}
#define RUN(name) run_logged_from(guest_with_log(), code_##name, code_##name##_end)
#define RUN_IN(g, name) run_logged_from((g), code_##name, code_##name##_end)

#define SET_TF "pushf\norq $0x100, (%rsp)\npopf\n"
#define CLEAR_TF "pushf\nandq $~0x100, (%rsp)\npopf\n"

/* ---- single step ---- */

CODE(step,
     SET_TF "nop\n" LABEL(s1) "inc %eax\n" LABEL(s2) "jmp 1f\nud2\n1:" LABEL(s3) "pushf\n" LABEL(
	     s4) "andq $~0x100, (%rsp)\n" LABEL(s5) "popf\n" LABEL(s6) "nop\nhlt");
LABELS(at_s1[], at_s2[], at_s3[], at_s4[], at_s5[], at_s6[]);

/* Not after the POPF that sets TF; after every other instruction, the POPF that clears it too. */
TEST(a_trap_behind_each_instruction)
{
	struct guest *g = RUN(step);

	EXPECT_EQ(6, nr_logged(g));
	EXPECT_LOGGED(g, 0, AT(step, s1), TF, BS);
	EXPECT_LOGGED(g, 1, AT(step, s2), TF, BS);
	EXPECT_LOGGED(g, 2, AT(step, s3), TF, BS);
	EXPECT_LOGGED(g, 3, AT(step, s4), TF, BS);
	EXPECT_LOGGED(g, 4, AT(step, s5), TF, BS);
	EXPECT_LOGGED(g, 5, AT(step, s6), 0, BS);
	/* 3 of SET_TF, 6 stepped, nop, hlt; each once, and the handler six times. */
	EXPECT_EQ(3 + 6 + 2 + 6 * LOG_INSTRUCTIONS, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(1 + 6, guest_total(g, PRIV_OS, EVENT_BRANCHES)); /* jmp, IRETs */
	guest_free(g);
}

CODE(step_rep, "mov $0x100000, %esi\nmov $0x100100, %edi\nmov $3, %ecx\n" SET_TF LABEL(
		       r0) "rep movsb\n" LABEL(r1) CLEAR_TF "hlt");
LABELS(at_r0[], at_r1[]);

TEST(a_rep_string_steps_by_iterations)
{
	struct guest *g = RUN(step_rep);

	EXPECT_EQ(3 + 3, nr_logged(g)); /* and CLEAR_TF */
	EXPECT_LOGGED(g, 0, AT(step_rep, r0), TF | RF, BS);
	EXPECT_LOGGED(g, 1, AT(step_rep, r0), TF | RF, BS);
	EXPECT_LOGGED(g, 2, AT(step_rep, r1), TF, BS);
	/* 3, SET_TF, the string once, CLEAR_TF, hlt */
	EXPECT_EQ(3 + 3 + 1 + 3 + 1 + 6 * LOG_INSTRUCTIONS,
		  guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RCX));
	guest_free(g);
}

CODE(step_mov_ss, "mov %ss, %eax\n" SET_TF "mov %eax, %ss\nnop\n" LABEL(m1) CLEAR_TF "hlt");
LABELS(at_m1[]);

TEST(mov_ss_has_no_trap_of_its_own)
{
	struct guest *g = RUN(step_mov_ss);

	EXPECT_EQ(1 + 3, nr_logged(g));
	EXPECT_LOGGED(g, 0, AT(step_mov_ss, m1), TF, BS);
	guest_free(g);
}

CODE(step_sti, SET_TF "sti\n" LABEL(i1) "cli\n" LABEL(i2) CLEAR_TF "hlt");
LABELS(at_i1[], at_i2[]);

TEST(sti_holds_interrupts_back_not_traps)
{
	struct guest *g = RUN(step_sti);

	EXPECT_EQ(2 + 3, nr_logged(g));
	EXPECT_LOGGED(g, 0, AT(step_sti, i1), TF, BS);
	EXPECT_LOGGED(g, 1, AT(step_sti, i2), TF, BS);
	guest_free(g);
}

CODE(step_int, SET_TF "int $0x40\nnop\n" LABEL(n1) CLEAR_TF "hlt");
LABELS(at_n1[]);

/* INT n clears TF and has no trap; its IRET sets TF and has none either. */
TEST(int_n_has_no_trap)
{
	struct guest *g = RUN(step_int);

	EXPECT_EQ(1 + 3, nr_logged(g));
	EXPECT_LOGGED(g, 0, AT(step_int, n1), TF, BS);
	guest_free(g);
}

CODE(step_iret, "mov %ss, %eax\npush %rax\npushq $0x80000\npushf\norq $0x100, (%rsp)\n"
		"mov %cs, %eax\npush %rax\npush $0x10100\niretq\n"
		".org . + 0xe0, 0x90\n");
CODE(step_iret_target, "nop\n" LABEL(t1) CLEAR_TF "hlt");
LABELS(at_t1[]);

TEST(iret_that_sets_tf_is_not_stepped_itself)
{
	struct guest *g = guest_with_log();

	guest_code(g, 0x10100, step_iret_target);
	RUN_IN(g, step_iret);
	EXPECT_EQ(1 + 3, nr_logged(g));
	EXPECT_LOGGED(g, 0, 0x10101ull, TF, BS);
	guest_free(g);
}

CODE(step_fault, SET_TF LABEL(f0) "ud2");
LABELS(at_f0[]);

/* The fault is pushed with TF and RF; it has taken the trap's place. */
TEST(a_fault_is_not_stepped)
{
	struct guest *g = RUN(step_fault);

	EXPECT_EQ(0, nr_logged(g));
	EXPECT_EQ(AT(step_fault, f0), guest_get(g, STACK_TOP - 40));
	EXPECT_EQ(RF | TF, guest_get(g, STACK_TOP - 24) & (RF | TF));
	EXPECT_EQ(0, cpu_rflags(g->cpu) & (RF | TF));
	guest_free(g);
}

CODE(step_halt, "movq $0xfffffffffffffeff, 0x180010\n" SET_TF "hlt\n" LABEL(h1) "nop\nhlt");
LABELS(at_h1[]);

TEST(a_halted_cpu_takes_its_trap)
{
	struct guest *g = RUN(step_halt);

	EXPECT_EQ(1, nr_logged(g));
	EXPECT_LOGGED(g, 0, AT(step_halt, h1), TF, BS);
	EXPECT_EQ(CODE_AT + (u64)(code_step_halt_end - code_step_halt), cpu_rip(g->cpu));
	guest_free(g);
}

/* STAR, LSTAR and SFMASK; SFMASK from a parameter. RCX and R11 for SYSRET to USER_AT with TF. */
#define SETUP_SYSCALL                                                                                \
	"mov $0x28, %eax\nltr %ax\nmov $0xc0000080, %ecx\nmov $0x501, %eax\nxor %edx, %edx\nwrmsr\n" \
	"mov $0xc0000081, %ecx\nxor %eax, %eax\nmov $0x00130008, %edx\nwrmsr\n"                      \
	"mov $0xc0000082, %ecx\nmov $0x10200, %eax\nxor %edx, %edx\nwrmsr\n"                         \
	"mov $0xc0000084, %ecx\nmov 0x180100, %eax\nwrmsr\n"

CODE(sysret_tf, SETUP_SYSCALL "mov $0x30000, %ecx\nmov $0x102, %r11d\nsysretq");
CODE(syscall_entry, "nop\nnop\n" CLEAR_TF "hlt");
CODE(user_syscall, "syscall\nud2");

static struct guest *run_syscall(u64 sfmask)
{
	struct guest *g = guest_with_log();

	guest_set(g, PARAMETERS_AT, sfmask);
	guest_code(g, 0x10200, syscall_entry);
	guest_code(g, USER_AT, user_syscall);
	return RUN_IN(g, sysret_tf);
}

/* SYSRET traps at once with the TF that it loads; SYSCALL with the TF that SFMASK leaves. */
TEST(syscall_and_sysret_look_at_the_new_tf)
{
	struct guest *g = run_syscall(TF);

	EXPECT_EQ(1, nr_logged(g));
	EXPECT_LOGGED(g, 0, USER_AT, TF, BS);
	guest_free(g);

	g = run_syscall(0);
	EXPECT_EQ(2 + 2 + 3, nr_logged(g)); /* SYSRET, SYSCALL, nops, CLEAR_TF */
	EXPECT_LOGGED(g, 1, 0x10200ull, TF, BS);
	EXPECT_LOGGED(g, 2, 0x10201ull, TF, BS);
	guest_free(g);
}

/* Whatever the slices of the budget: the same traps, the same totals. */
TEST(slices_change_nothing)
{
	for (u64 slice = 1; slice < 4; slice++) {
		struct guest *g = guest_with_log();

		g->budget_slice = slice;
		RUN_IN(g, step_rep);
		EXPECT_EQ(3 + 3, nr_logged(g));
		EXPECT_LOGGED(g, 1, AT(step_rep, r0), TF | RF, BS);
		EXPECT_EQ(11 + 6 * LOG_INSTRUCTIONS, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
		guest_free(g);
	}
}

/* ---- what else comes at the boundary ---- */

CODE(step_event, SET_TF "nop\n" LABEL(v1) "nop\nhlt");
LABELS(at_v1[]);

/* The counter's stop behind the first nop finds the #DB on its way: an NMI comes in its handler. */
TEST(traps_come_before_nmis)
{
	struct guest *g = guest_with_log();

	guest_code(g, CODE_AT, step_event);
	g->goal[PRIV_OS][EVENT_INSTRUCTIONS] = 4; /* SET_TF, nop */
	g->stop_on_land = true;
	EXPECT_EQ(CPU_STOP_EVENT, guest_run(g));
	EXPECT_EQ(4, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(AT(step_event, v1), g->landings[0].rip);
	EXPECT_EQ(HANDLER_AT, cpu_rip(g->cpu));
	EXPECT_EQ(AT(step_event, v1), guest_get(g, STACK_TOP - 40));
	EXPECT_EQ(0, nr_logged(g));
	EXPECT_TRUE(cpu_can_take_nmi(g->cpu));
	cpu_inject(g->cpu, CPU_EVENT_NMI, 2, -1);
	EXPECT_EQ(HANDLER_AT, guest_get(g, cpu_reg(g->cpu, CPU_RSP)));
	EXPECT_EQ(0, guest_get(g, cpu_reg(g->cpu, CPU_RSP) + 16) & (TF | RF));
	guest_free(g);
}

CODE(iret_rf, "mov %ss, %eax\npush %rax\npushq $0x80000\npushq $0x10002\n"
	      "mov %cs, %eax\npush %rax\npush $0x10100\niretq\n");
CODE(iret_rf_target, "pushf\npop %rbx\nhlt");

/* RF is there between IRET and the next instruction, where an interrupt pushes it; then it is gone. */
TEST(iret_restores_rf_for_one_instruction)
{
	struct guest *g = guest_with_log();

	guest_code(g, CODE_AT, iret_rf);
	guest_code(g, 0x10100, iret_rf_target);
	g->goal[PRIV_OS][EVENT_INSTRUCTIONS] = 8;
	g->stop_on_land = true;
	EXPECT_EQ(CPU_STOP_EVENT, guest_run(g));
	EXPECT_EQ(0x10100, cpu_rip(g->cpu));
	EXPECT_EQ(RF | 2, cpu_rflags(g->cpu));
	cpu_inject(g->cpu, CPU_EVENT_IRQ, 0x40, -1);
	EXPECT_EQ(RF | 2, guest_get(g, cpu_reg(g->cpu, CPU_RSP) + 16));
	EXPECT_EQ(2, cpu_rflags(g->cpu));
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(2, cpu_reg(g->cpu, CPU_RBX)); /* PUSHF never shows it */
	EXPECT_EQ(2, cpu_rflags(g->cpu));
	guest_free(g);
}

static const struct cpu_profile one_profile[] = {{.id = 1}};

CODE(step_work, "mov $1, %eax\nmov $3, %ecx\n" SET_TF LABEL(w0) "nopl 0x504d5501(%rax)\n" LABEL(w1)
			CLEAR_TF "hlt");
LABELS(at_w0[], at_w1[]);

TEST(work_steps_by_its_instructions)
{
	struct guest *g = guest_new_with(one_profile, 1);

	guest_code(g, HANDLER_AT, log);
	guest_gate(g, 1, HANDLER_AT, 0, 0);
	guest_set(g, LOG_AT, ENTRIES_AT);
	guest_set(g, LOG_AT + 16, ~0ull);
	RUN_IN(g, step_work);
	EXPECT_EQ(3 + 3, nr_logged(g));
	EXPECT_LOGGED(g, 0, AT(step_work, w0), TF | RF, BS);
	EXPECT_LOGGED(g, 1, AT(step_work, w0), TF | RF, BS);
	EXPECT_LOGGED(g, 2, AT(step_work, w1), TF, BS);
	EXPECT_EQ(2 + 3 + 3 + 3 + 1 + 6 * LOG_INSTRUCTIONS,
		  guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* ---- breakpoints ---- */

/* DR0 and DR7 from the parameters; RBX is the third, RDX the fourth. */
#define ARM                                                                                        \
	"mov 0x180110, %rbx\nmov 0x180118, %rdx\n"                                                 \
	"mov 0x180100, %rax\nmov %rax, %dr0\nmov 0x180108, %rax\nmov %rax, %dr7\n"
#define ARM_INSTRUCTIONS 6

static void set_parameters(struct guest *g, u64 dr0, u64 dr7, u64 rbx, u64 rdx)
{
	guest_set(g, PARAMETERS_AT, dr0);
	guest_set(g, PARAMETERS_AT + 8, dr7);
	guest_set(g, PARAMETERS_AT + 16, rbx);
	guest_set(g, PARAMETERS_AT + 24, rdx);
}

CODE(code_break, ARM "mov $2, %ecx\n1:\n" LABEL(c0) "inc %edx\n" LABEL(c1) "dec %ecx\njnz 1b\nhlt");
LABELS(at_c0[], at_c1[]);

/* A fault before the instruction, without RF; the handler's RF lets it pass, once. */
TEST(a_code_breakpoint_hits_each_time)
{
	struct guest *g = guest_with_log();

	set_parameters(g, AT(code_break, c0), 1, 0, 0);
	guest_set(g, LOG_AT + 8, RF);
	RUN_IN(g, code_break);
	EXPECT_EQ(2, nr_logged(g));
	EXPECT_LOGGED(g, 0, AT(code_break, c0), 0, 1);
	EXPECT_LOGGED(g, 1, AT(code_break, c0), 0, 1);
	EXPECT_EQ(2, cpu_reg(g->cpu, CPU_RDX));
	EXPECT_EQ(ARM_INSTRUCTIONS + 1 + 2 * 3 + 1 + 2 * LOG_INSTRUCTIONS,
		  guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* It is the address of the first byte that counts; one that is not enabled does nothing. */
TEST(code_breakpoints_that_do_not_hit)
{
	struct guest *g = guest_with_log();

	set_parameters(g, AT(code_break, c0) + 1, 1, 0, 0);
	EXPECT_EQ(0, nr_logged(RUN_IN(g, code_break)));
	guest_free(g);
	g = guest_with_log();
	set_parameters(g, AT(code_break, c0), 4, 0, 0); /* enables DR1 */
	EXPECT_EQ(0, nr_logged(RUN_IN(g, code_break)));
	guest_free(g);
}

/* The trap of one instruction and the breakpoint of the next are two exceptions. */
CODE(break_and_step, ARM SET_TF "nop\n" LABEL(b0) "nop\n" LABEL(b1) CLEAR_TF "hlt");
LABELS(at_b0[], at_b1[]);

TEST(a_step_comes_before_the_next_breakpoint)
{
	struct guest *g = guest_with_log();

	set_parameters(g, AT(break_and_step, b0), 1, 0, 0);
	guest_set(g, LOG_AT + 8, 0);
	guest_code(g, CODE_AT, break_and_step);
	/* The handler does not set RF: the breakpoint comes again and again. */
	for (int n = 0; n < 200; n++) {
		u64 budget = 1;

		EXPECT_EQ(CPU_STOP_BUDGET, cpu_run(g->cpu, &budget));
	}
	EXPECT_TRUE(nr_logged(g) > 3);
	EXPECT_LOGGED(g, 0, AT(break_and_step, b0), TF, BS);
	EXPECT_LOGGED(g, 1, AT(break_and_step, b0), TF, 1);
	EXPECT_LOGGED(g, 2, AT(break_and_step, b0), TF, 1);
	guest_free(g);
}

CODE(break_behind_mov_ss, ARM "mov %ss, %eax\nmov %eax, %ss\n" LABEL(p0) "nop\nhlt");
LABELS(at_p0[]);

TEST(mov_ss_holds_a_code_breakpoint_off)
{
	struct guest *g = guest_with_log();

	set_parameters(g, AT(break_behind_mov_ss, p0), 1, 0, 0);
	EXPECT_EQ(0, nr_logged(RUN_IN(g, break_behind_mov_ss)));
	guest_free(g);
}

CODE(read_1, ARM "mov (%rbx), %al\nhlt");
CODE(read_2, ARM "mov (%rbx), %ax\nhlt");
CODE(read_4, ARM "mov (%rbx), %eax\nhlt");
CODE(read_8, ARM "mov (%rbx), %rax\nhlt");
CODE(write_1, ARM "mov %al, (%rbx)\nhlt");
CODE(write_2, ARM "mov %ax, (%rbx)\nhlt");
CODE(write_4, ARM "mov %eax, (%rbx)\nhlt");
CODE(write_8, ARM "mov %rax, (%rbx)\nhlt");
CODE(modify_1, ARM "incb (%rbx)\nhlt");
CODE(modify_2, ARM "incw (%rbx)\nhlt");
CODE(modify_4, ARM "incl (%rbx)\nhlt");
CODE(modify_8, ARM "incq (%rbx)\nhlt");

enum { READ, WRITE, MODIFY };

static const struct {
	const u8 *from, *end;
} accesses[3][4] = {
	{{code_read_1, code_read_1_end},
	 {code_read_2, code_read_2_end},
	 {code_read_4, code_read_4_end},
	 {code_read_8, code_read_8_end}},
	{{code_write_1, code_write_1_end},
	 {code_write_2, code_write_2_end},
	 {code_write_4, code_write_4_end},
	 {code_write_8, code_write_8_end}},
	{{code_modify_1, code_modify_1_end},
	 {code_modify_2, code_modify_2_end},
	 {code_modify_4, code_modify_4_end},
	 {code_modify_8, code_modify_8_end}},
};

/* By the definition: some byte of the access is one of the breakpoint's, which is aligned. */
static bool should_hit(u64 dr, unsigned int length, u64 at, unsigned int bytes)
{
	for (u64 a = at; a < at + bytes; a++) {
		for (u64 b = dr - dr % length; b < dr - dr % length + length; b++) {
			if (a == b)
				return true;
		}
	}
	return false;
}

static void try_access(unsigned int kind, unsigned int size, u64 dr0, u64 dr7, u64 at, bool hit)
{
	struct guest *g = guest_with_log();
	const u8 *from = accesses[kind][size].from, *end = accesses[kind][size].end;

	set_parameters(g, dr0, dr7, at, 0);
	guest_bytes(g, CODE_AT, from, end);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(hit, nr_logged(g));
	if (hit)
		EXPECT_LOGGED(g, 0, CODE_AT + (u64)(end - from) - 1, 0, 1);
	EXPECT_EQ(ARM_INSTRUCTIONS + 2 + hit * LOG_INSTRUCTIONS,
		  guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* Lengths 1, 2, 4, 8 by accesses of 1, 2, 4, 8 bytes at every distance, reads, writes and both. */
TEST(data_breakpoints_by_length_and_address)
{
	static const u64 len[] = {0, 1, 3, 2};
	const u64 dr0 = DATA_AT + 16 + 3;

	for (unsigned int length = 0; length < 4; length++) {
		for (unsigned int size = 0; size < 4; size++) {
			for (u64 at = DATA_AT + 8; at < DATA_AT + 28; at++) {
				bool hit = should_hit(dr0, 1u << length, at, 1u << size);
				u64 access = 0x30001 | len[length] << 18;
				u64 write = 0x10001 | len[length] << 18;
				unsigned int kind = (at + size) % 3;

				try_access(kind, size, dr0, access, at, hit);
				try_access(kind, size, dr0, write, at, hit && kind != READ);
			}
		}
	}
}

/* Over the end of a page, where the next one has the breakpoint; and one that was taken back. */
CODE(disarm, ARM "xor %ecx, %ecx\nmov %rcx, %dr7\nmov (%rbx), %eax\nhlt");

TEST(data_breakpoints_at_pages)
{
	struct guest *g = guest_with_log();

	try_access(READ, 3, DATA_AT + 0x1000, 0x30001, DATA_AT + 0xffc, true);
	try_access(MODIFY, 2, DATA_AT + 0x1000, 0x10001, DATA_AT + 0xffd, true);
	try_access(READ, 2, DATA_AT + 0x1000, 0x30001, DATA_AT + 0xffc, false);
	set_parameters(g, DATA_AT, 0x30001, DATA_AT, 0);
	EXPECT_EQ(0, nr_logged(RUN_IN(g, disarm)));
	guest_free(g);
}

CODE(two_hits, ARM "mov 0x180120, %rax\nmov %rax, %dr1\nmov 0x180128, %rax\nmov %rax, %dr3\n"
		   "mov $0x180200, %esi\nmov $0x180300, %edi\nmovsq\n" LABEL(q1) "hlt");
LABELS(at_q1[]);

/* DR0 on the source, DR1 on the destination, DR3 on it but not enabled: one #DB, B0 and B1. */
TEST(one_exception_for_all_that_an_instruction_hits)
{
	struct guest *g = guest_with_log();

	set_parameters(g, 0x180204, 0x130005, 0, 0);
	guest_set(g, PARAMETERS_AT + 32, 0x180307);
	guest_set(g, PARAMETERS_AT + 40, 0x180300);
	RUN_IN(g, two_hits);
	EXPECT_EQ(1, nr_logged(g));
	EXPECT_LOGGED(g, 0, AT(two_hits, q1), 0, 3);
	guest_free(g);
}

CODE(rep_hit,
     ARM "mov $0x100, %ecx\nmov $0x100000, %edi\n" LABEL(x0) "rep stosb\n" LABEL(x1) "hlt");
LABELS(at_x0[], at_x1[]);

TEST(a_rep_string_traps_behind_the_iteration)
{
	struct guest *g = guest_with_log();

	set_parameters(g, DATA_AT + 0x20, 0x10001, 0, 0);
	RUN_IN(g, rep_hit);
	EXPECT_EQ(1, nr_logged(g));
	EXPECT_LOGGED(g, 0, AT(rep_hit, x0), RF, 1);
	EXPECT_EQ(ARM_INSTRUCTIONS + 4 + LOG_INSTRUCTIONS,
		  guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(0x100 + 8 /* of the log */, guest_total(g, PRIV_OS, EVENT_STORES));
	guest_free(g);

	g = guest_with_log();
	set_parameters(g, DATA_AT + 0xff, 0x10001, 0, 0); /* the last one */
	RUN_IN(g, rep_hit);
	EXPECT_LOGGED(g, 0, AT(rep_hit, x1), 0, 1);
	guest_free(g);
}

CODE(mov_ss_hit, ARM "movw $0x10, (%rbx)\nmov 0x180120, %rax\nmov %rax, %dr7\n"
		     "mov (%rbx), %ss\nint $0x40\n" LABEL(y1) "hlt");
LABELS(at_y1[]);

/* MOV SS holds the trap back to behind the next instruction, the INT: it comes in its handler. */
TEST(mov_ss_holds_a_data_trap_back)
{
	struct guest *g = guest_with_log();

	set_parameters(g, DATA_AT, 0, DATA_AT, 0);
	guest_set(g, PARAMETERS_AT + 32, 0x30001);
	RUN_IN(g, mov_ss_hit);
	EXPECT_EQ(1, nr_logged(g));
	EXPECT_LOGGED(g, 0, INT_AT, 0, 1);
	guest_free(g);
}

CODE(port_break, "mov %cr4, %rax\nor %rdx, %rax\nmov 0x180118, %rdx\nor %rdx, %rax\n"
		 "mov %rax, %cr4\n" ARM "mov %ebx, %edx\nout %eax, %dx\n" LABEL(o1) "hlt");
LABELS(at_o1[]);

static void try_port(u64 dr0, u64 dr7, u16 port, u64 de, bool hit)
{
	struct guest *g = guest_with_log();

	set_parameters(g, dr0, dr7, port, de);
	RUN_IN(g, port_break);
	EXPECT_EQ(hit, nr_logged(g));
	if (hit)
		EXPECT_LOGGED(g, 0, AT(port_break, o1), 0, 1);
	guest_free(g);
}

TEST(port_breakpoints_need_cr4_de)
{
	try_port(0x103, 0x20001, 0x100, 8, true); /* the fourth byte of a 4-byte access */
	try_port(0x104, 0x20001, 0x100, 8, false);
	try_port(0x103, 0x20001 | 3 << 18, 0x100, 8, true);
	try_port(0x103, 0x20001, 0x100, 0, false);
}

/* ---- the registers ---- */

CODE(read_back, "mov $-1, %rax\nmov %rax, %dr3\nmov $0xffffffff, %eax\nmov %rax, %dr6\n"
		"mov $0xffffdf00, %eax\nmov %rax, %dr7\n"
		"mov %dr3, %rbx\nmov %dr6, %rcx\nmov %dr7, %rdx\nmov %dr4, %rsi\nmov %dr5, %rdi\n"
		"xor %eax, %eax\nmov %rax, %dr6\nmov %dr6, %r8\nhlt");

TEST(reserved_bits)
{
	struct guest *g = RUN(read_back);

	EXPECT_EQ(~0ull, cpu_reg(g->cpu, CPU_RBX));
	EXPECT_EQ(0xffffefff, cpu_reg(g->cpu, CPU_RCX)); /* bit 12 is 0 */
	EXPECT_EQ(0xffff0700, cpu_reg(g->cpu, CPU_RDX)); /* 10 is 1; 11, 12, 14, 15 are 0 */
	EXPECT_EQ(0xffffefff, cpu_reg(g->cpu, CPU_RSI));
	EXPECT_EQ(0xffff0700, cpu_reg(g->cpu, CPU_RDI));
	EXPECT_EQ(DR6_CLEAR, cpu_reg(g->cpu, CPU_R8));
	guest_free(g);
}

CODE(high_bits, "mov $0x100000000, %rax\nmov %rax, %dr7\n");
CODE(general_detect,
     "mov $0x2400, %eax\nmov %rax, %dr7\n" LABEL(g0) "mov %dr0, %rbx\nmov %dr7, %rcx\nhlt");
LABELS(at_g0[]);

/* DR7.GD: a fault with BD and RF, and GD is gone, so that the handler reads DR6 in peace. */
TEST(general_detect_faults_once)
{
	struct guest *g = RUN(general_detect);

	EXPECT_EQ(1, nr_logged(g));
	EXPECT_LOGGED(g, 0, AT(general_detect, g0), RF, BD);
	EXPECT_EQ(0x400, cpu_reg(g->cpu, CPU_RCX));
	guest_free(g);

	g = RUN(high_bits); /* #GP: the handler at NO_ERROR_AT halts with an error code on top */
	EXPECT_EQ(NO_ERROR_AT + 1, cpu_rip(g->cpu));
	EXPECT_EQ(CODE_AT + 10, guest_get(g, STACK_TOP - 40));
	guest_free(g);
}

CODE(alias_invalid, "mov %cr4, %rax\nor $8, %eax\nmov %rax, %cr4\n" LABEL(d0) "mov %dr4, %rbx");
LABELS(at_d0[]);

TEST(dr4_is_ud_with_cr4_de)
{
	struct guest *g = guest_with_log();

	guest_gate(g, 6, INT_AT + 0x1000, 0, 0);
	guest_code(g, INT_AT + 0x1000, halt);
	RUN_IN(g, alias_invalid);
	EXPECT_EQ(INT_AT + 0x1001, cpu_rip(g->cpu));
	EXPECT_EQ(AT(alias_invalid, d0), guest_get(g, STACK_TOP - 40));
	guest_free(g);
}

/* ---- INT1, INT3 ---- */

CODE(to_user, "mov $0x28, %eax\nltr %ax\n"
	      "push $0x1b\npush $0xb0000\npush $2\npush $0x23\npush $0x30000\niretq");
CODE(user_int1, ".byte 0xf1\nint3");

/* INT1 goes through a gate of DPL 0, INT3 does not: #GP(3 * 8 + 2) at it. */
TEST(int1_is_not_subject_to_the_gates_privilege)
{
	struct guest *g = guest_with_log();

	guest_code(g, USER_AT, user_int1);
	RUN_IN(g, to_user);
	EXPECT_EQ(1, nr_logged(g));
	EXPECT_LOGGED(g, 0, USER_AT + 1, 0, 0);
	EXPECT_EQ(NO_ERROR_AT + 1, cpu_rip(g->cpu));
	EXPECT_EQ(3 * 8 + 2, guest_get(g, RSP0_TOP - 48));
	EXPECT_EQ(USER_AT + 1, guest_get(g, RSP0_TOP - 40));
	EXPECT_EQ(1, guest_total(g, PRIV_USR, EVENT_INSTRUCTIONS));
	guest_free(g);
}

CODE(step_int1, SET_TF ".byte 0xf1\n" LABEL(k1) "nop\n" LABEL(k2) CLEAR_TF "hlt");
LABELS(at_k1[], at_k2[]);

TEST(int1_is_not_stepped)
{
	struct guest *g = RUN(step_int1);

	EXPECT_EQ(2 + 3, nr_logged(g));
	EXPECT_LOGGED(g, 0, AT(step_int1, k1), TF, 0);
	EXPECT_LOGGED(g, 1, AT(step_int1, k2), TF, BS);
	guest_free(g);
}

/* ---- intercepts ---- */

static void expect_exit(struct guest *g, unsigned int vector, u64 rip, u64 dr6)
{
	const struct cpu_exit *e = cpu_exit_info(g->cpu);

	EXPECT_EQ(CPU_STOP_INTERCEPT, guest_run(g));
	EXPECT_EQ(CPU_INSN_EXCEPTION, e->insn);
	EXPECT_EQ(vector, e->vector);
	EXPECT_EQ(rip, e->rip);
	EXPECT_EQ(rip, cpu_rip(g->cpu));
	EXPECT_EQ(dr6, e->dr6);
	EXPECT_EQ(DR6_CLEAR, cpu_dr(g->cpu, 6));
}

CODE(intercepted, ARM SET_TF "nop\n" LABEL(z0) "nop\n" LABEL(z1) ".byte 0xf1\n" LABEL(z2) "ud2");
LABELS(at_z0[], at_z1[], at_z2[]);

TEST(intercepted_exceptions_stop_and_change_nothing)
{
	const struct cpu_intercept intercept = {.exceptions = 1u << 1 | 1u << 6};
	struct guest *g = guest_with_log();
	u64 rsp;

	set_parameters(g, AT(intercepted, z1), 1, 0, 0);
	guest_code(g, CODE_AT, intercepted);
	cpu_set_intercept(g->cpu, &intercept);
	expect_exit(g, 1, AT(intercepted, z0), BS);
	rsp = cpu_reg(g->cpu, CPU_RSP);
	EXPECT_EQ(TF, cpu_rflags(g->cpu) & (TF | RF));
	EXPECT_EQ(ARM_INSTRUCTIONS + 3 + 1, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));

	/* Nobody injects it: the next instruction, and its trap before the breakpoint behind it. */
	expect_exit(g, 1, AT(intercepted, z1), BS);
	expect_exit(g, 1, AT(intercepted, z1), 1);
	EXPECT_EQ(TF, cpu_rflags(g->cpu) & (TF | RF));

	/* What the host does before it injects: B0-B3 are replaced, BS and BD stay. */
	cpu_debug_exception(g->cpu, BS | 2);
	EXPECT_EQ(DR6_CLEAR | BS | 2, cpu_dr(g->cpu, 6));
	cpu_debug_exception(g->cpu, 1);
	EXPECT_EQ(DR6_CLEAR | BS | 1, cpu_dr(g->cpu, 6));
	EXPECT_EQ(rsp, cpu_reg(g->cpu, CPU_RSP));
	guest_free(g);
}

CODE(intercepted_int1, "nop\n.byte 0xf1\n" LABEL(j1) "ud2");
LABELS(at_j1[]);

TEST(intercepted_int1_and_ud)
{
	const struct cpu_intercept intercept = {.exceptions = 1u << 1 | 1u << 6};
	struct guest *g = guest_with_log();
	const struct cpu_exit *e = cpu_exit_info(g->cpu);

	guest_code(g, CODE_AT, intercepted_int1);
	cpu_set_intercept(g->cpu, &intercept);
	expect_exit(g, 1, CODE_AT + 1, 0);
	EXPECT_TRUE(e->software);
	EXPECT_EQ(1, e->len);
	EXPECT_EQ(1, e->branches);
	EXPECT_EQ(0, cpu_rflags(g->cpu) & RF);
	cpu_skip_insn(g->cpu);
	expect_exit(g, 6, AT(intercepted_int1, j1), 0);
	EXPECT_EQ(-1, e->error);
	EXPECT_TRUE(!e->software);
	/* The flags are those that would have been pushed. */
	EXPECT_EQ(RF, cpu_rflags(g->cpu) & RF);
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(1, cpu_skipped(g->cpu)->instructions[PRIV_OS]);
	EXPECT_EQ(1, cpu_skipped(g->cpu)->branches[PRIV_OS]);
	guest_free(g);
}

CODE(user_mov_dr, "mov %dr5, %rax");

/* MOV DR exits before its own checks. */
TEST(mov_dr_exits_first)
{
	const struct cpu_intercept intercept = {.mov_dr = true};
	struct guest *g = guest_with_log();

	guest_code(g, CODE_AT, to_user);
	guest_code(g, USER_AT, user_mov_dr);
	cpu_set_intercept(g->cpu, &intercept);
	EXPECT_EQ(CPU_STOP_INTERCEPT, guest_run(g));
	EXPECT_EQ(CPU_INSN_MOV_DR, cpu_exit_info(g->cpu)->insn);
	EXPECT_EQ(5, cpu_exit_info(g->cpu)->debug_register);
	EXPECT_EQ(USER_AT, cpu_rip(g->cpu));
	guest_free(g);
}

/* ---- an instruction that the host executes ---- */

CODE(emulated, "nop\n");
CODE(emulated_loop, "loop .");

TEST(emulation_looks_at_code_breakpoints_and_tf)
{
	struct guest *g = guest_with_log();
	bool branch, step;

	set_parameters(g, USER_AT, 1, 0, 0);
	RUN_IN(g, code_break);
	guest_code(g, USER_AT, emulated);
	cpu_set_rip(g->cpu, USER_AT);
	EXPECT_EQ(CPU_EMULATED_FAULT, cpu_emulate_insn(g->cpu, &branch, &step));
	EXPECT_EQ(1, cpu_exit_info(g->cpu)->vector);
	EXPECT_EQ(1, cpu_exit_info(g->cpu)->dr6);
	EXPECT_EQ(USER_AT, cpu_rip(g->cpu));
	guest_free(g);
}

TEST(emulation_counts_as_skipped)
{
	struct guest *g = guest_with_log();
	u64 instructions, sub;
	bool branch, step;

	RUN_IN(g, step);
	instructions = guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS);
	sub = cpu_totals(g->cpu)->sub[PRIV_OS];
	guest_code(g, USER_AT, emulated_loop);
	cpu_set_rip(g->cpu, USER_AT);
	cpu_set_reg(g->cpu, CPU_RCX, 2);
	EXPECT_EQ(CPU_EMULATED_DONE, cpu_emulate_insn(g->cpu, &branch, &step));
	EXPECT_TRUE(branch && !step);
	EXPECT_EQ(USER_AT, cpu_rip(g->cpu));
	EXPECT_EQ(CPU_EMULATED_DONE, cpu_emulate_insn(g->cpu, &branch, &step));
	EXPECT_EQ(USER_AT + 2, cpu_rip(g->cpu));
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RCX));
	EXPECT_EQ(2, cpu_skipped(g->cpu)->instructions[PRIV_OS]);
	EXPECT_EQ(2, cpu_skipped(g->cpu)->branches[PRIV_OS]);
	EXPECT_EQ(instructions, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(sub, cpu_totals(g->cpu)->sub[PRIV_OS]);
	EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_BRANCH_MISSES));
	guest_free(g);
}

TEST_MAIN()
