# SPDX-License-Identifier: Apache-2.0
"""Options that a run has no use for, and times that it does not come to: stderr says so."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pmupass.bench import images

QUICK = ("--time", "2ms", "--no-host")
HOST = ("--host-perf=cycles:H", "--host=perf-top", "--set=host.fault_overflow=3")
KVM = ("--switch=lazy", "--set=kvm.pmi=nmi")


def said(outcome: object) -> list[str]:
    """Return the lines on stderr."""
    return outcome.err.splitlines()  # type: ignore[attr-defined]


def test_native_has_neither_host_nor_kvm(pmupass: Callable) -> None:
    outcome = pmupass("run", "perf-stat", "--mode=native", *QUICK, *HOST, *KVM)
    assert outcome.status == 0
    host, kvm = said(outcome)
    assert host == (
        "pmupass: native has no host: --host-perf, --host perf-top, --set host.fault_overflow are "
        "not used"
    )
    assert kvm == "pmupass: native has no KVM: --switch lazy, --set kvm.pmi are not used"
    plain = pmupass("run", "perf-stat", "--mode=native", *QUICK)
    assert said(plain) == []


def test_emulated_has_no_switch(pmupass: Callable) -> None:
    outcome = pmupass("run", "perf-stat", "--mode=emulated", *QUICK, *HOST, *KVM)
    assert outcome.status == 0
    (line,) = said(outcome)
    assert line == (
        "pmupass: the emulated vPMU does not lend the PMU to the guest: --switch lazy, "
        "--set kvm.pmi are not used"
    )
    assert said(pmupass("run", "perf-stat", *QUICK, *KVM)) == []


def test_settings_of_another_switch_policy(pmupass: Callable) -> None:
    """They are said to be of no use, and have none: the run is what it is without them."""
    given = ("--set=kvm.lazy=put", "--set=kvm.lazy_idle_loads=3", "--set=kvm.pmu_hint=1")
    lazy = "does not wait: --set kvm.lazy, --set kvm.lazy_idle_loads are not used"
    hint = "takes no hints: --set kvm.pmu_hint is not used"
    for policy, wanted in {
        "upstream": (lazy, hint),
        "lazy": (hint,),
        "enlightened": (lazy,),
    }.items():
        run = ("run", "exit-storm", "--mode=mediated", *QUICK, f"--switch={policy}")
        outcome = pmupass(*run, *given)
        assert said(outcome) == [f"pmupass: --switch {policy} {text}" for text in wanted]
        if policy == "upstream":
            assert outcome.out == pmupass(*run).out
    emulated = pmupass("run", "exit-storm", "--mode=emulated", *QUICK, *given)
    (line,) = said(emulated)
    assert line.endswith(
        "--set kvm.lazy, --set kvm.lazy_idle_loads, --set kvm.pmu_hint are not used"
    )


def test_modes_that_have_a_use_for_them_are_enough(pmupass: Callable) -> None:
    outcome = pmupass("diff-modes", "perf-stat", *QUICK, "--host-perf=cycles:H", *KVM)
    assert outcome.status == 0
    assert said(outcome) == []
    outcome = pmupass("diff-modes", "perf-stat", *QUICK, "--modes=native,emulated", *KVM)
    assert outcome.status == 0
    assert len(said(outcome)) == 1


def test_what_does_not_begin(pmupass: Callable) -> None:
    """The guest's 2 ms are over before 50 ms, and not before 100 us."""
    late = ("--host-perf=cycles:H@50ms", "--filter=core@60ms", "--host=profiling-storm")
    wants = (
        "--host profiling-storm did not take effect: the run ended before that",
        "--host-perf 'cycles:H@50ms' did not take effect: the run ended before that",
        "--filter core@60ms did not take effect: the run ended before that",
    )
    outcome = pmupass("run", "perf-stat", *QUICK, "--host-perf=loads:H@100us", *late)
    assert outcome.status == 0
    assert said(outcome) == [f"pmupass: {want}" for want in wants]
    outcome = pmupass("diff-modes", "perf-stat", *QUICK, *late)
    assert said(outcome) == [f"pmupass: emulated, mediated: {want}" for want in wants]


def test_a_storm_that_is_cut_off_has_begun(pmupass: Callable) -> None:
    """Its first session is at 6 ms, its last at 90 ms."""
    outcome = pmupass("run", "exit-storm", "--time=8ms", "--no-host", "--host=profiling-storm")
    assert said(outcome) == []


@pytest.mark.parametrize("mode", ["native", "emulated"])
def test_the_end_of_the_clock(pmupass: Callable, tmp_path: Path, mode: str) -> None:
    """A guest that jumps to itself comes to 2^56 cycles at once. A limit is no such end."""
    image = tmp_path / "guest.elf"
    image.write_bytes(images.elf(b"\xeb\xfe"))
    command = ("run", str(image), f"--mode={mode}", "--no-host")
    outcome = pmupass(*command)
    assert outcome.status == 0
    (line,) = said(outcome)
    assert line.startswith("pmupass: the guest is not done: the run has come to the end")
    assert "--costs" in line
    assert said(pmupass(*command, "--time=1ms")) == []


def test_of_several_cost_files_the_last_one_counts(pmupass: Callable, tmp_path: Path) -> None:
    """Cost by cost; --set goes before all."""
    files = []
    for i, text in enumerate(("wrmsr = 80\nrdmsr = 81\nrdpmc = 82\n", "wrmsr = 90\nrdpmc = 91\n")):
        file = tmp_path / f"{i}.toml"
        file.write_text(text)
        files.append(f"--costs={file}")
    found = pmupass("run", "perf-stat", *QUICK, *files, "--set=cost.rdpmc=99", "--json").document
    asked = {k: v for k, v in found["settings"].items() if k.startswith("cost.")}
    assert asked == {"cost.wrmsr": "90", "cost.rdmsr": "81", "cost.rdpmc": "99"}


@pytest.mark.parametrize("option", ["--flamegraph", "--folded"])
def test_native_has_no_time_of_the_host(pmupass: Callable, tmp_path: Path, option: str) -> None:
    file = tmp_path / "out"
    outcome = pmupass("run", "perf-stat", "--mode=native", *QUICK, f"{option}={file}")
    assert outcome.status == 0
    assert said(outcome) == [
        f"pmupass: {option}: there is nothing to show, native has no host",
    ]
    assert file.exists()
