/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_blocks.c - what makes the cache of decoded blocks decode: code that is new or has changed,
 * and nothing else.
 */
#include "cpu/state.h"
#include "test_cpu_guest.h"

#define OTHER_PML4_AT 0xb000ull
#define FUNCTION_AT 0x12000ull
/* Where the function's page is seen again: by the same TLB entry, and by the next one. */
#define ALIAS 0x3000000ull
#define NEXT_ALIAS 0x1000ull

/* RAX and RBX are the two page tables, ECX the rounds. */
CODE(alternate, "1: mov %rax, %cr3\n"
		"xchg %rax, %rbx\n"
		"call 2f\n"
		"dec %ecx\n"
		"jnz 1b\n"
		"hlt\n"
		"2: add $1, %edx\n"
		"ret\n");
/* ECX rounds; RDI and RBP, in turns, are where the function's byte is written, RSI is the function. */
CODE(rewrite, "movb %cl, (%rdi)\n"
	      "movb %cl, (%rbp)\n"
	      "1: movb %cl, (%rdi)\n"
	      "call *%rsi\n"
	      "add %rdx, %rax\n"
	      "xchg %rdi, %rbp\n"
	      "dec %ecx\n"
	      "jnz 1b\n"
	      "hlt\n");
CODE(function, "mov $0, %dl\n"
	       "ret\n");
CODE(beside, "1: addq $1, 2f(%rip)\n"
	     "dec %ecx\n"
	     "jnz 1b\n"
	     "hlt\n"
	     ".balign 64\n"
	     "2: .quad 0\n");

static u32 blocks_after(struct guest *g, u64 rounds)
{
	cpu_start(g->cpu, &g->start);
	cpu_set_reg(g->cpu, CPU_RAX, OTHER_PML4_AT);
	cpu_set_reg(g->cpu, CPU_RBX, PML4_AT);
	cpu_set_reg(g->cpu, CPU_RCX, rounds);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	return g->cpu->nr_blocks;
}

/*
 * Two address spaces share the code, which is five blocks: MOV to CR3 by itself; XCHG and CALL; the
 * function; DEC and JNZ; HLT by itself. They stay five, whatever the number of rounds.
 */
TEST(cr3_writes_throw_no_block_away)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, alternate);
	guest_set(g, OTHER_PML4_AT, PDPT_AT | 7);
	EXPECT_EQ(5, blocks_after(g, 3));
	EXPECT_EQ(5, blocks_after(g, 10000));
	EXPECT_EQ(10000, cpu_reg(g->cpu, CPU_RDX));
	guest_free(g);
}

/*
 * The page of the function is written before it holds decoded code, through one or two views, and
 * in each round again, in turns: the function must be executed as written. The sum is 200 * 201 / 2.
 */
TEST(code_changed_through_any_view_is_decoded_anew)
{
	static const u64 views[][2] = {
		{0, 0}, {ALIAS, ALIAS}, {0, ALIAS}, {0, NEXT_ALIAS}, {NEXT_ALIAS, ALIAS}};

	for (unsigned int n = 0; n < ARRAY_SIZE(views); n++) {
		struct guest *g = guest_new();

		guest_code(g, CODE_AT, rewrite);
		guest_code(g, FUNCTION_AT, function);
		guest_set(g, PD_AT + 8 * (ALIAS >> 21), PT_AT | 7);
		guest_set(g, PT_AT + 8 * ((FUNCTION_AT + NEXT_ALIAS) >> 12), FUNCTION_AT | 7);
		cpu_start(g->cpu, &g->start);
		cpu_set_reg(g->cpu, CPU_RCX, 200);
		cpu_set_reg(g->cpu, CPU_RSI, FUNCTION_AT);
		cpu_set_reg(g->cpu, CPU_RDI, views[n][0] + FUNCTION_AT + 1);
		cpu_set_reg(g->cpu, CPU_RBP, views[n][1] + FUNCTION_AT + 1);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		EXPECT_EQ(20100, cpu_reg(g->cpu, CPU_RAX));
		guest_free(g);
	}
}

/* Data in the page of code, but in another line, drop nothing: the loop and HLT. */
TEST(data_beside_code_drop_nothing)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, beside);
	EXPECT_EQ(2, blocks_after(g, 1000));
	guest_free(g);
}

TEST_MAIN()
