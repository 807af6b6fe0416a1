# SPDX-License-Identifier: Apache-2.0
"""``pmupass bench features``: registers that a mediated switch would have more; who has them."""

from __future__ import annotations

import pytest

from pmupass import costs, cpus
from pmupass.bench import features
from pmupass.bench.features import PRICES, Feature
from pmupass.machine import Session, unwatched
from pmupass.options import Options

FEATURES = {feature.name: feature for feature in features.load()}


def cycles(accesses: list[str]) -> int:
    """Return what accesses cost by the table."""
    return sum(costs.load()[id_].cycles for id_ in accesses)


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
def test_the_list(feature: Feature) -> None:
    """Each row has a source, each register a reason, and an unused feature moves no more."""
    assert feature.source
    assert all(register.why for register in feature.registers)
    used = feature.accesses(used=True)
    assert set(used) <= set(features.PRICED)
    for id_ in features.PRICED:
        assert feature.accesses(used=False).count(id_) <= used.count(id_)


# By hand: RDMSR, WRMSR and RDPMC of a load and a put together.
@pytest.mark.parametrize(
    ("name", "rdmsr", "wrmsr", "rdpmc"),
    [
        ("fixed counter 3", 0, 2, 2),
        ("PERF_METRICS", 0, 2, 2),
        ("PEBS", 0, 3 + 3, 0),
        ("extra registers", 0, 4, 0),
        # Three registers a record, 32 records, LBR_SELECT and TOS.
        ("legacy LBR", 3 * 32 + 2, 3 * 32 + 2, 0),
        # The depth is written at load and put.
        ("arch LBR", 3 * 32, 3 * 32 + 2, 0),
        # Four registers and two ranges of two: out and in, twice; RTIT_CTL once.
        ("PT", 2 * 8 + 1, 2 * 8 + 1, 0),
    ],
)
def test_registers(name: str, rdmsr: int, wrmsr: int, rdpmc: int) -> None:
    accesses = FEATURES[name].accesses(used=True)
    assert [accesses.count(id_) for id_ in ("rdmsr", "wrmsr", "rdpmc")] == [rdmsr, wrmsr, rdpmc]


def test_the_legacy_lbr_is_the_models() -> None:
    """As many registers as those of an emulated guest, of which test_virtual_lbr.py has all."""
    records = cpus.load("icelake-sp").silicon.lbr_depth
    assert sum(r.count for r in FEATURES["legacy LBR"].registers) == 3 * records + 2


def test_todays_switch() -> None:
    # Idle: load: GLOBAL_CTRL, FIXED_CTR_CTRL, 8 selectors, LVTPC, RDPMC of 11 counters, status;
    # put: status, RDPMC of 11, LVTPC. In use also: 11 counters written at load, 11 zeroed at put,
    # with 8 selectors and FIXED_CTR_CTRL.
    idle = 1 + 1 + 8 + 1 + 11 + 1 + (1 + 11 + 1)
    busy = idle + 11 + (11 + 8 + 1)
    (moved, low), (_, value), (_, high) = (
        features.today(unwatched, which, used=False) for which in PRICES
    )
    assert moved == idle
    assert features.today(unwatched, PRICES[1], used=True)[0] == busy
    # Of the idle one's, 10 WRMSR, 22 RDPMC and 2 RDMSR have a price that differs.
    wrmsr, rdpmc, rdmsr = (costs.load()[id_] for id_ in ("wrmsr", "rdpmc", "rdmsr"))
    for at, end in ((low, 0), (high, 1)):
        assert at - value == sum(
            n * (cost.range[end] - cost.cycles)
            for n, cost in ((10, wrmsr), (22, rdpmc), (2, rdmsr))
            if cost.range
        )


def test_fixed_counter_3_is_what_the_model_takes_for_it() -> None:
    """The one of them that can be exposed: the CPUID exit of an idle guest with and without it."""
    found = []
    for exposed in (3, 4):
        settings = (f"kvm.max_fixed_counters={exposed}",)
        options = Options("exit-storm", settings=settings, time_ns=2_000_000, host=False)
        result = Session(options).whole("mediated")
        (cpuid,) = [e for e in result.exits if e.reason == "CPUID"]
        found.append(cpuid.cycles / cpuid.count)
    assert found[1] - found[0] == cycles(FEATURES["fixed counter 3"].accesses(used=False))


def share(cpu: str, load: str, feature: str) -> float:
    """Return the share of its time in which a guest has a feature."""
    return features.available(unwatched, cpu, load)[feature]


@pytest.mark.parametrize("cpu", features.PEBS_CPUS)
def test_pebs_is_off_while_the_host_has_a_precise_event(cpu: str) -> None:
    """From 25 to 75 of 100 ms; the guest begins a little later than the clock."""
    assert share(cpu, "nobody", "PEBS") == 1
    found = share(cpu, "cycles:pp, half the time", "PEBS")
    assert found == pytest.approx(0.5, abs=0.01)


def test_pebs_needs_its_own_counter() -> None:
    """The guest's event is on GP 0 if that is free, which an agent's pinned events have first.

    On Sapphire Rapids KVM asks for the precise distribution, which GP 0 alone has: the agent's
    events go elsewhere, and perf top's precise event has no counter as long as the guest's is on.
    """
    for load in ("agent leaves 3 GP counters", "perf top"):
        assert share("icelake-sp", load, "PEBS") == 0
        assert share("sapphire-rapids", load, "PEBS") == 1
    for cpu, state in (("icelake-sp", "active"), ("sapphire-rapids", "inactive")):
        (host,) = features.beside(unwatched, cpu, "perf top").host_events
        assert host.state == state
    for cpu in features.PEBS_CPUS:
        assert share(cpu, "agent takes all counters", "PEBS") == 0


@pytest.mark.parametrize("cpu", features.LBR_CPUS)
def test_who_has_the_lbr(cpu: str) -> None:
    """A pinned user takes it at 25 of 100 ms, and the guest does not have it back when it goes."""
    assert share(cpu, "perf record -b", "LBR") == 1
    found = share(cpu, "-b pinned, half the time", "LBR")
    assert found == pytest.approx(0.25, abs=0.01)


def test_the_lbr_counts_as_an_event() -> None:
    """Skylake has 4 + 3 counters, and perf as many events at most.

    An agent's six and the guest's own leave no place for the LBR's; on Ice Lake-SP there are 8 + 4.
    """
    load = "agent leaves 1 GP counter"
    assert share("skylake-sp", load, "LBR") == 0
    assert share("icelake-sp", load, "LBR") == 1
    assert share("skylake-sp", "agent leaves 3 GP counters", "LBR") == 1


def test_charts() -> None:
    """A row for each feature beside today's, a row for each load of the host."""
    registers, taken, pebs, lbr = features.measure(unwatched)
    assert registers.points == taken.points == [features.TODAY, *FEATURES]
    i = registers.points.index("PT")
    assert [s.values[i] for s in registers.series] == [1, 34]
    # 17 RDMSR and 17 WRMSR; unused, one RDMSR.
    by_price = [{id_: features.prices(which)[id_] for id_ in features.PRICED} for which in PRICES]
    assert [s.values[i] for s in taken.series] == [
        costs.load()["rdmsr"].cycles,
        *(17 * (price["rdmsr"] + price["wrmsr"]) for price in by_price),
    ]
    assert pebs.points == lbr.points == list(features.LOADS)
    assert [s.name for s in lbr.series] == list(features.LBR_CPUS)
