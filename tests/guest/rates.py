# SPDX-License-Identifier: Apache-2.0
"""VMs whose TSCs count at a rate of their own: every guest that measures time and those that attack timers, at rates above
and below the host's, side by side; and what a CPU without TSC scaling says to such VMs."""

from dataclasses import replace

from runner.job import BUILD, verdict
from runner.machine import run_machine

from .cases import CASES
from .hostile import HOSTILES, SEED, seeded

TIMEOUT = 900
GUESTS = ("acpi", "rtc", "timer-pit", "timer-lapic", "pvclock", "tsc-rate", "halt", "smp-timer", "smp-tsc")
HOSTILE = ("hostile-apic", "hostile-flood", "hostile-msr")
# Name: the key's value, and the rate in Hz. The slow one is no multiple of anything.
RATES = {"fast": ("375MHz", 375_000_000), "slow": ("12.345678MHz", 12_345_678)}

# On a CPU that cannot scale: what is as good as its own rate, about 50 MHz, and what is not.
UNSCALED = {
    "near": ("50MHz", "debug-exit 0"),
    "far": ("50.1MHz", "refused: tsc-frequency of 50100 kHz: this machine's TSC counts at "),
}


def scaled_cases():
    cases = [case for case in CASES if case.guest in GUESTS and case.vcpus <= 4 and "steal" not in case.cmdline]
    cases += [seeded(case, SEED) for case in HOSTILES if case.guest in HOSTILE]
    for name, (value, rate) in RATES.items():
        for case in cases:
            words = f"{case.cmdline} hz={rate}" if case.guest == "tsc-rate" else case.cmdline
            yield replace(case, name=f"{case.name}-{name}", kernel=case.guest, cmdline=words.strip(),
                          tsc_frequency=value)


def run_unscaled(context):
    vms = []
    for name, (value, _end) in UNSCALED.items():
        kernel = BUILD / "guests" / "tiny" / "tsc-rate.elf"
        vms.append({"name": name, "vcpus": 1, "memory": "8M", "kernel": str(kernel), "tsc-frequency": value})
    boot = run_machine(context, context.log.stem, vms, ["--cpu", "corei7_haswell_4770"], TIMEOUT)
    results = []
    for name, (_value, end) in UNSCALED.items():
        said = boot.end(name)
        results.append(verdict(name, None if said.startswith(end) else f"ended as '{said}'"))
    named = any("no TSC scaling" in line for line in boot.host)
    results.append(verdict("the report says so", None if named else "no line names TSC scaling"))
    results.append(verdict("host", boot.host_problem([1])))
    return results
