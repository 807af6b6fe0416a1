# SPDX-License-Identifier: Apache-2.0
"""``--vm``: further VMs on the host of ``run`` and ``diff-modes``, in documents and tables."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import pmupass as product
from pmupass.errors import UsageError
from pmupass.machine import Session
from pmupass.options import Options
from pmupass.results import encode

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = ("--time=300us", "--no-host")
NO_VPMU = "--set kvm.cap_pmu_disable=1"
# What a document says of the host and of all its VMs.
OF_HOST = {"settings", "costs", "stats", "vms"}


def validate(document: Any, name: str) -> None:
    """Hold a document against its schema."""
    text = (resources.files("pmupass") / "schemas" / f"{name}.json").read_text(encoding="utf-8")
    jsonschema.validate(document, json.loads(text))


def run(mode: str, *vms: str, **given: Any) -> Any:
    """Return the document of perf-record on a host with other VMs."""
    settings = {"guest.hz": 10000, "guest.chunk": 3000, **given.pop("settings", {})}
    given = {"time": "300us", "mode": mode, "vms": vms, "settings": settings, **given}
    return json.loads(encode(product.run("perf-record", **given)))


# ---- documents ----


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_the_document_has_the_other_vms(mode: str) -> None:
    """Their workloads, vPMUs, own settings, ends; what they count is exact, cut off or not."""
    document = run(
        mode,
        "perf-stat -e instructions:u,branches:u --time 100us --set guest.cpus=2",
        "exit-storm --guest-cpuid pmu_version=0",
        f"exit-storm {NO_VPMU}",
    )
    validate(document, "result")
    stat, hidden, off = document["vms"]
    assert [vm["workload"] for vm in document["vms"]] == ["perf-stat", "exit-storm", "exit-storm"]
    assert [vm["vpmu"] for vm in document["vms"]] == [mode, "none", "none"]
    assert [vm["pmu"]["version"] for vm in document["vms"]] == [2, 0, 2]
    assert [vm["guest"]["stop"] for vm in document["vms"]] == ["exit", "running", "running"]
    assert len(stat["vcpus"]) == 2
    assert "vcpus" not in hidden
    assert stat["settings"]["guest.cpus"] == 2
    assert stat["settings"]["time_ns"] == 100_000
    assert stat["settings"]["events"] == ["instructions:u", "branches:u"]
    assert off["settings"]["kvm.cap_pmu_disable"]
    assert "time_ns" not in off["settings"]
    assert not [key for vm in document["vms"] for key in vm["settings"] if key.startswith("host")]
    for counter in stat["counters"]:
        assert counter["true"] == counter["counted"] > 0
        assert counter["true"] == sum(
            c["true"]
            for v in stat["vcpus"]
            for c in v["counters"]
            if c["config"] == counter["config"]
        )
    assert hidden["counters"] == off["counters"] == []
    assert (stat["switch"]["loads"] > 0) == (mode == "mediated")
    assert hidden["switch"]["loads"] == off["switch"]["loads"] == 0
    assert sum(e["count"] for e in off["exits"]) > 0
    assert document["guest"]["stop"] == "exit"


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_with_a_pcpu_each_nobody_notices_another_vm(mode: str) -> None:
    """All that a document says of the first VM is what it says without others."""
    alone = run(mode)
    beside = run(mode, "perf-record --set guest.hz=10000", f"exit-storm {NO_VPMU}")
    assert set(beside) == set(alone) | {"vms"}
    for key in set(alone) - OF_HOST:
        assert beside[key] == alone[key], key


def test_slices_show_in_no_document() -> None:
    vms = (
        Options("perf-record", settings=("guest.hz=10000",)),
        Options("exit-storm", settings=("kvm.cap_pmu_disable=1",)),
    )
    for mode in ("emulated", "mediated"):
        options = Options(
            "perf-record",
            host=False,
            time_ns=200_000,
            vms=vms,
            settings=("guest.hz=10000", "host.cpus=2"),
        )
        whole = encode(Session(options).run(mode))
        assert encode(Session(options, blocks=53).run(mode)) == whole


def test_the_standing_cost_is_taken_beside_the_vms_of_the_mode() -> None:
    """On one pCPU they make a difference: what is measured once for both designs would be wrong."""
    given: dict[str, Any] = {
        "time": "300us",
        "vms": ["exit-storm", "exit-storm"],
        "settings": {"host.cpus": 1, "guest.hz": 0},
    }
    both = product.diff_modes("exit-storm", modes=["emulated", "mediated"], **given).results
    for mode, result in both.items():
        assert result.standing_cost is not None
        assert result == product.run("exit-storm", mode=mode, **given)


def test_native_has_none(pmupass: Callable) -> None:
    outcome = pmupass("run", "perf-stat", *QUICK, "--mode=native", "--vm=exit-storm", "--json")
    assert outcome.status == 0
    assert outcome.err == "pmupass: native has no VMs: --vm is not used\n"
    assert "vms" not in outcome.document
    both = pmupass("diff-modes", "perf-stat", *QUICK, "--vm=exit-storm", "--json")
    assert (both.status, both.err) == (0, "")
    validate(both.document, "diff")
    modes = both.document["modes"]
    assert "vms" not in modes["native"]
    assert len(modes["emulated"]["vms"]) == len(modes["mediated"]["vms"]) == 1


def test_what_host_perf_can_count_is_that_of_all_vms() -> None:
    """Emulated: all guests' cycles. Mediated: none, if only one VM's PMU is on."""
    what = "guest cycles that host perf can count"
    off = {"kvm.cap_pmu_disable": 1, "guest.pmu": "idle"}
    for settings in ({}, off):
        for vm in (f"exit-storm {NO_VPMU}", "exit-storm --guest-cpuid pmu_version=0"):
            diff = product.diff_modes("perf-stat", time="300us", vms=[vm], settings=settings)
            every = {
                mode: r.guest.core_cycles + r.other_vms[0].guest.core_cycles
                for mode, r in diff.results.items()
                if mode != "native"
            }
            found = [d.values for d in diff.differences if d.what == what]
            if settings is off and NO_VPMU in vm:
                assert found in ([], [every])
            else:
                assert found == [{"emulated": every["emulated"], "mediated": 0}]


# ---- tables ----


def test_the_tables_show_them(pmupass: Callable) -> None:
    out = pmupass(
        "run",
        "perf-stat",
        *QUICK,
        "--vm=perf-stat --time 50us",
        "--vm=exit-storm",
        "--set=host.cpus=2",
    ).out
    assert out.startswith("perf-stat, mediated on sapphire-rapids, 3 VMs with 3 vCPUs on 2 pCPUs,")
    assert "VM 1: perf-stat, counters" in out
    assert "VM 2: exit-storm, counters" not in out
    first, second = out.split("\nVM 1: perf-stat\n")[1].split("\nVM 2: exit-storm\n")
    for part, end in ((first, "exit"), (second, "end of the run")):
        lines = [line.split(maxsplit=2) for line in part.splitlines()]
        assert ["vPMU", "mediated"] in lines
        assert ["stopped", "by", end] in lines
    side_by_side = pmupass("diff-modes", "perf-stat", *QUICK, "--vm=exit-storm").out
    assert "VM 1: exit-storm" in side_by_side


def test_a_guest_of_another_vm_that_fails_is_told(pmupass: Callable) -> None:
    """#GP: CPUID announces a PMU that is off. The status is the first VM's."""
    outcome = pmupass("run", "perf-stat", *QUICK, f"--vm=perf-stat {NO_VPMU}")
    assert outcome.status == 0
    assert "mediated: the guest of VM 1 reports failure, exit value 1\n" in outcome.out
    assert "mediated, VM 1 serial: perf-stat: unexpected exception 13" in outcome.out


# ---- what is refused ----


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "--vm : WORKLOAD is missing"),
        ("'", "--vm ': No closing quotation"),
        ("exit-storm --cpu zen4", "No such option '--cpu'"),
        ("exit-storm --host perf-top", "what is the host's stands beside --vm"),
        ("exit-storm more", "Got unexpected extra argument (more)"),
        ("exit-storm --time 0ms", "--time 0ms: the time must not be zero"),
        ("nosuch", "--vm nosuch (VM 1): no workload 'nosuch'"),
        ("exit-storm --set host.tasks=1", "host.tasks holds for the whole host and all its VMs"),
        ("exit-storm --set kvm.apicv=0", "kvm.apicv holds for the whole host and all its VMs"),
        ("exit-storm --set profile.branches=1", "profile.branches holds for the whole host"),
        ("exit-storm --set guest.cpu=2", "no such setting; did you mean guest.cpus"),
        ("exit-storm --set guest.cpus=8", "--vm: 9 vCPUs in all VMs together; 8 at most"),
        ("exit-storm -e cycles", "--vm exit-storm (VM 1): -e: the guest leaves its PMU idle"),
        ("perf-stat --guest-cpuid pmu_version=0", "(VM 1): guest.pmu_version=0: the guest has no"),
        ("exit-storm --filter core@20ms", "a filter that changes is the first VM's"),
    ],
)
def test_what_means_nothing(pmupass: Callable, text: str, words: str) -> None:
    outcome = pmupass("run", "perf-stat", *QUICK, "--vm", text)
    assert outcome.status == 2
    assert words in outcome.err


def test_images_that_are_no_good(pmupass: Callable, tmp_path: Any) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"garbage")
    outcome = pmupass("run", "perf-stat", *QUICK, "--vm", f"{path}")
    assert outcome.status == 3
    assert f"--vm {path} (VM 1): malformed guest image" in outcome.err
    limit = pmupass("run", "perf-stat", *QUICK, "--vm", f"{path} --time 1ms")
    assert limit.status == 2
    assert "--time is for built-in workloads" in limit.err


def test_a_vm_that_kvm_refuses_is_named(pmupass: Callable) -> None:
    """The first VM's PMU is off, the second one's is on: -EBUSY at the second's first vCPU."""
    off = ("--set=kvm.cap_pmu_disable=1", "--set=guest.pmu=idle", "--host-perf=cycles")
    outcome = pmupass("run", "perf-stat", *QUICK, *off, "--vm=exit-storm")
    assert outcome.status == 3
    assert "--vm exit-storm (VM 1): KVM_CREATE_VCPU: -EBUSY" in outcome.err
    assert pmupass("run", "perf-stat", *QUICK, *off, f"--vm=exit-storm {NO_VPMU}").status == 0


def test_the_api_takes_one_text_too() -> None:
    (vm,) = product.run("perf-stat", time="100us", vms="exit-storm").other_vms
    assert vm.workload == "exit-storm"
    with pytest.raises(UsageError, match="no workload 'nosuch'"):
        product.run("perf-stat", vms=["nosuch"])
