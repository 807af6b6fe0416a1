// SPDX-License-Identifier: Apache-2.0
/*
 * apic.c - access to the local APIC. Interface: apic.h.
 *
 * Not modelled: an APIC page elsewhere than at its default address.
 */
#include "apic.h"

#include "runtime.h"

#define APIC_PAGE 0xfee00000u
#define X2APIC_MSR 0x800

static enum apic_mode mode_now;

bool apic_has_x2apic(void)
{
	return cpuid(1).ecx & BIT_ULL(21);
}

u32 apic_read(u32 reg)
{
	if (mode_now == X2APIC)
		return (u32)rdmsr(X2APIC_MSR + (reg >> 4));
	return *(volatile u32 *)(uintptr_t)(APIC_PAGE + reg);
}

void apic_write(u32 reg, u32 value)
{
	if (mode_now == X2APIC)
		wrmsr(X2APIC_MSR + (reg >> 4), value);
	else
		*(volatile u32 *)(uintptr_t)(APIC_PAGE + reg) = value;
}

/* x2APIC mode is left through the disabled state only, which resets the registers. */
void apic_enter(enum apic_mode mode)
{
	u64 base = rdmsr(MSR_APIC_BASE) & ~(APIC_BASE_X2APIC | APIC_BASE_ENABLED);

	wrmsr(MSR_APIC_BASE, base);
	wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLED);
	if (mode == X2APIC)
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLED | APIC_BASE_X2APIC);
	mode_now = mode;
	apic_write(APIC_SVR, SVR_ENABLED | SPURIOUS_VECTOR);
	apic_write(APIC_TPR, 0);
}
