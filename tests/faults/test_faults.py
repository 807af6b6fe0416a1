# SPDX-License-Identifier: Apache-2.0
"""Each fault that can be built into the PMU and the vPMU is found by a test of this suite.

The slow form builds pmupass with the faults in it. Without one of them, the tests of caught.toml
pass there; with a fault, the test that caught.toml names for it fails. The quick form holds lists
and hooks together, and tries the mechanism on one C test.
"""

from __future__ import annotations

import ast
import fcntl
import os
import re
import subprocess
import tomllib
from functools import cache
from typing import TYPE_CHECKING

import pytest
from fault_build import PRELOADED, ROOT, VARIABLE, FaultBuild, caught, faults

if TYPE_CHECKING:
    from pathlib import Path

FAULTS = faults()
CAUGHT = caught()
RULES = tomllib.loads((ROOT / "docs" / "rules.toml").read_text(encoding="utf-8"))["part"]
AT_LEAST = 40


# Lists


def hooks() -> dict[str, list[str]]:
    """Return the files of csrc that have each FAULTY(ID), once for each time."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "csrc").rglob("*.[ch]")):
        if path.name == "fault.h":
            continue
        for name in re.findall(r"\bFAULTY\((\w+)\)", path.read_text(encoding="utf-8")):
            found.setdefault(name, []).append(path.name)
    return found


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the test functions of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_the_list_has_each_fault_once() -> None:
    """Every line of the file that begins like an entry is one, and no name comes twice."""
    lines = re.findall(
        r"^FAULT\(", (ROOT / "csrc/base/faults.def").read_text("utf-8"), re.MULTILINE
    )
    names = [fault.name for fault in FAULTS]
    assert len(lines) == len(names) == len(set(names))
    assert len(names) >= AT_LEAST


def test_hooks_and_list_agree() -> None:
    """Every entry has its hook, and every hook its entry; a fault stands in one file."""
    found = hooks()
    assert found.keys() == {fault.name for fault in FAULTS}
    assert {name: files for name, files in found.items() if len(set(files)) > 1} == {}


def test_each_fault_breaks_a_rule_that_is_modelled() -> None:
    """The rule of an entry is one of docs/rules.toml, and not an absent one."""
    rules = {rule["id"]: rule for part in RULES for rule in part["rule"]}
    assert [fault.name for fault in FAULTS if fault.rule not in rules] == []
    assert [fault.name for fault in FAULTS if "absent" in rules[fault.rule]] == []


def test_each_part_of_the_rules_has_a_fault() -> None:
    """No class of rules goes without a fault that breaks it."""
    broken = {fault.rule for fault in FAULTS}
    assert [p["title"] for p in RULES if broken.isdisjoint(r["id"] for r in p["rule"])] == []


def test_each_fault_has_the_test_that_catches_it() -> None:
    """caught.toml names one test for each fault, and it is a test of this suite."""
    assert [*CAUGHT] == [fault.name for fault in FAULTS]
    for name, test in CAUGHT.items():
        path, _, function = test.partition("::")
        assert function.partition("[")[0] in names_in(path), f"{name}: {test} is no test"


# The mechanism, on the event filter alone


def compile_filter(folder: Path) -> Path:
    """Compile tests/c/test_event_filter.c with what it tests, faults built in."""
    program = folder / "test_event_filter"
    sources = ("tests/c/test_event_filter.c", "csrc/kvm/event_filter.c", "csrc/base/fault.c")
    includes = [f"-I{ROOT / folder}" for folder in ("csrc", "tests/c")]
    subprocess.run(
        ["gcc", "-std=c11", "-DPP_FAULTS", *includes, "-o", str(program)]
        + [str(ROOT / source) for source in sources],
        check=True,
        env={k: v for k, v in os.environ.items() if k not in PRELOADED},
        timeout=60,
    )
    return program


def run_filter(program: Path, fault: str | None) -> tuple[int, str]:
    """Run it with a fault; return its status and its output."""
    environment = {k: v for k, v in os.environ.items() if k not in (*PRELOADED, VARIABLE)}
    if fault is not None:
        environment[VARIABLE] = fault
    done = subprocess.run(
        [program], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def test_a_fault_build_has_the_fault_that_is_named(tmp_path: Path) -> None:
    """None without the variable; the one it names; a name that is none ends the program.

    The C test ends with status 0 if all is well, else with 1; fault.c ends with 3.
    """
    program = compile_filter(tmp_path)
    assert run_filter(program, None)[0] == 0
    assert run_filter(program, "NONE")[0] == 0
    assert run_filter(program, "HW_STATUS_NEVER_SET")[0] == 0
    for fault in ("FILTER_IGNORES_UMASK", "FILTER_IGNORES_EXCLUDES"):
        status, text = run_filter(program, fault)
        assert status == 1, text
        assert "not ok" in text
    status, text = run_filter(program, "FILTER_NO_SUCH")
    assert (status, text) == (3, "PMUPASS_FAULT: no fault FILTER_NO_SUCH in csrc/base/faults.def\n")


# All of them


@pytest.fixture(scope="session")
def fault_build(tmp_path_factory: pytest.TempPathFactory) -> FaultBuild:
    """Return the build with the faults in it, made once for all workers of this run."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "fault-build"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return FaultBuild(folder)


@pytest.mark.slow
def test_without_a_fault_the_tests_pass(fault_build: FaultBuild) -> None:
    """The control: what is red below is red because of the fault."""
    outcome = fault_build.run(sorted(set(CAUGHT.values())), None)
    assert outcome.status == 0, outcome.text


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_is_caught(fault_build: FaultBuild, fault: object) -> None:
    """The test that caught.toml names fails, and fails as a test: it is no error of its set-up."""
    assert isinstance(fault, type(FAULTS[0]))
    outcome = fault_build.run([CAUGHT[fault.name]], fault.name)
    assert outcome.status == 1, outcome.text
    assert outcome.failed == (CAUGHT[fault.name],), outcome.text
