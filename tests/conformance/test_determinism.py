# SPDX-License-Identifier: Apache-2.0
"""The same config gives the same run: whatever the budgets, the threads, and the cuts of work."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from typing import Any

import guest_amd as amd
import guest_asm as asm
import pytest
from hypothesis import example, given, settings, strategies as st

from pmupass.config import MachineConfig, Mode
from pmupass.core import Machine, names
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import Stop

UNLIMITED = 1 << 50
RING = 1 << 14


def run(config: MachineConfig, blocks: int) -> dict[str, Any]:
    """Run to the end in budgets of so many blocks and read everything."""
    machine = Machine(config)
    stop = machine.run(blocks)
    while stop is Stop.BUDGET:
        stop = machine.run(blocks)
    assert stop is Stop.EXIT
    found = asm.readout(machine)
    machine.close()
    return found


def built_in(name: str, mode: str, cpu: str, *, us: int = 1000, **options: Any) -> MachineConfig:
    """Return a short run of a built-in guest with its PMU busy, traced."""
    given_ = {"host": False, "cpu": cpu, "time_ns": us * 1000, **options}
    plan = Plan(Options(name, **given_))
    config = plan.config(Mode[mode.upper()], perf=True)
    return dataclasses.replace(config, trace_records=RING)


# ---- the documents ----


@pytest.mark.parametrize("cpu", [*asm.CPUS, "zen4"])
def test_the_same_seed_gives_the_same_bytes(cpu: str) -> None:
    """Three processes with hash seeds of their own: the same document, byte for byte."""
    command = [
        sys.executable,
        "-m",
        "pmupass",
        "diff-modes",
        "perf-record",
        f"--cpu={cpu}",
        "--time=5ms",
        "--seed=7",
        "--json",
        "--no-host",
    ]
    found = [
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd="/",
            capture_output=True,
            check=True,
            timeout=300,
        ).stdout
        for seed in ("0", "1", "4711")
    ]
    assert len(found[0]) > 10_000
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert b'"host"' not in found[0]


# ---- budgets ----

WORKLOADS = {
    "perf-record": {"us": 300, "settings": ("guest.chunk=3000", "guest.hz=10000")},
    "perf-stat": {
        "us": 300,
        "settings": ("guest.chunk=3000", "guest.hz=10000", "guest.gp_counters=2"),
        "events": "branches,branch-misses,cache-misses,cache-references",
    },
    "self-monitor": {"us": 200, "settings": ("guest.chunk=2000",)},
    "exit-storm": {"us": 200, "settings": ("guest.chunk=2000", "guest.profile=kernel-mix")},
}


# AMD without and with PerfMonV2; only the latter's CPUID can say that there are two counters.
FEWER = {
    "zen2": {"settings": ("guest.chunk=3000", "guest.hz=10000", "guest.perfctr_core=0")},
    "zen4": {},
}


@pytest.mark.parametrize(
    ("cpu", "mode"),
    [
        *((cpu, mode) for cpu in asm.CPUS for mode in asm.MODES),
        *(pair for pair in amd.PAIRS if pair[0] in FEWER),
    ],
)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_budgets_do_not_show(workload: str, mode: str, cpu: str) -> None:
    """1, 7 and unlimited blocks: every readout is equal, the trace and its times included."""
    given_ = WORKLOADS[workload]
    if workload == "perf-stat" and cpu in FEWER:
        given_ = {
            **given_,
            **FEWER[cpu],
            "events": "branches,branch-misses,instructions,cycles,r129",
        }
    config = built_in(workload, mode, cpu, **given_)
    whole = run(config, UNLIMITED)
    assert whole["guest"].instructions > 10_000
    for blocks in (1, 7):
        cut = run(config, blocks)
        for part, value in whole.items():
            assert cut[part] == value, f"{part} with budgets of {blocks}"


# Plain code, interrupts, faults and string instructions under a sampling counter.
BUSY = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	gate	2, pmi, 1
	gate	14, page_fault
	gate	0x40, timer
	cld
	wr	0x38f, 0
	wr	0x834, 0x400
	wr	0x832, 0x40		/* LVTT: one-shot, set again by each */
	wr	0x83e, 0xb
	wr	0x186, {asm.EN | asm.INT | asm.OS | asm.USR | 0xC0}
	wr	0x4c1, {(1 << 48) - 700}
	wr	0x187, {asm.EN | asm.OS | asm.USR | 0x3C}
	wr	0x188, {asm.EN | asm.OS | asm.USR | 0x412E}
	user_frame user, 0x202
	wr	0x838, 20000
	wr	0x38f, 7
	iretq
user:	movl	$60, %r12d
1:	movl	$40, %ecx
	movl	$RESULTS + 1024, %esi
	movl	$RESULTS + 2048, %edi
	rep movsb
	movl	$37, %ecx
2:	imulq	%rcx, %rax
	testl	$5, %eax
	jz	3f
	addq	%rax, RESULTS + 512
3:	loop	2b
	clflush	RESULTS + 512
	movq	0x40000000, %rax	/* 8 bytes, faults */
	syscall
	decl	%r12d
	jnz	1b
	movl	$1, %r13d
	syscall
syscall_entry:
	testl	%r13d, %r13d
	jnz	4f
	xorl	%eax, %eax
	movq	%rcx, %r14
	cpuid
	movq	%r14, %rcx
	sysretq
4:	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	keep_pmc 2, 2
	finish
page_fault:
	addq	$8, 8(%rsp)
	addq	$8, %rsp
	iretq
timer:	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	incq	RESULTS + 64
	wr	0x838, 20000
	wr	0x80b, 0
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
pmi:	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	incq	RESULTS + 72
	wr	0x390, 1
	wr	0x4c1, {(1 << 48) - 900}
	wr	0x834, 0x400
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
"""


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_budgets_do_not_show_in_a_busy_guest(mode: str, cpu: str) -> None:
    """Also what the guest left in memory is equal."""

    def everything(blocks: int) -> tuple[dict[str, Any], list[int]]:
        image = asm.assemble(BUSY)
        ran = asm.run_image(image, mode=mode, cpu=cpu, blocks=blocks, trace_records=RING)
        assert ran.stop is Stop.EXIT
        return asm.readout(ran.machine), ran.results(64)

    whole, memory = everything(UNLIMITED)
    timers, pmis = memory[8], memory[9]
    assert timers >= 1
    assert pmis >= 5
    for blocks in (1, 2, 7, 64):
        cut, left = everything(blocks)
        assert left == memory
        for part, value in whole.items():
            assert cut[part] == value, f"{part} with budgets of {blocks}"


# ---- threads ----


def test_machines_in_two_threads_do_not_meet() -> None:
    """Different guests at the same time, in turns of a few blocks: each as if alone."""
    configs = [
        built_in("perf-record", "emulated", "sapphire-rapids", us=2000),
        built_in("exit-storm", "mediated", "skylake-sp", us=2000),
    ]
    alone = [run(config, UNLIMITED) for config in configs]
    found: list[dict[str, Any] | None] = [None, None]

    def work(i: int) -> None:
        found[i] = run(configs[i], 50)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_machines_in_turns_do_not_meet() -> None:
    """Two of the same config in one thread, one block each in turn."""
    config = built_in("perf-stat", "mediated", "skylake-sp", us=200)
    alone = run(config, UNLIMITED)
    machines = [Machine(config), Machine(config)]
    stops = [Stop.BUDGET, Stop.BUDGET]
    while Stop.BUDGET in stops:
        stops = [machine.run(1) for machine in machines]
    for machine in machines:
        assert asm.readout(machine) == alone


# ---- work ----

CHUNKS = 64
MARK = 0x5A5A_1234_5678_A5A5
WORK = ".byte 0x0f, 0x1f, 0x80, 0x01, 0x55, 0x4d, 0x50"
COUNTED = ("instructions", "branches", "loads", "stores")
DYNAMIC = ("branch-misses", "llc-references", "llc-misses", "cycles")


def work_guest(events: tuple[str, ...]) -> str:
    """Return a guest whose user code works through a table of chunks.

    The table lies behind MARK: how many chunks, the profile, the APIC timer's count (0: none), the
    sampling period, the chunks. GP 0-3 count user code; fixed 0 samples user code.
    """
    selectors = [asm.EN | asm.USR | asm.EVENTS[event] for event in events]
    return f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	gate	2, pmi, 1
	gate	0x40, timer
	wr	0x38f, 0
	wr	0x834, 0x400
	wr	0x832, 0x40
	wr	0x83e, 0xb
	wr	0x186, {selectors[0]}
	wr	0x187, {selectors[1]}
	wr	0x188, {selectors[2]}
	wr	0x189, {selectors[3]}
	wr	0x38d, 0xa		/* fixed 0: USR, PMI */
	call	reload
	xorl	%ebx, %ebx		/* the table's lines are touched before anything counts */
1:	movq	table(, %rbx, 8), %rax
	incl	%ebx
	cmpl	${CHUNKS + 4}, %ebx
	jb	1b
	xorl	%ebx, %ebx
	wr	0x49, 1
	user_frame user, 0x202
	movl	$0x838, %ecx
	movl	table + 16, %eax
	xorl	%edx, %edx
	wrmsr
	wr	0x38f, {1 << asm.FIXED | 0xF}
	iretq
user:	movq	table + 32(, %rbx, 8), %rcx
	movl	table + 8, %eax
	{WORK}
	incl	%ebx
	cmpl	table, %ebx
	jb	user
	syscall
syscall_entry:
	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	keep_pmc 2, 2
	keep_pmc 3, 3
	finish
reload:	movl	$0x309, %ecx
	movq	table + 24, %rax
	negq	%rax
	movq	%rax, %rdx
	shrq	$32, %rdx
	andl	$0xffff, %edx
	movl	%eax, %eax
	wrmsr
	ret
timer:	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	incq	RESULTS + 64
	movl	$0x838, %ecx
	movl	table + 16, %eax
	xorl	%edx, %edx
	wrmsr
	wr	0x80b, 0
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
pmi:	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	incq	RESULTS + 72
	movl	$0x390, %ecx
	xorl	%eax, %eax
	movl	$1, %edx
	wrmsr
	call	reload
	wr	0x834, 0x400
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
	.data
	.balign	64
	.quad	{MARK:#x}
table:	.quad	0, 0, 0, 0
	.skip	{8 * CHUNKS}
	.text
"""


def with_table(image: bytes, words: list[int]) -> bytes:
    """Return an image with the words written behind the mark."""
    at = image.index(MARK.to_bytes(8, "little")) + 8
    raw = b"".join(word.to_bytes(8, "little") for word in words)
    return image[:at] + raw + image[at + len(raw) :]


def work_totals(
    chunks: list[int],
    events: tuple[str, ...],
    *,
    mode: str,
    cpu: str,
    profile: int,
    timer: int,
    period: int,
) -> asm.Ran:
    """Run chunks of work under a timer and a sampling period."""
    table = [len(chunks), profile, timer, period, *chunks]
    image = with_table(asm.assemble(work_guest(events)), table)
    ran = asm.run_image(image, mode=mode, cpu=cpu)
    assert ran.stop is Stop.EXIT
    return ran


def expected_totals(ran: asm.Ran, profile: int, chunks: list[int]) -> dict[str, range]:
    """Return what user code counts: floor(n * rate / 2^20), and the loop about the work.

    The loop: 5 instructions a chunk besides the work, which is none itself (table load, profile
    load, inc, cmp with a load, jb): 3 loads and a branch; and SYSCALL, one branch. JB misses at its
    first and last turn if it is ever taken. Cycles: a difference of rounded-down totals.
    """
    n, count = sum(chunks), len(chunks)
    timing = ran.config.timing
    rates = next(p.rates for p in ran.config.profiles if p.id == profile)
    ids = {name: i for i, name in enumerate(names("base_events"))}

    def of_work(event: str) -> int:
        return n * rates[ids[event]] >> 20

    misses = 2 if count > 1 else 0
    sub = of_work("cycles") * 64 + (5 * count) * timing["simple"] + 3 * count * timing["load"]
    sub += misses * timing["branch_miss"] + timing["serialize"]
    exact = {
        "instructions": n + 5 * count + 1,
        "branches": of_work("branches") + count + 1,
        "loads": of_work("loads") + 3 * count,
        "stores": of_work("stores"),
        "branch-misses": of_work("branch-misses") + misses,
        "llc-references": of_work("llc-references"),
        "llc-misses": of_work("llc-misses"),
    }
    found = {event: range(value, value + 1) for event, value in exact.items()}
    found["cycles"] = range(sub // 64, sub // 64 + 2)
    return found


cuts = st.lists(st.integers(1, 400_000), min_size=1, max_size=CHUNKS)
timers = st.sampled_from([0, 60_000, 200_000, 777_777])
periods = st.sampled_from([1 << 40, 1_000_000, 123_457, 30_000])


@pytest.mark.parametrize("mode", asm.MODES)
@pytest.mark.parametrize("events", [COUNTED, DYNAMIC], ids=["retired", "dynamic"])
@settings(max_examples=25)
@given(
    chunks=cuts,
    timer=timers,
    period=periods,
    profile=st.sampled_from([0, 1]),
    cpu=st.sampled_from(asm.CPUS),
)
@example(chunks=[1], timer=0, period=1 << 40, profile=0, cpu="skylake-sp")
@example(chunks=[1] * CHUNKS, timer=60_000, period=30_000, profile=1, cpu="sapphire-rapids")
@example(chunks=[3_000_000], timer=60_000, period=30_000, profile=0, cpu="sapphire-rapids")
def test_totals_of_work_do_not_depend_on_its_cuts(
    events: tuple[str, ...],
    mode: str,
    chunks: list[int],
    timer: int,
    period: int,
    profile: int,
    cpu: str,
) -> None:
    """Random chunks, timer rates and sampling periods: the totals are the formula's."""
    ran = work_totals(
        chunks, events, mode=mode, cpu=cpu, profile=profile, timer=timer, period=period
    )
    ticks, pmis = ran.results(2, 8)
    assert pmis >= sum(chunks) // (2 * period)  # it was cut
    assert bool(ticks) >= (timer > 0 and ran.machine.guest().tsc_cycles > 10 * timer)
    expected = expected_totals(ran, profile, chunks)
    for event, value in zip(events, ran.results(4), strict=True):
        assert value in expected[event], event
    for counter in ran.counters().values():
        assert counter.true_count == counter.counted
        assert not counter.causes


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("events", [COUNTED, DYNAMIC], ids=["retired", "dynamic"])
def test_exits_of_a_profile_do_not_change_its_totals(events: tuple[str, ...], cpu: str) -> None:
    """A profile with exits of its own: they retire natively and are credited under KVM."""
    chunks = [150_000, 1, 299_999, 1_000_000, 77]
    # kernel-mix; its last exit lies well before the end of the work.
    given_ = {"cpu": cpu, "profile": 2, "timer": 0, "period": 1 << 40}
    runs = {m: work_totals(chunks, events, mode=m, **given_) for m in asm.MODES}
    for mode, ran in runs.items():
        expected = expected_totals(ran, 2, chunks)
        for event, value in zip(events, ran.results(4), strict=True):
            # Rates of exits fall on the instruction after them; cycles of its own KVM takes away.
            assert value in expected[event], (mode, event)
        profile = sum(e.profile for e in ran.machine.exits())
        n = sum(chunks)
        config = next(p for p in ran.config.profiles if p.id == 2)
        exits = sum(n * rate >> 20 for _, rate in config.exits)
        assert profile == (0 if mode == "native" else exits)
