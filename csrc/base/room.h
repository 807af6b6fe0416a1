/* SPDX-License-Identifier: Apache-2.0 */
/* room.h - how far the guest CPU may run before somebody has to look. */
#ifndef BASE_ROOM_H_
#define BASE_ROOM_H_

#include "base/events.h"
#include "base/types.h"

/*
 * How far the guest may run, at the privilege it is in now, before ops->land() has to look. Each
 * value is a distance (>= 1) from the totals at the time of the call; ~0 means no limit. Only the
 * stored events are looked at in .events; derived ones (cycles and the like) and deadlines go into
 * .sub. land() is called at the first instruction boundary where any distance is used up. Distances
 * may be shorter than the true ones (land() then finds nothing and the CPU asks again), never longer.
 */
struct cpu_room {
	u64 events[NR_EVENTS]; /* of the watched ones */
	u64 sub;	       /* core clock subcycles */
	u32 watched;	       /* bit e: event e has a limit */
};

static inline void cpu_room_unlimited(struct cpu_room *room)
{
	room->watched = 0;
	room->sub = ~0ull;
}

/* Shorten the room to @distance of @event. */
static inline void cpu_room_limit(struct cpu_room *room, unsigned int event, u64 distance)
{
	if (!(room->watched & BIT_ULL(event)) || distance < room->events[event])
		room->events[event] = distance;
	room->watched |= 1u << event;
}

#endif /* BASE_ROOM_H_ */
