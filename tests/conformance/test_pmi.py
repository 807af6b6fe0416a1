# SPDX-License-Identifier: Apache-2.0
"""PMIs: when they are due, how late they land, what masks them, how they are delivered.

An overflow with INT set reaches the local APIC a skid later (skid_cycles of the CPU). Under KVM the
host takes the PMI at that moment, by an exit, and no guest instruction retires until the virtual
PMI is injected: so the guest's handler starts behind the same instruction in every mode, while the
time it takes differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import guest_asm as asm
import pytest

from pmupass.core import names
from pmupass.records import Stop

if TYPE_CHECKING:
    from pmupass.records import Pmi

each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_cpu = pytest.mark.parametrize("cpu", [*asm.CPUS, *asm.MORE_CPUS])
ALL = (1 << 48) - 1
FIXED0 = 1 << asm.FIXED
NMI, FIXED_VECTOR, MASKED = 0x400, 0x50, 1 << 16

# Slots of the results
PMIS, FIRST = 0, 8
# The handler writes a record of 4 words a PMI: counter GP 0, STATUS, LVTPC, CS of what it hit.
COUNTER, STATUS, LVTPC, CS = range(4)

HANDLER = r"""
pmi:	movl	$0, %ecx
	rdpmc
	movq	RESULTS, %r8
	shlq	$5, %r8
	shlq	$32, %rdx
	orq	%rdx, %rax
	movq	%rax, RESULTS + 64(%r8)
	rd	0x38e
	movq	%rax, RESULTS + 72(%r8)
	rd	0x834
	movq	%rax, RESULTS + 80(%r8)
	movq	8(%rsp), %rax
	movq	%rax, RESULTS + 88(%r8)
	incq	RESULTS
"""
# Acknowledge everything and unmask.
ACKNOWLEDGE = r"""
	movl	$0x390, %ecx
	movl	$0xff, %eax
	movl	$7, %edx
	.if	NR_GP < 8
	movl	$0xf, %eax
	.endif
	wrmsr
"""
NOPS = "\t.rept {}\n\tnop\n\t.endr\n"


@dataclass(frozen=True)
class Seen:
    """What the handler wrote down."""

    ran: asm.Ran

    @property
    def pmis(self) -> int:
        return self.ran.result(PMIS)

    def record(self, pmi: int) -> list[int]:
        return self.ran.results(4, FIRST + 4 * pmi)

    @property
    def pmi(self) -> Pmi:
        return self.ran.machine.pmi()


def guest(
    body: str,
    *,
    start: str,
    lvtpc: int = NMI,
    vector: int = 2,
    handler: str = "",
    setup: str = "",
    tail: str = "",
) -> str:
    """Return a guest whose PMI handler takes records and then does ``handler``.

    ``start`` programs the counters, with GLOBAL_CTRL still off; ``setup`` comes last before
    ``body``.
    """
    return f"""
	.set	NR_GP, 4
	{asm.PRELUDE}
_start:	kernel_setup 1
	gate	{vector}, pmi, 1
	movq	$0, RESULTS
	wr	0x38f, 0
	wr	0x834, {lvtpc}
	{start}
	{setup}
	{body}
	finish
	{HANDLER}
	{handler}
	iretq
syscall_entry:
	{tail or "ud2"}
"""


def instructions_on_gp0(before: int, *, interrupt: bool = True, privileges: int = asm.OS) -> str:
    """Return code that lets GP 0 overflow after so many instructions."""
    selector = asm.EN | privileges | 0xC0 | (asm.INT if interrupt else 0)
    return f"wr {asm.EVTSEL0}, {selector}\nwr {asm.PMC0}, {(1 << 48) - before}\n"


def run(source: str, mode: str, cpu: str, **given: object) -> Seen:
    """Run a guest."""
    return Seen(asm.run(source, mode=mode, cpu=cpu, **given))


def late(seen: Seen) -> int:
    """Return how many NOPs retire between the overflow and the PMI.

    NOPs cost ``simple`` each; the PMI lands on the first boundary at or behind the skid.
    """
    config = seen.ran.config
    return math.ceil(config.skid_cycles * 64 / config.timing["simple"])


@each_cpu
@each_mode
def test_a_pmi_lands_a_skid_behind_the_overflow(mode: str, cpu: str) -> None:
    """The WRMSR that enables and 99 NOPs: the overflow is at the 100th instruction."""
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(400)}counting_off\nkeep_pmc 1, 0",
        start=instructions_on_gp0(100),
    )
    seen = run(source, mode, cpu)
    expected = late(seen)
    # 30 cycles of 64 subcycles at 16 a NOP; 40 at 21, rounded up.
    assert {"sapphire-rapids": 120, "skylake-sp": 122}.get(cpu, expected) == expected
    assert seen.pmis == 1
    record = seen.record(0)
    # RDPMC reads behind the handler's first instruction.
    assert record[COUNTER] == expected + 1
    assert record[STATUS] == 1
    assert record[LVTPC] == NMI | MASKED  # delivery masks it
    assert record[CS] == 0x08
    pmi = seen.pmi
    assert (pmi.due, pmi.delivered) == (1, 1)
    assert (pmi.coalesced, pmi.masked, pmi.dropped) == (0, 0, 0)
    assert pmi.instructions_p50 == pmi.instructions_max == expected
    # In the end: all of it, the handler too, and nothing is lost.
    (counter,) = seen.ran.counters().values()
    assert counter.true_count == counter.counted
    assert counter.overflows == 1
    assert seen.ran.result(1) == counter.true_count - 100


@each_cpu
def test_latency_in_time(cpu: str) -> None:
    """Natively the skid, rounded up to an instruction, and the delivery; under KVM, more."""
    source = guest(f"wr 0x38f, 1\n{NOPS.format(400)}counting_off", start=instructions_on_gp0(100))
    found = {mode: run(source, mode, cpu) for mode in asm.MODES}
    native = found["native"]
    timing = native.ran.config.timing
    sub = late(native) * timing["simple"] + timing["interrupt"]
    exact = Fraction(sub, 64) * Fraction(timing["ref_num"], timing["ref_den"])
    # A difference of two rounded-down times. Percentiles are exact below 1,024, to 1/64 above.
    assert native.pmi.latency_max in (int(exact), int(exact) + 1)
    assert native.pmi.latency_p50 == native.pmi.latency_p99 == native.pmi.latency_max
    for seen in found.values():
        pmi = seen.pmi
        assert pmi.latency_p50 == pmi.latency_p99
        assert 0 <= pmi.latency_max - pmi.latency_p99 <= pmi.latency_max // 64
    # One exit at least; the emulated design also goes through host perf.
    cost = dict(zip(names("costs"), native.ran.config.costs, strict=True))
    round_trip = cost["VMEXIT"] + cost["VMENTRY"]
    exits = int(round_trip * Fraction(timing["ref_num"], timing["ref_den"]))
    mediated, emulated = (found[mode].pmi.latency_max for mode in ("mediated", "emulated"))
    assert native.pmi.latency_max + exits < mediated < emulated


@each_cpu
@each_mode
def test_the_exits_of_one_pmi(mode: str, cpu: str) -> None:
    """Under KVM one exit takes the PMI: an NMI of host perf, or the dedicated vector."""
    source = guest(f"wr 0x38f, 1\n{NOPS.format(400)}counting_off", start=instructions_on_gp0(100))
    seen = run(source, mode, cpu)
    exits, stats = seen.ran.exits(), seen.ran.machine.stats()
    assert exits.get("EXCEPTION_NMI", 0) == stats["host_pmis"] == (mode == "emulated")
    assert exits.get("EXTERNAL_INTERRUPT", 0) == stats["mediated_pmis"] == (mode == "mediated")


@each_cpu
@each_mode
def test_delivery_masks_the_lvtpc(mode: str, cpu: str) -> None:
    """[26] Without unmasking the second overflow sets its bit and is no PMI."""
    again = f"counting_off\nwr {asm.PMC0}, {(1 << 48) - 50}\nwr 0x390, 1\n"
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(400)}{again}wr 0x38f, 1\n{NOPS.format(400)}counting_off\n"
        "rd 0x38e\nkeep 1\nrd 0x834\nkeep 2",
        start=instructions_on_gp0(100),
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 1
    assert seen.ran.results(2, 1) == [1, NMI | MASKED]
    assert (seen.pmi.due, seen.pmi.delivered, seen.pmi.masked) == (1, 1, 1)


@each_cpu
@each_mode
def test_unmasking_lets_the_next_one_through(mode: str, cpu: str) -> None:
    again = f"wr {asm.PMC0}, {(1 << 48) - 50}\n"
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(400)}counting_off\n{again}wr 0x38f, 1\n{NOPS.format(400)}"
        "counting_off",
        start=instructions_on_gp0(100),
        handler=f"{ACKNOWLEDGE}\nwr 0x834, {NMI}",
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 2
    for pmi in range(2):
        record = seen.record(pmi)
        assert record[COUNTER] == late(seen) + 1
        assert record[STATUS] == 1
        assert record[LVTPC] == NMI | MASKED
    assert (seen.pmi.due, seen.pmi.delivered, seen.pmi.masked) == (2, 2, 0)


@each_cpu
@each_mode
def test_a_masked_lvtpc(mode: str, cpu: str) -> None:
    """[25] The status bit is set, no PMI comes, and none is kept for the time after unmasking."""
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(400)}counting_off\nrd 0x38e\nkeep 1\n"
        f"wr 0x834, {NMI}\n{NOPS.format(400)}",
        start=instructions_on_gp0(100),
        lvtpc=NMI | MASKED,
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 0
    assert seen.ran.result(1) == 1
    assert (seen.pmi.due, seen.pmi.delivered, seen.pmi.masked) == (0, 0, 1)


@each_cpu
@each_mode
def test_without_int_there_is_no_pmi(mode: str, cpu: str) -> None:
    """[25] INT = 0: the status bit is set and that is all; on a fixed counter likewise."""
    source = guest(
        f"wr 0x38f, {FIXED0 | 1}\n{NOPS.format(400)}counting_off\nrd 0x38e\nkeep 1",
        start=instructions_on_gp0(100, interrupt=False)
        + f"wr 0x38d, 1\nwr 0x309, {(1 << 48) - 60}",
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 0
    assert seen.ran.result(1) == FIXED0 | 1
    assert (seen.pmi.due, seen.pmi.delivered, seen.pmi.masked) == (0, 0, 0)
    assert [c.overflows for c in seen.ran.counters().values()] == [2]


@each_cpu
@each_mode
def test_a_pmi_of_a_fixed_counter(mode: str, cpu: str) -> None:
    source = guest(
        f"wr 0x38f, {FIXED0}\n{NOPS.format(400)}counting_off",
        start=f"wr 0x38d, 9\nwr 0x309, {(1 << 48) - 100}",
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 1
    assert seen.record(0)[STATUS] == FIXED0
    assert seen.pmi.instructions_p50 == late(seen)


@each_cpu
@each_mode
def test_an_nmi_does_not_ask_for_interrupts(mode: str, cpu: str) -> None:
    """LVTPC in NMI mode: with IF = 1 as with IF = 0, in which all tests above ran."""
    source = guest(
        f"sti\nnop\nwr 0x38f, 1\n{NOPS.format(400)}counting_off",
        start=instructions_on_gp0(100),
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 1
    assert seen.record(0)[COUNTER] == late(seen) + 1


@each_cpu
@each_mode
def test_a_fixed_vector(mode: str, cpu: str) -> None:
    """LVTPC in fixed mode: the vector, once interrupts are on."""
    source = guest(
        f"sti\nnop\nwr 0x38f, 1\n{NOPS.format(400)}counting_off\nrd 0x838\n",
        start=instructions_on_gp0(100),
        lvtpc=FIXED_VECTOR,
        vector=FIXED_VECTOR,
        handler="wr 0x80b, 0",
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 1
    record = seen.record(0)
    assert record[COUNTER] == late(seen) + 1
    assert record[LVTPC] == FIXED_VECTOR | MASKED
    assert (seen.pmi.due, seen.pmi.delivered) == (1, 1)


@each_cpu
@each_mode
def test_a_fixed_vector_waits_for_interrupts(mode: str, cpu: str) -> None:
    """IF = 0: the vector waits in the IRR until STI and the instruction behind it."""
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(400)}\nmovq RESULTS, %rax\nkeep 1\nsti\n{NOPS.format(10)}"
        "counting_off",
        start=instructions_on_gp0(100),
        lvtpc=FIXED_VECTOR,
        vector=FIXED_VECTOR,
        handler="wr 0x80b, 0",
    )
    seen = run(source, mode, cpu)
    assert seen.ran.result(1) == 0  # not before STI
    assert seen.pmis == 1
    # 100 to the overflow; of WRMSR, 400 NOPs, 2 movs, STI and the NOP in its shadow 305 are behind.
    behind = 1 + 400 + 2 + 1 + 1 - 100
    assert seen.record(0)[COUNTER] == behind + 1
    assert seen.pmi.instructions_p50 == behind
    assert (seen.pmi.due, seen.pmi.delivered) == (1, 1)


@each_cpu
@each_mode
def test_simultaneous_overflows_are_one_pmi(mode: str, cpu: str) -> None:
    """Two counters that overflow with the same instruction: one PMI, both bits."""
    source = guest(
        f"wr 0x38f, {FIXED0 | 1}\n{NOPS.format(400)}counting_off",
        start=instructions_on_gp0(100) + f"wr 0x38d, 9\nwr 0x309, {(1 << 48) - 100}",
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 1
    assert seen.record(0)[STATUS] == FIXED0 | 1
    assert (seen.pmi.due, seen.pmi.delivered, seen.pmi.coalesced) == (1, 1, 0)


@each_cpu
@each_mode
def test_an_overflow_while_a_pmi_is_under_way(mode: str, cpu: str) -> None:
    """The second overflow comes 30 instructions later, within the skid: coalesced, both bits."""
    source = guest(
        f"wr 0x38f, {FIXED0 | 1}\n{NOPS.format(400)}counting_off",
        start=instructions_on_gp0(100) + f"wr 0x38d, 9\nwr 0x309, {(1 << 48) - 130}",
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 1
    assert seen.record(0)[STATUS] == FIXED0 | 1
    assert seen.pmi.instructions_p50 == late(seen)
    assert (seen.pmi.due, seen.pmi.delivered, seen.pmi.coalesced) == (1, 1, 1)


@each_cpu
@each_mode
def test_an_overflow_in_user_mode(mode: str, cpu: str) -> None:
    """A counter of user code overflows in user code; the PMI hits user code."""
    source = guest(
        f"user_frame user\nwr 0x38f, 1\niretq\nuser: {NOPS.format(400)}syscall",
        start=instructions_on_gp0(100, privileges=asm.USR),
        tail="counting_off\nkeep_pmc 1, 0\nfinish",
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 1
    record = seen.record(0)
    # No instruction of the handler counts, nor does IRETQ before the user code.
    assert record[COUNTER] == late(seen)
    assert record[CS] == 0x2B
    assert seen.ran.result(1) == 400 + 1 - 100  # SYSCALL is the user's
    assert seen.pmi.instructions_p50 == late(seen)


@each_cpu
@each_mode
def test_a_pmi_waits_for_the_end_of_an_nmi_handler(mode: str, cpu: str) -> None:
    """NMIs are blocked until IRET, and the one that waits comes right behind it.

    The handler unmasks and goes on for longer than the skid with a counter that overflows again.
    """
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(400)}counting_off",
        start=instructions_on_gp0(100),
        handler=f"""
	cmpq	$1, RESULTS
	jne	1f
	{ACKNOWLEDGE}
	wr	0x834, {NMI}
	wr	{asm.PMC0}, {(1 << 48) - 20}
	{NOPS.format(300)}
	keep	1, %rsp			/* the second has not come */
	movq	RESULTS, %rax
	keep	2
1:
""",
    )
    seen = run(source, mode, cpu)
    assert seen.ran.result(2) == 1
    assert seen.pmis == 2
    assert seen.record(1)[STATUS] == 1
    assert (seen.pmi.due, seen.pmi.delivered) == (2, 2)
    # The counter stood at -20 with the WRMSR that wrote it: that and 300 NOPs, three stores or
    # moves and IRET, then at once.
    assert seen.record(1)[COUNTER] == 1 + 300 + 3 + 1 - 20 + 1
    if mode != "native":
        assert seen.ran.exits()["NMI_WINDOW"] == 1


@each_cpu
@each_mode
def test_one_event_before_the_overflow(mode: str, cpu: str) -> None:
    """[6] A counter at -1: hardware overflows with the next event.

    Host perf rounds the period of the emulated design up to 2, so that after one event there is no
    overflow; the value is right.
    """
    source = guest(
        "wr 0x38f, 1\njmp 1f\n1: counting_off\nrd 0x38e\nkeep 1\nkeep_pmc 2, 0",
        start=f"wr {asm.EVTSEL0}, {asm.EN | asm.OS | 0xC4}\nwr {asm.PMC0}, {ALL}",
    )
    seen = run(source, mode, cpu)
    assert seen.ran.results(2, 1) == [int(mode != "emulated"), 0]
    (counter,) = seen.ran.counters().values()
    assert (counter.true_count, counter.counted, counter.overflows) == (1, 1, 1)


@each_cpu
@each_mode
def test_the_pmi_of_a_counter_one_short(mode: str, cpu: str) -> None:
    """[6] With INT and a second branch 200 NOPs behind the first.

    The emulated design's PMI belongs to the second one.
    """
    source = guest(
        f"wr 0x38f, 1\njmp 1f\n1: {NOPS.format(200)}jmp 1f\n1: {NOPS.format(400)}counting_off\n"
        "keep_pmc 1, 0",
        start=f"wr {asm.EVTSEL0}, {asm.EN | asm.INT | asm.OS | 0xC4}\nwr {asm.PMC0}, {ALL}",
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 1
    record = seen.record(0)
    assert record[STATUS] == 1
    assert (seen.pmi.due, seen.pmi.delivered) == (1, 1)
    if mode == "emulated":
        assert record[COUNTER] == 1
        assert seen.pmi.instructions_max == 200 + 1 + late(seen)
    else:
        assert record[COUNTER] == 0
        assert seen.pmi.instructions_max == late(seen)
    (counter,) = seen.ran.counters().values()
    # Two JMPs and the handler's IRET; the period is late, nothing is lost.
    assert (counter.true_count, counter.counted, counter.overflows) == (3, 3, 1)


@each_cpu
@each_mode
def test_a_sampling_loop(mode: str, cpu: str) -> None:
    """A handler that reloads a period of 2,000: every overflow is a PMI, equally late."""
    source = guest(
        "wr 0x38f, 1\nmovl $20000, %r9d\n1: decl %r9d\njnz 1b\ncounting_off",
        start=instructions_on_gp0(2000),
        handler=f"""
	{ACKNOWLEDGE}
	wr	{asm.PMC0}, {(1 << 48) - 2000}
	wr	0x834, {NMI}
""",
    )
    seen = run(source, mode, cpu)
    # The instructions from one reload to the next: 2,000 and the lateness, less what the handler
    # does behind the reload (4 + 1 of LVTPC and IRET are of the next period).
    assert 15 <= seen.pmis <= 25
    assert (seen.pmi.due, seen.pmi.delivered) == (seen.pmis, seen.pmis)
    assert (seen.pmi.coalesced, seen.pmi.masked, seen.pmi.dropped) == (0, 0, 0)
    assert seen.pmi.instructions_p50 <= seen.pmi.instructions_p99 <= seen.pmi.instructions_max
    assert seen.pmi.latency_p50 <= seen.pmi.latency_p99 <= seen.pmi.latency_max
    # DEC and JNZ cost as NOPs do; one may miss at first.
    assert late(seen) - 70 <= seen.pmi.instructions_p50 <= late(seen) + 1
    (counter,) = seen.ran.counters().values()
    assert counter.true_count == counter.counted
    assert counter.overflows == seen.pmis


@each_cpu
@each_mode
def test_a_pmi_under_way_wakes_a_halted_cpu(mode: str, cpu: str) -> None:
    """HLT five instructions behind the overflow, interrupts off: the NMI comes and ends it."""
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(104)}hlt\ncounting_off\nkeep_pmc 1, 0",
        start=instructions_on_gp0(100),
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 1
    # The WRMSR and 99 NOPs to the overflow; 5 NOPs and HLT, then the handler's first instruction.
    assert seen.record(0)[COUNTER] == 5 + 1 + 1
    assert seen.pmi.instructions_max == 6
    assert (seen.pmi.due, seen.pmi.delivered) == (1, 1)


@each_cpu
@each_mode
def test_a_halted_cpu_is_not_woken_by_a_counter_that_counts(mode: str, cpu: str) -> None:
    """HLT is credited to a counter that counts instructions; that is no reason to go on.

    Nothing can wake it: interrupts are off and no NMI is under way. The run ends there.
    """
    source = guest(
        "wr 0x38f, 1\nhlt\nkeep 1, %rsp",
        start=instructions_on_gp0(1000),
    )
    ran = asm.run_image(asm.assemble(source), mode=mode, cpu=cpu)
    assert ran.stop is Stop.HALTED
    assert ran.result(1) == 0


@each_cpu
@each_mode
def test_the_overflow_is_that_of_hlt(mode: str, cpu: str) -> None:
    """Natively the PMI wakes the CPU; mediated, KVM raises it with the credit, which wakes it too.

    The emulated design finds the wrap only when it reprograms the counter, and that is before the
    next entry: a halted vCPU sleeps on until something else wakes it, here the timer.
    """
    sleep = 1_000_000
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(97)}sti\nhlt\ncounting_off\ncli",
        start=instructions_on_gp0(100),
        setup=f"gate 0x41, timer\nwr 0x83e, 0xb\nwr 0x832, 0x41\nwr 0x838, {sleep}",
        tail="ud2\ntimer: wr 0x80b, 0\niretq",
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 1
    record = seen.record(0)
    assert record[STATUS] == 1
    assert record[COUNTER] == 1
    assert (seen.pmi.due, seen.pmi.delivered) == (1, 1)
    if mode == "emulated":
        assert 0.9 * sleep < seen.pmi.latency_max < 1.1 * sleep
    else:
        assert seen.pmi.latency_max < 0.1 * sleep


@each_cpu
@each_mode
def test_an_emulated_instruction_that_overflows(mode: str, cpu: str) -> None:
    """The credit of a CPUID wraps the counter: a PMI, and at once, for KVM is there already."""
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(96)}xorl %eax, %eax\nxorl %ecx, %ecx\ncpuid\n"
        f"{NOPS.format(400)}counting_off",
        start=instructions_on_gp0(100),
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == 1
    assert seen.record(0)[STATUS] == 1
    expected = late(seen) if mode == "native" else 0
    assert seen.record(0)[COUNTER] == expected + 1
    assert (seen.pmi.due, seen.pmi.delivered) == (1, 1)
    assert seen.pmi.instructions_max == expected


@each_cpu
@each_mode
def test_unmasked_while_it_is_under_way(mode: str, cpu: str) -> None:
    """An overflow that finds the LVTPC masked, and finds it unmasked a skid later.

    Natively the PMI reaches the APIC after the WRMSR that unmasks. Under KVM the WRMSR exits first,
    and a PMI under way arrives during the exit, by the LVTPC of then. In the mediated design that
    has the guest's mask, so nothing comes. In the emulated one host perf takes it, and KVM delivers
    it once the WRMSR is done.
    """
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(102)}wr 0x834, {NMI}\n{NOPS.format(400)}counting_off\n"
        "rd 0x38e\nkeep 1",
        start=instructions_on_gp0(100),
        lvtpc=NMI | MASKED,
    )
    seen = run(source, mode, cpu)
    assert seen.pmis == (mode != "mediated")
    assert seen.pmi.delivered == seen.pmis
    assert seen.pmi.due == seen.pmis
    assert seen.pmi.masked == 1 - seen.pmis
    assert seen.ran.result(1) == 1
