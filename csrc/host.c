// SPDX-License-Identifier: Apache-2.0
/*
 * host.c - the host: what is there before the VMs, and what others on it do between two runs.
 *
 * Interface: machine_make_host(); pp_move_vcpu(), pp_set_msr_filter() of pmupass.h. Its perf events are
 * in host_events.c.
 *
 * An ioctl of the VM makes a request of the vCPU, and a vCPU in guest mode is kicked: an external
 * interrupt ends its stay there, and the request is served before it enters again.
 *
 * Not modelled: the time that the other thread takes, which runs elsewhere.
 */
#include "machine.h"

#include <string.h>

static u64 physical_now(void *ctx)
{
	return pcpu_tsc(ctx);
}

static void physical_changed(void *ctx)
{
	(void)ctx;
}

/* The host's own use of the physical APIC: enabled, the PMI as NMI. */
static void start_host_lapic(struct pcpu *p, u32 id)
{
	static const struct lapic_ops ops = {.now = physical_now, .changed = physical_changed};

	lapic_init(&p->lapic, id, &ops, p);
	p->lapic.masks_lvtpc = p->pmu.vendor->masks_lvtpc;
	lapic_mmio_write(&p->lapic, APIC_SPIV, 0x1ff);
	lapic_mmio_write(&p->lapic, APIC_LVTPC, APIC_DM_NMI);
}

static int make_vcpus(struct pp_machine *m, struct machine_vm *vm, struct pp_error *error)
{
	if (kvm_create_vm(&vm->kvm, &m->cpus[0].perf, &vm->config, vm == m->vms, error))
		return -1;
	for (u32 n = vm->first_guest; n < vm->first_guest + vm->nr_guests; n++) {
		struct machine_vcpu *v = &m->vcpus[n];
		struct machine_cpu *on = &m->cpus[v->cpu];

		if (kvm_vcpu_init(&v->vcpu, &vm->kvm, &on->pcpu, &on->perf, &vm->ports, &vm->config,
				  error))
			return -1;
		sched_add(&on->rq, &v->vcpu.task);
	}
	machine_connect_apics(m, vm);
	/* The vCPUs have copies; these bitmaps are the caller's. */
	memset(&vm->config.kvm.msr_filter, 0, sizeof(vm->config.kvm.msr_filter));
	return 0;
}

static void make_host_tasks(struct pp_machine *m, const struct pp_config *config)
{
	for (u32 i = 0; i < config->nr_host_tasks; i++) {
		const struct pp_host_task *from = &config->host_tasks[i];
		struct machine_cpu *on = &m->cpus[from->cpu];

		for (u32 n = 0; n < from->nr; n++) {
			struct host_task *h = &on->host_tasks[on->nr_host_tasks++];

			host_task_init(h, from->burst, from->pause);
			sched_add(&on->rq, &h->task);
		}
	}
}

/* ---- the lockup watchdog ---- */

/* The check itself is not modelled: nothing locks up. Nor may it ever be throttled. */
static void watchdog_overflow(struct perf_event *event)
{
	struct machine_cpu *on = event->overflow_context;

	account_charge(&on->pcpu.account, COST_WATCHDOG_OVERFLOW);
	event->hw.interrupts = 0;
}

static void start_watchdog(struct machine_cpu *on, const struct pp_config *config)
{
	const struct perf_event_attr attr = {
		.config = config->watchdog_event & EVENTSEL_WHAT,
		.sample_period = config->watchdog_thresh,
		.pinned = true,
	};
	bool hpet = config->watchdog == PP_WATCHDOG_HPET;
	int error;

	if (config->watchdog == PP_WATCHDOG_NONE)
		return;
	sched_start_watchdog(&on->rq, config->watchdog_thresh / 5 * 2,
			     hpet ? config->watchdog_thresh : 0);
	/* Linux says so and goes on without it, should it get no event. */
	if (config->watchdog == PP_WATCHDOG_PERF)
		perf_event_create_kernel_counter(&on->perf, &attr, NULL, watchdog_overflow, on,
						 &error);
}

int machine_make_host(struct pp_machine *m, const struct pp_config *config, struct pp_error *error)
{
	perf_system_init(&m->perf, config->tsc_khz, config->tick_period);
	m->perf.mux_interval = config->mux_interval;
	m->perf.period_limit = config->period_limit;
	m->perf.faults = config->perf_faults;
	for (u32 i = 0; i < m->nr_cpus; i++) {
		start_host_lapic(&m->cpus[i].pcpu, i);
		perf_init(&m->cpus[i].perf, &m->cpus[i].pcpu, &m->perf, i);
		rq_init(&m->cpus[i].rq, &m->cpus[i].pcpu, &m->cpus[i].perf, config->tick_period,
			config->slice);
	}
	for (u32 i = 0; i < m->nr_cpus; i++)
		start_watchdog(&m->cpus[i], config);
	make_host_tasks(m, config);
	machine_open_host_events(m, config);
	for (u32 i = 0; i < m->nr_vms; i++) {
		error->vm = i;
		if (make_vcpus(m, &m->vms[i], error))
			return -1;
	}
	m->vms[0].kvm.others = m->nr_vms > 1 || config->nr_host_tasks;
	return 0;
}

int32_t pp_move_vcpu(struct pp_machine *m, uint32_t n, uint32_t cpu)
{
	struct kvm_vcpu *vcpu;

	if (m->is_native || m->is_read_out)
		return PP_EPERM;
	if (n >= m->nr_vcpus || cpu >= m->nr_cpus)
		return PP_EINVAL;
	vcpu = &m->vcpus[n].vcpu;
	/* The thread of a VM that is gone is gone, too. */
	if (m->vcpus[n].cpu == cpu || vcpu->task.exited)
		return 0;
	kvm_vcpu_leave_guest(vcpu);
	sched_move(&vcpu->task, &m->cpus[cpu].rq);
	kvm_vcpu_change_pcpu(vcpu);
	m->vcpus[n].cpu = cpu;
	return 0;
}

int32_t pp_set_msr_filter(struct pp_machine *m, const struct pp_msr_filter *filter)
{
	if (m->is_native)
		return PP_EINVAL;
	for (u32 n = 0; n < m->vms[0].nr_guests; n++) {
		struct kvm_vcpu *vcpu = &m->vcpus[n].vcpu;

		if (kvm_vm_ioctl_set_msr_filter(vcpu, filter))
			return PP_EINVAL;
		kvm_vcpu_kick(vcpu);
	}
	return 0;
}
