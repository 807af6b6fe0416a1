# SPDX-License-Identifier: Apache-2.0
"""Rule 30: enable_vmware_backdoor and the pseudo counters of RDPMC.

ECX 0x10000 is the host's TSC, 0x10001 nanoseconds since the host booted, 0x10002 the same in the
VM's time; readable at CPL 3 with CR4.PCE clear as well. Without the parameter they are counters
that do not exist. With it every RDPMC exits, in the mediated design too.
"""

from __future__ import annotations

import guest_asm as asm
import pytest
from guest_asm import GP, run_script

NATIVE, EMULATED, MEDIATED = asm.MODES
each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_vpmu = pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)
ON = ("kvm.enable_vmware_backdoor=1",)
TSC, REAL_TIME, APPARENT_TIME = 0x10000, 0x10001, 0x10002
# All counters of Skylake-SP are the guest's, and RDPMC direct but for the backdoor.
ALL_DIRECT = "skylake-sp"


@each_cpu
@each_mode
def test_without_the_parameter_they_are_no_counters(mode: str, cpu: str) -> None:
    ops = [("pmc", TSC), ("pmc", REAL_TIME), ("pmc", APPARENT_TIME), ("pce", 0), ("pmc3", TSC)]
    assert run_script(ops, mode=mode, cpu=cpu) == [GP, GP, GP, 0, GP]


@each_cpu
def test_a_bare_machine_has_none(cpu: str) -> None:
    assert run_script([("pmc", TSC)], mode=NATIVE, cpu=cpu, settings=ON) == [GP]


@each_cpu
@each_vpmu
def test_what_they_show(mode: str, cpu: str) -> None:
    """Time goes on from one to the next, and nanoseconds are TSC cycles at the TSC's frequency."""
    ops = [("pmc", TSC), ("pmc", REAL_TIME), ("pmc", APPARENT_TIME), ("pmc", TSC)]
    before, real, apparent, after = run_script(ops, mode=mode, cpu=cpu, settings=ON)
    khz = asm.config(b"", mode=mode, cpu=cpu).tsc_khz
    assert 0 < before < after
    assert before * 10**6 // khz < real < apparent < after * 10**6 // khz
    assert run_script([("pmc", 0x10003)], mode=mode, cpu=cpu, settings=ON) == [GP]


@each_cpu
@each_vpmu
def test_in_user_mode_pce_does_not_matter(mode: str, cpu: str) -> None:
    """A real counter still needs CR4.PCE: KVM takes the #GP, and gives it back."""
    ops = [
        ("wr", asm.GLOBAL_CTRL, 0),
        ("wr", asm.PMC0, 77),
        ("pmc3", TSC),
        ("pmc3", 0),
        ("pmc3", APPARENT_TIME),
        ("pmc3", 0x10003),
        ("pce", 1),
        ("pmc3", TSC),
        ("pmc3", 0),
    ]
    found = run_script(ops, mode=mode, cpu=cpu, settings=ON)
    assert [found[i] for i in (3, 5, 8)] == [GP, GP, 77]
    assert 0 < found[2] < found[7]
    assert found[4] > 0


@each_vpmu
def test_other_general_protection_faults_stay_the_guests(mode: str) -> None:
    """A WRMSR of a reserved bit and a RDMSR of no register, with #GP intercepted."""
    ops = [("wr", asm.PMC0, 1 << 60), ("rd", 0x1900), ("rd", asm.GLOBAL_CTRL)]
    found = run_script(ops, mode=mode, cpu=ALL_DIRECT, settings=ON)
    assert found == [GP, GP, 0xF]


def test_every_rdpmc_exits() -> None:
    """What was direct exits, and reads the same."""
    source = f"""
	{asm.PRELUDE}
_start:	wr	0x38f, 0
	wr	{asm.PMC0}, 5
	.rept	10
	keep_pmc 0, 0
	.endr
	finish
"""
    for settings, exits in ((), 0), (ON, 10):
        ran = asm.run(source, mode=MEDIATED, cpu=ALL_DIRECT, settings=settings)
        assert ran.result(0) == 5
        assert ran.exits().get("RDPMC", 0) == exits


@each_cpu
@each_vpmu
def test_one_that_the_emulator_does_is_credited_once(mode: str, cpu: str) -> None:
    """At CPL 3 with CR4.PCE clear: an instruction of user code like another.

    User code: MOV, 100 times RDPMC, DEC and JNZ, SYSCALL.
    """
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	wr	0x38f, 0
	wr	0x186, {asm.EN | asm.USR | 0xC0}
	wr	{asm.PMC0}, 0
	user_frame user
	wr	0x38f, 1
	movl	$0x10000, %ecx
	iretq
user:	movl	$100, %esi
1:	rdpmc
	decl	%esi
	jnz	1b
	syscall
syscall_entry:
	counting_off
	keep_pmc 0, 0
	finish
"""
    ran = asm.run(source, mode=mode, cpu=cpu, settings=ON)
    assert ran.result(0) == 1 + 100 * 3 + 1
    (counter,) = ran.counters().values()
    assert (counter.true_count, counter.counted, counter.causes) == (302, 302, {})
    # The 100 RDPMCs as #GP, no other exception.
    assert ran.exits()["EXCEPTION_NMI"] == 100
