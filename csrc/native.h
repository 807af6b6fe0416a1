/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native.h - the bare machine: the guest owns the pCPU, its PMU and its local APIC.
 *
 * The baseline that both vPMU designs are held against.
 */
#ifndef NATIVE_H_
#define NATIVE_H_

#include "pcpu/guest.h"
#include "pcpu/pcpu.h"
#include "platform/ports.h"
#include "pmupass.h"

struct native {
	struct pcpu *pcpu;
	struct ports *ports;
	struct pcpu_guest guest;
};

extern const struct cpu_ops native_cpu_ops;

/* The CPU with APIC ID @id; those but the first wait to be started. */
void native_init(struct native *n, struct pcpu *pcpu, u32 id, struct ports *ports,
		 const struct pp_config *config);
/* It has been copied to another place. */
void native_moved(struct native *n, const struct move *move);
/* The TSC from which it can go on; NO_DEADLINE: it waits, and nothing is due. */
u64 native_next(const struct native *n);
enum pp_stop native_run(struct native *n, u64 *budget);

#endif /* NATIVE_H_ */
