# SPDX-License-Identifier: Apache-2.0
"""KVM_GET_MSRS and KVM_SET_MSRS: what a VMM may read and write of a vCPU, and what differs for it.

Rules are those of Linux 7.0's KVM; numbers in brackets are those of docs/model.md's list.
"""

from __future__ import annotations

import guest_asm as asm
import pytest
from guest_asm import GP

from pmupass import cpus
from pmupass.core import Machine
from pmupass.errors import InputError
from pmupass.policy.msr_list import msrs_to_save
from pmupass.records import Stop

each_vpmu = pytest.mark.parametrize("mode", ["emulated", "mediated"])
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)

PERF_CAPABILITIES, PEBS_ENABLE, PERF_METRICS, MISC_ENABLE = 0x345, 0x3F1, 0x329, 0x1A0
TSC, TSC_ADJUST, FEAT_CTL, SPEC_CTRL = 0x10, 0x3B, 0x3A, 0x48
FW_WRITE = 1 << 13

# Counts its turns at RESULTS, three instructions and a branch each; counters run from the WRMSR on.
LOOP = f"""
{asm.PRELUDE}
_start:
	wr {asm.GLOBAL_CTRL}, 0
	wr {asm.EVTSEL0}, {asm.EN | asm.OS | asm.USR | asm.EVENTS["branches"]}
	wr {asm.FIXED_CTR_CTRL}, 3
	wr {asm.GLOBAL_CTRL}, {1 << asm.FIXED | 1}
	movl	$20000, %ecx
1:	incq	RESULTS
	decl	%ecx
	jnz	1b
	counting_off
	rd {asm.FIXED_CTR0}
	keep 1
	rd {asm.PERFCTR0}
	keep 2
	finish
"""
TURNS = 20000
# The WRMSR that enables (it takes effect before it retires) and the MOV; then the turns.
BEFORE = 2
# Behind the loop: 3 instructions up to the WRMSR that stops.
BEHIND = 3


def machine(source: str = LOOP, **given: object) -> Machine:
    """Return a machine that has not run."""
    return Machine(asm.config(asm.assemble(source), **given))  # type: ignore[arg-type]


def finish(made: Machine) -> None:
    """Run to the end."""
    while (stop := made.run(1 << 40)) is Stop.BUDGET:
        pass
    assert stop is Stop.EXIT, made.invariant()


def word(made: Machine, slot: int) -> int:
    """Return a 64-bit word that the guest left."""
    return int.from_bytes(made.physical(asm.RESULTS + 8 * slot, 8), "little")


# ---- the list


def test_the_list_of_sapphire_rapids() -> None:
    """[32] 8 GP counters and 3 of 4 fixed ones; PEBS registers, which the silicon has."""
    listed = machine(mode="mediated", cpu="sapphire-rapids").msr_index_list()
    pmu = [*range(0x309, 0x30C), 0x38D, 0x38E, 0x38F, 0x3F1, 0x600, 0x3F2]
    pmu += [*range(0xC1, 0xC9), *range(0x186, 0x18E)]
    at = listed.index(0x309)
    assert list(listed[at : at + len(pmu)]) == pmu
    assert PERF_CAPABILITIES in listed
    # Counters by one name, STATUS without what resets it, nothing that KVM does not virtualize.
    assert not {0x4C1, 0x390, 0x391, 0x392, PERF_METRICS} & set(listed)
    assert len(set(listed)) == len(listed)


def test_the_list_follows_silicon_and_kvms_limits() -> None:
    """[32] The fewer of the two; adaptive PEBS came after Skylake-SP."""
    cpu = cpus.load("skylake-sp", {})
    for max_gp, max_fixed in ((8, 3), (2, 1), (8, 4)):
        listed = msrs_to_save(cpu, max_gp=max_gp, max_fixed=max_fixed)
        nr_gp, nr_fixed = min(cpu.pmu.nr_gp, max_gp), min(cpu.pmu.nr_fixed, max_fixed)
        assert [i for i in listed if 0xC1 <= i < 0xC9] == [0xC1 + i for i in range(nr_gp)]
        assert [i for i in listed if 0x186 <= i < 0x196] == [0x186 + i for i in range(nr_gp)]
        assert [i for i in listed if 0x309 <= i < 0x311] == [0x309 + i for i in range(nr_fixed)]
    assert 0x3F2 not in listed
    assert 0x3F1 in listed


def test_the_list_without_enable_pmu() -> None:
    """[32] PERF_CAPABILITIES stays: it is one of those that KVM itself emulates."""
    cpu = cpus.load("sapphire-rapids", {})
    with_pmu = msrs_to_save(cpu, max_gp=8, max_fixed=3)
    without = msrs_to_save(cpu, max_gp=8, max_fixed=3, enable_pmu=False)
    assert set(with_pmu) - set(without) == {
        *range(0x309, 0x30C),
        *range(0x38D, 0x390),
        *(0x3F1, 0x600, 0x3F2),
        *range(0xC1, 0xC9),
        *range(0x186, 0x18E),
    }
    assert PERF_CAPABILITIES in without


@each_vpmu
@each_cpu
def test_everything_listed_can_be_read_and_written_back(mode: str, cpu: str) -> None:
    """A VMM that knows nothing saves all that is listed and restores it."""
    made = machine(mode=mode, cpu=cpu)
    made.run(1000)
    listed = made.msr_index_list()
    values = made.get_msrs(listed)
    assert len(values) == len(listed)
    saved = [(i, v) for i, v in zip(listed, values, strict=True) if i != TSC]
    assert made.set_msrs(saved) == len(saved)
    assert made.get_msrs([i for i, _ in saved]) == [v for _, v in saved]
    finish(made)
    assert word(made, 1) == BEFORE + 3 * TURNS + BEHIND


# ---- counters


@each_vpmu
@each_cpu
@pytest.mark.parametrize("value", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF_FFFF_8000_0000])
def test_a_legacy_counter_is_taken_as_it_is(mode: str, cpu: str, value: int) -> None:
    """[2] No sign extension, as the guest's write has it; cut to 48 bits."""
    made = machine(mode=mode, cpu=cpu)
    assert made.set_msrs([(asm.PERFCTR0, value)]) == 1
    assert made.get_msrs([asm.PERFCTR0, asm.PMC0]) == [value & asm.WIDTH] * 2


@each_vpmu
@each_cpu
def test_a_full_width_counter_beyond_its_width_is_refused(mode: str, cpu: str) -> None:
    """[3] For the VMM as for the guest."""
    made = machine(mode=mode, cpu=cpu)
    assert made.set_msrs([(asm.PMC0, asm.WIDTH)]) == 1
    assert made.set_msrs([(asm.PMC0, 1 << 48)]) == 0
    assert made.get_msrs([asm.PMC0]) == [asm.WIDTH]


@each_vpmu
@each_cpu
def test_a_fixed_counter_is_cut(mode: str, cpu: str) -> None:
    """KVM's own copy is written, also where the guest's write would reach silicon and fault."""
    made = machine(mode=mode, cpu=cpu)
    assert made.set_msrs([(asm.FIXED_CTR0, 1 << 50 | 7)]) == 1
    assert made.get_msrs([asm.FIXED_CTR0]) == [7]


@each_vpmu
@each_cpu
def test_what_faults_for_the_guest_fails_for_the_vmm(mode: str, cpu: str) -> None:
    """Reserved bits of selectors and control registers: no rule of their own for the VMM."""
    made = machine(mode=mode, cpu=cpu)
    for msr, value in (
        (asm.EVTSEL0, 1 << 21),
        (asm.EVTSEL0, 1 << 32),
        (asm.FIXED_CTR_CTRL, 4),
        (asm.FIXED_CTR_CTRL, 1 << 12),
        (asm.GLOBAL_CTRL, 1 << 35),
        (asm.GLOBAL_CTRL, 1 << 63),
    ):
        assert made.set_msrs([(msr, value)]) == 0, hex(msr)


# ---- status


@each_vpmu
@each_cpu
def test_the_vmm_restores_the_status(mode: str, cpu: str) -> None:
    """[20] The guest's write faults; the VMM's is taken unless a bit is reserved."""
    source = asm.script([("rd", asm.GLOBAL_STATUS), ("wr", asm.GLOBAL_STATUS, 0)])
    made = machine(source, mode=mode, cpu=cpu)
    status = 1 << 62 | 1 << 32 | 2
    assert made.set_msrs([(asm.GLOBAL_STATUS, status)]) == 1
    for reserved in (58, 59, 60, 55, 35):
        assert made.set_msrs([(asm.GLOBAL_STATUS, 1 << reserved)]) == 0
    assert made.get_msrs([asm.GLOBAL_STATUS]) == [status]
    finish(made)
    ran = asm.Ran(made, Stop.EXIT, asm.config(b"", mode=mode, cpu=cpu))
    assert asm.script_results(ran, 2) == [status, GP]


@each_vpmu
@each_cpu
def test_the_vmms_reset_of_the_status_does_nothing(mode: str, cpu: str) -> None:
    """[21] GLOBAL_OVF_CTRL: success and no effect; its reserved bits are refused all the same."""
    made = machine(mode=mode, cpu=cpu)
    assert made.set_msrs([(asm.GLOBAL_STATUS, 3), (asm.OVF_CTRL, 3)]) == 2
    assert made.get_msrs([asm.GLOBAL_STATUS, asm.OVF_CTRL]) == [3, 0]
    assert made.set_msrs([(asm.OVF_CTRL, 1 << 58)]) == 0


# ---- registers that the vCPU lacks


@each_vpmu
@each_cpu
def test_a_listed_register_that_the_vcpu_lacks(mode: str, cpu: str) -> None:
    """[33] It reads 0 and takes 0; another value fails, and KVM_SET_MSRS stops there."""
    made = machine(mode=mode, cpu=cpu, settings=("guest.gp_counters=2",))
    lacks = asm.PERFCTR0 + 3
    assert lacks in made.msr_index_list()
    assert made.get_msrs([PEBS_ENABLE, lacks]) == [0, 0]
    assert made.set_msrs([(PEBS_ENABLE, 0), (lacks, 0)]) == 2
    values = [(asm.PERFCTR0, 5), (lacks, 1), (asm.PERFCTR0 + 1, 6)]
    assert made.set_msrs(values) == 1
    assert made.get_msrs([asm.PERFCTR0, asm.PERFCTR0 + 1]) == [5, 0]


@each_vpmu
def test_a_register_that_is_not_listed(mode: str) -> None:
    """[33] KVM_GET_MSRS stops at it; not even 0 can be written."""
    made = machine(mode=mode, cpu="sapphire-rapids")
    assert made.get_msrs([asm.PERFCTR0, PERF_METRICS, asm.PERFCTR0]) == [0]
    assert made.set_msrs([(PERF_METRICS, 0)]) == 0
    assert made.set_msrs([(0x391, 0)]) == 0


@each_vpmu
@each_cpu
def test_a_vm_without_a_vpmu(mode: str, cpu: str) -> None:
    """[33] Every PMU register is listed and none is there."""
    made = machine(
        mode=mode, cpu=cpu, guest=asm.Pmu(), kvm=_without_vpmu(asm.config(b"", mode=mode, cpu=cpu))
    )
    pmu = [i for i in made.msr_index_list() if 0xC1 <= i < 0xC9 or 0x186 <= i < 0x391]
    pmu = [i for i in pmu if i not in (MISC_ENABLE, PERF_CAPABILITIES)]
    assert made.get_msrs(pmu) == [0] * len(pmu)
    assert made.set_msrs([(asm.GLOBAL_CTRL, 1)]) == 0


def _without_vpmu(made: asm.MachineConfig) -> asm.Kvm:
    return asm.dataclasses.replace(made.kvm, vpmu=False)


# ---- PERF_CAPABILITIES


@each_vpmu
@each_cpu
def test_perf_capabilities(mode: str, cpu: str) -> None:
    """[34] Bits that KVM does not offer are refused; after the first run all but the same."""
    made = machine(mode=mode, cpu=cpu)
    assert made.get_msrs([PERF_CAPABILITIES]) == [FW_WRITE]
    for bit in (0, 8, 12, 14, 15):
        assert made.set_msrs([(PERF_CAPABILITIES, FW_WRITE | 1 << bit)]) == 0
    assert made.set_msrs([(PERF_CAPABILITIES, 0)]) == 1
    assert made.set_msrs([(PERF_CAPABILITIES, FW_WRITE)]) == 1
    made.run(10)
    assert made.set_msrs([(PERF_CAPABILITIES, 0)]) == 0
    assert made.set_msrs([(PERF_CAPABILITIES, FW_WRITE)]) == 1
    finish(made)
    assert word(made, 1) == BEFORE + 3 * TURNS + BEHIND


@each_vpmu
@each_cpu
def test_full_width_writes_taken_away(mode: str, cpu: str) -> None:
    """[3, 34] The registers are gone for guest and VMM, where silicon has them too."""
    ops = [
        ("rd", asm.PMC0),
        ("wr", asm.PMC0, 5),
        ("wr", asm.PERFCTR0, 5),
        ("rd", asm.PERFCTR0),
        ("rd", PERF_CAPABILITIES),
    ]
    made = machine(asm.script(ops), mode=mode, cpu=cpu)
    assert made.set_msrs([(PERF_CAPABILITIES, 0)]) == 1
    assert made.get_msrs([asm.PMC0]) == []
    assert made.set_msrs([(asm.PMC0, 0)]) == 0
    finish(made)
    ran = asm.Ran(made, Stop.EXIT, asm.config(b"", mode=mode, cpu=cpu))
    assert asm.script_results(ran, len(ops)) == [GP, GP, 0, 5, 0]


@each_vpmu
@each_cpu
def test_a_change_of_perf_capabilities_resets_the_pmu(mode: str, cpu: str) -> None:
    """[18] It is a refresh: registers as after reset, all GP counters enabled and no fixed one."""
    made = machine(mode=mode, cpu=cpu)
    nr_gp = min(cpus.load(cpu, {}).pmu.nr_gp, 8)
    values = [
        (asm.PERFCTR0, 5),
        (asm.EVTSEL0, 0xC0),
        (asm.FIXED_CTR0, 6),
        (asm.FIXED_CTR_CTRL, 3),
        (asm.GLOBAL_STATUS, 1),
        (asm.GLOBAL_CTRL, 1 << 32),
    ]
    assert made.set_msrs(values) == len(values)
    assert made.set_msrs([(PERF_CAPABILITIES, 0)]) == 1
    assert made.get_msrs([i for i, _ in values]) == [0, 0, 0, 0, 0, (1 << nr_gp) - 1]


# ---- TSC and start-up registers


@each_vpmu
def test_the_tsc(mode: str) -> None:
    """The VMM sets the TSC and TSC_ADJUST apart; what the guest writes moves both."""
    made = machine(mode=mode, cpu="sapphire-rapids")
    assert made.set_msrs([(TSC, 1 << 40), (TSC_ADJUST, 77)]) == 2
    tsc, adjust = made.get_msrs([TSC, TSC_ADJUST])
    assert adjust == 77
    assert 1 << 40 <= tsc < (1 << 40) + 1_000_000  # the host's work since then
    ops = [("wr", TSC_ADJUST, 77 + (1 << 50)), ("rd", TSC_ADJUST)]
    made = machine(asm.script(ops), mode=mode, cpu="sapphire-rapids")
    made.set_msrs([(TSC_ADJUST, 77)])
    finish(made)
    tsc, adjust = made.get_msrs([TSC, TSC_ADJUST])
    assert adjust == 77 + (1 << 50)
    assert 1 << 50 <= tsc < (1 << 50) + 10_000_000


@each_vpmu
def test_misc_enable(mode: str) -> None:
    """[36] What the guest may not change the VMM may."""
    made = machine(mode=mode, cpu="sapphire-rapids")
    (value,) = made.get_msrs([MISC_ENABLE])
    assert made.set_msrs([(MISC_ENABLE, value ^ (1 << 7 | 1 << 11 | 1 << 12))]) == 1
    assert made.get_msrs([MISC_ENABLE]) == [value ^ (1 << 7 | 1 << 11 | 1 << 12)]
    assert made.set_msrs([(FEAT_CTL, 0)]) == 0
    assert made.set_msrs([(SPEC_CTRL, 8)]) == 0


# ---- while the guest runs


@each_vpmu
@each_cpu
def test_counters_of_a_running_guest(mode: str, cpu: str) -> None:
    """What the VMM reads is what the guest has done; asking changes no count, and is no read."""
    made = machine(mode=mode, cpu=cpu)
    asked = 0
    while word(made, 0) < TURNS:
        made.run(397)
        turns = word(made, 0)
        if not 0 < turns < TURNS:
            continue
        asked += 1
        assert made.get_msrs([asm.FIXED_CTR0, asm.PERFCTR0]) == [BEFORE + 3 * turns, turns]
    finish(made)
    # The loop's branch is taken or not, so it counts at each turn.
    assert [word(made, 1), word(made, 2)] == [BEFORE + 3 * TURNS + BEHIND, TURNS]
    assert asked > TURNS // 400 - 3
    exits = {e.reason: e.count for e in made.exits()}
    assert exits["EXTERNAL_INTERRUPT"] == asked
    for counter in made.counters():
        assert counter.true_count == counter.counted
        assert counter.reads == 1
    assert made.silent_errors() == []


@each_vpmu
@each_cpu
def test_a_running_counter_written_by_the_vmm(mode: str, cpu: str) -> None:
    """The value is the base of what follows; before and behind it nothing is lost."""
    made = machine(mode=mode, cpu=cpu)
    made.run(5000)
    turns = word(made, 0)
    assert 0 < turns < TURNS
    assert made.set_msrs([(asm.FIXED_CTR0, 1_000_000)]) == 1
    finish(made)
    assert word(made, 1) == 1_000_000 + 3 * (TURNS - turns) + BEHIND
    counters = {c.config & 0xFFFF: c for c in made.counters()}
    assert counters[0xC0].true_count == counters[0xC0].counted == BEFORE + 3 * TURNS + BEHIND
    assert made.silent_errors() == []


@each_vpmu
@each_cpu
def test_a_counter_that_the_vmm_enables_counts(mode: str, cpu: str) -> None:
    """A selector is programmed at the next entry, whoever wrote it."""
    made = machine(mode=mode, cpu=cpu)
    made.run(5000)
    turns = word(made, 0)
    loads = asm.EN | asm.OS | asm.EVENTS["loads"]
    enable = (asm.GLOBAL_CTRL, 1 << asm.FIXED | 3)
    assert made.set_msrs([(asm.EVTSEL0 + 1, loads), enable]) == 2
    finish(made)
    # INCQ of memory loads once; the rest of the guest loads nothing before counting ends.
    assert made.get_msrs([asm.PERFCTR0 + 1]) == [TURNS - turns]


# ---- AMD

AMD_STATUS, AMD_CTL, AMD_CLR, AMD_SET = 0xC0000300, 0xC0000301, 0xC0000302, 0xC0000303
K7_SEL, K7_CTR, F15H_SEL, F15H_CTR = 0xC0010000, 0xC0010004, 0xC0010200, 0xC0010201


def test_the_list_of_amds_cpus() -> None:
    """[32] K7 registers and the core extension's; GLOBAL_* with PerfMonV2 only."""
    both = [*range(K7_SEL, K7_SEL + 4), *range(K7_CTR, K7_CTR + 4)]
    both += [*range(F15H_SEL, F15H_SEL + 12, 2), *range(F15H_CTR, F15H_CTR + 12, 2)]
    for cpu, more in (("zen4", [AMD_CTL, AMD_STATUS, AMD_CLR, AMD_SET]), ("zen3", [])):
        listed = machine(mode="emulated", cpu=cpu).msr_index_list()
        at = listed.index(K7_SEL)
        assert list(listed[at : listed.index(TSC_ADJUST)]) == both + more
        assert FEAT_CTL not in listed


@each_vpmu
def test_the_vmm_and_amds_status(mode: str) -> None:
    """[20, 21, 22] STATUS takes what is not reserved; CLR and SET succeed and do nothing."""
    source = asm.script([("wr", AMD_STATUS, 0), ("rd", AMD_STATUS)])
    made = machine(source, mode=mode, cpu="zen4")
    assert made.set_msrs([(AMD_STATUS, 0x21)]) == 1
    assert made.set_msrs([(AMD_STATUS, 1 << 6)]) == 0
    assert made.set_msrs([(AMD_CLR, (1 << 64) - 1), (AMD_SET, 2), (AMD_CLR, 1)]) == 3
    assert made.get_msrs([AMD_STATUS, AMD_CLR, AMD_SET]) == [0x21, 0, 0]
    finish(made)
    ran = asm.Ran(made, Stop.EXIT, asm.config(b"", mode=mode, cpu="zen4"))
    assert asm.script_results(ran, 2) == [0, 0x21]


@pytest.mark.parametrize(("cpu", "mode"), [("zen3", "emulated"), ("zen4", "mediated")])
def test_the_vmm_and_amds_registers(cpu: str, mode: str) -> None:
    """[5, 10, 12] Reserved bits go without an error; K7 and core registers are the same."""
    made = machine(mode=mode, cpu=cpu)
    given = [(F15H_CTR + 4, (1 << 64) - 1), (F15H_SEL + 4, (1 << 64) - 1)]
    assert made.set_msrs(given) == 2
    # Bits 63:36, 21 and 19 are cleared.
    assert made.get_msrs([K7_CTR + 2, K7_SEL + 2]) == [asm.WIDTH, 0xF_FFD7_FFFF]
    assert made.set_msrs([(K7_CTR + 1, 1 << 31)]) == 1
    assert made.get_msrs([F15H_CTR + 2]) == [1 << 31]


def test_the_vmm_and_an_amd_cpu_without_perfmon_v2() -> None:
    """[33] GLOBAL_* are not listed there, so nothing can be written."""
    made = machine(mode="emulated", cpu="zen3")
    assert made.get_msrs([AMD_STATUS]) == []
    assert made.set_msrs([(AMD_CTL, 0)]) == 0
    # On a host that has PerfMonV2 they are.
    made = machine(mode="emulated", cpu="zen4", settings=("guest.perfmon_v2=0",))
    assert made.get_msrs([AMD_STATUS, AMD_CTL]) == [0, 0]
    assert made.set_msrs([(AMD_CTL, 0)]) == 1
    assert made.set_msrs([(AMD_CTL, 1)]) == 0


# ---- refusals


def test_refusals() -> None:
    made = machine(mode="native", cpu="sapphire-rapids")
    for ask in (lambda: made.get_msrs([1]), lambda: made.set_msrs([]), made.msr_index_list):
        with pytest.raises(InputError, match="native machine has no KVM"):
            ask()
    made = machine(mode="mediated", cpu="sapphire-rapids")
    with pytest.raises(InputError, match=r"256 registers.*E2BIG"):
        made.get_msrs([asm.PERFCTR0] * 256)
    assert len(made.get_msrs([asm.PERFCTR0] * 255)) == 255
    assert made.get_msrs([]) == []
    finish(made)
    made.counters()
    with pytest.raises(InputError, match="read out"):
        made.get_msrs([asm.PERFCTR0])
