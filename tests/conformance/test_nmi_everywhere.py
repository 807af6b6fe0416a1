# SPDX-License-Identifier: Apache-2.0
"""An NMI behind every instruction: where each one lands, and that nothing is counted twice or lost.

One guest runs the same instructions again and again; each time a counter of instructions that
stands at -p overflows one instruction later than before, and its PMI comes as an NMI. The CPU's
skid is set to 0, so that the NMI is due at the boundary behind the instruction that overflowed. The
handler leaves the RIP that it interrupted.

What must hold, natively and under KVM: the RIP is that of the next instruction in program order; of
the one behind that if the instruction was a STI that set IF or a MOV to SS, which hold NMIs off for
one instruction; and the counter has counted the instructions of the program and of the handler, no
more and no less.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

RIPS, COUNTS, ADDRESSES = 0, 1024, 2048  # slots of the results
HANDLER = 5  # instructions of the handler: all are counted
LOST = "none"
FIRST = 4  # the smallest p; host perf rounds periods below 2 up

# (name, code, what it is): in program order. The code may use all registers but R15 and RSP. What
# does not retire is a fault; what holds NMIs off for an instruction is a shadow; KVM completes an
# exit.
PROGRAM = [
    ("movl", "movl $3, %ecx", ""),
    ("dec", "decl %ecx", ""),
    ("jnz", "jnz at_dec", ""),
    ("dec", "", ""),
    ("jnz", "", ""),
    ("dec", "", ""),
    ("jnz", "", ""),
    ("load", "movq data, %rax", ""),
    ("store", "movq %rax, data + 8", ""),
    ("both", "addq %rax, data + 16", ""),
    ("lock", "lock incq data + 24", ""),
    ("xchg", "xchgq %rax, data + 32", ""),
    ("cross", "movq %rax, page_end - 3", ""),
    ("cmov", "cmovzq data, %rdx", ""),
    ("setcc", "setnz %dl", ""),
    ("push", "pushq %rax", ""),
    ("pop", "popq %rbx", ""),
    ("jmp", "jmp at_call", ""),
    ("call", "call function", ""),
    ("function", "", ""),
    ("ret", "", ""),
    ("jz", "jz at_lea", ""),
    ("lea", "leaq data(%rip), %rsi", ""),
    ("lea2", "leaq data + 256(%rip), %rdi", ""),
    ("ecx", "movl $8, %ecx", ""),
    ("rep", "rep movsb", ""),
    ("movs", "movsq", ""),
    ("lods", "lodsl", ""),
    ("rbx", "leaq data(%rip), %rbx", ""),
    ("al", "movl $5, %eax", ""),
    ("xlat", "xlatb", ""),
    ("mul", "imulq %rbx, %rcx", ""),
    ("edx", "xorl %edx, %edx", ""),
    ("div", "divq %rbx", ""),
    ("enter", "enter $32, $0", ""),
    ("leave", "leave", ""),
    ("cpuid", "cpuid", "exit"),
    ("out", "outb %al, $0x80", "exit"),
    ("in", "inb $0x61, %al", "exit"),
    ("cx", "movl $0x1b, %ecx", ""),
    ("rdmsr", "rdmsr", "exit"),
    ("wrmsr", "wrmsr", "exit"),
    ("sti", "sti", "shadow"),
    ("nop", "nop", ""),
    ("sti2", "sti", ""),  # IF was set: it holds nothing off
    ("nop2", "nop", ""),
    ("cli", "cli", ""),
    ("ss", "movl %ss, %eax", ""),
    ("mov_ss", "movl %eax, %ss", "shadow"),
    ("nop3", "nop", ""),
    ("pushf", "pushfq", ""),
    ("popf", "popfq", ""),
    ("int3", "int3", ""),
    ("breakpoint", "", ""),
    ("ud2", "ud2", "fault"),
    ("undefined", "", ""),
    ("undefined_iret", "", ""),
    ("cs", "pushq $KERNEL_CS", ""),
    ("target", "pushq $at_flags", ""),
    ("lret", "lretq", ""),
    ("flags", "movq %rsp, %rax", ""),
    ("f1", "pushq $KERNEL_DS", ""),
    ("f2", "pushq %rax", ""),
    ("f3", "pushq $2", ""),
    ("f4", "pushq $KERNEL_CS", ""),
    ("f5", "pushq $at_last", ""),
    ("iret", "iretq", ""),
    ("last", "nop", ""),
]
LABELS = list(dict.fromkeys(name for name, _, _ in PROGRAM))
CODE = "".join(f"at_{name}:\t{code}\n" for name, code, _ in PROGRAM if code)
COUNTED = [step for step in PROGRAM if step[2] != "fault"]

SOURCE = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	2, nmi, 1
	gate	3, at_breakpoint
	gate	6, at_undefined
	wr	0x38f, 0
	wr	0x186, {asm.EN | asm.OS | asm.INT | asm.EVENTS["instructions"]}
	movl	${FIRST}, %r15d
again:	wr	0x390, 1
	wr	0x834, 0x400
	movl	$0x4c1, %ecx
	movq	%r15, %rax
	negq	%rax
	movq	%rax, %rdx
	shrq	$32, %rdx
	andl	$0xffff, %edx
	wrmsr
	wr	0x38f, 1
{CODE}
	counting_off
	pmc	0
	movq	%rax, RESULTS + 8 * {COUNTS}(, %r15, 8)
	incl	%r15d
	cmpl	${len(COUNTED)}, %r15d
	jbe	again
	movl	$addresses, %esi
	movl	$RESULTS + 8 * {ADDRESSES}, %edi
	movl	${len(LABELS)}, %ecx
	rep movsq
	finish
function:
at_function:
	nop
at_ret:	ret
at_breakpoint:
	iretq
at_undefined:
	addq	$2, (%rsp)
at_undefined_iret:
	iretq
nmi:	pushq	%rax
	movq	8(%rsp), %rax
	movq	%rax, RESULTS + 8 * {RIPS}(, %r15, 8)
	popq	%rax
	iretq
	.data
	.balign	4096
data:	.skip	4096
page_end:
	.skip	4096
addresses:
	.quad	{", ".join(f"at_{name}" for name in LABELS)}
"""


def interrupted(overflow: int, *, emulated: bool) -> str:
    """Return the label at which the NMI lands: @overflow instructions of the program have retired.

    Whatever is in program order behind the last of them, a fault too; a shadow lets one more pass.

    The emulated vPMU has one exception. The credit of an instruction that KVM completed may leave
    the counter at -1. Host perf makes a period of 2 of that, so that the PMI comes one instruction
    late; if that one exits, KVM finds a counter that has passed 0 without an overflow of perf's,
    leaves the PMI to perf, and there is none.
    """
    order = [index for index, step in enumerate(PROGRAM) if step[2] != "fault"]
    at = order[overflow - 1]
    if emulated and PROGRAM[at - 1][2] == "exit" and PROGRAM[at][2] != "exit":
        if PROGRAM[at + 1][2] == "exit":
            return LOST
        at += 1
        if PROGRAM[at - 1][2] == "shadow":  # it is over
            return PROGRAM[at + 1][0]
    return PROGRAM[at + (2 if PROGRAM[at][2] == "shadow" else 1)][0]


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_an_nmi_behind_every_instruction(mode: str, cpu: str) -> None:
    ran = asm.run(SOURCE, mode=mode, cpu=cpu, skid_cycles=0)
    addresses = dict(zip(LABELS, ran.results(len(LABELS), ADDRESSES), strict=True))
    names = {address: name for name, address in addresses.items()}
    steps = range(FIRST, len(COUNTED) + 1)
    rips = {p: ran.result(RIPS + p) for p in steps}
    landed = {p: names.get(rip, f"{rip:#x}" if rip else LOST) for p, rip in rips.items()}
    # The WRMSR that enables is the first instruction that counts.
    expected = {p: interrupted(p - 1, emulated=mode == "emulated") for p in steps}
    assert landed == expected
    assert list(expected.values()).count(LOST) == (mode == "emulated")
    # WRMSR, the program, the three in front of the WRMSR that disables, and the handler.
    total = 1 + len(COUNTED) + 3
    for p in steps:
        handler = 0 if expected[p] == LOST else HANDLER
        assert ran.result(COUNTS + p) == total + handler - p, expected[p]
    (counter,) = ran.counters().values()
    assert counter.true_count == counter.counted
