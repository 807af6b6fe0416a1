# SPDX-License-Identifier: Apache-2.0
"""The rules of the emulated design: what a guest sees of counters that are host perf's events.

Values are as exact as silicon's. Overflows are not: they come when perf's period is over, and when
a credit of KVM's wraps the counter, not when the value passes zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from host_perf import HostEvent, HostPerf
from rules import EN, EVTSEL0, FIXED, INT, Fault, Filter, Kvm, Silicon, Unknown


@dataclass
class Emulated(Kvm):
    """Counters of host perf: each has an event with a period.

    Before a VM-entry KVM reprograms the counters that were changed or credited since the exit:
    their events are paused, and set up or resumed if the guest has them enabled and the filter
    allows it. That begins a period, the distance from the value to the wrap. ``counted`` is what
    the event has counted since then. Writing a running counter moves the base below ``counted``,
    and the new period is the distance from the base: longer, by ``counted``, than the value says.

    perf starts an event with what is ``left`` of its period, and the whole ``period`` again if
    nothing is; with two at least (``programmed``). It starts all of the guest's events whenever it
    takes one in. So one that overflows late, for two is more than was left, may be started anew in
    between, and the overflow is lost.

    Instructions that KVM completes are no events of silicon: they are credited, and if a credit
    wrapped the counter that is an overflow when it is reprogrammed. So a counter that passes zero
    before its period is over, and is reprogrammed then, overflows without a trace.

    When the host takes the vCPU's thread off its CPU, and puts it on again, here or elsewhere, the
    events go with it, and all start anew. KVM then gives up, at the next entry, the events of
    counters that are off and that nobody has written since it looked the last time.

    Whether an overflow makes a PMI is known from the time when the event was made, which is after a
    wrap by a credit of the same exit.
    """

    counted: dict[int, int] = field(default_factory=dict)
    period: dict[int, int] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)
    programmed: dict[int, int] = field(default_factory=dict)
    interrupt: dict[int, bool] = field(default_factory=dict)  # of the events
    changed: set[int] = field(default_factory=set)  # to be reprogrammed at the entry
    wrapped: set[int] = field(default_factory=set)  # of these, by a credit
    touched: set[int] = field(default_factory=set)  # written since the last look
    has_run: bool = False
    looks: bool = False  # for events to give up, at the entry
    perf: HostPerf = field(init=False)
    fresh: bool = False  # the last instruction has overflowed an event

    def __post_init__(self) -> None:
        """Reset: no event has counted anything."""
        super().__post_init__()
        self.perf = HostPerf(self.shape.host_gp, self.shape.host_fixed)
        self.contended = True
        for index in self.indices():
            self.reprogram(index)

    def too_wide(self, index: int, value: int) -> int:
        """Fixed counters cut the value off; GP counters fault."""
        if index < FIXED:
            raise Fault
        return value & (1 << self.width(index)) - 1

    def asks_for_a_pmi(self, index: int) -> bool:
        """The event knows."""
        return self.interrupt.get(index, False)

    # ---- reprogramming ----

    def runs(self, index: int) -> bool:
        """Return whether a counter has an event that counts, at whatever privilege."""
        on = self.field(index) & 3 if index >= FIXED else self.selectors[index] & EN
        return bool(on) and self.globally_enabled(index) and self.allowed(index)

    def reprogram(self, index: int) -> None:
        """Pause the event; begin anew if the counter is to count."""
        self.counted[index] = 0
        self.perf.stop(index)
        self.begin_period(index)
        if self.runs(index):
            self.interrupt[index] = self.interrupts(index)
            self.perf.run(index, self.event(index), self.made_for(index))
            self.start_all()

    def made_for(self, index: int) -> int:
        """Return all that an event is made for: the selector, or what stands for one."""
        if index < FIXED:
            return self.selectors[index]
        interrupts = INT if self.interrupts(index) else 0
        return self.event(index) | self.privileges(index) | interrupts | EN

    def start_all(self) -> None:
        """Let perf start all of the guest's events anew."""
        for index in self.left:
            self.start(index)

    # ---- the host's scheduler ----

    def sched_in(self) -> None:
        """The thread comes back, on whatever CPU."""
        self.perf.guests_in()
        self.start_all()
        self.looks |= self.has_run and bool(self.perf.guests)

    def give_up(self) -> None:
        """Give up events that nobody needs."""
        for index in self.indices():
            on = self.field(index) & 3 if index >= FIXED else self.selectors[index] & EN
            if index not in self.touched and not on:
                self.perf.release(index)
        self.touched = set()

    # ---- the host's events ----

    def open(self, place: int, event: HostEvent) -> None:
        """A pinned one makes perf start all others anew.

        A flexible one starts those that it moves to another counter. Which ones these are, nobody
        here knows; it makes a difference while one is late only.
        """
        if not event.pinned and self.is_late():
            raise Unknown
        self.perf.open(place, event)
        if event.pinned:
            self.start_all()

    def exits_for(self, msr: int) -> bool:
        """Everything exits."""
        return True

    def reach(self, index: int, events: int, *, exits: bool) -> None:
        """A credit asks for reprogramming."""
        super().reach(index, events, exits=exits)
        if exits:
            self.changed.add(index)

    def missing(self, index: int, *, exits: bool) -> str:
        """Silicon counts what has a counter; KVM credits without one."""
        cause = super().missing(index, exits=exits)
        return cause or ("" if exits or self.perf.counts(index) else "contention")

    def begin_period(self, index: int) -> None:
        """Begin a period: from the base to the wrap."""
        wrap = 1 << self.width(index)
        base = self.counters[index] - self.counted[index]
        self.period[index] = -base % wrap or wrap
        self.left[index] = 0
        self.start(index)

    def start(self, index: int) -> None:
        """Let perf start an event."""
        if self.left[index] <= 0:
            self.left[index] += self.period[index]
        self.programmed[index] = max(2, self.left[index])

    def is_on_the_way(self) -> bool:
        """A wrap that is not folded, or an overflow that perf may make a late one."""
        return self.is_late() or bool(self.wrapped) or super().is_on_the_way()

    def is_late(self) -> bool:
        """Return whether an event has so little left that it would be late if it were started."""
        return any(left <= 1 and self.perf.counts(index) for index, left in self.left.items())

    def enter(self) -> None:
        """A VM-entry."""
        for index in sorted(self.changed):
            if index in self.wrapped and self.runs(index):
                self.overflow(index)
            self.reprogram(index)
        self.changed, self.wrapped = set(), set()
        if self.looks:
            self.looks = False
            self.give_up()
        self.has_run = True

    def set_counter(self, index: int, value: int) -> None:
        """A write begins a period and pauses nothing.

        So a counter of time that has counted for a while may overflow after as long again.
        """
        if index in self.unknown:
            self.doubtful |= 1 << index
        super().set_counter(index, value)
        self.wrapped.discard(index)
        self.begin_period(index)

    def write_msr(self, msr: int, value: int) -> None:
        """A write of a counter or of its selector touches it, also one that faults."""
        self.touch(msr)
        super().write_msr(msr, value)

    def host_writes(self, msr: int, value: int) -> bool:
        """So does a VMM's."""
        self.touch(msr)
        return super().host_writes(msr, value)

    def touch(self, msr: int) -> None:
        """Remember who was touched."""
        index = self.counter_of(msr)
        if index is None and 0 <= msr - EVTSEL0 < self.shape.gp:
            index = msr - EVTSEL0
        if index is not None:
            self.touched.add(index)

    def write_selector(self, index: int, value: int) -> None:
        """Another value changes the counter."""
        before = self.selectors[index]
        super().write_selector(index, value)
        if self.selectors[index] != before:
            self.changed.add(index)

    def write_fixed_ctr_ctrl(self, value: int) -> None:
        """So does another value of its field."""
        changed = self.fixed_ctr_ctrl ^ value
        super().write_fixed_ctr_ctrl(value)
        fields = {i for i in self.indices() if i >= FIXED and changed >> 4 * (i - FIXED) & 15}
        self.changed |= fields
        self.touched |= fields

    def write_global_ctrl(self, value: int) -> None:
        """So does another value of its bit."""
        changed = self.global_ctrl
        super().write_global_ctrl(value)
        changed ^= self.global_ctrl
        self.changed |= {i for i in self.indices() if changed >> i & 1}

    def adopt(self, other: Silicon) -> None:
        """It counts through perf from here on."""
        super().adopt(other)
        self.contended = True
        self.touched = set(self.indices())  # the VMM has written all of them

    def set_filter(self, chosen: Filter) -> None:
        """Every counter is reprogrammed.

        The ioctl asks for it while the guest runs. An overflow of this very moment, whose PMI host
        perf has not taken, finds the reprogramming pending and is dropped.
        """
        if self.fresh:
            raise Unknown
        super().set_filter(chosen)
        self.changed |= set(self.indices())

    # ---- counting ----

    def until_overflow(self, index: int) -> int:
        """The period decides; a credit wraps where the value does."""
        return min(self.programmed[index], super().until_overflow(index))

    def count(self, index: int, events: int, *, exits: bool) -> bool:
        """A credit overflows where the value wraps, an event of silicon where the period ends."""
        wrapped = super().count(index, events, exits=exits)
        if exits:
            self.changed.add(index)
            self.wrapped |= {index} if wrapped else set()
            return False
        self.counted[index] += events
        self.left[index] -= events
        self.programmed[index] -= events
        return not self.programmed[index]

    def retire(self, instructions: int, branches: int, cpl: int, *, exits: bool = False) -> None:
        """What has overflowed before is known by now."""
        self.fresh = False
        super().retire(instructions, branches, cpl, exits=exits)

    def overflow(self, index: int) -> None:
        """An overflow reprograms the counter."""
        super().overflow(index)
        self.fresh = True
        self.changed.add(index)
