# SPDX-License-Identifier: Apache-2.0
"""What ``pmupass bench`` measures: suites of figures, each with its unit.

Host times are medians of several runs, taken in turn so that a slow moment of the computer hits all
of them. Model figures (ratios, shares) are exact.
"""

SUITES: dict[str, str] = {
    "speed": "how fast this program is: guest MIPS, host ns per intercepted access, PMI and switch",
    "modes": "what the modes cost in the model: VM-exits of perf-record by CPU, an idle vPMU",
    "published": "published figures beside the model's: the sampling table of 2024, exits, PMIs",
    "sensitivity": "which conclusions hold whatever the costs are in their ranges",
    "exits": "what an idle vPMU costs by the rate of exits, and for whom mediated is cheaper",
    "exposed": "fewer counters exposed: a smaller switch, and what the guest then lacks",
    "latency": "how late PMIs are, by design and switch policy: cycles, and instructions of skid",
    "switch": "switch policies by exit rate, counters, their use and the host's events",
    "features": "what PEBS, LBR, topdown and PT would add to a mediated switch; who has them",
    "watchdog": "the host's hard lockup detectors: what each leaves to guests, and costs",
}
DEFAULT = ("speed", "modes")  # without a suite's name
PICTURES = (
    "sensitivity",
    "exits",
    "exposed",
    "latency",
    "switch",
    "features",
    "watchdog",
)  # that --svg draws
