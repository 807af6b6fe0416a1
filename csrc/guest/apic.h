/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apic.h - the local APIC as a guest uses it: EOI, LVTPC, and one timer.
 *
 * x2APIC mode when CPUID.1:ECX[21] says so, else the memory-mapped page; TSC-deadline timer when
 * CPUID.1:ECX[24] says so, else the one-shot timer, calibrated against the TSC. Each function but
 * apic_init() is one register access.
 */
#ifndef GUEST_APIC_H_
#define GUEST_APIC_H_

#include "base/types.h"

#define APIC_EOI 0xb0
#define APIC_LVTPC 0x340
#define APIC_DM_NMI 0x400u

void apic_init(void);
void apic_write(u32 reg, u32 value);
/* Interrupt LOCAL_TIMER_VECTOR at TSC time @deadline; ~0 disarms. */
void apic_timer_set(u64 deadline);

#endif /* GUEST_APIC_H_ */
