# SPDX-License-Identifier: Apache-2.0
"""Result documents made up for tests: small, with every kind of entry in them."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pmupass import results

SWITCH = results.Switch("upstream", 0, 0, 0, 0, 0, 0, 0, 0)


def counter(event: str, true: int, counted: int, **causes: int) -> results.Counter:
    """Return a counter whose loss is split as the keywords say (``_`` for ``-``)."""
    return results.Counter(
        event=event,
        config="0xc0" if event == "instructions" else "0x3c",
        true=true,
        counted=counted,
        lost=true - counted,
        causes={cause.replace("_", "-"): n for cause, n in causes.items()},
        filtered="filtered" in causes,
        enabled_cycles=1000,
        running_cycles=1000,
        true_running_cycles=1000 if true == counted else 500,
        reads=10,
        wrong_reads=0 if true == counted else 3,
        overflows=4,
        unread=0,
        scaled=counted,
    )


def build(mode: str = "mediated", **changes: Any) -> results.Result:
    """Return a result of a mode, with some of its parts changed."""
    gp, fixed = (8, 4) if mode == "native" else (8, 3)
    kinds = [
        results.AccessKind("rdpmc", 100, 0, 3000),
        results.AccessKind("wrmsr-global-ctrl", 50, 0, 5000),
        results.AccessKind("wrmsr-evntsel", 0 if mode != "native" else 40, 40, 90_000),
    ]
    if mode == "emulated":
        kinds = [results.AccessKind(k.kind, 0, k.direct + k.intercepted, 200_000) for k in kinds]
    exits = [] if mode == "native" else [results.Exit("MSR_WRITE", 90, 5, 500_000)]
    if mode == "emulated":
        exits.append(results.Exit("RDPMC", 110, 0, 400_000))
    result = results.Result(
        complete=True,
        workload="perf-record",
        mode=mode,  # type: ignore[arg-type]
        cpu="sapphire-rapids",
        seed=1,
        settings={"guest.hz": 1000},
        pmu=results.Pmus(results.PmuShape(5, 8, 4), results.PmuShape(2, gp, fixed)),
        guest=results.Guest(1_000_000, 5, 2_000_000, 1_500_000, "exit", 0, "", False),
        counters=[counter("instructions", 900_000, 900_000), counter("cycles", 700_000, 700_000)],
        reads=results.Reads(20, 0),
        silent_errors=[],
        pmi=results.Pmi(10, 10, 0, 0, 0, results.Quantiles(10, 20, 30), results.Quantiles(1, 2, 3)),
        exits=exits,
        accesses=results.Accesses(
            sum(k.direct for k in kinds), sum(k.intercepted for k in kinds), kinds
        ),
        switch=results.Switch("upstream", 80, 80, 160, 900, 1760, 160, 400_000, 300_000)
        if mode == "mediated"
        else SWITCH,
        costs=[]
        if mode == "native"
        else [
            results.Cost("vcpu_enter_guest;vmx_vmexit", 90, 90_000),
            results.Cost("vcpu_enter_guest;kvm_mediated_pmu_load;native_write_msr", 900, 99_000),
        ],
        overhead={"native": 0.001, "emulated": 0.33, "mediated": 0.06}[mode],
        standing_cost=None if mode == "native" else 0.01,
        not_modelled=[],
        host_events=[],
        stats={"reprograms": 4},
    )
    return msgspec.structs.replace(result, **changes)


@pytest.fixture
def make() -> Callable[..., results.Result]:
    """Return the builder of results."""
    return build


@pytest.fixture
def make_counter() -> Callable[..., results.Counter]:
    """Return the builder of counters."""
    return counter
