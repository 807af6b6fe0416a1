# SPDX-License-Identifier: Apache-2.0
"""MSRs beside the PMU's, in each mode: values, faults, and which of their accesses exit.

Exits are held against the list below, which is written from what Linux 7.0 passes through on Intel
and not taken from pmupass's own table.
"""

import guest_asm as asm
import pytest
from guest_asm import GP, run_script, script, script_results

from pmupass.policy import machine_msrs

NATIVE, EMULATED, MEDIATED = asm.MODES
each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_vpmu = pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
CPU = "sapphire-rapids"

TSC, APIC_BASE, FEAT_CTL, TSC_ADJUST, SPEC_CTRL, PRED_CMD = 0x10, 0x1B, 0x3A, 0x3B, 0x48, 0x49
UCODE_REV, PLATFORM_INFO, MISC_ENABLE, TSC_DEADLINE = 0x8B, 0xCE, 0x1A0, 0x6E0
EFER, STAR, LSTAR, FMASK = 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000084
FS_BASE, GS_BASE, KERNEL_GS_BASE, TSC_AUX = 0xC0000100, 0xC0000101, 0xC0000102, 0xC0000103
# The usual page and the bootstrap processor; enabled or not, x2APIC or not.
OFF, XAPIC, X2APIC = 0xFEE00100, 0xFEE00900, 0xFEE00D00
X2APIC_ID, X2APIC_TPR, X2APIC_EOI, X2APIC_SVR, X2APIC_LVTPC = 0x802, 0x808, 0x80B, 0x80F, 0x834
X2APIC_TMICT, X2APIC_TMCCT = 0x838, 0x839

# Readable, and writable with the value just read or a harmless one: (MSR, value, read exits, write
# exits).
ACCESSES = [
    (TSC, 0, False, True),
    (FEAT_CTL, None, True, True),
    (TSC_ADJUST, 0, True, True),
    (SPEC_CTRL, 0, True, True),
    (PRED_CMD, 0, True, False),
    (UCODE_REV, 0, True, True),
    (PLATFORM_INFO, None, True, True),
    (MISC_ENABLE, 0x1801, True, True),
    (0x1D9, 0, True, True),
    (TSC_DEADLINE, 0, True, True),
    (0x174, 0, False, False),
    (0x176, 0, False, False),
    (EFER, 0x501, True, True),
    (STAR, 0, True, True),
    (LSTAR, 0, True, True),
    (FMASK, 0, True, True),
    (FS_BASE, 0, False, False),
    (GS_BASE, 0, False, False),
    (KERNEL_GS_BASE, 0, False, False),
    (TSC_AUX, 0, True, True),
    (0x1A2, None, True, True),  # nobody's: #GP
]
# In x2APIC mode with APICv.
X2APIC_ACCESSES = [
    (X2APIC_ID, None, False, True),
    (X2APIC_TPR, 0, False, False),
    (X2APIC_EOI, 0, True, False),
    (X2APIC_SVR, 0x1FF, False, True),
    (X2APIC_LVTPC, 0x10000, False, True),
    (X2APIC_TMICT, 0, False, True),
    (X2APIC_TMCCT, None, True, True),
]


def exits(ops: list[tuple], mode: str) -> tuple[int, int]:
    """Return how many RDMSR and WRMSR exits the accesses make."""
    counts = []
    for given in ([("pce", 0)], ops):
        found = asm.run(script(given), mode=mode, cpu=CPU).exits()
        counts.append((found.get("MSR_READ", 0), found.get("MSR_WRITE", 0)))
    (base_read, base_write), (read, write) = counts
    return read - base_read, write - base_write


@each_mode
@pytest.mark.parametrize(("msr", "value", "read", "write"), ACCESSES)
def test_what_exits(mode: str, msr: int, value: int | None, read: bool, write: bool) -> None:
    virtual = mode != NATIVE
    assert exits([("rd", msr)], mode) == (read and virtual, 0)
    assert exits([("wr", msr, value or 0)], mode) == (0, write and virtual)


@each_mode
@pytest.mark.parametrize(("msr", "value", "read", "write"), X2APIC_ACCESSES)
def test_what_exits_of_the_x2apic(
    mode: str, msr: int, value: int | None, read: bool, write: bool
) -> None:
    """The guest is in x2APIC mode. Out of it, all of them exit and fault; switches exit too."""
    virtual = mode != NATIVE
    rd, wr = ("rd", msr), ("wr", msr, value or 0)
    leave = [("wr", APIC_BASE, OFF), ("wr", APIC_BASE, XAPIC)]
    assert exits([rd], mode) == (read and virtual, 0)
    assert exits([wr], mode) == (0, write and virtual)
    assert run_script([*leave, rd, wr], mode=mode, cpu=CPU) == [0, 0, GP, GP]
    assert exits([*leave, rd, wr], mode) == (virtual, 3 * virtual)
    again = [*leave, ("wr", APIC_BASE, X2APIC), rd, wr]
    assert exits(again, mode) == (read and virtual, (3 + write) * virtual)


@each_vpmu
def test_spec_ctrl_is_direct_once_it_is_used(mode: str) -> None:
    """A write of 0 keeps it intercepted, the first other one exits; later accesses do not."""
    ops = [("wr", SPEC_CTRL, 0), ("rd", SPEC_CTRL), ("wr", SPEC_CTRL, 1)]
    after = [("rd", SPEC_CTRL), ("wr", SPEC_CTRL, 5), ("wr", SPEC_CTRL, 0), ("rd", SPEC_CTRL)]
    assert exits(ops, mode) == (1, 2)
    assert exits(ops + after, mode) == (1, 2)
    assert run_script(ops + after, mode=mode, cpu=CPU) == [0, 0, 0, 1, 0, 0, 0]


@each_mode
def test_values_and_faults(mode: str) -> None:
    """FEAT_CTL is locked. SPEC_CTRL has bits 0 to 2, PRED_CMD bit 0 and cannot be read."""
    ops = [
        ("rd", FEAT_CTL),
        ("wr", FEAT_CTL, 1),
        ("wr", SPEC_CTRL, 8),
        ("wr", PRED_CMD, 2),
        ("rd", PRED_CMD),
        ("wr", PRED_CMD, 1),
        ("wr", PLATFORM_INFO, 0),
        ("wr", UCODE_REV, 5),
        ("wr", EFER, 1 << 1),
        ("wr", LSTAR, 1 << 63),
        ("wr", TSC_AUX, 1 << 32),
        ("rd", 0x1A2),
        ("wr", 0x1A2, 0),
        ("rd", 0xC0011029),
    ]
    expected = [1, GP, GP, GP, GP, 0, GP, 0, GP, GP, GP, GP, GP, GP]
    assert run_script(ops, mode=mode, cpu=CPU) == expected


@each_mode
def test_writes_of_the_tsc(mode: str) -> None:
    """A write moves TSC and TSC_ADJUST alike; a write of TSC_ADJUST moves the TSC by its change.

    So the TSC less TSC_ADJUST is what it would be without the writes: it only grows, and is at the
    end no more than the time that the machine has run.
    """
    far = 1 << 40
    ops = [
        ("rd", TSC_ADJUST),
        ("rd", TSC),
        ("wr", TSC, far),
        ("rd", TSC_ADJUST),
        ("rd", TSC),
        ("wr", TSC_ADJUST, 7),
        ("rd", TSC),
        ("wr", TSC, 0),  # back: TSC_ADJUST is negative
        ("rd", TSC),
        ("rd", TSC_ADJUST),
    ]
    ran = asm.run(script(ops), mode=mode, cpu=CPU)
    none, start, _, adjust, moved, _, near, _, back, negative = script_results(ran, len(ops))
    end = ran.machine.guest().tsc_cycles
    assert none == 0
    assert moved >= far
    plain = [start, moved - adjust, near - 7, back - negative + (1 << 64)]
    assert plain == sorted(plain)
    assert plain[-1] <= end
    assert 0 < back < end
    assert negative >> 63


def test_the_table_is_what_is_judged_here() -> None:
    """Each row of the table has an access above."""
    judged = {msr for msr, *_ in (*ACCESSES, *X2APIC_ACCESSES)} | {APIC_BASE}
    for row in machine_msrs.rows(apicv=True):
        assert judged & set(row.numbers), row.name
