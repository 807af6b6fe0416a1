/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - one machine: its pCPUs, its host or none, its VMs and their vCPUs.
 *
 * All of it is one allocation, so that a clone is a copy whose pointers are moved (base/move.h). Natively
 * there are no vCPUs, and the one VM is the computer itself: its memory, its ports.
 *
 * The first VM is the one that results are about, and with it the run ends.
 *
 *	machine.c	builds it	machine_vm.c	the parts of a VM
 *	turns.c		runs it		readout.c	what it says
 *	host.c, host_events.c, vmm.c	the host, what is done between runs
 *	clone.c, migrate.c	copies
 */
#ifndef MACHINE_H_
#define MACHINE_H_

#include "guest/pp_guest.h"
#include "kvm/vcpu.h"
#include "native.h"
#include "pcpu/pcpu.h"
#include "perf/perf_event.h"
#include "platform/apic_bus.h"
#include "platform/ports.h"
#include "pmupass.h"
#include "ram.h"
#include "sched/host_task.h"

#define MAX_HOST_EVENTS (PERF_MAX_EVENTS / 2)

/* A pCPU, and what runs on it */
struct machine_cpu {
	struct pcpu pcpu;
	struct native native; /* native: the guest's side of it */
	struct perf_cpu perf; /* KVM: the host's */
	struct rq rq;
	struct host_task host_tasks[PP_MAX_HOST_TASKS];
	u32 nr_host_tasks;
};

struct machine_vcpu {
	struct kvm_vcpu vcpu;
	u32 cpu; /* the pCPU on whose run queue it is */
	/* A guest that was saved: what KVM_GET_MSRS gave */
	struct kvm_saved_state state;
};

struct machine_vm {
	struct pp_config config; /* as if it were alone; pointers in it are the copies below */
	struct kvm kvm;
	struct ram ram;
	struct ports ports;
	struct apic_bus apics;
	u32 first_guest, nr_guests; /* its vCPUs; natively its pCPUs */

	/* Copies of what the config points at */
	struct pp_cpuid *cpuid;
	struct pp_msr_intercept *intercepts;
	uint32_t *msrs_to_save;
	struct pp_filter_entry *filter_entries;
	struct cpu_profile *profiles;
};

/* perf_event_open() of the host: on every pCPU, or of one thread */
struct machine_host_event {
	struct pp_host_event config;
	bool is_open;			       /* not refused, not closed */
	struct task *task;		       /* NULL: it is CPU-wide */
	struct perf_event *event[PP_MAX_CPUS]; /* of a thread: the first */
	struct pp_host_event_result result;    /* as last read */

	/* What it counts, and how far the pCPUs' guests and host had come with that; or the thread */
	struct event_formula formula;
	struct task_work from[PP_MAX_CPUS];
	struct task_watch watch;
};

struct pp_machine {
	struct pp_check check;
	struct event_map events;
	bool is_native;
	u32 nr_cpus, nr_vcpus, nr_vms;
	struct machine_cpu *cpus;   /* behind this struct, as the next ones */
	struct machine_vcpu *vcpus; /* native: none */
	struct machine_vm *vms;
	size_t size; /* of all that */

	struct perf_system perf; /* the host's */
	/* In the order of their opening */
	struct machine_host_event host_events[MAX_HOST_EVENTS];
	u32 nr_host_events;

	/* turns.c */
	u32 turn;		    /* the pCPU whose turn it is */
	bool turn_is_open;	    /* it has not come to its end */
	u64 next_time[PP_MAX_CPUS]; /* from which each pCPU can go on, during a run */
	enum pp_stop stop;	    /* why the last run ended */
	bool is_read_out;	    /* the books are closed */

	char invariant_text[256];
};

/* What all VMs have alike: the computer, its clock, its costs. */
static inline const struct pp_config *machine_config(const struct pp_machine *m)
{
	return &m->vms[0].config;
}

/* Guests' CPUs: vCPUs, or natively pCPUs. */
static inline u32 machine_nr_guests(const struct pp_machine *m)
{
	return m->is_native ? m->nr_cpus : m->nr_vcpus;
}

static inline struct pcpu_guest *machine_guest(struct pp_machine *m, u32 n)
{
	return m->is_native ? &m->cpus[n].native.guest : &m->vcpus[n].vcpu.guest;
}

/* An empty machine, in one piece, as large as the config says; NULL when memory is short. */
struct pp_machine *machine_alloc_for(const struct pp_config *config);
struct pp_machine *machine_alloc(u32 nr_cpus, u32 nr_vcpus, u32 nr_vms);
/* 0 or -1, with the reason in @error. */
int machine_fail(struct pp_error *error, int code, const char *text);
int machine_check_config(const struct pp_config *config, struct pp_error *error);
int machine_make_cpus(struct pp_machine *m, const struct pp_config *config, struct pp_error *error);
/* The truth of a guest's CPU, which is there, and its place in the VM. */
int machine_make_guest(struct pp_machine *m, struct machine_vm *vm, u32 n, struct pp_error *error);
/* The local APICs of a VM, which are there, hear each other. */
void machine_connect_apics(struct pp_machine *m, struct machine_vm *vm);
int machine_copy_events(struct pp_machine *m, const struct pp_config *config);

/* machine_vm.c */
/* VM @i of a config, as a config of its own. */
struct pp_config machine_vm_config(const struct pp_config *config, u32 i);
int machine_vm_copy_config(struct machine_vm *vm, const struct pp_config *config,
			   struct pp_error *error);
/* Lists in the config are those that the VM holds. */
void machine_vm_point_config(struct machine_vm *vm);
void machine_vm_free(struct machine_vm *vm);
int machine_vm_load(struct machine_vm *vm, const struct pp_config *config, struct cpu *cpu,
		    struct pp_error *error);
/* What CPU @n of the machine, which is the VM's, reaches. @peer: another of this VM, or NULL. */
struct cpu_place machine_vm_cpu_place(struct pp_machine *m, struct machine_vm *vm, u32 n);
/* CPU @n of the VM and its truth, as they are in @from. -1 when memory is short. */
int machine_vm_copy_guest(struct pp_machine *m, struct machine_vm *vm, struct pp_machine *from,
			  u32 n);
int machine_vm_make_cpu(struct pp_machine *m, struct machine_vm *vm, u32 n, struct pp_error *error);

/* host.c: the host on every pCPU, and the vCPUs of all VMs. */
int machine_make_host(struct pp_machine *m, const struct pp_config *config, struct pp_error *error);
/* host_events.c: 0, and it has the next place; or a negative errno. */
int machine_open_host_event(struct pp_machine *m, const struct pp_host_event *config);
void machine_open_host_events(struct pp_machine *m, const struct pp_config *config);
void host_events_moved(struct pp_machine *m, const struct move *move);

#endif /* MACHINE_H_ */
