# SPDX-License-Identifier: Apache-2.0
"""Exits of perf-record, derived by hand from the guest's register accesses, compared exactly.

csrc/guest/perf.h lists the accesses; they are those of Linux's driver. Let P be the PMIs that the
guest's handler served, S the overflows in them (status bits that it acknowledged), T the ticks, n
the events, f of them on fixed counters and g on GP ones, all sampling at a frequency. The guest
then makes:

    GLOBAL_CTRL     start: 1 for the first event (the PMU was never on), 2 for each other
                    tick: 2 (Linux 6.9) or 2 n (6.8); PMI: 2, or 1 if it hit while the PMU was off
                    end: 2
    FIXED_CTR_CTRL  f at the starts, 1 at the end if f > 0
    selectors       start g, tick 2 g, end g
    counters        start n, tick n, overflow 1                         (written)
    RDPMC           tick n, overflow 1, end n
    STATUS          2 a PMI                                             (read)
    OVF_CTRL        1 a PMI
    LVTPC           1 at boot, 1 a start, 1 a PMI
    TSC_DEADLINE    1 for the first tick, 1 a tick, 1 at the end
    others at boot  EFER read and written, STAR, LSTAR and FMASK written, APICBASE read and
                    written, SPIV, LVTT written, PERF_CAPABILITIES read,
                    4 CPUIDs, ports: report and exit

APIC MSRs, TSC_DEADLINE, APICBASE, PERF_CAPABILITIES, CPUID and ports exit under KVM whatever the
vPMU is; a tick itself is the exit of the preemption timer. Of the rest, the emulated vPMU
intercepts all. The mediated one intercepts selectors and FIXED_CTR_CTRL; counters are direct;
RDPMC, STATUS, OVF_CTRL and GLOBAL_CTRL are intercepted only where the guest lacks counters of the
hardware: on Sapphire Rapids with 3 of its 4 fixed counters, but not with kvm.max_fixed_counters=4,
and not on Skylake-SP. Cascade Lake-SP is as Skylake-SP and so, in this, is Sierra Forest; the
others have Sapphire Rapids' counters.

So a PMI with one overflow takes, its own exit included,

    emulated            1 + GLOBAL 2 + STATUS 2 + OVF 1 + RDPMC 1 + counter 1 + LVTPC 1 = 9
    mediated, lacking   1 + GLOBAL 2 + STATUS 2 + OVF 1 + RDPMC 1 + LVTPC 1             = 8
    mediated, all       1 + LVTPC 1                                                     = 2

and a tick 2 (timer and deadline) + GLOBAL 2, 2 or 0 + for each event on a fixed counter 2, 1 or 0,
on a GP counter 4, 3 or 2.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import pytest

import pmupass
from pmupass import core
from pmupass.config import Mode
from pmupass.core import Machine
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import GuestReport, Stop

# CPU, its settings, whether a mediated guest has all of the hardware's counters.
SETUPS = {
    "sapphire-rapids": ("sapphire-rapids", (), False),
    "sapphire-rapids-4-fixed": ("sapphire-rapids", ("kvm.max_fixed_counters=4",), True),
    "skylake-sp": ("skylake-sp", (), True),
}
MORE_SETUPS = {
    "cascadelake-sp": ("cascadelake-sp", (), True),
    "icelake-sp": ("icelake-sp", (), False),
    "icelake-sp-4-fixed": ("icelake-sp", ("kvm.max_fixed_counters=4",), True),
    "emerald-rapids": ("emerald-rapids", (), False),
    "granite-rapids": ("granite-rapids", (), False),
    "sierra-forest": ("sierra-forest", (), True),
}
# Events and how many of them go to fixed counters.
EVENTS = {
    "fixed": ("cycles,instructions", 2),
    "gp": ("branches,branch-misses", 0),
    "both": ("cycles,instructions,branches", 2),
    "one": ("cycles", 1),
}
GLOBAL_CTRL, OVF_CTRL = 0x38F, 0x390
WRITE = 1
# Half a tick over, so that the end does not meet a tick.
TIME_NS = 20_500_000


@dataclass
class Recorded:
    """One run of perf-record with its trace."""

    report: GuestReport
    exits: dict[str, int]
    trace: list[tuple[int, str, int, int, int, int]]

    def written(self, msr: int) -> list[int]:
        """Return the values that the guest wrote to an MSR, in order."""
        return [b for _, name, x, a, b, _ in self.trace if (name, x, a) == ("kvm_msr", WRITE, msr)]

    @property
    def overflows(self) -> int:
        """Overflows that the guest's handler served: status bits that it acknowledged.

        A few are no samples: the tick found the period over before the PMI did.
        """
        return sum(status.bit_count() for status in self.written(OVF_CTRL))

    @property
    def pmis_while_off(self) -> int:
        """PMIs that found the PMU turned off by its driver, as it is at first.

        The handler then writes GLOBAL_CTRL = 0 once more and leaves it there.
        """
        values = [0, *self.written(GLOBAL_CTRL)]
        return sum(not one and not next_ for one, next_ in itertools.pairwise(values))


def record(
    cpu: str, mode: str, events: str, settings: tuple[str, ...], **options: object
) -> Recorded:
    """Run perf-record for TIME_NS of guest time."""
    given = {"time_ns": TIME_NS, "host": False, **options}
    plan = Plan(Options("perf-record", cpu=cpu, events=events, settings=settings, **given))
    config = plan.config(Mode[mode.upper()], work=None, perf=True)
    machine = Machine(dataclasses.replace(config, trace_records=1 << 18))
    assert machine.run(1 << 50) is Stop.EXIT
    report = machine.report()
    assert report is not None
    trace = machine.trace()
    assert len(trace) < 1 << 18, "the ring was too small"
    exits = {e.reason: e.count - e.profile for e in machine.exits() if e.count > e.profile}
    return Recorded(report, exits, trace)


def expected_exits(
    ran: Recorded, *, mode: str, everything_direct: bool, events: int, fixed: int, linux: str
) -> dict[str, int]:
    """Return the exits that the accesses make, those of PMIs themselves left out."""
    pmis, ticks, overflows = ran.report.pmis, ran.report.ticks, ran.overflows
    gp = events - fixed
    toggles = 1 if linux == "6.9" else events
    global_ctrl = (2 * events - 1) + 2 * toggles * ticks + 2 * pmis - ran.pmis_while_off + 2
    fixed_ctrl = fixed + (1 if fixed else 0)
    selectors = gp + 2 * gp * ticks + gp
    counters = events + events * ticks + overflows
    rdpmc = events * ticks + overflows + events
    status, acknowledge = 2 * pmis, pmis
    lvtpc, deadline, boot_writes, boot_reads = 1 + events + pmis, 1 + ticks + 1, 7, 3

    writes = boot_writes + lvtpc + deadline + fixed_ctrl + selectors
    reads, rdpmc_exits = boot_reads, 0
    if mode == "emulated":
        writes += counters
    if mode == "emulated" or not everything_direct:
        writes += global_ctrl + acknowledge
        reads += status
        rdpmc_exits = rdpmc
    found = {
        "MSR_WRITE": writes,
        "MSR_READ": reads,
        "RDPMC": rdpmc_exits,
        "PREEMPTION_TIMER": ticks,
        "CPUID": 4,
        "IO_INSTRUCTION": 2,
    }
    return {reason: count for reason, count in found.items() if count}


@pytest.mark.parametrize("linux", ["6.9", "6.8"])
@pytest.mark.parametrize("events", EVENTS)
@pytest.mark.parametrize("mode", ["emulated", "mediated"])
@pytest.mark.parametrize("setup", SETUPS)
def test_exits_are_the_accesses(setup: str, mode: str, events: str, linux: str) -> None:
    cpu, settings, everything_direct = SETUPS[setup]
    names, fixed = EVENTS[events]
    ran = record(cpu, mode, names, (*settings, f"guest.linux={linux}"))
    report = ran.report
    # Enough of each that a wrong coefficient shows.
    assert report.ticks == 20
    assert report.pmis >= 15
    assert ran.overflows >= report.pmis
    # What the formula does not know: a PMI with nothing to do, rotations (all events fit).
    assert report.pmis_empty == 0
    assert report.rotations == 0

    measured = dict(ran.exits)
    pmi_exit = "EXCEPTION_NMI" if mode == "emulated" else "EXTERNAL_INTERRUPT"
    own = measured.pop(pmi_exit)
    windows = measured.pop("NMI_WINDOW", 0)
    assert measured == expected_exits(
        ran,
        mode=mode,
        everything_direct=everything_direct,
        events=len(names.split(",")),
        fixed=fixed,
        linux=linux,
    )
    assert own == _pmi_exits(ran, pmi_exit)
    # A PMI that falls due between the handler's LVTPC write and its IRET waits for the NMI window.
    assert windows <= report.pmis // 5


def _pmi_exits(ran: Recorded, pmi_exit: str) -> int:
    """Return the exits that PMIs make, by the trace.

    KVM looks at the virtual LVTPC once for each PMI (kvm_pmi) and delivers as many as the guest's
    handler sees. One exit each, unless the PMI was under way when the guest exited for another
    reason: it arrives during that exit.
    """
    reasons = core.names("exit_reasons")
    last, own, delivered, idle = "", 0, 0, 0
    for _, name, x, _, _, _ in ran.trace:
        if name == "kvm_exit":
            idle += last == pmi_exit
            last = reasons[x]
        elif name == "kvm_pmi":
            delivered += x
            own += last == pmi_exit
            last = ""
    assert delivered == ran.report.pmis
    return own + idle


@pytest.mark.parametrize(
    ("setup", "mode", "per_pmi"),
    [
        ("sapphire-rapids", "emulated", 9),
        ("sapphire-rapids", "mediated", 8),
        ("sapphire-rapids-4-fixed", "emulated", 9),
        ("sapphire-rapids-4-fixed", "mediated", 2),
        ("skylake-sp", "emulated", 9),
        ("skylake-sp", "mediated", 2),
        ("cascadelake-sp", "emulated", 9),
        ("cascadelake-sp", "mediated", 2),
        ("icelake-sp", "emulated", 9),
        ("icelake-sp", "mediated", 8),
        ("icelake-sp-4-fixed", "mediated", 2),
        ("emerald-rapids", "emulated", 9),
        ("emerald-rapids", "mediated", 8),
        ("granite-rapids", "emulated", 9),
        ("granite-rapids", "mediated", 8),
    ],
)
def test_one_more_pmi_costs_so_many_exits(setup: str, mode: str, per_pmi: int) -> None:
    """Fixed periods and no tick, so that PMIs are all that differs between two runs."""
    cpu, settings, _ = {**SETUPS, **MORE_SETUPS}[setup]

    def exits(period: int) -> tuple[int, int]:
        ran = record(cpu, mode, "instructions", (*settings, "guest.hz=0"), period=period)
        assert ran.report.ticks == ran.report.pmis_empty == 0
        assert ran.overflows == ran.report.pmis
        if mode == "emulated":
            # 100 samples without a tick throttle the host's event: one tick of the host starts.
            assert ran.exits.pop("EXTERNAL_INTERRUPT", 0) <= ran.report.pmis // 100
        return sum(ran.exits.values()), ran.report.pmis

    few, few_pmis = exits(10_000_000)
    many, many_pmis = exits(1_000_000)
    assert many_pmis > few_pmis + 50
    assert many - few == per_pmi * (many_pmis - few_pmis)


@pytest.mark.parametrize(("mode", "per_pmi"), [("emulated", 4), ("mediated", 3)])
def test_one_more_pmi_without_global_registers(mode: str, per_pmi: int) -> None:
    """Version 1: the PMI, LVTPC, RDPMC, and the counter unless it is direct (mediated)."""
    settings = ("guest.pmu_version=1", "guest.hz=0")
    few, many = (
        record("sapphire-rapids", mode, "instructions", settings, period=period)
        for period in (10_000_000, 1_000_000)
    )
    more = many.report.pmis - few.report.pmis
    assert more > 50
    assert sum(many.exits.values()) - sum(few.exits.values()) == per_pmi * more


@pytest.mark.parametrize(
    ("setup", "mode", "events", "linux", "per_tick"),
    [
        # timer and deadline 2, GLOBAL pair 2, 2 for each event on a fixed counter
        ("sapphire-rapids", "emulated", "cycles,instructions", "6.9", 2 + 2 + 2 * 2),
        ("sapphire-rapids", "emulated", "cycles,instructions", "6.8", 2 + 4 + 2 * 2),
        ("sapphire-rapids", "mediated", "cycles,instructions", "6.9", 2 + 2 + 2 * 1),
        ("sapphire-rapids", "mediated", "cycles,instructions", "6.8", 2 + 4 + 2 * 1),
        ("sapphire-rapids-4-fixed", "mediated", "cycles,instructions", "6.9", 2),
        ("skylake-sp", "emulated", "cycles,instructions", "6.9", 2 + 2 + 2 * 2),
        ("skylake-sp", "mediated", "cycles,instructions", "6.8", 2),
        # 4, 3 or 2 for each event on a GP counter
        ("sapphire-rapids", "emulated", "branches,branch-misses", "6.9", 2 + 2 + 2 * 4),
        ("sapphire-rapids", "mediated", "branches,branch-misses", "6.9", 2 + 2 + 2 * 3),
        ("sapphire-rapids", "mediated", "branches,branch-misses", "6.8", 2 + 4 + 2 * 3),
        ("sapphire-rapids-4-fixed", "mediated", "branches,branch-misses", "6.9", 2 + 2 * 2),
        ("skylake-sp", "emulated", "branches,branch-misses", "6.8", 2 + 4 + 2 * 4),
        ("skylake-sp", "mediated", "branches,branch-misses", "6.9", 2 + 2 * 2),
    ],
)
def test_one_more_tick_costs_so_many_exits(
    setup: str, mode: str, events: str, linux: str, per_tick: int
) -> None:
    """What is left of two runs that differ in HZ, once PMIs are taken away."""
    cpu, settings, everything_direct = SETUPS[setup]
    left = []
    for hz in (1000, 4000):
        ran = record(cpu, mode, events, (*settings, f"guest.linux={linux}", f"guest.hz={hz}"))
        pmi_exits = ran.exits.pop("EXCEPTION_NMI", 0) + ran.exits.pop("EXTERNAL_INTERRUPT", 0)
        assert pmi_exits
        ran.exits.pop("NMI_WINDOW", 0)
        # The last tick may come too late to be handled: its exit is left out.
        total = sum(ran.exits.values()) - (ran.exits["PREEMPTION_TIMER"] - ran.report.ticks)
        # LVTPC always; GLOBAL 2, STATUS 2, OVF 1 where intercepted; then the overflows.
        total -= ran.report.pmis
        if mode == "emulated" or not everything_direct:
            total -= 5 * ran.report.pmis - ran.pmis_while_off + ran.overflows
        if mode == "emulated":
            total -= ran.overflows
        left.append((total, ran.report.ticks))
    (few, few_ticks), (many, many_ticks) = left
    assert many_ticks > few_ticks + 50
    assert many - few == per_tick * (many_ticks - few_ticks)


@pytest.mark.parametrize(
    ("setup", "least", "most"),
    [
        ("skylake-sp", 2.5, 9.0),
        ("sapphire-rapids", 1.05, 1.5),
        ("sapphire-rapids-4-fixed", 2.5, 9.0),
    ],
)
def test_how_many_times_fewer_exits(setup: str, least: float, most: float) -> None:
    """No ratio can pass 9, for a PMI has at least its own exit and LVTPC's, and a tick its two."""
    cpu, settings, _ = SETUPS[setup]
    diff = pmupass.diff_modes(
        "perf-record", modes=["emulated", "mediated"], cpu=cpu, settings=settings
    )
    emulated, mediated = diff.results["emulated"], diff.results["mediated"]
    ratio = emulated.own_exit_count / mediated.own_exit_count
    assert least <= ratio <= most
