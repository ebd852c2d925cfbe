# SPDX-License-Identifier: Apache-2.0
"""The machines that QEMU plays: AMD-V emulated (TCG), or the host's own virtualization (KVM)."""

import re

from .command import MIB, execute, program
from .machine import Machine, SerialFile, firmware


class Qemu(Machine):
    name = "qemu"
    default_cpu = "EPYC,+svm,+npt,-smap,-rdtscp,-monitor"
    accelerator = "tcg,thread=multi"

    def command(self, serial):
        settings = self.settings
        self.check_cpu()
        # Both halves of the firmware as one writable flash, in a copy of this run.
        flash = self.work / "OVMF.fd"
        flash.write_bytes(firmware().read_bytes())
        if isinstance(serial, SerialFile):
            chardev = f"file,id=com1,path={_comma(serial.path)}"
        else:
            chardev = f"socket,id=com1,path={_comma(serial.listen_local())}"
        features = [f"-{name}" for name in settings.without]
        features += [f"+{name}" for name in settings.with_]
        threads = f",threads={settings.threads}" if settings.threads > 1 else ""
        return [
            program("qemu-system-x86_64", "qemu-system-x86"),
            *("-machine", "q35", "-accel", self.accelerator),
            *("-cpu", ",".join([settings.cpu or self.default_cpu, *features])),
            *("-smp", f"{settings.cpus}{threads}", "-m", f"{settings.memory // MIB}M"),
            *("-drive", f"if=pflash,format=raw,file={_comma(flash)}"),
            *("-drive", f"if=ide,format=raw,snapshot=on,file={_comma(settings.image)}"),
            *("-chardev", chardev, "-serial", "chardev:com1"),
            *("-nodefaults", "-display", "none", "-vga", "std", "-monitor", "none"),
            *("-no-reboot", "-no-user-config", "-boot", "menu=off"),
            *settings.qemu_options,
        ]


    def known_cpus(self):
        words = execute([program("qemu-system-x86_64", "qemu-system-x86"), "-cpu", "help"])
        models = words.decode(errors="replace").partition("\n\n")[0]  # CPUID flags come behind
        return re.findall(r"^(?:x86|  ) *(\S+)", models, re.MULTILINE)


class Kvm(Qemu):
    name = "kvm"
    # KVM shows the invariant TSC, without which guests have no stable clock, only to who asks for
    # it.
    default_cpu = "host,migratable=off,+invtsc"
    accelerator = "kvm"


def _comma(path):
    """A path within an option: QEMU wants its commas twice."""
    return str(path).replace(",", ",,")
