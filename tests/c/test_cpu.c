/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu.c - counts by hand, memory, devices, callbacks, intercepts, self-modifying code.
 */
#include "test_cpu_guest.h"

static void expect_counts(const struct guest *g, u64 instructions, u64 branches, u64 loads,
			  u64 stores)
{
	EXPECT_EQ(instructions, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(branches, guest_total(g, PRIV_OS, EVENT_BRANCHES));
	EXPECT_EQ(loads, guest_total(g, PRIV_OS, EVENT_LOADS));
	EXPECT_EQ(stores, guest_total(g, PRIV_OS, EVENT_STORES));
}

static struct guest *run_code(const u8 *from, const u8 *end)
{
	struct guest *g = guest_new();

	guest_bytes(g, CODE_AT, from, end);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	return g;
}
#define RUN(name) run_code(code_##name, code_##name##_end)

/* ---- counts by hand ---- */

CODE(count, "mov $10, %ecx\n"
	    "1: addq $1, 0x100000\n" /* 1 load, 1 store */
	    "mov 0x100000, %rax\n"   /* 1 load */
	    "dec %ecx\n"
	    "jnz 1b\n"
	    "hlt");

TEST(counts_of_a_loop)
{
	struct guest *g = RUN(count);

	EXPECT_EQ(10, guest_get(g, DATA_AT));
	EXPECT_EQ(10, cpu_reg(g->cpu, CPU_RAX));
	expect_counts(g, 1 + 10 * 4 + 1, 10, 20, 10);
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_LLC_REFERENCES));
	EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_LLC_MISSES));
	/* Weakly not taken: the first time taken and the end are misses. */
	EXPECT_EQ(2, guest_total(g, PRIV_OS, EVENT_BRANCH_MISSES));
	EXPECT_EQ(0, guest_total(g, PRIV_USR, EVENT_INSTRUCTIONS));
	/* 42 simple, 20 loads, 10 stores, one cold line, two branch misses */
	EXPECT_EQ(42 * 16 + 30 * 8 + 12800 + 2 * 960, cpu_totals(g->cpu)->sub[PRIV_OS]);
	guest_free(g);
}

CODE(rules, "mov $0x100000, %ebx\n"	  /* loads, stores */
	    "pushq (%rbx)\n"		  /* 1 1 */
	    "popq 8(%rbx)\n"		  /* 1 1 */
	    "push $5\n"			  /* 0 1 */
	    "pop %rax\n"		  /* 1 0 */
	    "cmpl $0, (%rbx)\n"		  /* 1 0 */
	    "lock incl (%rbx)\n"	  /* 1 1 */
	    "xchg %rax, (%rbx)\n"	  /* 1 1 */
	    "lock cmpxchg %rcx, (%rbx)\n" /* 1 1 */
	    "xadd %eax, (%rbx)\n"	  /* 1 1 */
	    "btl $3, (%rbx)\n"		  /* 1 0 */
	    "btsl $3, (%rbx)\n"		  /* 1 1 */
	    "sete (%rbx)\n"		  /* 0 1 */
	    "cmovne (%rbx), %rax\n"	  /* 1 0 */
	    "lea (%rbx), %rax\n"
	    "nopl (%rbx)\n"
	    "prefetcht0 (%rbx)\n"
	    "clflush (%rbx)\n"
	    "movzbl (%rbx), %eax\n" /* 1 0 */
	    "enter $16, $0\n"	    /* 0 1 */
	    "leave\n"		    /* 1 0 */
	    "lea 1f(%rip), %rsi\n"
	    "mov %rsi, 0x100800\n" /* 0 1 */
	    "call 1f\n"		   /* 0 1, branch */
	    "call *0x100800\n"	   /* 1 1, branch */
	    "mov %rbx, %rsi\nlea 64(%rbx), %rdi\n"
	    "movsq\n"			/* 1 1 */
	    "cmpsb\n"			/* 2 0 */
	    "stosq\n"			/* 0 1 */
	    "lodsb\n"			/* 1 0 */
	    "scasb\n"			/* 1 0 */
	    "mov $4, %ecx\nrep stosb\n" /* 0 4 */
	    "rep stosb\n"		/* 0 0: RCX is 0, still an instruction */
	    "lock cmpxchg8b (%rbx)\n"	/* 1 1 */
	    "lock cmpxchg16b (%rbx)\n"	/* 1 1 */
	    "pushf\n"			/* 0 1 */
	    "popf\n"			/* 1 0 */
	    "jmp 3f\n"			/* branch */
	    "1: ret\n"			/* 1 0, branch; twice */
	    "3: hlt");

TEST(counting_rules)
{
	struct guest *g = RUN(rules);

	expect_counts(g, 43, 5, 24, 22);
	guest_free(g);
}

/* ---- cold lines ---- */

CODE(cold, "mov $0x400000, %ebx\n"
	   "mov (%rbx), %rax\n"	  /* cold */
	   "mov %rax, 56(%rbx)\n" /* warm */
	   "mov 60(%rbx), %rax\n" /* one warm, one cold line */
	   "clflush (%rbx)\n"
	   "mov 64(%rbx), %rax\n"   /* warm */
	   "mov (%rbx), %rax\n"	    /* cold */
	   "mov 4092(%rbx), %rax\n" /* two cold lines in two pages */
	   "push %rax\n"	    /* cold */
	   "hlt");

TEST(cold_lines)
{
	struct guest *g = RUN(cold);

	EXPECT_EQ(6, guest_total(g, PRIV_OS, EVENT_LLC_REFERENCES));
	EXPECT_EQ(6, guest_total(g, PRIV_OS, EVENT_LLC_MISSES));
	guest_free(g);
}

/* ---- devices ---- */

CODE(device, "mov $0x2000000, %ebx\n"
	     "inc %rax\n"
	     "mov %eax, (%rbx)\n" /* third instruction */
	     "inc %rax\n"
	     "addl $5, (%rbx)\n" /* a read and a write */
	     "push (%rbx)\n"
	     "pop %rcx\n"
	     "hlt");

TEST(device_in_the_middle_of_a_block)
{
	for (u64 slice = 0; slice < 3; slice++) {
		struct guest *g = guest_new();

		guest_code(g, CODE_AT, device);
		g->budget_slice = slice;
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		EXPECT_EQ(6, g->device);
		EXPECT_EQ(2, g->device_reads);
		EXPECT_EQ(2, g->device_writes);
		EXPECT_EQ(5, g->device_instructions); /* the push has not retired */
		EXPECT_EQ(6, cpu_reg(g->cpu, CPU_RCX));
		expect_counts(g, 8, 0, 3, 3);
		guest_free(g);
	}
}

/* ---- callbacks ---- */

CODE(marks, "mov $1, %eax\nout %al, $0x99\nnop\nnop\nout %al, $0x99\nhlt");

TEST(totals_are_exact_in_callbacks)
{
	struct guest *g = RUN(marks);

	EXPECT_EQ(2, g->nr_marks);
	EXPECT_EQ(1, g->marks[0].instructions);
	EXPECT_EQ(4, g->marks[1].instructions);
	guest_free(g);
}

CODE(msrs,
     "mov $0x4000, %ecx\nmov $0x89abcdef, %eax\nmov $0x1234567, %edx\nwrmsr\n"
     "xor %eax, %eax\nxor %edx, %edx\nrdmsr\nmov %rax, %r8\nmov %rdx, %r9\n"
     "mov $0xc0000100, %ecx\nxor %edx, %edx\nwrmsr\nrdmsr\n"
     "mov $7, %ecx\nmov $0xc0000103, %ecx\nmov $9, %eax\nxor %edx, %edx\nwrmsr\nrdtscp\nmov %rcx, %r10\n"
     "mov $5, %eax\nmov $6, %ecx\ncpuid\nmov %rbx, %r11\n"
     "xor %ecx, %ecx\nrdpmc\nhlt");

TEST(registers_of_others_and_its_own)
{
	struct guest *g = RUN(msrs);

	EXPECT_EQ(0x123456789abcdef, g->msr);
	EXPECT_EQ(0x89abcdef, cpu_reg(g->cpu, CPU_R8));
	EXPECT_EQ(0x1234567, cpu_reg(g->cpu, CPU_R9));
	EXPECT_EQ(9, cpu_reg(g->cpu, CPU_R10));
	EXPECT_EQ(6, cpu_reg(g->cpu, CPU_R11));
	/* RDPMC reads what retired before it: all but itself and the HLT. */
	EXPECT_EQ(guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS) - 2, cpu_reg(g->cpu, CPU_RAX));
	guest_free(g);
}

CODE(stop, "mov $0x4003, %ecx\nwrmsr\nnop\nhlt");

TEST(a_callback_can_stop_the_run)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, stop);
	EXPECT_EQ(CPU_STOP_EVENT, guest_run(g));
	EXPECT_EQ(2, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(CODE_AT + 7, cpu_rip(g->cpu));
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_TRUE(cpu_halted(g->cpu));
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	guest_free(g);
}

/* ---- intercepts ---- */

CODE(exits, "nop\ncpuid\nmov $0x4000, %ecx\nwrmsr\nrdmsr\nrdpmc\nin $0x70, %al\nout %eax, %dx\n"
	    "vmcall\nmov $0xc0000102, %ecx\nwrmsr\nhlt\nnop");

TEST(intercepts)
{
	static const enum cpu_insn want[] = {CPU_INSN_CPUID, CPU_INSN_WRMSR, CPU_INSN_RDPMC,
					     CPU_INSN_IN,    CPU_INSN_OUT,   CPU_INSN_VMCALL,
					     CPU_INSN_HLT};
	struct cpu_intercept *in = calloc(1, sizeof(*in));
	struct guest *g = guest_new();

	in->cpuid = in->hlt = in->rdpmc = in->io = in->vmcall = true;
	cpu_intercept_msr(in, MSR_PLAIN, false, true);
	EXPECT_TRUE(cpu_msr_intercepted(in, MSR_PLAIN, true)); /* outside: always */
	memset(in->msr_read, 0xff, sizeof(in->msr_read));
	cpu_intercept_msr(in, 0x1fff, false, true);
	EXPECT_TRUE(!cpu_msr_intercepted(in, 0x1fff, false));
	EXPECT_TRUE(cpu_msr_intercepted(in, 0x1fff, true));
	EXPECT_TRUE(cpu_msr_intercepted(in, 0xc0011fff, false));
	cpu_intercept_msr(in, 0xc0010000, false, false);
	EXPECT_TRUE(!cpu_msr_intercepted(in, 0xc0010000, false));
	cpu_set_intercept(g->cpu, in);
	guest_code(g, CODE_AT, exits);
	for (unsigned int n = 0; n < ARRAY_SIZE(want); n++) {
		u64 before = guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS);
		const struct cpu_exit *e = cpu_exit_info(g->cpu);

		EXPECT_EQ(CPU_STOP_INTERCEPT, guest_run(g));
		if (n == 2 && e->insn == CPU_INSN_RDMSR) {
			/* 0x4000 is outside of the bitmaps: reads are intercepted, too. */
			cpu_skip_insn(g->cpu);
			EXPECT_EQ(CPU_STOP_INTERCEPT, guest_run(g));
		}
		EXPECT_EQ(want[n], e->insn);
		EXPECT_EQ(cpu_rip(g->cpu), e->rip);
		(void)before;
		cpu_skip_insn(g->cpu);
	}
	EXPECT_EQ(8, cpu_skipped(g->cpu)->instructions[PRIV_OS]);
	/* nop, mov, mov, wrmsr of the CPU's own register */
	EXPECT_EQ(4, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
	free(in);
}

/* ---- what is not implemented ---- */

CODE(avx, "nop\nvpxor %xmm0, %xmm1, %xmm2\nhlt");

TEST(unimplemented_stops_and_changes_nothing)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, avx);
	for (unsigned int n = 0; n < 2; n++) {
		EXPECT_EQ(CPU_STOP_UNIMPLEMENTED, guest_run(g));
		EXPECT_EQ(CODE_AT + 1, cpu_rip(g->cpu));
		EXPECT_EQ(1, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
		EXPECT_EQ(15, cpu_exit_info(g->cpu)->nr_bytes);
		EXPECT_EQ(0xc5, cpu_exit_info(g->cpu)->bytes[0]);
		EXPECT_EQ(0xef, cpu_exit_info(g->cpu)->bytes[2]);
	}
	guest_free(g);
}

/* ---- self-modifying code ---- */

/* Overwrites the immediate of the instruction behind it, in the same block. */
CODE(modify_self, "1: lea 2f(%rip), %rbx\n"
		  "movl $77, 1(%rbx)\n"
		  "2: mov $1, %eax\n"
		  "mov $0, %ecx\n"
		  "hlt");

TEST(code_modified_in_the_running_block)
{
	struct guest *g = RUN(modify_self);

	EXPECT_EQ(77, cpu_reg(g->cpu, CPU_RAX));
	expect_counts(g, 5, 0, 0, 1);
	guest_free(g);
}

/* Calls a function in another page, changes it, calls it again; a counter stands beside the code. */
CODE(modify_other, "mov $0x20000, %ebx\n"
		   "mov $200, %ebp\n"
		   "1: call *%rbx\n"
		   "mov %eax, %edx\n"
		   "incl 1(%rbx)\n"
		   "incl 16(%rbx)\n"
		   "dec %ebp\n"
		   "jnz 1b\n"
		   "hlt");
CODE(modified, "mov $1000, %eax\nret");

TEST(code_modified_in_another_page)
{
	for (u64 slice = 0; slice < 2; slice++) {
		struct guest *g = guest_new();

		guest_code(g, CODE_AT, modify_other);
		guest_code(g, HANDLER_AT, modified);
		g->budget_slice = slice;
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		EXPECT_EQ(1199, cpu_reg(g->cpu, CPU_RDX));
		EXPECT_EQ(200, (u32)guest_get(g, HANDLER_AT + 16));
		expect_counts(g, 2 + 200 * 8 + 1, 600, 600, 600);
		guest_free(g);
	}
}

/* An instruction over a page boundary, whose second page changes. */
CODE(crossing, "mov $2, %ebp\n"
	       "1: mov $0x10ffd, %ebx\ncall *%rbx\n"
	       "incl 1(%rbx)\n"
	       "mov %eax, %edx\n"
	       "movb $9, 0x11001\n" /* the last byte of the immediate */
	       "dec %ebp\njnz 1b\nhlt");
CODE(crossed, "mov $7, %eax\nret");

TEST(instruction_over_a_page_boundary)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, crossing);
	guest_code(g, CODE_AT + 0xffd, crossed);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(8 | 9u << 24, cpu_reg(g->cpu, CPU_RDX));
	guest_free(g);
}

/* ---- mappings ---- */

/* The same virtual page is mapped to one physical page, then, by CR3, to another. */
CODE(remap, "mov $0x600000, %ebx\ncall *%rbx\nmov %eax, %esi\n"
	    "mov $0x5000, %eax\nmov %rax, %cr3\ncall *%rbx\nmov %eax, %edi\n"
	    "mov $0x1000, %eax\nmov %rax, %cr3\ncall *%rbx\nhlt");
CODE(page_a, "mov $1, %eax\nret");
CODE(page_b, "mov $2, %eax\nret");

TEST(blocks_follow_the_mapping)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, remap);
	guest_code(g, 0x600000, page_a);
	guest_code(g, 0x400000, page_b);
	/* Second set of tables: as the first, but 6 MB is physical 4 MB. */
	guest_set(g, 0x5000, 0x6000 | 7);
	guest_set(g, 0x6000, 0x7000 | 7);
	memcpy(g->ram + 0x7000, g->ram + PD_AT, 4096);
	guest_set(g, 0x7000 + 3 * 8, 0x400000 | 0x83);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(1, cpu_reg(g->cpu, CPU_RSI));
	EXPECT_EQ(2, cpu_reg(g->cpu, CPU_RDI));
	EXPECT_EQ(1, cpu_reg(g->cpu, CPU_RAX));
	guest_free(g);
}

CODE(touch, "mov 0x100000, %rax\nmov %rax, 0x101000\nhlt");

TEST(accessed_and_dirty_bits)
{
	struct guest *g = RUN(touch);

	EXPECT_EQ(0x20, guest_get(g, PT_AT + 0x100 * 8) & 0x60);
	EXPECT_EQ(0x60, guest_get(g, PT_AT + 0x101 * 8) & 0x60);
	EXPECT_EQ(0x20, guest_get(g, PT_AT + 0x10 * 8) & 0x60); /* code */
	EXPECT_EQ(0, guest_get(g, PT_AT + 0x102 * 8) & 0x60);
	EXPECT_EQ(0x20, guest_get(g, PML4_AT) & 0x60);
	guest_free(g);
}

TEST(reading_for_the_host)
{
	struct guest *g = guest_new();
	u8 bytes[16];
	u64 v;

	guest_set(g, DATA_AT + 0xffc, 0x1122334455667788);
	EXPECT_EQ(0, cpu_read_virtual(g->cpu, DATA_AT + 0xffc, &v, 8));
	EXPECT_EQ(0x1122334455667788, v);
	EXPECT_EQ(-1, cpu_read_virtual(g->cpu, 1ull << 40, bytes, 1));
	EXPECT_EQ(-1, cpu_read_virtual(g->cpu, DEVICE_AT, bytes, 1));
	EXPECT_EQ(-1, cpu_read_physical(g->cpu, RAM_SIZE - 1, bytes, 2));
	EXPECT_EQ(0, cpu_read_physical(g->cpu, RAM_SIZE - 2, bytes, 2));
	EXPECT_EQ(0, guest_get(g, PT_AT + 0x100 * 8) & 0x60);
	guest_free(g);
}

/* ---- branch prediction ---- */

CODE(predict, "mov $100, %ebp\n"
	      "1: call 2f\n" /* the return stack is right */
	      "lea 3f(%rip), %rax\n"
	      "jmp *%rax\n" /* a miss, then right */
	      "3: dec %ebp\n"
	      "jnz 1b\n" /* a miss at each end */
	      "lea 4f(%rip), %rax\npush %rax\n"
	      "ret\n" /* a miss: nobody called */
	      "4: hlt\n"
	      "2: ret\n");

TEST(branch_predictor)
{
	struct guest *g = RUN(predict);

	EXPECT_EQ(401, guest_total(g, PRIV_OS, EVENT_BRANCHES));
	EXPECT_EQ(1 + 2 + 1, guest_total(g, PRIV_OS, EVENT_BRANCH_MISSES));
	cpu_forget_branches(g->cpu);
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(2 * (1 + 2 + 1), guest_total(g, PRIV_OS, EVENT_BRANCH_MISSES));
	guest_free(g);
}

/* ---- budgets ---- */

TEST(budget_is_counted_down)
{
	struct guest *g = guest_new();
	u64 budget = 0;

	guest_code(g, CODE_AT, count);
	EXPECT_EQ(CPU_STOP_BUDGET, cpu_run(g->cpu, &budget));
	EXPECT_EQ(0, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	budget = 3;
	EXPECT_EQ(CPU_STOP_BUDGET, cpu_run(g->cpu, &budget));
	EXPECT_EQ(0, budget);
	budget = 1000;
	EXPECT_EQ(CPU_STOP_HALT, cpu_run(g->cpu, &budget));
	EXPECT_TRUE(budget > 900 && budget < 1000);
	guest_free(g);
}

TEST_MAIN()
