# SPDX-License-Identifier: Apache-2.0
"""``pmupass bench``: every figure that the issue asks for, in a document that fits its schema."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from pmupass.bench import conclusions, modes, published, sensitivity, speed


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


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask of one conclusion only, in this process."""
    chosen = tuple(c for c in conclusions.CONCLUSIONS if c.name == "idle-exit")
    study = sensitivity.study

    def of_few(watch: Callable, **_more: object) -> object:
        return study(watch, conclusions=chosen, draws=2)

    monkeypatch.setattr(sensitivity, "study", of_few)


@pytest.mark.usefixtures("few")
def test_sensitivity(pmupass: Callable, tmp_path: Path) -> None:
    """Tables, a document that fits its schema, and a picture; the same of all three."""
    svg, document = tmp_path / "s.svg", tmp_path / "s.json"
    words = ("--no-host", "--svg", str(svg), f"--json={document}")
    outcome = pmupass("bench", "sensitivity", *words)
    assert outcome.status == 0, outcome.err
    found = json.loads(document.read_text(encoding="utf-8"))
    text = (resources.files("pmupass") / "schemas" / "bench.json").read_text(encoding="utf-8")
    jsonschema.validate(found, json.loads(text))
    (c,) = found["sensitivity"]["conclusions"]
    assert c["name"] == "idle-exit"
    assert found["results"][0]["value"] == round(c["value"], 3)
    for part in ("Conclusions\n", "Verdicts. ", f"idle-exit: {c['text']}"[:50], "wrmsr"):
        assert part in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100
    titles = [t.text for t in ET.parse(svg).getroot().iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert c["text"] in titles


def test_charts(pmupass: Callable, tmp_path: Path) -> None:
    """Tables, a document that fits its schema, and a picture; the same of all three, each time."""
    svg, document = tmp_path / "e.svg", tmp_path / "e.json"
    words = ("exits", "--no-host", "--svg", str(svg), f"--json={document}")
    outcome = pmupass("bench", *words)
    assert outcome.status == 0, outcome.err
    found = json.loads(document.read_text(encoding="utf-8"))
    text = (resources.files("pmupass") / "schemas" / "bench.json").read_text(encoding="utf-8")
    jsonschema.validate(found, json.loads(text))
    assert {chart["suite"] for chart in found["charts"]} == {"exits"}
    titles = [t.text for t in ET.parse(svg).getroot().iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    for chart in found["charts"]:
        assert f"{chart['text']}, {chart['unit']}" in titles
        for series in chart["series"]:
            assert len(series["values"]) == len(chart["points"])
            assert f"{series['values'][-1]:,.{chart['digits']}f}" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100
    written = svg.read_bytes(), document.read_bytes()
    pmupass("bench", *words)
    assert (svg.read_bytes(), document.read_bytes()) == written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--svg", "x.svg"), "name a suite that draws a picture: sensitivity, exits"),
        (("exits", "latency", "--svg", "x.svg"), "exits and latency both draw"),
        (("modes", "--svg", "x.svg"), "name a suite that draws a picture: sensitivity"),
        (("sensitivity", "--svg", "-"), "a picture goes to a file"),
        (("--svg", "sensitivity"), "name a suite"),
        (("sensitivity", "--svg", "modes"), "put --svg FILE at the end"),
        (("sensitivity", "--svg", "a", "--json=a"), "a is named twice"),
        (("sensitivity", "--svg", "/nowhere/x.svg"), "there is no folder"),
        (("sensitivity", "--svg="), "the name of a file is missing"),
        (("sensitvity",), "did you mean sensitivity"),
    ],
)
def test_what_it_refuses(pmupass: Callable, words: tuple[str, ...], message: str) -> None:
    outcome = pmupass("bench", *words)
    assert outcome.status in (2, 3)
    assert message in outcome.err
    assert not outcome.out


def test_sensitivity_that_is_stopped(pmupass: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document says so, and has no half of it."""
    study = sensitivity.study

    def stopped(_watch: Callable, **_more: object) -> object:
        return study(lambda _label, _fraction: False)

    monkeypatch.setattr(sensitivity, "study", stopped)
    outcome = pmupass("bench", "sensitivity", "--no-host", "--json")
    assert outcome.status == 130
    assert outcome.document == {
        "schema": "pmupass.bench/1",
        "complete": False,
        "results": [],
        "charts": [],
    }
