# SPDX-License-Identifier: Apache-2.0
"""kvm.fault_counter_write: a VMM whose IA32_PERFCTRn has no sign extension (rule 1).

A guest that writes -n means 2^48 - n. A counter that takes the 32 bits of the write as they are
holds 2^32 - n, and one that drops the sign with them, bits 30:0, 2^31 - n if n is at most 2^31.
perf takes what it reads less what it wrote, modulo 2^48: off by 2^32, or by 2^31, at each write.
"""

from __future__ import annotations

import guest_asm as asm
import pytest
from guest_asm import EVENTS

import pmupass
from pmupass.errors import UsageError

NATIVE, EMULATED, MEDIATED = asm.MODES
each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)
FULL = 1 << 48
# The fault, and what a counter holds of a write.
TAKEN = {
    "none": lambda v: (v & 0xFFFF_FFFF) | (0xFFFF_0000_0000 if v >> 31 & 1 else 0),
    "zero-extended": lambda v: v & 0xFFFF_FFFF,
    "31-bit": lambda v: v & 0x7FFF_FFFF,
}
VALUES = (0, 1, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FC18, 0xFFFF_FFFF)
OFF_BY = {"none": 0, "zero-extended": 1 << 32, "31-bit": 1 << 31}


def setting(kind: str) -> tuple[str, ...]:
    """Return the setting of a fault."""
    return (f"kvm.fault_counter_write={kind}",)


@each_mode
@each_cpu
@pytest.mark.parametrize("kind", TAKEN)
def test_what_a_counter_holds(mode: str, cpu: str, kind: str) -> None:
    """Legacy writes, and the same values by the full-width alias and to a fixed counter."""
    taken = TAKEN[kind if mode == EMULATED else "none"]
    ops = []
    for value in VALUES:
        ops += [("wr", asm.PERFCTR0, value), ("rd", asm.PERFCTR0)]
        ops += [("wr", asm.PMC0, value), ("rd", asm.PERFCTR0)]
        ops += [("wr", asm.FIXED_CTR0, value), ("rd", asm.FIXED_CTR0)]
    found = asm.run_script(ops, mode=mode, cpu=cpu, settings=setting(kind))[1::2]
    assert found == [seen for v in VALUES for seen in (taken(v), v, v)]


@each_cpu
@pytest.mark.parametrize("kind", TAKEN)
def test_the_vmms_writes_are_as_ever(cpu: str, kind: str) -> None:
    machine = asm.run(asm.script([]), mode=EMULATED, cpu=cpu, settings=setting(kind)).machine
    for value in VALUES:
        assert machine.set_msrs([(asm.PERFCTR0, value)]) == 1
        assert machine.get_msrs([asm.PERFCTR0]) == [value]


@each_mode
@each_cpu
@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("fw_write", [False, True])
def test_a_guests_perf_is_off_by_a_power_of_two(
    mode: str, cpu: str, kind: str, fw_write: bool
) -> None:
    """It counts from -(2^31 - 1), the longest period of 31 bits, without full-width writes."""
    result = pmupass.run(
        "perf-stat",
        mode=mode,
        cpu=cpu,
        time="1ms",
        events="branches:u,instructions:u",
        settings=(*setting(kind), f"guest.fw_write={int(fw_write)}"),
    )
    branches, instructions = result.counters
    off = 0 if fw_write or mode != EMULATED else OFF_BY[kind]
    assert branches.lost == -off
    assert branches.causes == ({"counter-write": -off} if off else {})
    assert result.guest.report.events[0].value == branches.true + off
    # Fixed counters have no such alias.
    assert (instructions.lost, instructions.causes) == (0, {})
    errors = [(e.event, e.cause, e.lost) for e in result.silent_errors]
    assert errors == ([("branches:u", "counter-write", -off)] if off else [])
    for error in result.silent_errors:
        assert result.guest.report.tsc_begin <= error.tsc < error.until


@each_cpu
@pytest.mark.parametrize("kind", ["zero-extended", "31-bit"])
def test_what_counts_from_there_never_overflows(cpu: str, kind: str) -> None:
    """Sampling ends before it begins: the counter has some 2^48 to go, for a period of 10000."""
    given = {"mode": EMULATED, "cpu": cpu, "time": "1ms", "events": "branches:u", "period": 10000}
    result = pmupass.run("perf-record", settings=(*setting(kind), "guest.fw_write=0"), **given)
    assert result.guest.report.events[0].samples == 0
    assert (result.pmi.due, result.pmi.delivered) == (1, 0)
    assert result.counters[0].overflows == 1


@each_cpu
def test_programs_that_count_up_from_zero_are_right(cpu: str) -> None:
    """Only a write with its bit 31 set is taken for another value."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	wr	{asm.PERFCTR0}, 1000
	wr	0x186, {asm.EN | asm.OS | EVENTS["loads"]}
	.rept	50
	movq	(%rsp), %rax
	.endr
	pmc	0
	keep	0
	finish
"""
    ran = asm.run(source, mode=EMULATED, cpu=cpu, settings=setting("31-bit"))
    assert ran.result(0) == 1050
    (counter,) = ran.machine.counters()
    assert not counter.causes


def test_amds_counters_have_no_such_register() -> None:
    with pytest.raises(UsageError, match="AMD's counters take a write whole"):
        pmupass.run("perf-stat", mode=EMULATED, cpu="zen4", settings=setting("31-bit"))
