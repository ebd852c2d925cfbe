# SPDX-License-Identifier: Apache-2.0
"""The images that tools/image makes, each booted the ways it is for, with the tests' kernel in the kernel's place."""

import subprocess
from pathlib import Path

import machine
from cases import MIB, pattern, supervisor

ROOT = Path(__file__).resolve().parents[3]
SEEN = ("loader-ok", "loader-modules: 5", "loader-cmdline: [from=manifest]")
OWN = "-netdev user,id=net,tftp={},bootfile={} -device virtio-net-pci,netdev=net,bootindex=0,romfile="


class Media:
    """boot_*(): (name, output, texts that it has to hold)."""

    def __init__(self, loader, kernel, work):
        self.work = work
        parts = {"kernel.elf": kernel, "supervisor.elf": supervisor(54321, 3), "vmm.elf": pattern(8192, 9),
                 "console.elf": pattern(4096, 15), "boot/BOOTX64.EFI": loader, "vmlinuz": pattern(70001, 13),
                 "initrd": pattern(3 * MIB + 1, 11)}
        for name, data in parts.items():
            path = work / "parts" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        vm = ["[host]", 'cmdline = "from=manifest"', "[[vm]]", 'name = "a"', "vcpus = 1", 'memory = "64M"']
        vm += ['kernel = "parts/vmlinuz"', 'initrd = "parts/initrd"', ""]
        (work / "m.toml").write_text("\n".join(vm), encoding="utf-8")

    def image(self, name):
        out = self.work / name
        command = [ROOT / "tools/image", "--quiet", "--manifest", self.work / "m.toml", "--build", self.work / "parts"]
        subprocess.run([*command, "--out", out], check=True)
        return out

    def folder(self, name):
        folder = self.work / name
        folder.mkdir()
        return folder

    def qemu(self, name, boot_from):
        folder = self.folder(name)
        return machine.boot_qemu(None, folder, until=("loader-ok", "loader-failed"), extra=boot_from.split())

    def boot_cd(self):
        iso = self.image("cd.iso")
        disc = f"-drive file={iso},format=raw,media=cdrom,if=none,id=cd -device ide-cd,drive=cd,bootindex=0"
        return "boots the ISO image from a CD", self.qemu("cd", disc), SEEN

    def boot_stick(self):
        iso = self.image("stick.iso")
        stick = f"-drive file={iso},format=raw,if=none,id=stick -device qemu-xhci"
        return ("boots the ISO image from a USB stick",
                self.qemu("stick", f"{stick} -device usb-storage,drive=stick,bootindex=0"), SEEN)

    def boot_pxe(self):
        efi = self.image("net.efi")
        options = OWN.format(efi.parent, efi.name)
        return "boots the single file over the network (PXE)", self.qemu("pxe", options), SEEN

    def boot_bochs_cd(self):
        iso = self.image("bochs.iso")
        return "boots the ISO image from a CD on Bochs", machine.boot_bochs_cd(iso, self.folder("bochs")), SEEN
