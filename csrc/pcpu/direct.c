// SPDX-License-Identifier: Apache-2.0
/*
 * direct.c - guest accesses to the physical PMU: done, told to the truth, booked.
 *
 * Interface: direct.h. The bare machine and the mediated vPMU both come here.
 *
 * CPUID follows Intel's rule for leaves that are not there, which KVM follows for Intel guests.
 *
 * Not modelled: AMD's rule (zeros).
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

#define CPUID_EXTENDED 0x80000000u
#define CPUID_HYPERVISOR 0x40000000u
#define CPUID_TOPOLOGY 0xbu

static const struct pp_cpuid *find_leaf(const struct pp_config *config, u32 leaf, u32 subleaf)
{
	for (u32 i = 0; i < config->nr_cpuid; i++) {
		const struct pp_cpuid *e = &config->cpuid[i];

		if (e->leaf == leaf && (e->any_subleaf || e->subleaf == subleaf))
			return e;
	}
	return NULL;
}

/* EAX of the first leaf of a range is the last leaf of it; a range without a first one is empty. */
static bool is_behind_last(const struct pp_config *config, u32 leaf)
{
	u32 first = leaf & CPUID_EXTENDED;
	const struct pp_cpuid *e;

	if (leaf >> 28 == CPUID_HYPERVISOR >> 28)
		first = leaf & ~0xffu;
	e = find_leaf(config, first, 0);
	return !e || leaf > e->regs[0];
}

void pcpu_cpuid(const struct pp_config *config, u32 leaf, u32 subleaf, u32 regs[4])
{
	const struct pp_cpuid *e = find_leaf(config, leaf, subleaf), *topology;
	const struct pp_cpuid *basic = find_leaf(config, 0, 0);

	regs[0] = regs[1] = regs[2] = regs[3] = 0;
	if (!e && basic && is_behind_last(config, leaf))
		e = find_leaf(config, basic->regs[0], subleaf);
	if (e) {
		for (unsigned int r = 0; r < 4; r++)
			regs[r] = e->regs[r];
		return;
	}
	/* A level of topology that is not there tells its number and, as all do, the x2APIC ID. */
	topology = leaf == CPUID_TOPOLOGY ? find_leaf(config, leaf, 1) : NULL;
	if (topology) {
		regs[2] = subleaf & 0xff;
		regs[3] = topology->regs[3];
	}
}
