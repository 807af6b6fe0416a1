/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apic_bus.h - the local APICs of one computer, or of one VM, which send each other interrupts.
 *
 *	bus->lapic[bus->nr++] = &cpu->lapic;
 *	cpu->lapic.bus = bus;
 *
 * In the order of their APIC IDs. A local APIC without a bus is alone.
 */
#ifndef PLATFORM_APIC_BUS_H_
#define PLATFORM_APIC_BUS_H_

#include "base/move.h"
#include "platform/lapic.h"
#include "pmupass.h"

struct apic_bus {
	struct lapic *lapic[PP_MAX_CPUS];
	u32 nr;
	u64 nr_ipis; /* sent so far */
};

void apic_bus_moved(struct apic_bus *bus, const struct move *move);

#endif /* PLATFORM_APIC_BUS_H_ */
