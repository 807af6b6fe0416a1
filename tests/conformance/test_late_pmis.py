# SPDX-License-Identifier: Apache-2.0
"""PMIs that are under way when the guest exits for another reason, and whose PMI the host sees.

The guest overflows 5 NOPs before a CPUID, which is within the skid of every CPU; the PMI then
arrives during the exit of the CPUID.

- mediated, kvm.pmi=vector: the vector is latched in the host's APIC and served once interrupts are
  on again: behind put, before the next entry. Nothing is lost.
- mediated, kvm.pmi=nmi: the counter-example. An NMI in the host, with no sign whose it is; perf
  claims none while a guest's PMU is loaded, so it is nobody's. The guest's status bit is set and no
  PMI comes.
- emulated: the NMI is host perf's in any case, and its overflow handler knows the guest's counter.

Natively there is no exit; the PMI lands a skid behind the overflow.
"""

from __future__ import annotations

import guest_asm as asm
import pytest
from test_pmi import (
    COUNTER,
    LVTPC,
    MASKED,
    NMI,
    NOPS,
    STATUS,
    guest,
    instructions_on_gp0,
    late,
    run,
)

NATIVE, EMULATED, MEDIATED = asm.MODES
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)
PMI_NMI = ("kvm.pmi=nmi",)
# How a PMI reaches the host, by the arrangement.
HOWS = [(EMULATED, ()), (MEDIATED, ()), (MEDIATED, PMI_NMI)]
each_how = pytest.mark.parametrize(("mode", "settings"), HOWS, ids=["emulated", "vector", "nmi"])

# The WRMSR that enables and 99 NOPs reach the overflow; 5 NOPs, 2 XORs and CPUID are behind it.
LATE = f"""
	wr	0x38f, 1
	{NOPS.format(99 + 5)}
	xorl	%eax, %eax
	xorl	%ecx, %ecx
	cpuid
	{NOPS.format(400)}
	counting_off
	rd	0x38e
	keep	1
"""


@each_cpu
@each_how
def test_a_pmi_that_comes_during_another_exit(
    mode: str, settings: tuple[str, ...], cpu: str
) -> None:
    seen = run(guest(LATE, start=instructions_on_gp0(100)), mode, cpu, settings=settings)
    pmi, stats = seen.pmi, seen.ran.machine.stats()
    assert pmi.due == 1
    assert seen.ran.result(1) == 1  # whatever became of the PMI, the bit is there
    (counter,) = seen.ran.counters().values()
    assert counter.true_count == counter.counted
    if settings == PMI_NMI:
        assert seen.pmis == 0
        assert (pmi.delivered, pmi.dropped) == (0, 1)
        assert (stats["unknown_nmis"], stats["mediated_pmis"], stats["host_pmis"]) == (1, 0, 0)
        return
    assert seen.pmis == 1
    assert (pmi.delivered, pmi.dropped, stats["unknown_nmis"]) == (1, 0, 0)
    # The handler is entered right behind the CPUID: RDPMC reads behind its first instruction.
    assert seen.record(0)[COUNTER] == 5 + 2 + 1 + 1
    assert seen.record(0)[STATUS] == 1
    assert pmi.instructions_max == 5 + 2 + 1


@each_cpu
def test_natively_it_lands_a_skid_behind(cpu: str) -> None:
    seen = run(guest(LATE, start=instructions_on_gp0(100)), NATIVE, cpu)
    assert seen.pmis == 1
    # CPUID serializes, and is longer than the rest of the skid.
    assert seen.record(0)[COUNTER] == 5 + 2 + 1 + 1


@each_cpu
@each_how
def test_a_pmi_in_the_guest_is_the_guests(mode: str, settings: tuple[str, ...], cpu: str) -> None:
    """Without an exit between: the three arrangements deliver alike."""
    source = guest(f"wr 0x38f, 1\n{NOPS.format(400)}counting_off", start=instructions_on_gp0(100))
    seen = run(source, mode, cpu, settings=settings)
    exits = seen.ran.exits()
    assert seen.pmis == 1
    assert seen.record(0)[COUNTER] == late(seen) + 1
    assert seen.record(0)[LVTPC] == NMI | MASKED
    nmi = mode == EMULATED or settings == PMI_NMI
    assert exits.get("EXCEPTION_NMI", 0) == nmi
    assert exits.get("EXTERNAL_INTERRUPT", 0) == (not nmi)
    assert seen.ran.machine.stats()["unknown_nmis"] == 0


@each_cpu
@each_how
def test_the_guests_mask_holds_however_it_comes(
    mode: str, settings: tuple[str, ...], cpu: str
) -> None:
    """LVTPC masked: the status bit and nothing else, whether during an exit or not."""
    seen = run(
        guest(LATE, start=instructions_on_gp0(100), lvtpc=NMI | MASKED),
        mode,
        cpu,
        settings=settings,
    )
    assert seen.pmis == 0
    assert seen.ran.result(1) == 1
    assert (seen.pmi.due, seen.pmi.masked, seen.pmi.dropped) == (0, 1, 0)
    assert seen.ran.machine.stats()["unknown_nmis"] == 0


@each_cpu
def test_the_hosts_line_counts_each_pmi_of_the_guest(cpu: str) -> None:
    """Rule 41: as many on the VPMI line as the guest took, and perf has seen none.

    A loop of 20,000 turns of 2 instructions with a period of 4,000, reloaded by the handler: each
    PMI is one exit, whether by itself or during another one.
    """
    source = guest(
        "wr 0x38f, 1\nmovl $20000, %r9d\n1: decl %r9d\njnz 1b\ncounting_off",
        start=instructions_on_gp0(4000),
        handler=f"""
	movl	$0x390, %ecx
	movl	$1, %eax
	xorl	%edx, %edx
	wrmsr
	wr	{asm.PMC0}, {(1 << 48) - 4000}
	wr	0x834, {NMI}
""",
    )
    seen = run(source, MEDIATED, cpu)
    stats = seen.ran.machine.stats()
    assert seen.pmis >= 8
    assert stats["mediated_pmis"] == seen.pmis == seen.pmi.delivered
    assert stats["host_pmis"] == 0


@each_cpu
def test_a_late_pmi_ends_a_stay_in_the_fastpath(cpu: str) -> None:
    """A TSC deadline that is served in the inner loop, with a PMI that came during its exit.

    Branches are counted, so that the fastpath is allowed; a JMP overflows 4 instructions before the
    WRMSR. The PMI must not wait for the next exit that leaves the loop.
    """
    source = guest(
        f"""
	wr	0x832, 0x40040
	wr	0x38f, 1
	movl	$0x6e0, %ecx
	xorl	%eax, %eax
	movl	$1, %edx		/* far away */
	jmp	1f
1:	wrmsr
	{NOPS.format(400)}
	counting_off
""",
        start=f"wr {asm.EVTSEL0}, {asm.EN | asm.INT | asm.OS | 0xC4}\nwr {asm.PMC0}, {asm.WIDTH}",
    )
    seen = run(source, MEDIATED, cpu)
    assert seen.pmis == 1
    # The JMP, then WRMSR: the handler's first instruction is the next one.
    assert seen.pmi.instructions_max == 1
    assert seen.pmi.dropped == 0
