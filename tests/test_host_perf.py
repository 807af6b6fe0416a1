# SPDX-License-Identifier: Apache-2.0
"""``--host-perf SPEC``: perf sessions of the host, parsed and run."""

from __future__ import annotations

import pytest

from pmupass import cpus, host_perf
from pmupass.errors import UsageError
from pmupass.events import EventTable
from pmupass.machine import Session
from pmupass.options import Options

TABLE = EventTable(cpus.load("sapphire-rapids"))


def test_a_list_of_events_counts_from_before_the_vm() -> None:
    """As perf's ``-a`` without a command."""
    session = host_perf.parse("cycles:D,instructions:H", TABLE)
    assert [spec.text for spec in session.specs] == ["cycles:D", "instructions:H"]
    assert (session.period, session.start_ns, session.stop_ns) == (0, None, None)
    assert [event.pinned for event in session.events()] == [True, False]


def test_options_as_perf_has_them() -> None:
    """In any order, and times behind the events."""
    session = host_perf.parse("-a -c 100000 -e cycles:H@10ms-30ms", TABLE)
    assert (session.period, session.start_ns, session.stop_ns) == (100_000, 10**7, 3 * 10**7)
    assert session.events()[0].sample_period == 100_000
    assert host_perf.parse("branches@20ms -a", TABLE).start_ns == 2 * 10**7


def test_groups_frequencies_and_threads() -> None:
    """A group's leader is opened disabled, as by perf; -F is attr.freq."""
    session = host_perf.parse("-F 4000 loads,{cycles,instructions}:u", TABLE)
    events = session.events(10)
    assert [e.group_leader for e in events] == [None, None, 11]
    assert [e.disabled for e in events] == [False, True, False]
    assert {(e.freq, e.sample_period) for e in events} == {(True, 4000)}
    assert host_perf.parse("-F max cycles", TABLE).frequency == 100_000
    for text in ("-t vcpu3 cycles", "--tid vcpu3 -e cycles"):
        session = host_perf.parse(text, TABLE)
        (event,) = session.events()
        assert (event.thread_name, event.freq, event.disabled) == ("vcpu3", False, False)
        # There is no such thread before there is a VM.
        assert session.start_ns == 0
    assert host_perf.parse("-t task0 cycles", TABLE).start_ns is None
    assert host_perf.parse("cycles@0ms-2ms", TABLE).start_ns == 0
    sessions = host_perf.parse_all(["cycles,loads", "stores"], TABLE)
    assert [e.number for session in sessions for e in session.events()] == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("-F", "wants a number"),
        ("-F 0 cycles", "a number from 1 to 100000, which is kernel.perf_event_max"),
        ("-F 100001 cycles", "kernel.perf_event_max_sample_rate"),
        ("-F 99 -c 1000 cycles", "-c and -F exclude each other"),
        ("-t vcpu0 -a cycles", "-a and -t exclude each other"),
        ("-t", "wants a thread"),
        ("-t 1234 cycles", "one thread, a vCPU's"),
        ("-t vcpu0,vcpu1 cycles", "one thread, a vCPU's"),
        ("", "an event is missing"),
        ("-a", "an event is missing"),
        ("-c", "wants a number"),
        ("-c 0 cycles", "a number from 1"),
        ("-c ten cycles", "a number from 1"),
        ("-e", "wants events"),
        ("-p 12 cycles", "-p is not supported"),
        ("cycles instructions", "one list of events"),
        ("cycles@10ms-5ms", "ends before it begins"),
        ("cycles@2ms-2ms", "ends when it begins"),
        ("cycles@1ms-", "behind the @ stands when it begins"),
        ("cycles@soon", "behind the @ stands when it begins"),
        ("cycles@", "a time is missing"),
        ("@1ms", "an event is missing"),
        ("cycles@10", "write a number and ns"),
        ("'cycles", "No closing quotation"),
    ],
)
def test_what_says_nothing_is_refused(text: str, says: str) -> None:
    """With the text that was given."""
    with pytest.raises(UsageError, match=says):
        host_perf.parse(text, TABLE)


def options(*host: str) -> Options:
    """Return a short run with these sessions."""
    return Options("perf-stat", time_ns=2_000_000, host_perf=host, host=False)


def test_a_session_for_a_time() -> None:
    """It counts from its start to its end, and is closed after that."""
    result = Session(options("instructions:H", "instructions:H@500us-1ms")).run("emulated")
    whole, part = result.host_events
    assert (whole.state, part.state) == ("active", "off")
    assert 0 < part.count < whole.count
    # Half a millisecond of a TSC of 2 GHz; what the host is busy with is finished first.
    assert abs(part.time_enabled - 1_000_000) < 50_000


def test_a_mediated_guest_has_perf_fall_back_to_host_only() -> None:
    """An event that would count guests is refused while a mediated VM is there (EOPNOTSUPP).

    perf opens it again without the guest, unless it was told whom to count.
    """
    result = Session(options("cycles@1ms", "cycles:G@1ms")).run("mediated")
    fallen, refused = result.host_events
    assert (fallen.event, fallen.state, fallen.true_guest) == ("cycles:H", "active", 0)
    assert (refused.event, refused.state, refused.count) == ("cycles:G", "refused", 0)
    emulated = Session(options("cycles@1ms", "cycles:G@1ms")).run("emulated")
    assert [e.event for e in emulated.host_events] == ["cycles", "cycles:G"]
    assert all(isinstance(e.true_guest, int) and e.true_guest > 0 for e in emulated.host_events)
