# SPDX-License-Identifier: Apache-2.0
"""Random guests under faults of host perf and of KVM (settings host.fault_*, kvm.fault_*).

What such a guest reads no rule says. But every loss must have its cause, and no other: nothing is
left that the books can only call unexplained. A mediated guest notices nothing.

Drawn by seeds: a guest is long, and most of what it does has to count something.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import guest_asm as asm
import pytest
import rules
from drawing import PROFILES, WRAP
from drawing_amd import CTL, CTR
from program import ENTRY, LVTPC, NMI, image
from sequences import WORK

from pmupass.records import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from program import Step

    from pmupass.core import Machine

INTEL, AMD = ("sapphire-rapids", "skylake-sp"), ("zen3", "zen4")
# What VMRUN adds to branches on AMD's CPUs is an erratum of the silicon.
NO_ERRATA = ("cpu.overcount_entry_branches=0",)
FAULTS = {
    "host.fault_event_create": (0, 0, 0, 2, 3),
    "host.fault_event_period": (0, 0, 1, 2, 3),
    "host.fault_overflow": (0, 0, 1, 2, 5),
    "host.fault_late_reprogram": (0, 0, 0, 1, 2, 6),
}
MISWRITES = ("none", "none", "zero-extended", "31-bit")
OF_A_FAULT = {"refused", "late-reprogram", "throttled", "counter-write"}
ENABLES = (rules.OS, rules.USR, rules.OS | rules.USR)


class Guest:
    """What a guest of a CPU does, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - nothing is secret
        self.cpu = self.rng.choice((*INTEL, *INTEL, *AMD))
        self.is_intel = self.cpu in INTEL
        self.faults = self._faults()
        number = self.rng.randint(10, 40)
        self.steps: list[Step] = [("wr", LVTPC, NMI)]
        while len(self.steps) < number:
            self.steps += self._piece()

    def _faults(self) -> tuple[str, ...]:
        found = {key: self.rng.choice(values) for key, values in FAULTS.items()}
        if self.is_intel:
            found["kvm.fault_counter_write"] = self.rng.choice(MISWRITES)
        return tuple(f"{key}={value}" for key, value in found.items())

    def _selector(self, i: int) -> Step:
        branches = rules.BRANCHES if self.is_intel else 0xC2
        what = self.rng.choice((rules.INSTRUCTIONS, branches)) | self.rng.choice(ENABLES)
        how = rules.EN | rules.INT if self.rng.random() < 0.7 else self.rng.choice((0, rules.EN))
        return ("wr", rules.EVTSEL0 + i if self.is_intel else CTL + 2 * i, what | how)

    def _start(self, i: int, most: int) -> Step:
        value = WRAP - self.rng.randint(1, most)
        if not self.is_intel:
            return ("wr", CTR + 2 * i, value)
        if self.rng.random() < 0.5:
            return ("wr", rules.PERFCTR0 + i, self.rng.randrange(1 << 32))
        return ("wr", rules.PMC0 + i, value)

    def _fixed(self) -> list[Step]:
        control = self.rng.choice((0, 3, 8, 9, 11, 0x33))
        start = WRAP - self.rng.randint(1, 5000)
        return [("wr", rules.FIXED_CTR0, start), ("wr", rules.FIXED_CTR_CTRL, control)]

    def _labour(self) -> Step:
        kind = self.rng.choice(("spin", "uspin", "work", "uwork", "cpuid"))
        if kind == "cpuid":
            return (kind, self.rng.randint(1, 20), 0)
        number = self.rng.randint(1, 1 << self.rng.choice((4, 10)))
        return (kind, number, self.rng.choice(PROFILES) if "work" in kind else 0)

    def _global(self) -> list[Step]:
        if self.is_intel:
            value = self.rng.choice((0, 7 << 32 | 0xFF, 7 << 32 | 0xF, self.rng.randrange(16)))
            return [("wr", rules.OVF_CTRL, 7 << 32 | 0xF), ("wr", rules.GLOBAL_CTRL, value)]
        return [("wr", LVTPC, NMI)]

    def _piece(self) -> list[Step]:
        i = self.rng.randrange(4)
        kind = self.rng.random()
        if kind < 0.25:
            return [self._start(i, 1 << self.rng.choice((3, 8, 13))), self._selector(i)]
        if kind < 0.35:
            # More samples than a tick may have.
            loop = ("spin", self.rng.randint(500, 2000), 0)
            return [self._start(i, 8), self._selector(i), loop]
        if kind < 0.45:
            return self._fixed() if self.is_intel else [self._selector(i)]
        if kind < 0.6:
            return self._global()
        if kind < 0.75:
            return [("pmc", i, 0)]
        return [self._labour()]

    def run(self, mode: str, faults: Iterable[str]) -> Machine:
        """Run it to its end."""
        done = asm.run_image(
            image(self.steps),
            mode=mode,
            cpu=self.cpu,
            settings=("guest.memory_mb=8", *(() if self.is_intel else NO_ERRATA), *faults),
            skid_cycles=0,
            profiles=WORK,
        )
        assert done.stop is Stop.EXIT
        return done.machine


def seen(machine: Machine, steps: list[Step]) -> tuple[object, ...]:
    """Return all that a guest and its books have of a run."""
    return (
        machine.physical(asm.RESULTS, ENTRY * len(steps)),
        machine.guest(),
        machine.counters(),
        machine.silent_errors(),
        machine.pmi(),
        machine.exits(),
        machine.stats(),
        machine.costs(),
    )


def check(seed: int) -> set[str]:
    """Run a guest emulated, and mediated with its faults and without; return the causes met."""
    guest = Guest(seed)
    machine = guest.run("emulated", guest.faults)
    found = set()
    for counter in machine.counters():
        assert sum(counter.causes.values()) == counter.true_count - counter.counted, seed
        found |= set(counter.causes)
    found |= {error.cause for error in machine.silent_errors()}
    assert found <= OF_A_FAULT, (seed, guest.cpu, guest.faults, found)
    if guest.cpu != "zen3":
        plain, faulty = (seen(guest.run("mediated", f), guest.steps) for f in ((), guest.faults))
        assert plain == faulty, seed
    return found


def test_every_loss_has_its_cause() -> None:
    assert set().union(*(check(seed) for seed in range(200))) == OF_A_FAULT


@pytest.mark.slow
def test_every_loss_has_its_cause_at_length() -> None:
    for seed in range(200, 10_000):
        check(seed)
