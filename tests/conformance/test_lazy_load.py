# SPDX-License-Identifier: Apache-2.0
"""A load that waits for the guest's first access.

Under ``--switch lazy`` a vCPU in which nothing can count runs without its PMU loaded. What exits
meanwhile, and that nobody can tell. Skylake-SP and Zen 4 give their guests every register but
selectors directly, Sapphire Rapids only the counters, since the guest lacks a fixed counter there.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

import pmupass

CPUS = ("skylake-sp", "sapphire-rapids", "zen4")
GUEST = asm.PRELUDE + asm.CPUID_STORM + "\tfinish\n"
LAZY = ("kvm.lazy_idle_loads=0",)

# Of GP counter 1: counter, selector, GLOBAL_CTRL, GLOBAL_STATUS, what clears it, ECX of RDPMC.
INTEL = {
    "counter": 0x4C2,
    "selector": 0x187,
    "enable": 0x38F,
    "status": 0x38E,
    "clear": 0x390,
    "rdpmc": 1,
}
AMD = {
    "counter": 0xC0010203,
    "selector": 0xC0010202,
    "enable": 0xC0000301,
    "status": 0xC0000300,
    "clear": 0xC0000302,
    "rdpmc": 1,
}
REGISTERS = {"skylake-sp": INTEL, "sapphire-rapids": INTEL, "zen4": AMD}


def run(source: str, cpu: str, *settings: str, host_perf: tuple[str, ...] = ()) -> asm.Ran:
    """Run a guest under lazy, whatever policy the suite runs under."""
    made = asm.config(b"", mode="mediated", cpu=cpu, settings=settings, host_perf=host_perf)
    return asm.run(
        source, mode="mediated", cpu=cpu, settings=settings, host_perf=host_perf, kvm=asm.lazy(made)
    )


def exits(ran: asm.Ran) -> int:
    """Return the VM-exits in all."""
    return sum(ran.exits().values())


@pytest.mark.parametrize("host_perf", [(), ("cycles:H",), ("instructions:H",)], ids=str)
@pytest.mark.parametrize("cpu", CPUS)
def test_an_idle_guest_is_never_loaded(cpu: str, host_perf: tuple[str, ...]) -> None:
    """No exit of this guest touches its PMU: nothing is switched, and the host loses nothing."""
    ran = run(GUEST, cpu, host_perf=host_perf)
    switch, stats = ran.machine.switch(), ran.machine.stats()
    assert (switch.loads, switch.puts, switch.wrmsr, switch.host_blind_cycles) == (0, 0, 0, 0)
    assert stats["loads_put_off"] == exits(ran)
    assert stats["first_touches"] == 0
    for event in ran.machine.host_events():
        assert event.count > 0
        assert event.count == event.true_host
        assert event.guest_count == 0


@pytest.mark.parametrize("cpu", CPUS)
def test_the_hosts_events_leave_the_guest_out(cpu: str) -> None:
    """On counters that the guest's own GLOBAL_CTRL enables, too, which is not the one in force."""
    ran = run(asm.script([("spin", 100_000)]), cpu, host_perf=("instructions:H",) * 4)
    assert ran.machine.switch().loads == 0
    for event in ran.machine.host_events():
        assert event.excluded_guest is not None
        assert event.excluded_guest > 200_000
        assert event.guest_count == 0
        # Less where an event came later and took perf some time.
        assert 0 < event.count <= event.true_host < 200_000


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize(
    ("op", "register"),
    [
        ("rd", "counter"),
        ("wr", "counter"),
        ("rd", "enable"),
        ("wr", "enable"),
        ("rd", "status"),
        ("wr", "clear"),
        ("pmc", "rdpmc"),
        ("rd", "selector"),
        ("wr", "selector"),
    ],
)
def test_the_first_access(cpu: str, op: str, register: str) -> None:
    """One that is direct otherwise exits once, and behind it the PMU is loaded and direct.

    One that exits anyway is served from memory, both times, and nothing is loaded for it.
    """
    words = REGISTERS[cpu]
    access = (op, words[register], *([0] if op == "wr" else []))
    once = run(asm.script([access]), cpu, *LAZY)
    twice = run(asm.script([access, access]), cpu, *LAZY)
    # The lag of this table's own exits is the same in both.
    direct = register != "selector" and (cpu != "sapphire-rapids" or register == "counter")
    assert exits(twice) - exits(once) == (0 if direct else 1)
    assert twice.machine.stats()["first_touches"] == (1 if direct else 0)
    # Behind the access, until the exit by which the guest ends: that is put back and not loaded.
    assert twice.machine.switch().loads == (1 if direct else 0)
    if direct:
        assert once.machine.stats()["first_touches"] == 1


@pytest.mark.parametrize("cpu", CPUS)
def test_the_hosts_counters_are_not_seen(cpu: str) -> None:
    """Each register of the guest's reads 0 while the host's events run in silicon's.

    Behind every access a selector is written, which exits, so that the load is put off again.
    """
    words = REGISTERS[cpu]
    pmu = asm.config(b"", mode="mediated", cpu=cpu).guest
    stride = 2 if cpu == "zen4" else 1
    counters = [words["counter"] + stride * i for i in range(-1, pmu.nr_gp - 1)]
    counters += [asm.FIXED_CTR0 + i for i in range(pmu.nr_fixed)]
    reads = [("rd", msr) for msr in counters]
    reads += [("pmc", i) for i in range(pmu.nr_gp)]
    reads += [("pmc", 1 << 30 | i) for i in range(pmu.nr_fixed)]
    reads.append(("rd", words["status"]))
    ops = [op for read in reads for op in (read, ("wr", words["selector"], 0))]
    host = ("-c 30000 cycles:H", *["instructions:H"] * 4, "cycles:H")
    ran = run(asm.script(ops), cpu, *LAZY, host_perf=host)
    assert asm.script_results(ran, len(ops)) == [0] * len(ops)
    assert all(event.count for event in ran.machine.host_events())
    assert ran.machine.stats()["loads_put_off"] > len(reads)


@pytest.mark.parametrize("cpu", CPUS)
def test_how_long_it_is_loaded_for_nothing(cpu: str) -> None:
    """After an access so many loads in a row go by that nobody uses; the next one is put off.

    The touch itself is behind one load more. CPUIDs load and put each, for the host has an event.
    """
    words = REGISTERS[cpu]
    touch = f"\tmovl ${words['counter']:#x}, %ecx\n\trdmsr\n"
    source = asm.PRELUDE + "_start:" + touch + asm.CPUID_STORM + "\tfinish\n"
    for loads in (0, 1, 5):
        ran = run(source, cpu, f"kvm.lazy_idle_loads={loads}", host_perf=("cycles:H",))
        assert ran.machine.switch().loads == 1 + loads
        assert ran.machine.stats()["loads_put_off"] == exits(ran) - 1 - loads


@pytest.mark.parametrize("cpu", CPUS)
def test_what_can_count_is_loaded(cpu: str) -> None:
    """Idle, then a counter that counts, then idle again: exact, and loaded only in between."""
    words = REGISTERS[cpu]
    select = asm.EN | asm.OS | 0xC0
    count = f"""
	wr	{words["enable"]:#x}, 2
	wr	{words["selector"]:#x}, {select:#x}
"""
    stop = f"""
	wr	{words["selector"]:#x}, 0
	wr	{words["enable"]:#x}, 0
	rd	{words["counter"]:#x}
	keep	0
"""
    storms = [asm.CPUID_STORM.replace("1:", f"{i}:").replace("1b", f"{i}b") for i in (1, 2, 3)]
    source = (
        asm.PRELUDE + "_start:" + storms[0] + count + storms[1] + stop + storms[2] + "\tfinish\n"
    )
    for host_perf in ((), ("cycles:H",)):
        ran = run(source, cpu, *LAZY, host_perf=host_perf)
        # The WRMSR that enables, the storm, and three instructions before the WRMSR that ends it.
        counted = 1 + asm.CPUID_STORM_INSTRUCTIONS + 3
        assert ran.result(0) == counted
        (result,) = (c for c in ran.machine.counters() if c.config == asm.OS | 0xC0)
        assert (result.true_count, result.counted, result.causes) == (counted, counted, {})
        stats, switch = ran.machine.stats(), ran.machine.switch()
        # Nobody wants a PMU back that is loaded and idle, unless the host has an event.
        storms_put_off = 2 if host_perf else 1
        assert stats["loads_put_off"] // asm.CPUID_ROUNDS == storms_put_off
        assert switch.loads == switch.puts
        assert switch.loads // asm.CPUID_ROUNDS == (1 if host_perf else 0)


@pytest.mark.parametrize(
    ("cpu", "settings"),
    [
        ("sapphire-rapids", ("kvm.interception=rfc2024",)),
        ("sapphire-rapids", ("kvm.interception=none",)),
        ("skylake-sp", ("kvm.interception=none",)),
        ("skylake-sp", ("guest.gp_width=40",)),
        ("skylake-sp", ("guest.fixed_width=40",)),
    ],
)
def test_where_kvm_would_answer_otherwise_than_silicon(cpu: str, settings: tuple[str, ...]) -> None:
    """Direct registers show counters or bits that the guest lacks: there no load is put off."""
    ran = run(GUEST, cpu, *settings)
    assert ran.machine.stats()["loads_put_off"] == 0
    assert ran.machine.switch().loads > 0


@pytest.mark.parametrize("cpu", ["skylake-sp", "zen4"])
@pytest.mark.parametrize("lazy", ["put", "load", "both"])
def test_each_half_alone(cpu: str, lazy: str) -> None:
    """A put that waits: a load for each return to user space, as upstream beside a host event."""
    settings = (f"kvm.lazy={lazy}",)
    alone, beside = (run(GUEST, cpu, *settings, host_perf=h) for h in ((), ("cycles:H",)))
    to_user_space = sum(alone.exits().get(name, 0) for name in ("IO_INSTRUCTION", "io"))
    loads = (alone.machine.switch().loads, beside.machine.switch().loads)
    assert loads == ((to_user_space, exits(beside)) if lazy == "put" else (0, 0))


@pytest.mark.parametrize("cpu", CPUS)
def test_a_pmi_of_the_host_is_the_hosts(cpu: str) -> None:
    """A sampling event of the host beside a guest that waits for its PMU: no PMI is the guest's."""
    result = pmupass.run(
        "exit-storm", time="2ms", switch="lazy", cpu=cpu, host_perf=("-c 3000 cycles:H",)
    )
    (event,) = result.host_events
    assert result.switch.loads == 0
    # One sample a period, but for what is charged in one lump of several periods.
    assert event.samples > 0.9 * event.count / 3000
    assert event.guest_samples == 0
    assert result.pmi.due == result.pmi.delivered == 0


@pytest.mark.parametrize("switch", ["upstream", "lazy"])
def test_bits_that_silicon_alone_takes(switch: str) -> None:
    """GLOBAL_OVF_CTRL is direct on Skylake-SP: bits of its version 4 are taken, whoever serves it.

    And a fixed counter takes no value beyond its width, of which KVM by itself drops what is above.
    """
    ops = [
        ("wr", 0x390, 1 << 58),
        ("wr", 0x187, 0),
        ("wr", 0x390, 1 << 57),
        ("wr", 0x187, 0),
        ("wr", asm.FIXED_CTR0, 1 << 50),
        ("wr", 0x187, 0),
        ("wr", asm.FIXED_CTR0, (1 << 48) - 1),
    ]
    made = asm.config(b"", mode="mediated", cpu="skylake-sp", settings=LAZY)
    kvm = made.kvm if switch == "upstream" else asm.lazy(made)
    ran = asm.run(asm.script(ops), mode="mediated", cpu="skylake-sp", settings=LAZY, kvm=kvm)
    assert asm.script_results(ran, len(ops)) == [0, 0, asm.GP, 0, asm.GP, 0, 0]
    if switch == "lazy":
        assert ran.machine.stats()["first_touches"] == 4
