# SPDX-License-Identifier: Apache-2.0
"""``pmupass sweep``: what it prints, where, and its exit status."""

import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pmupass.bench import images

EXIT_THREE = b"\xb8\x03\x00\x00\x00\xe7\xf4"  # mov eax,3; out 0xf4,eax
UNIMPLEMENTED = b"\xc5\xf8\x77"  # vzeroupper
GRID = """
columns = ["mode", "set.guest.hz", "overhead", "exits", "lost"]
[common]
workload = "perf-record"
time = "1ms"
[grid]
mode = ["emulated", "mediated"]
set.guest.hz = [100, 1000]
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return a function that writes a sweep into the folder that one works in."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        Path("s.toml").write_text(text, encoding="utf-8")
        return "s.toml"

    return write


def test_a_table_on_stdout_and_words_on_stderr(pmupass: Callable, sweep: Callable) -> None:
    outcome = pmupass("sweep", sweep(GRID), "--workers", "1")
    assert outcome.status == 0
    assert outcome.err == "pmupass: 4 cells: 4 ok\n"
    head, rule, *rows = outcome.out.splitlines()
    assert head.split() == ["cell", "mode", "guest.hz", "overhead", "exits", "lost"]
    assert set(rule) == {"─"}
    assert [row.split()[:3] for row in rows] == [
        ["1", "emulated", "100"],
        ["2", "emulated", "1000"],
        ["3", "mediated", "100"],
        ["4", "mediated", "1000"],
    ]
    assert rows[0].split()[3].endswith("%")
    again = pmupass("sweep", "s.toml")
    assert again.out == outcome.out
    assert again.err == (
        "pmupass: s.jsonl: complete already; --restart begins anew\n" + outcome.err
    )


def test_the_lines_go_where_one_says(pmupass: Callable, sweep: Callable) -> None:
    sweep(GRID.replace('["emulated", "mediated"]', '["native"]'))
    assert pmupass("sweep", "s.toml", "-o", "x.jsonl").status == 0
    assert len(Path("x.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert not Path("s.jsonl").exists()


def test_numbers_are_not_broken_where_the_table_is_wide(pmupass: Callable, sweep: Callable) -> None:
    """A number in two lines is another number; the table takes the width that it needs."""
    names = "".join(f'cycles_of_it_{i} = "guest.tsc_cycles"\n' for i in range(12))
    sweep(f'[[cell]]\nworkload = "perf-stat"\ntime = "1ms"\n[figures]\n{names}')
    outcome = pmupass("sweep", "s.toml")
    row = outcome.out.splitlines()[-1].split()
    assert row[2:4] == ["1ms", row[4]]
    assert row[3:] == [row[3]] * 12
    assert row[3].count(",") == 2


def test_no_table(pmupass: Callable, sweep: Callable) -> None:
    text = 'columns = []\n[[cell]]\nworkload = "perf-stat"\ntime = "1ms"\n'
    assert pmupass("sweep", sweep(text)).out == ""


def test_a_dry_run(pmupass: Callable, sweep: Callable) -> None:
    """Each command, and nothing else: no file."""
    outcome = pmupass("sweep", sweep(GRID), "--dry-run")
    assert outcome.status == 0
    assert outcome.out.splitlines()[1] == (
        "cell 2: pmupass run perf-record --time=1ms --mode=emulated --set=guest.hz=1000"
    )
    assert [path.name for path in Path().iterdir()] == ["s.toml"]


@pytest.mark.parametrize(
    ("cells", "status", "summary"),
    [
        (["fails"], 1, "1 guest-failure"),
        (["fails", "refused"], 3, "1 guest-failure, 1 refused"),
        (["usage", "fails"], 3, "1 usage, 1 guest-failure"),
        (["refused", "model", "ok"], 4, "1 refused, 1 model, 1 ok"),
    ],
)
def test_the_status_is_that_of_the_worst_cell(
    pmupass: Callable, sweep: Callable, cells: list[str], status: int, summary: str
) -> None:
    texts = {
        "ok": 'workload = "perf-stat"\nmode = "native"\n',
        "fails": 'workload = "./fails.elf"\nmode = "native"\n',
        "model": 'workload = "./modern.elf"\nmode = "native"\n',
        "refused": 'workload = "perf-stat"\ncpu = "zen3"\n',
        "usage": 'workload = "perf-stat"\nfreq = 1000\n',
    }
    path = sweep('[common]\ntime = "1ms"\n' + "".join(f"[[cell]]\n{texts[c]}" for c in cells))
    Path("fails.elf").write_bytes(images.elf(EXIT_THREE))
    Path("modern.elf").write_bytes(images.elf(UNIMPLEMENTED))
    outcome = pmupass("sweep", path)
    assert outcome.status == status
    assert (
        outcome.err.splitlines()[0]
        == f"pmupass: {len(cells)} cell{'s' * (len(cells) > 1)}: {summary}"
    )
    if "refused" in cells:
        number = cells.index("refused") + 1
        assert f"pmupass: cell {number}: refused:\n         zen3 has no PerfMonV2" in outcome.err
    # The table says which, without being asked.
    assert outcome.out.partition("─")[0].split()[-1] == "outcome"


def test_many_cells_with_one_trouble_are_one_line(pmupass: Callable, sweep: Callable) -> None:
    path = sweep(
        '[common]\nworkload = "perf-stat"\ntime = "1ms"\ncpu = "zen3"\n'
        "columns = 1\n[grid]\nseed = [1, 2, 3]\n".replace("columns = 1\n", "")
    )
    lines = pmupass("sweep", path).err.splitlines()
    assert lines[0] == "pmupass: 3 cells: 3 refused"
    assert lines[1] == "pmupass: cell 1 and 2 more: refused:"
    assert lines[2].startswith("         zen3 has no PerfMonV2")
    assert not any("cell" in line for line in lines[2:])


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (("--workers", "2", "--dask", "x:1"), 2, "--workers and --dask exclude each other"),
        (("--workers", "0"), 2, "--workers 0: a whole number from 1 to 1024"),
        (("-o", "no/x.jsonl"), 3, "--output=no/x.jsonl: there is no folder no"),
        (("-o", "s.toml"), 2, "s.toml: the lines would replace the sweep"),
        (("-o", "."), 3, "--output=.: is a folder"),
    ],
)
def test_options_that_mean_nothing(
    pmupass: Callable, sweep: Callable, arguments: tuple[str, ...], status: int, error: str
) -> None:
    outcome = pmupass("sweep", sweep(GRID), *arguments)
    assert outcome.status == status
    assert error in outcome.err
    assert [path.name for path in Path().iterdir()] == ["s.toml"]


def test_a_file_of_somebody_else_is_left_alone(pmupass: Callable, sweep: Callable) -> None:
    sweep(GRID)
    Path("s.jsonl").write_text("{}\n", encoding="utf-8")
    for restart in ((), ("--restart",)):
        outcome = pmupass("sweep", "s.toml", *restart)
        assert outcome.status == 3
        assert outcome.err == ("pmupass: s.jsonl:1: no line of a sweep; -o names another file\n")
    assert Path("s.jsonl").read_text(encoding="utf-8") == "{}\n"


def test_a_bar_on_a_terminal(sweep: Callable) -> None:
    """With how many cells are complete; none where stderr is no terminal (above)."""
    seeds = ", ".join(map(str, range(60)))
    path = sweep(f'[common]\nworkload = "perf-record"\ntime = "20ms"\n[grid]\nseed = [{seeds}]\n')
    terminal, inside = pty.openpty()
    with subprocess.Popen(
        ["pmupass", "sweep", path, "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=inside,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        os.close(inside)
        seen = b""
        while chunk := _read(terminal):
            seen += chunk
    os.close(terminal)
    assert process.returncode == 0
    assert b" of 60 cells" in seen
    assert "━".encode() in seen
    assert seen.rstrip().endswith(b"pmupass: 60 cells: 60 ok")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # nobody holds the other end any more
        return b""
