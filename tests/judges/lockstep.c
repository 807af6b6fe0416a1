/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep.c - the interpreter follows Unicorn through a guest.
 */
#include "lockstep.h"

#include "cpu/state.h"
#include "cpu_state.h"
#include "forms.h"
#include "test_cpu_guest.h"

#define INSN_BYTES 15u
#define HISTORY 24u
#define PTE_ACCESSED BIT_ULL(5)
#define PTE_DIRTY BIT_ULL(6)

struct lockstep {
	struct unicorn *u;
	u8 *memory, *ram; /* Unicorn's; ram: page aligned */
	struct guest *g;  /* of the run */
	const struct image *image;
	struct lockstep_result *result;
	u64 seed;
	/* What Unicorn has begun and the interpreter has not done. */
	bool pending, raised, software, fetching;
	u64 pending_rip;
	struct form form; /* of the pending instruction */
	u64 undefined;	  /* flags that it leaves undefined */
	u8 bytes[INSN_BYTES];
	u64 last_step;
	u64 loose; /* flags that differ because they were undefined */
	u64 ahead; /* retired in Unicorn since both were compared */
	u64 stride;
	u64 goal; /* of the interpreter's retired instructions */
	bool seen[NR_FORMS];
	struct {
		u64 rip, flags, flags_unicorn;
		u8 bytes[INSN_BYTES];
	} history[HISTORY]; /* by step */
};

u64 lockstep_ram_size(void)
{
	return RAM_SIZE;
}

/* ---- the interpreter ---- */

static u64 retired(const struct lockstep *l)
{
	return guest_total(l->g, PRIV_OS, EVENT_INSTRUCTIONS) +
	       guest_total(l->g, PRIV_USR, EVENT_INSTRUCTIONS);
}

static void follow_horizon(void *ctx, enum privilege priv, struct cpu_room *room)
{
	struct lockstep *l = ctx;

	(void)priv;
	memset(room, 0xff, sizeof(*room));
	cpu_room_limit(room, EVENT_INSTRUCTIONS, l->goal > retired(l) ? l->goal - retired(l) : 1);
}

static bool follow_land(void *ctx)
{
	struct lockstep *l = ctx;

	return retired(l) >= l->goal;
}

/* MSRs that neither side holds read zero and take what is written. */
static int follow_rdmsr(void *ctx, u32 msr, u64 *value)
{
	(void)ctx;
	(void)msr;
	*value = 0;
	return 0;
}

static int follow_wrmsr(void *ctx, u32 msr, u64 value)
{
	(void)ctx;
	(void)msr;
	(void)value;
	return 0;
}

static void follow_out(void *ctx, u16 port, unsigned int size, u32 value)
{
	(void)ctx;
	(void)port;
	(void)size;
	(void)value;
}

static const struct cpu_ops follow_ops = {
	.horizon = follow_horizon,
	.land = follow_land,
	.rdmsr = follow_rdmsr,
	.wrmsr = follow_wrmsr,
	.in = guest_in,
	.out = follow_out,
	.cpuid = guest_cpuid,
};

/* ---- comparing ---- */

static const char *difference(struct lockstep *l, const struct cpu_state *a,
			      const struct cpu_state *b)
{
	u64 flags = (a->rflags ^ b->rflags) & FORM_FLAGS;
	const char *what = cpu_state_difference(a, b, FORM_FLAGS, !l->fetching);

	if (what)
		return what;
	l->result->loose += (flags & ~(l->loose | l->undefined)) != 0;
	l->loose = flags;
	return NULL;
}

/*
 * Unicorn sets the accessed bits of a page into which a translation runs, executed or not. The
 * interpreter sets the dirty bit of the first page of an operand whose second page faults, Unicorn
 * does not if it is read first, and of the page that ENTER probes; the manual leaves that open.
 */
static bool marked_early(const struct lockstep *l, u64 at)
{
	u64 ours = guest_get(l->g, at), theirs = *(const u64 *)(const void *)(l->ram + at);

	if (at < l->image->tables || at >= l->image->tables_end)
		return false;
	return !((ours ^ theirs) & ~(PTE_ACCESSED | PTE_DIRTY)) &&
	       (ours & PTE_DIRTY) >= (theirs & PTE_DIRTY);
}

static const char *memory_difference(struct lockstep *l)
{
	u64 at = 0;

	if (!memcmp(l->g->ram, l->ram, l->image->tables) &&
	    !memcmp(l->g->ram + l->image->tables_end, l->ram + l->image->tables_end,
		    RAM_SIZE - l->image->tables_end))
		at = l->image->tables;
	for (; at < RAM_SIZE; at += 8) {
		u64 theirs = *(const u64 *)(const void *)(l->ram + at);

		if (guest_get(l->g, at) == theirs || marked_early(l, at))
			continue;
		printf("# memory at %#" PRIx64 ": %016" PRIx64 ", Unicorn %016" PRIx64 "\n", at,
		       guest_get(l->g, at), theirs);
		return "memory";
	}
	return NULL;
}

static void fail(struct lockstep *l, const char *what)
{
	struct cpu_state ours, theirs;

	if (l->result->what)
		return;
	l->result->what = what;
	cpu_state_of(l->g->cpu, &ours);
	unicorn_get(l->u, &theirs);
	printf("# step %" PRIu64 ": %s differ(s) after the last of\n", l->result->steps, what);
	for (u64 n = l->result->steps < HISTORY ? 1 : l->result->steps - HISTORY + 1;
	     n <= l->result->steps; n++) {
		printf("#  %08" PRIx64, l->history[n % HISTORY].rip);
		for (unsigned int b = 0; b < INSN_BYTES; b++)
			printf(" %02x", l->history[n % HISTORY].bytes[b]);
		printf(" behind it %" PRIx64 ", Unicorn %" PRIx64 "\n",
		       l->history[n % HISTORY].flags, l->history[n % HISTORY].flags_unicorn);
	}
	cpu_state_print("interpreter", &ours);
	cpu_state_print("Unicorn", &theirs);
	unicorn_stop(l->u);
}

static void compare(struct lockstep *l)
{
	struct cpu_state ours, theirs;
	const char *what;

	cpu_state_of(l->g->cpu, &ours);
	unicorn_get(l->u, &theirs);
	l->result->compared++;
	l->history[l->result->steps % HISTORY].flags = ours.rflags;
	l->history[l->result->steps % HISTORY].flags_unicorn = theirs.rflags;
	what = difference(l, &ours, &theirs);
	if (!what && l->image->memory)
		what = memory_difference(l);
	if (what)
		fail(l, what);
}

/* ---- following ---- */

static u64 random_below(struct lockstep *l, u64 n)
{
	l->seed ^= l->seed << 13;
	l->seed ^= l->seed >> 7;
	l->seed ^= l->seed << 17;
	return (l->seed >> 11) % n;
}

static void must_not_stop(struct lockstep *l, enum cpu_stop stop)
{
	switch (stop) {
	case CPU_STOP_UNIMPLEMENTED: fail(l, "not implemented: everything"); break;
	case CPU_STOP_INTERCEPT:
	case CPU_STOP_WINDOW: fail(l, "the stop"); break;
	default: break;
	}
}

/* One instruction, or one that faults with its delivery. */
static void step_interpreter(struct lockstep *l)
{
	const struct cpu *c = l->g->cpu;
	u64 rip = c->rip, rsp = c->regs[CPU_RSP], before = retired(l);
	enum cpu_stop stop;

	l->goal = before + 1;
	cpu_horizon_changed(l->g->cpu);
	do {
		u64 budget = 1;

		stop = cpu_run(l->g->cpu, &budget);
	} while ((stop == CPU_STOP_BUDGET || stop == CPU_STOP_EVENT) && rip == c->rip &&
		 rsp == c->regs[CPU_RSP] && before == retired(l));
	must_not_stop(l, stop);
}

static void stride_interpreter(struct lockstep *l)
{
	u64 budget = 1ull << 40;

	l->goal = retired(l) + l->ahead;
	cpu_horizon_changed(l->g->cpu);
	must_not_stop(l, cpu_run(l->g->cpu, &budget));
}

/* Unicorn is done with what it had begun. */
static void follow(struct lockstep *l)
{
	if (!l->pending)
		return;
	l->pending = false;
	if (!l->raised || l->software) {
		l->result->retired++;
		l->ahead++;
	}
	if (l->image->max_stride <= 1) {
		step_interpreter(l);
	} else {
		if (l->ahead < l->stride)
			return;
		stride_interpreter(l);
	}
	compare(l);
	l->ahead = 0;
	l->stride = 1 + random_below(l, l->image->max_stride);
}

static void read_instruction(struct lockstep *l, u64 rip)
{
	struct encoding e;
	bool none;
	u8 last;

	memset(l->bytes, 0, sizeof(l->bytes));
	unicorn_read(l->u, rip, l->bytes, sizeof(l->bytes));
	l->history[l->result->steps % HISTORY].rip = rip;
	memcpy(l->history[l->result->steps % HISTORY].bytes, l->bytes, INSN_BYTES);
	e = form_of(l->bytes, sizeof(l->bytes));
	l->form = e.form;
	if (!l->seen[form_index(&e.form)]) {
		l->seen[form_index(&e.form)] = true;
		l->result->forms++;
	}
	/* Shifts by an immediate: its place depends on the operand; take all counts for possible. */
	last = 2;
	l->undefined = FORM_FLAGS & ~form_defined_flags(&e.form, last, last, &none);
}

/*
 * Unicorn announces an instruction again for each iteration of a REP string, and when it has written
 * into its own translation, which is made anew before it is done.
 */
static void on_instruction(void *ctx, u64 rip)
{
	struct lockstep *l = ctx;
	struct cpu_state s;

	if (l->pending && rip == l->pending_rip && !l->raised && !form_branches(&l->form))
		return;
	follow(l);
	if (l->result->what)
		return;
	if (l->result->steps == l->last_step) {
		if (l->image->max_stride <= 1 && memory_difference(l))
			fail(l, "memory");
		unicorn_stop(l->u);
		return;
	}
	l->result->steps++;
	l->pending = true;
	l->raised = l->software = false;
	l->pending_rip = rip;
	unicorn_get(l->u, &s);
	l->result->user += s.cpl == 3;
	l->result->compatible += !(s.seg[SEG_CS].attr & ATTR_LONG);
	read_instruction(l, rip);
}

static bool on_exception(void *ctx, unsigned int vector, u64 rip, bool software)
{
	struct lockstep *l = ctx;

	if (l->result->what)
		return false;
	/* The fetch has faulted: an instruction that was never announced. */
	if (!software && l->pending && rip != l->pending_rip) {
		l->fetching = true; /* Unicorn's CR2 is that of the fault already */
		follow(l);
		l->fetching = false;
		l->pending = true;
		l->pending_rip = rip;
		memset(l->bytes, 0, sizeof(l->bytes));
		memset(&l->form, 0, sizeof(l->form));
		l->undefined = 0;
		l->result->steps++;
	}
	l->raised = true;
	l->software = software;
	if (software)
		l->result->software++;
	else if (vector < 32)
		l->result->exceptions[vector]++;
	return vector == VECTOR_PF && form_reads_and_writes(&l->form);
}

/* ---- interface ---- */

const char *lockstep_new(struct lockstep **out, const char *library)
{
	struct lockstep *l = calloc(1, sizeof(*l));
	struct unicorn_events events = {.ctx = l,
					.instruction = on_instruction,
					.exception = on_exception,
					.in = guest_in,
					.cpuid = guest_cpuid};

	*out = l;
	l->memory = calloc(1, RAM_SIZE + PAGE_BYTES);
	l->ram = (u8 *)(((uintptr_t)l->memory + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1));
	return unicorn_open(&l->u, library, l->ram, RAM_SIZE, &events);
}

void lockstep_free(struct lockstep *l)
{
	unicorn_close(l->u);
	free(l->memory);
	free(l);
}

const struct unicorn *lockstep_unicorn(const struct lockstep *l)
{
	return l->u;
}

static void end(struct lockstep *l, enum unicorn_end how)
{
	const struct cpu *c = l->g->cpu;

	if (how == UNICORN_BROKEN && unicorn_left_memory(l->u)) {
		l->result->left_memory++;
		return;
	}
	if (how == UNICORN_BROKEN) {
		printf("# Unicorn: %s\n", unicorn_error(l->u));
		fail(l, "the end");
	}
	if (how == UNICORN_STOPPED || l->result->what)
		return;
	l->stride = 0;
	follow(l);
	if (!l->result->what && c->halted != (how == UNICORN_HALT))
		fail(l, "the end");
	if (!l->result->what && memory_difference(l))
		fail(l, "memory");
}

void lockstep_run(struct lockstep *l, const struct image *image, struct lockstep_result *result)
{
	l->g = guest_new();
	l->image = image;
	l->result = result;
	l->seed = image->seed | 1;
	l->pending = l->raised = l->software = false;
	l->loose = l->undefined = l->ahead = 0;
	l->last_step = result->steps + image->max_steps;
	l->stride = 1 + random_below(l, image->max_stride);
	memcpy(l->g->ram, image->ram, RAM_SIZE);
	memcpy(l->ram, image->ram, RAM_SIZE);
	l->g->cpu->ops = &follow_ops;
	l->g->cpu->ctx = l;
	cpu_start(l->g->cpu, &image->start);
	l->g->cpu->tr = (struct descriptor_table){image->tr.base, image->tr.limit,
						  image->tr.selector};
	unicorn_start(l->u, &image->start, &image->tr);
	end(l, unicorn_run(l->u));
	guest_free(l->g);
}
