/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apic.h - the local APIC as a guest uses it: EOI, LVTPC, one timer, and interrupts to other CPUs.
 *
 * x2APIC mode when CPUID.1:ECX[21] says so, else the memory-mapped page; TSC-deadline timer when
 * CPUID.1:ECX[24] says so, else the one-shot timer, which the first CPU calibrates against the TSC. Each
 * function but apic_init() is one register access; so is apic_send() in x2APIC mode.
 */
#ifndef GUEST_APIC_H_
#define GUEST_APIC_H_

#include "base/types.h"

#define APIC_EOI 0xb0
#define APIC_LVTPC 0x340
#define APIC_DM_NMI 0x400u
#define APIC_DM_INIT 0x500u
#define APIC_DM_STARTUP 0x600u
#define APIC_INT_ASSERT 0x4000u
#define APIC_INT_LEVELTRIG 0x8000u
#define APIC_DEST_ALLBUT 0xc0000u /* to all but itself; the APIC ID is not looked at */

/* This CPU's. */
void apic_init(void);
void apic_write(u32 reg, u32 value);
/* An interrupt to the CPU of this APIC ID: vector, APIC_DM_* and the like. */
void apic_send(u32 id, u32 command);
/* Interrupt LOCAL_TIMER_VECTOR at TSC time @deadline; ~0 disarms. */
void apic_timer_set(u64 deadline);

#endif /* GUEST_APIC_H_ */
