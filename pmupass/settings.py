# SPDX-License-Identifier: Apache-2.0
"""The knobs of ``--set key=value``: what there is, of which type, and what it is by default.

A key stands in a namespace. ``kvm.``, ``guest.`` and ``host.`` keys are listed here. ``cpu.``
overrides a field of the CPU model, ``cost.`` the cycles of one entry of the cost table, and
``profile.`` a rate of the work profile: their names come from the data, so they are checked where
the data is loaded.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmupass.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Scalar = str | int | bool
OPEN_NAMESPACES = {
    "cpu": "a field of the CPU model",
    "cost": "the cycles of one kernel function",
    "profile": "a rate of the work profile per 2^20 instructions",
}
# Of --switch, the default first.
SWITCH_POLICIES = {
    "upstream": "around the inner run loop, as Linux 7.0; exits of the fastpath do not switch",
    "entry-exit": "at each VM-entry and VM-exit, as the mediated vPMU's first series",
    "vcpu-loop": "around the vCPU loop: back when the thread goes out or to user space",
    "lazy": "a put that waits until the host needs the PMU, a load until the guest does",
    "enlightened": "as upstream, moving only what can make a difference",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One key. ``default`` of None: it depends on the workload or the CPU, see ``doc``."""

    key: str
    kind: type
    default: Scalar | None
    doc: str
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 1 << 62

    @property
    def values(self) -> tuple[str, ...]:
        """Return the values to choose from, none where there is a range."""
        return ("0", "1") if self.kind is bool else self.choices

    def show(self, value: Scalar) -> str:
        """Return a value as it is written after ``--set KEY=``."""
        return str(int(value)) if self.kind is bool else str(value)

    def parse(self, text: str, asked: str = "") -> Scalar:
        """Return the value that ``text`` says; UsageError names the valid ones.

        ``asked`` is how it was asked for, if not by ``--set``.
        """
        asked = asked or f"--set {self.key}={text}"
        if self.kind is bool:
            if text in ("1", "true", "on", "yes"):
                return True
            if text in ("0", "false", "off", "no"):
                return False
            raise UsageError(f"{asked}: valid values are 1 and 0")
        if self.choices:
            if text in self.choices:
                return text
            raise UsageError(
                f"{asked}: valid values are {', '.join(self.choices)}" + near(text, self.choices)
            )
        if self.kind is int:
            try:
                value = int(text, 0)
            except ValueError:
                value = self.least - 1
            if not self.least <= value <= self.most:
                raise UsageError(
                    f"{asked}: valid values are whole numbers from {self.least} to {self.most}"
                )
            return value
        return text


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "kvm.interception",
        str,
        "upstream",
        "which accesses a mediated vPMU intercepts: as Linux 7.0 does, as the RFC of 2024 did "
        "(all direct but selectors and FIXED_CTR_CTRL), or none",
        choices=("upstream", "rfc2024", "none"),
    ),
    Setting("kvm.max_fixed_counters", int, 3, "fixed counters KVM offers a guest at most", most=4),
    Setting(
        "kvm.max_gp_counters", int, 8, "GP counters KVM offers a guest at most", least=1, most=8
    ),
    Setting(
        "kvm.force_emulation_prefix",
        int,
        0,
        "KVM emulates the instruction behind ud2 and the bytes 6b 76 6d, as its module parameter "
        "says: 0 no, 1 yes, 2 or 3 with RFLAGS.RF cleared first, so that code breakpoints hit",
        most=3,
    ),
    Setting(
        "kvm.apicv",
        bool,
        None,
        "EOI, TPR and APIC reads without exits: APICv, on AMD's CPUs AVIC (default as Linux has "
        "it: 1, but 0 on zen2 and zen3)",
    ),
    Setting(
        "kvm.enable_pmu",
        bool,
        default=True,
        doc="KVM's module parameter: without it no guest has a PMU, and CPUID shows none",
    ),
    Setting(
        "kvm.cap_pmu_disable",
        bool,
        default=False,
        doc="the VMM turns the VM's PMU off (KVM_CAP_PMU_CAPABILITY with KVM_PMU_CAP_DISABLE) and "
        "leaves CPUID as KVM offers it",
    ),
    Setting(
        "kvm.irqchip",
        str,
        "kernel",
        "who models the interrupt controllers: KVM, KVM the local APIC alone (split), or the VMM "
        "(userspace: no PMIs, and no mediated vPMU)",
        choices=("kernel", "split", "userspace"),
    ),
    Setting(
        "kvm.pmi",
        str,
        "vector",
        "how the PMIs of a mediated guest reach KVM: on a vector of their own as in Linux 7.0, or "
        "as NMIs, where late ones are lost",
        choices=("vector", "nmi"),
    ),
    Setting(
        "kvm.event_reuse",
        bool,
        default=True,
        doc="the emulated vPMU resumes the host event of a counter whose selector is the same, as "
        "since Linux 5.5; 0: it releases the event and creates another each time",
    ),
    Setting(
        "kvm.pmc_walk",
        str,
        "upstream",
        "which counters KVM looks at for an instruction that it completes: upstream, those that "
        "may count it; pre-6.9, all of them one after the other, before and after that version",
        choices=("upstream", "pre-6.9"),
    ),
    Setting(
        "kvm.elide_wrmsr",
        bool,
        default=True,
        doc="a PMU load leaves out writes of counters that hold their value already, as the "
        "mediated vPMU's series does since its version 5",
    ),
    Setting(
        "kvm.lazy",
        str,
        "both",
        "what --switch lazy puts off: the put, until somebody else needs the PMU; the load, until "
        "the guest touches it; or both",
        choices=("both", "put", "load"),
    ),
    Setting(
        "kvm.lazy_idle_loads",
        int,
        None,
        "--switch lazy puts a load off after so many in a row with nothing in the guest that could "
        "count, and no access that had to wait for one (default: 8; 0 where GLOBAL_CTRL exits)",
        most=1_000_000,
    ),
    Setting(
        "kvm.pmu_hint",
        bool,
        default=False,
        doc="--switch enlightened: KVM offers guests an MSR in which they say what counters they "
        "use; the built-in guests do (pmupass' own proposal)",
    ),
    Setting(
        "kvm.msr_filter",
        str,
        None,
        "file with a filter for KVM_X86_SET_MSR_FILTER (default: no filter)",
    ),
    Setting(
        "kvm.ignore_msrs",
        bool,
        default=False,
        doc="KVM's module parameter: MSRs that it does not know read 0 and writes of them are "
        "lost, for guest and VMM, where the guest gets #GP otherwise",
    ),
    Setting(
        "kvm.enable_vmware_backdoor",
        bool,
        default=False,
        doc="KVM's module parameter: the pseudo counters of RDPMC, which then always exits",
    ),
    Setting(
        "kvm.in_txcp_period",
        bool,
        default=False,
        doc="an IN_TXCP event of an emulated guest has a sample period like any other, as before "
        "2017: host perf refuses one below 2^31-1 (-EOPNOTSUPP), and nobody tells the guest",
    ),
    Setting(
        "kvm.fault_counter_write",
        str,
        "none",
        "a fault: what KVM takes of an intercepted write to IA32_PERFCTRn, of which hardware takes "
        "bits 31:0 and extends their sign: zero-extended, these bits; 31-bit, bits 30:0",
        choices=("none", "zero-extended", "31-bit"),
    ),
    Setting(
        "guest.cpus",
        int,
        1,
        "CPUs of the guest; each of a built-in guest does all the work and opens all the events",
        least=1,
        most=8,
    ),
    Setting(
        "host.cpus",
        int,
        None,
        "pCPUs of the host (default: as many as all guests have CPUs, so that each has its own); "
        "native has no host",
        least=1,
        most=8,
    ),
    Setting(
        "host.hz", int, 1000, "ticks a second of the host, while it has one", least=100, most=1000
    ),
    Setting(
        "host.slice_us",
        int,
        2800,
        "time slice of a thread on a pCPU that others want too, us; it ends at the tick behind it",
        least=100,
        most=1_000_000,
    ),
    Setting(
        "host.tasks",
        int,
        0,
        "threads of the host on each pCPU that compute in user mode and take turns with vCPUs",
        most=4,
    ),
    Setting(
        "host.task_run_us",
        int,
        0,
        "they compute so long and sleep, us; 0: they never sleep",
        most=1_000_000,
    ),
    Setting(
        "host.task_sleep_us", int, 1000, "how long they sleep then, us", least=1, most=1_000_000
    ),
    Setting(
        "host.migrate_us",
        int,
        0,
        "each so many us of the TSC the threads of all vCPUs are moved, each to the next pCPU, as "
        "by sched_setaffinity(); 0: they stay where they are",
        most=1_000_000,
    ),
    Setting(
        "host.mux_interval_ms",
        int,
        1,
        "host perf's perf_event_mux_interval_ms: flexible events without a counter take turns, ms",
        least=1,
        most=10000,
    ),
    Setting(
        "host.nmi_watchdog",
        str,
        "none",
        "the host's hard lockup detector: perf, a CPU-pinned cycles event on each pCPU that counts "
        "guests too; buddy, a timer; hpet, a timer and an NMI that takes no counter",
        choices=("none", "perf", "buddy", "hpet"),
    ),
    Setting(
        "host.watchdog_thresh",
        int,
        10,
        "kernel.watchdog_thresh, s: the event's period and the NMI's; the timer has 2/5 of it",
        least=1,
        most=60,
    ),
    Setting(
        "host.fault_event_create",
        int,
        0,
        "a fault: one in N perf_event_create_kernel_counter() of a vCPU's thread fails with "
        "-EOPNOTSUPP; 1: all, 0: none",
        most=1_000_000,
    ),
    Setting(
        "host.fault_event_period",
        int,
        0,
        "a fault: one in N perf_event_period() of a vCPU's thread fails with -EINVAL",
        most=1_000_000,
    ),
    Setting(
        "host.fault_overflow",
        int,
        0,
        "a fault: host perf takes the PMI, and of one in N overflows of a vCPU's events KVM is not "
        "told",
        most=1_000_000,
    ),
    Setting(
        "host.fault_late_reprogram",
        int,
        0,
        "a fault: KVM's requests to reprogram counters through host perf (KVM_REQ_PMU) are served "
        "N VM-entries late",
        most=1_000_000,
    ),
    Setting(
        "host.quantum_us",
        int,
        20,
        "how far one pCPU may be ahead of another in the model, us of the TSC",
        least=1,
        most=1000,
    ),
    Setting(
        "guest.hz", int, 1000, "timer interrupts a second in the guest, 0 for none", most=10000
    ),
    Setting(
        "guest.linux",
        str,
        "6.9",
        "how the guest's tick adjusts sampling periods: GLOBAL_CTRL off and on around each event "
        "(6.8) or once per PMU (6.9)",
        choices=("6.8", "6.9"),
    ),
    Setting(
        "guest.perf_work",
        int,
        100,
        "per cent of what Linux's kernel retires for perf and its ticks, beside the accesses to "
        "the PMU (pmupass list kernel-work)",
        most=1000,
    ),
    Setting(
        "guest.tasks",
        int,
        1,
        "tasks of each of the guest's CPUs, which take turns; events are those of the first, as "
        "without perf's -a",
        least=1,
        most=2,
    ),
    Setting(
        "guest.slice_us",
        int,
        3000,
        "how long a task of the guest runs before the other, us: Linux's base slice of 8 CPUs",
        least=10,
        most=1_000_000,
    ),
    Setting("guest.mux_interval_ms", int, 1, "multiplexing interval, ms", least=1, most=10000),
    Setting(
        "guest.pmu",
        str,
        None,
        "leave the guest's PMU alone, or run the events (default idle for exit-storm, else busy)",
        choices=("idle", "busy"),
    ),
    Setting(
        "guest.pmu_version",
        int,
        None,
        "PMU version in the guest's CPUID, natively the silicon's; 0: no PMU (default: what KVM "
        "offers, 2; natively what the CPU has)",
        most=5,
    ),
    Setting("guest.gp_counters", int, None, "GP counters of this guest (default: all)", most=8),
    Setting(
        "guest.fixed_counters", int, None, "fixed counters of this guest (default: all)", most=4
    ),
    Setting(
        "guest.gp_width",
        int,
        None,
        "bits of the GP counters in the guest's CPUID, natively the silicon's (default: the CPU's)",
        least=32,
        most=64,
    ),
    Setting(
        "guest.fixed_width",
        int,
        None,
        "bits of the fixed counters, likewise",
        least=32,
        most=64,
    ),
    Setting(
        "guest.fw_write",
        bool,
        None,
        "full-width counter writes (MSR 0x4c1 and on), a bit of PERF_CAPABILITIES (default 1)",
    ),
    Setting(
        "guest.pdcm",
        bool,
        None,
        "CPUID says that there is a PERF_CAPABILITIES; without it, no full-width writes (default "
        "1)",
    ),
    Setting(
        "guest.arch_events",
        int,
        None,
        "architectural events that CPUID 0xA speaks of, EAX[31:24] (default: the CPU's)",
        most=32,
    ),
    Setting(
        "guest.unavailable_events",
        int,
        None,
        "architectural events that CPUID 0xA takes away, EBX: bit 0 cycles, 1 instructions, 2 "
        "reference cycles, 3 and 4 last-level cache, 5 and 6 branches and misses, 7 slots (default "
        "none)",
        most=0xFFFF_FFFF,
    ),
    Setting(
        "guest.pebs",
        bool,
        None,
        "PEBS for a guest of the emulated vPMU: registers, availability, PMIs; no records are "
        "written (default 0)",
    ),
    Setting(
        "guest.lbr",
        bool,
        None,
        "the legacy LBR for a guest of the emulated vPMU: registers, the event that takes the "
        "host's LBR; no branches are recorded (default 0)",
    ),
    Setting(
        "guest.perfmon_v2",
        bool,
        None,
        "CPUID tells a guest on an AMD CPU of PerfMonV2 (default: if the CPU has it)",
    ),
    Setting(
        "guest.perfctr_core",
        bool,
        None,
        "CPUID tells a guest on an AMD CPU of the core extension; without it and PerfMonV2 there "
        "are 4 counters (default 1)",
    ),
    Setting("guest.memory_mb", int, 512, "RAM of the guest, MiB", least=4, most=4064),
    Setting(
        "guest.env_file",
        str,
        None,
        "file with KEY=value lines that an image of yours gets as its multiboot module (default: "
        "no module)",
    ),
    Setting("guest.profile", str, "spec-int", "work profile (pmupass list profiles)"),
    Setting(
        "guest.phase_us", int, 20, "time between the starts of two sampling events, us", most=10**6
    ),
    Setting(
        "guest.chunk",
        int,
        None,
        "instructions of work between two steps of the program (default by workload and profile)",
        least=1,
        most=10**9,
    ),
    Setting(
        "guest.kernel",
        int,
        None,
        "share of the work done in the guest's kernel, of 1024 (default by profile)",
        most=1024,
    ),
)
BY_KEY = {setting.key: setting for setting in SETTINGS}
# What a VM has of its own beside its guest; the rest of kvm. is KVM's or its modules'.
OF_VM = ("kvm.cap_pmu_disable", "kvm.irqchip", "kvm.msr_filter")
# What a mediated vPMU alone looks at, beside --switch.
OF_MEDIATED = ("kvm.interception", "kvm.elide_wrmsr", "kvm.pmi", "kvm.lazy", "kvm.pmu_hint")
# The settings of one switch policy, and what the others lack.
OF_SWITCH_POLICY = {
    "lazy": ("kvm.lazy", "does not wait"),
    "enlightened": ("kvm.pmu_hint", "takes no hints"),
}
# What --guest-cpuid sets: the fields of a guest's CPUID, each a setting guest.NAME.
GUEST_CPUID = (
    "pmu_version",
    "gp_counters",
    "fixed_counters",
    "gp_width",
    "fixed_width",
    "fw_write",
    "pdcm",
    "arch_events",
    "unavailable_events",
    "pebs",
    "lbr",
    "perfmon_v2",
    "perfctr_core",
)


def from_guest_cpuid(texts: Iterable[str]) -> tuple[str, ...]:
    """Return ``--guest-cpuid`` texts, ``name=value,name=value``, as assignments of settings."""
    assignments = []
    for text in texts:
        for term in text.split(","):
            name, equals, value = (part.strip() for part in term.partition("="))
            if not equals or not name or not value:
                raise UsageError(
                    f"--guest-cpuid {text}: write name=value,..., for instance "
                    "--guest-cpuid pmu_version=1,gp_counters=2"
                )
            if name not in GUEST_CPUID:
                raise UsageError(
                    f"--guest-cpuid {term.strip()}: no such name{near(name, GUEST_CPUID)}"
                    f"\nNames: {', '.join(GUEST_CPUID)}"
                )
            BY_KEY[f"guest.{name}"].parse(value, f"--guest-cpuid {name}={value}")
            assignments.append(f"guest.{name}={value}")
    return tuple(assignments)


class Settings:
    """Resolved settings: every listed key with its value, and the open namespaces' overrides."""

    def __init__(self, values: Mapping[str, Scalar], overrides: Mapping[str, str]) -> None:
        self._values = dict(values)
        self._overrides = dict(overrides)

    def integer(self, key: str) -> int:
        """Return a numeric setting; KeyError if it has no value."""
        return int(self._values[key])

    def optional(self, key: str) -> int | None:
        """Return a numeric setting, None if nobody set it."""
        value = self._values.get(key)
        return None if value is None else int(value)

    def text(self, key: str) -> str:
        """Return a setting as text."""
        return str(self._values[key])

    def optional_text(self, key: str) -> str | None:
        """Return a setting as text, None if nobody set it."""
        value = self._values.get(key)
        return None if value is None else str(value)

    def flag(self, key: str) -> bool:
        """Return a yes-or-no setting."""
        return bool(self._values[key])

    def given(self, key: str) -> Any:
        """Return a setting as its type, None if nobody set it."""
        return self._values.get(key)

    def namespace(self, name: str) -> dict[str, str]:
        """Return the overrides of an open namespace, without its prefix."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): value
            for key, value in self._overrides.items()
            if key.startswith(prefix)
        }

    def with_defaults(self, values: Mapping[str, Scalar]) -> Settings:
        """Return these settings with values for keys that have none yet."""
        return Settings({**values, **self._values}, self._overrides)

    def as_dict(self) -> dict[str, Scalar]:
        """Return every resolved setting by key, sorted."""
        return dict(sorted({**self._values, **self._overrides}.items()))


def resolve(assignments: Iterable[str], defaults: Mapping[str, Scalar] | None = None) -> Settings:
    """Resolve ``key=value`` texts over a workload's defaults over the general ones.

    UsageError for a text without ``=``, an unknown key (with near matches) or value.
    """
    values = {s.key: s.default for s in SETTINGS if s.default is not None}
    values.update(defaults or {})
    overrides: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not key or not value:
            raise UsageError(
                f"--set {assignment}: write key=value, for instance --set guest.hz=250"
            )
        namespace, dot, rest = key.partition(".")
        if dot and rest and namespace in OPEN_NAMESPACES:
            overrides[key] = value
        elif key in BY_KEY:
            values[key] = BY_KEY[key].parse(value)
        else:
            raise UsageError(_unknown(key))
    return Settings(values, overrides)


def is_of_vm(assignment: str) -> bool:
    """Return whether a ``key=value`` text sets something that each VM has of its own."""
    key = assignment.partition("=")[0].strip()
    return key.startswith("guest.") or key in OF_VM


def of_host(assignments: Iterable[str]) -> tuple[str, ...]:
    """Return the assignments that hold for the whole host, whatever VMs it has."""
    return tuple(text for text in assignments if not is_of_vm(text))


def of_vm(assignments: Iterable[str]) -> tuple[str, ...]:
    """Return the assignments for a further VM; UsageError for one that is the host's."""
    given = tuple(assignments)
    for text in given:
        key = text.partition("=")[0].strip()
        if not is_of_vm(text) and (key in BY_KEY or key.partition(".")[0] in OPEN_NAMESPACES):
            raise UsageError(
                f"--set {text}: {key} holds for the whole host and all its VMs; set it beside --vm"
            )
    return given


def _unknown(key: str) -> str:
    hint = near(key, BY_KEY)
    if not hint:
        in_namespace = [k for k in BY_KEY if k.startswith(key.partition(".")[0] + ".")]
        hint = "; there is " + ", ".join(in_namespace or [*BY_KEY, "cpu.*", "cost.*", "profile.*"])
    return f"--set {key}: no such setting{hint}"


def near(word: str, words: Iterable[str]) -> str:
    """Return ``; did you mean a or b?`` for the near matches of a word, or nothing."""
    matches = difflib.get_close_matches(word, list(words), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""


def check_switch_policy(policy: str) -> str:
    """Return the switch policy; UsageError for one that there is not."""
    if policy in SWITCH_POLICIES:
        return policy
    raise UsageError(
        f"--switch {policy}: no such policy{near(policy, SWITCH_POLICIES)}"
        f"\nPolicies: {', '.join(SWITCH_POLICIES)}"
    )
