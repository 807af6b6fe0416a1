# SPDX-License-Identifier: Apache-2.0
"""Find the test that catches each fault, and write it down in caught.toml.

python tests/faults/find.py             faults that have no entry yet
python tests/faults/find.py ID ...      these

Asked first are the tests that docs/rules.toml names for the rule that the fault breaks, then the
rest of the suite, of one CPU of a kind. A fault that nothing catches is named on stderr and makes
the exit status 1: the suite lacks a test. The build is kept in build/faults.
"""

from __future__ import annotations

import re
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor, as_completed

from fault_build import CAUGHT, ROOT, Fault, FaultBuild, caught, faults

WORKERS = 2

# Where tests of a rule are likely, by the first word of the fault's name.
NEAR = {
    "CREDIT": ("forced_emulation", "emulated_instructions", "filter"),
    "EMULATED": ("reprogramming", "pmi", "contention", "transactions", "forced_emulation"),
    "MEDIATED": ("pmu_switch", "pmi", "forced_emulation"),
    "FILTER": ("filter",),
}
ROOM = {"PERF": "perf", "FILTER": "event_filter"}
# What a guest sees of a PMU.
ORDER = (
    *("msr_rules", "filter", "pmi", "pmu_switch", "emulated_instructions", "forced_emulation"),
    *("contention", "exits_per_pmi", "errata", "exact_counts", "transactions", "reprogramming"),
    *("amd_registers", "amd_counting", "amd_switch"),
)
ONE_OF_A_KIND = "sapphire-rapids", "zen2", "zen4"


def of_the_rule(rule: str) -> list[str]:
    """Return the tests that docs/rules.toml names for a rule, as pytest knows them."""
    parts = tomllib.loads((ROOT / "docs" / "rules.toml").read_text(encoding="utf-8"))["part"]
    named: list[str] = next(
        r.get("tests", []) for part in parts for r in part["rule"] if r["id"] == rule
    )
    c_test = r"tests/c/test_(\w+)\.c::(\w+)"
    return [re.sub(c_test, r"tests/test_c.py::test_c[\1-\2]", test) for test in named]


def stages(fault: Fault) -> list[list[str]]:
    """Return arguments of pytest, one list a run."""
    first = [f"tests/conformance/test_{name}.py" for name in ORDER]
    folder = ROOT / "tests" / "conformance"
    rest = sorted(str(path.relative_to(ROOT)) for path in folder.glob("test_*.py"))
    cpus = [path.stem for path in (ROOT / "pmupass" / "cpus").glob("*.toml")]
    others = " or ".join(sorted(set(cpus) - set(ONE_OF_A_KIND)))
    family = fault.name.partition("_")[0]
    near, rooms = NEAR.get(family, ()), ROOM.get(family)
    return [
        of_the_rule(fault.rule),
        ["tests/test_c.py", "-k", rooms] if rooms else [],
        [f"tests/conformance/test_{name}.py" for name in near],
        [*first, "-k", f"not ({others})"],
        ["tests/test_c.py"],
        [*(path for path in rest if path not in first), "-k", f"not ({others})"],
        ["tests/policy", "tests/workloads", "tests/cli"],
    ]


def find(build: FaultBuild, fault: Fault) -> str | None:
    """Return the first test that fails with a fault; None if there is none."""
    for arguments in filter(None, stages(fault)):
        outcome = build.run(arguments, fault.name, "-x", "-m", "not slow")
        if outcome.failed:
            return outcome.failed[0]
        if outcome.status:
            raise RuntimeError(outcome.text)
    return None


def write(table: dict[str, str]) -> None:
    """Write caught.toml, in the order of the list."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# The test that catches each fault of csrc/base/faults.def, as tests/faults/find.py found",
        "# it, which writes this file.",
        *(f'{fault.name} = "{table[fault.name]}"' for fault in faults() if fault.name in table),
    ]
    CAUGHT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(names: list[str]) -> int:
    """Find and write."""
    table = caught()
    folder = ROOT / "build" / "faults"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "done").unlink(missing_ok=True)
    build = FaultBuild(folder)
    wanted = [f for f in faults() if f.name in names or (not names and f.name not in table)]
    survivors = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        running = {pool.submit(find, build, fault): fault for fault in wanted}
        for future in as_completed(running):
            fault, test = running[future], future.result()
            sys.stderr.write(f"{fault.name}: {test or 'nothing catches it'}\n")
            if test is None:
                survivors += 1
                continue
            table[fault.name] = test
            write(table)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
