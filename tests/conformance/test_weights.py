# SPDX-License-Identifier: Apache-2.0
"""Random programs whose counts are the sum of a table of weights, in every mode and privilege.

WEIGHTS says of each kind of instruction how many instructions, branches, loads and stores it is. By
the rule of docs/model.md an operand in memory that is read is one load, one that is written is one
store, however long it is and wherever it stands; what is pushed is a store and what is popped a
load; a branch counts whether it is taken or not; a REP string is one instruction with the loads and
stores of its iterations; what a delivery pushes is no store.

hypothesis draws programs, a loop around them and a privilege; four counters must show the sums.
"""

from __future__ import annotations

from typing import NamedTuple

import guest_asm as asm
import pytest
from hypothesis import given, settings, strategies as st


class Weight(NamedTuple):
    """What a piece of code is worth at its own privilege; ``kernel``: what it adds at CPL 0."""

    instructions: int
    branches: int
    loads: int
    stores: int
    kernel: tuple[int, int, int, int] = (0, 0, 0, 0)


# RBX is at 128 bytes of data, RBP 4 bytes before the end of a page. Any other register is free but
# RSP and R15, and is made good by the piece that needs it.
WEIGHTS = {
    "nop": Weight(1, 0, 0, 0),
    "leaq 8(%rbx, %rax, 4), %rdx": Weight(1, 0, 0, 0),
    "imulq %rdx, %rax": Weight(1, 0, 0, 0),
    "movq (%rbx), %rax": Weight(1, 0, 1, 0),
    "movq %rax, 8(%rbx)": Weight(1, 0, 0, 1),
    "movb $1, 16(%rbx)": Weight(1, 0, 0, 1),
    "movq (%rbp), %rax": Weight(1, 0, 1, 0),  # over two pages: one operand
    "movq %rax, (%rbp)": Weight(1, 0, 0, 1),
    "addq %rax, (%rbp)": Weight(1, 0, 1, 1),
    "addq (%rbx), %rax": Weight(1, 0, 1, 0),
    "addl $5, (%rbx)": Weight(1, 0, 1, 1),
    "adcb %al, 3(%rbx)": Weight(1, 0, 1, 1),
    "cmpq %rax, (%rbx)": Weight(1, 0, 1, 0),
    "testl $8, (%rbx)": Weight(1, 0, 1, 0),
    "incw (%rbx)": Weight(1, 0, 1, 1),
    "notq (%rbx)": Weight(1, 0, 1, 1),
    "negl (%rbx)": Weight(1, 0, 1, 1),
    "mulq (%rbx)": Weight(1, 0, 1, 0),
    "shll $3, (%rbx)": Weight(1, 0, 1, 1),
    "shldq $3, %rax, (%rbx)": Weight(1, 0, 1, 1),
    "btq $3, (%rbx)": Weight(1, 0, 1, 0),
    "btsq $3, (%rbx)": Weight(1, 0, 1, 1),
    "bsfq (%rbx), %rdx": Weight(1, 0, 1, 0),
    "movzbl (%rbx), %eax": Weight(1, 0, 1, 0),
    "movslq (%rbx), %rax": Weight(1, 0, 1, 0),
    "cmovzq (%rbx), %rax": Weight(1, 0, 1, 0),  # reads, whatever the condition
    "cmovnzq (%rbx), %rax": Weight(1, 0, 1, 0),
    "setc 9(%rbx)": Weight(1, 0, 0, 1),
    "xchgq %rax, (%rbx)": Weight(1, 0, 1, 1),
    "lock addq %rax, (%rbx)": Weight(1, 0, 1, 1),
    "xaddq %rax, (%rbx)": Weight(1, 0, 1, 1),
    "lock xaddl %eax, (%rbx)": Weight(1, 0, 1, 1),
    "cmpxchgq %rdx, (%rbx)": Weight(1, 0, 1, 1),  # writes, whatever the comparison
    "cmpxchg8b (%rbx)": Weight(1, 0, 1, 1),
    "lock cmpxchg16b 64(%rbx)": Weight(1, 0, 1, 1),
    "bswapq %rax": Weight(1, 0, 0, 0),
    "movbe (%rbx), %rax": Weight(1, 0, 1, 0),
    "movbe %rax, (%rbx)": Weight(1, 0, 0, 1),
    "movnti %rax, (%rbx)": Weight(1, 0, 0, 1),
    "pushq %rax\npopq %rax": Weight(2, 0, 1, 1),
    "pushw $3\npopw %ax": Weight(2, 0, 1, 1),
    "pushq (%rbx)\npopq 8(%rbx)": Weight(2, 0, 2, 2),
    "pushfq\npopfq": Weight(2, 0, 1, 1),
    "enter $16, $0\nleave\nleaq data_end - 4, %rbp": Weight(3, 0, 1, 1),
    "call function": Weight(2, 2, 1, 1),  # and its RET
    "leaq function, %rax\ncall *%rax": Weight(3, 2, 1, 1),
    "call *pointer": Weight(2, 2, 2, 1),  # reads the pointer
    "jmp 9f\n9:": Weight(1, 1, 0, 0),
    "xorl %eax, %eax\njz 9f\n9:": Weight(2, 1, 0, 0),
    "xorl %eax, %eax\njnz 9f\n9:": Weight(2, 1, 0, 0),
    "movl $1, %ecx\nloop 9f\n9:": Weight(2, 1, 0, 0),
    "movl $4, %ecx\n9: loop 9b": Weight(5, 4, 0, 0),
    "jrcxz 9f\n9:": Weight(1, 1, 0, 0),
    "movq %rbx, %rsi\nleaq 64(%rbx), %rdi\nmovsb": Weight(3, 0, 1, 1),
    "movq %rbx, %rsi\nlodsq": Weight(2, 0, 1, 0),
    "movq %rbx, %rdi\nstosl": Weight(2, 0, 0, 1),
    "movq %rbx, %rdi\nscasb": Weight(2, 0, 1, 0),
    "movq %rbx, %rsi\nmovq %rbx, %rdi\ncmpsw": Weight(3, 0, 2, 0),
    "movq %rbx, %rsi\nleaq 64(%rbx), %rdi\nmovl $7, %ecx\nrep movsb": Weight(4, 0, 7, 7),
    "movq %rbx, %rdi\nmovl $5, %ecx\nrep stosq": Weight(3, 0, 0, 5),
    "movq %rbx, %rdi\nxorl %ecx, %ecx\nrep stosb": Weight(3, 0, 0, 0),
    "movq %rbx, %rsi\nmovq %rbx, %rdi\nmovl $6, %ecx\nrepe cmpsb": Weight(4, 0, 12, 0),
    "xorl %eax, %eax\nxlatb": Weight(2, 0, 1, 0),
    "lfence": Weight(1, 0, 0, 0),
    # The handler's IRETQ: 5 loads, at CPL 0.
    "int3": Weight(1, 1, 0, 0, kernel=(1, 1, 5, 0)),
    # A fault does not retire; the handler steps over it: add to memory, IRETQ.
    "ud2": Weight(0, 0, 0, 0, kernel=(2, 1, 6, 1)),
}
EVENTS = ("instructions", "branches", "loads", "stores")
SELECTORS = "".join(
    f"wr {asm.EVTSEL0 + n}, {{privileges:#x}} + {asm.EN | asm.EVENTS[name]:#x}\n"
    for n, name in enumerate(EVENTS)
)


def source_of(pieces: list[str], times: int, privileges: int, *, user: bool) -> str:
    """Return a guest that does the pieces, so many times over, while four counters count."""
    body = f"movl ${times}, %r15d\n1:\n" + "\n".join(pieces) + "\ndecl %r15d\njnz 1b\n"
    inside = "iretq" if user else body
    return f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	gate	3, breakpoint, 0, 3
	gate	6, undefined
	wr	0x38f, 0
	{SELECTORS.format(privileges=privileges)}
	.irp	n, 0, 1, 2, 3
	wr	0x4c1 + \\n, 0
	.endr
	leaq	data, %rbx
	leaq	data_end - 4, %rbp
	.if	{int(user)}
	user_frame user
	.endif
	wr	0x38f, 15
	{inside}
done:	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	keep_pmc 2, 2
	keep_pmc 3, 3
	finish
user:	{body if user else ""}
	syscall
syscall_entry:
	jmp	done
function:
	ret
breakpoint:
	iretq
undefined:
	addq	$2, (%rsp)
	iretq
	.data
	.balign	4096
	.skip	4096 - 256
data:	.skip	256
data_end:
	.skip	4096
pointer:
	.quad	function
"""


def expected(pieces: list[str], times: int, privileges: int, *, user: bool) -> list[int]:
    """Return what the four counters must show: the sums of the weights."""
    own = [1, 0, 0, 0]  # the loop: a MOV, and a DEC and a branch each time
    kernel = [4, 0, 0, 0]  # the WRMSR that enables, three in front of the one that disables
    for index in range(4):
        each = sum(WEIGHTS[piece][index] for piece in pieces) + (2, 1, 0, 0)[index]
        own[index] += times * each
        kernel[index] += times * sum(WEIGHTS[piece].kernel[index] for piece in pieces)
        if user:  # IRETQ and JMP at CPL 0, SYSCALL at CPL 3
            kernel[index] += (2, 2, 5, 0)[index]
            own[index] += (1, 1, 0, 0)[index]
        else:
            kernel[index] += own[index]
            own[index] = 0
    counted_user = own if privileges & asm.USR else [0] * 4
    counted_kernel = kernel if privileges & asm.OS else [0] * 4
    return [a + b for a, b in zip(counted_user, counted_kernel, strict=True)]


def check(pieces: list[str], times: int, privileges: int, mode: str, *, user: bool) -> None:
    """Run the guest and hold its counters against the sums."""
    ran = asm.run(source_of(pieces, times, privileges, user=user), mode=mode, cpu="sapphire-rapids")
    assert ran.results(4) == expected(pieces, times, privileges, user=user)
    for counter in ran.counters().values():
        assert counter.true_count == counter.counted


@pytest.mark.parametrize("user", [False, True], ids=["kernel", "user"])
@pytest.mark.parametrize("mode", asm.MODES)
def test_every_weight(mode: str, user: bool) -> None:
    """All of them, three times over; if that fails, one after the other says which."""
    both = asm.OS | asm.USR
    try:
        check(list(WEIGHTS), 3, both, mode, user=user)
    except AssertionError:
        for piece in WEIGHTS:
            check([piece], 1, both, mode, user=user)
        raise


@given(
    pieces=st.lists(st.sampled_from(list(WEIGHTS)), min_size=1, max_size=40),
    times=st.sampled_from([1, 2, 3, 17, 100]),
    privileges=st.sampled_from([asm.OS, asm.USR, asm.OS | asm.USR]),
    mode=st.sampled_from(asm.MODES),
    user=st.booleans(),
)
@settings(max_examples=30)
def test_random_programs(
    pieces: list[str], times: int, privileges: int, mode: str, user: bool
) -> None:
    check(pieces, times, privileges, mode, user=user)
