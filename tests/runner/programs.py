# SPDX-License-Identifier: Apache-2.0
"""The tiers that are programs of their own: each is run, and its report is read.

A program that reports no test, or ends badly though no test failed, is a failed test itself.
"""

import os
import re
import sys

from .job import (
    BUILD,
    LOGS,
    ROOT,
    SKIPPED,
    Job,
    Result,
    execute,
    failed,
    last_line,
    passed,
    skipped,
    verdict,
)

TIMEOUT = 900
SKIP_STATUS = 77
# A target's number of runs, and the longest input.
FUZZ_RUNS = {
    "acpi": (300_000, 600),
    "decode": (1_000_000, 64),
    "emulate": (200_000, 1000),
    "exit": (200_000, 600),
    "load": (500_000, 300),
    "manifest": (500_000, 400),
    "task": (200_000, 700),
    "system": (1_000_000, 64),
    "syscall": (4_000, 600),  # the auditor looks at all memory behind each process
}
NOT_HERE = ["fresh-debian"]  # of tests/setup: takes an hour, and runs the tests itself
# About how many seconds a check takes on one processor, where it is more than a few.
CHECK_SECONDS = {"tidy": 150, "repeatable": 90, "headers": 60, "gcc": 60, "calls": 15, "format": 10}

_TAP = re.compile(r"(not ok|ok) - (\S+)(.*)")
_TAP_SKIP = re.compile(r"# SKIP\s*(.*)", re.IGNORECASE)
_UNITTEST = re.compile(r"RESULT (\S+) (passed|failed|skipped) ?(.*)")
_LINES = re.compile(r"(ok|FAIL|skip) +([^\s:]+(?: [^\s:]+)*)(?:: (.*))?")
_CHECK = re.compile(r"(ok|FAIL|skip) +(\S+) +(.*)")
_AIM = re.compile(r"(\S+): (\d+) (\S+), aim (\d+): (met|missed)")
_BOOT = re.compile(r"(PASS|FAIL|SKIP) (?:loader|console|banks): ([^:]+)(?:: (.*))?")


def complete(results, status, output, name):
    """Adds what a report can not tell: no tests at all, or a bad end."""
    if status is None:
        results.append(failed(name, f"did not end within {TIMEOUT} s"))
    elif not results:
        results.append(failed(name, f"no test ran (status {status}): {last_line(output)}"))
    elif status != 0 and all(result.outcome != "failed" for result in results):
        results.append(failed(name, f"ended with status {status}: {last_line(output)}"))
    return results


# unit: Criterion


def read_tap(text):
    for line in text.splitlines():
        if match := _TAP.match(line.strip()):
            name, rest = match[2], match[3]
            if skip := _TAP_SKIP.search(rest):
                yield skipped(name, skip[1] or "no reason given")
            elif match[1] == "ok":
                yield passed(name)
            else:
                yield failed(name, rest.strip() or "see the log")


def unit_jobs():
    binaries = sorted(path for path in (BUILD / "tests").glob("unit-*") if not path.suffix)

    def job_of(binary):
        def run(context):
            tap = context.log.with_suffix(".tap")
            tap.unlink(missing_ok=True)
            command = [binary, f"--tap={tap}", "--jobs=1", "--short-filename"]
            if context.pattern:
                command.append(f"--filter=*{context.pattern}*")
            status, output = execute(command, context.log, TIMEOUT)
            results = list(read_tap(tap.read_text(encoding="utf-8"))) if tap.exists() else []
            if context.pattern and not results:
                return []
            return complete(results, status, output, binary.name)

        return Job("unit", binary.name, run, weight=8, filters=True)

    if not binaries:
        yield Job("unit", "unit", lambda _context: [failed("unit", "make built no unit test")])
    for binary in binaries:
        yield job_of(binary)


# tools: unittest


def tools_jobs():
    files = sorted((ROOT / "tests" / "tools").glob("test_*.py"))

    def job_of(file):
        def run(context):
            program = ROOT / "tests" / "runner" / "unittests.py"
            command = [sys.executable, program, file.stem]
            status, output = execute(command, context.log, TIMEOUT, cwd=file.parent)
            results = []
            for line in output.splitlines():
                if match := _UNITTEST.fullmatch(line):
                    results.append(Result(match[1], match[2], match[3]))
            return complete(results, status, output, file.stem)

        return Job("tools", file.stem.removeprefix("test_"), run, weight=4)

    for file in files:
        yield job_of(file)


# setup, proof: scripts with one line a test

OUTCOMES = {"ok": "passed", "FAIL": "failed", "skip": SKIPPED}


def read_lines(output):
    for line in output.splitlines():
        if match := _LINES.fullmatch(line.strip()):
            yield Result(match[2], OUTCOMES[match[1]], match[3] or "")


def proof_jobs():
    def run(context):
        command = [sys.executable, ROOT / "tests" / "proof" / "run"]
        status, output = execute(command, context.log, TIMEOUT)
        return complete(list(read_lines(output)), status, output, "proof")

    yield Job("proof", "proof", run, slots=2, weight=120)


def setup_jobs():
    def job_of(name):
        def run(context):
            command = [ROOT / "tests" / "setup" / name]
            status, output = execute(command, context.log, TIMEOUT)
            results = list(read_lines(output))
            if status == SKIP_STATUS:
                status = 0
            return complete(results, status, output, name)

        return Job("setup", name, run, weight=5)

    for path in sorted((ROOT / "tests" / "setup").iterdir()):
        is_program = path.is_file() and os.access(path, os.X_OK) and not path.suffix
        if is_program and path.name not in NOT_HERE:
            yield job_of(path.name)


# check: each check of the tree alone, on one processor; they build nothing that others read


def read_check(output):
    """The check's line; behind what is to be done stands the first finding, which is indented."""
    lines = output.splitlines()
    for i, line in enumerate(lines):
        if match := _CHECK.fullmatch(line):
            finding = lines[i + 1].strip() if i + 1 < len(lines) and lines[i + 1].startswith(" ") else ""
            yield Result(match[2], OUTCOMES[match[1]], ": ".join(filter(None, [match[3], finding])))


def check_jobs():
    program = ROOT / "tests" / "check" / "run"
    _status, names = execute([program, "--list"], LOGS / "check" / "list.out", TIMEOUT)

    def job_of(name):
        def run(context):
            one = {**os.environ, "JOBS": "1"}
            status, output = execute([program, name], context.log, TIMEOUT, env=one)
            return complete(list(read_check(output)), status, output, name)

        return Job("check", name, run, weight=CHECK_SECONDS.get(name, 2))

    for name in names.split():
        yield job_of(name)


# boot: the runner of each folder, or of a group of its cases; the loader's keeps two emulators busy


def boot_jobs():
    yield _boot_job("loader", "loader", [], 2)
    yield _boot_job("console", "console", ["line"], 1)
    yield _boot_job("button", "console", ["button"], 1)
    yield _boot_job("uart", "console", ["uart"], 1)
    yield _boot_job("banks", "banks", [], 2)


def _boot_job(name, folder, groups, slots):
    def run(context):
        command = [sys.executable, ROOT / "tests" / "boot" / folder / "run", *groups]
        status, output = execute(command, context.log, TIMEOUT)
        outcomes = {"PASS": "passed", "FAIL": "failed", "SKIP": SKIPPED}
        results = []
        for line in output.splitlines():
            if match := _BOOT.fullmatch(line):
                results.append(Result(match[2], outcomes[match[1]], match[3] or ""))
        return complete(results, status, output, name)

    return Job("boot", name, run, slots=slots, weight=60)


# bench: each figure that has an aim is a test, since it is exact


def bench_jobs():
    def run(context):
        command = [sys.executable, ROOT / "tests" / "bench" / "run", "--check"]
        status, output = execute(command, context.log, TIMEOUT)
        results = []
        for line in output.splitlines():
            if match := _AIM.fullmatch(line):
                over = f"{match[2]} {match[3]}, beyond the aim of {match[4]}"
                results.append(verdict(match[1], None if match[5] == "met" else over))
        return complete(results, status, output, "bench")

    yield Job("bench", "bench", run, weight=50)


# fuzz: a fixed seed, so that a run is the same everywhere


def fuzz_jobs():
    names = sorted(path.stem for path in (ROOT / "tests" / "fuzz").glob("*_fuzz.c"))

    def job_of(name):
        def run(context):
            binary = BUILD / "tests" / f"fuzz-{name}"
            artifacts = f"-artifact_prefix={context.log.parent}/"
            runs, longest = FUZZ_RUNS[name]
            command = [binary, f"-runs={runs}", f"-max_len={longest}", "-len_control=0"]
            command += ["-seed=1", "-timeout=60", artifacts]
            status, output = execute(command, context.log, TIMEOUT)
            if status == 0:
                return [passed(name)]
            why = re.search(r"SUMMARY: (.*)", output)
            return [failed(name, why[1] if why else f"status {status}: {last_line(output)}")]

        return Job("fuzz", name, run, weight=20)

    for name in names:
        yield job_of(name.removesuffix("_fuzz"))
