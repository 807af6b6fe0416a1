# SPDX-License-Identifier: Apache-2.0
"""What is complete stays, whatever ends the writing; what is another sweep's is refused."""

from pathlib import Path

import msgspec
import pytest

from pmupass.errors import InputError
from pmupass.results import SweepLine
from pmupass.sweep.journal import Identity, Journal

MINE = Identity("pmupass.sweep-begun/1", "1.0", "b1", "s1", "c1", "k1", {"guest.elf": "f1"})


def line(cell: int, *, sweep: str = "s1", pmupass: str = "1.0") -> bytes:
    found = SweepLine(
        pmupass=pmupass,
        sweep=sweep,
        cell=cell,
        axes={"seed": cell},
        command="pmupass run perf-stat",
        outcome="ok",
        figures={},
    )
    return msgspec.json.encode(found) + b"\n"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "x.jsonl"


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    return tmp_path / "x.jsonl.partial"


def write(output: Path, *cells: int, mine: Identity = MINE, finish: bool = False) -> None:
    with Journal(output, mine, 3, restart=False) as journal:
        for cell in cells:
            journal.add(cell, line(cell))
        if finish:
            journal.finish()


def read(output: Path, *, mine: Identity = MINE, restart: bool = False) -> list[int]:
    """Return the cells that a new process finds complete."""
    with Journal(output, mine, 3, restart=restart) as journal:
        return sorted(journal.lines)


def test_lines_are_kept_as_they_come_and_written_in_order(output: Path, partial: Path) -> None:
    write(output, 3, 1)
    assert not output.exists()
    assert partial.read_bytes().splitlines(keepends=True)[1:] == [line(3), line(1)]
    assert read(output) == [1, 3]
    write(output, 2, finish=True)
    assert output.read_bytes() == line(1) + line(2) + line(3)
    assert not partial.exists()
    with Journal(output, MINE, 3, restart=False) as journal:
        assert journal.complete
        journal.finish()
    assert not partial.exists()


def test_a_cell_counts_once(output: Path) -> None:
    """The first line of it: a second worker may have done the same one."""
    with Journal(output, MINE, 3, restart=False) as journal:
        journal.add(1, line(1))
        journal.add(1, line(1, pmupass="other"))
        assert journal.in_order() == [line(1)]
    write(output, 1, 2, 3, finish=True)
    assert output.read_bytes() == line(1) + line(2) + line(3)


@pytest.mark.parametrize("length", range(1, len(line(2)) + 1))
def test_half_a_last_line_is_no_line(output: Path, partial: Path, length: int) -> None:
    """Wherever it was cut; a newline behind half of it makes no difference."""
    write(output, 1)
    before = partial.read_bytes()
    whole = length == len(line(2))
    for end in (b"", b"\n"):
        partial.write_bytes(before + line(2)[:length] + end * (not whole))
        cut = length == len(line(2)) - 1 and end  # all but its own newline, which is there
        assert read(output) == ([1, 2] if whole or cut else [1])
        if not (whole or cut):
            assert partial.read_bytes() == before


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_half_a_first_line_is_the_beginning(output: Path, partial: Path, length: int) -> None:
    write(output, 1)
    partial.write_bytes(partial.read_bytes()[:length])
    assert read(output) == []
    assert not partial.exists()  # nothing is complete


def test_a_bad_line_before_the_last_is_refused(output: Path, partial: Path) -> None:
    """Nothing that pmupass does leaves one."""
    write(output, 1, 2)
    partial.write_bytes(partial.read_bytes().replace(b'"cell":1', b'"cell":!'))
    with pytest.raises(InputError, match=r"x.jsonl.partial:2: no line of a sweep; --restart"):
        read(output)
    assert read(output, restart=True) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": "1.1"}, "pmupass 1.0 began it, this is 1.1"),
        ({"cells": "c2", "sweep": "s2"}, "it is of other cells: the sweep has changed since"),
        ({"kept": "k2", "sweep": "s2"}, "it keeps other figures"),
        ({"files": {"guest.elf": "f2"}, "sweep": "s2"}, "guest.elf has changed since"),
        ({"build": "b2"}, "another build of pmupass 1.0 began it"),
    ],
)
def test_another_sweep_does_not_go_on(
    output: Path, partial: Path, change: dict[str, str], why: str
) -> None:
    write(output, 1, 2)
    before = partial.read_bytes()
    other = msgspec.structs.replace(MINE, **change)
    with pytest.raises(InputError, match=f"cannot go on with it: {why}.*--restart"):
        read(output, mine=other)
    assert partial.read_bytes() == before
    assert read(output) == [1, 2]
    assert read(output, mine=other, restart=True) == []
    assert not partial.exists()


def test_a_first_line_alone_binds_nobody(output: Path, partial: Path) -> None:
    """It was begun, and killed before anything was complete."""
    write(output, 1)
    partial.write_bytes(partial.read_bytes().splitlines(keepends=True)[0])
    assert read(output, mine=msgspec.structs.replace(MINE, sweep="s2")) == []


def test_results_of_another_sweep_are_not_replaced(output: Path) -> None:
    write(output, 1, 2, 3, finish=True)
    before = output.read_bytes()
    other = msgspec.structs.replace(MINE, sweep="s2")
    with pytest.raises(InputError, match=r"x.jsonl: of another sweep.*--restart"):
        read(output, mine=other)
    with pytest.raises(InputError, match=r"\(pmupass 1.0\); --restart"):
        read(output, mine=msgspec.structs.replace(MINE, version="2"))
    assert read(output, mine=other, restart=True) == []
    assert output.read_bytes() == before  # until there is something to replace it
    with Journal(output, other, 1, restart=True) as journal:
        journal.add(1, line(1, sweep="s2"))
    # What was begun anew goes on without saying so again.
    with Journal(output, other, 1, restart=False) as journal:
        assert journal.complete
        journal.finish()
    assert output.read_bytes() == line(1, sweep="s2")


def test_results_that_are_not_all_there(output: Path) -> None:
    write(output, 1, 2, 3, finish=True)
    output.write_bytes(line(1) + line(3))
    with pytest.raises(InputError, match=r"x.jsonl: 2 of 3 lines; --restart"):
        read(output)
    assert read(output, restart=True) == []


@pytest.mark.parametrize("restart", [False, True])
def test_files_that_are_no_sweeps_are_left_alone(
    output: Path, partial: Path, restart: bool
) -> None:
    output.write_text("dear diary\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"x.jsonl:1: no line of a sweep; -o names another"):
        read(output, restart=restart)
    output.unlink()
    partial.write_text("dear diary\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"x.jsonl.partial: not of a sweep; -o names another"):
        read(output, restart=restart)
    assert partial.read_text(encoding="utf-8") == "dear diary\n"


def test_one_process_at_a_time(output: Path) -> None:
    with Journal(output, MINE, 3, restart=False) as journal:
        journal.add(1, line(1))
        with pytest.raises(InputError, match="another pmupass sweep is writing it"):
            read(output)
    assert read(output) == [1]
