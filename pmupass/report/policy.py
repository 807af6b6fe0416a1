# SPDX-License-Identifier: Apache-2.0
"""The interception table, arrangements side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.markup import escape

from pmupass.report.console import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from pmupass.config import Pmu
    from pmupass.policy.interception import InterceptRow


@dataclass(frozen=True, slots=True)
class Policy:
    """What the table is about; ``tables`` by arrangement, all with the same rows.

    ``others`` are MSRs beside the PMU's, the same in every arrangement.
    """

    cpu: str
    mode: str
    hardware: Pmu
    guest: Pmu
    tables: Mapping[str, Sequence[InterceptRow]]
    others: Sequence[InterceptRow] = ()


def render(console: Console, policy: Policy) -> None:
    """Print the table, the reasons of the first arrangement, and what the others do otherwise."""
    hw, guest = policy.hardware, policy.guest
    console.print(f"{policy.mode} on {policy.cpu}", markup=False)
    console.print(
        f"silicon has {hw.nr_gp} GP + {hw.nr_fixed} fixed counters, guest sees {guest.nr_gp} GP + "
        f"{guest.nr_fixed} fixed (version {guest.version})"
    )
    console.print()
    names = list(policy.tables)
    out = _table("PMU accesses that exit to KVM", *names)
    for rows in zip(*policy.tables.values(), strict=True):
        reasons = list(dict.fromkeys(row.reason for row in rows if row.direct == rows[0].direct))
        out.add_row(
            rows[0].name,
            rows[0].span,
            *(_exits(row) for row in rows),
            escape(reasons[0]),
        )
    console.print(out)
    console.print()
    for line in verdicts(policy):
        console.print(line, markup=False)
    if policy.others:
        console.print()
        console.print(_others(policy.others))


def _table(title: str, *columns: str) -> Table:
    out = table(title, "register", "number", *columns)
    for column in out.columns:
        column.justify = "left"
    out.add_column("reason", overflow="fold")
    return out


def _others(rows: Sequence[InterceptRow]) -> Table:
    out = _table("Other MSRs; one that is in neither table exits and becomes #GP", "access")
    for row in rows:
        out.add_row(row.name, row.span, _exits(row), escape(row.reason))
    return out


def _exits(row: InterceptRow) -> str:
    if row.direct:
        return "direct"
    if row.read and row.write:
        return "exits"
    return "read exits" if row.read else "write exits"


def _known_as(arrangement: str) -> str:
    return "rfc2024, the arrangement of the talk," if arrangement == "rfc2024" else arrangement


def verdicts(policy: Policy) -> list[str]:
    """Return a sentence an arrangement: whether it decides as the first one, and where not."""
    (first, base), *others = policy.tables.items()
    lines = []
    for name, rows in others:
        differing = [a.name for a, b in zip(base, rows, strict=True) if _exits(a) != _exits(b)]
        if differing:
            why = next(a.reason for a, b in zip(base, rows, strict=True) if _exits(a) != _exits(b))
            lines.append(f"{first} and {_known_as(name)} differ in {', '.join(differing)}: {why}.")
        else:
            lines.append(f"{first} decides as {_known_as(name)} does.")
    return lines
