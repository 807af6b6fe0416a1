# SPDX-License-Identifier: Apache-2.0
"""PEBS and LBR of a guest over time, in a line each: when it had them, and what it missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.report.console import number, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

PEBS = (
    ("on", "pebs_on_cycles"),
    ("off for the host's", "pebs_off_host_cycles"),
    ("off, cross-mapped", "pebs_off_cross_mapped_cycles"),
    ("off, without a counter", "pebs_off_contention_cycles"),
)
LBR = (("its own", "lbr_active_cycles"), ("taken by the host", "lbr_stolen_cycles"))


def lines(stats: Mapping[str, int]) -> list[str]:
    """Return the lines for a run's statistics; none for what its guest did not use."""
    out = []
    pebs, lbr = _shares(stats, PEBS), _shares(stats, LBR)
    if pebs:
        out.append(
            f"PEBS, of the guest's time with it enabled: {pebs}; records that silicon would have "
            f"written: {number(stats['pebs_records'])}, and missed: {number(stats['pebs_missed'])} "
            "(none is written here)"
        )
    if lbr:
        out.append(
            f"LBR, of the guest's time with its event: {lbr}; VM-entries at which KVM warned: "
            f"{number(stats['lbr_warnings'])} (branches are not recorded here)"
        )
    return out


def _shares(stats: Mapping[str, int], parts: tuple[tuple[str, str], ...]) -> str:
    times = [(name, stats.get(key, 0)) for name, key in parts]
    whole = sum(time for _, time in times)
    return ", ".join(f"{name} {ratio(time, whole)}" for name, time in times if time)
