# SPDX-License-Identifier: Apache-2.0
"""The boots that give the figures: each function of MEASURES is a boot, and returns {name: value}.

Guests measure themselves, and print what they saw; what only the hypervisor knows stands in its own
lines (`stat`, `usage`).
"""

import math
import re
import subprocess
from dataclasses import dataclass

import ring0
from runner.job import BUILD, LOGS, ROOT, Context
from runner.machine import run_machine



@dataclass
class Machine:
    """Where is measured. Its TSC counts instructions, so that a run gives the same figures as the one before."""

    options: tuple  # of scripts/run
    tsc_hz: int
    own_timer: tuple  # exits that a timer of the guest's costs it: HLT, WRMSR
    timeout: int


MACHINES = {
    "bochs": Machine((), 50_000_000, (12, 32), 600),
    # The firmware's waits are PAUSE loops, and each PAUSE leaves QEMU's: two minutes a boot.
    "qemu": Machine(("--target", "qemu", "--icount"), 1_000_000_000, (0x78, 0x7C), 1800),
}
machine = MACHINES["bochs"]  # tests/bench/run says which
MITIGATED = "_mitigated"  # behind the name of a figure that is measured twice
GUESTS = BUILD / "tests" / "bench"


class Unmeasured(Exception):
    """Why a figure could not be had."""


def boot(name, vms, cpus, *options):
    context = Context(LOGS / "bench" / f"{name}.out")
    options = [*machine.options, "--cpus", cpus, *options]
    run = run_machine(context, name, vms, options, machine.timeout)
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


def costs(name, words, cpus):
    """Once as KVM's figures are, and once with all that this CPU needs against side channels."""
    vm = guest("costs", "costs", words, vcpus=2, memory="64M")
    off = costs_of(boot(name, [vm], cpus, "--append-cmdline", "mitigations=off"))
    on = costs_of(boot(f"{name}-mitigated", [vm], cpus))
    return off | {name + MITIGATED: value for name, value in on.items()}


def measure_exits():
    return costs("costs", "cpus=2", 1)


def measure_pair():
    return costs("pair", "cpus=2 pair", 2)


# An idle Debian

DEBIAN = BUILD / "guests" / "debian"
IDLE_FROM_S, IDLE_S = 90, 10  # of the TSC since the start: by then Debian rests


def debian(name, rest_s):
    keys = {"vcpus": 1, "memory": "256M", "kernel": str(DEBIAN / "vmlinuz")}
    cmdline = f"earlycon=uart8250,io,0x3f8 keep_bootcon panic=-1 rest={rest_s}"
    return {"name": name, "initrd": str(DEBIAN / "initrd.img"), "cmdline": cmdline, **keys}


def clock(seconds):
    """A guest that is halted for so long, and ends."""
    words = f"settle={seconds * 1000} period=10000 job=1 count=1"
    return guest(f"clock-{seconds}", "realtime", words)


def exits_at(run, vm, end):
    """(TSC, {exit reason: count}) of a VM when another one ended."""
    at = next(i for i, line in enumerate(run.host) if line.startswith(f"vm {end}: "))
    for line in reversed(run.host[:at]):
        if match := re.fullmatch(rf"exits {vm} at (\d+)((?: \d+:\d+)*)", line):
            pairs = (pair.split(":") for pair in match[2].split())
            return int(match[1]), {int(reason): int(count) for reason, count in pairs}
    raise Unmeasured(f"no line 'exits {vm}' before the end of {end}")


def measure_idle():
    """Whenever a VM ends, the hypervisor tells what the exits of each VM were so far; two VMs end while
    Debian rests."""
    clocks = [clock(IDLE_FROM_S), clock(IDLE_FROM_S + IDLE_S)]
    vms = [debian("debian", IDLE_FROM_S + IDLE_S), *clocks]
    run = boot("idle", vms, 1, "--append-cmdline", "usage=all")
    first_line, last_line_of_all = (run.text.index(f"vm {vm['name']}: ") for vm in clocks)
    begin, end = run.text.find("rest: begin"), run.text.find("rest: end")
    if not 0 <= begin < first_line < last_line_of_all < end:
        raise Unmeasured("idle: Debian did not rest all the time")
    (start, before), (stop, after) = (exits_at(run, "debian", vm["name"]) for vm in clocks)
    seconds_10 = (stop - start) / (10 * machine.tsc_hz)
    exits = {reason: count - before.get(reason, 0) for reason, count in after.items()}
    beyond = sum(count for reason, count in exits.items() if reason not in machine.own_timer)
    return {
        "idle_exits": round(sum(exits.values()) / seconds_10),
        "idle_exits_beyond": math.ceil(beyond / seconds_10),
    }


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
    try:
        return {"kernel_lines": sum(ring0.count(ROOT, BUILD).values())}
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unmeasured(f"cloc does not run: {error}") from error


# What the scheduler gives and keeps

SHARE = r"share ran (\d+) of (\d+) gaps (\d+) longest (\d+)"
WINDOW = "settle=1500 window=4000 tail=1500"  # ms: others may start and end so much apart
WEIGHTS = {"light": 100, "middle": 200, "heavy": 400}
CAP = 25  # percent
HOGS = {"hog-off": "off", "hog-exits": "exits", "hog-ports": "ports", "hog-ipis": "ipis"}
HOG_SECONDS = 9
FLOOD_CAP = 5  # percent
FLOOD_SECONDS = 8
FLOODS = {  # what the attacker does, in the words of guests/wall/storm.c
    "flood_beside": "reports prints text=0",
    "flood_lines_beside": "reports prints text=1",
    "flood_escapes_beside": "reports prints text=2",
    "threads_beside": "threads",
}


def share_of(run, vm):
    """The part of its CPU that a guest had."""
    ran, window, _gaps, _longest = found(run, vm, SHARE)
    return ran / window


def off_by(value, wanted):
    """How far it is off, in thousandths of what was wanted, rounded up."""
    return math.ceil(round(abs(value / wanted - 1) * 1000, 6))


def usage(run, vm, word):
    """A number of the line that tells what a VM used in its life."""
    used = run.usage(vm)
    if used is None:
        raise Unmeasured(f"no line 'usage {vm}'")
    return used[word]


def measure_shares():
    """Three busy VMs of different weights on CPU 0, beside one that has CPU 1 for itself."""
    vms = [guest(n, "share", WINDOW, weight=weight, cpus="0") for n, weight in WEIGHTS.items()]
    vms += [guest("alone", "share", WINDOW, schedule="dedicated", cpus="1")]
    run = boot("shares", vms, 2, "--append-cmdline", "usage=on")
    shares = {name: share_of(run, name) for name in WEIGHTS}
    wanted = {name: weight / sum(WEIGHTS.values()) for name, weight in WEIGHTS.items()}
    total = sum(shares.values())
    _ran, _window, gaps, _longest = found(run, "alone", SHARE)
    return {
        "share_weights": max(off_by(shares[name] / total, wanted[name]) for name in WEIGHTS),
        "dedicated_gaps": gaps,
        "dedicated_timer_exits": usage(run, "alone", "own-timer-exits"),
    }


def measure_cap():
    run = boot("cap", [guest("capped", "share", WINDOW, cap=CAP)], 1)
    return {"cap_alone": off_by(share_of(run, "capped"), CAP / 100)}


def measure_realtime():
    """A real-time VM and a capped one on one CPU, beside those that never give it up. The capped one has
    the weight to get more than its cap."""
    job = "settle=1500 period=10000 job=1000 count=400"
    rt = guest("realtime", "realtime", job, schedule="realtime", budget="2ms", period="10ms", cpus="0")
    vms = [rt, guest("capped", "share", WINDOW, cap=CAP, weight=1000)]
    vms += [guest(name, "hog", f"seconds={HOG_SECONDS} {word}") for name, word in HOGS.items()]
    run = boot("realtime", vms, 1, "--append-cmdline", "usage=on")
    misses, worst, begun = found(run, "realtime", r"realtime misses (\d+) worst (\d+) begun (\d+)")
    return {
        "realtime_misses": misses + usage(run, "realtime", "misses"),
        "realtime_worst": worst,
        "realtime_begun": begun,
        "cap_beside": off_by(share_of(run, "capped"), CAP / 100),
    }


def measure_flood():
    """A busy VM, and a process in a VMM's place that may have 5 % of the CPU: it signals, prints
    letters, newlines or escapes, and reports as fast as it can, and what others do for it then is
    charged to it; or it makes threads, which the kernel ends."""
    storm = str(BUILD / "guests" / "wall" / "storm.elf")
    figures = {}
    for figure, words in FLOODS.items():
        words = f"seconds={FLOOD_SECONDS} signals foreign {words}"
        attacker = {**guest("flood", "share", words, cap=FLOOD_CAP), "kernel": storm, "vmm": storm}
        run = boot(figure, [guest("victim", "share", WINDOW), attacker], 1, "--test-keys")
        figures[figure] = math.ceil(1000 - 1000 * share_of(run, "victim"))
    return figures


MEASURES = [
    (measure_exits, ["exit_cpuid", "exit_out_vmm", "exit_mmio_read_vmm", "cr4_pge", "cr0_wp"]
     + ["nested_fault", "fresh_page", "tsc_deadline", "self_ipi", "timer_running", "timer_halted", "vcpu_switch"]),
    (measure_pair, ["ipi_running", "ipi_halted"]),
    (measure_shares, ["share_weights", "dedicated_gaps", "dedicated_timer_exits"]),
    (measure_cap, ["cap_alone"]),
    (measure_flood, list(FLOODS)),
    (measure_realtime, ["realtime_misses", "realtime_worst", "realtime_begun", "cap_beside"]),
    (measure_idle, ["idle_exits", "idle_exits_beyond"]),
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
