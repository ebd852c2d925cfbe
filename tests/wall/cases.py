# SPDX-License-Identifier: Apache-2.0
"""The hostile processes (guests/wall/NAME.c), each as a program in a VMM's place, and the witnesses beside them."""

from dataclasses import dataclass

from guest.hostile import witness
from guest.tier import tiny_vm
from runner.job import BUILD

SEED = 1
BEATS = 1200  # about as long as w-calls takes
RESTARTS = {"restart": "on-failure", "restart-delay": "1ms", "restart-limit": 6}


@dataclass(frozen=True)
class Wall:
    """A VM whose VMM is the program; ends as a tiny guest's case does (guest.tier.judge)."""

    name: str
    program: str
    cmdline: str = ""
    memory: str = "16M"
    rounds: int = 1
    end: str = ""
    prints: tuple = ()
    is_restarted: bool = False


WALLS = [
    Wall("w-instructions", "instructions"),
    Wall("w-doors", "doors"),
    Wall("w-calls", "calls"),
    Wall("w-vcpus", "vcpus"),
    Wall("w-floods", "floods"),
    Wall("w-storm", "storm", "seconds=1 signals foreign reports threads"),
    Wall("w-forge", "forge"),
    Wall("w-rings", "rings"),
    # Garbage is all that it prints, so its end is the supervisor's word alone.
    Wall("w-lives", "lives", end="crashed: its VMM faulted .*", is_restarted=True),
]


def wall_vm(wall, seed, rounds=None):
    program = str(BUILD / "guests" / "wall" / f"{wall.program}.elf")
    words = f"{wall.cmdline} seed={seed} rounds={rounds or wall.rounds}".strip()
    # The kernel is not looked at: a manifest has to name one.
    vm = {"name": wall.name, "vcpus": 1, "memory": wall.memory, "kernel": program, "vmm": program, "cmdline": words}
    return vm | (RESTARTS if wall.is_restarted else {})


def witnesses(others=None, beats=BEATS, audits=0):
    return [witness(f"witness-{name}", others, beats, audits) for name in "ab"]


def witness_vm(case):
    return tiny_vm(case)
