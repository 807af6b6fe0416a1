# SPDX-License-Identifier: Apache-2.0
"""``--flamegraph`` and ``--folded``."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

QUICK = ("--time", "2ms")
SVG = "{http://www.w3.org/2000/svg}"


def total(lines: str) -> int:
    """Return the cycles of collapsed stacks."""
    return sum(int(line.rpartition(" ")[2]) for line in lines.splitlines())


def test_collapsed_stacks_are_the_documents_costs(pmupass: Callable, tmp_path: Path) -> None:
    outcome = pmupass(
        "run", "perf-record", "--mode", "emulated", *QUICK, "--json", "--folded",
        tmp_path / "host.folded",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    costs = {c["stack"]: c["cycles"] for c in outcome.document["costs"] if c["cycles"]}
    lines = (tmp_path / "host.folded").read_text().splitlines()
    assert {s: int(c) for s, _, c in (line.rpartition(" ") for line in lines)} == costs


def test_modes_are_the_outermost_frames(pmupass: Callable, tmp_path: Path) -> None:
    """Native has no host, and none of it; stdout has the stacks alone, a file the document."""
    document = tmp_path / "diff.json"
    outcome = pmupass("diff-modes", "perf-record", *QUICK, "--folded", "-", f"--json={document}")
    assert outcome.status == 0, outcome.err
    modes = json.loads(document.read_text())["modes"]
    lines = outcome.out.splitlines()
    assert {line.split(";")[0] for line in lines} == {"emulated", "mediated"}
    for mode in ("emulated", "mediated"):
        own = "\n".join(line for line in lines if line.startswith(mode))
        assert total(own) == sum(c["cycles"] for c in modes[mode]["costs"])


def test_a_picture_of_all_modes(pmupass: Callable, tmp_path: Path) -> None:
    """Three panels on one scale: two modes and what they differ in; again the same bytes."""
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for picture in pictures:
        outcome = pmupass("diff-modes", "perf-record", *QUICK, "--flamegraph", picture)
        assert outcome.status == 0, outcome.err
        assert "Counters" in outcome.out
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second
    root = ET.fromstring(first)  # noqa: S314 - our own
    titles = [t.text or "" for t in root.iter(f"{SVG}text") if t.get("class") == "title"]
    assert [t.partition(":")[0] for t in titles[1:]] == [
        "emulated", "mediated", "mediated less emulated",
    ]  # fmt: skip
    width, height = int(root.get("width", 0)), int(root.get("height", 0))
    rectangles = list(root.iter(f"{SVG}rect"))
    assert len(rectangles) > 100
    for r in rectangles[1:]:
        x, y = float(r.get("x", -1)), float(r.get("y", -1))
        assert x >= 0
        assert x + float(r.get("width", 0)) <= width
        assert y >= 0
        assert y + float(r.get("height", 0)) <= height


def test_names_are_text(pmupass: Callable, tmp_path: Path) -> None:
    """A path with marks of XML in it is shown, not obeyed."""
    from pmupass.bench import images

    guest, picture = tmp_path / "<b>&.elf", tmp_path / "host.svg"
    guest.write_bytes(images.cpuid(10))
    outcome = pmupass("run", str(guest), "--flamegraph", picture)
    assert outcome.status == 0, outcome.err
    root = ET.fromstring(picture.read_bytes())  # noqa: S314 - our own
    title = root.findtext(f"{SVG}title") or ""
    assert "<b>&.elf" in title


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--flamegraph", "-"), 2, "a picture goes to a file"),
        (("--flamegraph", "no/such/folder.svg"), 3, "there is no folder no/such"),
        (("--folded", "x", "--json=x"), 2, "x is named twice"),
        (("--folded="), 2, "the name of a file is missing"),
        (("--folded", "-", "--json"), 2, "both want stdout"),
    ],
)
def test_what_cannot_be_written(
    pmupass: Callable, options: tuple[str, ...], status: int, said: str
) -> None:
    options = (options,) if isinstance(options, str) else options
    outcome = pmupass("run", "perf-stat", *QUICK, *options)
    assert outcome.status == status
    assert said in outcome.err
    assert not outcome.out
