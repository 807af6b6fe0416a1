# SPDX-License-Identifier: Apache-2.0
"""Which PMU accesses of a guest leave it, and why.

    rows = table(cpu.pmu, guest, mode=Mode.MEDIATED)
    config.kvm.intercepts = msr_intercepts(rows)

Arrangements of the mediated vPMU:

- ``upstream``: Linux 7.0. Where the guest does not have all that the hardware has, RDPMC and the
  GLOBAL_* registers are intercepted.
- ``rfc2024``: the RFC of January 2024 as it was measured: all direct but the selectors and
  FIXED_CTR_CTRL. The talk intercepts RDPMC unless all counters are exposed; here it is direct.
- ``none``: all direct, the selectors too, so no event filter can work.

Whatever the arrangement, registers that the guest does not have stay intercepted, and become #GP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pmupass.config import Mode, MsrIntercept, Pmu, Vendor
from pmupass.policy import amd_interception, branch_records

if TYPE_CHECKING:
    from collections.abc import Sequence

Arrangement = Literal["upstream", "rfc2024", "none"]
ARRANGEMENTS: tuple[Arrangement, ...] = ("upstream", "rfc2024", "none")

PERFCTR0, PMC0, EVTSEL0, FIXED_CTR0 = 0x0C1, 0x4C1, 0x186, 0x309
FIXED_CTR_CTRL, GLOBAL_STATUS, GLOBAL_CTRL, GLOBAL_OVF_CTRL = 0x38D, 0x38E, 0x38F, 0x390
RDPMC = "RDPMC"
NO_HYPERVISOR = "native: there is no hypervisor, the guest owns the PMU"
NO_VPMU = "the VM has no vPMU: the access faults (#GP)"
EMULATED = "emulated: the counter is a perf event of the host, so every access is KVM's to serve"
FILTERED = "KVM holds the event against the filter"
# Registers of the neighbourhood that no guest has.
UNSUPPORTED = (
    ("IA32_PERF_CAPABILITIES", (0x345,), "KVM serves it from the VM's configuration"),
    ("IA32_PERF_GLOBAL_STATUS_SET", (0x391,), "KVM itself loads the status with it; arch v4"),
    ("IA32_PERF_GLOBAL_INUSE", (0x392,), "not exposed; arch v4"),
    ("IA32_PEBS_ENABLE", (0x3F1,), "no PEBS in the guest"),
    ("MSR_PEBS_DATA_CFG", (0x3F2,), "no PEBS in the guest"),
    ("IA32_DS_AREA", (0x600,), "no PEBS in the guest"),
    ("PERF_METRICS", (0x329,), "KVM does not virtualize topdown metrics"),
    ("OFFCORE_RSPn", (0x1A6, 0x1A7), "KVM does not virtualize offcore response events"),
)


PEBS_ROWS = {
    "IA32_PEBS_ENABLE": "KVM makes the events of its counters precise; VM-entry loads the register",
    "IA32_DS_AREA": "KVM keeps the address; VM-entry loads the register",
    "MSR_PEBS_DATA_CFG": "no adaptive PEBS: the access faults (#GP)",
}
LBR_SELECT, LBR_TOS, LBR_FROM, LBR_TO, LBR_INFO = 0x1C8, 0x1C9, 0x680, 0x6C0, 0xDC0
LBR_DIRECT_LATER = "until the guest's LBR event has the host's LBR; direct while it is active"


@dataclass(frozen=True, slots=True)
class InterceptRow:
    """One range of MSRs, or RDPMC (no numbers): whether access exits, and the reason."""

    name: str
    numbers: tuple[int, ...]
    read: bool
    write: bool
    reason: str

    @property
    def direct(self) -> bool:
        """Whether neither reads nor writes exit."""
        return not self.read and not self.write

    @property
    def span(self) -> str:
        """The numbers as people write them: ``0x186-0x18d``, ``0x80b, 0x83f``."""
        runs: list[list[int]] = []
        for number in self.numbers:
            if runs and number == runs[-1][-1] + 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        return ", ".join(
            f"0x{run[0]:03x}" if len(run) == 1 else f"0x{run[0]:03x}-0x{run[-1]:03x}"
            for run in runs
        )


def lacking(hw: Pmu, guest: Pmu) -> str:
    """Return what counters the guest lacks of the hardware's, in words; empty if none.

    The predicate that Linux 7.0 intercepts GLOBAL_* by: counts of the hardware itself, not of what
    KVM would offer at most.
    """
    if guest.nr_gp != hw.nr_gp:
        return f"guest has {guest.nr_gp} of {hw.nr_gp} GP counters"
    if guest.nr_fixed != hw.nr_fixed:
        return f"guest has {guest.nr_fixed} of {hw.nr_fixed} fixed counters"
    return ""


def _hidden(hw: Pmu, guest: Pmu) -> str:
    return "the hidden one" if _nr_hidden(hw, guest) == 1 else "the hidden ones"


def _nr_hidden(hw: Pmu, guest: Pmu) -> int:
    return hw.nr_gp - guest.nr_gp + hw.nr_fixed - guest.nr_fixed


def _narrow(hw: Pmu, guest: Pmu) -> str:
    if guest.gp_width != hw.gp_width:
        return f"guest's GP counters have {guest.gp_width} bits, the hardware's {hw.gp_width}"
    if guest.nr_fixed and guest.fixed_width != hw.fixed_width:
        return (
            f"guest's fixed counters have {guest.fixed_width} bits, the hardware's {hw.fixed_width}"
        )
    return ""


class _Mediated:
    """The rows of a mediated vCPU."""

    def __init__(self, hw: Pmu, guest: Pmu, arrangement: Arrangement, *, backdoor: bool) -> None:
        self.hw, self.guest = hw, guest
        self.arrangement = arrangement
        self.backdoor = backdoor
        self.lacks = lacking(hw, guest)

    def counters(self) -> list[InterceptRow]:
        owned = "the guest owns the counters while it runs"
        g = self.guest
        full_width = "" if g.fw_write else "guest lacks FW_WRITE: it does not have these registers"
        return [
            _row("IA32_PERFCTRn", _run(PERFCTR0, g.nr_gp), "", owned),
            _row("IA32_PMCn", _run(PMC0, g.nr_gp), full_width, owned),
            _row("IA32_FIXED_CTRn", _run(FIXED_CTR0, g.nr_fixed), "", owned),
        ]

    def selectors(self) -> list[InterceptRow]:
        why = "" if self.arrangement == "none" else FILTERED
        thread = why and f"{why}; AnyThread stands in it too"
        direct = "the guest picks its events unfiltered"
        return [
            _row("IA32_PERFEVTSELn", _run(EVTSEL0, self.guest.nr_gp), why, direct),
            _row("IA32_FIXED_CTR_CTRL", (FIXED_CTR_CTRL,), thread, direct),
        ]

    def globals(self) -> list[InterceptRow]:
        names = (
            ("IA32_PERF_GLOBAL_STATUS", GLOBAL_STATUS, "read would show"),
            ("IA32_PERF_GLOBAL_CTRL", GLOBAL_CTRL, "write could enable"),
            ("IA32_PERF_GLOBAL_OVF_CTRL", GLOBAL_OVF_CTRL, "write would reach"),
        )
        return [
            _row(name, (number,), self._global_reason(verb), self._all_there())
            for name, number, verb in names
        ]

    def _global_reason(self, verb: str) -> str:
        if self.guest.version <= 1:
            return f"guest PMU version is {self.guest.version}: GLOBAL_* starts with version 2"
        if self.lacks and self.arrangement == "upstream":
            return f"{self.lacks}: a direct {verb} {_hidden(self.hw, self.guest)}"
        return ""

    def rdpmc(self) -> InterceptRow:
        why = ""
        if self.backdoor:
            why = "enable_vmware_backdoor: its pseudo counters are read by RDPMC, from CPL 3 too"
        elif self.arrangement == "upstream":
            narrow = _narrow(self.hw, self.guest)
            if self.lacks:
                why = f"{self.lacks}: RDPMC would show {_hidden(self.hw, self.guest)}"
            elif narrow:
                why = f"{narrow}: RDPMC would show the rest"
        return _row(RDPMC, (), why, self._all_there())

    def _all_there(self) -> str:
        if self.arrangement == "upstream" or not self.lacks:
            fixed, gp = self.guest.nr_fixed, self.guest.nr_gp
            return f"guest has all {gp} GP and {fixed} fixed counters"
        return f"{self.arrangement}: direct, although {self.lacks}"


def _neighbours(guest: Pmu) -> list[InterceptRow]:
    pebs = bool(guest.perf_capabilities & branch_records.PEBS)
    rows = [
        _row(name, numbers, PEBS_ROWS.get(name, reason) if pebs else reason, "")
        for name, numbers, reason in UNSUPPORTED
    ]
    if not guest.perf_capabilities & branch_records.LBR_FMT:
        return rows
    ranges = (
        ("LBR_SELECT", (LBR_SELECT,)),
        ("LBR_TOS", (LBR_TOS,)),
        ("LBR_FROMn", _run(LBR_FROM, guest.lbr_depth)),
        ("LBR_TOn", _run(LBR_TO, guest.lbr_depth)),
        ("LBR_INFOn", _run(LBR_INFO, guest.lbr_depth)),
    )
    return rows + [_row(name, numbers, LBR_DIRECT_LATER, "") for name, numbers in ranges]


def _run(first: int, count: int) -> tuple[int, ...]:
    return tuple(range(first, first + count))


def _row(name: str, numbers: tuple[int, ...], why: str, direct: str) -> InterceptRow:
    """Intercepted for a reason, or direct for another."""
    return InterceptRow(name, numbers, bool(why), bool(why), why or direct)


def _plain(hw: Pmu, guest: Pmu, reason: str, *, exits: bool) -> list[InterceptRow]:
    """All rows alike: no hypervisor, no vPMU, or the emulated one."""
    shape = guest if guest.version else hw
    ranges = [
        ("IA32_PERFCTRn", _run(PERFCTR0, shape.nr_gp)),
        ("IA32_PMCn", _run(PMC0, shape.nr_gp)),
        ("IA32_FIXED_CTRn", _run(FIXED_CTR0, shape.nr_fixed)),
        ("IA32_PERFEVTSELn", _run(EVTSEL0, shape.nr_gp)),
        ("IA32_FIXED_CTR_CTRL", (FIXED_CTR_CTRL,)),
        ("IA32_PERF_GLOBAL_STATUS", (GLOBAL_STATUS,)),
        ("IA32_PERF_GLOBAL_CTRL", (GLOBAL_CTRL,)),
        ("IA32_PERF_GLOBAL_OVF_CTRL", (GLOBAL_OVF_CTRL,)),
        (RDPMC, ()),
    ]
    rows = [InterceptRow(name, numbers, exits, exits, reason) for name, numbers in ranges]
    return [row for row in rows if row.numbers or row.name == RDPMC]


def _beyond(hw: Pmu, guest: Pmu) -> list[InterceptRow]:
    """Counters of the hardware that the guest does not have: intercepted in every arrangement."""
    gp, fixed = hw.nr_gp - guest.nr_gp, hw.nr_fixed - guest.nr_fixed
    reason = "beyond the guest's counters: the access faults (#GP)"
    candidates = (
        ("hidden IA32_PERFCTRn", _run(PERFCTR0 + guest.nr_gp, gp)),
        ("hidden IA32_PMCn", _run(PMC0 + guest.nr_gp, gp)),
        ("hidden IA32_PERFEVTSELn", _run(EVTSEL0 + guest.nr_gp, gp)),
        ("hidden IA32_FIXED_CTRn", _run(FIXED_CTR0 + guest.nr_fixed, fixed)),
    )
    return [_row(name, numbers, reason, "") for name, numbers in candidates if numbers]


def table(
    hw: Pmu,
    guest: Pmu,
    *,
    mode: Mode,
    arrangement: Arrangement = "upstream",
    rdpmc_backdoor: bool = False,
) -> tuple[InterceptRow, ...]:
    """Return what is intercepted of a guest's PMU accesses, every row with its reason.

    ``rdpmc_backdoor`` is KVM's enable_vmware_backdoor. Arrangements matter to a mediated vCPU
    only.
    """
    if hw.vendor is Vendor.AMD:
        return tuple(
            amd_interception.table(
                hw,
                guest,
                mode=mode,
                arrangement=arrangement,
                backdoor=rdpmc_backdoor,
                make=_row,
                reasons=(NO_HYPERVISOR, NO_VPMU, EMULATED),
            )
        )
    if mode is Mode.NATIVE:
        return tuple(_plain(hw, hw, NO_HYPERVISOR, exits=False))
    if not guest.version:
        rows = _plain(hw, guest, NO_VPMU, exits=True)
    elif mode is Mode.EMULATED:
        rows = [*_plain(hw, guest, EMULATED, exits=True), *_beyond(hw, guest)]
    else:
        mediated = _Mediated(hw, guest, arrangement, backdoor=rdpmc_backdoor)
        rows = [
            *mediated.counters(),
            *mediated.selectors(),
            *mediated.globals(),
            mediated.rdpmc(),
            *_beyond(hw, guest),
        ]
        rows = [row for row in rows if row.numbers or row.name == RDPMC]
    rows += _neighbours(guest)
    return tuple(rows)


def msr_intercepts(rows: Sequence[InterceptRow]) -> list[MsrIntercept]:
    """Return the MSR bitmap for the core, by MSR number; RDPMC is not in it."""
    found = [MsrIntercept(msr, row.read, row.write) for row in rows for msr in row.numbers]
    return sorted(found, key=lambda intercept: intercept.msr)


def rdpmc_intercepted(rows: Sequence[InterceptRow]) -> bool:
    """Return whether RDPMC exits."""
    return any(row.read for row in rows if row.name == RDPMC)


def global_ctrl_direct(rows: Sequence[InterceptRow]) -> bool:
    """Return whether the guest writes GLOBAL_CTRL without KVM."""
    registers = {GLOBAL_CTRL, amd_interception.GLOBAL_CTL}
    return any(row.direct for row in rows if registers & {*row.numbers})


def selectors_direct(rows: Sequence[InterceptRow]) -> bool:
    """Return whether the guest writes selectors without KVM: no filter can work then."""
    return any(row.direct for row in rows if row.name == "IA32_PERFEVTSELn")


def differs(
    left: Sequence[InterceptRow], right: Sequence[InterceptRow]
) -> tuple[tuple[InterceptRow, InterceptRow], ...]:
    """Return the rows that two tables of one guest decide differently, side by side."""
    by_name = {row.name: row for row in right}
    return tuple(
        (row, by_name[row.name])
        for row in left
        if row.name in by_name
        and (row.read, row.write) != (by_name[row.name].read, by_name[row.name].write)
    )
