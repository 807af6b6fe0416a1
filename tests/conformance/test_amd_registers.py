# SPDX-License-Identifier: Apache-2.0
"""What a guest of an AMD CPU sees of the PMU's registers: values, widths, reserved bits, #GP.

The rules are those of AMD's manual and of Linux 7.0's KVM. Numbers in brackets are those of the
list of subtle behaviours. No write of a register that is there faults, on silicon nor under KVM;
the designs differ in GuestOnly and HostOnly alone, which KVM does not give a guest without SVM.
"""

from __future__ import annotations

import guest_amd as amd
import guest_asm as asm
import pytest
from guest_amd import ctl, ctr
from guest_asm import GP, run_script

from pmupass.config import Mode

ONES = (1 << 64) - 1
# A selector: event 7:0 and 35:32, umask, USR, OS, edge, INT, EN, inv, cmask; not 19, not 21.
SELECTOR = 0xF_FFFF_FFFF & ~(1 << 19) & ~(1 << 21)


@amd.each
@pytest.mark.parametrize("n", [0, 3, 5])
def test_a_counter_drops_what_is_above_its_width(cpu: str, mode: str, n: int) -> None:
    """[5] 48 bits are kept and no sign is extended; nothing faults."""
    ops = [
        ("wr", ctr(n), ONES),
        ("rd", ctr(n)),
        ("wr", ctr(n), 0xABCD_8000_1234_5678),
        ("rd", ctr(n)),
        ("pmc", n),
        ("wr", ctr(n), 0x8000_0000),
        ("rd", ctr(n)),
    ]
    kept = 0x8000_1234_5678
    assert run_script(ops, mode=mode, cpu=cpu) == [0, amd.WIDTH, 0, kept, kept, 0, 0x8000_0000]


@amd.each
@pytest.mark.parametrize("n", range(4))
def test_k7_registers_are_the_first_four_counters(cpu: str, mode: str, n: int) -> None:
    """[10] A value written by one number is read by the other, of counters and of selectors."""
    k7_ctl, k7_ctr = amd.K7_EVNTSEL0 + n, amd.K7_PERFCTR0 + n
    ops = [
        ("wr", k7_ctr, 1 << 60 | 0x1234),
        ("rd", ctr(n)),
        ("wr", ctr(n), 0x5678),
        ("rd", k7_ctr),
        ("pmc", n),
        ("wr", k7_ctl, asm.OS | 0x76),
        ("rd", ctl(n)),
        ("wr", ctl(n), 0xC2),
        ("rd", k7_ctl),
    ]
    expected = [0, 0x1234, 0, 0x5678, 0x5678, 0, asm.OS | 0x76, 0, 0xC2]
    assert run_script(ops, mode=mode, cpu=cpu) == expected


@amd.each
def test_there_are_four_k7_counters_and_six_of_the_core_extension(cpu: str, mode: str) -> None:
    """[10] Behind the last of each the access is #GP; so are Intel's registers."""
    missing = (
        amd.K7_PERFCTR0 + 4,
        ctl(6),
        ctr(6),
        asm.PERFCTR0,
        asm.EVTSEL0,
        asm.PMC0,
        asm.FIXED_CTR0,
        asm.FIXED_CTR_CTRL,
        asm.GLOBAL_CTRL,
    )
    ops = [("rd", ctl(5)), ("rd", ctr(5)), ("wr", ctl(5), 0), ("wr", ctr(5), 0)]
    ops += [access for msr in missing for access in (("rd", msr), ("wr", msr, 0))]
    assert run_script(ops, mode=mode, cpu=cpu) == [0] * 4 + [GP] * 2 * len(missing)


@amd.each
@pytest.mark.parametrize("msr", [ctl(0), ctl(5), amd.K7_EVNTSEL0 + 2])
def test_reserved_bits_of_a_selector_are_cleared(cpu: str, mode: str, msr: int) -> None:
    """[12] Bits 63:42, 39:36, 21 and 19; for a guest of KVM, which has no SVM, 41 and 40 too."""
    sides = amd.GUESTONLY | amd.HOSTONLY if mode == amd.NATIVE else 0
    ops = [("wr", msr, ONES & ~asm.EN), ("rd", msr), ("wr", msr, 0), ("rd", msr)]
    expected = SELECTOR & ~asm.EN | sides
    assert run_script(ops, mode=mode, cpu=cpu) == [0, expected, 0, 0]


@amd.each_v2
def test_global_ctl(cpu: str, mode: str) -> None:
    """[18] All counters are enabled at first; [19] bits of none are cleared, without a fault."""
    ops = [
        ("rd", amd.GLOBAL_CTL),
        ("wr", amd.GLOBAL_CTL, ONES),
        ("rd", amd.GLOBAL_CTL),
        ("wr", amd.GLOBAL_CTL, 1 << 6 | 1 << 32 | 5),
        ("rd", amd.GLOBAL_CTL),
    ]
    assert run_script(ops, mode=mode, cpu=cpu) == [amd.ALL, 0, amd.ALL, 0, 5]


@amd.each_v2
def test_status_and_what_sets_and_clears_it(cpu: str, mode: str) -> None:
    """[20] [21] [22] The status ignores writes; Set knows the counters' bits, Clr every bit.

    Both read 0.
    """
    ops = [
        ("rd", amd.GLOBAL_STATUS),
        ("wr", amd.GLOBAL_STATUS, ONES),
        ("rd", amd.GLOBAL_STATUS),
        ("wr", amd.STATUS_SET, ONES),
        ("rd", amd.GLOBAL_STATUS),
        ("rd", amd.STATUS_SET),
        ("wr", amd.STATUS_CLR, 1 << 63 | 1 << 6 | 0b10110),
        ("rd", amd.GLOBAL_STATUS),
        ("rd", amd.STATUS_CLR),
        ("wr", amd.STATUS_CLR, 0),
        ("wr", amd.GLOBAL_STATUS, 0),
        ("rd", amd.GLOBAL_STATUS),
        ("wr", amd.STATUS_SET, 0b10),
        ("rd", amd.GLOBAL_STATUS),
        ("wr", amd.STATUS_CLR, ONES),
        ("rd", amd.GLOBAL_STATUS),
    ]
    left = amd.ALL & ~0b10110
    expected = [0, 0, 0, 0, amd.ALL, 0, 0, left, 0, 0, 0, left, 0, left | 0b10, 0, 0]
    assert run_script(ops, mode=mode, cpu=cpu) == expected


@amd.each_v1
def test_without_perfmon_v2_there_is_nothing_global(cpu: str, mode: str) -> None:
    """[23] And the counters count."""
    check_nothing_global(cpu, mode, ())


@pytest.mark.parametrize("cpu", amd.V2)
@pytest.mark.parametrize("mode", [amd.EMULATED, amd.MEDIATED])
def test_a_guest_without_perfmon_v2(cpu: str, mode: str) -> None:
    """[23] In a mediated guest silicon's GLOBAL_CTL must then enable all of its counters."""
    check_nothing_global(cpu, mode, ("guest.perfmon_v2=0",))


def check_nothing_global(cpu: str, mode: str, settings: tuple[str, ...]) -> None:
    names = (amd.GLOBAL_STATUS, amd.GLOBAL_CTL, amd.STATUS_CLR, amd.STATUS_SET)
    ops = [access for msr in names for access in (("rd", msr), ("wr", msr, 0))]
    ops += [
        ("wr", ctl(5), amd.COUNT | amd.BRANCHES),
        ("spin", 1000),
        ("wr", ctl(5), 0),
        ("pmc", 5),
    ]
    found = run_script(ops, mode=mode, cpu=cpu, settings=settings)
    assert found[:-1] == [GP] * 8 + [0] * 3
    # Behind the WRMSR that starts: jmp done, jb next and jmp to the loop; the loop's 1000; jb next
    # and jmp to the WRMSR that stops.
    assert found[-1] == 3 + 1000 + 2


@amd.each_vpmu
def test_a_guest_without_the_core_extension(cpu: str, mode: str) -> None:
    """Without PerfMonV2 as well four counters are left, by their K7 numbers."""
    settings = ["guest.perfctr_core=0"]
    if cpu in amd.V2:
        settings.append("guest.perfmon_v2=0")
    ops = [
        ("rd", ctl(0)),
        ("rd", ctr(0)),
        ("wr", ctr(0), 0),
        ("wr", amd.K7_PERFCTR0 + 3, 77),
        ("rd", amd.K7_PERFCTR0 + 3),
        ("pmc", 3),
        ("pmc", 4),
        ("rd", amd.K7_PERFCTR0 + 4),
    ]
    expected = [GP, GP, GP, 0, 77, 77, GP, GP]
    assert run_script(ops, mode=mode, cpu=cpu, settings=settings) == expected


@pytest.mark.parametrize("cpu", amd.V2)
@pytest.mark.parametrize("mode", [amd.EMULATED, amd.MEDIATED])
def test_perfmon_v2_without_the_core_extension(cpu: str, mode: str) -> None:
    """Counters 4 and 5 are there, by RDPMC and in the global registers; no MSR programs them."""
    ops = [
        ("rd", ctl(0)),
        ("rd", ctr(4)),
        ("wr", ctl(5), 0),
        ("wr", amd.K7_PERFCTR0 + 3, 77),
        ("pmc", 3),
        ("pmc", 4),
        ("pmc", 5),
        ("pmc", 6),
        ("rd", amd.GLOBAL_CTL),
        ("wr", amd.STATUS_SET, ONES),
        ("rd", amd.GLOBAL_STATUS),
    ]
    expected = [GP, GP, GP, 0, 77, 0, 0, GP, amd.ALL, 0, amd.ALL]
    found = run_script(ops, mode=mode, cpu=cpu, settings=("guest.perfctr_core=0",))
    assert found == expected


@pytest.mark.parametrize("cpu", amd.V2)
@pytest.mark.parametrize("mode", [amd.EMULATED, amd.MEDIATED])
def test_a_guest_with_fewer_counters(cpu: str, mode: str) -> None:
    """[31] CPUID says two: the third is #GP by every name, and has no bit in GLOBAL_CTL."""
    ops = [
        ("wr", ctr(1), 9),
        ("pmc", 1),
        ("pmc", 2),
        ("rd", ctr(2)),
        ("wr", ctl(2), 0),
        ("rd", amd.K7_PERFCTR0 + 2),
        ("wr", amd.GLOBAL_CTL, ONES),
        ("rd", amd.GLOBAL_CTL),
        ("wr", amd.STATUS_SET, ONES),
        ("rd", amd.GLOBAL_STATUS),
    ]
    expected = [0, 9, GP, GP, GP, GP, 0, 3, 0, 3]
    found = run_script(ops, mode=mode, cpu=cpu, settings=("guest.gp_counters=2",))
    assert found == expected


@amd.each
def test_rdpmc_takes_an_index_and_nothing_else(cpu: str, mode: str) -> None:
    """[29] 0 to 5; 6 is #GP, and so are Intel's types, the fast bit and every other bit of ECX."""
    ops = [("wr", ctr(n), 100 + n) for n in range(amd.NR)]
    ops += [("pmc", n) for n in range(amd.NR)]
    bad = (6, 7, 10, 0xFFFF, 1 << 16, 1 << 30, 1 << 31, 1 << 29, 1 << 31 | 1, ONES >> 32)
    ops += [("pmc", ecx) for ecx in bad]
    expected = [0] * amd.NR + [100 + n for n in range(amd.NR)] + [GP] * len(bad)
    assert run_script(ops, mode=mode, cpu=cpu) == expected


@amd.each
def test_rdpmc_in_user_mode(cpu: str, mode: str) -> None:
    """[29] #GP without CR4.PCE, whatever ECX says."""
    ops = [
        ("wr", ctr(2), 55),
        ("pce", 0),
        ("pmc3", 2),
        ("pmc3", 6),
        ("pce", 1),
        ("pmc3", 2),
        ("pmc3", 6),
    ]
    assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, GP, GP, 0, 55, GP]


def test_a_vm_without_a_vpmu() -> None:
    """Every register is #GP, and CPUID has neither bit."""
    config = asm.config(b"", mode=amd.EMULATED, cpu="zen4")
    ops = [("rd", amd.K7_EVNTSEL0), ("wr", ctl(0), 0), ("rd", amd.GLOBAL_CTL), ("pmc", 0)]
    source = asm.script(ops)
    made = asm._plan("zen4", (), ()).config(Mode.EMULATED, vpmu=False)
    ran = asm.run(
        source, mode=amd.EMULATED, cpu="zen4", guest=made.guest, kvm=made.kvm, cpuid=made.cpuid
    )
    assert asm.script_results(ran, len(ops)) == [GP] * 4
    leaves = {entry.leaf: entry.regs for entry in made.cpuid}
    assert leaves[0x80000022] == (0, 0, 0, 0)
    assert not leaves[0x80000001][2] >> 23 & 1
    with_pmu = {entry.leaf: entry.regs for entry in config.cpuid}
    assert with_pmu[0x80000022] == (1, 6, 0, 0)
    assert with_pmu[0x80000001][2] >> 23 & 1


@amd.each
def test_cpuid_of_perfmon_v2(cpu: str, mode: str) -> None:
    """Leaf 0x80000022: PerfMonV2 and six core counters; without it there is no such leaf.

    Bit 0 of EAX is PerfMonV2, bits 3:0 of EBX are the core counters. A leaf behind the last one
    reads as zeros.
    """
    source = f"""
	{asm.PRELUDE}
_start:	movl	$0x80000022, %eax
	xorl	%ecx, %ecx
	cpuid
	movl	%eax, RESULTS
	movl	%ebx, RESULTS + 8
	finish
"""
    eax, ebx = asm.run(source, mode=mode, cpu=cpu).results(2)
    assert (eax & 1, ebx & 0xF) == ((1, amd.NR) if cpu in amd.V2 else (0, 0))
