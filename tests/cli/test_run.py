# SPDX-License-Identifier: Apache-2.0
"""``pmupass run`` and ``diff-modes``: documents, tables and exit statuses."""

import json
import signal
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pmupass import core, records
from pmupass.bench import images
from pmupass.cli.watching import Watching

QUICK = ("--time", "2ms")


def validate(document: Any, name: str) -> None:
    """Hold a document against the schema that the package carries."""
    text = (resources.files("pmupass") / "schemas" / f"{name}.json").read_text(encoding="utf-8")
    jsonschema.validate(document, json.loads(text))


@pytest.fixture
def image(tmp_path: Path) -> Callable[[bytes], str]:
    """Return a function that writes a guest image and returns its path."""

    def write(data: bytes) -> str:
        path = tmp_path / "guest.elf"
        path.write_bytes(data)
        return str(path)

    return write


@pytest.mark.parametrize("workload", ["perf-stat", "perf-record", "self-monitor", "exit-storm"])
@pytest.mark.parametrize("mode", ["native", "emulated", "mediated"])
def test_every_workload_in_every_mode(pmupass: Callable, workload: str, mode: str) -> None:
    outcome = pmupass("run", workload, "--mode", mode, *QUICK, "--json")
    assert outcome.status == 0, outcome.err
    document = outcome.document
    validate(document, "result")
    assert document["workload"] == workload
    assert document["mode"] == mode
    assert document["complete"] is True
    assert document["guest"]["exit_value"] == 0
    assert document["host"]["cpus"] >= 1


def test_json_is_the_same_every_time(pmupass: Callable) -> None:
    command = ("run", "perf-record", *QUICK, "--no-host", "--json")
    assert pmupass(*command).out == pmupass(*command).out


def test_events_may_be_given_in_parts(pmupass: Callable) -> None:
    """``-e a -e b`` is ``-e a,b``, as perf has it; a repetition is an event of its own."""
    command = ("run", "perf-stat", *QUICK, "--json", "-e", "loads,cycles", "-e", "cycles:u")
    document = pmupass(*command).document
    assert document["settings"]["events"] == ["loads", "cycles", "cycles:u"]
    assert {c["event"] for c in document["counters"]} == {"loads", "cycles", "cycles:u"}


def test_an_event_that_is_not_modelled_counts_zero_and_is_listed(pmupass: Callable) -> None:
    document = pmupass("run", "perf-stat", *QUICK, "-e", "uops_issued.any", "--json").document
    assert document["not_modelled"] == ["uops_issued.any"]
    assert document["counters"][0]["true"] == document["counters"][0]["counted"] == 0
    text = pmupass("run", "perf-stat", *QUICK, "-e", "uops_issued.any").out
    assert "Not modelled, they count zero: uops_issued.any" in text


def test_more_events_than_counters_are_scaled(pmupass: Callable) -> None:
    events = "branches,branch-misses,cache-references,cache-misses,loads,stores"
    command = ("run", "perf-stat", "--cpu", "skylake-sp", "-e", events, "--time", "20ms")
    counters = pmupass(*command, "--json").document["counters"]
    assert len(counters) == 6
    for counter in counters:
        assert counter["lost"] == 0
        assert counter["running_cycles"] < counter["enabled_cycles"]
        assert counter["scaled"] > counter["counted"]
    assert "scaled" in pmupass(*command).out


def test_json_into_a_file_keeps_the_tables(pmupass: Callable, tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    outcome = pmupass("run", "perf-stat", *QUICK, f"--json={target}")
    assert outcome.status == 0
    assert outcome.out.startswith("perf-stat, mediated on sapphire-rapids, seed 1\n")
    validate(json.loads(target.read_text(encoding="utf-8")), "result")


def test_tables_fit(pmupass: Callable) -> None:
    for command in ("run", "diff-modes"):
        outcome = pmupass(command, "perf-record", *QUICK)
        assert outcome.status == 0
        assert max(map(len, outcome.out.splitlines())) <= 100


def test_diff_modes(pmupass: Callable) -> None:
    outcome = pmupass("diff-modes", "perf-record", *QUICK, "--json")
    assert outcome.status == 0
    document = outcome.document
    validate(document, "diff")
    assert list(document["modes"]) == ["native", "emulated", "mediated"]
    assert not [d for d in document["differences"] if not d["expected"]]
    assert document["verdict"].startswith("Mediated takes ")


def test_a_refused_mode_is_status_3_only_if_it_was_named(pmupass: Callable) -> None:
    busy = ("diff-modes", "perf-stat", *QUICK, "--host-perf", "cycles:D", "--json")
    outcome = pmupass(*busy)
    assert outcome.status == 0
    validate(outcome.document, "diff")
    assert "-EBUSY" in outcome.document["modes"]["mediated"]["refused"]
    assert pmupass(*busy, "--modes", "emulated,mediated").status == 3
    assert pmupass(*busy, "--modes", "mediated").status == 3
    assert pmupass("run", "perf-stat", *QUICK, "--host-perf", "cycles:D").status == 3


def test_a_guest_that_fails_is_status_1(pmupass: Callable, image: Callable) -> None:
    outcome = pmupass("run", image(images.elf(b"\xb0\x01\xe7\xf4")), "--json")
    assert outcome.status == 1
    validate(outcome.document, "result")
    assert outcome.document["guest"]["exit_value"] & 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "perf-stat", "-e", "cyles"], "did you mean cycles"),
        (["run", "perf-record", "-F", "1", "-c", "1"], "exclude each other"),
        (["run", "perf-stat", "--mode", "meditated"], "did you mean mediated"),
        (["diff-modes", "perf-stat", "--modes", "native,"], "no mode ''"),
        (["run", "perf-stat", "--time", "5"], "--time 5"),
        (["run", "perf-stat", "--set", "guest.hertz=5"], "did you mean guest.hz"),
        (["run", "perf-stat", "--switch", "layz"], "did you mean lazy"),
        (["run", "perf-stat", "--cpu", "pentium"], "sapphire-rapids"),
        (["run", "perf-stat", "--host-perf", "cycles:Q"], "modifier"),
        (["run", "perf-sta"], "did you mean perf-stat"),
        (["run"], "WORKLOAD is missing"),
        (["run", ""], "WORKLOAD is missing"),
        (["run", "perf-stat", "-e", ""], "an event name is expected"),
        (["run", "perf-stat", "-e", "", "-e", "cycles"], "an event name is expected"),
        (["run", "perf-stat", "--filter", ""], "--filter: the name of a file is missing"),
        (["run", "perf-stat", "--filter", "@5ms"], "--filter: the name of a file is missing"),
        (["run", "perf-stat", "--filter", "core@5min"], "--filter core at 5min: write a number"),
        (["run", "perf-stat", "--filter", "core@5"], "--filter core at 5: write a number and ns"),
        (["run", "perf-stat", "--filter", "core@0ms"], "--filter core at 0ms: the time must not"),
        (
            ["run", "perf-stat", "--filter", "core", "--filter", "llc"],
            "--filter llc: only the first filter is there from the start",
        ),
        (
            ["run", "perf-stat", "--filter", "core@5ms", "--filter", "llc"],
            "--filter llc: only the first filter is there from the start",
        ),
        (
            ["run", "perf-stat", "--filter", "core@5ms", "--filter", "llc@5ms"],
            "the one before comes at 5000000 ns",
        ),
        (
            ["run", "perf-stat", "--filter", "core@5ms", "--set", "kvm.interception=none"],
            "--filter needs intercepted selectors",
        ),
        (["run", "perf-stat", "--json="], "the name of a file is missing"),
        (["run", "perf-stat", "--host-perf", "cycles/period=1000/"], "'/' is not supported"),
        (["run", "perf-stat", "--host-perf", "cycles:F"], "Bad modifier"),
        (["run", "perf-stat", "--set", "profile.foo=1"], "profile.foo: no such rate"),
        (["run", "exit-storm", "-e", "cycles"], "add --set guest.pmu=busy"),
        (["run", "perf-record", "-F", "10", "--set", "guest.pmu=idle"], "guest.pmu=busy"),
        (["run", "perf-stat", "--host-perf", ",".join(["loads"] * 64)], "63 at most"),
        (
            [
                "run",
                "perf-stat",
                "--host",
                "profiling-storm",
                "--host-perf",
                "loads,loads,loads,loads",
            ],
            "64 events (60 of --host profiling-storm, 4 more)",
        ),
        (["run", "perf-stat", "--time", "9" * 5000 + "s"], "--time"),
        (["bench", "sped"], "did you mean speed"),
    ],
)
def test_usage_errors_are_status_2(pmupass: Callable, arguments: list[str], says: str) -> None:
    outcome = pmupass(*arguments)
    assert outcome.status == 2
    assert outcome.out == ""
    assert says in outcome.err


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"#!/bin/sh\n", "malformed guest image"),
        (images.empty(1)[:60], "malformed guest image"),
        (images.empty(1)[:4] + b"\x01" + images.empty(1)[5:], "malformed guest image"),
        (images.empty(1)[:16] + b"\x03" + images.empty(1)[17:], "-static -no-pie"),
    ],
)
def test_bad_images_are_status_3(
    pmupass: Callable, image: Callable, data: bytes, says: str
) -> None:
    outcome = pmupass("run", image(data))
    assert outcome.status == 3
    assert says in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_missing_file_is_status_3(pmupass: Callable) -> None:
    assert pmupass("run", "/nowhere/guest.elf").status == 3


def test_a_filter_whose_time_is_missing(pmupass: Callable) -> None:
    outcome = pmupass("run", "perf-stat", "--filter", "architectural@")
    assert outcome.status == 3
    assert "A time behind an @ is written as in architectural@20ms" in outcome.err


def test_a_bad_filter_is_status_3_and_points_at_the_line(pmupass: Callable, tmp_path: Path) -> None:
    path = tmp_path / "filter.toml"
    path.write_text('action = "allow"\nevents = ["no_such_event"]\n', encoding="utf-8")
    outcome = pmupass("run", "perf-stat", "--filter", str(path))
    assert outcome.status == 3
    assert f"{path}:2: " in outcome.err


def test_a_denied_event_is_said_and_no_error(pmupass: Callable, tmp_path: Path) -> None:
    path = tmp_path / "filter.toml"
    path.write_text('action = "deny"\nevents = ["branches"]\nfixed = []\n', encoding="utf-8")
    outcome = pmupass("run", "perf-stat", *QUICK, "--filter", str(path), "--json")
    assert outcome.status == 0, outcome.err
    document = outcome.document
    branches = next(c for c in document["counters"] if c["event"] == "branches")
    assert branches["filtered"]
    assert branches["counted"] == 0
    assert branches["causes"] == {"filtered": branches["true"]}
    assert document["silent_errors"] == []
    assert "denied branches" in pmupass("run", "perf-stat", *QUICK, "--filter", str(path)).out


def test_an_unimplemented_instruction_is_status_4(pmupass: Callable, image: Callable) -> None:
    outcome = pmupass("run", image(images.elf(b"\xc5\xf8\x28\xc1")))
    assert outcome.status == 4
    assert "unimplemented instruction at 0x100078: c5 f8 28 c1" in outcome.err
    assert "Stopped, so far: The guest counted nothing." in outcome.out


@pytest.mark.parametrize("command", ["run", "diff-modes"])
def test_what_ran_before_an_unimplemented_instruction_is_not_lost(
    pmupass: Callable, image: Callable, tmp_path: Path, command: str
) -> None:
    """``"complete": false`` on stdout or in the file, then status 4."""
    guest = image(images.elf(b"\x31\xc0" * 5 + b"\xc5\xf8\x28\xc1"))  # xor eax, eax; vmovaps
    outcome = pmupass(command, guest, "--json")
    assert outcome.status == 4
    assert "unimplemented instruction" in outcome.err
    document = outcome.document
    validate(document, "result" if command == "run" else "diff")
    assert document["complete"] is False
    if command == "diff-modes":
        assert list(document["modes"]) == ["native"]
        assert outcome.err.startswith("pmupass: native: ")
        document = document["modes"]["native"]
    assert document["complete"] is False
    assert document["guest"]["stop"] == "unimplemented"
    assert document["guest"]["instructions"] == 5
    file = tmp_path / "partial.json"
    assert pmupass(command, guest, f"--json={file}").status == 4
    assert json.loads(file.read_text(encoding="utf-8"))["complete"] is False


def test_a_broken_invariant_keeps_what_there_is(
    pmupass: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the run proper, and in those that serve it."""
    original = core.Machine.run
    for broken in range(1, 5):  # sizing, mediated, unprofiled, without a vPMU
        ended = 0

        def run(self: core.Machine, blocks: int, broken: int = broken) -> records.Stop:
            nonlocal ended
            stop = original(self, blocks)
            ended += stop is not records.Stop.BUDGET
            return records.Stop.INVARIANT if ended == broken else stop

        monkeypatch.setattr(core.Machine, "run", run)
        monkeypatch.setattr(core.Machine, "invariant", lambda _self: "x.c:1: a < b")
        outcome = pmupass("run", "perf-stat", *QUICK, "--json")
        assert outcome.status == 4
        assert "a model invariant is broken: x.c:1: a < b" in outcome.err
        validate(outcome.document, "result")
        assert outcome.document["complete"] is False
        stops = {1: "interrupted", 2: "invariant"}
        assert outcome.document["guest"]["stop"] == stops.get(broken, "exit")


@pytest.mark.parametrize("command", [("run", "--mode"), ("diff-modes", "--modes")])
def test_native_has_no_event_filter(
    pmupass: Callable, tmp_path: Path, command: tuple[str, str]
) -> None:
    """It warned of counters that may not count, which they do."""
    path = tmp_path / "filter.toml"
    path.write_text('action = "allow"\nevents = ["branches"]\n', encoding="utf-8")
    name, option = command
    outcome = pmupass(name, "perf-stat", *QUICK, "--filter", str(path), option, "native")
    assert outcome.status == 0
    assert outcome.err == f"pmupass: native has no event filter: {path} is not used\n"
    outcome = pmupass(
        name, "perf-stat", *QUICK, "--filter", "core", "--filter", f"{path}@1us", option, "native"
    )
    assert outcome.status == 0
    assert outcome.err == f"pmupass: native has no event filter: core, {path} are not used\n"


def test_a_bad_filter_of_a_later_time_points_at_the_line(pmupass: Callable, tmp_path: Path) -> None:
    path = tmp_path / "a@b.toml"  # an @ in a name is no time
    path.write_text('action = "allow"\nevents = ["no_such_event"]\n', encoding="utf-8")
    for given in (str(path), f"{path}@20ms"):
        outcome = pmupass("run", "perf-stat", *QUICK, "--filter", given)
        assert outcome.status == 3
        assert f"{path}:2: " in outcome.err


def test_an_inverted_threshold_is_counted(pmupass: Callable) -> None:
    # 0xc0 with inv and cmask 16 is what perf makes of cycles:p; no cycle has 16 instructions, so it
    # counts cycles. Loads with inv and cmask 1 are the cycles without a load, fewer than all; inv
    # without anything to invert is loads. In user mode KVM completes nothing, so credits of it,
    # which look at event and umask alone, do not come into it.
    events = "r108000c0:u,cycles:u,r18081d0:u,r8081d0:u,r81d0:u"
    for mode in ("native", "emulated", "mediated"):
        command = ("run", "perf-stat", *QUICK, "--mode", mode, "-e", events)
        document = pmupass(*command, "--json").document
        assert not document.get("not_modelled")
        counted = {c["event"]: c for c in document["counters"]}
        assert all(c["lost"] == 0 for c in counted.values())
        true = {name: c["true"] for name, c in counted.items()}
        # The guest's perf starts and stops one event after the other: within a thousandth.
        assert abs(true["r108000c0:u"] - true["cycles:u"]) * 1000 < true["cycles:u"]
        assert 0 < true["r18081d0:u"] < true["cycles:u"]
        assert abs(true["r8081d0:u"] - true["r81d0:u"]) * 1000 < true["r81d0:u"]


ENDLESS = b"\x48\xff\xc0\xeb\xfb"  # 1: inc rax; jmp 1b


def press_ctrl_c(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Have Ctrl-C pressed so many times when the first slice of a run is over."""
    original = Watching.__call__

    def watch(self: Watching, label: str, fraction: float | None) -> bool:
        monkeypatch.setattr(Watching, "__call__", original)
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return original(self, label, fraction)

    monkeypatch.setattr(Watching, "__call__", watch)


def test_ctrl_c_gives_the_partial_result(
    pmupass: Callable, image: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 130, whole JSON, ``"complete": false``."""
    press_ctrl_c(monkeypatch, 1)
    before = signal.getsignal(signal.SIGINT)
    outcome = pmupass("run", image(images.elf(ENDLESS)), "--json")
    assert outcome.status == 130
    validate(outcome.document, "result")
    assert outcome.document["complete"] is False
    assert outcome.document["guest"]["stop"] == "interrupted"
    assert outcome.document["guest"]["instructions"] > 0
    assert outcome.err == ""
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_gives_the_partial_comparison(
    pmupass: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    press_ctrl_c(monkeypatch, 1)
    outcome = pmupass("diff-modes", "perf-record", "--time", "600s", "--json")
    assert outcome.status == 130
    validate(outcome.document, "diff")
    assert outcome.document["complete"] is False
    assert list(outcome.document["modes"]) == ["native"]


def test_a_second_ctrl_c_ends_it_at_once(
    pmupass: Callable, image: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    press_ctrl_c(monkeypatch, 2)
    outcome = pmupass("run", image(images.elf(ENDLESS)), "--json")
    assert outcome.status == 130
    assert outcome.out == ""
    assert outcome.err.strip() == "pmupass: interrupted"


def test_every_host_event_is_reported(pmupass: Callable) -> None:
    """``--host-perf a,b`` is two events; the second one was dropped from the result."""
    command = ("run", "perf-stat", *QUICK, "--mode", "emulated", "--json")
    document = pmupass(
        *command, "--host-perf", "loads,stores:H", "--host-perf", "cycles:H"
    ).document
    assert [e["event"] for e in document["host_events"]] == ["loads", "stores:H", "cycles:H"]
    many = pmupass(*command, "--host-perf", ",".join(["loads"] * 63))
    assert many.status == 0, many.err
    assert len(many.document["host_events"]) == 63


def test_a_bad_image_is_named(pmupass: Callable, image: Callable) -> None:
    path = image(b"garbage")
    outcome = pmupass("run", path)
    assert outcome.status == 3
    assert outcome.err.startswith(f"pmupass: {path}: malformed guest image: ")


def test_a_pinned_guest_event_needs_its_counter_for_itself(pmupass: Callable) -> None:
    # Eight GP counters: nine branches take turns, eight do not.
    fits = pmupass("run", "perf-stat", *QUICK, "-e", "branches:D" + ",branches" * 7, "--json")
    assert fits.status == 0
    assert all(c["lost"] == 0 for c in fits.document["counters"])
    turns = pmupass("run", "perf-stat", *QUICK, "-e", "branches:D" + ",branches" * 8)
    assert turns.status == 2
    assert "do not fit on the guest's counters at once" in turns.err


def test_what_the_guests_perf_cannot_do(pmupass: Callable) -> None:
    for option, words in (
        (("--guest-cpuid", "pmu_version=0"), "the guest has no PMU for its perf"),
        (("--guest-cpuid", "unavailable_events=0x20", "-e", "branches"), "-e branches: CPUID 0xA"),
    ):
        for mode in ("native", "mediated"):
            outcome = pmupass("run", "perf-stat", *QUICK, "--mode", mode, *option)
            assert outcome.status == 2
            assert words in outcome.err


@pytest.mark.parametrize("workload", ["perf-stat", "perf-record"])
@pytest.mark.parametrize(
    "older",
    [
        "gp_counters=4,gp_width=40,fixed_width=40,pdcm=0",  # narrow, without full-width writes
        "pmu_version=1,gp_width=40",  # no global registers, no fixed counters
    ],
)
def test_a_guest_of_an_older_cpu(pmupass: Callable, workload: str, older: str) -> None:
    """The built-in guests follow CPUID."""
    for mode in ("native", "emulated", "mediated"):
        document = pmupass(
            "run", workload, *QUICK, "--mode", mode, "--guest-cpuid", older, "--json"
        ).document
        assert document["settings"]["guest.gp_width"] == 40
        for counter in document["counters"]:
            assert counter["counted"] == counter["true"] > 0
