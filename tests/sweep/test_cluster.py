# SPDX-License-Identifier: Apache-2.0
"""A Dask cluster of worker processes: the same bytes as here, also when one is killed.

Needs the package distributed, which is in the test extra as in the dask extra.
"""

import os
import re
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

distributed = pytest.importorskip("distributed")

LONG = """
[common]
workload = "perf-record"
time = "5ms"
[grid]
mode = ["emulated", "mediated"]
cpu = ["skylake-sp", "zen3"]
seed = [{seeds}]
""".format(seeds=", ".join(map(str, range(12))))
CELLS = 48


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Return a cluster of two worker processes, which Dask starts again when they die."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as made:
        yield made


def pids(cluster: Any) -> dict[str, int]:
    """Return the process of each worker."""
    with distributed.Client(cluster, set_as_default=False) as client:
        found: dict[str, int] = client.run(os.getpid)
        return found


def test_a_killed_worker_loses_nothing_and_counts_nothing_twice(folder, cluster) -> None:
    """48 cells, of which the 12 mediated ones on zen3 are refused, here and there alike."""
    folder.write(LONG)
    assert folder.run("--workers", "2").status == 3
    here = folder.lines_file.read_bytes()
    before = pids(cluster)
    assert len(before) == 2
    process = folder.start("--dask", cluster.scheduler_address, "--restart")
    _wait_for_lines(folder.partial, 10)
    os.kill(next(iter(before.values())), signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 3, err
    assert "pmupass: 48 cells: 36 ok, 12 refused\n" in err
    assert folder.lines_file.read_bytes() == here
    assert [line["cell"] for line in folder.documents] == list(range(1, CELLS + 1))
    assert set(pids(cluster).values()) != set(before.values())


def _wait_for_lines(path: Path, number: int) -> None:
    import time

    deadline = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") <= number:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_an_interruption_here_goes_on_there(folder, cluster) -> None:
    """And an interruption there goes on here; the cells of the cluster are called off."""
    folder.write(LONG)
    folder.stop(folder.start("--workers", "1"), 5, signal.SIGKILL)
    stopped = folder.stop(folder.start("--dask", cluster.scheduler_address), 20, signal.SIGINT)
    assert stopped.status == 130, stopped.err
    assert "Traceback" not in stopped.err
    with distributed.Client(cluster, set_as_default=False) as client:
        assert not client.processing() or sum(map(len, client.processing().values())) <= 2
    assert folder.run("--workers", "2").status == 3
    text = folder.lines_file.read_bytes()
    assert folder.run("--workers", "2", "--restart").status == 3
    assert folder.lines_file.read_bytes() == text


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("nonsense", "missing port number in address 'nonsense'"),
        ("foo://x:1", "unknown address scheme 'foo'"),
    ],
)
def test_an_address_that_is_none(folder, address: str, error: str) -> None:
    outcome = folder.run("--dask", address)
    assert outcome.status == 3
    assert f"pmupass: --dask {address}: no scheduler answers there: {error}" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not folder.partial.exists()


def test_files_of_cells_are_read_by_the_workers(folder, cluster, tmp_path: Path) -> None:
    """Beside the sweep, wherever a worker was started."""
    (tmp_path / "deny.toml").write_text('action = "deny"\n', encoding="utf-8")
    folder.write('[[cell]]\nworkload = "perf-stat"\ntime = "1ms"\nfilter = "deny.toml"\n')
    assert folder.run("--dask", cluster.scheduler_address).status == 0
    here = folder.lines_file.read_bytes()
    assert folder.run("--restart").status == 0
    assert folder.lines_file.read_bytes() == here


def test_the_test_extra_has_what_the_dask_extra_has(root: Path) -> None:
    """An extra cannot name another one of a package that is on no index."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert extras["dask"]
    assert set(extras["dask"]) <= set(extras["test"])
    assert all(re.match(r"distributed>=\d", requirement) for requirement in extras["dask"])
