# SPDX-License-Identifier: Apache-2.0
"""The comparison with Unicorn: that both sides do the same; how fast they are is not tested."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

if "libasan" in os.environ.get("LD_PRELOAD", ""):
    pytest.skip("compiles and loads code of others, without ASan", allow_module_level=True)

pytest.importorskip("unicorn", reason="unicorn is a development dependency")


@pytest.fixture
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("vs_unicorn")


def test_both_sides_execute_the_same_instructions(root: Path, script: ModuleType) -> None:
    done = subprocess.run(
        [sys.executable, str(root / "bench" / "vs_unicorn.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    agreed = {line.split(":")[0] for line in done.stdout.splitlines() if "same registers" in line}
    assert agreed == {guest.name for guest in script.MIXES}


def test_a_guest_that_does_something_else_is_found(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One side gets another number of rounds than the other."""
    alu, run = script.MIXES[0], script.run_pmupass
    monkeypatch.setattr(script, "run_pmupass", lambda _image: run(alu.image(11)))
    with pytest.raises(SystemExit, match="executed"):
        script.check(script.Unicorn(tmp_path), alu, 10)


@pytest.mark.parametrize(
    ("insn", "memory", "status"),
    [
        ((2.6, 2.6), (3.1, 3.1), 0),
        ((2.4, 2.4), (3.1, 3.1), 1),
        ((2.6, 2.6), (2.9, 2.9), 1),
        ((1.6, 4.0), (3.1, 3.1), 0),  # sqrt(1.6 * 4) = 2.53
        ((1.5, 4.0), (3.1, 3.1), 1),  # sqrt(1.5 * 4) = 2.45
    ],
)
def test_geometric_means_decide_the_exit_status(
    script: ModuleType, insn: tuple[float, float], memory: tuple[float, float], status: int
) -> None:
    rows = [
        script.Row(name, 1, 1.0, {"insn": insn[n], "insn+mem": memory[n], "block": 1.0})
        for n, name in enumerate("ab")
    ]
    assert script.verdict(rows) == status
