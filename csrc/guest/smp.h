/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smp.h - several CPUs: starting the others, beginning together, waiting for the last.
 *
 * CPU n has APIC ID n. A CPU that waits for another halts, as an idle Linux does, and is woken by an
 * interrupt: with fewer pCPUs than vCPUs one that went on looking would keep the CPU that it waits for
 * from running. With one CPU all of this is nothing.
 */
#ifndef GUEST_SMP_H_
#define GUEST_SMP_H_

#include "base/types.h"

/* CPU 0: start the others by INIT and SIPI, one after another, up to their smp_online(). */
void smp_start(void);
/* Another CPU is ready. */
void smp_online(void);
/* All CPUs: returns at the same TSC time on each (later where the host lets one wait). */
void smp_begin(void);
/* A CPU that is done: CPU 0 returns when all others are, those stay in it. */
void smp_end(void);

/* program.c; called by trampoline.S on the CPU that was started. */
struct percpu;
void ap_main(struct percpu *cpu) __attribute__((noreturn));

#endif /* GUEST_SMP_H_ */
