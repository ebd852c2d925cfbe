# SPDX-License-Identifier: Apache-2.0
"""Compiles a checked manifest to the device tree that include/manifest.h describes.

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
from .manifest import HOST_CMDLINE_MAX, Refused
from .table import CPUS_MAX

# include/manifest.h and include/boot.h
COMPATIBLE = "bulkhead,manifest"
VERSION = 1
MODULES_MAX = 128  # with manifest.dtb itself
FILE_NAME_MAX = 63

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
    vms = [_vm_node(index, vm, modules) for index, vm in enumerate(manifest.vms)]
    if len(modules.list) + 1 > MODULES_MAX:
        count = len(modules.list) - len(PARTS)
        what = f"{count} different kernels and initrds are named, the most is"
        what = f"{manifest.path}:1: vm: {what} {MODULES_MAX - 1 - len(PARTS)}; share some"
        raise Refused([what])
    cmdline = " ".join(filter(None, (manifest.cmdline, append_cmdline)))
    if len(cmdline) > HOST_CMDLINE_MAX:
        what = f"{len(cmdline)} characters with what was appended, the most is {HOST_CMDLINE_MAX}"
        raise Refused([f"{manifest.path}:1: host.cmdline: {what}; shorten it"])
    source = _tree(cmdline, manifest, modules.list, vms)
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


def _vm_node(index, vm, modules):
    lines = [
        f"vm-name = {_quote(vm.name)};",
        f"vcpus = {_u32(vm.vcpus)};",
        f"memory = {_u64(vm.memory)};",
        f"kernel = {_quote(modules.add(vm.kernel))};",
        f"kernel-file = {_quote(_file_name(vm.kernel))};",
    ]
    if vm.initrd:
        lines.append(f"initrd = {_quote(modules.add(vm.initrd))};")
        lines.append(f"initrd-file = {_quote(_file_name(vm.initrd))};")
    if vm.vmm:
        lines.append(f"vmm = {_quote(modules.add(vm.vmm))};")
    lines.append(f"cmdline = {_quote(vm.cmdline)};")
    if vm.autostart:
        lines.append("autostart;")
    if vm.tsc_frequency is not None:
        lines.append(f"tsc-frequency = {_u64(vm.tsc_frequency)};")
    lines += _scheduling_lines(vm.scheduling)
    if vm.restart.policy != "never":
        lines.append(f"restart = {_quote(vm.restart.policy)};")
        lines.append(f"restart-delay = {_u64(vm.restart.delay)};")
        lines.append(f"restart-limit = {_u32(vm.restart.limit)};")
    return _node(f"vm@{index:x}", lines)


def _scheduling_lines(scheduling):
    """What is not said in the manifest is not in the tree: the supervisor knows the defaults."""
    lines = [
        f"schedule = {_quote(scheduling.schedule)};",
        f"weight = {_u32(scheduling.weight)};",
    ]
    if scheduling.cpus is not None:
        mask = sum(1 << cpu for cpu in scheduling.cpus)
        words = [_u64(mask >> shift & (1 << 64) - 1) for shift in range(0, CPUS_MAX, 64)]
        lines.append(f"cpus = {', '.join(words)};")
    for key, cells in (("cap", _u32), ("cache", _u32), ("budget", _u64), ("period", _u64)):
        if (value := getattr(scheduling, key)) is not None:
            lines.append(f"{key} = {cells(value)};")
    if scheduling.trust is not None:
        lines.append(f"trust = {_quote(scheduling.trust)};")
    return lines


def _module_node(index, module):
    path = "\\" + module.target.replace("/", "\\")
    lines = [
        f"name-in-boot = {_quote(module.name)};",
        f"path = {_quote(path)};",
        f"size = {_u64(module.size)};",
        f"crc32 = {_u32(module.crc32)};",
    ]
    return _node(f"module@{index:x}", lines)


def _tree(cmdline, manifest, modules, vms):
    host = [f"cmdline = {_quote(cmdline)};", f"when-all-ended = {_quote(manifest.when_all_ended)};"]
    if manifest.is_test:
        host.append("test-image;")
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
