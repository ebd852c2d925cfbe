# SPDX-License-Identifier: Apache-2.0
"""The machines that QEMU plays: AMD-V emulated (TCG), or the host's own virtualization (KVM).

QEMU's own VGA, serial port COM1, a disk at SATA and OVMF as the board Q35 has them; NVMe disks, a
network card and an IOMMU where the settings name them.
"""

import os
import re

from .command import MIB, execute, program
from .machine import Machine, SerialFile, cache, firmware

TIME0 = "2023-11-14T22:13:20"  # Bochs starts at the same second

# What code costs is the same in each run: time is instructions (each takes 2^shift nanoseconds; the
# TSC has 1 GHz), time in which all CPUs wait is skipped, the clock starts at TIME0, and RDRAND has
# a seed. All CPUs share a thread, in turn. Only the disk still answers when the host has read it.
ICOUNT = ("-icount", "shift={},sleep=off", "-rtc", f"base={TIME0},clock=vm", "-seed", "1")

# What a CPU model needs where QEMU emulates it (seen on 7.2).
EMULATED_FEATURES = (
    "+svm",  # AMD-V, which not every model has
    "+npt",  # nested paging, which no model has by itself
    "-smap",  # IRETQ to CPL 3 faults with SMAP on
    "-rdtscp",  # RDTSCP of a guest exits as RDTSC
    "-monitor",  # MWAIT with ECX = 1 faults
)

NICS = {"e1000e": "e1000e", "virtio": "virtio-net-pci,disable-legacy=on"}
# intremap: interrupts go through it, too. caching-mode=off: as hardware, where what was not there
# before needs no invalidation. device-iotlb: devices may ask for translations (ATS).
IOMMUS = {
    "intel": "intel-iommu,intremap=on,caching-mode=off,device-iotlb=on",
    "amd": "amd-iommu,intremap=on,device-iotlb=on",
}


class Qemu(Machine):
    name = "qemu"
    is_emulated = True  # with the faults that scripts/qemu/qemu-fix.c mends
    default_cpu = "EPYC"
    board = "q35"

    def __init__(self, settings, work):
        super().__init__(settings, work)
        fix = cache() / "qemu-fix" / "qemu-fix.so"
        if self.is_emulated and fix.exists():
            self.environment["LD_PRELOAD"] = " ".join([str(fix), *os.environ.get("LD_PRELOAD", "").split()])

    def accelerator(self):
        # One thread a CPU: with one for all, CPUs that wait for each other take their turns slowly.
        # Instructions can only be counted in one thread.
        return "tcg,thread=single" if self.settings.icount else "tcg,thread=multi"

    def features(self, _model):
        return EMULATED_FEATURES

    def cpu(self):
        """The CPU in QEMU's words. What somebody says of a feature goes before what we do."""
        settings = self.settings
        name, *words = (settings.cpu or self.default_cpu).split(",")
        words += [f"-{feature}" for feature in settings.without]
        words += [f"+{feature}" for feature in settings.with_]
        named = {feature_of(word) for word in words}
        ours = [word for word in self.features(name) if feature_of(word) not in named]
        return ",".join([name, *ours, *words])

    def command(self, serial):
        settings = self.settings
        self.check_cpu()
        # Both halves of the firmware as one writable flash, in a copy of this run: variables, then
        # code, which end at 4 GiB.
        flash = self.work / "OVMF.fd"
        flash.write_bytes(firmware().read_bytes())
        if isinstance(serial, SerialFile):
            chardev = f"file,id=com1,path={_comma(serial.path)}"
        else:
            chardev = f"socket,id=com1,path={_comma(serial.listen_local())}"
        threads = f",threads={settings.threads}" if settings.threads > 1 else ""
        return [
            self.check_installed(),
            *("-machine", self.board, "-accel", self.accelerator(), "-cpu", self.cpu()),
            *("-smp", f"{settings.cpus}{threads}", "-m", f"{settings.memory // MIB}M"),
            *(word.format(settings.icount) for word in (ICOUNT if settings.icount else ())),
            *("-drive", f"if=pflash,format=raw,file={_comma(flash)}"),
            *self.devices(),
            *("-chardev", chardev, "-serial", "chardev:com1"),
            *("-nodefaults", "-display", "none", "-vga", "std", "-monitor", "none"),
            *("-no-reboot", "-no-user-config", "-boot", "menu=off"),
            *settings.qemu_options,
        ]

    def devices(self):
        """The IOMMU first: QEMU wants it to be there before what lies behind it."""
        settings = self.settings
        argv = ["-device", IOMMUS[settings.iommu]] if settings.iommu else []
        # The image is booted, whatever other disks hold; what is written to it is gone at the end.
        argv += ["-drive", f"if=none,id=image,format=raw,snapshot=on,file={_comma(settings.image)}"]
        argv += ["-device", "ide-hd,drive=image,bus=ide.0,bootindex=0"]
        for number, disk in enumerate(settings.nvme):
            argv += ["-drive", f"if=none,id=nvme{number},format=raw,file={_comma(disk)}"]
            argv += ["-device", f"nvme,drive=nvme{number},serial=bulkhead-{number}"]
        if settings.nic:
            card = NICS[settings.nic]
            # A virtio device goes through an IOMMU only where its driver is told to.
            card += ",iommu_platform=on" if settings.nic == "virtio" and settings.iommu else ""
            # Without a ROM: nothing is booted from the network.
            argv += ["-netdev", "user,id=net0", "-device", f"{card},netdev=net0,romfile="]
        return argv

    def check_installed(self):
        firmware()
        return program("qemu-system-x86_64", "qemu-system-x86")

    def known_cpus(self):
        words = execute([program("qemu-system-x86_64", "qemu-system-x86"), "-cpu", "help"])
        models = words.decode(errors="replace").partition("\n\n")[0]  # CPUID flags come behind
        return re.findall(r"^(?:x86|  ) *(\S+)", models, re.MULTILINE)


class Kvm(Qemu):
    name = "kvm"
    is_emulated = False
    default_cpu = "host"

    def features(self, model):
        # KVM shows the invariant TSC, without which guests have no stable clock, only to who asks
        # for it, and these two models only where they need not move to another machine.
        return ("migratable=off", "+invtsc") if model in ("host", "max") else ("+invtsc",)

    @property
    def board(self):
        # KVM's own IOAPIC in the kernel would go round an IOMMU's interrupt remapping.
        return "q35,kernel-irqchip=split" if self.settings.iommu else "q35"

    def accelerator(self):
        return "kvm"


def feature_of(word):
    """What a word of `-cpu` speaks of: "svm" of "+svm" and of "svm=on"."""
    return word.lstrip("+-").partition("=")[0]


def _comma(path):
    """A path within an option: QEMU wants its commas twice."""
    return str(path).replace(",", ",,")
