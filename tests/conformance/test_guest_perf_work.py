# SPDX-License-Identifier: Apache-2.0
"""A guest's perf is as heavy as Linux's: what its kernel retires, what samples it allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pmupass import core
from pmupass.config import Mode
from pmupass.core import Machine
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import Stop

if TYPE_CHECKING:
    from pmupass.records import GuestReport

MODES = ("native", "emulated", "mediated")
TIME_NS = 20_000_000


def record(mode: str, *settings: str, events: str = "instructions:u", **options: object) -> Machine:
    """Run perf-record, and return the machine that did."""
    given = {"time_ns": TIME_NS, "host": False, **options}
    plan = Plan(Options("perf-record", events=events, settings=settings, **given))
    machine = Machine(plan.config(Mode[mode.upper()], work=None, perf=True))
    assert machine.run(1 << 50) is Stop.EXIT
    return machine


def report_of(machine: Machine) -> GuestReport:
    """Return what the guest says."""
    report = machine.report()
    assert report is not None
    return report


def amounts() -> dict[str, int]:
    """Return instructions by function; a function with two entries has their sum."""
    found: dict[str, int] = {}
    for entry in core.table("kernel_work"):
        found[entry.name] = found.get(entry.name, 0) + entry.value
    return found


@pytest.mark.parametrize("mode", MODES)
def test_what_pmis_and_ticks_retire(mode: str) -> None:
    """Two runs of the same work, with the kernel's work and without it, differ by that work.

    Events of user code with a fixed period: PMIs depend on the work alone. Each has an NMI's entry
    and exit, the handler and its mean; each sample an overflow, its preparation and its output;
    each tick its own. What a call of the work instruction itself takes, and the ticks that the
    longer run has more, are a little on top.
    """
    work = 40_000_000

    def run(percent: int) -> tuple[int, GuestReport]:
        options = Options(
            "perf-record",
            events="instructions:u",
            period=200_000,
            settings=(f"guest.perf_work={percent}", "guest.kernel=0"),
            time_ns=TIME_NS,
            host=False,
        )
        config = Plan(options).config(Mode[mode.upper()], work=work, perf=True)
        machine = Machine(config)
        assert machine.run(1 << 50) is Stop.EXIT
        return machine.guest().instructions, report_of(machine)

    without, few = run(0)
    whole, report = run(100)
    assert report.pmis == few.pmis == work // 200_000
    assert report.throttles == 0
    per = amounts()
    pmi = sum(
        per[name] for name in ("asm_exc_nmi", "intel_pmu_handle_irq", "perf_sample_event_took")
    )
    sample = sum(
        per[name] for name in ("__perf_event_overflow", "perf_prepare_sample", "perf_output_sample")
    )
    ticks = report.ticks * per["tick_nohz_handler"]
    expected = report.pmis * (pmi + sample) + ticks
    assert expected < whole - without < 1.05 * expected


@pytest.mark.parametrize("percent", [50, 200])
def test_it_can_be_scaled(percent: int) -> None:
    """guest.perf_work: so many per cent of it, native overhead with it."""

    def cycles(percent: int) -> int:
        report = report_of(record("native", f"guest.perf_work={percent}", period=500_000))
        return round((report.tsc_end - report.tsc_begin) * 10**6 / report.work)

    none, all_of_it, scaled = cycles(0), cycles(100), cycles(percent)
    assert none < all_of_it
    assert (scaled - none) / (all_of_it - none) == pytest.approx(percent / 100, rel=0.1)


def test_an_event_is_throttled_until_the_tick() -> None:
    """100,000 samples a second are 100 a tick at 1000 Hz, and the one behind them stops the event.

    A period of 2,000 instructions would bring some 500 in a tick. The first sample of a tick is not
    compared, the 101st is more than 100: so a whole tick has 101. Before the first tick and behind
    the last one there are as many at most. A native PMI takes less than the 2.5 us that it may.
    """
    report = report_of(record("native", period=2_000, events="instructions"))
    (event,) = report.events
    assert report.max_sample_rate == 100_000
    assert report.ticks >= 15
    assert report.ticks - 1 <= report.throttles <= report.ticks + 1
    assert 101 * (report.ticks - 1) <= event.samples <= 101 * (report.ticks + 1)
    assert event.running == event.enabled, "it has kept its counter meanwhile"


@pytest.mark.parametrize("linux", ["6.8", "6.9"])
def test_the_tick_starts_it_again_whatever_the_kernel(linux: str) -> None:
    """As above, of either kernel's ticks."""
    machine = record(
        "native",
        f"guest.linux={linux}",
        "guest.hz=250",
        period=2_000,
        events="instructions",
    )
    report = report_of(machine)
    # 100,000 a second are 400 a tick at 250 Hz, and the PMIs of a whole tick could be 2,000.
    assert 401 * (report.ticks - 1) <= report.events[0].samples <= 401 * (report.ticks + 1)


def test_without_a_tick_nothing_is_throttled() -> None:
    """For nothing would start it again: all the samples that the work is worth."""
    report = report_of(record("native", "guest.hz=0", period=5_000))
    assert report.throttles == 0
    assert report.events[0].samples == report.events[0].value // 5_000


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_the_rate_comes_down_where_pmis_take_long(mode: str) -> None:
    """A PMI of a guest takes many exits: more than the 2.5 us that 100,000 a second may take.

    What a tick may bring then fits a quarter of it, at a quarter more than the mean: with PMIs of t
    us not more than 250 / (1.25 t). An emulated one has eight accesses that exit, at 1100 cycles of
    3 GHz each and at more for the pause and the resume, so over 5 us: 40 a tick at most; a mediated
    one's less. And a tick has at most what is allowed, and one.
    """
    report = report_of(record(mode, period=5_000, time_ns=100_000_000))
    (event,) = report.events
    assert 1_000 <= report.max_sample_rate < 100_000
    assert report.max_sample_rate % 1_000 == 0
    if mode == "emulated":
        assert report.max_sample_rate <= 40_000
    assert report.throttles > report.ticks // 2
    # The rate has only come down: the first ticks may have brought more.
    allowed = report.max_sample_rate // 1_000 + 1
    assert event.samples < allowed * (report.ticks + 1) + 100 * 12


@pytest.mark.parametrize("cpu", ["zen3", "zen4"])
def test_throttling_on_amd(cpu: str) -> None:
    """The same without GLOBAL_CTRL and with PerfMonV2."""
    report = report_of(record("native", period=2_000, cpu=cpu, events="instructions"))
    allowed = report.max_sample_rate // 1_000 + 1
    assert report.throttles >= report.ticks - 1
    assert report.events[0].samples <= 101 * (report.ticks + 1)
    assert report.events[0].samples >= allowed * (report.ticks - 1)


@pytest.mark.parametrize(
    ("cpu", "mode"),
    [
        *((cpu, "native") for cpu in ("zen2", "zen3", "zen5", "skylake-sp")),
        *((cpu, "emulated") for cpu in ("zen5", "skylake-sp")),
    ],
)
def test_many_samples_end_in_time(cpu: str, mode: str) -> None:
    """20,000 a second of six events in tiny steps: they end, throttled while others go on and off.

    Without global registers the PMU goes off selector by selector, and an NMI in between may have
    stopped the next one.
    """
    report = report_of(
        record(
            mode,
            "guest.chunk=1000",
            cpu=cpu,
            frequency=20_000,
            events=",".join(["instructions"] * 6),
        )
    )
    if mode == "emulated":
        assert report.max_sample_rate < 100_000
        assert report.throttles > 10
