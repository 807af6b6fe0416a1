# SPDX-License-Identifier: Apache-2.0
"""Where the PMU changes hands, by policy: how often, at what cost, and that no guest can tell.

policy        load and put
upstream      around each stay in the inner run loop: once per exit that is not of the fastpath
entry-exit    at each VM-entry and VM-exit
vcpu-loop     around KVM_RUN: once per return to user space, sleep, or turn of another thread
lazy          as vcpu-loop; as upstream while the host has an event. That is kvm.lazy=put, half of
              it; no load while nothing in the guest can count, the other (test_lazy_load.py)
enlightened   as upstream, in fewer registers
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import guest_asm as asm
import pytest

import pmupass
from pmupass.config import Lazy, MachineConfig, SwitchPolicy
from pmupass.settings import SWITCH_POLICIES

if TYPE_CHECKING:
    from pmupass.core import Machine

CPUS = ("skylake-sp", "sapphire-rapids", "zen4")
GUEST = asm.PRELUDE + asm.CPUID_STORM + "\tfinish\n"


def config(policy: str, **given: object) -> MachineConfig:
    """Return a mediated machine with a policy; ``cpu``, ``host_perf`` and ``settings`` as given."""
    made = asm.config(b"", mode="mediated", **given)  # type: ignore[arg-type]
    kvm = dataclasses.replace(made.kvm, switch_policy=SwitchPolicy.named(policy))
    return dataclasses.replace(made, kvm=kvm)


def run(policy: str, source: str = GUEST, *, lazy: Lazy = Lazy.PUT, **given: object) -> Machine:
    """Run a guest to its end under a policy; of ``lazy`` the half that is asked for."""
    kvm = dataclasses.replace(config(policy, **given).kvm, lazy=lazy)
    return asm.run(source, mode="mediated", kvm=kvm, **given).machine  # type: ignore[arg-type]


def exits(machine: Machine) -> int:
    """Return the VM-exits in all."""
    return sum(e.count for e in machine.exits())


def to_user_space(machine: Machine) -> int:
    """Return how often the VMM was asked: for ports only, here."""
    return sum(e.count for e in machine.exits() if e.reason in ("IO_INSTRUCTION", "io"))


def cpuid_cycles(machine: Machine) -> float:
    """Return the mean cost of a CPUID exit, its switch of the PMU included."""
    (storm,) = (e for e in machine.exits() if e.reason in ("CPUID", "cpuid") and e.count)
    assert storm.count >= asm.CPUID_ROUNDS
    return storm.cycles / storm.count


@pytest.mark.parametrize("cpu", CPUS)
def test_how_often(cpu: str) -> None:
    """No exit of this guest is of the fastpath, and none touches the PMU."""
    runs = {policy: run(policy, cpu=cpu) for policy in SWITCH_POLICIES}
    loads = {policy: machine.switch().loads for policy, machine in runs.items()}
    for policy, machine in runs.items():
        assert machine.switch().puts == loads[policy]
        assert exits(machine) == exits(runs["upstream"])
    assert loads["upstream"] == loads["enlightened"] == exits(runs["upstream"])
    assert loads["entry-exit"] == exits(runs["entry-exit"])
    # Once before the first entry and once behind each return but the last, which ends the run.
    assert loads["vcpu-loop"] == loads["lazy"] == to_user_space(runs["lazy"])
    assert loads["lazy"] < loads["upstream"] // 4


def hidden_share(machine: Machine) -> float:
    """Return how much of the host's cycles are those that host perf cannot see."""
    return machine.switch().host_blind_cycles / sum(c.cycles for c in machine.costs())


@pytest.mark.parametrize("cpu", CPUS)
def test_a_host_event_ends_laziness(cpu: str) -> None:
    """perf has something to count between two stays of the guest: lazy puts as upstream does."""
    given = {"cpu": cpu, "host_perf": ("cycles:H",)}
    lazy, upstream, loop = (run(p, **given) for p in ("lazy", "upstream", "vcpu-loop"))
    assert lazy.switch().loads == upstream.switch().loads
    assert lazy.switch().wrmsr == upstream.switch().wrmsr
    assert lazy.switch().host_blind_cycles == upstream.switch().host_blind_cycles
    # vcpu-loop does not ask: what KVM does between exits is hidden from the host's event. It is
    # more of the host's work, which is less in all, without switches.
    assert hidden_share(loop) > hidden_share(upstream) > 0.4
    (seen,), (hidden,) = upstream.host_events(), loop.host_events()
    assert hidden.count < seen.count // 2


@pytest.mark.parametrize("cpu", CPUS)
def test_an_idle_guest_pmu(cpu: str) -> None:
    """What is moved for counters that are all 0 and off.

    Upstream: GLOBAL_CTRL, each selector, and Intel's FIXED_CTR_CTRL; LVTPC twice; a RDPMC of each
    counter at load and at put. AMD writes STATUS_SET always, GLOBAL_CTL after it, and clears it at
    put: three more. Enlightened leaves out selectors, FIXED_CTR_CTRL and LVTPC.
    """
    upstream, frugal = (run(p, cpu=cpu) for p in ("upstream", "enlightened"))
    made = config("upstream", cpu=cpu)
    gp, fixed = made.guest.nr_gp, made.guest.nr_fixed
    n = upstream.switch().loads
    extra = 1 if fixed else 3
    assert upstream.switch().wrmsr == n * (1 + gp + extra)
    assert frugal.switch().wrmsr == n * (1 if fixed else 1 + extra)
    assert upstream.switch().lvtpc == 2 * n
    assert frugal.switch().lvtpc == 0
    assert upstream.switch().rdpmc == frugal.switch().rdpmc == 2 * n * (gp + fixed)
    assert frugal.switch().cycles < upstream.switch().cycles


def test_writes_that_are_not_elided() -> None:
    """Without elision a load writes each counter and reads none; put reads all as before."""
    elided = run("upstream", cpu="skylake-sp")
    plain = run("upstream", cpu="skylake-sp", settings=("kvm.elide_wrmsr=0",))
    n = plain.switch().loads
    assert n == elided.switch().loads
    assert plain.switch().wrmsr - elided.switch().wrmsr == n * (4 + 3)
    assert elided.switch().rdpmc - plain.switch().rdpmc == n * (4 + 3)


@pytest.mark.parametrize("cpu", CPUS)
def test_what_laziness_is_worth(cpu: str) -> None:
    """An idle mediated CPUID exit: as dear as without a vPMU, once nothing is switched for it.

    Either half of lazy does that alone. Beside a host event a put that waits has to put after all,
    and is no worse than upstream; a load that waits stays as cheap.
    """
    none = asm.run(GUEST, mode="emulated", cpu=cpu, settings=("kvm.cap_pmu_disable=1",))
    bare = cpuid_cycles(none.machine)
    host = {"cpu": cpu, "host_perf": ("cycles:H",)}
    upstream = cpuid_cycles(run("upstream", **host))
    for lazy in Lazy:
        assert cpuid_cycles(run("lazy", cpu=cpu, lazy=lazy)) <= 1.15 * bare
        beside = cpuid_cycles(run("lazy", lazy=lazy, **host))
        assert beside <= (1.05 * upstream if lazy is Lazy.PUT else 1.15 * bare)
    assert cpuid_cycles(run("enlightened", cpu=cpu)) < cpuid_cycles(run("upstream", cpu=cpu))


@pytest.mark.parametrize("policy", SWITCH_POLICIES)
@pytest.mark.parametrize("cpu", CPUS)
def test_credits_reach_a_live_counter(cpu: str, policy: str) -> None:
    """CPUIDs that KVM completes are counted, with the PMU loaded or not, and the last one wraps.

    A general-purpose counter of instructions in the kernel, from 25 CPUIDs' worth below its end:
    the storm's instructions wrap it once; what it shows then is what an exact counter shows.
    """
    select = 0xC0010200 if cpu == "zen4" else 0x186
    counter = 0xC0010201 if cpu == "zen4" else 0x4C1
    status = 0xC0000300 if cpu == "zen4" else 0x38E
    enable = 0xC0000301 if cpu == "zen4" else 0x38F
    source = (
        asm.PRELUDE
        + f"""
	wr {enable:#x}, 1
	movl	${counter:#x}, %ecx
	movl	${-100 & 0xFFFFFFFF:#x}, %eax
	movl	$0xffff, %edx
	wrmsr
	wr {select:#x}, {asm.EN | asm.OS | 0xC0:#x}
"""
        + asm.CPUID_STORM
        + f"""
	wr {select:#x}, 0
	movl	${counter:#x}, %ecx
	rdmsr
	shlq	$32, %rdx
	orq	%rdx, %rax
	movq	%rax, {asm.RESULTS:#x}
	movl	${status:#x}, %ecx
	rdmsr
	movq	%rax, {asm.RESULTS + 8:#x}
	finish
"""
    )
    machine = run(policy, source, cpu=cpu)
    # The WRMSR that enables, the storm, and three instructions before the WRMSR that ends it.
    counted = 1 + asm.CPUID_STORM_INSTRUCTIONS + 3
    words = machine.physical(asm.RESULTS, 16)
    assert int.from_bytes(words[:8], "little") == counted - 100
    assert words[8] == 1
    (result,) = (c for c in machine.counters() if c.config == asm.OS | 0xC0)
    assert (result.true_count, result.counted, result.causes) == (counted, counted, {})


@pytest.mark.parametrize("policy", SWITCH_POLICIES)
def test_host_ticks_and_turns_beside_a_sampling_host_event(policy: str) -> None:
    """What the host does in a tick, or at a switch of threads, is no part of the guest's counts.

    The event is throttled: ticks go on, and perf's part in each ends with the PMU switched on.
    """
    result = pmupass.run(
        "perf-record",
        time="5ms",
        switch=policy,
        host_perf=("-c 2000 cycles:H",),
        settings={"host.tasks": 1, "host.task_run_us": 50},
    )
    assert result.stats["perf_throttles"] > 0
    for counter in result.counters:
        assert (counter.lost, counter.causes) == (0, {})
    assert result.pmi.delivered <= result.pmi.due


@pytest.mark.slow
@pytest.mark.parametrize("policy", [p for p in SWITCH_POLICIES if p != "upstream"])
def test_the_suite_under_a_policy(policy: str) -> None:
    """All of tests/conformance: no guest can tell, nothing leaks, no late PMI is lost.

    Left out is this file, and for vcpu-loop a host event that is looked at in mid-run, which this
    policy keeps off the PMU there.
    """
    here = Path(__file__).resolve()
    seen = ["-k", "mediated and not test_host_events_beside_a_mediated_vm"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(str(here.parent), f"--ignore={here}"),
            *(seen if policy == "vcpu-loop" else ["-k", "mediated"]),
        ],
        env={**os.environ, "PMUPASS_SWITCH": policy},
        capture_output=True,
        text=True,
        check=False,
        cwd=here.parents[2],
    )
    assert done.returncode == 0, done.stdout[-4000:]
