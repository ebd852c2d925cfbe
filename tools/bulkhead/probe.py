# SPDX-License-Identifier: Apache-2.0
"""Whether KVM starts a guest of a guest where this machine is a guest itself: only trying tells.

    target, line = doubt_third_level(arguments, settings, target, line)     the choice, thought over

A tiny guest is booted once after each start of this machine; what came of it is noted in the build
directory. It is tried only where choose_target() has found nothing against KVM.
"""

import tempfile
from pathlib import Path
from types import SimpleNamespace

from .command import MIB, Failure
from .compiler import compile_manifest
from .image import build_image
from .machine import Settings
from .manifest import Checks, load
from .outcome import OK
from .session import Session, follow
from .target import MACHINES, choose_best, is_virtual
from .verdict import KEY_WORD, Verdict, make_key

GUEST = "guests/tiny/hello.elf"  # below the build directory
GOAL = f"build/{GUEST}"  # of make
TIMEOUT = 60  # seconds; on KVM below KVM it takes about ten
MEMORY = 512 * MIB
MANIFEST = """\
[[vm]]
name = "inner"
vcpus = 1
memory = "8M"
kernel = "{kernel}"
cmdline = "from the command line"
"""
LEVELS = "this machine is virtual itself, so it would be the third level: bare metal would do, or another hypervisor below"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def is_doubtful(target):
    return target == "kvm" and is_virtual()


def doubt_third_level(arguments, settings, target, line):
    if not is_doubtful(target):
        return target, line
    reason = inner_obstacle(arguments.build)
    return choose_best(settings, known={"kvm": reason}) if reason else (target, line)


def inner_obstacle(build):
    """Why no guest of Bulkhead's starts on KVM here, or None."""
    if not (build / GUEST).is_file():  # --no-build
        return None
    note, boot = build / "kvm-probe", BOOT_ID.read_text(encoding="ascii").strip()
    if note.is_file():
        of_boot, reason = note.read_text(encoding="utf-8").split("\n", 1)
        if of_boot == boot:
            return reason or None
    with tempfile.TemporaryDirectory(prefix="bulkhead-probe-") as work:
        reason = try_guest(build, Path(work))
    reason = f"the inner guest does not start, {reason} ({LEVELS})" if reason else ""
    note.write_text(f"{boot}\n{reason}", encoding="utf-8")
    return reason or None


def try_guest(build, work):
    """What went wrong with a guest's boot, or None."""
    path = work / "inner.toml"
    path.write_text(MANIFEST.format(kernel=(build / GUEST).resolve()), encoding="utf-8")
    manifest = load(path, Checks(machine_memory=MEMORY))
    key = make_key()
    image = work / "bulkhead.img"
    compiled = compile_manifest(manifest, build, f"console=batch {KEY_WORD}{key}")
    build_image(compiled, build / "boot" / "BOOTX64.EFI", image)
    machine = MACHINES["kvm"](Settings(image=image, cpus=1, memory=MEMORY), work)
    wanted = SimpleNamespace(verdict=Verdict(key), batch=True, timeout=TIMEOUT, log=None)
    session = Session(wanted, manifest, machine)
    try:
        follow(session)
    except Failure as failure:
        return str(failure)
    status = session.outcome.status(session.has_timed_out)
    return None if status == OK else session.reason(status) or next(session.outcome.lines())
