# SPDX-License-Identifier: Apache-2.0
"""``pmupass bench watchdog``: what each lockup detector leaves to guests, and costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from pmupass import costs, cpus
from pmupass.bench import watchdog
from pmupass.bench.watchdog import DETECTORS, EVENTS, HOST_ONLY, MODES, Row
from pmupass.machine import Session, unwatched
from pmupass.results import Chart, Measurement

CPUS = tuple(EVENTS)
each_cpu = pytest.mark.parametrize("cpu", CPUS)
each_mode = pytest.mark.parametrize("mode", MODES)


Rows = dict[tuple[str, str, str], Row | None]
Get = Callable[[str, str, str], Row]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return {
        (cpu, mode, detector): watchdog.row(unwatched, cpu, mode, detector)
        for cpu in CPUS
        for mode in MODES
        for detector in DETECTORS
    }


@pytest.fixture
def row(rows: Rows) -> Get:
    def get(cpu: str, mode: str, detector: str) -> Row:
        found = rows[cpu, mode, detector]
        assert found
        return found

    return get


def test_only_a_mediated_vm_beside_a_counter_of_guests_is_refused(rows: Rows) -> None:
    refused = [key for key, found in rows.items() if found is None]
    assert refused == [(cpu, "mediated", "perf") for cpu in CPUS]


@pytest.mark.parametrize(("cpu", "counters"), [("sapphire-rapids", 8 + 3), ("zen4", 6)])
def test_a_counter_on_the_host_is_one_less_for_emulated_guests(
    row: Get, cpu: str, counters: int
) -> None:
    # KVM offers 8 GP and 3 fixed counters, or 6. The event that is last, cycles, has none left:
    # Sapphire Rapids' fixed counter of cycles is the detector's, and the GP counters are in use.
    for detector in DETECTORS:
        takes = detector in ("perf", HOST_ONLY)
        found = row(cpu, "emulated", detector)
        assert found.counters == counters - takes
        assert found.cycles_lost == takes
        if detector != "perf":
            assert row(cpu, "mediated", detector).counters == counters
            assert row(cpu, "mediated", detector).cycles_lost == 0


def test_sampling_loses_the_event_that_has_no_counter(row: Get) -> None:
    """Six events fill Zen 4's counters, and not Sapphire Rapids' nine that take instructions."""
    assert row("zen4", "emulated", "perf").samples_lost == pytest.approx(1 / 6, rel=1e-3)
    assert row("sapphire-rapids", "emulated", "perf").samples_lost == 0
    for cpu in CPUS:
        assert row(cpu, "emulated", "buddy").samples_lost == 0


@each_cpu
@each_mode
def test_exits(row: Get, cpu: str, mode: str) -> None:
    # In 100 s a timer each 4 s: 25. An NMI of the HPET each 10 s: 10, of which those at 20, 40, ...
    # come with a timer: 5 exits more. A counter of core cycles whose period is 10 s of the TSC: as
    # often as that is in 102.5 s of the core, for it has not been there in the first 2.5 s.
    model = cpus.load(cpu)
    none = row(cpu, mode, "none").exits
    added = {
        d: row(cpu, mode, d).exits - none for d in DETECTORS if (mode, d) != ("mediated", "perf")
    }
    assert added["buddy"] == added[HOST_ONLY] == 25
    assert added["hpet"] == 30
    if mode == "emulated":
        assert added["perf"] == 25 + 102.5 * model.core_khz // (10 * model.tsc_khz)


@each_cpu
@each_mode
def test_cycles(row: Get, cpu: str, mode: str) -> None:
    # An exit by a timer is the CPUID exit with an interrupt in place of the CPUID; an NMI of the
    # HPET takes its handler, and an exit of its own in five of ten cases.
    cost = {function: entry.cycles for function, entry in costs.load(cpu=cpu).items()}
    cpuid = cost["kvm_emulate_cpuid"] + cost["kvm_skip_emulated_instruction"]
    plain = row(cpu, mode, "none").exit_cycles - cpuid - cost["kvm_pmu_trigger_event"]
    none = row(cpu, mode, "none").host_cycles
    timers = row(cpu, mode, "buddy").host_cycles - none
    assert timers == pytest.approx(
        25 * (plain + cost["asm_sysvec"] + cost["watchdog_timer_fn"]), rel=1e-3
    )
    nmis = row(cpu, mode, "hpet").host_cycles - none - timers
    handler = cost["asm_exc_nmi"] + cost["hardlockup_detector_nmi_handler"]
    assert nmis == pytest.approx(10 * handler + 5 * plain, rel=1e-3)


@each_cpu
def test_cycles_of_the_counter(row: Get, cpu: str) -> None:
    """Its overflows cost what they cost with a threshold of a second, where there are more."""
    options = watchdog.options(cpu, "perf", "short")
    settings = (*options.settings, "host.watchdog_thresh=1")
    result = Session(dataclasses.replace(options, settings=settings)).whole("emulated")
    (nmi,) = [e for e in result.exits if e.reason in ("EXCEPTION_NMI", "nmi")]
    assert nmi.count > 1
    perf, buddy = (row(cpu, "emulated", d) for d in ("perf", "buddy"))
    assert (
        perf.host_cycles - buddy.host_cycles == (perf.exits - buddy.exits) * nmi.cycles / nmi.count
    )


@each_cpu
def test_a_counter_that_leaves_guests_out_is_moved_at_each_switch(row: Get, cpu: str) -> None:
    """Exits of emulated guests stay as they are; a mediated switch takes it off, then back on."""
    exits = {(m, d): row(cpu, m, d).exit_cycles for m in MODES for d in ("none", HOST_ONLY)}
    assert exits["emulated", HOST_ONLY] == exits["emulated", "none"]
    assert exits["mediated", HOST_ONLY] > 1.4 * exits["mediated", "none"]
    assert row(cpu, "mediated", HOST_ONLY).seen < 0.2
    assert row(cpu, "emulated", HOST_ONLY).seen > 0.9


def test_charts(row: Get) -> None:
    """The figures of the rows, none where KVM refuses the VM; what is added is none without one."""
    found = list(watchdog.measure(unwatched))
    charts = {c.name: c for c in found if isinstance(c, Chart)}
    values = {
        (name, s.name, point): value
        for name, c in charts.items()
        for s in c.series
        for point, value in zip(c.points, s.values, strict=True)
    }
    for name in charts:
        assert [key[1:] for key, value in values.items() if key[0] == name and value is None] == [
            (f"{cpu}, mediated", "perf") for cpu in CPUS
        ]
    assert values["counters", "zen4, emulated", "perf"] == 5
    assert values["sampling", "zen4, mediated", "buddy"] == pytest.approx(
        100 * row("zen4", "mediated", "buddy").sampling, abs=1e-4
    )
    assert {v for (name, _, at), v in values.items() if name == "cycles" and at == "none"} == {0}
    seen = [m for m in found if isinstance(m, Measurement)]
    assert len(seen) == len(CPUS) * len(MODES)
