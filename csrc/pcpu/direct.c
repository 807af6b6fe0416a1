// SPDX-License-Identifier: Apache-2.0
/*
 * direct.c - guest accesses to the physical PMU: done, told to the truth, booked.
 *
 * Interface: direct.h. The bare machine and the mediated vPMU both come here.
 */
#include "pcpu/direct.h"

int pcpu_direct_rdmsr(struct pcpu *p, struct access_books *books, u32 msr, u64 *value, u64 cycles)
{
	enum counter_alias alias;
	int idx = pmu_msr_to_counter(&p->pmu.caps, msr, &alias);
	int fault = hwpmu_rdmsr(&p->pmu, msr, value);

	if (!fault && idx >= 0)
		truth_counter_read(&p->truth, (unsigned int)idx, *value);
	access_direct(books, pmu_access_kind(&p->pmu.caps, msr, false), cycles);
	return fault;
}

int pcpu_direct_wrmsr(struct pcpu *p, struct access_books *books, u32 msr, u64 value, u64 cycles)
{
	enum counter_alias alias;
	int idx = pmu_msr_to_counter(&p->pmu.caps, msr, &alias);
	u64 before = idx >= 0 ? hwpmu_counter(&p->pmu, (unsigned int)idx) : 0;
	int fault = hwpmu_wrmsr(&p->pmu, msr, value);

	access_direct(books, pmu_access_kind(&p->pmu.caps, msr, true), cycles);
	pcpu_trace(p, TRACE_KVM_MSR, fault ? 2 : 1, msr, value, 1);
	if (fault)
		return -1;
	cpu_horizon_changed(p->cpu);
	if (idx >= 0)
		truth_counter_written(&p->truth, (unsigned int)idx, before,
				      hwpmu_counter(&p->pmu, (unsigned int)idx));
	else
		truth_control_written(&p->truth, msr, value);
	return 0;
}

int pcpu_direct_rdpmc(struct pcpu *p, struct access_books *books, u32 ecx, u64 *value, u64 cycles)
{
	int idx = rdpmc_ecx_to_idx(ecx, p->pmu.caps.nr_gp, p->pmu.caps.nr_fixed);

	access_direct(books, ACCESS_RDPMC, cycles);
	if (hwpmu_rdpmc(&p->pmu, ecx, value))
		return -1;
	truth_counter_read(&p->truth, (unsigned int)idx, *value);
	return 0;
}

void pcpu_cpuid(const struct pp_config *config, u32 leaf, u32 subleaf, u32 regs[4])
{
	regs[0] = regs[1] = regs[2] = regs[3] = 0;
	for (u32 i = 0; i < config->nr_cpuid; i++) {
		const struct pp_cpuid *e = &config->cpuid[i];

		if (e->leaf != leaf || (!e->any_subleaf && e->subleaf != subleaf))
			continue;
		for (unsigned int r = 0; r < 4; r++)
			regs[r] = e->regs[r];
		return;
	}
}
