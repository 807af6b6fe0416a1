# SPDX-License-Identifier: Apache-2.0
"""A guest that goes through a table of steps, and the same guest as the reference executes it.

The image is assembled once; a sequence of steps is patched into its table. What each piece of code
retires is taken from its text here, an instruction a line: so the reference knows which instruction
comes when, and where in the program a PMI or a stop of the host falls.

    ("wr", msr, value)      WRMSR, caught if it faults
    ("rd", msr, 0)          RDMSR
    ("pmc", ecx, 0)         RDPMC at CPL 0; ("pmc3", ecx, 0) at CPL 3
    ("pce", 0 or 1, 0)      CR4.PCE
    ("spin", n, 0)          a loop of DEC and JNZ; ("uspin", n, 0) at CPL 3
    ("work", n, profile)    the work instruction; ("uwork", n, profile) at CPL 3
    ("cpuid", n, 0)         a loop of CPUIDs, which exit

A guest with two CPUs starts the other one first, which goes round for ever beside the steps: with a
secret in an idle counter and an idle selector, it counts the same instructions again and again, and
leaves the least and the most that it has counted, and how often something was not as it should be.

For each step the guest leaves what it read, whether it faulted, how many PMIs there have been, and
RCX at the last one: the rest of the loop or of the work.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import guest_asm as asm
import rules
from rules import Fault, Kvm, Silicon, Value

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = ("wr", "rd", "pmc", "pmc3", "pce", "spin", "uspin", "work", "uwork", "cpuid", "end")
MAX_STEPS = 120
ENTRY = 32  # bytes of a step in the table, and of what it leaves
MARK = bytes.fromhex("7365710a") * 8
LVTPC, NMI = 0x834, 0x400
WORK = "nopl 0x504d5501(%rax)"
Step = tuple[str, int, int]

NEXT = """
	movq	table(%r13), %r8
	movq	table + 8(%r13), %rcx
	movq	table + 16(%r13), %rax
	movq	%rax, %rdx
	shrq	$32, %rdx
	movl	%eax, %eax
	xorl	%r15d, %r15d
	jmp	*handlers(, %r8, 8)
"""
DONE = """
	shlq	$32, %rdx
	orq	%rdx, %rax
	movq	%rax, (%r14)
	movq	%r15, 8(%r14)
	movq	pmis, %rax
	movq	%rax, 16(%r14)
	movq	pmi_rcx, %rax
	movq	%rax, 24(%r14)
	addq	$32, %r14
	addq	$32, %r13
	jmp	next
"""
GENERAL_PROTECTION = """
	movl	$1, %r15d
	addq	$2, 8(%rsp)
	addq	$8, %rsp
	iretq
"""
PMI = """
	movq	%rcx, pmi_rcx
	incq	pmis
	iretq
"""
USER = """
	pushq	$USER_DS
	pushq	$user_stack_top
	pushq	$2
	pushq	$USER_CS
	pushq	$user_{}
	iretq
"""
ENTERED = """
	movq	$kernel_stack_top, %rsp
	xorl	%ecx, %ecx
	jmp	done
"""
ZERO = """
	xorl	%eax, %eax
	xorl	%edx, %edx
"""
JMP_DONE = "\tjmp\tdone\n"
SYSCALL = "\tsyscall\n"
PCE = """
	movq	%cr4, %rdx
	andq	$~0x100, %rdx
	shlq	$8, %rcx
	orq	%rcx, %rdx
	movq	%rdx, %cr4
"""
END = "\tmovl\t$0, %eax\n\toutl\t%eax, $0xf4\n"
CPUID_HEAD = "\tmovl\t%ecx, %r12d\n"
CPUID_BODY = "\txorl\t%eax, %eax\n"

# The other CPU, in real mode. What it leaves, at OTHER: least and most counted, rounds, and what
# else was wrong.
OTHER = 0x9000
OTHER_LOOPS = 5000
OTHER_SECRET = 0x3A5EC2E7  # bit 31 is clear: a legacy write is sign-extended
OTHER_SELECTOR = 0x5EC2
# The WRMSR that enables; MOV, the loop, three MOVs.
OTHER_COUNTS = 1 + 1 + 2 * OTHER_LOOPS + 3
OTHER_CPU = f"""
	.code16
others:	cli
	wr	SELECTOR + STEP, {OTHER_SELECTOR}
	wr	COUNTER + STEP, {OTHER_SECRET}
	movl	$-1, {OTHER}
1:	wr	COUNTER, 0
	wr	SELECTOR, {asm.EN | asm.OS | asm.USR | 0xC0}
	movw	${OTHER_LOOPS}, %cx
2:	decw	%cx
	jnz	2b
	wr	SELECTOR, {asm.OS | asm.USR | 0xC0}
	movl	$(COUNTER), %ecx
	rdmsr
	cmpl	{OTHER}, %eax
	jae	3f
	movl	%eax, {OTHER}
3:	cmpl	{OTHER + 4}, %eax
	jbe	4f
	movl	%eax, {OTHER + 4}
4:	orl	%edx, {OTHER + 12}
	movl	$(COUNTER + STEP), %ecx
	rdmsr
	xorl	${OTHER_SECRET}, %eax
	orl	%edx, %eax
	orl	%eax, {OTHER + 12}
	movl	$(SELECTOR + STEP), %ecx
	rdmsr
	xorl	${OTHER_SELECTOR}, %eax
	orl	%edx, %eax
	orl	%eax, {OTHER + 12}
	incl	{OTHER + 8}
	jmp	1b
others_end:
	.code64
"""
START_OTHER = """
	movl	$0x8000, %edi
	movl	$others, %esi
	movl	$(others_end - others), %ecx
	rep movsb
	wr	0x830, 0xc4500
	wr	0x830, 0xc4608
"""

SOURCE = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	START_OTHER
	gate	2, on_pmi, 1
	gate	13, on_general_protection
	wr	{LVTPC}, {NMI}
	xorl	%r13d, %r13d
	movl	$RESULTS, %r14d
next:	{NEXT}
done:	{DONE}
do_wr:	wrmsr
	{ZERO}{JMP_DONE}
do_rd:	rdmsr
	{JMP_DONE}
do_pmc:	rdpmc
	{JMP_DONE}
do_pmc3:	{USER.format("pmc")}
user_pmc:	rdpmc
	{SYSCALL}
do_pce:	{PCE}{ZERO}{JMP_DONE}
do_spin:
1:	decl	%ecx
	jnz	1b
	{ZERO}{JMP_DONE}
do_uspin:	{USER.format("spin")}
user_spin:
1:	decl	%ecx
	jnz	1b
	{ZERO}{SYSCALL}
do_work:	{WORK}
	{ZERO}{JMP_DONE}
do_uwork:	{USER.format("work")}
user_work:	{WORK}
	{ZERO}{SYSCALL}
do_cpuid:	{CPUID_HEAD}
1:	{CPUID_BODY}
	cpuid
	decl	%r12d
	jnz	1b
	{ZERO}{JMP_DONE}
do_end:	{END}
syscall_entry:	{ENTERED}
on_general_protection:	{GENERAL_PROTECTION}
on_pmi:	{PMI}
	.data
	.balign	8
pmis:	.quad	0
pmi_rcx:	.quad	0
handlers:
	.quad	{", ".join(f"do_{name}" for name in STEPS)}
table:	.rept	{MAX_STEPS + 1}
	.byte	{", ".join(f"{byte:#x}" for byte in MARK)}
	.endr
	.text
	OTHER_CPU
"""
# Selector, counter, and from one counter to the next: registers that every guest has.
REGISTERS = {"intel": (rules.EVTSEL0, rules.PERFCTR0), "amd": (0xC0010000, 0xC0010004)}


def source(other: str) -> str:
    """Return the guest; ``other``: the vendor of the other CPU, "" for none."""
    start, code = (START_OTHER, OTHER_CPU) if other else ("", "")
    for place, number in zip(("SELECTOR", "COUNTER"), REGISTERS.get(other, (0, 0)), strict=True):
        code = code.replace(f"{place} + STEP", str(number + 1)).replace(place, str(number))
    return SOURCE.replace("\tSTART_OTHER\n", start).replace("\tOTHER_CPU\n", code)


def image(steps: list[Step], other: str = "") -> bytes:
    """Return the guest with these steps in its table."""
    blank = asm.assemble(source(other))
    at = blank.index(MARK * (MAX_STEPS + 1))
    words = [
        word.to_bytes(8, "little")
        for name, first, second in [*steps, ("end", 0, 0)]
        for word in (STEPS.index(name), first, second, 0)
    ]
    table = b"".join(words)
    assert len(steps) <= MAX_STEPS
    return blank[:at] + table + blank[at + len(table) :]


@functools.cache
def lines(code: str) -> tuple[bool, ...]:
    """Return for each instruction of a piece of code whether it is a branch."""
    found = (line.split() for line in code.splitlines() if line.strip())
    return tuple(words[0] in ("jmp", "jnz", "iretq", "syscall") for words in found)


class Left(NamedTuple):
    """What a step left. An RCX of None may be anything."""

    value: Value | None
    faulted: bool
    pmis: int
    rcx: int | None


@dataclass
class Profile:
    """A work profile: branches per 2^20 instructions, and how much of it has been done."""

    rate: int
    done: int = 0

    def branches(self, instructions: int) -> int:
        """Return the branches of the next so many instructions: floors of cumulative totals."""
        begin, end = self.done, self.done + instructions
        return (end * self.rate >> 20) - (begin * self.rate >> 20)


def entry(_: Guest) -> None:
    """A stop: the guest was entered, and has not come to its next instruction."""


@dataclass
class Guest:
    """The reference executes the steps, an instruction at a time where it matters.

    ``stops`` are what the host does and when, in instructions since the first step. ``moments``, if
    it is a list, gets the times when something is on the way.
    """

    pmu: Silicon
    rates: dict[int, int]  # branches per 2^20 instructions, by profile
    lvtpc_exits: tuple[bool, bool] = (False, True)  # whether RDMSR and WRMSR of it do, under KVM
    stops: list[tuple[int, Callable[[Guest], None]]] = field(default_factory=list)
    moments: list[int] | None = None
    entering: bool | None = None  # the next instruction is behind an entry, for certain or not
    retired: int = 0
    cpl: int = 0
    user_rdpmc: bool = False  # CR4.PCE
    rcx: int | None = 0
    in_handler: bool = False
    pmis: int = 0
    pmi_rcx: int | None = 0
    left: list[Left] = field(default_factory=list)
    profiles: dict[int, Profile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reset."""
        self.profiles = {number: Profile(rate) for number, rate in self.rates.items()}

    def run(self, steps: list[Step]) -> list[Left]:
        """Execute all steps and return what they left."""
        for name, first, second in steps:
            self.walk(NEXT, 0, 1)
            self.rcx = first  # loaded by the second instruction
            self.walk(NEXT, 1)
            getattr(self, name)(first, second)
        self.walk(NEXT)
        self.walk(END)
        return self.left

    # ---- instructions ----

    def host(self) -> None:
        """Do what the host does at this point; then the guest goes on, with a PMI if one is due."""
        entered = True
        while entered:
            entered = False
            while self.stops and self.stops[0][0] <= self.retired and not entered:
                at, act = self.stops.pop(0)
                assert at == self.retired, "the host stopped inside of what is done at once here"
                self.exit(certain=False)
                entered = act is entry
                act(self)
            self.pmu.enter()
            self.entry()
            if self.pmu.pmi and not self.in_handler:
                self.pmu.deliver()
                self.handle_pmi()
                entered = True

    def exit(self, *, certain: bool) -> None:
        """A VM-exit happens, or may."""
        self.pmu.add(self.pmu.overcount.exit, self.pmu.exposed(self.cpl), certain=certain)
        if self.entering is not None:  # there may have been one in between
            self.entering = False
            self.entry()
        self.entering = certain

    def entry(self) -> None:
        """So does the VM-entry behind it."""
        if self.entering is not None:
            exposed = self.pmu.exposed(self.cpl)
            self.pmu.add(self.pmu.overcount.entry, exposed, certain=self.entering)
            self.entering = None

    def many(
        self, count: int, branches: Callable[[int], int], rcx: Callable[[int], int | None]
    ) -> None:
        """Retire instructions that are nothing but counted.

        ``branches(i)`` of the first i of them are branches, and RCX is ``rcx(i)`` behind them.
        """
        done = 0
        while done < count:
            self.host()
            most = self.stops[0][0] - self.retired if self.stops else count
            now = max(1, min(count - done, most, self.pmu.headroom(self.cpl)))
            self.retire(now, branches(done + now) - branches(done), rcx=rcx(done + now))
            done += now

    def retire(
        self, instructions: int, branches: int, *, rcx: int | None, exits: bool = False
    ) -> None:
        """Retire instructions, the last of which may make a PMI due."""
        self.pmu.retire(instructions, branches, self.cpl, exits=exits)
        self.retired += instructions
        self.rcx = rcx
        if self.moments is not None and self.pmu.is_on_the_way():
            self.moments.append(self.retired)
        while self.pmu.pmi and not self.in_handler:
            self.pmu.deliver()
            self.handle_pmi()

    def handle_pmi(self) -> None:
        """The NMI's handler, at CPL 0; another one waits for its end."""
        cpl, self.cpl = self.cpl, 0
        self.in_handler = True
        self.pmi_rcx = self.rcx
        self.pmis += 1
        self.walk(PMI)
        self.in_handler = False
        self.cpl = cpl

    def walk(self, code: str, first: int = 0, end: int | None = None) -> None:
        """Retire instructions of a piece of code that do nothing of interest."""
        for branch in lines(code)[first:end]:
            self.one(branch=branch)

    def one(self, *, exits: bool = False, branch: bool = False) -> None:
        """Retire one instruction."""
        self.host()
        self.retire(1, branch, rcx=self.rcx, exits=exits)

    # ---- parts of steps ----

    def fault(self) -> None:
        """#GP: its handler runs at CPL 0 and goes on behind the instruction."""
        cpl, self.cpl = self.cpl, 0
        self.walk(GENERAL_PROTECTION)
        self.cpl = cpl

    def done(self, value: Value | None = 0, *, faulted: bool = False) -> None:
        """Leave what there is to leave, as the code does: PMIs are looked at in the middle."""
        self.walk(DONE, 0, 4)
        pmis = self.pmis  # the fifth instruction loads it
        self.walk(DONE, 4, 6)
        rcx = self.pmi_rcx  # the seventh
        self.walk(DONE, 6)
        self.left.append(Left(value, faulted, pmis, rcx))

    def enter_user(self) -> None:
        """To CPL 3."""
        self.walk(USER)
        self.cpl = 3

    def leave_user(self) -> None:
        """SYSCALL leaves RIP in RCX; the entry clears it."""
        self.host()
        self.retire(1, 1, rcx=None)
        self.cpl = 0
        self.walk(ENTERED, 0, 1)
        self.rcx = 0
        self.walk(ENTERED, 1)

    # ---- steps ----

    def access(
        self, act: Callable[[], Value | None], *, exits: bool = True, certain: bool = False
    ) -> Left:
        """Do an access: it takes effect, then it retires; or it faults and does not."""
        self.host()
        exposed = self.pmu.exposed(self.cpl)
        try:
            value = act()
        except Fault:
            self.exit(certain=False)
            self.entry()  # counts before it injects the exception
            self.fault()
            return Left(None, True, 0, 0)
        self.pmu.add(self.pmu.overcount.exit, exposed, certain=certain)
        if value is not None:  # a read comes behind the exit, so that it shows what that has added
            value = act()
        self.entering = certain
        self.pmu.completes = certain
        self.retire(1, 0, rcx=self.rcx, exits=exits)  # before anything else can happen
        self.pmu.completes = False
        return Left(value, False, 0, 0)

    def wr(self, msr: int, value: int) -> None:
        """WRMSR."""

        def write() -> None:
            if msr == LVTPC:
                self.pmu.lvtpc = value
            else:
                self.pmu.write_msr(msr, value)

        certain = msr != LVTPC and self.pmu.exits_for(msr)
        left = self.access(write, exits=msr != LVTPC or self.lvtpc_exits[1], certain=certain)
        self.walk(ZERO + JMP_DONE)
        self.done(faulted=left.faulted)

    def rd(self, msr: int, _: int) -> None:
        """RDMSR."""

        def read() -> Value:
            return self.pmu.lvtpc if msr == LVTPC else self.pmu.read_msr(msr)

        certain = msr != LVTPC and self.pmu.exits_for(msr)
        left = self.access(read, exits=msr != LVTPC or self.lvtpc_exits[0], certain=certain)
        self.walk(JMP_DONE)
        self.done(left.value, faulted=left.faulted)

    def pmc(self, ecx: int, _: int) -> None:
        """RDPMC in the kernel."""
        left = self.access(
            lambda: self.pmu.rdpmc(ecx, 0, pce=self.user_rdpmc), certain=self.pmu.exits_for(0)
        )
        self.walk(JMP_DONE)
        self.done(left.value, faulted=left.faulted)

    def pmc3(self, ecx: int, _: int) -> None:
        """RDPMC in user mode."""
        self.enter_user()
        left = self.access(
            lambda: self.pmu.rdpmc(ecx, 3, pce=self.user_rdpmc), certain=self.pmu.exits_for(0)
        )
        self.leave_user()
        self.done(left.value, faulted=left.faulted)

    def pce(self, on: int, _: int) -> None:
        """CR4.PCE, which is the guest's own: no exit."""
        self.walk(PCE, 0, 2)
        self.rcx = on << 8
        self.walk(PCE, 2, 4)
        self.user_rdpmc = bool(on)
        self.walk(PCE, 4)
        self.walk(ZERO + JMP_DONE)
        self.done()

    def spin(self, count: int, _: int) -> None:
        """DEC and JNZ."""
        self.loop(count)
        self.walk(ZERO + JMP_DONE)
        self.done()

    def uspin(self, count: int, _: int) -> None:
        """The same at CPL 3."""
        self.enter_user()
        self.loop(count)
        self.walk(ZERO)
        self.leave_user()
        self.done()

    def loop(self, count: int) -> None:
        """Count down: each iteration decrements, then branches."""
        self.many(2 * count, lambda i: i // 2, lambda i: count - (i + 1) // 2)

    def work(self, count: int, profile: int) -> None:
        """Work in the kernel."""
        self.labour(count, profile)
        self.walk(ZERO + JMP_DONE)
        self.done()

    def uwork(self, count: int, profile: int) -> None:
        """The same at CPL 3."""
        self.enter_user()
        self.labour(count, profile)
        self.walk(ZERO)
        self.leave_user()
        self.done()

    def labour(self, count: int, profile: int) -> None:
        """So many instructions, with the branches of the profile."""
        kind = self.profiles[profile]
        self.many(count, kind.branches, lambda i: count - i)
        kind.done += count

    def cpuid(self, count: int, _: int) -> None:
        """CPUID clobbers RCX."""
        self.walk(CPUID_HEAD)
        for _ in range(count):
            self.walk(CPUID_BODY)
            self.rcx = None
            self.host()
            self.exit(certain=isinstance(self.pmu, Kvm))
            self.pmu.completes = isinstance(self.pmu, Kvm)
            self.retire(1, 0, rcx=None, exits=True)
            self.pmu.completes = False
            self.walk("\tdecl\n\tjnz\n")
        self.walk(ZERO + JMP_DONE)
        self.done()
