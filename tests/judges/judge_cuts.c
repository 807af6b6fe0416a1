/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge_cuts.c - nothing depends on how a run is cut: the interpreter judges itself.
 *
 *	judge_cuts [PROGRAMS [SEED]]
 *
 * Random programs in kernel and user mode: arithmetic, loads and stores, branches, calls, counted
 * loops, rep strings, faults, system calls, code that changes itself, a device, `work`, single steps and
 * breakpoints. The reference run lands wherever any counter moves. Runs with random goals and random budgets must land exactly
 * where the reference says that a goal is due, with the same totals, and end with the same
 * registers, memory and totals.
 */
#include <malloc.h>

#include "cpu/state.h"
#include "test_cpu_guest.h"

#define PROGRAM_AT 0x10ffaull /* soon crosses a page */
#define PROGRAM_MAX 0x7000u
#define BUFFER_AT 0x50000ull
#define FAULT_HANDLERS_AT 0x40000ull
#define END_AT 0x41000ull
#define SYSCALL_AT 0x42000ull
#define COLD_AT 0x400000ull
#define UNMAPPED_AT 0x1ff000u
#define END_VECTOR 0x80
#define NR_PROFILES 3
#define VARIANTS 6
#define MAX_FAILURES 5u
#define DEFAULT_PROGRAMS 60u

struct program {
	u64 seed, buffer_seed;
	bool user;
	bool debugged;
	u64 dr[8];
	u32 length;
	u8 bytes[PROGRAM_MAX + 256];
	struct cpu_profile profiles[NR_PROFILES];
};

#include "random_code.h"

/* ---- snippets: RBX is the buffer, R12 cold lines, R15 where a fault goes on ---- */

static unsigned int any_register(struct program *p)
{
	static const u8 free_registers[] = {0, 2, 6, 7, 8, 9, 10, 11, 13};

	return free_registers[below(p, sizeof(free_registers))];
}

static u32 displacement(struct program *p)
{
	return below(p, 3) ? 8 * below(p, 0xe00) : below(p, 0x7000);
}

static void simple(struct program *p)
{
	static const u8 alu[] = {0x01, 0x29, 0x31, 0x11, 0x19, 0x21, 0x39, 0x85};
	static const u8 memory[] = {0x8b, 0x89, 0x01};
	unsigned int a = any_register(p), b = any_register(p);

	switch (below(p, 9)) {
	case 0:
	case 1:
		byte(p, 0x48 | a >> 3 << 2 | b >> 3);
		byte(p, alu[below(p, sizeof(alu))]);
		byte(p, 0xc0 | (a & 7) << 3 | (b & 7));
		break;
	case 2:
	case 3: /* between a and [rbx + disp] */
		byte(p, 0x48 | a >> 3 << 2);
		byte(p, memory[below(p, sizeof(memory))]);
		byte(p, 0x83 | (a & 7) << 3);
		word32(p, displacement(p));
		break;
	case 4:
		EMIT(p, "\x49\x8b\x84\x24"); /* mov rax, [r12 + disp] */
		word32(p, below(p, 64) * 64 + below(p, 3) * below(p, 60));
		break;
	case 5:
		EMIT(p, "\x41\x0f\xae\xbc\x24"); /* clflush [r12 + disp] */
		word32(p, below(p, 64) * 64);
		break;
	case 6:
		EMIT(p, "\x50\x8f\x83"); /* push rax; pop [rbx + disp] */
		word32(p, displacement(p));
		break;
	case 7: EMIT(p, "\x48\x0f\xaf\xc2"); break; /* imul rax, rdx */
	default: EMIT(p, "\x9c\x58"); break;	    /* pushfq; pop rax */
	}
}

static void branch_over(struct program *p)
{
	u32 at;

	byte(p, 0x70 | below(p, 16));
	at = p->length;
	byte(p, 0);
	simple(p);
	simple(p);
	p->bytes[at] = (u8)(p->length - at - 1);
}

static void counted_loop(struct program *p)
{
	u32 start;

	byte(p, 0xb9); /* mov ecx, n */
	word32(p, 1 + below(p, below(p, 4) ? 8 : 60));
	start = p->length;
	for (u32 n = 1 + below(p, 4); n; n--)
		simple(p);
	EMIT(p, "\xff\xc9\x0f\x85"); /* dec ecx; jnz */
	word32(p, start - (p->length + 4));
}

static void repeated_string(struct program *p)
{
	static const u8 ops[] = {0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xae, 0xaf, 0xa6, 0xa7};
	static const u32 most[] = {12, 12, 150, 700};
	bool down = below(p, 6) == 0;

	EMIT(p, "\x48\x8d\xb3"); /* lea rsi, [rbx + disp] */
	word32(p, displacement(p) & 0xfff);
	if (below(p, 4)) {
		EMIT(p, "\x48\x8d\xbb"); /* lea rdi, [rbx + disp] */
		word32(p, 0x1000 + (displacement(p) & 0xfff));
	} else {
		EMIT(p, "\x48\x8d\xbe"); /* lea rdi, [rsi + disp]: they overlap */
		word32(p, below(p, below(p, 2) ? 16 : 500) - 8);
	}
	byte(p, 0xb9);
	word32(p, below(p, most[below(p, ARRAY_SIZE(most))]));
	if (below(p, 5) == 0)
		EMIT(p, "\x4c\x89\xe7"); /* mov rdi, r12 */
	if (down)
		byte(p, 0xfd); /* std */
	if (below(p, 3) == 0)
		byte(p, 0x66);
	byte(p, 0xf2 | below(p, 2));
	if (below(p, 2))
		byte(p, 0x48);
	byte(p, ops[below(p, sizeof(ops))]);
	if (down)
		byte(p, 0xfc); /* cld */
}

static void call_and_return(struct program *p)
{
	u32 at;

	EMIT(p, "\xe8\x02\x00\x00\x00\xeb"); /* call 1f; jmp 2f; 1: */
	at = p->length;
	byte(p, 0);
	simple(p);
	byte(p, 0xc3);
	p->bytes[at] = (u8)(p->length - at - 1);
}

static void change_code(struct program *p)
{
	u32 distance = below(p, 3);

	EMIT(p, "\xc6\x05"); /* mov byte [rip + disp], imm: into the immediate of the ADD */
	word32(p, distance * 3 + 1);
	byte(p, below(p, 256));
	for (u32 n = 0; n < distance; n++)
		EMIT(p, "\x48\x01\xc2"); /* add rdx, rax */
	byte(p, 0x05);			 /* add eax, imm */
	word32(p, below(p, 1000));
}

static void work(struct program *p)
{
	byte(p, 0xb8); /* mov eax, profile */
	word32(p, 1 + below(p, NR_PROFILES));
	byte(p, 0xb9); /* mov ecx, n */
	word32(p, below(p, below(p, 4) ? 300 : 100000));
	EMIT(p, "\x0f\x1f\x80\x01\x55\x4d\x50");
}

static void string_into_fault(struct program *p)
{
	EMIT(p, "\x48\xc7\xc7"); /* mov rdi, address */
	word32(p, UNMAPPED_AT - below(p, 40));
	byte(p, 0xb9);
	word32(p, below(p, 60));
	EMIT(p, "\xf3\xaa"); /* rep stosb */
}

/* Things that may fault, or always do: the handler goes on at R15. */
static void guarded(struct program *p)
{
	u32 at;

	EMIT(p, "\x4c\x8d\x3d"); /* lea r15, [rip + disp] */
	at = p->length;
	word32(p, 0);
	switch (below(p, 8)) {
	case 0: EMIT(p, "\x0f\x0b"); break; /* ud2 */
	case 1:
		EMIT(p, "\x31\xc0\x31\xd2\x48\xf7\xb3"); /* div qword [rbx + disp] */
		word32(p, 0x7ff8);
		break;
	case 2: EMIT(p, "\x48\x8b\x04\x25\x00\x00\x00\x70"); break; /* mov rax, [unmapped] */
	case 3:
		EMIT(p, "\x8b\x04\x25"); /* mov eax, [device] */
		word32(p, (u32)DEVICE_AT + 4 * below(p, 4));
		break;
	case 4:
		EMIT(p, "\x01\x04\x25"); /* add [device], eax */
		word32(p, (u32)DEVICE_AT + 4 * below(p, 4));
		break;
	case 5: EMIT(p, "\x0f\x20\xd8\x0f\x22\xd8"); break; /* mov rax, cr3; mov cr3, rax */
	case 6: EMIT(p, "\xcc"); break;
	default: string_into_fault(p); break;
	}
	memcpy(p->bytes + at, &(u32){p->length - (at + 4)}, 4);
}

/* pushfq; or or and dword [rsp], TF; popfq */
static void change_trap_flag(struct program *p)
{
	if (below(p, 2))
		EMIT(p, "\x9c\x81\x0c\x24\x00\x01\x00\x00\x9d");
	else
		EMIT(p, "\x9c\x81\x24\x24\xff\xfe\xff\xff\x9d");
}

/* On code, on the buffer's data; of all lengths and kinds but I/O. */
static void set_breakpoints(struct program *p)
{
	static const u8 kinds[] = {0, 1, 3};

	for (unsigned int n = 0; n < 4; n++) {
		unsigned int kind = kinds[below(p, sizeof(kinds))];

		if (kind)
			p->dr[n] = BUFFER_AT + displacement(p);
		else
			p->dr[n] = PROGRAM_AT + below(p, p->length);
		if (below(p, 2))
			p->dr[7] |= 1ull << 2 * n;
		p->dr[7] |= (u64)kind << (16 + 4 * n);
		if (kind)
			p->dr[7] |= (u64)below(p, 4) << (18 + 4 * n);
	}
}

static void snippet(struct program *p)
{
	switch (below(p, p->debugged ? 22 : 20)) {
	case 0: branch_over(p); break;
	case 1: counted_loop(p); break;
	case 2: repeated_string(p); break;
	case 3: call_and_return(p); break;
	case 4: change_code(p); break;
	case 5: work(p); break;
	case 6:
	case 7:
	case 8: guarded(p); break;
	case 9: EMIT(p, "\x0f\x05"); break;				 /* syscall */
	case 10: EMIT(p, "\x48\x8d\x05\x02\x00\x00\x00\xff\xe0"); break; /* lea rax, 1f; jmp rax */
	case 11: EMIT(p, "\x0f\x31"); break;				 /* rdtsc */
	case 12: EMIT(p, "\xf3\x90"); break;				 /* pause */
	case 13: EMIT(p, "\x48\x87\x03"); break;			 /* xchg [rbx], rax */
	case 20:
	case 21: change_trap_flag(p); break;
	default: simple(p); break;
	}
}

static void generate(struct program *p)
{
	u32 snippets = 5 + below(p, 150);

	p->buffer_seed = random_word(p);
	for (u32 n = 0; n < NR_PROFILES; n++) {
		p->profiles[n].id = n + 1;
		for (unsigned int e = 1; e < NR_COUNTED_EVENTS; e++)
			p->profiles[n].rate[e] = below(p, 3) ? below(p, 1u << 20) : 0;
		p->profiles[n].rate[EVENT_CYCLES] = 1 + below(p, 1u << 21);
	}
	p->user = below(p, 2);
	p->debugged = below(p, 3) == 0;
	while (snippets-- && p->length < PROGRAM_MAX)
		snippet(p);
	EMIT(p, "\xcd\x80"); /* int END_VECTOR */
	if (p->debugged && below(p, 2))
		set_breakpoints(p);
}

/* ---- runs ---- */

/* Half of the buffer is random, in runs of equal bytes and without; half is zeros. */
static void fill_buffer(const struct program *p, u8 *buffer)
{
	u64 state = p->buffer_seed;

	for (unsigned int n = 0; n < 0x1800; n++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		buffer[n] = state >> 60 ? (u8)(state >> 40) : n ? buffer[n - 1] : 0;
		if (n & 0x400)
			buffer[n] &= 1;
	}
}

/* @one_by_one: for the reference, which then shares no shortcut with what it judges. */
static struct guest *guest_for(struct program *p, bool one_by_one)
{
	struct guest *g = guest_new_with(p->profiles, NR_PROFILES);

	cpu_free(g->cpu);
	g->config.one_by_one = one_by_one;
	if (cpu_new(&g->cpu, &g->config))
		abort();
	fill_buffer(p, g->ram + BUFFER_AT);

	guest_set(g, PT_AT + 8 * (UNMAPPED_AT >> 12), 0);
	for (u64 n = 1; n < 4; n++)
		guest_set(g, PD_AT + 8 * n, n << 21 | 0x87);
	memcpy(g->ram + PROGRAM_AT, p->bytes, p->length);
	for (unsigned int v = 0; v < 32; v++) {
		u8 *code = g->ram + FAULT_HANDLERS_AT + v * 32;

		guest_gate(g, v, FAULT_HANDLERS_AT + v * 32, 0, v == VECTOR_BP ? 3 : 0);
		if (v == VECTOR_DF || (v >= VECTOR_TS && v <= VECTOR_PF)) {
			memcpy(code, "\x48\x83\xc4\x08", 4); /* add rsp, 8 */
			code += 4;
		}
		memcpy(code, "\x4c\x89\x3c\x24\x48\xcf", 6); /* mov [rsp], r15; iretq */
	}
	/* #DB: or dword [rsp + 16], RF; iretq */
	memcpy(g->ram + FAULT_HANDLERS_AT + VECTOR_DB * 32,
	       "\x81\x4c\x24\x10\x00\x00\x01\x00\x48\xcf", 10);
	guest_gate(g, END_VECTOR, END_AT, 0, 3);
	g->ram[END_AT] = 0xf4;
	/* User: add rax, [rbx + 0x100]; sysretq. Kernel: jmp rcx. */
	memcpy(g->ram + SYSCALL_AT,
	       p->user ? "\x48\x03\x83\x00\x01\x00\x00\x48\x0f\x07" : "\xff\xe1\0\0\0\0\0\0\0\0",
	       10);
	if (p->user) {
		g->start.cs = (struct cpu_segment){0, ~0u, USER_CS, 0xa0fb};
		g->start.ss = (struct cpu_segment){0, ~0u, USER_SS, 0xc0f3};
	}
	g->start.efer |= EFER_SCE | EFER_NXE;
	g->start.rip = PROGRAM_AT;
	g->start.rflags = 2;
	cpu_start(g->cpu, &g->start);
	cpu_set_reg(g->cpu, CPU_RBX, BUFFER_AT);
	cpu_set_reg(g->cpu, CPU_R12, COLD_AT);
	memcpy(g->cpu->dr, p->dr, sizeof(p->dr));
	g->cpu->dr[7] |= 0x400;
	update_breakpoints(g->cpu);
	g->cpu->star = (u64)0x13 << 48 | (u64)KERNEL_CS << 32;
	g->cpu->lstar = SYSCALL_AT;
	g->cpu->tr = (struct descriptor_table){TSS_AT, 0x67, TSS_SELECTOR};
	return g;
}

/* Land wherever something is counted. */
static enum cpu_stop run_reference(struct guest *g)
{
	for (unsigned int p = 0; p < NR_PRIV; p++) {
		for (unsigned int e = 0; e < NR_EVENTS; e++)
			g->goal[p][e] = !event_is_derived(e);
		g->goal_sub[p] = 1;
	}
	for (unsigned int e = 0; e < NR_EVENTS; e++)
		g->step[e] = 1;
	g->step_sub = 1;
	return guest_run(g);
}

static void set_goals(struct program *p, struct guest *g)
{
	for (u32 n = below(p, 5); n; n--) {
		unsigned int e = below(p, NR_COUNTED_EVENTS), priv = below(p, NR_PRIV);

		if (below(p, 3) == 0) {
			g->goal_sub[0] = g->goal_sub[1] = 1 +
							  below(p, below(p, 2) ? 3000 : 2000000);
			g->step_sub = below(p, 4) ? 1 + below(p, below(p, 2) ? 20000 : 2000000) : 0;
		} else if (!event_is_derived(e)) {
			g->goal[priv][e] = 1 + below(p, e ? 40 : 300);
			g->step[e] = below(p, 5) ? 1 + below(p, below(p, 2) ? 30 : 500) : 0;
		}
	}
	if (below(p, 2))
		g->budget_slice = 1 + below(p, below(p, 2) ? 3 : 50);
}

static bool same_landing(const struct landing *a, const struct landing *b)
{
	return a->rip == b->rip && !memcmp(&a->totals, &b->totals, sizeof(a->totals));
}

/* @goals: the goals that @g has started with; they are moved as the landings move them. */
static const char *compare_landings(struct guest *goals, const struct guest *reference,
				    const struct guest *g)
{
	u32 next = 0;

	for (u32 n = 0; n < reference->nr_landings; n++) {
		goals->cpu->totals = reference->landings[n].totals;
		goals->nr_landings = 0;
		guest_land(goals);
		if (!goals->nr_landings)
			continue;
		if (next == g->nr_landings)
			return "a landing is missing";
		if (!same_landing(&g->landings[next++], &reference->landings[n]))
			return "a landing is elsewhere";
	}
	return next == g->nr_landings ? NULL : "a landing too many";
}

static const char *judge_run(struct program *p, struct guest *reference, u64 *landings)
{
	struct guest *g = guest_for(p, false), *goals = calloc(1, sizeof(*goals));
	const char *what = NULL;

	goals->cpu = calloc(1, sizeof(*goals->cpu)); /* for its totals */
	set_goals(p, g);
	memcpy(goals->goal, g->goal, sizeof(g->goal));
	memcpy(goals->step, g->step, sizeof(g->step));
	memcpy(goals->goal_sub, g->goal_sub, sizeof(g->goal_sub));
	goals->step_sub = g->step_sub;
	if (guest_run(g) != CPU_STOP_HALT)
		what = "the end differs";
	else if (memcmp(cpu_totals(g->cpu), cpu_totals(reference->cpu),
			sizeof(struct event_totals)))
		what = "totals differ";
	else if (memcmp(g->cpu->regs, reference->cpu->regs, 16 * sizeof(u64)))
		what = "registers differ";
	else if (memcmp(g->ram + CODE_AT, reference->ram + CODE_AT, RAM_SIZE - CODE_AT))
		what = "memory differs";
	else
		what = compare_landings(goals, reference, g);
	*landings += g->nr_landings;
	free(goals->cpu);
	free(goals->landings);
	free(goals);
	guest_free(g);
	return what;
}

int main(int argc, char **argv)
{
	u64 programs = argc > 1 ? strtoull(argv[1], NULL, 0) : DEFAULT_PROGRAMS;
	u64 seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1, landings = 0, instructions = 0;
	struct program *p = calloc(1, sizeof(*p));
	u32 failures = 0;

	/* Memory comes zeroed from the kernel, and what is not touched costs nothing. */
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	printf("1..1\n");
	for (u64 n = 0; n < programs && failures < MAX_FAILURES; n++) {
		struct guest *reference;

		memset(p, 0, sizeof(*p));
		p->seed = (seed * 1000003 + n) * 0x9e3779b97f4a7c15ull | 1;
		generate(p);
		reference = guest_for(p, true);
		if (run_reference(reference) != CPU_STOP_HALT) {
			printf("# program %" PRIu64 ": the reference ends elsewhere\n", n);
			failures++;
		}
		for (int v = 0; v < VARIANTS; v++) {
			const char *what = judge_run(p, reference, &landings);

			if (!what)
				continue;
			printf("# program %" PRIu64 " run %d: %s\n", n, v, what);
			failures++;
		}
		instructions += guest_total(reference, PRIV_OS, EVENT_INSTRUCTIONS) +
				guest_total(reference, PRIV_USR, EVENT_INSTRUCTIONS);
		guest_free(reference);
	}
	printf("# %" PRIu64 " programs, %" PRIu64 " instructions, %" PRIu64 " landings\n", programs,
	       instructions, landings);
	printf("%s 1 - landings_and_totals_do_not_depend_on_cuts\n", failures ? "not ok" : "ok");
	free(p);
	return failures != 0;
}
