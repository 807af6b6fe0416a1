# SPDX-License-Identifier: Apache-2.0
"""A guest that says which counters it uses: what KVM leaves where it is; no guest can tell.

``--switch enlightened --set kvm.pmu_hint=1``. A hint may be true or not; what a register holds does
not depend on it. Skylake-SP and Zen 4 give their guests counters and GLOBAL_* directly.
"""

from __future__ import annotations

import dataclasses

import guest_amd
import guest_asm as asm
import pytest
from hypothesis import given, settings, strategies as st
from test_modes_agree import ACCESSES, run as run_program

import pmupass
from pmupass.config import Kvm, Mode, SwitchPolicy
from pmupass.core import Machine
from pmupass.options import Options
from pmupass.plan import Plan

HINT, VALID = 0x70700000, 1 << 63
CPUS = ("skylake-sp", "sapphire-rapids", "zen4")
# First GP counter and selector, the step to the next, GLOBAL_CTRL.
REGISTERS = {
    "skylake-sp": (asm.PMC0, asm.EVTSEL0, 1, asm.GLOBAL_CTRL),
    "sapphire-rapids": (asm.PMC0, asm.EVTSEL0, 1, asm.GLOBAL_CTRL),
    "zen4": (0xC0010201, 0xC0010200, 2, 0xC0000301),
}
ON = asm.EN | asm.OS | 0xC0


def kvm(cpu: str, *, offered: bool = True, **given_: object) -> Kvm:
    """Return KVM with hints; without, what a guest writes there is ignored."""
    made = asm.config(b"", mode="mediated", cpu=cpu, **given_).kvm  # type: ignore[arg-type]
    policy = SwitchPolicy.HINTED if offered else SwitchPolicy.UPSTREAM
    return dataclasses.replace(made, switch_policy=policy, ignore_msrs=True)


def run(ops: list[tuple], cpu: str, *, offered: bool = True, **given_: object) -> asm.Ran:
    """Run accesses in a guest."""
    made = kvm(cpu, offered=offered, **given_)
    return asm.run(asm.script(ops), mode="mediated", cpu=cpu, kvm=made, **given_)  # type: ignore[arg-type]


def results(ops: list[tuple], cpu: str, **given_: object) -> list[int | str]:
    """Run accesses and return what each gave."""
    return asm.script_results(run(ops, cpu, **given_), len(ops))


@pytest.mark.parametrize("cpu", CPUS)
def test_the_register(cpu: str) -> None:
    """0 at first; a mask of the guest's counters with the valid bit; #GP for anything else."""
    values = [VALID, VALID | 1, VALID | 0b11, 0]
    taken = [op for value in values for op in (("wr", HINT, value), ("rd", HINT))]
    refused = [1, VALID | 1 << 31, VALID | 1 << 40, 1 << 62]
    ops = [("rd", HINT), *taken, *(("wr", HINT, value) for value in refused), ("rd", HINT)]
    expected = [0, *(x for value in values for x in (0, value)), *[asm.GP] * len(refused), 0]
    assert results(ops, cpu) == expected


@pytest.mark.parametrize("cpu", CPUS)
def test_there_is_none_without_the_offer(cpu: str) -> None:
    """#GP, as for any register that nobody knows; nor has a guest without a PMU one."""
    ops = [("rd", HINT), ("wr", HINT, VALID)]
    made = asm.config(b"", mode="mediated", cpu=cpu)
    ran = asm.run(asm.script(ops), mode="mediated", cpu=cpu, kvm=made.kvm)
    assert asm.script_results(ran, 2) == [asm.GP, asm.GP]
    if cpu == "zen4":
        return
    no_pmu = ("guest.pmu_version=0",)
    offered = dataclasses.replace(kvm(cpu, settings=no_pmu), ignore_msrs=False)
    ran = asm.run(asm.script(ops), mode="mediated", cpu=cpu, settings=no_pmu, kvm=offered)
    assert asm.script_results(ran, 2) == [asm.GP, asm.GP]


@pytest.mark.parametrize("cpu", CPUS)
def test_what_a_load_leaves_out(cpu: str) -> None:
    """Counter 0 is named and on; all others are off and 0.

    Each further exit reads every counter at the load and writes 0 to none, for they hold it; the
    put reads counter 0 alone. Without hints it reads all of them.
    """
    counter, selector, _, enable = REGISTERS[cpu]
    pmu = asm.config(b"", mode="mediated", cpu=cpu).guest
    nr = pmu.nr_gp + pmu.nr_fixed

    def ops(exits: int) -> list[tuple]:
        set_up = [("wr", HINT, VALID | 1), ("wr", enable, 1), ("wr", selector, ON)]
        # The register always exits, and the same value again changes nothing.
        return [*set_up, *[("rd", HINT)] * exits, ("rd", counter)]

    def more(*, offered: bool) -> tuple[int, int]:
        few, many = (run(ops(n), cpu, offered=offered).machine.switch() for n in (10, 20))
        assert many.loads - few.loads == 10
        return (many.rdpmc - few.rdpmc) // 10, (many.wrmsr - few.wrmsr) // 10

    rdpmc, wrmsr = more(offered=True)
    before, wrmsr_before = more(offered=False)
    assert (rdpmc, before) == (nr + 1, 2 * nr)
    # Those of upstream are GLOBAL_CTRL, nr_gp selectors and counter 0 in, counter 0 and its
    # selector out, and as many controls as with hints: but Intel's FIXED_CTR_CTRL of 0.
    assert wrmsr_before - wrmsr == pmu.nr_gp - 1 + (1 if pmu.nr_fixed else 0)


@pytest.mark.parametrize("cpu", CPUS)
def test_a_counter_that_is_not_named(cpu: str) -> None:
    """While it holds 0 its writes exit and its reads do not; with a value in it, neither does."""
    counter, _, step, _ = REGISTERS[cpu]
    mine = counter + step

    def exits(*ops: tuple) -> int:
        # Counter 0 is named, so that the load is not put off.
        whole = [("wr", HINT, VALID | 1), *ops]
        return sum(run(whole, cpu).exits().values())

    none = exits()
    assert exits(("rd", mine)) == none
    # Sapphire Rapids' guest lacks a fixed counter, so that its RDPMC exits in any case.
    assert exits(("pmc", 1)) == none + (cpu == "sapphire-rapids")
    assert exits(("wr", mine, 0)) == none + 1
    assert exits(("wr", mine, 0), ("wr", mine, 0)) == none + 2
    # The first leaves a value; then the counter moves with the others.
    assert exits(("wr", mine, 5), ("wr", mine, 6)) == none + 1
    assert results([("wr", HINT, VALID | 1), ("wr", mine, 5), ("pmc", 1), ("rd", mine)], cpu) == [
        *(0, 0, 5, 5)
    ]
    touched = run([("wr", HINT, VALID | 1), ("wr", mine, 5)], cpu)
    assert touched.machine.stats()["first_touches"] == 1


@pytest.mark.parametrize("cpu", CPUS)
def test_a_counter_that_is_on_moves(cpu: str) -> None:
    """Named or not, and though it holds 0: of a branch nothing is credited on the way in.

    The loop's branches, and what the script takes between the selector's write and the reading.
    """
    counter, selector, step, enable = REGISTERS[cpu]
    branches = asm.EN | asm.OS | (0xC2 if cpu == "zen4" else 0xC4)
    ops = [("wr", enable, 3), ("wr", selector + step, branches), ("spin", 100), ("rd", HINT)]
    ops.append(("rd", counter + step))
    given_ = {"settings": asm.NO_ERRATA.get(cpu, ())}
    named, unnamed = (
        results([("wr", HINT, VALID | mask), *ops], cpu, **given_)[-1] for mask in (0b11, 0b01)
    )
    assert named == unnamed
    assert 100 < unnamed < 120


@pytest.mark.parametrize("cpu", CPUS)
def test_the_host_leaves_nothing_to_see(cpu: str) -> None:
    """The host's events run in all counters between two stays; parked ones read 0."""
    pmu = asm.config(b"", mode="mediated", cpu=cpu).guest
    counter, _, step, _ = REGISTERS[cpu]
    reads = [("rd", counter + step * i) for i in range(1, pmu.nr_gp)]
    reads += [("pmc", i) for i in range(1, pmu.nr_gp)]
    reads += [("pmc", 1 << 30 | i) for i in range(pmu.nr_fixed)]
    ops = [("wr", HINT, VALID | 1)]
    ops += [op for read in reads for op in (read, ("rd", HINT))]
    host = ("cycles:H",) * (pmu.nr_gp + pmu.nr_fixed)
    ran = run(ops, cpu, host_perf=host)
    found = asm.script_results(ran, len(ops))
    assert found[1:] == [x for _ in reads for x in (0, VALID | 1)]
    assert sum(event.count > 0 for event in ran.machine.host_events()) >= pmu.nr_gp - 1
    assert ran.machine.stats()["loads_put_off"] < len(ops)


masks = st.integers(0, 0xF).flatmap(lambda m: st.sampled_from([m, 1 << asm.FIXED | m]))
hints = st.tuples(st.just("wr"), st.just(HINT), masks.map(lambda m: VALID | m) | st.just(0))
# Long, and a hint between any two accesses or none: what goes wrong needs several in a row.
steps = st.tuples(hints | st.none(), st.one_of(*ACCESSES))
programs = st.lists(steps, min_size=20, max_size=40).map(
    lambda found: [op for step in found for op in step if op]
)


@settings(max_examples=100)
@given(ops=programs, host=st.sampled_from([(), ("cycles:H", "instructions:H", "branches:H")]))
def test_a_hint_may_be_false(ops: list[tuple], host: tuple[str, ...]) -> None:
    """Random accesses with random hints among them: all as it is where nobody listens."""
    found = []
    for offered in (False, True):
        # A hint is an exit in either case, and an instruction that KVM completes.
        made = kvm("skylake-sp", offered=offered, host_perf=host)
        ran, values = run_program(ops, "mediated", kvm=made, host_perf=host)
        for counter in ran.counters().values():
            assert counter.true_count == counter.counted, counter
            assert not counter.causes
            assert counter.wrong_reads == 0
        found.append(values)
    assert found[0] == found[1]


def accesses(cpu: str) -> st.SearchStrategy[list[tuple]]:
    """Return programs of accesses by every name of a register, with hints among them."""
    pmu = asm.config(b"", mode="mediated", cpu=cpu).guest
    counter, selector, step, enable = REGISTERS[cpu]
    names = [counter + step * i for i in range(pmu.nr_gp)]
    if cpu == "zen4":
        names += [guest_amd.K7_PERFCTR0 + i for i in range(4)]
        status = [guest_amd.GLOBAL_STATUS, guest_amd.STATUS_CLR, guest_amd.STATUS_SET]
        events, mask = (0xC0, guest_amd.BRANCHES), (1 << pmu.nr_gp) - 1
    else:
        # Fixed 1 and 2 count time: they are written and read, and never on.
        names += [asm.PERFCTR0 + i for i in range(pmu.nr_gp)]
        names += [asm.FIXED_CTR0 + i for i in range(pmu.nr_fixed)]
        status = [asm.GLOBAL_STATUS, asm.OVF_CTRL]
        events, mask = (0xC0, 0xC4), (1 << pmu.nr_gp) - 1 | 7 << asm.FIXED
    selectors = [selector + step * i for i in range(pmu.nr_gp)]
    values = st.sampled_from([0, 0, 1, (1 << 48) - 1, (1 << 48) - 40, 1 << 31, 1 << 48])
    on = st.builds(
        lambda event, how: event | how,
        st.sampled_from(events),
        st.sampled_from([0, asm.OS, asm.EN | asm.OS, asm.EN | asm.OS | asm.INT]),
    )
    masks = st.integers(0, mask).map(lambda bits: bits & mask)

    def write(msr: st.SearchStrategy[int], value: st.SearchStrategy[int]) -> st.SearchStrategy:
        return st.tuples(st.just("wr"), msr, value)

    each = [
        write(st.just(HINT), masks.map(lambda m: VALID | m) | st.sampled_from([0, VALID])),
        write(st.sampled_from(names), values),
        write(st.sampled_from(selectors), on),
        write(st.just(enable), masks),
        write(st.sampled_from(status), masks),
        st.tuples(st.just("rd"), st.sampled_from([*names, *selectors, *status, enable])),
        st.tuples(st.just("pmc"), st.sampled_from([*range(9), *(1 << 30 | i for i in range(4))])),
        st.tuples(st.just("spin"), st.integers(1, 300)),
    ]
    if cpu != "zen4":
        each.append(write(st.just(asm.FIXED_CTR_CTRL), st.integers(0, 7)))
    return st.lists(st.one_of(*each), min_size=20, max_size=60)


# An AMD guest's selectors cannot be direct.
ARRANGEMENTS = [
    *((cpu, arrangement) for cpu in CPUS for arrangement in ("upstream", "rfc2024")),
    *((cpu, "none") for cpu in CPUS if cpu != "zen4"),
]


@pytest.mark.parametrize(("cpu", "arrangement"), ARRANGEMENTS)
@settings(max_examples=20)
@given(data=st.data())
def test_every_name_of_a_register(cpu: str, arrangement: str, data: st.DataObject) -> None:
    """Legacy aliases, status and RDPMC, beside a host that counts: as where nobody listens."""
    ops = data.draw(accesses(cpu))
    given_ = {
        "settings": (f"kvm.interception={arrangement}", *asm.NO_ERRATA.get(cpu, ())),
        "host_perf": data.draw(st.sampled_from([(), ("cycles:H", "instructions:H")])),
    }
    # What a hint reads as is no register of the PMU, and nobody reads it here.
    told, untold = (results(ops, cpu, offered=offered, **given_) for offered in (True, False))
    assert told == untold


def test_selectors_that_the_guest_writes_directly() -> None:
    """Silicon takes AnyThread and KVM does not: with a hint, too, the guest has silicon."""
    any_thread, fixed_any_thread = 1 << 21 | asm.OS | 0xC0, 4
    ops: list[tuple] = [("wr", HINT, VALID)]
    for msr, value in ((asm.EVTSEL0, any_thread), (asm.FIXED_CTR_CTRL, fixed_any_thread)):
        # Another exit, behind which a load may be put off.
        ops += [("rd", HINT), ("wr", msr, value), ("rd", msr)]
    expected = [0, VALID, 0, any_thread, VALID, 0, fixed_any_thread]
    given_ = {"settings": ("kvm.interception=none",)}
    assert results(ops, "skylake-sp", **given_) == expected


@pytest.mark.parametrize("cpu", CPUS)
def test_it_moves_with_the_vcpu(cpu: str) -> None:
    """A VMM saves the register and restores it, and what was parked is parked where it arrives."""
    counter, selector, step, enable = REGISTERS[cpu]
    ops = [("wr", HINT, VALID | 1), ("wr", enable, 1), ("wr", selector, ON), ("spin", 50_000)]
    ops += [("rd", HINT), ("rd", counter + step), ("wr", counter + step, 7), ("rd", counter + step)]
    options = Options("perf-stat", cpu=cpu, switch="enlightened", settings=("kvm.pmu_hint=1",))
    saved = Plan(options).config(Mode.MEDIATED, perf=False).kvm.msrs_to_save
    made = dataclasses.replace(kvm(cpu), msrs_to_save=saved)
    config = asm.config(asm.assemble(asm.script(ops)), mode="mediated", cpu=cpu, kvm=made)
    machine = Machine(config)
    machine.run(2000)
    machine = machine.migrate(config)
    loads, moves = machine.switch().loads, machine.switch().rdpmc
    stop = machine.run(1 << 40)
    assert asm.script_results(asm.Ran(machine, stop, config), len(ops))[4:] == [VALID | 1, 0, 0, 7]
    pmu = config.guest
    nr = pmu.nr_gp + pmu.nr_fixed
    switch = machine.switch()
    # Three exits with counter 0 alone, behind the write the other one with it, till the last.
    assert switch.loads - loads >= 3
    assert switch.rdpmc - moves < (switch.loads - loads) * 2 * nr


@pytest.mark.parametrize("cpu", CPUS)
def test_an_idle_guest_pays_nothing(cpu: str) -> None:
    """It says from the start that it uses no counter: an exit is as dear as without a vPMU."""

    def exit_of(*words: str, switch: str = "upstream", host: tuple[str, ...] = ()) -> float:
        result = pmupass.run(
            "exit-storm",
            mode="mediated" if switch != "upstream" else "emulated",
            time="2ms",
            switch=switch,
            cpu=cpu,
            host_perf=host,
            settings=dict(word.split("=") for word in words),
        )
        (storm,) = (e for e in result.exits if e.reason.upper() == "CPUID")
        return storm.cycles / storm.count

    bare = exit_of("kvm.cap_pmu_disable=1")
    for host in ((), ("cycles:H",)):
        assert exit_of("kvm.pmu_hint=1", switch="enlightened", host=host) < 1.15 * bare


@pytest.mark.parametrize("events", ["instructions", "instructions," * 9 + "branches"])
@pytest.mark.parametrize("workload", ["perf-stat", "perf-record"])
@pytest.mark.parametrize("cpu", CPUS)
def test_the_built_in_guests(cpu: str, workload: str, events: str) -> None:
    """They hint and count exactly, with events that take turns, too; and the switch costs less."""
    errata = dict(word.split("=") for word in asm.NO_ERRATA.get(cpu, ()))
    results_ = [
        pmupass.run(
            workload,
            mode="mediated",
            time="5ms",
            switch="enlightened",
            cpu=cpu,
            events=events,
            settings={"kvm.pmu_hint": hint, **errata},
        )
        for hint in (0, 1)
    ]
    for result in results_:
        assert all((counter.lost, counter.causes) == (0, {}) for counter in result.counters)
        assert result.pmi.delivered <= result.pmi.due
    without, with_ = (r.switch for r in results_)
    assert with_.rdpmc / with_.loads < without.rdpmc / without.loads
    assert with_.cycles / with_.loads < without.cycles / without.loads
    assert results_[1].stats["loads_put_off"] > 0
