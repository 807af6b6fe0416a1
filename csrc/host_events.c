// SPDX-License-Identifier: Apache-2.0
/*
 * host_events.c - the host's own perf events, CPU-wide on every pCPU or of one thread, and the truth about
 * each.
 *
 * Interface: pp_open_host_event(), pp_enable_host_event(), pp_close_host_event(), pp_read_host_events().
 *
 * An event's truth is what it would have counted with a counter of its own from its opening to its
 * closing, whoever owned the PMU: what guests did on the pCPU, and what the host did, by the event's own
 * exclude bits; for an event of a thread, while the thread had its pCPU. The difference to its count is
 * lost: to want of a counter, or to a guest that owns the PMU. What guests did and the event leaves out
 * stands apart.
 *
 * Not modelled: the truth of events with cmask, inv or edge; events of a thread on one pCPU alone.
 */
#include "machine.h"

#include <errno.h>

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
		.freq = e->freq,
		.disabled = e->disabled,
	};
}

/* ---- whose it is ---- */

static struct task *host_task_of(struct pp_machine *m, u32 n)
{
	for (u32 i = 0; i < m->nr_cpus; i++) {
		if (n < m->cpus[i].nr_host_tasks)
			return &m->cpus[i].host_tasks[n].task;
		n -= m->cpus[i].nr_host_tasks;
	}
	return NULL;
}

/* NULL: no such thread, or it is not there yet, or no more. */
static struct task *thread_of(struct pp_machine *m, const struct pp_host_event *e)
{
	struct task *t = NULL;

	if (e->thread_kind == PP_THREAD_TASK)
		t = host_task_of(m, e->thread);
	else if (e->thread_kind == PP_THREAD_VCPU && e->thread < m->nr_vcpus)
		t = &m->vcpus[e->thread].vcpu.task;
	return t && t->rq && !t->exited ? t : NULL;
}

/* Perf events that stand behind it: one on each pCPU, or the thread's. */
static u32 nr_parts(const struct pp_machine *m, const struct machine_host_event *h)
{
	return h->task ? 1 : m->nr_cpus;
}

static struct perf_cpu *perf_of(struct pp_machine *m, const struct machine_host_event *h, u32 i)
{
	return h->task ? h->task->rq->perf : &m->cpus[i].perf;
}

/* ---- the truth ---- */

/* What guests and host have done of it, whom it leaves out or not: since ever on a pCPU, or the thread. */
static struct task_work work_of(const struct machine_host_event *h, const struct pcpu *p)
{
	struct event_totals guests;

	if (h->task)
		return task_watch_read(h->task, &h->watch);
	pcpu_guest_totals(p, &guests);
	return (struct task_work){
		.guest = event_formula_total(&h->formula, &p->clk, &guests),
		.host = event_formula_total(&h->formula, &p->clk, &p->account.host),
	};
}

static void begin_truth(struct machine_host_event *h, u32 i, const struct pcpu *p)
{
	/* Of an event with a threshold there is none. */
	if (!event_formula_is_plain(&h->formula))
		return;
	if (h->task)
		task_watch_start(h->task, &h->watch, &h->formula);
	else
		h->from[i] = work_of(h, p);
}

static void add_truth(const struct machine_host_event *h, u32 i, const struct pcpu *p,
		      struct pp_host_event_result *out)
{
	struct task_work now = work_of(h, p);
	u64 guest = now.guest - h->from[i].guest;

	if (h->config.exclude_guest)
		out->excluded_guest += guest;
	else
		out->true_guest += guest;
	if (!h->config.exclude_host)
		out->true_host += now.host - h->from[i].host;
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

static u64 add_known(u64 sum, u64 part)
{
	return sum == ~0ull || part == ~0ull ? ~0ull : sum + part;
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
	for (u32 i = 0; i < nr_parts(m, h); i++) {
		struct perf_cpu *perf = perf_of(m, h, i);
		struct perf_event *event = h->event[i];

		perf_update_times(perf, event);
		out->count += perf_event_peek(perf, event);
		out->guest_count = add_known(out->guest_count, perf_event_guest_count(perf, event));
		out->samples += event->samples;
		out->guest_samples += event->guest_samples;
		out->time_enabled += event->time_enabled;
		out->time_running += event->time_running;
		out->state = worse_state(out->state, event->state);
		if (out->has_truth)
			add_truth(h, i, perf->pcpu, out);
	}
}

static void close_event(struct pp_machine *m, struct machine_host_event *h)
{
	h->is_open = false;
	h->result.state = PERF_EVENT_STATE_OFF;
	for (u32 i = 0; i < nr_parts(m, h); i++) {
		if (h->event[i])
			perf_event_release_kernel(perf_of(m, h, i), h->event[i]);
		h->event[i] = NULL;
	}
	if (h->task)
		task_watch_stop(h->task, &h->watch);
}

/* NULL with 0: it has none; NULL with an errno: it is none that it could have. */
static const struct machine_host_event *leader_of(const struct pp_machine *m,
						  const struct pp_host_event *config, int *error)
{
	const struct machine_host_event *leader = NULL;
	u32 place = config->group_leader;

	*error = 0;
	if (!place)
		return NULL;
	if (place <= m->nr_host_events)
		leader = &m->host_events[place - 1];
	if (!leader || !leader->is_open)
		*error = -EBADF;
	else if (leader->config.thread_kind != config->thread_kind ||
		 (config->thread_kind && leader->config.thread != config->thread))
		*error = -EINVAL;
	return *error ? NULL : leader;
}

static int open_part(struct pp_machine *m, struct machine_host_event *h, u32 i,
		     const struct machine_host_event *leader)
{
	const struct perf_event_attr attr = attr_of(&h->config);
	struct perf_cpu *perf = perf_of(m, h, i);
	int error;

	h->event[i] = perf_event_open(perf, &attr, h->task ? h->task->perf_ctx : NULL,
				      leader ? leader->event[i] : NULL, NULL, NULL, &error);
	if (!error)
		begin_truth(h, i, perf->pcpu);
	return error;
}

int machine_open_host_event(struct pp_machine *m, const struct pp_host_event *config)
{
	struct machine_host_event *h = &m->host_events[m->nr_host_events];
	const struct machine_host_event *leader;
	int error;

	*h = (struct machine_host_event){
		.config = *config,
		.task = thread_of(m, config),
		.formula = event_formula_of(&m->events, config->config),
		.result = {.config = config->config},
	};
	if (config->thread_kind && !h->task)
		return -ESRCH;
	leader = leader_of(m, config, &error);
	if (error)
		return error;
	h->is_open = true;
	for (u32 i = 0; i < nr_parts(m, h); i++) {
		error = open_part(m, h, i, leader);
		if (error) {
			close_event(m, h);
			return error;
		}
	}
	m->nr_host_events++;
	return 0;
}

/* Only one that was opened disabled is told. */
static void enable_event(struct pp_machine *m, struct machine_host_event *h)
{
	if (!h->is_open || !h->config.disabled)
		return;
	for (u32 i = 0; i < nr_parts(m, h); i++)
		perf_event_enable(perf_of(m, h, i), h->event[i]);
}

void machine_open_host_events(struct pp_machine *m, const struct pp_config *config)
{
	for (u32 i = 0; i < config->nr_host_events; i++) {
		/* One that the host refuses keeps its place. */
		if (machine_open_host_event(m, &config->host_events[i]))
			m->nr_host_events++;
	}
	for (u32 i = 0; i < m->nr_host_events; i++)
		enable_event(m, &m->host_events[i]);
}

void host_events_moved(struct pp_machine *m, const struct move *move)
{
	for (u32 i = 0; i < MAX_HOST_EVENTS; i++) {
		struct machine_host_event *h = &m->host_events[i];

		h->task = moved(move, h->task);
		task_watch_moved(&h->watch, move);
		for (u32 cpu = 0; cpu < PP_MAX_CPUS; cpu++)
			h->event[cpu] = moved(move, h->event[cpu]);
	}
}

/*
 * Those come out of guest mode whose pCPUs have work with it: that of the thread, which may be another's turn
 * there, or all.
 */
static void leave_guests(struct pp_machine *m, struct task *thread)
{
	if (thread) {
		kvm_interrupt_guest_on(thread->rq);
		return;
	}
	for (u32 i = 0; i < m->nr_cpus; i++)
		kvm_interrupt_guest_on(&m->cpus[i].rq);
}

int32_t pp_open_host_event(struct pp_machine *m, const struct pp_host_event *event)
{
	struct task *thread = thread_of(m, event);
	int error;

	if (m->is_native || m->nr_host_events == MAX_HOST_EVENTS)
		return PP_EINVAL;
	if (event->thread_kind && !thread)
		return -ESRCH;
	leave_guests(m, thread);
	error = machine_open_host_event(m, event);
	return error ? error : (int32_t)m->nr_host_events - 1;
}

int32_t pp_enable_host_event(struct pp_machine *m, uint32_t place)
{
	if (m->is_native || place >= m->nr_host_events || !m->host_events[place].is_open)
		return PP_EINVAL;
	leave_guests(m, m->host_events[place].task);
	enable_event(m, &m->host_events[place]);
	return 0;
}

int32_t pp_close_host_event(struct pp_machine *m, uint32_t place)
{
	if (m->is_native || place >= m->nr_host_events || !m->host_events[place].is_open)
		return PP_EINVAL;
	leave_guests(m, m->host_events[place].task);
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
