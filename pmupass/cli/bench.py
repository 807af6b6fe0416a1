# SPDX-License-Identifier: Apache-2.0
"""``pmupass bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pmupass.bench import DEFAULT, PICTURES, SUITES
from pmupass.cli import options, output
from pmupass.errors import ExitStatus, UsageError
from pmupass.settings import near
from pmupass.workloads import BUILT_IN

if TYPE_CHECKING:
    from pmupass.results import Bench


@click.command(name="bench")
@click.argument("suites", metavar="[SUITE]...", nargs=-1)
@options.no_host
@click.option(
    "--svg",
    "svg_to",
    metavar="FILE",
    help="Draw what a suite found: the conclusions of sensitivity, or charts.",
)
@options.json
def command(
    *, suites: tuple[str, ...], no_host: bool, svg_to: str | None, json_to: str | None
) -> int:
    """Measure how fast this program is, and what the modes cost in the model.

    \b
    Suites: speed (guest MIPS, host ns per access, PMI and switch)
            modes (VM-exits of perf-record, by CPU, and a vPMU that is left idle)
            published (published figures beside the model's, pass or fail within 20 %)
            sensitivity (which conclusions hold over the ranges of all costs; minutes)
            exits (what an idle vPMU costs by the rate of exits, and the break-even)
            exposed (fewer counters for the guest: a smaller switch, and its price)
            latency (how late PMIs are, by design and switch policy)
            switch (switch policies against each other)
            features (what PEBS, LBR, topdown and PT would add to a mediated switch)
            watchdog (lockup detectors of the host, and what they mean for guests)
    Without one, speed and modes run, in under a minute.
    """
    output.check_target(json_to, (*SUITES, *BUILT_IN), "pmupass bench speed --json")
    for suite in suites:
        if suite not in SUITES:
            raise UsageError(
                f"no suite {suite!r}{near(suite, SUITES)}\nSuites: {', '.join(SUITES)}"
            )
    _check_picture(suites, svg_to, json_to)
    import importlib
    import time

    from msgspec import UNSET, UnsetType

    from pmupass import readout
    from pmupass.cli.watching import Watching
    from pmupass.machine import InterruptedRunError
    from pmupass.report import bench as report
    from pmupass.results import Bench, Chart, Measurement, Sensitivity

    started = time.perf_counter()
    results: list[Measurement] = []
    charts: list[Chart] = []
    sensitivity: Sensitivity | UnsetType = UNSET
    complete = True
    with Watching() as watch:
        try:
            for suite in dict.fromkeys(suites or DEFAULT):
                module = importlib.import_module(f"pmupass.bench.{suite}")
                for found in module.measure(watch):
                    if isinstance(found, Sensitivity):
                        sensitivity = found
                    elif isinstance(found, Chart):
                        charts.append(found)
                    else:
                        results.append(found)
        except InterruptedRunError:
            complete = False
    host = UNSET if no_host else readout.host_facts(time.perf_counter() - started)
    bench = Bench(
        complete=complete, results=results, charts=charts, sensitivity=sensitivity, host=host
    )
    if svg_to is not None and (charts or isinstance(sensitivity, Sensitivity)):
        output.write_whole(Path(svg_to), _picture(bench).encode())
    output.emit(bench, json_to, lambda console: report.render(console, bench))
    return int(ExitStatus.OK if complete else ExitStatus.INTERRUPTED)


def _picture(bench: Bench) -> str:
    """Return the SVG of the one suite that draws."""
    from pmupass.pictures import plot, tornado
    from pmupass.results import Sensitivity

    if isinstance(bench.sensitivity, Sensitivity):
        return tornado.draw(bench.sensitivity)
    return plot.draw(f"pmupass bench {bench.charts[0].suite}", bench.charts)


def _check_picture(suites: tuple[str, ...], svg_to: str | None, json_to: str | None) -> None:
    """Refuse a picture of nothing, or one that cannot be written: UsageError, InputError."""
    if svg_to is None:
        return
    drawn = [suite for suite in PICTURES if suite in suites]
    if not drawn:
        raise UsageError(f"--svg: name a suite that draws a picture: {', '.join(PICTURES)}")
    if len(drawn) > 1:
        raise UsageError(f"--svg: one file is for one suite; {' and '.join(drawn)} both draw")
    if svg_to == output.STDOUT:
        raise UsageError("--svg -: a picture goes to a file, as in --svg sensitivity.svg")
    if svg_to in SUITES:
        raise UsageError(f"--svg took {svg_to!r} as the file to write; put --svg FILE at the end")
    output.check_file("--svg", svg_to)
    if svg_to == json_to:
        raise UsageError(f"--svg and --json: {svg_to} is named twice")
