# SPDX-License-Identifier: Apache-2.0
"""What a machine is built from: plain frozen records, one per struct of ``csrc/pmupass.h``.

Sizes are those of the header: TSC cycles for times, bytes for memory, PERFEVTSEL bits for
encodings, event ids (list ``base_events``, then named events) for what an encoding counts.
:mod:`pmupass.core` turns a :class:`MachineConfig` into a ``struct pp_config``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Mode(enum.IntEnum):
    """How the PMU is arranged; ``enum pp_mode``."""

    NATIVE = 0
    EMULATED = 1
    MEDIATED = 2


class Watchdog(enum.IntEnum):
    """The host's hard lockup detector; ``enum pp_watchdog``."""

    NONE = 0
    PERF = 1
    BUDDY = 2
    HPET = 3


class CounterWrite(enum.IntEnum):
    """What KVM takes of a guest's write to IA32_PERFCTRn ; ``enum pp_counter_write``."""

    RIGHT = 0
    ZERO_EXTENDED = 1
    BITS_30_0 = 2


class HostThread(enum.IntEnum):
    """Whose perf event one of the host is; ``enum pp_host_thread``."""

    NONE = 0  # CPU-wide
    VCPU = 1
    TASK = 2


class Vendor(enum.IntEnum):
    """Who made the PMU; ``enum pp_vendor``."""

    INTEL = 0
    AMD = 1


class SwitchPolicy(enum.IntEnum):
    """Where the PMU changes hands; ``enum pp_switch_policy``."""

    UPSTREAM = 0
    ENTRY_EXIT = 1
    VCPU_LOOP = 2
    LAZY = 3
    ENLIGHTENED = 4
    HINTED = 5

    @classmethod
    def named(cls, text: str, *, hint: bool = False) -> SwitchPolicy:
        """Return the policy that ``--switch`` calls so; KeyError if there is none.

        ``hint``: of the enlightened one the variant in which guests say what they use.
        """
        policy = cls[text.replace("-", "_").upper()]
        return cls.HINTED if hint and policy is cls.ENLIGHTENED else policy


class Lazy(enum.IntEnum):
    """What the switch policy ``lazy`` puts off; ``enum pp_lazy``."""

    BOTH = 0
    PUT = 1
    LOAD = 2


class FilterAction(enum.IntEnum):
    """``enum pp_filter_action``."""

    NONE = 0
    ALLOW = 1
    DENY = 2


@dataclass(frozen=True, slots=True)
class Pmu:
    """A PMU as its CPUID describes it: the silicon's, or what the guest is told.

    ``perfctr_core`` is AMD's core extension, and version 2 its PerfMonV2. ``pdcm``: there is a
    PERF_CAPABILITIES. ``arch_events`` and ``unavailable_events`` are Intel's: the number of
    architectural events that CPUID speaks of, and those of them that are not there. ``lbr_depth``:
    branch records of a guest's LBR; ``pebs_ept``: PEBS records go through EPT; ``pdist``: GP 0 has
    the precise distribution. PEBS and LBR are there if ``perf_capabilities`` has their formats.
    """

    version: int = 0
    nr_gp: int = 0
    nr_fixed: int = 0
    gp_width: int = 0
    fixed_width: int = 0
    fw_write: bool = False
    rtm: bool = False
    perf_capabilities: int = 0
    vendor: Vendor = Vendor.INTEL
    perfctr_core: bool = False
    pdcm: bool = False
    arch_events: int = 0
    unavailable_events: int = 0
    lbr_depth: int = 0
    pebs_ept: bool = False
    pdist: bool = False


@dataclass(frozen=True, slots=True)
class Overcount:
    """What a VM-exit and a VM-entry add to counters that are enabled on the guest's side of it."""

    exit_instructions: int = 0
    exit_branches: int = 0
    entry_instructions: int = 0
    entry_branches: int = 0


@dataclass(frozen=True, slots=True)
class PeriodLimit:
    """What host perf makes of sampling periods on silicon that has the quirk; 0: it has not."""

    least: int = 0
    multiple: int = 0


@dataclass(frozen=True, slots=True)
class Cpuid:
    """One CPUID leaf; ``regs`` are EAX, EBX, ECX, EDX. A subleaf of None stands for any."""

    leaf: int
    subleaf: int | None
    regs: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class EventMap:
    """What an encoding counts (an event id, or None) and the counters it may be placed on."""

    config: int
    counters: int
    feed: int | None


@dataclass(frozen=True, slots=True)
class MsrIntercept:
    """Whether a guest's RDMSR and WRMSR of one MSR exit."""

    msr: int
    read: bool
    write: bool


@dataclass(frozen=True, slots=True)
class Profile:
    """Rates of the ``work`` instruction per 2**20 instructions: events by id, exits by reason."""

    id: int
    rates: tuple[int, ...]
    exits: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class FilterEntry:
    """One entry of KVM_SET_PMU_EVENT_FILTER, masked form."""

    select: int
    mask: int
    match: int
    exclude: bool = False


@dataclass(frozen=True, slots=True)
class PmuEventFilter:
    """``struct kvm_pmu_event_filter``: action 0 allows, 1 denies; flag bit 0: masked entries."""

    action: int
    events: tuple[int, ...] = ()
    fixed_counter_bitmap: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """A KVM PMU event filter, checked and sorted."""

    action: FilterAction = FilterAction.NONE
    fixed_bitmap: int = 0
    entries: tuple[FilterEntry, ...] = ()

    def ioctl(self) -> PmuEventFilter:
        """Return the filter as KVM_SET_PMU_EVENT_FILTER takes it; none denies nothing."""
        if self.action is FilterAction.NONE:
            return PmuEventFilter(action=1)
        return PmuEventFilter(
            action=0 if self.action is FilterAction.ALLOW else 1,
            events=tuple(
                e.select & 0xFF
                | e.match << 8
                | (e.select >> 8) << 32
                | e.exclude << 55
                | e.mask << 56
                for e in self.entries
            ),
            fixed_counter_bitmap=self.fixed_bitmap,
            flags=1,
        )


@dataclass(frozen=True, slots=True)
class MsrRange:
    """A range of an MSR filter: ``nmsrs`` from ``base`` on, of which ``allowed`` are allowed.

    ``flags``: the kinds of access it decides on, 1 reads, 2 writes.
    """

    base: int
    nmsrs: int
    flags: int
    allowed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class MsrFilter:
    """KVM_X86_SET_MSR_FILTER; ``user_exits``: user space completes what it denies, no #GP."""

    default_deny: bool = False
    user_exits: bool = False
    ranges: tuple[MsrRange, ...] = ()


@dataclass(frozen=True, slots=True)
class HostEvent:
    """A host perf event on every pCPU, or of one thread; ``precise_ip`` is PEBS.

    ``sample_period`` 0 counts; with ``freq`` it is perf's ``sample_freq``, samples a second.
    ``disabled`` is open and off until it is enabled, or in a configuration until all are open.
    ``group_leader`` is the place of the event that leads its group, None for one that leads or is
    alone. ``thread`` counts the vCPUs, or the host's tasks from those of pCPU 0 on. ``text`` is how
    documents call it, and ``number`` where it stands in them among the host's events.
    """

    config: int
    sample_period: int = 0
    pinned: bool = False
    exclude_host: bool = False
    exclude_guest: bool = False
    precise_ip: int = 0
    branch_stack: bool = False
    freq: bool = False
    disabled: bool = False
    group_leader: int | None = None
    thread_kind: HostThread = HostThread.NONE
    thread: int = 0
    text: str = ""
    number: int = 0

    @property
    def thread_name(self) -> str:
        """Its thread as ``-t`` has it, empty for a CPU-wide event."""
        return f"{self.thread_kind.name.lower()}{self.thread}" if self.thread_kind else ""


@dataclass(frozen=True, slots=True)
class HostTask:
    """Threads of the host on a pCPU that compute for ``burst`` TSC cycles and sleep for ``pause``.

    ``pause`` 0: they never sleep.
    """

    cpu: int
    number: int = 1
    burst: int = 0
    pause: int = 0


@dataclass(frozen=True, slots=True)
class PerfFaults:
    """Faults of host perf (``struct pp_perf_faults``): one in so many is hit, 0 none."""

    event_create: int = 0
    event_period: int = 0
    overflow: int = 0
    late_reprogram: int = 0


@dataclass(frozen=True, slots=True)
class Kvm:
    """What KVM is told: the vPMU, the intercepts that the policy computed, the event filter.

    ``vpmu``: the VM may have one; its guest has if CPUID tells it of a PMU.
    ``msrs_to_save`` is KVM_GET_MSR_INDEX_LIST.
    """

    vpmu: bool = False
    exit_save_global_ctrl: bool = False
    apicv: bool = True
    rdpmc_intercept: bool = True
    selectors_direct: bool = False
    force_emulation_prefix: int = 0
    pmi_nmi: bool = False
    userspace_lapic: bool = False
    vmware_backdoor: bool = False
    in_txcp_period: bool = False
    counter_write: CounterWrite = CounterWrite.RIGHT
    ignore_msrs: bool = False
    switch_policy: SwitchPolicy = SwitchPolicy.UPSTREAM
    no_event_reuse: bool = False
    walks_all_pmcs: bool = False
    elide_wrmsr: bool = True
    lazy: Lazy = Lazy.BOTH
    lazy_idle_loads: int = 0
    intercepts: tuple[MsrIntercept, ...] = ()
    msrs_to_save: tuple[int, ...] = ()
    filter: Filter = field(default_factory=Filter)
    msr_filter: MsrFilter = field(default_factory=MsrFilter)


@dataclass(frozen=True, slots=True)
class Vm:
    """A further VM; what is not here it has from the machine, KVM's module parameters included."""

    image: bytes
    cmdline: str
    guest: Pmu
    cpuid: tuple[Cpuid, ...]
    kvm: Kvm = field(default_factory=Kvm)
    memory: int = 512 << 20
    vcpus: int = 1
    module: bytes | None = None


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """Everything a machine is built from. ``timing`` holds the fields of ``struct pp_timing``.

    ``module`` is the multiboot module, None for none. ``vcpus``: natively, CPUs; ``cpus``: the
    host's; ``quantum``: TSC cycles that one of them may be ahead of the others; ``tick_period`` and
    ``slice`` of the host's scheduler, ``mux_interval`` of its perf, ``watchdog_thresh`` likewise;
    ``watchdog_event`` is the encoding of perf's cycles. ``vms``: VMs beside the one described here,
    whose end is the end of the run; natively none.
    """

    mode: Mode
    image: bytes
    cmdline: str
    tsc_khz: int
    hw: Pmu
    guest: Pmu
    timing: dict[str, int]
    cpuid: tuple[Cpuid, ...]
    event_maps: tuple[EventMap, ...]
    costs: tuple[int, ...]
    overcount: Overcount = field(default_factory=Overcount)
    period_limit: PeriodLimit = field(default_factory=PeriodLimit)
    perf_faults: PerfFaults = field(default_factory=PerfFaults)
    kvm: Kvm = field(default_factory=Kvm)
    profiles: tuple[Profile, ...] = ()
    host_events: tuple[HostEvent, ...] = ()
    seed: int = 1
    memory: int = 512 << 20
    time_limit: int = 0
    skid_cycles: int = 0
    trace_records: int = 0
    truth: bool = True
    one_by_one: bool = False
    vcpus: int = 1
    cpus: int = 1
    quantum: int = 40_000
    host_tasks: tuple[HostTask, ...] = ()
    tick_period: int = 2_000_000
    slice: int = 5_600_000
    mux_interval: int = 2_000_000
    watchdog: Watchdog = Watchdog.NONE
    watchdog_thresh: int = 20_000_000_000
    watchdog_event: int = 0
    host_ipc_q20: int = 1 << 20
    module: bytes | None = None
    vms: tuple[Vm, ...] = ()
