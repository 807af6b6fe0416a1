# SPDX-License-Identifier: Apache-2.0
"""From options to machine configurations: what is the same in all modes, and what is not."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import heapq
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmupass import (
    core,
    costs,
    cpus,
    environment,
    host_perf,
    hosts,
    profiles,
    results,
    settings,
    workloads,
)
from pmupass.config import (
    CounterWrite,
    EventMap,
    HostEvent,
    HostTask,
    HostThread,
    Kvm,
    Lazy,
    MachineConfig,
    Mode,
    MsrFilter,
    PerfFaults,
    Pmu,
    SwitchPolicy,
    Vendor,
    Vm,
    Watchdog,
)
from pmupass.cpus.model import FIXED_SHIFT
from pmupass.errors import InputError, UsageError
from pmupass.events import EventTable, placement
from pmupass.events.data import IN_TXCP
from pmupass.options import DEFAULT_TIME_NS
from pmupass.policy import (
    branch_records,
    enablement,
    event_filter,
    guest_cpuid,
    intel_cpuid,
    interception,
    machine_msrs,
    msr_filter,
    msr_list,
)
from pmupass.policy.cpuid_leaves import PMU_HINT_LEAF
from pmupass.profiles.model import named_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pmupass.cpus import CpuModel
    from pmupass.events import EventSpec
    from pmupass.options import Options
    from pmupass.profiles import WorkProfile
    from pmupass.workloads import Workload

COUNTER_WRITES = {
    "none": CounterWrite.RIGHT,
    "zero-extended": CounterWrite.ZERO_EXTENDED,
    "31-bit": CounterWrite.BITS_30_0,
}
LEAST_CHECKPOINTED_PERIOD = (1 << 31) - 1  # of a sampling event with IN_TXCP, in Linux
MAX_HOST_EVENTS = 63  # below half of PERF_MAX_EVENTS, which csrc/machine.c insists on
LAZY_IDLE_LOADS = 8
MAX_CPUS = 8  # PP_MAX_CPUS
UNTIL_THE_END_NS = 10**13  # longer than any run that somebody waits for


@dataclass(frozen=True, slots=True)
class Timed:
    """Something that host or VMM does to a machine at a time: ``tsc`` cycles after its start.

    ``asked`` is the option of the user's that begins with it, empty if none does.
    """

    tsc: int
    act: Callable[[core.Machine], None]
    asked: str = ""


class Plan:
    """An experiment, resolved: CPU, events, settings, image, filter, profiles, costs.

    UsageError for options that mean nothing, InputError for files that are no good. ``vms`` are the
    plans of further VMs, which are made with ``further``: what is the host's they have from here.
    """

    def __init__(
        self, options: Options, workload: Workload | None = None, *, further: bool = False
    ) -> None:
        self.options = options
        self.further = further
        self.workload = workload or workloads.find(options.workload)
        settings.check_switch_policy(options.switch)
        self.settings = settings.resolve(options.settings, self.workload.defaults)
        self.cpu: CpuModel = cpus.load(options.cpu, self.settings.namespace("cpu"))
        self.settings = self.settings.with_defaults({"kvm.apicv": self.cpu.silicon.apicv})
        self._check_counter_write()
        self.events = EventTable(self.cpu)
        self.specs: tuple[EventSpec, ...] = self._guest_events()
        self.sessions = host_perf.parse_all(
            (*hosts.sessions(options.scenario, self.cpu), *options.host_perf), self.events
        )
        number = sum(len(session.specs) for session in self.sessions)
        if number > MAX_HOST_EVENTS:
            raise UsageError(self._too_many_host_events(number))
        self.filter = self._filter()
        self.filter_changes = tuple(
            (change, event_filter.load(change.path, self.events))
            for change in self.options.filter_changes
        )
        self._msr_filter = self._load_msr_filter()
        self._image = self.workload.image()
        self._module = self._environment()
        kinds = profiles.load_all(self.settings.namespace("profile"))
        named = named_events(kinds, self.events)
        self._profiles = tuple(kind.record(named=named) for kind in kinds)
        self._profile = self._chosen(kinds)
        self.settings = self.settings.with_defaults(
            {"guest.kernel": self._profile.kernel, "guest.chunk": self._profile.chunk}
        )
        self._maps = tuple(self.events.maps(named))
        self._costs = costs.cycles(
            core.names("costs"), self.settings.namespace("cost"), self.options.cpu
        )
        self.vms = tuple(self._further(i, vm) for i, vm in enumerate(options.vms, 1))
        if self.all_guest_cpus > MAX_CPUS:
            raise UsageError(
                f"--vm: {self.all_guest_cpus} vCPUs in all VMs together; {MAX_CPUS} at most"
            )
        alone = not further and self.host_cpus == 1
        if alone and self.settings.integer("host.migrate_us"):
            raise UsageError("--set host.migrate_us: the host has one pCPU; set host.cpus as well")
        self._check_threads()

    def _further(self, i: int, options: Options) -> Plan:
        """Return the plan of a further VM on this one's host."""
        mine = self.options
        with _of_vm(i, options.workload):
            of_vm = settings.of_vm(options.settings)
            if options.filter_changes:
                raise UsageError("--filter FILE@TIME: a filter that changes is the first VM's")
            plan = Plan(
                dataclasses.replace(
                    options,
                    cpu=mine.cpu,
                    seed=mine.seed,
                    switch=mine.switch,
                    settings=(*settings.of_host(mine.settings), *of_vm),
                ),
                further=True,
            )
            if options.time_ns is not None and not plan.workload.builtin:
                raise UsageError("--time is for built-in workloads; a limit is the first VM's")
        return plan

    @property
    def _of_scenario(self) -> int:
        """How many events ``--host`` brings; they are the first ones."""
        brought = len(hosts.sessions(self.options.scenario, self.cpu))
        return sum(len(session.specs) for session in self.sessions[:brought])

    def _too_many_host_events(self, number: int) -> str:
        mine = self._of_scenario
        both = f" ({mine} of --host {self.options.scenario}, {number - mine} more)" if mine else ""
        return f"--host-perf: {number} events{both}; a host has {MAX_HOST_EVENTS} at most"

    def warnings(self, modes: Iterable[str]) -> tuple[str, ...]:
        """Return what a user should know before a run in modes, a line each.

        What none of the modes has a use for among them; what one of them has is said of none.
        """
        modes = set(modes)
        if modes == {"native"}:
            return tuple(self._unused_natively())
        mediated = "mediated" in modes
        found = self._unused_by_policy() if mediated else self._unused_by_emulated()
        return (*found, *self._filter_warnings())

    def _unused_natively(self) -> Iterator[str]:
        options = self.options
        if self.vms:
            yield "native has no VMs: --vm is not used"
        filters = [options.filter, *(change.path for change in options.filter_changes)]
        yield from _unused("native has no event filter", [str(f) for f in filters if f is not None])
        of_host = ["--host-perf"] if options.host_perf else []
        of_host += [f"--host {options.scenario}"] if options.scenario != "idle" else []
        of_host += self._set_in("host.", "cost.")
        yield from _unused("native has no host", of_host)
        yield from _unused("native has no KVM", [*self._policy(), *self._set_in("kvm.")])

    def _unused_by_emulated(self) -> Iterator[str]:
        found = [*self._policy(), *self._set_in(*settings.OF_MEDIATED)]
        return _unused("the emulated vPMU does not lend the PMU to the guest", found)

    def _unused_by_policy(self) -> Iterator[str]:
        mine = self.options.switch
        for policy, (keys, lacks) in settings.OF_SWITCH_POLICY.items():
            if policy != mine:
                yield from _unused(f"--switch {mine} {lacks}", self._set_in(keys))

    def _policy(self) -> list[str]:
        policy = self.options.switch
        return [f"--switch {policy}"] if policy != next(iter(settings.SWITCH_POLICIES)) else []

    def _set_in(self, *prefixes: str) -> list[str]:
        """Return the settings that were asked for, of these namespaces or by these keys."""
        keys = (text.partition("=")[0].strip() for text in self.options.settings)
        return [f"--set {key}" for key in dict.fromkeys(keys) if key.startswith(prefixes)]

    def _filter_warnings(self) -> tuple[str, ...]:
        found = [self.filter, *(loaded for _, loaded in self.filter_changes)]
        found += [vm.filter for vm in self.vms]
        # A file that is named twice warns once.
        return tuple(dict.fromkeys(text for each in found for text in each.warnings))

    def _chosen(self, kinds: Sequence[WorkProfile]) -> WorkProfile:
        name = self.settings.text("guest.profile")
        known = {kind.name: kind for kind in kinds}
        if name not in known:
            raise UsageError(
                f"--set guest.profile={name}: no such profile{settings.near(name, known)}"
                f"\nProfiles: {', '.join(known)}"
            )
        return known[name]

    @property
    def guest_cpus(self) -> int:
        """CPUs of the guest."""
        return self.settings.integer("guest.cpus")

    @property
    def all_guest_cpus(self) -> int:
        """CPUs of the guests of all VMs."""
        return self.guest_cpus + sum(vm.guest_cpus for vm in self.vms)

    # What the user asked the guest's perf for

    @property
    def profiles_guest(self) -> bool:
        """Whether the guest runs perf events: a built-in workload with a busy PMU."""
        return self.workload.builtin and self.settings.text("guest.pmu") == "busy"

    @property
    def frequency(self) -> int | None:
        """Sampling frequency in Hz, None for counting and for a fixed period."""
        if self.options.period is not None:
            return None
        return self.options.frequency or self.workload.frequency

    def _guest_events(self) -> tuple[EventSpec, ...]:
        options = self.options
        given_by_flag = (("-e", options.events), ("-F", options.frequency), ("-c", options.period))
        if not self.workload.builtin:
            for flag, given in given_by_flag:
                if given is not None:
                    raise UsageError(
                        f"{flag} is for built-in workloads; {self.workload.name} programs the "
                        "PMU itself"
                    )
            return ()
        if self.settings.text("guest.pmu") == "idle":
            for flag, given in given_by_flag:
                if given is not None:
                    raise UsageError(
                        f"{flag}: the guest leaves its PMU idle; add --set guest.pmu=busy"
                    )
        if not self.workload.samples and (options.frequency or options.period):
            raise UsageError(f"{self.workload.name} counts; -F and -c are for perf-record")
        specs = self.events.parse(
            self.workload.events if options.events is None else options.events
        )
        for spec in specs:
            _check_guest_event(spec)
        if len(specs) > core.MAX_EVENTS:
            raise UsageError(f"-e: {len(specs)} events; a guest takes {core.MAX_EVENTS} at most")
        return specs

    def _check_threads(self) -> None:
        """UsageError for a session of a thread that is not there."""
        vcpus, tasks = self.all_guest_cpus, self.settings.integer("host.tasks") * self.host_cpus
        for session in self.sessions:
            thread = session.thread
            if thread is None:
                continue
            number, key = (
                (vcpus, "guest.cpus") if thread.kind is HostThread.VCPU else (tasks, "host.tasks")
            )
            if thread.number >= number:
                raise UsageError(
                    f"--host-perf {session.text}: there is no {thread}: {number} of them, counted "
                    f"from 0 (--set {key}=N)"
                )

    def _filter(self) -> event_filter.CompiledFilter:
        if self.options.filter is None and not self.options.filter_changes:
            return event_filter.CompiledFilter()
        if self.settings.text("kvm.interception") == "none":
            raise UsageError(
                "--filter needs intercepted selectors; it cannot work with "
                "--set kvm.interception=none"
            )
        if self.options.filter is None:
            return event_filter.CompiledFilter()
        return event_filter.load(self.options.filter, self.events)

    def _load_msr_filter(self) -> MsrFilter:
        path = self.settings.optional_text("kvm.msr_filter")
        return MsrFilter() if path is None else msr_filter.load(path)

    def _environment(self) -> bytes | None:
        path = self.settings.optional_text("guest.env_file")
        if path is None:
            return None
        if self.workload.builtin:
            raise UsageError(
                f"--set guest.env_file={path}: for images of your own; {self.workload.name} takes "
                "its settings by its command line"
            )
        return environment.read(path)

    # Per mode

    def guest_pmu(self, mode: Mode, *, vpmu: bool = True) -> Pmu:
        """Return the PMU that the guest finds."""
        return guest_cpuid.guest_pmu(
            self.cpu,
            mode=mode,
            max_gp=self.settings.integer("kvm.max_gp_counters"),
            max_fixed=self.settings.integer("kvm.max_fixed_counters"),
            asked=guest_cpuid.Asked.of(self.settings),
            vpmu=vpmu and self.settings.flag("kvm.enable_pmu"),
        )

    def vm_has_pmu(self, mode: Mode) -> bool:
        """Return whether KVM gives the VM the PMU that its CPUID announces."""
        return enablement.vm_has_pmu(
            mode,
            disabled=self.settings.flag("kvm.cap_pmu_disable")
            or not self.settings.flag("kvm.enable_pmu"),
            in_kernel_lapic=self._in_kernel_lapic,
        )

    def has_vpmu(self, mode: Mode) -> bool:
        """Return whether the VM has a vPMU that its guest can use."""
        return bool(self.guest_pmu(mode).version) and self.vm_has_pmu(mode)

    @property
    def _in_kernel_lapic(self) -> bool:
        return self.settings.text("kvm.irqchip") != "userspace"

    def _silicon(self, mode: Mode) -> Pmu:
        """Return the physical PMU; natively what the guest finds is what there is."""
        return self.guest_pmu(mode) if mode is Mode.NATIVE else self.cpu.pmu

    def _maps_for(self, mode: Mode, guest: Pmu) -> tuple[EventMap, ...]:
        if mode is not Mode.NATIVE or self.cpu.maker is not Vendor.INTEL:
            return self._maps
        return intel_cpuid.silicon_maps(self._maps, guest)

    def refusal(self, mode: Mode) -> str | None:
        """Return why KVM refuses a VM in a mode and what to change, None if it does not."""
        counting_guests = [
            spec.text
            for session in self.sessions
            for spec in session.specs
            if spec.guest and session.start_ns is None
        ]
        found = self.vm_refusal(mode, counting_guests)
        if found is not None or mode is Mode.NATIVE:
            return found
        for i, vm in enumerate(self.vms, 1):
            found = vm.vm_refusal(mode, counting_guests)
            if found is not None:
                return f"--vm {vm.workload.name} (VM {i}): {found}"
        return None

    def vm_refusal(self, mode: Mode, counting_guests: Sequence[str]) -> str | None:
        """Return why KVM refuses this VM beside events of the host that count guests."""
        records = branch_records.refusal(mode, guest_cpuid.Asked.of(self.settings))
        if records is not None:
            return records
        found = enablement.check(
            self.cpu,
            mode=mode,
            has_pmu=self.vm_has_pmu(mode),
            host_include_guest_events=counting_guests,
            nmi_watchdog=self.watchdog is Watchdog.PERF,
        )
        return None if found is None else str(found)

    def config(
        self,
        mode: Mode,
        *,
        work: int | None = None,
        perf: bool = False,
        vpmu: bool = True,
    ) -> MachineConfig:
        """Return the configuration of one run.

        ``work`` is in instructions; None lets a built-in guest work for the time of the options.
        ``perf`` has the guest run its events, ``vpmu=False`` makes a VM without a vPMU.
        """
        guest = self.guest_pmu(mode, vpmu=vpmu)
        if perf:
            self._check_version(guest)
            self.events.require(self.specs, guest)
            self._check_available(guest)
            self._check_pinned(guest)
            self._check_checkpointed()
        return MachineConfig(
            mode=mode,
            image=self._image,
            cmdline=self._cmdline(guest, work=work, perf=perf),
            tsc_khz=self.cpu.tsc_khz,
            hw=self._silicon(mode),
            guest=guest,
            timing=self.cpu.timing,
            overcount=self.cpu.overcount,
            period_limit=self.cpu.period_limit,
            perf_faults=PerfFaults() if mode is Mode.NATIVE else self._perf_faults(),
            cpuid=self._cpuid(mode, guest),
            event_maps=self._maps_for(mode, guest),
            costs=self._costs,
            kvm=self._kvm(mode, guest, vpmu=vpmu),
            profiles=self._profiles,
            host_events=() if mode is Mode.NATIVE else self._host_events(),
            host_tasks=() if mode is Mode.NATIVE else self._host_tasks(),
            tick_period=self._tsc(10**9 // self.settings.integer("host.hz")),
            mux_interval=self._tsc(self.settings.integer("host.mux_interval_ms") * 10**6),
            watchdog=Watchdog.NONE if mode is Mode.NATIVE else self.watchdog,
            watchdog_thresh=self._tsc(self.settings.integer("host.watchdog_thresh") * 10**9),
            watchdog_event=self.events.host("cycles")[0].config,
            slice=self._tsc(self.settings.integer("host.slice_us") * 1000),
            quantum=self._tsc(self.settings.integer("host.quantum_us") * 1000),
            seed=self.options.seed,
            memory=self.settings.integer("guest.memory_mb") << 20,
            time_limit=self._time_limit(),
            skid_cycles=self.cpu.skid_cycles,
            module=self._module,
            vcpus=self.guest_cpus,
            cpus=self.host_cpus,
            vms=() if mode is Mode.NATIVE else self._vms(mode),
        )

    def _vms(self, mode: Mode) -> tuple[Vm, ...]:
        found = []
        for i, plan in enumerate(self.vms, 1):
            with _of_vm(i, plan.workload.name):
                made = plan.config(mode, perf=plan.profiles_guest)
            found.append(
                Vm(
                    image=made.image,
                    cmdline=made.cmdline,
                    guest=made.guest,
                    cpuid=made.cpuid,
                    kvm=made.kvm,
                    memory=made.memory,
                    vcpus=made.vcpus,
                    module=made.module,
                )
            )
        return tuple(found)

    def timed(self, mode: Mode) -> Iterator[Timed]:
        """Return what the host does while a guest runs, in the order of the times."""
        if mode is Mode.NATIVE:
            return iter(())
        return heapq.merge(self.once(mode), self._migrations(), key=lambda timed: timed.tsc)

    def once(self, mode: Mode) -> list[Timed]:
        """Return that of it which comes to an end."""
        if mode is Mode.NATIVE:
            return []
        found = [
            Timed(
                self._tsc(change.at_ns),
                functools.partial(_replace_filter, new=loaded),
                f"--filter {change.path}@{_shown_time(change.at_ns)}",
            )
            for change, loaded in self.filter_changes
        ]
        for session in self.sessions:
            found += self._timed_session(session)
        found.sort(key=lambda timed: timed.tsc)
        return found

    def _migrations(self) -> Iterator[Timed]:
        """Return the moves of all vCPUs to the next pCPU, without an end."""
        interval = self.settings.integer("host.migrate_us") * 1000
        for number in itertools.count(1) if interval else ():
            move = functools.partial(_migrate, number=number)
            yield Timed(self._tsc(number * interval), move)

    def _timed_session(self, session: host_perf.HostSession) -> list[Timed]:
        if session.start_ns is None and session.stop_ns is None:
            return []
        running = host_perf.Running(session, self._first_place(session))
        found = []
        if session.start_ns is not None:
            start = self._tsc(session.start_ns) if session.start_ns else 0
            found.append(Timed(start, running.open, self._asked_for(session)))
        if session.stop_ns is not None:
            found.append(Timed(self._tsc(session.stop_ns), running.close))
        return found

    def _asked_for(self, session: host_perf.HostSession) -> str:
        """Return the option that begins with a session, empty if none does, or at once."""
        if not session.start_ns:
            return ""
        if session.number >= self._of_scenario:
            return f"--host-perf {session.text!r}"
        return "" if session.number else f"--host {self.options.scenario}"

    def _first_place(self, session: host_perf.HostSession) -> int:
        """Return the place of its first event among those that are there before the VM."""
        place = 0
        for other in self.sessions:
            if other is session:
                break
            place += len(other.specs) if other.start_ns is None else 0
        return place

    def rows(self, mode: Mode, guest: Pmu) -> Sequence[interception.InterceptRow]:
        """Return the interception table of the PMU in a mode."""
        arrangement = self.settings.text("kvm.interception")
        return interception.table(
            self._silicon(mode),
            guest if self.vm_has_pmu(mode) else Pmu(),
            mode=mode,
            arrangement=arrangement,  # type: ignore[arg-type]
            rdpmc_backdoor=self.settings.flag("kvm.enable_vmware_backdoor"),
        )

    def _kvm(self, mode: Mode, guest: Pmu, *, vpmu: bool) -> Kvm:
        if mode is Mode.NATIVE:
            return Kvm()
        rows = self.rows(mode, guest)
        # Virtual interrupts are delivered for an APIC that KVM knows.
        apicv = self.settings.flag("kvm.apicv") and self._in_kernel_lapic
        others = machine_msrs.rows(apicv=apicv, vendor=self.cpu.maker)
        return Kvm(
            vpmu=vpmu and self.vm_has_pmu(mode),
            exit_save_global_ctrl=self.cpu.exit_save_global_ctrl,
            apicv=apicv,
            rdpmc_intercept=interception.rdpmc_intercepted(rows),
            selectors_direct=interception.selectors_direct(rows),
            force_emulation_prefix=self.settings.integer("kvm.force_emulation_prefix"),
            pmi_nmi=self.settings.text("kvm.pmi") == "nmi",
            userspace_lapic=not self._in_kernel_lapic,
            vmware_backdoor=self.settings.flag("kvm.enable_vmware_backdoor"),
            in_txcp_period=self.settings.flag("kvm.in_txcp_period"),
            counter_write=COUNTER_WRITES[self.settings.text("kvm.fault_counter_write")],
            ignore_msrs=self.settings.flag("kvm.ignore_msrs"),
            switch_policy=self._switch_policy,
            no_event_reuse=not self.settings.flag("kvm.event_reuse"),
            walks_all_pmcs=self.settings.text("kvm.pmc_walk") == "pre-6.9",
            elide_wrmsr=self.settings.flag("kvm.elide_wrmsr"),
            lazy=Lazy[self.settings.text("kvm.lazy").upper()],
            lazy_idle_loads=self._lazy_idle_loads(rows),
            intercepts=tuple(interception.msr_intercepts([*rows, *others])),
            msrs_to_save=msr_list.msrs_to_save(
                self.cpu,
                max_gp=self.settings.integer("kvm.max_gp_counters"),
                max_fixed=self.settings.integer("kvm.max_fixed_counters"),
                enable_pmu=self.settings.flag("kvm.enable_pmu"),
                pmu_hint=self._offers_hint(mode),
            ),
            filter=self.filter,
            msr_filter=self._msr_filter,
        )

    def _cpuid(self, mode: Mode, guest: Pmu) -> tuple[guest_cpuid.CpuidEntry, ...]:
        entries = guest_cpuid.cpuid_entries(self.cpu, guest, mode, self.guest_cpus)
        if guest.version and self._offers_hint(mode):
            entries.append(PMU_HINT_LEAF)
        return tuple(entries)

    @property
    def _switch_policy(self) -> SwitchPolicy:
        return SwitchPolicy.named(self.options.switch, hint=self.settings.flag("kvm.pmu_hint"))

    def _offers_hint(self, mode: Mode) -> bool:
        return mode is Mode.MEDIATED and self._switch_policy is SwitchPolicy.HINTED

    def _lazy_idle_loads(self, rows: Sequence[interception.InterceptRow]) -> int:
        """Return the least loads without use that come before one is put off (docs/switch.md).

        While its perf has the PMU off a guest makes accesses. Where they exit in any case, no load
        in between is of use; where they are direct, each would exit for want of one.
        """
        given = self.settings.optional("kvm.lazy_idle_loads")
        if given is not None:
            return given
        return LAZY_IDLE_LOADS if interception.global_ctrl_direct(rows) else 0

    def _perf_faults(self) -> PerfFaults:
        return PerfFaults(
            event_create=self.settings.integer("host.fault_event_create"),
            event_period=self.settings.integer("host.fault_event_period"),
            overflow=self.settings.integer("host.fault_overflow"),
            late_reprogram=self.settings.integer("host.fault_late_reprogram"),
        )

    def _host_events(self) -> tuple[HostEvent, ...]:
        found: list[HostEvent] = []
        for session in self.sessions:
            if session.start_ns is None:
                found += session.events(len(found))
        return tuple(found)

    @property
    def watchdog(self) -> Watchdog:
        """The host's hard lockup detector; natively there is no host."""
        return Watchdog[self.settings.text("host.nmi_watchdog").upper()]

    @property
    def host_cpus(self) -> int:
        """The host's pCPUs; natively there is no host."""
        return self.settings.optional("host.cpus") or self.all_guest_cpus

    def _host_tasks(self) -> tuple[HostTask, ...]:
        number = self.settings.integer("host.tasks")
        burst = self.settings.integer("host.task_run_us") * 1000
        pause = self.settings.integer("host.task_sleep_us") * 1000
        if not number:
            return ()
        return tuple(
            HostTask(
                cpu=cpu,
                number=number,
                burst=self._tsc(burst) if burst else 0,
                pause=self._tsc(pause) if burst else 0,
            )
            for cpu in range(self.host_cpus)
        )

    def _time_limit(self) -> int:
        if self.workload.builtin or self.options.time_ns is None:
            return 0
        return self._tsc(self.options.time_ns)

    @property
    def _time_ns(self) -> int:
        """How long a built-in workload works; in a further VM, until the run ends."""
        default = UNTIL_THE_END_NS if self.further else DEFAULT_TIME_NS
        return self.options.time_ns or default

    def _tsc(self, nanoseconds: int) -> int:
        return max(nanoseconds * self.cpu.tsc_khz // 10**6, 1)

    def _cmdline(self, guest: Pmu, *, work: int | None, perf: bool) -> str:
        # The loader puts argv[0] in front.
        if not self.workload.builtin:
            return ""
        s = self.settings
        words = [
            f"time={self._tsc(self._time_ns)}" if work is None else f"work={work}",
            f"profile={self._profile.id}",
            f"chunk={s.integer('guest.chunk')}",
            f"kernel={s.integer('guest.kernel')}",
            f"tsc_khz={self.cpu.tsc_khz}",
            f"hz={s.integer('guest.hz')}",
            f"linux={s.text('guest.linux')}",
            f"mux_us={s.integer('guest.mux_interval_ms') * 1000}",
            f"perf_work={s.integer('guest.perf_work')}",
            f"perf={int(perf)}",
        ]
        if self._switch_policy is SwitchPolicy.HINTED:
            words.append("hint=1")
        if s.integer("guest.tasks") > 1:
            words.append(f"tasks={s.integer('guest.tasks')}")
            words.append(f"slice_us={s.integer('guest.slice_us')}")
        if self.guest_cpus > 1:
            words.append(f"cpus={self.guest_cpus}")
        if perf:
            words += [self._event_word(i, spec, guest) for i, spec in enumerate(self.specs)]
        return " ".join(words)

    def _event_word(self, i: int, spec: EventSpec, guest: Pmu) -> str:
        mine = (1 << guest.nr_gp) - 1 | ((1 << guest.nr_fixed) - 1) << FIXED_SHIFT
        kind = "s"
        if self.workload.samples:
            kind = f"F{self.frequency}" if self.frequency else f"c{self.options.period}"
        phase = self.settings.integer("guest.phase_us") if i and self.workload.samples else 0
        return f"ev={spec.config:x}:{spec.counters & mine:x}:{kind}:{phase}"

    def _check_counter_write(self) -> None:
        kind = self.settings.text("kvm.fault_counter_write")
        if self.cpu.maker is not Vendor.INTEL and kind != "none":
            raise UsageError(
                f"--set kvm.fault_counter_write={kind}: AMD's counters take a write whole; only "
                "Intel's IA32_PERFCTRn are sign-extended"
            )

    def _check_version(self, guest: Pmu) -> None:
        if self.cpu.maker is Vendor.INTEL and not guest.version:
            raise UsageError(
                "guest.pmu_version=0: the guest has no PMU for its perf; run an image of yours, "
                "or add --set guest.pmu=idle"
            )

    def _check_available(self, guest: Pmu) -> None:
        """UsageError for a generic event that the guest's perf has not, for CPUID takes it away."""
        if self.cpu.maker is not Vendor.INTEL:
            return
        gone = intel_cpuid.unavailable_codes(guest)
        for spec in self.specs:
            code = spec.config & 0xFFFF
            if code in gone and spec.name in intel_cpuid.ARCH_EVENT_NAMES:
                raise UsageError(
                    f"-e {spec.text}: CPUID 0xA takes it away (guest.arch_events, "
                    f"guest.unavailable_events), and perf refuses it; r{code:04x} is not looked at"
                )

    def _check_checkpointed(self) -> None:
        """UsageError for a sampling event with IN_TXCP, which Linux in the guest refuses."""
        if self.cpu.maker is not Vendor.INTEL or not self.workload.samples:
            return
        if (self.options.period or 0) >= LEAST_CHECKPOINTED_PERIOD:
            return
        for spec in self.specs:
            if spec.config & IN_TXCP:
                raise UsageError(
                    f"-e {spec.text}: with in_tx_cp Linux refuses a sample period below 2^31-1 "
                    "(-EOPNOTSUPP), the guest's like the host's; count it with perf-stat"
                )

    def _check_pinned(self, guest: Pmu) -> None:
        """UsageError for pinned events that would take turns; otherwise pinning changes nothing."""
        pinned = [spec.text for spec in self.specs if spec.pinned]
        if pinned and placement.place([spec.counters for spec in self.specs], guest) is None:
            raise UsageError(
                f"-e {pinned[0]}: the {len(self.specs)} events do not fit on the guest's counters "
                "at once, and this version's guest perf does not keep a pinned one while others "
                "take turns; use fewer events or leave D out"
            )

    # For the documents

    def name_of(self, config: int) -> str:
        """Return how an encoding is called in documents."""
        return self.events.name_of(config)

    def pmus(self, mode: Mode) -> results.Pmus:
        """Return the silicon's PMU and the guest's."""
        return results.Pmus(
            hardware=_shape(self._silicon(mode)), guest=_shape(self.guest_pmu(mode))
        )

    def own_settings(self) -> dict[str, results.Value]:
        """Return those of :meth:`settings_dict` that a VM has of its own."""
        of_host = ("host_scenario", "host_perf", "switch")
        return {
            key: value
            for key, value in self.settings_dict().items()
            if (settings.is_of_vm(key) if "." in key else key not in of_host)
        }

    def settings_dict(self) -> dict[str, results.Value]:
        """Return every resolved setting and option but those that have keys of their own."""
        options = self.options
        out: dict[str, results.Value] = dict(self.settings.as_dict())
        if self.workload.builtin:
            out["events"] = [spec.text for spec in self.specs]
            if self.frequency and self.workload.samples:
                out["frequency"] = self.frequency
        if options.period is not None:
            out["period"] = options.period
        if (self.workload.builtin and not self.further) or options.time_ns is not None:
            out["time_ns"] = self._time_ns
        if options.filter is not None:
            out["filter"] = workloads.shown(options.filter)
        if options.filter_changes:
            out["filter_changes"] = [
                f"{workloads.shown(change.path)}@{change.at_ns}ns"
                for change in options.filter_changes
            ]
        out["host_scenario"] = options.scenario
        out["host_perf"] = list(options.host_perf)
        out["switch"] = options.switch
        return dict(sorted(out.items()))


def _unused(why: str, options: Sequence[str]) -> Iterator[str]:
    """Yield a warning about options that are of no use, if there are any."""
    if options:
        verb = "is" if len(options) == 1 else "are"
        yield f"{why}: {', '.join(options)} {verb} not used"


def _shown_time(nanoseconds: int) -> str:
    """Return a time as an option takes it, in the largest unit that leaves no fraction."""
    for unit, name in ((10**9, "s"), (10**6, "ms"), (1000, "us")):
        if nanoseconds % unit == 0:
            return f"{nanoseconds // unit}{name}"
    return f"{nanoseconds}ns"


@contextlib.contextmanager
def _of_vm(i: int, workload: str) -> Iterator[None]:
    """Have errors say which VM they are about."""
    try:
        yield
    except (InputError, UsageError) as error:
        raise type(error)(f"--vm {workload} (VM {i}): {error}") from None


def _migrate(machine: core.Machine, number: int) -> None:
    """Move all vCPUs for the so manieth time."""
    for vcpu in range(machine.guests):
        machine.move_vcpu(vcpu, (vcpu + number) % machine.cpus)


def _replace_filter(machine: core.Machine, new: event_filter.CompiledFilter) -> None:
    machine.set_pmu_event_filter(new)


def _shape(pmu: Pmu) -> results.PmuShape:
    return results.PmuShape(pmu.version, pmu.nr_gp, pmu.nr_fixed)


def _check_guest_event(spec: EventSpec) -> None:
    if spec.precise_ip or spec.branch_stack:
        raise UsageError(
            f"-e {spec.text}: the guest's perf has no PEBS and no branch stacks; the host's has: "
            f"--host-perf {spec.text}"
        )
    if not spec.guest:
        raise UsageError(
            f"-e {spec.text}: the guest's perf counts the guest; an event of the host is "
            f"--host-perf {spec.text}"
        )
