# SPDX-License-Identifier: Apache-2.0
"""An erratum by which VM-exits and VM-entries count as instructions and branches retired.

The rule: each VM-exit adds to the counters that are enabled in silicon before it, each VM-entry to
those that are enabled behind it, at the guest's privilege; so a counter shows the true count and,
on top of it, exits and entries times their amounts. The truth has none of it, and the loss says
why.

    amounts     exit: 3 instructions, 7 branches; entry: 5 instructions, 11 branches

so that each of the four shows in the sums by itself.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

from pmupass import cpus
from pmupass.config import Vendor

NATIVE, EMULATED, MEDIATED = asm.MODES
CPU = "sierra-forest"
EXIT = {"instructions": 3, "branches": 7}
ENTRY = {"instructions": 5, "branches": 11}
AMOUNTS = tuple(
    f"cpu.overcount_{side}_{event}={n}"
    for side, amounts in (("exit", EXIT), ("entry", ENTRY))
    for event, n in amounts.items()
)
STORM, ROUNDS = asm.CPUID_STORM, asm.CPUID_ROUNDS
INSTRUCTIONS, BRANCHES = asm.CPUID_STORM_INSTRUCTIONS, asm.CPUID_STORM_BRANCHES
FIXED_TYPE = 0x40000000


def guest(
    body: str, *, privileges: int = asm.OS | asm.USR, branches: int = 0, fixed: int = 3
) -> str:
    """Return a guest that counts a body: instructions on GP 0 and fixed 0, branches on GP 1."""
    return f"""
	{asm.PRELUDE}
_start:	kernel_setup
	wr	0x38f, 0
	wr	0x186, {asm.EN | privileges | asm.EVENTS["instructions"]}
	wr	0x187, {asm.EN | privileges | asm.EVENTS["branches"]}
	wr	0x38d, {fixed}
	wr	0x4c1, 0
	wr	0x4c2, {branches}
	wr	0x309, 0
	wr	0x38f, {1 << asm.FIXED | 3}
	{body}
	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	keep_pmc 2, {FIXED_TYPE}
	rd	0x38e
	keep	3
	finish
"""


def extra(event: str, crossings: int) -> int:
    """Return what that many exits and as many entries add."""
    return crossings * (EXIT[event] + ENTRY[event])


# How often the guest leaves with its counters on: once a CPUID. Where writes of GLOBAL_CTRL exit
# too, the entry behind the one that enables and the exit of the one that disables make one more.
# A mediated guest on this CPU has all counters, so its writes are direct; with fewer, they exit.
CROSSINGS = [
    (NATIVE, (), 0),
    (EMULATED, (), ROUNDS + 1),
    (MEDIATED, (), ROUNDS),
    (MEDIATED, ("guest.gp_counters=4",), ROUNDS + 1),
    (MEDIATED, ("guest.gp_counters=4", "kvm.interception=rfc2024"), ROUNDS),
]


@pytest.mark.parametrize(("mode", "settings", "crossings"), CROSSINGS)
def test_counters_show_exits_and_entries(
    mode: str, settings: tuple[str, ...], crossings: int
) -> None:
    ran = asm.run(guest(STORM), mode=mode, cpu=CPU, settings=(*AMOUNTS, *settings))
    # and the frame: the WRMSR that enables, 3 instructions before the one that disables
    instructions, branches = INSTRUCTIONS + 4, BRANCHES
    assert ran.results(3) == [
        instructions + extra("instructions", crossings),
        branches + extra("branches", crossings),
        instructions + extra("instructions", crossings),
    ]
    counters = ran.counters()
    # GP 0 and fixed 0 count the same event: one entry for both.
    expected = {
        "instructions": (2 * instructions, 2 * extra("instructions", crossings)),
        "branches": (branches, extra("branches", crossings)),
    }
    for event, (true, more) in expected.items():
        counter = counters[asm.EVENTS[event] | asm.OS | asm.USR]
        assert counter.true_count == true
        assert counter.counted == true + more
        assert counter.causes == ({"erratum": -more} if more else {})
    errors = ran.machine.silent_errors()
    assert sum(error.lost for error in errors) == -sum(more for _, more in expected.values())
    assert {error.cause for error in errors} <= {"erratum"}
    assert len(errors) == (3 if crossings else 0), "an episode a counter, not one an exit"


@pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
def test_the_models_own_amounts(mode: str) -> None:
    """One for each exit and each entry, as the model's file has it until somebody measures it."""
    amounts = tuple(f"cpu.{key.split('.')[1].split('=')[0]}=1" for key in AMOUNTS)
    crossings = ROUNDS + (mode == EMULATED)
    ran = asm.run(guest(STORM), mode=mode, cpu=CPU, settings=amounts)
    assert ran.results(2) == [INSTRUCTIONS + 4 + 2 * crossings, BRANCHES + 2 * crossings]
    model = cpus.load(CPU).overcount
    assert (model.exit_instructions, model.entry_instructions) == (1, 1)
    assert (model.exit_branches, model.entry_branches) == (1, 1)


@pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
def test_counters_of_the_other_privilege_show_nothing(mode: str) -> None:
    """The guest exits in its kernel: counters of user code are not touched."""
    source = guest(STORM, privileges=asm.USR, fixed=2)
    ran = asm.run(source, mode=mode, cpu=CPU, settings=AMOUNTS)
    assert ran.results(3) == [0, 0, 0]
    assert all(not counter.causes for counter in ran.counters().values())


@pytest.mark.parametrize(("mode", "exits"), [(EMULATED, 1), (MEDIATED, 1), (NATIVE, 0)])
def test_what_an_exit_adds_can_overflow_a_counter(mode: str, exits: int) -> None:
    """A counter of branches 7 below its end, and no branch: the exit of CPUID takes it to 0.

    The entry behind it adds 11. In emulated mode the entry behind the WRMSR that enables comes
    first, so the counter begins 11 lower; and the WRMSR that disables exits and adds 7.
    """
    start = -EXIT["branches"] - (ENTRY["branches"] if mode == EMULATED else 0)
    ran = asm.run(
        guest("xorl %eax, %eax\n cpuid", branches=start & asm.WIDTH),
        mode=mode,
        cpu=CPU,
        settings=AMOUNTS,
    )
    behind = ENTRY["branches"] + (EXIT["branches"] if mode == EMULATED else 0)
    assert ran.result(1) == (behind if exits else start & asm.WIDTH)
    assert ran.result(3) & 2 == 2 * exits


def test_contended_counters_are_not_touched() -> None:
    """Where host perf holds all counters that could count it, no silicon counter is the guest's.

    What the guest reads are KVM's credits: of the CPUIDs, and of the WRMSR that enables.
    """
    hosts = tuple(["instructions:D"] * 9)  # 8 GP counters and fixed 0
    ran = asm.run(guest(STORM), mode=EMULATED, cpu=CPU, settings=AMOUNTS, host_perf=hosts)
    credited = ROUNDS + 1
    assert ran.result(0) == ran.result(2) == credited
    counter = ran.counters()[asm.EVENTS["instructions"] | asm.OS | asm.USR]
    assert counter.causes == {"contention": 2 * (INSTRUCTIONS + 4 - credited)}


@pytest.mark.parametrize("cpu", cpus.names())
def test_only_sierra_forest_and_amd_have_the_erratum(cpu: str) -> None:
    overcount = cpus.load(cpu).overcount
    amounts = [getattr(overcount, name) for name in overcount.__slots__]
    assert any(amounts) == (cpu == CPU or cpus.load(cpu).maker is Vendor.AMD)
    erratum = cpus.load(cpu).errata.overcount
    assert bool(erratum.source and erratum.confidence) == any(amounts)
