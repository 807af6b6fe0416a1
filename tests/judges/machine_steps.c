/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine_steps.c - a machine by instructions. Interface: machine_steps.h.
 */
#include "machine_steps.h"

#include <string.h>

#define WORK_BYTES 7u
#define MANY_BLOCKS (1ull << 40)

static const u8 work_insn[WORK_BYTES] = {0x0f, 0x1f, 0x80, 0x01, 0x55, 0x4d, 0x50};

/* The linker's wrappers have no other way to it. */
static struct steps *active;

u64 steps_retired(const struct steps *s)
{
	const struct event_totals *t = cpu_totals(s->cpu);
	const struct cpu_skipped *skipped = cpu_skipped(s->cpu);
	u64 n = 0;

	for (unsigned int p = 0; p < NR_PRIV; p++)
		n += t->count[p][EVENT_INSTRUCTIONS] + skipped->instructions[p];
	return n;
}

/* The instruction under way; nothing behind it belongs to this step. */
static void note(struct steps *s, enum step_kind kind)
{
	/* A string instruction that asks a port again and again has no single answer. */
	if (s->step.kind == STEP_IN && kind == STEP_IN && s->step.at == steps_retired(s))
		kind = STEP_DEVICE;
	s->step.kind = kind;
	s->step.at = steps_retired(s);
	cpu_ask_pause(s->cpu);
}

/* ---- what the CPU asks ---- */

static void steps_horizon(void *ctx, enum privilege priv, struct cpu_room *room)
{
	struct steps *s = ctx;
	u64 now = steps_retired(s);

	s->ops->horizon(s->ctx, priv, room);
	cpu_room_limit(room, EVENT_INSTRUCTIONS, s->goal > now ? s->goal - now : 1);
}

static bool steps_land(void *ctx)
{
	struct steps *s = ctx;
	bool due = s->ops->land(s->ctx);

	if (steps_retired(s) >= s->goal)
		cpu_ask_pause(s->cpu);
	return due;
}

static int steps_rdmsr(void *ctx, u32 msr, u64 *value)
{
	struct steps *s = ctx;

	note(s, STEP_MSR);
	return s->ops->rdmsr(s->ctx, msr, value);
}

static int steps_wrmsr(void *ctx, u32 msr, u64 value)
{
	struct steps *s = ctx;

	note(s, STEP_MSR);
	return s->ops->wrmsr(s->ctx, msr, value);
}

static int steps_rdpmc(void *ctx, u32 ecx, u64 *value)
{
	struct steps *s = ctx;

	note(s, STEP_COUNTER);
	return s->ops->rdpmc(s->ctx, ecx, value);
}

static u64 steps_rdtsc(void *ctx)
{
	struct steps *s = ctx;

	note(s, STEP_TSC);
	return s->ops->rdtsc(s->ctx);
}

static void steps_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 regs[4])
{
	struct steps *s = ctx;

	note(s, STEP_CPUID);
	s->ops->cpuid(s->ctx, leaf, subleaf, regs);
	memcpy(s->step.cpuid, regs, sizeof(s->step.cpuid));
}

static u32 steps_in(void *ctx, u16 port, unsigned int size)
{
	struct steps *s = ctx;

	note(s, STEP_IN);
	s->step.in = s->ops->in(s->ctx, port, size);
	return s->step.in;
}

static void steps_out(void *ctx, u16 port, unsigned int size, u32 value)
{
	struct steps *s = ctx;

	s->ops->out(s->ctx, port, size, value);
}

static u64 steps_mmio_read(void *ctx, u64 pa, unsigned int size)
{
	struct steps *s = ctx;

	note(s, STEP_DEVICE);
	return s->ops->mmio_read(s->ctx, pa, size);
}

static void steps_mmio_write(void *ctx, u64 pa, unsigned int size, u64 value)
{
	struct steps *s = ctx;

	note(s, STEP_DEVICE);
	s->ops->mmio_write(s->ctx, pa, size, value);
}

static const struct cpu_ops steps_ops = {
	.horizon = steps_horizon,
	.land = steps_land,
	.rdmsr = steps_rdmsr,
	.wrmsr = steps_wrmsr,
	.rdpmc = steps_rdpmc,
	.rdtsc = steps_rdtsc,
	.cpuid = steps_cpuid,
	.in = steps_in,
	.out = steps_out,
	.mmio_read = steps_mmio_read,
	.mmio_write = steps_mmio_write,
};

/* ---- what the core does to the CPU; the linker sends its calls here ---- */

void __real_cpu_inject(struct cpu *c, enum cpu_event_type type, unsigned int vector, int error);
void __wrap_cpu_inject(struct cpu *c, enum cpu_event_type type, unsigned int vector, int error);
void __real_cpu_skip_insn(struct cpu *c);
void __wrap_cpu_skip_insn(struct cpu *c);
bool __real_raise_exception(struct cpu *c, const struct event *event);
bool __wrap_raise_exception(struct cpu *c, const struct event *event);

static void note_halt(struct steps *s)
{
	if (!s->cpu->halted || s->step.kind == STEP_HALT || steps_retired(s) == s->step.first)
		return;
	s->step.kind = STEP_HALT;
	s->step.at = steps_retired(s) - 1;
}

static void note_delivery(struct steps *s, unsigned int vector, bool trap)
{
	note_halt(s);
	s->step.delivered = true;
	s->step.event_vector = (u8)vector;
	s->step.event_is_trap = trap;
	s->step.pushes_rf = s->cpu->between_iterations;
	cpu_state_of(s->cpu, &s->step.before);
	cpu_ask_pause(s->cpu);
}

static void note_fault(struct steps *s, unsigned int vector, s32 error)
{
	s->step.faulted = true;
	s->step.fault_at = steps_retired(s);
	s->step.vector = (u8)vector;
	s->step.error = error;
}

/* The host found that the instruction faults, or hands back a fault that it intercepts. */
static void note_injected_fault(struct steps *s, unsigned int vector, s32 error)
{
	note_fault(s, vector, error);
	note(s, STEP_EMULATED);
}

void __wrap_cpu_inject(struct cpu *c, enum cpu_event_type type, unsigned int vector, int error)
{
	if (type != CPU_EVENT_EXCEPTION)
		note_delivery(active, vector, false);
	else if (active->trap_pending)
		note_delivery(active, vector, true);
	else
		note_injected_fault(active, vector, error);
	active->trap_pending = false;
	__real_cpu_inject(c, type, vector, error);
}

void __wrap_cpu_skip_insn(struct cpu *c)
{
	note(active, STEP_EMULATED);
	__real_cpu_skip_insn(c);
}

bool __wrap_raise_exception(struct cpu *c, const struct event *event)
{
	bool trap = event->vector == VECTOR_DB && !event->fault &&
		    steps_retired(active) > active->step.first;

	if (!trap)
		note_fault(active, event->vector, event->error);
	else if (exception_intercepted(c, event->vector))
		active->trap_pending = true; /* the host hands it back */
	else
		note_delivery(active, event->vector, true);
	return __real_raise_exception(c, event);
}

/* ---- steps ---- */

static bool at_work(const struct cpu *c)
{
	u8 bytes[WORK_BYTES];

	return !cpu_read_virtual((struct cpu *)(uintptr_t)c, cpu_linear_rip(c), bytes,
				 sizeof(bytes)) &&
	       !memcmp(bytes, work_insn, sizeof(bytes)) && c->code_size == 3;
}

void steps_begin(struct steps *s, struct pp_machine *m)
{
	*s = (struct steps){.machine = m, .cpu = machine_guest(m, 0)->cpu};
	s->ops = s->cpu->ops;
	s->ctx = s->cpu->ctx;
	s->cpu->ops = &steps_ops;
	s->cpu->ctx = s;
	active = s;
}

/* A string instruction, or work, in parts; a halted CPU. */
static bool nothing_happened(const struct steps *s, u64 rip, u64 rsp, bool work)
{
	const struct cpu *c = s->cpu;

	if (s->step.stop != PP_STOP_BUDGET || s->step.delivered)
		return false;
	return c->rip == rip && c->regs[CPU_RSP] == rsp &&
	       (work || steps_retired(s) == s->step.first);
}

void steps_next(struct steps *s, u64 n)
{
	u64 rip = s->cpu->rip, rsp = s->cpu->regs[CPU_RSP], first = steps_retired(s);
	bool work = at_work(s->cpu), halted = s->cpu->halted;

	s->step = (struct step){.first = first};
	s->goal = work ? ~0ull : first + n;
	cpu_horizon_changed(s->cpu);
	do {
		s->step.stop = pp_machine_run(s->machine,
					      (n > 1 && !work) || halted ? MANY_BLOCKS : 1);
	} while (nothing_happened(s, rip, rsp, work));
	if (!s->step.delivered)
		note_halt(s);
	s->step.end = steps_retired(s);
	if (work && s->step.end != first) {
		s->step.kind = STEP_WORK;
		s->step.at = first;
	}
}

const char *steps_kind_text(enum step_kind kind)
{
	static const char *const texts[NR_STEP_KINDS] = {
		[STEP_PLAIN] = "plain",	     [STEP_IN] = "IN",
		[STEP_CPUID] = "CPUID",	     [STEP_MSR] = "RDMSR and WRMSR",
		[STEP_COUNTER] = "RDPMC",    [STEP_TSC] = "RDTSC",
		[STEP_DEVICE] = "APIC page", [STEP_HALT] = "HLT",
		[STEP_WORK] = "work",	     [STEP_EMULATED] = "completed by the host",
	};

	return texts[kind];
}
