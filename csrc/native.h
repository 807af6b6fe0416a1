/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native.h - the bare machine: the guest owns the pCPU, its PMU and its local APIC.
 *
 * The baseline that both vPMU designs are held against.
 */
#ifndef NATIVE_H_
#define NATIVE_H_

#include "pcpu/pcpu.h"
#include "platform/misc_msrs.h"
#include "platform/ports.h"
#include "pmu/access.h"
#include "pmupass.h"

struct native {
	struct pcpu *pcpu;
	struct ports *ports;
	const struct pp_config *config;
	struct misc_msrs misc;
	struct access_books access;
	bool pmi_is_nmi; /* the pending NMI is a PMI */
	int pmi_vector;	 /* vector a PMI was posted with, -1: none */
};

extern const struct cpu_ops native_cpu_ops;

void native_init(struct native *n, struct pcpu *pcpu, struct ports *ports,
		 const struct pp_config *config);
enum pp_stop native_run(struct native *n, u64 *budget);

#endif /* NATIVE_H_ */
