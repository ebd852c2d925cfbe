# SPDX-License-Identifier: Apache-2.0
"""scripts/run: builds the image of a manifest, runs it on a machine, says how each VM ended.

In reading order: main() takes the command line and prepares; run_batch() and run_terminal() are the
two ways to run; Session is what they share: what the machine printed, and whether it has ended.
docs/run.md is the manual, with the exit statuses.
"""

import contextlib
import fcntl
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .command import (
    EXIT_DATA,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    GIB,
    ROOT,
    Failure,
    Parser,
    shown,
    size_argument,
)
from .firmware import Startup
from .image import build_image
from .machine import MACHINES, SerialFile, SerialSocket, Settings, check_settings, choose_target
from .manifest import Checks, Refused, compile_manifest, load
from .manifesttool import add_check_options
from .outcome import FAILED, OK, TIMED_OUT, Outcome
from .relay import Escape, Keyboard, RawTerminal, Script

DEFAULT_TIMEOUT = 300
BATCH_CMDLINE = "console=batch"
TICK_SECONDS = 0.1

# How long a machine may take to power itself off (or to say more) after each of these.
ENDED_GRACE = 5
FAILED_GRACE = 5
SUSPECTED_GRACE = 15
FIRMWARE_GRACE = 2

STATUS = """\
exit status with --batch:
  0   every VM powered off or left with debug-exit 0
  1   a VM ended otherwise, or did not end
  2   the time was over
  3   the hypervisor itself failed
exit status without: 0 the machine ended, 2 and 3 as above, 130 ended by Ctrl-] Ctrl-]
both: 64 wrong command line, 65 the manifest was refused, 69 something needed is not there"""


def main():
    arguments = parse_arguments()
    target = choose_target(arguments.target)
    check_settings(target, settings_of(arguments, Path("image")))
    if not arguments.no_build:
        build(arguments)
    try:
        manifest = load(arguments.manifest, checks_of(arguments))
    except Refused as refused:
        raise Failure(str(refused), EXIT_DATA) from None
    with work_directory(arguments.keep) as work:
        image = arguments.image or make_image(arguments, manifest, work)
        machine = MACHINES[target](settings_of(arguments, image), work)
        run = run_batch if arguments.batch else run_terminal
        return run(arguments, manifest, machine)


# Preparing


def parse_arguments():
    parser = Parser(
        prog="scripts/run",
        description="Builds the image of a manifest and runs it on an emulated machine.",
        epilog=STATUS,
    )
    add = parser.add_argument
    add("--target", choices=MACHINES, help="default: kvm where it can nest, else bochs")
    add("--cpu", metavar="MODEL", help="CPU model, in the target's own words")
    add("--cpus", type=int, default=2, metavar="N", help="physical CPUs (default: 2)")
    add("--memory", type=size_argument, default=GIB, metavar="SIZE", help="default: 1G")
    default = Path(shown(ROOT / "build" / "guests" / "debian" / "manifest.toml"))
    what = "default: the Debian guest"
    add("--manifest", type=Path, default=default, metavar="FILE", help=what)
    what = f"end it after S seconds (default: {DEFAULT_TIMEOUT}; at a terminal: never)"
    add("--timeout", type=float, metavar="S", help=what)
    what = "all serial output goes there (default with --batch: build/run.log)"
    add("--log", type=Path, metavar="FILE", help=what)
    add("--batch", action="store_true", help="no terminal; end when every VM has ended")
    add("--stat", action="store_true", help="tell at the end how long it took")

    more = parser.add_argument_group("for tests and for developers")
    add = more.add_argument
    what = "a feature the CPU shall not have (vmx: no VT-x); may be repeated"
    add("--cpu-without", action="append", default=[], metavar="FEATURE", help=what)
    what = "a feature the CPU shall have (mwait: left out by default)"
    add("--cpu-with", action="append", default=[], metavar="FEATURE", help=what)
    what = "Bochs: a firmware that has locked VT-x off"
    add("--firmware-lock", action="store_true", help=what)
    what = "Bochs: instructions a second of emulated time (default: 50000000)"
    add("--ips", type=int, default=50_000_000, metavar="N", help=what)
    what = "a further line of Bochs' configuration"
    add("--bochs-option", action="append", default=[], metavar="TEXT", help=what)
    what = "a further argument of QEMU, such as --qemu-option=-d"
    add("--qemu-option", action="append", default=[], metavar="TEXT", help=what)
    what = "append to the hypervisor's command line"
    add("--append-cmdline", default="", metavar="TEXT", help=what)
    add("--image", type=Path, metavar="FILE", help="run this image, made for --manifest before")
    add("--no-build", action="store_true", help="do not call make")
    what = "where the hypervisor's parts are (default: build)"
    add("--build", type=Path, default=ROOT / "build", metavar="DIR", help=what)
    what = "keep the run's directory (image, emulator's log) and tell where"
    add("--keep", action="store_true", help=what)
    add_check_options(more)

    arguments = parser.parse_args()
    if arguments.timeout is not None and arguments.timeout <= 0:
        raise Failure("--timeout: give a number of seconds above 0", EXIT_USAGE)
    if arguments.timeout is None and (arguments.batch or not sys.stdin.isatty()):
        arguments.timeout = DEFAULT_TIMEOUT
    if arguments.log is None and arguments.batch:
        arguments.log = ROOT / "build" / "run.log"
    return arguments


def settings_of(arguments, image):
    return Settings(
        image=image.resolve(),
        cpu=arguments.cpu,
        cpus=arguments.cpus,
        memory=arguments.memory,
        without=arguments.cpu_without,
        with_=arguments.cpu_with,
        ips=arguments.ips,
        firmware_lock=arguments.firmware_lock,
        bochs_options=arguments.bochs_option,
        qemu_options=arguments.qemu_option,
    )


def checks_of(arguments):
    return Checks(
        machine_memory=arguments.memory,
        sizes=not arguments.no_size_checks,
        names=not arguments.no_name_checks,
    )


def build(arguments):
    """Lets make bring the parts up to date; one run at a time, since they share them."""
    goals = ["image-parts"]
    with contextlib.suppress(ValueError):
        # A manifest below build is one that make knows how to make.
        inside = arguments.manifest.resolve().relative_to(ROOT / "build")
        goals.append(str(Path("build") / inside))
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    lock = ROOT / "build" / ".run.lock"
    lock.parent.mkdir(exist_ok=True)
    with open(lock, "wb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        argv = ["make", "-s", f"-j{os.cpu_count()}", *goals]
        done = subprocess.run(argv, cwd=ROOT, env=environment, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise Failure(f"the build failed: make {' '.join(goals)} tells why; correct it first")


@contextlib.contextmanager
def work_directory(keep):
    """A fresh directory, removed at the end."""
    work = Path(tempfile.mkdtemp(prefix="bulkhead-run-"))
    try:
        yield work
    finally:
        if keep:
            print(f"run: kept {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)


def make_image(arguments, manifest, work):
    words = [BATCH_CMDLINE] if arguments.batch else []
    words += [arguments.append_cmdline] if arguments.append_cmdline else []
    compiled = compile_manifest(manifest, arguments.build, " ".join(words))
    image = work / "bulkhead.img"
    build_image(compiled, arguments.build / "boot" / "BOOTX64.EFI", image)
    return image


# Running


class Session:
    """What the machine printed, and whether it has ended."""

    def __init__(self, arguments, manifest, machine):
        self.machine = machine
        self.startup = Startup()
        self.outcome = Outcome(manifest.vms)
        # An interactive machine may stay though all its VMs have ended.
        self.ends_with_vms = arguments.batch or manifest.when_all_ended == "power-off"
        self.started = self.last_output = time.monotonic()
        self.timeout = arguments.timeout
        self.fault = None
        self.has_timed_out = False
        self.log = open_log(arguments.log)

    def output(self, data):
        """Takes what came from COM1; returns (plain lines of the firmware, bytes of ours)."""
        if data:
            self.last_output = time.monotonic()
        text, rest = self.startup.feed(data)
        self.outcome.feed(rest)
        self._write_log(text.encode() + rest)
        return text, rest

    def close(self):
        """After the machine has ended and all of its output was taken."""
        text = self.startup.finish()
        self._write_log(text.encode())
        self.outcome.finish()
        if self.log:
            self.log.close()
        return text

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
            or ((outcome.panic or outcome.halted) and silence > FAILED_GRACE)
            or (outcome.suspected_panic and silence > SUSPECTED_GRACE)
            or (self.startup.gave_up and not self.startup.is_over and silence > FIRMWARE_GRACE)
        )

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


def run_batch(arguments, manifest, machine):
    session = Session(arguments, manifest, machine)
    serial = SerialFile(machine.work / "com1.log")
    try:
        machine.start(serial)
        with open(serial.path, "rb") as output:
            while not session.is_over():
                session.output(output.read())
                time.sleep(TICK_SECONDS)
            machine.stop()
            session.output(output.read())
    finally:
        machine.stop()
        session.close()
    for line in session.outcome.lines():
        print(line)
    status = FAILED if session.fault else session.outcome.status(session.has_timed_out)
    explain(arguments, session, status)
    return status


def run_terminal(arguments, manifest, machine):
    session = Session(arguments, manifest, machine)
    serial = SerialSocket(machine.work)
    status = None
    print_hint()
    with RawTerminal(sys.stdin.fileno()) as terminal:
        screen = Screen(terminal.newline)
        try:
            machine.start(serial)
            screen.progress(session)
            with serial.accept(machine) as connection:
                relay(session, screen, connection)
        except Escape:
            status = EXIT_INTERRUPTED
        finally:
            machine.stop()
            screen.application(session.close())
            screen.end()
    if status is None:
        status = terminal_status(session)
        explain(arguments, session, status)
    return status


def terminal_status(session):
    outcome = session.outcome
    if session.fault or outcome.panic or outcome.halted or not session.startup.is_over:
        return TIMED_OUT if session.has_timed_out else FAILED
    return TIMED_OUT if session.has_timed_out else OK


def relay(session, screen, connection):
    """Carries bytes both ways until the machine has ended."""
    stdin = sys.stdin.fileno()
    is_script = not sys.stdin.isatty()
    source = Script() if is_script else Keyboard()
    inputs = [connection, stdin]
    while not session.is_over():
        ready, _, _ = select.select(inputs, [], [], TICK_SECONDS)
        if connection in ready:
            data = receive(connection)
            if not data:
                inputs.remove(connection)
                wait_for_end(session)
                return
            text, rest = session.output(data)
            screen.application(text)
            screen.write(rest)
            if is_script and rest:
                source.output(rest, time.monotonic())
        if stdin in ready:
            data = os.read(stdin, 4096)
            if not data:
                inputs.remove(stdin)
            typed = source.feed(data)
            if not is_script and session.startup.is_over:
                send(connection, typed)
        if is_script:
            send(connection, source.due(time.monotonic()))
        if not session.startup.is_over:
            screen.progress(session)


def receive(connection):
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def send(connection, data):
    with contextlib.suppress(ConnectionError):  # that the machine has ended is seen elsewhere
        connection.sendall(data)


def wait_for_end(session):
    """The serial line is closed: the emulator is about to end."""
    while not session.is_over():
        time.sleep(TICK_SECONDS)
        if time.monotonic() - session.last_output > ENDED_GRACE:
            return


class Screen:
    """The terminal's output side: progress while the firmware runs, then the machine's bytes."""

    def __init__(self, newline):
        self.newline = newline
        self.is_terminal = sys.stdout.isatty()
        self.in_progress = False
        self.at_line_start = True
        self.told = None

    def write(self, data):
        if not data:
            return
        self.end_progress()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        self.at_line_start = data.endswith(b"\n")

    def progress(self, session):
        """One line that counts the seconds; without a terminal it is printed once."""
        second = int(session.seconds)
        if self.told is not None and (not self.is_terminal or second == self.told):
            return
        words = f"starting the machine ({session.machine.describe()}) ... "
        if self.is_terminal:
            words = f"\r{words}firmware {second} s "
        print(words, end="", flush=True)
        self.told = second
        self.in_progress = True

    def end_progress(self):
        if self.in_progress:
            print(self.newline, end="", flush=True)
            self.in_progress = False

    def application(self, text):
        """Of the firmware's time only the boot application's own lines are shown."""
        for line in text.splitlines():
            if line.startswith("bulkhead: "):
                self.write((line + self.newline).encode())

    def end(self):
        self.end_progress()
        if self.is_terminal:
            print("\x1b[0m\x1b[?25h", end="")  # a guest may have left colours, or no cursor
        if not self.at_line_start:
            print(self.newline, end="")
        sys.stdout.flush()


def print_hint():
    print("Ctrl-A h: help of the hypervisor's console; Ctrl-A x: end all VMs and power off")
    print("Ctrl-] Ctrl-]: end the emulator at once", flush=True)


def explain(arguments, session, status):
    """What the lines about the VMs can not tell, on standard error."""
    where = f"; all it printed is in {shown(arguments.log)}" if arguments.log else ""
    if status == FAILED:
        print(f"run: {session.failure()}{where}", file=sys.stderr)
    elif status == TIMED_OUT:
        print(f"run: the {session.timeout:g} s were over{where}", file=sys.stderr)
    if arguments.stat:
        print(f"run: {session.seconds:.1f} s", file=sys.stderr)
