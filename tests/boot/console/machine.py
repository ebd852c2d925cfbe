# SPDX-License-Identifier: Apache-2.0
"""Runs of scripts/run on QEMU, and what a person or a program sees of them."""

import contextlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "boot"))

from monitor import TIMEOUT, text_of  # noqa: E402

TINY = ROOT / "build" / "guests" / "tiny"
RUN = ["scripts/run", "--no-build", "--target", "qemu", "--timeout", str(TIMEOUT)]
NO_GUESTS = ["--cpu", "Skylake-Client,-svm"]  # a processor without virtualization
GUESTS = ["--cpu", "EPYC"]
END = "[bulkhead] all VMs ended"
SWITCHED_OFF = "guest-shutdown"  # QEMU's reason where the machine itself did it


def execute(command, script=None):
    return subprocess.run([str(word) for word in command], cwd=ROOT, input=script, text=True, capture_output=True,
                          timeout=TIMEOUT + 60, check=False)


def typist(log):
    """The beginning of a command that is run at a terminal, whose output goes to `log`."""
    return [sys.executable, "tests/setup/typist.py", log, TIMEOUT]


@contextlib.contextmanager
def machine(command, monitor):
    """A run that goes on meanwhile, whose monitor will be at this path; it is ended behind."""
    command = [*command, "--qemu-option=-qmp", f"--qemu-option=unix:{monitor},server=on,wait=off"]
    process = subprocess.Popen([str(word) for word in command], cwd=ROOT, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def end_of(monitor, process, log):
    """What is wrong with how the machine switches itself off, or None."""
    try:
        reasons = list(monitor.reasons())
        process.wait(TIMEOUT)
    except TimeoutError:
        return f"the machine stays on: {text_of(log)[-200:]!r}"
    return None if reasons == [SWITCHED_OFF] else f"the machine did not switch itself off: {reasons}"
