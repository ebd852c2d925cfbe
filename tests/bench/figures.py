# SPDX-License-Identifier: Apache-2.0
"""tests/bench/run: a table of figures with their aims and their peers', and a JSON line for each.

Ticks are those of the TSC of Bochs, which counts instructions: with one CPU a run gives the same
figures as the one before.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass

from runner.job import BUILD, LOGS, ROOT, Context, execute, last_line
from runner.machine import run_machine

TIMEOUT = 300
KVM = "KVM of Debian's Linux 6.1, mitigations off, on Bochs 3.1"


@dataclass
class Figure:
    name: str
    unit: str
    what: str
    aim: int | None = None  # at most
    peer: int | None = None
    source: str = ""  # of the peer's figure
    target: str = "bochs"
    value: int | None = None

    @property
    def is_within_aim(self):
        return self.value is not None and (self.aim is None or self.value <= self.aim)

    def json(self):
        words = {"name": self.name, "value": self.value, "unit": self.unit, "target": self.target}
        return json.dumps(words)


def figures():
    return [
        Figure("exit_cpuid", "ticks", "CPUID and back", 150, 967, KVM),
        Figure("exit_out_vmm", "ticks", "OUT to a device in the VMM and back", 700, 3041, KVM),
        Figure("exit_mmio_read_vmm", "ticks", "MMIO read, decoded in the VMM", 2500, 6081, KVM),
        Figure("boot_to_guest", "ticks", "kernel's entry to the first guest instruction"),
        Figure("memory_overhead", "bytes", "all but the guest's own, 1 VM, 2 CPUs", 8 << 20),
        Figure("kernel_lines", "lines", "code that runs in ring 0", target="source"),
    ]


class Unmeasured(Exception):
    """Why a figure could not be had."""


def boot(name, vm, cpus):
    context = Context(LOGS / "bench" / f"{name}.out")
    run = run_machine(context, name, [{"name": name, "vcpus": 1, **vm}], ["--cpus", cpus], TIMEOUT)
    if run.status != 0:
        raise Unmeasured(f"{name}: exit status {run.status}: {run.complaint or run.end(name)}")
    return run


def measure_exits(values):
    kernel = str(BUILD / "tests" / "bench" / "costs.elf")
    run = boot("costs", {"memory": "8M", "kernel": kernel}, 1)
    for line in run.lines["costs"]:
        if match := re.fullmatch(r"bench (\S+) (\d+)", line):
            values[match[1]] = int(match[2])


def measure_start(values):
    kernel = str(BUILD / "tests" / "bench" / "empty.elf")
    run = boot("empty", {"memory": "2M", "kernel": kernel}, 1)
    values["boot_to_guest"] = run.stat("boot_to_guest")


def measure_memory(values):
    """With all of the guest's memory in use, so that all tables that map it are there."""
    kernel = str(BUILD / "guests" / "tiny" / "memory.elf")
    run = boot("memory", {"memory": "256M", "kernel": kernel, "cmdline": "memory=256"}, 2)
    values["memory_overhead"] = run.stat("memory_overhead")


def measure_lines(values):
    """What make compiles for ring 0, with the headers beside it."""
    objects = (BUILD / "ring0" / "lib").glob("*.o")
    files = [path for o in objects for path in (ROOT / "lib").glob(o.name.split(".")[0] + ".[chS]")]
    folders = [ROOT / name for name in ("arch", "kernel", "vmx", "drivers")]
    languages = "C,C/C++ Header,Assembly"
    command = ["cloc", "--json", "--quiet", f"--include-lang={languages}", *folders, *files]
    status, output = execute(command, LOGS / "bench" / "cloc.out", TIMEOUT)
    if status != 0:
        raise Unmeasured(f"cloc ended with status {status}: {last_line(output)}")
    values["kernel_lines"] = json.loads(output[output.index("{") :])["SUM"]["code"]


def build():
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    goals = ["image-parts", "tiny", "bench-guests"]
    argv = ["make", "-s", f"-j{os.cpu_count()}", *goals]
    return subprocess.run(argv, cwd=ROOT, env=environment, stdout=sys.stderr, check=False)


def table(rows):
    head = ("figure", "value", "unit", "aim", "peer", "is")
    lines = [head]
    for figure in rows:
        numbers = (figure.value, figure.unit, figure.aim, figure.peer)
        words = ["-" if number is None else str(number) for number in numbers]
        lines.append((figure.name, *words[:2], *words[2:], figure.what))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        name, value, unit, aim, peer, what = line
        yield (
            f"{name:<{widths[0]}}  {value:>{widths[1]}} {unit:<{widths[2]}}"
            f"  {aim:>{widths[3]}}  {peer:>{widths[4]}}  {what}"
        )
    sources = {figure.source for figure in rows if figure.source}
    yield from (f"peer: {source} (docs/testing.md)" for source in sorted(sources))


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.splitlines()[0])
    what = "say of each aim whether it is met, and exit with status 1 when one is not"
    parser.add_argument("--check", action="store_true", help=what)
    arguments = parser.parse_args()
    if build().returncode != 0:
        return 1
    values, problems = {}, []
    for measure in (measure_exits, measure_start, measure_memory, measure_lines):
        try:
            measure(values)
        except Unmeasured as problem:
            problems.append(str(problem))
    rows = figures()
    for figure in rows:
        figure.value = values.get(figure.name)
    print("\n".join(table(rows)))
    for figure in rows:
        if figure.value is not None:
            print(figure.json())
    if arguments.check:
        for figure in rows:
            if figure.value is not None and figure.aim is not None:
                met = "met" if figure.is_within_aim else "missed"
                print(f"{figure.name}: {figure.value} {figure.unit}, aim {figure.aim}: {met}")
    for problem in problems:
        print(f"tests/bench/run: {problem}", file=sys.stderr)
    missing = any(figure.value is None for figure in rows)
    beyond = arguments.check and not all(figure.is_within_aim for figure in rows)
    return 1 if missing or beyond else 0
