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
#include "ram.h"

/* The rest of perf's slots is for the guest's counters. */
#define MAX_HOST_EVENTS (PERF_MAX_EVENTS / 2)

struct pp_machine {
	struct pp_config config; /* pointers in it are the copies below */
	struct pp_check check;
	struct pcpu pcpu;
	struct ports ports;
	struct ram ram;

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

	/* A guest that was saved: what KVM_GET_MSRS gave */
	struct kvm_saved_state state;
	char invariant_text[256];
};

/* machine.c: 0, and it has the next place; or a negative errno. */
int machine_open_host_event(struct pp_machine *m, const struct pp_host_event *event);
/* readout.c: bring its result up to now. */
void machine_read_host_event(struct pp_machine *m, u32 place);
/* machine.c: for those who make machines. 0 or -1, with the reason in @error. */
int machine_fail(struct pp_error *error, int code, const char *text);
int machine_check_config(const struct pp_config *config, struct pp_error *error);
int machine_copy_config(struct pp_machine *m, const struct pp_config *config,
			struct pp_error *error);
/* Lists in the config are those that the machine holds. */
void machine_point_config(struct pp_machine *m);
/* The pCPU but for its CPU, which is there; then the host and its vCPU. */
int machine_make_pcpu(struct pp_machine *m, const struct pp_config *config, struct pp_error *error);
int machine_make_host(struct pp_machine *m, struct pp_error *error);
/* What the CPU of this machine, a clone, reaches. */
struct cpu_place machine_cpu_place(struct pp_machine *m);
/* The parts of the pCPU look at each other. */
void machine_connect(struct pp_machine *m);

#endif /* MACHINE_H_ */
