# SPDX-License-Identifier: Apache-2.0
"""The register traffic of every PMU switch, recomputed from the registers' values before it.

Before a load or put the trace shows each register with its hardware value and KVM's (pmu_state);
behind it stands the traffic (pmu_load, pmu_put). The steps are those of kvm_mediated_pmu_load() and
kvm_mediated_pmu_put() of Linux 7.0:

LOAD  WRMSR GLOBAL_CTRL = 0; LVTPC = the dedicated vector;
      for each exposed GP counter RDPMC, WRMSR of the counter if hardware has another value, WRMSR
      of the selector always; for each fixed counter RDPMC and WRMSR if it differs; RDMSR STATUS,
      WRMSR OVF_CTRL for bits that hardware has and the guest has not, WRMSR STATUS_SET for bits the
      other way; WRMSR FIXED_CTR_CTRL.
PUT   RDMSR STATUS, WRMSR OVF_CTRL if it is not 0; WRMSR FIXED_CTR_CTRL = 0 if it is not 0;
      for each GP counter RDPMC, WRMSR 0 if it is not 0, WRMSR selector = 0 if it is not 0;
      for each fixed counter RDPMC and WRMSR 0 if it is not 0; LVTPC = NMI.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import guest_asm as asm
import pytest

from pmupass.config import Mode
from pmupass.core import Machine
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import Stop, Switch

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY_CPU = (*asm.CPUS, *asm.MORE_CPUS)
LOAD, PUT = 0, 1
NAMES = ("pmu_load", "pmu_put")
RING = 1 << 20


@dataclass(frozen=True)
class Traffic:
    """Accesses of one half of a switch."""

    rdmsr: int = 0
    wrmsr: int = 0
    rdpmc: int = 0
    lvtpc: int = 0


@dataclass(frozen=True)
class Half:
    """A load or a put: (hardware, KVM) by register before it, and the traffic that was seen."""

    kind: int
    state: dict[int, tuple[int, int]]
    seen: Traffic

    def of(self, first: int) -> list[tuple[int, int]]:
        """Return the values of a range of registers: up to 16 from the first one on."""
        return [value for msr, value in sorted(self.state.items()) if 0 <= msr - first < 16]

    def derived(self) -> Traffic:
        """Return the traffic by the steps above."""
        counters = self.of(asm.PMC0) + self.of(asm.FIXED_CTR0)
        selectors = self.of(asm.EVTSEL0)
        hw_status, status = self.state[asm.GLOBAL_STATUS]
        _, fixed_ctr_ctrl = self.state[asm.FIXED_CTR_CTRL]
        if self.kind == LOAD:
            wrmsr = 1 + len(selectors) + 1
            wrmsr += sum(hw != guest for hw, guest in counters)
            wrmsr += bool(hw_status & ~status) + bool(status & ~hw_status)
        else:
            wrmsr = bool(hw_status) + bool(fixed_ctr_ctrl)
            wrmsr += sum(hw != 0 for hw, _ in counters)
            wrmsr += sum(selector != 0 for _, selector in selectors)
        return Traffic(rdmsr=1, wrmsr=wrmsr, rdpmc=len(counters), lvtpc=1)


def halves(machine: Machine) -> Iterator[Half]:
    """Return the loads and puts of a run, in order."""
    state: dict[int, tuple[int, int]] = {}
    trace = machine.trace()
    assert len(trace) < RING, "the ring was too small"
    for _, name, x, a, b, c in trace:
        if name == "pmu_state":
            state[a] = (b, c)
        elif name in NAMES:
            yield Half(NAMES.index(name), state, Traffic(a, b, c, x))
            state = {}


def check(machine: Machine) -> tuple[list[Half], Switch]:
    """Hold every half against its steps, and the totals against the sum."""
    found = list(halves(machine))
    for half in found:
        assert half.seen == half.derived(), f"{NAMES[half.kind]} {half.state}"
    switch = machine.switch()
    assert [h.kind for h in found] == [LOAD, PUT] * (len(found) // 2) + [LOAD] * (len(found) % 2)
    assert switch.loads == sum(h.kind == LOAD for h in found) > 0
    assert switch.puts == sum(h.kind == PUT for h in found)
    for name in ("rdmsr", "wrmsr", "rdpmc", "lvtpc"):
        assert getattr(switch, name) == sum(getattr(h.seen, name) for h in found), name
    return found, switch


def counters_of(cpu: str, settings: tuple[str, ...]) -> tuple[int, int]:
    """Return how many GP and fixed counters the guest has."""
    guest = asm.config(b"", mode="mediated", cpu=cpu, settings=settings).guest
    return guest.nr_gp, guest.nr_fixed


def run(source: str, cpu: str, **given: object) -> asm.Ran:
    """Run a guest in mediated mode with its trace."""
    return asm.run(source, mode="mediated", cpu=cpu, trace_records=RING, **given)


SIZES = {
    "all": (),
    "fewer": ("guest.gp_counters=2", "guest.fixed_counters=1"),
    "no-fixed": ("guest.fixed_counters=0",),
}


@pytest.mark.parametrize("cpu", EVERY_CPU)
@pytest.mark.parametrize("size", SIZES)
def test_an_idle_guest_pmu(cpu: str, size: str) -> None:
    """G + 2 WRMSR, 2 RDMSR, 2 (G + F) RDPMC a switch: nobody uses it, and yet."""
    settings = SIZES[size]
    gp, fixed = counters_of(cpu, settings)
    exits = "cpuid\n" * 20
    ran = run(f"{asm.PRELUDE}\n_start: {exits} finish", cpu, settings=settings)
    found, switch = check(ran.machine)
    assert switch.loads == switch.puts == 20 + 1
    for load, put in zip(found[::2], found[1::2], strict=True):
        both = Traffic(
            *(
                getattr(load.seen, n) + getattr(put.seen, n)
                for n in ("rdmsr", "wrmsr", "rdpmc", "lvtpc")
            )
        )
        assert both == Traffic(rdmsr=2, wrmsr=gp + 2, rdpmc=2 * (gp + fixed), lvtpc=2)


def all_in_use(gp: int, fixed: int, start: int, body: str) -> str:
    """Return a guest with every counter counting cycles (fixed: its own), from a start value on."""
    lines = [asm.PRELUDE, "_start: kernel_setup", "wr 0x38f, 0"]
    for i in range(gp):
        lines.append(f"wr {asm.EVTSEL0 + i}, {asm.EN | asm.OS | asm.USR | asm.EVENTS['cycles']}")
        lines.append(f"wr {asm.PMC0 + i}, {start}")
    lines += [f"wr {asm.FIXED_CTR0 + i}, {start}" for i in range(fixed)]
    if fixed:
        lines.append(f"wr {asm.FIXED_CTR_CTRL}, {sum(3 << 4 * i for i in range(fixed))}")
    enable = (1 << gp) - 1 | ((1 << fixed) - 1) << asm.FIXED
    lines += [f"wr {asm.GLOBAL_CTRL}, {enable}", body, "finish"]
    return "\n".join(lines)


WORK = """
	movl	$300, %ecx
1:	imulq	%rax, %rax
	decl	%ecx
	jnz	1b
	cpuid
"""


@pytest.mark.parametrize("cpu", EVERY_CPU)
@pytest.mark.parametrize("size", SIZES)
def test_all_counters_in_use(cpu: str, size: str) -> None:
    """4 G + 2 F + 3 WRMSR a switch, once every counter has a value; one less if F is 0."""
    settings = SIZES[size]
    gp, fixed = counters_of(cpu, settings)
    ran = run(all_in_use(gp, fixed, 1000, WORK * 10), cpu, settings=settings)
    found, _ = check(ran.machine)
    expected = 4 * gp + 2 * fixed + 2 + bool(fixed)
    # The last ten switches but the one of the exit: CPUIDs among running counters.
    puts = [i for i, half in enumerate(found) if half.kind == PUT][-11:-1]
    for put, load in [(found[i], found[i + 1]) for i in puts]:
        assert put.seen.wrmsr + load.seen.wrmsr == expected
        assert put.seen.rdpmc + load.seen.rdpmc == 2 * (gp + fixed)


@pytest.mark.parametrize(
    ("cpu", "settings", "stored"),
    [
        ("skylake-sp", (), 21),  # GLOBAL_CTRL is the guest's
        ("skylake-sp", ("guest.gp_counters=2",), 21),  # intercepted
        ("cascadelake-sp", (), 21),
        ("icelake-sp", (), 21),  # intercepted
        ("icelake-sp", ("kvm.max_fixed_counters=4",), 21),
        ("icelake-sp", ("cpu.exit_save_global_ctrl=1",), 0),
        ("sapphire-rapids", (), 0),
        ("emerald-rapids", (), 0),
        ("granite-rapids", (), 0),
    ],
)
def test_what_the_exit_cannot_save_is_stored_at_each_exit(
    cpu: str, settings: tuple[str, ...], stored: int
) -> None:
    """KVM lists the MSR while there is a mediated vPMU, whether or not it intercepts writes.

    20 CPUIDs and the exit's port; commit d374b89edbb9.
    """
    exits = "cpuid\n" * 20
    source = f"{asm.PRELUDE}\n_start: {exits} finish"
    ran = asm.run(source, mode="mediated", cpu=cpu, settings=settings)
    assert sum(ran.exits().values()) == 21
    costs = {cost.cost: cost for cost in ran.machine.costs()}
    assert (costs["MSR_AUTOSTORE"].count if "MSR_AUTOSTORE" in costs else 0) == stored


@pytest.mark.parametrize("cpu", asm.CPUS)
def test_overflowed_status_is_moved_too(cpu: str) -> None:
    """Counters that overflow without INT: put saves and clears the bits, load sets them again."""
    gp, fixed = counters_of(cpu, ())
    nearly = (1 << 48) - 200
    ran = run(all_in_use(gp, fixed, nearly, WORK * 5 + "rd 0x38e\nkeep 0"), cpu)
    found, _ = check(ran.machine)
    everyone = (1 << gp) - 1 | ((1 << fixed) - 1) << asm.FIXED
    assert ran.result(0) == everyone
    puts = [h for h in found if h.kind == PUT and h.state[asm.GLOBAL_STATUS][0]]
    loads = [h for h in found if h.kind == LOAD and h.state[asm.GLOBAL_STATUS][1]]
    assert len(puts) >= 5
    assert len(loads) >= 5
    # Nobody left bits in hardware: what the guest has is set, nothing is cleared.
    assert all(h.state[asm.GLOBAL_STATUS][0] == 0 for h in loads)
    # All counters run, so one of the +0..3 writes of the table each: OVF_CTRL, STATUS_SET.
    assert puts[-1].seen.wrmsr + loads[-1].seen.wrmsr == 4 * gp + 2 * fixed + 3 + 2


@pytest.mark.parametrize("cpu", asm.CPUS)
def test_host_values_in_the_counters_cost_writes(cpu: str) -> None:
    """A host event that leaves the guest out: its counter is not 0 at load, nothing is elided."""
    ran = run(f"{asm.PRELUDE}\n_start: {'cpuid' + chr(10)} finish", cpu, host_perf=["cycles:H"])
    found, _ = check(ran.machine)
    loads = [h for h in found if h.kind == LOAD]
    # cycles goes to fixed 1; its guest value is 0.
    for load in loads:
        hw, guest = load.state[asm.FIXED_CTR0 + 1]
        assert hw != 0
        assert guest == 0
    gp, _ = counters_of(cpu, ())
    assert all(h.seen.wrmsr == 1 + gp + 1 + 1 for h in loads)


@pytest.mark.parametrize("cpu", asm.CPUS)
def test_a_vcpu_without_a_pmu_switches_nothing(cpu: str) -> None:
    """A mediated VM's vCPU whose CPUID has no PMU leaves the counters with the host."""
    made = asm.config(b"", mode="mediated", cpu=cpu)
    guest = dataclasses.replace(made.guest, version=0, nr_gp=0, nr_fixed=0, perf_capabilities=0)
    source = f"{asm.PRELUDE}\n_start: cpuid\nfinish"
    ran = asm.run(source, mode="mediated", cpu=cpu, guest=guest, kvm=asm.kvm_for(made, guest))
    assert ran.exits()["CPUID"] == 1
    switch = ran.machine.switch()
    assert (switch.loads, switch.puts, switch.wrmsr, switch.rdpmc, switch.lvtpc) == (0,) * 5


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("lvtpc", [0x10050, 0x50])
def test_load_takes_over_the_mask_of_the_guests_lvtpc(cpu: str, lvtpc: int) -> None:
    """A PMI that the guest has masked costs no exit, one that it has not costs one.

    The loop's branches overflow once; interrupts are off, so nothing is delivered.
    """
    ops = [
        ("wr", asm.GLOBAL_CTRL, 1),
        ("wr", 0x834, lvtpc),
        ("wr", asm.PERFCTR0, (1 << 32) - 256),
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | asm.INT | asm.EVENTS["branches"]),
        ("spin", 1000),
        ("rd", asm.GLOBAL_STATUS),
    ]
    ran = asm.run(asm.script(ops), mode="mediated", cpu=cpu)
    assert asm.script_results(ran, len(ops))[-1] == 1
    assert ran.exits().get("EXTERNAL_INTERRUPT", 0) == (0 if lvtpc & 0x10000 else 1)


@pytest.mark.parametrize("cpu", asm.CPUS)
def test_after_put_hardware_is_clean(cpu: str) -> None:
    """Nothing of the guest's stays behind: the state before each load is zero."""
    gp, fixed = counters_of(cpu, ())
    ran = run(all_in_use(gp, fixed, 7, WORK * 3), cpu)
    for half in halves(ran.machine):
        if half.kind == LOAD:
            assert {msr: hw for msr, (hw, _) in half.state.items() if hw} == {}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"events": "branches,branch-misses,cycles:u"},
        {"settings": ("kvm.max_fixed_counters=4",)},
        {"settings": ("kvm.interception=rfc2024",)},
        {"workload": "perf-stat"},
        {"workload": "exit-storm"},
        {"workload": "self-monitor"},
        {"host_perf": ("instructions:H", "branches:H")},
        {"settings": ("guest.gp_counters=3",)},
    ],
    ids=lambda o: "-".join(str(v) for v in o.values()) or "perf-record",
)
@pytest.mark.parametrize("cpu", asm.CPUS)
def test_every_switch_of_the_built_in_guests(cpu: str, options: dict) -> None:
    """PMIs, ticks, rotation, system calls: whatever state the switch finds."""
    given = {"time_ns": 3_000_000, "host": False, "cpu": cpu, **options}
    plan = Plan(Options(given.pop("workload", "perf-record"), **given))
    config = plan.config(Mode.MEDIATED, work=None, perf=plan.profiles_guest)
    machine = Machine(dataclasses.replace(config, trace_records=RING))
    assert machine.run(1 << 50) is Stop.EXIT
    found, switch = check(machine)
    assert switch.loads == switch.puts
    assert len(found) > 20
