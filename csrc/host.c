// SPDX-License-Identifier: Apache-2.0
/*
 * host.c - the host: what is there before the VMs, and what others on it do between two runs.
 *
 * Interface: pp_set_msr_filter(), pp_open_host_event(), pp_close_host_event() of pmupass.h.
 *
 * An ioctl of the VM makes a request of the vCPU, and a vCPU in guest mode is kicked: an external
 * interrupt ends its stay there, and the request is served before it enters again. A perf event is
 * opened and closed on the CPU itself, so that a guest that is there leaves it first.
 *
 * Not modelled: the time that the other thread takes, which runs elsewhere.
 */
#include "machine.h"

#include <stdlib.h>
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

static int open_host_event(struct pp_machine *m, const struct pp_host_event *e)
{
	struct perf_event_attr attr = {
		.config = e->config & EVENTSEL_WHAT,
		.sample_period = e->sample_period,
		.pinned = e->pinned,
		.exclude_user = !(e->config & ARCH_PERFMON_EVENTSEL_USR),
		.exclude_kernel = !(e->config & ARCH_PERFMON_EVENTSEL_OS),
		.exclude_host = e->exclude_host,
		.exclude_guest = e->exclude_guest,
		.precise_ip = e->precise_ip,
		.branch_stack = e->branch_stack,
	};
	int error;

	m->host_events[m->nr_host_events] = perf_event_create_kernel_counter(
		&m->cpus[0].perf, &attr, false, NULL, NULL, &error);
	m->host_results[m->nr_host_events].config = e->config;
	if (!error)
		m->nr_host_events++;
	return error;
}

/* One that the host refuses keeps its place. */
static void open_host_events(struct pp_machine *m)
{
	for (u32 i = 0; i < machine_config(m)->nr_host_events; i++) {
		if (open_host_event(m, &m->host_event_configs[i]))
			m->nr_host_events++;
	}
}

static int make_vcpus(struct pp_machine *m, struct machine_vm *vm, struct pp_error *error)
{
	for (u32 n = vm->first_guest; n < vm->first_guest + vm->nr_guests; n++) {
		struct machine_vcpu *v = &m->vcpus[n];
		struct machine_cpu *on = &m->cpus[n % m->nr_cpus];

		if (kvm_vcpu_init(&v->vcpu, &on->pcpu, n - vm->first_guest, &on->perf, &vm->ports,
				  &vm->config, error))
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

int machine_make_host(struct pp_machine *m, const struct pp_config *config, struct pp_error *error)
{
	if (config->nr_host_events) {
		m->host_event_configs =
			malloc(config->nr_host_events * sizeof(*config->host_events));
		if (!m->host_event_configs)
			return machine_fail(error, PP_ENOMEM, "out of memory for host events");
		memcpy(m->host_event_configs, config->host_events,
		       config->nr_host_events * sizeof(*config->host_events));
	}
	for (u32 i = 0; i < m->nr_cpus; i++) {
		start_host_lapic(&m->cpus[i].pcpu, i);
		perf_init(&m->cpus[i].perf, &m->cpus[i].pcpu);
		m->cpus[i].perf.period_limit = config->period_limit;
		rq_init(&m->cpus[i].rq, &m->cpus[i].pcpu, &m->cpus[i].perf, config->tick_period,
			config->slice);
	}
	make_host_tasks(m, config);
	open_host_events(m);
	for (u32 i = 0; i < m->nr_vms; i++) {
		if (make_vcpus(m, &m->vms[i], error))
			return -1;
	}
	return 0;
}

int32_t pp_set_msr_filter(struct pp_machine *m, const struct pp_msr_filter *filter)
{
	struct machine_vm *vm = &m->vms[0];

	for (u32 n = vm->first_guest; n < vm->first_guest + m->nr_vcpus; n++) {
		struct kvm_vcpu *vcpu = &m->vcpus[n].vcpu;

		if (kvm_vm_ioctl_set_msr_filter(vcpu, filter))
			return PP_EINVAL;
		kvm_vcpu_kick(vcpu);
	}
	return m->is_native ? PP_EINVAL : 0;
}

/* Whoever is in guest mode on the event's pCPU comes out. */
static void leave_guest(struct pp_machine *m)
{
	for (u32 n = 0; n < m->nr_vcpus; n++) {
		if (m->vcpus[n].vcpu.task.rq == &m->cpus[0].rq)
			kvm_vcpu_leave_guest(&m->vcpus[n].vcpu);
	}
}

int32_t pp_open_host_event(struct pp_machine *m, const struct pp_host_event *event)
{
	int error;

	if (m->is_native || m->nr_host_events == MAX_HOST_EVENTS)
		return PP_EINVAL;
	leave_guest(m);
	error = open_host_event(m, event);
	return error ? error : (int32_t)m->nr_host_events - 1;
}

int32_t pp_close_host_event(struct pp_machine *m, uint32_t place)
{
	if (m->is_native || place >= m->nr_host_events || !m->host_events[place])
		return PP_EINVAL;
	leave_guest(m);
	machine_read_host_event(m, place);
	m->host_results[place].state = PERF_EVENT_STATE_OFF;
	perf_event_release_kernel(&m->cpus[0].perf, m->host_events[place]);
	m->host_events[place] = NULL;
	return 0;
}
