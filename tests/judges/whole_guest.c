/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whole_guest.c - Unicorn follows a whole machine. Interface: whole_guest.h.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "whole_guest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "forms.h"
#include "fpu.h"
#include "whole_memory.h"
#include "whole_review.h"

#define INSN_BYTES 15u
#define HISTORY 16u
#define MXCSR_CONTROLS 0xffc0u
#define X87_TOP 0x3800u
#define INT1_OPCODE 0xf1

struct whole {
	struct unicorn *u;
	struct steps s;
	struct whole_memory memory;
	const struct whole_options *options;
	struct whole_result *result;
	u64 chance;
	u64 retired;  /* of Unicorn */
	bool applied; /* what the machine gave to the step's last instruction */
	bool delivered;
	/* What Unicorn has begun. */
	bool pending, raised, software, fetching;
	u64 pending_rip;
	struct form form;
	bool mend; /* take registers and memory behind it from the machine */
	u64 undefined,
		loose; /* arithmetic flags: undefined behind it; that differ because of that */
	u64 rflags;    /* of the machine, when both were compared */
	int mode;
	struct {
		u64 rip;
		u8 bytes[INSN_BYTES];
	} history[HISTORY]; /* of what Unicorn has begun */
	u64 begun;
};

/* ---- comparing ---- */

/* Where the machine is, or was before the delivery that Unicorn has not made yet. */
static void expected_state(const struct whole *w, struct cpu_state *s)
{
	if (w->s.step.delivered && !w->delivered)
		*s = w->s.step.before;
	else
		cpu_state_of(w->s.cpu, s);
}

static void fail(struct whole *w, const char *what)
{
	u64 first = w->begun < HISTORY ? 0 : w->begun - HISTORY;
	struct cpu_state ours, theirs;

	if (w->result->what)
		return;
	w->result->what = what;
	printf("# %s differ(s) after %" PRIu64 " comparisons, %" PRIu64 " instructions, behind\n",
	       what, w->result->compared, w->retired);
	for (u64 n = first; n < w->begun; n++) {
		printf("#  %08" PRIx64, w->history[n % HISTORY].rip);
		for (unsigned int b = 0; b < INSN_BYTES; b++)
			printf(" %02x", w->history[n % HISTORY].bytes[b]);
		printf("\n");
	}
	printf("# the step: %" PRIu64 " to %" PRIu64 ", %s at %" PRIu64
	       ", fault %d vector %u at %" PRIu64 ", delivered %d vector %u\n",
	       w->s.step.first, w->s.step.end, steps_kind_text(w->s.step.kind), w->s.step.at,
	       w->s.step.faulted, w->s.step.vector, w->s.step.fault_at, w->s.step.delivered,
	       w->s.step.event_vector);
	expected_state(w, &ours);
	unicorn_get(w->u, &theirs);
	cpu_state_print("interpreter", &ours);
	cpu_state_print("Unicorn", &theirs);
	unicorn_stop(w->u);
}

static const char *xmm_difference(const struct whole *w)
{
	const struct fpu *f = &w->s.cpu->fpu;

	for (unsigned int n = 0; n < NR_XMM; n++)
		if (memcmp(&f->xmm[n], unicorn_xmm(w->u, n), sizeof(xmm_t)))
			return "XMM registers";
	if (form_is_simd(&w->form) && ((f->mxcsr ^ unicorn_mxcsr(w->u)) & MXCSR_CONTROLS))
		return "MXCSR";
	return NULL;
}

static const char *x87_difference(const struct whole *w)
{
	struct unicorn_x87 theirs;
	struct fpu_area ours;

	if (!form_is_x87(&w->form))
		return NULL;
	fpu_from_guest(w->s.cpu, &ours);
	unicorn_x87(w->u, &theirs);
	if (ours.control != theirs.control)
		return "x87 control word";
	if ((ours.status ^ theirs.status) & X87_TOP)
		return "x87 stack top";
	if (ours.tags != theirs.filled)
		return "x87 tags";
	for (unsigned int n = 0; n < 8; n++)
		if ((ours.tags >> ((n + (ours.status >> 11)) & 7) & 1) &&
		    memcmp(ours.st[n], theirs.st[n], 10))
			return "x87 registers";
	return NULL;
}

static void compare_flags(struct whole *w, u64 ours, u64 theirs)
{
	u64 flags = (ours ^ theirs) & FORM_FLAGS, open = w->loose | w->undefined;

	w->result->reviewed[REVIEWED_FLAGS] += (flags & ~open) != 0;
	w->loose = flags & open;
	w->rflags = ours;
}

static const char *memory_difference(struct whole *w, const struct cpu_state *theirs)
{
	w->result->memory++;
	return whole_memory_difference(&w->memory, theirs,
				       &w->result->reviewed[REVIEWED_TABLE_BITS]);
}

static void compare(struct whole *w)
{
	const struct whole_options *o = w->options;
	struct cpu_state ours, theirs;
	const char *what;

	expected_state(w, &ours);
	unicorn_get(w->u, &theirs);
	w->result->compared++;
	what = cpu_state_difference(&ours, &theirs, FORM_FLAGS, !w->fetching);
	compare_flags(w, ours.rflags, theirs.rflags);
	whole_memory_settle(&w->memory, &theirs, &w->result->reviewed[REVIEWED_TABLE_BITS]);
	if (!what)
		what = xmm_difference(w);
	if (!what)
		what = x87_difference(w);
	if (!what && w->result->compared >= o->memory_from &&
	    w->result->compared % o->memory_every == 0)
		what = memory_difference(w, &theirs);
	if (what)
		fail(w, what);
}

/* ---- the machine goes on ---- */

static u64 random_stride(struct whole *w)
{
	if (w->options->stride <= 1)
		return 1;
	w->chance ^= w->chance << 13;
	w->chance ^= w->chance >> 7;
	w->chance ^= w->chance << 17;
	return 1 + (w->chance >> 11) % w->options->stride;
}

static bool ended(const struct whole *w)
{
	return w->s.step.stop != PP_STOP_BUDGET;
}

/* What the test of this judge asks for: it must be found. */
static void spoil(struct whole *w)
{
	u64 xmm[2] = {1, 2};
	struct cpu_state s;

	if (w->result->compared != w->options->spoil_at)
		return;
	unicorn_get(w->u, &s);
	s.regs[CPU_R15] ^= 1ull << 40;
	if (w->options->spoil == 0)
		unicorn_put_regs(w->u, s.regs);
	else if (w->options->spoil == 1)
		unicorn_put_xmm(w->u, NR_XMM - 1, xmm);
	else
		w->memory.theirs[w->memory.size - 1] ^= 1;
}

static void next_step(struct whole *w)
{
	steps_next(&w->s, random_stride(w));
	w->applied = w->s.step.kind == STEP_PLAIN;
	w->delivered = false;
	if (w->s.step.stop == PP_STOP_UNIMPLEMENTED || w->s.step.stop == PP_STOP_INVARIANT)
		fail(w, "what is not implemented: everything");
}

/* Unicorn has done what the machine has: all of the step, up to its delivery. */
static bool at_end_of_step(const struct whole *w, u64 rip)
{
	const struct step *step = &w->s.step;
	struct cpu_state ours, theirs;

	if (w->retired != step->end || !w->applied)
		return false;
	expected_state(w, &ours);
	if (rip != ours.rip)
		return false;
	if (!step->delivered || w->delivered)
		return true;
	/* Interrupted between two iterations of a string instruction. */
	unicorn_get(w->u, &theirs);
	return ours.regs[CPU_RCX] == theirs.regs[CPU_RCX];
}

/* True if Unicorn has been sent elsewhere. */
static bool deliver(struct whole *w)
{
	const struct step *step = &w->s.step;

	w->delivered = true;
	if (step->event_is_trap) {
		w->result->traps++;
		if (w->raised && !w->software)
			return true; /* Unicorn steps by itself */
	} else {
		w->result->interrupts++;
	}
	if (w->fetching) {
		fail(w, "an interrupt before a fetch that faults: everything");
		return true;
	}
	unicorn_interrupt(w->u, step->event_vector, step->before.rflags, step->pushes_rf);
	return true;
}

/* Compare wherever the machine waits, and let it go on. True if Unicorn must not. */
static bool meet(struct whole *w, u64 rip)
{
	while (!w->result->what && at_end_of_step(w, rip)) {
		compare(w);
		if (w->result->what)
			return true;
		if (w->s.step.delivered && !w->delivered)
			return deliver(w);
		spoil(w);
		if (ended(w)) {
			unicorn_stop(w->u);
			return true;
		}
		next_step(w);
	}
	if (!w->result->what && w->retired > w->s.step.end)
		fail(w, "the number of instructions");
	return w->result->what != NULL;
}

/* ---- what Unicorn begins ---- */

/* Which kinds of code the guest has gone through. */
static int mode_of(const struct cpu_state *s)
{
	if (s->efer & EFER_LMA)
		return s->seg[SEG_CS].attr & ATTR_LONG ? 3 : 2;
	return s->cr0 & CR0_PE ? 1 : 0;
}

static void begin(struct whole *w, u64 rip, const struct cpu_state *s)
{
	u8 *bytes = w->history[w->begun % HISTORY].bytes;
	int mode = mode_of(s);
	bool none;

	memset(bytes, 0, INSN_BYTES);
	unicorn_read(w->u, rip, bytes, INSN_BYTES);
	w->history[w->begun++ % HISTORY].rip = rip;
	w->form = form_of(bytes, INSN_BYTES).form;
	w->undefined = FORM_FLAGS & ~form_defined_flags(&w->form, 2, 2, &none);
	w->pending = true;
	w->raised = w->software = false;
	w->pending_rip = rip;
	w->result->user += s->cpl == 3;
	w->result->legacy += mode != 3;
	w->result->simd += form_is_simd(&w->form);
	w->result->x87 += form_is_x87(&w->form);
	w->result->modes += mode != w->mode;
	w->mode = mode;
}

static bool is_exchange(const struct form *f)
{
	return f->map == 0 && ((f->opcode & 0xfc) == 0x88 || (f->opcode & 0xfe) == 0xc6 ||
			       (f->opcode & 0xfc) == 0xa0);
}

/* The state behind the instruction, of the machine. */
static void take_over(struct whole *w, u64 retired)
{
	struct cpu_state s;

	expected_state(w, &s);
	w->pending = false;
	w->retired = retired;
	w->loose = w->undefined = 0;
	for (unsigned int n = 0; n < NR_XMM; n++)
		unicorn_put_xmm(w->u, n, &w->s.cpu->fpu.xmm[n]);
	unicorn_put(w->u, &s);
}

static void raise_as_machine(struct whole *w)
{
	w->raised = true;
	w->result->raised++;
	unicorn_raise(w->u, w->s.step.vector, w->s.step.error, w->s.cpu->cr2, w->rflags);
}

/* The last instruction of the step is not one for Unicorn alone. True if it is done. */
static bool give(struct whole *w)
{
	const struct step *step = &w->s.step;

	if (w->applied || w->retired != step->at)
		return false;
	w->applied = true;
	w->result->given[step->kind]++;
	if (step->kind == STEP_IN || step->kind == STEP_CPUID)
		return false;
	if (step->faulted && step->fault_at == step->at) {
		raise_as_machine(w);
		return true;
	}
	if (step->kind == STEP_DEVICE && !is_exchange(&w->form))
		whole_memory_copy(&w->memory);
	take_over(w, step->end);
	return true;
}

/* Reviewed differences of the instruction that begins. */
static void review(struct whole *w)
{
	const struct step *step = &w->s.step;
	int why;

	if (step->faulted && step->fault_at == w->retired &&
	    reviewed_fault(step->vector, &w->form)) {
		w->result->reviewed[REVIEWED_EXCEPTION]++;
		raise_as_machine(w);
		return;
	}
	if (w->form.map == 0 && w->form.opcode == INT1_OPCODE) {
		w->result->reviewed[REVIEWED_EXCEPTION]++;
		whole_memory_copy(&w->memory);
		take_over(w, step->end);
		return;
	}
	why = reviewed_store(&w->form, w->loose != 0);
	if (why < 0)
		return;
	w->result->reviewed[why]++;
	w->mend = true;
	if (step->end > w->retired + 1)
		fail(w, "a stride over a reviewed instruction: everything");
}

static void mend(struct whole *w)
{
	struct cpu_state s;

	if (!w->mend)
		return;
	w->mend = false;
	if (w->raised)
		return;
	expected_state(w, &s);
	unicorn_put_regs(w->u, s.regs);
	whole_memory_copy(&w->memory);
}

static void retire(struct whole *w)
{
	if (w->pending && (!w->raised || w->software)) {
		w->retired++;
		w->result->executed++;
	}
	w->pending = false;
}

/* An instruction is announced again for each iteration of REP, and when it wrote into its own code. */
static bool is_announced_again(const struct whole *w, u64 rip)
{
	return w->pending && rip == w->pending_rip && !w->raised && !form_branches(&w->form);
}

static void on_instruction(void *ctx, u64 rip)
{
	struct whole *w = ctx;
	struct cpu_state s;

	if (w->result->what)
		return;
	if (is_announced_again(w, rip)) {
		if (!at_end_of_step(w, rip))
			return;
		w->pending = false;
	}
	mend(w);
	retire(w);
	if (meet(w, rip))
		return;
	unicorn_get(w->u, &s);
	begin(w, rip, &s);
	if (!give(w))
		review(w);
}

/* A fetch has faulted, of an instruction that was never announced; or a single step is behind one. */
static void arrive_by_exception(struct whole *w, unsigned int vector, u64 rip)
{
	w->raised = false;
	retire(w);
	w->fetching = vector == VECTOR_PF; /* Unicorn's CR2 is that of the fault already */
	w->raised = vector == VECTOR_DB;
	meet(w, rip);
	w->fetching = false;
	w->pending = true;
	w->pending_rip = rip;
	memset(&w->form, 0, sizeof(w->form));
	w->undefined = 0;
}

static bool on_exception(void *ctx, unsigned int vector, u64 rip, bool software)
{
	struct whole *w = ctx;

	if (w->result->what)
		return false;
	if (!software && w->pending && rip != w->pending_rip)
		arrive_by_exception(w, vector, rip);
	w->raised = true;
	w->software = software;
	if (w->loose) {
		w->result->reviewed[REVIEWED_UNDEFINED]++;
		unicorn_put_flags(w->u, w->rflags);
	}
	if (software)
		w->result->software++;
	else if (vector < 32)
		w->result->exceptions[vector]++;
	return vector == VECTOR_PF && form_reads_and_writes(&w->form);
}

static u32 on_in(void *ctx, u16 port, unsigned int size)
{
	const struct whole *w = ctx;

	(void)port;
	(void)size;
	return w->s.step.in;
}

static void on_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 regs[4])
{
	const struct whole *w = ctx;

	(void)leaf;
	(void)subleaf;
	memcpy(regs, w->s.step.cpuid, sizeof(w->s.step.cpuid));
}

/* ---- interface ---- */

static void run(struct whole *w)
{
	struct cpu_state start, theirs;
	enum unicorn_end how;

	cpu_state_of(w->s.cpu, &start);
	w->mode = mode_of(&start);
	unicorn_begin(w->u, &start);
	w->applied = w->delivered = true;
	w->s.step.end = w->retired;
	how = unicorn_run(w->u);
	if (how != UNICORN_STOPPED && !w->result->what) {
		if (how == UNICORN_BROKEN)
			printf("# Unicorn: %s\n", unicorn_error(w->u));
		fail(w, "the end");
	}
	if (w->result->what)
		return;
	unicorn_get(w->u, &theirs);
	if (memory_difference(w, &theirs))
		fail(w, "memory");
	w->result->stop = w->s.step.stop;
}

const char *whole_run(struct pp_machine *m, const char *library,
		      const struct whole_options *options, struct whole_result *result)
{
	struct whole w = {.options = options, .result = result, .chance = options->seed | 1};
	struct unicorn_events events = {.ctx = &w,
					.instruction = on_instruction,
					.exception = on_exception,
					.in = on_in,
					.cpuid = on_cpuid};
	u64 size = m->vms[0].ram.guest.size;
	const char *why;
	u8 *ram;

	*result = (struct whole_result){0};
	ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		   -1, 0);
	if (ram == MAP_FAILED)
		return "memory is short";
	whole_memory_init(&w.memory, m->vms[0].ram.guest.base, ram, size);
	whole_memory_copy(&w.memory);
	why = unicorn_open(&w.u, library, ram, size, &events);
	if (!why) {
		steps_begin(&w.s, m);
		w.retired = steps_retired(&w.s);
		run(&w);
	}
	unicorn_close(w.u);
	whole_memory_free(&w.memory);
	munmap(ram, size);
	return why;
}
