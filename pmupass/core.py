# SPDX-License-Identifier: Apache-2.0
"""The boundary to the compiled core: the only module that imports ``pmupass._core``.

Strings, dataclasses and lists above it, ``struct pp_config`` and arrays of PODs below. Runs are
budgeted, so that Ctrl-C and progress work; the core lets go of the GIL while it runs.
"""

from __future__ import annotations

import errno
import functools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmupass import records
from pmupass.config import (
    Filter,
    HostEvent,
    Kvm,
    MachineConfig,
    Mode,
    MsrFilter,
    Overcount,
    PerfFaults,
    Pmu,
    PmuEventFilter,
    Vendor,
    Vm,
)
from pmupass.errors import InputError, ModelError

try:
    from pmupass._core import ffi, lib
except ImportError as error:
    raise ImportError(
        "the compiled core (pmupass._core) is missing. This happens when Python finds the source "
        "tree before the installed package: run the pmupass command or plain pytest from another "
        "folder, or install for development with\n"
        "    pip install --no-build-isolation -e '.[test]'",
        name="pmupass._core",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NO_FEED = 0xFF
UNKNOWN = (1 << 64) - 1  # of a count
MAX_EVENTS = 32
_HOST_EVENT_STATES = ("off", "error", "inactive", "active")  # enum perf_event_state
_REPORT_HEAD = struct.Struct("<II13Q")
_REPORT_EVENT = struct.Struct("<6Q")
_EXIT_LISTS = {Vendor.INTEL: "exit_reasons", Vendor.AMD: "svm_exit_reasons"}
_REPORT_MAGIC = 0x34304D50


class VmRefusedError(InputError):
    """KVM would refuse the VM (-EBUSY); the text names what to change."""


class IoctlError(InputError):
    """An ioctl of KVM fails; ``errno`` says why."""

    def __init__(self, ioctl: str, code: int) -> None:
        super().__init__(f"{ioctl} fails with {errno.errorcode[code]}")
        self.errno = code


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a ``.def`` list: its name, what it says, its number."""

    name: str
    text: str
    value: int


@functools.cache
def table(name: str) -> tuple[Entry, ...]:
    """Return a list of the core.

    These are base_events, exit_reasons, svm_exit_reasons, loss_causes, costs, access_kinds, msrs,
    trace_records, stats and kernel_work.
    """
    number = getattr(lib, f"PP_LIST_{name.upper()}")
    entries: list[Entry] = []
    while (text := lib.pp_list_name(number, len(entries))) != ffi.NULL:
        i = len(entries)
        entries.append(
            Entry(
                _text(text), _text(lib.pp_list_text(number, i)), int(lib.pp_list_value(number, i))
            )
        )
    return tuple(entries)


def names(name: str) -> tuple[str, ...]:
    """Return the names of a list of the core, by index."""
    return tuple(entry.name for entry in table(name))


def _text(pointer: Any) -> str:
    return "" if pointer == ffi.NULL else ffi.string(pointer).decode()


def _check(error: Any) -> None:
    """Raise what a ``struct pp_error`` stands for; the one place where codes become exceptions."""
    text = ffi.string(error.text).decode(errors="replace")
    vm = f"VM {error.vm}: " if error.vm else ""
    if error.code == lib.PP_OK:
        return
    if error.code == lib.PP_EBUSY:
        raise VmRefusedError(f"{vm}KVM_CREATE_VCPU fails with -EBUSY: {text}")
    if error.code == lib.PP_EIMAGE:
        raise InputError(f"{vm}malformed guest image: {text}")
    if error.code == lib.PP_ENOMEM:
        raise InputError(f"out of memory: {text or 'the guest does not fit'}")
    raise ModelError(f"{vm}the core refused the configuration: {text}")


class _Config:
    """A ``struct pp_config`` with everything it points to kept alive."""

    def __init__(self, config: MachineConfig) -> None:
        self._alive: list[Any] = []
        self.struct = c = ffi.new("struct pp_config *")
        for name in ("mode", "seed", "tsc_khz", "time_limit", "skid_cycles"):
            setattr(c, name, int(getattr(config, name)))
        c.trace_records = config.trace_records
        c.truth = config.truth
        c.one_by_one = config.one_by_one
        c.nr_cpus = config.cpus
        c.quantum = config.quantum
        c.tick_period = config.tick_period
        c.slice = config.slice
        c.mux_interval = config.mux_interval
        c.watchdog = int(config.watchdog)
        c.watchdog_thresh = config.watchdog_thresh
        c.watchdog_event = config.watchdog_event
        c.nr_host_tasks = len(config.host_tasks)
        c.host_tasks = self._array(
            "struct pp_host_task",
            [
                {"cpu": t.cpu, "nr": t.number, "burst": t.burst, "pause": t.pause}
                for t in config.host_tasks
            ],
        )
        c.host_ipc_q20 = config.host_ipc_q20
        self._pmu(c.hw, config.hw)
        for name, value in config.timing.items():
            setattr(c.timing, name, value)
        for name in Overcount.__slots__:
            setattr(c.overcount, name, getattr(config.overcount, name))
        c.period_limit.least = config.period_limit.least
        c.period_limit.multiple = config.period_limit.multiple
        for name in PerfFaults.__slots__:
            setattr(c.perf_faults, name, getattr(config.perf_faults, name))
        self._lists(c, config)
        self._vm(c, config)
        c.nr_vms = len(config.vms)
        c.vms = vms = self._array("struct pp_vm", [{} for _ in config.vms])
        for i, vm in enumerate(config.vms):
            self._vm(vms[i], vm)

    def _keep(self, value: Any) -> Any:
        self._alive.append(value)
        return value

    def _array(self, kind: str, values: list[Any]) -> Any:
        return self._keep(ffi.new(f"{kind}[]", values)) if values else ffi.NULL

    @staticmethod
    def _pmu(out: Any, pmu: Pmu) -> None:
        for name in Pmu.__slots__:
            setattr(out, name, int(getattr(pmu, name)))

    def _vm(self, out: Any, vm: MachineConfig | Vm) -> None:
        """Fill what each VM has of its own: a ``struct pp_vm``, or its like in the first one's."""
        out.memory = vm.memory
        out.nr_vcpus = vm.vcpus
        self._pmu(out.guest, vm.guest)
        self._kvm(out.kvm, vm.kvm)
        out.nr_cpuid = len(vm.cpuid)
        out.cpuid = self._array(
            "struct pp_cpuid",
            [
                {
                    "leaf": e.leaf,
                    "subleaf": e.subleaf or 0,
                    "any_subleaf": e.subleaf is None,
                    "regs": e.regs,
                }
                for e in vm.cpuid
            ],
        )
        out.image = self._keep(ffi.from_buffer("uint8_t[]", vm.image))
        out.image_size = len(vm.image)
        out.cmdline = self._keep(ffi.new("char[]", vm.cmdline.encode()))
        if vm.module is not None:
            out.module = self._keep(ffi.from_buffer("uint8_t[]", vm.module))
            out.module_size = len(vm.module)

    def _kvm(self, out: Any, kvm: Kvm) -> None:
        for name in (
            "vpmu",
            "exit_save_global_ctrl",
            "apicv",
            "rdpmc_intercept",
            "selectors_direct",
            "force_emulation_prefix",
            "pmi_nmi",
            "userspace_lapic",
            "vmware_backdoor",
            "in_txcp_period",
            "counter_write",
            "ignore_msrs",
            "switch_policy",
            "no_event_reuse",
            "walks_all_pmcs",
            "elide_wrmsr",
            "lazy",
            "lazy_idle_loads",
        ):
            setattr(out, name, int(getattr(kvm, name)))
        out.nr_intercepts = len(kvm.intercepts)
        out.intercepts = self._array(
            "struct pp_msr_intercept",
            [{"msr": i.msr, "read": i.read, "write": i.write} for i in kvm.intercepts],
        )
        out.nr_msrs_to_save = len(kvm.msrs_to_save)
        out.msrs_to_save = self._array("uint32_t", list(kvm.msrs_to_save))
        self._alive.append(_fill_msr_filter(out.msr_filter, kvm.msr_filter))
        out.filter.action = kvm.filter.action
        out.filter.fixed_bitmap = kvm.filter.fixed_bitmap
        out.filter.nr_entries = len(kvm.filter.entries)
        out.filter.entries = self._array(
            "struct pp_filter_entry",
            [
                {"select": e.select, "mask": e.mask, "match": e.match, "exclude": e.exclude}
                for e in kvm.filter.entries
            ],
        )

    def _lists(self, c: Any, config: MachineConfig) -> None:
        c.nr_event_maps = len(config.event_maps)
        c.event_maps = self._array(
            "struct pp_event_map",
            [
                {
                    "config": e.config,
                    "counters": e.counters,
                    "feed": NO_FEED if e.feed is None else e.feed,
                }
                for e in config.event_maps
            ],
        )
        c.nr_profiles = len(config.profiles)
        c.profiles = self._array(
            "struct pp_profile",
            [
                {
                    "id": p.id,
                    "rate": p.rates,
                    "nr_exits": len(p.exits),
                    "exit_reason": [reason for reason, _ in p.exits],
                    "exit_rate": [rate for _, rate in p.exits],
                }
                for p in config.profiles
            ],
        )
        c.nr_host_events = len(config.host_events)
        c.host_events = self._array(
            "struct pp_host_event",
            [_host_event(event) for event in config.host_events],
        )
        c.nr_costs = len(config.costs)
        c.costs = self._array("uint32_t", list(config.costs))


def _host_event(event: HostEvent) -> dict[str, int]:
    apart = ("text", "number", "group_leader")
    fields = {name: int(getattr(event, name)) for name in HostEvent.__slots__ if name not in apart}
    fields["group_leader"] = 0 if event.group_leader is None else event.group_leader + 1
    return fields


def _fill_msr_filter(out: Any, msr_filter: MsrFilter) -> list[Any]:
    """Fill a ``struct pp_msr_filter``; return what has to live as long as it."""
    if len(msr_filter.ranges) > lib.PP_MSR_FILTER_MAX_RANGES:
        raise ModelError(f"an MSR filter has {lib.PP_MSR_FILTER_MAX_RANGES} ranges at most")
    alive = []
    out.flags = lib.PP_MSR_FILTER_DEFAULT_DENY if msr_filter.default_deny else 0
    out.user_exits = msr_filter.user_exits
    for i, given in enumerate(msr_filter.ranges):
        bits = sum(1 << msr - given.base for msr in given.allowed)
        data = bits.to_bytes((given.nmsrs + 7) // 8, "little")
        bitmap = ffi.new("uint8_t[]", data or b"\0")
        alive.append(bitmap)
        out.ranges[i].flags = given.flags
        out.ranges[i].nmsrs = given.nmsrs
        out.ranges[i].base = given.base
        out.ranges[i].bitmap = bitmap
    return alive


def _owned(handle: Any, error: Any) -> Any:
    """Return a machine that is freed with its last reference; raise why it is NULL."""
    if handle == ffi.NULL:
        _check(error)
        raise ModelError("the core made no machine and gave no reason")
    return ffi.gc(handle, lib.pp_machine_free)


@dataclass(frozen=True, slots=True)
class SavedGuest:
    """A guest as :meth:`Machine.save` leaves it, to be restored as often as wanted."""

    handle: Any


class Machine:
    """A machine. One thread at a time but for :meth:`pause`; machines do not touch each other.

    Raises InputError for a refused image or VM (-EBUSY), ModelError for a configuration that the
    core does not take.
    """

    def __init__(self, config: MachineConfig, handle: Any = None) -> None:
        """Build a machine, or take one of this configuration that the core has made."""
        if handle is None:
            built = _Config(config)
            error = ffi.new("struct pp_error *")
            handle = _owned(lib.pp_machine_new(built.struct, error), error)
        self._handle = handle
        self._config = config
        self._host_events = list(config.host_events)
        self._refused: list[HostEvent] = []
        self._exit_list = _EXIT_LISTS[config.hw.vendor]

    def clone(self) -> Machine:
        """Return a second machine that is in all as this one is now.

        Between runs, at any time. Both go on to the results that this one would have come to, and
        neither notices the other; guest pages are shared until one of them writes. A clone may live
        in another thread, and longer than its original.
        """
        error = ffi.new("struct pp_error *")
        handle = _owned(lib.pp_machine_clone(self._handle, error), error)
        clone = Machine(self._config, handle)
        clone._host_events = list(self._host_events)
        clone._refused = list(self._refused)
        return clone

    def save(self) -> SavedGuest:
        """Return the guest as a VMM saves it; this machine does not notice and can go on.

        The saved guest has exited (EXTERNAL_INTERRUPT), and what was requested of its vCPU is
        served. InputError for a native machine, for one whose counters have been read out, and for
        one with several VMs.
        """
        self._require_vcpu("save")
        error = ffi.new("struct pp_error *")
        handle = lib.pp_machine_save(self._handle, error)
        if handle == ffi.NULL and error.code == lib.PP_EINVAL:
            raise InputError(f"the guest cannot be saved: {_text(error.text)}")
        return SavedGuest(_owned(handle, error))

    @classmethod
    def restore(cls, config: MachineConfig, saved: SavedGuest) -> Machine:
        """Return a machine of ``config`` on which a saved guest goes on where it was.

        The design may be the other one, and so may be what is the host's: events of host perf,
        costs, intercepts, the event filter. The guest must find the same computer, so CPU, CPUID
        and memory are those it was saved with. Image and command line of ``config`` are not looked
        at. The PMU goes by KVM_GET_MSRS and KVM_SET_MSRS; results cover the whole of the guest's
        run.

        InputError if the guest would find another computer, and for a native machine;
        VmRefusedError as for a new machine.
        """
        built = _Config(config)
        error = ffi.new("struct pp_error *")
        handle = lib.pp_machine_restore(built.struct, saved.handle, error)
        if handle == ffi.NULL and error.code == lib.PP_EINVAL:
            raise InputError(f"the guest cannot be restored: {_text(error.text)}")
        return cls(config, _owned(handle, error))

    def migrate(self, config: MachineConfig) -> Machine:
        """Save and restore: return a machine of ``config`` on which the guest goes on."""
        return Machine.restore(config, self.save())

    def close(self) -> None:
        """Give the guest's memory back now; the machine must not be used afterwards."""
        ffi.release(self._handle)

    def run(self, blocks: int) -> records.Stop:
        """Run up to so many basic blocks."""
        return records.Stop(lib.pp_machine_run(self._handle, blocks))

    def run_until(self, blocks: int, tsc: int) -> records.Stop:
        """Run as :meth:`run`, to a value of the TSC at the latest: Stop.UNTIL, with more to do.

        For what somebody does at a time. The machine stops behind the first guest instruction that
        ends at that time or later; stopping there shows nowhere.
        """
        return records.Stop(lib.pp_machine_run_until(self._handle, blocks, tsc))

    def pause(self) -> None:
        """From another thread: have a :meth:`run` return Stop.BUDGET within milliseconds."""
        lib.pp_machine_pause(self._handle)

    # What the VMM of the first VM does to its vCPUs between two runs

    def msr_index_list(self) -> tuple[int, ...]:
        """KVM_GET_MSR_INDEX_LIST: the registers that a VMM saves and restores.

        It names what host and KVM have; the guest may lack some (see :meth:`get_msrs`).
        """
        self._require_vcpu("KVM_GET_MSR_INDEX_LIST")
        return self._config.kvm.msrs_to_save

    def get_msrs(self, indices: Sequence[int]) -> list[int]:
        """KVM_GET_MSRS: return values, in order, up to the first register that cannot be read.

        So the result is shorter than ``indices`` if one failed. A listed register that the guest
        lacks reads 0. A vCPU that is in the guest exits for it (EXTERNAL_INTERRUPT, as for a
        signal). What the VMM reads is no read of the guest's in the results. InputError for a
        native machine, for one whose counters have been read out, and for 256 registers or more
        (E2BIG).
        """
        entries = ffi.new("struct pp_msr_entry[]", [{"index": index} for index in indices])
        done = self._msrs("KVM_GET_MSRS", lib.pp_kvm_get_msrs, entries, len(indices))
        return [entries[i].data for i in range(done)]

    def set_msrs(self, values: Iterable[tuple[int, int]]) -> int:
        """KVM_SET_MSRS: write (register, value) pairs; return how many, up to the first refused.

        Rules are those for the VMM, not for the guest: docs/model.md has them. A listed register
        that the guest lacks takes 0. Errors are those of :meth:`get_msrs`.
        """
        given = [{"index": index, "data": data} for index, data in values]
        entries = ffi.new("struct pp_msr_entry[]", given)
        return self._msrs("KVM_SET_MSRS", lib.pp_kvm_set_msrs, entries, len(given))

    def set_pmu_event_filter(self, new: Filter | PmuEventFilter) -> None:
        """KVM_SET_PMU_EVENT_FILTER, between two runs: another filter replaces the old one.

        A :class:`~pmupass.config.PmuEventFilter` is handed in as it is; IoctlError, with KVM's
        errno, if KVM refuses it, and then the old filter stays. A compiled filter goes as masked
        entries. There is no way to have none: deny nothing instead. The guest sees nothing but what
        counts; a vCPU that is in the guest is kicked, and holds its counters against the filter
        before it enters again. InputError for a native machine, for selectors that do not exit
        (kvm.interception=none), and for a machine whose counters have been read out.
        """
        self._require_vcpu("KVM_SET_PMU_EVENT_FILTER")
        if self._config.kvm.selectors_direct:
            raise InputError(
                "KVM_SET_PMU_EVENT_FILTER: the filter needs intercepted selectors, and with "
                "kvm.interception=none they are direct"
            )
        given = new if isinstance(new, PmuEventFilter) else new.ioctl()
        events = ffi.new("uint64_t[]", list(given.events) or 1)
        out = ffi.new(
            "struct pp_pmu_event_filter *",
            {
                "action": given.action,
                "nevents": len(given.events),
                "fixed_counter_bitmap": given.fixed_counter_bitmap,
                "flags": given.flags,
                "events": events,
            },
        )
        code = int(lib.pp_kvm_set_pmu_event_filter(self._handle, out))
        if code == lib.PP_EPERM:
            raise InputError("KVM_SET_PMU_EVENT_FILTER: the machine's counters have been read out")
        if code:
            raise IoctlError("KVM_SET_PMU_EVENT_FILTER", -code)

    def _msrs(self, ioctl: str, function: Any, entries: Any, count: int) -> int:
        self._require_vcpu(ioctl)
        done = int(function(self._handle, entries, count))
        if done == lib.PP_E2BIG:
            raise InputError(f"{ioctl}: {count} registers, KVM takes 255 at most (E2BIG)")
        if done < 0:
            raise InputError(f"{ioctl}: the machine's counters have been read out, its run is over")
        return done

    def _require_vcpu(self, what: str) -> None:
        if self._config.mode is Mode.NATIVE:
            raise InputError(f"{what}: a native machine has no KVM and no VMM")

    def set_msr_filter(self, msr_filter: MsrFilter) -> None:
        """KVM_X86_SET_MSR_FILTER, between two runs.

        InputError if KVM does not take it (EINVAL), and for a native machine.
        """
        self._require_vcpu("KVM_X86_SET_MSR_FILTER")
        out = ffi.new("struct pp_msr_filter *")
        alive = _fill_msr_filter(out, msr_filter)
        if lib.pp_set_msr_filter(self._handle, out):
            raise InputError("KVM_X86_SET_MSR_FILTER: the filter is none that KVM takes (EINVAL)")
        del alive

    def open_host_event(self, event: HostEvent) -> int:
        """perf_event_open() of the host, between two runs.

        Return its place in :meth:`host_events`, or a negative errno. InputError for a bare machine.
        """
        self._require_vcpu("perf_event_open()")
        made = ffi.new("struct pp_host_event *", _host_event(event))
        place = int(lib.pp_open_host_event(self._handle, made))
        if place >= 0:
            self._host_events.append(event)
        return place

    def move_vcpu(self, vcpu: int, cpu: int) -> None:
        """sched_setaffinity() of a vCPU's thread, between two runs: it goes on on pCPU ``cpu``.

        InputError for a bare machine, and for a vCPU or a pCPU that is not there.
        """
        self._require_vcpu("sched_setaffinity()")
        done = lib.pp_move_vcpu(self._handle, vcpu, cpu)
        if done == lib.PP_EPERM:
            raise InputError("the machine's counters have been read out, its run is over")
        if done:
            raise InputError(
                f"sched_setaffinity(): no vCPU {vcpu} of {self.guests}, or no pCPU {cpu} of "
                f"{self.cpus}"
            )

    def enable_host_event(self, place: int) -> None:
        """PERF_EVENT_IOC_ENABLE of one that was opened disabled. InputError if it is not open."""
        self._require_vcpu("PERF_EVENT_IOC_ENABLE")
        if lib.pp_enable_host_event(self._handle, place):
            raise InputError(f"PERF_EVENT_IOC_ENABLE: there is no open host event {place}")

    def note_refused(self, event: HostEvent) -> None:
        """Keep in mind an event that the host has refused: :attr:`refused_events`."""
        self._refused.append(event)

    @property
    def refused_events(self) -> tuple[HostEvent, ...]:
        """The host's events that could not be opened during the run."""
        return tuple(self._refused)

    def close_host_event(self, place: int) -> None:
        """Close a host event; its result stays. InputError if it is not open."""
        self._require_vcpu("close()")
        if lib.pp_close_host_event(self._handle, place):
            raise InputError(f"close(): there is no open host event {place}")

    def _all(self, function: Any, kind: str, *which: int) -> Any:
        count = function(self._handle, *which, ffi.NULL, 0)
        out = ffi.new(f"{kind}[]", count) if count else ()
        if count:
            function(self._handle, *which, out, count)
        return out

    @property
    def guests(self) -> int:
        """How many CPUs the guests have: vCPUs of all VMs, or natively pCPUs."""
        return self._config.vcpus + sum(vm.vcpus for vm in self._config.vms)

    @property
    def vms(self) -> int:
        """How many VMs there are; natively 1, the computer."""
        return 1 + len(self._config.vms)

    def guests_of(self, vm: int) -> range:
        """Return the CPUs of a VM: how all methods with a parameter ``guest`` call them."""
        number = [self._config.vcpus, *(each.vcpus for each in self._config.vms)]
        first = sum(number[:vm])
        return range(first, first + number[vm])

    @property
    def cpus(self) -> int:
        """How many pCPUs there are."""
        return self._config.vcpus if self._config.mode is Mode.NATIVE else self._config.cpus

    def guest(self, guest: int = 0) -> records.Guest:
        """Return what became of the guest.

        Its ``stop`` is that of its VM: of a further one Stop.BUDGET if it had not ended by itself.
        """
        info = ffi.new("struct pp_guest_info *")
        lib.pp_read_guest(self._handle, guest, info)
        return records.Guest(
            instructions=info.instructions,
            emulated=info.emulated,
            tsc_cycles=info.tsc_cycles,
            core_cycles=info.core_cycles,
            rip=info.rip,
            exit_value=info.exit_value,
            exited=bool(info.exited),
            stop=records.Stop(info.stop),
            serial_length=info.serial_length,
            serial_truncated=bool(info.serial_truncated),
            has_report=bool(info.has_report),
            bytes=bytes(info.bytes)[: info.nr_bytes],
        )

    def serial(self, vm: int = 0) -> str:
        """Return what the guest wrote to its serial port."""
        text = self._all(lib.pp_read_serial, "char", vm)
        return bytes(ffi.buffer(text)).decode(errors="replace") if text else ""

    def report(self, vm: int = 0, n: int = 0) -> records.GuestReport | None:
        """Return the report of a VM's CPU, None if it left none (or one that is none)."""
        raw = self._all(lib.pp_read_report, "uint8_t", vm, n)
        if not raw:
            return None
        data = bytes(ffi.buffer(raw))
        if len(data) < _REPORT_HEAD.size:
            return None
        magic, count, *head = _REPORT_HEAD.unpack_from(data)
        end = _REPORT_HEAD.size + count * _REPORT_EVENT.size
        if magic != _REPORT_MAGIC or count > MAX_EVENTS or end > len(data):
            return None
        events = _REPORT_EVENT.iter_unpack(data[_REPORT_HEAD.size : end])
        values: dict[str, Any] = dict(zip(records.GuestReport.__slots__, head, strict=False))
        values["events"] = tuple(records.ReportEvent(*e) for e in events)
        return records.GuestReport(**values)

    def physical(self, address: int, size: int, vm: int = 0) -> bytes:
        """Return guest-physical memory; empty if any of it lies outside the RAM."""
        out = ffi.new("uint8_t[]", size)
        count = lib.pp_read_physical(self._handle, vm, address, out, size)
        return bytes(ffi.buffer(out))[:count]

    def counters(self, guest: int = 0) -> list[records.Counter]:
        """Return what each guest event was and what the guest could read of it."""
        causes = names("loss_causes")
        return [
            records.Counter(
                config=c.config,
                true_count=c.true_count,
                counted=c.counted,
                causes={name: c.causes[i] for i, name in enumerate(causes) if c.causes[i]},
                enabled_cycles=c.enabled_cycles,
                true_running_cycles=c.true_running_cycles,
                reads=c.reads,
                wrong_reads=c.wrong_reads,
                overflows=c.overflows,
                filtered=bool(c.filtered),
                unread=c.unread,
                fed=bool(c.fed),
            )
            for c in self._all(lib.pp_read_counters, "struct pp_counter_result", guest)
        ]

    def silent_errors(self, guest: int = 0) -> list[records.SilentError]:
        """Return the episodes of silent loss."""
        causes = names("loss_causes")
        return [
            records.SilentError(e.config, e.tsc, e.until, e.lost, causes[e.cause])
            for e in self._all(lib.pp_read_silent_errors, "struct pp_silent_error", guest)
        ]

    def pmi(self, guest: int = 0, count: int = 1) -> records.Pmi:
        """Return how many PMIs of ``count`` CPUs were due and delivered, and how late."""
        out = ffi.new("struct pp_pmi_result *")
        lib.pp_read_pmi(self._handle, guest, count, out)
        return records.Pmi(**{name: getattr(out, name) for name in records.Pmi.__slots__})

    def exits(self, guest: int = 0) -> list[records.Exits]:
        """Return the VM-exits by reason, those that happened."""
        reasons = names(self._exit_list)
        return [
            records.Exits(reasons[e.reason], e.count, e.profile, e.cycles)
            for e in self._all(lib.pp_read_exits, "struct pp_exit_result", guest)
            if e.count
        ]

    def accesses(self, guest: int = 0) -> list[records.Accesses]:
        """Return the guest's PMU accesses by kind, those that happened."""
        kinds = names("access_kinds")
        return [
            records.Accesses(kinds[a.kind], a.direct, a.intercepted, a.cycles)
            for a in self._all(lib.pp_read_accesses, "struct pp_access_result", guest)
            if a.direct or a.intercepted
        ]

    def switch(self, guest: int = 0) -> records.Switch:
        """Return the PMU switches and their register traffic."""
        out = ffi.new("struct pp_switch_result *")
        lib.pp_read_switch(self._handle, guest, out)
        return records.Switch(**{name: getattr(out, name) for name in records.Switch.__slots__})

    def costs(self, cpu: int = 0) -> list[records.Cost]:
        """Return the cycles charged, by call stack."""
        functions = names("costs")
        return [
            records.Cost(ffi.string(c.stack).decode(), functions[c.cost], c.count, c.cycles)
            for c in self._all(lib.pp_read_costs, "struct pp_cost_result", cpu)
        ]

    def host_events(self) -> list[records.HostEventResult]:
        """Return the host's perf events, in the order they were given."""
        return [
            records.HostEventResult(
                given,
                e.count,
                None if e.guest_count == UNKNOWN else e.guest_count,
                e.samples,
                e.guest_samples,
                e.time_enabled,
                e.time_running,
                _HOST_EVENT_STATES[e.state],
                e.true_guest if e.has_truth else None,
                e.true_host if e.has_truth else None,
                e.excluded_guest if e.has_truth else None,
            )
            for given, e in zip(
                self._host_events,
                self._all(lib.pp_read_host_events, "struct pp_host_event_result"),
                strict=True,
            )
        ]

    def stats(self) -> dict[str, int]:
        """Return what the core counted about its own work, by name."""
        return dict(zip(names("stats"), self._all(lib.pp_read_stats, "uint64_t"), strict=True))

    def trace(self, cpu: int = 0) -> list[tuple[int, str, int, int, int, int]]:
        """Return the trace ring, oldest first: TSC, record name, x, a, b, c."""
        types = names("trace_records")
        return [
            (t.tsc, types[t.type], t.x, t.a, t.b, t.c)
            for t in self._all(lib.pp_read_trace, "struct pp_trace_record", cpu)
        ]

    def invariant(self) -> str:
        """Return the text of the broken invariant after ``Stop.INVARIANT``."""
        return _text(lib.pp_invariant_text(self._handle))
