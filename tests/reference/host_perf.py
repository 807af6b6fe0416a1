# SPDX-License-Identifier: Apache-2.0
"""Which events of host perf have a counter: an oracle of scheduling without counters.

Every event here fits one fixed counter, any GP counter, or both. So whether a set of events fits is
a sum: those of a GP counter alone, and of each fixed counter all but one of those that fit it as
well, are at most as many as there are GP counters. Which event is on which counter is nobody's
business: a guest's counts do not depend on it.

CPU-pinned events go first, then the guest's, which are pinned of its task, then the CPU's flexible
ones; each group in the order of creation, and once one of a group has found no room those behind it
are not tried. A pinned event without room is in error until it is enabled again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CYCLES, REF_CYCLES, SLOTS = 0x3C, 0x0300, 0x0400
FIXED_OF = {0xC0: 0, CYCLES: 1, REF_CYCLES: 2, SLOTS: 3}
FIXED_ONLY = (REF_CYCLES, SLOTS)  # perf has no other counter for its pseudo encodings


@dataclass(frozen=True)
class HostEvent:
    """An event of the host, of the CPU: an encoding without umask or privileges of its own."""

    event: int
    pinned: bool = True
    exclude_guest: bool = False


@dataclass
class GuestEvent:
    """An event that KVM made for a guest's counter."""

    index: int
    event: int
    config: int  # all of what it was made for
    state: str = "ready"  # "ready" to be scheduled, "active", "error" or "off"


@dataclass
class HostPerf:
    """The PMU of one CPU."""

    gp: int
    fixed: int
    pinned: dict[int, HostEvent] = field(default_factory=dict)  # by place; those without error
    flexible: dict[int, HostEvent] = field(default_factory=dict)
    guests: list[GuestEvent] = field(default_factory=list)  # in the order of creation

    def fits(self, events: list[int]) -> bool:
        """Return whether there are counters for all these."""
        gp, taken = 0, set()
        for event in events:
            number = FIXED_OF.get(event, self.fixed)
            if number < self.fixed and number not in taken:
                taken.add(number)
            elif event in FIXED_ONLY and self.fixed:
                return False
            else:
                gp += 1
        return gp <= self.gp

    def guest(self, index: int) -> GuestEvent | None:
        """Return the event of a guest's counter."""
        return next((e for e in self.guests if e.index == index), None)

    def counts(self, index: int) -> bool:
        """Return whether a guest's counter has an event that has a counter."""
        event = self.guest(index)
        return event is not None and event.state == "active"

    # ---- what is done to it ----

    def open(self, place: int, event: HostEvent) -> None:
        """perf_event_open(): everything that ranks with it or below goes out and comes in again."""
        if not event.pinned:
            self.flexible[place] = event  # below everything: nobody gives way to it
            return
        self.pinned[place] = event
        room: dict[int, HostEvent] = {}
        for number, other in self.pinned.items():
            if not self.fits([e.event for e in [*room.values(), other]]):
                break  # this one and all behind it are in error, for good
            room[number] = other
        self.pinned = room
        self.guests_in()

    def close(self, place: int) -> None:
        """It is gone; nobody takes its counter before something is scheduled anew."""
        self.pinned.pop(place, None)
        self.flexible.pop(place, None)

    def stop(self, index: int) -> None:
        """KVM pauses a guest's event; an error stays one."""
        event = self.guest(index)
        if event and event.state != "error":
            event.state = "off"

    def run(self, index: int, event: int, config: int) -> None:
        """KVM enables the event of a counter: the one it has if that is the same, or a new one."""
        now = self.guest(index)
        if now is None or now.config != config:
            self.guests = [e for e in self.guests if e.index != index]
            self.guests.append(GuestEvent(index, event, config))
        else:
            now.state = "ready"
        self.guests_in()

    def release(self, index: int) -> None:
        """KVM gives up a guest's event."""
        self.guests = [e for e in self.guests if e.index != index]

    def guests_in(self) -> None:
        """Schedule the guest's events anew, behind the pinned ones of the CPU."""
        placed = [e.event for e in self.pinned.values()]
        room = True
        for event in self.guests:
            if event.state not in ("ready", "active"):
                continue
            room = room and self.fits([*placed, event.event])
            event.state = "active" if room else "error"
            if room:
                placed.append(event.event)
