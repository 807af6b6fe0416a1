# SPDX-License-Identifier: Apache-2.0
"""``pmupass policy``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pmupass.cli import options
from pmupass.options import MODES, check_modes

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(name="policy")
@options.cpu
@click.option(
    "--mode",
    metavar="|".join(MODES),
    default="mediated",
    show_default=True,
    help="How the PMU is arranged.",
)
@options.guest_cpuid
@options.settings
def command(cpu: str, mode: str, guest_cpuid: tuple[str, ...], settings: tuple[str, ...]) -> int:
    """Show what KVM intercepts of a guest's MSR accesses, each row with its reason.

    For the mediated vPMU, Linux 7.0 (upstream) stands beside the RFC of 2024, the arrangement of
    the talk. kvm.max_fixed_counters and the guest's CPUID change the table.

    \b
    pmupass policy --cpu skylake-sp
    pmupass policy --set kvm.max_fixed_counters=4
    pmupass policy --cpu skylake-sp --guest-cpuid gp_width=40
    """
    (mode,) = check_modes([mode])
    from pmupass import costs, cpus, profiles, settings as known
    from pmupass.config import Mode, Pmu
    from pmupass.policy import enablement, interception, machine_msrs
    from pmupass.policy.guest_cpuid import Asked, guest_pmu
    from pmupass.report import console, policy as report

    resolved = known.resolve((*known.from_guest_cpuid(guest_cpuid), *settings))
    model = cpus.load(cpu, resolved.namespace("cpu"))
    # Nothing here depends on them, but what a run would refuse is refused.
    costs.load(resolved.namespace("cost"))
    profiles.load_all(resolved.namespace("profile"))
    profiles.load(resolved.text("guest.profile"))
    chosen = Mode[mode.upper()]
    guest = guest_pmu(
        model,
        mode=chosen,
        max_gp=resolved.integer("kvm.max_gp_counters"),
        max_fixed=resolved.integer("kvm.max_fixed_counters"),
        asked=Asked.of(resolved),
        vpmu=resolved.flag("kvm.enable_pmu"),
    )
    in_kernel_lapic = resolved.text("kvm.irqchip") != "userspace"
    if not enablement.vm_has_pmu(
        chosen, disabled=resolved.flag("kvm.cap_pmu_disable"), in_kernel_lapic=in_kernel_lapic
    ):
        guest = Pmu()
    hardware = guest if chosen is Mode.NATIVE else model.pmu
    arrangements: tuple[interception.Arrangement, ...] = ("upstream",)
    if chosen is Mode.MEDIATED:
        arrangements = ("upstream", "rfc2024")
        if resolved.text("kvm.interception") == "none":
            arrangements += ("none",)
    tables: dict[str, Sequence[interception.InterceptRow]] = {
        name: interception.table(
            hardware,
            guest,
            mode=chosen,
            arrangement=name,
            rdpmc_backdoor=resolved.flag("kvm.enable_vmware_backdoor"),
        )
        for name in arrangements
    }
    resolved = resolved.with_defaults({"kvm.apicv": model.silicon.apicv})
    apicv = resolved.flag("kvm.apicv") and in_kernel_lapic
    others = machine_msrs.rows(apicv=apicv, native=chosen is Mode.NATIVE, vendor=model.maker)
    report.render(console.make(), report.Policy(cpu, mode, hardware, guest, tables, others))
    return 0
