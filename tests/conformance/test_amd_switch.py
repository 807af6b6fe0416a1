# SPDX-License-Identifier: Apache-2.0
"""Mediated on an AMD CPU: what a PMU switch does, GLOBAL_CTL between VMRUNs, nothing left behind.

The steps are those of Linux 7.0, and their register accesses are held against the trace, which
shows each register with its hardware value and KVM's before a load or put:

LOAD  WRMSR GLOBAL_CTL = 0; LVTPC = the dedicated vector;
      for each exposed counter RDPMC, WRMSR if hardware has another value, WRMSR of the selector
      always; RDMSR STATUS, WRMSR STATUS_CLR if it is not 0; WRMSR STATUS_SET; WRMSR GLOBAL_CTL.
PUT   WRMSR GLOBAL_CTL = 0; RDMSR STATUS, WRMSR STATUS_CLR if it is not 0;
      for each counter RDPMC, WRMSR 0 if it is not 0, WRMSR selector = 0 if it is not 0;
      LVTPC = NMI.
EXIT  RDMSR GLOBAL_CTL, unless its writes exit; exits that the fastpath serves included.
"""

from __future__ import annotations

from dataclasses import dataclass

import guest_amd as amd
import guest_asm as asm
import pytest
from guest_amd import ctl, ctr

RING = 1 << 20
LOAD, PUT = "pmu_load", "pmu_put"
each_cpu = pytest.mark.parametrize("cpu", amd.V2)


@dataclass(frozen=True)
class Half:
    """A load or a put: (hardware, KVM) by register before it, and RDMSR, WRMSR, RDPMC, LVTPC."""

    kind: str
    state: dict[int, tuple[int, int]]
    seen: tuple[int, int, int, int]

    def derived(self) -> tuple[int, int, int, int]:
        """Return the accesses by the steps above."""
        cores = [(msr, v) for msr, v in self.state.items() if ctl(0) <= msr < ctl(16)]
        counters = [v for msr, v in cores if msr & 1]
        selectors = [v for msr, v in cores if not msr & 1]
        hw_status, _ = self.state[amd.GLOBAL_STATUS]
        if self.kind == LOAD:
            wrmsr = 1 + sum(hw != guest for hw, guest in counters) + len(selectors)
            wrmsr += bool(hw_status) + 2
        else:
            wrmsr = 1 + bool(hw_status) + sum(hw != 0 for hw, _ in counters)
            wrmsr += sum(hw != 0 for hw, _ in selectors)
        return 1, wrmsr, len(counters), 1


def halves(ran: asm.Ran) -> list[Half]:
    """Return the loads and puts of a run, in order, each held against its steps."""
    state: dict[int, tuple[int, int]] = {}
    found = []
    trace = ran.machine.trace()
    assert len(trace) < RING, "the ring was too small"
    for _, name, x, a, b, c in trace:
        if name == "pmu_state":
            state[a] = (b, c)
        elif name in (LOAD, PUT):
            found.append(Half(name, state, (a, b, c, x)))
            state = {}
    for half in found:
        assert half.seen == half.derived(), half
    return found


def run(source: str, cpu: str, **given: object) -> asm.Ran:
    """Run a guest in mediated mode with its trace."""
    return asm.run(source, mode=amd.MEDIATED, cpu=cpu, trace_records=RING, **given)


@each_cpu
@pytest.mark.parametrize(
    ("settings", "nr", "reads_back"),
    [((), 6, True), (("guest.gp_counters=2",), 2, False), (("guest.perfmon_v2=0",), 6, False)],
)
def test_an_idle_guest_pmu(
    cpu: str, settings: tuple[str, ...], nr: int, *, reads_back: bool
) -> None:
    """G + 4 WRMSR, 2 RDMSR, 2 G RDPMC a switch, and a RDMSR an exit if GLOBAL_CTL is direct."""
    ran = run(asm.PRELUDE + "\n_start:" + "\tcpuid\n" * 20 + "finish", cpu, settings=settings)
    found = halves(ran)
    assert [half.kind for half in found] == [LOAD, PUT] * 21
    for load, put in zip(found[::2], found[1::2], strict=True):
        both = tuple(a + b for a, b in zip(load.seen, put.seen, strict=True))
        assert both == (2, nr + 4, 2 * nr, 2)
    switch = ran.machine.switch()
    assert (switch.loads, switch.puts) == (21, 21)
    assert switch.rdmsr == 2 * 21 + (21 if reads_back else 0)
    assert switch.rdpmc == 2 * nr * 21


@each_cpu
def test_all_counters_in_use(cpu: str) -> None:
    """4 G + 4 WRMSR a switch: each counter and selector goes in and out, no status."""
    lines = [asm.PRELUDE, f"_start: kernel_setup\nwr {amd.GLOBAL_CTL}, 0"]
    for n in range(amd.NR):
        lines += [f"wr {ctl(n)}, {amd.COUNT | amd.CYCLES}", f"wr {ctr(n)}, 1000"]
    work = "movl $300, %ecx\n1: imulq %rax, %rax\ndecl %ecx\njnz 1b\ncpuid\n"
    lines += [f"wr {amd.GLOBAL_CTL}, {amd.ALL}", work * 10, "finish"]
    found = halves(run("\n".join(lines), cpu))
    puts = [i for i, half in enumerate(found) if half.kind == PUT][-11:-1]
    for put, load in [(found[i], found[i + 1]) for i in puts]:
        assert put.seen[1] + load.seen[1] == 4 * amd.NR + 4


@each_cpu
def test_selectors_in_hardware_have_guest_only(cpu: str) -> None:
    """Forced in every selector, whatever the guest wrote; HostOnly is never there."""
    selector = amd.COUNT | amd.CYCLES
    source = f"""
	{asm.PRELUDE}
_start:	wr	{ctl(2)}, {selector | amd.HOSTONLY}
	cpuid
	rd	{ctl(2)}
	keep	0
	cpuid
	finish
"""
    ran = run(source, cpu)
    assert ran.result(0) == selector
    # The last put: what hardware had, and what KVM holds for it.
    put = [half for half in halves(ran) if half.kind == PUT][-1]
    assert put.state[ctl(2)] == (selector | amd.GUESTONLY,) * 2


@each_cpu
def test_after_put_hardware_is_clean(cpu: str) -> None:
    """Every load finds zeros: nothing that the guest had is left, nothing of the host comes."""
    lines = [asm.PRELUDE, f"_start: kernel_setup\nwr {amd.GLOBAL_CTL}, 0"]
    for n in range(amd.NR):
        lines += [f"wr {ctl(n)}, {amd.COUNT | amd.CYCLES}", f"wr {ctr(n)}, {0x5EC5E7000000 + n}"]
    lines += [f"wr {amd.STATUS_SET}, 0x15", f"wr {amd.GLOBAL_CTL}, {amd.ALL}"]
    lines += ["cpuid\n" * 5, f"rd {amd.GLOBAL_STATUS}\nkeep 0", "finish"]
    ran = run("\n".join(lines), cpu, host_perf=("cycles:H",))
    assert ran.result(0) == 0x15, "the status came back each time"
    loads = [half for half in halves(ran) if half.kind == LOAD]
    assert len(loads) > 5
    for load in loads:
        values = {msr: hw for msr, (hw, _) in load.state.items()}
        # Perf's own event has been scheduled out: its value stays in its counter.
        host = values.pop(ctr(0)), values.pop(ctl(0)) & asm.EN
        assert host[0] < 1 << 47 or host[0] >> 40 != 0x5E
        assert host[1] == 0
        assert set(values.values()) == {0}


@each_cpu
@pytest.mark.parametrize("fastpath", [False, True])
def test_global_ctl_is_read_back_after_an_exit(cpu: str, *, fastpath: bool) -> None:
    """[48] The guest's direct write survives: KVM loads what it has read after the exit.

    Also where the exit is served without leaving the inner loop: a TSC deadline while no counter
    counts instructions. Two counters of cycles are on; one is switched off directly; after more
    exits it has stood still, and the register reads as written.
    """
    leave = "wr 0x6e0, 0x7fffffffffffff" if fastpath else "cpuid"
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	wr	0x832, 0x40031
	wr	{amd.GLOBAL_CTL}, 0
	wr	{ctl(0)}, {amd.COUNT | amd.CYCLES}
	wr	{ctl(1)}, {amd.COUNT | amd.CYCLES}
	cpuid
	wr	{amd.GLOBAL_CTL}, 3
	{leave}
	wr	{amd.GLOBAL_CTL}, 2
	keep_pmc 0, 0
	keep_pmc 1, 1
	{leave}
	{leave}
	cpuid
	keep_pmc 2, 0
	keep_pmc 3, 1
	rd	{amd.GLOBAL_CTL}
	keep	4
	finish
"""
    ran = run(source, cpu)
    stopped, running, later_stopped, later_running, value = ran.results(5)
    assert value == 2
    assert 0 < stopped == later_stopped
    assert later_running > running
    stats = ran.machine.stats()
    assert stats["fastpath_exits"] == (3 if fastpath else 0)
    # An MSR exit for each selector, for the LVT timer none: AVIC takes it and exits then.
    msr = 2 + (3 if fastpath else 0) + setup_exits(cpu)
    assert ran.exits()["msr"] == msr, "GLOBAL_CTL is written without an exit"


def setup_exits(cpu: str) -> int:
    """Return the MSR exits of kernel_setup alone."""
    ran = asm.run(f"{asm.PRELUDE}\n_start: kernel_setup\nfinish", mode=amd.MEDIATED, cpu=cpu)
    return ran.exits().get("msr", 0)


@each_cpu
def test_a_guest_with_fewer_counters_exits_for_global_ctl(cpu: str) -> None:
    """Its write goes to KVM, which loads it; silicon's own four counters stay off."""
    source = f"""
	{asm.PRELUDE}
_start:	wr	{ctl(0)}, {amd.COUNT | amd.INSTRUCTIONS}
	wr	{amd.GLOBAL_CTL}, 0
	wr	{amd.GLOBAL_CTL}, 1
	cpuid
	wr	{amd.GLOBAL_CTL}, 0
	wr	{ctr(0)}, 0
	wr	{amd.GLOBAL_CTL}, 1
	cpuid
	cpuid
	wr	{amd.GLOBAL_CTL}, 0
	keep_pmc 0, 0
	finish
"""
    ran = run(source, cpu, settings=("guest.gp_counters=2",))
    # The WRMSR that enables, two CPUIDs, three moves.
    assert ran.result(0) == 6
    # A selector, five writes of GLOBAL_CTL; RDPMC exits as well, the counter's write does not.
    assert ran.exits()["msr"] == 6
    assert ran.exits()["rdpmc"] == 1
    halves(ran)


@each_cpu
def test_without_perfmon_v2_rdpmc_alone_is_direct(cpu: str) -> None:
    """The guest has all counters, so that RDPMC shows nothing hidden; GLOBAL_* are #GP."""
    source = f"""
	{asm.PRELUDE}
_start:	wr	{ctl(0)}, {amd.COUNT | amd.INSTRUCTIONS}
	pmc	0
	keep	0
	pmc	0
	keep	1
	finish
"""
    ran = run(source, cpu, settings=("guest.perfmon_v2=0",))
    first, second = ran.results(2)
    # RDPMC, shl, or, mov, mov, RDPMC
    assert second - first == 5
    assert "rdpmc" not in ran.exits()


def test_the_built_in_guests_lose_nothing() -> None:
    """Every switch of every built-in guest follows the steps; all counters end right."""
    import dataclasses

    from pmupass.config import Mode
    from pmupass.core import Machine
    from pmupass.options import Options
    from pmupass.plan import Plan
    from pmupass.records import Stop

    for workload in ("perf-stat", "perf-record", "self-monitor", "exit-storm"):
        settings = ("guest.pmu=busy", "cpu.overcount_entry_branches=0")
        options = Options(workload, cpu="zen4", time_ns=2_000_000, host=False, settings=settings)
        plan = Plan(options)
        made = plan.config(Mode.MEDIATED, perf=plan.profiles_guest)
        machine = Machine(dataclasses.replace(made, trace_records=RING))
        while (stop := machine.run(1 << 40)) is Stop.BUDGET:
            pass
        assert stop is Stop.EXIT
        assert halves(asm.Ran(machine, stop, made))
        for counter in machine.counters():
            assert counter.true_count == counter.counted
