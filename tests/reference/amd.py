# SPDX-License-Identifier: Apache-2.0
"""What is different on AMD's CPUs: the registers, and that nothing which is there faults.

Reserved bits are cleared, writes of what is read-only are ignored; counters keep 48 bits. The first
four counters have a second set of registers, those of the K7. There are no fixed counters. The
local APIC does not mask the LVTPC when it delivers.

With GuestOnly or HostOnly set a counter of silicon counts nothing while EFER.SVME is clear, as it
is here. KVM clears both bits for a guest without SVM, whose counter then counts.
"""

from __future__ import annotations

from typing import ClassVar

from emulated import Emulated
from rules import Fault, Kvm, Mediated, Silicon, Value

K7_EVNTSEL0, K7_PERFCTR0, PERF_CTL0 = 0xC0010000, 0xC0010004, 0xC0010200
STATUS, CTL, STATUS_CLR, STATUS_SET = range(0xC0000300, 0xC0000304)
SIDES = 3 << 40  # GuestOnly, HostOnly
RESERVED = ~((1 << 36) - 1) & ((1 << 64) - 1) & ~SIDES | 1 << 21 | 1 << 19


class AmdSilicon(Silicon):
    """The bare machine; ``Shape.full_width_writes`` stands for the core extension."""

    branches: ClassVar[int] = 0xC2
    event_bits: ClassVar[int] = 0xF_0000_FFFF
    automask: ClassVar[bool] = False
    reserved: ClassVar[int] = RESERVED

    def place(self, msr: int) -> tuple[str, int] | None:
        """Return which register of which counter an MSR is."""
        if 0 <= msr - K7_EVNTSEL0 < 4:
            found = ("selector", msr - K7_EVNTSEL0)
        elif 0 <= msr - K7_PERFCTR0 < 4:
            found = ("counter", msr - K7_PERFCTR0)
        elif 0 <= msr - PERF_CTL0 < 12 and self.shape.full_width_writes:
            found = (("selector", "counter")[msr & 1], (msr - PERF_CTL0) // 2)
        else:
            return None
        return found if found[1] < self.shape.gp else None

    def exists(self, msr: int) -> bool:
        """PerfMonV2's registers."""
        return self.shape.version > 1 and STATUS <= msr <= STATUS_SET

    def read_msr(self, msr: int) -> Value:
        """RDMSR."""
        place = self.place(msr)
        if place:
            return self.selectors[place[1]] if place[0] == "selector" else self.value(place[1])
        if not self.exists(msr):
            raise Fault
        if msr == STATUS:
            return self.shown_status()
        return self.global_ctrl if msr == CTL else 0

    def write_msr(self, msr: int, value: int) -> None:
        """WRMSR: what is there takes every value."""
        place = self.place(msr)
        if place and place[0] == "selector":
            self.write_selector(place[1], value)
        elif place:
            self.write_counter(msr, place[1], value)
        elif not self.exists(msr):
            raise Fault
        elif msr == CTL:
            self.write_global_ctrl(value)
        elif msr == STATUS_CLR:
            self.status &= ~value
        elif msr == STATUS_SET:
            self.status |= value & self.counter_bits()
        self.active = {}

    def write_selector(self, index: int, value: int) -> None:
        """Reserved bits are cleared."""
        self.selectors[index] = value & ~self.reserved

    def privileges(self, index: int) -> int:
        """A counter of one side of VMRUN, or of both, is off where there is no VMRUN."""
        return 0 if self.selectors[index] & SIDES else super().privileges(index)

    def write_counter(self, msr: int, index: int, value: int) -> None:
        """Bits above the width are dropped."""
        self.set_counter(index, value & (1 << self.shape.width) - 1)

    def write_global_ctrl(self, value: int) -> None:
        """Bits of no counter are cleared."""
        self.global_ctrl = value & self.counter_bits()

    def rdpmc(self, ecx: int, cpl: int, *, pce: bool) -> Value:
        """RDPMC takes the number of a counter and nothing else."""
        if (cpl and not pce) or ecx >= self.shape.gp:
            raise Fault
        return self.value(ecx)


class AmdKvm(Kvm, AmdSilicon):
    """A guest without SVM."""

    reserved: ClassVar[int] = RESERVED | SIDES

    def host_writes(self, msr: int, value: int) -> bool:
        """KVM_SET_MSRS: STATUS can be written; the registers that set and clear it do nothing."""
        if msr == STATUS:
            if value & ~self.counter_bits():
                return False
            self.status = value
        elif msr not in (STATUS_CLR, STATUS_SET):
            self.write_msr(msr, value)
        return True


class AmdEmulated(Emulated, AmdKvm):
    """The emulated design."""

    def touch(self, msr: int) -> None:
        """Counters and selectors have several names."""
        if place := self.place(msr):
            self.touched.add(place[1])


class AmdMediated(Mediated, AmdKvm):
    """The mediated design."""

    def exits_for(self, msr: int) -> bool:
        """Selectors always exit."""
        return (self.place(msr) or ("", 0))[0] == "selector"
