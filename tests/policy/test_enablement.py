# SPDX-License-Identifier: Apache-2.0
"""The preconditions of a mediated vPMU: each one, by itself, refuses under its own name."""

import msgspec
import pytest

from pmupass import cpus
from pmupass.config import Mode
from pmupass.policy.enablement import check, host_only, preconditions

SPR, SKX = cpus.load("sapphire-rapids"), cpus.load("skylake-sp")


def silicon(cpu, **changes):
    return msgspec.structs.replace(cpu, silicon=msgspec.structs.replace(cpu.silicon, **changes))


def refusal(cpu=SPR, mode=Mode.MEDIATED, **host):
    return check(cpu, mode=mode, **host)


@pytest.mark.parametrize("name", cpus.names())
def test_the_models_of_this_version_do_it(name: str) -> None:
    cpu = cpus.load(name)
    refusal = check(cpu, mode=Mode.MEDIATED)
    if name in ("zen2", "zen3"):
        assert refusal is not None
        assert (refusal.precondition, refusal.errno) == ("perfmon-v2", "ENODEV")
        assert f"{name} has no PerfMonV2" in refusal.text
        return
    assert refusal is None


CASES = [
    ("not-hybrid", {"cpu": silicon(SPR, hybrid=True)}, "ENODEV", "is a hybrid CPU"),
    (
        "perf-capability",
        {"cpu": silicon(SPR, mediated_capable=False)},
        "ENODEV",
        "lacks PERF_PMU_CAP_MEDIATED_VPMU",
    ),
    (
        "perfmon-version",
        {"cpu": silicon(SPR, version=3)},
        "ENODEV",
        "architectural perfmon version 3; a mediated vPMU needs 4",
    ),
    (
        "full-width-writes",
        {"cpu": silicon(SPR, perf_capabilities=0)},
        "ENODEV",
        "lacks FW_WRITE",
    ),
    (
        "vmcs-load-global-ctrl",
        {"cpu": silicon(SPR, entry_load_global_ctrl=False)},
        "ENODEV",
        "cannot load GLOBAL_CTRL",
    ),
    ("in-kernel-lapic", {"in_kernel_lapic": False}, None, "silently turns the vPMU of the VM off"),
    (
        "no-include-guest-events",
        {"host_include_guest_events": ["cycles:D"]},
        "EBUSY",
        "-EBUSY: the host's perf event cycles:D counts guests too",
    ),
    (
        "no-nmi-watchdog",
        {"nmi_watchdog": True},
        "EBUSY",
        "-EBUSY: the perf event of the host's hard lockup detector counts guests too",
    ),
]


@pytest.mark.parametrize(("name", "what", "errno", "text"), CASES, ids=[c[0] for c in CASES])
def test_each_precondition(name: str, what, errno: str | None, text: str) -> None:
    found = refusal(**what)
    assert found is not None
    assert found.precondition == name
    assert found.errno == errno
    assert text in found.text
    assert found.change
    assert str(found) == f"{found.text}\n{found.change}"


def test_every_precondition_has_a_case() -> None:
    assert [condition.name for condition in preconditions(SPR)] == [case[0] for case in CASES]
    assert all(condition.holds for condition in preconditions(SPR))


def test_ebusy_says_what_to_change() -> None:
    found = refusal(host_include_guest_events=["cycles:D", "ref-cycles"])
    assert "events cycles:D, ref-cycles count guests too" in found.text
    assert "exclude_guest: cycles:DH, ref-cycles:H" in found.change
    assert "--mode emulated" in found.change


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("cycles", "cycles:H"),
        ("cycles:D", "cycles:DH"),
        ("cycles:uG", "cycles:uH"),
        ("r3c:GH", "r3c:H"),
    ],
)
def test_the_event_that_excludes_guests(event: str, expected: str) -> None:
    assert host_only(event) == expected


@pytest.mark.parametrize("what", [case[1] for case in CASES], ids=[c[0] for c in CASES])
def test_nobody_else_has_preconditions(what) -> None:
    assert refusal(mode=Mode.EMULATED, **what) is None
    assert refusal(mode=Mode.NATIVE, **what) is None
    assert refusal(has_pmu=False, **what) is None, "perf is not asked for a VM without a vPMU"


def test_a_missing_save_of_global_ctrl_is_no_obstacle() -> None:
    assert refusal(cpu=silicon(SPR, exit_save_global_ctrl=False)) is None
