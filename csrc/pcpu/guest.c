// SPDX-License-Identifier: Apache-2.0
/*
 * guest.c - direct accesses of a guest, done, told to the truth and booked; its interrupts.
 *
 * Interface: guest.h. The bare machine and KVM's vCPU both come here.
 *
 * TSC: a write of IA32_TSC moves it and IA32_TSC_ADJUST by the same amount, a write of
 * IA32_TSC_ADJUST moves the TSC by its change. The APIC timer's TSC deadline follows.
 *
 * CPUID follows the vendor's rule for leaves that are not there, as KVM does for its guests. The APIC's
 * TSC deadline and IA32_TSC_ADJUST are there if CPUID says so.
 *
 * Not modelled: TSC scaling.
 */
#include "pcpu/guest.h"

#include "base/fault.h"

#include <string.h>

#define NMI_VECTOR 2

#define CPUID_EXTENDED 0x80000000u
#define CPUID_HYPERVISOR 0x40000000u
#define CPUID_TOPOLOGY 0xbu
#define CPUID_AMD_TOPOLOGY 0x8000001eu
#define CPUID_1_ECX_TSC_DEADLINE BIT_ULL(24)
#define CPUID_7_EBX_TSC_ADJUST BIT_ULL(1)

static const struct pp_cpuid *find_leaf(const struct pp_config *config, u32 leaf, u32 subleaf)
{
	for (u32 i = 0; i < config->nr_cpuid; i++) {
		const struct pp_cpuid *e = &config->cpuid[i];

		if (e->leaf == leaf && (e->any_subleaf || e->subleaf == subleaf))
			return e;
	}
	return NULL;
}

static bool has_feature(const struct pp_config *config, u32 leaf, unsigned int reg, u64 bit)
{
	const struct pp_cpuid *e = find_leaf(config, leaf, 0);

	return e && e->regs[reg] & bit;
}

void pcpu_guest_init(struct pcpu_guest *g, struct pcpu *pcpu, struct lapic *lapic,
		     const struct pp_config *config, const struct misc_kind *misc, bool has_pmu)
{
	g->pcpu = pcpu;
	g->lapic = lapic;
	g->config = config;
	g->pmi_vector = -1;
	g->has_tsc_adjust = has_feature(config, 7, 1, CPUID_7_EBX_TSC_ADJUST);
	lapic->has_tsc_deadline = has_feature(config, 1, 2, CPUID_1_ECX_TSC_DEADLINE);
	lapic->masks_lvtpc = pmu_vendor(&config->hw)->masks_lvtpc;
	misc_msrs_init(&g->misc, misc, has_pmu);
	pcpu_guest_connect(g);
}

u64 pcpu_guest_now(const struct pcpu_guest *g)
{
	return max_u64(g->left_at, pcpu_tsc(g->pcpu));
}

static u64 truth_tsc(const void *guest)
{
	return pcpu_guest_now(guest);
}

void pcpu_guest_connect(struct pcpu_guest *g)
{
	struct truth *t = &g->truth;

	g->thresholds.clk = &g->pcpu->clk;
	g->thresholds.side[THRESHOLD_GUEST] = cpu_totals(g->cpu);
	g->thresholds.side[THRESHOLD_HOST] = &g->pcpu->account.host;
	t->events = g->pcpu->events;
	t->clk = &g->pcpu->clk;
	t->totals = (struct truth_totals){
		.retired = cpu_totals(g->cpu),
		.skipped_instructions = cpu_skipped(g->cpu)->instructions,
		.skipped_branches = cpu_skipped(g->cpu)->branches,
		.thresholds = &g->thresholds,
	};
	t->tsc = truth_tsc;
	t->tsc_ctx = g;
	t->lvtpc = &g->lapic->regs[APIC_LVTPC >> 4];
}

void pcpu_guest_reset(struct pcpu_guest *g)
{
	u32 regs[4];

	pcpu_guest_cpuid(g, 1, 0, regs);
	cpu_init_reset(g->cpu, regs[0]);
}

void pcpu_guest_change_pcpu(struct pcpu_guest *g, struct pcpu *pcpu)
{
	g->left_at = pcpu_guest_now(g);
	g->pcpu = pcpu;
	pcpu_guest_connect(g);
	thresholds_resume(&g->thresholds);
}

void pcpu_guest_enter(struct pcpu_guest *g, struct pcpu *pcpu)
{
	g->pcpu = pcpu;
	pcpu_switch(pcpu, g->cpu, pcpu_guest_truth(g), &g->thresholds);
}

void pcpu_guest_leave(struct pcpu_guest *g)
{
	pcpu_switch(g->pcpu, NULL, NULL, NULL);
}

void pcpu_guest_restore(struct pcpu_guest *g, const struct pcpu_guest *from)
{
	u64 debugctl_valid = g->misc.debugctl_valid;

	g->misc = from->misc;
	g->misc.debugctl = 0;
	g->misc.debugctl_valid = debugctl_valid;
	g->left_at = from->left_at;
	g->tsc_offset = from->tsc_offset;
	g->tsc_adjust = from->tsc_adjust;
	g->pmi_is_nmi = from->pmi_is_nmi;
	g->pmi_vector = from->pmi_vector;
	g->access = from->access;
}

void pcpu_guest_moved(struct pcpu_guest *g, const struct move *move)
{
	g->pcpu = moved(move, g->pcpu);
	g->lapic = moved(move, g->lapic);
	g->config = moved(move, g->config);
}

u64 pcpu_guest_tsc(const struct pcpu_guest *g)
{
	return pcpu_guest_now(g) + g->tsc_offset;
}

static void move_tsc(struct pcpu_guest *g, u64 by)
{
	g->tsc_offset += by;
	lapic_tsc_adjusted(g->lapic, g->tsc_offset);
}

static void adjust_tsc(struct pcpu_guest *g, u64 by)
{
	g->tsc_adjust += by;
	move_tsc(g, by);
}

/* ---- the physical PMU ---- */

static int read_pmu(struct pcpu_guest *g, const struct pmu_register *reg, u64 *value)
{
	struct pcpu *p = g->pcpu;
	int fault;

	pcpu_guest_accesses_pmu(p);
	fault = hwpmu_read(&p->pmu, reg, value);
	if (!fault && reg->kind == PMU_COUNTER)
		truth_counter_read(&g->truth, reg->idx, *value);
	access_direct(&g->access, pmu_register_access_kind(&p->pmu.caps, reg, false),
		      g->config->timing.msr >> SUB_SHIFT);
	return fault;
}

static int write_pmu(struct pcpu_guest *g, const struct pmu_register *reg, u64 value)
{
	bool counter = reg->kind == PMU_COUNTER;
	struct pcpu *p = g->pcpu;
	u64 before;
	int fault;

	pcpu_guest_accesses_pmu(p);
	before = counter ? hwpmu_counter(&p->pmu, reg->idx) : 0;
	fault = hwpmu_write(&p->pmu, reg, value);
	access_direct(&g->access, pmu_register_access_kind(&p->pmu.caps, reg, true),
		      g->config->timing.msr >> SUB_SHIFT);
	pcpu_trace(p, TRACE_KVM_MSR, fault ? 2 : 1, reg->msr, value, 1);
	if (fault)
		return -1;
	cpu_horizon_changed(g->cpu);
	if (counter)
		truth_counter_written(&g->truth, reg->idx, before,
				      hwpmu_counter(&p->pmu, reg->idx));
	else
		truth_control_written(&g->truth, reg->msr, hwpmu_kept(&p->pmu, reg, value));
	return 0;
}

int pcpu_guest_rdpmc(struct pcpu_guest *g, u32 ecx, u64 *value)
{
	struct pcpu *p = g->pcpu;
	int idx = p->pmu.vendor->rdpmc_of(&p->pmu.caps, ecx);

	pcpu_guest_accesses_pmu(p);
	access_direct(&g->access, ACCESS_RDPMC, g->config->timing.rdpmc >> SUB_SHIFT);
	if (hwpmu_rdpmc(&p->pmu, ecx, value))
		return -1;
	truth_counter_read(&g->truth, (unsigned int)idx, *value);
	return 0;
}

/* ---- MSRs ---- */

int pcpu_guest_rdmsr_plain(struct pcpu_guest *g, u32 msr, u64 *value)
{
	switch (msr) {
	case MSR_IA32_TSC: *value = pcpu_guest_tsc(g); return 0;
	case MSR_IA32_TSC_ADJUST: *value = g->tsc_adjust; return g->has_tsc_adjust ? 0 : -1;
	default: break;
	}
	if (!cpu_rdmsr(g->cpu, msr, value))
		return 0;
	return misc_rdmsr(&g->misc, msr, value);
}

int pcpu_guest_wrmsr_plain(struct pcpu_guest *g, u32 msr, u64 value)
{
	bool forget = false;
	int fault;

	switch (msr) {
	case MSR_IA32_TSC: adjust_tsc(g, value - pcpu_guest_tsc(g)); return 0;
	case MSR_IA32_TSC_ADJUST:
		if (!g->has_tsc_adjust)
			return -1;
		adjust_tsc(g, value - g->tsc_adjust);
		return 0;
	default: break;
	}
	if (cpu_owns_msr(msr))
		return cpu_wrmsr(g->cpu, msr, value);
	fault = misc_wrmsr(&g->misc, msr, value, &forget);
	if (forget)
		cpu_forget_branches(g->cpu);
	return fault;
}

int pcpu_guest_restore_plain(struct pcpu_guest *g, u32 msr, u64 value)
{
	switch (msr) {
	case MSR_IA32_TSC: move_tsc(g, value - pcpu_guest_tsc(g)); return 0;
	case MSR_IA32_TSC_ADJUST:
		if (g->has_tsc_adjust)
			g->tsc_adjust = value;
		return 0;
	default: break;
	}
	if (!misc_restore_msr(&g->misc, msr, value))
		return 0;
	return pcpu_guest_wrmsr_plain(g, msr, value);
}

int pcpu_guest_rdmsr(struct pcpu_guest *g, u32 msr, u64 *value)
{
	struct pmu_register reg = hwpmu_find(&g->pcpu->pmu, msr);

	if (reg.kind != PMU_NO_REGISTER)
		return read_pmu(g, &reg, value);
	if (lapic_owns_msr(msr))
		return lapic_rdmsr(g->lapic, msr, value);
	return pcpu_guest_rdmsr_plain(g, msr, value);
}

int pcpu_guest_wrmsr(struct pcpu_guest *g, u32 msr, u64 value)
{
	struct pmu_register reg = hwpmu_find(&g->pcpu->pmu, msr);

	if (reg.kind != PMU_NO_REGISTER)
		return write_pmu(g, &reg, value);
	if (lapic_owns_msr(msr))
		return lapic_wrmsr(g->lapic, msr, value);
	return pcpu_guest_wrmsr_plain(g, msr, value);
}

/* ---- CPUID ---- */

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

/* The configured leaves are those of the CPU with APIC ID 0. */
static void name_cpu(u32 id, u32 leaf, u32 regs[4])
{
	switch (leaf) {
	case 1: regs[1] |= id << 24; break;
	case CPUID_TOPOLOGY: regs[3] |= id; break;
	case CPUID_AMD_TOPOLOGY:
		regs[0] |= id;
		regs[1] |= id;
		break;
	default: break;
	}
}

void pcpu_guest_cpuid(const struct pcpu_guest *g, u32 leaf, u32 subleaf, u32 regs[4])
{
	const struct pp_cpuid *e = find_leaf(g->config, leaf, subleaf), *topology;
	const struct pp_cpuid *basic = find_leaf(g->config, 0, 0);

	regs[0] = regs[1] = regs[2] = regs[3] = 0;
	if (!e && basic && pmu_vendor(&g->config->hw)->repeats_last_leaf &&
	    is_behind_last(g->config, leaf))
		e = find_leaf(g->config, basic->regs[0], subleaf);
	if (e) {
		for (unsigned int r = 0; r < 4; r++)
			regs[r] = e->regs[r];
		name_cpu(g->lapic->id, leaf, regs);
		regs[0] += FAULTY(CPUID_A_COUNTER_MORE) && leaf == 0xa ? 0x100 : 0;
		regs[0] &= FAULTY(CPUID_NO_PERFMON_V2) && leaf == 0x80000022 ? ~1u : ~0u;
		return;
	}
	/* A level of topology that is not there tells its number and, as all do, the x2APIC ID. */
	topology = leaf == CPUID_TOPOLOGY ? find_leaf(g->config, leaf, 1) : NULL;
	if (topology) {
		regs[2] = subleaf & 0xff;
		regs[3] = topology->regs[3];
		name_cpu(g->lapic->id, leaf, regs);
	}
}

/* ---- interrupts ---- */

enum lapic_delivery pcpu_guest_deliver_pmi(struct pcpu_guest *g)
{
	u32 lvtpc = lapic_reg(g->lapic, APIC_LVTPC);
	enum lapic_delivery how = lapic_deliver_lvtpc(g->lapic);

	if (how == LAPIC_NMI)
		g->pmi_is_nmi = true;
	else if (how == LAPIC_FIXED)
		g->pmi_vector = (int)(lvtpc & 0xff);
	else if (how == LAPIC_IGNORED)
		truth_pmi_dropped(&g->truth);
	return how;
}

void pcpu_guest_inject_nmi(struct pcpu_guest *g)
{
	g->lapic->nmi_pending = false;
	cpu_inject(g->cpu, CPU_EVENT_NMI, NMI_VECTOR, -1);
	if (!g->pmi_is_nmi)
		return;
	g->pmi_is_nmi = false;
	truth_pmi_delivered(&g->truth);
}

void pcpu_guest_inject_irq(struct pcpu_guest *g, u8 vector)
{
	lapic_accept(g->lapic, vector);
	cpu_inject(g->cpu, CPU_EVENT_IRQ, vector, -1);
	if (vector != g->pmi_vector)
		return;
	g->pmi_vector = -1;
	truth_pmi_delivered(&g->truth);
}
