# SPDX-License-Identifier: Apache-2.0
"""``pmupass bench``: every figure that the issue asks for, in a document that fits its schema."""

import json
from collections.abc import Callable
from importlib import resources

import jsonschema
import pytest

from pmupass.bench import modes, published, speed


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure shortly: what is tested is that everything is measured."""
    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(speed, "PLAIN_LOOPS", 20_000)
    monkeypatch.setattr(speed, "DIRECT_LOOPS", 5_000)
    monkeypatch.setattr(speed, "EXIT_LOOPS", 1_000)
    monkeypatch.setattr(speed, "PMI_TIME_NS", 5_000_000)
    monkeypatch.setattr(modes, "TIME_NS", 5_000_000)
    monkeypatch.setattr(published, "CELLS", published.CELLS[3:])
    monkeypatch.setattr(published, "PREDICTIONS", published.PREDICTIONS[:1])
    for name in ("TIME_NS", "EXIT_TIME_NS", "HANDLER_TIME_NS"):
        monkeypatch.setattr(published, name, 5_000_000)


def test_speed(pmupass: Callable) -> None:
    outcome = pmupass("bench", "speed", "--json")
    assert outcome.status == 0, outcome.err
    document = outcome.document
    text = (resources.files("pmupass") / "schemas" / "bench.json").read_text(encoding="utf-8")
    jsonschema.validate(document, json.loads(text))
    assert document["host"]["cpu"]
    values = {figure["name"]: figure for figure in document["results"]}
    assert [f["unit"] for f in document["results"][:3]] == ["MIPS"] * 3
    for name in (
        "guest code, plain",
        "guest code, 11 counters",
        "guest code, 11 counters and truth",
        "WRMSR of a selector, native (direct)",
        "WRMSR of a selector, emulated (intercepted)",
        "WRMSR of a selector, mediated (intercepted)",
        "RDPMC, native (direct)",
        "RDPMC, mediated (direct)",
        "PMU load and put",
        "PMI round trip, native",
        "PMI round trip, emulated",
        "PMI round trip, mediated",
    ):
        assert values[name]["value"] >= 0, name


def test_modes(pmupass: Callable) -> None:
    outcome = pmupass("bench", "modes")
    assert outcome.status == 0, outcome.err
    assert "exits, emulated to mediated, skylake-sp" in outcome.out
    assert "standing cost, mediated, exit-storm" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100


def test_published(pmupass: Callable) -> None:
    outcome = pmupass("bench", "published")
    assert outcome.status == 0, outcome.err
    for word in ("79.32", "10.45", "ratio", "verdict", "turns each 4 ms", "guest NMI handler"):
        assert word in outcome.out, word
    assert max(map(len, outcome.out.splitlines())) <= 100


def test_no_host(pmupass: Callable) -> None:
    assert "host" not in pmupass("bench", "modes", "--no-host", "--json").document
