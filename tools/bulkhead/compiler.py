# SPDX-License-Identifier: Apache-2.0
"""Compiles a checked manifest to the device tree that include/manifest.h and manifest_keys.h describe.

    compiled = compile_manifest(manifest, build, append_cmdline)
    compiled.dtb, compiled.modules      the device tree, and the files it names, in its order

The same manifest and files give the same bytes: nothing of the host (paths, times, order of
directories) reaches the device tree.
"""

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from .command import Failure, execute, program
from .manifest import Refused
from .schema import HOST_KEYS, VM_KEYS
from .table import CPUS_MAX

# include/manifest.h and include/boot.h
COMPATIBLE = "bulkhead,manifest"
VERSION = 1
MODULES_MAX = 128  # with manifest.dtb itself
FILE_NAME_MAX = 63
HOST_CMDLINE_MAX = next(key.value[1][0] for key in HOST_KEYS if key.name == "cmdline")

# The hypervisor's own parts, each as its name among the modules and its place below the build
# directory. They come first, in this order.
PARTS = ("kernel.elf", "supervisor.elf", "vmm.elf", "console.elf")
FOLDER = "bulkhead"  # on the boot volume


@dataclass
class Module:
    name: str
    source: Path
    size: int
    crc32: int

    @property
    def target(self):
        """Its place on the boot volume, with slashes."""
        return f"{FOLDER}/{self.name}"


@dataclass
class Compiled:
    dtb: bytes
    modules: list[Module]


def compile_manifest(manifest, build, append_cmdline=""):
    """The device tree and its modules; the hypervisor's own parts are taken from `build`."""
    modules = _Modules()
    for part in PARTS:
        modules.add_part(part, Path(build) / part)
    vms = [_node(f"vm@{index:x}", _key_lines(VM_KEYS, vars(vm), modules)) for index, vm in enumerate(manifest.vms)]
    if len(modules.list) + 1 > MODULES_MAX:
        count = len(modules.list) - len(PARTS)
        what = f"{count} different kernels and initrds are named, the most is"
        what = f"{manifest.path}:1: vm: {what} {MODULES_MAX - 1 - len(PARTS)}; share some"
        raise Refused([what])
    cmdline = " ".join(filter(None, (manifest.host.cmdline, append_cmdline)))
    if len(cmdline) > HOST_CMDLINE_MAX:
        what = f"{len(cmdline)} characters with what was appended, the most is {HOST_CMDLINE_MAX}"
        raise Refused([f"{manifest.path}:1: host.cmdline: {what}; shorten it"])
    host = _key_lines(HOST_KEYS, {**vars(manifest.host), "cmdline": cmdline}, modules)
    if manifest.is_test:
        host.append("test-image;")
    source = _tree(host, modules.list, vms)
    dtc = program("dtc", "device-tree-compiler")
    quiet = ["-W", "no-unit_address_vs_reg"]  # modules and VMs are counted, not addressed
    dtb = execute([dtc, "-I", "dts", "-O", "dtb", *quiet, "-"], data=source.encode("ascii"))
    return Compiled(dtb, modules.list)


class _Modules:
    """The modules in loading order; a file that is named twice is one module."""

    def __init__(self):
        self.list = []
        self.names = {}  # real path of a guest's file -> name of its module

    def add_part(self, name, source):
        if not source.is_file():
            raise Failure(f"{source} is missing; build it first: make image-parts")
        self._add(name, source)

    def add(self, source):
        real = os.path.realpath(source)
        if real not in self.names:
            stem = re.sub(r"[^A-Za-z0-9._-]", "_", source.name)[:40].strip(".")
            self.names[real] = f"{stem or 'file'}-{len(self.names)}"
            self._add(self.names[real], source)
        return self.names[real]

    def _add(self, name, source):
        try:
            data = source.read_bytes()
        except OSError as error:
            raise Failure(f"{source} can not be read ({error.strerror})") from None
        self.list.append(Module(name, source, len(data), zlib.crc32(data)))


def _key_lines(keys, values, modules):
    """The properties of what has a value, said or by default."""
    return [line for key in keys for line in _properties(key, values[key.attribute], modules)]


def _properties(key, value, modules):
    if value is None or value is False:
        return
    if key.kind == "FILE":
        yield f"{key.tree_name} = {_quote(modules.add(value))};"
        yield f"{key.tree_name}-file = {_quote(_file_name(value))};"
    elif key.kind == "FLAG":
        yield f"{key.tree_name};"
    elif key.kind == "CPUS":
        mask = sum(1 << cpu for cpu in value)
        words = [_u64(mask >> shift & (1 << 64) - 1) for shift in range(0, CPUS_MAX, 64)]
        yield f"{key.tree_name} = {', '.join(words)};"
    else:
        form = {"NUMBER": _u32, "SIZE": _u64, "TIME": _u64, "RATE": _u64}.get(key.kind, _quote)
        yield f"{key.tree_name} = {form(value)};"


def _module_node(index, module):
    path = "\\" + module.target.replace("/", "\\")
    lines = [
        f"name-in-boot = {_quote(module.name)};",
        f"path = {_quote(path)};",
        f"size = {_u64(module.size)};",
        f"crc32 = {_u32(module.crc32)};",
    ]
    return _node(f"module@{index:x}", lines)


def _tree(host, modules, vms):
    lines = [
        f"compatible = {_quote(COMPATIBLE)};",
        f"version = {_u32(VERSION)};",
        _node("host", host),
        _node("modules", [_module_node(index, module) for index, module in enumerate(modules)]),
        _node("vms", vms),
    ]
    return "/dts-v1/;\n" + _node("/", lines)


def _node(name, lines):
    return name + " {\n" + "\n".join(lines) + "\n};\n"


def _quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _file_name(path):
    """The user's own name for a file, for messages on the console: printable ASCII."""
    return re.sub(r"[^ -~]", "?", path.name)[:FILE_NAME_MAX]


def _u32(value):
    return f"<{value:#x}>"


def _u64(value):
    return f"<{value >> 32:#x} {value & 0xFFFFFFFF:#x}>"
