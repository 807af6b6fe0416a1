# SPDX-License-Identifier: Apache-2.0
"""CPUID leaves that are alike on all CPUs: what the guest CPU implements, the brand, KVM's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.config import Cpuid

if TYPE_CHECKING:
    from pmupass.cpus.model import CpuModel

# CPUID.1 ECX and EDX
DTES64, DS = 1 << 2, 1 << 21  # the debug store, for PEBS
CX16, PDCM, X2APIC, MOVBE, POPCNT = 1 << 13, 1 << 15, 1 << 21, 1 << 22, 1 << 23
TSC_DEADLINE, HYPERVISOR = 1 << 24, 1 << 31
LEAF1_ECX = CX16 | X2APIC | MOVBE | POPCNT
_LONG_MODE_BASELINE = 1 << 0 | 1 << 24 | 1 << 25 | 1 << 26  # FPU, FXSR, SSE, SSE2
LEAF1_EDX = (
    _LONG_MODE_BASELINE
    | 1 << 3  # PSE
    | 1 << 4  # TSC
    | 1 << 5  # MSR
    | 1 << 6  # PAE
    | 1 << 8  # CX8
    | 1 << 9  # APIC
    | 1 << 11  # SEP
    | 1 << 13  # PGE
    | 1 << 15  # CMOV
    | 1 << 19  # CLFLUSH
)
_HTT = 1 << 28  # EBX[23:16] means something
# CPUID.7 EBX
FSGSBASE, TSC_ADJUST, SMEP, RTM, CLFLUSHOPT = 1 << 0, 1 << 1, 1 << 7, 1 << 11, 1 << 23
LINE_SIZE = 64


def words(text: str) -> tuple[int, int, int]:
    """Return a text of at most 12 letters as three registers."""
    raw = text.encode("ascii").ljust(12, b"\0")
    a, b, c = (int.from_bytes(raw[i : i + 4], "little") for i in (0, 4, 8))
    return a, b, c


def leaf_1_ebx(cpus: int) -> int:
    """Return CPUID.1 EBX: the logical processors, APIC id 0."""
    return cpus << 16 | LINE_SIZE // 8 << 8


def leaf_1_edx(cpus: int) -> int:
    """Return CPUID.1 EDX, with HTT if there are several logical processors."""
    return LEAF1_EDX | (_HTT if cpus > 1 else 0)


def apic_id_bits(cpus: int) -> int:
    """Return how many bits of an APIC id tell CPUs of a package apart."""
    return (cpus - 1).bit_length()


def topology_leaves(cpus: int) -> list[Cpuid]:
    """Return leaf 0xB of APIC id 0: one package, a core for each CPU, no SMT."""
    return [
        Cpuid(0xB, 0, (0, 1, 1 << 8, 0)),  # the SMT level, one thread
        Cpuid(0xB, 1, (apic_id_bits(cpus), cpus, 2 << 8 | 1, 0)),  # the core level
        Cpuid(0xB, 2, (0, 0, 2, 0)),
    ]


def brand_leaves(cpu: CpuModel) -> list[Cpuid]:
    """Return the three leaves of the brand string."""
    raw = cpu.brand.encode("ascii").ljust(48, b"\0")
    w = [int.from_bytes(raw[i : i + 4], "little") for i in range(0, 48, 4)]
    return [
        Cpuid(0x80000002 + i, None, (w[j], w[j + 1], w[j + 2], w[j + 3]))
        for i, j in enumerate((0, 4, 8))
    ]


# No paravirtual features.
KVM_LEAVES = (
    Cpuid(0x40000000, None, (0x40000001, *words("KVMKVMKVM"))),
    Cpuid(0x40000001, None, (0, 0, 0, 0)),
)
# pmupass' own (csrc/base/pmu_hint.h)
PMU_HINT_LEAF = Cpuid(0x40000100, None, (0x40000100, *words("pmupass hint")))
