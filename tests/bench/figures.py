# SPDX-License-Identifier: Apache-2.0
"""tests/bench/run: a table of figures with their aims and their peers', and a JSON line for each.

Ticks are those of the TSC of Bochs, which counts instructions: a run gives the same figures as the
one before. The peers' figures are constants, measured by tests/bench/kvm/run.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass

from runner.job import ROOT

from . import boots

KVM = "KVM of Debian's Linux 6.1, mitigations off, on Bochs 3.1"


@dataclass
class Figure:
    name: str
    unit: str
    what: str
    aim: int | None = None  # at most
    peer: int | None = None
    is_judged: bool = True  # False: printed only
    target: str = "bochs"
    value: int | None = None

    @property
    def most(self):
        """What the value may be: within the aim, and below the peer's."""
        if not self.is_judged:
            return None
        limits = [self.aim] if self.aim is not None else []
        limits += [self.peer - 1] if self.peer is not None else []
        return min(limits, default=None)

    @property
    def is_met(self):
        return self.value is not None and (self.most is None or self.value <= self.most)

    def json(self):
        words = {"name": self.name, "value": self.value, "unit": self.unit, "target": self.target}
        return json.dumps(words)


def figures():
    return [
        Figure("exit_cpuid", "ticks", "CPUID and back", 150, 1133),
        Figure("exit_out_vmm", "ticks", "OUT to a device in the VMM and back", 700, 3263),
        Figure("exit_mmio_read_vmm", "ticks", "MMIO read, decoded in the VMM", 2500, 6041),
        Figure("tsc_deadline", "ticks", "write of IA32_TSC_DEADLINE, 20 ms away", peer=1061),
        Figure("self_ipi", "ticks", "interrupt to oneself, with its handler", 22),
        Figure("timer_running", "ticks", "deadline to handler, while the guest runs", peer=936),
        Figure("timer_halted", "ticks", "deadline to handler, while the guest is halted", peer=6454),
        Figure("ipi_running", "ticks", "ICR to the handler of a running vCPU", peer=319),
        Figure("ipi_halted", "ticks", "ICR to the handler of a halted vCPU", peer=5223),
        Figure("vcpu_switch", "ticks", "ICR to the handler of a halted vCPU on the same CPU", peer=8590),
        Figure("idle_exits", "exits", "of an idle Debian guest in 10 s", peer=237, is_judged=False),
        Figure("idle_exits_beyond", "exits", "of these, not for its own timers", peer=40, is_judged=False),
        Figure("share_weights", "permil", "weights 1:2:4, the share that is furthest off", 20),
        Figure("cap_alone", "permil", "a cap of 25 %, how far off, alone on a CPU", 10),
        Figure("cap_beside", "permil", "the same beside hostile neighbours", 10),
        Figure("dedicated_timer_exits", "exits", "by a timer of ours, of a vCPU with its own CPU", 0),
        Figure("dedicated_gaps", "gaps", "that this vCPU saw in 4 s of its TSC"),
        Figure("realtime_misses", "jobs", "of 400, 1 ms in 10 ms, beside hostile neighbours", 0),
        Figure("realtime_worst", "ticks", "from a release to the job's end, at most"),
        Figure("realtime_begun", "ticks", "from a release to the handler, at most"),
        Figure("flood_beside", "permil", "of a CPU, lost to a VMM with a cap of 5 % that floods us", 70),
        Figure("boot_to_guest", "ticks", "kernel's entry to the first guest instruction"),
        Figure("memory_overhead", "bytes", "all but the guest's own, 1 VM, 2 CPUs", 8 << 20),
        Figure("kernel_lines", "lines", "code that runs in ring 0", target="source"),
    ]


def build():
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    goals = ["image-parts", "tiny", "wall", "bench-guests", "debian"]
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
    yield f"peer: {KVM} (docs/testing.md)"


def parse_arguments(names):
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.splitlines()[0])
    what = "say of each aim whether it is met, and exit with status 1 when one is not"
    parser.add_argument("--check", action="store_true", help=what)
    what = "only these (default: all)"
    parser.add_argument("figure", nargs="*", choices=[[], *names], help=what, metavar="FIGURE")
    return parser.parse_args()


def main():
    rows = figures()
    arguments = parse_arguments([figure.name for figure in rows])
    rows = [figure for figure in rows if figure.name in arguments.figure or not arguments.figure]
    if build().returncode != 0:
        return 1
    values, problems = boots.measure([figure.name for figure in rows])
    for figure in rows:
        figure.value = values.get(figure.name)
    print("\n".join(table(rows)))
    for figure in rows:
        if figure.value is not None:
            print(figure.json())
    if arguments.check:
        for figure in rows:
            if figure.value is not None and figure.most is not None:
                met = "met" if figure.is_met else "missed"
                print(f"{figure.name}: {figure.value} {figure.unit}, aim {figure.most}: {met}")
    for problem in problems:
        print(f"tests/bench/run: {problem}", file=sys.stderr)
    missing = any(figure.value is None for figure in rows)
    beyond = arguments.check and not all(figure.is_met for figure in rows)
    return 1 if missing or beyond else 0
