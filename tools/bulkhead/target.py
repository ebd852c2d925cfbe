# SPDX-License-Identifier: Apache-2.0
"""The choice between the machines.

    target = choose_target(name or None)
    check_settings(target, settings)
    machine = MACHINES[target](settings, work)

docs/run.md tells what each target has and lacks.
"""

import os
from pathlib import Path

from .bochs import Bochs
from .command import EXIT_USAGE, MIB, Failure
from .qemu import Kvm, Qemu

IPS_LEAST, IPS_MOST = 1_000_000, 0xFFFFFFFF  # Bochs' own bounds

MACHINES = {"bochs": Bochs, "qemu": Qemu, "kvm": Kvm}


def choose_target(name):
    """The target by that name, or the best that works here; Failure when it can not work."""
    reason = kvm_obstacle() if name in (None, "kvm") else None
    if name == "kvm" and reason:
        raise Failure(f"target kvm can not work here: {reason}; use --target bochs")
    return name or ("bochs" if reason else "kvm")


def kvm_obstacle(root=Path("/")):
    """Why KVM can not run a hypervisor as its guest here, or None."""
    device = root / "dev/kvm"
    if not device.exists():
        return "there is no /dev/kvm"
    if not os.access(device, os.R_OK | os.W_OK):
        return "/dev/kvm may not be opened by you (add yourself to the group kvm)"
    flags = set((root / "proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    if "svm" in flags:
        return "this processor has AMD-V, and Bulkhead runs on VT-x only so far"
    nested = root / "sys/module/kvm_intel/parameters/nested"
    if "vmx" not in flags or not nested.exists():
        return "the processor offers KVM no VT-x"
    if nested.read_text(encoding="ascii").strip() not in ("Y", "1"):
        return "nesting is off (load kvm_intel with nested=1)"
    return None


def check_settings(target, settings):
    """Failure for what the emulator would only refuse in its own words."""
    if not 1 <= settings.cpus <= 255:
        raise Failure(f"--cpus {settings.cpus}: from 1 to 255 CPUs can be had", EXIT_USAGE)
    if settings.threads < 1 or settings.cpus % settings.threads != 0:
        whole = f"{settings.cpus} CPUs are no whole number of cores"
        raise Failure(f"--threads {settings.threads}: {whole}", EXIT_USAGE)
    if settings.memory % MIB or settings.memory < 128 * MIB:
        raise Failure("--memory: give the machine at least 128M, in whole megabytes", EXIT_USAGE)
    if target != "bochs" and (settings.bochs_options or settings.firmware_lock):
        what = "--bochs-option and --firmware-lock go"
        raise Failure(f"{what} with --target bochs only", EXIT_USAGE)
    if not IPS_LEAST <= settings.ips <= IPS_MOST:
        what = f"Bochs takes {IPS_LEAST} to {IPS_MOST} instructions a second"
        raise Failure(f"--ips {settings.ips}: {what}", EXIT_USAGE)
    if target == "bochs" and settings.qemu_options:
        raise Failure("--qemu-option goes with --target qemu or kvm only", EXIT_USAGE)
    if target == "bochs" and " " in str(settings.image):
        raise Failure("Bochs takes no path with a space: use another directory", EXIT_USAGE)
