# SPDX-License-Identifier: Apache-2.0
"""Small guests whose counts of all base events are derived by hand, in every mode.

Every guest runs between the WRMSR that turns GLOBAL_CTRL on and the one that turns it off, with
four GP counters and the three fixed ones. It runs once for each set of four events, so that all
base events are seen, and, where it has user code, with USR, with OS and with both set.

What must hold: RDPMC shows the derived number, the truth is that number, and what was counted is
the truth.

The frame around each body: a WRMSR takes effect before it retires, so the one that enables is
counted and the one that disables is not. The macro ``counting_off`` has 3 plain instructions before
its WRMSR. Together 4 instructions at CPL 0, of which 3 are ``simple`` and one is a WRMSR.

Cycles follow from the costs in pmupass/cpus/*.toml (subcycles, 64 to the cycle). A counter shows
the difference of two rounded-down totals, so one of two neighbours. An instruction that KVM
completes takes no guest time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import guest_asm as asm
import pytest

EVENT_SETS = (
    ("instructions", "branches", "loads", "stores"),
    ("branch-misses", "llc-references", "llc-misses", "cycles"),
)
PRIVILEGES = {"os": asm.OS, "usr": asm.USR, "both": asm.OS | asm.USR}


@dataclass(frozen=True)
class At:
    """What happens at one privilege: events by name, and the cost by class.

    Of the cost, ``serialize`` and the other names of the CPU's timing are guest time in every mode;
    ``emulated:NAME`` only natively, for the instruction exits to KVM.
    """

    events: dict[str, int] = field(default_factory=dict)
    cost: dict[str, int] = field(default_factory=dict)

    def subcycles(self, timing: dict[str, int], *, native: bool) -> int:
        """Return the guest time, in subcycles."""
        total = 0
        for name, times in self.cost.items():
            kind, _, emulated = name.rpartition(":")
            if not kind or native:
                total += times * timing[emulated]
        return total


@dataclass(frozen=True)
class Guest:
    """A guest: code before the counters start, code that is counted, code and data behind."""

    name: str
    os: At
    usr: At = At()
    body: str = ""
    setup: str = "movq $kernel_stack_top, %rsp"
    tail: str = ""


LOOP = Guest(
    "loop",
    body="""
	movl	$1000, %ecx
1:	decl	%ecx
	jnz	1b
""",
    # 1 + 1000 * 2 instructions. The 2-bit counter starts weakly not taken: the first JNZ (taken) is
    # a miss and makes it weakly taken; then it is right until the last one, not taken: 2 misses.
    os=At(
        {"instructions": 2001, "branches": 1000, "branch-misses": 2},
        {"simple": 2001, "branch_miss": 2},
    ),
)

CALLS = Guest(
    "calls",
    body="""
	movl	$10, %ebx
1:	call	function
	decl	%ebx
	jnz	1b
""",
    tail="""
function:
	pushq	%rax
	popq	%rax
	ret
""",
    # 1 + 10 * (call, push, pop, ret, dec, jnz). Stores: call and push; loads: pop and ret.
    # The return stack is right each time; JNZ misses as in LOOP. The stack has never been touched:
    # call and push go to one cold line.
    os=At(
        {
            "instructions": 61,
            "branches": 30,
            "loads": 20,
            "stores": 20,
            "branch-misses": 2,
            "llc-references": 1,
            "llc-misses": 1,
        },
        {"simple": 61, "load": 20, "store": 20, "branch_miss": 2, "llc_miss": 1},
    ),
)

RECURSION = Guest(
    "recursion",
    body="""
	movl	$20, %ecx
	call	deeper
""",
    tail="""
deeper:
	decl	%ecx
	jz	1f
	call	deeper
1:	ret
""",
    # mov, 20 calls, 20 * (dec, jz, ret) = 81. JZ: 19 times not taken as predicted, then taken: 1
    # miss. RET: the stack of 16 has lost the 4 oldest of 20 addresses. 19 of the 20 returns go to
    # label 1, and so do all 16 addresses kept: the 3 that pop an overwritten slot find label 1
    # there and are right by luck; the last return goes to the outer caller and finds label 1: 1
    # miss. 20 pushes of 8 bytes from a line's end: 160 bytes, 3 cold lines.
    os=At(
        {
            "instructions": 81,
            "branches": 60,
            "loads": 20,
            "stores": 20,
            "branch-misses": 2,
            "llc-references": 3,
            "llc-misses": 3,
        },
        {"simple": 81, "load": 20, "store": 20, "branch_miss": 2, "llc_miss": 3},
    ),
)

STRINGS = Guest(
    "strings",
    setup="cld",
    body="""
	movl	$64, %ecx		/* 4: 512 bytes, 64 loads and stores, 8 + 8 cold lines */
	movl	$source, %esi
	movl	$target, %edi
	rep movsq
	movl	$100, %ecx		/* 3: 100 stores, the lines are warm */
	movl	$target, %edi
	rep stosb
	xorl	%ecx, %ecx		/* 2: nothing to move */
	rep movsb
	movl	$16, %ecx		/* 4: all 16 are equal, two loads each */
	movl	$source + 256, %esi
	movl	$target + 256, %edi
	repe cmpsb
	movl	$16, %ecx		/* 3: no byte is like AL: 16 iterations, one load each */
	movl	$source + 8, %edi
	repne scasb
""",
    tail="""
	.data
	.balign	64
source:	.fill	64, 8, 0x0807060504030201
	.section .bss
	.balign	64
target:	.skip	512
	.text
""",
    # A REP instruction retires once. AL is 0x0f from the frame's WRMSR, and the bytes are 1 to 8,
    # so that repne scasb goes through all 16. So 64 + 100 + 0 + 16 + 16 iterations; loads
    # 64 + 0 + 32 + 16, stores 64 + 100.
    os=At(
        {
            "instructions": 16,
            "loads": 112,
            "stores": 164,
            "llc-references": 16,
            "llc-misses": 16,
        },
        {"simple": 16, "string_iteration": 196, "load": 112, "store": 164, "llc_miss": 16},
    ),
)

SYSCALLS = Guest(
    "syscalls",
    setup="""
	kernel_setup 1
	user_frame user
""",
    body="iretq",
    tail="""
user:	movl	$10, %ebx
1:	xorl	%eax, %eax
	syscall
	decl	%ebx
	jnz	1b
	movl	$1, %eax
	syscall
	ud2
syscall_entry:
	testl	%eax, %eax
	jnz	done
	incq	calls
	sysretq
	.section .bss
	.balign	64
calls:	.skip	64
	.text
""",
    # Kernel: IRETQ (1 branch, 5 loads); 11 * (test, jnz); 10 * (inc, sysret). JNZ: 10 times not
    # taken as predicted, then taken: 1 miss. inc loads and stores: 10 each, one cold line.
    os=At(
        {
            "instructions": 1 + 22 + 20,
            "branches": 1 + 11 + 10,
            "loads": 5 + 10,
            "stores": 10,
            "branch-misses": 1,
            "llc-references": 1,
            "llc-misses": 1,
        },
        {
            "simple": 22 + 10,
            "serialize": 1 + 10,
            "load": 15,
            "store": 10,
            "branch_miss": 1,
            "llc_miss": 1,
        },
    ),
    # User: mov, 10 * (xor, syscall, dec, jnz), mov, syscall. SYSCALL is a branch of the privilege
    # in which it began. JNZ misses as in LOOP.
    usr=At(
        {"instructions": 43, "branches": 21, "branch-misses": 2},
        {"simple": 32, "serialize": 11, "branch_miss": 2},
    ),
)

PAGE_FAULTS = Guest(
    "page-faults",
    setup="""
	kernel_setup 1
	gate	14, page_fault
	user_frame user
""",
    body="iretq",
    tail="""
user:	movl	$5, %ecx
	movl	$0x40000000, %ebx
1:	movq	(%rbx), %rax		/* 3 bytes, not mapped */
	decl	%ecx
	jnz	1b
	syscall
	ud2
page_fault:
	addq	$3, 8(%rsp)
	addq	$8, %rsp
	iretq
syscall_entry:
	jmp	done
""",
    # The load that faults does not retire. Kernel: IRETQ, then 5 * (add to memory, add, iret), and
    # the JMP behind SYSCALL. Delivery is no instruction; its pushes are no stores. Each IRET loads
    # 5.
    os=At(
        {
            "instructions": 1 + 15 + 1,
            "branches": 1 + 5 + 1,
            "loads": 5 + 5 * (1 + 5),
            "stores": 5,
        },
        {"simple": 10 + 1, "serialize": 1 + 5, "interrupt": 5, "load": 35, "store": 5},
    ),
    # User: 2 movs, 5 * (dec, jnz), syscall.
    usr=At(
        {"instructions": 13, "branches": 6, "branch-misses": 2},
        {"simple": 12, "serialize": 1, "branch_miss": 2},
    ),
)

CPUIDS = Guest(
    "cpuid",
    body="""
	movl	$7, %esi
1:	xorl	%eax, %eax
	cpuid
	decl	%esi
	jnz	1b
""",
    # 1 + 7 * 4; each CPUID exits to KVM and is credited as one instruction.
    os=At(
        {"instructions": 29, "branches": 7, "branch-misses": 2},
        {"simple": 22, "emulated:serialize": 7, "branch_miss": 2},
    ),
)

COLD_LINES = Guest(
    "cold-lines",
    body="""
	movq	cold, %rax		/* line 0 is cold: 1 */
	movq	cold + 8, %rax		/* warm */
	movq	%rax, cold + 64		/* line 1 is cold: 1 */
	movq	%rax, cold + 72
	movq	cold + 124, %rax	/* crosses from line 1 into line 2, cold: 1 */
	movq	cold + 252, %rax	/* crosses from line 3 into 4, both cold: 2 */
	clflush	cold
	movq	cold, %rax		/* cold again: 1 */
	incq	cold + 320		/* line 5 is cold: 1 for load and store together */
	clflush	cold + 320
	clflush	cold + 320
	movb	%al, cold + 320		/* cold again: 1 */
	mfence
	pushq	%rax			/* the stack's line: 1 */
	popq	%rax
""",
    tail="""
	.section .bss
	.balign	64
cold:	.skip	512
	.text
""",
    # 15 instructions; 7 loads (an access across lines is one), 5 stores; CLFLUSH is neither.
    os=At(
        {"instructions": 15, "loads": 7, "stores": 5, "llc-references": 9, "llc-misses": 9},
        {"simple": 14, "serialize": 1, "load": 7, "store": 5, "llc_miss": 9},
    ),
)

MISPREDICTIONS = Guest(
    "mispredictions",
    body="""
	movl	$10, %ecx		/* taken, not taken, ...: wrong each time */
1:	testl	$1, %ecx
	jz	2f
	nop
2:	decl	%ecx
	jnz	1b

	movl	$6, %ecx		/* an indirect jump with two targets in turn: wrong each time */
3:	movl	$4f, %eax
	movl	$5f, %edx
	testl	$1, %ecx
	cmovnz	%edx, %eax
	jmp	*%rax
4:	nop
5:	decl	%ecx
	jnz	3b

	movl	$5, %ecx		/* one target: wrong the first time */
	movl	$7f, %eax
6:	jmp	*%rax
7:	decl	%ecx
	jnz	6b
""",
    # First: 1 + 10 * 4 + 5 NOPs (odd counts); 20 branches; JZ goes 1->2->1->2...: 10 misses, JNZ 2.
    # Second: 1 + 6 * 7 + 3 NOPs; 12 branches; 6 misses (the first target is unknown), JNZ 2.
    # Third: 2 + 5 * 3; 10 branches; 1 miss, JNZ 2.
    os=At(
        {
            "instructions": 46 + 46 + 17,
            "branches": 20 + 12 + 10,
            "branch-misses": 12 + 8 + 3,
        },
        {"simple": 109, "branch_miss": 23},
    ),
)

OPERANDS = Guest(
    "operands",
    setup="""
	cld
	movq	$kernel_stack_top, %rsp
	movq	$0, -8(%rsp)
	movq	$0, word
	movq	$callee, pointer
	movl	$3, %ebx
""",
    body="""
	lock addq $1, word		/* load, store, locked */
	xchgq	%rax, word		/* load, store, locked by itself */
	lock cmpxchgq %rdx, word	/* load, store, locked, whether it is equal or not */
	lock xaddq %rax, word		/* load, store, locked */
	addq	$1, word		/* load, store */
	btsq	$3, word		/* load, store */
	addq	word, %rax		/* load */
	cmpq	$0, word		/* load */
	testb	$1, word		/* load */
	movzbl	word, %eax		/* load */
	movq	%rax, word		/* store */
	movb	$1, word		/* store */
	setc	word			/* store */
	leaq	word(%rax), %rdx
	pushq	word			/* load, store */
	popq	word			/* load, store */
	pushfq				/* store */
	popfq				/* load */
	enter	$8, $0			/* store */
	leave				/* load */
	call	*pointer		/* load, store; branch; unknown target: a miss */
	imulq	word, %rax		/* load; multiply */
	xorl	%edx, %edx
	divl	%ebx			/* divide */
	movl	$word, %esi
	movl	$word, %edi
	lodsb				/* load; an iteration */
	stosb				/* store; an iteration */
	movsb				/* load, store; an iteration */
	nopw	word			/* no access */
""",
    tail="""
callee:	ret				/* load; branch, predicted */
	.section .bss
	.balign	64
word:	.skip	8
pointer:
	.skip	56
	.text
""",
    # The lines of word, pointer and stack are touched in the set-up.
    # Loads: 4 locked, add, bts, 4 plain, push, pop, popf, leave, call, imul, lodsb, movsb, ret.
    # Stores: 4 locked, add, bts, 3 plain, push, pop, pushf, enter, call, stosb, movsb.
    os=At(
        {
            "instructions": 31,
            "branches": 2,
            "branch-misses": 1,
            "loads": 4 + 2 + 4 + 2 + 2 + 1 + 1 + 2 + 1,
            "stores": 4 + 2 + 3 + 2 + 2 + 1 + 2,
        },
        {
            "simple": 29,
            "locked": 4,
            "multiply": 1,
            "divide": 1,
            "string_iteration": 3,
            "load": 19,
            "store": 16,
            "branch_miss": 1,
        },
    ),
)

PORTS = Guest(
    "ports-and-msrs",
    setup="kernel_setup",
    body="""
	movw	$0x3f8, %dx
	movb	$'a', %al
	outb	%al, %dx		/* exits */
	outb	%al, %dx		/* exits */
	movw	$0x3fd, %dx
	inb	%dx, %al		/* exits */
	rd	0x10			/* the TSC, 4 instructions, no exit */
	rdtsc
	rd	0x808			/* x2APIC TPR, no exit: APICv */
	wr	0x834, 0x400		/* LVTPC: 4 instructions, exits */
	rd	0x345			/* PERF_CAPABILITIES: 4 instructions, exits */
	pause
""",
    # 3 + 3 + (out, out, in among them) = 6; 4 + 1 + 4 + 4 + 4; pause.
    os=At(
        {"instructions": 24},
        {
            "simple": 3 + 3 + 3 + 3 + 3,
            "emulated:serialize": 3,
            "msr": 2,
            "emulated:msr": 2,
            "rdtsc": 1,
            "pause": 1,
        },
    ),
)

SELF_IPI = Guest(
    "self-ipi",
    setup="""
	kernel_setup
	gate	0x40, interrupt
""",
    body="""
	sti
	wr	0x83f, 0x40		/* SELF_IPI; delivered before the next instruction */
	cli
""",
    tail="""
interrupt:
	incq	taken
	wr	0x80b, 0		/* EOI */
	iretq
	.section .bss
	.balign	64
taken:	.skip	64
	.text
""",
    # sti, 4, cli; handler: inc, 4, iret. With APICv neither SELF_IPI nor EOI exits.
    os=At(
        {
            "instructions": 12,
            "branches": 1,
            "loads": 1 + 5,
            "stores": 1,
            "llc-references": 1,
            "llc-misses": 1,
        },
        {
            "simple": 2 + 3 + 1 + 3,
            "msr": 2,
            "interrupt": 1,
            "serialize": 1,
            "load": 6,
            "store": 1,
            "llc_miss": 1,
        },
    ),
)

HALT = Guest(
    "halt",
    setup="""
	kernel_setup
	gate	0x41, timer
	wr	0x832, 0x40041		/* LVTT: TSC deadline */
""",
    body="""
	rdtsc
	addl	$1000000, %eax
	adcl	$0, %edx
	movl	$0x6e0, %ecx
	wrmsr				/* TSC_DEADLINE: exits */
	sti
	hlt				/* exits; no counter runs until the timer fires */
	cli
""",
    tail="""
timer:	wr	0x80b, 0
	iretq
""",
    # 8 instructions; handler: 4, iret.
    os=At(
        {"instructions": 13, "branches": 1, "loads": 5},
        {
            "rdtsc": 1,
            "simple": 5 + 3,  # add, adc, mov, sti, cli; 3 movs of the handler
            "emulated:msr": 1,
            "emulated:simple": 1,  # hlt
            "msr": 1,
            "interrupt": 1,
            "serialize": 1,
            "load": 5,
        },
    ),
)

FAULTS = Guest(
    "faults-and-far-branches",
    setup="""
	kernel_setup
	gate	13, general_protection
	gate	6, invalid_opcode
	gate	0x42, software
""",
    body="""
	movl	$4, %esi
1:	movl	$0x38e, %ecx
	wrmsr				/* STATUS cannot be written: #GP, does not retire */
	ud2				/* does not retire */
	int	$0x42
	decl	%esi
	jnz	1b
	pushq	$KERNEL_CS
	pushq	$2f
	lretq
2:	movl	$3, %ecx
3:	loop	3b
	jrcxz	4f
	ud2
4:
""",
    tail="""
general_protection:
	addq	$2, 8(%rsp)
	addq	$8, %rsp
	iretq
invalid_opcode:
	addq	$2, (%rsp)
	iretq
software:
	iretq
""",
    # A round: mov, 3 of #GP, 2 of #UD, INT and its IRET, dec, jnz: 10 instructions; branches: 3
    # IRETs, INT, JNZ; loads: 2 adds and 3 * 5; stores: 2 adds. Behind: push, push, lret (2 loads, a
    # branch); mov and 3 LOOPs; JRCXZ. Misses: JNZ 2; LOOP goes taken, taken, not taken: 2; JRCXZ,
    # weakly not taken: 1.
    os=At(
        {
            "instructions": 1 + 4 * 10 + 3 + 4 + 1,
            "branches": 4 * 5 + 1 + 3 + 1,
            "loads": 4 * 17 + 2,
            "stores": 4 * 2 + 2,
            "branch-misses": 5,
        },
        {
            # mov; mov, 3 adds, INT, dec, jnz; pushes; mov and LOOPs; JRCXZ
            "simple": 1 + 4 * 7 + 2 + 4 + 1,
            "serialize": 4 * 3 + 1,
            "interrupt": 4 * 3,
            "load": 70,
            "store": 10,
            "branch_miss": 5,
        },
    ),
)

GUESTS = (
    LOOP,
    CALLS,
    RECURSION,
    STRINGS,
    SYSCALLS,
    PAGE_FAULTS,
    CPUIDS,
    COLD_LINES,
    MISPREDICTIONS,
    OPERANDS,
    PORTS,
    SELF_IPI,
    HALT,
    FAULTS,
)


def source_of(guest: Guest, events: tuple[str, ...], privileges: int) -> str:
    """Return the whole guest: GP counter i counts event i, fixed counters their own."""
    lines = [asm.PRELUDE, "_start:", guest.setup, f"wr {asm.GLOBAL_CTRL}, 0"]
    for i, event in enumerate(events):
        lines.append(f"wr {asm.EVTSEL0 + i}, {asm.EN | privileges | asm.EVENTS[event]}")
        lines.append(f"wr {asm.PMC0 + i}, 0")
    fixed = bool(privileges & asm.OS) | bool(privileges & asm.USR) << 1
    lines.append(f"wr {asm.FIXED_CTR_CTRL}, {fixed * 0x111}")
    lines += [f"wr {asm.FIXED_CTR0 + i}, 0" for i in range(3)]
    lines += [
        "wr 0x49, 1",  # IBPB: the predictor is as after reset
        f"wr {asm.GLOBAL_CTRL}, {7 << asm.FIXED | 0xF}",
        guest.body,
        "done: counting_off",
    ]
    lines += [f"keep_pmc {i}, {i}" for i in range(len(events))]
    lines += [f"keep_pmc {4 + i}, {1 << 30 | i}" for i in range(3)]
    lines += ["finish", guest.tail]
    return "\n".join(lines)


def ports_and_privileges() -> list[tuple[Guest, str]]:
    """Return every guest with both privileges, those with user code with each of them too."""
    pairs = [(guest, "both") for guest in GUESTS]
    pairs += [(guest, one) for guest in GUESTS for one in ("os", "usr") if guest.usr.events]
    return pairs


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
@pytest.mark.parametrize("events", EVENT_SETS, ids=["retired", "dynamic"])
@pytest.mark.parametrize(
    ("guest", "which"), ports_and_privileges(), ids=lambda v: getattr(v, "name", v)
)
def test_every_count_is_as_derived(
    guest: Guest, which: str, events: tuple[str, ...], mode: str, cpu: str
) -> None:
    privileges = PRIVILEGES[which]
    ran = asm.run(source_of(guest, events, privileges), mode=mode, cpu=cpu)
    check(ran, guest, events, privileges)


@pytest.mark.parametrize("cpu", asm.MORE_CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
@pytest.mark.parametrize("events", EVENT_SETS, ids=["retired", "dynamic"])
@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.name)
def test_counts_on_the_other_cpus(
    guest: Guest, events: tuple[str, ...], mode: str, cpu: str
) -> None:
    both = asm.OS | asm.USR
    ran = asm.run(source_of(guest, events, both), mode=mode, cpu=cpu)
    check(ran, guest, events, both)


@pytest.mark.parametrize("arrangement", ["max-fixed-4", "rfc2024", "none", "busy-host"])
@pytest.mark.parametrize("events", EVENT_SETS, ids=["retired", "dynamic"])
@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.name)
def test_counts_in_other_arrangements(
    guest: Guest, events: tuple[str, ...], arrangement: str
) -> None:
    """What is intercepted, and a host that has events of its own, change no count."""
    both = asm.OS | asm.USR
    given: dict = {
        "max-fixed-4": {"settings": ("kvm.max_fixed_counters=4",)},
        "rfc2024": {"settings": ("kvm.interception=rfc2024",)},
        "none": {"settings": ("kvm.interception=none",)},
        # On Sapphire Rapids four GP counters are left for these, which leave the guest out.
        "busy-host": {"host_perf": ("cycles:DH", "branches:DH", "instructions:H", "loads:H")},
    }[arrangement]
    ran = asm.run(source_of(guest, events, both), mode="mediated", cpu="sapphire-rapids", **given)
    check(ran, guest, events, both)
    if arrangement == "busy-host":
        ran = asm.run(
            source_of(guest, events, both), mode="emulated", cpu="sapphire-rapids", **given
        )
        check(ran, guest, events, both)


def check(ran: asm.Ran, guest: Guest, events: tuple[str, ...], privileges: int) -> None:
    """Hold a run against what was derived."""
    expected = {}
    for name in {*events, *asm.FIXED_EVENTS}:
        if name not in ("cycles", "ref-cycles"):
            expected[name] = _count(guest, name, privileges)
    seen = dict(zip([*events, *(f"fixed {n}" for n in asm.FIXED_EVENTS)], ran.results(7), strict=1))
    for name, value in seen.items():
        plain = name.removeprefix("fixed ")
        if plain in expected:
            assert value == expected[plain], name
        else:
            assert value in _cycles(guest, plain, privileges, ran), name
    for config, counter in ran.counters().items():
        assert counter.true_count == counter.counted, f"{config:#x}: {counter}"
        assert not counter.causes
        assert counter.wrong_reads == counter.unread == 0
        name = next(n for n, e in asm.EVENTS.items() if e == config & 0xFFFF)
        # The truth sums over the counters of an event: GP and fixed.
        assert counter.true_count == sum(
            value for shown, value in seen.items() if shown.removeprefix("fixed ") == name
        )
    assert len(ran.counters()) == len({*events, *asm.FIXED_EVENTS})
    assert ran.machine.silent_errors() == []


def _count(guest: Guest, name: str, privileges: int) -> int:
    frame = 4 if name == "instructions" else 0
    total = 0
    if privileges & asm.OS:
        total += guest.os.events.get(name, 0) + frame
    if privileges & asm.USR:
        total += guest.usr.events.get(name, 0)
    return total


def _cycles(guest: Guest, name: str, privileges: int, ran: asm.Ran) -> tuple[int, int]:
    """Return the two neighbours that a difference of two rounded-down totals can be."""
    timing, native = ran.config.timing, ran.config.mode == 0
    sub = 0
    if privileges & asm.OS:
        sub += guest.os.subcycles(timing, native=native) + 3 * timing["simple"]
        if native or not _intercepted(ran, asm.GLOBAL_CTRL):
            sub += timing["msr"]  # the WRMSR that enables
    if privileges & asm.USR:
        sub += guest.usr.subcycles(timing, native=native)
    exact = Fraction(sub, 64)
    if name == "ref-cycles":
        exact *= Fraction(timing["ref_num"], timing["ref_den"])
    return int(exact), int(exact) + 1


def _intercepted(ran: asm.Ran, msr: int) -> bool:
    return any(i.msr == msr and i.write for i in ran.config.kvm.intercepts)


# ---- other ways to start, stop and change a counter ----

each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)
NOPS = "\t.rept 50\n\tnop\n\t.endr\n"
START = f"{asm.PRELUDE}\n_start: wr 0x38f, 0\nwr 0x4c1, 0\nwr 0x309, 0\n"
SELECTOR = asm.EN | asm.OS | asm.EVENTS["instructions"]


@each_cpu
@each_mode
def test_a_selector_starts_and_stops(mode: str, cpu: str) -> None:
    """The selector's WRMSR follows the same rule: on is counted, off is not."""
    ran = asm.run(
        f"{START} wr 0x38f, 1\nwr 0x186, {SELECTOR}\n{NOPS} wr 0x186, 0\nkeep_pmc 0, 0\nfinish",
        mode=mode,
        cpu=cpu,
    )
    assert ran.result(0) == 1 + 50 + 3


@each_cpu
@each_mode
def test_fixed_ctr_ctrl_starts_and_stops(mode: str, cpu: str) -> None:
    ran = asm.run(
        f"{START} wr 0x38f, {1 << asm.FIXED}\nwr 0x38d, 1\n{NOPS} wr 0x38d, 0\n"
        f"keep_pmc 0, {1 << 30}\nfinish",
        mode=mode,
        cpu=cpu,
    )
    assert ran.result(0) == 1 + 50 + 3


@each_cpu
@each_mode
def test_the_same_selector_again_changes_nothing(mode: str, cpu: str) -> None:
    """[15] in the KVM notes. 4 instructions of the second WRMSR are counted like any other."""
    again = f"wr 0x186, {SELECTOR}\n"
    ran = asm.run(
        f"{START} wr 0x38f, 1\n{again}{NOPS}{again}{NOPS}counting_off\nkeep_pmc 0, 0\nfinish",
        mode=mode,
        cpu=cpu,
    )
    assert ran.result(0) == 1 + 50 + 4 + 50 + 3


@each_cpu
@each_mode
def test_a_counter_written_while_it_runs(mode: str, cpu: str) -> None:
    """The write takes effect and then retires: a read shows the value, 1, and what came."""
    ran = asm.run(
        f"{START} wr 0x186, {SELECTOR}\nwr 0x38f, 1\n{NOPS} wr 0x4c1, 1000\n{NOPS}"
        "pmc 0\nmovq %rax, %rbx\ncounting_off\nkeep_pmc 1, 0\nkeep 0, %rbx\nfinish",
        mode=mode,
        cpu=cpu,
    )
    # pmc: a mov before RDPMC, then RDPMC, shl, or, mov, and 3 before the last WRMSR.
    assert ran.results(2) == [1000 + 1 + 50 + 1, 1000 + 1 + 50 + 1 + 4 + 3]
    (counter,) = ran.counters().values()
    # First interval: WRMSR that enables, 50, 3 before the rewrite. Then what is above.
    assert counter.true_count == counter.counted == 54 + 59
    assert counter.reads == 2
    assert counter.unread == 1


@each_cpu
@each_mode
def test_a_counter_changes_its_event(mode: str, cpu: str) -> None:
    """The value goes on; the truth and what was counted are told apart by event."""
    branches = asm.EN | asm.OS | asm.EVENTS["branches"]
    jumps = "\t.rept 20\n\tjmp 1f\n1:\n\t.endr\n"
    ran = asm.run(
        f"{START} wr 0x186, {SELECTOR}\nwr 0x38f, 1\n{NOPS} wr 0x186, {branches}\n{jumps}"
        "counting_off\nkeep_pmc 0, 0\nfinish",
        mode=mode,
        cpu=cpu,
    )
    # Instructions: enabling WRMSR, 50, 3; the selector's WRMSR is no branch.
    assert ran.result(0) == 54 + 20
    counters = ran.counters()
    assert {c & 0xFFFF: (k.true_count, k.counted) for c, k in counters.items()} == {
        asm.EVENTS["instructions"]: (54, 54),
        asm.EVENTS["branches"]: (20, 20),
    }


@each_cpu
@each_mode
@pytest.mark.parametrize("interval", [3, 7, 50])
def test_stopped_and_started_again_and_again(mode: str, cpu: str, interval: int) -> None:
    """100 rounds of on and off through GLOBAL_CTRL: nothing slips through."""
    ran = asm.run(
        f"""
	{START}
	wr	0x38d, 1
	wr	0x186, {SELECTOR}
	movl	$100, %esi
1:	wr	0x38f, {1 << asm.FIXED | 1}
	.rept	{interval}
	nop
	.endr
	counting_off
	nop
	cpuid
	decl	%esi
	jnz	1b
	keep_pmc 0, 0
	keep_pmc 1, 0x40000000
	finish
""",
        mode=mode,
        cpu=cpu,
    )
    assert ran.results(2) == [100 * (1 + interval + 3)] * 2


@each_cpu
@each_mode
def test_all_counters_at_once(mode: str, cpu: str) -> None:
    """Every GP counter on instructions, and fixed 0: all agree.

    In the emulated design host perf has the choice of counters; the guest cannot tell.
    """
    guest = asm.config(b"", mode=mode, cpu=cpu).guest
    gp = guest.nr_gp
    lines = [START]
    for i in range(gp):
        lines += [f"wr {asm.PMC0 + i}, {1000 * i}", f"wr {asm.EVTSEL0 + i}, {SELECTOR}"]
    lines += ["wr 0x38d, 0x111", f"wr 0x38f, {7 << asm.FIXED | (1 << gp) - 1}", NOPS, "cpuid"]
    lines += [NOPS, "counting_off"]
    lines += [f"keep_pmc {i}, {i}" for i in range(gp)]
    lines += [f"keep_pmc {gp}, {1 << 30}", "finish"]
    ran = asm.run("\n".join(lines), mode=mode, cpu=cpu)
    expected = 1 + 50 + 1 + 50 + 3
    assert ran.results(gp + 1) == [1000 * i + expected for i in range(gp)] + [expected]
    assert ran.machine.silent_errors() == []
