# SPDX-License-Identifier: Apache-2.0
"""The keys of [[vm]] that say how its vCPUs share the host's CPUs with those of others.

    scheduling = read(table, vcpus)

What contradicts itself is refused here; whether a machine has the CPUs and the time is for the
supervisor to see when it starts the VM. include/manifest.h has the bindings.
"""

import re
from dataclasses import dataclass

from .table import NAME_PATTERN

KEYS = ("weight", "cap", "cpus", "schedule", "budget", "period", "trust", "cache")

SCHEDULES = ("shared", "dedicated", "realtime")
WEIGHT_DEFAULT, WEIGHT_MAX = 100, 10000
CAP_MAX = 25600  # percent: 256 CPUs
CACHE_WAYS_MAX = 32
SHARE_MAX = 90  # percent of a CPU that real-time vCPUs may reserve


@dataclass
class Scheduling:
    schedule: str = "shared"
    weight: int = WEIGHT_DEFAULT
    cap: int | None = None  # percent of one CPU
    cpus: frozenset | None = None
    budget: int | None = None  # nanoseconds
    period: int | None = None  # likewise
    trust: str | None = None
    cache: int | None = None  # ways


def read(at, vcpus):
    weight = at.number("weight", 1, WEIGHT_MAX)
    scheduling = Scheduling(
        schedule=at.choice("schedule", SCHEDULES),
        weight=WEIGHT_DEFAULT if weight is None else weight,
        cap=at.number("cap", 1, CAP_MAX),
        cpus=at.cpus("cpus"),
        trust=_trust(at),
        cache=at.number("cache", 1, CACHE_WAYS_MAX),
    )
    _read_realtime(at, scheduling)
    _check(at, scheduling, vcpus)
    return scheduling


def _trust(at):
    trust = at.value("trust", str, "write a word that the VMs have in common")
    if trust is not None and not re.fullmatch(NAME_PATTERN, trust):
        remedy = "use 1 to 31 of a-z, 0-9 and -, not starting with -"
        at.error("trust", f'"{trust}" is no word', remedy)
        return None
    return trust


def _read_realtime(at, scheduling):
    if at.table.get("schedule", scheduling.schedule) != scheduling.schedule:
        return  # refused already
    is_realtime = scheduling.schedule == "realtime"
    for key, example, low, high in (
        ("budget", "2ms", "10us", "1s"),
        ("period", "10ms", "100us", "10s"),
    ):
        if key in at.table and not is_realtime:
            remedy = 'write schedule = "realtime" as well, or remove it'
            at.error(key, f'means nothing with schedule = "{scheduling.schedule}"', remedy)
        elif is_realtime:
            required = f'a real-time VM wants a line such as {key} = "{example}"'
            setattr(scheduling, key, at.duration(key, low, high, required))


def _check(at, scheduling, vcpus):
    schedule, budget, period = scheduling.schedule, scheduling.budget, scheduling.period
    if schedule != "shared" and scheduling.cap is not None:
        reason = {"dedicated": "has its CPUs for itself", "realtime": "is bounded by its budget"}
        what = f'contradicts schedule = "{schedule}": such a VM {reason[schedule]}'
        at.error("cap", what, "remove one of them")
    if schedule != "shared" and scheduling.cpus and vcpus and len(scheduling.cpus) < vcpus:
        what = f"{len(scheduling.cpus)} CPUs for {vcpus} vCPUs that want one each"
        at.error("cpus", what, "name more CPUs, or lower vcpus")
    if budget and period and budget > period:
        at.error("budget", "is longer than the period", "shorten it, or lengthen the period")
    elif budget and period and budget * 100 > period * SHARE_MAX:
        what = f"is more than {SHARE_MAX} % of the period, which no CPU can promise"
        at.error("budget", what, "shorten it, or lengthen the period")
