# SPDX-License-Identifier: Apache-2.0
"""The reference with one rule wrong at a time: each must show, or the sequences are too tame.

A mistake is methods that take the place of others, by class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulated import Emulated
from host_perf import HostEvent, HostPerf
from rules import Kvm, Silicon

if TYPE_CHECKING:
    from collections.abc import Callable

adopt, enter = Kvm.adopt, Emulated.enter


def no_entry_before_a_migration(self: Kvm, other: Silicon) -> None:
    """What is pending at the exit is not served before the guest is saved."""
    entry = type(other).enter
    type(other).enter = lambda _: None  # type: ignore[method-assign]
    try:
        adopt(self, other)
    finally:
        type(other).enter = entry  # type: ignore[method-assign]


def pmi_left_behind(self: Kvm, other: Silicon) -> None:
    """A PMI on its way stays where it was raised."""
    adopt(self, other)
    self.pmi = False


def a_write_keeps_a_wrap(self: Emulated, index: int, value: int) -> None:
    """A counter that a credit has wrapped overflows though it has been written since."""
    if index in self.unknown:
        self.doubtful |= 1 << index
    Silicon.set_counter(self, index, value)
    self.begin_period(index)


def fixed_as_wide_as_gp(self: Silicon, index: int) -> int:
    """Fixed counters have the width of the others."""
    del index
    return self.shape.width


def closing_makes_room(self: HostPerf, place: int) -> None:
    """Guests' events in error get the counter of a host event that is gone."""
    self.pinned.pop(place, None)
    self.flexible.pop(place, None)
    for event in self.guests:
        event.state = "ready" if event.state == "error" else event.state
    self.guests_in()


def an_error_is_for_good(self: HostPerf, index: int, event: int, config: int) -> None:
    """Enabling an event anew does not take it out of its error."""
    now = self.guest(index)
    if now is None or now.state != "error" or now.config != config:
        run(self, index, event, config)


run = HostPerf.run


def errors_recover_by_themselves(self: HostPerf) -> None:
    """They are tried again whenever something is scheduled."""
    for event in self.guests:
        event.state = "ready" if event.state == "error" else event.state
    guests_in(self)


guests_in = HostPerf.guests_in


def goes_on_behind_a_failure(self: HostPerf) -> None:
    """Guests' events behind one without room are tried."""
    placed = [e.event for e in self.pinned.values()]
    for event in self.guests:
        if event.state not in ("ready", "active"):
            continue
        fits = self.fits([*placed, event.event])
        event.state = "active" if fits else "error"
        placed += [event.event] if fits else []


def flexible_events_stay(self: HostPerf) -> None:
    """The host's flexible events give way to nobody."""
    pinned = dict(self.pinned)
    room = [e.event for e in pinned.values()]
    for place, event in self.flexible.items():
        if self.fits([*room, event.event]):
            room.append(event.event)
            self.pinned[~place] = event
    guests_in(self)
    self.pinned = pinned


def guests_before_the_hosts(self: HostPerf) -> None:
    """The guest's events rank before the CPU's pinned ones."""
    placed: list[int] = []
    for event in self.guests:
        if event.state in ("ready", "active"):
            event.state = "active" if self.fits([*placed, event.event]) else "error"
            placed.append(event.event)


def a_new_event_keeps_its_place(self: HostPerf, index: int, event: int, config: int) -> None:
    """Of a counter that has another event now, that one is in the old one's turn."""
    order = [e.index for e in self.guests]
    run(self, index, event, config)
    if index in order:
        self.guests.sort(key=lambda e: order.index(e.index) if e.index in order else len(order))
        self.guests_in()


def pseudo_events_fit_anywhere(self: HostPerf, events: list[int]) -> bool:
    """Reference cycles have a general-purpose counter, too."""
    return fits(self, [0xC4 if event in (0x0300, 0x0400) else event for event in events])


fits = HostPerf.fits


def events_without_guests_are_free(self: HostPerf, place: int, event: HostEvent) -> None:
    """An event that leaves guests out takes no counter."""
    if not event.exclude_guest:
        open_event(self, place, event)


open_event = HostPerf.open


def a_pinned_one_moves_nobody(self: Emulated, place: int, event: HostEvent) -> None:
    """The guest's events go on as they are."""
    self.perf.open(place, event)


def a_switch_starts_nothing_anew(self: Emulated) -> None:
    """Events keep what is left of their periods, to the event."""
    self.looks |= self.has_run and bool(self.perf.guests)


def a_switch_ends_errors(self: Emulated) -> None:
    """Events in error are tried again when the thread comes in."""
    for event in self.perf.guests:
        event.state = "ready" if event.state == "error" else event.state
    sched_in(self)


sched_in = Emulated.sched_in

# By name: the class, the method, and what takes its place.
MISTAKES: dict[str, tuple[type, str, Callable[..., Any]]] = {
    made.__name__: (kind, method, made)
    for kind, method, made in (
        (Kvm, "adopt", no_entry_before_a_migration),
        (Kvm, "adopt", pmi_left_behind),
        (Emulated, "set_counter", a_write_keeps_a_wrap),
        (Silicon, "width", fixed_as_wide_as_gp),
        (HostPerf, "close", closing_makes_room),
        (HostPerf, "run", an_error_is_for_good),
        (HostPerf, "guests_in", errors_recover_by_themselves),
        (HostPerf, "guests_in", goes_on_behind_a_failure),
        (HostPerf, "guests_in", flexible_events_stay),
        (HostPerf, "guests_in", guests_before_the_hosts),
        (HostPerf, "run", a_new_event_keeps_its_place),
        (HostPerf, "fits", pseudo_events_fit_anywhere),
        (HostPerf, "open", events_without_guests_are_free),
        (Emulated, "open", a_pinned_one_moves_nobody),
        (Emulated, "sched_in", a_switch_starts_nothing_anew),
        (Emulated, "sched_in", a_switch_ends_errors),
    )
}
