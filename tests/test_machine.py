# SPDX-License-Identifier: Apache-2.0
"""Experiments: what is run for one result, and that nothing depends on how it is cut."""

import threading

import pytest
from msgspec import UnsetType

import pmupass
from pmupass import results
from pmupass.bench import images
from pmupass.core import VmRefusedError
from pmupass.errors import ModelError, UsageError
from pmupass.machine import Session
from pmupass.options import MODES, Options, parse_time
from pmupass.workloads import Workload

SHORT = parse_time("3ms")


def session(workload: str = "perf-record", blocks: int | None = None, **options: object) -> Session:
    """Return a short experiment."""
    given: dict = {"time_ns": SHORT, "host": False, **options}
    return Session(Options(workload, **given), blocks=blocks)


def user(image: bytes, **options: object) -> Session:
    """Return an experiment with an image of the user's."""
    made = session("perf-stat", **{"time_ns": None, **options})  # checks the options
    made.plan = type(made.plan)(
        Options("mine", host=False, **options),  # type: ignore[arg-type]
        Workload("mine", "", data=image),
    )
    return made


def test_all_modes_do_the_same_work() -> None:
    diff = session().diff_modes(MODES)
    assert list(diff.results) == list(MODES)
    works = {r.guest.report.work for r in diff.results.values()}  # type: ignore[union-attr]
    assert len(works) == 1
    assert works.pop() > 1_000_000


def test_overheads_of_built_in_workloads() -> None:
    diff = session().diff_modes(MODES)
    native, emulated, mediated = (diff.results[mode] for mode in MODES)
    assert native.standing_cost is None
    for result in (native, emulated, mediated):
        assert result.overhead is not None
        assert 0 <= result.overhead < 1
    assert emulated.overhead > mediated.overhead > native.overhead  # type: ignore[operator]
    for result in (emulated, mediated):
        assert result.standing_cost is not None
        assert -0.01 < result.standing_cost < 0.5


def test_an_idle_guest_pmu_has_no_overhead_but_a_standing_cost() -> None:
    result = session("exit-storm").run("mediated")
    assert result.overhead == 0
    assert result.standing_cost is not None
    assert result.standing_cost > 0.05
    assert result.counters == []


@pytest.mark.parametrize("mode", MODES)
def test_an_image_of_the_users_runs_once(mode: str) -> None:
    result = user(images.cpuid(20)).run(mode)
    assert result.complete
    assert result.overhead is None
    assert result.standing_cost is None
    assert isinstance(result.guest.report, UnsetType)
    assert result.guest.stop == "exit"
    cpuid = [e.count for e in result.exits if e.reason == "CPUID"]
    assert cpuid == ([] if mode == "native" else [20])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("blocks", [1, 7, 1 << 40])
def test_budgets_do_not_show(mode: str, blocks: int) -> None:
    """Runs of 1 block, 7 blocks and unlimited: the same bytes."""
    short: dict = {"time_ns": parse_time("200us"), "settings": ("guest.chunk=2000",)}
    expected = results.encode(session(**short).run(mode))
    assert results.encode(session(blocks=blocks, **short).run(mode)) == expected


def test_two_machines_in_two_threads() -> None:
    expected = results.encode(session().run("emulated"))
    found: list[bytes] = []

    def work() -> None:
        found.append(results.encode(session().run("emulated")))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected, expected]


def test_kvm_and_host_settings_leave_native_alone() -> None:
    plain = session().run("native")
    changed = session(
        host_perf=("cycles:D",), settings=("kvm.max_fixed_counters=1", "kvm.interception=none")
    ).run("native")
    for part in ("guest", "counters", "pmi", "accesses", "exits", "costs", "overhead"):
        assert getattr(changed, part) == getattr(plain, part), part


@pytest.mark.parametrize("stage", ["sizing", "mediated", "unprofiled", "without a vPMU"])
def test_an_interrupt_at_any_stage_leaves_a_partial_result(stage: str) -> None:
    def watch(label: str, _fraction: float | None) -> bool:
        return not label.endswith(stage if stage != "sizing" else "sizing the work")

    options = Options("perf-record", time_ns=SHORT, host=False)
    result = Session(options, watch, blocks=1).run("mediated")
    assert not result.complete
    assert result.overhead is None
    assert result.guest.stop == ("interrupted" if stage in ("sizing", "mediated") else "exit")
    results.encode(result)


def test_an_interrupted_diff_keeps_what_it_has() -> None:
    def watch(label: str, _fraction: float | None) -> bool:
        return not label.endswith("emulated")

    options = Options("perf-record", time_ns=SHORT, host=False)
    diff = Session(options, watch, blocks=1).diff_modes(MODES)
    assert not diff.complete
    assert list(diff.modes) == ["native", "emulated"]


def test_an_unimplemented_instruction_has_its_bytes_and_address() -> None:
    entry = images.BASE + 64 + 56
    with pytest.raises(ModelError, match=rf"unimplemented instruction at {entry:#x}: c5 f8 28 c1"):
        user(images.elf(b"\xc5\xf8\x28\xc1" + images.EXIT_ZERO)).run("native")  # vmovaps


def test_a_triple_fault_is_a_failure_of_the_guest() -> None:
    result = user(images.elf(b"\x0f\x0b")).run("emulated")  # ud2, no IDT
    assert result.guest.stop == "shutdown"
    assert result.failed


def test_the_exit_value_counts() -> None:
    result = user(images.elf(b"\xb0\x05\xe7\xf4")).run("mediated")  # mov al,5; out
    assert result.guest.exit_value & 0xFF == 5
    assert result.failed


def test_time_limits_an_image_that_does_not_end() -> None:
    result = user(images.elf(b"\xeb\xfe"), time_ns=parse_time("1ms")).run("native")
    assert result.guest.stop == "time"
    assert result.complete
    assert result.guest.tsc_cycles >= 2_000_000  # 1 ms at 2 GHz


def test_a_mediated_vm_is_refused_beside_a_host_event() -> None:
    busy = session(host_perf=("cycles:D",))
    with pytest.raises(VmRefusedError, match="-EBUSY") as caught:
        busy.run("mediated")
    assert "cycles:DH" in str(caught.value)  # what to change
    diff = busy.diff_modes(["emulated", "mediated"])
    assert list(diff.results) == ["emulated"]
    assert "-EBUSY" in diff.refusals["mediated"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"events": "cycles:H"}, "--host-perf cycles:H"),
        ({"events": "branches:D" + ",branches" * 8}, "do not fit on the guest's counters"),
        ({"events": "slots"}, "fixed counter"),
        ({"events": ",".join(["cycles"] * 33)}, "32 at most"),
        ({"switch": "layz"}, "no such policy; did you mean lazy"),
        ({"settings": ("guest.profile=spec",)}, "did you mean spec-int"),
    ],
)
def test_experiments_that_cannot_be(options: dict, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        session(**options).run("mediated")
    assert says in str(caught.value)


def test_sampling_options_are_for_workloads_that_sample() -> None:
    with pytest.raises(UsageError, match="perf-record"):
        session("perf-stat", frequency=100)
    with pytest.raises(UsageError, match="-e is for built-in"):
        user(images.empty(1), events="cycles")


def test_the_python_api() -> None:
    result = pmupass.run("perf-stat", mode="emulated", time="1ms", settings={"guest.hz": 250})
    assert isinstance(result, pmupass.Result)
    assert result.settings["guest.hz"] == 250
    assert isinstance(result.host, UnsetType)
    assert {c.event for c in result.counters} == {
        "cycles",
        "instructions",
        "branches",
        "branch-misses",
    }
    diff = pmupass.diff_modes("perf-stat", modes=["native", "mediated"], time="1ms", host=True)
    assert isinstance(diff, pmupass.Diff)
    assert not isinstance(diff.results["native"].host, UnsetType)
    with pytest.raises(pmupass.UsageError):
        pmupass.run("perf-stat", mode="native", time="1")


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_vcpus_that_the_host_moves(mode: str) -> None:
    """Both go to the next pCPU every 250 us; nothing is lost, and each move but the last costs."""
    settings = ("guest.cpus=2", "host.migrate_us=250")
    result = session("perf-stat", settings=settings).run(mode)
    moves, rest = divmod(result.stats["cpu_migrations"], 2)
    assert not rest
    # The TSC has 2 GHz, and a run ends within its last interval, or a quantum of 20 us later.
    end = result.guest.tsc_cycles
    assert (end - 40_000) // 500_000 <= moves <= end // 500_000
    counts = {cost.stack.rsplit(";")[-1]: cost.count for cost in result.costs}
    assert 2 * moves - 2 <= counts["loaded_vmcs_clear"] <= 2 * moves
    assert all(not counter.lost for counter in result.counters)
    still = session("perf-stat", settings=settings[:1]).run(mode)
    assert still.stats["cpu_migrations"] == 0
    assert still.guest.tsc_cycles < end


def test_a_host_with_one_pcpu_moves_nobody() -> None:
    """It is said at once; natively there is no host."""
    with pytest.raises(UsageError, match=r"host\.migrate_us.*host\.cpus"):
        session("perf-stat", settings=("host.migrate_us=250",))
    settings = ("host.cpus=2", "host.migrate_us=250")
    assert session("perf-stat", settings=settings).run("native").stats["cpu_migrations"] == 0
