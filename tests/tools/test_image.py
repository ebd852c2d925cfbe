# SPDX-License-Identifier: Apache-2.0
"""The disk image: reproducible, sound, and with the right files at the right places."""

import contextlib
import errno
import io
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import sys
import unittest
from unittest import mock

from support import DEMO, ROOT, DirectoryCase
from bulkhead import image as maker
from bulkhead import imagetool
from bulkhead.command import EXIT_USAGE, Failure, program
from bulkhead.compiler import PARTS
from bulkhead.gpt import SECTOR
from bulkhead.image import CYLINDER, PARTITION_START, Volume


class Image(DirectoryCase):
    def setUp(self):
        super().setUp()
        self.kernel = random.Random(3).randbytes(5_000_000)
        self.file("vmlinuz", self.kernel)
        self.file("m.toml", DEMO)
        self.build = self.parts()

    def make(self, name, **environment):
        out = self.work / name
        argv = [str(ROOT / "tools" / "image"), "--manifest", str(self.work / "m.toml")]
        argv += ["--out", str(out), "--build", str(self.build)]
        env = dict(os.environ, **environment)
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.text = done.stdout
        return out

    def read(self, image, place):
        argv = [program("mcopy", "mtools"), "-n", "-i", f"{image}@@{PARTITION_START}"]
        done = subprocess.run([*argv, f"::/{place}", "-"], capture_output=True, check=True)
        return done.stdout

    def test_same_files_same_bytes(self):
        first = self.make("a.img").read_bytes()
        for path in self.work.glob("build/**/*"):
            os.utime(path, (1, 1))
        os.utime(self.work / "vmlinuz", (1, 1))
        second = self.make("b.img", TZ="Asia/Tokyo", LC_ALL="C.UTF-8").read_bytes()
        self.assertTrue(first == second)

    def test_files(self):
        image = self.make("a.img")
        self.assertEqual(self.read(image, "bulkhead/vmlinuz-0"), self.kernel)
        for place, source in (
            ("EFI/BOOT/BOOTX64.EFI", "boot/BOOTX64.EFI"),
            ("bulkhead/kernel.elf", "kernel.elf"),
            ("bulkhead/supervisor.elf", "supervisor.elf"),
            ("bulkhead/vmm.elf", "vmm.elf"),
            ("bulkhead/console.elf", "console.elf"),
        ):
            self.assertEqual(self.read(image, place), (self.build / source).read_bytes(), place)
        self.assertEqual(self.read(image, "bulkhead/manifest.dtb")[:4], b"\xd0\x0d\xfe\xed")
        self.assertIn("5,000,000  bulkhead/vmlinuz-0", self.text)

    def test_partition_table(self):
        image = self.make("a.img")
        self.assertEqual(image.stat().st_size % CYLINDER, 0)
        sgdisk = program("sgdisk", "gdisk")
        verify = subprocess.run([sgdisk, "-v", image], capture_output=True, text=True, check=True)
        self.assertIn("No problems found", verify.stdout)
        argv = [sgdisk, "-i", "1", image]
        info = subprocess.run(argv, capture_output=True, text=True, check=True)
        self.assertIn("EFI system partition", info.stdout)

    def test_file_system(self):
        image = self.make("a.img")
        partition = self.file("p.img", image.read_bytes()[PARTITION_START:])
        fsck = program("fsck.fat", "dosfstools")
        done = subprocess.run([fsck, "-n", partition], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_iso(self):
        image = self.make("a.iso")
        options = ["-indev", image, "-report_el_torito", "plain", "-report_system_area", "plain"]
        argv = [program("xorriso", "xorriso"), *options]
        report = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        self.assertRegex(report, r"El Torito boot img : +1 +UEFI +y +none")
        where = re.search(r"GPT start and size : +2 +(\d+) +(\d+)", report)
        self.assertIn("GPT type GUID      :   2  28732ac11ff8d211ba4b00a0c93ec93b", report)
        first = int(where[1]) * SECTOR
        partition = self.file("p.img", image.read_bytes()[first : first + int(where[2]) * SECTOR])
        argv = [program("mcopy", "mtools"), "-n", "-i", partition, "::/bulkhead/vmlinuz-0", "-"]
        self.assertEqual(subprocess.run(argv, capture_output=True, check=True).stdout, self.kernel)
        again = self.make("b.iso", TZ="Asia/Tokyo").read_bytes()
        self.assertTrue(image.read_bytes() == again)

    def test_efi(self):
        loader = ROOT / "build/boot/BOOTX64.EFI"
        if not loader.is_file():
            self.skipTest("build/boot/BOOTX64.EFI is missing: make image-parts")
        shutil.copy(loader, self.build / "boot/BOOTX64.EFI")
        image = self.make("a.efi").read_bytes()
        self.assertEqual(image, self.make("b.efi").read_bytes())
        argv = [program("llvm-readobj", "llvm"), "--sections", self.work / "a.efi"]
        text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        number = r".*?{}: (0x[0-9A-F]+|\d+)"
        pattern = r"Name: (\S+)" + "".join(map(number.format, ("VirtualSize", "VirtualAddress", "RawDataSize",
                                                               "PointerToRawData")))
        rows = [(name, *(int(n, 0) for n in row)) for name, *row in re.findall(pattern, text, re.DOTALL)]
        ends = [address + size for _, size, address, *_ in rows]
        self.assertTrue(all(end <= row[2] for end, row in zip(ends, rows[1:])), "they overlap")
        sections = {name: image[at : at + size] for name, size, _, _, at in rows}
        self.assertEqual(sections[".bhdtb"][:4], b"\xd0\x0d\xfe\xed")
        parts = [(self.build / name).read_bytes() for name in PARTS]
        wanted = b"".join(data + bytes(-len(data) % 4096) for data in [*parts, self.kernel])
        self.assertEqual(sections[".bhfiles"], wanted)
        self.assertEqual(max(ends) + -max(ends) % 4096, self.size_of_image(image))

    @staticmethod
    def size_of_image(image):
        at = struct.unpack_from("<I", image, 0x3C)[0]
        return struct.unpack_from("<I", image, at + 24 + 56)[0]

    def test_a_refused_manifest_leaves_no_image(self):
        self.file("m.toml", DEMO.replace("= 1", "= 0"))
        argv = [str(ROOT / "tools" / "image"), "--manifest", "m.toml", "--out", "x/a.img"]
        done = subprocess.run(argv, cwd=self.work, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertTrue(done.stderr.startswith("m.toml:3: vm.vcpus: 0 is out of range; "))
        self.assertFalse((self.work / "x").exists())


class Target(DirectoryCase):
    """Where an image may go."""

    def setUp(self):
        super().setUp()
        self.file("vmlinuz", b"kernel")
        self.file("m.toml", DEMO)
        self.build = self.parts()

    def make(self, out, *options):
        argv = [str(ROOT / "tools" / "image"), "--manifest", "m.toml", "--build", "build"]
        argv += ["--out", str(out), *options]
        done = subprocess.run(argv, cwd=self.work, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False)
        return done.returncode, done.stdout + done.stderr

    def test_a_link_goes_on_to_name_its_file(self):
        self.file("real.img")
        (self.work / "link.img").symlink_to("real.img")
        self.assertEqual(self.make("link.img", "--quiet"), (0, ""))
        self.assertTrue((self.work / "link.img").is_symlink())
        self.assertGreater((self.work / "real.img").stat().st_size, CYLINDER)

    def test_other_kinds_of_files_are_refused(self):
        os.mkfifo(self.work / "pipe")
        words = f"image: {self.work}/pipe is neither a file nor a block device; name a file, or the device of a whole disk\n"
        self.assertEqual(self.make(self.work / "pipe", "--yes"), (64, words))
        self.assertTrue(stat.S_ISFIFO((self.work / "pipe").stat().st_mode))
        status, words = self.make(self.work, "--yes")
        self.assertEqual((status, "is a folder" in words), (64, True))

    def test_file_within_a_file_is_refused(self):
        self.file("a")
        words = f"image: {self.work}/a/x can not be written (Not a directory)\n"
        self.assertEqual(self.make(self.work / "a/x"), (69, words))

    def device(self, size):
        """A loop device, where this user may have one."""
        backing = self.sparse(f"disk-{size}", size)
        try:
            losetup = program("losetup", "mount")
            done = subprocess.run([losetup, "-f", "--show", backing], capture_output=True, text=True, check=True)
        except (Failure, subprocess.CalledProcessError) as error:
            self.skipTest(f"no loop device can be had: {error}")
        device = done.stdout.strip()
        self.addCleanup(subprocess.run, [losetup, "-d", device], check=True)
        return device, backing

    def test_device_is_written_when_asked_to(self):
        device, backing = self.device(64 << 20)
        status, words = self.make(device)
        self.assertEqual((status, words), (64, f"image: {device} is a disk of 64.0 MiB; to write over what is on it, say --yes\n"))
        self.assertEqual(self.make("a.img", "--quiet"), (0, ""))
        self.assertEqual(self.make(device, "--yes", "--quiet"), (0, ""))
        self.assertTrue(stat.S_ISBLK(os.stat(device).st_mode))
        image = (self.work / "a.img").read_bytes()
        self.assertTrue(backing.read_bytes()[: len(image)] == image)

    def test_device_that_is_too_small_is_left_alone(self):
        device, backing = self.device(1 << 20)
        status, words = self.make(device, "--yes")
        self.assertEqual(status, 69)
        self.assertIn(f"{device} has 1.0 MiB, and the image ", words)
        self.assertEqual(backing.read_bytes(), b"x" + bytes((1 << 20) - 1))


class Question(DirectoryCase):
    """What is asked before a disk is written over. The disk is a file: tests seldom may have a device."""

    def answered(self, answer, is_terminal=True):
        """(what the refusal says or None, what was asked or None)"""
        disk = self.sparse("disk", 3 << 20)
        asked = mock.Mock(side_effect=[answer])
        with mock.patch.object(sys, "stdin", mock.Mock(isatty=lambda: is_terminal)), mock.patch("builtins.input", asked):
            try:
                imagetool.ask(disk)
                refusal = None
            except Failure as error:
                self.assertEqual(error.status, EXIT_USAGE)
                refusal = str(error)
        return refusal, asked.call_args and asked.call_args.args[0]

    def test_only_a_yes_is_one(self):
        question = f"{self.work}/disk is a disk of 3.0 MiB. Write over all that is on it? [y/N] "
        for answer in ("y", "Y", "yes", " Yes "):
            self.assertEqual(self.answered(answer), (None, question))
        for answer in ("", "n", "no", "yy", "ye", "y n", EOFError()):
            self.assertEqual(self.answered(answer), ("nothing was written", question))

    def test_who_is_no_terminal_is_not_asked(self):
        what = f"{self.work}/disk is a disk of 3.0 MiB; to write over what is on it, say --yes"
        self.assertEqual(self.answered("y", is_terminal=False), (what, None))

    def run_tool(self, *options):
        """tools/image, to which the disk is a block device. What it asked about."""
        disk = self.sparse("disk", 3 << 20)
        argv = ["tools/image", "--manifest", "m.toml", "--out", str(disk), *options]
        with mock.patch.object(sys, "argv", argv), mock.patch.object(imagetool, "is_device", lambda _path: True), \
                mock.patch.object(imagetool, "ask") as ask, mock.patch.object(imagetool, "compile_from"), \
                mock.patch.object(imagetool, "build_image", return_value=[]), contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(imagetool.main(), 0)
        return [call.args[0] for call in ask.call_args_list]

    def test_device_is_asked_about_unless_told(self):
        self.assertEqual(self.run_tool(), [self.work / "disk"])
        self.assertEqual(self.run_tool("--yes"), [])


class Copy(DirectoryCase):
    """The image on its way to a device, for which a file stands."""

    def copy(self, size, room):
        """(what the device holds, what the refusal says or None, flags that it was opened with)"""
        source, device = self.file("image", random.Random(1).randbytes(size)), self.sparse("disk", room)
        with mock.patch.object(maker.os, "open", side_effect=os.open) as opened:
            try:
                maker._copy_to_device(source, device)  # pylint: disable=protected-access
                refusal = None
            except Failure as error:
                refusal = str(error)
        return device.read_bytes(), refusal, [call.args[1] for call in opened.call_args_list if call.args[0] == device]

    def test_image_is_written_over_the_beginning(self):
        whole = random.Random(1).randbytes((2 << 20) + 7)
        for room in (len(whole), len(whole) + 5):
            held, refusal, flags = self.copy(len(whole), room)
            self.assertIsNone(refusal)
            self.assertTrue(held == whole + bytes(room - len(whole)))
            self.assertEqual(flags, [os.O_WRONLY | os.O_EXCL])  # neither made nor cut off, and nobody else has it

    def test_small_device_is_left_alone(self):
        held, refusal, flags = self.copy((2 << 20) + 1, 2 << 20)
        self.assertEqual(refusal, f"{self.work}/disk has 2.0 MiB, and the image 2.0 MiB; take a larger one")
        self.assertEqual((held, flags), (b"x" + bytes((2 << 20) - 1), []))

    def test_what_is_in_use_is_refused_in_a_line(self):
        self.file("m.toml", DEMO)
        disk = self.sparse("disk", 64 << 20)
        really_open = os.open

        def open_other(path, *arguments, **options):
            if path == disk:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            return really_open(path, *arguments, **options)

        write = mock.patch.object(maker, "_write_disk", lambda _compiled, _loader, work: (work / "image").write_bytes(b"i"))
        with write, mock.patch.object(maker, "is_device", lambda _path: True), \
                mock.patch.object(maker.os, "open", open_other), self.assertRaises(Failure) as caught:
            maker.build_image(None, self.file("BOOTX64.EFI"), disk)
        self.assertEqual(str(caught.exception), f"{disk} can not be written (Device or resource busy)")


class Sizes(unittest.TestCase):
    def test_volume_holds_the_files_and_little_more(self):
        for total in (1, 10 << 20, 40 << 20, 300 << 20, 3 << 30):
            volume = Volume([total])
            partition = volume.sectors * SECTOR
            self.assertEqual(volume.disk_size % CYLINDER, 0)
            self.assertGreater(partition, total)
            least = 4200 * volume.cluster
            self.assertLess(partition, max(total, least) * 1.002 + (2 << 20), total)

    def test_clusters_grow_and_then_the_kind(self):
        self.assertEqual((Volume([40 << 20]).cluster, Volume([40 << 20]).is_fat32), (4096, False))
        self.assertEqual(Volume([500 << 20]).cluster, 8192)
        self.assertTrue(Volume([3 << 30]).is_fat32)


if __name__ == "__main__":
    unittest.main()
