/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_alignment.c - #AC: CR0.AM, RFLAGS.AC and CPL 3 together, and only for what is not aligned.
 */
#include "test_cpu_guest.h"

#define AM 0x40000u
#define AC 0x40000u
#define VECTOR_AC 17
#define OTHER_AT (HANDLER_AT + 0x100)
/* The frame of a fault from user mode. */
#define SAW_ERROR (RSP0_TOP - 48)
#define SAW_RIP (RSP0_TOP - 40)
#define SAW_FLAGS (RSP0_TOP - 24)

CODE(halt, "hlt");
/* To USER_AT with the flags of the parameter, RBX and RSP from the next two. */
CODE(to_user, "mov $0x28, %eax\nltr %ax\nmov 0x180008, %rbx\n"
	      "push $0x1b\npushq 0x180010\npushq 0x180000\npush $0x23\npush $0x30000\niretq");
CODE(word, "mov (%rbx), %ax\nint $0x40");
CODE(dword, "mov %eax, (%rbx)\nint $0x40");
CODE(qword, "addq $1, (%rbx)\nint $0x40");
CODE(string, "mov %rbx, %rdi\nmov $3, %ecx\nrep stosl\nint $0x40");
CODE(warm_string, "mov %rbx, %rdi\nmov $64, %ecx\nrep stosb\nlea 2(%rbx), %rdi\nmov $20, %ecx\n"
		  "rep stosl\nint $0x40");
CODE(push, "push %rax\nint $0x40");
CODE(pop, "pop %rax\nint $0x40");
CODE(byte, "mov (%rbx), %al\nint $0x40");

struct user {
	u64 flags, rbx, rsp;
	bool mask;
};

/* 0 if the code came to its end, or what the handler of #AC saw. */
static u64 run_user(const u8 *from, const u8 *end, const struct user *user, bool *faulted, u64 *rcx)
{
	struct guest *g = guest_new();
	u64 instructions;

	guest_code(g, CODE_AT, to_user);
	guest_bytes(g, USER_AT, from, end);
	guest_code(g, HANDLER_AT, halt);
	guest_code(g, OTHER_AT, halt);
	guest_gate(g, VECTOR_AC, HANDLER_AT, 0, 0);
	guest_gate(g, 0x40, OTHER_AT, 0, 3);
	guest_set(g, 0x180000, user->flags);
	guest_set(g, 0x180008, user->rbx);
	guest_set(g, 0x180010, user->rsp);
	if (user->mask)
		g->start.cr0 |= AM;
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	instructions = guest_total(g, PRIV_USR, EVENT_INSTRUCTIONS);
	*faulted = cpu_rip(g->cpu) == HANDLER_AT + 1;
	*rcx = cpu_reg(g->cpu, CPU_RCX);
	if (*faulted) {
		EXPECT_EQ(0, guest_get(g, SAW_ERROR));
		EXPECT_TRUE(guest_get(g, SAW_RIP) >= USER_AT);
		EXPECT_EQ(AC | 0x10000, guest_get(g, SAW_FLAGS) & 0x50000); /* RF */
	}
	guest_free(g);
	return instructions;
}

static void expect_run(const u8 *from, const u8 *end, struct user user, bool fault, u64 retired)
{
	bool faulted;
	u64 rcx;

	EXPECT_EQ(retired, run_user(from, end, &user, &faulted, &rcx));
	EXPECT_EQ(fault, faulted);
}
#define USER(name, flags, rbx, rsp, mask, fault, retired)                                          \
	expect_run(code_##name, code_##name##_end, (struct user){(flags), (rbx), (rsp), (mask)},   \
		   (fault), (retired))

#define STACK USER_STACK_TOP

TEST(what_is_not_aligned_faults)
{
	for (u64 n = 0; n < 8; n++) {
		USER(byte, 2 | AC, DATA_AT + n, STACK, true, false, 2);
		USER(word, 2 | AC, DATA_AT + n, STACK, true, n % 2, n % 2 ? 0 : 2);
		USER(dword, 2 | AC, DATA_AT + n, STACK, true, n % 4, n % 4 ? 0 : 2);
		USER(qword, 2 | AC, DATA_AT + n, STACK, true, n % 8, n % 8 ? 0 : 2);
		USER(push, 2 | AC, 0, STACK - 16 + n, true, n % 8, n % 8 ? 0 : 2);
		USER(pop, 2 | AC, 0, STACK - 16 + n, true, n % 8, n % 8 ? 0 : 2);
	}
	/* Within a line, over its end, over a page's end. */
	USER(qword, 2 | AC, DATA_AT + 0x3c, STACK, true, true, 0);
	USER(qword, 2 | AC, DATA_AT + 0xffc, STACK, true, true, 0);
	/* The first iteration faults; what came before has retired. */
	USER(string, 2 | AC, DATA_AT + 2, STACK, true, true, 2);
	USER(string, 2 | AC, DATA_AT + 4, STACK, true, false, 4);
}

/* So it does where page and lines are known already, and many iterations could be done at once. */
TEST(the_first_iteration_faults)
{
	const struct user user = {2 | AC, DATA_AT, STACK, true};
	bool faulted;
	u64 rcx;

	EXPECT_EQ(5, run_user(code_warm_string, code_warm_string_end, &user, &faulted, &rcx));
	EXPECT_TRUE(faulted);
	EXPECT_EQ(20, rcx);
}

TEST(only_with_am_and_ac)
{
	USER(qword, 2, DATA_AT + 1, STACK, true, false, 2);
	USER(qword, 2 | AC, DATA_AT + 1, STACK, false, false, 2);
}

CODE(kernel, "push $0x40002\npopf\nmov $0x100001, %ebx\naddq $1, (%rbx)\nhlt");

TEST(not_in_the_kernel)
{
	struct guest *g = guest_new();

	g->start.cr0 |= AM;
	cpu_start(g->cpu, &g->start);
	guest_code(g, CODE_AT, kernel);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(AC | 2, cpu_rflags(g->cpu) & (AC | 2));
	EXPECT_EQ(5, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

TEST_MAIN()
