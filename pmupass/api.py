# SPDX-License-Identifier: Apache-2.0
"""The Python API: ``from pmupass import run, diff_modes``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from pmupass.machine import Session
from pmupass.options import (
    DEFAULT_CPU,
    MODES,
    Options,
    assignments,
    check_modes,
    parse_filters,
    parse_time,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pmupass.results import Diff, Result


class Experiment(TypedDict, total=False):
    """What may be said of an experiment besides its workload and modes; as the command line's.

    ``time`` is a text with a unit (``"100ms"``), ``settings`` a mapping or ``key=value`` texts,
    ``frequency`` is in Hz, ``host=True`` adds facts of this computer to the result. ``filter`` is
    one, or several of which all but the first have a time: ``["a.toml", "b.toml@20ms"]``;
    ``scenario`` is the command line's ``--host``; ``vms`` are texts as behind its ``--vm``.
    """

    cpu: str
    events: str
    frequency: int
    period: int
    time: str
    filter: str | Path | Iterable[str | Path]
    host_perf: Iterable[str]
    scenario: str
    switch: str
    settings: Mapping[str, object] | Iterable[str]
    seed: int
    host: bool
    vms: str | Iterable[str]


def run(
    workload: str | Path, *, mode: str = "mediated", **experiment: Unpack[Experiment]
) -> Result:
    """Run a guest image in one mode and return the result document.

    ``workload`` is a built-in name or the path of an image. Raises UsageError, InputError (its
    subclass VmRefusedError for -EBUSY) or ModelError.
    """
    (mode,) = check_modes([mode])
    return Session(_options(workload, experiment)).run(mode)


def diff_modes(
    workload: str | Path, *, modes: Iterable[str] = MODES, **experiment: Unpack[Experiment]
) -> Diff:
    """Run a guest image in several modes and return the comparison.

    As :func:`run`, but a refused mode does not raise: it stands in ``Diff.refusals``.
    """
    chosen = check_modes(modes)
    return Session(_options(workload, experiment)).diff_modes(chosen)


def _options(workload: str | Path, experiment: Experiment) -> Options:
    filters = experiment.get("filter", ())
    first, changes = parse_filters([filters] if isinstance(filters, (str, Path)) else filters)
    return Options(
        workload=str(workload),
        cpu=experiment.get("cpu", DEFAULT_CPU),
        events=experiment.get("events"),
        frequency=experiment.get("frequency"),
        period=experiment.get("period"),
        time_ns=parse_time(experiment["time"]) if "time" in experiment else None,
        filter=first,
        filter_changes=changes,
        host_perf=tuple(experiment.get("host_perf", ())),
        scenario=experiment.get("scenario", "idle"),
        switch=experiment.get("switch", "upstream"),
        settings=assignments(experiment.get("settings", ())),
        seed=experiment.get("seed", 1),
        host=experiment.get("host", False),
        vms=_vms(experiment.get("vms", ())),
    )


def _vms(texts: str | Iterable[str]) -> tuple[Options, ...]:
    from pmupass.cli.options import parse_vm  # the command line's words

    return tuple(parse_vm(text) for text in ([texts] if isinstance(texts, str) else texts))
