// SPDX-License-Identifier: Apache-2.0
/*
 * apic.c - local APIC access. Interface: apic.h.
 *
 * Not modelled: LINT pins (masked), the error LVT (masked).
 */
#include "guest/apic.h"

#include "guest/insn.h"

#define MSR_IA32_APICBASE 0x1b
#define APICBASE_X2APIC BIT_ULL(10)
#define APICBASE_ENABLE BIT_ULL(11)
#define MSR_IA32_TSC_DEADLINE 0x6e0
#define APIC_BASE_MSR 0x800
#define APIC_PAGE 0xfee00000u

#define APIC_TASKPRI 0x80
#define APIC_SPIV 0xf0
#define APIC_SPIV_ENABLED 0x100u
#define APIC_ICR 0x300
#define APIC_ICR2 0x310
#define APIC_ICR_BUSY 0x1000u
#define APIC_LVTT 0x320
#define APIC_LVTT_TSCDEADLINE 0x40000u
#define APIC_TMICT 0x380
#define APIC_TMCCT 0x390
#define APIC_TDCR 0x3e0
#define APIC_TDR_DIV_1 0xb
#define APIC_LVT_MASKED 0x10000u

/* CPUID.1:ECX */
#define FEATURE_X2APIC BIT_ULL(21)
#define FEATURE_TSC_DEADLINE BIT_ULL(24)

#define CALIBRATE_TSC 200000

static bool x2apic;
static bool tsc_deadline;
/* One-shot timer: this many of its ticks passed while the TSC did CALIBRATE_TSC cycles. */
static u64 calibrated_ticks;

void apic_write(u32 reg, u32 value)
{
	if (x2apic)
		wrmsr(APIC_BASE_MSR + (reg >> 4), value);
	else
		*(volatile u32 *)(uintptr_t)(APIC_PAGE + reg) = value;
}

static u32 apic_read(u32 reg)
{
	if (x2apic)
		return (u32)rdmsr(APIC_BASE_MSR + (reg >> 4));
	return *(volatile u32 *)(uintptr_t)(APIC_PAGE + reg);
}

void apic_send(u32 id, u32 command)
{
	if (x2apic) {
		/* Unlike a memory-mapped one this write may pass earlier stores. */
		__asm__ volatile("mfence\n\tlfence" : : : "memory");
		wrmsr(APIC_BASE_MSR + (APIC_ICR >> 4), (u64)id << 32 | command);
		return;
	}
	while (apic_read(APIC_ICR) & APIC_ICR_BUSY)
		__asm__ volatile("pause");
	apic_write(APIC_ICR2, id << 24);
	apic_write(APIC_ICR, command);
}

void apic_timer_set(u64 deadline)
{
	u64 now, ticks;

	if (tsc_deadline) {
		wrmsr(MSR_IA32_TSC_DEADLINE, deadline == ~0ull ? 0 : deadline);
		return;
	}
	if (deadline == ~0ull) {
		apic_write(APIC_TMICT, 0);
		return;
	}
	now = rdtsc();
	ticks = 1;
	if (deadline > now)
		ticks += mul_u64_u64_div_u64(deadline - now, calibrated_ticks, CALIBRATE_TSC);
	apic_write(APIC_TMICT, (u32)min_u64(ticks, GENMASK_ULL(31, 0)));
}

static void calibrate(void)
{
	u64 begin = rdtsc(), end;
	u32 left;

	apic_write(APIC_TMICT, GENMASK_ULL(31, 0));
	do {
		end = rdtsc();
	} while (end - begin < CALIBRATE_TSC);
	left = apic_read(APIC_TMCCT);
	apic_write(APIC_TMICT, 0);
	calibrated_ticks = mul_u64_u64_div_u64(GENMASK_ULL(31, 0) - left, CALIBRATE_TSC,
					       end - begin);
	if (!calibrated_ticks)
		calibrated_ticks = 1;
}

void apic_init(void)
{
	u32 features = cpuid(1).ecx;
	u64 base = rdmsr(MSR_IA32_APICBASE);

	x2apic = features & FEATURE_X2APIC;
	tsc_deadline = features & FEATURE_TSC_DEADLINE;
	/* From disabled, x2APIC mode is reached through xAPIC mode only. */
	if (!(base & APICBASE_ENABLE))
		wrmsr(MSR_IA32_APICBASE, base |= APICBASE_ENABLE);
	if (x2apic && !(base & APICBASE_X2APIC))
		wrmsr(MSR_IA32_APICBASE, base | APICBASE_X2APIC);
	apic_write(APIC_TASKPRI, 0);
	apic_write(APIC_SPIV, APIC_SPIV_ENABLED | SPURIOUS_APIC_VECTOR);
	if (tsc_deadline) {
		apic_write(APIC_LVTT, APIC_LVTT_TSCDEADLINE | LOCAL_TIMER_VECTOR);
		/* The deadline's WRMSR must not pass a memory-mapped LVTT write. */
		__asm__ volatile("mfence" : : : "memory");
		return;
	}
	apic_write(APIC_TDCR, APIC_TDR_DIV_1);
	apic_write(APIC_LVTT, APIC_LVT_MASKED | LOCAL_TIMER_VECTOR);
	if (!calibrated_ticks)
		calibrate();
	apic_write(APIC_LVTT, LOCAL_TIMER_VECTOR);
}
