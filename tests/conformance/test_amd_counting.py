# SPDX-License-Identifier: Apache-2.0
"""What counters of an AMD CPU count, in every mode: exact counts, credits, PMIs, sides of VMRUN.

A stretch is counted by the rule of guest_asm: the WRMSR that enables is counted, the one that
disables is not, and three plain instructions stand before that one. VMRUN, which silicon counts as
a branch, is put aside by guest_asm's NO_ERRATA but where a test wants it.
"""

from __future__ import annotations

import math

import guest_amd as amd
import guest_asm as asm
import pytest
from guest_amd import ctl, ctr

STORM, ROUNDS = asm.CPUID_STORM, asm.CPUID_ROUNDS
INSTRUCTIONS, BRANCHES = asm.CPUID_STORM_INSTRUCTIONS, asm.CPUID_STORM_BRANCHES
FRAME = 4
ERRATUM = ("cpu.overcount_entry_branches=1",)
NMI, MASKED = 0x400, 0x10400
NOPS = "\t.rept {}\n\tnop\n\t.endr\n"


def counted(cpu: str, selectors: dict[int, int], body: str, *, values: str = "") -> str:
    """Return a guest that counts a body on some counters and leaves their values.

    With PerfMonV2 GLOBAL_CTL starts and stops them all; without, the selector does it, of the one
    counter that there must be then.
    """
    v2 = cpu in amd.V2
    lines = [asm.PRELUDE, "_start: kernel_setup 1"]
    if v2:
        lines.append(f"wr {amd.GLOBAL_CTL}, 0")
        lines += [f"wr {ctl(n)}, {selector}" for n, selector in selectors.items()]
    lines.append(values)
    ((first, selector), *rest) = selectors.items()
    assert v2 or not rest
    start = (amd.GLOBAL_CTL, sum(1 << n for n in selectors)) if v2 else (ctl(first), selector)
    lines.append(f"wr {start[0]}, {start[1]}")
    lines.append(body)
    lines.append(f"wr {start[0]}, 0")
    lines += [f"keep_pmc {n}, {n}" for n in selectors]
    lines.append("finish\nsyscall_entry: ud2")
    return "\n".join(lines)


@amd.each
@pytest.mark.parametrize("n", range(amd.NR))
@pytest.mark.parametrize(
    ("event", "expected"),
    [(amd.INSTRUCTIONS, INSTRUCTIONS + FRAME), (amd.BRANCHES, BRANCHES)],
)
def test_each_counter_counts_exactly(
    cpu: str, mode: str, n: int, event: int, expected: int
) -> None:
    """Instructions that KVM completes among them, once each."""
    ran = asm.run(counted(cpu, {n: amd.COUNT | event}, STORM), mode=mode, cpu=cpu)
    assert ran.result(n) == expected
    assert not ran.machine.silent_errors()


@amd.each_v2
def test_all_counters_at_once(cpu: str, mode: str) -> None:
    selectors = dict.fromkeys(range(amd.NR), amd.COUNT | amd.INSTRUCTIONS)
    ran = asm.run(counted(cpu, selectors, STORM), mode=mode, cpu=cpu)
    assert ran.results(amd.NR) == [INSTRUCTIONS + FRAME] * amd.NR


@amd.each
@pytest.mark.parametrize(
    ("privileges", "expected"), [(asm.OS, INSTRUCTIONS + FRAME), (asm.USR, 0), (0, 0)]
)
def test_privileges(cpu: str, mode: str, privileges: int, expected: int) -> None:
    selector = asm.EN | privileges | amd.INSTRUCTIONS
    ran = asm.run(counted(cpu, {1: selector}, STORM), mode=mode, cpu=cpu)
    assert ran.result(1) == expected


@amd.each
@pytest.mark.parametrize("nibble", [1, 2, 3, 8, 15])
def test_the_event_select_has_twelve_bits(cpu: str, mode: str, nibble: int) -> None:
    """0x1c0 and the like are other events than 0xc0: they count nothing here, credits included.

    KVM compares bits 35:32 too when it credits an instruction, where Intel has IN_TX and IN_TXCP.
    """
    selector = amd.COUNT | amd.INSTRUCTIONS | nibble << 32
    ran = asm.run(counted(cpu, {0: selector}, STORM), mode=mode, cpu=cpu)
    assert ran.result(0) == 0
    assert ran.machine.stats()["credited_instructions"] == 0
    (counter,) = ran.counters().values()
    assert counter.config & 0xF_0000_FFFF == amd.INSTRUCTIONS | nibble << 32
    assert counter.true_count == 0
    assert not counter.fed


@amd.each_v2
def test_ref_cycles_have_a_select_above_eight_bits(cpu: str, mode: str) -> None:
    """0x120 with umask 1 counts at the rate of the TSC, 0x20 with umask 1 nothing."""
    selectors = {
        0: amd.COUNT | amd.CYCLES,
        1: amd.COUNT | 0x1_0000_0120,
        2: amd.COUNT | 0x0120,
    }
    body = "movl $50000, %esi\n1: imulq %rax, %rax\n decl %esi\n jnz 1b\n"
    ran = asm.run(counted(cpu, selectors, body), mode=mode, cpu=cpu)
    cycles, ref, other = ran.results(3)
    timing = ran.config.timing
    assert cycles > 50000
    assert other == 0
    # Both are differences of rounded totals of one clock.
    assert abs(ref - cycles * timing["ref_num"] / timing["ref_den"]) < 2


@amd.each
@pytest.mark.parametrize("bits", [amd.GUESTONLY, amd.HOSTONLY, amd.GUESTONLY | amd.HOSTONLY])
def test_guest_only_and_host_only_without_svm(cpu: str, mode: str, bits: int) -> None:
    """[45], as far as it goes without nested guests.

    Bare silicon with EFER.SVME clear counts nothing with either bit. KVM takes both from a guest
    that has no SVM, which then counts as if it had not set them; its reads show so.
    """
    selector = amd.COUNT | amd.INSTRUCTIONS | bits
    values = f"wr {ctl(5)}, {bits}\nrd {ctl(5)}\nkeep 9\nwr {ctl(5)}, 0"
    source = counted(cpu, {0: selector}, STORM, values=values)
    ran = asm.run(source, mode=mode, cpu=cpu)
    native = mode == amd.NATIVE
    if native and bits == amd.GUESTONLY | amd.HOSTONLY:
        assert ran.result(0) == 0, "with SVME clear both bits count nothing, too"
    else:
        assert ran.result(0) == (0 if native else INSTRUCTIONS + FRAME)
    assert ran.result(9) == (bits if native else 0)
    assert not ran.machine.silent_errors()


# ---- VMRUN counts as a branch ----


@amd.each
def test_vmrun_counts_as_a_branch(cpu: str, mode: str) -> None:
    """One a VM-entry while the counter counts; natively there is none.

    Entries: one behind each CPUID. Where the WRMSR that starts exits too, so does the entry behind
    it count: of selectors always, of GLOBAL_CTL in the emulated design.
    """
    source = counted(cpu, {0: amd.COUNT | amd.BRANCHES}, STORM)
    ran = asm.run(source, mode=mode, cpu=cpu, settings=ERRATUM)
    entries = {amd.NATIVE: 0, amd.EMULATED: ROUNDS + 1, amd.MEDIATED: ROUNDS}[mode]
    assert ran.result(0) == BRANCHES + entries
    (counter,) = ran.counters().values()
    assert counter.true_count == BRANCHES
    assert counter.counted == BRANCHES + entries
    assert counter.causes == ({"erratum": -entries} if entries else {})


@amd.each_vpmu
def test_vmrun_counts_at_the_privilege_that_it_enters(cpu: str, mode: str) -> None:
    """The guest exits in its kernel: a counter of user code sees none of it."""
    selector = asm.EN | asm.USR | amd.BRANCHES
    ran = asm.run(counted(cpu, {0: selector}, STORM), mode=mode, cpu=cpu, settings=ERRATUM)
    assert ran.result(0) == 0


@amd.each_vpmu
def test_vmrun_is_no_other_event(cpu: str, mode: str) -> None:
    """Neither an instruction (nobody said so) nor a mispredicted branch."""
    for event, expected in ((amd.INSTRUCTIONS, INSTRUCTIONS + FRAME), (0xC3, None)):
        source = counted(cpu, {0: amd.COUNT | event}, STORM)
        with_it = asm.run(source, mode=mode, cpu=cpu, settings=ERRATUM).result(0)
        without = asm.run(source, mode=mode, cpu=cpu).result(0)
        assert with_it == without
        assert expected is None or with_it == expected


# ---- sides of VMRUN: host perf ----


@pytest.mark.parametrize("cpu", amd.V1 + amd.V2)
def test_host_events_and_the_side_that_they_count(cpu: str) -> None:
    """Emulated: guest-only, host-only and both; perf sets the bits in its selectors.

    Events are opened one after the other, so that the host retires some instructions before the
    last one counts; what a second storm adds to each is free of that. The guest's branches are all
    in its code, for the model's host has none.
    """
    hosts = ("instructions:G", "instructions:H", "instructions", "branches:G", "branches:H")
    found = []
    for body in (STORM, STORM + STORM):
        source = counted(cpu, {0: amd.COUNT | amd.INSTRUCTIONS}, body)
        ran = asm.run(source, mode=amd.EMULATED, cpu=cpu, host_perf=hosts)
        results = ran.machine.host_events()
        assert [r.state for r in results] == ["active"] * 5
        guest = ran.machine.guest()
        # All that silicon retired of the guest: KVM completed the rest.
        assert results[0].count == guest.instructions - guest.emulated
        found.append([r.count for r in results])
    more = [b - a for a, b in zip(*found, strict=True)]
    in_guest, in_host, both, guest_branches, host_branches = more
    assert in_guest == INSTRUCTIONS - ROUNDS, "the CPUIDs were KVM's"
    assert in_host > 100 * ROUNDS
    # Without a global control the selectors go off one after the other, by a RDMSR and a WRMSR, and
    # on again by a WRMSR each: the third is off for a RDMSR less than the second, each time.
    apart = both - (in_guest + in_host)
    assert apart == 0 if cpu in amd.V2 else 0 < apart < in_host / 20
    assert (guest_branches, host_branches) == (BRANCHES, 0)


@pytest.mark.parametrize("cpu", amd.V1 + amd.V2)
def test_pinned_host_events_take_the_guests_counters(cpu: str) -> None:
    """Six pinned events of the host: none is left, and the guest is not told."""
    source = counted(cpu, {0: amd.COUNT | amd.INSTRUCTIONS}, STORM)
    ran = asm.run(source, mode=amd.EMULATED, cpu=cpu, host_perf=("cycles:D",) * 6)
    # What it reads are the credits: of the CPUIDs, and of the WRMSR that starts.
    assert ran.result(0) == ROUNDS + 1
    (counter,) = ran.counters().values()
    assert counter.true_count == INSTRUCTIONS + FRAME
    assert set(counter.causes) == {"contention"}


# ---- PMIs ----


def sampling(cpu: str, before: int, *, pmis: int, lvtpc: int = NMI) -> str:
    """Return a guest whose counter 0 overflows ``pmis`` times, from ``before`` below the end each.

    The handler writes down how often it came and the LVTPC as it finds it, and loads the counter
    anew. It does not write the LVTPC, which Linux's driver for PerfMonV2 leaves alone, too.
    """
    selector = asm.EN | asm.OS | asm.INT | amd.INSTRUCTIONS
    v2 = cpu in amd.V2
    start = (amd.GLOBAL_CTL, 1) if v2 else (ctl(0), selector)
    acknowledge = f"wr {amd.STATUS_CLR}, 1" if v2 else ""
    status = f"rd {amd.GLOBAL_STATUS}" if v2 else "xorl %eax, %eax"
    body = f"wr {start[0]}, {start[1]}\n{NOPS.format(400)}wr {start[0]}, 0\n"
    value = (1 << 48) - before
    return f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	gate	2, pmi, 1
	{f"wr {amd.GLOBAL_CTL}, 0" if v2 else ""}
	{f"wr {ctl(0)}, {selector}" if v2 else ""}
	wr	0x834, {lvtpc}
	{"".join(f"wr {ctr(0)}, {value}{chr(10)}{body}" for _ in range(pmis))}
	rd	0x834
	keep	3
	{status}
	keep	4
	finish
pmi:	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	incq	RESULTS
	wr	{start[0]}, 0
	pmc	0
	keep	1
	rd	0x834
	keep	2
	{acknowledge}
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
syscall_entry:
	ud2
"""


@amd.each
@pytest.mark.parametrize("pmis", [1, 3])
def test_delivery_leaves_the_lvtpc_alone(cpu: str, mode: str, pmis: int) -> None:
    """[26] is Intel's: here each overflow is delivered though nobody unmasks the LVTPC.

    The NMI is taken a skid behind the overflow: at the first boundary after it, NOPs being
    ``simple`` each; then the handler's 4 pushes and so on are counted until it stops the counter,
    which it does with its eighth instruction: 3 pushes, INC, 3 moves, WRMSR (not counted).
    """
    ran = asm.run(sampling(cpu, 100, pmis=pmis), mode=mode, cpu=cpu)
    late = math.ceil(ran.config.skid_cycles * 64 / ran.config.timing["simple"])
    count, value, seen, left, status = ran.results(5)
    assert count == pmis
    assert value == late + 7
    assert seen == left == NMI
    assert status == 0
    pmi = ran.machine.pmi()
    assert (pmi.due, pmi.delivered, pmi.masked, pmi.coalesced) == (pmis, pmis, 0, 0)


@amd.each
def test_a_masked_lvtpc_gets_no_pmi(cpu: str, mode: str) -> None:
    """[25] The status bit is set, where there is a status, and that is all."""
    ran = asm.run(sampling(cpu, 100, pmis=1, lvtpc=MASKED), mode=mode, cpu=cpu)
    count, _, _, left, status = ran.results(5)
    assert (count, left) == (0, MASKED)
    assert status == (1 if cpu in amd.V2 else 0)
    pmi = ran.machine.pmi()
    assert (pmi.due, pmi.delivered, pmi.masked) == (0, 0, 1)


@pytest.mark.parametrize(("mode", "reason"), [(amd.EMULATED, "nmi"), (amd.MEDIATED, "interrupt")])
def test_how_the_host_takes_the_pmi(mode: str, reason: str) -> None:
    """Of perf as an NMI, of a mediated guest by its own vector: an interrupt."""
    ran = asm.run(sampling("zen4", 100, pmis=1), mode=mode, cpu="zen4")
    exits = ran.exits()
    assert exits[reason] == 1
    assert {"nmi", "interrupt"} & exits.keys() == {reason}
