# SPDX-License-Identifier: Apache-2.0
"""``--set``: defaults, types, and errors that say what would be valid."""

import pytest

from pmupass import settings
from pmupass.errors import UsageError


def test_defaults() -> None:
    resolved = settings.resolve([])
    assert resolved.text("kvm.interception") == "upstream"
    assert resolved.integer("kvm.max_fixed_counters") == 3
    assert resolved.integer("guest.hz") == 1000
    assert resolved.given("kvm.apicv") is None, "the CPU decides"
    assert resolved.optional("guest.gp_counters") is None


def test_a_workload_comes_before_the_general_default_and_the_user_before_both() -> None:
    defaults = {"guest.hz": 250, "guest.pmu": "idle"}
    resolved = settings.resolve(["guest.hz=100"], defaults)
    assert resolved.integer("guest.hz") == 100
    assert resolved.text("guest.pmu") == "idle"


def test_the_last_assignment_counts() -> None:
    assert settings.resolve(["guest.hz=1", "guest.hz=2"]).integer("guest.hz") == 2


def test_open_namespaces_are_passed_on() -> None:
    resolved = settings.resolve(["cpu.skid_cycles=5", "cost.native_write_msr=120"])
    assert resolved.namespace("cpu") == {"skid_cycles": "5"}
    assert resolved.namespace("cost") == {"native_write_msr": "120"}
    assert resolved.as_dict()["cpu.skid_cycles"] == "5"


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("guest.hz", "write key=value"),
        ("guest.hz=", "write key=value"),
        ("=1", "write key=value"),
        ("guest.herz=250", "did you mean guest.hz"),
        ("kvm.intercept=none", "did you mean kvm.interception"),
        ("host.quux_bravado=1", "there is "),
        ("cpu=1", "no such setting"),
        ("cpu.=1", "no such setting"),
        ("kvm.interception=upsteam", "did you mean upstream"),
        ("kvm.interception=all", "upstream, rfc2024, none"),
        ("guest.hz=fast", "whole numbers from 0 to 10000"),
        ("guest.hz=-1", "whole numbers"),
        ("guest.hz=10001", "whole numbers"),
        ("kvm.max_fixed_counters=5", "whole numbers from 0 to 4"),
        ("kvm.apicv=maybe", "valid values are 1 and 0"),
        ("host.nmi_watchdog=1", "none, perf, buddy, hpet"),
        ("guest.linux=5.15", "6.8, 6.9"),
    ],
)
def test_errors_say_what_is_valid(assignment: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings.resolve([assignment])
    assert says in str(caught.value)
    assert assignment.split("=", maxsplit=1)[0] in str(caught.value)


def test_a_value_of_guest_cpuid_is_reported_as_it_was_given() -> None:
    with pytest.raises(UsageError, match=r"^--guest-cpuid gp_counters=99: valid values are"):
        settings.from_guest_cpuid(["pmu_version=2,gp_counters=99"])


def test_switch_policies() -> None:
    for policy in ("upstream", "entry-exit", "vcpu-loop", "lazy", "enlightened"):
        assert settings.check_switch_policy(policy) == policy
    with pytest.raises(UsageError, match="did you mean upstream"):
        settings.check_switch_policy("upstraem")


@pytest.mark.parametrize("setting", settings.SETTINGS, ids=lambda s: s.key)
def test_every_default_is_a_value_that_parses(setting: settings.Setting) -> None:
    assert setting.doc
    if setting.default is not None:
        assert setting.parse(setting.show(setting.default)) == setting.default
    for text in setting.values:
        assert setting.show(setting.parse(text)) == text
