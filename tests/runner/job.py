# SPDX-License-Identifier: Apache-2.0
"""What tiers are made of: a Job runs for a while and yields Results, one a test.

    Job(tier, name, run)        run(context) returns a list of Results
    Result(name, outcome, why)  outcome: PASSED, FAILED, or SKIPPED with the reason in `why`
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
LOGS = BUILD / "test"

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass
class Result:
    name: str
    outcome: str
    why: str = ""


@dataclass
class Context:
    """What one run of a job is given."""

    log: Path  # where its output goes; files beside it begin with the same name
    pattern: str | None = None  # only tests whose name has it, for jobs that know their tests


@dataclass
class Job:
    tier: str
    name: str
    run: Callable[[Context], list[Result]]
    slots: int = 1  # processors it keeps busy, of the runner's two
    tests: list[str] = field(default_factory=list)  # names, where they are known before
    weight: int = 1  # about how many seconds it takes: long jobs start first
    filters: bool = False  # knows by itself which of its tests a pattern means
    pattern: str | None = None  # of this run

    @property
    def title(self):
        return f"{self.tier}/{self.name}"


def passed(name):
    return Result(name, PASSED)


def failed(name, why):
    return Result(name, FAILED, why)


def skipped(name, why):
    return Result(name, SKIPPED, why)


def verdict(name, problem):
    """Passed when there is no problem."""
    return failed(name, problem) if problem else passed(name)


def execute(argv, log, timeout, **options):
    """Runs a program to its end, with all of its output in `log`. Returns (status, output); the
    status is None when the time was over."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out:
        options = {"cwd": ROOT, "stdin": subprocess.DEVNULL, **options}
        command = [str(word) for word in argv]
        try:
            done = subprocess.run(
                command, stdout=out, stderr=subprocess.STDOUT, timeout=timeout, check=False,
                **options,
            )
            status = done.returncode
        except subprocess.TimeoutExpired:
            status = None
        except OSError as error:
            out.write(f"{command[0]}: {error.strerror}\n".encode())
            status = 127
    return status, log.read_text(encoding="utf-8", errors="replace")


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "(no output)"
