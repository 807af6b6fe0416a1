# SPDX-License-Identifier: Apache-2.0
"""Random commands for host perf: a CPU, its events and tasks, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from scheduling import FIRST_FIXED, counters_of

TASKS = 2
# Kinds of steps, some of them often.
CROWD = (*("open",) * 4, *("sibling",) * 2, "switch")
STEPS = (
    *("open", "sibling"),
    *("work",) * 8,
    *("switch",) * 3,
    *("enable", "disable") * 3,
    *("close", "mediated", "show"),
)
HANDOVERS = ("mediated", *("guest",) * 3)  # for whom mediated VMs can come
AMD_GP = {"amd": 4, "amd-v2": 6}
MEDIATED = ("intel", "amd-v2")  # which drivers can give the PMU away


@dataclass(frozen=True)
class Step:
    """A kind, and numbers that say what it is about when it is known what there is."""

    kind: str
    which: int
    owner: int
    pinned: bool
    mask: int
    cycles: int
    exclude: str


@dataclass(frozen=True)
class Plan:
    """A CPU, the interval of rotation, and steps."""

    cpu: str
    gp: int
    fixed: int
    interval: int
    clean: bool  # events leave guests out, so that mediated VMs can come
    steps: tuple[Step, ...]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Return a plan: a crowd of events to begin with, for few counters, and what becomes of it."""
    cpu = draw(st.sampled_from(["intel", "intel", "amd", "amd-v2"]))
    gp = draw(st.sampled_from([2, 3, 3, 4, 4, 8]) if cpu == "intel" else st.just(AMD_GP[cpu]))
    fixed = draw(st.integers(0, 4)) if cpu == "intel" else 0
    interval = draw(st.sampled_from([1000, 1000, 700, 100_000]))
    # A crowd wants the same few of them, mostly.
    wanted = draw(st.sampled_from([2, 2, 3, 3, gp]))
    any_gp = counters_of(wanted, 0)
    one, few = st.integers(0, wanted - 1).map(lambda n: 1 << n), st.integers(1, any_gp)
    fixed_too = st.integers(0, max(fixed - 1, 0)).map(lambda n: any_gp | 1 << FIRST_FIXED + n)
    masks = st.one_of(
        *(st.just(any_gp), few, few, few, one, fixed_too),
        st.integers(0, fixed).map(lambda n: 1 << FIRST_FIXED + n),
        st.just(counters_of(gp, fixed)),
    )

    def some(kinds: tuple[str, ...], least: int, most: int) -> list[Step]:
        number = draw(st.integers(least, most))
        step = st.builds(
            Step,
            kind=st.sampled_from(kinds),
            which=st.integers(0, 63),
            owner=st.integers(-TASKS, TASKS - 1),  # below 0: the CPU
            pinned=st.sampled_from([True, False, False]),
            mask=masks,
            cycles=st.sampled_from([1, 300, 1000, 1000, 2500, 7001]),
            exclude=st.sampled_from(["", "", "", "", "user", "kernel", "host"]),
        )
        return draw(st.lists(step, min_size=number, max_size=number))

    clean = cpu in MEDIATED and draw(st.booleans())
    steps = some(CROWD, 8, 18) + some(STEPS + clean * HANDOVERS, 15, 45)
    return Plan(cpu, gp, fixed, interval, clean, tuple(steps))


class Writer:
    """Makes commands of a plan; knows by the answers which events there are."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.opened = 0
        self.alive: list[int] = []
        self.owners: dict[int, str] = {}
        self.leaders: list[int] = []  # who was opened as one, and is alive
        self.current: int | None = None
        self.vms = 0
        self.loaded = False

    def start(self) -> list[str]:
        """Return the first commands."""
        plan = self.plan
        return [
            f"cpu {plan.cpu} {plan.gp} {plan.fixed}",
            f"set mux_interval {plan.interval}",
            *(f"task {task}" for task in range(TASKS)),
            *(["mediated +"] if plan.clean else []),
        ]

    def answered(self, line: str) -> None:
        """Hear an answer."""
        word, *rest = line.split()
        if word == "open" and rest[1] == "0":
            self.alive.append(int(rest[0]))
        if word == "mediated" and rest[0] == "0":
            self.vms += 1

    def commands(self, step: Step) -> list[str]:
        """Return what a step is now; nothing where it makes no sense."""
        if self.loaded and not self.fits_in_guest(step):
            self.loaded = False
            return ["guest put", *self.commands(step)]
        method = getattr(self, step.kind, None)
        found: list[str] = method(step) if method else self.on_event(step)
        return found

    def fits_in_guest(self, step: Step) -> bool:
        """Return whether a step is taken while a guest's context is loaded.

        On that CPU nobody switches tasks then. Events come and go one time in three. The first one
        of a context does not: the clock of a context begins with its events.
        """
        if step.kind in ("open", "sibling"):
            owners = {self.owners[event] for event in self.alive}
            return step.pinned and owners >= {"cpu", *map(str, range(TASKS))}
        if step.kind in ("enable", "disable", "close"):
            return step.pinned
        return step.kind in ("work", "show", "guest")

    def work(self, step: Step) -> list[str]:
        """Return commands: time passes."""
        return [f"work {step.cycles}", "show"]

    def show(self, step: Step) -> list[str]:
        """Return a command: a look, which brings times up to date."""
        del step
        return ["show"]

    def switch(self, step: Step) -> list[str]:
        """Return a command: another task than the current one."""
        task = None if step.owner == -TASKS else step.owner % TASKS
        if task == self.current:
            return []
        self.current = task
        return [f"switch {'-' if task is None else task}"]

    def mediated(self, step: Step) -> list[str]:
        """Return a command: a VM comes or goes."""
        if self.plan.cpu not in MEDIATED:
            return []
        if self.vms and step.pinned:
            self.vms -= 1
            return ["mediated -"]
        return ["mediated +"]

    def guest(self, step: Step) -> list[str]:
        """Return a command: a guest's context is loaded, or put."""
        del step
        if not self.vms:
            return []
        self.loaded = not self.loaded
        return [f"guest {'load' if self.loaded else 'put'}"]

    def on_event(self, step: Step) -> list[str]:
        """Return a command about an event that is there."""
        if not self.alive:
            return []
        event = self.alive[step.which % len(self.alive)]
        if step.kind == "close":
            self.alive.remove(event)
        return [f"{step.kind} {event}"]

    def sibling(self, step: Step) -> list[str]:
        """Return a command: a sibling, where there is a leader."""
        return self.open(step, self.leader(step))

    def leader(self, step: Step) -> int | None:
        """Return an event to join; one time in six any, which may be no leader."""
        choice = self.alive if step.cycles == 1 else self.leaders
        choice = [event for event in choice if event in self.alive]
        return choice[step.which % len(choice)] if choice else None

    def open(self, step: Step, leader: int | None = None) -> list[str]:
        """Return a command that opens an event; one time in six a sibling that does not fit in."""
        if self.opened == 64:
            return []
        number, self.opened = self.opened, self.opened + 1
        owner = "cpu" if step.owner < 0 else str(step.owner)
        kind = "pinned" if step.pinned else "flexible"
        if leader is None:
            self.leaders.append(number)
        elif step.cycles != 1:
            owner, kind = self.owners[leader], "flexible"
        self.owners[number] = owner
        # Some plans have mediated VMs, and one event in sixteen that does not go with them.
        clean = self.plan.clean and step.which % 16
        words = [word for word in (step.exclude, "guest" if clean else "") if word]
        line = f"open {number} {owner} {kind} {step.mask:#x}"
        line += "" if leader is None else f" group={leader}"
        return [line + (f" exclude={','.join(words)}" if words else "")]
