# SPDX-License-Identifier: Apache-2.0
"""The disk image: reproducible, sound, and with the right files at the right places."""

import os
import random
import subprocess
import unittest

from support import DEMO, ROOT, DirectoryCase
from bulkhead.command import program
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

    def test_a_refused_manifest_leaves_no_image(self):
        self.file("m.toml", DEMO.replace("= 1", "= 0"))
        argv = [str(ROOT / "tools" / "image"), "--manifest", "m.toml", "--out", "x/a.img"]
        done = subprocess.run(argv, cwd=self.work, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertTrue(done.stderr.startswith("m.toml:3: vm.vcpus: 0 is out of range; "))
        self.assertFalse((self.work / "x").exists())


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
