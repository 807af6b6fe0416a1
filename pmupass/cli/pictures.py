# SPDX-License-Identifier: Apache-2.0
"""``--flamegraph`` and ``--folded``: the host's time, for people and for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pmupass.cli import output
from pmupass.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pmupass.results import Result


@dataclass(frozen=True, slots=True)
class Pictures:
    """The files that were asked for; ``folded`` may be ``-``, stdout."""

    flamegraph: str | None
    folded: str | None

    def check(self, json_to: str | None) -> None:
        """Refuse what cannot be written, before anything runs: UsageError, InputError."""
        for option, target in (("--flamegraph", self.flamegraph), ("--folded", self.folded)):
            if target is not None and target != output.STDOUT:
                output.check_file(option, target)
        files = [
            t for t in (self.flamegraph, self.folded, json_to) if t not in (None, output.STDOUT)
        ]
        if len(set(files)) < len(files):
            raise UsageError(f"--flamegraph, --folded and --json: {files[-1]} is named twice")
        if self.flamegraph == output.STDOUT:
            raise UsageError(
                "--flamegraph -: a picture goes to a file, as in --flamegraph host.svg"
            )
        if self.folded == json_to == output.STDOUT:
            raise UsageError("--json and --folded - both want stdout; give one of them a file")

    @property
    def replace_tables(self) -> bool:
        """Whether stdout is taken."""
        return self.folded == output.STDOUT

    def _empty(self, results: Mapping[str, Result]) -> str:
        asked = " and ".join(
            option
            for option, target in (("--flamegraph", self.flamegraph), ("--folded", self.folded))
            if target is not None
        )
        why = "native has no host" if set(results) == {"native"} else "the host did not work"
        return f"{asked}: there is nothing to show, {why}"

    def write(self, title: str, results: Mapping[str, Result], *, by_mode: bool) -> None:
        """Write them; with ``by_mode`` the mode is the outermost frame of collapsed stacks."""
        from pmupass.pictures import flamegraph, stacks

        if self.flamegraph is None and self.folded is None:
            return
        if not any(result.cost_cycles for result in results.values()):
            click.echo(f"pmupass: {self._empty(results)}", err=True)
        if self.flamegraph is not None:
            svg = flamegraph.draw(title, results)
            output.write_whole(Path(self.flamegraph), svg.encode())
        if self.folded is None:
            return
        text = "".join(
            stacks.folded(cycles, mode if by_mode else "")
            for mode, cycles in stacks.of_results(results).items()
        )
        if self.replace_tables:
            click.echo(text, nl=False)
        else:
            output.write_whole(Path(self.folded), text.encode())
