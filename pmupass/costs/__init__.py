# SPDX-License-Identifier: Apache-2.0
"""What host work costs: cycles of each function that the core charges, with source and confidence.

    table = costs.load({"perf_event_period": "2000"})
    table["perf_event_period"].cycles, table["PERF_PERIOD"].cycles      the same entry
    costs.cycles(core.names("costs"))                                   in the core's order

Which functions there are stands in ``csrc/base/costs.def`` alone; ``default.toml`` has one entry
for each, and ``CPU.toml`` those that differ on a CPU model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pmupass.costs.model import Cost, CostTable

__all__ = ["Cost", "CostTable", "cycles", "load", "read_settings"]


def load(overrides: Mapping[str, int | str] | None = None, cpu: str = "") -> CostTable:
    """Return the cost table of a CPU, by function name, with ``--set cost.KEY=CYCLES`` in place.

    Without a CPU it is the table for all.

    UsageError for a key that is neither a function's name nor an entry's ID, or a bad number.
    """
    from importlib import resources

    from pmupass.costs.model import parse

    files = [resources.files(__name__).joinpath(f"{name}.toml") for name in ("default", cpu)]
    text, *own = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    return parse(text, overrides or {}, *own)


def cycles(
    names: Sequence[str], overrides: Mapping[str, int | str] | None = None, cpu: str = ""
) -> tuple[int, ...]:
    """Return the cycles of the core's list of costs, in its order; ModelError for a missing one."""
    return load(overrides, cpu).in_order(names)


def read_settings(path: str) -> tuple[str, ...]:
    """Return what ``--costs FILE`` says, as settings; InputError for a file that is no good."""
    from pmupass.costs import files

    return files.settings(path, load())


def __getattr__(name: str) -> object:
    """Bring in a type when somebody asks for it: they need msgspec."""
    if name in ("Cost", "CostTable"):
        from pmupass.costs import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
