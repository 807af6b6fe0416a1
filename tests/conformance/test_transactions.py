# SPDX-License-Identifier: Apache-2.0
"""RTM by setting (cpu.rtm): every transaction aborts at XBEGIN, and its cycles are in-transaction.

Rules: without RTM the four instructions are #UD and bits 32 and 33 of a selector are reserved. With
it XBEGIN goes to its fallback address with EAX = 0; outside of a transaction XTEST sets ZF, XEND is
#GP(0), XABORT does nothing. IN_TX (bit 32) counts cycles in transactions, IN_TXCP (bit 33, PMC2
only) all cycles but those of aborted ones.
"""

from __future__ import annotations

import errno

import guest_asm as asm
import pytest

import pmupass
from pmupass.config import HostEvent
from pmupass.core import Machine
from pmupass.errors import UsageError

RTM = ("cpu.rtm=1",)
IN_TX, IN_TXCP = 1 << 32, 1 << 33

each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)

# XBEGIN 1f, XEND, XABORT 7, XTEST as bytes: what the assembler makes of them is not the point.
XBEGIN = ".byte 0xc7, 0xf8; .long 1f - . - 4"
XEND = ".byte 0x0f, 0x01, 0xd5"
XTEST = ".byte 0x0f, 0x01, 0xd6"
XABORT = ".byte 0xc6, 0xf8, 7"


def one(insn: str) -> str:
    """Return a guest that leaves the flags and RAX behind an instruction, or the vector at it."""
    return f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	6, on_ud
	gate	13, on_gp
	movl	$7, %eax
	xorl	%ecx, %ecx
	cpuid
	keep	3, %rbx
	xorl	%r12d, %r12d
	movl	$0x7f, %eax
	addl	$1, %eax
	stc
	movl	$0x1234, %eax
at:	{insn}
	ud2
1:	pushfq
	popq	%rbx
	jmp	done
on_ud:	movl	$6, %r12d
	movq	$at, %rcx
	cmpq	%rcx, (%rsp)
	jne	away
	jmp	done
on_gp:	movl	$13, %r12d
	movq	(%rsp), %r13		/* the error code */
	jmp	done
away:	movl	$99, %r12d
done:	keep	0, %r12
	keep	1, %rax
	keep	2, %rbx
	keep	4, %r13
	finish
"""


@each_mode
@pytest.mark.parametrize("insn", [XBEGIN, XEND, XTEST, XABORT])
def test_without_rtm_they_are_ud(mode: str, insn: str) -> None:
    ran = asm.run(one(insn + "; jmp 1f"), mode=mode, cpu="sapphire-rapids")
    assert ran.result(0) == 6
    assert ran.result(3) & (1 << 4 | 1 << 11) == 0


@each_mode
@each_cpu
def test_with_rtm(mode: str, cpu: str) -> None:
    def run(insn: str) -> asm.Ran:
        ran = asm.run(one(insn + "; jmp 1f"), mode=mode, cpu=cpu, settings=RTM)
        assert ran.result(3) & (1 << 4 | 1 << 11) == 1 << 11
        return ran

    xbegin = run(XBEGIN.replace("jmp 1f", "") + "; ud2")
    assert xbegin.results(2) == [0, 0]  # EAX: nothing that the status could say
    # ADD left ZF, SF, OF and PF clear and AF set, STC set CF: all as before.
    assert xbegin.result(2) & 0x8D5 == 0x11
    xtest = run(XTEST)
    assert xtest.results(2) == [0, 0x1234]
    assert xtest.result(2) & 0x8D5 == 0x40  # ZF alone
    xabort = run(XABORT)
    assert xabort.results(2) == [0, 0x1234]
    xend = run(XEND)
    assert xend.result(0) == 13
    assert xend.result(4) == 0


TIMES = 20


@each_mode
@each_cpu
def test_cycles_of_aborted_transactions(mode: str, cpu: str) -> None:
    """GP 0: cycles in transactions; 1: cycles; 2: without aborted ones; 3: instructions in them."""
    both = asm.EN | asm.OS | asm.USR
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	wr	0x38f, 0
	wr	0x186, {both | 0x3C | IN_TX}
	wr	0x187, {both | 0x3C}
	wr	0x188, {both | 0x3C | IN_TXCP}
	wr	0x189, {both | 0xC0 | IN_TX}
	wr	0x4c1, 0
	wr	0x4c2, 0
	wr	0x4c3, 0
	wr	0x4c4, 0
	wr	0x38d, 3
	wr	0x309, 0
	wr	0x38f, {1 << asm.FIXED | 15}
	movl	${TIMES}, %esi
2:	{XBEGIN}
1:	decl	%esi
	jnz	2b
	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	keep_pmc 2, 2
	keep_pmc 3, 3
	keep_pmc 4, 0x40000000
	finish
"""
    ran = asm.run(source, mode=mode, cpu=cpu, settings=RTM)
    inside, cycles, outside, instructions, retired = ran.results(5)
    # XBEGIN costs timing.serialize subcycles, all of them in the region.
    assert inside == TIMES * (ran.config.timing["serialize"] >> 6)
    assert cycles == inside + outside
    assert outside > 0
    assert instructions == 0
    # The WRMSR that enables, mov, 20 * 3, 3 before the last WRMSR: an aborted XBEGIN has retired.
    assert retired == 1 + 1 + TIMES * 3 + 3
    for counter in ran.counters().values():
        assert counter.true_count == counter.counted
        assert not counter.causes


@each_mode
@each_cpu
def test_an_overflow_in_a_transaction(mode: str, cpu: str) -> None:
    """The counter wraps with the third XBEGIN: two leave it 1 short, the third adds the rest."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	wr	0x38f, 0
	wr	0x186, {asm.EN | asm.OS | 0x3C | IN_TX}
	wr	0x4c1, START
	wr	0x38f, 1
	movl	$3, %esi
2:	{XBEGIN}
1:	decl	%esi
	jnz	2b
	counting_off
	rd	0x38e
	keep	0
	keep_pmc 1, 0
	finish
"""
    timing = asm.config(b"", mode=mode, cpu=cpu, settings=RTM).timing
    each = timing["serialize"] >> 6
    start = (1 << 48) - 2 * each - 1
    source = source.replace("START", hex(start))
    ran = asm.run(source, mode=mode, cpu=cpu, settings=RTM)
    assert ran.results(2) == [1, each - 1]


@each_mode
def test_reserved_bits_of_selectors(mode: str) -> None:
    cycles = asm.EN | asm.OS | 0x3C
    ops = [
        ("wr", 0x186, cycles | IN_TX),
        ("rd", 0x186),
        ("wr", 0x186, cycles | IN_TXCP),
        ("wr", 0x187, cycles | IN_TX | IN_TXCP),
        ("wr", 0x188, cycles | IN_TX | IN_TXCP),
        ("rd", 0x188),
        ("wr", 0x188, cycles | 1 << 34),
    ]
    for cpu in asm.CPUS:
        assert asm.run_script(ops, mode=mode, cpu=cpu, settings=RTM) == [
            0,
            cycles | IN_TX,
            asm.GP,
            asm.GP,
            0,
            cycles | IN_TX | IN_TXCP,
            asm.GP,
        ]
    assert asm.run_script(ops[:1], mode=mode, cpu="skylake-sp") == [asm.GP]


@each_mode
def test_kvm_credits_no_selector_with_transaction_bits(mode: str) -> None:
    """KVM takes bits 35:32 for AMD's event select: instructions with IN_TXCP are never credited."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	wr	0x38f, 0
	wr	0x188, {asm.EN | asm.OS | 0xC0 | IN_TXCP}
	wr	0x4c3, 0
	wr	0x38f, 4
	xorl	%eax, %eax
	cpuid
	cpuid
	counting_off
	keep_pmc 0, 2
	finish
"""
    ran = asm.run(source, mode=mode, cpu="skylake-sp", settings=RTM)
    emulated = 0 if mode == "native" else 2
    # A mediated guest on this CPU has GLOBAL_CTRL for itself; the emulated one exits.
    emulated += mode == "emulated"
    # WRMSR, xor, CPUID twice, 3
    assert ran.result(0) == 7 - emulated
    (counter,) = ran.counters().values()
    assert counter.true_count == 7
    assert counter.causes == ({"uncredited": emulated} if emulated else {})


@each_mode
@each_cpu
def test_an_overflow_of_a_checkpointed_counter(mode: str, cpu: str) -> None:
    """[13] KVM gives host perf no period for IN_TXCP: emulated, the overflow goes unnoticed.

    The counter is 256 cycles before its overflow, the loop takes far more.
    """
    ops = [
        ("wr", asm.GLOBAL_CTRL, 1 << 2),
        ("wr", asm.PERFCTR0 + 2, (1 << 32) - 256),
        ("wr", asm.EVTSEL0 + 2, asm.EN | asm.OS | asm.EVENTS["cycles"] | IN_TXCP),
        ("spin", 2000),
        ("wr", asm.EVTSEL0 + 2, 0),
        ("rd", asm.GLOBAL_STATUS),
    ]
    *_, status = asm.run_script(ops, mode=mode, cpu=cpu, settings=RTM)
    assert status == (0 if mode == "emulated" else 1 << 2)


# ---- IN_TXCP with a period: KVM of before 2017 ----

LEAST = (1 << 31) - 1  # perf's least period of a checkpointed sampling event


@each_mode
@each_cpu
@pytest.mark.parametrize("period", [LEAST - 1, LEAST, LEAST + 1])
@pytest.mark.parametrize("old", [False, True])
def test_a_checkpointed_counter_with_a_period(mode: str, cpu: str, period: int, old: bool) -> None:
    """Host perf refuses one that is short; the guest's counter stands, and nobody says so."""
    loads = asm.EN | asm.OS | asm.EVENTS["loads"] | IN_TXCP
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	wr	{asm.PMC0 + 2}, {(1 << 48) - period}
	wr	0x188, {loads}
	.rept	50
	movq	(%rsp), %rax
	.endr
	pmc	2
	keep	0
	finish
"""
    settings = (*RTM, f"kvm.in_txcp_period={int(old)}")
    ran = asm.run(source, mode=mode, cpu=cpu, settings=settings)
    refused = old and mode == "emulated" and period < LEAST
    assert ran.result(0) == (1 << 48) - period + (0 if refused else 50)
    (counter,) = ran.machine.counters()
    assert counter.true_count == 50
    assert counter.causes == ({"refused": 50} if refused else {})
    assert ran.machine.stats()["perf_events_refused"] == refused


@each_mode
@pytest.mark.parametrize("cpu", ["skylake-sp"])
def test_perf_in_the_guest_loses_all_but_the_first_turn(mode: str, cpu: str) -> None:
    """Two checkpointed events take turns of a millisecond on PMC2, from -(2^31 - 1) on.

    For its second turn an event comes with what is left of its period, which host perf refuses. Of
    ten turns, five each, the first one of each is counted.
    """
    result = pmupass.run(
        "perf-stat",
        mode=mode,
        cpu=cpu,
        time="10ms",
        events="r2005100c4:u,r2005100c5:u",
        settings=(*RTM, "guest.fw_write=0", "kvm.in_txcp_period=1"),
    )
    for counter in result.counters:
        if mode != "emulated":
            assert (counter.lost, counter.causes) == (0, {})
            continue
        assert 0.19 < counter.counted / counter.true < 0.21
        assert counter.causes == {"refused": counter.lost}
        # The guest is told that it was on the counter for half of the time.
        assert 0.48 < counter.running_cycles / counter.enabled_cycles < 0.52
        assert counter.true_running_cycles < 0.11 * counter.enabled_cycles
    # With the counter's whole width in its hands perf begins at -(2^47 - 1), and nothing is short.
    wide = pmupass.run(
        "perf-stat",
        mode=mode,
        cpu=cpu,
        time="3ms",
        events="r2005100c4:u,r2005100c5:u",
        settings=(*RTM, "kvm.in_txcp_period=1"),
    )
    assert [counter.lost for counter in wide.counters] == [0, 0]


def test_sampling_of_a_checkpointed_event_is_the_guests_own_error() -> None:
    """Its perf refuses what the host's would refuse."""
    given = {"workload": "perf-record", "events": "r2000000c4:u", "settings": RTM, "time": "1ms"}
    with pytest.raises(UsageError, match=r"in_tx_cp Linux refuses a sample period below 2\^31-1"):
        pmupass.run(**given)
    with pytest.raises(UsageError, match="in_tx_cp Linux refuses"):
        pmupass.run(period=LEAST - 1, **given)
    assert pmupass.run(period=LEAST, **given).counters[0].lost == 0


def test_a_checkpointed_event_of_the_host() -> None:
    """perf_event_open() fails with -EOPNOTSUPP for one that samples, and has no precise one."""
    config = asm.EVENTS["loads"] | IN_TXCP | asm.OS | asm.USR
    machine = Machine(
        asm.config(asm.assemble(asm.script([])), mode="emulated", cpu="skylake-sp", settings=RTM)
    )
    for event in (
        HostEvent(config, sample_period=LEAST - 1),
        HostEvent(config, precise_ip=1),
        HostEvent(config & ~IN_TXCP | IN_TX, precise_ip=1),
    ):
        assert machine.open_host_event(event) == -errno.EOPNOTSUPP
    assert machine.open_host_event(HostEvent(config, sample_period=LEAST)) == 0
    assert machine.open_host_event(HostEvent(config & ~IN_TXCP, precise_ip=1)) == 1
