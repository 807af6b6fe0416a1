# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001 - a script, in no package
"""Rewrite what is generated in README.md and docs/: outputs of commands, tables of keys and costs.

    python docs/refresh.py              rewrite every block that is out of date
    python docs/refresh.py --check      name them instead; status 1 if there are any

Run it with the Python that pmupass is installed in. tests/test_docs.py holds each block against
what this script makes of it. Marks in the documents:

    <!-- file: NAME -->         The fenced block after it is a file. Commands of the same document
                                find it in their folder, which is a new one for each block.
    ```console                  Commands, "$ …", each followed by its output; backslashes continue
                                a command on the next line, "$ echo $?" shows an exit status.
    <!-- show: A; B: x, y -->   Of the outputs in the next block, paragraphs whose first line begins
                                with A or B, and of B the rows that begin with x or y. "first" and
                                "last" name a paragraph by its place. A line "..." stands for what
                                is left out. An output of one paragraph is shown whole.
    <!-- generated: NAME -->    All lines up to <!-- end --> come from GENERATORS[NAME].
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    "README.md",
    "docs/json.md",
    "docs/costs.md",
    "docs/faults.md",
    "docs/model.md",
    "docs/recipes.md",
    "docs/switch.md",
)
KEYS = ROOT / "docs" / "json-keys.toml"
RULES = ROOT / "docs" / "rules.toml"
CAUGHT = ROOT / "tests" / "faults" / "caught.toml"
TIMEOUT_SECONDS = 600  # suites of bench take minutes on a busy computer
SUBCYCLES = 64  # pmupass/cpus/*.toml, [timing]

SIX = ",".join(["instructions"] * 6)
TEN = (
    "loads:u,loads:k,stores:u,stores:k,branches:u,branches:k,branch-misses:u,branch-misses:k,"
    "cache-references:u,cache-misses:u"
)
# Arguments of pmupass, the file last.
PICTURES = (
    (
        *("run", "perf-record", "--mode", "emulated", "--time", "20ms", "-e", SIX),
        *("--set", "guest.linux=6.8", "--flamegraph", "docs/pictures/sampling.svg"),
    ),
    (
        *("run", "perf-stat", "--mode", "emulated", "--time", "20ms", "-e", TEN),
        *("--flamegraph", "docs/pictures/turns.svg"),
    ),
    (
        *("run", "exit-storm", "--mode", "emulated", "--time", "2ms"),
        *("--set", "kvm.pmc_walk=pre-6.9", "--flamegraph", "docs/pictures/walk.svg"),
    ),
)
# Likewise, of whole suites.
CHARTS = tuple(
    ("bench", suite, "--no-host", "--svg", f"docs/pictures/{suite}.svg")
    for suite in ("switch", "exits", "exposed", "latency", "watchdog", "features")
)

# What a sanitizer build needs in Python and a compiler must not have (tests/conftest.py).
PRELOADED = ("LD_PRELOAD", "PYTHONMALLOC", "ASAN_OPTIONS", "UBSAN_OPTIONS")


class MarkError(Exception):
    """A mark in a document that means nothing."""


@dataclass(frozen=True)
class Block:
    """Lines of a document that come from somewhere: ``[begin, end)``, marks and fences apart."""

    document: str
    kind: str  # console or generated
    name: str  # of the generator; of a console block, the first command
    begin: int
    end: int
    show: str
    lines: tuple[str, ...]

    @property
    def where(self) -> str:
        """Where it stands, for people."""
        return f"{self.document}:{self.begin + 1}: {self.name}"


@dataclass(frozen=True)
class Document:
    """A document, the files that stand in it, and its blocks."""

    name: str
    lines: tuple[str, ...]
    files: dict[str, str]
    blocks: tuple[Block, ...]


# Reading the documents


def parse(name: str, text: str) -> Document:
    """Find files and blocks. MarkError for a mark without its block."""
    lines = tuple(text.splitlines())
    files: dict[str, str] = {}
    blocks: list[Block] = []
    file = show = ""
    i = 0
    while i < len(lines):
        line = lines[i]
        mark = re.fullmatch(r"<!-- (file|show|generated): (.+) -->", line)
        if mark and mark[1] == "generated":
            end = _find(lines, i + 1, "<!-- end -->", name)
            blocks.append(Block(name, "generated", mark[2], i + 1, end, "", lines[i + 1 : end]))
            i = end
        elif mark and mark[1] == "file":
            file = mark[2]
        elif mark:
            show = mark[2]
        elif line.startswith("```"):
            end = _find(lines, i + 1, "```", name)
            body = lines[i + 1 : end]
            if file:
                files[file] = "\n".join(body) + "\n"
            elif line == "```console":
                first = next((text for text in body if text.startswith("$ ")), "")
                blocks.append(Block(name, "console", first, i + 1, end, show, body))
            elif show:
                raise MarkError(f"{name}:{i + 1}: show without a console block")
            file = show = ""
            i = end
        elif line.strip() and (file or show):
            raise MarkError(f"{name}:{i + 1}: a mark without the block it is for")
        i += 1
    return Document(name, lines, files, tuple(blocks))


def _find(lines: tuple[str, ...], start: int, text: str, name: str) -> int:
    for i in range(start, len(lines)):
        if lines[i] == text:
            return i
    raise MarkError(f"{name}:{start}: no {text} follows")


def read(name: str) -> Document:
    """Return one of DOCUMENTS."""
    return parse(name, (ROOT / name).read_text(encoding="utf-8"))


def render(document: Document, block: Block) -> tuple[str, ...]:
    """Return what the lines of a block should be."""
    if block.kind == "generated":
        if block.name not in GENERATORS:
            raise MarkError(f"{block.where}: there is {', '.join(GENERATORS)}")
        return ("", *GENERATORS[block.name]().strip().splitlines(), "")
    return tuple(_console(document, block))


def refreshed(document: Document) -> str:
    """Return the text of a document with every block made anew."""
    lines = list(document.lines)
    for block in reversed(document.blocks):
        lines[block.begin : block.end] = render(document, block)
    return "\n".join(lines) + "\n"


# Commands


def commands(lines: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the lines of each command in a console block, the dollar sign among them."""
    command: list[str] = []
    for line in lines:
        if line.startswith("$ ") or (command and command[-1].endswith("\\")):
            command.append(line)
            if not line.endswith("\\"):
                yield tuple(command)
                command = []


def _console(document: Document, block: Block) -> Iterator[str]:
    status = 0
    found: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="pmupass-docs.") as folder:
        for name, text in document.files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        output: list[str] = []
        for command in commands(block.lines):
            if "" in output:
                yield ""
            output, status = execute("\n".join(command)[2:], Path(folder), status)
            yield from command
            yield from excerpt(output, block.show, found)
    missing = [name for name, _ in _selectors(block.show) if name not in found]
    if missing:
        raise MarkError(f"{block.where}: nothing to show by the name of {', '.join(missing)}")


def execute(command: str, folder: Path, status: int = 0) -> tuple[list[str], int]:
    """Run a shell command; return its output, stderr included, and its exit status.

    ``status`` is what ``$?`` is at its start.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("COLUMNS", "FORCE_COLOR", "PYTHONPATH")
        and not (name in PRELOADED and command.startswith("gcc "))
    }
    environment["LC_ALL"] = "C.UTF-8"
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/bash", "-c", f"(exit {status})\n{command}"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    return [line.rstrip() for line in done.stdout.rstrip().splitlines()], done.returncode


def _selectors(show: str) -> list[tuple[str, list[str]]]:
    out = []
    for part in filter(None, (part.strip() for part in show.split(";"))):
        name, _, rows = part.partition(":")
        out.append((name.strip(), [row.strip() for row in rows.split(",") if row.strip()]))
    return out


def excerpt(output: list[str], show: str, found: set[str]) -> Iterator[str]:
    """Yield the lines that are to be shown; the names of paragraphs that there were go to found."""
    selectors = _selectors(show)
    if not selectors or not output:
        yield from output
        return
    paragraphs = [part.splitlines() for part in re.split(r"\n{2,}", "\n".join(output))]
    if len(paragraphs) == 1:
        yield from output
        return
    gap = False
    for i, paragraph in enumerate(paragraphs):
        shown = None
        for name, rows in selectors:
            place = {"first": 0, "last": len(paragraphs) - 1}.get(name)
            if i == place if place is not None else paragraph[0].startswith(name):
                found.add(name)
                shown = _rows(paragraph, rows) if rows else paragraph
        if shown is not None:
            yield from ["", *shown] if i else shown
        elif not gap:
            yield from ["", "..."] if i else ["..."]
        gap = shown is None


def _rows(paragraph: list[str], wanted: list[str]) -> list[str]:
    """Return a table with some of its rows; indented rows belong to the one above them."""
    rule = next((i for i, line in enumerate(paragraph) if line.startswith("──")), -1)
    out = paragraph[: rule + 1]
    missing = [row for row in wanted if not any(x.startswith(row) for x in paragraph[rule + 1 :])]
    if missing:
        raise MarkError(f"{paragraph[0]!r} has no row {', '.join(missing)}")
    kept = False
    for line in paragraph[rule + 1 :]:
        if not line.startswith(" "):
            kept = line.startswith(tuple(wanted))
        if kept:
            out.append(line)
        elif out[-1] != "...":
            out.append("...")
    return out


# Tables


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def def_list(name: str) -> list[tuple[str, ...]]:
    """Return csrc/base/NAME.def: the fields of each entry, headings as a field alone."""
    text = (ROOT / "csrc" / "base" / f"{name}.def").read_text(encoding="utf-8")
    out: list[tuple[str, ...]] = []
    for line in text.splitlines():
        heading = re.fullmatch(r"/\* ([^*]+) \*/", line)
        entry = re.fullmatch(r"[A-Z_]+\((\w+), (.*)\)", line)
        if heading and not heading[1].startswith("SPDX"):
            out.append((heading[1],))
        elif entry:
            fields = re.findall(r'"([^"]*)"|(0x[0-9a-f]+|\d+)', entry[2])
            out.append((entry[1], *(text or number for text, number in fields)))
    return out


def json_document(name: str) -> str:
    """Return the keys of a document: result, diff, bench or sweep, one table a type."""
    schema = _schema(name)
    told = tomllib.loads(KEYS.read_text(encoding="utf-8"))
    top = schema["$ref"].rpartition("/")[2]
    parts = []
    for title in _in_order(schema, top):
        if name != "result" and title in _schema("result")["$defs"]:
            continue  # stands there
        definition = schema["$defs"][title]
        required = definition.get("required", ())
        rows = []
        for key, kind in definition["properties"].items():
            entry = told.get(title, {}).get(key, {})
            shown = f"`{key}`" if key in required else f"`{key}`, optional"
            rows.append((shown, type_of(kind), entry.get("unit", ""), entry.get("text", "")))
        where = "The document itself" if title == top else f"`{title}`"
        intro = told.get(title, {}).get("", {}).get("text", "")
        parts.append(f"### {where}\n\n{intro}\n\n" if intro else f"### {where}\n\n")
        parts[-1] += table(("key", "type", "unit", "meaning"), rows)
    return "\n\n".join(parts)


def _schema(name: str) -> dict[str, Any]:
    text = resources.files("pmupass").joinpath("schemas", f"{name}.json")
    schema: dict[str, Any] = json.loads(text.read_text(encoding="utf-8"))
    return schema


def _in_order(schema: dict[str, Any], top: str) -> list[str]:
    """Return the types in the order in which a reader of the document meets them."""
    out: list[str] = []

    def visit(title: str) -> None:
        if title not in out:
            out.append(title)
            for kind in schema["$defs"][title]["properties"].values():
                for inner in re.findall(r"#/\$defs/(\w+)", json.dumps(kind)):
                    visit(inner)

    visit(top)
    return out


def type_of(kind: dict[str, Any]) -> str:
    """Return a JSON Schema type in words."""
    if "$ref" in kind:
        return f"`{kind['$ref'].rpartition('/')[2]}`"
    if "enum" in kind:
        return " or ".join(f'`"{value}"`' for value in kind["enum"])
    if "anyOf" in kind:
        words = list(dict.fromkeys(type_of(inner) for inner in kind["anyOf"]))
        if "number" in words and "integer" in words:
            words.remove("integer")
        return " or ".join(words)
    if kind["type"] == "array":
        return f"array of {type_of(kind['items'])}"
    if kind["type"] == "object":
        inner = kind.get("additionalProperties")
        return f"object: name to {type_of(inner)}" if inner else "object: name to anything"
    return str(kind["type"])


def settings() -> str:
    """Return the keys of a result's settings: those of --set, and the options."""
    from pmupass.settings import OPEN_NAMESPACES, SETTINGS

    words = {str: "string", int: "integer", bool: "boolean"}
    told = tomllib.loads(KEYS.read_text(encoding="utf-8"))["settings"]
    rows = [
        (
            f"`{s.key}`",
            " or ".join(f'`"{c}"`' for c in s.choices) or words[s.kind],
            "" if s.default is None else f"`{json.dumps(s.default)}`",
            s.doc,
        )
        for s in SETTINGS
    ]
    rows += [
        (f"`{name}.*`", "string", "", f"{doc}, as given") for name, doc in OPEN_NAMESPACES.items()
    ]
    rows += [(f"`{key}`", entry["type"], "", entry["text"]) for key, entry in told.items()]
    return table(("key", "type", "default", "meaning"), rows)


def figures() -> str:
    """Return the figures of a sweep that names none."""
    from pmupass.sweep.figures import DEFAULT

    return table(("name", "path"), [(f"`{name}`", f"`{path}`") for name, path in DEFAULT.items()])


def names() -> str:
    """Return the names that may stand in a result, from the lists of csrc/base."""
    out = []
    for title, name, of in (
        ("Exit reasons", "exit_reasons", lambda e: (f"`{e[0]}`", f"{e[2]} ({e[1]})")),
        (
            "Exit reasons of AMD's CPUs",
            "svm_exit_reasons",
            lambda e: (f"`{e[2]}`", f"{e[3]} ({int(e[1], 16):#x})"),
        ),
        ("Kinds of accesses", "access_kinds", lambda e: (f"`{e[1]}`", e[2])),
        ("Causes of loss", "loss_causes", lambda e: (f"`{e[1]}`", e[2])),
        ("Statistics", "stats", lambda e: (f"`{e[1]}`", e[2])),
    ):
        rows = [of(entry) for entry in def_list(name) if len(entry) > 1]
        out.append(f"### {title}\n\n{table(('name', 'meaning'), rows)}")
    return "\n\n".join(out)


def costs() -> str:
    """Return the cost table, in the groups and the order of costs.def."""
    from pmupass import costs as package

    loaded = package.load()
    parts: list[str] = []
    rows: list[tuple[str, ...]] = []
    head = (
        "function",
        "`--set cost.`",
        "cycles",
        "range",
        "unit",
        "confidence",
        "source and arithmetic",
    )
    for entry in def_list("costs"):
        if len(entry) == 1:
            if rows:
                parts.append(table(head, rows))
            title = entry[0][0].upper() + entry[0][1:]
            parts.append(f"### {title}")
            rows = []
            continue
        cost = loaded[entry[0]]
        source = f"{cost.source}; {cost.note}" if cost.note else cost.source
        rows.append(
            (
                f"`{cost.function}`",
                f"`{cost.id}`",
                str(cost.cycles),
                f"{cost.range[0]} to {cost.range[1]}" if cost.range else "",
                entry[2],
                cost.confidence,
                source,
            )
        )
    parts.append(table(head, rows))
    return "\n\n".join(parts)


def cost_sums() -> str:
    """Return what the head of the cost table says: published sums, and how they come out."""
    text = resources.files("pmupass").joinpath("costs", "default.toml").read_text(encoding="utf-8")
    return "\n".join(("```text", *_legend(text), "```"))


def cpu_costs() -> str:
    """Return the costs in which CPU models differ from the table for all."""
    from pmupass import costs as package, cpus

    everybody = package.load()
    rows = []
    for cpu in cpus.names():
        for cost in package.load(cpu=cpu).values():
            if cost == everybody[cost.function]:
                continue
            low, high = cost.range or ("", "")
            source = f"{cost.source}; {cost.note}" if cost.note else cost.source
            rows.append(
                (
                    cpu,
                    f"`{cost.function}`",
                    f"`{cost.id}`",
                    f"{cost.cycles}, for all {everybody[cost.function].cycles}",
                    f"{low} to {high}",
                    cost.confidence,
                    source,
                )
            )
    return table(
        ("CPU", "function", "`--set cost.`", "cycles", "range", "confidence", "source"), rows
    )


def pictures() -> str:
    """Return the commands of the pictures."""
    return _shell_block(PICTURES)


def charts() -> str:
    """Return the commands that draw the charts of suites."""
    return _shell_block(CHARTS)


def _shell_block(lines: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(("```sh", *(f"pmupass {' '.join(line)}" for line in lines), "```"))


def draw(folder: Path, lines: Iterable[tuple[str, ...]]) -> None:
    """Draw pictures into a folder."""
    for line in lines:
        target = folder / Path(line[-1]).name
        command = [sys.executable, "-P", "-m", "pmupass", *line[:-1], str(target)]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_SECONDS)


def kernel_work() -> str:
    """Return what a guest's kernel retires for perf, from csrc/base/kernel_work.def."""
    rows = [
        (f"`{function}`", number, text)
        for _, function, number, text in (e for e in def_list("kernel_work") if len(e) > 1)
    ]
    return table(("function", "instructions", "what"), rows)


def cpu_timing() -> str:
    """Return clocks, timing and skid of each CPU model, with the comment that gives the source."""
    parts = []
    folder = resources.files("pmupass").joinpath("cpus")
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".toml"):
            continue
        text = file.read_text(encoding="utf-8")
        rows = []
        for section, key, value, comment in commented_values(text):
            if section == "timing" and key != "issue_width":
                rows.append((f"`{key}`", value, f"{int(value) / SUBCYCLES:.4g}", comment))
            elif section in ("clock", "timing") or key == "skid_cycles":
                rows.append((f"`{key}`", value, "", comment))
        legend = ["```text", *_legend(text), "```"]
        head = ("entry", "value", "core cycles", "source")
        parts += [f"### {file.name.removesuffix('.toml')}", "\n".join(legend), table(head, rows)]
    return "\n\n".join(parts)


def _legend(text: str) -> Iterator[str]:
    """Yield the comment at a file's head."""
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        yield line[2:]


def commented_values(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield section, key, value and end-of-line comment of a TOML file's plain entries."""
    section = ""
    entry: list[str] = []
    for line in [*text.splitlines(), ""]:
        more = re.fullmatch(r" {8,}# (.*)", line)
        if more and entry:
            entry[3] += f" {more[1]}"
            continue
        if entry:
            yield entry[0], entry[1], entry[2], entry[3]
            entry = []
        header = re.fullmatch(r"\[+([\w.]+)\]+.*", line)
        if header:
            section = header[1]
        plain = re.fullmatch(r"(\w+) = (\w+)\s+# (.*)", line)
        if plain:
            entry = [section, plain[1], plain[2], plain[3]]


def _test_name(test: str) -> str:
    test = re.sub(r"^tests/test_c\.py::test_c\[(\w+)-(\w+)\]$", r"test_\1.c::\2", test)
    return f"`{re.sub(r'^tests/(conformance/|c/)?', '', test)}`"


def _proof(rule: dict[str, Any]) -> str:
    words = [_test_name(test) for test in rule.get("tests", ())]
    words += [f"{key}: {rule[key]}" for key in ("absent", "open", "partly") if key in rule]
    return "; ".join(words)


def rules() -> str:
    """Return docs/rules.toml as one table for each part of the vPMU."""
    loaded = tomllib.loads(RULES.read_text(encoding="utf-8"))
    lines = []
    for part in loaded["part"]:
        lines += [f"### {part['title']}", "", "| rule | | held by |", "|---|---|---|"]
        lines += [f"| {rule['id']} | {rule['rule']} | {_proof(rule)} |" for rule in part["rule"]]
        lines.append("")
    return "\n".join(lines)


def faults() -> str:
    """Return csrc/base/faults.def with the test that catches each."""
    caught = tomllib.loads(CAUGHT.read_text(encoding="utf-8"))
    parts: list[str] = []
    rows: list[tuple[str, ...]] = []
    head = ("fault", "what is wrong", "rule", "caught by")
    for entry in def_list("faults"):
        if len(entry) == 1:
            parts += [table(head, rows)] if rows else []
            parts.append(f"### {entry[0][0].upper()}{entry[0][1:]}")
            rows = []
            continue
        name, rule, text = entry
        rows.append((f"`{name}`", text, rule, _test_name(caught[name])))
    parts.append(table(head, rows))
    return "\n\n".join(parts)


GENERATORS: dict[str, Callable[[], str]] = {
    "result": lambda: json_document("result"),
    "diff": lambda: json_document("diff"),
    "bench": lambda: json_document("bench"),
    "sweep": lambda: json_document("sweep"),
    "figures": figures,
    "settings": settings,
    "names": names,
    "costs": costs,
    "cost-sums": cost_sums,
    "cpu-timing": cpu_timing,
    "kernel-work": kernel_work,
    "cpu-costs": cpu_costs,
    "pictures": pictures,
    "charts": charts,
    "rules": rules,
    "faults": faults,
}


def main() -> int:
    """Rewrite the documents, or check them."""
    parser = argparse.ArgumentParser(description="Rewrite what is generated in the documents.")
    parser.add_argument("--check", action="store_true", help="change nothing, status 1 if stale")
    parser.add_argument("document", nargs="*", help="default: all")
    chosen = parser.parse_args()
    stale = 0
    for name in chosen.document or DOCUMENTS:
        document = read(name)
        text = refreshed(document)
        if text == "\n".join(document.lines) + "\n":
            continue
        stale += 1
        sys.stdout.write(f"{name}: {'out of date' if chosen.check else 'rewritten'}\n")
        if not chosen.check:
            (ROOT / name).write_text(text, encoding="utf-8")
    if not chosen.document and not chosen.check:
        (ROOT / "docs" / "pictures").mkdir(exist_ok=True)
        draw(ROOT / "docs" / "pictures", (*PICTURES, *CHARTS))
    return 1 if chosen.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
