# SPDX-License-Identifier: Apache-2.0
"""The choice between the machines.

    target, line = choose_target(name or None, settings)    line: what was chosen and why, or None
    check_settings(target, settings)
    machine = MACHINES[target](settings, work)

Only files are looked at for the choice: KVM is not opened. docs/run.md tells what each target has and
lacks.
"""

import difflib
import grp
import os
from pathlib import Path

from .bochs import Bochs
from .command import EXIT_USAGE, MIB, Failure
from .qemu import Kvm, Qemu

IPS_LEAST, IPS_MOST = 1_000_000, 0xFFFFFFFF  # Bochs' own bounds

AUTO = "auto"
# The best first: both emulators play a whole machine, and QEMU is the faster one (docs/run.md).
MACHINES = {"kvm": Kvm, "qemu": Qemu, "bochs": Bochs}

# What only some targets have: its option, the member of the settings, and whose it is.
PARTICULAR = [
    ("--bochs-option", "bochs_options", ("bochs",)),
    ("--firmware-lock", "firmware_lock", ("bochs",)),
    ("--ips", "ips", ("bochs",)),
    ("--qemu-option", "qemu_options", ("kvm", "qemu")),
    ("--icount", "icount", ("qemu",)),
    ("--nvme", "nvme", ("kvm", "qemu")),
    ("--nic", "nic", ("kvm", "qemu")),
    ("--iommu", "iommu", ("kvm", "qemu")),
]

KVM_MODULES = {"vmx": "kvm_intel", "svm": "kvm_amd"}  # by the processor's flag
NESTED_PAGING = {"kvm_intel": "ept", "kvm_amd": "npt"}  # without it a guest hypervisor has none
ON = ("Y", "1")


def choose_target(name, settings, root=Path("/")):
    """The target by that name, or the best that works here; Failure when it can not work."""
    if name not in (None, AUTO):
        reason = kvm_obstacle(root) if name == "kvm" else None
        if reason:
            raise Failure(f"target kvm can not work here: {reason}; or use another --target")
        return name, None
    return choose_best(settings, root)


def choose_best(settings, root=Path("/"), known=None):
    """(the first target that can play the machine asked for, a line that tells why). Of those in
    `known` it is known why they can not."""
    passed = []
    for target in MACHINES:
        reason = (known or {}).get(target) or obstacle(target, settings, root)
        if reason is None:
            return target, "; ".join([f"target {target}", *passed])
        passed.append(f"not {target}: {reason}")
    check_model_is_known(settings)
    raise Failure(f"no target can play this machine here: {'; '.join(passed)}")


def obstacle(target, settings, root):
    """Why a target can not play the machine asked for, or None."""
    for option, member, owners in PARTICULAR:
        if getattr(settings, member) and target not in owners:
            return f"it has no {option}"
    name = settings.cpu and settings.cpu.partition(",")[0]
    if target == "kvm":
        if name not in (None, "host", "max"):
            return f"it has this machine's own processor, not {name}"
        return kvm_obstacle(root)
    machine = MACHINES[target](settings, root)
    try:
        machine.check_installed()
        known = name is None or name in machine.known_cpus()
    except Failure as failure:
        return str(failure)
    return None if known else f"it has no CPU {name}"


def check_model_is_known(settings):
    """Failure for a CPU model that nobody has."""
    if settings.cpu is None:
        return
    name, known = settings.cpu.partition(",")[0], ["host"]
    for target in ("qemu", "bochs"):
        try:
            known += MACHINES[target](settings, Path()).known_cpus()
        except Failure:  # a model of it may be meant
            return
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        remedy = f'did you mean "{near[0]}"?' if near else "--target qemu and bochs name those they have"
        raise Failure(f'--cpu: no target has a model "{name}"; {remedy}', EXIT_USAGE)


# KVM


def processor_flags(root):
    for line in (root / "proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("flags"):
            return line.partition(":")[2].split()
    return []


def kvm_obstacle(root=Path("/")):
    """Why KVM can not run a hypervisor as its guest here, with the remedy, or None."""
    flags = processor_flags(root)
    flag = next((flag for flag in KVM_MODULES if flag in flags), None)
    if flag is None:
        where = "in the settings of the hypervisor below" if is_virtual(root) else "in the firmware setup"
        return f"the processor shows neither VT-x nor AMD-V (switch it on {where})"
    module, device = KVM_MODULES[flag], root / "dev/kvm"
    nested = root / "sys/module" / module / "parameters/nested"
    if not nested.exists():
        return f"the module {module} is not loaded (sudo modprobe {module} nested=1)"
    if not device.exists():
        return "there is no /dev/kvm (a container is to be started with --device /dev/kvm)"
    if not os.access(device, os.R_OK | os.W_OK):
        group = group_of(device)
        return f"/dev/kvm may not be opened by you (sudo usermod -aG {group} $USER, and log in again)"
    if read_parameter(nested) not in ON:
        return f"nesting is off (sudo modprobe -r {module}; sudo modprobe {module} nested=1)"
    paging = NESTED_PAGING[module]
    if read_parameter(nested.with_name(paging)) not in (*ON, ""):
        return f"nested paging is off (sudo modprobe -r {module}; sudo modprobe {module} nested=1 {paging}=1)"
    return None


def read_parameter(path):
    """A module's parameter; empty where it has no such."""
    return path.read_text(encoding="ascii").strip() if path.exists() else ""


def group_of(path):
    number = path.stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def is_virtual(root=Path("/")):
    """Whether this machine is itself a guest: then a guest of Bulkhead's on KVM is the third level."""
    return "hypervisor" in processor_flags(root)


# Settings


def check_settings(target, settings):
    """Failure for what the emulator would only refuse in its own words."""
    if not 1 <= settings.cpus <= 255:
        raise Failure(f"--cpus {settings.cpus}: from 1 to 255 CPUs can be had", EXIT_USAGE)
    if settings.threads < 1 or settings.cpus % settings.threads != 0:
        whole = f"{settings.cpus} CPUs are no whole number of cores"
        raise Failure(f"--threads {settings.threads}: {whole}", EXIT_USAGE)
    if settings.memory % MIB or settings.memory < 128 * MIB:
        raise Failure("--memory: give the machine at least 128M, in whole megabytes", EXIT_USAGE)
    for option, member, owners in PARTICULAR:
        if getattr(settings, member) and target not in owners:
            whose = " or ".join(reversed(owners))
            raise Failure(f"{option} goes with --target {whose} only", EXIT_USAGE)
    if settings.ips is not None and not IPS_LEAST <= settings.ips <= IPS_MOST:
        what = f"Bochs takes {IPS_LEAST} to {IPS_MOST} instructions a second"
        raise Failure(f"--ips {settings.ips}: {what}", EXIT_USAGE)
    if target == "bochs" and " " in str(settings.image):
        raise Failure("Bochs takes no path with a space: use another directory", EXIT_USAGE)
    for disk in settings.nvme:
        if not disk.is_file():
            what = "no such file; make one, as by truncate -s 1G FILE"
            raise Failure(f"--nvme {disk}: {what}", EXIT_USAGE)
