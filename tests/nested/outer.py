# SPDX-License-Identifier: Apache-2.0
"""The machine below: an emulator, Debian's kernel with KVM, QEMU with OVMF, and Bulkhead in that.

    nested = boot_nested(context, OUTERS["intel"], vms)
    nested.boot     as run_machine() has it, of the inner machine's serial port
    nested.outer    the lines of the outer kernel and its init

QEMU in it is started as `scripts/run --target kvm` starts it.
"""

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from runner.job import ROOT
from runner.machine import KEY, Boot, write_manifest

sys.path.insert(0, str(ROOT / "tools"))

from bulkhead.bochs import Bochs  # noqa: E402
from bulkhead.command import MIB  # noqa: E402
from bulkhead.compiler import compile_manifest  # noqa: E402
from bulkhead.image import build_image  # noqa: E402
from bulkhead.machine import SerialFile, Settings, cache  # noqa: E402
from bulkhead.manifest import Checks, load  # noqa: E402
from bulkhead.outcome import Outcome  # noqa: E402
from bulkhead.qemu import Kvm, Qemu  # noqa: E402
from bulkhead.verdict import Verdict  # noqa: E402

TIMEOUT = 3600  # seconds: on a busy host
TICK_SECONDS = 0.5
OUTER_MEMORY, INNER_MEMORY = 1536 * MIB, 1024 * MIB
INNER_CPUS = 2
POWER_DOWN = b"reboot: Power down"


class KernelQemu(Qemu):
    """Starts the kernel from the firmware itself: the countdown of its shell takes minutes where time counts instructions."""

    def devices(self):
        return ["-kernel", str(cache() / "peer" / "vmlinuz"), "-initrd", str(self.work / "initrd.img")]


@dataclass(frozen=True)
class Outer:
    vendor: str
    machine: type
    cpu: str
    cpus: int
    icount: str | None = None  # of QEMU: time counts instructions, so that no interrupt comes faster than it is served
    features: tuple = ()  # of the outer processor, against the defaults
    inner_features: tuple = ()  # of the inner one, in QEMU's words
    inner_lacks: tuple = ()  # likewise

    @property
    def cmdline(self):
        # Nobody attacks the outer kernel, and an exit to QEMU costs half without its mitigations.
        return f"console=ttyS0 panic=-1 mitigations=off vendor={self.vendor}"


OUTERS = {
    # Without MWAIT Bochs' VT-x lacks the controls that make it exit, which KVM wants.
    "intel": Outer("intel", Bochs, "corei7_skylake_x", 1, features=("mwait",)),
    # Without a deadline timer an SMP Linux hangs at times below KVM on QEMU.
    # And without an intercept of XSETBV (QEMU 7.2) KVM loads its own XCR0 over what was written.
    "amd": Outer("amd", KernelQemu, "EPYC", 1, icount="4", inner_features=("tsc-deadline",),
                 inner_lacks=("xsave",)),
}


@dataclass
class Nested:
    boot: Boot
    outer: list


def boot_nested(context, outer, vms, timeout=TIMEOUT):
    """Boots `vms` in Bulkhead. Logs and manifest are files beside the context's log."""
    context.log.parent.mkdir(parents=True, exist_ok=True)
    manifest_file = context.log.with_suffix(".toml")
    write_manifest(manifest_file, vms)
    manifest = load(manifest_file, Checks(machine_memory=INNER_MEMORY))
    work = Path(tempfile.mkdtemp(prefix="bulkhead-nested-"))
    try:
        make_disk(outer, manifest, work)
        words = run_outer(outer, work, timeout)
        inner_text = (work / "com2.log").read_text(encoding="utf-8", errors="replace")
        outer_text = (work / "com1.log").read_text(encoding="utf-8", errors="replace")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    context.log.with_suffix(".outer.log").write_text(outer_text, encoding="utf-8")
    boot = read_boot(manifest, inner_text, words)
    context.log.with_suffix(".log").write_text(boot.text, encoding="utf-8")
    return Nested(boot, [line.rstrip("\r") for line in outer_text.splitlines()])


def make_disk(outer, manifest, work):
    inner = work / "inner"
    inner.mkdir()
    compiled = compile_manifest(manifest, ROOT / "build", f"console=batch audit=on verdict={KEY}")
    image = inner / "bulkhead.img"
    build_image(compiled, ROOT / "build" / "boot" / "BOOTX64.EFI", image)
    settings = Settings(image=image, cpus=INNER_CPUS, memory=INNER_MEMORY, with_=list(outer.inner_features),
                        without=list(outer.inner_lacks))
    (inner / "dev").mkdir()
    argv = Kvm(settings, inner).command(SerialFile(inner / "dev" / "ttyS1"))
    # The folder is the outer machine's root.
    (inner / "qemu").write_text(shlex.join(argv).replace(str(inner), "") + "\n", encoding="utf-8")
    shutil.rmtree(inner / "dev")
    command = [ROOT / "tests" / "nested" / "mkdisk", work, inner, outer.cmdline]
    subprocess.run(command, check=True)


def run_outer(outer, work, timeout):
    """What of the emulator's end is wrong, or ""."""
    com2 = work / "com2.log"
    com2.touch()
    settings = Settings(
        image=work / "disk.img", cpu=outer.cpu, cpus=outer.cpus, memory=OUTER_MEMORY, with_=list(outer.features),
        icount=outer.icount,
        bochs_options=[f"com2: enabled=1, mode=file, dev={com2}"],
        qemu_options=["-chardev", f"file,id=com2,path={com2}", "-serial", "chardev:com2", "-append", outer.cmdline],
    )
    machine = outer.machine(settings, work)
    com1 = SerialFile(work / "com1.log")
    end = time.monotonic() + timeout
    try:
        machine.start(com1)
        while machine.is_running() and not machine.fault() and time.monotonic() < end:
            time.sleep(TICK_SECONDS)
        if machine.is_running():
            return machine.fault() or f"the {timeout:g} s were over"
        return "" if has_powered_off(com1.path) else f"the emulator ended: {machine.last_words()}"
    finally:
        machine.stop()


def has_powered_off(com1):
    return POWER_DOWN in com1.read_bytes()


def read_boot(manifest, text, problem):
    """What the inner serial port said, as run_machine() reads it."""
    outcome = Outcome(manifest.vms, Verdict(KEY))
    outcome.feed(text.encode())
    outcome.finish()
    status = outcome.status(timed_out=bool(problem))
    boot = Boot(status=status, complaint=problem or (outcome.failure() if status > 1 else ""))
    boot.read_ends("\n".join(outcome.lines()))
    boot.read_log(text.replace(f"{KEY} ", "").replace("\r", ""))
    return boot
