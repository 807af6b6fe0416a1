/* SPDX-License-Identifier: Apache-2.0 */
/*
 * direct.h - guest accesses to the physical PMU without an exit, and CPUID.
 *
 * Each returns 0, or -1 for #GP(0), and books the access with @cycles of the guest's own time.
 */
#ifndef PCPU_DIRECT_H_
#define PCPU_DIRECT_H_

#include "pcpu/pcpu.h"
#include "pmu/access.h"

int pcpu_direct_rdmsr(struct pcpu *p, struct access_books *books, u32 msr, u64 *value, u64 cycles);
int pcpu_direct_wrmsr(struct pcpu *p, struct access_books *books, u32 msr, u64 value, u64 cycles);
int pcpu_direct_rdpmc(struct pcpu *p, struct access_books *books, u32 ecx, u64 *value, u64 cycles);

/*
 * The configured leaf. One that is behind the last of its range (basic, extended, hypervisor) is the
 * last basic leaf; any other that is not configured is all zero. regs: EAX, EBX, ECX, EDX.
 */
void pcpu_cpuid(const struct pp_config *config, u32 leaf, u32 subleaf, u32 regs[4]);

#endif /* PCPU_DIRECT_H_ */
