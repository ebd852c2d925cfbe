# SPDX-License-Identifier: Apache-2.0
"""Bad disks for the loader's tests: each a manifest and files with one flaw, and the words that the
loader must say about it."""

import re
import struct
from pathlib import Path

import disk
from bulkhead.pe import append_sections
from disk import module

MIB = 1 << 20
BOOT_H = Path(__file__).resolve().parents[3] / "include" / "boot.h"
BOOT_VERSION = re.search(r"^#define BOOT_VERSION +(\d+)u$", BOOT_H.read_text(encoding="utf-8"), re.MULTILINE)[1]
COPY = "copy the image to the disk again"


def pattern(size, seed):
    """`size` bytes that do not repeat soon."""
    period = bytes((i * i + i // 251 * seed + seed) & 0xFF for i in range(65521))
    return (period * (size // len(period) + 1))[:size]


TEXT, DATA = 0x400000, 0x410000


def supervisor(size, seed):
    """An ELF file with code at TEXT, and at DATA + 0x123 data in front of as many zeroes."""
    data = pattern(size, seed)
    at = 64 + 2 * 56
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, TEXT + at, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    text = struct.pack("<IIQQQQQQ", 1, 5, 0, TEXT, TEXT, at + 16, at + 16, 4096)
    place = DATA + 0x123
    more = struct.pack("<IIQQQQQQ", 1, 6, at + 16, place, place, size, 2 * size, 1)
    return header + text + more + b"\xcc" * 16 + data


class Patched:
    """A copy of the kernel with fields changed in place."""

    PHDR = 64
    PHDR_SIZE = 56

    def __init__(self, elf):
        self.elf = bytearray(elf)

    def put(self, offset, form, value):
        struct.pack_into("<" + form, self.elf, offset, value)
        return self

    def segment(self, index, field, form, value):
        return self.put(self.PHDR + index * self.PHDR_SIZE + field, form, value)

    def version(self, value):
        return self.put(self.elf.index(b"Bulkhead\0\0\0\0") + 12, "I", value)

    def done(self):
        return bytes(self.elf)


class Cases:
    """The bad disks: each a manifest, and modules in a folder of its own."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.supervisor = supervisor(70000, 3)
        self.files = {}
        self.expected = []  # (name, text that the one line must contain)

    def add(self, name, expected, manifest):
        if manifest is not None:
            self.files[f"cases/{name}/manifest.dtb"] = manifest
        self.expected.append((name, expected))

    def path(self, name, file):
        return f"\\cases\\{name}\\{file}"

    def put(self, name, file, data, **changes):
        """Puts a file on the volume and returns its module node."""
        self.files[f"cases/{name}/{file}"] = data
        return module(file, self.path(name, file), data, **changes)

    def good(self, name="good"):
        return [
            self.put(name, "kernel.elf", self.kernel),
            self.put(name, "supervisor.elf", self.supervisor),
        ]

    def add_manifests(self):
        good = self.good()
        blob = disk.manifest(good)

        def case(name, expected, modules=None, **changes):
            self.add(name, expected, disk.manifest(modules or good, **changes))

        def one_more(name, expected, node):
            case(name, expected, [*good, node])

        self.add("manifest-missing", f"\\bulkhead\\manifest.dtb is missing: {COPY}", None)
        self.add("manifest-empty", f"manifest.dtb is damaged: {COPY}", b"")
        self.add("manifest-truncated", f"manifest.dtb is damaged: {COPY}", blob[:-20])
        case("manifest-foreign", "is no Bulkhead manifest: build", compatible="x")
        case("manifest-version", "has version 2, this loader reads 1: build", version=2)
        case("cmdline-long", "of more than 511 bytes: shorten it", cmdline="x" * 512)
        many = [module(f"m{index}", "\\x") for index in range(127)]
        case("modules-many", "more than 128 modules (module@128): use", good + many)
        one_more("name-long", "name of 0 or more than 63 bytes", module("n" * 64, "\\x"))
        one_more("name-twice", "has a module name twice (supervisor.elf)", good[1])
        node = module("vmm.elf", "\\x", crc32=None)
        one_more("module-incomplete", "lacks a property of a module (module@2)", node)
        node = module("vmm.elf", "x")
        one_more("path-bad", "has a module path that is no path (vmm.elf)", node)
        wrong = "does not begin with kernel.elf and supervisor.elf (supervisor.elf)"
        case("module-order", wrong, good[::-1])

    def add_files(self):
        def case(name, expected, node):
            self.add(name, expected, disk.manifest([*self.good(), node]))

        data = pattern(100000, 7)
        node = self.put("file-short", "vmm.elf", data[:-1], size=disk.cells(len(data)))
        case("file-short", f"vmm.elf is damaged (99999 bytes, expected 100000): {COPY}", node)
        self.put("file-crc", "vmm.elf", data[:50000] + bytes([data[50000] ^ 1]) + data[50001:])
        node = module("vmm.elf", self.path("file-crc", "vmm.elf"), data)
        case("file-crc", "\\cases\\file-crc\\vmm.elf is damaged (CRC 0x", node)
        node = module("vmm.elf", "\\cases\\none\\vmm.elf")
        case("file-missing", f"\\cases\\none\\vmm.elf is missing: {COPY}", node)
        node = module("vmm.elf", "\\cases")
        case("file-is-folder", f"\\cases is no plain file: {COPY}", node)
        size = 200 * MIB
        path = self.path("memory-module", "vmm.elf")
        self.files["cases/memory-module/vmm.elf"] = size
        node = module("vmm.elf", path, size=disk.cells(size))
        case("memory-module", f"too little memory for {path} ({size // 1024} KiB): give", node)

    def add_supervisors(self):
        def case(name, expected, elf):
            node = self.put(name, "supervisor.elf", elf)
            self.add(name, expected, disk.manifest([self.good()[0], node]))

        def segment(index, field, form, value):
            return Patched(self.supervisor).segment(index, field, form, value).done()

        name = "\\cases\\supervisor-text\\supervisor.elf"
        case("supervisor-text", f"{name} is no ELF file: {COPY}", b"#!/bin/sh\n" * 100)
        case("supervisor-cut", "supervisor.elf is cut off", self.supervisor[:-1])
        case("supervisor-wx", "has a segment both writable", segment(0, 4, "I", 7))
        kernel = 0xFFFFFFFF80000000
        case("supervisor-high", "has a segment outside", segment(1, 16, "Q", kernel))
        case("supervisor-low", "has a segment outside", segment(0, 16, "Q", 0))
        many = Patched(self.supervisor + bytes(10 * 56)).put(32, "Q", len(self.supervisor))
        many.put(56, "H", 10)
        for index in range(10):
            place = TEXT + 0x1000 * index
            fields = struct.pack("<IIQQQQQQ", 1, 5, 0, place, place, 0x200, 0x200, 1)
            start = len(self.supervisor) + index * 56
            many.elf[start : start + 56] = fields
        case("supervisor-many", "has more than 8 segments", many.done())
        path = self.path("memory-supervisor", "supervisor.elf")
        large = segment(1, 40, "Q", 400 * MIB)
        case("memory-supervisor", f"too little memory to lay out {path} (4096", large)

    def add_kernels(self):
        def case(name, expected, elf):
            node = self.put(name, "kernel.elf", elf)
            self.add(name, expected, disk.manifest([node, self.good()[1]]))

        def segment(index, field, form, value):
            return Patched(self.kernel).segment(index, field, form, value).done()

        def header(offset, form, value):
            return Patched(self.kernel).put(offset, form, value).done()

        name = "\\cases\\kernel-text\\kernel.elf"
        case("kernel-text", f"{name} is no ELF file: {COPY}", b"#!/bin/sh\n" * 100)
        case("kernel-truncated", "kernel.elf is cut off", self.kernel[:0x2000])
        case("kernel-machine", "kernel.elf is not for x86-64", header(18, "H", 183))
        case("kernel-class", "kernel.elf is not 64-bit", header(4, "B", 1))
        case("kernel-type", "kernel.elf is not a fixed-address", header(16, "H", 3))
        case("kernel-entry", "has its entry point outside", header(24, "Q", 0xFFFFFFFF8FFFF000))
        case("kernel-writable-code", "has a segment both writable", segment(0, 4, "I", 7))
        case("kernel-low", "has a segment outside", segment(0, 16, "Q", 0xFFFFFFFF00000000))
        case("kernel-overlap", "has segments that overlap", segment(0, 40, "Q", 0x8000))
        other = Patched(self.kernel).version(99).done()
        case("kernel-version", f"has boot version 99, this loader has {BOOT_VERSION}", other)
        case("kernel-no-note", "kernel.elf has no boot version", segment(3, 0, "I", 0))
        path = self.path("memory-kernel", "kernel.elf")
        large = segment(2, 40, "Q", 400 * MIB)
        case("memory-kernel", f"too little memory to lay out {path} (410", large)

    def add_own(self, loader):
        """Images that bring their files: one is damaged, one holds less than its manifest names."""
        for name, expected, cut in (("own-crc", "\\x\\vmm.elf is damaged (CRC 0x", 0),
                                    ("own-cut", "\\x\\vmm.elf is cut off in this image: make", 1)):
            contents = [("kernel.elf", self.kernel), ("supervisor.elf", self.supervisor), ("vmm.elf", pattern(5000, 5))]
            nodes = [module(file, f"\\x\\{file}", data) for file, data in contents]
            files = b"".join(data + bytes(-len(data) % 4096) for _, data in contents[:2]) + pattern(5000, 4)
            sections = [(".bhdtb", disk.manifest(nodes)), (".bhfiles", files[: len(files) - cut])]
            self.files[f"cases/{name}/own.efi"] = append_sections(loader, sections)
            self.expected.append((name, expected))

    def startup(self):
        """The shell's script: all cases, then a good boot with options."""
        lines = ["@echo -off", "memmap"]
        for name, _ in self.expected:
            lines.append(f"echo CASE {name}")
            if f"cases/{name}/manifest.dtb" in self.files:
                lines.append(f"cp -q \\cases\\{name}\\manifest.dtb \\bulkhead\\manifest.dtb")
            own = f"cases/{name}/own.efi" in self.files
            lines += [f"\\cases\\{name}\\own.efi" if own else "loader.efi", "echo STATUS %lasterror%"]
        lines += ["echo CASE end", "memmap", "echo CASE good"]
        lines += ["cp -q \\cases\\good\\manifest.dtb \\bulkhead\\manifest.dtb"]
        lines += ["loader.efi from=shell two"]
        return "\r\n".join(["fs0:", *lines, ""]).encode()
