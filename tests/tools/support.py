# SPDX-License-Identifier: Apache-2.0
"""What the tests of the host tools share: the checkout's tools, and a directory of fake parts."""

import contextlib
import random
import shutil
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tools"))

DEMO = """\
[[vm]]
name = "demo"
vcpus = 1
memory = "256M"
kernel = "vmlinuz"
"""


PATIENCE = 10  # seconds


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        time.sleep(0.02)


def read_if_there(path):
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


class DirectoryCase(unittest.TestCase):
    """A test with a fresh directory `self.work`, removed at its end."""

    def setUp(self):
        self.work = Path(tempfile.mkdtemp(prefix="bulkhead-test-"))
        self.addCleanup(shutil.rmtree, self.work)

    def file(self, name, content=b"x"):
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            path.write_bytes(content)
        return path

    def sparse(self, name, size):
        path = self.file(name)
        with open(path, "r+b") as file:
            file.truncate(size)
        return path

    def parts(self):
        """A build directory with the hypervisor's parts, of repeatable random bytes."""
        noise = random.Random(2)
        sizes = {"kernel.elf": 70_000, "supervisor.elf": 40_001, "vmm.elf": 1, "console.elf": 9000}
        for name, size in {**sizes, "boot/BOOTX64.EFI": 30_000}.items():
            self.file(f"build/{name}", noise.randbytes(size))
        return self.work / "build"
