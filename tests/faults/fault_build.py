# SPDX-License-Identifier: Apache-2.0
"""A build of pmupass with the faults of csrc/base/faults.def in it, and tests run in it.

The build is an environment of its own, which finds everything but pmupass in the one it was made
from. ``PMUPASS_FAULT`` names the fault; csrc/base/fault.h says what it does in the core.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAULTS_DEF = ROOT / "csrc" / "base" / "faults.def"
CAUGHT = Path(__file__).resolve().parent / "caught.toml"
OPTIONS = ("-Dfaults=true", "-Doptimization=1")
TIMEOUT_SECONDS = 600
VARIABLE = "PMUPASS_FAULT"

# What a sanitizer build needs in Python and this build must not have (tests/conftest.py).
PRELOADED = ("LD_PRELOAD", "PYTHONMALLOC", "ASAN_OPTIONS", "UBSAN_OPTIONS")


@dataclass(frozen=True)
class Fault:
    """An entry of faults.def."""

    name: str
    rule: str  # of docs/rules.toml
    text: str


def faults() -> list[Fault]:
    """Return csrc/base/faults.def, in its order."""
    text = FAULTS_DEF.read_text(encoding="utf-8")
    return [
        Fault(*e) for e in re.findall(r'^FAULT\((\w+), "([^"]+)", "([^"]+)"\)$', text, re.MULTILINE)
    ]


def caught() -> dict[str, str]:
    """Return the test that finds each fault first."""
    table: dict[str, str] = tomllib.loads(CAUGHT.read_text(encoding="utf-8"))
    return table


@dataclass(frozen=True)
class Outcome:
    """What a run of pytest came to."""

    status: int
    failed: tuple[str, ...]
    text: str


class FaultBuild:
    """The build in a folder, made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        if not (folder / "done").exists():
            self._make()
            (folder / "done").touch()

    def _make(self) -> None:
        venv = self.folder / "venv"
        _tool(sys.executable, "-m", "venv", "--clear", "--without-pip", str(venv))
        # Folders that a .pth file names are looked into, but their own .pth files are not read: a
        # pmupass that is installed in editable form stays out.
        site = next((venv / "lib").glob("python3.*")) / "site-packages"
        parents = [entry for entry in sys.path if Path(entry).name == "site-packages"]
        (site / "parents.pth").write_text("\n".join(parents) + "\n", encoding="utf-8")
        _tool(
            *(sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet"),
            *("--no-build-isolation", "--no-deps", "--ignore-installed"),
            f"-Cbuild-dir={self.folder / 'meson'}",
            *(f"-Csetup-args={option}" for option in OPTIONS),
            str(ROOT),
        )

    def run(self, tests: list[str], fault: str | None, *options: str) -> Outcome:
        """Run tests of the suite with a fault, or with none; up to the first failure with -x."""
        environment = _environment() | {
            "PMUPASS_C_BUILD": str(self.folder / "c-tests"),
            "PMUPASS_MESON_ARGS": shlex.join(OPTIONS),
            "COLUMNS": "1000",  # names of failed tests stay whole
        }
        environment.pop(VARIABLE, None)
        if fault is not None:
            environment[VARIABLE] = fault
        command = [str(self.python), "-m", "pytest", "-q", "-rf", "--tb=line", "-m", ""]
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", *options, *tests],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        failed = re.findall(r"^FAILED (\S+::.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
        return Outcome(done.returncode, tuple(failed), done.stdout)


def _environment() -> dict[str, str]:
    drop = (*PRELOADED, "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTEST_ADDOPTS", VARIABLE)
    kept = {name: value for name, value in os.environ.items() if name not in drop}
    kept = {name: value for name, value in kept.items() if not name.startswith("PYTEST_")}
    # meson and ninja are the parent's.
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return kept


def _tool(*command: str) -> None:
    done = subprocess.run(
        command, env=_environment(), capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
