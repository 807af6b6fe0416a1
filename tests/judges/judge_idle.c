/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge_idle.c - loops that wait advance in one step, and nothing shows it.
 *
 *	judge_idle [PROGRAMS [SEED]]
 *
 * Random programs of loops that wait and of such that only look like it, in kernel and user mode,
 * each on two CPUs: one skips iterations, the other executes every one. Both get the same random
 * goals of random counters, deadlines, interrupts and NMIs, and each its own random budgets. At
 * every stop but those of the budget they must stand at the same instruction with the same
 * registers, flags, totals and branch predictions, and must have used the same budget but for what
 * is near a limit. The handler of the interrupts changes the flag that loops wait for, and gets the
 * program out of loops that have no end.
 */
#include <malloc.h>

#include "cpu/state.h"
#include "test_cpu_guest.h"

#define PROGRAM_AT 0x10ff3ull /* soon crosses a page */
#define FLAG_AT 0x100000u
#define PROGRAM_MAX 0x4000u
#define END_AT 0x41000ull
#define END_VECTOR 0x80
#define IRQ_VECTOR 0x90
#define MAX_FAILURES 5u
#define DEFAULT_PROGRAMS 150u
#define MAX_STOPS 200000u

struct program {
	u64 seed;
	bool user;
	u32 length;
	u8 bytes[PROGRAM_MAX + 256];
};

#include "random_code.h"

/* ---- snippets ---- */

/* Iterations: mostly some, sometimes more than a stretch has blocks. */
static u32 iterations(struct program *p)
{
	return 1 + below(p, below(p, 3) ? 40 : 5000);
}

/* RCX, RSP and R15 have other uses. */
static unsigned int any_register(struct program *p)
{
	static const u8 free_registers[] = {0, 2, 3, 5, 6, 7, 8, 9, 10, 13, 14};

	return free_registers[below(p, sizeof(free_registers))];
}

static void nops(struct program *p)
{
	for (u32 n = below(p, 3); n; n--) {
		if (below(p, 2))
			EMIT(p, "\xf3\x90");
		else
			byte(p, 0x90);
	}
}

static void branch_back(struct program *p, unsigned int opcode, u32 to)
{
	byte(p, opcode);
	byte(p, to - (p->length + 1));
}

static void load_register(struct program *p, unsigned int reg, u64 value)
{
	byte(p, 0x48 | reg >> 3);
	byte(p, 0xb8 | (reg & 7));
	word64(p, value);
}

static void loop_by_rcx(struct program *p)
{
	bool by_ecx = below(p, 3) == 0;
	u64 count = iterations(p);
	u32 start;

	load_register(p, CPU_RCX, by_ecx ? count | random_word(p) << 32 : count);
	start = p->length;
	nops(p);
	if (below(p, 6) == 0)
		EMIT(p, "\x48\x01\xd0"); /* add rax, rdx: no idle loop */
	if (by_ecx)
		byte(p, 0x67);
	branch_back(p, below(p, 4) ? 0xe2 : 0xe0 + below(p, 2), start);
}

static void step(struct program *p, unsigned int reg, bool wide, bool down)
{
	bool negative = below(p, 2);

	byte(p, 0x40 | (unsigned int)wide << 3 | reg >> 3);
	if (below(p, 2)) { /* dec or inc */
		byte(p, 0xff);
		byte(p, (down ? 0xc8 : 0xc0) | (reg & 7));
		return;
	}
	byte(p, 0x83); /* sub or add of 1 or -1 */
	byte(p, (down != negative ? 0xe8 : 0xc0) | (reg & 7));
	byte(p, negative ? 0xff : 1);
}

/* R15: where the handler goes on. */
static u32 way_out(struct program *p)
{
	EMIT(p, "\x4c\x8d\x3d"); /* lea r15, [rip + disp] */
	word32(p, 0);
	return p->length;
}

static void way_out_ends(struct program *p, u32 out)
{
	memcpy(p->bytes + out - 4, &(u32){p->length - out}, 4);
	EMIT(p, "\x45\x31\xff"); /* xor r15d, r15d */
}

static void counted_loop(struct program *p)
{
	/* Comparing another register has no end. */
	unsigned int reg = any_register(p), other = below(p, 8) ? reg : any_register(p);
	bool wide = below(p, 2), down = below(p, 2);
	u32 test = below(p, 3), start, out = way_out(p);
	u64 distance = iterations(p), target = 0;

	if (test == 1)
		target = below(p, 2) ? below(p, 1000) : (u64)(s64)(s32)random_word(p);
	load_register(p, reg, target + (down ? distance : 0 - distance));
	start = p->length;
	nops(p);
	step(p, reg, wide, down);
	nops(p);
	byte(p, 0x40 | (unsigned int)wide << 3 | other >> 3 | (test == 2 ? other >> 3 << 2 : 0));
	switch (test) {
	case 1: /* cmp other, target */
		byte(p, 0x81);
		byte(p, 0xf8 | (other & 7));
		word32(p, (u32)target);
		break;
	case 2: /* test other, other */
		byte(p, 0x85);
		byte(p, 0xc0 | (other & 7) << 3 | (other & 7));
		break;
	default: p->length--; break;
	}
	nops(p);
	branch_back(p, below(p, 8) ? 0x75 : 0x77, start); /* jne, ja */
	way_out_ends(p, out);
}

static void endless(struct program *p)
{
	u32 start, out = way_out(p);

	start = p->length;
	nops(p);
	switch (below(p, 5)) {
	case 0: EMIT(p, "\x8b\x04\x25\x00\x00\x10\x00"); break; /* mov eax, [FLAG_AT] */
	case 1:
		EMIT(p, "\xa1"); /* mov rax, [device] */
		word64(p, DEVICE_AT);
		break;
	case 2: EMIT(p, "\x48\xff\xc2"); break; /* inc rdx: always something new */
	default: break;
	}
	if (below(p, 3)) {
		branch_back(p, 0xeb, start);
	} else {
		EMIT(p, "\x84\xc0");	     /* test al, al */
		branch_back(p, 0x73, start); /* jae: CF is clear */
	}
	way_out_ends(p, out);
}

static void wait_for_flag(struct program *p)
{
	bool by_load = below(p, 2);
	u32 start;

	if (below(p, 3) == 0)
		EMIT(p, "\x0f\xae\x3c\x25\x00\x00\x10\x00"); /* clflush [FLAG_AT] */
	EMIT(p, "\x8b\x1c\x25\x00\x00\x10\x00");	     /* mov ebx, [FLAG_AT] */
	start = p->length;
	nops(p);
	if (by_load)
		EMIT(p,
		     "\x8b\x04\x25\x00\x00\x10\x00\x39\xd8"); /* mov eax, [FLAG_AT]; cmp eax, ebx */
	else
		EMIT(p, "\x39\x1c\x25\x00\x00\x10\x00"); /* cmp [FLAG_AT], ebx */
	if (below(p, 6) == 0)
		EMIT(p, "\x0f\xb6\xc0"); /* movzx eax, al */
	branch_back(p, 0x74, start);
}

static void store_and_spin(struct program *p)
{
	u32 start, out = way_out(p);

	start = p->length;
	EMIT(p, "\x89\x04\x25\x08\x00\x10\x00"); /* mov [FLAG_AT + 8], eax: no idle loop */
	branch_back(p, 0xeb, start);
	way_out_ends(p, out);
}

static void snippet(struct program *p)
{
	switch (below(p, 12)) {
	case 0:
	case 1: loop_by_rcx(p); break;
	case 2:
	case 3:
	case 4: counted_loop(p); break;
	case 5:
	case 6: endless(p); break;
	case 7:
	case 8: wait_for_flag(p); break;
	case 9: store_and_spin(p); break;
	case 10: EMIT(p, "\xf9\x48\x11\xd0"); break;		      /* stc; adc rax, rdx */
	default: byte(p, p->user ? 0xf8 : 0xfa + below(p, 2)); break; /* clc; cli, sti */
	}
}

static void generate(struct program *p)
{
	u32 snippets = 3 + below(p, 20), start;

	p->user = below(p, 2);
	/* Twice: the second time branches are predicted from the beginning. */
	EMIT(p, "\x41\xbc\x02\x00\x00\x00"); /* mov r12d, 2 */
	start = p->length;
	while (snippets-- && p->length < PROGRAM_MAX)
		snippet(p);
	EMIT(p, "\x41\xff\xcc\x0f\x85"); /* dec r12d; jnz start */
	word32(p, start - (p->length + 4));
	EMIT(p, "\xcd\x80"); /* int END_VECTOR */
}

/* ---- runs ---- */

static struct guest *guest_for(struct program *p, bool one_by_one)
{
	struct guest *g = guest_new();
	static const char handler[] =
		"\xff\x04\x25\x00\x00\x10\x00"	   /* inc dword [FLAG_AT] */
		"\x4d\x85\xff"			   /* test r15, r15 */
		"\x74\x11"			   /* jz 1f */
		"\x48\x81\x3c\x24\x00\x00\x02\x00" /* cmp qword [rsp], HANDLER_AT */
		"\x73\x07"			   /* jae 1f: it interrupted itself */
		"\x4c\x89\x3c\x24"		   /* mov [rsp], r15 */
		"\x45\x31\xff"			   /* xor r15d, r15d */
		"\x48\xcf";			   /* 1: iretq */

	cpu_free(g->cpu);
	g->config.one_by_one = one_by_one;
	if (cpu_new(&g->cpu, &g->config))
		abort();
	guest_set(g, PD_AT + 8 * (DEVICE_AT >> 21), DEVICE_AT | 0x87);
	memcpy(g->ram + PROGRAM_AT, p->bytes, p->length);
	memcpy(g->ram + HANDLER_AT, handler, sizeof(handler) - 1);
	guest_gate(g, IRQ_VECTOR, HANDLER_AT, 0, 0);
	guest_gate(g, VECTOR_NMI, HANDLER_AT, 0, 0);
	guest_gate(g, END_VECTOR, END_AT, 0, 3);
	g->ram[END_AT] = 0xf4;
	if (p->user) {
		g->start.cs = (struct cpu_segment){0, ~0u, USER_CS, 0xa0fb};
		g->start.ss = (struct cpu_segment){0, ~0u, USER_SS, 0xc0f3};
	}
	g->start.rip = PROGRAM_AT;
	g->start.rflags = 0x202;
	g->stop_on_land = true;
	cpu_start(g->cpu, &g->start);
	g->cpu->tr = (struct descriptor_table){TSS_AT, 0x67, TSS_SELECTOR};
	return g;
}

/* Some counters, and always a deadline, so that what has no end is left. */
static void set_goals(struct program *p, struct guest *a, struct guest *b)
{
	a->step_sub = 30000 + below(p, below(p, 2) ? 20000 : 1000000);
	a->goal_sub[PRIV_OS] = a->goal_sub[PRIV_USR] = a->step_sub;
	for (u32 n = below(p, 4); n; n--) {
		unsigned int e = below(p, NR_COUNTED_EVENTS), priv = below(p, NR_PRIV);

		if (event_is_derived(e))
			continue;
		a->goal[priv][e] = 1 + below(p, 3000);
		a->step[e] = below(p, 5) ? 50 + below(p, below(p, 2) ? 500 : 20000) : 0;
	}
	memcpy(b->goal, a->goal, sizeof(a->goal));
	memcpy(b->step, a->step, sizeof(a->step));
	memcpy(b->goal_sub, a->goal_sub, sizeof(a->goal_sub));
	b->step_sub = a->step_sub;
}

static u64 random_budget(struct program *p)
{
	static const u32 most[] = {4, 100, 3000, 1000000};

	return 1 + below(p, most[below(p, ARRAY_SIZE(most))]);
}

static const char *compare(const struct guest *a, const struct guest *b)
{
	const struct cpu *x = a->cpu, *y = b->cpu;

	if (x->rip != y->rip)
		return "RIP differs";
	if (memcmp(x->regs, y->regs, 16 * sizeof(u64)))
		return "registers differ";
	if (cpu_rflags(x) != cpu_rflags(y))
		return "flags differ";
	if (memcmp(&x->totals, &y->totals, sizeof(x->totals)))
		return "totals differ";
	if (memcmp(&x->predictor, &y->predictor, sizeof(x->predictor)))
		return "branch predictions differ";
	if (a->device_reads != b->device_reads || a->nr_landings != b->nr_landings)
		return "device or landings differ";
	return NULL;
}

/* What comes from outside: the same for both. */
static void act(struct program *p, struct guest *a, struct guest *b)
{
	struct guest *both[2] = {a, b};
	bool irq = cpu_can_take_irq(a->cpu), nmi = cpu_can_take_nmi(a->cpu);
	u32 what = below(p, 8);

	for (unsigned int n = 0; n < 2; n++) {
		if (what < 3)
			cpu_horizon_changed(both[n]->cpu);
		else if (what == 3)
			cpu_want_window(both[n]->cpu, true, false);
		else if (irq)
			cpu_inject(both[n]->cpu, CPU_EVENT_IRQ, IRQ_VECTOR, -1);
		else if (nmi)
			cpu_inject(both[n]->cpu, CPU_EVENT_NMI, VECTOR_NMI, -1);
	}
}

/* Through budgets of its own to the next stop that shows. */
static enum cpu_stop run_on(struct program *p, struct guest *g, u64 *used)
{
	enum cpu_stop stop;

	do {
		u64 budget = random_budget(p);

		*used += budget;
		stop = cpu_run(g->cpu, &budget);
		*used -= budget;
	} while (stop == CPU_STOP_BUDGET);
	return stop;
}

/*
 * Of the budget an iteration is one block. Where a limit is near, instructions are executed alone and
 * cost as much as a block each; which of them depends on where a stretch began.
 */
static bool budgets_agree(u64 a, u64 b)
{
	return (a > b ? a - b : b - a) <= 4 * BLOCK_MAX_INSNS;
}

static const char *judge(struct program *p, struct guest *a, struct guest *b, u64 *stops)
{
	for (u32 n = 0; n < MAX_STOPS; n++) {
		u64 used_a = 0, used_b = 0;
		enum cpu_stop stop = run_on(p, a, &used_a);
		const char *what;

		++*stops;
		if (run_on(p, b, &used_b) != stop)
			return "they stop for different reasons";
		if (!budgets_agree(used_a, used_b))
			return "they use different budgets";
		what = compare(a, b);
		if (what)
			return what;
		if (stop == CPU_STOP_HALT)
			return memcmp(a->ram, b->ram, FLAG_AT + 4096) ? "memory differs" : NULL;
		/* Interrupts inside interrupts can wreck a program: on both CPUs alike, then. */
		if (stop != CPU_STOP_EVENT && stop != CPU_STOP_WINDOW)
			return NULL;
		act(p, a, b);
	}
	return "it does not end";
}

int main(int argc, char **argv)
{
	u64 programs = argc > 1 ? strtoull(argv[1], NULL, 0) : DEFAULT_PROGRAMS;
	u64 seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1, stops = 0, branches = 0, skipped = 0;
	struct program *p = calloc(1, sizeof(*p));
	u32 failures = 0;

	/* Memory comes zeroed from the kernel, and what is not touched costs nothing. */
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	printf("1..1\n");
	for (u64 n = 0; n < programs && failures < MAX_FAILURES; n++) {
		struct guest *a, *b;
		const char *what;

		memset(p, 0, sizeof(*p));
		p->seed = (seed * 1000003 + n) * 0x9e3779b97f4a7c15ull | 1;
		generate(p);
		a = guest_for(p, false);
		b = guest_for(p, true);
		set_goals(p, a, b);
		what = judge(p, a, b, &stops);
		if (what) {
			printf("# program %" PRIu64 ": %s, RIP 0x%" PRIx64 " and 0x%" PRIx64 "\n",
			       n, what, a->cpu->rip, b->cpu->rip);
			failures++;
		}
		branches += guest_total(a, PRIV_OS, EVENT_BRANCHES) +
			    guest_total(a, PRIV_USR, EVENT_BRANCHES);
		skipped += a->cpu->idle_skipped;
		if (b->cpu->idle_skipped) {
			printf("# program %" PRIu64 ": the other CPU skips too\n", n);
			failures++;
		}
		guest_free(a);
		guest_free(b);
	}
	printf("# %" PRIu64 " programs, %" PRIu64 " stops, %" PRIu64 " branches, %" PRIu64
	       " iterations skipped\n",
	       programs, stops, branches, skipped);
	if (programs >= DEFAULT_PROGRAMS && skipped < branches / 4) {
		printf("# too little is skipped for this to mean anything\n");
		failures++;
	}
	printf("%s 1 - idle_loops_in_one_step_and_step_by_step_are_the_same\n",
	       failures ? "not ok" : "ok");
	free(p);
	return failures != 0;
}
