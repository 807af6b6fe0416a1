# SPDX-License-Identifier: Apache-2.0
"""Options: times with units, modes, and what excludes what."""

import pytest

from pmupass.errors import UsageError
from pmupass.options import Options, assignments, check_modes, parse_time


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("100ms", 10**8), ("1s", 10**9), ("1.5ms", 1_500_000), ("250us", 250_000), ("7 ns", 7)],
)
def test_times(text: str, nanoseconds: int) -> None:
    assert parse_time(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "100",
        "ms",
        "-1ms",
        "1h",
        "0ms",
        "0.0000001ns",
        "1e3ms",
        "99999s",
        "9" * 5000 + "s",
        "0." + "1" * 5000 + "s",
    ],
)
def test_bad_times_name_an_example_or_the_limit(text: str) -> None:
    with pytest.raises(UsageError, match=r"--time"):
        parse_time(text)


def test_frequency_and_period_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude"):
        Options("perf-record", frequency=1, period=1)


@pytest.mark.parametrize(
    "bad", [{"frequency": 0}, {"period": 0}, {"period": 1 << 47}, {"seed": -1}, {"seed": 1 << 32}]
)
def test_ranges(bad: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="lies between"):
        Options("perf-record", **bad)  # type: ignore[arg-type]


def test_modes() -> None:
    assert check_modes(["mediated", " native"]) == ("mediated", "native")
    with pytest.raises(UsageError, match="did you mean mediated"):
        check_modes(["meditated"])
    with pytest.raises(UsageError, match="once"):
        check_modes(["native", "native"])


def test_settings_as_a_mapping() -> None:
    given = {"guest.hz": 250, "kvm.apicv": False, "guest.linux": "6.8"}
    assert assignments(given) == ("guest.hz=250", "kvm.apicv=0", "guest.linux=6.8")
    assert assignments(["a.b=c"]) == ("a.b=c",)
