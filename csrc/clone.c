// SPDX-License-Identifier: Apache-2.0
/*
 * clone.c - a second machine that is in all as the first one is now.
 *
 * Interface: pp_machine_clone(). Both go on to the same bytes of result, as the first one would have
 * without it, and neither notices the other. Guest pages are shared until one of them writes (ram.h);
 * everything else is copied.
 */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/move.h"

static void *copy_of(const void *from, u64 nr, size_t size)
{
	void *to = malloc(nr ? nr * size : 1);

	if (to && nr)
		memcpy(to, from, nr * size);
	return to;
}

/* What a copied struct still holds of the original's: it must not be freed with the copy. */
static void disown(struct pp_machine *m)
{
	m->ram = (struct ram){0};
	m->pcpu.cpu = NULL;
	m->pcpu.truth.results = NULL;
	m->pcpu.truth.errors = NULL;
	m->pcpu.events.entries = NULL;
	m->pcpu.account.trace = NULL;
	m->ports.serial.text = NULL;
	m->cpuid = NULL;
	m->intercepts = NULL;
	m->msrs_to_save = NULL;
	m->filter_entries = NULL;
	m->host_event_configs = NULL;
	m->profiles = NULL;
}

static int copy_lists(struct pp_machine *m, const struct pp_machine *from)
{
	const struct pp_config *c = &from->config;

	m->cpuid = copy_of(from->cpuid, c->nr_cpuid, sizeof(*m->cpuid));
	m->intercepts = copy_of(from->intercepts, c->kvm.nr_intercepts, sizeof(*m->intercepts));
	m->msrs_to_save = copy_of(from->msrs_to_save, c->kvm.nr_msrs_to_save,
				  sizeof(*m->msrs_to_save));
	m->filter_entries = copy_of(from->filter_entries, PP_PMU_EVENT_FILTER_MAX,
				    sizeof(*m->filter_entries));
	m->host_event_configs = copy_of(from->host_event_configs, c->nr_host_events,
					sizeof(*m->host_event_configs));
	m->profiles = copy_of(from->profiles, c->nr_profiles, sizeof(*m->profiles));
	return m->cpuid && m->intercepts && m->msrs_to_save && m->filter_entries &&
			       m->host_event_configs && m->profiles
		       ? 0
		       : -1;
}

static int copy_parts(struct pp_machine *m, struct pp_machine *from)
{
	struct pcpu *p = &m->pcpu;
	struct cpu_place place;

	if (copy_lists(m, from) || ram_clone(&m->ram, &from->ram, from->pcpu.cpu))
		return -1;
	machine_point_config(m);
	place = machine_cpu_place(m);
	place.intercept = m->is_native ? NULL : &m->vcpu.intercept;
	return cpu_clone(&p->cpu, from->pcpu.cpu, &place) ||
			       account_clone(&p->account, &from->pcpu.account) ||
			       truth_clone(&p->truth, &from->pcpu.truth) ||
			       event_map_clone(&p->events, &from->pcpu.events) ||
			       ports_clone(&m->ports, &from->ports)
		       ? -1
		       : 0;
}

static void move_pointers(struct pp_machine *m, const struct move *move)
{
	native_moved(&m->native, move);
	perf_moved(&m->perf, move);
	kvm_vcpu_moved(&m->vcpu, move);
	m->pcpu.lapic.ctx = moved(move, m->pcpu.lapic.ctx);
	for (unsigned int i = 0; i < MAX_HOST_EVENTS; i++)
		m->host_events[i] = moved(move, m->host_events[i]);
}

/* A pointer into the original that nobody has moved would tie the two together. */
static bool all_moved(const struct pp_machine *m, const struct move *move)
{
	const u64 *words = (const u64 *)(const void *)m;

	for (size_t n = 0; n < sizeof(*m) / sizeof(*words); n++) {
		if (move_concerns(move, words[n]))
			return false;
	}
	return true;
}

struct pp_machine *pp_machine_clone(struct pp_machine *from, struct pp_error *error)
{
	struct pp_machine *m = malloc(sizeof(*m));
	const struct move move = {from, m, sizeof(*m)};

	*error = (struct pp_error){.code = PP_OK};
	if (!m) {
		machine_fail(error, PP_ENOMEM, "out of memory for a clone");
		return NULL;
	}
	memcpy(m, from, sizeof(*m));
	disown(m);
	move_pointers(m, &move);
	if (copy_parts(m, from)) {
		machine_fail(error, PP_ENOMEM, "out of memory for a clone");
		pp_machine_free(m);
		return NULL;
	}
	machine_connect(m);
	PP_CHECK(&m->check, all_moved(m, &move));
	return m;
}
