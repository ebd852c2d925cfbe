# SPDX-License-Identifier: Apache-2.0
"""The linux tier: the Debian guest checks itself on each CPU model, and somebody types at it.

A log line of one of the classes below fails, unless bare Bochs gives it as well
(guests/debian/bare-bochs-lines.txt). The self-check looks for them in the kernel's log; here they
are looked for on the console, which shows also what came before or after it.
"""

import re
import subprocess

from runner.job import BUILD, LOGS, ROOT, Job, verdict
from runner.machine import run_command

TIER = "linux"
TIMEOUT = 900
DEBIAN = BUILD / "guests" / "debian"

# Model: name of its job. The first is the one that scripts/run takes by itself.
MODELS = {
    "corei7_skylake_x": "skylake-x",
    "corei5_lynnfield_750": "lynnfield",
    "corei7_sandy_bridge_2600k": "sandy-bridge",
    "corei7_haswell_4770": "haswell",
    "broadwell_ult": "broadwell",
    "sapphire_rapids": "sapphire-rapids",
}

BAD_LINES = [
    "BUG:", "Oops", "WARNING", "Firmware Bug", "unchecked MSR", "Call Trace",
    "self-detected stall", "TSC unstable", "Kernel panic",
]


def jobs():
    for model, name in MODELS.items():
        yield Job(TIER, name, selfcheck_job(model), weight=90)
    yield Job(TIER, "typing", run_typing, weight=91)


def known_lines():
    text = (ROOT / "guests" / "debian" / "bare-bochs-lines.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def bad_line(lines):
    """The first line of a class that must not be there, or None."""
    known = known_lines()
    for line in lines:
        if any(bad in line for bad in BAD_LINES) and not any(good in line for good in known):
            return line
    return None


def judge_selfcheck(lines):
    said = [line for line in lines if line.startswith("selfcheck: ")]
    if not said:
        return "the self-check said nothing"
    return None if said[-1].startswith("selfcheck: PASS") else said[-1]


def selfcheck_job(model):
    def run(context):
        log = context.log.with_suffix(".log")
        command = ["scripts/run", "--batch", "--no-build", "--target", "bochs", "--cpu", model]
        command += ["--manifest", DEBIAN / "selfcheck.toml", "--log", log, "--timeout", TIMEOUT]
        boot = run_command(command, log, TIMEOUT + 60)
        lines = boot.lines.get("debian", [])
        end = boot.end("debian")
        return [
            verdict("powers off", None if end == "powered off" else f"ended as '{end}'"),
            verdict("checks itself", judge_selfcheck(lines)),
            verdict("has a clean log", bad_line(lines) if lines else "it printed nothing"),
            verdict("host", boot.host_problem([0])),
        ]

    return run


# Somebody types, and reads the answers

SCRIPT = "uname -a\ncat /proc/cpuinfo\npoweroff\n"
ANSWERS = {
    "uname -a": r"Linux debian 6\.\S+ .*x86_64",
    "cat /proc/cpuinfo": r"(?s)model name\s*:.*flags\s*:.*\bhypervisor\b",
    "poweroff": r"vm debian: powered off|reboot: Power down",
}


def run_typing(context):
    log = context.log.with_suffix(".log")
    LOGS.mkdir(parents=True, exist_ok=True)
    command = ["scripts/run", "--no-build", "--target", "bochs", "--log", log]
    command += ["--manifest", DEBIAN / "manifest.toml", "--timeout", TIMEOUT]
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, input=SCRIPT.encode(), capture_output=True,
        timeout=TIMEOUT + 60, check=False,
    )
    text = done.stdout.decode(errors="replace").replace("\r", "")
    context.log.write_text(text, encoding="utf-8")
    results = []
    for typed, answer in ANSWERS.items():
        problem = None if re.search(answer, text) else f"no '{answer}' in what was printed"
        results.append(verdict(typed, problem))
    problem = f"exit status {done.returncode}: {done.stderr.decode()}" if done.returncode else None
    results.append(verdict("run ends well", problem))
    results.append(verdict("has a clean log", bad_line(text.splitlines())))
    return results
