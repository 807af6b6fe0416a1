// SPDX-License-Identifier: Apache-2.0
/*
 * msrs.c - model-specific registers beside those of the PMU and the APIC, and that all others fault.
 */
#include "apic.h"
#include "page_tables.h"
#include "pmu.h"

#define MSR_TSC 0x10
#define MSR_FEATURE_CONTROL 0x3a
#define MSR_TSC_ADJUST 0x3b
#define MSR_SPEC_CTRL 0x48
#define MSR_UCODE_REV 0x8b
#define MSR_PLATFORM_INFO 0xce
#define MSR_MISC_ENABLE 0x1a0
#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX 0xc0000103

#define NON_CANONICAL 0x0000800000000000ull

static bool keeps(u32 msr, u64 value, const char *name)
{
	u64 before, after;
	bool right;

	right = step(attempt_rdmsr(msr, &before), NO_VECTOR, "%s can be read", name);
	right &= step(attempt_wrmsr(msr, value), NO_VECTOR, "%s can be written", name);
	right &= step(attempt_rdmsr(msr, &after), NO_VECTOR, "%s can be read again", name);
	right &= step(after, value, "%s keeps it", name);
	attempt_wrmsr(msr, before);
	return right;
}

static bool refuses(u32 msr, u64 value, const char *name)
{
	return step(attempt_wrmsr(msr, value), VECTOR_GP, "%s refuses %x", name, value) &&
	       step(caught.error, 0, "%s: error code", name);
}

static void check_misc_enable(void)
{
	u64 value;
	bool right;

	/* Bit 7: there is a PMU; writes do not change it. Bits 11, 12: no BTS, no PEBS; read only. */
	value = rdmsr(MSR_MISC_ENABLE);
	right = step(value >> 7 & 1, 1, "MISC_ENABLE: there is a PMU");
	right &= step(value >> 11 & 3, 3, "MISC_ENABLE: no BTS, no PEBS");
	right &= step(attempt_wrmsr(MSR_MISC_ENABLE, value & ~BIT_ULL(7)), NO_VECTOR,
		      "MISC_ENABLE without bit 7");
	right &= step(rdmsr(MSR_MISC_ENABLE), value, "which stays");
	right &= refuses(MSR_MISC_ENABLE, value ^ BIT_ULL(12), "MISC_ENABLE");
	expect_true(right, "MISC_ENABLE");
}

/* AMD's processors have none of them but the microcode's; KVM gives its guests two that Intel has. */
static void check_start_up_of_amd(void)
{
	u64 value;
	bool right = true;

	right &= step(attempt_rdmsr(MSR_FEATURE_CONTROL, &value), VECTOR_GP, "FEATURE_CONTROL");
	right &= step(attempt_rdmsr(MSR_UCODE_REV, &value), NO_VECTOR, "PATCH_LEVEL");
	right &= step((u32)value != 0, 1, "there is a revision");
	right &= step(attempt_rdmsr(MSR_PLATFORM_INFO, &value), under_kvm() ? NO_VECTOR : VECTOR_GP,
		      "PLATFORM_INFO");
	right &= step(attempt_rdmsr(MSR_MISC_ENABLE, &value), under_kvm() ? NO_VECTOR : VECTOR_GP,
		      "MISC_ENABLE");
	right &= step(attempt_rdmsr(MSR_TSC_ADJUST, &value), under_kvm() ? NO_VECTOR : VECTOR_GP,
		      "TSC_ADJUST");
	expect_true(right, "PATCH_LEVEL, and what KVM adds");
}

static void check_start_up(void)
{
	u64 value;
	bool right = true;

	right &= step(attempt_rdmsr(MSR_FEATURE_CONTROL, &value), NO_VECTOR, "FEATURE_CONTROL");
	right &= step(value & 1, 1, "it is locked");
	right &= step(attempt_rdmsr(MSR_UCODE_REV, &value), NO_VECTOR, "UCODE_REV");
	right &= step(value >> 32 != 0, 1, "there is a revision");
	right &= step(attempt_wrmsr(MSR_UCODE_REV, 0), NO_VECTOR, "UCODE_REV is written");
	right &= step(attempt_rdmsr(MSR_PLATFORM_INFO, &value), NO_VECTOR, "PLATFORM_INFO");
	expect_true(right, "FEATURE_CONTROL, UCODE_REV, PLATFORM_INFO");
	check_misc_enable();
}

static void check_speculation(void)
{
	u64 value;
	bool right;

	right = keeps(MSR_SPEC_CTRL, 1, "SPEC_CTRL");
	right &= refuses(MSR_SPEC_CTRL, 1ull << 63, "SPEC_CTRL");
	right &= step(attempt_wrmsr(MSR_PRED_CMD, 1), NO_VECTOR, "IBPB");
	right &= step(attempt_wrmsr(MSR_PRED_CMD, 0), NO_VECTOR, "no IBPB");
	right &= refuses(MSR_PRED_CMD, 1ull << 8, "PRED_CMD");
	right &= step(attempt_rdmsr(MSR_PRED_CMD, &value), VECTOR_GP, "PRED_CMD is for writing");
	expect_true(right, "SPEC_CTRL and PRED_CMD");
}

static void check_system_calls(void)
{
	bool right = true;

	right &= keeps(MSR_STAR, 0x0018000800000000, "STAR");
	right &= keeps(MSR_LSTAR, 0xffff800012345678, "LSTAR");
	right &= keeps(MSR_CSTAR, 0x12345678, "CSTAR");
	right &= keeps(MSR_SFMASK, 0x700, "SFMASK");
	right &= refuses(MSR_LSTAR, NON_CANONICAL, "LSTAR");
	right &= refuses(MSR_CSTAR, NON_CANONICAL, "CSTAR");
	right &= refuses(MSR_SFMASK, 1ull << 32, "SFMASK");
	expect_true(right, "STAR, LSTAR, CSTAR, SFMASK");
}

static void check_efer(void)
{
	u64 efer = rdmsr(MSR_EFER);
	bool right = step(efer & 0xd01, 0xd01, "EFER: SCE, LME, LMA, NXE");

	right &= refuses(MSR_EFER, efer | 1ull << 1, "EFER");
	right &= refuses(MSR_EFER, efer | 1ull << 63, "EFER");
	right &= refuses(MSR_EFER, efer & ~0x100ull, "EFER without LME in long mode");
	right &= keeps(MSR_EFER, efer & ~1ull, "EFER");
	right &= step(rdmsr(MSR_EFER), efer, "it is as before");
	expect_true(right, "EFER");
}

static u64 load_fs(u64 offset)
{
	u64 value;

	__asm__ volatile("movq %%fs:(%1), %0" : "=r"(value) : "r"(offset));
	return value;
}

static u64 load_gs(u64 offset)
{
	u64 value;

	__asm__ volatile("movq %%gs:(%1), %0" : "=r"(value) : "r"(offset));
	return value;
}

static void check_bases(void)
{
	static const u64 words[] = {10, 11, 12, 13};
	bool right = true;

	wrmsr(MSR_FS_BASE, (uintptr_t)words);
	wrmsr(MSR_GS_BASE, (uintptr_t)words + 8);
	wrmsr(MSR_KERNEL_GS_BASE, (uintptr_t)words + 16);
	right &= step(load_fs(0), 10, "FS");
	right &= step(load_fs(24), 13, "FS with an offset");
	right &= step(load_gs(0), 11, "GS");
	__asm__ volatile("swapgs" : : : "memory");
	right &= step(load_gs(0), 12, "GS behind SWAPGS");
	right &= step(rdmsr(MSR_KERNEL_GS_BASE), (uintptr_t)words + 8, "the one that is set aside");
	__asm__ volatile("swapgs" : : : "memory");
	right &= step(load_gs(8), 12, "GS again");
	right &= refuses(MSR_FS_BASE, NON_CANONICAL, "FS_BASE");
	right &= refuses(MSR_GS_BASE, NON_CANONICAL, "GS_BASE");
	right &= refuses(MSR_KERNEL_GS_BASE, NON_CANONICAL, "KERNEL_GS_BASE");
	expect_true(right, "bases of FS and GS, SWAPGS");
}

static void check_tsc_aux(void)
{
	bool right = true;
	u32 low, high, aux;

	right &= keeps(MSR_TSC_AUX, 0x12345678, "TSC_AUX");
	right &= refuses(MSR_TSC_AUX, 1ull << 32, "TSC_AUX");
	wrmsr(MSR_TSC_AUX, 0xabcdef);
	__asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux));
	right &= step(aux, 0xabcdef, "RDTSCP gives it");
	right &= step(rdmsr(MSR_TSC) > ((u64)high << 32 | low), 1, "the TSC as an MSR goes on");
	expect_true(right, "TSC and TSC_AUX");
}

/* Numbers of no register. Reserved for software, or far off, or behind a block that is there. */
static void check_unknown(void)
{
	static const u32 unknown[] = {0x02,	  0x7f,	      0x400000,	  0x4fffffff, 0xbfffffff,
				      0xc0000070, 0xc0001234, 0xc0020000, 0xffffffff};
	bool right = true;
	u64 value;

	for (u32 i = 0; i < ARRAY_SIZE(unknown); i++) {
		right &= step(attempt_rdmsr(unknown[i], &value), VECTOR_GP, "read of MSR %x",
			      (u64)unknown[i]);
		right &= step(caught.error, 0, "its error code");
		right &= step(attempt_wrmsr(unknown[i], 0), VECTOR_GP, "write of MSR %x",
			      (u64)unknown[i]);
	}
	expect_true(right, "an MSR that is not there is #GP(0)");
}

/* IBPB forgets branch predictions: a loop that had been learned misses as at first. */
static void check_ibpb(void)
{
	u64 misses[3];

	pmu_init();
	for (u32 i = 0; i < 3; i++) {
		set_counter(0, arch_events[EVENT_BRANCH_MISSES].encoding | SEL_OS);
		write_counter(0, 0);
		/*
		 * Without IBPB between, the counter of JNZ stands at "weakly taken" after the last
		 * one fell through, so that only the last one misses. @i decides; the code is one.
		 */
		wrmsr(MSR_PRED_CMD, i != 1);
		count_stretch(stretch_of(1), "1: decq %%rsi\n jnz 1b\n", 10, 0);
		misses[i] = read_counter(0);
	}
	expect(misses[0], 2, "a loop of 10 misses at both ends");
	expect(misses[1], 1, "once learned, at one");
	expect(misses[2], 2, "IBPB makes it forget");
}

void image_main(void)
{
	if (is_amd())
		check_start_up_of_amd();
	else
		check_start_up();
	check_speculation();
	check_system_calls();
	check_efer();
	check_bases();
	check_tsc_aux();
	check_unknown();
	check_ibpb();
}
