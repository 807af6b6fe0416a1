# SPDX-License-Identifier: Apache-2.0
"""Small guests in assembly: from text to an image, to a machine that has run, to what it left.

    ran = run(PRELUDE + "_start: ... finish", mode="mediated", cpu="skylake-sp")
    ran.result(0)       # the 64-bit word that the guest left at results + 0

A guest is entered at ``_start`` in long mode, CPL 0, without an IDT (docs/design.md 5). PRELUDE has
macros for what every guest needs; a guest with an IDT, a TSS or user code says ``kernel_setup``.
Everything here is written out, so that every instruction between two points can be counted by
hand.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pmupass.config import Filter, Kvm, MachineConfig, Mode, Pmu, SwitchPolicy
from pmupass.core import Machine
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.policy import interception, machine_msrs
from pmupass.records import Stop
from pmupass.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pmupass.records import Counter

# Another switch policy for the whole suite: PMUPASS_SWITCH=entry-exit pytest tests/conformance
SWITCH = os.environ.get("PMUPASS_SWITCH", "upstream")
MODES = ("native", "emulated", "mediated")
# The two CPUs that differ in all that the machine's code looks at: perfmon version, numbers of
# counters, exit-save of GLOBAL_CTRL. The whole suite runs on them.
CPUS = ("sapphire-rapids", "skylake-sp")
# The others differ from these in data: exact counts, exits and PMU switches run on them too.
MORE_CPUS = (
    "cascadelake-sp",
    "icelake-sp",
    "emerald-rapids",
    "granite-rapids",
    "sierra-forest",
)
# What is exact on every CPU is exact where the silicon's errata are put aside; test_errata.py says
# what they add, and sets the amounts itself.
NO_ERRATA = {
    "sierra-forest": tuple(
        f"cpu.overcount_{side}_{event}=0"
        for side in ("exit", "entry")
        for event in ("instructions", "branches")
    ),
    **dict.fromkeys(("zen2", "zen3", "zen4", "zen5"), ("cpu.overcount_entry_branches=0",)),
}

RESULTS = 0x300000  # section .results: what the guest leaves for the test
TEXT = 0x100000

PERFCTR0, PMC0, EVTSEL0, FIXED_CTR0 = 0xC1, 0x4C1, 0x186, 0x309
FIXED_CTR_CTRL, GLOBAL_STATUS, GLOBAL_CTRL, OVF_CTRL = 0x38D, 0x38E, 0x38F, 0x390
USR, OS, INT, EN = 1 << 16, 1 << 17, 1 << 20, 1 << 22
FIXED = 32  # a fixed counter's bit in GLOBAL_CTRL
WIDTH = (1 << 48) - 1

# Encodings that both CPUs feed; names as in base_events.def.
EVENTS = {
    "instructions": 0x00C0,
    "branches": 0x00C4,
    "loads": 0x81D0,
    "stores": 0x82D0,
    "branch-misses": 0x00C5,
    "llc-references": 0x4F2E,
    "llc-misses": 0x412E,
    "cycles": 0x003C,
    "ref-cycles": 0x0300,
}
# The event of each fixed counter, as the truth names it.
FIXED_EVENTS = ("instructions", "cycles", "ref-cycles")

# The sanitizer pass preloads its runtime into Python; the compiler must run without it.
_PRELOADED = ("LD_PRELOAD", "PYTHONMALLOC", "ASAN_OPTIONS", "UBSAN_OPTIONS")

PRELUDE = r"""
	.set	RESULTS, 0x300000
	.set	KERNEL_CS, 0x08
	.set	KERNEL_DS, 0x10
	.set	USER_DS, 0x23
	.set	USER_CS, 0x2b
	.set	TSS_SELECTOR, 0x30

	/* wrmsr of a constant: 4 instructions, no memory */
	.macro	wr msr, value=0
	movl	$\msr, %ecx
	movl	$((\value) & 0xffffffff), %eax
	movl	$(((\value) >> 32) & 0xffffffff), %edx
	wrmsr
	.endm

	/* rdmsr into RAX */
	.macro	rd msr
	movl	$\msr, %ecx
	rdmsr
	shlq	$32, %rdx
	orq	%rdx, %rax
	.endm

	/* RDPMC of ECX's counter into RAX: 4 instructions; the second one reads */
	.macro	pmc ecx
	movl	$\ecx, %ecx
	rdpmc
	shlq	$32, %rdx
	orq	%rdx, %rax
	.endm

	.macro	keep slot, reg=%rax
	movq	\reg, RESULTS + 8 * (\slot)
	.endm

	.macro	keep_pmc slot, ecx
	pmc	\ecx
	keep	\slot
	.endm

	/* All counters off: 3 instructions before the WRMSR that is not counted any more */
	.macro	counting_off
	movl	$0x38f, %ecx
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	.endm

	.macro	finish value=0
	movl	$\value, %eax
	outl	%eax, $0xf4
	.endm

	.macro	say char
	movw	$0x3f8, %dx
	movb	$\char, %al
	outb	%al, %dx
	.endm

	/* An interrupt gate; uses RAX and RDX */
	.macro	gate vector, handler, ist=0, dpl=0
	movq	$\handler, %rax
	movl	%eax, %edx
	movw	%dx, idt + 16 * \vector
	movw	$KERNEL_CS, idt + 16 * \vector + 2
	movw	$(0x8e00 | (\dpl) << 13 | (\ist)), idt + 16 * \vector + 4
	shrq	$16, %rax
	movw	%ax, idt + 16 * \vector + 6
	shrq	$16, %rax
	movl	%eax, idt + 16 * \vector + 8
	.endm

	/* GDT, IDT, TSS, stacks, page tables that user code may use, x2APIC; \syscall: SYSCALL. */
	/* The topmost lines of the stacks are touched. */
	.macro	kernel_setup syscall=0
	lgdt	gdt_pointer
	movl	$KERNEL_DS, %eax
	movl	%eax, %ss
	movl	%eax, %ds
	movl	%eax, %es
	movq	$tss, %rax
	movw	%ax, gdt + TSS_SELECTOR + 2
	shrq	$16, %rax
	movb	%al, gdt + TSS_SELECTOR + 4
	movb	%ah, gdt + TSS_SELECTOR + 7
	movl	$TSS_SELECTOR, %eax
	ltr	%ax
	lidt	idt_pointer
	movq	$pml4, %rax
	movq	%rax, %cr3
	movq	$kernel_stack_top, %rsp
	.irp	line, 64, 128, 192, 256
	movq	$0, kernel_stack_top - \line
	movq	$0, user_stack_top - \line
	movq	$0, ist_stack_top - \line
	.endr
	wr	0x1b, 0xfee00d00
	wr	0x80f, 0x1ff
	.if	\syscall
	wr	0xc0000080, 0xd01
	wr	0xc0000081, 0x001b000800000000
	movl	$0xc0000082, %ecx
	movl	$syscall_entry, %eax
	xorl	%edx, %edx
	wrmsr
	wr	0xc0000084, 0x700
	.endif
	.endm

	/* To user code: IRETQ with interrupts as in \flags. The frame is stored by 5 pushes. */
	.macro	user_frame entry, flags=2
	pushq	$USER_DS
	pushq	$user_stack_top
	pushq	$\flags
	pushq	$USER_CS
	pushq	$\entry
	.endm

	.section .results, "aw", @nobits
	.globl	results
results:
	.skip	65536

	.data
	.balign	4096
pml4:	.quad	pdpt + 7
	.skip	4088
pdpt:	.quad	pd + 7
	.skip	4088
pd:	.set	page, 0
	.rept	512
	.quad	page << 21 | 0x87
	.set	page, page + 1
	.endr
gdt:	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0
	.quad	0x00cff3000000ffff
	.quad	0x00affb000000ffff
	.quad	0x0000890000000067, 0
gdt_pointer:
	.word	0x3f
	.quad	gdt
	.balign	16
idt:	.skip	4096
idt_pointer:
	.word	0xfff
	.quad	idt
	.balign	16
tss:	.long	0
	.quad	kernel_stack_top, 0, 0, 0
	.quad	ist_stack_top, 0, 0, 0, 0, 0, 0
	.skip	10
	.word	104
	.section .stacks, "aw", @nobits
	.balign	4096
	.skip	8192
kernel_stack_top:
	.skip	8192
user_stack_top:
	.skip	8192
ist_stack_top:
	.skip	8192

	.text
	.globl	_start
"""


# An image with a multiboot header, entered in 32-bit code at _start.
MULTIBOOT = r"""
	.set	RESULTS, 0x300000
	.section .results, "aw", @nobits
	.skip	4096
	.section .header, "ax"
	.balign	4
	.long	0x1badb002, 0, -0x1badb002
	.code32
	.globl	_start
_start:
"""

# The macro wr of PRELUDE, for 32- and 16-bit code.
WR_32 = r"""
	.macro	wr msr, value
	movl	$\msr, %ecx
	movl	$\value, %eax
	xorl	%edx, %edx
	wrmsr
	.endm
"""

# Exits that KVM completes: MOV, then ROUNDS times XOR, CPUID, DEC and the branch.
CPUID_ROUNDS = 40
CPUID_STORM = f"""
	movl	${CPUID_ROUNDS}, %esi
1:	xorl	%eax, %eax
	cpuid
	decl	%esi
	jnz	1b
"""
CPUID_STORM_INSTRUCTIONS, CPUID_STORM_BRANCHES = 1 + 4 * CPUID_ROUNDS, CPUID_ROUNDS


# A guest that goes through a table of accesses and leaves, for each, whether it was #GP and what it
# read. RDPMC at CPL 3 goes through IRETQ and SYSCALL.
_SCRIPT = r"""
_start:	kernel_setup 1
	gate	13, general_protection
	xorl	%ebx, %ebx
	xorl	%ebp, %ebp
next:	movq	script(%rbx), %r8
	movq	script + 8(%rbx), %rcx
	movq	script + 16(%rbx), %rax
	movq	%rax, %rdx
	shrq	$32, %rdx
	movl	%eax, %eax
	xorl	%r15d, %r15d
	jmp	*handlers(, %r8, 8)
do_wr:	wrmsr
	xorl	%eax, %eax
	xorl	%edx, %edx
	jmp	done
do_rd:	rdmsr
	jmp	done
do_pmc:	rdpmc
	jmp	done
do_pmc3:
	user_frame user
	iretq
user:	rdpmc
	syscall
syscall_entry:
	movq	$kernel_stack_top, %rsp
	jmp	done
do_pce:	movq	%cr4, %rdx
	andq	$~0x100, %rdx
	shlq	$8, %rax
	orq	%rax, %rdx
	movq	%rdx, %cr4
	xorl	%eax, %eax
	xorl	%edx, %edx
	jmp	done
do_spin:
1:	decl	%eax
	jnz	1b
	xorl	%edx, %edx
done:	shlq	$32, %rdx
	orq	%rdx, %rax
	movq	%rax, RESULTS(%rbp)
	movq	%r15, RESULTS + 8(%rbp)
	addq	$16, %rbp
	addq	$24, %rbx
	cmpq	$script_end - script, %rbx
	jb	next
	finish

general_protection:		/* skip it: WRMSR, RDMSR and RDPMC have two bytes */
	movl	$1, %r15d
	addq	$2, 8(%rsp)
	addq	$8, %rsp
	iretq

	.data
	.balign	8
handlers:
	.quad	do_wr, do_rd, do_pmc, do_pmc3, do_pce, do_spin
script:
"""
_OPS = ("wr", "rd", "pmc", "pmc3", "pce", "spin")
GP = "#GP"


def script(ops: Sequence[tuple]) -> str:
    """Return a guest that does accesses, one after the other.

    ``("wr", msr, value)``, ``("rd", msr)``, ``("pmc", ecx)`` at CPL 0, ``("pmc3", ecx)`` at CPL 3,
    ``("pce", 0 or 1)`` sets CR4.PCE, ``("spin", n)`` loops n times (2 n instructions, n branches).
    """
    lines = []
    for name, *arguments in ops:
        words = [0, *arguments] if name in ("pce", "spin") else [*arguments, 0]
        first, second = words[:2]
        lines.append(f"\t.quad\t{_OPS.index(name)}, {first:#x}, {second:#x}")
    return "\n".join([PRELUDE, _SCRIPT, *lines, "script_end:"])


def script_results(ran: Ran, count: int) -> list[int | str]:
    """Return what each access gave: a value (writes: 0), or GP."""
    words = ran.results(2 * count)
    return [GP if words[2 * i + 1] else words[2 * i] for i in range(count)]


def run_script(ops: Sequence[tuple], *, mode: str, cpu: str, **given: object) -> list[int | str]:
    """Run accesses in a guest and return what each gave: a value (writes: 0), or GP."""
    return script_results(run(script(ops), mode=mode, cpu=cpu, **given), len(ops))


@functools.cache
def assemble(source: str) -> bytes:
    """Return the image of a guest; assembled once a session."""
    environment = {k: v for k, v in os.environ.items() if k not in _PRELOADED}
    with tempfile.TemporaryDirectory(prefix="pmupass-asm-") as folder:
        out = Path(folder) / "guest.elf"
        done = subprocess.run(
            [
                "gcc",
                "-nostdlib",
                "-static",
                "-no-pie",
                f"-Wl,-Ttext={TEXT:#x}",
                f"-Wl,--section-start=.results={RESULTS:#x}",
                "-Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments",
                "-o",
                str(out),
                "-x",
                "assembler",
                "-",
            ],
            input=source,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise AssertionError(f"the guest does not assemble:\n{done.stderr}")
        return out.read_bytes()


@functools.cache
def multiboot_image(source: str, *, elf32: bool = True) -> bytes:
    """Return a multiboot image: assembled for x86-64, then made ELF32."""
    environment = {k: v for k, v in os.environ.items() if k not in _PRELOADED}
    with tempfile.TemporaryDirectory(prefix="pmupass-multiboot-") as folder:
        commands = [
            [
                *("gcc", "-nostdlib", "-static", "-no-pie", "-x", "assembler", "-"),
                *("-o", "guest.elf", "-Wl,--section-start=.header=0x100000"),
                f"-Wl,--section-start=.results={RESULTS:#x}",
                "-Wl,--section-start=.tables=0x200000",
                "-Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096,--no-warn-rwx-segments",
            ],
        ]
        if elf32:
            commands.append(["objcopy", "-O", "elf32-i386", "guest.elf"])
        for command in commands:
            done = subprocess.run(
                command,
                input=source,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
        return (Path(folder) / "guest.elf").read_bytes()


@functools.cache
def _plan(cpu: str, settings: tuple[str, ...], host_perf: tuple[str, ...]) -> Plan:
    options = Options(
        "guest",
        cpu=cpu,
        host=False,
        host_perf=host_perf,
        switch=SWITCH,
        settings=("guest.memory_mb=16", *NO_ERRATA.get(cpu, ()), *settings),
    )
    return Plan(options, Workload("guest", "a guest of the test", data=b"guest"))


@functools.cache
def _config(
    cpu: str, mode: str, settings: tuple[str, ...], host_perf: tuple[str, ...]
) -> MachineConfig:
    return _plan(cpu, settings, host_perf).config(Mode[mode.upper()])


def config(
    image: bytes,
    *,
    mode: str,
    cpu: str,
    settings: Sequence[str] = (),
    host_perf: Sequence[str] = (),
    filter: Filter | None = None,  # noqa: A002
    **changes: object,
) -> MachineConfig:
    """Return the configuration of a machine with this image."""
    made = _config(cpu, mode, tuple(settings), tuple(host_perf))
    if filter is not None:
        changes["kvm"] = dataclasses.replace(made.kvm, filter=filter)
    return dataclasses.replace(made, image=image, **changes)  # type: ignore[arg-type]


def kvm_for(made: MachineConfig, guest: Pmu) -> Kvm:
    """Return KVM's configuration with the intercepts that a guest with this PMU needs."""
    rows = interception.table(made.hw, guest, mode=Mode(made.mode))
    return dataclasses.replace(
        made.kvm,
        intercepts=tuple(interception.msr_intercepts([*rows, *machine_msrs.rows(apicv=True)])),
        rdpmc_intercept=interception.rdpmc_intercepted(rows),
    )


def lazy(made: MachineConfig) -> Kvm:
    """Return KVM's configuration under the lazy switch policy."""
    return dataclasses.replace(made.kvm, switch_policy=SwitchPolicy.LAZY)


@dataclass
class Ran:
    """A machine that has run to its end."""

    machine: Machine
    stop: Stop
    config: MachineConfig

    def result(self, slot: int) -> int:
        """Return a 64-bit word that the guest left."""
        return self.results(1, slot)[0]

    def results(self, count: int, first: int = 0) -> list[int]:
        """Return 64-bit words that the guest left."""
        raw = self.machine.physical(RESULTS + 8 * first, 8 * count)
        return [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]

    def counters(self) -> dict[int, Counter]:
        """Return what each guest event was, by its encoding with USR and OS."""
        return {counter.config: counter for counter in self.machine.counters()}

    def exits(self) -> dict[str, int]:
        """Return the VM-exits by reason, those of work profiles left out."""
        return {e.reason: e.count - e.profile for e in self.machine.exits() if e.count > e.profile}

    def trace(self, name: str) -> list[tuple[int, int, int, int, int]]:
        """Return the records of one kind: TSC, x, a, b, c."""
        return [(t, x, a, b, c) for t, kind, x, a, b, c in self.machine.trace() if kind == name]


def readout(machine: Machine) -> dict[str, Any]:
    """Return everything that can be read of a machine."""
    parts = ("guest", "serial", "report", "counters", "silent_errors", "pmi", "exits", "accesses")
    parts += ("switch", "costs", "host_events", "stats", "trace", "invariant")
    return {part: getattr(machine, part)() for part in parts}


def run_image(image: bytes, *, mode: str, cpu: str, blocks: int = 1 << 40, **given: object) -> Ran:
    """Run an image to its end and return the machine."""
    made = config(image, mode=mode, cpu=cpu, **given)  # type: ignore[arg-type]
    machine = Machine(made)
    stop = Stop.BUDGET
    while stop is Stop.BUDGET:
        stop = machine.run(blocks)
    assert stop is not Stop.INVARIANT, machine.invariant()
    return Ran(machine, stop, made)


def run(source: str, *, mode: str, cpu: str, **given: object) -> Ran:
    """Assemble a guest, run it to its end and make sure that it exited with 0."""
    ran = run_image(assemble(source), mode=mode, cpu=cpu, **given)  # type: ignore[arg-type]
    info = ran.machine.guest()
    assert ran.stop is Stop.EXIT, f"{ran.stop!r} at {info.rip:#x} {info.bytes.hex(' ')}"
    assert info.exit_value == 0, f"exit value {info.exit_value:#x}, serial {ran.machine.serial()!r}"
    return ran
