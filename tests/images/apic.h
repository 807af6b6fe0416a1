/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apic.h - the local APIC of a test image, as xAPIC page or as x2APIC MSRs. Registers are named by
 * their offset in the page.
 */
#ifndef IMAGES_APIC_H_
#define IMAGES_APIC_H_

#include "base/types.h"

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_BSP BIT_ULL(8)
#define APIC_BASE_X2APIC BIT_ULL(10)
#define APIC_BASE_ENABLED BIT_ULL(11)
#define MSR_TSC_DEADLINE 0x6e0

#define APIC_ID 0x20
#define APIC_VERSION 0x30
#define APIC_TPR 0x80
#define APIC_EOI 0xb0
#define APIC_SVR 0xf0
#define APIC_ISR 0x100
#define APIC_IRR 0x200
#define APIC_ESR 0x280
#define APIC_ICR 0x300
#define APIC_ICR_HIGH 0x310
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_PMC 0x340
#define APIC_INITIAL_COUNT 0x380
#define APIC_CURRENT_COUNT 0x390
#define APIC_DIVIDE 0x3e0
#define APIC_SELF_IPI 0x3f0

#define LVT_NMI 0x400u
#define LVT_MASKED 0x10000u
#define TIMER_PERIODIC 0x20000u
#define TIMER_TSC_DEADLINE 0x40000u
#define DIVIDE_BY_1 0xb
#define DIVIDE_BY_16 0x3
#define SVR_ENABLED 0x100u
#define SPURIOUS_VECTOR 0xff

enum apic_mode { XAPIC, X2APIC };

/* From any mode into this one, software enabled, LVTs masked, nothing pending. */
void apic_enter(enum apic_mode mode);
bool apic_has_x2apic(void);
u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 value);
static inline void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

#endif /* IMAGES_APIC_H_ */
