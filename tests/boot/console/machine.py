# SPDX-License-Identifier: Apache-2.0
"""Runs of scripts/run on QEMU, what a person or a program sees of them, and the monitor of QEMU itself."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TINY = ROOT / "build" / "guests" / "tiny"
TIMEOUT = 300
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


def text_of(log):
    return log.read_text(errors="replace") if log.is_file() else ""


def wait_for(log, text, process=None, seconds=TIMEOUT):
    """Whether the text came into the log before the process ended, or the time was over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        has_ended = process is not None and process.poll() is not None
        if text in text_of(log):
            return True
        if has_ended:
            return False
        time.sleep(0.2)
    return False


class Monitor:
    """QEMU's, by QMP, at a socket."""

    def __init__(self, path, process):
        while not path.exists() and process.poll() is None:
            time.sleep(0.1)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rw")
        self.stream.readline()  # its greeting
        self.execute("qmp_capabilities")

    def execute(self, command):
        self.stream.write(json.dumps({"execute": command}) + "\n")
        self.stream.flush()
        while "return" not in json.loads(self.stream.readline()):
            pass  # events

    def reasons(self):
        """Why the machine ended, when it has."""
        for line in self.stream:
            message = json.loads(line)
            if message.get("event") == "SHUTDOWN":
                yield message["data"]["reason"]


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
