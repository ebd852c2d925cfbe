# SPDX-License-Identifier: Apache-2.0
"""make soak: boots all hostile guests, or hostile processes, beside witnesses, again and again with new seeds, and fuzzes
between boots. Now and then a lap boots under KVM (tests/nested).

Each lap has a seed, which is all that is needed to repeat it (--seed N --laps 1). The log, the manifest and
the seed of the first lap that failed are kept in build/soak/.
"""

import argparse
import re
import shutil
import sys
import time
from dataclasses import dataclass

from guest.hostile import HOSTILES, seeded, witness
from guest.tier import MODELS, RESTRICTED, audit_problem, judge, tiny_vm
from nested.outer import OUTERS
from nested.tier import boot_all, cases_of
from runner.job import BUILD, Context, execute
from runner.machine import QEMU_MODELS, machine_options, run_machine
from runner.programs import FUZZ_RUNS
from wall.cases import WALLS
from wall.tier import boot_walls

SOAK = BUILD / "soak"
TIMEOUT = 7200  # of a boot: a VM that never ends is found by it
SHORT_ROUNDS = 1000  # about what the guests do by themselves
WITNESSES = 2
ROUNDS_A_WALL = 4000  # of the guests' rounds, to one of a hostile process
NOT_BOOTED = (64, 65, 69)  # exit statuses of scripts/run: something that it needs is not there, or wrong
TURNS = ("guests", "wall")  # take turns
SOAKED = [model for model in MODELS if model not in QEMU_MODELS]  # QEMU ends by some of what attacks there
KINDS = (*TURNS, "nested")
NESTED_EACH = 6  # laps: one takes as long as several others
_WITNESS = re.compile(r"witness: beats (\d+) missed (\d+) worst (\d+) ticks")


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/soak/run", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--minutes", type=float, metavar="M", help="begin no lap after M minutes (default: 60)")
    add("--laps", type=int, metavar="N", help="or: N laps")
    add("--seed", type=int, default=1, metavar="N", help="of the first lap; each has the next (default: 1)")
    add("--rounds", type=int, default=20 * SHORT_ROUNDS, metavar="N", help="of each guest in a lap (default: 20000)")
    add("--model", action="append", choices=SOAKED, help="CPU model; several take turns (default: all)")
    add("--cpus", type=int, default=2, metavar="N", help="physical CPUs (default: 2)")
    add("-k", metavar="PATTERN", dest="pattern", default="", help="only guests that have it in their name")
    add("--only", choices=KINDS, help="laps of one kind alone (default: guests and wall in turn, each sixth nested)")
    add("--fuzz", action="store_true", help="a longer run of the fuzz targets with each lap's seed, too")
    arguments = parser.parse_args()
    if arguments.minutes is None and arguments.laps is None:
        arguments.minutes = 60
    return arguments


def lap_cases(arguments, seed, model):
    """What runs in a lap: hostile guests, each with a seed of its own, between witnesses that last about as long."""
    hostile = [case for case in HOSTILES if arguments.pattern in case.name]
    threads = sum(case.vcpus + 1 for case in hostile)
    cases = [
        seeded(case, seed * len(HOSTILES) + i, arguments.rounds) for i, case in enumerate(hostile)
    ]
    if model in RESTRICTED:
        cases = [case.on_restricted() for case in cases]
    beats, audits = max(300, arguments.rounds // 20), len(hostile) + 1
    witnesses = [witness(f"witness-{i}", threads, beats, audits) for i in range(WITNESSES)]
    return [witnesses[0], *cases, *witnesses[1:]]


def expect_booted(boot):
    """Ends the soak where a part of it is missing: each lap would say the same."""
    if boot.status in NOT_BOOTED:
        sys.exit(f"soak: {boot.complaint.split(' / ')[0]}")


def run_wall_lap(arguments, seed, model):
    """Boots the hostile processes once. Returns as run_lap does."""
    walls = [wall for wall in WALLS if arguments.pattern in wall.name]
    context = Context(SOAK / f"lap-{seed}.out")
    rounds = max(1, arguments.rounds // ROUNDS_A_WALL)
    beats = max(300, arguments.rounds // 20)
    boot, found = boot_walls(context, walls, seed, model, arguments.cpus, rounds, beats, TIMEOUT)
    expect_booted(boot)
    problems = [f"{name}: {problem}" for name, problem in found if problem]
    return problems, told_by_witnesses(boot), context.log.with_suffix(".log")


def run_nested_lap(_arguments, seed, model):
    """Boots guests in Bulkhead under KVM once, with a seed of their own each lap. Returns as run_lap does."""
    context = Context(SOAK / f"lap-{seed}.out")
    boot, found = boot_all(context, OUTERS[model], cases_of(model, seed))
    problems = [f"{name}: {problem}" for name, problem in found if problem]
    return problems, told_by_witnesses(boot), context.log.with_suffix(".log")


def run_lap(arguments, seed, model):
    """Boots one lap. Returns (problems, Beats, Path of the log)."""
    cases = lap_cases(arguments, seed, model)
    context = Context(SOAK / f"lap-{seed}.out")
    options = [*machine_options(model), "--cpus", arguments.cpus, "--append-cmdline", "audit=on"]
    boot = run_machine(context, f"lap-{seed}", [tiny_vm(case) for case in cases], options, TIMEOUT)
    expect_booted(boot)
    problems = [f"{case.name}: {problem}" for case in cases if (problem := judge(case, boot))]
    if problem := boot.host_problem([0, 1]):
        problems.append(f"host: {problem}")
    if problem := audit_problem(boot, len(cases)):
        problems.append(f"audit: {problem}")
    return problems, told_by_witnesses(boot), context.log.with_suffix(".log")


@dataclass
class Beats:
    """What witnesses counted: in a lap, or in all."""

    beats: int = 0
    missed: int = 0
    worst: int = 0  # ticks

    def add(self, beats, missed, worst):
        self.beats += beats
        self.missed += missed
        self.worst = max(self.worst, worst)

    def __str__(self):
        return f"{self.beats} beats, {self.missed} missed, worst {self.worst} ticks"


def told_by_witnesses(boot):
    told = Beats()
    for match in filter(None, map(_WITNESS.fullmatch, witness_lines(boot))):
        told.add(*map(int, match.groups()))
    return told


def witness_lines(boot):
    return [line for name, lines in boot.lines.items() if name.startswith("witness-") for line in lines]


LAPS = {"guests": run_lap, "wall": run_wall_lap, "nested": run_nested_lap}


def kind_of(arguments, seed):
    """By the seed, so that it alone repeats a lap."""
    if seed % NESTED_EACH == 0 and not arguments.model:
        return "nested"
    return TURNS[seed % len(TURNS)]


def vendor_of(seed):
    """Whose KVM a nested lap has: in turn, in a soak of all kinds and of nested laps alone."""
    return list(OUTERS)[sum(divmod(seed, NESTED_EACH)) % len(OUTERS)]


def run_fuzz(seed):
    problems = []
    for name, (runs, longest) in FUZZ_RUNS.items():
        command = [BUILD / "tests" / f"fuzz-{name}", f"-runs={runs * 5}", f"-max_len={longest}"]
        command += ["-len_control=0", f"-seed={seed}", f"-artifact_prefix={SOAK}/fuzz-{name}-"]
        status, _output = execute(command, SOAK / f"fuzz-{name}.out", TIMEOUT)
        if status != 0:
            problems.append(f"fuzz {name}: seed {seed}, see build/soak/fuzz-{name}.out")
    return problems


def keep(log, seed):
    """The first failure's log and manifest, under names that no later lap takes."""
    for path in (log, log.with_suffix(".toml"), log.with_suffix(".outer.log")):
        if path.exists():
            shutil.copy(path, SOAK / f"first-failure-seed-{seed}{path.name.removeprefix(log.stem)}")


def main():
    arguments = parse_arguments()
    SOAK.mkdir(parents=True, exist_ok=True)
    models = arguments.model or SOAKED
    start, lap, failed_seeds = time.monotonic(), 0, []
    laps_of, used, total = dict.fromkeys(KINDS, 0), set(), Beats()
    while True:
        minutes = (time.monotonic() - start) / 60
        if lap == arguments.laps or (arguments.minutes is not None and minutes > arguments.minutes):
            break
        seed = arguments.seed + lap
        kind = arguments.only or kind_of(arguments, seed)
        model = models[lap // (1 if arguments.only else len(TURNS)) % len(models)]
        model = vendor_of(seed) if kind == "nested" else model
        problems, told, log = LAPS[kind](arguments, seed, model)
        if told.missed > 0:
            problems.append(f"witnesses missed {told.missed} beats")
        if arguments.fuzz:
            problems += run_fuzz(seed)
        laps_of[kind] += 1
        used.add(f"KVM of {model}" if kind == "nested" else model)
        total.add(told.beats, told.missed, told.worst)
        now = (time.monotonic() - start) / 60
        print(f"{now:6.1f} min  seed {seed}  {kind} {model}: {told}; {len(problems)} problems", flush=True)
        for problem in problems:
            print(f"        {problem}", flush=True)
        if problems and not failed_seeds:
            keep(log, seed)
        failed_seeds += [seed] if problems else []
        for path in (log, log.with_suffix(".outer.log")):
            path.unlink(missing_ok=True)
        lap += 1
    if failed_seeds:
        print(f"first failure: seed {failed_seeds[0]}, kept in build/soak/first-failure-seed-*")
    minutes = (time.monotonic() - start) / 60
    kinds = ", ".join(f"{kind} {count}" for kind, count in laps_of.items() if count)
    print(
        f"soak: {minutes:.0f} min, laps: {kinds or 'none'}, CPU models: {len(used)}, rounds: {arguments.rounds}, "
        f"seeds from {arguments.seed}: {total}; laps failed: {len(failed_seeds)}", flush=True,
    )
    return 1 if failed_seeds or lap == 0 else 0
