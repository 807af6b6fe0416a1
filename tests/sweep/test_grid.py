# SPDX-License-Identifier: Apache-2.0
"""From a file to cells, and what is wrong with files."""

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from pmupass.cli.run import command
from pmupass.errors import InputError
from pmupass.sweep import grid, words

Write = Callable[[str], Path]


def commands(path: Path) -> list[str]:
    return [" ".join(job.words) for job in grid.load(path).jobs]


def test_every_value_with_every_other(write: Write) -> None:
    """The last axis changes fastest; a cell has what is common unless an axis says otherwise."""
    path = write("""
[common]
workload = "perf-stat"
time = "1ms"
cpu = "zen4"
[grid]
mode = ["native", "emulated"]
set.guest.hz = [100, 250]
cpu = ["zen5"]
""")
    assert commands(path) == [
        "perf-stat --cpu=zen5 --time=1ms --mode=native --set=guest.hz=100",
        "perf-stat --cpu=zen5 --time=1ms --mode=native --set=guest.hz=250",
        "perf-stat --cpu=zen5 --time=1ms --mode=emulated --set=guest.hz=100",
        "perf-stat --cpu=zen5 --time=1ms --mode=emulated --set=guest.hz=250",
    ]
    first = grid.load(path).jobs[0]
    assert first.cell == 1
    assert dict(first.axes) == {"mode": "native", "set.guest.hz": 100, "cpu": "zen5"}


def test_an_option_is_given_for_each_word_of_an_array(write: Write) -> None:
    path = write("""
[common]
workload = "perf-stat"
seed = 7
[grid]
host-perf = [[], "cycles:D", ["cycles:D", "-t vcpu0 instructions"]]
seed = [[], 1]
""")
    assert commands(path) == [
        "perf-stat",
        "perf-stat --seed=1",
        "perf-stat --host-perf=cycles:D",
        "perf-stat --host-perf=cycles:D --seed=1",
        "perf-stat --host-perf=cycles:D --host-perf=-t vcpu0 instructions",
        "perf-stat --host-perf=cycles:D --host-perf=-t vcpu0 instructions --seed=1",
    ]


def test_named_points_exclusions_and_single_cells(write: Write) -> None:
    """2 modes x 2 points, less one, and one more."""
    path = write("""
[common]
workload = "perf-stat"
[grid]
mode = ["emulated", "mediated"]
[grid.arrangement]
upstream = {}
rfc = { switch = "entry-exit", set.kvm.interception = "rfc2024", set."guest.hz" = 250 }
[[exclude]]
mode = "emulated"
arrangement = ["rfc"]
[[cell]]
mode = "native"
set.guest.pmu = "idle"
""")
    assert commands(path) == [
        "perf-stat --mode=emulated",
        "perf-stat --mode=mediated",
        (
            "perf-stat --switch=entry-exit --mode=mediated "
            "--set=kvm.interception=rfc2024 --set=guest.hz=250"
        ),
        "perf-stat --mode=native --set=guest.pmu=idle",
    ]
    axes = [dict(job.axes) for job in grid.load(path).jobs]
    assert axes[2] == {"mode": "mediated", "arrangement": "rfc"}
    assert axes[3] == {"mode": "native", "set.guest.pmu": "idle"}


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ('mode = "mediated"', 1),  # what the option is by default
        ('mode = ["native", "mediated"]', 0),
        ("seed = 1\nset.guest.hz = 1000", 1),  # the first has the default
        ("set.guest.hz = [1000, 100]", 0),
    ],
)
def test_exclusions_look_at_defaults(write: Write, rule: str, left: int) -> None:
    path = write(f"""
[[cell]]
workload = "perf-stat"
[[cell]]
workload = "perf-stat"
mode = "native"
set.guest.hz = 100
[[cell]]
workload = "exit-storm"
[[exclude]]
workload = "perf-stat"
{rule}
""")
    assert len(grid.load(path).jobs) == left + 1


def test_the_example_of_the_module_is_a_sweep(write: Write) -> None:
    """3 sets of events x 2 rates x (2 modes x 2 points, less one), and one more."""
    assert grid.__doc__
    text = "\n".join(
        line[4:] if line.startswith("    ") else "" for line in grid.__doc__.splitlines()
    )
    sweep = grid.load(write(text))
    assert len(sweep.jobs) == 3 * 2 * 3 + 1
    assert sweep.figures == (("overhead", "overhead"), ("msr_writes", "exits[MSR_WRITE].count"))
    assert sweep.columns == ("mode", "set.guest.hz", "overhead", "msr_writes")


def test_every_option_of_run_can_be_an_axis() -> None:
    """But those that say where the output goes; flags would need a word of their own."""
    names = set(words.options())
    for parameter in command.params:
        long = parameter.opts[-1].removeprefix("--")
        if long in ("json", "flamegraph", "folded", "no-host", "help"):
            assert long not in names
        else:
            assert long in names, long
            assert not (isinstance(parameter, click.Option) and parameter.is_flag)
    assert {"workload", "mode", "cpu", "switch", "seed", "set", "costs", "host", "event"} <= names


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "no cells: a sweep has [grid], with at least one axis, or [[cell]]"),
        ("x = [", ": Invalid value"),
        ("[gird]\n", ":1: gird: no such key; did you mean grid?"),
        ("grid = 1\n", ":1: grid: a table: write [grid]"),
        ("[cell]\n", ":1: cell: tables: write [[cell]]"),
        ('[grid]\ncpuu = ["zen4"]\n', ":2: grid.cpuu: no such option; did you mean cpu?"),
        ("[grid]\nF = [1000]\n", ":2: grid.F: no such option; did you mean freq?"),
        ('[grid]\njson = ["x"]\n', ":2: grid.json: no such option"),
        ('[grid]\ncpu = ["zen4",\n"zen9"]\n', ":3: grid.cpu: no CPU model 'zen9'"),
        ('[grid]\nmode = ["nativ"]\n', ":2: grid.mode:\nno mode 'nativ'; did you mean native?"),
        ('[grid]\nswitch = ["lasy"]\n', ":2: grid.switch:\n--switch lasy: no such policy"),
        ('[grid]\nhost = ["idel"]\n', ":2: grid.host:\n--host idel: no such scenario"),
        ('[grid]\nworkload = ["perf"]\n', ":2: grid.workload:\nno workload 'perf'"),
        ('[grid]\ntime = ["1ms", "1"]\n', ":2: grid.time: --time 1: write a number and ns"),
        ('[grid]\nseed = [1, "x"]\n', ":2: grid.seed: Invalid value for '--seed'"),
        ("[grid]\nseed = [[1, 2]]\n", ":2: grid.seed: seed is given once"),
        ("[grid]\nseed = 1\n", ":2: grid.seed: an axis is an array of values"),
        ("[grid]\nseed = []\n", ":2: grid.seed: an axis without values"),
        ("[grid]\nseed = [1.5]\n", ":2: grid.seed: text, a whole number, true or false"),
        ("[grid]\nseed = [1, 2, 1]\n", ":2: grid.seed: 1 says what another one says"),
        (
            "[grid]\nset.kvm.elide_wrmsr = [1, true]\n",
            ":2: grid.set.kvm.elide_wrmsr: true says what another one says",
        ),
        (
            "[grid]\nseed = [1, 2]\n[[exclude]]\nseed = [1, 2]\n",
            "no cells: [[exclude]] leaves none of 2",
        ),
        ("[grid.seed]\na = {}\n", ":1: grid.seed: an axis is an array"),
        ("[grid.a]\nx = 1\n", ":2: grid.a.x: a table of options"),
        ("[grid]\nset = [1]\n", ":2: grid.set: settings with their keys"),
        (
            "[grid]\nset.guest.hzz = [1]\n",
            ":2: grid.set.guest.hzz: --set guest.hzz: no such setting",
        ),
        (
            "[grid]\nset.guest.hz = [100, 99999]\n",
            ":2: grid.set.guest.hz: --set guest.hz=99999: valid values are whole numbers from 0",
        ),
        ("[grid]\nset.cost.wrmsrr = [1]\n", "no setting cost.wrmsrr; did you mean cost.wrmsr"),
        ("[grid]\nset.cpu.skidd = [1]\n", "no setting cpu.skidd; there is cpu.* with"),
        ("[grid]\nset.profile.branchez = [1]\n", ":2: grid.set.profile.branchez:"),
        ('[grid]\nevent = ["cycles", "cyclez"]\n', ":2: grid.event:\nevent syntax error: 'cyclez'"),
        ('[grid]\nhost-perf = ["cyclez:D"]\n', ":2: grid.host-perf:\n"),
        ("[grid]\nseed = [1]\n[grid.a]\nx = { seed = 2 }\n", "grid.a: seed is said by seed, too"),
        ('[grid]\nmode = ["native"]\n', "cell 1: pmupass run --mode=native: WORKLOAD is missing"),
        (
            '[grid]\nworkload = ["perf-record"]\nfreq = [1]\ncount = [1]\n',
            "--count=1: -F and -c exclude each other",
        ),
        (
            '[[cell]]\nworkload = "perf-stat"\n[[cell]]\nworkload = "perf-stat"\n',
            "cells 1 and 2 are the same",
        ),
        ('[grid]\nworkload = ["./no.elf"]\n', "no.elf: no such file"),
        (
            '[grid]\nworkload = ["perf-stat"]\nfilter = ["architectral"]\n',
            "architectral: no such file; did you mean architectural?",
        ),
        ('[grid]\nworkload = ["perf-stat"]\n[[exclude]]\nseed = 2\n', ":3: exclude[0]: no cell is"),
        (
            '[grid]\nworkload = ["perf-stat"]\n[grid.a]\nhere = {}\n[[exclude]]\na = "heer"\n',
            ":6: exclude[0].a: no point 'heer'; did you mean here?",
        ),
        (
            '[grid]\nworkload = ["perf-stat"]\n[figures]\nx = "overhed"\n',
            ":4: figures.x: overhed: no key 'overhed'; did you mean overhead?",
        ),
        ('[grid]\nworkload = ["perf-stat"]\n[figures]\nx = 1\n', ":4: figures.x: a path into"),
        (
            '[grid]\nworkload = ["perf-stat"]\n[figures]\nworkload = "overhead"\n',
            ":4: figures.workload: workload is a column of the cells already",
        ),
        (
            'columns = ["workload",\n"overhed"]\n[grid]\nworkload = ["perf-stat"]\n',
            ":2: columns: 'overhed': no such axis or figure; did you mean overhead?",
        ),
        ('columns = 1\n[grid]\nworkload = ["perf-stat"]\n', ":1: columns: an array of names"),
        ('full = 1\n[grid]\nworkload = ["perf-stat"]\n', ":1: full: true or false"),
    ],
)
def test_what_is_wrong_where(write: Write, text: str, error: str) -> None:
    path = write(text)
    with pytest.raises(InputError) as raised:
        grid.load(path)
    assert str(raised.value).startswith(str(path))
    assert error in str(raised.value)


def test_too_many_cells_are_refused_before_they_are_made(write: Write) -> None:
    """100 x 100 x 100."""
    seeds = ", ".join(map(str, range(100)))
    path = write(
        f'[common]\nworkload = "perf-stat"\n[grid]\nseed = [{seeds}]\n'
        f"set.guest.hz = [{seeds}]\nset.guest.phase_us = [{seeds}]\n"
    )
    with pytest.raises(InputError, match=r"grid: 1,000,000 cells; 100,000 at most"):
        grid.load(path)


def test_files_are_looked_for_beside_the_sweep(write: Write, tmp_path: Path) -> None:
    """All that cells can name, each once, as written there."""
    for name in ("guest.elf", "deny.toml", "late.toml", "costs.toml", "msrs.toml", "a.env"):
        (tmp_path / name).write_text("" if name != "costs.toml" else "wrmsr = 90\n")
    path = write("""
[common]
workload = "./guest.elf"
costs = "costs.toml"
filter = ["deny.toml", "late.toml@1ms"]
vm = "guest.elf --filter deny.toml"
[grid]
seed = [1, 2]
set.kvm.msr_filter = ["msrs.toml"]
set.guest.env_file = ["a.env"]
""")
    assert sorted(grid.load(path).files) == [
        *("a.env", "costs.toml", "deny.toml", "guest.elf", "late.toml", "msrs.toml")
    ]
    (tmp_path / "late.toml").unlink()
    with pytest.raises(InputError, match=r"late.toml: no such file"):
        grid.load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.toml: No such file"):
        grid.load(tmp_path / "none.toml")
