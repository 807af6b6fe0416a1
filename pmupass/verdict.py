# SPDX-License-Identifier: Apache-2.0
"""The sentence under a report, computed from the numbers above it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pmupass.results import Counter, Result

ABOUT = 1.02  # up to this ratio, two counts are about the same
LATE = 2  # from this ratio on, one mode's PMIs are late
GLOBAL_KINDS = ("wrmsr-global-ctrl", "rdmsr-global-status", "wrmsr-global-ovf-ctrl")
DATA_KINDS = (
    ("RDPMC", ("rdpmc",)),
    ("GLOBAL_*", GLOBAL_KINDS),
    ("counters", ("wrmsr-counter", "rdmsr-counter")),
)
# What the name of a cause does not say.
WHAT_HAPPENED = {
    "refused": "host perf would not create KVM's event, and nobody told the guest",
    "late-reprogram": "the counter's event ran on, or not yet, until KVM reprogrammed it",
    "unexplained": "the model has recorded no cause: a gap of it",
    "counter-write": "the counter began where the guest did not write it",
}
CONTROL_KINDS = (
    ("selectors", ("wrmsr-evntsel", "rdmsr-evntsel")),
    ("FIXED_CTR_CTRL", ("wrmsr-fixed-ctr-ctrl",)),
)


def of_run(result: Result) -> str:
    """Say what one run came to."""
    parts = [_accuracy(result)]
    if result.overhead is not None and result.overhead:
        parts.append(f"profiling took {100 * result.overhead:.2f}% of the guest's time")
    if result.standing_cost is not None and result.standing_cost >= 0.00005:
        parts.append(f"the vPMU takes {100 * result.standing_cost:.2f}% even when nobody profiles")
    if result.own_exit_count:
        parts.append(f"{result.own_exit_count:,} VM-exits")
    text = "; ".join(parts) + "."
    return text if result.complete else _so_far(result, text)


def _so_far(result: Result, text: str) -> str:
    broken = result.guest.stop in ("unimplemented", "invariant")
    return f"{'Stopped' if broken else 'Interrupted'}, so far: {text}"


def of_diff(modes: Mapping[str, Result], refusals: Mapping[str, str]) -> str:
    """Say in one sentence how the modes compare."""
    if not modes:
        return f"No mode ran: {_refused(refusals)}."
    parts: list[str] = []
    if "emulated" in modes and "mediated" in modes:
        parts += _emulated_against_mediated(modes["emulated"], modes["mediated"])
    parts.append(_overheads(modes))
    parts.append(_losses(modes))
    parts.append(_late_pmis(modes))
    parts += _denials(modes)
    parts += [_refused(refusals)] if refusals else []
    text = "; ".join(part for part in parts if part) or "the guest counted nothing"
    text = text[:1].upper() + text[1:] + "."
    return next((_so_far(r, text) for r in modes.values() if not r.complete), text)


def _accuracy(result: Result) -> str:
    total = len(result.counters)
    losers = [c for c in result.counters if c.lost and not c.filtered]
    filtered = [c for c in result.counters if c.filtered]
    counted = total - len(filtered)
    if not total:
        text = "The guest counted nothing"
    elif losers:
        found = worst(losers)
        which = "The event" if total == 1 else f"{len(losers)} of {_count(total, 'event')}"
        text = f"{which} counted wrong, {'worst ' if len(losers) > 1 else ''}{found.event}: "
        text += _loss(found)
    elif not counted:
        text = "No event was allowed to count"
    elif filtered:
        text = f"{counted} of {total} events counted exactly"
    else:
        text = f"All {total} events counted exactly" if total > 1 else "The event counted exactly"
    text = "; ".join((text, *_denied(filtered)))
    if result.silent_errors:
        text += f"; {_count(len(result.silent_errors), 'silent error')}"
    return text


def _denied(filtered: Sequence[Counter]) -> list[str]:
    names = list(dict.fromkeys(c.event for c in filtered))
    return [f"the event filter denied {_join(names)}"] if names else []


def _denials(modes: Mapping[str, Result]) -> list[str]:
    return _denied([c for r in modes.values() for c in r.counters if c.filtered])


def worst(counters: Sequence[Counter]) -> Counter:
    """Return the counter that lost the largest share."""
    return max(counters, key=lambda c: abs(c.lost) / max(c.true, 1))


def _loss(counter: Counter) -> str:
    causes = sorted(counter.causes, key=lambda name: -abs(counter.causes[name]))
    share = f" ({100 * abs(counter.lost) / counter.true:.2f}%)" if counter.true else ""
    why = f", {' and '.join(_explained(name) for name in causes[:2])}" if causes else ""
    if counter.lost < 0:
        return f"{-counter.lost:,} more than the true {counter.true:,}{share}{why}"
    return f"{counter.lost:,} of {counter.true:,} lost{share}{why}"


def _explained(cause: str) -> str:
    words = WHAT_HAPPENED.get(cause)
    return f"{cause}: {words}" if words else cause


def _refused(refusals: Mapping[str, str]) -> str:
    return f"{_join(list(refusals))} {'was' if len(refusals) == 1 else 'were'} refused"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _emulated_against_mediated(emulated: Result, mediated: Result) -> list[str]:
    a, b = emulated.own_exit_count, mediated.own_exit_count
    if not a or not b:
        return []
    counts = f"({b:,} against {a:,})"
    if a == b:
        return [f"mediated takes as many VM-exits as emulated ({a:,})"]
    if max(a, b) <= min(a, b) * ABOUT:
        return [f"mediated takes about as many VM-exits as emulated {counts}"]
    if b > a:
        return [f"mediated takes {_times(b / a)} times as many VM-exits as emulated {counts}"]
    text = f"mediated takes {_times(a / b)} times fewer VM-exits than emulated {counts}"
    reason = why_exits(emulated, mediated)
    return [text + (f" because {reason}" if reason else "")]


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio > 10 else f"{ratio:.2f}"


def why_exits(emulated: Result, mediated: Result) -> str:
    """Say which accesses stopped exiting and which did not, from what the guest did."""
    kept: list[str] = []
    freed: list[str] = []
    for label, kinds in DATA_KINDS:
        if _intercepted(emulated, kinds):
            (kept if _intercepted(mediated, kinds) else freed).append(label)
    if not kept and not freed:
        return ""
    hardware, guest = mediated.pmu.hardware, mediated.pmu.guest
    exposed = []
    if guest.gp != hardware.gp:
        exposed.append(f"{guest.gp} of {hardware.gp} GP counters exposed")
    if guest.fixed != hardware.fixed:
        exposed.append(f"{guest.fixed} of {hardware.fixed} fixed counters exposed")
    if kept:
        stay = f"{_join(kept)} {'stays' if kept == ['RDPMC'] else 'stay'} intercepted"
        note = f" ({', '.join(exposed)})" if exposed else ""
        rest = f" and only {_join(freed)} became direct" if freed else ""
        return stay + note + rest
    are = "is" if freed == ["RDPMC"] else "are"
    still = [label for label, kinds in CONTROL_KINDS if _intercepted(mediated, kinds)]
    rest = f"only {_join(still)} still exit" if still else "no PMU access exits"
    return f"{_join(freed)} {are} direct and {rest}"


def _intercepted(result: Result, kinds: tuple[str, ...]) -> bool:
    return any(a.kind in kinds and a.intercepted for a in result.accesses.by_kind)


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _overheads(modes: Mapping[str, Result]) -> str:
    known = {
        mode: r.overhead for mode, r in modes.items() if r.overhead is not None and r.overhead != 0
    }
    if known:
        listed = ", ".join(f"{100 * value:.2f}% {mode}" for mode, value in known.items())
        return f"profiling costs {listed}"
    standing = {mode: r.standing_cost for mode, r in modes.items() if r.standing_cost is not None}
    if not standing:
        return ""
    listed = ", ".join(f"{100 * value:.2f}% {mode}" for mode, value in standing.items())
    return f"the idle vPMU costs {listed}"


def _late_pmis(modes: Mapping[str, Result]) -> str:
    """Say how far behind the overflow PMIs come, if that is much further in one mode."""
    behind = {m: r.pmi.latency_instructions.p50 for m, r in modes.items() if r.pmi.delivered}
    if not behind or max(behind.values()) < LATE * max(min(behind.values()), 1):
        return ""
    listed = [f"{n:,} {mode}" for mode, n in behind.items()]
    return f"PMIs come so many guest instructions behind the overflow (p50): {', '.join(listed)}"


def _losses(modes: Mapping[str, Result]) -> str:
    losing = {
        mode: [c for c in r.counters if c.lost and not c.filtered] for mode, r in modes.items()
    }
    if not any(r.counters for r in modes.values()):
        return ""
    if not any(losing.values()):
        return "no mode loses a count" if len(modes) > 1 else "no count is lost"
    texts = []
    for mode, counters in losing.items():
        if not counters:
            continue
        found = worst(counters)
        texts.append(f"{mode} miscounts {found.event}: {_loss(found)}")
    exact = [mode for mode, counters in losing.items() if not counters]
    if exact:
        texts.append(f"{_join(exact)} {'is' if len(exact) == 1 else 'are'} exact")
    return "; ".join(texts)
