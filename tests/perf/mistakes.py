# SPDX-License-Identifier: Apache-2.0
"""The reference with one rule wrong at a time: each must show, or the plans are too tame."""

from __future__ import annotations

from scheduling import BOTH, FIRST_FIXED, FLEXIBLE, PINNED, Context, Event, Perf, State


class TaskBeforeCpu(Perf):
    """Tasks go first."""

    def all_in(self, task: Context | None) -> None:
        for kind in (PINNED, FLEXIBLE):
            self.in_(task, frozenset({kind}))
            self.in_(self.cpu, frozenset({kind}))


class ContextByContext(Perf):
    """The CPU's flexible events go before a task's pinned ones."""

    def all_in(self, task: Context | None) -> None:
        self.in_(self.cpu, BOTH)
        self.in_(task, BOTH)


class GoesOnBehindAFailure(Perf):
    """Those behind a group that fails are tried."""

    def one_pass(self, context: Context, kind: str) -> None:
        for leader in list(context.groups[kind]):
            if leader.state != State.INACTIVE or self.guest or self.enter_group(leader):
                continue
            if kind == PINNED:
                self.set_state(leader, State.ERROR)
            else:
                context.rotate = True
                self.start_timer()


class NoErrorState(Perf):
    """A pinned event that fails is tried again."""

    def set_state(self, event: Event, state: State) -> None:
        if state != State.ERROR:
            super().set_state(event, state)


class NoRotation(Perf):
    """Nobody takes turns."""

    def to_the_end(self, leader: Event) -> None:
        del leader


class RotatesTheFirstOfAll(Perf):
    """The first group goes to the end, on or not."""

    def to_rotate(self, context: Context | None) -> Event | None:
        found = super().to_rotate(context)
        return context.groups[FLEXIBLE][0] if context and found else None


class TaskStaysInRotation(Perf):
    """The CPU's events rotate around a task's that are on."""

    def rotate(self) -> bool:
        if self.cpu.rotate and (task := self.task_context()) and not task.rotate:
            of_cpu = self.to_rotate(self.cpu)
            if of_cpu:
                self.take_off(self.cpu, frozenset({FLEXIBLE}))
                self.to_the_end(of_cpu)
                self.one_pass(self.cpu, FLEXIBLE)
                self.pmu_on()
            return True
        return super().rotate()


class TimerFromNow(Perf):
    """The first turn comes a whole interval later."""

    def start_timer(self) -> None:
        self.timer = self.timer or self.now + self.interval


class TurnsForNobody(Perf):
    """Once started it has the CPU's groups take turns, though all are on."""

    def rotate(self) -> bool:
        self.cpu.rotate = True
        return super().rotate()


class NothingIsKept(Perf):
    """Counters are chosen anew each time."""

    def assignment(self, events: list[Event]) -> dict[Event, int] | None:
        kept = [event.counter for event in events]
        for event in events:
            event.counter = -1
        found = super().assignment(events)
        for event, counter in zip(events, kept, strict=True):
            event.counter = counter
        return found


class NoWeights(Perf):
    """First come, first served."""

    def by_weight(self, events: list[Event]) -> list[Event]:
        return events


class TiesFromTheEnd(Perf):
    """Among equals the last one chooses first."""

    def by_weight(self, events: list[Event]) -> list[Event]:
        return super().by_weight(events[::-1])


class KeepsAtOnce(Perf):
    """A counter counts as had when it is assigned, not when the PMU is on."""

    def enter_group(self, leader: Event) -> bool:
        entered = super().enter_group(leader)
        self.pmu_on()
        return entered


class SwitchSparesTheFlexible(Perf):
    """A task with pinned events comes in around the CPU's flexible ones."""

    def switch(self, task: int | None) -> None:
        self.out(self.task_context(), BOTH)
        self.current = task
        self.all_in(self.task_context())
        self.pmu_on()


class SwitchDisturbsTheFlexible(Perf):
    """Every task makes the CPU's flexible events go out and in."""

    def switch(self, task: int | None) -> None:
        self.out(self.task_context(), BOTH)
        self.current = task
        self.out(self.cpu, frozenset({FLEXIBLE}))
        self.all_in(self.task_context())
        self.pmu_on()


class EverybodyOut(Perf):
    """Whoever comes, all go out and in."""

    def reschedule(self, event: Event) -> None:
        task = self.task_context()
        self.out(task, BOTH)
        self.out(self.cpu, BOTH)
        self.all_in(task)
        self.pmu_on()
        del event


class DisablingReschedules(Perf):
    """What is free is given away at once."""

    def disable(self, number: int) -> None:
        super().disable(number)
        self.reschedule(self.events[number])


class JoiningTheDisabledReschedules(Perf):
    """A new sibling of a leader that is off moves others."""

    def open(
        self,
        number: int,
        owner: int | None,
        pinned: bool,
        mask: int,
        leader: int | None = None,
        exclude: frozenset[str] = frozenset(),
    ) -> int:
        error = super().open(number, owner, pinned, mask, leader, exclude)
        if not error and leader is not None and owner in (None, self.current):
            self.reschedule(self.events[number])
        return error


class GroupsInPart(Perf):
    """Siblings stay out, one by one."""

    def enter_group(self, leader: Event) -> bool:
        wanted = [e for e in leader.group() if e.state > State.OFF]
        for event in wanted:
            found = self.assignment([*self.pmu, event])
            if found is None:
                return event is not leader
            self.pmu.append(event)
            self.assigned = found
            self.set_state(event, State.ACTIVE)
        return True


class SiblingsInherit(Perf):
    """Siblings of a pinned leader stay pinned when it is closed."""

    def close(self, number: int) -> None:
        event = self.events[number]
        for sibling in event.siblings:
            sibling.pinned = event.pinned
        super().close(number)


class NoFixedFirst(Perf):
    """General-purpose counters go first."""

    def assignment(self, events: list[Event]) -> dict[Event, int] | None:
        found = super().assignment(events)
        for event in events if found else []:
            free = [c for c in range(FIRST_FIXED) if event.mask >> c & 1]
            free = [c for c in free if found and c not in found.values()]
            if found and found[event] >= FIRST_FIXED and free and event.counter < 0:
                found[event] = free[0]
        return found


class SiblingsOfTheDisabledAge(Perf):
    """Enabled time goes on without the leader."""

    def update_times(self, event: Event) -> None:
        leader, event.leader = event.leader, event
        super().update_times(event)
        event.leader = leader


class GuestTimeCounts(Perf):
    """The time of guests is in the times of events that leave guests out."""

    def clock_of(self, event: Event) -> int:
        return event.context.clock


class PutByContext(Perf):
    """After a guest the CPU's flexible events come back before a task's pinned ones."""

    def put_guest(self) -> None:
        self.guest = False
        for context in (self.cpu, self.task_context()):
            for kind in (PINNED, FLEXIBLE):
                if context is not None and context.active:
                    self.one_pass(context, kind)
        self.pmu_on()


MISTAKES = (
    TaskBeforeCpu,
    ContextByContext,
    GoesOnBehindAFailure,
    NoErrorState,
    NoRotation,
    RotatesTheFirstOfAll,
    TaskStaysInRotation,
    TimerFromNow,
    TurnsForNobody,
    NothingIsKept,
    NoWeights,
    TiesFromTheEnd,
    KeepsAtOnce,
    SwitchSparesTheFlexible,
    SwitchDisturbsTheFlexible,
    EverybodyOut,
    DisablingReschedules,
    JoiningTheDisabledReschedules,
    GroupsInPart,
    SiblingsInherit,
    NoFixedFirst,
    SiblingsOfTheDisabledAge,
    GuestTimeCounts,
    PutByContext,
)
