# SPDX-License-Identifier: Apache-2.0
"""What KVM decides before a guest runs: its CPUID, the intercepts, the filter, the refusals.

Everything here is a function of the CPU model, the guest's PMU and the mode; the core is told the
outcome. The rules are those of Linux 7.0 unless an arrangement says otherwise.
"""
