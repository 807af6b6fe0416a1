# SPDX-License-Identifier: Apache-2.0
"""``ud2`` and "kvm": KVM emulates the instruction behind them and credits it once.

Rules (handle_ud() and x86_emulate_instruction(), Linux 7.0): the ud2 exits (EXCEPTION_NMI); RIP
moves over the five bytes before the instruction is decoded, so that a fault of it is pushed with
its own address; one that is done is one instruction, and one branch if it is one, for the counters
that are enabled, allowed and count at the CPL, and nothing else: no load, no store, no cycle. Where
the module parameter is off, and on the bare machine, the ud2 is #UD.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

from pmupass.config import Filter, FilterAction, FilterEntry

ON = ("kvm.force_emulation_prefix=1",)
ROUNDS = 50

each_vpmu = pytest.mark.parametrize("mode", ["emulated", "mediated"])
each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)

FEP = r"""
	.macro	fep insn:vararg
	.byte	0x0f, 0x0b, 0x6b, 0x76, 0x6d
	\insn
	.endm

	/* Exceptions leave vector, error code and RIP in results 8, 9, 10 and go on at RBP. */
	.macro	handler name, vector, has_error
\name:	.if	\has_error
	popq	RESULTS + 72
	.else
	movq	$-1, RESULTS + 72
	.endif
	movq	$\vector, RESULTS + 64
	movq	(%rsp), %r15
	movq	%r15, RESULTS + 80
	movq	%rbp, (%rsp)
	iretq
	.endm
"""
HANDLERS = """
	handler	on_ud, 6, 0
	handler	on_gp, 13, 1
	handler	on_pf, 14, 1
"""


def counters(*events: str, privileges: int = asm.OS | asm.USR) -> str:
    """Return code that programs GP 0.. with events, all at 0, disabled globally."""
    lines = ["\twr\t0x38f, 0"]
    for i, event in enumerate(events):
        selector = asm.EN | privileges | asm.EVENTS[event]
        lines += [f"\twr\t{asm.EVTSEL0 + i:#x}, {selector:#x}", f"\twr\t{asm.PMC0 + i:#x}, 0"]
    return "\n".join(lines)


COUNTED = ("instructions", "branches", "loads", "stores")
EMULATED = ("addq $1, word", "pushq word", "popq %rdx", "jmp 2f\n2:", "call 3f\n3:", "popq %rdx")


@each_vpmu
@each_cpu
def test_each_emulated_instruction_counts_once(mode: str, cpu: str) -> None:
    body = "\n".join(f"\tfep {insn}" for insn in EMULATED)
    source = f"""
	{asm.PRELUDE}{FEP}
_start:	kernel_setup
	movq	$0, word
	{counters(*COUNTED)}
	wr	0x38f, 15
	movl	${ROUNDS}, %esi
1:	{body}
	decl	%esi
	jnz	1b
	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	keep_pmc 2, 2
	keep_pmc 3, 3
	movq	word, %rax
	keep	4
	finish
	.data
	.balign	8
word:	.quad	0
"""
    ran = asm.run(source, mode=mode, cpu=cpu, settings=ON)
    # The WRMSR that enables, mov, the rounds, 3 before the WRMSR that disables. Branches of a
    # round: jmp, call (emulated), jnz. The emulated loads and stores are no one's.
    instructions = 1 + 1 + ROUNDS * (len(EMULATED) + 2) + 3
    assert ran.results(5) == [instructions, 3 * ROUNDS, 0, 0, ROUNDS]
    for counter in ran.counters().values():
        assert counter.true_count == counter.counted
        assert not counter.causes
    assert ran.exits()["EXCEPTION_NMI"] == ROUNDS * len(EMULATED)
    assert ran.machine.guest().emulated >= ROUNDS * len(EMULATED)


@each_mode
@pytest.mark.parametrize("settings", [(), ON], ids=["off", "on"])
def test_where_it_is_off_and_natively_the_ud2_is_ud(mode: str, settings: tuple[str, ...]) -> None:
    source = f"""
	{asm.PRELUDE}{FEP}
_start:	kernel_setup
	gate	6, on_ud
	movq	$behind, %rbp
	movq	$0, RESULTS + 64
	{counters("instructions")}
	wr	0x38f, 1
prefix:	fep	nop
behind:	counting_off
	keep_pmc 0, 0
	movq	$prefix, %rax
	keep	1
	finish
	{HANDLERS}
"""
    ran = asm.run(source, mode=mode, cpu="skylake-sp", settings=settings)
    if mode != "native" and settings:
        # WRMSR, the nop, 3 before the last WRMSR
        assert ran.result(0) == 1 + 1 + 3
        assert ran.result(8) == 0
    else:
        # WRMSR, the handler (an injected #UD retires nothing): 6, 3 before the last WRMSR
        assert ran.result(0) == 1 + 6 + 3
        assert ran.results(3, 8) == [6, (1 << 64) - 1, ran.result(1)]
    if mode == "native":
        assert ran.exits() == {}
    else:
        assert ran.exits()["EXCEPTION_NMI"] == 1
    for counter in ran.counters().values():
        assert counter.true_count == counter.counted
        assert not counter.causes


@pytest.mark.parametrize(
    ("insn", "vector", "error"),
    [
        ("movq 0x40000000, %rax", 14, 0),  # beyond the page tables of kernel_setup
        ("movq %rax, 0x40000000", 14, 2),
        ("wrmsr", 13, 0),  # ECX: an MSR that nobody has
        ("rdmsr", 13, 0),
        ("rdpmc", 13, 0),
        ("ud2", 6, None),
        ("divq zero", 0, None),
    ],
)
@each_vpmu
def test_a_fault_is_pushed_with_the_instructions_own_address(
    mode: str, insn: str, vector: int, error: int | None
) -> None:
    source = f"""
	{asm.PRELUDE}{FEP}
_start:	kernel_setup
	gate	0, on_de
	gate	6, on_ud
	gate	13, on_gp
	gate	14, on_pf
	movq	$behind, %rbp
	{counters("instructions")}
	wr	0x38f, 1
	movl	$0x1234567, %ecx
	fep
at:	{insn}
behind:	counting_off
	keep_pmc 0, 0
	movq	$at, %rax
	keep	1
	movq	%cr2, %rax
	keep	2
	finish
	{HANDLERS}
	handler	on_de, 0, 0
	.data
zero:	.quad	0
"""
    ran = asm.run(source, mode=mode, cpu="sapphire-rapids", settings=ON)
    code = (1 << 64) - 1 if error is None else error
    assert ran.results(3, 8) == [vector, code, ran.result(1)]
    # WRMSR, mov, the handler's 6, 3: nothing for what faulted
    assert ran.result(0) == 1 + 1 + 6 + 3
    if vector == 14:
        assert ran.result(2) == 0x40000000
    for counter in ran.counters().values():
        assert counter.true_count == counter.counted


@each_vpmu
@each_cpu
def test_what_the_emulator_leaves_to_kvm(mode: str, cpu: str) -> None:
    """CPUID, RDMSR, WRMSR, RDPMC and ports: one exit each, that of the ud2; counted once."""
    source = f"""
	{asm.PRELUDE}{FEP}
_start:	kernel_setup
	{counters("instructions")}
	wr	0x38f, 1
	xorl	%eax, %eax
	xorl	%ecx, %ecx
	fep	cpuid
	movq	%rbx, %r8
	movl	$0x186, %ecx
	fep	rdmsr
	movq	%rax, %r9
	xorl	%ecx, %ecx
	fep	rdpmc
	movq	%rax, %r10
	movl	$0x4c2, %ecx
	movl	$77, %eax
	xorl	%edx, %edx
	fep	wrmsr
	movl	$0x3fd, %edx
	fep	inb	%dx, %al
	movzbl	%al, %r11d
	counting_off
	keep_pmc 0, 0
	pmc	1
	keep	1
	keep	2, %r8
	keep	3, %r9
	keep	4, %r10
	keep	5, %r11
	finish
"""
    ran = asm.run(source, mode=mode, cpu=cpu, settings=ON)
    selector = asm.EN | asm.USR | asm.OS | asm.EVENTS["instructions"]
    genu = int.from_bytes(b"Genu", "little")
    # RDPMC sees the WRMSR that enables, xor 2, CPUID and mov, mov, RDMSR and mov, xor: 9.
    # All: 10 with RDPMC, mov, 3, WRMSR, mov, IN, movz, 3.
    assert ran.results(5) == [10 + 1 + 3 + 1 + 1 + 1 + 1 + 3, 77, genu, selector, 9]
    assert ran.result(5) & 0x20  # the transmitter is empty
    assert ran.exits()["EXCEPTION_NMI"] == 5
    assert "CPUID" not in ran.exits()
    for counter in ran.counters().values():
        assert counter.true_count == counter.counted
        assert not counter.causes


@each_vpmu
@each_cpu
def test_user_code_is_credited_by_privilege_and_filter(mode: str, cpu: str) -> None:
    """GP 0: instructions:u, 1: instructions:k, 2: branches:u; the filter denies 0xc4."""
    deny = Filter(FilterAction.DENY, 0, (FilterEntry(0xC4, 0xFF, 0),))
    source = f"""
	{asm.PRELUDE}{FEP}
_start:	kernel_setup 1
	wr	0x38f, 0
	wr	0x186, {asm.EN | asm.USR | asm.EVENTS["instructions"]}
	wr	0x187, {asm.EN | asm.OS | asm.EVENTS["instructions"]}
	wr	0x188, {asm.EN | asm.USR | asm.EVENTS["branches"]}
	wr	0x4c1, 0
	wr	0x4c2, 0
	wr	0x4c3, 0
	user_frame user
	wr	0x38f, 7
	iretq
user:	movl	$30, %esi
1:	fep	decl %esi
	fep	jnz 1b
	syscall
	ud2
syscall_entry:
	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	keep_pmc 2, 2
	finish
"""
    plain = asm.run(source, mode=mode, cpu=cpu, settings=ON)
    # User: mov, 60, syscall (branches: 30, syscall). Kernel: WRMSR, IRET, 3.
    assert plain.results(3) == [62, 5, 31]
    denied = asm.run(source, mode=mode, cpu=cpu, settings=ON, filter=deny)
    assert denied.results(3) == [62, 5, 0]
    for counter in plain.counters().values():
        assert counter.true_count == counter.counted
        assert not counter.causes
    causes = {c: k.causes for c, k in denied.counters().items() if k.causes}
    assert list(causes.values()) == [{"filtered": 31}]


@each_vpmu
@each_cpu
@pytest.mark.parametrize(("event", "insn"), [("instructions", "nop"), ("branches", "jmp 1f\n1:")])
def test_a_credit_that_wraps_a_counter_sets_its_bit_and_interrupts(
    mode: str, cpu: str, event: str, insn: str
) -> None:
    """The counter is one short of the wrap when the emulated instruction is due.

    Instructions: the WRMSR that enables, then the nop: from -2. Branches: the jmp, from -1.
    """
    start = (1 << 48) - (2 if event == "instructions" else 1)
    source = f"""
	{asm.PRELUDE}{FEP}
_start:	kernel_setup
	gate	2, nmi
	wr	0x834, 0x400
	wr	0x38f, 0
	wr	0x186, {asm.EN | asm.INT | asm.OS | asm.EVENTS[event]}
	wr	0x4c1, {start:#x}
	movq	$0, RESULTS + 8
	wr	0x38f, 1
	fep	{insn}
behind:	nop
	nop
	counting_off
	pmc	0
	keep	3
	finish
nmi:	movq	(%rsp), %r8
	keep	1, %r8
	movq	$behind, %r8
	keep	2, %r8
	counting_off
	rd	0x38e
	keep	0
	iretq
"""
    ran = asm.run(source, mode=mode, cpu=cpu, settings=ON)
    assert ran.result(0) == 1
    assert ran.result(1) == ran.result(2)  # the NMI comes with the next entry
    (counter,) = ran.counters().values()
    assert counter.overflows == 1
    # Behind the wrap: nothing, or the handler's movs and 3 of counting_off.
    assert ran.result(3) == (4 + 3 if event == "instructions" else 0)
    assert counter.true_count == counter.counted


@each_vpmu
def test_rep_strings_are_one_instruction(mode: str) -> None:
    source = f"""
	{asm.PRELUDE}{FEP}
_start:	kernel_setup
	{counters("instructions", "stores")}
	wr	0x38f, 3
	movl	$RESULTS + 0x1000, %edi
	movl	$100, %ecx
	movl	$0xab, %eax
	fep	rep stosb
	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	keep	2, %rdi
	finish
"""
    ran = asm.run(source, mode=mode, cpu="sapphire-rapids", settings=ON)
    assert ran.results(3) == [1 + 3 + 1 + 3, 0, asm.RESULTS + 0x1000 + 100]
    assert ran.machine.physical(asm.RESULTS + 0x1000, 101) == b"\xab" * 100 + b"\0"


@each_vpmu
def test_emulation_leaves_predictor_and_cycles_alone(mode: str) -> None:
    """A loop whose branch only KVM sees: no branch miss, and the cycles of the plain part alone."""
    source = f"""
	{asm.PRELUDE}{FEP}
_start:	kernel_setup
	{counters("branch-misses", "cycles")}
	wr	0x38f, 3
	movl	$20, %esi
1:	fep	decl %esi
	fep	jnz 1b
	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	finish
"""
    short = asm.run(source, mode=mode, cpu="skylake-sp", settings=ON)
    long = asm.run(source.replace("$20", "$2000"), mode=mode, cpu="skylake-sp", settings=ON)
    assert short.results(2)[0] == 0
    assert short.results(2) == long.results(2)
