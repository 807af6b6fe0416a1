# SPDX-License-Identifier: Apache-2.0
"""Which PMU accesses of an AMD guest leave it, and why; :mod:`pmupass.policy.interception` asks.

Selectors always do: the event filter, and the GuestOnly bit that KVM sets in what goes into
hardware. So there is no arrangement with direct selectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.config import Mode
from pmupass.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pmupass.config import Pmu
    from pmupass.policy.interception import Arrangement, InterceptRow

    RowMaker = Callable[[str, tuple[int, ...], str, str], InterceptRow]

K7_EVNTSEL0, K7_PERFCTR0 = 0xC0010000, 0xC0010004
PERF_CTL0, PERF_CTR0 = 0xC0010200, 0xC0010201
GLOBAL_STATUS, GLOBAL_CTL, STATUS_CLR, STATUS_SET = range(0xC0000300, 0xC0000304)
NR_K7 = 4
FILTERED = "KVM holds the event against the filter, and sets GuestOnly in what hardware gets"


def _run(first: int, count: int, begin: int = 0, step: int = 1) -> tuple[int, ...]:
    return tuple(first + step * i for i in range(begin, count))


def _names(shape: Pmu) -> tuple[tuple[str, tuple[int, ...]], ...]:
    core = shape.nr_gp if shape.perfctr_core else 0
    return (
        ("K7_PERFCTRn", _run(K7_PERFCTR0, min(shape.nr_gp, NR_K7))),
        ("PERF_CTRn", _run(PERF_CTR0, core, step=2)),
        ("K7_EVNTSELn", _run(K7_EVNTSEL0, min(shape.nr_gp, NR_K7))),
        ("PERF_CTLn", _run(PERF_CTL0, core, step=2)),
    )


_GLOBALS = (
    ("PerfCntrGlobalStatus", GLOBAL_STATUS, "read would show"),
    ("PerfCntrGlobalCtl", GLOBAL_CTL, "write could enable"),
    ("PerfCntrGlobalStatusClr", STATUS_CLR, "write would reach"),
    ("PerfCntrGlobalStatusSet", STATUS_SET, "write would reach"),
)


def _global_rows(shape: Pmu) -> tuple[tuple[str, tuple[int, ...]], ...]:
    if shape.version < 2:
        return ()
    return tuple((name, (number,)) for name, number, _ in _GLOBALS)


def plain(hw: Pmu, guest: Pmu, reason: str, *, exits: bool, make: RowMaker) -> list[InterceptRow]:
    """All rows alike: no hypervisor, no vPMU, or the emulated one."""
    shape = guest if guest.version else hw
    why, direct = (reason, "") if exits else ("", reason)
    names = (*_names(shape), *_global_rows(shape), ("RDPMC", ()))
    return [make(name, numbers, why, direct) for name, numbers in names]


def mediated(
    hw: Pmu, guest: Pmu, arrangement: Arrangement, *, backdoor: bool, make: RowMaker
) -> list[InterceptRow]:
    """Return the rows of a mediated vCPU."""
    if arrangement == "none":
        raise UsageError(
            "kvm.interception=none: an AMD guest's selectors cannot be direct, since KVM sets "
            "GuestOnly in them; take upstream or rfc2024"
        )
    owned = "the guest owns the counters while it runs"
    upstream = arrangement == "upstream"
    lacks = "" if guest.nr_gp == hw.nr_gp else f"guest has {guest.nr_gp} of {hw.nr_gp} counters"
    hidden = "the hidden one" if hw.nr_gp - guest.nr_gp == 1 else "the hidden ones"
    all_there = f"direct, although {lacks}" if lacks else f"guest has all {guest.nr_gp} counters"
    rows = []
    for name, numbers in _names(guest):
        selector = name in ("K7_EVNTSELn", "PERF_CTLn")
        rows.append(make(name, numbers, FILTERED if selector else "", owned))
    for name, number, verb in _GLOBALS:
        why = ""
        if guest.version < 2:
            why = "the guest's CPUID has no PerfMonV2, which these registers came with"
        elif lacks and upstream:
            why = f"{lacks}: a direct {verb} {hidden}"
        rows.append(make(name, (number,), why, all_there))
    why = ""
    if backdoor:
        why = "enable_vmware_backdoor: its pseudo counters are read by RDPMC, from CPL 3 too"
    elif lacks and upstream:
        why = f"{lacks}: RDPMC would show {hidden}"
    elif upstream and guest.gp_width != hw.gp_width:
        why = f"guest's counters have {guest.gp_width} bits, the hardware's {hw.gp_width}"
    rows.append(make("RDPMC", (), why, all_there))
    return rows


def beyond(hw: Pmu, guest: Pmu, make: RowMaker) -> list[InterceptRow]:
    """Registers of the hardware that the guest does not have: intercepted in every arrangement."""
    mine = dict(_names(guest))
    reason = "beyond what the guest's CPUID has: the access faults (#GP)"
    rows = []
    for name, numbers in _names(hw):
        rest = tuple(n for n in numbers if n not in mine[name])
        if rest:
            rows.append(make(f"hidden {name}", rest, reason, ""))
    return rows


def table(
    hw: Pmu,
    guest: Pmu,
    *,
    mode: Mode,
    arrangement: Arrangement,
    backdoor: bool,
    make: RowMaker,
    reasons: tuple[str, str, str],
) -> list[InterceptRow]:
    """Return all rows. ``reasons``: without a hypervisor, without a vPMU, of the emulated one."""
    native, no_vpmu, emulated = reasons
    if mode is Mode.NATIVE:
        return plain(hw, hw, native, exits=False, make=make)
    if not guest.version:
        rows = plain(hw, guest, no_vpmu, exits=True, make=make)
    elif mode is Mode.EMULATED:
        rows = [*plain(hw, guest, emulated, exits=True, make=make), *beyond(hw, guest, make)]
    else:
        rows = [
            *mediated(hw, guest, arrangement, backdoor=backdoor, make=make),
            *beyond(hw, guest, make),
        ]
    return [row for row in rows if row.numbers or row.name == "RDPMC"]
