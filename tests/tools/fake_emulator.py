# SPDX-License-Identifier: Apache-2.0
"""Plays an emulator in tests of the run tool: fake_emulator.py SCENARIO WHERE.

WHERE is the file that COM1 writes to, or the TCP port on this host that COM1 connects to. The
scenarios are the functions below; each gets a stream to write to and to read from.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path

FIRMWARE = b"\x1b[2J\x1b[01;01HBdsDxe: starting Boot0001\r\nbulkhead: 4 modules\r\n"
OURS = b"testkey0 [bulkhead] "  # what run_fake.py tells the tool to believe
ENDED = OURS + b"vm demo: powered off\r\n" + OURS + b"all VMs ended\r\n"


def good(com1):
    com1.write(FIRMWARE + OURS + b"hello\r\n[demo] x\r\n" + ENDED)


def reset(com1):
    com1.write(OURS + b"hello\r\n" + ENDED.replace(b"powered off", b"reset"))


def inner(com1):
    """A guest of the probe's (bulkhead/probe.py)."""
    com1.write(OURS + b"hello\r\n" + ENDED.replace(b"demo: powered off", b"inner: debug-exit 0"))


def inner_crashes(com1):
    com1.write(OURS + b"hello\r\n" + ENDED.replace(b"demo: powered off", b"inner: crashed: nobody handles"))


def slow(com1):
    com1.write(OURS + b"hello\r\n")
    time.sleep(0.8)
    com1.write(ENDED)


def talking(com1):
    """A VM that says much, some of it no XML, and fails."""
    com1.write(OURS + b"hello\r\n" + b"".join(b"[demo] line %d\r\n" % number for number in range(60)))
    com1.write(b"[demo] </system-out> & \x1b[2J \xc3\xa9\r\n" + ENDED.replace(b"powered off", b"debug-exit 3"))


def panic(com1):
    """Panics and stays."""
    com1.write(OURS + b"hello\r\n" + OURS + b"panic: lost\r\n")
    time.sleep(60)


def triple_fault(com1):
    com1.write(OURS + b"hello\r\n")
    Path("bochs.log").write_text("e[CPU0 ] exception(): 3rd (13) exception\n", encoding="ascii")
    time.sleep(60)


def abort(com1):
    """Dies of a fault of its own."""
    com1.write(OURS + b"hello\r\n")
    print("emulator: warning: no sound\nassertion failed: pc != -1\nemulator: warning: no sound", flush=True)
    os.abort()


def nothing_to_boot(com1):
    com1.write(FIRMWARE + b"BdsDxe: failed to start Boot0001\r\nUEFI Interactive Shell\r\n")
    time.sleep(60)


def firmware(com1):
    """Gets no further than the firmware."""
    com1.write(FIRMWARE)
    time.sleep(60)


def hang(com1):
    """Never ends, and does not even end when asked to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    com1.write(FIRMWARE + OURS + b"hello\r\n")
    time.sleep(60)


def shell(com1):
    """Echoes what is typed behind a prompt, with each byte's number, until `x`."""
    com1.write(FIRMWARE + OURS + b"hello\r\n~ # ")
    while (key := com1.read(1)) not in (b"x", b""):
        com1.write(key if key.isalnum() else b"<%d>" % key[0])
        if key == b"\r":
            com1.write(b"\r\n~ # ")
    com1.write(b"\r\nbye\r\n")


def rude(com1):
    """Leaves a string open, with letters hidden and a mouse that reports; then is gone."""
    com1.write(FIRMWARE + OURS + b"hello\r\n\x1b[8m\x1b[?1000h\x1b[c\x1b]0;secret")


def forging(com1):
    """A guest's text stands where the hypervisor's would."""
    forged = b"[bulkhead] panic: forged\r\n[bulkhead] vm demo: crashed: forged\r\n"
    com1.write(OURS + b"hello\r\n" + forged + b"testkey1 [bulkhead] panic: forged\r\n")
    time.sleep(2)  # well beyond what the tool waits after a panic
    com1.write(b"[demo] no newline" + ENDED)


def halting(com1):
    """Pauses within keys, for longer than the tool waits for more; the last bytes could begin one."""
    com1.write(FIRMWARE + OURS + b"hello\r\n")
    for cut, words in ((1, b"vm demo: powered off\r\n"), (6, b"all VMs ended\r\n")):
        com1.write(OURS[:cut])
        time.sleep(0.4)
        com1.write(OURS[cut:] + words)
    com1.write(b"# te")


def claiming(com1):
    """A VMM says what the hypervisor would; then its VM ends."""
    com1.write(OURS + b"hello\r\n" + ENDED.replace(b"powered off", b"reset"))
    for claim in (b"powered off", b"panic: x", b"[bulkhead] panic: x", b"all VMs ended", b"[bulkhead] vm demo: powered off"):
        com1.write(OURS + b"vm demo says: " + claim + b"\r\n")


def main():
    scenario, where = sys.argv[1:]
    if scenario == "broken":
        sys.exit("this emulator is broken")
    if where.isdigit():
        stream = socket.create_connection(("127.0.0.1", int(where))).makefile("rwb", 0)
    else:
        stream = open(where, "wb", 0)
    with stream:
        globals()[scenario](stream)
        if where.isdigit():
            time.sleep(0.5)  # no emulator is gone before the tool has looked whose connection it is


main()
