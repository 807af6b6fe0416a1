# SPDX-License-Identifier: Apache-2.0
"""Overhead of profiling in closed form: counts of events times prices, against the model's own.

Of a run this takes what happened and how often: exits by reason, accesses by kind, PMIs, ticks,
PMU switches, counters resumed. It never takes cycles, nor the stacks that they were charged under.
Prices are sums over the plain numbers of pmupass/costs/default.toml, written down here from what
each step does (docs/model.md, csrc/guest/perf.h). What the guest retires itself is
csrc/base/kernel_work.def at the cycles of the profile kernel-perf.

    python bench/closed_form.py

prints, for each design, the overhead of the model and of the formula: as it is, and with exit rate,
exposed counters, events, HZ or frequency doubled. Exit status 1 if they differ by more than 5 %.

An overhead is 1 - T0 / T1; T1 - T0 is what profiling adds: its exits, its accesses, what its PMIs
and ticks retire, and, where a vPMU is switched, the registers that an idle one would not have moved
at the exits that are there anyway.
"""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from msgspec import UnsetType

from pmupass import core, cpus
from pmupass.machine import Session
from pmupass.options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pmupass.results import GuestReport, Result

TOLERANCE = 0.05
NOTHING = 0.001  # an overhead below it is nothing to predict
TIME_NS = 100_000_000
GUEST_CODE = 500  # estimate: instructions of csrc/guest itself a PMI
TICK_CODE = 150  # estimate: of an event at a tick
CYCLES_OF_CODE = 0.5  # estimate: two instructions a cycle, mispredicted branches among them
SUBCYCLES = 64


def prices() -> dict[str, int]:
    """Return cycles by the short names of the cost table."""
    text = resources.files("pmupass").joinpath("costs", "default.toml").read_text("utf-8")
    return {name: entry["cycles"] for name, entry in tomllib.loads(text).items()}


def kernel_work() -> dict[str, float]:
    """Return cycles that a guest's kernel takes, by function."""
    text = resources.files("pmupass").joinpath("profiles", "kernel-perf.toml").read_text("utf-8")
    cycles = tomllib.loads(text)["rates"]["cycles"] / (1 << 20)
    found: dict[str, float] = {}
    for entry in core.table("kernel_work"):
        found[entry.name] = found.get(entry.name, 0) + entry.value * cycles
    return found


def timing(cpu: str) -> dict[str, float]:
    """Return core cycles that the CPU model takes for classes of instructions."""
    text = resources.files("pmupass").joinpath("cpus", f"{cpu}.toml").read_text("utf-8")
    table = tomllib.loads(text)["timing"]
    return {name: value / SUBCYCLES for name, value in table.items()}


C = prices()
WORK = kernel_work()


@dataclass(frozen=True)
class Shape:
    """What the guest has, and what of it the events of the run have."""

    gp: int  # counters that KVM switches
    fixed: int
    gp_used: int
    fixed_used: int
    instructions: (
        int  # events that count instructions, which a completed instruction is credited to
    )

    @property
    def used(self) -> int:
        """Counters with an event."""
        return self.gp_used + self.fixed_used


# ---- an exit ----


def exit_and_entry(*, mediated: bool, fast: bool = False) -> int:
    """Hardware both ways and KVM's way around; a mediated vCPU has no perf_guest_get_msrs()."""
    cycles = C["vmexit"] + C["vmentry"] + C["vmx_vcpu_run"]
    cycles += 0 if mediated else C["guest_get_msrs"]
    return cycles if fast else cycles + C["vcpu_enter_guest"] + C["vcpu_run"] + C["handle_exit"]


def completed() -> int:
    """KVM skips the instruction and looks whom to credit."""
    return C["skip_insn"] + C["pmu_trigger_event"]


def looked_at() -> int:
    """One counter of a KVM_REQ_PMU: found, looked at, held against the filter."""
    return C["find_next_bit"] + C["reprogram_counter"] + C["check_event_filter"]


HANDLERS = {
    "MSR_WRITE": "emulate_wrmsr",
    "MSR_READ": "emulate_rdmsr",
    "RDPMC": "emulate_rdpmc",
    "CPUID": "emulate_cpuid",
}
SERVED = {"MSR_WRITE": "pmu_set_msr", "MSR_READ": "pmu_get_msr", "RDPMC": "pmu_rdpmc"}


# ---- the mediated switch ----


def switch(shape: Shape, *, busy: bool) -> int:
    """A load and a put, registers and all (Intel, upstream).

    Load: each selector, FIXED_CTR_CTRL and GLOBAL_CTRL = 0 are written, each counter is read first
    and written if it holds something else, which is so for those in use: put has left a zero. Put:
    each counter is read; counters in use, their selectors and FIXED_CTR_CTRL are written to zero.
    Both read GLOBAL_STATUS and write the LVTPC.
    """
    writes = shape.gp + 2
    if busy:
        writes += 2 * shape.used + shape.gp_used + (1 if shape.fixed_used else 0)
    cycles = writes * C["wrmsr"] + 2 * (shape.gp + shape.fixed) * C["rdpmc"] + 2 * C["rdmsr"]
    cycles += 2 * C["lvtpc_write"] + C["mediated_load"] + C["mediated_put"]
    return cycles + C["perf_load_guest"] + C["perf_put_guest"]


# ---- the emulated counters ----


def pause() -> int:
    """perf_event_pause(): the PMU off and on around the selector, and the count taken.

    Of a fixed counter FIXED_CTR_CTRL is written in the selector's place.
    """
    return (
        C["perf_pause"]
        + C["event_sched_out"]
        + C["pmu_disable"]
        + C["pmu_enable"]
        + 3 * C["wrmsr"]
        + C["rdpmc"]
    )


def resume(shape: Shape, running: int) -> float:
    """perf_event_period() and perf_event_enable() beside so many that run.

    These go out (selector, RDPMC) and in again (counter, selector), the one among them; with each
    that comes in all before it are looked at for a place.
    """
    n = running + 1
    gp = shape.gp_used / shape.used
    writes = 2 + running * gp + n * (1 + gp) + (0 if gp == 1 else 1)
    return (
        C["check_event_filter"]
        + C["perf_period"]
        + C["perf_enable"]
        + C["ctx_resched"]
        + C["pmu_disable"]
        + C["pmu_enable"]
        + running * (C["event_sched_out"] + C["rdpmc"])
        + n * C["event_sched_in"]
        + n * (n + 1) / 2 * C["schedule_events"]
        + writes * C["wrmsr"]
    )


def emulated_counters(shape: Shape, result: Result, sets: int) -> float:
    """All pauses and resumes: ``sets`` times all counters one after the other, the rest one by one.

    A rest: a credited instruction or an overflow reprograms a counter while the others run.
    """
    resumed = result.stats["perf_events_resumed"]
    one_by_one = max(resumed - sets * shape.used, 0)
    cycles = resumed * pause()
    cycles += sets * sum(resume(shape, running) for running in range(shape.used))
    cycles += one_by_one * resume(shape, shape.used - 1)
    looks = result.stats["reprograms"] * (C["find_next_bit"] + C["reprogram_counter"])
    return cycles + looks + result.stats["reprograms"] / shape.used * C["pmu_handle_event"]


# ---- PMIs ----


def host_pmi(*, mediated: bool) -> float:
    """What the host does for a guest's PMI, its exit apart."""
    cycles = C["deliver_pmi"] + C["local_deliver"] + C["inject_nmi"]
    if mediated:
        return cycles + C["interrupt"] + C["mediated_pmi"]
    handler = C["nmi"] + C["handle_irq"] + C["perf_overflow"] + C["kvm_perf_overflow"]
    handler += C["pmu_disable"] + C["pmu_enable"] + C["lvtpc_write"]
    return cycles + handler + 5 * C["wrmsr"] + 2 * C["rdmsr"] + C["rdpmc"]


def guest_pmi(cpu: str) -> float:
    """What the guest retires for a PMI with one sample, accesses apart.

    The CPU model's own times come to it: through the IDT, IRET, and the clock read three times
    behind LFENCE.
    """
    t = timing(cpu)
    names = (
        *("asm_exc_nmi", "intel_pmu_handle_irq", "perf_sample_event_took"),
        *("__perf_event_overflow", "perf_prepare_sample", "perf_output_sample"),
    )
    delivery = t["interrupt"] + t["serialize"] + 3 * (t["rdtsc"] + t["serialize"])
    return sum(WORK[name] for name in names) + delivery + GUEST_CODE * CYCLES_OF_CODE


DIRECT = {"rdpmc": "rdpmc"}  # every other kind of access is an MSR's, at the price of a WRMSR


def direct_accesses(result: Result) -> int:
    """What the guest's accesses cost that do not exit: RDMSR is timed as WRMSR by the guest CPU."""
    return sum(kind.direct * C[DIRECT.get(kind.kind, "wrmsr")] for kind in result.accesses.by_kind)


# ---- a run ----


@dataclass(frozen=True)
class Case:
    """A run, and the counters of its events."""

    name: str
    options: Options
    shape: Shape


def exits_of(result: Result) -> Mapping[str, int]:
    """Return exits by reason, those of the work profile apart."""
    return {e.reason: e.count - e.profile for e in result.exits}


def added(mode: str, shape: Shape, result: Result, cpu: str) -> float:
    """Return core cycles that profiling has added to a run, the ticks of a longer run apart."""
    report = report_of(result)
    mediated = mode == "mediated"
    work = report.pmis * guest_pmi(cpu)
    if any(e.samples for e in report.events):
        event = WORK["perf_adjust_freq_unthr_context"] + TICK_CODE * CYCLES_OF_CODE
        work += report.ticks * shape.used * event
    cycles = work + direct_accesses(result)
    if mode == "native":
        return cycles
    exits = exits_of(result)
    kinds = {kind.kind: kind.intercepted for kind in result.accesses.by_kind}
    # Accesses to the PMU: each exits, is served, and is skipped.
    by_reason = {
        "RDPMC": kinds.get("rdpmc", 0),
        "MSR_READ": sum(n for kind, n in kinds.items() if kind.startswith("rdmsr")),
        "MSR_WRITE": sum(n for kind, n in kinds.items() if kind.startswith("wrmsr")),
    }
    for reason, count in by_reason.items():
        each = exit_and_entry(mediated=mediated) + C[HANDLERS[reason]] + C[SERVED[reason]]
        cycles += count * (each + completed())
    # The LVTPC: what is left of the writes, the deadline of each tick apart.
    lvtpc = max(exits.get("MSR_WRITE", 0) - by_reason["MSR_WRITE"] - report.ticks, 0)
    lvtpc = min(lvtpc, report.pmis)
    cycles += lvtpc * (
        exit_and_entry(mediated=mediated) + C["emulate_wrmsr"] + C["lapic_msr"] + completed()
    )
    pmis = exits.get("EXTERNAL_INTERRUPT" if mediated else "EXCEPTION_NMI", 0)
    windows = exits.get("NMI_WINDOW", 0)
    cycles += report.pmis * host_pmi(mediated=mediated)
    cycles += (pmis + windows) * exit_and_entry(mediated=mediated)
    if mediated:
        busy, idle = switch(shape, busy=True), switch(shape, busy=False)
        new = sum(by_reason.values()) + lvtpc + pmis + windows
        cycles += new * busy + max(result.switch.loads - new, 0) * (busy - idle)
        credited = result.stats["credited_instructions"] / max(shape.instructions, 1)
        return cycles + result.stats["reprograms"] * looked_at() + credited * C["pmu_handle_event"]
    # GLOBAL_CTRL goes off and on: all counters are paused, and resumed one after the other.
    sets = round(kinds.get("wrmsr-global-ctrl", 0) / 2)
    return cycles + emulated_counters(shape, result, sets)


def tick_exits(mode: str) -> float:
    """The timer's exit and the deadline's WRMSR, both in the fastpath."""
    if mode == "native":
        return 0.0
    fast = exit_and_entry(mediated=mode == "mediated", fast=True)
    deadline = C["fastpath_wrmsr"] + C["set_tscdeadline"] + C["skip_insn"] + C["pmu_trigger_event"]
    return 2 * fast + C["fastpath_timer"] + deadline


def report_of(result: Result) -> GuestReport:
    """Return what the guest says of itself."""
    report = result.guest.report
    if isinstance(report, UnsetType):
        raise TypeError("a built-in guest leaves a report")
    return report


def compare(case: Case, mode: str) -> tuple[float, float]:
    """Return the overhead of the model and that of the formula."""
    result = Session(case.options).run(mode)
    if result.overhead is None:
        raise TypeError("a profiled run has an overhead")
    cpu = cpus.load(case.options.cpu)
    report = report_of(result)
    t1 = (report.tsc_end - report.tsc_begin) * cpu.core_khz / cpu.tsc_khz
    own = added(mode, case.shape, result, case.options.cpu) / t1
    # A run that is longer has more ticks: of an overhead o they add o times what all ticks take.
    ticks = report.ticks * (WORK["tick_nohz_handler"] + tick_exits(mode)) / t1
    return result.overhead, own / (1 - ticks)


def sampling(name: str, events: int, *settings: str, frequency: int = 1000, gp: int = 8) -> Case:
    """``perf record`` of branches, which only GP counters count."""
    options = Options(
        "perf-record",
        events=",".join(["branches"] * events),
        frequency=frequency,
        settings=settings,
        time_ns=TIME_NS,
    )
    return Case(name, options, Shape(gp, 3, events, 0, 0))


def storm(name: str, chunk: int) -> Case:
    """CPUID in a loop while the guest counts: each exit moves what a busy PMU holds."""
    options = Options(
        "exit-storm",
        events="instructions,branches,branches,branches",
        settings=("guest.pmu=busy", f"guest.chunk={chunk}"),
        time_ns=TIME_NS // 2,
    )
    return Case(name, options, Shape(8, 3, 3, 1, 1))


CASES = (
    sampling("3 events at 1000 Hz", 3),
    sampling("frequency doubled", 3, frequency=2000),
    sampling("events doubled", 6),
    sampling("HZ doubled", 3, "guest.hz=2000"),
    sampling("4 counters exposed", 3, "guest.gp_counters=4", gp=4),
    storm("CPUID each 20,000 instructions", 20_000),
    storm("exit rate doubled", 10_000),
)


def main() -> int:
    """Print the table."""
    worst = 0.0
    print(f"{'':32} {'design':9} {'model':>8} {'formula':>8} {'ratio':>7}")
    for case in CASES:
        for mode in ("native", "emulated", "mediated"):
            model, formula = compare(case, mode)
            ratio = formula / model if model >= NOTHING else 1.0
            worst = max(worst, abs(ratio - 1))
            shown = f"{ratio:7.3f}" if model >= NOTHING else f"{'-':>7}"
            print(f"{case.name:32} {mode:9} {100 * model:7.2f}% {100 * formula:7.2f}% {shown}")
    return 1 if worst > TOLERANCE else 0


if __name__ == "__main__":
    sys.exit(main())
