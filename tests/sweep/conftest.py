# SPDX-License-Identifier: Apache-2.0
"""Sweeps of small cells, as files and as commands in processes of their own."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Twelve cells of some milliseconds each.
GRID = """
[common]
workload = "perf-record"
time = "2ms"

[grid]
cpu = ["skylake-sp", "sapphire-rapids", "zen4"]
mode = ["emulated", "mediated"]
set.guest.hz = [100, 1000]
"""
CELLS = 12


@dataclass(frozen=True)
class Outcome:
    """What a command printed and returned."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Folder:
    """A folder with a sweep in it."""

    path: Path

    @property
    def file(self) -> Path:
        """The sweep."""
        return self.path / "sweep.toml"

    @property
    def lines_file(self) -> Path:
        """Its results."""
        return self.path / "sweep.jsonl"

    @property
    def partial(self) -> Path:
        """What is complete of them."""
        return self.path / "sweep.jsonl.partial"

    def write(self, text: str) -> None:
        """Make the sweep another one."""
        self.file.write_text(text, encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command in a session of its own, as a shell does."""
        return subprocess.Popen(
            ["pmupass", "sweep", "sweep.toml", *arguments],
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> Outcome:
        """Run the command."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return Outcome(process.returncode, out, err)

    def stop(self, process: subprocess.Popen[str], after: int, how: signal.Signals) -> Outcome:
        """Send the whole session a signal, as a terminal does, once so many cells are complete."""
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if self.partial.exists() and len(self.partial.read_bytes().splitlines()) > after:
                break
            time.sleep(0.005)
        os.killpg(process.pid, how)
        out, err = process.communicate(timeout=60)
        return Outcome(process.returncode, out, err)

    @property
    def documents(self) -> list[Any]:
        """The lines of the results."""
        return [json.loads(line) for line in self.lines_file.read_bytes().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder with the sweep of GRID."""
    made = Folder(tmp_path)
    made.write(GRID)
    return made


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a sweep."""

    def to_file(text: str) -> Path:
        path = tmp_path / "sweep.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file
