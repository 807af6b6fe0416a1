/* SPDX-License-Identifier: Apache-2.0 */
/*
 * debug.c - #DB: breakpoints, the debug registers, single step, INT1.
 *
 * Interface
 *  - update_breakpoints() after a change of DR0-DR3, DR7 or CR4.DE.
 *  - watch_access() and watch_port() note in c->hits what an instruction that is executed alone
 *    has met; elsewhere they make it so. Pages with a data breakpoint have no fast path (mmu.c), so
 *    that breakpoints cost nothing where there are none.
 *  - code_breakpoints_hit(): before an instruction, behind all that comes at the boundary.
 *
 * Order at the boundary behind an instruction, as the Intel manual ranks it: #DB traps of that
 * instruction (single step, data and I/O breakpoints, one exception for all of them), NMI,
 * interrupt, code breakpoint of the next instruction, its other faults. An NMI or a PMI that falls
 * due with a trap finds RIP at the first instruction of the #DB handler.
 *
 * RFLAGS.TF as it was when an instruction began decides whether a single-step trap follows it.
 * INT n, INT3, INTO and INT1 clear it on their way and have none; after SYSCALL and SYSRET it is
 * the new TF that decides. MOV SS and POP SS hold traps back to behind the next instruction, and
 * its code breakpoint off; their own single-step trap is lost.
 *
 * RFLAGS.RF: an instruction begins with it cleared, so that IRET can set it for the next one;
 * faults, except a code breakpoint, and what arrives between two iterations of a rep string or of
 * `work` push it set.
 *
 * DR6: B0-B3 are those of the last #DB that had any condition, BS and BD stay until they are
 * cleared by software. Breakpoints that are not enabled set nothing. Entry to #DB clears DR7.GD.
 *
 * Where the manual leaves it open: a breakpoint on I/O without CR4.DE is none; LEN of a code
 * breakpoint is not looked at.
 *
 * Not modelled
 *  - data breakpoints on accesses of the processor itself (descriptors, gates, stacks of
 *    deliveries).
 *  - the T bit of a TSS, DR6.RTM and DR7.RTM, bus-lock debug exceptions, IA32_DEBUGCTL.BTF.
 *  - data breakpoints met by an instruction that faults later are forgotten.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/memory.h"
#include "cpu/operand.h"

/*
 *	31 30 29 28 .. 19 18 17 16 15 14 13 12 11 10  9  8  7  6 .. 1  0
 *	LEN3  RW3   .. LEN0  RW0    0  0 GD  0  0  1 GE LE G3 L3 .. G0 L0
 */
#define DR7_ENABLE(n) (3ull << (2 * (n)))
#define DR7_KIND(dr7, n) ((dr7) >> (16 + 4 * (n)) & 3)
#define DR7_LENGTH(dr7, n) ((dr7) >> (18 + 4 * (n)) & 3)
#define DR7_GD BIT_ULL(13)
#define DR7_FIXED 0x400ull
#define DR7_WRITABLE 0xffff23ffull
#define DR6_FIXED 0xffff0ff0ull
#define DR6_WRITABLE 0xe00full
#define DR6_BREAKPOINTS 0xfull

#define NR_BREAKPOINTS 4u

enum breakpoint_kind { KIND_CODE, KIND_WRITE, KIND_PORT, KIND_ACCESS };

/* ---- breakpoints ---- */

void update_breakpoints(struct cpu *c)
{
	bool watched = c->data_breakpoints;

	c->code_breakpoints = 0;
	c->data_breakpoints = 0;
	c->port_breakpoints = 0;
	for (unsigned int n = 0; n < NR_BREAKPOINTS; n++) {
		u8 bit = (u8)(1u << n);

		if (!(c->dr[7] & DR7_ENABLE(n)))
			continue;
		switch (DR7_KIND(c->dr[7], n)) {
		case KIND_CODE: c->code_breakpoints |= bit; break;
		case KIND_PORT:
			if (c->cr4 & CR4_DE)
				c->port_breakpoints |= bit;
			break;
		default: c->data_breakpoints |= bit; break;
		}
	}
	/* Pages lose their fast path, and get it back. */
	if (watched || c->data_breakpoints)
		tlb_flush(c);
}

static bool breakpoint_covers(const struct cpu *c, unsigned int n, u64 at, u64 bytes)
{
	static const u8 lengths[] = {1, 2, 8, 4};
	u64 length = lengths[DR7_LENGTH(c->dr[7], n)];
	u64 start = c->dr[n] & ~(length - 1);

	return at - start < length || start - at < bytes;
}

static u8 breakpoints_hit(const struct cpu *c, u8 among, u64 at, u64 bytes)
{
	u8 hits = 0;

	for (unsigned int n = 0; n < NR_BREAKPOINTS; n++) {
		if ((among >> n & 1) && breakpoint_covers(c, n, at, bytes))
			hits |= (u8)(1u << n);
	}
	return hits;
}

bool page_is_watched(const struct cpu *c, u64 va)
{
	return breakpoints_hit(c, c->data_breakpoints, va & PAGE_MASK, PAGE_BYTES);
}

void watch_access(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes, bool write)
{
	u8 among = c->data_breakpoints;
	u8 hits;

	for (unsigned int n = 0; n < NR_BREAKPOINTS; n++) {
		if (!write && DR7_KIND(c->dr[7], n) == KIND_WRITE)
			among &= (u8) ~(1u << n);
	}
	hits = breakpoints_hit(c, among, va, bytes);
	if (hits && !c->alone)
		cpu_escape(c, i, ESCAPE_ALONE);
	c->hits |= hits;
}

void watch_port(struct cpu *c, u16 port, unsigned int bytes)
{
	c->hits |= breakpoints_hit(c, c->port_breakpoints, port, bytes);
}

u64 code_breakpoints_hit(const struct cpu *c)
{
	u64 at = linear_address(c, c->rip);
	u64 hits = 0;

	if ((c->flags & FLAG_RF) || c->shadow == SHADOW_MOV_SS || c->between_iterations)
		return 0;
	for (unsigned int n = 0; n < NR_BREAKPOINTS; n++) {
		if ((c->code_breakpoints >> n & 1) && c->dr[n] == at)
			hits |= BIT_ULL(n);
	}
	return hits;
}

/* ---- the exception ---- */

void cpu_debug_exception(struct cpu *c, u64 dr6)
{
	c->dr[6] = (c->dr[6] & ~DR6_BREAKPOINTS) | dr6;
	c->dr[7] &= ~DR7_GD;
}

void collect_debug_traps(struct cpu *c)
{
	c->debug_traps |= c->hits;
	if (c->stepping && c->next_shadow != SHADOW_MOV_SS)
		c->debug_traps |= DR6_BS;
}

bool raise_debug_traps(struct cpu *c)
{
	const struct event event = {
		.vector = VECTOR_DB, .error = NO_ERROR_CODE, .dr6 = c->debug_traps};

	c->debug_traps = 0;
	c->halted = false;
	return raise_exception(c, &event);
}

/* INT1: no gate's DPL is looked at, and DR6 stays as it is. */
void op_int1(struct cpu *c, const struct insn *i)
{
	const struct event event = {.vector = VECTOR_DB, .error = NO_ERROR_CODE};

	if (exception_intercepted(c, VECTOR_DB)) {
		stop_for_software_exception(c, i, VECTOR_DB);
		return;
	}
	enter_gate(c, i, &event, next_rip(c, i));
	c->dr[7] &= ~DR7_GD;
	c->stepping = false;
}

/* ---- the registers ---- */

u64 cpu_dr(const struct cpu *c, unsigned int n)
{
	return c->dr[n];
}

bool cpu_single_steps(const struct cpu *c)
{
	return c->flags & FLAG_TF;
}

u64 cpu_cr4(const struct cpu *c)
{
	return c->cr4;
}

/* DR4 and DR5 are other names of DR6 and DR7, or invalid. */
static unsigned int debug_register(struct cpu *c, const struct insn *i)
{
	if ((i->op == 4 || i->op == 5) && (c->cr4 & CR4_DE))
		raise_fault(c, i, VECTOR_UD, NO_ERROR_CODE);
	if (c->cpl)
		raise_fault(c, i, VECTOR_GP, 0);
	if (c->dr[7] & DR7_GD) {
		c->fault =
			(struct fault){.vector = VECTOR_DB, .error = NO_ERROR_CODE, .dr6 = DR6_BD};
		cpu_escape(c, i, ESCAPE_FAULT);
	}
	/* No other is decoded than 0 to 7: the mask is for the reader, and for the compiler. */
	return (i->op == 4 || i->op == 5 ? i->op + 2u : i->op) & (ARRAY_SIZE(c->dr) - 1);
}

/* The exit comes before all that debug_register() looks at. */
static bool move_intercepted(struct cpu *c, const struct insn *i, bool write)
{
	if (!c->intercept || !c->intercept->mov_dr)
		return false;
	c->exit = (struct cpu_exit){
		.insn = CPU_INSN_MOV_DR,
		.len = i->len,
		.debug_register = i->op,
		.debug_write = write,
		.rip = c->rip,
	};
	c->stop = CPU_STOP_INTERCEPT;
	c->outcome = OUTCOME_STOPPED;
	return true;
}

void op_mov_to_dr(struct cpu *c, const struct insn *i)
{
	u64 v = c->legacy ? REG(c, const u32, i->rm) : REG(c, const u64, i->rm);
	unsigned int n;

	if (move_intercepted(c, i, true))
		return;
	n = debug_register(c, i);
	if (n >= 6 && v >> 32)
		raise_fault(c, i, VECTOR_GP, 0);
	if (n == 6)
		v = (v & DR6_WRITABLE) | DR6_FIXED;
	if (n == 7)
		v = (v & DR7_WRITABLE) | DR7_FIXED;
	c->dr[n] = v;
	if (n != 6)
		update_breakpoints(c);
	NEXT_INSN(c, i);
}

void op_mov_from_dr(struct cpu *c, const struct insn *i)
{
	unsigned int n;

	if (move_intercepted(c, i, false))
		return;
	n = debug_register(c, i);
	REG(c, u64, i->rm) = c->legacy ? (u32)c->dr[n] : c->dr[n];
	NEXT_INSN(c, i);
}
