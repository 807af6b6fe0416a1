# SPDX-License-Identifier: Apache-2.0
"""The command line starts fast, and main() is where errors are printed."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pmupass.cli
from pmupass.errors import ExitStatus, ModelError

HEAVY = (
    "rich",
    "msgspec",
    "pmupass._core",
    "pmupass.core",
    "cffi",
    "tomllib",
    "importlib.metadata",
)


def test_help_imports_nothing_heavy() -> None:
    """Not rich, not msgspec, not the compiled core: that is what keeps --help under 150 ms."""
    code = (
        "import sys, pmupass.cli\n"
        "status = pmupass.cli.main(['--help'])\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(status or (1 if heavy else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", pmupass.cli.COMMANDS)
def test_every_command_has_help(pmupass: Callable, name: str) -> None:
    outcome = pmupass(name, "--help")
    assert outcome.status == 0
    assert outcome.out.startswith(f"Usage: pmupass {name}")


def test_help_lists_exit_statuses_and_commands(pmupass: Callable) -> None:
    outcome = pmupass("--help")
    assert "130 interrupted" in outcome.out
    assert "diff-modes" in outcome.out


def test_a_missing_command_is_a_usage_error(pmupass: Callable) -> None:
    assert pmupass("rum").status == 2
    assert pmupass("run").status == 2
    assert pmupass("run", "perf-stat", "--frobnicate").status == 2


def test_a_bug_is_one_line_unless_somebody_debugs(
    pmupass: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_name: str) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("pmupass.workloads.find", broken)
    monkeypatch.delenv("PMUPASS_DEBUG", raising=False)
    outcome = pmupass("run", "perf-stat")
    assert outcome.status == 4
    assert "internal error: ZeroDivisionError: oh" in outcome.err
    assert "Traceback" not in outcome.err
    monkeypatch.setenv("PMUPASS_DEBUG", "1")
    assert "Traceback" in pmupass("run", "perf-stat").err


def test_a_broken_model_is_status_4(pmupass: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_name: str) -> None:
        raise ModelError("the invariant x is broken")

    monkeypatch.setattr("pmupass.workloads.find", broken)
    outcome = pmupass("run", "perf-stat")
    assert outcome.status == 4
    assert outcome.err == "pmupass: the invariant x is broken\n"


def test_an_interrupt_is_status_130(pmupass: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pmupass.workloads.find", interrupted)
    assert pmupass("run", "perf-stat").status == 130


def test_the_console_script_gives_the_status_to_the_shell() -> None:
    done = subprocess.run(
        ["pmupass", "run", "perf-recrod"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "did you mean perf-record" in done.stderr


CLOSED = (
    ("run", "perf-stat", "--time", "1ms"),
    ("run", "perf-stat", "--time", "1ms", "--json"),
    ("list", "events"),
    ("--help",),
    ("run", "--help"),
)


@pytest.mark.parametrize("arguments", CLOSED, ids=" ".join)
def test_a_closed_output_is_no_failure_of_the_guest(arguments: tuple[str, ...]) -> None:
    """``pmupass … | head -1`` ended with status 1; SIGPIPE would be 141 in a shell."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        ["pmupass", *arguments], stdout=write, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(write)
    assert done.returncode == ExitStatus.CLOSED_OUTPUT == 141
    assert done.stderr == b""


@pytest.mark.parametrize("arguments", CLOSED, ids=" ".join)
def test_a_full_output_says_so(arguments: tuple[str, ...]) -> None:
    """It was said to be a bug in pmupass."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            ["pmupass", *arguments], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert done.returncode == 3
    assert done.stderr == b"pmupass: the output: No space left on device\n"


def test_help_has_every_exit_status(pmupass: Callable) -> None:
    text = " ".join(pmupass("--help").out.split()).partition("Exit status: ")[2]
    assert [int(n) for n in re.findall(r"(?:^|, )(\d+) ", text)] == list(ExitStatus)
