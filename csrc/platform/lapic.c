// SPDX-License-Identifier: Apache-2.0
/*
 * lapic.c - the registers of a local APIC, as x2APIC MSRs and as the xAPIC page.
 *
 * Interface
 *  - A register is its xAPIC offset; an x2APIC MSR is 0x800 + offset / 16. Both ways in meet in
 *    one table (apic_registers), which also says what x2APIC refuses with #GP.
 *  - MSR 0x1b: disabled -> xAPIC -> x2APIC -> disabled are the legal ways. Disabling resets all
 *    registers, entering x2APIC clears the high half of the ICR. The CPU with id 0 is the bootstrap
 *    processor; bit 8 is writable. Address bits from 46 up are reserved.
 *  - Reserved bits are #GP in x2APIC mode and dropped in xAPIC mode; read-only status bits inside
 *    writable registers (delivery status, remote IRR) are ignored in both.
 *  - ESR: errors gather in esr_pending; a write to ESR makes them readable and starts over. An
 *    xAPIC access to a register that does not exist is an error (bit 7).
 *  - xAPIC accesses that are not 16-byte aligned read 0 and write nothing.
 *  - INIT resets all registers but the ID and MSR 0x1b: an APIC in x2APIC mode stays in it.
 *  - lapic_reg() reads in any mode, without side effects.
 *
 * Not modelled
 *  - Delivery status: an IPI is done when the ICR write is.
 *  - Arbitration priority and remote read (absent since the Pentium 4), focus checking, writes to
 *    the xAPIC ID, suppression of EOI broadcasts.
 *  - AMD's extended APIC registers.
 */
#include "platform/lapic_internal.h"

#include <string.h>

#define APICBASE_VALID (GENMASK_ULL(45, 12) | APICBASE_BSP | APICBASE_EXTD | APICBASE_EN)

#define APIC_VERSION 0x00060015u /* integrated APIC, 7 LVTs, no EOI broadcast suppression */
#define LVT_STATUS 0x1000u
#define LVT_REMOTE_IRR 0x4000u

#define ICR_BUSY 0x1000u
#define ICR_WRITABLE 0xccfffu /* low half */
#define ICR_SHORTHAND_SELF 0x40000u

enum { R = 1, W = 2, XAPIC_ONLY = 4, X2APIC_ONLY = 8 };

struct apic_register {
	u8 flags;
	u32 writable; /* bits that a write sets */
	u32 ignored;  /* read-only bits: no #GP, no effect */
};

#define LVT(bits, status) {R | W, APIC_LVT_MASKED | 0xff | (bits), LVT_STATUS | (status)}
#define READ_ONLY_8                                                                                \
	{R}, {R}, {R}, {R}, {R}, {R}, {R},                                                         \
	{                                                                                          \
		R                                                                                  \
	}

static const struct apic_register apic_registers[0x40] = {
	[APIC_ID >> 4] = {R},
	[APIC_LVR >> 4] = {R},
	[APIC_TASKPRI >> 4] = {R | W, 0xff},
	[APIC_PROCPRI >> 4] = {R},
	[APIC_EOI >> 4] = {W},
	[APIC_LDR >> 4] = {R | W, 0xff000000},
	[APIC_DFR >> 4] = {R | W | XAPIC_ONLY, 0xf0000000},
	[APIC_SPIV >> 4] = {R | W, 0x1ff},
	[APIC_ISR >> 4] = READ_ONLY_8,
	[APIC_TMR >> 4] = READ_ONLY_8,
	[APIC_IRR >> 4] = READ_ONLY_8,
	[APIC_ESR >> 4] = {R | W},
	[APIC_LVTCMCI >> 4] = LVT(APIC_MODE_MASK, 0),
	[APIC_ICR >> 4] = {R | W, ICR_WRITABLE, ICR_BUSY},
	[APIC_ICR2 >> 4] = {R | W | XAPIC_ONLY, 0xff000000},
	[APIC_LVTT >> 4] = LVT(APIC_LVTT_MODE, 0),
	[APIC_LVTTHMR >> 4] = LVT(APIC_MODE_MASK, 0),
	[APIC_LVTPC >> 4] = LVT(APIC_MODE_MASK, 0),
	[APIC_LVT0 >> 4] = LVT(APIC_MODE_MASK | 0xa000, LVT_REMOTE_IRR),
	[APIC_LVT1 >> 4] = LVT(APIC_MODE_MASK | 0xa000, LVT_REMOTE_IRR),
	[APIC_LVTERR >> 4] = LVT(0, 0),
	[APIC_TMICT >> 4] = {R | W, ~0u},
	[APIC_TMCCT >> 4] = {R},
	[APIC_TDCR >> 4] = {R | W, 0xb},
	[APIC_SELF_IPI >> 4] = {W | X2APIC_ONLY, 0xff},
};

static const u16 apic_lvts[] = {
	APIC_LVTCMCI, APIC_LVTT, APIC_LVTTHMR, APIC_LVTPC, APIC_LVT0, APIC_LVT1, APIC_LVTERR,
};

static void reset_registers(struct lapic *l)
{
	memset(l->regs, 0, sizeof(l->regs));
	memset(l->isr, 0, sizeof(l->isr));
	memset(l->irr, 0, sizeof(l->irr));
	memset(l->tmr, 0, sizeof(l->tmr));
	for (u32 i = 0; i < ARRAY_SIZE(apic_lvts); i++)
		*lapic_slot(l, apic_lvts[i]) = APIC_LVT_MASKED;
	*lapic_slot(l, APIC_SPIV) = 0xff;
	*lapic_slot(l, APIC_DFR) = ~0u;
	l->icr = 0;
	l->esr_pending = 0;
	lapic_timer_reset(l);
}

/* APIC_BASE, the ID and the TSC stay as they are, and so does what is on its way. An NMI that the CPU has
 * not taken is lost. */
void lapic_reset_by_init(struct lapic *l)
{
	reset_registers(l);
	l->nmi_pending = false;
	l->ops->changed(l->ctx);
}

void lapic_init(struct lapic *l, u32 id, const struct lapic_ops *ops, void *ctx)
{
	memset(l, 0, sizeof(*l));
	l->ops = ops;
	l->ctx = ctx;
	l->id = id;
	l->apic_base = APIC_DEFAULT_PHYS_BASE | APICBASE_EN | (id ? 0 : APICBASE_BSP);
	l->tsc_per_tick_num = 1;
	l->tsc_per_tick_den = 1;
	l->masks_lvtpc = true;
	l->has_tsc_deadline = true;
	reset_registers(l);
}

/* ---- registers ---- */

static bool in_bitmap(u32 offset, u32 first)
{
	return offset >= first && offset < first + 0x80;
}

u32 lapic_reg(const struct lapic *l, u32 offset)
{
	u32 index = (offset >> 4) & 0x3f;

	offset = index << 4;
	if (in_bitmap(offset, APIC_ISR))
		return l->isr[index & 7];
	if (in_bitmap(offset, APIC_TMR))
		return l->tmr[index & 7];
	if (in_bitmap(offset, APIC_IRR))
		return l->irr[index & 7];
	switch (offset) {
	case APIC_ID: return lapic_x2apic(l) ? l->id : l->id << 24;
	case APIC_LVR: return APIC_VERSION;
	case APIC_PROCPRI: return lapic_processor_priority(l);
	case APIC_LDR: return lapic_logical_id(l);
	case APIC_ICR: return (u32)l->icr;
	case APIC_ICR2: return (u32)(l->icr >> 32);
	case APIC_TMCCT: return lapic_timer_count(l);
	default: return l->regs[index];
	}
}

static bool is_lvt(u32 offset)
{
	return offset == APIC_LVTCMCI || (offset >= APIC_LVTT && offset <= APIC_LVTERR);
}

static void write_spiv(struct lapic *l, u32 value)
{
	*lapic_slot(l, APIC_SPIV) = value;
	for (u32 i = 0; i < ARRAY_SIZE(apic_lvts) && !(value & SPIV_ENABLED); i++)
		*lapic_slot(l, apic_lvts[i]) |= APIC_LVT_MASKED;
}

static void write_icr(struct lapic *l, u64 value)
{
	l->icr = value;
	lapic_send_ipi(l, value);
}

/* The register exists, is writable in this mode, and @value has writable bits only. */
static void write_register(struct lapic *l, u32 offset, u32 value)
{
	if (is_lvt(offset) && !lapic_software_enabled(l))
		value |= APIC_LVT_MASKED;
	switch (offset) {
	case APIC_EOI: lapic_end_of_interrupt(l); return;
	case APIC_SPIV: write_spiv(l, value); break;
	case APIC_ESR:
		*lapic_slot(l, APIC_ESR) = l->esr_pending;
		l->esr_pending = 0;
		return;
	case APIC_ICR: write_icr(l, (l->icr & ~0xffffffffull) | value); return;
	case APIC_ICR2: l->icr = (u64)value << 32 | (u32)l->icr; return;
	case APIC_SELF_IPI: lapic_send_ipi(l, ICR_SHORTHAND_SELF | value); return;
	case APIC_LVTT: lapic_timer_set_lvtt(l, value); return;
	case APIC_TMICT: lapic_timer_set_count(l, value); return;
	case APIC_TDCR: lapic_timer_set_divide(l, value); return;
	case APIC_DFR: *lapic_slot(l, APIC_DFR) = value | 0x0fffffff; return;
	default: *lapic_slot(l, offset) = value;
	}
	l->ops->changed(l->ctx);
}

/* ---- the xAPIC page ---- */

static bool xapic_page(const struct lapic *l)
{
	return lapic_enabled(l) && !lapic_x2apic(l);
}

static const struct apic_register *xapic_register(struct lapic *l, u32 offset)
{
	const struct apic_register *reg = NULL;

	if (offset < 0x400)
		reg = &apic_registers[offset >> 4];
	if (reg && reg->flags && !(reg->flags & X2APIC_ONLY))
		return reg;
	lapic_raise_error(l, ESR_REGISTER);
	return NULL;
}

u32 lapic_mmio_read(struct lapic *l, u32 offset)
{
	const struct apic_register *reg;

	if (!xapic_page(l))
		return ~0u;
	if (offset & 0xf)
		return 0;
	reg = xapic_register(l, offset);
	if (!reg || !(reg->flags & R))
		return 0;
	return lapic_reg(l, offset);
}

void lapic_mmio_write(struct lapic *l, u32 offset, u32 value)
{
	const struct apic_register *reg;

	if (!xapic_page(l) || (offset & 0xf))
		return;
	reg = xapic_register(l, offset);
	if (reg && (reg->flags & W))
		write_register(l, offset, value & reg->writable);
}

/* ---- MSRs ---- */

static int write_apic_base(struct lapic *l, u64 value)
{
	u64 modes = APICBASE_EN | APICBASE_EXTD;
	u64 old = l->apic_base & modes;
	u64 new = value & modes;

	if (value & ~APICBASE_VALID || new == APICBASE_EXTD)
		return -1;
	if (old == modes && new == APICBASE_EN)
		return -1;
	if (!old && new == modes)
		return -1;
	l->apic_base = value;
	if (old && !new)
		reset_registers(l);
	if (old == APICBASE_EN && new == modes)
		l->icr = (u32)l->icr;
	l->ops->changed(l->ctx);
	return 0;
}

static const struct apic_register *x2apic_register(const struct lapic *l, u32 msr, u8 access)
{
	const struct apic_register *reg;

	if (!lapic_x2apic(l) || msr < APIC_X2APIC_MSR_BASE || msr >= APIC_X2APIC_MSR_BASE + 0x40)
		return NULL;
	reg = &apic_registers[msr - APIC_X2APIC_MSR_BASE];
	return (reg->flags & access) && !(reg->flags & XAPIC_ONLY) ? reg : NULL;
}

void lapic_restore(struct lapic *l, const struct lapic *from)
{
	const struct lapic own = *l;

	*l = *from;
	l->ops = own.ops;
	l->ctx = own.ctx;
	l->bus = own.bus;
	l->min_period = own.min_period;
}

int lapic_rdmsr(struct lapic *l, u32 msr, u64 *value)
{
	u32 offset = (msr - APIC_X2APIC_MSR_BASE) << 4;

	if (msr == MSR_IA32_APICBASE) {
		*value = l->apic_base;
		return 0;
	}
	if (msr == MSR_IA32_TSC_DEADLINE) {
		*value = l->tsc_deadline;
		return l->has_tsc_deadline ? 0 : -1;
	}
	if (!x2apic_register(l, msr, R))
		return -1;
	*value = offset == APIC_ICR ? l->icr : lapic_reg(l, offset);
	return 0;
}

int lapic_wrmsr(struct lapic *l, u32 msr, u64 value)
{
	u32 offset = (msr - APIC_X2APIC_MSR_BASE) << 4;
	const struct apic_register *reg;

	if (msr == MSR_IA32_APICBASE)
		return write_apic_base(l, value);
	if (msr == MSR_IA32_TSC_DEADLINE) {
		if (!l->has_tsc_deadline)
			return -1;
		lapic_timer_set_deadline(l, value);
		return 0;
	}
	reg = x2apic_register(l, msr, W);
	if (!reg || offset == APIC_LDR)
		return -1;
	if (offset == APIC_ICR) {
		if ((u32)value & ~(ICR_WRITABLE | ICR_BUSY))
			return -1;
		write_icr(l, value & ~(u64)ICR_BUSY);
		return 0;
	}
	if (value & ~(u64)(reg->writable | reg->ignored))
		return -1;
	if (offset == APIC_LVTT && (value & APIC_LVTT_MODE) == APIC_LVTT_MODE)
		return -1;
	if (offset == APIC_LVTT && value & APIC_LVT_TIMER_TSCDEADLINE && !l->has_tsc_deadline)
		return -1;
	write_register(l, offset, (u32)value & reg->writable);
	return 0;
}
