# SPDX-License-Identifier: Apache-2.0
"""#DB in all modes: what the guest sees is the same, what it costs is not.

Rules (Linux 7.0): VMX intercepts #DB, #UD and #AC, one EXCEPTION_NMI exit each, and injects them
again; an instruction that KVM completes with RFLAGS.TF set has its single-step trap queued by KVM,
without an exit of its own; the first MOV DR after an exit that leaves the run loop exits
(DR_ACCESS) and is executed anew by the guest, the next ones do not; INT1 exits before it is
executed and is stepped over without a credit.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

ON = ("kvm.force_emulation_prefix=1",)
CLEAR_RF = ("kvm.force_emulation_prefix=3",)
TF, RF = 0x100, 0x10000
BS, BD = 0x4000, 0x2000
DR6_CLEAR = 0xFFFF0FF0

each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_vpmu = pytest.mark.parametrize("mode", ["emulated", "mediated"])
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)

# Logs RIP, RFLAGS and DR6 of each #DB from result 16 on, R14 pointing there; sets the flags in R13
# for IRET. No MOV DR, so that a test says itself what of it there is.
LOG = """
on_db:	pushq	%rax
	movq	8(%rsp), %rax
	movq	%rax, (%r14)
	movq	24(%rsp), %rax
	movq	%rax, 8(%r14)
	addq	$16, %r14
	orq	%r13, 24(%rsp)
	popq	%rax
	iretq
"""
SETUP = f"""
	gate	1, on_db
	movq	$RESULTS + 128, %r14
	xorl	%r13d, %r13d
	wr	0x38f, 0
	wr	0x186, {asm.EN | asm.USR | asm.EVENTS["instructions"]}
	wr	0x187, {asm.EN | asm.USR | asm.EVENTS["branches"]}
	wr	0x4c1, 0
	wr	0x4c2, 0
"""


def finish(*names: str, keep: str = "") -> str:
    """Return the end: counters in results 0 and 1, R14 in 2, addresses of labels from 4 on."""
    addresses = "".join(f"\tmovq ${name}, %rax\n\tkeep {4 + i}\n" for i, name in enumerate(names))
    return f"""{LOG}
syscall_entry:
	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	keep	2, %r14
{addresses}	{keep}
	finish
"""


def logged(ran: asm.Ran) -> list[tuple[int, int]]:
    """Return RIP and flags (TF, RF) of each #DB."""
    count = (ran.result(2) - asm.RESULTS - 128) // 16
    words = ran.results(2 * count, 16)
    return [(words[2 * i], words[2 * i + 1] & (TF | RF)) for i in range(count)]


def check_books(ran: asm.Ran) -> None:
    """Make sure that nothing was lost."""
    for counter in ran.counters().values():
        assert counter.true_count == counter.counted
        assert not counter.causes


@each_mode
@each_cpu
def test_single_stepped_user_code_counts_each_instruction_once(mode: str, cpu: str) -> None:
    """CPUID and RDPMC are completed by KVM, which queues their traps; the others' traps exit."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	movq	%cr4, %rax
	orq	$0x100, %rax
	movq	%rax, %cr4
	{SETUP}
	user_frame user, {TF | 2}
	wr	0x38f, 3
	iretq
user:	movl	$3, %esi
1:	xorl	%ecx, %ecx
	rdpmc
	cpuid
	decl	%esi
	jnz	1b
	nop
last:	syscall
	ud2
	{finish("user", "last")}
"""
    ran = asm.run(source, mode=mode, cpu=cpu)
    # User: mov, 3 * 5, nop, syscall; jnz 3 and the syscall are branches.
    assert ran.results(2) == [18, 4]
    # Traps: behind all but the SYSCALL, whose mask has TF.
    traps = logged(ran)
    assert len(traps) == 17
    assert all(flags == TF for _, flags in traps)
    assert traps[0][0] == ran.result(4) + 5
    assert traps[-1][0] == ran.result(5)
    check_books(ran)
    exits = ran.exits()
    if mode == "native":
        assert exits == {}
        return
    # With a mediated vPMU RDPMC exits where not all counters are the guest's.
    completed = exits["CPUID"] + exits.get("RDPMC", 0)
    in_loop = 3 + min(exits.get("RDPMC", 0), 3)
    assert completed >= in_loop
    assert exits["EXCEPTION_NMI"] == 17 - in_loop


@each_mode
@each_cpu
def test_breakpoints(mode: str, cpu: str) -> None:
    """One on code, one on data: a fault before and a trap behind, in user code.

    The debug registers are written in a row: one DR_ACCESS; DR6 is read at the end: another.
    """
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	movq	$0, word
	{SETUP}
	movl	${RF}, %r13d
	movq	$code, %rax
	movq	%rax, %dr0
	movq	$word + 4, %rax
	movq	%rax, %dr1
	movl	${0x400 | 1 | 4 | 0x1 << 20}, %eax
	movq	%rax, %dr7
	user_frame user
	wr	0x38f, 3
	iretq
user:	movl	$2, %esi
1:	nop
code:	incl	%edi
	movq	word, %rax
	movq	%rdi, word
data:	decl	%esi
	jnz	1b
	syscall
	ud2
	{finish("code", "data", keep="movq %dr6, %rax; keep 3")}
	.data
	.balign	8
word:	.quad	0
"""
    ran = asm.run(source, mode=mode, cpu=cpu)
    code, data = ran.results(2, 4)
    assert logged(ran) == [(code, 0), (data, 0), (code, 0), (data, 0)]
    assert ran.result(3) == DR6_CLEAR | 2  # of the last one
    assert ran.results(2) == [1 + 2 * 6 + 1, 3]
    check_books(ran)
    if mode == "native":
        assert ran.exits() == {}
    else:
        assert ran.exits()["EXCEPTION_NMI"] == 4
        assert ran.exits()["DR_ACCESS"] == 2


@each_mode
def test_general_detect_and_missing_registers(mode: str) -> None:
    """DR7.GD: #DB at the MOV, GD is clear in the handler. CR4.DE: DR4 is #UD; CPL 3: #GP."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	gate	6, on_ud
	gate	13, on_gp
	{SETUP}
	xorl	%r12d, %r12d
	movl	$0x2400, %eax
	movq	%rax, %dr7
gd:	movq	%dr7, %rbx
	movq	%dr6, %rbp
	movq	%cr4, %rax
	orq	$8, %rax
	movq	%rax, %cr4
	movq	$2f, %r11
	movq	%dr4, %rax
2:	movq	$user, %r11
	user_frame user
	iretq
user:	movq	$3f, %r11
	movq	%dr0, %rax
3:	syscall
	ud2
on_ud:	orl	$1, %r12d
	movq	%r11, (%rsp)
	iretq
on_gp:	orl	$2, %r12d
	addq	$8, %rsp
	movq	%r11, (%rsp)
	iretq
	{finish("gd", keep="keep 3, %rbx; keep 6, %rbp; keep 7, %r12")}
"""
    ran = asm.run(source, mode=mode, cpu="sapphire-rapids")
    # RF: KVM emulates the fault at a DR_ACCESS exit with flags that have none; hardware sets it.
    # Here the registers are the guest's already, as the MOV to DR7 exited a moment ago.
    assert logged(ran) == [(ran.result(4), RF)]
    assert ran.result(3) == 0x400
    assert ran.result(6) == DR6_CLEAR | BD
    assert ran.result(7) == 3


@each_mode
@each_cpu
def test_int1_is_not_credited(mode: str, cpu: str) -> None:
    """At CPL 3, through a gate of DPL 0. KVM steps over it and counts it for nobody."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	{SETUP}
	user_frame user
	wr	0x38f, 3
	iretq
user:	nop
	.byte	0xf1
behind:	nop
	syscall
	ud2
	{finish("behind")}
"""
    ran = asm.run(source, mode=mode, cpu=cpu)
    assert logged(ran) == [(ran.result(4), 0)]
    lost = 0 if mode == "native" else 1
    # nop, INT1, nop, syscall; INT1 and the syscall are branches
    assert ran.results(2) == [4 - lost, 2 - lost]
    for counter in ran.counters().values():
        assert counter.true_count - counter.counted == lost
        assert counter.causes == ({"uncredited": 1} if lost else {})


@each_mode
def test_what_int1_leaves_of_dr6(mode: str) -> None:
    """In hardware everything; the payload that KVM injects takes the place of B0 to B3."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	{SETUP}
	movq	${DR6_CLEAR | BS | 3:#x}, %rax
	movq	%rax, %dr6
	.byte	0xf1
behind:	movq	%dr6, %rbx
	jmp	syscall_entry
	{finish("behind", keep="keep 3, %rbx")}
"""
    ran = asm.run(source, mode=mode, cpu="skylake-sp")
    assert logged(ran) == [(ran.result(4), 0)]
    assert ran.result(3) == DR6_CLEAR | BS | (3 if mode == "native" else 0)


@each_vpmu
@pytest.mark.parametrize(("settings", "hits"), [(ON, 0), (CLEAR_RF, 1)])
def test_a_code_breakpoint_at_an_emulated_instruction(
    mode: str, settings: tuple[str, ...], hits: int
) -> None:
    """The #UD of the prefix has set RF, unless the parameter says to clear it."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	{SETUP}
	movl	${RF}, %r13d
	movq	$at, %rax
	movq	%rax, %dr0
	movl	$0x401, %eax
	movq	%rax, %dr7
	wr	0x38f, 3
	.byte	0x0f, 0x0b, 0x6b, 0x76, 0x6d
at:	incl	%edi
	syscall
	{finish("at")}
"""
    ran = asm.run(source, mode=mode, cpu="skylake-sp", settings=settings)
    assert logged(ran) == [(ran.result(4), 0)] * hits
    # The handler returns to the instruction itself, behind the prefix.
    assert ran.exits()["EXCEPTION_NMI"] == 1


@each_vpmu
def test_an_emulated_instruction_is_stepped(mode: str) -> None:
    """Its trap is queued by KVM with the prefix's exit; INC and JMP are credited once."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	{SETUP}
	user_frame user, {TF | 2}
	wr	0x38f, 3
	iretq
user:	.byte	0x0f, 0x0b, 0x6b, 0x76, 0x6d
	incl	%edi
one:	.byte	0x0f, 0x0b, 0x6b, 0x76, 0x6d
	jmp	two
	ud2
two:	syscall
	ud2
	{finish("one", "two")}
"""
    ran = asm.run(source, mode=mode, cpu="skylake-sp", settings=ON)
    assert logged(ran) == [(ran.result(4), TF), (ran.result(5), TF)]
    assert ran.results(2) == [3, 2]
    assert ran.exits()["EXCEPTION_NMI"] == 2
    check_books(ran)


@each_mode
@each_cpu
def test_alignment_checks_exit_and_come_back(mode: str, cpu: str) -> None:
    """#AC at CPL 3 with CR0.AM and RFLAGS.AC: error code 0, nothing retires, one exit under KVM."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	gate	17, on_ac
	{SETUP}
	movq	%cr0, %rax
	orq	$0x40000, %rax
	movq	%rax, %cr0
	user_frame user, 0x40002
	wr	0x38f, 3
	iretq
user:	movl	$RESULTS + 0x1000, %ebx
	movq	(%rbx), %rax
at:	movq	1(%rbx), %rax
	movb	1(%rbx), %al
	syscall
	ud2
on_ac:	popq	%r12
	movq	(%rsp), %r13
	addq	$at_end - at, (%rsp)
	iretq
	.set	at_end, at + 4
	{finish("at", keep="keep 3, %r12; keep 6, %r13")}
"""
    ran = asm.run(source, mode=mode, cpu=cpu)
    assert ran.result(3) == 0
    assert ran.result(6) == ran.result(4)
    assert ran.results(2) == [4, 1]  # mov, mov, movb, syscall
    check_books(ran)
    assert ran.exits().get("EXCEPTION_NMI", 0) == (0 if mode == "native" else 1)


def charged(ran: asm.Ran, *functions: str) -> list[int]:
    """Return how often functions of the host were charged, over all call stacks."""
    costs = ran.machine.costs()
    return [
        sum(c.count for c in costs if c.stack.rsplit(";", 1)[-1] == function)
        for function in functions
    ]


@each_vpmu
def test_the_host_is_charged_by_what_it_does(mode: str) -> None:
    """Two MOV DR with an exit between them, two #UD, one of them a prefix, one #DB."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	1, skip
	gate	6, on_ud
	movq	%dr6, %rbx		/* hands the registers over */
	movq	%dr7, %rbx
	cpuid				/* takes them back */
	movq	%dr6, %rbx
	cpuid
	.byte	0x0f, 0x0b, 0x6b, 0x76, 0x6d
	nop
	ud2
	.byte	0xf1
	finish
on_ud:	addq	$2, (%rsp)
skip:	iretq
"""
    ran = asm.run(source, mode=mode, cpu="skylake-sp", settings=ON)
    assert ran.exits()["DR_ACCESS"] == 2
    assert ran.exits()["EXCEPTION_NMI"] == 3
    # An entry with the registers handed over loads DR0 to DR3, DR6 and DR7; no breakpoint is on.
    assert charged(ran, "handle_dr", "vmx_sync_dirty_debug_regs", "set_debugreg") == [2, 2, 12]
    assert charged(ran, "handle_exception_nmi", "x86_emulate_instruction") == [3, 2]
