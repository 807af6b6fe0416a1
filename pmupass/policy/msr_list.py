# SPDX-License-Identifier: Apache-2.0
"""KVM_GET_MSR_INDEX_LIST: the registers that KVM tells a VMM to save and restore.

It is a list of the host and of KVM, not of a VM: a guest may lack what is listed. A register of the
PMU is listed if KVM's parameter ``enable_pmu`` is on, the host's processor has it, and KVM offers a
counter of that number. Each counter is listed by one name: the legacy one, which all guests have.

Source: Linux 7.0, arch/x86/kvm. Not modelled: registers that this machine does not have (PAT, XFD,
those of paravirtual guests and of Hyper-V), which KVM lists as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.config import Pmu, Vendor

if TYPE_CHECKING:
    from pmupass.cpus.model import CpuModel

KVM_MAX_AMD_GP = 6
_K7_COUNTERS = 4
_PEBS_FORMAT, _PEBS_BASELINE = 0xF << 8, 1 << 14

# SYSENTER_CS, _ESP, _EIP; STAR, CSTAR, KERNEL_GS_BASE, SYSCALL_MASK, LSTAR; TSC, FEAT_CTL, TSC_AUX,
# SPEC_CTRL
_SYSENTER = (0x174, 0x175, 0x176)
_SYSCALL = (0xC0000081, 0xC0000083, 0xC0000102, 0xC0000084, 0xC0000082)
_TSC, _FEAT_CTL, _TSC_AUX, _SPEC_CTRL = 0x10, 0x3A, 0xC0000103, 0x48
# TSC_ADJUST, TSC_DEADLINE, PERF_CAPABILITIES, MISC_ENABLE, PLATFORM_INFO, UCODE_REV: KVM's own,
# listed whatever the host has
_EMULATED = (0x3B, 0x6E0, 0x345, 0x1A0, 0xCE, 0x8B)

_FIXED_CTR0, _FIXED_CTR_CTRL, _GLOBAL_STATUS, _GLOBAL_CTRL = 0x309, 0x38D, 0x38E, 0x38F
_PEBS_ENABLE, _DS_AREA, _PEBS_DATA_CFG = 0x3F1, 0x600, 0x3F2
_PERFCTR0, _EVNTSEL0 = 0x0C1, 0x186
_K7_EVNTSEL0, _K7_PERFCTR0, _F15H_PERF_CTL0 = 0xC0010000, 0xC0010004, 0xC0010200
# GLOBAL_CTL, _STATUS, _STATUS_CLR, _STATUS_SET
_AMD_GLOBAL = (0xC0000301, 0xC0000300, 0xC0000302, 0xC0000303)

_PMU_HINT = 0x70700000


def _intel(pmu: Pmu, perf_capabilities: int, max_gp: int, max_fixed: int) -> list[int]:
    nr_gp, nr_fixed = min(pmu.nr_gp, max_gp), min(pmu.nr_fixed, max_fixed)
    out = [_FIXED_CTR0 + i for i in range(nr_fixed)]
    if pmu.version >= 2:
        out += [_FIXED_CTR_CTRL, _GLOBAL_STATUS, _GLOBAL_CTRL]
    if perf_capabilities & _PEBS_FORMAT:
        out += [_PEBS_ENABLE, _DS_AREA]
    if perf_capabilities & _PEBS_BASELINE:
        out.append(_PEBS_DATA_CFG)
    out += [_PERFCTR0 + i for i in range(nr_gp)]
    return out + [_EVNTSEL0 + i for i in range(nr_gp)]


def _amd(pmu: Pmu) -> list[int]:
    out = [_K7_EVNTSEL0 + i for i in range(_K7_COUNTERS)]
    out += [_K7_PERFCTR0 + i for i in range(_K7_COUNTERS)]
    if pmu.perfctr_core:
        out += [_F15H_PERF_CTL0 + 2 * i for i in range(KVM_MAX_AMD_GP)]
        out += [_F15H_PERF_CTL0 + 2 * i + 1 for i in range(KVM_MAX_AMD_GP)]
    return out + list(_AMD_GLOBAL) if pmu.version >= 2 else out


def msrs_to_save(
    cpu: CpuModel,
    *,
    max_gp: int,
    max_fixed: int,
    enable_pmu: bool = True,
    pmu_hint: bool = False,
) -> tuple[int, ...]:
    """Return the list on a host with this CPU, in KVM's order.

    ``max_gp`` and ``max_fixed`` are KVM's own limits of counters; ``pmu_hint``: pmupass' own
    register is offered (csrc/base/pmu_hint.h).
    """
    intel = cpu.pmu.vendor is Vendor.INTEL
    out = [*_SYSENTER, *_SYSCALL, _TSC]
    if intel:
        out.append(_FEAT_CTL)
    out += [_TSC_AUX, _SPEC_CTRL]
    if enable_pmu and intel:
        out += _intel(cpu.pmu, cpu.silicon.perf_capabilities, max_gp, max_fixed)
    elif enable_pmu:
        out += _amd(cpu.pmu)
    if pmu_hint:
        out.append(_PMU_HINT)
    return (*out, *_EMULATED)
