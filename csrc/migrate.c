// SPDX-License-Identifier: Apache-2.0
/*
 * migrate.c - a guest is saved as a VMM saves it, and restored on another machine: in the other design,
 * with other host events, another event filter.
 *
 * Interface: pp_machine_save(), pp_machine_restore().
 *
 * What is saved: memory; the CPU; every register of KVM_GET_MSR_INDEX_LIST; the local APIC with its timer
 * and what is pending in it; queued exceptions; the serial port and the like. The PMU goes by its
 * registers alone, whichever design it comes from and goes to: host perf's events, physical counters and
 * requests are the old host's and stay there. So that nothing stays behind with them, requests are served
 * before the state is read: what they come to is in the registers and in the local APIC.
 *
 * The guest's time goes on where it stopped, and so do the books, the truth among them. Host events and
 * what they have counted are those of the new host.
 *
 * Not modelled: the time that a migration takes, a TSC of another frequency, a bare machine (nobody is
 * there who could save it).
 */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

static bool same_array(const void *a, const void *b, u64 nr_a, u64 nr_b, size_t size)
{
	return nr_a == nr_b && (!nr_a || !memcmp(a, b, nr_a * size));
}

/* What makes the guest's computer: it must find the same one. */
static const char *difference(const struct pp_config *c, const struct pp_machine *saved)
{
	const struct pp_config *s = &saved->config;

	if (memcmp(&c->hw, &s->hw, sizeof(c->hw)) ||
	    memcmp(&c->timing, &s->timing, sizeof(c->timing)) || c->tsc_khz != s->tsc_khz)
		return "the guest was saved on another CPU";
	if (memcmp(&c->guest, &s->guest, sizeof(c->guest)) || c->kvm.vpmu != s->kvm.vpmu ||
	    !same_array(c->cpuid, saved->cpuid, c->nr_cpuid, s->nr_cpuid, sizeof(*c->cpuid)))
		return "the guest was saved with another CPUID";
	if (c->memory != s->memory)
		return "the guest was saved with another amount of memory";
	if (c->truth != s->truth || c->nr_profiles != s->nr_profiles)
		return "the guest was saved with other books or work profiles";
	return NULL;
}

struct pp_machine *pp_machine_save(struct pp_machine *m, struct pp_error *error)
{
	struct pp_machine *saved;

	if (m->is_native || m->pcpu.truth.finished) {
		machine_fail(error, PP_EINVAL,
			     m->is_native ? "a native machine has no VMM that could save it"
					  : "the machine's counters have been read out");
		return NULL;
	}
	saved = pp_machine_clone(m, error);
	if (saved && kvm_vcpu_save(&saved->vcpu, &saved->state)) {
		machine_fail(error, PP_EINVAL, "KVM_GET_MSRS: a listed register cannot be read");
		pp_machine_free(saved);
		return NULL;
	}
	return saved;
}

/* The clock and the books of the guest's run so far. */
static int take_books(struct pp_machine *m, const struct pp_machine *saved,
		      const struct pp_config *config)
{
	struct pcpu *p = &m->pcpu;

	account_free(&p->account);
	truth_free(&p->truth);
	ports_free(&m->ports);
	p->clk = saved->pcpu.clk;
	p->idle_tsc = saved->pcpu.idle_tsc;
	/* The truth's thresholds are kept there. */
	p->pmu.thresholds = saved->pcpu.pmu.thresholds;
	if (account_clone(&p->account, &saved->pcpu.account) ||
	    truth_clone(&p->truth, &saved->pcpu.truth) || ports_clone(&m->ports, &saved->ports))
		return -1;
	memcpy(p->account.cycles_of, config->costs, sizeof(p->account.cycles_of));
	p->account.host_ipc_q20 = config->host_ipc_q20;
	machine_connect(m);
	return 0;
}

static int rebuild(struct pp_machine *m, const struct pp_config *config, struct pp_machine *saved,
		   struct pp_error *error)
{
	const char *text = difference(config, saved);
	struct cpu_place place;

	if (text)
		return machine_fail(error, PP_EINVAL, text);
	if (machine_copy_config(m, config, error))
		return -1;
	if (ram_clone(&m->ram, &saved->ram, saved->pcpu.cpu))
		return machine_fail(error, PP_ENOMEM, "out of memory for guest RAM");
	place = machine_cpu_place(m);
	if (cpu_clone(&m->pcpu.cpu, saved->pcpu.cpu, &place) ||
	    machine_make_pcpu(m, config, error) || take_books(m, saved, config))
		return machine_fail(error, PP_ENOMEM, "out of memory for the machine");
	if (machine_make_host(m, error))
		return -1;
	m->stop = saved->stop;
	if (kvm_vcpu_restore(&m->vcpu, &saved->vcpu, &saved->state))
		return machine_fail(error, PP_EINVAL, "KVM_SET_MSRS: a saved register is refused");
	return 0;
}

struct pp_machine *pp_machine_restore(const struct pp_config *config, struct pp_machine *saved,
				      struct pp_error *error)
{
	struct pp_machine *m;

	*error = (struct pp_error){.code = PP_OK};
	if (config->mode == PP_MODE_NATIVE || !saved->state.valid) {
		machine_fail(error, PP_EINVAL,
			     config->mode == PP_MODE_NATIVE
				     ? "a native machine has no VMM that could restore a guest"
				     : "not a saved guest");
		return NULL;
	}
	m = calloc(1, sizeof(*m));
	if (!m) {
		machine_fail(error, PP_ENOMEM, "out of memory for the machine");
		return NULL;
	}
	if (!machine_check_config(config, error) && !rebuild(m, config, saved, error))
		return m;
	pp_machine_free(m);
	return NULL;
}
