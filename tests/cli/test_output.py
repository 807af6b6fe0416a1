# SPDX-License-Identifier: Apache-2.0
"""JSON goes to stdout alone, or into a file whole; mistakes are caught before anything runs."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pmupass.cli import output
from pmupass.errors import InputError


def test_json_must_not_swallow_the_workload(pmupass: Callable) -> None:
    outcome = pmupass("run", "--json", "perf-stat")
    assert outcome.status == 2
    outcome = pmupass("run", "--json", "perf-stat", "perf-stat")
    assert outcome.status == 2
    assert "--json took 'perf-stat' as the file" in outcome.err
    assert pmupass("run", "--json", "speed", "perf-stat").status == 2
    outcome = pmupass("bench", "--json", "speed")
    assert outcome.status == 2
    assert "pmupass bench speed --json" in outcome.err


def test_a_folder_that_is_not_there_is_found_early(pmupass: Callable, tmp_path: Path) -> None:
    outcome = pmupass("run", "perf-stat", f"--json={tmp_path}/absent/x.json")
    assert outcome.status == 3
    assert "there is no folder" in outcome.err
    assert pmupass("run", "perf-stat", f"--json={tmp_path}").status == 3


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")
    output.write_whole(target, b"new")
    assert target.read_bytes() == b"new"

    def fails(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(InputError, match="No space left"):
        output.write_whole(target, b"newer")
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_device_or_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """--json=/dev/null, given by root, made a file of it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        output.write_whole(pipe, b"{}")
        assert os.read(reader, 10) == b"{}"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    output.write_whole(link, b"x")
    assert link.is_symlink()
    assert target.read_bytes() == b"x"


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    target, plain = tmp_path / "a", tmp_path / "b"
    output.write_whole(target, b"x")
    plain.touch()
    assert target.stat().st_mode == plain.stat().st_mode


def test_reports_are_not_coloured_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    from pmupass.report import console

    monkeypatch.delenv("FORCE_COLOR", raising=False)
    out = io.StringIO()
    console.make(file=out).print("x", style="bold red")
    assert out.getvalue() == "x\n"
