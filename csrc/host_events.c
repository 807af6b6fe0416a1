// SPDX-License-Identifier: Apache-2.0
/*
 * host_events.c - the host's own perf events, CPU-wide on every pCPU, and the truth about each.
 *
 * Interface: pp_open_host_event(), pp_close_host_event(), pp_read_host_events().
 *
 * An event's truth is what it would have counted with a counter of its own from its opening to its
 * closing, whoever owned the PMU: what guests did on the pCPU, and what the host did, by the event's own
 * exclude bits. The difference to its count is lost: to want of a counter, or to a guest that owns
 * the PMU.
 *
 * Not modelled: the truth of events with cmask, inv or edge; events of single threads.
 */
#include "machine.h"

static struct perf_event_attr attr_of(const struct pp_host_event *e)
{
	return (struct perf_event_attr){
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
}

/* ---- the truth ---- */

static u64 guest_part(const struct machine_host_event *h, const struct pcpu *p)
{
	struct event_totals totals;

	if (h->config.exclude_guest)
		return 0;
	pcpu_guest_totals(p, &totals);
	return event_formula_total(&h->formula, &p->clk, &totals);
}

static u64 host_part(const struct machine_host_event *h, const struct pcpu *p)
{
	return h->config.exclude_host ? 0
				      : event_formula_total(&h->formula, &p->clk, &p->account.host);
}

static void begin_truth(struct machine_host_event *h, u32 cpu, const struct pcpu *p)
{
	h->guest_from[cpu] = guest_part(h, p);
	h->host_from[cpu] = host_part(h, p);
}

/* ---- open, read, close ---- */

/* The worst that a pCPU has to say. */
static u32 worse_state(u32 a, u32 b)
{
	static const u8 rank[] = {
		[PERF_EVENT_STATE_ACTIVE] = 0,
		[PERF_EVENT_STATE_INACTIVE] = 1,
		[PERF_EVENT_STATE_ERROR] = 2,
		[PERF_EVENT_STATE_OFF] = 3,
	};

	return rank[a] >= rank[b] ? a : b;
}

static void read_event(struct pp_machine *m, struct machine_host_event *h)
{
	struct pp_host_event_result *out = &h->result;

	if (!h->is_open)
		return;
	*out = (struct pp_host_event_result){
		.config = h->config.config,
		.state = PERF_EVENT_STATE_ACTIVE,
		.has_truth = event_formula_is_plain(&h->formula),
	};
	for (u32 i = 0; i < m->nr_cpus; i++) {
		struct perf_cpu *perf = &m->cpus[i].perf;
		const struct pcpu *p = &m->cpus[i].pcpu;

		perf_update_times(perf, h->event[i]);
		out->count += perf_event_peek(perf, h->event[i]);
		out->time_enabled += h->event[i]->time_enabled;
		out->time_running += h->event[i]->time_running;
		out->state = worse_state(out->state, h->event[i]->state);
		out->true_guest += guest_part(h, p) - h->guest_from[i];
		out->true_host += host_part(h, p) - h->host_from[i];
	}
}

static void close_event(struct pp_machine *m, struct machine_host_event *h)
{
	h->is_open = false;
	h->result.state = PERF_EVENT_STATE_OFF;
	for (u32 i = 0; i < m->nr_cpus; i++) {
		if (h->event[i])
			perf_event_release_kernel(&m->cpus[i].perf, h->event[i]);
		h->event[i] = NULL;
	}
}

int machine_open_host_event(struct pp_machine *m, const struct pp_host_event *config)
{
	struct machine_host_event *h = &m->host_events[m->nr_host_events];
	const struct perf_event_attr attr = attr_of(config);
	int error;

	*h = (struct machine_host_event){
		.config = *config,
		.is_open = true,
		.formula = event_formula_of(&m->events, config->config),
		.result = {.config = config->config},
	};
	for (u32 i = 0; i < m->nr_cpus; i++) {
		h->event[i] = perf_event_create_kernel_counter(&m->cpus[i].perf, &attr, NULL, NULL,
							       NULL, &error);
		if (error) {
			close_event(m, h);
			return error;
		}
		begin_truth(h, i, &m->cpus[i].pcpu);
	}
	m->nr_host_events++;
	return 0;
}

void machine_open_host_events(struct pp_machine *m, const struct pp_config *config)
{
	for (u32 i = 0; i < config->nr_host_events; i++) {
		/* One that the host refuses keeps its place. */
		if (machine_open_host_event(m, &config->host_events[i]))
			m->nr_host_events++;
	}
}

void host_events_moved(struct pp_machine *m, const struct move *move)
{
	for (u32 i = 0; i < MAX_HOST_EVENTS; i++) {
		for (u32 cpu = 0; cpu < PP_MAX_CPUS; cpu++)
			m->host_events[i].event[cpu] = moved(move, m->host_events[i].event[cpu]);
	}
}

/* Whoever is in guest mode comes out. */
static void leave_guests(struct pp_machine *m)
{
	for (u32 n = 0; n < m->nr_vcpus; n++)
		kvm_vcpu_leave_guest(&m->vcpus[n].vcpu);
}

int32_t pp_open_host_event(struct pp_machine *m, const struct pp_host_event *event)
{
	int error;

	if (m->is_native || m->nr_host_events == MAX_HOST_EVENTS)
		return PP_EINVAL;
	leave_guests(m);
	error = machine_open_host_event(m, event);
	return error ? error : (int32_t)m->nr_host_events - 1;
}

int32_t pp_close_host_event(struct pp_machine *m, uint32_t place)
{
	if (m->is_native || place >= m->nr_host_events || !m->host_events[place].is_open)
		return PP_EINVAL;
	leave_guests(m);
	read_event(m, &m->host_events[place]);
	close_event(m, &m->host_events[place]);
	return 0;
}

uint32_t pp_read_host_events(struct pp_machine *m, struct pp_host_event_result *out, uint32_t cap)
{
	for (u32 i = 0; i < m->nr_host_events && i < cap; i++) {
		read_event(m, &m->host_events[i]);
		out[i] = m->host_events[i].result;
	}
	return m->nr_host_events;
}
