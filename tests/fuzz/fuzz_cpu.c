// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_cpu.c - any code on the guest CPU, with any page tables, descriptors and interrupts.
 *
 * The input:
 *
 *	u8 mode		bits 2:0: 64-bit kernel, 64-bit user, 32-bit protected, 32-bit user code of
 *			long mode, real mode, protected with 4 MB pages, protected with PAE
 *			bit 3: faults are not skipped
 *			bits 5:4: what is intercepted, see intercepts[]; bit 6: and then emulated
 *			bit 7: the second run takes no iterations at once
 *	u8 slice	blocks of a slice in the second run
 *	u16 step	subcycles, in units of 64, between the stops at which interrupts come
 *	u8 injections	at each stop: bits 1:0 nothing, interrupt, NMI, other; 4 stops, then again
 *	u8 registers[8]	what registers begin with, a nibble each, see register_value(); that of
 *			RSP: what "other" is, #GP, #DB, INIT and SIPI
 *	u8 nr_patches, then for each: u16 address (quadword, in the first 64 KB), u64 value
 *	then the code
 *
 * What must hold: cpu_run() keeps to its budget and gets on with each block of it; totals only
 * grow; a run in small slices ends like one in one piece: registers (those of SSE, x87 and debugging
 * too), memory, totals.
 */
#include "fuzz.h"

#define RAM_SIZE (2u << 20)
#include "cpu/state.h"
#include "test_cpu_guest.h"

#define HANDLERS_AT 0x20000ull
#define IRQ_HANDLER_AT 0x21000ull
#define CODE_MAX 0x1000u
#define CODE32_CS 0x38
#define USER_CODE32_CS 0x43
#define GDT_BYTES 0x48
#define IRQ_VECTOR 0x40
#define REAL_CS (CODE_AT >> 4)
#define MODE_MASK 7u
#define MODE_KERNEL 0
#define MODE_USER 1
#define MODE_PROTECTED 2
#define MODE_COMPATIBLE 3
#define MODE_REAL 4
#define MODE_PSE 5
#define MODE_PAE 6
#define MODE_FAULTS_STAY 8u
#define MODE_EMULATE 0x40u
#define RUN_BLOCKS 1500u
#define MAX_STOPS 24u
#define CR4_FPU (CR4_OSFXSR | CR4_OSXMMEXCPT)
#define MAX_SLICED 6000u /* blocks; alone, an instruction uses one */

static const struct cpu_intercept intercepts[4] = {
	[1] = {.cpuid = true, .hlt = true, .vmcall = true},
	[2] = {.mov_dr = true,
	       .exceptions = BIT_ULL(VECTOR_UD) | BIT_ULL(VECTOR_DB) | BIT_ULL(VECTOR_AC)},
	[3] = {.cpuid = true,
	       .rdpmc = true,
	       .io = true,
	       .all_msrs = true,
	       .mov_dr = true,
	       .exceptions = ~0u},
};

struct plan {
	u8 mode, slice, injections;
	u64 step_sub;
	u8 registers[8];
	struct input rest; /* patches and code */
};

static struct plan plan_of(const u8 *data, size_t size)
{
	struct input in = input_of(data, size);
	struct plan p = {.mode = take_u8(&in), .slice = take_u8(&in)};

	p.step_sub = ((u64)take_u16(&in) + 1) * 64;
	p.injections = take_u8(&in);
	take_bytes(&in, p.registers, sizeof(p.registers));
	p.rest = in;
	return p;
}

/* ---- the guest ---- */

static void gate32(struct guest *g, unsigned int vector, u64 handler, unsigned int dpl)
{
	guest_set(g, IDT_AT + vector * 8,
		  (handler & 0xffff) | (u64)CODE32_CS << 16 | (u64)(0x8e | dpl << 5) << 40 |
			  (handler >> 16) << 48);
}

static bool has_error_code(unsigned int vector)
{
	return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF);
}

/* Step over the byte that faulted, or go back to it; drop the error code. */
static void fault_handlers(struct guest *g, const struct plan *p, bool is32)
{
	bool stay = p->mode & MODE_FAULTS_STAY;

	for (unsigned int v = 0; v < 32; v++) {
		u64 at = HANDLERS_AT + v * 32;
		u8 *code = g->ram + at;

		if (is32)
			gate32(g, v, at, v == VECTOR_BP ? 3 : 0);
		else
			guest_gate(g, v, at, v == VECTOR_DF ? 1 : 0, v == VECTOR_BP ? 3 : 0);
		if (has_error_code(v)) {
			/* add rsp, 8; in 32-bit code add esp, 4 */
			memcpy(code, is32 ? "\x83\xc4\x04" : "\x48\x83\xc4\x08", is32 ? 3 : 4);
			code += is32 ? 3 : 4;
		}
		if (!stay) {
			/* inc dword ptr [rsp] */
			memcpy(code, "\xff\x04\x24", 3);
			code += 3;
		}
		memcpy(code, is32 ? "\xcf" : "\x48\xcf", is32 ? 1 : 2); /* iret */
	}
	/* An interrupt is counted in memory, and nothing else: inc dword ptr [0x3ff8]; iret */
	memcpy(g->ram + IRQ_HANDLER_AT,
	       is32 ? "\xff\x05\xf8\x3f\x00\x00\xcf" : "\xff\x04\x25\xf8\x3f\x00\x00\x48\xcf",
	       is32 ? 7 : 9);
	if (is32)
		gate32(g, IRQ_VECTOR, IRQ_HANDLER_AT, 3);
	else
		guest_gate(g, IRQ_VECTOR, IRQ_HANDLER_AT, 0, 3);
}

static u64 register_value(unsigned int kind)
{
	static const u64 values[16] = {0,
				       1,
				       8,
				       DATA_AT,
				       DATA_AT + 0xffd,
				       STACK_TOP,
				       CODE_AT,
				       USER_AT,
				       DEVICE_AT,
				       RAM_SIZE - 4,
				       PT_AT,
				       GDT_AT,
				       ~0ull,
				       0x8000000000000000ull,
				       0x7fffffffffff,
				       MSR_PLAIN};

	return values[kind & 15];
}

static void protected_mode(struct guest *g, unsigned int mode)
{
	struct cpu_start *s = &g->start;

	s->cr0 = 0x11;
	s->cr3 = s->cr4 = s->efer = 0;
	s->cs = (struct cpu_segment){0, ~0u, CODE32_CS, 0xc09b};
	guest_set(g, TSS_AT + 4, RSP0_TOP | (u64)KERNEL_SS << 32);
	if (mode == MODE_PROTECTED)
		return;
	s->cr0 |= CR0_PG | CR0_WP;
	s->cr4 = mode == MODE_PSE ? CR4_PSE : CR4_PAE;
	s->cr3 = mode == MODE_PSE ? PD_AT : PDPT_AT;
	guest_set(g, PDPT_AT, PD_AT | 1);
	for (u64 n = 0; n < 512 && mode == MODE_PSE; n++)
		guest_set(g, PD_AT + 8 * n, n << 23 | 0x87 | ((2 * n + 1) << 22 | 0x87) << 32);
}

/* The vector table is at 0; a fault goes to the next byte, as fault_handlers() has it. */
static void real_mode_start(struct guest *g, const struct plan *p)
{
	struct cpu_start *s = &g->start;
	u32 entry = (HANDLERS_AT & 0xffff) | (HANDLERS_AT >> 16) << 28;
	u8 *code = g->ram + HANDLERS_AT;

	s->rip = 0;
	s->rsp = 0xfff0;
	s->cr0 = 0x10;
	s->cr3 = s->cr4 = s->efer = 0;
	s->cs = (struct cpu_segment){CODE_AT, 0xffff, REAL_CS, 0x9b};
	s->ss = (struct cpu_segment){0x60000, 0xffff, 0x6000, 0x93};
	s->ds = (struct cpu_segment){DATA_AT - 0x10000, 0xffff, 0xf000, 0x93};
	s->idt_base = 0;
	s->idt_limit = 0x3ff;
	for (unsigned int v = 0; v < 256; v++)
		memcpy(g->ram + 4 * v, &entry, sizeof(entry));
	/* push bp; mov bp, sp; inc word ptr [bp + 2]; pop bp; iret */
	memcpy(code, "\x55\x89\xe5\xff\x46\x02\x5d\xcf", 8);
	if (p->mode & MODE_FAULTS_STAY)
		code[0] = 0xcf;
}

static void start_mode(struct guest *g, const struct plan *p)
{
	unsigned int mode = p->mode & MODE_MASK;
	struct cpu_start *s = &g->start;

	guest_set(g, GDT_AT + CODE32_CS, 0x00cf9b000000ffffull);
	guest_set(g, GDT_AT + (USER_CODE32_CS & ~3), 0x00cffb000000ffffull);
	s->gdt_limit = GDT_BYTES - 1;
	s->efer |= EFER_SCE | EFER_NXE;
	switch (mode) {
	case MODE_PROTECTED:
	case MODE_PSE:
	case MODE_PAE: protected_mode(g, mode); break;
	case MODE_REAL: real_mode_start(g, p); break;
	case MODE_USER:
	case MODE_COMPATIBLE:
		s->cs = (struct cpu_segment){0, ~0u, USER_CS, 0xa0fb};
		if (mode == MODE_COMPATIBLE)
			s->cs = (struct cpu_segment){0, ~0u, USER_CODE32_CS, 0xc0fb};
		s->ss = s->ds = (struct cpu_segment){0, ~0u, USER_SS, 0xc0f3};
		s->rsp = USER_STACK_TOP;
		break;
	default: break;
	}
	s->rflags = 2 | FLAG_IF;
}

static bool is_protected(unsigned int mode)
{
	return mode == MODE_PROTECTED || mode == MODE_PSE || mode == MODE_PAE;
}

static struct guest *guest_for(const struct plan *p)
{
	unsigned int mode = p->mode & MODE_MASK;
	struct guest *g = guest_new();
	struct input in = p->rest;

	if (mode != MODE_REAL)
		fault_handlers(g, p, is_protected(mode));
	start_mode(g, p);
	g->start.cr4 |= CR4_FPU;
	cpu_start(g->cpu, &g->start);
	g->cpu->star = (u64)0x13 << 48 | (u64)KERNEL_CS << 32;
	g->cpu->lstar = CODE_AT;
	g->cpu->tr = (struct descriptor_table){TSS_AT, 0x67, TSS_SELECTOR};
	for (unsigned int r = 0; r < 16; r++) {
		u64 value = register_value(p->registers[r / 2] >> 4 * (r & 1));

		if (r != CPU_RSP)
			cpu_set_reg(g->cpu, (enum cpu_reg)r,
				    mode == MODE_KERNEL || mode == MODE_USER ? value : (u32)value);
	}
	for (unsigned int n = take_u8(&in) & 15; n; n--) {
		u64 address = take_u16(&in) & ~7ull;

		guest_set(g, address, take_u64(&in));
	}
	take_bytes(&in, g->ram + CODE_AT, input_left(&in) < CODE_MAX ? input_left(&in) : CODE_MAX);
	if (p->mode >> 4 & 3)
		cpu_set_intercept(g->cpu, &intercepts[p->mode >> 4 & 3]);
	g->stop_on_land = true;
	return g;
}

/* ---- a run ---- */

static void next_goal(struct guest *g, const struct plan *p)
{
	const struct event_totals *t = cpu_totals(g->cpu);

	for (unsigned int priv = 0; priv < NR_PRIV; priv++)
		g->goal_sub[priv] = t->sub[priv] + p->step_sub;
	cpu_horizon_changed(g->cpu);
}

static void inject_other(struct guest *g, unsigned int what)
{
	switch (what) {
	case 1:
		cpu_debug_exception(g->cpu, DR6_BS | 1);
		cpu_inject(g->cpu, CPU_EVENT_EXCEPTION, VECTOR_DB, -1);
		break;
	case 2:
		cpu_init_reset(g->cpu, 0x806f8);
		cpu_start_at_vector(g->cpu, (u8)(CODE_AT >> 12));
		break;
	default: cpu_inject(g->cpu, CPU_EVENT_EXCEPTION, VECTOR_GP, 0); break;
	}
}

static void inject(struct guest *g, const struct plan *p, unsigned int stop)
{
	switch (p->injections >> 2 * (stop & 3) & 3) {
	case 1:
		if (cpu_can_take_irq(g->cpu))
			cpu_inject(g->cpu, CPU_EVENT_IRQ, IRQ_VECTOR, -1);
		break;
	case 2:
		if (cpu_can_take_nmi(g->cpu))
			cpu_inject(g->cpu, CPU_EVENT_NMI, VECTOR_NMI, -1);
		break;
	case 3: inject_other(g, p->registers[2] & 15); break;
	default: break;
	}
}

/* As the host does it: the exception goes back, the instruction is stepped over or emulated. */
static void serve_intercept(struct guest *g, const struct plan *p)
{
	const struct cpu_exit *exit = cpu_exit_info(g->cpu);
	bool branch, step;

	if (p->mode & MODE_EMULATE && exit->insn != CPU_INSN_WORK) {
		switch (cpu_emulate_insn(g->cpu, &branch, &step)) {
		case CPU_EMULATED_FAULT: break;
		case CPU_EMULATED_HOST: cpu_skip_insn(g->cpu); return;
		default: return;
		}
	}
	if (exit->insn != CPU_INSN_EXCEPTION) {
		cpu_skip_insn(g->cpu);
		return;
	}
	if (exit->software)
		cpu_skip_insn(g->cpu);
	if (exit->vector == VECTOR_DB)
		cpu_debug_exception(g->cpu, exit->dr6);
	cpu_inject(g->cpu, CPU_EVENT_EXCEPTION, exit->vector, exit->error);
}

static void check_grown(const struct event_totals *before, const struct event_totals *after)
{
	for (unsigned int priv = 0; priv < NR_PRIV; priv++) {
		REQUIRE(after->sub[priv] >= before->sub[priv]);
		for (unsigned int e = 0; e < NR_EVENTS; e++)
			REQUIRE(after->count[priv][e] >= before->count[priv][e]);
	}
}

static enum cpu_stop run_slice(struct guest *g, u64 *budget, u64 slice)
{
	struct event_totals before = *cpu_totals(g->cpu);
	u64 given = slice && slice < *budget ? slice : *budget, left = given;
	enum cpu_stop stop = cpu_run(g->cpu, &left);

	REQUIRE(left <= given);
	REQUIRE(stop != CPU_STOP_BUDGET || !left);
	check_grown(&before, cpu_totals(g->cpu));
	REQUIRE(!g->check.broken);
	*budget -= given - left;
	return stop;
}

/* False when the budget was not enough to get to an end. */
static bool run(struct guest *g, const struct plan *p, u64 budget, u64 slice)
{
	u32 calls = 0;

	next_goal(g, p);
	for (unsigned int stops = 0; stops < MAX_STOPS;) {
		/* A call that uses no budget stops at something, which is MAX_STOPS times at most. */
		REQUIRE(calls++ <= MAX_SLICED + MAX_STOPS);
		switch (run_slice(g, &budget, slice)) {
		case CPU_STOP_BUDGET:
			if (!budget)
				return false;
			break;
		case CPU_STOP_INTERCEPT:
			stops++;
			serve_intercept(g, p);
			break;
		case CPU_STOP_HALT:
			/* Until something comes that it can take. */
			inject(g, p, stops++);
			if (cpu_halted(g->cpu))
				return true;
			break;
		case CPU_STOP_EVENT:
			inject(g, p, stops++);
			next_goal(g, p);
			break;
		default: return true;
		}
	}
	return true;
}

static void compare_fpu(const struct fpu *a, const struct fpu *b)
{
	REQUIRE(!memcmp(a->xmm, b->xmm, sizeof(a->xmm)));
	/* Between two runs nothing is loaded, and the flags have come back. */
	REQUIRE(!a->mxcsr_loaded && !b->mxcsr_loaded && a->mxcsr == b->mxcsr);
	REQUIRE(!memcmp(&a->x87, &b->x87, sizeof(a->x87)));
	REQUIRE(a->instruction == b->instruction && a->operand == b->operand &&
		a->opcode == b->opcode);
}

static void compare(const struct guest *a, const struct guest *b)
{
	compare_fpu(&a->cpu->fpu, &b->cpu->fpu);
	REQUIRE(!memcmp(a->cpu->dr, b->cpu->dr, sizeof(a->cpu->dr)));
	REQUIRE(a->cpu->rip == b->cpu->rip);
	REQUIRE(!memcmp(a->cpu->regs, b->cpu->regs, 16 * sizeof(u64)));
	REQUIRE(cpu_rflags(a->cpu) == cpu_rflags(b->cpu));
	REQUIRE(a->cpu->cpl == b->cpu->cpl && a->cpu->halted == b->cpu->halted &&
		a->cpu->shutdown == b->cpu->shutdown);
	REQUIRE(a->cpu->cr0 == b->cpu->cr0 && a->cpu->cr2 == b->cpu->cr2 &&
		a->cpu->cr3 == b->cpu->cr3 && a->cpu->cr4 == b->cpu->cr4 &&
		a->cpu->efer == b->cpu->efer);
	REQUIRE(!memcmp(cpu_totals(a->cpu), cpu_totals(b->cpu), sizeof(struct event_totals)));
	REQUIRE(!memcmp(cpu_skipped(a->cpu), cpu_skipped(b->cpu), sizeof(struct cpu_skipped)));
	REQUIRE(a->device_reads == b->device_reads && a->device_writes == b->device_writes &&
		a->device == b->device && a->msr == b->msr);
	REQUIRE(!memcmp(a->ram, b->ram, RAM_SIZE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct plan p = plan_of(data, size);
	struct guest *whole = guest_for(&p), *sliced;

	if (run(whole, &p, RUN_BLOCKS, 0)) {
		sliced = guest_for(&p);
		sliced->cpu->one_by_one = p.mode >> 7;
		if (run(sliced, &p, MAX_SLICED, p.slice + 1u))
			compare(whole, sliced);
		guest_free(sliced);
	}
	guest_free(whole);
	return 0;
}
