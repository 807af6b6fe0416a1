/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic_internal.h - what lapic*.c and apic_bus.c share; nobody else includes it.
 */
#ifndef PLATFORM_LAPIC_INTERNAL_H_
#define PLATFORM_LAPIC_INTERNAL_H_

#include "platform/lapic.h"

#define APICBASE_BSP BIT_ULL(8)
#define APICBASE_EN BIT_ULL(11)
#define SPIV_ENABLED 0x100u
#define ESR_SEND_VECTOR 0x20u
#define ESR_RECEIVE_VECTOR 0x40u
#define ESR_REGISTER 0x80u
#define APIC_LVTT_MODE 0x60000u
#define APIC_LVTT_PERIODIC 0x20000u
#define APIC_NO_DEADLINE (~0ull)

static inline u32 *lapic_slot(struct lapic *l, u32 offset)
{
	return &l->regs[offset >> 4];
}

static inline bool lapic_enabled(const struct lapic *l)
{
	return l->apic_base & APICBASE_EN;
}

static inline bool lapic_software_enabled(const struct lapic *l)
{
	return l->regs[APIC_SPIV >> 4] & SPIV_ENABLED;
}

/* lapic.c: as power-up does, but for the ID, the mode and what the model was given. */
void lapic_reset_by_init(struct lapic *l);

/* lapic_irq.c */
void lapic_raise_nmi(struct lapic *l);
void lapic_raise_error(struct lapic *l, u32 error);
u32 lapic_processor_priority(const struct lapic *l);
void lapic_end_of_interrupt(struct lapic *l);

/* apic_bus.c */
u32 lapic_logical_id(const struct lapic *l);
void lapic_send_ipi(struct lapic *l, u64 icr);

/* lapic_timer.c */
void lapic_timer_reset(struct lapic *l);
void lapic_timer_set_lvtt(struct lapic *l, u32 value);
void lapic_timer_set_divide(struct lapic *l, u32 value);
void lapic_timer_set_count(struct lapic *l, u32 value);
void lapic_timer_set_deadline(struct lapic *l, u64 value);
u32 lapic_timer_count(const struct lapic *l);

#endif /* PLATFORM_LAPIC_INTERNAL_H_ */
