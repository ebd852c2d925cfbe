# SPDX-License-Identifier: Apache-2.0
"""All tiers, in the order of their cost: what make must build for one, and its jobs."""

from collections.abc import Callable
from dataclasses import dataclass

import guest.tier
import linux.tier
import nested.tier
import wall.tier

from . import programs


@dataclass
class Tier:
    goals: list[str]  # of make
    jobs: Callable  # called once the goals are there
    what: str
    is_default: bool = True  # part of everything


TIERS = {
    "unit": Tier(["unit"], programs.unit_jobs, "Criterion tests on the host, ASan and UBSan"),
    "tools": Tier([], programs.tools_jobs, "unittest of the host tools"),
    "check": Tier(["image-parts"], programs.check_jobs, "the whole tree without running it, as make check does"),
    "setup": Tier([], programs.setup_jobs, "scripts/setup and what it brings"),
    "boot": Tier(["image-parts", "tiny"], programs.boot_jobs, "the boot application and the console on real firmware"),
    "proof": Tier([], programs.proof_jobs, "contracts proved by Frama-C, run-time errors excluded"),
    "fuzz": Tier(["fuzz"], programs.fuzz_jobs, "libFuzzer, a fixed seed and number of runs"),
    "bench": Tier(
        ["image-parts", "tiny", "bench-guests", "debian"],
        programs.bench_jobs,
        "costs are within their aims, and below KVM's",
    ),
    "guest": Tier(["image-parts", "tiny", "debian"], guest.tier.jobs, "tiny guests, bad images"),
    "wall": Tier(["image-parts", "tiny", "wall"], wall.tier.jobs, "hostile processes in ring 3, beside witnesses"),
    "linux": Tier(["image-parts", "debian", "tiny"], linux.tier.jobs, "the Debian guest"),
    "load": Tier(
        ["image-parts", "debian", "debian-stress"],
        linux.tier.load_jobs,
        "Debian guests that are many or busy: half an hour, only when named",
        is_default=False,
    ),
    "nested": Tier(
        ["image-parts", "tiny", "debian", "peer"],
        nested.tier.jobs,
        "all of it under KVM, of both vendors: 20 minutes each, only when named",
        is_default=False,
    ),
}
