# SPDX-License-Identifier: Apache-2.0
"""The documents are true: every generated block is what docs/refresh.py makes of it today."""

import difflib
import importlib.util
import json
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pmupass import cli, core, results
from pmupass.errors import ExitStatus
from pmupass.policy import event_filter
from pmupass.settings import SETTINGS
from pmupass.workloads import BUILT_IN

ROOT = Path(__file__).resolve().parent.parent


def _load() -> Any:
    """Import docs/refresh.py, which stands in no package."""
    spec = importlib.util.spec_from_file_location("docs_refresh", ROOT / "docs" / "refresh.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


refresh = _load()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCKS = [(doc, block) for doc in map(refresh.read, refresh.DOCUMENTS) for block in doc.blocks]


def slow_suites(block: Any) -> Any:
    """Mark what runs a whole suite."""
    return [pytest.mark.slow] if "pmupass bench" in block.name else []


@pytest.mark.parametrize(
    ("document", "block"),
    [pytest.param(d, b, id=b.where, marks=slow_suites(b)) for d, b in BLOCKS],
)
def test_a_block_is_up_to_date(document: Any, block: Any) -> None:
    """Outputs, tables of keys and costs; `python docs/refresh.py` rewrites them."""
    expected = refresh.render(document, block)
    diff = difflib.unified_diff(block.lines, expected, "written", "real", lineterm="", n=1)
    assert block.lines == expected, "\n".join(["run python docs/refresh.py", *diff])


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(refresh.PICTURES, id="pictures"),
        pytest.param(refresh.CHARTS, id="charts", marks=pytest.mark.slow),
    ],
)
def test_the_pictures_are_up_to_date(tmp_path: Path, lines: tuple[tuple[str, ...], ...]) -> None:
    """`python docs/refresh.py` draws them anew."""
    refresh.draw(tmp_path, lines)
    for path in tmp_path.iterdir():
        kept = ROOT / "docs" / "pictures" / path.name
        assert path.read_bytes() == kept.read_bytes(), path.name


def test_there_are_no_other_pictures() -> None:
    """Whoever drew one would have to say how."""
    drawn = [Path(line[-1]).name for line in (*refresh.PICTURES, *refresh.CHARTS)]
    assert sorted(drawn) == sorted(path.name for path in (ROOT / "docs" / "pictures").iterdir())


def test_there_are_blocks_to_check() -> None:
    """A mark that is no longer understood would make the test above pass on nothing."""
    commands = [
        command
        for _, block in BLOCKS
        if block.kind == "console"
        for command in refresh.commands(block.lines)
    ]
    assert len(commands) > 20
    assert {b.name for _, b in BLOCKS if b.kind == "generated"} == set(refresh.GENERATORS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_output_is_checked(page: Path) -> None:
    """Lines `$ pmupass …` stand in console blocks of pages that are refreshed, nowhere else."""
    name = page.relative_to(ROOT).as_posix()
    fence, loose = "", []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            fence = "" if fence else line
        elif line.startswith("$ ") and (fence != "```console" or name not in refresh.DOCUMENTS):
            loose.append(f"{name}:{number}: {line}")
    assert not loose


# The machinery


def test_a_block_shows_chosen_paragraphs_and_rows() -> None:
    """Three dots stand for each gap; indented rows go with the one above."""
    output = ["setup", "", "Counters", "event", "─────", "a 1", "  of a", "b 2", "c 3", "", "end."]
    found: set[str] = set()
    shown = list(refresh.excerpt(output, "Counters: a, c; last", found))
    assert shown == [
        *("...", "", "Counters", "event", "─────", "a 1", "  of a", "...", "c 3", "", "end."),
    ]
    assert found == {"Counters", "last"}
    assert list(refresh.excerpt(output, "", set())) == output
    assert list(refresh.excerpt(["one line"], "Counters", set())) == ["one line"]
    with pytest.raises(refresh.MarkError, match="no row d"):
        list(refresh.excerpt(output, "Counters: d", set()))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<!-- show: first -->\nwords\n", "without the block"),
        ("<!-- show: first -->\n```sh\n```\n", "without a console block"),
        ("```console\n$ true\n", "no ``` follows"),
        ("<!-- generated: costs -->\n", "no <!-- end --> follows"),
    ],
)
def test_a_mark_that_means_nothing(text: str, what: str) -> None:
    """Nobody would notice that it is ignored."""
    with pytest.raises(refresh.MarkError, match=what):
        refresh.parse("page.md", text)


def test_commands_see_the_files_and_the_status_before() -> None:
    """And what is shown but is not there is an error."""
    text = "<!-- file: a.txt -->\n```text\nhello\n```\n"
    text += "```console\n$ cat a.txt; false\n$ echo $?\n```\n"
    document = refresh.parse("page.md", text)
    assert refresh.render(document, document.blocks[0]) == (
        *("$ cat a.txt; false", "hello", "$ echo $?", "1"),
    )
    text = "<!-- show: nothing -->\n```console\n$ printf 'a\\n\\nb\\n'\n```\n"
    document = refresh.parse("page.md", text)
    with pytest.raises(refresh.MarkError, match="nothing to show by the name of nothing"):
        refresh.render(document, document.blocks[0])


# docs/json.md


def walk(value: Any, schema: dict[str, Any], kind: dict[str, Any], seen: set[str]) -> None:
    """Collect Type.key of every key of a document."""
    if "anyOf" in kind and isinstance(value, dict):
        wanted = "Refused" if "refused" in value else "Result"
        kind = {"$ref": f"#/$defs/{wanted}"}
    if "$ref" in kind:
        title = kind["$ref"].rpartition("/")[2]
        properties = schema["$defs"][title]["properties"]
        for key, inner in value.items():
            seen.add(f"{title}.{key}")
            assert key in properties, f"{title}.{key} is in no schema"
            walk(inner, schema, properties[key], seen)
    elif isinstance(value, list) and "items" in kind:
        for inner in value:
            walk(inner, schema, kind["items"], seen)
    elif isinstance(value, dict) and isinstance(kind.get("additionalProperties"), dict):
        for inner in value.values():
            walk(inner, schema, kind["additionalProperties"], seen)


def described() -> set[str]:
    """Return Type.key of every description."""
    told = tomllib.loads(refresh.KEYS.read_text(encoding="utf-8"))
    del told["settings"]
    return {f"{title}.{key}" for title, keys in told.items() for key in keys if key}


def test_every_key_has_its_meaning() -> None:
    """docs/json-keys.toml has the keys of the types, all of them and no others."""
    keys = {
        f"{title}.{key}"
        for name in results.DOCUMENTS
        for title, definition in results.schema(name)["$defs"].items()
        for key in definition["properties"]
    }
    assert described() == keys


def test_every_meaning_is_a_text() -> None:
    """No empty cell in the column that matters."""
    told = tomllib.loads(refresh.KEYS.read_text(encoding="utf-8"))
    empty = [
        f"{title}.{key}" for title, keys in told.items() for key in keys if not keys[key]["text"]
    ]
    assert not empty


def test_the_keys_of_real_documents_are_described(pmupass_json: Callable[..., Any]) -> None:
    """A diff with a refusal, with losses and with every optional key."""
    document = pmupass_json(
        "diff-modes",
        "perf-stat",
        "--time=2ms",
        "--host-perf=ref-cycles:D",
        "--event=ref-cycles",
    )
    seen: set[str] = set()
    schema = results.schema("diff")
    walk(document, schema, {"$ref": "#/$defs/Diff"}, seen)
    assert "Counter.scaled" in seen
    assert "Refused.refused" in seen
    assert "SilentError.cause" in seen
    assert "HostEvent.state" in seen
    assert seen <= described()


def test_the_settings_of_real_documents_are_described(
    pmupass_json: Callable[..., Any], tmp_path: Path
) -> None:
    """Every key that a result's settings can have is in the table."""
    file = tmp_path / "filter.toml"
    file.write_text('action = "deny"\n', encoding="utf-8")
    told = tomllib.loads(refresh.KEYS.read_text(encoding="utf-8"))["settings"]
    known = {*told, *(setting.key for setting in SETTINGS)}
    common = ("run", "perf-record", "--time=1ms", f"--filter={file}")
    seen = set(pmupass_json(*common)["settings"])
    later = f"--filter={file}@1us"
    seen |= set(pmupass_json(*common, "--count=100000", later)["settings"])
    assert seen <= known
    assert set(told) <= seen


@pytest.fixture
def pmupass_json(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Return a function that runs a command with --json and returns the document."""

    def run(*arguments: str) -> Any:
        assert cli.main((*arguments, "--json", "-")) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize(
    "name", ["exit_reasons", "svm_exit_reasons", "access_kinds", "loss_causes", "stats"]
)
def test_every_name_of_a_list_has_its_meaning(
    def_list: Callable[[str], list[tuple[str, str]]], name: str
) -> None:
    """The core knows each entry of csrc/base/NAME.def, with a text, and the page has it."""
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    entries = {entry.name: entry.text for entry in core.table(name)}
    listed = [e[0] if name == "exit_reasons" else e[1] for e in def_list(name)]
    if name == "svm_exit_reasons":
        # The number comes first there.
        numbers = {e.value: e.name for e in core.table(name)}
        listed = [numbers[int(number, 16)] for number in listed]
    assert sorted(listed) == sorted(entries)
    for entry in listed:
        assert entries[entry], entry
        assert page.count(f"\n| `{entry}` | {entries[entry]}") == 1, entry


# docs/costs.md


def test_every_entry_of_a_cpu_model_has_its_source() -> None:
    """The reader of comments misses no line of [clock] and [timing], and each has a comment."""
    for file in sorted((ROOT / "pmupass" / "cpus").glob("*.toml")):
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text)
        found = {
            (section, key): comment
            for section, key, _, comment in refresh.commented_values(text)
            if section in ("clock", "timing")
        }
        assert set(found) == {(s, key) for s in ("clock", "timing") for key in data[s]}, file.name
        assert all(found.values())


def test_every_cost_is_in_the_document(def_list: Callable[[str], list[tuple[str, str]]]) -> None:
    """Once each, by function and by ID."""
    page = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
    for name, function in def_list("costs"):
        row = re.escape(f"| `{function}` | `{name.lower()}` |")
        assert len(re.findall(f"^{row}", page, re.MULTILINE)) == 1, name


# README.md and the links of all pages


def readme() -> str:
    """Return README.md."""
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (
            "run",
            (
                "python3 -m venv .venv && .venv/bin/pip install . "
                "&& .venv/bin/pmupass diff-modes perf-record"
            ),
        ),
        ("test", "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest"),
    ],
)
def test_the_commands_that_the_ci_takes_from_the_readme(name: str, command: str) -> None:
    """Each on one line in the block directly after its mark."""
    assert f"<!-- ci: {name} -->\n```sh\n{command}\n```\n" in readme()


def test_the_readme_names_the_packages_that_the_ci_looks_for() -> None:
    """All but git, which a checkout does not need."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    packages = set(re.findall(r"packages\+=\(([\w-]+)\)", script)) - {"git"}
    (line,) = re.findall(r"^apt-get install (.*)$", readme(), re.MULTILINE)
    assert set(line.split()) == packages


def test_the_readme_has_every_command_workload_and_exit_status() -> None:
    """What there is, and nothing else."""
    text = readme()
    for name in cli.COMMANDS:
        assert f"| `pmupass {name}" in text, name
    for name in BUILT_IN:
        assert f"`{name}`" in text, name
    statuses = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    assert [int(status) for status in statuses] == list(ExitStatus)


def test_the_filter_of_the_recipes_has_no_unknown_key() -> None:
    """It is read as KVM's filter without a warning."""
    from pmupass import cpus
    from pmupass.events import EventTable

    text = refresh.read("docs/recipes.md").files["deny.toml"]
    compiled = event_filter.parse(text, EventTable(cpus.load("sapphire-rapids")))
    assert not compiled.warnings


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files are there, and so are the headings that are linked to."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_the_recipes_contents_are_its_headings() -> None:
    """All of them, in their order."""
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[([^]]+)\]\(#", text, re.MULTILINE)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [" ".join(name.split()) for name in listed] == headings
