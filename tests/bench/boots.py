# SPDX-License-Identifier: Apache-2.0
"""The boots that give the figures: each function of MEASURES is a boot, and returns {name: value}.

Guests measure themselves, and print what they saw; what only the hypervisor knows stands in its own
lines (`stat`, `usage`).
"""

import json
import re

from runner.job import BUILD, LOGS, ROOT, Context, execute, last_line
from runner.machine import run_machine

TIMEOUT = 300
GUESTS = BUILD / "tests" / "bench"


class Unmeasured(Exception):
    """Why a figure could not be had."""


def boot(name, vms, cpus, *options):
    context = Context(LOGS / "bench" / f"{name}.out")
    run = run_machine(context, name, vms, ["--cpus", cpus, *options], TIMEOUT)
    if run.status != 0:
        ends = ", ".join(f"{vm['name']}: {run.end(vm['name'])}" for vm in vms)
        raise Unmeasured(f"{name}: exit status {run.status}: {run.complaint or ends}")
    return run


def guest(name, kernel, cmdline="", **keys):
    path = str(GUESTS / f"{kernel}.elf")
    return {"name": name, "vcpus": 1, "memory": "8M", "kernel": path, "cmdline": cmdline, **keys}


def found(run, vm, pattern):
    """The numbers in the one line of a VM that matches."""
    for line in run.lines.get(vm, []):
        if match := re.fullmatch(pattern, line):
            return [int(number) for number in match.groups()]
    raise Unmeasured(f"{vm} printed no line '{pattern}'")


# What exits and interrupts cost


def costs_of(run):
    lines = (re.fullmatch(r"bench (\S+) (\d+)", line) for line in run.lines.get("costs", []))
    return {match[1]: int(match[2]) for match in lines if match}


def measure_exits():
    return costs_of(boot("costs", [guest("costs", "costs", "cpus=2", vcpus=2)], 1))


def measure_pair():
    return costs_of(boot("pair", [guest("costs", "costs", "cpus=2 pair", vcpus=2)], 2))


# What the hypervisor itself needs


def measure_start():
    run = boot("empty", [guest("empty", "empty", memory="2M")], 1)
    return {"boot_to_guest": run.stat("boot_to_guest")}


def measure_memory():
    """With all of the guest's memory in use, so that all tables that map it are there."""
    kernel = str(BUILD / "guests" / "tiny" / "memory.elf")
    vm = {"name": "memory", "vcpus": 1, "memory": "256M", "kernel": kernel, "cmdline": "memory=256"}
    return {"memory_overhead": boot("memory", [vm], 2).stat("memory_overhead")}


def measure_lines():
    """What make compiles for ring 0, with the headers beside it."""
    objects = (BUILD / "ring0" / "lib").glob("*.o")
    files = [path for o in objects for path in (ROOT / "lib").glob(o.name.split(".")[0] + ".[chS]")]
    folders = [ROOT / name for name in ("arch", "kernel", "vmx", "drivers")]
    languages = "C,C/C++ Header,Assembly"
    command = ["cloc", "--json", "--quiet", f"--include-lang={languages}", *folders, *files]
    status, output = execute(command, LOGS / "bench" / "cloc.out", TIMEOUT)
    if status != 0:
        raise Unmeasured(f"cloc ended with status {status}: {last_line(output)}")
    return {"kernel_lines": json.loads(output[output.index("{") :])["SUM"]["code"]}


MEASURES = [
    (measure_exits, ["exit_cpuid", "exit_out_vmm", "exit_mmio_read_vmm", "tsc_deadline", "self_ipi"]
     + ["timer_running", "timer_halted", "vcpu_switch"]),
    (measure_pair, ["ipi_running", "ipi_halted"]),
    (measure_start, ["boot_to_guest"]),
    (measure_memory, ["memory_overhead"]),
    (measure_lines, ["kernel_lines"]),
]


def measure(names):
    """All that the boots give which are needed for these figures, and what went wrong."""
    values, problems = {}, []
    for function, gives in MEASURES:
        if not set(gives) & set(names):
            continue
        try:
            values |= function()
        except Unmeasured as problem:
            problems.append(str(problem))
    return values, problems
