// SPDX-License-Identifier: Apache-2.0
/*
 * lapic_irq.c - interrupts of a local APIC: vectors and priorities, LVTPC, errors.
 *
 * Interface
 *  - Vectors below 16 are never delivered; an LVT with one sets ESR bit 6 (receive). LVTPC is then
 *    LAPIC_IGNORED, unmasked.
 *  - A new error in the ESR raises LVTERR.
 *  - nmi_pending is set here and cleared by whoever injects the NMI.
 *  - Software disabled (SPIV bit 8 = 0): LVTs are masked, new fixed interrupts are dropped, those
 *    in the IRR are held and still taken. NMI IPIs arrive.
 *
 * Not modelled
 *  - LINT0/1, thermal and CMCI sources, the IOAPIC: nothing raises these LVTs. Level trigger, so
 *    TMR stays 0; EOI broadcast; spurious vectors.
 */
#include "platform/lapic_internal.h"

#include "base/fault.h"

static int highest(const u32 bitmap[8])
{
	for (int i = 7; i >= 0; i--) {
		if (bitmap[i])
			return i * 32 + 31 - __builtin_clz(bitmap[i]);
	}
	return -1;
}

static void set_irr(struct lapic *l, u8 vector)
{
	if (!lapic_enabled(l) || !lapic_software_enabled(l))
		return;
	l->irr[vector / 32] |= 1u << (vector % 32);
	l->tmr[vector / 32] &= ~(1u << (vector % 32));
	l->ops->changed(l->ctx);
}

/* Raise LVTERR for new errors only, and never for its own bad vector: that would not end. */
void lapic_raise_error(struct lapic *l, u32 error)
{
	u32 lvterr = l->regs[APIC_LVTERR >> 4];
	bool is_new = error & ~l->esr_pending;

	l->esr_pending |= error;
	if (!is_new || (lvterr & APIC_LVT_MASKED))
		return;
	if ((lvterr & 0xff) < 16)
		l->esr_pending |= ESR_RECEIVE_VECTOR;
	else
		set_irr(l, (u8)lvterr);
}

void lapic_post(struct lapic *l, u8 vector)
{
	if (vector < 16)
		lapic_raise_error(l, ESR_RECEIVE_VECTOR);
	else
		set_irr(l, vector);
}

u32 lapic_processor_priority(const struct lapic *l)
{
	u32 tpr = l->regs[APIC_TASKPRI >> 4];
	int isr = highest(l->isr);

	if (isr < 0 || (tpr >> 4) >= ((u32)isr >> 4))
		return tpr;
	return (u32)isr & 0xf0;
}

int lapic_pending_vector(const struct lapic *l)
{
	int vector = highest(l->irr);

	if (vector < 0 || !lapic_enabled(l))
		return -1;
	return ((u32)vector >> 4) > (lapic_processor_priority(l) >> 4) ? vector : -1;
}

void lapic_accept(struct lapic *l, u8 vector)
{
	l->irr[vector / 32] &= ~(1u << (vector % 32));
	l->isr[vector / 32] |= 1u << (vector % 32);
}

void lapic_end_of_interrupt(struct lapic *l)
{
	int vector = highest(l->isr);

	if (vector < 0)
		return;
	l->isr[vector / 32] &= ~(1u << (vector % 32));
	l->ops->changed(l->ctx);
}

void lapic_raise_nmi(struct lapic *l)
{
	l->nmi_pending = true;
	l->ops->changed(l->ctx);
}

static void mask_lvtpc(const struct lapic *l, u32 *lvtpc)
{
	if ((l->masks_lvtpc || FAULTY(AMD_LVTPC_MASKED)) && !FAULTY(LVTPC_NOT_MASKED))
		*lvtpc |= APIC_LVT_MASKED;
}

enum lapic_delivery lapic_deliver_lvtpc(struct lapic *l)
{
	u32 *lvtpc = lapic_slot(l, APIC_LVTPC);
	u8 vector = (u8)*lvtpc;

	if (!lapic_enabled(l) || ((*lvtpc & APIC_LVT_MASKED) && !FAULTY(PMI_WHILE_MASKED)))
		return LAPIC_MASKED;
	switch (*lvtpc & APIC_MODE_MASK) {
	case APIC_DM_NMI:
		mask_lvtpc(l, lvtpc);
		lapic_raise_nmi(l);
		return LAPIC_NMI;
	case APIC_DM_FIXED:
		if (vector < 16) {
			lapic_raise_error(l, ESR_RECEIVE_VECTOR);
			return LAPIC_IGNORED;
		}
		mask_lvtpc(l, lvtpc);
		set_irr(l, vector);
		return LAPIC_FIXED;
	default: return LAPIC_IGNORED;
	}
}
