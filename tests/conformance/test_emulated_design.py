# SPDX-License-Identifier: Apache-2.0
"""The emulated design as a guest meets it: events that perf refuses, events that KVM lets go.

What is between registers and host perf is tested by hand in tests/c/test_kvm_emulated.c.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

from pmupass.core import names

NATIVE, EMULATED, MEDIATED = asm.MODES
each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_cpu = pytest.mark.parametrize("cpu", [*asm.CPUS, *asm.MORE_CPUS])
LEAST = ("cpu.period_least=128",)


def counts(start: int) -> str:
    """Return a guest that counts 50 JMPs from a value on, stops, and counts 50 more from 0 on."""
    jumps = "\n".join(["jmp 1f\n1:"] * 50)
    return f"""
	{asm.PRELUDE}
_start:	wr	0x38f, 0
	wr	0x186, {asm.EN | asm.OS | asm.EVENTS["branches"]}
	wr	{asm.PMC0}, {start}
	wr	0x38f, 1
	{jumps}
	counting_off
	keep_pmc 0, 0
	wr	{asm.PMC0}, 0
	wr	0x38f, 1
	{jumps}
	counting_off
	keep_pmc 1, 0
	finish
"""


@each_cpu
@each_mode
@pytest.mark.parametrize("distance", [127, 128])
def test_silicon_that_takes_no_short_periods(mode: str, cpu: str, distance: int) -> None:
    """A counter 127 events before its overflow gets no event where perf gives none below 128.

    The guest is not told: it reads what it wrote, and KVM asks again at the next occasion, which
    here is a counter that is far enough. Hardware that the guest owns has no such limit.
    """
    start = (1 << 48) - distance
    ran = asm.run(counts(start), mode=mode, cpu=cpu, settings=LEAST)
    refused = mode == EMULATED and distance < 128
    assert ran.results(2) == [start + (0 if refused else 50), 50]
    (counter,) = ran.counters().values()
    assert counter.true_count == 100
    assert counter.causes == ({"refused": 50} if refused else {})
    stats = ran.machine.stats()
    assert bool(stats["perf_events_refused"]) == refused
    errors = [(e.cause, e.lost) for e in ran.machine.silent_errors()]
    assert errors == ([("refused", 50)] if refused else [])


LOADS = ((100, 0), (95, 1), (105, 2), (140, 3))


@pytest.mark.parametrize("cpu", asm.CPUS)
@each_mode
@pytest.mark.parametrize("quirk", [False, True])
def test_where_short_periods_are_rounded_a_pmi_comes_late(mode: str, cpu: str, quirk: bool) -> None:
    """An overflow 200 loads away, on silicon that has periods of 128 and multiples of 64 alone.

    perf loads 192, then 128 for the 8 that are left: KVM hears of the overflow behind 320 loads and
    those of the first one's skid, at most 40 cycles. The guest looks at the status behind 100, 195,
    300 and 440. No count is lost.
    """
    body = "".join(
        "\tmovq\t(%rsp), %rax\n" * n + f"\txorl\t%eax, %eax\n\tcpuid\n\trd\t0x38e\n\tkeep\t{slot}\n"
        for n, slot in LOADS
    )
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	wr	{asm.PMC0}, {(1 << 48) - 200}
	wr	0x186, {asm.EN | asm.OS | 1 << 20 | asm.EVENTS["loads"]}
	{body}
	pmc	0
	keep	4
	finish
"""
    settings = ("cpu.period_least=128", "cpu.period_multiple=64") if quirk else ()
    ran = asm.run(source, mode=mode, cpu=cpu, settings=settings)
    late = quirk and mode == EMULATED
    assert ran.results(5) == [0, 0, 0 if late else 1, 1, 440 - 200]
    (counter,) = ran.machine.counters()
    assert (counter.true_count, counter.counted, counter.causes) == (440, 440, {})


def sleeps(times: int, between: str = "") -> str:
    """Return a guest that counts, stops by its selector, and sleeps so many times."""
    hlts = f"{between}\nwr 0x838, 100000\nsti\nhlt\ncli\n" * times
    return f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	0x40, timer
	wr	0x83e, 0xb
	wr	0x832, 0x40
	wr	0x186, {asm.EN | asm.OS | asm.EVENTS["branches"]}
	wr	0x187, {asm.EN | asm.OS | asm.EVENTS["loads"]}
	jmp	1f
1:	wr	0x186, {asm.OS | asm.EVENTS["branches"]}
	{hlts}
	keep_pmc 0, 0
	finish
timer:	wr	0x80b, 0
	iretq
"""


@each_cpu
@pytest.mark.parametrize(
    ("times", "between", "released"),
    [
        # The slice before the first sleep has touched both counters, the second slice none.
        (1, "", 0),
        (2, "", 1),
        (5, "", 1),
        # One that is written in each slice stays, though it is off.
        (5, f"wr {asm.EVTSEL0}, {asm.OS | asm.EVENTS['branches']}", 0),
        (5, f"wr {asm.PERFCTR0}, 1", 0),
    ],
)
def test_events_that_nobody_touches_go_when_the_thread_has_slept(
    times: int, between: str, released: int, cpu: str
) -> None:
    """The disabled counter's event is released, the enabled one's is not; its value stays."""
    ran = asm.run(sleeps(times, between), mode=EMULATED, cpu=cpu)
    assert ran.exits()["HLT"] == times
    assert ran.machine.stats()["perf_events_released"] == released
    assert ran.machine.stats()["perf_events_created"] == 2
    assert ran.result(0) == 1  # the JMP, or what was written


@each_cpu
def test_what_an_entry_costs_perf(cpu: str) -> None:
    """GLOBAL_CTRL is worked out before each entry; a mediated vCPU does not ask perf at all."""
    source = f"{asm.PRELUDE}\n_start: {'cpuid' + chr(10) * 1} cpuid\n finish"
    assert "GUEST_GET_MSRS" in names("costs")
    for mode, entries in ((EMULATED, 3), (MEDIATED, 0)):
        ran = asm.run(source, mode=mode, cpu=cpu)
        costs = {c.cost: c.count for c in ran.machine.costs()}
        assert costs.get("GUEST_GET_MSRS", 0) == entries
