# SPDX-License-Identifier: Apache-2.0
"""Reports keep to 100 columns and say what the documents say."""

import io
from collections.abc import Callable

import pytest
from rich.text import Text

from pmupass import diff, results
from pmupass.report import bench, console, diff as diff_report, run as run_report

Make = Callable[..., results.Result]


def text_of(render: Callable, document: object) -> str:
    """Return a report as it looks in a pipe."""
    out = io.StringIO()
    render(console.make(file=out), document)
    text = out.getvalue()
    assert "\x1b" not in text
    return text


def test_a_run_fits_and_tells_all(make: Make) -> None:
    text = text_of(run_report.render, make())
    assert max(map(len, text.splitlines())) <= console.WIDTH
    assert text.startswith("perf-record, mediated on sapphire-rapids, seed 1\n")
    assert "silicon has 8 GP + 4 fixed counters (version 5), guest sees 8 GP + 3 fixed" in text
    for part in (
        "900,000",
        "VM-exits",
        "MSR_WRITE",
        "Register accesses",
        "rdpmc",
        "PMU switches",
        "native_write_msr",
        "6.00%",
    ):
        assert part in text
    assert "\nAll 2 events counted exactly; profiling took 6.00%" in text


def test_a_native_run_has_no_empty_tables(make: Make) -> None:
    text = text_of(run_report.render, make("native"))
    assert "PMU switches" not in text
    assert "Host cycles" not in text


def test_a_diff_has_a_column_a_mode(make: Make, make_counter: Callable) -> None:
    huge = [make_counter("br_misp_retired.all_branches:u", 10**15, 10**14, contention=9 * 10**14)]
    modes = {
        "native": make("native", counters=huge),
        "emulated": make("emulated", counters=huge),
        "mediated": make("mediated", counters=huge),
    }
    text = text_of(diff_report.render, diff.compare("perf-record", modes))
    assert max(map(len, text.splitlines())) <= console.WIDTH
    assert text.startswith("perf-record: native, emulated, mediated on sapphire-rapids, seed 1\n")
    assert "contention" in text
    assert "Differences" in text
    assert "host-visibility" in text


def test_a_refusal_stands_in_the_report(make: Make) -> None:
    modes = {"emulated": make("emulated"), "mediated": results.Refused("-EBUSY: cycles:D")}
    text = text_of(diff_report.render, diff.compare("perf-record", modes))
    assert "mediated: refused, -EBUSY: cycles:D" in text


def test_refusals_are_printed_once(make: Make) -> None:
    """Once as a refusal; the verdict does not repeat it."""
    document = diff.compare("x", {"mediated": results.Refused("-EBUSY: cycles\nExclude guests")})
    text = text_of(diff_report.render, document)
    assert text.count("-EBUSY") == text.count("Exclude guests") == 1
    assert text.endswith("\nNo mode ran: mediated was refused.\n")


def test_guest_time_and_instructions_are_always_shown(make: Make) -> None:
    """A guest that faults at once has none of either."""
    guest = results.Guest(0, 0, 0, 0, "shutdown", 0, "", False)
    modes = {mode: make(mode, guest=guest) for mode in ("native", "emulated")}
    text = text_of(diff_report.render, diff.compare("x", modes))
    for row in ("guest time, TSC cycles", "guest instructions"):
        (line,) = (line for line in text.splitlines() if line.startswith(f"{row} "))
        assert line.split()[-2:] == ["0", "0"]
    assert "  of them completed by KVM" not in text


def test_silent_errors_and_events_that_are_not_modelled_are_named(make: Make) -> None:
    errors = [results.SilentError("cycles", 5, 9, 4, "contention")] * 20
    host_events = [results.HostEvent("cycles:D", "0x3c", 12, 100, 50, "active")]
    result = make(
        "emulated",
        silent_errors=errors,
        not_modelled=["uops_issued.any"],
        host_events=host_events,
    )
    text = text_of(run_report.render, result)
    assert "the first 8 of 20" in text
    assert "Not modelled, they count zero: uops_issued.any" in text
    assert "cycles:D" in text
    assert "50.00%" in text


def test_serial_text_is_no_markup(make: Make) -> None:
    guest = results.Guest(1, 0, 1, 1, "exit", 3, "[bold]x[/bold] [1/2]\n", False)
    text = text_of(run_report.render, make(guest=guest))
    assert "mediated serial: [bold]x[/bold] [1/2]" in text
    assert "the guest reports failure, exit value 3" in text


def test_lost_ipis_are_told(make: Make) -> None:
    assert "IPIs" not in text_of(run_report.render, make())
    text = text_of(run_report.render, make(stats={"ignored_ipis": 1200}))
    assert "mediated: 1,200 IPIs reached no CPU" in text


def test_a_bench_shows_published_figures() -> None:
    document = results.Bench(
        complete=False,
        results=[
            results.Measurement("overhead", "g", 6.5, "%", published=6.21, source="RFC"),
            results.Measurement("other", "h", 12, "MIPS"),
        ],
    )
    text = text_of(bench.render, document)
    assert "6.21" in text
    assert "published: RFC" in text
    assert "figures so far" in text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_reports_survive_the_locale(make: Make, encoding: str) -> None:
    """LANG=C has no box characters; rich falls back to ASCII ones."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    run_report.render(console.make(file=out), make())
    out.flush()
    assert Text(raw.getvalue().decode(encoding)).plain


def test_pebs_and_lbr_over_time(make: Make) -> None:
    """Shares of 400 cycles and of 10; nothing is said of a guest that did not use them."""
    stats = {
        "pebs_records": 1200,
        "pebs_missed": 7,
        "pebs_on_cycles": 300,
        "pebs_off_host_cycles": 100,
        "pebs_off_cross_mapped_cycles": 0,
        "lbr_active_cycles": 4,
        "lbr_stolen_cycles": 6,
        "lbr_warnings": 2,
    }
    text = " ".join(text_of(run_report.render, make("emulated", stats=stats)).split())
    assert "with it enabled: on 75.00%, off for the host's 25.00%; records" in text
    assert "would have written: 1,200, and missed: 7 (none" in text
    assert "with its event: its own 40.00%, taken by the host 60.00%; VM-entries" in text
    assert "KVM warned: 2 (" in text
    text = text_of(run_report.render, make("emulated", stats=dict.fromkeys(stats, 0)))
    assert "PEBS" not in text
    assert "LBR" not in text
