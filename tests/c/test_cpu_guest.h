/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_guest.h - a small machine around a struct cpu, for test_cpu*.c.
 *
 *	CODE(loop, "mov $5, %ecx; 1: dec %ecx; jnz 1b; hlt");
 *	struct guest *g = guest_new();
 *	guest_code(g, CODE_AT, loop);
 *	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
 *
 * 8 MB of RAM, identity-mapped by 2 MB pages (the first 2 MB by 4 KB pages that user mode may use),
 * GDT with kernel and user segments, a TSS, an IDT that a test fills with guest_gate().
 */
#ifndef TESTS_C_TEST_CPU_GUEST_H_
#define TESTS_C_TEST_CPU_GUEST_H_

#include <stdlib.h>

#include "cpu/cpu.h"
#include "test.h"

#ifndef RAM_SIZE
#define RAM_SIZE (8u << 20)
#endif
#define PML4_AT 0x1000ull
#define PDPT_AT 0x2000ull
#define PD_AT 0x3000ull
#define PT_AT 0x4000ull
#define GDT_AT 0x8000ull
#define IDT_AT 0x9000ull
#define TSS_AT 0xa000ull
#define CODE_AT 0x10000ull
#define HANDLER_AT 0x20000ull
#define USER_AT 0x30000ull
#define STACK_TOP 0x80000ull
#define IST_TOP 0x90000ull
#define RSP0_TOP 0xa0000ull
#define USER_STACK_TOP 0xb0000ull
#define DATA_AT 0x100000ull
#define BIG_DATA_AT 0x400000ull
#define DEVICE_AT 0x2000000ull

#define KERNEL_CS 0x08
#define KERNEL_SS 0x10
#define USER_SS 0x1b
#define USER_CS 0x23
#define TSS_SELECTOR 0x28

#define PORT_MARK 0x99	   /* out: a mark with the totals at that time */
#define MSR_PLAIN 0x4000   /* read and written */
#define MSR_BAD 0x4001	   /* #GP */
#define MSR_HORIZON 0x4002 /* write: horizon changed */
#define MSR_STOP 0x4003	   /* write: ask for a stop */

#define CODE(name, text)                                                                           \
	__asm__(".pushsection .rodata\n.globl code_" #name "\ncode_" #name ":\n" text              \
		"\n.globl code_" #name "_end\ncode_" #name "_end:\n.popsection\n");                \
	extern const uint8_t code_##name[], code_##name##_end[]

#define MAX_MARKS 4096

struct mark {
	u32 value;
	u64 instructions, sub;
};

struct landing {
	u64 rip;
	struct event_totals totals;
};

struct guest {
	struct cpu *cpu;
	void *memory;
	u8 *ram; /* page aligned, in memory */
	struct pp_check check;
	struct cpu_config config;
	struct cpu_start start;
	/* Armed counters: land() is due when a total reaches its goal; then it advances by the step. */
	u64 goal[NR_PRIV][NR_EVENTS], step[NR_EVENTS];
	u64 goal_sub[NR_PRIV], step_sub;
	bool stop_on_land;
	/* What happened. */
	struct landing *landings;
	u32 nr_landings, max_landings;
	struct mark marks[MAX_MARKS];
	u32 nr_marks;
	u64 msr, device;
	u32 device_reads, device_writes;
	u64 device_instructions; /* totals at the last device access */
	u64 tsc;
	u64 budget_slice; /* of each cpu_run(); 0: unlimited */
	u64 runs;
};

static struct cpu_timing test_timing(void)
{
	return (struct cpu_timing){
		.clock = {.ref_num = 1, .ref_den = 2, .issue_width = 4},
		.simple = 16,
		.load = 8,
		.store = 8,
		.multiply = 64,
		.divide = 640,
		.locked = 640,
		.string_iteration = 32,
		.serialize = 1280,
		.msr = 3200,
		.rdpmc = 1280,
		.rdtsc = 1280,
		.pause = 640,
		.interrupt = 6400,
		.branch_miss = 960,
		.llc_miss = 12800,
	};
}

static inline u64 guest_total(const struct guest *g, enum privilege p, unsigned int e)
{
	return cpu_totals(g->cpu)->count[p][e];
}

static void guest_horizon(void *ctx, enum privilege priv, struct cpu_room *room)
{
	const struct guest *g = ctx;
	const struct event_totals *t = cpu_totals(g->cpu);

	for (unsigned int e = 0; e < NR_EVENTS; e++) {
		u64 goal = g->goal[priv][e];

		if (goal)
			cpu_room_limit(room, e,
				       goal > t->count[priv][e] ? goal - t->count[priv][e] : 1);
	}
	if (g->goal_sub[priv])
		room->sub = g->goal_sub[priv] > t->sub[priv] ? g->goal_sub[priv] - t->sub[priv] : 1;
}

static bool guest_land(void *ctx)
{
	struct guest *g = ctx;
	const struct event_totals *t = cpu_totals(g->cpu);
	bool due = false;

	for (unsigned int p = 0; p < NR_PRIV; p++) {
		for (unsigned int e = 0; e < NR_EVENTS; e++) {
			if (!g->goal[p][e] || t->count[p][e] < g->goal[p][e])
				continue;
			due = true;
			while (g->step[e] && g->goal[p][e] <= t->count[p][e])
				g->goal[p][e] += g->step[e];
			if (!g->step[e])
				g->goal[p][e] = 0;
		}
		if (g->goal_sub[p] && t->sub[p] >= g->goal_sub[p]) {
			due = true;
			while (g->step_sub && g->goal_sub[p] <= t->sub[p])
				g->goal_sub[p] += g->step_sub;
			if (!g->step_sub)
				g->goal_sub[p] = 0;
		}
	}
	if (!due)
		return false;
	if (g->nr_landings == g->max_landings) {
		g->max_landings = g->max_landings ? 2 * g->max_landings : 1024;
		g->landings = realloc(g->landings, g->max_landings * sizeof(*g->landings));
	}
	g->landings[g->nr_landings++] = (struct landing){cpu_rip(g->cpu), *t};
	return g->stop_on_land;
}

static int guest_rdmsr(void *ctx, u32 msr, u64 *value)
{
	struct guest *g = ctx;

	if (msr == MSR_BAD)
		return -1;
	*value = g->msr;
	return 0;
}

static int guest_wrmsr(void *ctx, u32 msr, u64 value)
{
	struct guest *g = ctx;

	switch (msr) {
	case MSR_BAD: return -1;
	case MSR_HORIZON:
		g->goal[PRIV_OS][EVENT_INSTRUCTIONS] = guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS) +
						       value;
		cpu_horizon_changed(g->cpu);
		break;
	case MSR_STOP: cpu_request_stop(g->cpu); break;
	default: g->msr = value; break;
	}
	return 0;
}

static int guest_rdpmc(void *ctx, u32 ecx, u64 *value)
{
	struct guest *g = ctx;

	if (ecx >= NR_EVENTS)
		return -1;
	*value = guest_total(g, PRIV_OS, ecx);
	return 0;
}

static u64 guest_rdtsc(void *ctx)
{
	struct guest *g = ctx;

	return g->tsc + 1;
}

static void guest_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 regs[4])
{
	(void)ctx;
	regs[0] = leaf;
	regs[1] = subleaf;
	regs[2] = 0x1234;
	regs[3] = 0x5678;
}

static u32 guest_in(void *ctx, u16 port, unsigned int size)
{
	(void)ctx;
	return port + size;
}

static void guest_out(void *ctx, u16 port, unsigned int size, u32 value)
{
	struct guest *g = ctx;

	(void)size;
	if (port == PORT_MARK && g->nr_marks < MAX_MARKS)
		g->marks[g->nr_marks++] =
			(struct mark){value,
				      guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS) +
					      guest_total(g, PRIV_USR, EVENT_INSTRUCTIONS),
				      events_sub(cpu_totals(g->cpu), 3)};
}

static u64 guest_mmio_read(void *ctx, u64 pa, unsigned int size)
{
	struct guest *g = ctx;

	(void)pa;
	(void)size;
	g->device_reads++;
	g->device_instructions = guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS);
	return g->device;
}

static void guest_mmio_write(void *ctx, u64 pa, unsigned int size, u64 value)
{
	struct guest *g = ctx;

	(void)pa;
	(void)size;
	g->device_writes++;
	g->device_instructions = guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS);
	g->device = value;
}

static const struct cpu_ops guest_ops = {
	.horizon = guest_horizon,
	.land = guest_land,
	.rdmsr = guest_rdmsr,
	.wrmsr = guest_wrmsr,
	.rdpmc = guest_rdpmc,
	.rdtsc = guest_rdtsc,
	.cpuid = guest_cpuid,
	.in = guest_in,
	.out = guest_out,
	.mmio_read = guest_mmio_read,
	.mmio_write = guest_mmio_write,
};

static inline u64 guest_get(const struct guest *g, u64 pa)
{
	u64 v;

	memcpy(&v, g->ram + pa, 8);
	return v;
}

static inline void guest_set(struct guest *g, u64 pa, u64 v)
{
	memcpy(g->ram + pa, &v, 8);
}

static inline void guest_bytes(struct guest *g, u64 pa, const u8 *from, const u8 *end)
{
	memcpy(g->ram + pa, from, (size_t)(end - from));
}
#define guest_code(g, pa, name) guest_bytes((g), (pa), code_##name, code_##name##_end)

static inline void guest_gate(struct guest *g, unsigned int vector, u64 handler, unsigned int ist,
			      unsigned int dpl)
{
	u64 low = (handler & 0xffff) | (u64)KERNEL_CS << 16 | (u64)ist << 32 |
		  (u64)(0x8e | dpl << 5) << 40 | (handler >> 16 & 0xffff) << 48;

	guest_set(g, IDT_AT + vector * 16, low);
	guest_set(g, IDT_AT + vector * 16 + 8, handler >> 32);
}

static struct guest *guest_new_with(const struct cpu_profile *profiles, u32 nr_profiles)
{
	struct guest *g = calloc(1, sizeof(*g));

	g->memory = calloc(1, RAM_SIZE + 4096);
	g->ram = (u8 *)(((uintptr_t)g->memory + 4095) & ~(uintptr_t)4095);
	guest_set(g, PML4_AT, PDPT_AT | 7);
	guest_set(g, PDPT_AT, PD_AT | 7);
	guest_set(g, PD_AT, PT_AT | 7);
	for (u64 n = 0; n < 512; n++)
		guest_set(g, PT_AT + n * 8, n << 12 | 7);
	for (u64 n = 1; n < 512; n++)
		guest_set(g, PD_AT + n * 8, n << 21 | 0x83);
	guest_set(g, GDT_AT + KERNEL_CS, 0x00af9b000000ffffull);
	guest_set(g, GDT_AT + KERNEL_SS, 0x00cf93000000ffffull);
	guest_set(g, GDT_AT + (USER_SS & ~3), 0x00cff3000000ffffull);
	guest_set(g, GDT_AT + (USER_CS & ~3), 0x00affb000000ffffull);
	guest_set(g, GDT_AT + TSS_SELECTOR, 0x0000890000000067ull | TSS_AT << 16);
	guest_set(g, TSS_AT + 4, RSP0_TOP);
	guest_set(g, TSS_AT + 36, IST_TOP);
	g->ram[TSS_AT + 102] = 0x68; /* no I/O permission map */
	g->config = (struct cpu_config){
		.ram = {g->ram, RAM_SIZE},
		.timing = test_timing(),
		.ops = &guest_ops,
		.ops_ctx = g,
		.check = &g->check,
		.profiles = profiles,
		.nr_profiles = nr_profiles,
	};
	g->start = (struct cpu_start){
		.rip = CODE_AT,
		.rsp = STACK_TOP,
		.rflags = 2,
		.cr0 = 0x80010033,
		.cr3 = PML4_AT,
		.cr4 = 0x20,
		.efer = 0x500,
		.cs = {0, ~0u, KERNEL_CS, 0xa09b},
		.ss = {0, ~0u, KERNEL_SS, 0xc093},
		.ds = {0, ~0u, KERNEL_SS, 0xc093},
		.gdt_base = GDT_AT,
		.gdt_limit = 0x37,
		.idt_base = IDT_AT,
		.idt_limit = 0xfff,
	};
	if (cpu_new(&g->cpu, &g->config))
		abort();
	cpu_start(g->cpu, &g->start);
	return g;
}

static inline struct guest *guest_new(void)
{
	return guest_new_with(NULL, 0);
}

static inline void guest_free(struct guest *g)
{
	EXPECT_TRUE(!g->check.broken);
	cpu_free(g->cpu);
	free(g->memory);
	free(g->landings);
	free(g);
}

/* Run on through budget slices, until something else stops the CPU. */
static inline enum cpu_stop guest_run(struct guest *g)
{
	for (;;) {
		u64 budget = g->budget_slice ? g->budget_slice : 1ull << 40;
		enum cpu_stop stop = cpu_run(g->cpu, &budget);

		g->runs++;
		if (stop != CPU_STOP_BUDGET || !g->budget_slice)
			return stop;
	}
}

#endif /* TESTS_C_TEST_CPU_GUEST_H_ */
