# SPDX-License-Identifier: Apache-2.0
"""CPU models: the facts of a real CPU that the laboratory runs its guests on.

One TOML file each, every fact with its source or the word estimate beside it.

    cpu = cpus.load("sapphire-rapids", {"skid_cycles": "40"})
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pmupass.cpus.model import CpuModel

__all__ = ["CpuModel", "load", "names"]


def names() -> list[str]:
    """Return the names of all CPU models, sorted."""
    from importlib import resources

    files = resources.files(__name__).iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def load(name: str, overrides: Mapping[str, int | str] | None = None) -> CpuModel:
    """Return a CPU model, with the values of ``--set cpu.KEY=VALUE`` in place of the file's.

    UsageError for a name or a key that does not exist (it names those that do) and for a value
    out of range.
    """
    if name not in names():
        raise UsageError(f"no CPU model {name!r}; there is {', '.join(names())}")
    from importlib import resources

    from pmupass.cpus.model import parse

    text = resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return parse(name, text, overrides or {})


def __getattr__(name: str) -> object:
    """Bring in the type when somebody asks for it: it needs msgspec."""
    if name == "CpuModel":
        from pmupass.cpus.model import CpuModel

        return CpuModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
