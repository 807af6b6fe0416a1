# SPDX-License-Identifier: Apache-2.0
"""Whether KVM makes a mediated VM here: the preconditions of Linux 7.0, each with a name.

    refusal = check(cpu, mode=Mode.MEDIATED, host_include_guest_events=["cycles:D"])
    if refusal is not None:
        raise InputError(str(refusal))

The module parameter enable_mediated_pmu of kvm-intel or kvm-amd is on, for the mode asks for it;
without kvm.enable_pmu it is cleared and the guest has no PMU, which has no preconditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmupass.config import Mode, Vendor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pmupass.cpus.model import CpuModel

EBUSY, ENODEV = "EBUSY", "ENODEV"
ELSEWHERE = "Choose another --cpu, or --mode emulated"


@dataclass(frozen=True, slots=True)
class Precondition:
    """One precondition: its name, whether it holds, and what is the case."""

    name: str
    holds: bool
    text: str
    change: str = ""
    errno: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A precondition that fails.

    ``errno`` is what KVM_CREATE_VCPU returns, None where KVM goes on silently without the vPMU.
    """

    precondition: str
    text: str
    change: str
    errno: str | None

    def __str__(self) -> str:
        """What a user is told."""
        return f"{self.text}\n{self.change}"


def preconditions(
    cpu: CpuModel,
    *,
    in_kernel_lapic: bool = True,
    host_include_guest_events: Sequence[str] = (),
    nmi_watchdog: bool = False,
) -> tuple[Precondition, ...]:
    """Return what a mediated vPMU needs, in the order in which KVM looks."""
    silicon = cpu.silicon
    return (
        Precondition(
            "not-hybrid",
            not silicon.hybrid,
            f"{cpu.name} {'is' if silicon.hybrid else 'is not'} a hybrid CPU; KVM gives guests on "
            "those no PMU at all",
            "Choose another --cpu",
            ENODEV,
        ),
        *(_of_amd(cpu) if cpu.maker is Vendor.AMD else _of_intel(cpu)),
        Precondition(
            "in-kernel-lapic",
            in_kernel_lapic,
            f"the local APIC is {'in the kernel' if in_kernel_lapic else 'in user space'}; without "
            "one in the kernel KVM silently turns the vPMU of the VM off",
            "Give the VM an in-kernel irqchip (a split one will do)",
            None,
        ),
        _no_include_guest_events(host_include_guest_events),
        _no_nmi_watchdog(on=nmi_watchdog),
    )


def _of_amd(cpu: CpuModel) -> tuple[Precondition, ...]:
    capable, v2 = cpu.silicon.mediated_capable, cpu.silicon.version >= 2
    return (
        Precondition(
            "perfmon-v2",
            v2,
            f"{cpu.name} has {'' if v2 else 'no '}PerfMonV2 (Zen 4 and later); a mediated vPMU "
            "needs it, for PerfCntrGlobalStatusSet restores the guest's overflow bits",
            ELSEWHERE,
            ENODEV,
        ),
        Precondition(
            "perf-capability",
            capable,
            f"the core PMU of perf {'has' if capable else 'lacks'} PERF_PMU_CAP_MEDIATED_VPMU, "
            "which it has with PerfMonV2",
            ELSEWHERE,
            ENODEV,
        ),
    )


def _of_intel(cpu: CpuModel) -> tuple[Precondition, ...]:
    silicon = cpu.silicon
    return (
        Precondition(
            "perf-capability",
            silicon.mediated_capable,
            f"the core PMU of perf {'has' if silicon.mediated_capable else 'lacks'} "
            "PERF_PMU_CAP_MEDIATED_VPMU",
            ELSEWHERE,
            ENODEV,
        ),
        Precondition(
            "perfmon-version",
            silicon.version >= 4,
            f"{cpu.name} has architectural perfmon version {silicon.version}; a mediated vPMU "
            "needs 4, for GLOBAL_STATUS_SET restores the guest's overflow bits",
            ELSEWHERE,
            ENODEV,
        ),
        Precondition(
            "full-width-writes",
            cpu.pmu.fw_write,
            f"PERF_CAPABILITIES of {cpu.name} {'has' if cpu.pmu.fw_write else 'lacks'} FW_WRITE; "
            "KVM restores whole counters with it",
            ELSEWHERE,
            ENODEV,
        ),
        Precondition(
            "vmcs-load-global-ctrl",
            silicon.entry_load_global_ctrl,
            f"VM-entry {'loads' if silicon.entry_load_global_ctrl else 'cannot load'} GLOBAL_CTRL "
            f"on {cpu.name}",
            ELSEWHERE,
            ENODEV,
        ),
    )


def _no_include_guest_events(events: Sequence[str]) -> Precondition:
    if not events:
        text = "no perf event of the host counts guests"
    else:
        several = len(events) > 1
        text = (
            f"KVM_CREATE_VCPU: -EBUSY: the host's perf event{'s' if several else ''} "
            f"{', '.join(events)} {'count' if several else 'counts'} guests too, and a mediated "
            "vPMU needs the PMU for itself"
        )
    return Precondition(
        "no-include-guest-events",
        not events,
        text,
        f"Exclude guests from {'them' if len(events) > 1 else 'it'} "
        f"(exclude_guest: {', '.join(host_only(event) for event in events)}), close "
        f"{'them' if len(events) > 1 else 'it'}, or run with --mode emulated, where the guest's "
        "events compete with the host's",
        EBUSY,
    )


def _no_nmi_watchdog(*, on: bool) -> Precondition:
    text = "the host's hard lockup detector has no perf event"
    if on:
        text = (
            "KVM_CREATE_VCPU: -EBUSY: the perf event of the host's hard lockup detector counts "
            "guests too, and a mediated vPMU needs the PMU for itself"
        )
    return Precondition(
        "no-nmi-watchdog",
        not on,
        text,
        "Turn it off (kernel.nmi_watchdog=0; host.nmi_watchdog=none), use the buddy detector "
        "(host.nmi_watchdog=buddy), or run with --mode emulated, where it takes a counter",
        EBUSY,
    )


def vm_has_pmu(mode: Mode, *, disabled: bool, in_kernel_lapic: bool) -> bool:
    """Return whether a VM of this mode has a vPMU, whatever CPUID tells its guest.

    The VMM may have disabled it (KVM_CAP_PMU_CAPABILITY). A mediated vPMU needs the local APIC in
    the kernel; without it the VM silently has none, and the guest finds that accesses are #GP.
    """
    return mode is Mode.NATIVE or not (disabled or (mode is Mode.MEDIATED and not in_kernel_lapic))


def host_only(event: str) -> str:
    """Return an event's text with guests excluded: ``cycles:D`` becomes ``cycles:DH``."""
    name, colon, modifiers = event.partition(":")
    return f"{name}{colon or ':'}{modifiers.replace('G', '')}{'' if 'H' in modifiers else 'H'}"


def check(
    cpu: CpuModel,
    *,
    mode: Mode,
    has_pmu: bool = True,
    in_kernel_lapic: bool = True,
    host_include_guest_events: Sequence[str] = (),
    nmi_watchdog: bool = False,
) -> Refusal | None:
    """Return the first precondition that fails, None if the VM can be made.

    ``host_include_guest_events`` are the texts of the host's perf events without exclude_guest;
    ``nmi_watchdog``: the host's hard lockup detector has one, too.
    Only a mediated VM has preconditions: native has no KVM, the emulated vPMU takes what it gets,
    and perf is not asked for a VM whose PMU is off (``has_pmu``). What CPUID tells the guest does
    not matter: KVM asks at the first KVM_CREATE_VCPU, before it knows.
    """
    if mode is not Mode.MEDIATED or not has_pmu:
        return None
    for condition in preconditions(
        cpu,
        in_kernel_lapic=in_kernel_lapic,
        host_include_guest_events=host_include_guest_events,
        nmi_watchdog=nmi_watchdog,
    ):
        if not condition.holds:
            return Refusal(condition.name, condition.text, condition.change, condition.errno)
    return None
