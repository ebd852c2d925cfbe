# SPDX-License-Identifier: Apache-2.0
"""Machines for the loader's tests: one boot of a volume, with what it printed on COM1."""

import os
import selectors
import shutil
import socket
import subprocess
import threading
import time

FIRMWARE = "/usr/share/OVMF"
BOCHS = os.path.join(os.path.dirname(__file__), "../../../scripts/bochs/bochs")
CACHE = os.environ.get("BULKHEAD_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "bulkhead"
)
CYLINDER = 16 * 63 * 512  # Bochs rounds a disk down to whole ones
CPU = "qemu64,+nx,+pdpe1gb"


def missing():
    """Why QEMU can not be used here, or None."""
    if shutil.which("qemu-system-x86_64") is None:
        return "qemu-system-x86_64 is missing: run scripts/setup"
    if not os.path.exists(f"{FIRMWARE}/OVMF_CODE_4M.fd"):
        return "OVMF is missing: run scripts/setup"
    return None


def bochs_missing():
    """Why Bochs can not be used here, or None."""
    if not os.path.exists(BOCHS):
        return "scripts/bochs/bochs is missing"
    if not os.path.exists(os.path.join(CACHE, "bochs", "bin", "bochs-bin")):
        return "no Bochs in the cache: run scripts/setup"
    return None


def _watch(process, stream, until, reply, timeout):
    """Collects output until the process ends, a text of `until` appears, or time is over; `reply`
    maps a text to the bytes to answer it with, once."""
    output = ""
    pending = dict(reply)
    deadline = time.monotonic() + timeout
    selector = selectors.DefaultSelector()
    selector.register(stream, selectors.EVENT_READ)
    while time.monotonic() < deadline:
        if not selector.select(0.2):
            continue
        data = os.read(stream.fileno(), 65536)
        if not data:
            break
        output += data.decode("latin-1").replace("\r", "")
        for question in [question for question in pending if question in output]:
            process.stdin.write(pending.pop(question))
            process.stdin.flush()
        if any(text in output for text in until):
            break
    return output


class Sender:
    """Frames for a NIC of QEMU's, fifty a second, until it is left."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            self.to = other.getsockname()
        ours = self.socket.getsockname()[1]
        self.netdev = f"socket,id=net,udp=127.0.0.1:{ours},localaddr=127.0.0.1:{self.to[1]}"
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._send)

    def _send(self):
        frame = b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + b"noise" * 20
        while not self.is_over.wait(0.02):
            self.socket.sendto(frame, self.to)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()
        self.socket.close()


def boot_qemu(volume, work, memory=512, cpu=CPU, until=(), reply=None, timeout=120, extra=()):
    """Boots `volume` (None: what `extra` has) and returns what came out of COM1. Ends at power-off, a reset, or
    `until`."""
    variables = f"{work}/vars.fd"
    shutil.copy(f"{FIRMWARE}/OVMF_VARS_4M.fd", variables)
    command = ["qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", cpu]
    command += ["-m", str(memory), "-nodefaults", "-display", "none", "-no-reboot"]
    command += ["-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4"]
    flash = "if=pflash,format=raw"
    command += ["-drive", f"{flash},readonly=on,file={FIRMWARE}/OVMF_CODE_4M.fd"]
    command += ["-drive", f"{flash},file={variables}"]
    if volume:
        command += ["-drive", f"file={volume},format=raw,if=none,id=disk"]
        command += ["-device", "virtio-blk-pci,drive=disk,bootindex=0"]
    command += extra
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)
    try:
        return _watch(process, process.stdout, until, reply or {}, timeout)
    finally:
        process.kill()
        process.wait()


def boot_bochs(volume, work, timeout=150, model="corei7_skylake_x"):
    """Boots `volume` on Bochs and returns what came out of COM1."""
    cylinders = os.path.getsize(volume) // CYLINDER
    with open(volume, "ab") as disk:
        disk.truncate((cylinders + 1) * CYLINDER)
    geometry = f"mode=flat, cylinders={cylinders + 1}, heads=16, spt=63"
    return _run_bochs([f"ata0-master: type=disk, path={volume}, {geometry}", "boot: disk"], work, timeout, model)


def boot_bochs_cd(image, work, timeout=300):
    """The same of the image of a compact disc."""
    return _run_bochs([f"ata0-master: type=cdrom, path={image}, status=inserted", "boot: cdrom"], work, timeout)


def _run_bochs(medium, work, timeout, model="corei7_skylake_x"):
    serial = f"{work}/serial"
    lines = [
        "plugin_ctrl: unmapped=1, biosdev=1, speaker=0, parallel=0, serial=1, iodebug=1, fw_cfg=1",
        'display_library: rfb, options="timeout=0"',
        "config_interface: textconfig",
        "memory: guest=512, host=512",
        "romimage: file=$BULKHEAD_CACHE/ovmf/OVMF.fd, address=0xffc00000",
        "vgaromimage: file=$BXSHARE/vgabios.bin",
        f"cpu: model={model}, count=1, ips=50000000, reset_on_triple_fault=0, "
        'cpuid_freq=ips, exclude_features="rdrand,rdseed,mwait"',
        "pci: enabled=1, chipset=i440fx",
        "fw_cfg: enabled=1",
        "clock: sync=none, time0=1700000000",
        "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14",
        *medium,
        f"com1: enabled=1, mode=file, dev={serial}",
        f"log: {work}/bochs.log",
    ]
    with open(f"{work}/bochsrc", "w", encoding="ascii") as rc:
        rc.write("\n".join(lines) + "\n")
    null = subprocess.DEVNULL
    process = subprocess.Popen([BOCHS, f"{work}/bochsrc"], stdin=null, stdout=null, stderr=null)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()
    with open(serial, encoding="latin-1") as out:
        return out.read().replace("\r", "")
