# SPDX-License-Identifier: Apache-2.0
"""The event filter: a denied counter can be programmed and read like any other, and is still.

Rules (KVM_SET_PMU_EVENT_FILTER, Linux 7.0): a GP counter matches if some include entry has its
event select and (umask & mask) == match, and no exclude entry has; ALLOW permits what matches, DENY
what does not. A fixed counter looks at the bitmap alone. USR, OS, edge, inv, cmask and INT are not
looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import guest_asm as asm
import pytest
from guest_asm import run_script

import pmupass
from pmupass.cli import main
from pmupass.config import Filter, FilterAction, FilterEntry
from pmupass.errors import ExitStatus

if TYPE_CHECKING:
    from pathlib import Path

ALLOW, DENY = FilterAction.ALLOW, FilterAction.DENY
each_vpmu = pytest.mark.parametrize("mode", ["emulated", "mediated"])
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)

# What the guest runs: GP 0-3, fixed 0-2.
GP = ("instructions", "branches", "loads", "stores")
COUNTERS = (*GP, "fixed 0", "fixed 1", "fixed 2")


def entry(select: int, umask: int, mask: int = 0xFF, *, exclude: bool = False) -> FilterEntry:
    """Return an entry; without a mask of its own it is the whole umask."""
    return FilterEntry(select, mask, umask, exclude)


@dataclass(frozen=True)
class Case:
    """A filter and the counters that it denies."""

    action: FilterAction
    entries: tuple[FilterEntry, ...]
    bitmap: int
    denied: frozenset[str]


def case(action: FilterAction, entries: tuple[FilterEntry, ...], bitmap: int, denied: str) -> Case:
    """Return a case; ``denied`` names counters, separated by commas."""
    names = frozenset(name.strip() for name in denied.split(",") if name.strip())
    assert names <= set(COUNTERS)
    return Case(action, tuple(sorted(entries, key=lambda e: (e.select, e.exclude))), bitmap, names)


INSTRUCTIONS, BRANCHES, LOADS, STORES = (
    entry(asm.EVENTS[name] & 0xFF, asm.EVENTS[name] >> 8) for name in GP
)
CASES = {
    # Encodings: instructions c0/00, branches c4/00, loads d0/81, stores d0/82.
    "deny-one": case(DENY, (BRANCHES,), 0, "branches"),
    "deny-nothing": case(DENY, (), 0, ""),
    "allow-two": case(ALLOW, (INSTRUCTIONS, LOADS), 7, "branches, stores"),
    "allow-nothing": case(ALLOW, (), 0, ", ".join(COUNTERS)),
    # The bitmap alone decides on fixed counters, the entries alone on GP ones.
    "deny-instructions-on-gp-only": case(DENY, (INSTRUCTIONS,), 0, "instructions"),
    "deny-fixed-1": case(DENY, (), 2, "fixed 1"),
    "allow-fixed-0": case(ALLOW, (INSTRUCTIONS, BRANCHES, LOADS, STORES), 1, "fixed 1, fixed 2"),
    # umask & 0x80 == 0x80: loads (81) and stores (82); of these without 82.
    "deny-masked": case(DENY, (entry(0xD0, 0x80, 0x80),), 0, "loads, stores"),
    "deny-masked-but-stores": case(
        DENY, (entry(0xD0, 0x80, 0x80), entry(0xD0, 0x82, exclude=True)), 0, "loads"
    ),
    "allow-masked-but-loads": case(
        ALLOW,
        (entry(0xD0, 0x80, 0x80), entry(0xD0, 0x01, 0x01, exclude=True), BRANCHES),
        7,
        "instructions, loads",
    ),
    # Match bits outside the mask never match; exclude alone matches nothing.
    "deny-what-cannot-match": case(DENY, (entry(0xD0, 0x81, 0x80),), 0, ""),
    "deny-exclude-only": case(DENY, (entry(0xC4, 0, exclude=True),), 0, ""),
    "allow-exclude-only": case(ALLOW, (entry(0xC4, 0, exclude=True),), 7, ", ".join(GP)),
    # Another umask of the same select.
    "deny-another-umask": case(DENY, (entry(0xC4, 1), entry(0xC0, 1)), 0, ""),
}

BODY = """
	movl	$500, %ecx
1:	movq	%rax, RESULTS + 4096
	movq	RESULTS + 4096, %rdx
	decl	%ecx
	jnz	1b
	movl	$9, %esi
2:	xorl	%eax, %eax
	cpuid
	decl	%esi
	jnz	2b
"""
# mov, 500 * 4, mov, 9 * 4, and the frame's 4 (test_exact_counts.py).
EXPECTED = {
    "instructions": 1 + 2000 + 1 + 36 + 4,
    "branches": 509,
    "loads": 500,
    "stores": 500,
    "fixed 0": 1 + 2000 + 1 + 36 + 4,
}
START = 1000  # of every counter


def guest() -> str:
    """Return the guest: seven counters from START on; selectors are read back."""
    lines = [asm.PRELUDE, "_start:", f"wr {asm.GLOBAL_CTRL}, 0"]
    for i, name in enumerate(GP):
        lines.append(f"wr {asm.EVTSEL0 + i}, {asm.EN | asm.OS | asm.USR | asm.EVENTS[name]}")
        lines.append(f"wr {asm.PMC0 + i}, {START}")
    lines.append(f"wr {asm.FIXED_CTR_CTRL}, 0x333")
    lines += [f"wr {asm.FIXED_CTR0 + i}, {START}" for i in range(3)]
    lines += [f"wr {asm.GLOBAL_CTRL}, {7 << asm.FIXED | 0xF}", BODY, "counting_off"]
    lines += [f"keep_pmc {i}, {i}" for i in range(4)]
    lines += [f"keep_pmc {4 + i}, {1 << 30 | i}" for i in range(3)]
    lines += [f"rd {asm.EVTSEL0 + i}\nkeep {8 + i}" for i in range(4)]
    lines += [f"rd {asm.FIXED_CTR_CTRL}\nkeep 12", f"rd {asm.GLOBAL_STATUS}\nkeep 13", "finish"]
    return "\n".join(lines)


@each_cpu
@each_vpmu
@pytest.mark.parametrize("name", CASES)
def test_what_a_filter_denies(name: str, mode: str, cpu: str) -> None:
    chosen = CASES[name]
    filter_ = Filter(chosen.action, chosen.bitmap, chosen.entries)
    ran = asm.run(guest(), mode=mode, cpu=cpu, filter=filter_)
    values = dict(zip(COUNTERS, ran.results(7), strict=True))
    for counter, value in values.items():
        if counter in chosen.denied:
            assert value == START, counter
        elif counter in EXPECTED:
            assert value == START + EXPECTED[counter], counter
        else:
            assert value > START + 100, counter
    # The guest finds its own values.
    selectors = [asm.EN | asm.OS | asm.USR | asm.EVENTS[n] for n in GP]
    assert ran.results(6, 8) == [*selectors, 0x333, 0]

    # By event, over its counters: what is lost is the filter's, and is no silent error.
    counters = {c.config & 0xFFFF: c for c in ran.counters().values()}
    for event in ("instructions", "branches", "loads", "stores", "cycles", "ref-cycles"):
        counter = counters[asm.EVENTS[event]]
        on = [n for n in COUNTERS if n == event or _fixed_event(n) == event]
        lost = counter.true_count - counter.counted
        assert counter.filtered == any(n in chosen.denied for n in on), event
        assert counter.causes == ({"filtered": lost} if lost else {})
        if event in EXPECTED:
            assert lost == EXPECTED[event] * sum(n in chosen.denied for n in on)
            assert counter.true_count == EXPECTED[event] * len(on)
    assert ran.machine.silent_errors() == []


def _fixed_event(counter: str) -> str:
    kind, _, index = counter.partition(" ")
    return asm.FIXED_EVENTS[int(index)] if kind == "fixed" else ""


@each_cpu
@each_vpmu
def test_a_denied_counter_can_be_written(mode: str, cpu: str) -> None:
    """Programming succeeds, values stay as written, overflow never comes."""
    filter_ = Filter(DENY, 1, (BRANCHES,))
    ops = [
        ("wr", asm.GLOBAL_CTRL, 1 << asm.FIXED | 1),
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | asm.INT | 0xC4),
        ("wr", asm.FIXED_CTR_CTRL, 0xB),
        ("wr", asm.PMC0, (1 << 48) - 3),
        ("wr", asm.FIXED_CTR0, (1 << 48) - 3),
        ("spin", 100),
        ("pmc", 0),
        ("rd", asm.PMC0),
        ("pmc", 1 << 30),
        ("rd", asm.EVTSEL0),
        ("rd", asm.FIXED_CTR_CTRL),
        ("rd", asm.GLOBAL_STATUS),
    ]
    found = run_script(ops, mode=mode, cpu=cpu, filter=filter_)
    short = (1 << 48) - 3
    selector = asm.EN | asm.OS | asm.INT | 0xC4
    assert found[6:] == [short, short, short, selector, 0xB, 0]


@each_cpu
@each_vpmu
def test_a_filter_looks_at_event_and_umask_only(mode: str, cpu: str) -> None:
    """Denied whatever USR, OS, EDGE, INV, CMASK and INT are; another event on the counter runs."""
    filter_ = Filter(DENY, 0, (BRANCHES,))
    ops = [("wr", asm.PMC0, 0)]
    for extra in (asm.OS, asm.OS | asm.USR, asm.OS | asm.INT, asm.OS | 1 << 24, asm.OS | 1 << 18):
        ops += [("wr", asm.EVTSEL0, asm.EN | extra | 0xC4), ("spin", 100)]
    ops += [("pmc", 0), ("wr", asm.EVTSEL0, asm.EN | asm.OS | 0xC0), ("spin", 100), ("pmc", 0)]
    found = run_script(ops, mode=mode, cpu=cpu, filter=filter_)
    assert found[11] == 0
    # 200 of the loop and what the script takes from one access to the next, twice.
    assert 200 < int(found[14]) < 260


@each_cpu
@each_vpmu
def test_the_write_that_enables_a_denied_counter(mode: str, cpu: str) -> None:
    """The truth counts the WRMSR, KVM credits nobody: that one is the filter's, too."""
    ran = asm.run(
        f"{asm.PRELUDE}\n_start: wr 0x186, {asm.EN | asm.OS | 0xC0}\nnop\nnop\n"
        "counting_off\nkeep_pmc 0, 0\nfinish",
        mode=mode,
        cpu=cpu,
        filter=Filter(DENY, 0, (INSTRUCTIONS,)),
    )
    assert ran.result(0) == 0
    (counter,) = ran.counters().values()
    # WRMSR, 2 NOPs, 3 before the last WRMSR.
    assert (counter.true_count, counter.counted) == (6, 0)
    assert counter.causes == {"filtered": 6}


@each_cpu
@each_vpmu
@pytest.mark.parametrize("settings", [(), ("kvm.interception=rfc2024",)], ids=["upstream", "rfc"])
def test_programming_a_neighbour_does_not_undo_the_filter(
    mode: str, cpu: str, settings: tuple[str, ...]
) -> None:
    """A denied fixed counter stays still when another field of FIXED_CTR_CTRL changes."""
    filter_ = Filter(DENY, 1, ())
    ops = [
        ("wr", asm.GLOBAL_CTRL, 7 << asm.FIXED | 1),
        ("wr", asm.FIXED_CTR_CTRL, 0x001),
        ("spin", 100),
        ("pmc", 1 << 30),
        ("wr", asm.FIXED_CTR_CTRL, 0x011),
        ("spin", 100),
        ("pmc", 1 << 30),
        ("wr", asm.FIXED_CTR_CTRL, 0x111),
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | 0xC4),
        ("spin", 100),
        ("pmc", 1 << 30),
        ("pmc", 1 << 30 | 1),
    ]
    found = run_script(ops, mode=mode, cpu=cpu, filter=filter_, settings=settings)
    assert [found[i] for i in (3, 6, 10)] == [0, 0, 0]
    assert int(found[11]) > 0


@each_cpu
@each_vpmu
def test_a_filter_file(mode: str, cpu: str, tmp_path: Path) -> None:
    """As a user writes it: the denied event is flagged in the document and nothing is an error."""
    path = tmp_path / "filter.toml"
    path.write_text('action = "deny"\nevents = ["branches"]\nfixed = ["cycles"]\n', "utf-8")
    result = pmupass.run(
        "perf-stat",
        mode=mode,
        cpu=cpu,
        events="cycles,instructions,branches",
        filter=path,
        time="2ms",
    )
    counters = {c.event: c for c in result.counters}
    for event in ("cycles", "branches"):
        counter = counters[event]
        assert counter.filtered
        assert counter.counted == 0
        assert counter.true > 100_000
        assert counter.causes == {"filtered": counter.true}
        assert counter.true_running_cycles == 0
    assert counters["instructions"].lost == 0
    assert not counters["instructions"].filtered
    assert result.silent_errors == []


@each_cpu
@each_vpmu
def test_a_filtered_sampling_event_takes_no_samples(mode: str, cpu: str, tmp_path: Path) -> None:
    path = tmp_path / "filter.toml"
    path.write_text('action = "deny"\nfixed = ["instructions"]\n', "utf-8")
    result = pmupass.run(
        "perf-record",
        mode=mode,
        cpu=cpu,
        events="instructions,cycles",
        filter=path,
        time="5ms",
    )
    samples = {e.event: e.samples for e in result.guest.report.events}
    assert samples["instructions"] == 0
    assert samples["cycles"] > 3
    assert next(c for c in result.counters if c.event == "instructions").filtered


def test_native_has_no_filter(tmp_path: Path) -> None:
    """Host settings do not reach a bare machine."""
    path = tmp_path / "filter.toml"
    path.write_text('action = "allow"\n', "utf-8")
    result = pmupass.run("perf-stat", mode="native", filter=path, time="1ms")
    assert all(c.lost == 0 and not c.filtered for c in result.counters)


def test_a_filter_needs_intercepted_selectors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "filter.toml"
    path.write_text('action = "deny"\nevents = ["branches"]\n', "utf-8")
    arguments = ["run", "perf-stat", "--filter", str(path), "--set", "kvm.interception=none"]
    assert main(arguments) == ExitStatus.USAGE
    assert "selectors" in capsys.readouterr().err
