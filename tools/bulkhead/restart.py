# SPDX-License-Identifier: Apache-2.0
"""The keys of [[vm]] that say what happens when it has ended.

    restart = read(table)
"""

from dataclasses import dataclass

from .table import parse_duration

KEYS = ("restart", "restart-delay", "restart-limit")

POLICIES = ("never", "on-failure", "always")
LIMIT_MAX = 1000_000


@dataclass
class Restart:
    policy: str = "never"
    delay: int = parse_duration("1s")  # nanoseconds before the first of several restarts
    limit: int = 0  # restarts in a row; 0: without end


def read(at):
    restart = Restart(policy=at.choice("restart", POLICIES))
    for key in KEYS[1:]:
        if key in at.table and restart.policy == "never":
            remedy = 'write restart = "on-failure" or "always" as well, or remove it'
            at.error(key, "means nothing without a restart", remedy)
            return restart
    delay = at.duration("restart-delay", "1ms", "60s")
    limit = at.number("restart-limit", 0, LIMIT_MAX)
    restart.delay = restart.delay if delay is None else delay
    restart.limit = restart.limit if limit is None else limit
    return restart
