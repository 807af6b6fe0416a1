# SPDX-License-Identifier: Apache-2.0
"""Each rule of docs/rules.toml is held by tests that exist, or says why it is not."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = tomllib.loads((ROOT / "docs" / "rules.toml").read_text(encoding="utf-8"))["part"]
RULES: list[dict[str, Any]] = [rule for part in PARTS for rule in part["rule"]]
IN_THE_LIST = 50


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the tests of a file: functions of Python, TEST(name) of C."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".c"):
        return frozenset(re.findall(r"^TEST\((\w+)\)", text, re.MULTILINE))
    tree = ast.parse(text)
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_the_list_is_whole() -> None:
    """Rules 1 to 50, each once, and no other name twice."""
    ids = [rule["id"] for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert [rule["id"] for rule in PARTS[0]["rule"]] == [str(n + 1) for n in range(IN_THE_LIST)]


@pytest.mark.parametrize("rule", RULES, ids=[rule["id"] for rule in RULES])
def test_a_rule_is_held_or_absent(rule: dict[str, Any]) -> None:
    """Its tests are there; without tests it says why; nothing else is said of it."""
    kinds = [kind for kind in ("tests", "absent", "open") if rule.get(kind)]
    assert len(kinds) == 1, rule["rule"]
    assert set(rule) <= {"id", "rule", "partly", *kinds}
    for test in rule.get("tests", ()):
        path, _, name = test.partition("::")
        assert name in names_in(path), f"{test} is no test"
