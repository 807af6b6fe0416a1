// SPDX-License-Identifier: Apache-2.0
/*
 * apic_bus.c - from the ICR of one local APIC to the others: who is addressed, and when it arrives.
 *
 * Interface
 *  - An IPI takes effect at the TSC at which the sender wrote it. A target that is not there yet keeps
 *    it in its inbox until lapic_inbox_deadline(); one that is further on (at most a quantum) takes it
 *    at once. What one target gets, it gets in the order of those times.
 *  - An inbox that is full delivers its first entry early, by less than a quantum; nothing is lost.
 *  - An APIC that is turned off in its MSR 0x1b is not addressed by anything.
 *  - Lowest priority: of those addressed whose software enabled them, the one with the lowest processor
 *    priority; of equals the one that is first on the bus.
 *  - A destination of an xAPIC sender has 8 bits, and 0xff is all; an x2APIC sender has 32, and all is
 *    0xffffffff. Physical ones find APICs in either mode, logical ones those in the sender's mode.
 *  - Vectors below 16 set ESR bit 5 of the sender and go nowhere. NMI to self by shorthand is
 *    delivered, as KVM does; silicon leaves it undefined. So are shorthands to all including self,
 *    which the manual has for fixed interrupts only; with INIT and SIPI they reach nobody.
 *  - The level de-assert of INIT does nothing, as on every CPU since the Pentium 4.
 *  - What reaches no APIC is counted in the sender's ignored_ipis.
 *
 * Not modelled
 *  - INIT to the bootstrap CPU (ID 0): nothing is at the reset vector that it would go to. SMI,
 *    remote read. All three are counted in ignored_ipis.
 *  - Time on the way. A lowest-priority target is chosen by the priorities of the moment, in which
 *    others may be a quantum behind the sender.
 *  - Priority by focus, and the "redirection hint" of messages.
 */
#include "platform/apic_bus.h"

#include "platform/lapic_internal.h"

#include <string.h>

#define ICR_LOGICAL 0x800u
#define ICR_ASSERT 0x4000u
#define ICR_LEVEL 0x8000u
#define ICR_SHORTHAND 0xc0000u
#define ICR_SELF 0x40000u
#define ICR_ALL 0x80000u
#define ICR_OTHERS 0xc0000u
#define ICR_DM_LOWEST 0x100u
#define ICR_DM_INIT 0x500u
#define ICR_DM_SIPI 0x600u

void apic_bus_moved(struct apic_bus *bus, const struct move *move)
{
	for (u32 i = 0; i < bus->nr; i++)
		bus->lapic[i] = moved(move, bus->lapic[i]);
}

void lapic_moved(struct lapic *l, const struct move *move)
{
	l->ctx = moved(move, l->ctx);
	l->bus = moved(move, l->bus);
}

/* ---- who ---- */

u32 lapic_logical_id(const struct lapic *l)
{
	if (lapic_x2apic(l))
		return ((l->id >> 4) << 16) | (1u << (l->id & 0xf));
	return l->regs[APIC_LDR >> 4];
}

static bool has_logical_id(const struct lapic *l, u32 to)
{
	u32 own = lapic_logical_id(l);

	if (lapic_x2apic(l))
		return to >> 16 == own >> 16 && (to & own & 0xffff);
	own >>= 24;
	if (l->regs[APIC_DFR >> 4] >> 28 == 0xf)
		return to & own;
	return (to >> 4 == own >> 4 || to >> 4 == 0xf) && (to & own & 0xf);
}

static bool is_destination(const struct lapic *from, const struct lapic *l, u64 icr)
{
	bool x2apic = lapic_x2apic(from);
	u32 to = (u32)(icr >> (x2apic ? 32 : 56));

	if (to == (x2apic ? ~0u : 0xff))
		return true;
	if (icr & ICR_LOGICAL)
		return lapic_x2apic(l) == x2apic && has_logical_id(l, to);
	return to == l->id;
}

static bool is_addressed(const struct lapic *from, const struct lapic *l, u64 icr)
{
	if (!lapic_enabled(l))
		return false;
	switch (icr & ICR_SHORTHAND) {
	case ICR_SELF: return l == from;
	case ICR_ALL: return true;
	case ICR_OTHERS: return l != from;
	default: return is_destination(from, l, icr);
	}
}

/* ---- when ---- */

static void arrive(struct lapic *l, const struct lapic_message *message)
{
	switch (message->mode) {
	case APIC_DM_NMI: lapic_raise_nmi(l); break;
	case ICR_DM_INIT:
		lapic_reset_by_init(l);
		l->ops->init(l->ctx);
		break;
	case ICR_DM_SIPI: l->ops->sipi(l->ctx, message->vector); break;
	default: lapic_post(l, message->vector);
	}
}

/* From another CPU. */
static void deliver(struct lapic *l, const struct lapic_message *message)
{
	arrive(l, message);
	if (l->ops->arrived)
		l->ops->arrived(l->ctx);
}

static void deliver_first(struct lapic *l)
{
	const struct lapic_message first = l->inbox[0];

	l->nr_inbox--;
	memmove(l->inbox, l->inbox + 1, l->nr_inbox * sizeof(*l->inbox));
	deliver(l, &first);
}

void lapic_inbox_due(struct lapic *l)
{
	while (l->nr_inbox && l->inbox[0].at <= l->ops->now(l->ctx))
		deliver_first(l);
}

static void put_in_inbox(struct lapic *l, const struct lapic_message *message)
{
	u32 i;

	if (l->nr_inbox == ARRAY_SIZE(l->inbox))
		deliver_first(l);
	for (i = l->nr_inbox; i && l->inbox[i - 1].at > message->at; i--)
		l->inbox[i] = l->inbox[i - 1];
	l->inbox[i] = *message;
	l->nr_inbox++;
	l->ops->changed(l->ctx);
}

static void send(const struct lapic *from, struct lapic *l, const struct lapic_message *message)
{
	lapic_inbox_due(l);
	if (l == from)
		arrive(l, message);
	else if (message->at <= l->ops->now(l->ctx))
		deliver(l, message);
	else
		put_in_inbox(l, message);
}

/* ---- the ICR ---- */

static bool can_take(const struct lapic *from, const struct lapic *l, u64 icr)
{
	u32 mode = icr & APIC_MODE_MASK;
	u32 shorthand = icr & ICR_SHORTHAND;
	bool starts = mode == ICR_DM_INIT || mode == ICR_DM_SIPI;

	if (!is_addressed(from, l, icr))
		return false;
	if (!starts)
		return true;
	if (!from->bus || (mode == ICR_DM_INIT && !l->id))
		return false;
	return shorthand != ICR_SELF && shorthand != ICR_ALL;
}

static struct lapic *lowest_priority(struct lapic *const *all, u32 nr, const struct lapic *from,
				     u64 icr)
{
	struct lapic *best = NULL;

	for (u32 i = 0; i < nr; i++) {
		struct lapic *l = all[i];

		if (!is_addressed(from, l, icr) || !lapic_software_enabled(l))
			continue;
		if (!best || lapic_processor_priority(l) < lapic_processor_priority(best))
			best = l;
	}
	return best;
}

static u32 send_to_all_addressed(struct lapic *const *all, u32 nr, const struct lapic *from,
				 u64 icr, const struct lapic_message *message)
{
	u32 sent = 0;

	for (u32 i = 0; i < nr; i++) {
		if (!can_take(from, all[i], icr))
			continue;
		send(from, all[i], message);
		sent++;
	}
	return sent;
}

static bool is_modelled(u32 mode)
{
	return mode == APIC_DM_FIXED || mode == APIC_DM_NMI || mode == ICR_DM_INIT ||
	       mode == ICR_DM_SIPI;
}

void lapic_send_ipi(struct lapic *l, u64 icr)
{
	u32 mode = icr & APIC_MODE_MASK;
	struct lapic_message message = {.vector = (u8)icr, .mode = (u16)mode};
	struct lapic *const *all = l->bus ? l->bus->lapic : &l;
	u32 nr = l->bus ? l->bus->nr : 1;
	struct lapic *best;
	u32 sent;

	if ((mode == APIC_DM_FIXED || mode == ICR_DM_LOWEST) && message.vector < 16) {
		lapic_raise_error(l, ESR_SEND_VECTOR);
		return;
	}
	if (mode == ICR_DM_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
		return;
	if (l->bus)
		l->bus->nr_ipis++;
	message.at = l->ops->now(l->ctx);
	if (mode == ICR_DM_LOWEST) {
		message.mode = APIC_DM_FIXED;
		best = lowest_priority(all, nr, l, icr);
		if (best)
			send(l, best, &message);
		sent = best ? 1 : 0;
	} else {
		sent = is_modelled(mode) ? send_to_all_addressed(all, nr, l, icr, &message) : 0;
	}
	if (!sent)
		l->ignored_ipis++;
}
