/* SPDX-License-Identifier: Apache-2.0 */
/* machine.h - one machine: a pCPU, its host or none, and what it was built from. */
#ifndef MACHINE_H_
#define MACHINE_H_

#include "guest/pp_guest.h"
#include "kvm/vcpu.h"
#include "native.h"
#include "pcpu/pcpu.h"
#include "perf/perf_event.h"
#include "platform/ports.h"
#include "pmupass.h"

/* The rest of perf's slots is for the guest's counters. */
#define MAX_HOST_EVENTS (PERF_MAX_EVENTS / 2)

struct pp_machine {
	struct pp_config config; /* pointers in it are the copies below */
	struct pp_check check;
	struct pcpu pcpu;
	struct ports ports;
	struct guest_ram ram;

	/* One of the two runs the guest */
	bool is_native;
	struct native native;
	struct perf_cpu perf;
	struct kvm_vcpu vcpu;

	/* Host events in the order of their opening; NULL if the host refused one, or it is closed */
	struct perf_event *host_events[MAX_HOST_EVENTS];
	struct pp_host_event_result host_results[MAX_HOST_EVENTS]; /* as last read */
	u32 nr_host_events;

	/* Copies of what the config points at */
	struct pp_cpuid *cpuid;
	struct pp_msr_intercept *intercepts;
	uint32_t *msrs_to_save;
	struct pp_filter_entry *filter_entries;
	struct pp_host_event *host_event_configs;
	struct cpu_profile *profiles;

	enum pp_stop stop; /* why the last run ended */
	char invariant_text[256];
};

/* machine.c: 0, and it has the next place; or a negative errno. */
int machine_open_host_event(struct pp_machine *m, const struct pp_host_event *event);
/* readout.c: bring its result up to now. */
void machine_read_host_event(struct pp_machine *m, u32 place);

#endif /* MACHINE_H_ */
