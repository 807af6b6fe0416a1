# SPDX-License-Identifier: Apache-2.0
"""PEBS and the legacy LBR of a guest: where KVM offers them, and why it does not elsewhere.

Linux 7.0, kvm-intel: the emulated vPMU offers PEBS on CPUs on which perf knows that records can be
written through EPT (``pebs_ept``), without adaptive records, and the LBR in the host's format
unless it is an architectural one, which KVM does not virtualize. The mediated vPMU offers neither.
A guest here has them if ``guest.pebs`` and ``guest.lbr`` ask for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.config import Mode
from pmupass.errors import UsageError

if TYPE_CHECKING:
    from pmupass.cpus.model import CpuModel
    from pmupass.policy.intel_cpuid import Asked

LBR_FMT = 0x3F
PEBS = 1 << 6 | 1 << 7 | 0xF << 8  # TRAP, ARCH_REG, FORMAT; BASELINE is masked off
NAMES = ("pebs", "lbr")


def offered(cpu: CpuModel, mode: Mode) -> int:
    """Return the bits of PERF_CAPABILITIES that KVM offers for the two."""
    silicon = cpu.silicon
    if mode is not Mode.EMULATED:
        return 0
    bits = 0 if silicon.arch_lbr else silicon.perf_capabilities & LBR_FMT
    return bits | (silicon.perf_capabilities & PEBS if silicon.pebs_ept else 0)


def refusal(mode: Mode, asked: Asked) -> str | None:
    """Return why a VM of this mode cannot have what is asked for, None if it can."""
    for name in NAMES:
        if not getattr(asked, name):
            continue
        if mode is Mode.MEDIATED:
            return (
                f"guest.{name}=1: KVM offers neither PEBS nor LBR with a mediated vPMU\n"
                f"Run with --mode emulated, or without guest.{name}"
            )
        if mode is Mode.NATIVE:
            return (
                f"guest.{name}=1: PEBS and LBR of the bare machine are not modelled; those of an "
                f"emulated vPMU are, without their records\nRun with --mode emulated"
            )
    return None


def wanted(cpu: CpuModel, mode: Mode, asked: Asked, *, version: int, pdcm: bool) -> int:
    """Return the bits of PERF_CAPABILITIES of what is asked for; UsageError for what cannot be.

    None for the bare machine: :func:`refusal` is for those who would run there, and the size of the
    work of an emulated run is found there.
    """
    text = refusal(mode, asked)
    if text is not None and mode is not Mode.NATIVE:
        raise UsageError(text)
    bits = 0
    for name, mask in zip(NAMES, (PEBS, LBR_FMT), strict=True):
        if not getattr(asked, name):
            continue
        if not offered(cpu, Mode.EMULATED) & mask:
            raise UsageError(f"guest.{name}=1: {_lacks(cpu, name)}")
        if version < 2:
            raise UsageError(f"guest.{name}=1: the guest's PMU has version {version}, not 2")
        if not pdcm:
            raise UsageError(
                f"guest.{name}=1: PERF_CAPABILITIES announces it, and guest.pdcm=0 has none"
            )
        bits |= offered(cpu, mode) & mask
    return bits


def _lacks(cpu: CpuModel, name: str) -> str:
    if name == "pebs":
        return (
            f"{cpu.name} cannot write PEBS records through EPT, which KVM needs (Ice Lake-SP and "
            "later Xeons with P-cores can)"
        )
    return f"{cpu.name} has an architectural LBR alone, which KVM does not virtualize"
