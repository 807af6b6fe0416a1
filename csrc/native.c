// SPDX-License-Identifier: Apache-2.0
/*
 * native.c - the bare machine's run loop and direct accesses.
 *
 * Interface: native_run(); native_cpu_ops.
 *
 * Not modelled: firmware, SMM, power states deeper than HLT.
 */
#include "native.h"

#include <string.h>

static void native_lapic_changed(void *ctx)
{
	struct native *n = ctx;

	cpu_horizon_changed(n->guest.cpu);
	cpu_request_stop(n->guest.cpu);
}

static u64 native_now(void *ctx)
{
	struct native *n = ctx;

	return pcpu_tsc(n->pcpu);
}

static void native_init_signal(void *ctx)
{
	struct native *n = ctx;

	pcpu_guest_reset(&n->guest);
}

static void native_sipi(void *ctx, u8 vector)
{
	struct native *n = ctx;

	cpu_start_at_vector(n->guest.cpu, vector);
}

static const struct lapic_ops native_lapic_ops = {
	.now = native_now,
	.changed = native_lapic_changed,
	.init = native_init_signal,
	.sipi = native_sipi,
};

/* The TSC at which the local APIC wants to do something. */
static u64 apic_deadline(const struct native *n)
{
	const struct lapic *lapic = &n->pcpu->lapic;

	return min_u64(lapic_deadline(lapic), lapic_inbox_deadline(lapic));
}

static const struct misc_kind *const silicon[] = {
	[PP_VENDOR_INTEL] = &misc_intel,
	[PP_VENDOR_AMD] = &misc_amd,
};

void native_init(struct native *n, struct pcpu *pcpu, u32 id, struct ports *ports,
		 const struct pp_config *config)
{
	n->pcpu = pcpu;
	n->ports = ports;
	lapic_init(&pcpu->lapic, id, &native_lapic_ops, n);
	pcpu_guest_init(&n->guest, pcpu, &pcpu->lapic, config, silicon[config->hw.vendor],
			config->hw.version);
	pcpu_guest_enter(&n->guest, pcpu);
}

void native_moved(struct native *n, const struct move *move)
{
	n->pcpu = moved(move, n->pcpu);
	n->ports = moved(move, n->ports);
	pcpu_guest_moved(&n->guest, move);
}

static bool event_due(struct native *n)
{
	u64 tsc = pcpu_tsc(n->pcpu), sub = pcpu_sub(n->pcpu);

	return sub >= n->pcpu->pmi_at || tsc >= apic_deadline(n) ||
	       pcpu_must_stop(n->pcpu, tsc, sub);
}

/* ---- what the guest CPU asks ---- */

static void native_horizon(void *ctx, enum privilege priv, struct cpu_room *room)
{
	struct native *n = ctx;

	pcpu_room(n->pcpu, priv, room);
	pcpu_room_deadline(n->pcpu, apic_deadline(n), room);
}

static bool native_land(void *ctx)
{
	struct native *n = ctx;

	hwpmu_land(&n->pcpu->pmu);
	truth_land(&n->guest.truth);
	return event_due(n);
}

static int native_rdmsr(void *ctx, u32 msr, u64 *value)
{
	struct native *n = ctx;

	return pcpu_guest_rdmsr(&n->guest, msr, value);
}

static int native_wrmsr(void *ctx, u32 msr, u64 value)
{
	struct native *n = ctx;

	return pcpu_guest_wrmsr(&n->guest, msr, value);
}

static int native_rdpmc(void *ctx, u32 ecx, u64 *value)
{
	struct native *n = ctx;

	return pcpu_guest_rdpmc(&n->guest, ecx, value);
}

static u64 native_rdtsc(void *ctx)
{
	struct native *n = ctx;

	return pcpu_guest_tsc(&n->guest);
}

static void native_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 regs[4])
{
	struct native *n = ctx;

	pcpu_guest_cpuid(&n->guest, leaf, subleaf, regs);
}

static u32 native_in(void *ctx, u16 port, unsigned int size)
{
	struct native *n = ctx;

	return ports_in(n->ports, port, size);
}

static void native_out(void *ctx, u16 port, unsigned int size, u32 value)
{
	struct native *n = ctx;

	ports_out(n->ports, port, size, value);
	if (n->ports->exited)
		cpu_request_stop(n->guest.cpu);
}

static u64 native_mmio_read(void *ctx, u64 pa, unsigned int size)
{
	struct native *n = ctx;

	(void)size;
	if (!lapic_owns_page(&n->pcpu->lapic, pa))
		return ~0ull;
	return lapic_mmio_read(&n->pcpu->lapic, (u32)(pa & 0xfff));
}

static void native_mmio_write(void *ctx, u64 pa, unsigned int size, u64 value)
{
	struct native *n = ctx;

	(void)size;
	if (lapic_owns_page(&n->pcpu->lapic, pa))
		lapic_mmio_write(&n->pcpu->lapic, (u32)(pa & 0xfff), (u32)value);
}

const struct cpu_ops native_cpu_ops = {
	.horizon = native_horizon,
	.land = native_land,
	.rdmsr = native_rdmsr,
	.wrmsr = native_wrmsr,
	.rdpmc = native_rdpmc,
	.rdtsc = native_rdtsc,
	.cpuid = native_cpuid,
	.in = native_in,
	.out = native_out,
	.mmio_read = native_mmio_read,
	.mmio_write = native_mmio_write,
};

/* ---- the run loop ---- */

static void take_pmi(struct native *n)
{
	n->pcpu->pmi_at = NO_DEADLINE;
	pcpu_guest_deliver_pmi(&n->guest);
}

/* Events whose time has come reach the local APIC. */
static void raise_due(struct native *n)
{
	if (pcpu_sub(n->pcpu) >= n->pcpu->pmi_at)
		take_pmi(n);
	if (pcpu_tsc(n->pcpu) >= lapic_deadline(&n->pcpu->lapic))
		lapic_timer_expired(&n->pcpu->lapic);
	lapic_inbox_due(&n->pcpu->lapic);
}

/* Hand over what the guest can take now, an NMI first; ask for the windows of the rest. */
static void inject(struct native *n)
{
	struct lapic *lapic = &n->pcpu->lapic;
	int vector = lapic_pending_vector(lapic);
	struct cpu *cpu = n->guest.cpu;

	if (lapic->nmi_pending && cpu_can_take_nmi(cpu)) {
		pcpu_guest_inject_nmi(&n->guest);
	} else if (vector >= 0 && cpu_can_take_irq(cpu)) {
		pcpu_guest_inject_irq(&n->guest, (u8)vector);
		vector = lapic_pending_vector(lapic);
	}
	/* The last window may have been both's, and only one of them was handed over. */
	cpu_want_window(cpu, vector >= 0, lapic->nmi_pending);
}

static bool sleeps(const struct native *n)
{
	return cpu_halted(n->guest.cpu) || cpu_waits_for_sipi(n->guest.cpu);
}

/* What a sleeper would hear: its own timer, and the others'. */
static u64 wakes_at(const struct native *n)
{
	const struct lapic *lapic = &n->pcpu->lapic;
	const struct cpu *cpu = n->guest.cpu;
	u64 at = lapic_inbox_deadline(lapic);

	if (cpu_waits_for_sipi(cpu) || !cpu_irqs_on(cpu))
		return at;
	return min_u64(at, lapic_deadline(lapic));
}

u64 native_next(const struct native *n)
{
	const struct lapic *lapic = &n->pcpu->lapic;
	const struct cpu *cpu = n->guest.cpu;
	u64 now = pcpu_tsc(n->pcpu), at;

	if (!sleeps(n) || n->pcpu->pmi_at != NO_DEADLINE ||
	    (lapic->nmi_pending && cpu_can_take_nmi(cpu)) ||
	    (lapic_pending_vector(lapic) >= 0 && cpu_can_take_irq(cpu)))
		return now;
	at = wakes_at(n);
	return at == NO_DEADLINE ? at : max_u64(now, at);
}

/* Asleep: let time pass until something is due. False when nothing ever will be. */
static bool idle(struct native *n)
{
	struct pcpu *pcpu = n->pcpu;
	u64 next = wakes_at(n);

	/* The core clock stands still in HLT; a PMI under way arrives all the same. */
	if (pcpu->pmi_at != NO_DEADLINE) {
		take_pmi(n);
		return true;
	}
	if (next == NO_DEADLINE)
		return false;
	pcpu_idle_until(pcpu, min_u64(next, pcpu->stop_at));
	return true;
}

enum pp_stop native_run(struct native *n, u64 *budget)
{
	struct cpu *cpu = n->guest.cpu;

	for (;;) {
		if (n->pcpu->check->broken)
			return PP_STOP_INVARIANT;
		if (n->ports->exited)
			return PP_STOP_EXIT;
		if (pcpu_time_is_up(n->pcpu))
			return PP_STOP_TIME;
		raise_due(n);
		inject(n);
		if (sleeps(n)) {
			/* Idling uses budget too, so that a timer nobody hears cannot hang the run. */
			if (!*budget || cpu_pause_asked(cpu))
				return PP_STOP_BUDGET;
			--*budget;
			if (!idle(n))
				return PP_STOP_HALTED;
			continue;
		}
		switch (cpu_run(cpu, budget)) {
		case CPU_STOP_BUDGET: return PP_STOP_BUDGET;
		case CPU_STOP_SHUTDOWN: return PP_STOP_SHUTDOWN;
		case CPU_STOP_UNIMPLEMENTED: return PP_STOP_UNIMPLEMENTED;
		default: break;
		}
	}
}
