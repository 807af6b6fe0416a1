# SPDX-License-Identifier: Apache-2.0
"""The command, with real processes: any number of workers, and whatever ends them."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import pmupass
from pmupass.sweep import cell, processes
from pmupass.sweep.cell import Job, Order, WorkerError
from pmupass.sweep.processes import Processes

CELLS = 12  # of conftest.GRID
# Enough for an interruption in the middle.
LONG = """
[common]
workload = "perf-record"
time = "5ms"
[grid]
mode = ["emulated", "mediated"]
seed = [{seeds}]
""".format(seeds=", ".join(map(str, range(20))))


def test_the_same_bytes_for_any_number_of_workers(folder) -> None:
    texts = []
    for workers in ("1", "2", "5"):
        outcome = folder.run("--workers", workers, "--restart")
        assert outcome.status == 0, outcome.err
        assert outcome.err == "pmupass: 12 cells: 12 ok\n"
        assert not folder.partial.exists()
        texts.append(folder.lines_file.read_bytes())
    assert texts[0] == texts[1] == texts[2]
    assert [line["cell"] for line in folder.documents] == list(range(1, CELLS + 1))
    assert {line["outcome"] for line in folder.documents} == {"ok"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_an_interruption_and_the_rest(folder, how: signal.Signals) -> None:
    """What is complete stays, and what comes of both is what one run makes."""
    folder.write(LONG)
    stopped = folder.stop(folder.start("--workers", "2"), 5, how)
    complete = folder.partial.read_bytes().splitlines(keepends=True)[1:]
    assert 5 <= len(complete) < 40
    assert not folder.lines_file.exists()
    if how is signal.SIGINT:
        assert stopped.status == 130
        assert "Traceback" not in stopped.err
        assert "interrupted; the same command goes on" in stopped.err
        assert f"pmupass: {len(complete)} of 40 cells: {len(complete)} ok\n" in stopped.err
    else:
        assert stopped.status == -how
        assert stopped.err == ""
    # Half a line, as a kill in the middle of a write would leave it.
    with folder.partial.open("ab") as file:
        file.write(complete[0][:100])
    resumed = folder.run("--workers", "2")
    assert resumed.status == 0, resumed.err
    assert f"going on: {len(complete)} of 40 cells are complete\n" in resumed.err
    text = folder.lines_file.read_bytes()
    assert set(complete) <= set(text.splitlines(keepends=True))
    assert [line["cell"] for line in folder.documents] == list(range(1, 41))
    assert folder.run("--restart", "--workers", "1").status == 0
    assert folder.lines_file.read_bytes() == text


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    return [int(word) for word in text.split()]


def workers_of(pid: int) -> list[int]:
    """Return the workers of a sweep; multiprocessing has a process of its own beside them."""
    found = []
    for child in children(pid):
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if b"--multiprocessing-fork" in words:
            found.append(child)
    return found


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def complete(folder) -> int:
    return len(folder.partial.read_bytes().splitlines()) - 1 if folder.partial.exists() else 0


def test_a_worker_that_dies_has_a_successor(folder) -> None:
    """Its cell is run again: nothing is lost, nothing twice."""
    folder.write(LONG)
    process = folder.start("--workers", "2")
    wait_for(lambda: complete(folder) >= 5)
    killed = workers_of(process.pid)
    assert len(killed) == 2
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err == "pmupass: 40 cells: 40 ok\n"
    assert [line["cell"] for line in folder.documents] == list(range(1, 41))
    text = folder.lines_file.read_bytes()
    assert folder.run("--restart", "--workers", "1").status == 0
    assert folder.lines_file.read_bytes() == text
    assert out


def test_workers_end_with_their_parent(folder) -> None:
    """Also if it gets no chance to say so, and they are in the middle of a cell."""
    folder.write('[[cell]]\nworkload = "perf-stat"\ntime = "1000s"\nset.guest.chunk = 1\n')
    process = folder.start("--workers", "1")
    wait_for(lambda: workers_of(process.pid))
    (worker,) = workers_of(process.pid)
    # It works: it has used some processor time since.
    wait_for(lambda: _ticks(worker) > 50)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    wait_for(lambda: not _runs(worker))
    assert not folder.partial.exists() or complete(folder) == 0


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime, stime


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_cell_that_no_worker_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order asks workers to die: its figures are no figures, and parsing them fails badly."""
    order = Order(
        sweep="s",
        version=pmupass.__version__,
        build=cell.build(),
        folder="/",
        files=(),
        figures=_Deadly(),  # type: ignore[arg-type]
        full=False,
    )
    jobs = [Job(1, (), ("perf-stat", "--time=1ms"))]
    with Processes(order, 1) as crew, pytest.raises(WorkerError) as raised:
        list(crew.lines(jobs))
    assert "cell 1: pmupass run perf-stat --time=1ms\n" in str(raised.value)
    assert "its worker died 3 times, the last time by SIGKILL" in str(raised.value)


class _Deadly(tuple):
    """What kills the process that unpickles it."""

    __slots__ = ()

    def __reduce__(self) -> tuple:
        return os.kill, (_Self(), signal.SIGKILL)


class _Self:
    """The number of the process that unpickles it."""

    def __reduce__(self) -> tuple:
        return os.getpid, ()


def test_workers_are_no_more_than_cells(folder) -> None:
    """One cell, one process: the others would start for nothing."""
    order = Order("s", pmupass.__version__, cell.build(), "/", (), (), full=False)
    with Processes(order, 8) as crew:
        found = [x for x in crew.lines([Job(7, (), ("perf-stat", "--time=1ms"))]) if x]
        assert len(crew._workers) == 1
    ((number, line),) = found
    assert number == 7
    assert json.loads(line)["outcome"] == "ok"


def test_an_error_of_the_worker_ends_the_sweep(folder) -> None:
    """A file that changes is no result; what was complete before stays."""
    order = Order("s", "0.0", "another build", "/", (), (), full=False)
    with Processes(order, 1) as crew, pytest.raises(WorkerError, match="another build of pmupass"):
        list(crew.lines([Job(1, (), ("perf-stat",))]))
    assert processes.TRIES == 3


def test_a_changed_sweep_is_refused(folder) -> None:
    folder.write(LONG)
    folder.stop(folder.start("--workers", "1"), 3, signal.SIGKILL)
    before = folder.partial.read_bytes()
    # Words that make no difference to the cells may change.
    folder.write(LONG.replace('"5ms"', '"4ms"'))
    outcome = folder.run()
    assert outcome.status == 3
    assert outcome.err == (
        "pmupass: sweep.jsonl.partial: cannot go on with it: it is of other cells: the sweep has "
        "changed since; --restart begins anew, -o names another file\n"
    )
    assert folder.partial.read_bytes() == before
    folder.write("# a comment\n" + LONG)
    assert folder.stop(folder.start("--workers", "1"), 8, signal.SIGINT).status == 130
    assert folder.partial.read_bytes().startswith(before[: before.rfind(b"\n") + 1])


def test_two_at_a_time_are_one_too_many(folder) -> None:
    folder.write(LONG)
    process = folder.start("--workers", "1")
    wait_for(lambda: complete(folder) >= 1)
    second = folder.run("--workers", "1")
    assert process.poll() is None
    assert second.status == 3
    assert "another pmupass sweep is writing it" in second.err
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)


def test_the_workers_start_without_what_only_the_parent_needs() -> None:
    """No tables, no Dask: start-up is paid once for each worker."""
    code = (
        "import sys, pmupass.sweep.processes\n"
        "bad = {'rich', 'distributed', 'dask'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run(
        ["python", "-c", code], capture_output=True, text=True, check=False, timeout=60, cwd="/"
    )
    assert done.returncode == 0, done.stderr
