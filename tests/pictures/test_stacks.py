# SPDX-License-Identifier: Apache-2.0
"""Collapsed stacks, trees of them, and what two profiles differ in."""

from hypothesis import given, strategies as st

from pmupass.pictures import stacks

NAMES = st.sampled_from(["vmx_vcpu_run", "a", "b", "c"])
PROFILES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map(";".join), st.integers(1, 1 << 40), max_size=12
)


def test_collapsed_stacks() -> None:
    """One line a stack, "frames count", as flamegraph.pl takes them."""
    cycles = {"a;b": 3, "a": 2}
    assert stacks.folded(cycles) == "a 2\na;b 3\n"
    assert stacks.folded(cycles, "emulated") == "emulated;a 2\nemulated;a;b 3\n"
    assert stacks.folded({}) == ""


@given(PROFILES)
def test_a_tree_has_all_cycles(cycles: dict[str, int]) -> None:
    """Inclusive cycles are sums of own ones; without signs to cancel, the width says the same."""
    top = stacks.tree(cycles, "root")
    assert top.cycles == top.width == sum(cycles.values())
    own = {frame.name: 0 for frame, _, _ in top.walk()}
    for frame, _, _ in top.walk():
        own[frame.name] += frame.own
        below = sum(callee.width for callee in frame.callees.values())
        assert frame.width == frame.own + below
    for name in own.keys() - {"root"}:
        ends_in_it = (c for stack, c in cycles.items() if stack.rpartition(";")[2] == name)
        assert own[name] == sum(ends_in_it)


@given(PROFILES, PROFILES)
def test_frames_stand_on_their_callers(old: dict[str, int], new: dict[str, int]) -> None:
    """No frame reaches over its caller's end, and no two of a level overlap."""
    top = stacks.tree(stacks.difference(old, new), "root")
    ends: dict[int, int] = {}
    spans: dict[int, list[tuple[int, int]]] = {}
    for frame, level, left in top.walk():
        assert left >= ends.get(level, 0)
        ends[level] = left + frame.width
        spans.setdefault(level, []).append((left, left + frame.width))
        if level:
            assert any(a <= left and left + frame.width <= b for a, b in spans[level - 1])


@given(PROFILES, PROFILES)
def test_a_difference_leads_from_one_to_the_other(old: dict[str, int], new: dict[str, int]) -> None:
    delta = stacks.difference(old, new)
    assert 0 not in delta.values()
    both = {stack: old.get(stack, 0) + delta.get(stack, 0) for stack in old.keys() | new.keys()}
    assert {stack: cycles for stack, cycles in both.items() if cycles} == new
    assert stacks.tree(delta, "root").cycles == sum(new.values()) - sum(old.values())
