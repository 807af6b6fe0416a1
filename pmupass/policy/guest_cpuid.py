# SPDX-License-Identifier: Apache-2.0
"""What a guest is told by CPUID: its PMU as KVM clamps it, and the leaves.

Announced is what the guest CPU implements, no more: of SIMD that is SSE and SSE2 on XMM registers,
not MMX. FPU is announced although the interpreter stops at x87's transcendental functions, SSE
although it stops at RCPPS and RSQRTPS. Caches are not described (leaves 2 and 4 are absent).

Register rules are those of KVM_GET_SUPPORTED_CPUID in Linux 7.0 (version at most 2, at most 8 GP
and 3 fixed counters, AnyThread deprecated) with the VMM passing on all that KVM supports.
"""

from __future__ import annotations

from pmupass.config import Cpuid as CpuidEntry, Mode, Pmu as PmuShape
from pmupass.cpus.model import (
    MODELLED_PERF_CAPABILITIES,
    PERF_CAP_FW_WRITE,
    CpuModel,
)
from pmupass.errors import UsageError

__all__ = ["CpuidEntry", "PmuShape", "cpuid_entries", "guest_pmu", "offered_perf_capabilities"]

NO_PMU = PmuShape()
KVM_MAX_VERSION = 2
KVM_MAX_GP = 8
KVM_MAX_FIXED = 3

PERF_CAP_LBR_FMT = 0x3F
PERF_CAP_ARCH_LBR = 0x3F  # LBR_FMT of a CPU with architectural LBR, which KVM does not virtualize
PERF_CAP_PEBS = 1 << 6 | 1 << 7 | 0xF << 8  # TRAP, ARCH_REG, FORMAT; BASELINE is masked off
PEBS_EPT_FORMAT = 4  # Ice Lake and later can write PEBS records through EPT


def offered_perf_capabilities(cpu: CpuModel, mode: Mode) -> int:
    """Return the PERF_CAPABILITIES that KVM offers in a mode.

    FW_WRITE always. The emulated vPMU adds the legacy LBR format, and PEBS without its adaptive
    records where it goes through EPT; the mediated one neither. More than a guest here gets:
    :data:`~pmupass.cpus.model.MODELLED_PERF_CAPABILITIES`.
    """
    silicon = cpu.silicon.perf_capabilities
    offered = PERF_CAP_FW_WRITE
    if mode is Mode.EMULATED:
        lbr = silicon & PERF_CAP_LBR_FMT
        offered |= lbr if lbr != PERF_CAP_ARCH_LBR else 0
        if (silicon >> 8 & 0xF) >= PEBS_EPT_FORMAT:
            offered |= silicon & PERF_CAP_PEBS
    return offered


def _at_most(key: str, wanted: int | None, most: int, cpu: CpuModel) -> int:
    if wanted is None:
        return most
    if not 0 <= wanted <= most:
        raise UsageError(f"{key}={wanted}: KVM offers a guest on {cpu.name} 0 to {most}")
    return wanted


def guest_pmu(
    cpu: CpuModel,
    *,
    mode: Mode,
    max_gp: int = KVM_MAX_GP,
    max_fixed: int = KVM_MAX_FIXED,
    gp_counters: int | None = None,
    fixed_counters: int | None = None,
    vpmu: bool = True,
) -> PmuShape:
    """Return the PMU that a guest finds.

    Natively it is the silicon's, whatever the other arguments say. Under KVM ``max_gp`` and
    ``max_fixed`` are KVM's own limits (KVM_MAX_NR_INTEL_*_COUNTERS), ``gp_counters`` and
    ``fixed_counters`` what this VM is configured for, and without ``vpmu`` there is none (version
    0). UsageError for more counters than KVM offers.
    """
    hw = cpu.pmu
    if mode is Mode.NATIVE:
        return hw
    if not vpmu:
        return NO_PMU
    nr_gp = _at_most("guest.gp_counters", gp_counters, min(hw.nr_gp, max_gp), cpu)
    nr_fixed = _at_most("guest.fixed_counters", fixed_counters, min(hw.nr_fixed, max_fixed), cpu)
    return PmuShape(
        version=min(hw.version, KVM_MAX_VERSION),
        nr_gp=nr_gp,
        nr_fixed=nr_fixed,
        gp_width=hw.gp_width,
        fixed_width=hw.fixed_width,
        fw_write=True,
        rtm=hw.rtm,
        perf_capabilities=offered_perf_capabilities(cpu, mode) & MODELLED_PERF_CAPABILITIES,
    )


# What the guest CPU implements: CPUID.1 ECX and EDX, CPUID.7 EBX and EDX, CPUID.80000001H ECX and
# EDX.
_CX16, _PDCM, _X2APIC, _MOVBE, _POPCNT = 1 << 13, 1 << 15, 1 << 21, 1 << 22, 1 << 23
_TSC_DEADLINE, _HYPERVISOR = 1 << 24, 1 << 31
_LONG_MODE_BASELINE = 1 << 0 | 1 << 24 | 1 << 25 | 1 << 26  # FPU, FXSR, SSE, SSE2
_LEAF1_EDX = (
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
# CPUID.7 EBX and EDX
_FSGSBASE, _TSC_ADJUST, _SMEP, _RTM, _CLFLUSHOPT = 1 << 0, 1 << 1, 1 << 7, 1 << 11, 1 << 23
_SPEC_CTRL = 1 << 26 | 1 << 27 | 1 << 31  # IBRS and IBPB, STIBP, SSBD: MSRs 0x48 and 0x49
_LAHF64, _ABM = 1 << 0, 1 << 5
_SYSCALL, _NX, _PAGES_1GB, _RDTSCP, _LM = 1 << 11, 1 << 20, 1 << 26, 1 << 27, 1 << 29
_INVARIANT_TSC = 1 << 8
LINE_SIZE = 64
LAST_LEAF = 0x16
LAST_EXTENDED_LEAF = 0x80000008


def _words(text: str) -> tuple[int, int, int]:
    raw = text.encode("ascii").ljust(12, b"\0")
    a, b, c = (int.from_bytes(raw[i : i + 4], "little") for i in (0, 4, 8))
    return a, b, c


def _leaf_1(cpu: CpuModel, shape: PmuShape, mode: Mode) -> CpuidEntry:
    ecx = _CX16 | _X2APIC | _MOVBE | _POPCNT | _TSC_DEADLINE
    if shape.perf_capabilities:
        ecx |= _PDCM
    if mode is not Mode.NATIVE:
        ecx |= _HYPERVISOR
    ebx = 1 << 16 | LINE_SIZE // 8 << 8  # one logical processor, APIC id 0
    return CpuidEntry(1, None, (cpu.signature.eax, ebx, ecx, _LEAF1_EDX))


def _leaf_7(cpu: CpuModel) -> CpuidEntry:
    ebx = _FSGSBASE | _TSC_ADJUST | _SMEP | _CLFLUSHOPT
    if cpu.silicon.rtm:
        ebx |= _RTM
    return CpuidEntry(7, 0, (0, ebx, 0, _SPEC_CTRL))


def _leaf_a(cpu: CpuModel, shape: PmuShape, mode: Mode) -> CpuidEntry:
    if not shape.version:
        return CpuidEntry(0xA, None, (0, 0, 0, 0))
    silicon = cpu.silicon
    deprecated = silicon.anythread_deprecated or mode is not Mode.NATIVE
    return CpuidEntry(
        0xA,
        None,
        (
            shape.version | shape.nr_gp << 8 | shape.gp_width << 16 | silicon.nr_arch_events << 24,
            0,  # a set bit would take an architectural event away
            (1 << shape.nr_fixed) - 1 if shape.version >= 5 else 0,
            shape.nr_fixed | shape.fixed_width << 5 | deprecated << 15,
        ),
    )


def _clock_leaves(cpu: CpuModel) -> list[CpuidEntry]:
    clock = cpu.clock
    numerator = clock.tsc_khz * 2 // clock.crystal_khz
    crystal_hz = clock.crystal_khz * 1000 if clock.crystal_enumerated else 0
    return [
        CpuidEntry(0x15, None, (2, numerator, crystal_hz, 0)),
        CpuidEntry(
            0x16,
            None,
            (clock.tsc_khz // 1000, clock.max_khz // 1000, clock.bus_khz // 1000, 0),
        ),
    ]


def _brand_leaves(cpu: CpuModel) -> list[CpuidEntry]:
    raw = cpu.brand.encode("ascii").ljust(48, b"\0")
    words = [int.from_bytes(raw[i : i + 4], "little") for i in range(0, 48, 4)]
    return [
        CpuidEntry(0x80000002 + i, None, (words[j], words[j + 1], words[j + 2], words[j + 3]))
        for i, j in enumerate((0, 4, 8))
    ]


def cpuid_entries(cpu: CpuModel, shape: PmuShape, mode: Mode) -> list[CpuidEntry]:
    """Return the CPUID leaves of a guest with one CPU; registers EAX, EBX, ECX, EDX."""
    b, d, c = _words(cpu.vendor)
    entries = [
        CpuidEntry(0, None, (LAST_LEAF, b, c, d)),
        _leaf_1(cpu, shape, mode),
        _leaf_7(cpu),
        _leaf_a(cpu, shape, mode),
        CpuidEntry(0xB, 0, (0, 1, 1 << 8, 0)),  # the SMT level, one thread
        CpuidEntry(0xB, 1, (0, 1, 2 << 8 | 1, 0)),  # the core level, one core
        CpuidEntry(0xB, 2, (0, 0, 2, 0)),
        *_clock_leaves(cpu),
    ]
    if mode is not Mode.NATIVE:
        entries.append(CpuidEntry(0x40000000, None, (0x40000001, *_words("KVMKVMKVM"))))
        entries.append(CpuidEntry(0x40000001, None, (0, 0, 0, 0)))  # no paravirtual features
    entries += [
        CpuidEntry(0x80000000, None, (LAST_EXTENDED_LEAF, 0, 0, 0)),
        CpuidEntry(
            0x80000001,
            None,
            (0, 0, _LAHF64 | _ABM, _SYSCALL | _NX | _PAGES_1GB | _RDTSCP | _LM),
        ),
        *_brand_leaves(cpu),
        CpuidEntry(0x80000007, None, (0, 0, 0, _INVARIANT_TSC)),
        CpuidEntry(0x80000008, None, (cpu.physical_address_bits | 48 << 8, 0, 0, 0)),
    ]
    return entries
