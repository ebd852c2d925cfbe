# SPDX-License-Identifier: Apache-2.0
"""The tier wall: hostile processes on the real kernel, all in one boot on each CPU model, beside two witnesses that miss
nothing, with the auditor behind each end; and once without him, where a beat may be late by slices alone."""

from dataclasses import replace

from guest.tier import MODELS, audit_problem, judge
from runner.job import Job, verdict
from runner.machine import QEMU_MODELS, machine_options, run_machine, slots

from .cases import BEATS, SEED, WALLS, wall_vm, witness_vm, witnesses

TIER = "wall"
TIMEOUT = 900
AUDITS = 4  # that a beat may have to wait for, one behind the other: w-lives soon ends again
FORGERS = ("forge", "rings")
TEST_IMAGE = "test image: programs of its manifest run in the VMM's place; not for use"


# Left out on QEMU 7.2, and why.
QEMU_OTHERWISE = {
    "w-vcpus": "ends where VMRUN changed DR7 and then a guest does",
}
WORDS_ON_QEMU = {"w-calls": "races"}  # its CPUs run at the same time


def jobs():
    for model, name in MODELS.items():
        tests = [wall.name for wall in walls_on(model)] + [case.name for case in witnesses()]
        yield Job(TIER, name, wall_job(model), slots(model), tests, weight=60)
    tests = [wall.name for wall in WALLS] + [case.name for case in witnesses()]
    yield Job(TIER, "latency", wall_job("corei7_skylake_x", is_audited=False), tests=tests, weight=60)


def walls_on(model):
    if model not in QEMU_MODELS:
        return WALLS
    return [replace(wall, cmdline=f"{wall.cmdline} {WORDS_ON_QEMU.get(wall.name, '')}".strip())
            for wall in WALLS if wall.name not in QEMU_OTHERWISE]


def look_on(model, walls, beats, is_audited):
    """The witnesses. Who is beyond a VM's share waits like everybody, so it is a VM that has a slice left, however many
    its threads are. On QEMU time is the host's, and a beat may be late by anything."""
    others = None if model in QEMU_MODELS else len(walls) + 1
    return witnesses(others, beats, AUDITS if is_audited else 0)


def boot_walls(context, walls, seed, model, cpus=2, rounds=None, beats=BEATS, timeout=TIMEOUT, is_audited=True):
    """The boot, and what is wrong with each of its parts: [(name, problem or None)]."""
    cases = look_on(model, walls, beats, is_audited)
    vms = [wall_vm(wall, seed * 100 + i, rounds) for i, wall in enumerate(walls)]
    vms = [witness_vm(cases[0]), *vms, witness_vm(cases[1])]
    options = [*machine_options(model), "--cpus", cpus, "--test-keys"]
    options += ["--append-cmdline", "audit=on"] if is_audited else []
    boot = run_machine(context, context.log.stem, vms, options, timeout)
    problems = [(case.name, judge(case, boot)) for case in [*walls, *cases]]
    problems.append(("host", boot.host_problem([0, 1])))
    if is_audited:
        problems.append(("audit", audit_problem(boot, len(vms))))
    forgers = [wall.name for wall in walls if wall.program in FORGERS]
    if forgers:
        problems.append(("belief", belief_problem(boot, forgers)))
    problems.append(("told", None if TEST_IMAGE in boot.host else "no line says that it is a test image"))
    return boot, problems


def belief_problem(boot, forgers):
    """What of the words of guests/wall/forge.c and rings.c was taken for the hypervisor's own, or None."""
    claims = [line for line in boot.host if line.startswith(tuple(f"vm {name} says: " for name in forgers))]
    wanted = {"vm w-forge says: powered off", "vm w-forge says: [bulkhead] panic: forged"}
    if "w-forge" in forgers and not wanted <= set(claims):
        return "the supervisor does not tell what the VMM says"
    for name in forgers:
        told = [line for line in boot.host if line.startswith(f"vm {name}: ")]
        if told != [f"vm {name}: debug-exit 0"]:
            return f"the supervisor seems to say {told}"
    forged = [line for line in boot.host if "forged" in line and line not in claims]
    if forged or boot.host.count("all VMs ended") != 1:
        return f"the hypervisor seems to say {forged or 'that all VMs ended, not once'}"
    return None


def wall_job(model, is_audited=True):
    def run(context):
        walls = [wall for wall in walls_on(model) if not context.pattern or context.pattern in wall.name]
        _boot, problems = boot_walls(context, walls, SEED, model, is_audited=is_audited)
        return [verdict(name, problem) for name, problem in problems]

    return run
