# SPDX-License-Identifier: Apache-2.0
"""Several CPUs: started by INIT and SIPI, each on a pCPU of its own or all on one.

The bootstrap CPU copies real-mode code to 0x8000, sends INIT and SIPI to all others and spins until
each of them has added one to a word; then it waits long enough for them to halt. Each of the others
executes CLI, MOV, a loop of LOOPS times DEC and JNZ, LOCK INC and HLT: 4 + 2 LOOPS instructions,
whatever the arrangement, of which KVM emulates the HLT.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

from pmupass.core import Machine
from pmupass.records import Stop

LOOPS = 3_000
EACH = 4 + 2 * LOOPS

# The code at 0x8000 is what the others start with: INIT and SIPI to all but the CPU itself.
START_OTHERS = """\
	movl	$0x8000, %edi
	movl	$others, %esi
	movl	$(others_end - others), %ecx
	rep movsb
	wr	0x830, 0xc4500
	wr	0x830, 0xc4608"""

SOURCE = f"""
{asm.PRELUDE}
_start:	kernel_setup
{START_OTHERS}
	movl	$COUNT, %ebx
1:	pause
	cmpl	%ebx, 0x9000
	jne	1b
	movl	$20000, %ecx
2:	decl	%ecx
	jnz	2b
	finish

	.code16
others:	cli
	movw	${LOOPS}, %cx
1:	decw	%cx
	jnz	1b
	lock incl 0x9000
	hlt
others_end:
	.code64
"""


def machine(
    mode: str, vcpus: int, cpus: int, cpu: str = "sapphire-rapids", **given: object
) -> Machine:
    """Return a machine with so many CPUs of the guest and of the host."""
    image = asm.assemble(SOURCE.replace("COUNT", str(vcpus - 1)))
    return Machine(asm.config(image, mode=mode, cpu=cpu, vcpus=vcpus, cpus=cpus, **given))


def to_end(made: Machine, blocks: int = 1 << 40) -> Machine:
    """Run to the guest's exit."""
    while (stop := made.run(blocks)) is Stop.BUDGET:
        pass
    assert stop is Stop.EXIT, (stop, made.invariant())
    return made


def everything(made: Machine) -> list[object]:
    """Return what can be read of all CPUs."""
    parts = ("guest", "counters", "silent_errors", "pmi", "exits", "accesses", "switch")
    each = [[getattr(made, part)(n) for part in parts] for n in range(made.guests)]
    return [each, [(made.costs(n), made.trace(n)) for n in range(made.cpus)], made.stats()]


@pytest.mark.parametrize("cpu", ["sapphire-rapids", "zen4"])
@pytest.mark.parametrize("mode", asm.MODES)
@pytest.mark.parametrize("vcpus", [2, 8])
def test_each_on_its_own(mode: str, vcpus: int, cpu: str) -> None:
    """The others execute what they are given, and nothing more."""
    ran = to_end(machine(mode, vcpus, vcpus, cpu))
    assert [ran.guest(n).instructions for n in range(1, vcpus)] == [EACH] * (vcpus - 1)
    emulated = 0 if mode == "native" else 1
    assert [ran.guest(n).emulated for n in range(1, vcpus)] == [emulated] * (vcpus - 1)
    assert ran.stats()["ignored_ipis"] == 0


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_all_on_one(mode: str) -> None:
    """Four vCPUs share a pCPU: the one that spins gives way at the end of its slice."""
    ran = to_end(machine(mode, 4, 1))
    assert [ran.guest(n).instructions for n in range(1, 4)] == [EACH] * 3
    # It cannot see the others' work before a slice of its own has ended.
    assert ran.guest(0).tsc_cycles >= 5_600_000


@pytest.mark.parametrize("mode", asm.MODES)
@pytest.mark.parametrize("cpus", [1, 3])
def test_same_results_whatever_the_slices(mode: str, cpus: int) -> None:
    """Budgets of seven blocks, and clones on the way."""
    if mode == "native" and cpus == 1:
        pytest.skip("natively each CPU is a pCPU")
    whole = everything(to_end(machine(mode, 3, cpus, trace_records=1 << 10)))
    assert everything(to_end(machine(mode, 3, cpus, trace_records=1 << 10), blocks=7)) == whole
    cloned = machine(mode, 3, cpus, trace_records=1 << 10)
    for _ in range(4):
        assert cloned.run(1_000) is Stop.BUDGET
        cloned = cloned.clone()
    assert everything(to_end(cloned)) == whole


@pytest.mark.parametrize("mode", asm.MODES)
def test_a_cpu_that_nobody_starts_sleeps(mode: str) -> None:
    """It has executed nothing at the end."""
    made = Machine(
        asm.config(
            asm.assemble(f"{asm.PRELUDE}\n_start:	finish"),
            mode=mode,
            cpu="skylake-sp",
            vcpus=2,
            cpus=2,
        )
    )
    assert to_end(made).guest(1).instructions == 0


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_a_move_takes_all_cpus_along(mode: str) -> None:
    """Saved in the middle and restored in the other design: the same instructions."""
    made = machine(mode, 3, 3)
    assert made.run(500) is Stop.BUDGET
    other = "mediated" if mode == "emulated" else "emulated"
    image = asm.assemble(SOURCE.replace("COUNT", "2"))
    moved = made.migrate(asm.config(image, mode=other, cpu="sapphire-rapids", vcpus=3, cpus=3))
    assert [to_end(moved).guest(n).instructions for n in (1, 2)] == [EACH] * 2


# Counts branches at its first start, and leaves what the counter shows at its second.
TWICE = f"""
{asm.PRELUDE}
_start:	kernel_setup
	movl	$0x8000, %edi
	movl	$others, %esi
	movl	$(others_end - others), %ecx
	rep movsb
	movl	$1, %ebx
1:	wr	0x830, 0xc4500
	wr	0x830, 0xc4608
2:	pause
	cmpl	%ebx, 0x9000
	jne	2b
	incl	%ebx
	cmpl	$2, %ebx
	je	1b
	finish

	.code16
others:	cli
	cmpl	$0, 0x9000
	jne	3f
	wr	SELECTOR, {asm.EN | asm.OS} + BRANCHES
	movw	${LOOPS}, %cx
1:	decw	%cx
	jnz	1b
	wr	SELECTOR, {asm.OS} + BRANCHES
2:	lock incl 0x9000
	hlt
3:	movl	$SELECTOR, %ecx
	rdmsr
	movl	%eax, 0x9010
	movl	$COUNTER, %ecx
	rdmsr
	movl	%eax, 0x9014
	jmp	2b
others_end:
	.code64
"""


@pytest.mark.parametrize(
    ("cpu", "selector", "counter", "branches"),
    [("sapphire-rapids", asm.EVTSEL0, asm.PERFCTR0, 0xC4), ("zen4", 0xC0010200, 0xC0010201, 0xC2)],
)
@pytest.mark.parametrize("mode", asm.MODES)
def test_init_leaves_the_counters_alone(
    mode: str, cpu: str, selector: int, counter: int, branches: int
) -> None:
    """A CPU that is started a second time finds its selector, and the branches of its first start.

    They are those of the loop; the enables of GLOBAL_CTRL are set from power-up on.
    """
    source = TWICE.replace("SELECTOR", str(selector)).replace("COUNTER", str(counter))
    image = asm.assemble(source.replace("BRANCHES", str(branches)))
    settings = ("cpu.overcount_entry_branches=0",)
    made = asm.config(image, mode=mode, cpu=cpu, vcpus=2, cpus=2, settings=settings)
    left = to_end(Machine(made)).physical(0x9010, 8)
    assert int.from_bytes(left[:4], "little") == asm.OS | branches
    assert int.from_bytes(left[4:], "little") == LOOPS


# The second CPU counts its loops, again and again, and leaves the most that it has counted.
ROUNDS = f"""
{asm.PRELUDE}
_start:	kernel_setup
{START_OTHERS}
	movl	$4000000, %ecx
1:	decl	%ecx
	jnz	1b
	finish

	.code16
others:	cli
1:	wr	{asm.PERFCTR0}, 0
	wr	{asm.EVTSEL0}, {asm.EN | asm.OS | 0xC0}
	movw	${LOOPS}, %cx
2:	decw	%cx
	jnz	2b
	wr	{asm.EVTSEL0}, 0
	movl	${asm.PERFCTR0}, %ecx
	rdmsr
	cmpl	0x9000, %eax
	jbe	3f
	movl	%eax, 0x9000
3:	incl	0x9004
	jmp	1b
others_end:
	.code64
"""


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_what_a_vmm_asks_of_one_vcpu_another_one_does_not_count(mode: str) -> None:
    """Two vCPUs take turns on a pCPU, and a VMM reads and writes registers of the first all along.

    The second counts the WRMSR that enables, MOV, its loop, and three MOVs, wherever it stands.
    """
    made = Machine(
        asm.config(
            asm.assemble(ROUNDS),
            mode=mode,
            cpu="sapphire-rapids",
            vcpus=2,
            tick_period=20_000,
            slice=20_000,
        )
    )
    for number in range(1, 120):
        assert made.run_until(1 << 40, number * 10_007) is Stop.UNTIL
        made.set_msrs([(asm.PERFCTR0, made.get_msrs([asm.PERFCTR0])[0])])
    raw = made.physical(0x9000, 8)
    assert int.from_bytes(raw[:4], "little") == 1 + 1 + 2 * LOOPS + 3
    assert int.from_bytes(raw[4:], "little") >= 3
