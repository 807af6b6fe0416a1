# SPDX-License-Identifier: Apache-2.0
"""Work profiles: what the ``work`` instruction does, per 2^20 instructions.

    profiles.load("spec-int").rates["branches"]
    [p.record(named=names) for p in profiles.load_all()]    for the core

The value of RAX selects a profile by its id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pmupass.events import EventTable
    from pmupass.profiles.model import WorkProfile

__all__ = ["WorkProfile", "load", "load_all", "named_events", "names"]


def names() -> list[str]:
    """Return the names of all profiles, sorted."""
    from importlib import resources

    files = resources.files(__name__).iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def load(name: str, overrides: Mapping[str, int | str] | None = None) -> WorkProfile:
    """Return a profile, with the values of ``--set profile.KEY`` and ``profile.NAME.KEY``.

    UsageError for a profile or a rate that does not exist, and for bad numbers.
    """
    known = names()
    if name not in known:
        raise UsageError(f"no work profile {name!r}; there is {', '.join(known)}")
    from importlib import resources

    from pmupass.profiles.model import parse

    text = resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return parse(name, text, overrides or {}, known)


def load_all(overrides: Mapping[str, int | str] | None = None) -> list[WorkProfile]:
    """Return all profiles, by id; overrides as for :func:`load`."""
    return sorted((load(name, overrides) for name in names()), key=lambda profile: profile.id)


def named_events(profiles: Sequence[WorkProfile], table: EventTable) -> list[str]:
    """Return the named events of profiles that a CPU has, each once, for EventTable.maps()."""
    from pmupass.profiles import model

    return model.named_events(profiles, table)


def __getattr__(name: str) -> object:
    """Bring in the type when somebody asks for it: it needs msgspec."""
    if name == "WorkProfile":
        from pmupass.profiles.model import WorkProfile

        return WorkProfile
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
