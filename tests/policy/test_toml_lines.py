# SPDX-License-Identifier: Apache-2.0
"""Where things stand in a TOML text."""

import tomllib

import pytest
from hypothesis import given, strategies as st

from pmupass.policy.toml_lines import Lines

TEXT = '''
# events = [ "not this one" ]
action = "deny"   # a comment, with [ brackets ]
note = """
events = [
"""

events = [ "a", "b,]",
    # "a comment"
    'c', { event = 1, list = [1,
        2] }, 5,

    """d
"""  , "e"
]
"quoted" = 'x = ['
fixed = []
'''


def test_keys_and_elements() -> None:
    tomllib.loads(TEXT)
    lines = Lines(TEXT)
    assert lines.of("action") == 3
    assert lines.of("note") == 4
    assert lines.of("events") == 8
    assert [lines.of("events", i) for i in range(7)] == [8, 8, 10, 10, 11, 13, 14]
    assert lines.of("quoted") == 16
    assert lines.of("fixed") == 17
    assert lines.of("fixed", 0) == 17
    assert lines.of("nothing") == 1


def test_arrays_of_tables() -> None:
    text = "\n[[events]]\nevent = 1\n\n[[ events ]]\nevent = 2\n"
    assert tomllib.loads(text)
    assert [Lines(text).of("events", i) for i in (0, 1)] == [2, 5]


def test_keys_of_tables_and_dotted_keys() -> None:
    text = """
[grid]
mode = ["a",
  "b"]
set.guest.hz = [1,
  2]
[ grid . "set" .kvm ]
"a.b" = [3]
[grid.case]
one = { switch = "x" }
[[cell]]
mode = "a"
[[cell]]

mode = "b"
"""
    assert tomllib.loads(text)
    lines = Lines(text)
    assert lines.of("grid") == 2
    assert [lines.of("grid.mode", i) for i in (0, 1)] == [3, 4]
    assert [lines.of("grid.set.guest.hz", i) for i in (0, 1)] == [5, 6]
    assert lines.of("grid.set.kvm") == 7
    assert lines.of("grid.set.kvm.a.b", 0) == 8
    assert lines.of("grid.case.one") == lines.of("grid.case.one.switch") == 10
    assert [lines.of(f"cell[{i}]") for i in (0, 1)] == [11, 13]
    assert [lines.of(f"cell[{i}].mode") for i in (0, 1)] == [12, 15]
    assert lines.of("mode") == 3


@pytest.mark.parametrize("text", ["", "\n\n", "a = 1", "a = [\n", 'a = "', "a = 'x", "= 3", "]["])
def test_it_never_fails(text: str) -> None:
    assert Lines(text).of("b") == 1


@given(st.text(alphabet="ab=[]{}\"',#\n 1\\", max_size=60))
def test_it_ends_on_any_text(text: str) -> None:
    assert Lines(text).of("a") >= 1


@given(
    st.lists(
        st.sampled_from(['"x"', "1", "{ a = 1 }", "[1, 2]", "'#'", '"]"']), min_size=1, max_size=8
    ),
    st.data(),
)
def test_elements_are_found_whatever_stands_between(elements: list[str], data) -> None:
    gaps = st.sampled_from(["", " ", "\n", "\n# c ]\n", "  # [ c\n"])
    text, line, expected = "k = [", 1, []
    for element in elements:
        gap = data.draw(gaps)
        text += gap
        line += gap.count("\n")
        expected.append(line)
        text += element + ","
    text += "\n]\n"
    tomllib.loads(text)
    lines = Lines(text)
    assert [lines.of("k", i) for i in range(len(elements))] == expected
