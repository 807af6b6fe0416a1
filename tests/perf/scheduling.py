# SPDX-License-Identifier: Apache-2.0
"""Host perf's rules of scheduling on one CPU, written a second time: slow, and obvious.

Which events get which counters, when, and what enabled and running times they have, as Linux 7.0
decides it (kernel/events/core.c, arch/x86/events/core.c). It was written from Linux's rules, not
from csrc/perf, and takes the commands of tests/c/perf_script.c, so that both can be asked the same.

Words: a *context* has the events of the CPU or of a task. A *group* is a leader with its siblings;
an event alone leads itself. A *pass* goes through the groups of one class of one context, in order.

Not in it: sampling, throttling, frequency mode; constraints that overlap, and those that depend on
other events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

EBUSY, EINVAL, EOPNOTSUPP = 16, 22, 95
FIRST_FIXED = 32


class State(IntEnum):
    """An event's state; only those above OFF can be scheduled."""

    ERROR = -2
    OFF = -1
    INACTIVE = 0
    ACTIVE = 1


PINNED, FLEXIBLE = "pinned", "flexible"
BOTH = frozenset({PINNED, FLEXIBLE})


@dataclass(eq=False)
class Event:
    """An event, with the times that it had at ``stamp`` of its context's clock."""

    number: int
    context: Context
    pinned: bool
    mask: int
    exclude: frozenset[str]
    state: State = State.INACTIVE
    leader: Event = field(init=False)
    siblings: list[Event] = field(default_factory=list)
    counter: int = -1  # the one that it has, or had when it was last on the PMU
    count: int = 0
    stamp: int = 0
    enabled: int = 0
    running: int = 0

    def __post_init__(self) -> None:
        self.leader = self

    @property
    def kind(self) -> str:
        """Return its class."""
        return PINNED if self.pinned else FLEXIBLE

    def group(self) -> list[Event]:
        """Return a leader and its siblings, in the order in which they are added."""
        return [self, *self.siblings]

    def effective_state(self) -> State:
        """Return the state that its times go by: nobody is enabled whose leader is not."""
        return self.leader.state if self.leader.state <= State.OFF else self.state

    def choices(self) -> list[int]:
        """Return its counters as they are tried: fixed ones first, then from the lowest index."""
        counters = [c for c in range(64) if self.mask >> c & 1]
        return [c for c in counters if c >= FIRST_FIXED] + [c for c in counters if c < FIRST_FIXED]


@dataclass(eq=False)
class Context:
    """The events of the CPU (``task`` is None) or of a task."""

    task: int | None
    groups: dict[str, list[Event]] = field(default_factory=lambda: {PINNED: [], FLEXIBLE: []})
    # Classes that are scheduled in; empty: the context is out, and its clock stands.
    active: set[str] = field(default_factory=set)
    clock: int = 0
    guest_clock: int = 0
    rotate: bool = False

    def events(self) -> list[Event]:
        """Return all events."""
        return [e for kind in (PINNED, FLEXIBLE) for g in self.groups[kind] for e in g.group()]


class Perf:
    """A CPU with its events."""

    def __init__(self, counters: int) -> None:
        self.counters = counters  # a bit for each that exists
        self.now = 0
        self.interval = 1
        self.timer: int | None = None
        self.cpu = Context(None)
        self.tasks: dict[int, Context] = {}
        self.current: int | None = None
        self.events: dict[int, Event] = {}
        self.vms = 0
        self.guest = False
        # The PMU: events in the order of adding, and the counter that each has been assigned. An
        # event's own `counter` follows when the PMU goes on again.
        self.pmu: list[Event] = []
        self.assigned: dict[Event, int] = {}

    # ---- times ----

    def clock_of(self, event: Event) -> int:
        """Return the time of an event: of its context, for some without that of guests."""
        context = event.context
        return context.clock - (context.guest_clock if "guest" in event.exclude else 0)

    def update_times(self, event: Event) -> None:
        """Bring an event's times up to now."""
        passed = self.clock_of(event) - event.stamp
        if event.effective_state() >= State.INACTIVE:
            event.enabled += passed
        if event.effective_state() >= State.ACTIVE:
            event.running += passed
        event.stamp += passed

    def set_state(self, event: Event, state: State) -> None:
        """Change a state, after the time in the old one; a leader's counts for its siblings."""
        if event.state == state:
            return
        self.update_times(event)
        if (event.state < 0) != (state < 0):
            for sibling in event.siblings:
                self.update_times(sibling)
        event.state = state

    # ---- counters ----

    def assignment(self, events: list[Event]) -> dict[Event, int] | None:
        """Return a counter for each event, or None where the method finds none.

        If each can keep what it had last, they all do. Else nobody's past counts: those with the
        fewest counters choose first, among equals who was added first. No choice is ever revised,
        so a set can fail though there is a way to place it.
        """
        kept = {event: event.counter for event in events}
        if len(set(kept.values())) == len(events) and all(
            e.counter >= 0 and e.mask >> e.counter & 1 for e in events
        ):
            return kept
        chosen: dict[Event, int] = {}
        for event in self.by_weight(events):
            free = [c for c in event.choices() if c not in chosen.values()]
            if not free:
                return None
            chosen[event] = free[0]
        return chosen

    def by_weight(self, events: list[Event]) -> list[Event]:
        """Return the events in the order in which they choose."""
        return sorted(events, key=lambda e: e.mask.bit_count())

    def pmu_on(self) -> None:
        """Give every event the counter that it has been assigned, at the end of a change."""
        for event in self.pmu:
            event.counter = self.assigned[event]

    def leave(self, event: Event) -> None:
        """An event that is on goes off."""
        if event.state == State.ACTIVE:
            self.pmu.remove(event)
            del self.assigned[event]
            self.set_state(event, State.INACTIVE)

    def leave_group(self, leader: Event) -> None:
        """A group that is on goes off."""
        if leader.state == State.ACTIVE:
            for event in leader.group():
                self.leave(event)

    def enter_group(self, leader: Event) -> bool:
        """Put a group on as a whole, but for its disabled siblings, or leave all as it was."""
        wanted = [e for e in leader.group() if e.state > State.OFF]
        found = self.assignment(self.pmu + wanted)
        if found is None:
            return False
        self.pmu += wanted
        self.assigned = found
        for event in wanted:
            self.set_state(event, State.ACTIVE)
        return True

    # ---- passes ----

    def one_pass(self, context: Context, kind: str) -> None:
        """Try the groups of a class in order; behind one that fails nobody is tried."""
        failed = False
        for leader in list(context.groups[kind]):
            # What is loaded of a guest's keeps everybody out, and that is no failure.
            if leader.state <= State.OFF or self.guest:
                continue
            if leader.state == State.ACTIVE or (not failed and self.enter_group(leader)):
                continue
            failed = True
            if kind == PINNED:
                self.set_state(leader, State.ERROR)
            else:
                context.rotate = True
                self.start_timer()

    def in_(self, context: Context | None, kinds: frozenset[str]) -> None:
        """Schedule classes of a context in that are out."""
        if context is None or not context.events():
            return
        new = kinds - context.active
        context.active |= kinds
        for kind in (PINNED, FLEXIBLE):
            if kind in new:
                self.one_pass(context, kind)

    def out(self, context: Context | None, kinds: frozenset[str]) -> None:
        """Schedule classes of a context out that are in."""
        if context is None:
            return
        self.take_off(context, kinds & context.active)
        context.active -= kinds

    def take_off(self, context: Context, kinds: frozenset[str]) -> None:
        """All groups of these classes go off."""
        for kind in kinds:
            for leader in context.groups[kind]:
                self.leave_group(leader)
        if FLEXIBLE in kinds:
            context.rotate = False

    def all_in(self, task: Context | None) -> None:
        """The four classes, in the order of their rank."""
        for kind in (PINNED, FLEXIBLE):
            self.in_(self.cpu, frozenset({kind}))
            self.in_(task, frozenset({kind}))

    def task_context(self) -> Context | None:
        """Return the current task's context."""
        return None if self.current is None else self.tasks[self.current]

    def reschedule(self, event: Event) -> None:
        """Somebody new wants a counter: all of its rank and below go out, and everybody comes in.

        For a flexible event of a task the CPU's events stay; for a pinned one of a task the CPU's
        flexible ones go.
        """
        leader, task = event.leader, self.task_context()
        kinds = BOTH if leader.pinned else frozenset({FLEXIBLE})
        self.out(task, kinds)
        if event.context is self.cpu:
            self.out(self.cpu, kinds)
        elif leader.pinned:
            self.out(self.cpu, frozenset({FLEXIBLE}))
        self.all_in(task)
        self.pmu_on()

    # ---- rotation ----

    def start_timer(self) -> None:
        """Start the timer of rotation, if it does not run.

        The kernel moves a timer's expiry forward by whole intervals from where it was, at first
        zero (hrtimer_forward()). So it always fires at a multiple of its interval.
        """
        if self.timer is None:
            self.timer = (self.now // self.interval + 1) * self.interval

    def fire(self) -> None:
        """The timer is due: it goes on if somebody had to rotate."""
        self.timer = (self.now // self.interval + 1) * self.interval
        if not self.rotate():
            self.timer = None

    def to_rotate(self, context: Context | None) -> Event | None:
        """Return the group that goes to the end: the first that is on, or else the first."""
        if context is None or not context.active or not context.rotate:
            return None
        context.rotate = False
        groups = context.groups[FLEXIBLE]
        on = [leader for leader in groups if leader.state == State.ACTIVE]
        return (on + groups)[0] if groups else None

    def rotate(self) -> bool:
        """Have flexible groups take turns; those of a task come in behind those of the CPU."""
        task = self.task_context()
        if task is not None and not task.active:
            task = None
        if not (self.cpu.rotate or (task and task.rotate)):
            return False
        of_task, of_cpu = self.to_rotate(task), self.to_rotate(self.cpu)
        if task and (of_task or of_cpu):
            self.take_off(task, frozenset({FLEXIBLE}))
        if of_cpu:
            self.take_off(self.cpu, frozenset({FLEXIBLE}))
            self.to_the_end(of_cpu)
            self.one_pass(self.cpu, FLEXIBLE)
        if of_task:
            self.to_the_end(of_task)
        if task and (of_task or of_cpu):
            self.one_pass(task, FLEXIBLE)
        self.pmu_on()
        return True

    def to_the_end(self, leader: Event) -> None:
        """A flexible group becomes the last one."""
        groups = leader.context.groups[FLEXIBLE]
        groups.remove(leader)
        groups.append(leader)

    # ---- commands ----

    def open(
        self,
        number: int,
        owner: int | None,
        pinned: bool,
        mask: int,
        leader: int | None = None,
        exclude: frozenset[str] = frozenset(),
    ) -> int:
        """perf_event_open()."""
        context = self.cpu if owner is None else self.tasks[owner]
        event = Event(number, context, pinned, mask & self.counters, exclude)
        first = None if leader is None else self.events[leader]
        # What can never count, alone or beside the members of its group that are enabled.
        together = [event]
        if first:
            together = [first, *(s for s in first.siblings if s.state > State.OFF), event]
        if self.assignment(together) is None:
            return -EINVAL
        if self.vms and "guest" not in exclude:
            return -EOPNOTSUPP
        if first and (first.leader is not first or first.context is not context or pinned):
            return -EINVAL
        self.events[number] = event
        event.stamp = self.clock_of(event)
        if first:
            event.leader = first
            first.siblings.append(event)
        else:
            context.groups[event.kind].append(event)
        # A sibling of a leader that is disabled changes nothing for anybody.
        here = context is self.cpu or context is self.task_context()
        if here and event.effective_state() != State.OFF:
            self.reschedule(event)
        return 0

    def close(self, number: int) -> None:
        """The last user is gone. Siblings become events of their own, at the end, and stay on.

        They are flexible, even those of a pinned leader. Nobody gets the counter at once.
        """
        event = self.events.pop(number)
        context = event.context
        self.leave(event)
        if event.leader is not event:
            event.leader.siblings.remove(event)
        else:
            self.set_state(event, min(event.state, State.OFF))
            context.groups[event.kind].remove(event)
            for sibling in event.siblings:
                sibling.leader = sibling
                context.groups[sibling.kind].append(sibling)
        if not context.events():
            context.active.clear()
            context.rotate = False

    def enable(self, number: int) -> None:
        """PERF_EVENT_IOC_ENABLE of one event; the way out of the error state."""
        event = self.events[number]
        if event.state >= State.INACTIVE:
            return
        self.set_state(event, State.INACTIVE)
        if event.leader is not event and event.leader.state != State.ACTIVE:
            return
        if event.context.active:
            self.reschedule(event)

    def disable(self, number: int) -> None:
        """PERF_EVENT_IOC_DISABLE: a leader takes its siblings out, and leaves them inactive."""
        event = self.events[number]
        if event.state < State.INACTIVE:
            return
        if event.leader is event:
            self.leave_group(event)
        else:
            self.leave(event)
        self.set_state(event, State.OFF)

    def switch(self, task: int | None) -> None:
        """Another task: the CPU's flexible events make room only for one with pinned events."""
        self.out(self.task_context(), BOTH)
        self.current = task
        context = self.task_context()
        if context and context.events():
            if context.groups[PINNED]:
                self.out(self.cpu, frozenset({FLEXIBLE}))
            self.all_in(context)
            self.pmu_on()

    def pass_time(self, cycles: int) -> None:
        """Cycles without anything in them."""
        self.now += cycles
        for context in (self.cpu, *self.tasks.values()):
            if context.active:
                context.clock += cycles
                context.guest_clock += cycles if self.guest else 0
        for event in self.pmu:
            if not event.exclude & {"host", "kernel"}:
                event.count += cycles

    def work(self, cycles: int) -> None:
        """Cycles of the host's kernel, or of a guest, with rotations in between."""
        end = self.now + cycles
        while self.now < end:
            self.pass_time(min(end, self.timer or end) - self.now)
            if self.now == self.timer:
                self.fire()

    def create_vm(self) -> int:
        """A mediated VM: not the first one beside events that count guests."""
        if not self.vms and any("guest" not in e.exclude for e in self.events.values()):
            return -EBUSY
        self.vms += 1
        return 0

    def load_guest(self) -> None:
        """All counters are the guest's; the contexts stay in, and their clocks go on."""
        for context in (self.cpu, self.task_context()):
            if context is not None and context.active:
                self.take_off(context, BOTH)
        self.guest = True

    def put_guest(self) -> None:
        """The host's events come back, by rank."""
        self.guest = False
        contexts = [c for c in (self.cpu, self.task_context()) if c is not None and c.active]
        for kind in (PINNED, FLEXIBLE):
            for context in contexts:
                self.one_pass(context, kind)
        self.pmu_on()

    def show(self) -> list[str]:
        """A line for each event."""
        lines = []
        for number, event in sorted(self.events.items()):
            self.update_times(event)
            counter = event.counter if event.state == State.ACTIVE else -1
            lines.append(
                f"{number} {event.state.name.lower()} {counter} {event.count}"
                f" {event.enabled} {event.running}"
            )
        return lines


def counters_of(gp: int, fixed: int) -> int:
    """Return a bit for each counter of a CPU."""
    return (1 << gp) - 1 | ((1 << fixed) - 1) << FIRST_FIXED


class Script:
    """Commands, one at a time, and the reference's answers."""

    def __init__(self, make: type[Perf] = Perf) -> None:
        self.make = make
        self.perf = make(0)

    def command(self, line: str) -> list[str]:  # noqa: C901 - one branch a command
        """Carry one out; return the lines of its answer."""
        word, *rest = line.split()
        perf = self.perf
        if word == "cpu":
            self.perf = self.make(counters_of(int(rest[1]), int(rest[2])))
        elif word == "set":
            perf.interval = int(rest[1]) if rest[0] == "mux_interval" else perf.interval
        elif word == "task":
            perf.tasks[int(rest[0])] = Context(int(rest[0]))
        elif word == "open":
            options = dict(option.split("=") for option in rest[4:])
            error = perf.open(
                int(rest[0]),
                None if rest[1] == "cpu" else int(rest[1]),
                rest[2] == PINNED,
                int(rest[3], 16),
                int(options["group"]) if "group" in options else None,
                frozenset(options.get("exclude", "").split(",")) - {""},
            )
            return [f"open {rest[0]} {error}"]
        elif word in ("close", "enable", "disable"):
            getattr(perf, word)(int(rest[0]))
        elif word == "switch":
            perf.switch(None if rest[0] == "-" else int(rest[0]))
        elif word == "work":
            perf.work(int(rest[0]))
        elif line == "mediated +":
            return [f"mediated {perf.create_vm()}"]
        elif line == "mediated -":
            perf.vms -= 1
        elif line == "guest load":
            perf.load_guest()
        elif line == "guest put":
            perf.put_guest()
        elif word == "show":
            return perf.show()
        return []
