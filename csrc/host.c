// SPDX-License-Identifier: Apache-2.0
/*
 * host.c - what others on the host do to a machine between two of its runs.
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

int32_t pp_set_msr_filter(struct pp_machine *m, const struct pp_msr_filter *filter)
{
	if (m->is_native || kvm_vm_ioctl_set_msr_filter(&m->vcpu, filter))
		return PP_EINVAL;
	kvm_vcpu_kick(&m->vcpu);
	return 0;
}

int32_t pp_open_host_event(struct pp_machine *m, const struct pp_host_event *event)
{
	int error;

	if (m->is_native || m->nr_host_events == MAX_HOST_EVENTS)
		return PP_EINVAL;
	kvm_vcpu_leave_guest(&m->vcpu);
	error = machine_open_host_event(m, event);
	return error ? error : (int32_t)m->nr_host_events - 1;
}

int32_t pp_close_host_event(struct pp_machine *m, uint32_t place)
{
	if (m->is_native || place >= m->nr_host_events || !m->host_events[place])
		return PP_EINVAL;
	kvm_vcpu_leave_guest(&m->vcpu);
	machine_read_host_event(m, place);
	m->host_results[place].state = PERF_EVENT_STATE_OFF;
	perf_event_release_kernel(&m->perf, m->host_events[place]);
	m->host_events[place] = NULL;
	return 0;
}
