# SPDX-License-Identifier: Apache-2.0
"""pmupass: the laboratory for KVM's virtual PMUs.

The same x86-64 guest image runs with the PMU arranged native, emulated and mediated; the result
says what the guest saw, what was true, what it cost and why the modes differ.

    from pmupass import run, diff_modes

    result = run("perf-record", mode="mediated", cpu="skylake-sp", time="20ms")
    for counter in result.counters:
        print(counter.event, counter.true, counter.counted, counter.causes)

    diff = diff_modes("perf-record", modes=["emulated", "mediated"])
    print(diff.verdict)

:func:`run` returns a :class:`Result`, :func:`diff_modes` a :class:`Diff`; both raise a
:class:`PmupassError`: UsageError for an argument that means nothing, InputError for bad or
refused input (KVM's -EBUSY included), ModelError for a broken invariant or an instruction that
the guest CPU does not have (a BrokenRunError, whose ``document`` has what there was until then).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = [
    "Diff",
    "InputError",
    "ModelError",
    "PmupassError",
    "Result",
    "UsageError",
    "__version__",
    "diff_modes",
    "run",
]

if TYPE_CHECKING:
    __version__: str
    from pmupass.api import diff_modes, run
    from pmupass.errors import InputError, ModelError, PmupassError, UsageError
    from pmupass.results import Diff, Result

# Names come on first use: the command line must start without msgspec and the compiled core.
_HOMES = {
    "run": "api",
    "diff_modes": "api",
    "Result": "results",
    "Diff": "results",
    "PmupassError": "errors",
    "UsageError": "errors",
    "InputError": "errors",
    "ModelError": "errors",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("pmupass")
    if name not in _HOMES:
        raise AttributeError(f"module 'pmupass' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pmupass.{_HOMES[name]}"), name)
