# SPDX-License-Identifier: Apache-2.0
"""The whole guests that test_guests.py runs in lock-step, and how it calls the judge."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import unicorn_judge

from pmupass.config import Mode
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.workloads import Workload

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 32 << 20
STOP_EXIT, STOP_HALTED = 1, 2  # enum pp_stop

COUNT = re.compile(r"^# ([a-z0-9]+) (\d+)$", re.MULTILINE)
NAMED = re.compile(r"^# (given|reviewed) (\d+)(?: of |: )(.*)$", re.MULTILINE)
VECTOR = re.compile(r"^# vector (\d+): (\d+)$", re.MULTILINE)


def script(path: str) -> ModuleType:
    """Return a module of the source tree that is no part of the package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Guest:
    """An image and the machine that it runs on."""

    name: str
    image: bytes
    mode: Mode = Mode.NATIVE
    cpu: str = "sapphire-rapids"
    builtin: dict[str, Any] = field(default_factory=dict)  # options of a built-in guest

    def plan(self) -> Plan:
        """Return the experiment, as the command line would have it."""
        if self.builtin:
            return Plan(Options(self.name, cpu=self.cpu, host=False, **self.builtin))
        options = Options("judge", cpu=self.cpu, host=False)
        return Plan(options, Workload("judge", "", data=self.image))


class Judged(unicorn_judge.Said):
    """What the judge said of one guest."""

    def __getitem__(self, name: str) -> int:
        """Return one of its counts."""
        return {k: int(v) for k, v in COUNT.findall(self.text)}[name]

    @property
    def given(self) -> dict[str, int]:
        """Return how many outcomes Unicorn was given, by kind."""
        return {text: int(n) for what, n, text in NAMED.findall(self.text) if what == "given"}

    @property
    def reviewed(self) -> dict[str, int]:
        """Return how often a reviewed difference came up, by its reason."""
        return {text: int(n) for what, n, text in NAMED.findall(self.text) if what == "reviewed"}

    @property
    def vectors(self) -> dict[int, int]:
        """Return how many exceptions there were, by vector."""
        return {int(vector): int(n) for vector, n in VECTOR.findall(self.text)}


def judge(
    program: Path, folder: Path, guest: Guest, *, stride: int = 1, spoil: tuple[int, ...] = ()
) -> Judged:
    """Run the judge on a guest; ``spoil`` is what and when, see judge_guests.c."""
    configs = script("tests/fuzz/configs.py")
    config = guest.plan().config(guest.mode, perf=bool(guest.builtin))
    image, machine = folder / "image", folder / "machine"
    image.write_bytes(config.image)
    configs.write_records(machine, [configs.record(config, MEMORY)])
    said = unicorn_judge.run(program, machine, 0, image, config.cmdline, stride, 1, *spoil)
    return Judged(said.status, said.text)
