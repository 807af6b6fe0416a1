# SPDX-License-Identifier: Apache-2.0
"""One cell: its line is what `pmupass run` says, its troubles are results, a worker's are not."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import pmupass
from pmupass import cli
from pmupass.bench import images
from pmupass.machine import Session
from pmupass.sweep import cell, conduct, figures, grid
from pmupass.sweep.cell import Job, Order, WorkerError

EXIT_THREE = b"\xb8\x03\x00\x00\x00\xe7\xf4"  # mov eax,3; out 0xf4,eax
UNIMPLEMENTED = b"\xc5\xf8\x77"  # vzeroupper


@pytest.fixture
def lines(write: Callable[[str], Path]) -> Callable[[str], list[Any]]:
    """Return a function that runs a sweep's cells in this process; each fits the schema."""
    text = (resources.files("pmupass") / "schemas" / "sweep.json").read_text(encoding="utf-8")

    def run(text_of_sweep: str) -> list[Any]:
        sweep = grid.load(write(text_of_sweep))
        order = conduct.order(sweep)
        found = [json.loads(cell.work(order, job)) for job in sweep.jobs]
        for line in found:
            jsonschema.validate(line, json.loads(text))
        return found

    return run


def test_a_line_is_what_run_says(lines: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines("""
full = true
[common]
workload = "perf-record"
time = "2ms"
[grid]
mode = ["emulated"]
set.guest.hz = [250]
host-perf = ["cycles:D"]
""")
    assert line["command"] == (
        "pmupass run perf-record --time=2ms --host-perf=cycles:D --mode=emulated --set=guest.hz=250"
    )
    assert cli.main((*line["command"].split()[1:], "--no-host", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert line["result"] == result
    assert line["outcome"] == "ok"
    assert line["axes"] == {"mode": "emulated", "set.guest.hz": 250, "host-perf": "cycles:D"}
    assert list(line["figures"]) == list(figures.DEFAULT)
    assert line["figures"]["overhead"] == result["overhead"]
    assert line["figures"]["lost"] == [c["lost"] for c in result["counters"]]
    assert line["pmupass"] == pmupass.__version__
    assert "error" not in line
    assert "warnings" not in line


def test_troubles_of_a_cell_are_its_line(lines: Callable, tmp_path: Path) -> None:
    """In the order of the cells below; a warning comes with the line as well."""
    (tmp_path / "fails.elf").write_bytes(images.elf(EXIT_THREE))
    (tmp_path / "modern.elf").write_bytes(images.elf(UNIMPLEMENTED))
    (tmp_path / "text.elf").write_text("no image")
    (tmp_path / "deny.toml").write_text('action = "deny"\n')
    found = lines("""
[common]
mode = "native"
time = "1ms"
[[cell]]
workload = "perf-stat"
cpu = "zen3"
mode = "mediated"
[[cell]]
workload = "perf-stat"
freq = 1000
[[cell]]
workload = "perf-stat"
event = "slots"
cpu = "zen4"
[[cell]]
workload = "./text.elf"
[[cell]]
workload = "./modern.elf"
[[cell]]
workload = "./fails.elf"
[[cell]]
workload = "perf-stat"
filter = "deny.toml"
""")
    assert [line["outcome"] for line in found] == [
        *("refused", "usage", "usage", "input", "model", "guest-failure", "ok")
    ]
    assert "zen3 has no PerfMonV2" in found[0]["error"]
    assert found[1]["error"] == "perf-stat counts; -F and -c are for perf-record"
    assert "zen4 has no slots event" in found[2]["error"]
    assert found[3]["error"].startswith("./text.elf: malformed guest image")
    assert "c5 f8 77" in found[4]["error"]
    assert found[5]["error"] == "the guest reports failure: exit, exit value 3"
    assert found[5]["figures"]["instructions"] == 2  # mov, out
    assert found[6]["warnings"] == ["native has no event filter: deny.toml is not used"]
    assert all(line["figures"] == {} for line in found[:5])


def test_a_bug_is_a_line(lines: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other cells may go well."""

    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(Session, "run", broken)
    (line,) = lines('[[cell]]\nworkload = "perf-stat"\n')
    assert line["outcome"] == "model"
    assert line["error"] == "internal error: ZeroDivisionError: oh; this is a bug in pmupass"


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files")])
def test_what_the_computer_lacks_is_no_result(
    lines: Callable, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(Session, "run", broken)
    with pytest.raises(WorkerError, match=f"cell 1: pmupass run perf-stat: {type(error).__name__}"):
        lines('[[cell]]\nworkload = "perf-stat"\n')


def order(**change: Any) -> Order:
    made: dict[str, Any] = {
        "sweep": "s",
        "version": pmupass.__version__,
        "build": cell.build(),
        "folder": "/",
        "files": (),
        "figures": (),
        "full": False,
    }
    return Order(**{**made, **change})


def test_a_worker_with_another_pmupass() -> None:
    with pytest.raises(WorkerError, match=r"another build of pmupass .* than the sweep \(0.0.1, x"):
        cell.work(order(version="0.0.1", build="x"), Job(1, (), ("perf-stat",)))


def test_a_file_that_changes_while_the_sweep_runs(tmp_path: Path) -> None:
    """For a worker that begins, and for one that finds it bad in the middle."""
    guest = tmp_path / "guest.elf"
    guest.write_bytes(images.elf(images.EXIT_ZERO))
    digest = cell.digest_of_file(str(tmp_path), "guest.elf")
    job = Job(1, (), ("./guest.elf", "--mode=native"))
    mine = order(folder=str(tmp_path), files=(("guest.elf", digest),))
    assert json.loads(cell.work(mine, job))["outcome"] == "ok"
    guest.write_bytes(b"no image")
    with pytest.raises(WorkerError, match=r"guest.elf: changed while the sweep ran"):
        cell.work(mine, job)
    with pytest.raises(WorkerError, match=r"guest.elf: changed while the sweep ran"):
        cell.work(order(folder=str(tmp_path), files=(("guest.elf", digest),), full=True), job)
    guest.unlink()
    with pytest.raises(WorkerError, match=r"guest.elf: No such file"):
        cell.work(mine, job)


def test_the_build_has_every_file_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled core and the guests among them: another compiler may make others."""
    names = {name for name, _ in cell._package(resources.files("pmupass"))}
    assert {"plan.py", "sweep/cell.py", "costs/default.toml", "guests/perf-stat.elf"} <= names
    assert "_core.abi3.so" in names
    assert not any("__pycache__" in name for name in names)
