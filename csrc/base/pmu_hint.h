/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pmu_hint.h - what a guest tells KVM of the counters that it uses: pmupass' own proposal, which neither
 * Linux nor KVM has. For guests, too.
 *
 * It is offered by the CPUID leaf PMU_HINT_CPUID, whose EBX, ECX and EDX say "pmupass hint". A vCPU's
 * MSR_PMUPASS_PMU_HINT is 0, no hint, or PMU_HINT_VALID and a mask as in GLOBAL_CTRL: the counters that the
 * guest uses or is about to. Other bits are reserved, #GP.
 *
 * It decides what is moved and what exits, never what a register holds. Best for a counter that is not named
 * is to be off and to hold 0.
 */
#ifndef BASE_PMU_HINT_H_
#define BASE_PMU_HINT_H_

#define PMU_HINT_CPUID 0x40000100u
#define PMU_HINT_EBX 0x70756d70u	 /* "pmup" */
#define PMU_HINT_ECX 0x20737361u	 /* "ass " */
#define PMU_HINT_EDX 0x746e6968u	 /* "hint" */
#define MSR_PMUPASS_PMU_HINT 0x70700000u /* in no bitmap of VMX or SVM: it always exits */
#define PMU_HINT_VALID BIT_ULL(63)

#endif /* BASE_PMU_HINT_H_ */
