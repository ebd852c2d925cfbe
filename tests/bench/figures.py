# SPDX-License-Identifier: Apache-2.0
"""tests/bench/run: a table of figures with their aims and their peers', and a JSON line for each.

What exits cost is measured twice: with mitigations=off, as the peers' figures are, and with all that the emulated
CPU needs against side channels, which is everything. The other figures are with them.

Ticks are those of the TSC of Bochs, or of QEMU's emulation with --target qemu (AMD-V). Both count
instructions: a run gives the same figures as the one before. The peers' figures are constants, which
were measured by tests/bench/kvm/run.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass

from runner.job import ROOT

from . import boots

KVM = {
    "bochs": "KVM of Debian's Linux 6.1, mitigations off, on Bochs 3.1",
    "qemu": "KVM of Debian's Linux 6.1, mitigations off, on QEMU 7.2",
}


@dataclass
class Figure:
    name: str
    unit: str
    what: str
    aim: int | None = None  # at most
    peer: int | None = None
    is_judged: bool = True  # False: printed only
    target: str = "bochs"
    is_twice: bool = False  # the value is the one with mitigations off
    mitigated_aim: int | None = None
    value: int | None = None
    mitigated: int | None = None

    @property
    def most(self):
        """What the value may be: within the aim, and below the peer's."""
        if not self.is_judged:
            return None
        limits = [self.aim] if self.aim is not None else []
        limits += [self.peer - 1] if self.peer is not None else []
        return min(limits, default=None)

    @property
    def readings(self):
        """(name, value, what it may be at most) of each that there is to be."""
        yield self.name, self.value, self.most
        if self.is_twice:
            yield self.name + boots.MITIGATED, self.mitigated, self.mitigated_aim

    def json(self):
        for name, value, _most in self.readings:
            if value is not None:
                yield json.dumps({"name": name, "value": value, "unit": self.unit, "target": self.target})


def exit_figure(name, what, aim=None, mitigated_aim=None, peer=None, is_judged=True):
    return Figure(name, "ticks", what, aim, peer, is_judged, is_twice=True, mitigated_aim=mitigated_aim)


def figures(target):
    return figures_qemu() if target == "qemu" else figures_bochs()


def figures_bochs():
    return [
        exit_figure("exit_cpuid", "CPUID and back", 140, 165, 1133),
        exit_figure("exit_out_vmm", "OUT to a device in the VMM and back", 600, 900, 3263),
        exit_figure("exit_mmio_read_vmm", "MMIO read, decoded in the VMM", 1500, 1600, 6041),
        exit_figure("cr4_pge", "CR4.PGE changed, and back", 7, 7),
        exit_figure("cr0_wp", "CR0.WP changed, and back", 7, 7),
        exit_figure("nested_fault", "first access to a page of RAM that the host has ready", peer=3338),
        exit_figure("fresh_page", "first access to a page of RAM that nobody has used", peer=4878),
        exit_figure("tsc_deadline", "write of IA32_TSC_DEADLINE, 20 ms away", peer=1061),
        exit_figure("self_ipi", "interrupt to oneself, with its handler", 22, 22),
        exit_figure("timer_running", "deadline to handler, while the guest runs", peer=936),
        exit_figure("timer_halted", "deadline to handler, while the guest is halted", peer=6402),
        exit_figure("ipi_running", "ICR to the handler of a running vCPU", peer=319),
        exit_figure("ipi_halted", "ICR to the handler of a halted vCPU", peer=5223),
        exit_figure("vcpu_switch", "ICR to the handler of a halted vCPU on the same CPU", peer=8592),
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
        Figure("flood_lines_beside", "permil", "likewise, to one that prints newlines", 70),
        Figure("flood_escapes_beside", "permil", "likewise, to one that prints escapes", 70),
        Figure("threads_beside", "permil", "likewise, to one that makes threads and signals", 80),
        Figure("boot_to_guest", "ticks", "kernel's entry to the first guest instruction"),
        Figure("memory_overhead", "bytes", "all but the guest's own, 1 VM, 2 CPUs", 8 << 20),
        Figure("kernel_lines", "lines", "code that runs in ring 0", target="source"),
    ]


def figures_qemu():
    """What the vendors' backends do differently; the scheduler's figures are the same on both. Each exit
    costs less than KVM's; CPUID and OUT at most a fifth."""
    rows = [
        exit_figure("exit_cpuid", "CPUID and back", 2787 // 5, peer=2787),
        exit_figure("exit_out_vmm", "OUT to a device in the VMM and back", 3122 // 5, peer=3122),
        exit_figure("exit_mmio_read_vmm", "MMIO read, decoded in the VMM", peer=5610),
        exit_figure("cr4_pge", "CR4.PGE changed, and back", peer=9883),
        exit_figure("cr0_wp", "CR0.WP changed, and back", peer=8771),
        exit_figure("nested_fault", "first access to a page of RAM that the host has ready", peer=3141),
        exit_figure("fresh_page", "first access to a page of RAM that nobody has used", peer=4621),
        exit_figure("tsc_deadline", "write of IA32_TSC_DEADLINE, 20 ms away", peer=3885),
        exit_figure("self_ipi", "interrupt to oneself, with its handler", peer=7676),
        # KVM's timer comes early, and KVM spins until the deadline.
        exit_figure("timer_running", "deadline to handler, while the guest runs", peer=251, is_judged=False),
        exit_figure("timer_halted", "deadline to handler, while the guest is halted", peer=2927),
        exit_figure("vcpu_switch", "ICR to the handler of a halted vCPU on the same CPU", peer=10927),
        Figure("boot_to_guest", "ticks", "kernel's entry to the first guest instruction"),
        Figure("memory_overhead", "bytes", "all but the guest's own, 1 VM, 2 CPUs", 8 << 20),
    ]
    for figure in rows:
        figure.target = "qemu"
    return rows


def build():
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    goals = ["image-parts", "tiny", "wall", "bench-guests", "debian"]
    argv = ["make", "-s", f"-j{os.cpu_count()}", *goals]
    return subprocess.run(argv, cwd=ROOT, env=environment, stdout=sys.stderr, check=False)


def table(rows, target):
    head = ("figure", "off", "aim", "on", "aim", "unit", "peer", "is")
    lines = [head]
    for figure in rows:
        readings = [(value, figure.aim) for _name, value, _most in figure.readings]
        if figure.is_twice:
            readings[1] = (figure.mitigated, figure.mitigated_aim)
        else:
            readings.insert(0, (None, None))
        numbers = (*readings[0], *readings[1], figure.unit, figure.peer)
        words = ["-" if number is None else str(number) for number in numbers]
        lines.append((figure.name, *words, figure.what))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for name, *words, what in lines:
        columns = (f"{word:>{width}}" for word, width in zip(words, widths[1:]))
        yield f"{name:<{widths[0]}}  {'  '.join(columns)}  {what}"
    yield "off, on: mitigations (docs/side-channels.md)"
    yield f"peer: {KVM[target]} (docs/testing.md)"


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.splitlines()[0])
    what = "say of each aim whether it is met, and exit with status 1 when one is not"
    parser.add_argument("--check", action="store_true", help=what)
    what = "bochs (VT-x, the default), or qemu (AMD-V)"
    parser.add_argument("--target", choices=boots.MACHINES, default="bochs", help=what)
    parser.add_argument("figure", nargs="*", help="only these (default: all)", metavar="FIGURE")
    arguments = parser.parse_args()
    names = [figure.name for figure in figures(arguments.target)]
    for name in arguments.figure:
        if name not in names:
            parser.error(f"there is no figure {name}; on {arguments.target} there are {', '.join(names)}")
    return arguments


def main():
    arguments = parse_arguments()
    boots.machine = boots.MACHINES[arguments.target]
    rows = figures(arguments.target)
    rows = [figure for figure in rows if figure.name in arguments.figure or not arguments.figure]
    if build().returncode != 0:
        return 1
    values, problems = boots.measure([figure.name for figure in rows])
    for figure in rows:
        figure.value = values.get(figure.name)
        figure.mitigated = values.get(figure.name + boots.MITIGATED)
    print("\n".join(table(rows, arguments.target)))
    for figure in rows:
        for line in figure.json():
            print(line)
    readings = [(figure, *reading) for figure in rows for reading in figure.readings]
    judged = [r for r in readings if arguments.check and r[2] is not None and r[3] is not None]
    for figure, name, value, most in judged:
        met = "met" if value <= most else "missed"
        print(f"{name}: {value} {figure.unit}, aim {most}: {met}")
    for problem in problems:
        print(f"tests/bench/run: {problem}", file=sys.stderr)
    missing = any(value is None for _figure, _name, value, _most in readings)
    beyond = any(value > most for _figure, _name, value, most in judged)
    return 1 if missing or beyond else 0
