# SPDX-License-Identifier: Apache-2.0
"""What a machine is, whichever emulator plays it: bochs.py and qemu.py make it concrete.

    machine = Bochs(settings, work)
    machine.start(serial)       serial: SerialFile(path), or SerialSocket(work) to talk to
    machine.is_running(), machine.fault(), machine.stop(), machine.last_words()

Everything a machine writes lies in `work`, a fresh directory of the run, so several run at once.
"""

import contextlib
import ctypes
import difflib
import os
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .command import EXIT_USAGE, GIB, MIB, Failure

STOP_SECONDS = 3  # from the request to end to the kill


@dataclass
class Settings:
    image: Path
    cpu: str | None = None  # None: the target's default
    cpus: int = 2
    threads: int = 1  # of them, in each core
    memory: int = GIB
    without: list[str] = field(default_factory=list)  # CPU features to leave out
    with_: list[str] = field(default_factory=list)  # CPU features to have, against the defaults
    ips: int | None = None  # Bochs: instructions a second of emulated time
    firmware_lock: bool = False  # Bochs: the firmware has locked VT-x off
    bochs_options: list[str] = field(default_factory=list)  # further lines of its rc file
    qemu_options: list[str] = field(default_factory=list)  # further arguments
    icount: str | None = None  # QEMU: instructions take 2^this ns, so that costs repeat
    nvme: list[Path] = field(default_factory=list)  # QEMU: images of NVMe disks
    nic: str | None = None  # QEMU: a network card
    iommu: str | None = None  # QEMU: an IOMMU


# The serial port COM1


class SerialFile:
    """COM1 goes to a file; nothing can be typed."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.touch()


class SerialSocket:
    """COM1 is a connection that the machine makes to us, so that no port has to be guessed."""

    def __init__(self, work):
        self.work = work
        self.listener = None

    def listen_tcp(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        return self.listener.getsockname()[1]

    def listen_local(self):
        path = self.work / "com1"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        return path

    def accept(self, machine):
        """The connection, as soon as the machine has made it."""
        self.listener.settimeout(0.2)
        while True:
            try:
                connection, peer = self.listener.accept()
            except TimeoutError:
                if not machine.is_running():
                    words = machine.last_words()
                    raise Failure(f"the emulator ended at its start: {words}") from None
                continue
            if self.listener.family == socket.AF_UNIX or machine.owns_port(peer[1]):
                self.listener.close()
                connection.settimeout(None)
                return connection
            connection.close()  # a stranger on this host was faster


class Machine:
    """One emulator process."""

    name = "?"
    output_name = "emulator.out"

    def __init__(self, settings, work):
        self.settings = settings
        self.work = Path(work)
        self.environment = dict(os.environ)
        self.process = None

    def start(self, serial):
        argv = self.command(serial)
        with open(self.work / self.output_name, "wb") as output:
            self.process = subprocess.Popen(
                argv,
                cwd=self.work,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's signals are not for it
                preexec_fn=_die_with_parent,
            )

    def command(self, serial):
        raise NotImplementedError

    def known_cpus(self):
        """The names of the CPU models that the emulator has."""
        raise NotImplementedError

    def check_installed(self):
        """Failure where the emulator or the firmware is missing; returns the program."""
        raise NotImplementedError

    def check_cpu(self):
        """Failure for a model that the emulator would only refuse in its own words."""
        if self.settings.cpu is None:
            return
        name, known = self.settings.cpu.partition(",")[0], self.known_cpus()
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            remedy = f'did you mean "{near[0]}"?' if near else f"it has {', '.join(known)}"
            raise Failure(f'--cpu: {self.name} has no model "{name}"; {remedy}', EXIT_USAGE)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def owns_port(self, port):
        """Whether the emulator has a TCP connection from this port of 127.0.0.1."""
        return any(
            sock.is_from_loopback and sock.port == port
            for sock in tcp_sockets(self.process.pid)
        )

    def fault(self):
        """A fault that ends the machine though the emulator runs on, or None."""
        return None

    def death(self):
        """The signal that the emulator ended by, with its last words, or None."""
        if self.process.returncode is None or self.process.returncode >= 0:
            return None
        name = signal.Signals(-self.process.returncode).name
        return f"the emulator died of {name}: {self.last_words()}"

    def stop(self):
        """Ends the emulator, if it still runs."""
        if not self.is_running():
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self):
        """The last lines of what the emulator itself printed."""
        try:
            text = (self.work / self.output_name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "(no output)"
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        lines = [line for line in lines if "warning: " not in line] or lines
        return " / ".join(lines[-3:]) or "(no output)"

    def describe(self):
        cpu = self.settings.cpu or self.default_cpu
        cpus = "1 CPU" if self.settings.cpus == 1 else f"{self.settings.cpus} CPUs"
        if self.settings.threads > 1:
            cpus += f" ({self.settings.threads} a core)"
        return f"{self.name}, {cpu}, {cpus}, {self.settings.memory // MIB}M"


@dataclass
class TcpSocket:
    is_listening: bool
    is_from_loopback: bool
    port: int


# Of /proc/net/tcp and tcp6: addresses as the kernel's words, in hexadecimal.
_LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
_STATE_LISTEN = "0A"


def tcp_sockets(pid):
    """The TCP sockets that this process has open."""
    open_files = set()
    with contextlib.suppress(OSError):  # it may have just ended
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                open_files.add(os.readlink(descriptor))
    found = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):  # a host without IPv6
            for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                address, port = fields[1].split(":")
                if f"socket:[{fields[9]}]" in open_files:
                    is_listening = fields[3] == _STATE_LISTEN
                    found.append(TcpSocket(is_listening, address in _LOOPBACK, int(port, 16)))
    return found


def _die_with_parent():
    """In the child: when we are killed, so is the emulator."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def cache():
    """Where scripts/setup keeps what it brings."""
    if "BULKHEAD_CACHE" in os.environ:
        return Path(os.environ["BULKHEAD_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bulkhead"


def firmware():
    path = cache() / "ovmf" / "OVMF.fd"
    if not path.is_file():
        raise Failure("the firmware OVMF.fd is missing; run scripts/setup")
    return path
