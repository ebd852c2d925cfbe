# SPDX-License-Identifier: Apache-2.0
"""COM2 as the console, and a UART that is not as it should be. docs/drivers.md tells what the driver does then.

Wire is COM2's end outside, which can be full: QEMU's UART then never says that its FIFO is empty.
"""

import contextlib
import fcntl
import os
import time

from machine import END, GUESTS, RUN, TINY, end_of, machine, typist  # before monitor: it says where that is
from monitor import TIMEOUT, Monitor, text_of, wait_for

PIPE_BYTES = 4096  # the least that Linux makes
WAITS = "waits for its power button"
ON_COM2 = ["--append-cmdline", "console=com2"]
OTHER_IRQ = 5  # COM2's is 3
MANIFEST = """
[host]
when-all-ended = "{when}"

[[vm]]
name = "demo"
memory = "8M"
vcpus = 1
kernel = "{kernel}"
cmdline = "{words}"
"""


class Wire:
    """Two FIFOs. Nobody reads but read_until()."""

    def __init__(self, path):
        self.path = path
        for end in ("in", "out"):
            os.mkfifo(f"{path}.{end}")
        self.into = os.open(f"{path}.in", os.O_RDWR | os.O_NONBLOCK)
        self.out = os.open(f"{path}.out", os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self.out, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.seen = ""

    def options(self):
        return ["--qemu-option=-chardev", f"--qemu-option=pipe,id=com2,path={self.path}",
                "--qemu-option=-serial", "--qemu-option=chardev:com2"]

    def read_until(self, text, process, typed=b""):
        """Whether the text came. What is typed is so without end."""
        deadline = time.monotonic() + TIMEOUT
        while text not in self.seen and time.monotonic() < deadline:
            has_ended = process.poll() is not None
            fill(self.into, typed)
            try:
                self.seen += os.read(self.out, PIPE_BYTES).decode(errors="replace")
            except BlockingIOError:
                if has_ended:
                    break
                time.sleep(0.01)
        return text in self.seen

    def shut(self):
        """From here on not a byte more comes out."""
        fill(self.out, b".")


def fill(pipe, byte):
    with contextlib.suppress(BlockingIOError):
        while byte:
            os.write(pipe, byte)


def write_manifest(work, guest, words, when="power-off"):
    path = work / f"{guest}.toml"
    path.write_text(MANIFEST.format(kernel=TINY / f"{guest}.elf", words=words, when=when))
    return path


def talker(work):
    """It prints more than the console's ring holds (CONSOLE_OUT_SIZE), so it ends only if that is printed, too."""
    return write_manifest(work, "hostile-flood", "rounds=2800")


def hello(work):
    return write_manifest(work, "hello", "from the command line")


def command_of(manifest, log, *options):
    """At a terminal: there a panic would stand still, and the machine would not switch itself off."""
    return [*typist(log), *RUN, *GUESTS, "--manifest", manifest, *ON_COM2, *options]


def stuck(work):
    """It takes nothing from the first byte on: the machine comes up all the same, runs its VM, and switches itself off."""
    wire, path, log = Wire(work / "stuck"), work / "stuck-qmp", work / "stuck-log"
    wire.shut()
    with machine(command_of(hello(work), log, *wire.options()), path) as process:
        monitor = Monitor(path, process)
        return end_of(monitor, process, log)


def stops(work):
    """It takes nothing any more while a VM runs: that hears the machine's power button, and ends."""
    wire, path, log = Wire(work / "stops"), work / "stops-qmp", work / "stops-log"
    manifest = write_manifest(work, "wake", "button", "stay")
    with machine(command_of(manifest, log, *wire.options()), path) as process:
        if not wire.read_until(WAITS, process):
            return f"the guest does not run: {wire.seen[-200:]!r}"
        wire.shut()
        monitor = Monitor(path, process)
        monitor.execute("system_powerdown")
        return end_of(monitor, process, log)


def judge(text):
    """All of it has to come, up to the end."""
    return None if END in text and "vm demo: debug-exit 0" in text else f"on COM2 stands {text[-200:]!r}"


def silent(work):
    """Its interrupt comes at another line, so never: the driver looks by itself."""
    com2, log = work / "silent", work / "silent-log"
    device = f"isa-serial,chardev=com2,iobase=0x2f8,irq={OTHER_IRQ},index=1"
    words = ["-chardev", f"file,id=com2,path={com2}", "-device", device]
    options = [f"--qemu-option={word}" for word in words]
    with machine(command_of(talker(work), log, *options), work / "silent-qmp") as process:
        wait_for(com2, END, process)
        return judge(text_of(com2))


def babbling(work):
    """Bytes come in without end: they keep nobody from printing, and no VM from running."""
    wire, log = Wire(work / "babbling"), work / "babbling-log"
    with machine(command_of(talker(work), log, *wire.options()), work / "babbling-qmp") as process:
        wire.read_until(END, process, b"x")
        return judge(wire.seen)


CASES = {"stuck UART": stuck, "UART that stops": stops, "silent UART": silent, "babbling UART": babbling}
