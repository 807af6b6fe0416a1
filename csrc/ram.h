/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ram.h - guest RAM, whose pages clones share until one of them writes.
 *
 * RAM is anonymous memory until it is cloned for the first time. Then what the guest has written goes
 * into a snapshot, a file in memory, and both machines map it privately: the host copies a page when
 * one of them writes to it. A snapshot lives as long as somebody maps it; machines in different
 * threads may hold one together.
 *
 *	ram_new(&m->ram, size);
 *	ram_clone(&clone->ram, &m->ram);
 *	ram_free(&m->ram);
 *
 * The guest's writes are known by guest.written (cpu/cpu.h, struct guest_ram).
 */
#ifndef RAM_H_
#define RAM_H_

#include "cpu/cpu.h"

struct ram_snapshot;

struct ram {
	struct guest_ram guest;
	struct ram_snapshot *snapshot; /* what guest.base maps; NULL: anonymous memory */
	bool changed;		       /* the guest may have run since the snapshot */
};

int ram_new(struct ram *ram, u64 size); /* -1 when memory is short, as ram_clone() */
void ram_free(struct ram *ram);
/* @cpu runs on @from: pages that it can write unseen count as written. @to has its own list. */
int ram_clone(struct ram *to, struct ram *from, const struct cpu *cpu);

#endif /* RAM_H_ */
