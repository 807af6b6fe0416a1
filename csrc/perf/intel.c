// SPDX-License-Identifier: Apache-2.0
/*
 * intel.c - host perf's driver of Intel's core PMU.
 *
 * Stands for arch/x86/events/intel/core.c. Interface: intel_pmu of perf_private.h, and
 * perf_guest_get_msrs(): which counters run on which side of a VM-entry.
 *
 * PEBS: precise events run in the guest for the guest alone, if the host has none of its own and the
 * guest's counters are where the guest thinks. Otherwise they stand still there (perf_guest_get_pebs()).
 * LBR: its users are known, so that a guest's and the host's exclude each other (x86.c).
 *
 * Not modelled: PEBS records and their reload of counters, PEBS aliases of cycles:p, branch records,
 * performance metrics. An overflow of a precise event comes as its counter's own, where silicon tells of
 * the buffer.
 */
#include "perf/perf_event.h"

#include "base/fault.h"
#include "perf/perf_private.h"

#include <errno.h>

static struct account *books(struct perf_cpu *perf)
{
	return &perf->pcpu->account;
}

static u64 intel_max_period(const struct perf_cpu *perf)
{
	/* Without full-width writes only 31 bits can be given. */
	if (!perf->pcpu->pmu.caps.fw_write)
		return GENMASK_ULL(30, 0);
	return perf->pcpu->pmu.gp_value_mask >> 1;
}

/* Precise distribution: what perf does for :ppp, from Ice Lake on. */
static u64 precise_counters(const struct perf_cpu *perf, const struct perf_event_attr *attr,
			    u64 counters)
{
	const struct pp_pmu *caps = &perf->pcpu->pmu.caps;

	if (attr->precise_ip < 3 || !caps->pebs_ept)
		return counters;
	if (counters & BIT_ULL(INTEL_PMC_IDX_FIXED))
		return BIT_ULL(INTEL_PMC_IDX_FIXED);
	return caps->pdist ? counters & BIT_ULL(0) : counters;
}

static u64 intel_get_event_constraints(const struct perf_cpu *perf,
				       const struct perf_event_attr *attr)
{
	u64 config = attr->config;
	const struct event_map_entry *e = event_map_find(perf->pcpu->events, config);
	const struct hwpmu *pmu = &perf->pcpu->pmu;
	u64 gp = pmu_counter_mask(pmu->caps.nr_gp, 0);

	if (config == INTEL_FIXED_VLBR_EVENT && attr->branch_stack)
		return BIT_ULL(INTEL_PMC_IDX_FIXED_VLBR);
	if (config & HSW_IN_TX_CHECKPOINTED)
		return gp & BIT_ULL(HSW_IN_TXCP_COUNTER);
	/* An encoding without a constraint of its own may use any GP counter. */
	if (!e)
		return precise_counters(perf, attr, gp);
	/* Fixed counters have no threshold, no edge, no inversion and no transactions. */
	if (!FAULTY(PERF_THRESHOLD_ON_FIXED) &&
	    config & (ARCH_PERFMON_EVENTSEL_EDGE | ARCH_PERFMON_EVENTSEL_INV |
		      ARCH_PERFMON_EVENTSEL_CMASK | HSW_IN_TX))
		return e->counters & gp ? e->counters & gp : gp;
	return precise_counters(perf, attr,
				e->counters & pmu->counter_mask &
					(FAULTY(PERF_NO_FIXED_COUNTERS) ? gp : ~0ull));
}

/* A checkpointed counter that overflows in a transaction aborts it, and then counts to there again. */
#define HSW_LEAST_CHECKPOINTED_PERIOD 0x7fffffffull

/*
 * hsw_hw_config(): events of transactions are not precise, and checkpointed ones hardly sample. When an event
 * is opened, that is: perf_event_period() does not look.
 */
static int intel_pmu_hw_config(const struct perf_cpu *perf, const struct perf_event_attr *attr)
{
	u64 transactions = attr->config & (HSW_IN_TX | HSW_IN_TX_CHECKPOINTED);

	if (!perf->pcpu->pmu.caps.rtm || !transactions)
		return 0;
	if (attr->precise_ip)
		return -EOPNOTSUPP;
	if (transactions & HSW_IN_TX_CHECKPOINTED && attr->sample_period &&
	    attr->sample_period < HSW_LEAST_CHECKPOINTED_PERIOD)
		return -EOPNOTSUPP;
	return 0;
}

static u64 fixed_field_of(const struct perf_event *event)
{
	u64 field = INTEL_FIXED_0_ENABLE_PMI;

	if (!event->attr.exclude_user)
		field |= INTEL_FIXED_0_USER;
	if (!event->attr.exclude_kernel)
		field |= INTEL_FIXED_0_KERNEL;
	return field;
}

static void set_fixed_field(struct perf_cpu *perf, int idx, u64 field)
{
	int shift = INTEL_FIXED_BITS_STRIDE * (idx - INTEL_PMC_IDX_FIXED);

	perf->fixed_ctrl_val &= ~(INTEL_FIXED_BITS_MASK << shift);
	perf->fixed_ctrl_val |= field << shift;
}

static void intel_pmu_enable_event(struct perf_cpu *perf, struct perf_event *event)
{
	int idx = event->hw.idx;

	if (is_vlbr(event))
		return;
	if (event->attr.precise_ip)
		perf->pebs_enabled |= BIT_ULL(idx);
	if (event->attr.exclude_host)
		perf->intel_ctrl_guest_mask |= BIT_ULL(idx);
	if (event->attr.exclude_guest)
		perf->intel_ctrl_host_mask |= BIT_ULL(idx);
	if (idx >= INTEL_PMC_IDX_FIXED)
		set_fixed_field(perf, idx, fixed_field_of(event));
	else
		x86_wrmsr(perf, (u32)(MSR_IA32_PERFEVTSEL0 + idx), x86_eventsel(event));
}

static void intel_pmu_disable_event(struct perf_cpu *perf, struct perf_event *event)
{
	int idx = event->hw.idx;

	if (is_vlbr(event))
		return;
	perf->pebs_enabled &= ~BIT_ULL(idx);
	if (idx >= INTEL_PMC_IDX_FIXED)
		set_fixed_field(perf, idx, 0);
	else
		x86_wrmsr(perf, (u32)(MSR_IA32_PERFEVTSEL0 + idx),
			  x86_eventsel(event) & ~ARCH_PERFMON_EVENTSEL_ENABLE);
	perf->intel_ctrl_guest_mask &= ~BIT_ULL(idx);
	perf->intel_ctrl_host_mask &= ~BIT_ULL(idx);
}

/* PEBS_ENABLE goes off and on with the PMU. The register itself is not modelled. */
static void write_pebs_enable(struct perf_cpu *perf)
{
	if (unlikely(perf->pebs_enabled))
		account_charge(books(perf), COST_WRMSR);
}

static void intel_pmu_disable_all(struct perf_cpu *perf)
{
	x86_wrmsr(perf, MSR_CORE_PERF_GLOBAL_CTRL, 0);
	write_pebs_enable(perf);
}

static void intel_pmu_enable_all(struct perf_cpu *perf)
{
	write_pebs_enable(perf);
	/* The fixed counters' control is written once, and only when it changed. */
	if (perf->fixed_ctrl_val != perf->active_fixed_ctrl_val) {
		x86_wrmsr(perf, MSR_CORE_PERF_FIXED_CTR_CTRL, perf->fixed_ctrl_val);
		perf->active_fixed_ctrl_val = perf->fixed_ctrl_val;
	}
	x86_wrmsr(perf, MSR_CORE_PERF_GLOBAL_CTRL, perf_host_global_ctrl(perf));
}

static void intel_pmu_handle_irq(struct perf_cpu *perf)
{
	unsigned int loops = 0, idx;
	u64 status;

	perf_pmu_disable(perf);
	while ((status = x86_rdmsr(perf, MSR_CORE_PERF_GLOBAL_STATUS)) && loops++ < 100) {
		x86_wrmsr(perf, MSR_CORE_PERF_GLOBAL_OVF_CTRL, status);
		for_each_set_bit(idx, status) {
			struct perf_event *event = perf->on_counter[idx];

			if (!event)
				continue;
			x86_perf_event_update(perf, event);
			x86_pmu_period_over(perf, event);
		}
	}
	perf_pmu_enable(perf);
	account_charge(books(perf), COST_LVTPC_WRITE);
	lapic_mmio_write(&perf->pcpu->lapic, APIC_LVTPC, APIC_DM_NMI);
}

void perf_guest_get_msrs(struct perf_cpu *perf, u64 *host, u64 *guest)
{
	account_charge(books(perf), COST_GUEST_GET_MSRS);
	*host = perf_host_global_ctrl(perf);
	*guest = perf->intel_ctrl &
		 ~(FAULTY(PERF_HOST_EVENTS_COUNT_GUEST) ? 0 : perf->intel_ctrl_host_mask);
}

void perf_guest_get_pebs(const struct perf_cpu *perf, u64 enable, u64 cross_mapped,
			 struct perf_guest_pebs *pebs)
{
	u64 mask = perf->pebs_enabled;

	pebs->host = mask & ~perf->intel_ctrl_guest_mask;
	pebs->guest = mask & ~perf->intel_ctrl_host_mask;
	/* One buffer at a time: the host's PEBS goes first, and then nobody asks for the mapping. */
	if (pebs->host && !FAULTY(PEBS_BESIDE_THE_HOSTS)) {
		cross_mapped = 0;
		pebs->guest = 0;
	}
	/* A record would name the physical counter. */
	if (FAULTY(PEBS_ON_CROSS_MAPPED))
		cross_mapped = 0;
	else
		pebs->guest &= enable & ~cross_mapped;
	pebs->stopped = (mask | cross_mapped) & ~pebs->guest;
}

const struct x86_pmu intel_pmu = {
	.max_period = intel_max_period,
	.get_event_constraints = intel_get_event_constraints,
	.hw_config = intel_pmu_hw_config,
	.enable = intel_pmu_enable_event,
	.disable = intel_pmu_disable_event,
	.enable_all = intel_pmu_enable_all,
	.disable_all = intel_pmu_disable_all,
	.handle_irq = intel_pmu_handle_irq,
	.irq_cost = COST_HANDLE_IRQ,
};
