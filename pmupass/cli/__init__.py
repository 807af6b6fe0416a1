# SPDX-License-Identifier: Apache-2.0
"""The command line: ``pmupass run | diff-modes | sweep | bench | policy | list``.

Nothing heavy is imported before a command runs: no rich, no msgspec, no compiled core.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from pmupass.errors import ExitStatus, PmupassError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMANDS = {
    "run": ("run", "Run a guest image in one mode and report what it saw, the truth and the cost."),
    "diff-modes": (
        "diff_modes",
        "Run a guest image in several modes and say how they differ, and why.",
    ),
    "sweep": ("sweep", "Run a grid of settings on all cores, a line of JSON for each run."),
    "bench": ("bench", "Measure how fast this program is, and what the modes cost."),
    "policy": ("policy", "Show what KVM intercepts, each row with its reason."),
    "list": ("listing", "List CPUs, events, workloads, MSRs, costs, profiles or settings."),
}


class ClosedOutputError(Exception):
    """Nobody reads what is written. No OSError: click would make a status of its own of it."""


@contextlib.contextmanager
def _noticing_closed_output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ClosedOutputError from error


class LazyGroup(click.Group):
    """A group that imports a command's module only to run it or to print its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pmupass.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _noticing_closed_output():  # --help and --version write here
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _noticing_closed_output():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, doc) for name, (_, doc) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 fine, 1 the guest reports failure, 2 usage, 3 bad or refused input, "
    "4 broken invariant or unimplemented instruction, 130 interrupted, 141 output closed early.",
)
@click.version_option(None, "-V", "--version", package_name="pmupass")
def cli() -> None:
    """The laboratory for KVM's virtual PMUs.

    One x86-64 guest image runs with the PMU arranged native, emulated and mediated; pmupass
    reports what the guest saw, what was true, what it cost and why the modes differ.

    \b
    pmupass diff-modes perf-record
    pmupass run ./guest.elf --mode mediated --cpu skylake-sp --json
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; the only place that prints an error."""
    try:
        with _noticing_closed_output():
            return _main(argv)
    except ClosedOutputError:
        return int(ExitStatus.CLOSED_OUTPUT)
    finally:
        _drop_what_cannot_be_written()


def _main(argv: Sequence[str] | None) -> int:
    try:
        status = cli.main(
            args=None if argv is None else list(argv), prog_name="pmupass", standalone_mode=False
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("pmupass: interrupted", err=True)
        return int(ExitStatus.INTERRUPTED)
    except (ClosedOutputError, BrokenPipeError):
        raise
    except Exception as error:  # a bug among them: one line, no traceback
        return _fail(error)
    return int(status or ExitStatus.OK)


def _drop_what_cannot_be_written() -> None:
    """Keep Python from complaining, with a status of its own, when it flushes at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fail(error: Exception) -> int:
    text, status = str(error), ExitStatus.MODEL
    if isinstance(error, PmupassError):
        status = error.exit_status
    elif isinstance(error, ImportError) and error.name == "pmupass._core":
        status = ExitStatus.INPUT
    elif isinstance(error, OSError) and error.strerror:
        text, status = f"{error.filename or 'the output'}: {error.strerror}", ExitStatus.INPUT
    else:
        text = (
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a bug in pmupass; PMUPASS_DEBUG=1 shows the traceback."
        )
    if os.environ.get("PMUPASS_DEBUG"):
        traceback.print_exception(error)
    # Further lines hang under the first, so that an error's caret points where it should.
    click.echo(f"pmupass: {text}".replace("\n", "\n" + " " * len("pmupass: ")), err=True)
    return int(status)
