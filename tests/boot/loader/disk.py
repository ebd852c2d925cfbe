# SPDX-License-Identifier: Apache-2.0
"""Disks for the loader's tests: a compiled manifest with any flaw, and a FAT volume with any files.

tools/ would refuse to make most of this, so the device tree is written here, token by token."""

import os
import struct
import subprocess
import zlib


def cell(value):
    return struct.pack(">I", value)


def cells(value):
    return struct.pack(">Q", value)


def text(value):
    return value.encode() + b"\0"


class Tree:
    """A flattened device tree, version 17, from nested (name, properties, children)."""

    BEGIN, END_NODE, PROP, END = 1, 2, 3, 9

    def __init__(self, root):
        self.strings = b""
        self.offsets = {}
        structure = self._node(*root) + cell(self.END)
        reservations = bytes(16)
        start = 40
        struct_at = start + len(reservations)
        strings_at = struct_at + len(structure)
        total = strings_at + len(self.strings)
        header = (0xD00DFEED, total, struct_at, strings_at, start, 17, 16, 0)
        sizes = (len(self.strings), len(structure))
        self.blob = struct.pack(">10I", *header, *sizes) + reservations + structure + self.strings

    def _string(self, name):
        if name not in self.offsets:
            self.offsets[name] = len(self.strings)
            self.strings += text(name)
        return self.offsets[name]

    @staticmethod
    def _pad(data):
        return data + bytes(-len(data) % 4)

    def _node(self, name, properties, children):
        out = cell(self.BEGIN) + self._pad(text(name))
        for key, value in properties.items():
            out += cell(self.PROP) + cell(len(value)) + cell(self._string(key)) + self._pad(value)
        for child in children:
            out += self._node(*child)
        return out + cell(self.END_NODE)


def module(name, path, data=b"", **changes):
    """One module node; `changes` replace properties, None leaves one out."""
    properties = {
        "name-in-boot": text(name),
        "path": text(path),
        "size": cells(len(data)),
        "crc32": cell(zlib.crc32(data)),
    }
    properties |= {key.replace("_", "-"): value for key, value in changes.items()}
    return {key: value for key, value in properties.items() if value is not None}


def manifest(modules, cmdline="", compatible="bulkhead,manifest", version=1):
    nodes = [(f"module@{index}", properties, []) for index, properties in enumerate(modules)]
    host = ("host", {"cmdline": text(cmdline)} if cmdline is not None else {}, [])
    root = {"compatible": text(compatible), "version": cell(version)}
    return Tree(("", root, [host, ("modules", {}, nodes)])).blob


def make_volume(path, files, mib=64):
    """A FAT volume over the whole disk. `files` maps a path with slashes to bytes, or to a number:
    a file of that many zeros."""
    with open(path, "wb") as volume:
        volume.truncate(mib << 20)
    run = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run(["mformat", "-i", path, "-F", "::"], **run)
    made = set()
    for name, content in sorted(files.items()):
        parents = name.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            folder = "/".join(parents[:depth])
            if folder not in made:
                subprocess.run(["mmd", "-i", path, f"::/{folder}"], **run)
                made.add(folder)
        staged = f"{path}.staged"
        with open(staged, "wb") as out:
            if isinstance(content, int):
                out.truncate(content)
            else:
                out.write(content)
        subprocess.run(["mcopy", "-i", path, staged, f"::/{name}"], **run)
        os.unlink(staged)
