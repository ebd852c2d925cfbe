# SPDX-License-Identifier: Apache-2.0
"""A run of a machine: what it printed, whether it has ended, and how it is told.

    status = run_batch(arguments, manifest, machine)

run_batch() is the run without a terminal; terminal.py has the other. Both keep a Session.
"""

import sys
import time

from .command import EXIT_USAGE, Failure, printable, shown
from .firmware import Startup
from .junit import report
from .machine import SerialFile
from .outcome import FAILED, TIMED_OUT, Outcome
from .verdict import Hider

TICK_SECONDS = 0.1

# How long a machine may take to power itself off (or to say more) after each of these.
ENDED_GRACE = 5
FAILED_GRACE = 5
FIRMWARE_GRACE = 2


class Session:
    """What the machine printed, and whether it has ended."""

    def __init__(self, arguments, manifest, machine):
        self.machine, self.manifest = machine, manifest
        self.startup = Startup(arguments.verdict.mark)
        self.outcome = Outcome(manifest.vms, arguments.verdict, time.monotonic)
        self.screen_hider, self.log_hider = Hider(arguments.verdict), Hider(arguments.verdict)
        # An interactive machine may stay though all its VMs have ended.
        self.ends_with_vms = arguments.batch or manifest.host.when_all_ended == "power-off"
        self.started = self.last_output = time.monotonic()
        self.timeout = arguments.timeout
        self.fault = None
        self.has_timed_out = False
        self.has_output = False
        self.log = open_log(arguments.log)

    def output(self, data):
        """Takes what came from COM1; returns (plain lines of the firmware, bytes of ours without keys)."""
        if data:
            self.last_output, self.has_output = time.monotonic(), True
        text, rest = self.startup.feed(data)
        self.outcome.feed(rest)
        self._write_log(text.encode() + self.log_hider.feed(rest))
        return text, self.screen_hider.feed(rest)

    def pause(self):
        """Nothing came for a moment: returns bytes that were held from the screen, as they could begin a key."""
        return self.screen_hider.pause()

    def close(self):
        """After the machine has ended and all of its output was taken: returns what output() still held."""
        text = self.startup.finish()
        self._write_log(text.encode() + self.log_hider.finish())
        self.outcome.finish()
        if self.log:
            self.log.close()
        return text, self.screen_hider.finish()

    def _write_log(self, data):
        if self.log:
            self.log.write(data)
            self.log.flush()

    @property
    def seconds(self):
        return time.monotonic() - self.started

    def is_over(self):
        """The machine has ended, or never will, or its time is over."""
        if not self.machine.is_running():
            self.fault = self.fault or self.machine.death()
            return True
        self.fault = self.fault or self.machine.fault()
        if self.fault:
            return True
        if self.timeout is not None and self.seconds > self.timeout:
            self.has_timed_out = True
            return True
        silence = time.monotonic() - self.last_output
        outcome = self.outcome
        return bool(
            (outcome.all_ended and self.ends_with_vms and silence > ENDED_GRACE)
            or ((outcome.panic or outcome.halted) and not outcome.resets and silence > FAILED_GRACE)
            or (self.startup.gave_up and not self.startup.is_over and silence > FIRMWARE_GRACE)
        )

    def reason(self, status):
        """Why the run ended with this status, where that is not the VMs' doing; else None."""
        if status == FAILED:
            return self.failure()
        if status == TIMED_OUT:
            too_early = "" if self.outcome.has_lines else " before the hypervisor said a line"
            return f"the {self.timeout:g} s were over{too_early}"
        return None

    def failure(self):
        """Why the run is one of status FAILED."""
        if self.fault and not self.outcome.panic:
            return self.fault
        if self.startup.gave_up and not self.startup.is_over:
            return self.startup.gave_up
        reason = self.outcome.failure()
        if not self.outcome.has_lines:
            reason += f" ({self.machine.last_words()})"
        return reason


def open_log(path):
    if path is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "wb")
    except OSError as error:
        raise Failure(f"--log {path} can not be written ({error.strerror})", EXIT_USAGE) from None


def follow(session):
    """Runs the session's machine to its end. Failure when the emulator could not even start it."""
    machine = session.machine
    serial = SerialFile(machine.work / "com1.log")
    try:
        machine.start(serial)
        with open(serial.path, "rb") as output:
            while not session.is_over():
                session.output(output.read())
                time.sleep(TICK_SECONDS)
            has_left = not machine.is_running()
            machine.stop()
            session.output(output.read())
    finally:
        machine.stop()
        session.close()
    if has_left and not session.has_output and not session.fault:
        raise Failure(f"the emulator ended at its start: {machine.last_words()}")


def run_batch(arguments, manifest, machine):
    session = Session(arguments, manifest, machine)
    follow(session)
    if session.outcome.has_lines:  # else no VM was ever near its start
        for line in session.outcome.lines():
            print(printable(line))
    status = FAILED if session.fault else session.outcome.status(session.has_timed_out)
    explain(arguments, session, status)
    if arguments.junit:
        report(arguments, session, status)
    return status


def explain(arguments, session, status):
    """What the lines about the VMs can not tell, on standard error."""
    where = f"; all it printed is in {shown(arguments.log)}" if arguments.log else ""
    if reason := session.reason(status):
        print(f"run: {printable(reason)}{where}", file=sys.stderr)
    if arguments.stat:
        print(f"run: {session.seconds:.1f} s", file=sys.stderr)
