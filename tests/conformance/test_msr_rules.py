# SPDX-License-Identifier: Apache-2.0
"""What a guest sees of the PMU's registers: values, widths, reserved bits, #GP, in each mode.

The rules are those of Linux 7.0's KVM and of Intel's manual. Numbers in brackets are those of the
list of subtle behaviours in the KVM notes. Where the designs differ, the difference is stated:

- native: the silicon's own rules, all of its counters;
- emulated: KVM's, for KVM serves every access;
- mediated: KVM's where it intercepts, the silicon's for counters, which are direct.
"""

import dataclasses

import guest_asm as asm
import pytest
from guest_asm import GP, run_script

NATIVE, EMULATED, MEDIATED = asm.MODES
each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_vpmu = pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
each_cpu = pytest.mark.parametrize("cpu", [*asm.CPUS, *asm.MORE_CPUS])

ALL = (1 << 48) - 1
SIZE = {  # GP and fixed counters: silicon, guest
    "sapphire-rapids": ((8, 4), (8, 3)),
    "skylake-sp": ((4, 3), (4, 3)),
    "cascadelake-sp": ((4, 3), (4, 3)),
    "icelake-sp": ((8, 4), (8, 3)),
    "emerald-rapids": ((8, 4), (8, 3)),
    "granite-rapids": ((8, 4), (8, 3)),
    "sierra-forest": ((8, 3), (8, 3)),
}
VERSION_4 = ("skylake-sp", "cascadelake-sp")
ANY_THREAD, PIN, EDGE, INV = 1 << 21, 1 << 19, 1 << 18, 1 << 23
FIXED_TYPE, METRICS_TYPE, FAST = 0x40000000, 0x20000000, 0x80000000


def size(cpu: str, mode: str) -> tuple[int, int]:
    """Return how many GP and fixed counters a guest of this mode finds."""
    return SIZE[cpu][mode != NATIVE]


def off(*ops: tuple) -> list[tuple]:
    """Return accesses with all counters off, so that values stay as written."""
    return [("wr", asm.GLOBAL_CTRL, 0), *ops]


# ---- counters ----


@each_cpu
@each_mode
@pytest.mark.parametrize(
    ("value", "read"),
    [
        (0x7FFF_FFFF, 0x7FFF_FFFF),
        (0x8000_0000, 0xFFFF_8000_0000),  # [1] sign-extended from bit 31
        (0xFFFF_FFFF, ALL),
        (0x0000_0001_0000_0001, 1),  # the upper half is ignored
        (0xDEAD_BEEF_8000_0000, 0xFFFF_8000_0000),
        (0, 0),
    ],
)
def test_a_legacy_counter_write_is_sign_extended(
    mode: str, cpu: str, value: int, read: int
) -> None:
    msr = asm.PERFCTR0
    ops = off(("wr", msr, value), ("rd", msr), ("rd", asm.PMC0), ("pmc", 0))
    assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, read, read, read]


@each_cpu
@each_mode
def test_a_full_width_counter_write_is_taken_or_faults(mode: str, cpu: str) -> None:
    """[3] Any bit above the width is #GP and changes nothing; the widest value is taken."""
    msr = asm.PMC0 + 1
    ops = off(
        ("wr", msr, ALL),
        ("rd", msr),
        ("wr", msr, 1 << 48),
        ("wr", msr, 1 << 63),
        ("rd", msr),
        ("rd", asm.PERFCTR0 + 1),
        ("wr", msr, 0x8000_0000),  # no sign extension here
        ("rd", msr),
    )
    expected = [0, 0, ALL, GP, GP, ALL, ALL, 0, 0x8000_0000]
    assert run_script(ops, mode=mode, cpu=cpu) == expected


@each_cpu
@each_mode
def test_a_fixed_counter_beyond_its_width(mode: str, cpu: str) -> None:
    """[4] KVM's emulation cuts the value off; silicon faults, directly or in a mediated guest."""
    msr = asm.FIXED_CTR0 + 1
    ops = off(("wr", msr, 5), ("wr", msr, 1 << 50 | 7), ("rd", msr), ("pmc", FIXED_TYPE | 1))
    if mode == EMULATED:
        assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, 0, 7, 7]
    else:
        assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, GP, 5, 5]


@each_cpu
@each_mode
def test_counters_that_are_not_there(mode: str, cpu: str) -> None:
    """[31] Counters, aliases, selectors and fixed counters behind the last are #GP."""
    gp, fixed = size(cpu, mode)
    there = [asm.PERFCTR0, asm.PMC0, asm.EVTSEL0]
    ops = [("rd", first + gp - 1) for first in there] + [("rd", asm.FIXED_CTR0 + fixed - 1)]
    assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, 0, 0]
    ops = [("rd", asm.PMC0 + gp), ("wr", asm.PMC0 + gp, 0), ("rd", asm.PERFCTR0 + gp)]
    ops += [("rd", asm.EVTSEL0 + gp), ("wr", asm.EVTSEL0 + gp, 0)]
    ops += [("rd", asm.FIXED_CTR0 + fixed), ("wr", asm.FIXED_CTR0 + fixed, 0)]
    assert run_script(ops, mode=mode, cpu=cpu) == [GP] * 7


@each_cpu
@each_vpmu
def test_a_guest_with_fewer_counters(mode: str, cpu: str) -> None:
    """[31] Hidden ones fault, although hardware has them; those that are there work."""
    settings = ("guest.gp_counters=2", "guest.fixed_counters=1")
    ops = [
        ("rd", asm.GLOBAL_CTRL),
        ("wr", asm.GLOBAL_CTRL, 0),
        ("wr", asm.PMC0 + 1, 9),
        ("pmc", 1),
        ("pmc", FIXED_TYPE | 0),
        ("pmc", 2),
        ("pmc", FIXED_TYPE | 1),
        ("rd", asm.PMC0 + 2),
        ("wr", asm.EVTSEL0 + 2, 0),
        ("wr", asm.FIXED_CTR0 + 1, 0),
        ("wr", asm.GLOBAL_CTRL, 1 << 2),
        ("wr", asm.GLOBAL_CTRL, 1 << 33),
        ("wr", asm.GLOBAL_CTRL, 1 << 32 | 3),
        ("wr", asm.FIXED_CTR_CTRL, 0x30),
        ("wr", asm.FIXED_CTR_CTRL, 0x0B),
        ("wr", asm.OVF_CTRL, 1 << 2),
    ]
    expected = [3, 0, 0, 9, 0, GP, GP, GP, GP, GP, GP, GP, 0, GP, 0, GP]
    assert run_script(ops, mode=mode, cpu=cpu, settings=settings) == expected


@each_cpu
@each_mode
def test_a_counter_reads_back_however_it_is_paused(mode: str, cpu: str) -> None:
    """[11] Written while off globally, off locally, or on but without an event: the same value."""
    msr, value = asm.PMC0, 0x1234_5678_9ABC
    ops = [
        ("wr", asm.GLOBAL_CTRL, 0),
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | 0xC0),
        ("wr", msr, value),
        ("rd", msr),
        ("wr", asm.EVTSEL0, asm.OS | 0xC0),
        ("wr", asm.GLOBAL_CTRL, 1),
        ("rd", msr),
        ("wr", msr, value + 1),
        ("pmc", 0),
        ("wr", asm.EVTSEL0, asm.EN | asm.USR | 0xC0),  # runs, but this is not user code
        ("pmc", 0),
        ("wr", msr, value + 2),
        ("pmc", 0),
    ]
    expected = [0, 0, 0, value, 0, 0, value, 0, value + 1, 0, value + 1, 0, value + 2]
    assert run_script(ops, mode=mode, cpu=cpu) == expected


@each_cpu
@each_mode
def test_a_running_counter_is_monotonic(mode: str, cpu: str) -> None:
    """[8] Two reads do not go back, and a write while counting does not lose its base."""
    base = 1 << 40
    ops = [
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | 0xC0),
        ("wr", asm.PMC0, 0),
        ("pmc", 0),
        ("spin", 1000),
        ("rd", asm.PMC0),
        ("wr", asm.PMC0, base),
        ("pmc", 0),
        ("spin", 1000),
        ("pmc", 0),
    ]
    found = run_script(ops, mode=mode, cpu=cpu)
    first, second, third, fourth = (int(found[i]) for i in (2, 4, 6, 8))
    assert 0 < first < 100
    assert 2000 < second - first < 2100
    assert base < third < base + 100
    assert 2000 < fourth - third < 2100


@each_cpu
@each_mode
def test_a_counter_of_zero_has_the_longest_period(mode: str, cpu: str) -> None:
    """[7] Period 2^48, not 0: with INT set nothing overflows."""
    ops = off(
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | asm.INT | 0xC4),
        ("wr", asm.PMC0, 0),
        ("wr", asm.GLOBAL_CTRL, 1),
        ("spin", 50),
        ("wr", asm.GLOBAL_CTRL, 0),
        ("rd", asm.GLOBAL_STATUS),
        ("pmc", 0),
    )
    found = run_script(ops, mode=mode, cpu=cpu)
    assert found[6] == 0
    # 50 of the loop and a few of the script: JMPs to and from each access, and the loop's own.
    assert 50 < int(found[7]) < 70


@each_cpu
@each_vpmu
def test_without_full_width_writes(mode: str, cpu: str) -> None:
    """[3] A guest whose PERF_CAPABILITIES lacks FW_WRITE does not have 0x4c1 and on."""
    made = asm.config(b"", mode=mode, cpu=cpu)
    guest = dataclasses.replace(made.guest, fw_write=False, perf_capabilities=0)
    ops = off(
        ("rd", asm.PMC0),
        ("wr", asm.PMC0, 0),
        ("wr", asm.PERFCTR0, 5),
        ("rd", asm.PERFCTR0),
        ("pmc", 0),
    )
    found = run_script(ops, mode=mode, cpu=cpu, guest=guest, kvm=asm.kvm_for(made, guest))
    assert found == [0, GP, GP, 0, 5, 5]


# ---- selectors ----


@each_cpu
@each_mode
@pytest.mark.parametrize("bit", [32, 33, 34, 40, 63])
def test_reserved_bits_of_a_selector(mode: str, cpu: str, bit: int) -> None:
    """[12] Bits 63:32 are #GP (IN_TX and IN_TXCP too: no CPU here has RTM) and change nothing."""
    value = asm.EN | asm.OS | 0xC4
    ops = off(("wr", asm.EVTSEL0, value), ("wr", asm.EVTSEL0, value | 1 << bit))
    ops.append(("rd", asm.EVTSEL0))
    assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, GP, value]


@each_cpu
@each_mode
def test_any_thread(mode: str, cpu: str) -> None:
    """[12] [16] AnyThread is #GP under KVM, and on silicon from version 5 on; version 4 has it."""
    native_v4 = mode == NATIVE and cpu in VERSION_4
    ops = off(
        ("wr", asm.EVTSEL0, ANY_THREAD | 0xC4),
        ("rd", asm.EVTSEL0),
        ("wr", asm.FIXED_CTR_CTRL, 1 << 2),
        ("rd", asm.FIXED_CTR_CTRL),
    )
    if native_v4:
        assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, ANY_THREAD | 0xC4, 0, 4]
    else:
        assert run_script(ops, mode=mode, cpu=cpu) == [0, GP, 0, GP, 0]


@each_cpu
@each_mode
def test_every_other_bit_of_a_selector_reads_back(mode: str, cpu: str) -> None:
    """[14] The pin bit is accepted; INT, EDGE, INV, CMASK, umask and event stay as written."""
    value = 0xFF << 24 | INV | asm.INT | PIN | EDGE | asm.OS | asm.USR | 0xFF << 8 | 0xFF
    ops = off(("wr", asm.EVTSEL0 + 3, value), ("rd", asm.EVTSEL0 + 3))
    assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, value]


@each_cpu
@each_mode
def test_fixed_ctr_ctrl(mode: str, cpu: str) -> None:
    """[16] Fields of counters that are there are taken, the next one is #GP, and so is the rest."""
    _, fixed = size(cpu, mode)
    every = sum(0xB << 4 * i for i in range(fixed))
    ops = off(
        ("wr", asm.FIXED_CTR_CTRL, every),
        ("rd", asm.FIXED_CTR_CTRL),
        *(("wr", asm.FIXED_CTR_CTRL, 1 << 4 * fixed + i) for i in range(4)),
        ("wr", asm.FIXED_CTR_CTRL, 1 << 32),
        ("rd", asm.FIXED_CTR_CTRL),
    )
    assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, every, *[GP] * 5, every]


# ---- global registers ----


@each_cpu
@each_mode
def test_global_ctrl_after_reset(mode: str, cpu: str) -> None:
    """[18] All GP counters on, no fixed one; selectors, counters and status are 0."""
    gp, fixed = size(cpu, mode)
    ops = [("rd", asm.GLOBAL_CTRL), ("rd", asm.GLOBAL_STATUS), ("rd", asm.FIXED_CTR_CTRL)]
    ops += [("rd", asm.EVTSEL0 + i) for i in range(gp)]
    ops += [("rd", asm.PMC0 + i) for i in range(gp)]
    ops += [("rd", asm.FIXED_CTR0 + i) for i in range(fixed)]
    found = run_script(ops, mode=mode, cpu=cpu)
    assert found == [(1 << gp) - 1, 0, 0] + [0] * (2 * gp + fixed)


@each_cpu
@each_mode
def test_reserved_bits_of_global_ctrl(mode: str, cpu: str) -> None:
    """[19] Bits of counters that are not there, and all the rest, are #GP."""
    gp, fixed = size(cpu, mode)
    every = (1 << gp) - 1 | ((1 << fixed) - 1) << 32
    ops = [
        ("wr", asm.GLOBAL_CTRL, every),
        ("rd", asm.GLOBAL_CTRL),
        ("wr", asm.GLOBAL_CTRL, 1 << gp),
        ("wr", asm.GLOBAL_CTRL, 1 << 32 + fixed),
        ("wr", asm.GLOBAL_CTRL, 1 << 48),
        ("wr", asm.GLOBAL_CTRL, 1 << 63),
        ("rd", asm.GLOBAL_CTRL),
    ]
    assert run_script(ops, mode=mode, cpu=cpu) == [0, every, GP, GP, GP, GP, every]


@each_cpu
@each_mode
def test_status_and_its_reset(mode: str, cpu: str) -> None:
    """[20] STATUS is read-only. [21] OVF_CTRL clears bits and reads 0; reserved: #GP."""
    gp, fixed = size(cpu, mode)
    last = 31 + fixed
    ops = off(
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | 0xC4),
        ("wr", asm.EVTSEL0 + 1, asm.EN | asm.OS | 0xC4),
        ("wr", asm.FIXED_CTR_CTRL, 1 << 4 * (fixed - 1)),
        ("wr", asm.PMC0, ALL - 20),
        ("wr", asm.PMC0 + 1, ALL - 20),
        ("wr", asm.FIXED_CTR0 + fixed - 1, ALL - 20),
        ("wr", asm.GLOBAL_CTRL, 1 << last | 3),
        ("spin", 500),
        ("wr", asm.GLOBAL_CTRL, 0),
        ("rd", asm.GLOBAL_STATUS),  # 10
        ("wr", asm.GLOBAL_STATUS, 0),
        ("wr", asm.GLOBAL_STATUS, 1),
        ("rd", asm.OVF_CTRL),
        ("wr", asm.OVF_CTRL, 1 << gp),
        ("wr", asm.OVF_CTRL, 1 << last + 1),
        ("wr", asm.OVF_CTRL, 1 << 48),
        ("rd", asm.GLOBAL_STATUS),
        ("wr", asm.OVF_CTRL, 2),
        ("rd", asm.GLOBAL_STATUS),
        ("wr", asm.OVF_CTRL, 1 << 63 | 1 << 62 | 1 << last | 1),
        ("rd", asm.GLOBAL_STATUS),
    )
    found = run_script(ops, mode=mode, cpu=cpu)
    status = 1 << last | 3
    assert found[10:] == [status, GP, GP, 0, GP, GP, GP, status, 0, 1 << last | 1, 0, 0]


@each_cpu
@each_mode
def test_registers_of_version_4(mode: str, cpu: str) -> None:
    """Silicon has STATUS_SET and INUSE; a guest's PMU is of version 2, so it is #GP."""
    set_, in_use = 0x391, 0x392
    ops = off(("wr", set_, 1), ("rd", asm.GLOBAL_STATUS), ("rd", in_use), ("wr", in_use, 0))
    if mode == NATIVE:
        assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, 1, 0, GP]
    else:
        assert run_script(ops, mode=mode, cpu=cpu) == [0, GP, 0, GP, GP]


@each_cpu
@each_vpmu
@pytest.mark.parametrize("msr", [0x3F1, 0x3F2, 0x600, 0x329, 0x1A6, 0x1A7, 0x1C8, 0x14CE, 0x1900])
def test_registers_that_kvm_does_not_virtualize(mode: str, cpu: str, msr: int) -> None:
    """PEBS, DS area, metrics, offcore response, LBRs, version 6: not in a guest without them."""
    assert run_script([("rd", msr), ("wr", msr, 0)], mode=mode, cpu=cpu) == [GP, GP]


@each_cpu
@each_mode
def test_perf_capabilities(mode: str, cpu: str) -> None:
    """Read-only. KVM offers full-width writes and, here, nothing else: no LBR, no PEBS.

    The silicon has more, but the model shows no more than it has itself (docs/model.md).
    """
    value = 1 << 13
    ops = [("rd", 0x345), ("wr", 0x345, value)]
    assert run_script(ops, mode=mode, cpu=cpu) == [value, GP]


@each_cpu
@each_mode
def test_misc_enable(mode: str, cpu: str) -> None:
    """[36] The EMON bit is set and ignores writes; changing BTS or PEBS unavailable is #GP."""
    msr, emon, bts, pebs = 0x1A0, 1 << 7, 1 << 11, 1 << 12
    (before,) = run_script([("rd", msr)], mode=mode, cpu=cpu)
    assert int(before) & (emon | bts | pebs) == emon | bts | pebs
    ops = [
        ("wr", msr, int(before) & ~emon),
        ("rd", msr),
        ("wr", msr, int(before) & ~bts),
        ("wr", msr, int(before) & ~pebs),
        ("rd", msr),
    ]
    assert run_script(ops, mode=mode, cpu=cpu) == [0, before, GP, GP, before]


@each_cpu
@each_vpmu
def test_a_version_1_guest(mode: str, cpu: str) -> None:
    """[23] No GLOBAL_* and no fixed counters; its counters count, for hardware has them enabled."""
    made = asm.config(b"", mode=mode, cpu=cpu)
    guest = dataclasses.replace(made.guest, version=1, nr_fixed=0, fixed_width=0)
    ops = [
        ("rd", asm.GLOBAL_CTRL),
        ("wr", asm.GLOBAL_CTRL, 0),
        ("rd", asm.GLOBAL_STATUS),
        ("rd", asm.FIXED_CTR_CTRL),
        ("wr", asm.OVF_CTRL, 0),
        ("rd", asm.FIXED_CTR0),
        ("pmc", FIXED_TYPE),
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | 0xC4),
        ("spin", 1000),
        ("wr", asm.EVTSEL0, 0),
        ("pmc", 0),
    ]
    found = run_script(ops, mode=mode, cpu=cpu, guest=guest, kvm=asm.kvm_for(made, guest))
    assert found[:7] == [GP] * 7
    assert 1000 < int(found[10]) < 1020


@each_cpu
@each_vpmu
def test_a_vm_without_a_vpmu(mode: str, cpu: str) -> None:
    """Everything of the PMU is #GP."""
    made = asm.config(b"", mode=mode, cpu=cpu)
    guest = dataclasses.replace(made.guest, version=0, nr_gp=0, nr_fixed=0, perf_capabilities=0)
    kvm = dataclasses.replace(asm.kvm_for(made, guest), vpmu=False)
    msrs = [asm.PERFCTR0, asm.PMC0, asm.EVTSEL0, asm.FIXED_CTR0, asm.FIXED_CTR_CTRL]
    msrs += [asm.GLOBAL_STATUS, asm.GLOBAL_CTRL, asm.OVF_CTRL, 0x345]
    ops = [("rd", msr) for msr in msrs] + [("wr", msr, 0) for msr in msrs] + [("pmc", 0)]
    found = run_script(ops, mode=mode, cpu=cpu, guest=guest, kvm=kvm)
    assert found == [GP] * (2 * len(msrs) + 1)


# ---- RDPMC ----


@each_cpu
@each_mode
def test_rdpmc_types_and_indices(mode: str, cpu: str) -> None:
    """[29] Bit 30 selects fixed counters; bit 31 and index == count are #GP."""
    gp, fixed = size(cpu, mode)
    ops = off(
        ("wr", asm.PMC0 + gp - 1, ALL),
        ("wr", asm.FIXED_CTR0 + fixed - 1, ALL - 1),
        ("pmc", gp - 1),
        ("pmc", FIXED_TYPE | fixed - 1),
        ("pmc", gp),
        ("pmc", FIXED_TYPE | fixed),
        ("pmc", FAST),
        ("pmc", FAST | FIXED_TYPE),
        ("pmc", 1 << 16),
        ("pmc", 0xFFFF),
    )
    assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, 0, ALL, ALL - 1, *[GP] * 6]


@each_cpu
@each_vpmu
def test_rdpmc_of_metrics(mode: str, cpu: str) -> None:
    """[29] Type 0x2000 is the hardware's; no guest has PERF_METRICS."""
    assert run_script([("pmc", METRICS_TYPE)], mode=mode, cpu=cpu) == [GP]


@each_cpu
@each_mode
def test_rdpmc_in_user_mode(mode: str, cpu: str) -> None:
    """[29] At CPL 3 CR4.PCE decides, before any intercept."""
    ops = off(
        ("wr", asm.PMC0, 77),
        ("pmc3", 0),
        ("pce", 1),
        ("pmc3", 0),
        ("pmc3", FIXED_TYPE | 31),
        ("pce", 0),
        ("pmc3", 0),
        ("pmc", 0),
    )
    assert run_script(ops, mode=mode, cpu=cpu) == [0, 0, GP, 0, 77, GP, 0, GP, 77]


# ---- CPUID ----


@each_cpu
@each_mode
@pytest.mark.parametrize("enable", [0, asm.EN])
def test_a_selector_counts_with_its_enable_bit_alone(mode: str, cpu: str, enable: int) -> None:
    """All other switches are on; the loop of a hundred turns has a hundred branches at least."""
    ops = [
        ("wr", asm.GLOBAL_CTRL, 1),
        ("wr", asm.PERFCTR0, 0),
        ("wr", asm.EVTSEL0, enable | asm.OS | asm.USR | asm.EVENTS["branches"]),
        ("spin", 100),
        ("rd", asm.PERFCTR0),
    ]
    *_, counted = run_script(ops, mode=mode, cpu=cpu)
    assert counted >= 100 if enable else counted == 0


@each_cpu
@each_mode
def test_cpuid_leaf_a(mode: str, cpu: str) -> None:
    """Version 2 at most, no fixed-counter bitmap, AnyThread deprecated; native: the silicon."""
    source = f"""
	{asm.PRELUDE}
_start:	movl	$0xa, %eax
	xorl	%ecx, %ecx
	cpuid
	movl	%eax, RESULTS
	movl	%ebx, RESULTS + 8
	movl	%ecx, RESULTS + 16
	movl	%edx, RESULTS + 24
	finish
"""
    eax, ebx, ecx, edx = asm.run(source, mode=mode, cpu=cpu).results(4)
    gp, fixed = size(cpu, mode)
    silicon = 4 if cpu in VERSION_4 else 5
    assert eax & 0xFF == (silicon if mode == NATIVE else 2)
    assert eax >> 8 & 0xFF == gp
    assert eax >> 16 & 0xFF == 48
    assert ebx & (1 << (eax >> 24)) - 1 == 0  # all architectural events are there
    assert ecx == ((1 << fixed) - 1 if mode == NATIVE and silicon == 5 else 0)
    assert edx & 0x1F == fixed
    assert edx >> 5 & 0xFF == 48
    assert edx >> 15 & 1 == (mode != NATIVE or silicon == 5)
