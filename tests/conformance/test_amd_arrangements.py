# SPDX-License-Identifier: Apache-2.0
"""What VMMs and KVM's parameters make of an AMD guest's PMU: APIC, PMIs, MSR filter, backdoor.

The rules are those of test_irqchip.py, test_late_pmis.py, test_msr_filter.py and
test_vmware_backdoor.py, with AMD's registers.
"""

from __future__ import annotations

import dataclasses
import errno

import guest_amd as amd
import guest_asm as asm
import pytest
from guest_amd import ctl, ctr
from guest_asm import GP, run_script

from pmupass.config import HostEvent, MsrFilter, MsrRange
from pmupass.core import Machine
from pmupass.records import Stop

USERSPACE, PMI_NMI = ("kvm.irqchip=userspace",), ("kvm.pmi=nmi",)
BACKDOOR = ("kvm.enable_vmware_backdoor=1",)
each_v2_cpu = pytest.mark.parametrize("cpu", amd.V2)
OVERFLOW = (1 << 48) - 100
NOPS = "\t.rept {}\n\tnop\n\t.endr\n"

# Counter 0 overflows at the 100th instruction from its enabling write on; 5 NOPs later a CPUID.
LATE = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	2, pmi, 1
	xorl	%r9d, %r9d
	wr	0x834, 0x400
	wr	{ctr(0)}, {OVERFLOW}
	wr	{ctl(0)}, {asm.EN | asm.INT | asm.OS | amd.INSTRUCTIONS}
	{NOPS.format(99 + 5)}
	xorl	%eax, %eax
	xorl	%ecx, %ecx
	cpuid
	{NOPS.format(400)}
	wr	{ctl(0)}, 0
	keep	0, %r9
	keep_pmc 1, 0
	finish
pmi:	incl	%r9d
	iretq
"""
# WRMSR and 99 NOPs overflow; 5, XORs, CPUID, 400, 3 before the last WRMSR; 2 of a handler.
BEHIND = 5 + 2 + 1 + 400 + 3


@pytest.mark.parametrize(
    ("mode", "settings", "pmis"),
    [
        (amd.EMULATED, (), 1),
        (amd.MEDIATED, (), 1),
        (amd.MEDIATED, PMI_NMI, 0),
        (amd.EMULATED, USERSPACE, 0),
    ],
)
@each_v2_cpu
def test_a_pmi_that_comes_during_another_exit(
    mode: str, settings: tuple[str, ...], pmis: int, cpu: str
) -> None:
    """Latched on the vector or taken by perf; nobody's as an NMI; lost without a local APIC."""
    ran = asm.run(LATE, mode=mode, cpu=cpu, settings=settings)
    assert ran.results(2) == [pmis, BEHIND + 2 * pmis]
    pmi, stats = ran.machine.pmi(), ran.machine.stats()
    assert (pmi.due, pmi.delivered, pmi.dropped) == (1, pmis, 1 - pmis)
    assert stats["unknown_nmis"] == (settings == PMI_NMI)
    assert stats["pmis_without_lapic"] == (settings == USERSPACE)
    assert stats["mediated_pmis"] == (mode == amd.MEDIATED and settings == ())


ACCESSES = [
    *(("rd", msr) for msr in (amd.K7_EVNTSEL0, amd.K7_PERFCTR0, ctl(5), ctr(5), amd.GLOBAL_CTL)),
    *(("wr", msr, 0) for msr in (amd.K7_EVNTSEL0, amd.K7_PERFCTR0, ctl(5), ctr(5))),
    *(("wr", msr, 0) for msr in (amd.GLOBAL_CTL, amd.STATUS_CLR, amd.STATUS_SET)),
    ("pmc", 0),
]
PMU_LEAF = f"""
	{asm.PRELUDE}
_start:	movl	$0x80000022, %eax
	cpuid
	movl	%eax, %eax
	keep	0
	finish
"""


@pytest.mark.parametrize(
    ("mode", "settings", "announced"),
    [
        (amd.MEDIATED, USERSPACE, 1),
        (amd.MEDIATED, ("kvm.cap_pmu_disable=1",), 1),
        (amd.EMULATED, ("kvm.cap_pmu_disable=1",), 1),
        (amd.EMULATED, ("kvm.enable_pmu=0",), 0),
        (amd.MEDIATED, ("kvm.enable_pmu=0",), 0),
    ],
)
@each_v2_cpu
def test_a_vm_without_a_pmu(mode: str, settings: tuple[str, ...], announced: int, cpu: str) -> None:
    """Rule 50 and its kin: every register is #GP, whatever CPUID says of PerfMonV2."""
    assert asm.run(PMU_LEAF, mode=mode, cpu=cpu, settings=settings).result(0) == announced
    found = run_script(ACCESSES, mode=mode, cpu=cpu, settings=settings)
    assert found == [GP] * len(ACCESSES)


@amd.each_vpmu
def test_the_vmware_backdoor(cpu: str, mode: str) -> None:
    """Rule 30: without the parameter #GP; with it times, from CPL 3 as well; others stay #GP."""
    ops = [("pmc", 0x10000), ("pmc", 0x10001), ("pce", 0), ("pmc3", 0x10000), ("pmc3", 0)]
    assert run_script(ops, mode=mode, cpu=cpu) == [GP, GP, 0, GP, GP]
    tsc, real, _, user, counter = run_script(ops, mode=mode, cpu=cpu, settings=BACKDOOR)
    khz = asm.config(b"", mode=mode, cpu=cpu).tsc_khz
    assert 0 < tsc < user
    assert tsc * 10**6 // khz < real < user * 10**6 // khz
    assert counter == GP
    ran = asm.run(asm.script(ops), mode=mode, cpu=cpu, settings=BACKDOOR)
    assert ran.exits()["GP excp"] == 2


@amd.each_vpmu
def test_the_msr_filter(cpu: str, mode: str) -> None:
    """Rule 37: a denied counter is #GP by its number; its other number and RDPMC reach it."""
    taken = MsrFilter(ranges=(MsrRange(ctr(1), 1, 3), MsrRange(ctl(1), 1, 2)))
    kvm = dataclasses.replace(asm.config(b"", mode=mode, cpu=cpu).kvm, msr_filter=taken)
    ops = [
        ("wr", amd.K7_PERFCTR0 + 1, 77),
        ("rd", ctr(1)),
        ("wr", ctr(1), 5),
        ("pmc", 1),
        ("wr", ctl(1), 0),
        ("rd", ctl(1)),
        ("wr", amd.K7_EVNTSEL0 + 1, amd.BRANCHES),
        ("rd", ctl(1)),
    ]
    expected = [0, GP, GP, 77, GP, 0, 0, amd.BRANCHES]
    assert run_script(ops, mode=mode, cpu=cpu, kvm=kvm) == expected


@each_v2_cpu
def test_host_events_beside_a_mediated_vm(cpu: str) -> None:
    """Rule 38: what counts guests is -EOPNOTSUPP; what leaves them out is opened, and counts."""
    source = f"{asm.PRELUDE}\n_start: movl $100000, %esi\n1: cpuid\ndecl %esi\njnz 1b\nfinish"
    machine = Machine(asm.config(asm.assemble(source), mode=amd.MEDIATED, cpu=cpu))
    assert machine.run(3000) is Stop.BUDGET
    event = HostEvent(asm.OS | asm.USR | amd.CYCLES, pinned=True)
    assert machine.open_host_event(event) == -errno.EOPNOTSUPP
    assert machine.open_host_event(dataclasses.replace(event, exclude_guest=True)) == 0
    assert machine.run(3000) is Stop.BUDGET
    (host,) = machine.host_events()
    assert host.state == "active"
    assert host.time_enabled == host.time_running > 0
    assert host.count > 0
