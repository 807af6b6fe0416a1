# SPDX-License-Identifier: Apache-2.0
"""Who models the interrupt controllers, and who turns the VM's PMU off: kvm.irqchip and its kin.

- kernel, split: the local APIC is in the kernel; nothing differs for the PMU.
- userspace: KVM cannot tell a local APIC of a PMI. The emulated vPMU counts and loses every PMI; a
  mediated one is not made at all: the VM has no PMU, whatever its CPUID says.
- kvm.cap_pmu_disable (KVM_CAP_PMU_CAPABILITY): no PMU either, in both designs.
- kvm.enable_pmu=0: KVM offers none, so that CPUID does not announce one.
"""

from __future__ import annotations

import guest_asm as asm
import pytest
from guest_asm import GP, run_script
from test_pmi import NOPS, guest, instructions_on_gp0, run

NATIVE, EMULATED, MEDIATED = asm.MODES
each_vpmu = pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)
USERSPACE = ("kvm.irqchip=userspace",)

# Every kind of PMU register, read and written, and RDPMC.
MSRS = (
    *(asm.PERFCTR0, asm.PMC0, asm.EVTSEL0, asm.FIXED_CTR0, asm.FIXED_CTR_CTRL),
    *(asm.GLOBAL_STATUS, asm.GLOBAL_CTRL, asm.OVF_CTRL, 0x345),
)
ALL_ACCESSES = [
    *(("rd", msr) for msr in MSRS),
    *(("wr", msr, 0) for msr in MSRS),
    ("pmc", 0),
    ("pmc", 1 << 30),
]
CPUID_VERSION = f"""
	{asm.PRELUDE}
_start:	movl	$0xa, %eax
	cpuid
	movzbl	%al, %eax
	keep	0
	finish
"""


def announced(mode: str, cpu: str, settings: tuple[str, ...]) -> int:
    """Return the PMU version of CPUID 0xA."""
    return asm.run(CPUID_VERSION, mode=mode, cpu=cpu, settings=settings).result(0)


@each_cpu
@pytest.mark.parametrize(
    ("mode", "settings", "version"),
    [
        # Rule 50: announced, and not there.
        (MEDIATED, USERSPACE, 2),
        # The VMM's doing, while CPUID is as KVM_GET_SUPPORTED_CPUID says: a system-wide answer.
        (MEDIATED, ("kvm.cap_pmu_disable=1",), 2),
        (EMULATED, ("kvm.cap_pmu_disable=1",), 2),
        # The module's doing: KVM supports no PMU, leaf 0xA is zero.
        (MEDIATED, ("kvm.enable_pmu=0",), 0),
        (EMULATED, ("kvm.enable_pmu=0",), 0),
    ],
)
def test_a_vm_without_a_pmu(mode: str, cpu: str, settings: tuple[str, ...], version: int) -> None:
    assert announced(mode, cpu, settings) == version
    found = run_script(ALL_ACCESSES, mode=mode, cpu=cpu, settings=settings)
    assert found == [GP] * len(ALL_ACCESSES)


@each_cpu
@pytest.mark.parametrize("settings", [USERSPACE, ("kvm.cap_pmu_disable=1",), ("kvm.enable_pmu=0",)])
def test_a_mediated_vm_without_a_pmu_switches_nothing(cpu: str, settings: tuple[str, ...]) -> None:
    """Not a mediated VM: no -EBUSY beside a host event that counts guests, no load, no put.

    The host event counts host and guest: two cycles at least of each of 1,000 CPUIDs are the
    guest's, and an exit and an entry each are the host's.
    """
    source = f"""
	{asm.PRELUDE}
_start:	movl	$1000, %esi
1:	xorl	%eax, %eax
	cpuid
	decl	%esi
	jnz	1b
	finish
"""
    ran = asm.run(source, mode=MEDIATED, cpu=cpu, settings=settings, host_perf=("instructions:D",))
    switch = ran.machine.switch()
    assert (switch.loads, switch.puts, switch.wrmsr, switch.rdmsr) == (0, 0, 0, 0)
    (host,) = ran.machine.host_events()
    assert host.state == "active"
    # What the guest retires itself: MOV and 3 of 4 instructions a turn, MOV before the OUT.
    assert host.count > 1 + 3 * 1000 + 1


@each_cpu
@each_vpmu
def test_split_is_as_good_as_kernel(mode: str, cpu: str) -> None:
    """Rule 50, the other half: counted, interrupted and paid for alike."""
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(400)}counting_off\nkeep_pmc 1, 0",
        start=instructions_on_gp0(100),
    )
    kernel = asm.readout(run(source, mode, cpu).ran.machine)
    split = asm.readout(run(source, mode, cpu, settings=("kvm.irqchip=split",)).ran.machine)
    assert kernel == split


@each_cpu
def test_pmis_are_lost_in_silence(cpu: str) -> None:
    """The emulated design with a userspace APIC: the count and the status bit, and no PMI.

    The WRMSR that enables and 99 NOPs reach the overflow; 301 NOPs and 3 instructions before the
    WRMSR that disables are behind it.
    """
    source = guest(
        f"wr 0x38f, 1\n{NOPS.format(400)}counting_off\nkeep_pmc 1, 0\nrd 0x38e\nkeep 2\n"
        "rd 0x834\nkeep 3",
        start=instructions_on_gp0(100),
    )
    seen = run(source, EMULATED, cpu, settings=USERSPACE)
    assert seen.pmis == 0
    # LVTPC is not masked: nothing was delivered through it.
    assert seen.ran.results(3, 1) == [301 + 3, 1, 0x400]
    pmi = seen.pmi
    assert (pmi.due, pmi.delivered, pmi.dropped) == (1, 0, 1)
    stats = seen.ran.machine.stats()
    assert (stats["host_pmis"], stats["pmis_without_lapic"]) == (1, 1)
    (counter,) = seen.ran.counters().values()
    assert (counter.true_count, counter.counted, counter.causes) == (404, 404, {})


@each_cpu
def test_a_timer_of_the_vmm(cpu: str) -> None:
    """The guest's timer interrupt comes by a signal to the vCPU's thread: an external interrupt."""
    sleep = 1_000_000
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	0x40, timer
	wr	0x83e, 0xb
	wr	0x832, 0x40
	wr	0x838, {sleep}
	xorl	%r10d, %r10d
	sti
1:	testl	%r10d, %r10d
	jz	1b
	keep	0, %r10
	finish
timer:	incl	%r10d
	wr	0x80b, 0
	iretq
"""
    for settings, reason in ((USERSPACE, "EXTERNAL_INTERRUPT"), ((), "PREEMPTION_TIMER")):
        ran = asm.run(source, mode=EMULATED, cpu=cpu, settings=settings)
        assert ran.result(0) == 1
        exits = ran.exits()
        assert exits[reason] == 1
        # kernel_setup's 2 writes and the timer's 3, then EOI, which exits without APICv.
        assert exits["MSR_WRITE"] == 2 + 3 + (settings == USERSPACE)
        assert ran.machine.stats()["fastpath_exits"] == (settings == ())
