# SPDX-License-Identifier: Apache-2.0
"""tests/run [TIER...] [-k PATTERN]: builds what the tiers need, runs their jobs, counts their tests.

docs/testing.md is the manual. The last line is `N passed, N failed, N skipped`; the exit status is
0 when none failed, 1 when one did or none ran, 64 when the command line is wrong.
"""

import argparse
import os
import signal
import sys

from .job import LOGS, ROOT, Job, execute, failed, last_line
from .report import Report
from .schedule import SLOTS, Schedule
from .tiers import TIERS

EXIT_USAGE = 64
BUILD_TIMEOUT = 1800


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"tests/run: {message}\n")


def parse_arguments():
    about = "\n".join(f"  {name:<8}{tier.what}" for name, tier in TIERS.items())
    parser = Parser(
        prog="tests/run",
        description="Runs the tests of all tiers, or of those named.",
        epilog=f"tiers:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("tiers", nargs="*", metavar="TIER", help="default: all that do not say otherwise")
    add("-k", metavar="PATTERN", dest="pattern", help="only jobs and tests that have it in their name")
    add("-v", "--verbose", action="store_true", help="a line for each test that passed, too")
    add("-j", type=int, default=SLOTS, metavar="N", dest="slots", help=f"at once (default: {SLOTS})")
    add("--list", action="store_true", help="list the jobs, and their tests where they are known")
    arguments = parser.parse_args()
    for name in arguments.tiers:
        if name not in TIERS:
            parser.error(f"there is no tier {name}; there are {', '.join(TIERS)}")
    if arguments.slots < 1:
        parser.error("-j: give a number above 0")
    return arguments


def make(goals, log):
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "-s", f"-j{os.cpu_count()}", *goals]
    return execute(command, log, BUILD_TIMEOUT, env=environment)


def build(names, report):
    """Makes what the tiers need; returns the tiers that can run. One that can not has failed."""
    goals = list(dict.fromkeys(goal for name in names for goal in TIERS[name].goals))
    if not goals or make(goals, LOGS / "build.out")[0] == 0:
        return names
    able = []
    for name in names:
        job = Job(name, "build", run=None)
        status, output = make(TIERS[name].goals, LOGS / name / "build.out")
        if not TIERS[name].goals or status == 0:
            able.append(name)
        else:
            errors = [line for line in output.splitlines() if "error" in line]
            report.ended(job, [failed("build", errors[0] if errors else last_line(output))], 0)
    return able


def matches(job, pattern):
    if pattern is None or job.filters:
        return True
    return pattern in job.title or any(pattern in test for test in job.tests)


def test_pattern(job, pattern):
    """The pattern for the job's tests; a job whose own name has it runs whole."""
    return None if pattern is None or pattern in job.title else pattern


def list_jobs(jobs):
    for job in jobs:
        print(job.title)
        for test in job.tests:
            print(f"    {test}")


def main():
    arguments = parse_arguments()
    os.chdir(ROOT)
    names = arguments.tiers or [name for name, tier in TIERS.items() if tier.is_default]
    report = Report(arguments.verbose)
    able = names if arguments.list else build(names, report)
    jobs = [job for name in able for job in TIERS[name].jobs()]
    jobs = [job for job in jobs if matches(job, arguments.pattern)]
    if arguments.list:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        list_jobs(jobs)
        return 0
    pattern = arguments.pattern
    for job in jobs:
        job.pattern = test_pattern(job, pattern)
    try:
        Schedule(jobs, arguments.slots, report.started, report.ended).run()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return report.finish()
