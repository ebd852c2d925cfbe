# SPDX-License-Identifier: Apache-2.0
"""The manifest: TOML, read and checked.

    manifest = load(path, Checks(...))      raises Refused with every error at once

An error is a line `FILE:LINE: KEY: what is wrong; remedy`. The limits are those of
include/manifest.h and include/boot.h. docs/manifest.md is the manual.
"""

import difflib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from . import restart, scheduling
from .command import EXIT_MANIFEST, MIB, Failure, format_size, printable
from .kernelfile import compression
from .table import CMDLINE_MAX, Table, kind_of
from .tomllines import key_lines

HOST_CMDLINE_MAX = 511  # include/boot.h
VMS_MAX = 256  # include/manifest.h

VM_KEYS = ("name", "vcpus", "memory", "kernel", "initrd", "cmdline", "autostart", "tsc-frequency")
TEST_KEYS = ("vmm",)  # only in images for tests
WHEN_ALL_ENDED = ("power-off", "stay")


@dataclass
class Checks:
    """What load() holds the manifest to, beyond its form."""

    machine_memory: int | None = None  # bytes of the machine it is for, where that is known
    sizes: bool = True  # memory and files fit into one another, and kernels can start
    names: bool = True  # names are well-formed and differ
    test_keys: bool = False  # what no image for use may say is let through


@dataclass
class Vm:
    name: str
    vcpus: int
    memory: int  # bytes
    kernel: Path
    initrd: Path | None
    vmm: Path | None  # a program in the VMM's place: for tests
    cmdline: str
    autostart: bool
    tsc_frequency: int | None  # Hz; None: the host's
    scheduling: scheduling.Scheduling
    restart: restart.Restart


@dataclass
class Manifest:
    path: Path
    vms: list[Vm]
    cmdline: str = ""
    when_all_ended: str = "power-off"

    @property
    def is_test(self):
        return any(vm.vmm for vm in self.vms)


class Refused(Failure):
    """The manifest can not be taken; the message holds one line for each error."""

    def __init__(self, lines):
        super().__init__("\n".join(lines), EXIT_MANIFEST)
        self.lines = lines


# Reading


def load(path, checks=None):
    """The manifest at `path`, or Refused."""
    reader = _Reader(Path(path), checks or Checks())
    manifest = reader.read()
    if reader.errors:
        raise Refused([text for _line, text in sorted(reader.errors, key=lambda error: error[0])])
    return manifest


class _Reader:
    """One reading of one file; collects errors as (line, text)."""

    def __init__(self, path, checks):
        self.path = path
        self.checks = checks
        self.errors = []
        self.lines = {}

    def error(self, where, key, what, remedy):
        """Notes an error at the line of `where`: a path of tomllines, or a number."""
        line = where if isinstance(where, int) else self.line_of(where)
        text = f"{self.path}:{line}: {key}: {what}; {remedy}"
        self.errors.append((line, printable(text)))

    def line_of(self, where):
        """The line of a path, or of the nearest table around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def read(self):
        document = self.parse()
        if document is None:
            return None
        self.unknown_keys((), document, ("vm", "host"), "")
        host = self.read_host(document.get("host", {}))
        vms = self.read_vms(document.get("vm"))
        self.check_names(vms)
        self.check_total(vms)
        cmdline = host.get("cmdline", "")
        return Manifest(self.path, vms, cmdline, host.get("when-all-ended", "power-off"))

    def parse(self):
        try:
            self.text = self.path.read_text(encoding="utf-8-sig")  # some editors begin with a BOM
            document = tomllib.loads(self.text)
            self.lines = key_lines(self.text)
            return document
        except OSError as error:
            what = f"can not be read ({error.strerror})"
            self.error(1, "manifest", what, "name a TOML file, see docs/manifest.md")
        except UnicodeDecodeError:
            self.error(1, "manifest", "is no UTF-8 text", "name a TOML file, see docs/manifest.md")
        except RecursionError:
            what = "lists or tables are nested too deeply"
            self.error(1, "syntax", what, "no key needs more than two levels, see docs/manifest.md")
        except tomllib.TOMLDecodeError as error:
            match = re.search(r"\(at line (\d+), column \d+\)", str(error))
            line = int(match[1]) if match else self.text.count("\n") + 1
            what = re.sub(r" \(at .*\)$", "", str(error))
            what = what[:1].lower() + what[1:]
            self.error(line, "syntax", what, "correct the TOML, see docs/manifest.md")
        return None

    # Tables

    def read_host(self, table):
        if not isinstance(table, dict):
            self.error(("host",), "host", f"is {kind_of(table)}, not a table", "write [host]")
            return {}
        self.unknown_keys(("host",), table, ("cmdline", "when-all-ended"), "host.")
        at = Table(self, ("host",), table, "host.")
        host = {"cmdline": at.cmdline("cmdline", HOST_CMDLINE_MAX)}
        if "when-all-ended" in table:
            host["when-all-ended"] = at.choice("when-all-ended", WHEN_ALL_ENDED)
        return host

    def read_vms(self, tables):
        if tables is None or tables == []:
            self.error((), "vm", "no VM is described", "add a [[vm]] table, see docs/manifest.md")
            return []
        if isinstance(tables, dict):
            self.error(("vm",), "vm", "is one table, not a list", "write [[vm]], in two brackets")
            return []
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.error(("vm",), "vm", f"is {kind_of(tables)}, not tables", "write [[vm]] above keys")
            return []
        if len(tables) > VMS_MAX:
            what = f"{len(tables)} VMs are described, the most is {VMS_MAX}"
            self.error(("vm", VMS_MAX), "vm", what, "remove some")
        return [self.read_vm(("vm", index), table) for index, table in enumerate(tables)]

    def read_vm(self, path, table):
        self.unknown_keys(path, table, VM_KEYS + scheduling.KEYS + restart.KEYS, "vm.", TEST_KEYS)
        self.refuse_test_keys(path, table)
        at = Table(self, path, table, "vm.")
        vm = Vm(
            name=at.name("name"),
            vcpus=(vcpus := at.vcpus("vcpus")),
            memory=at.memory("memory"),
            kernel=at.file("kernel", 'add a line such as kernel = "vmlinuz"'),
            initrd=at.file("initrd"),
            vmm=at.file("vmm") if self.checks.test_keys else None,
            cmdline=at.cmdline("cmdline", CMDLINE_MAX),
            autostart=at.boolean("autostart", True),
            tsc_frequency=at.frequency("tsc-frequency", "1MHz", "8GHz"),
            scheduling=scheduling.read(at, vcpus),
            restart=restart.read(at),
        )
        if self.checks.sizes:
            self.check_files_fit(at, vm)
            self.check_kernel(at, vm)
        return vm

    def refuse_test_keys(self, path, table):
        for key in TEST_KEYS:
            if key in table and not self.checks.test_keys:
                what = "is for tests of the hypervisor: such an image is not for use"
                self.error(path + (key,), f"vm.{key}", what, "remove the line, or give --test-keys")

    def unknown_keys(self, path, table, known, prefix, hidden=()):
        for key in table:
            if key in known or key in hidden:
                continue
            near = difflib.get_close_matches(key, known, 1, 0.6)
            remedy = f'did you mean "{near[0]}"?' if near else f"known keys: {', '.join(known)}"
            self.error(path + (key,), prefix + key, "unknown key", remedy)

    def check_files_fit(self, at, vm):
        if vm.memory is None:
            return
        memory = format_size(vm.memory)
        kernel = vm.kernel.stat().st_size if vm.kernel else 0
        initrd = vm.initrd.stat().st_size if vm.initrd else 0
        for key, size in (("kernel", kernel), ("initrd", initrd)):
            if size > vm.memory:
                what = f"the file's {_megabytes(size)} are more than the VM's memory of {memory}"
                at.error(key, what, "give the VM more memory, or a smaller file")
        if kernel <= vm.memory and initrd <= vm.memory < kernel + initrd:
            what = f"kernel and initrd have {_megabytes(kernel + initrd)} together"
            at.error("memory", what, f"give the VM more memory than {memory}")

    def check_kernel(self, at, vm):
        if vm.kernel and (packed := compression(vm.kernel)):
            name, program = packed
            at.error("kernel", f"the file is compressed by {name}", f"unpack it first, such as with {program}")

    # Across VMs

    def check_names(self, vms):
        first = {}
        for index, vm in enumerate(vms):
            if vm.name is None or not self.checks.names:
                continue
            if vm.name in first:
                line = self.line_of(("vm", first[vm.name], "name"))
                what = f'"{vm.name}" is already the name of the VM at line {line}'
                self.error(("vm", index, "name"), "vm.name", what, "give each VM its own name")
            else:
                first[vm.name] = index

    def check_total(self, vms):
        machine = self.checks.machine_memory
        if machine is None or not self.checks.sizes:
            return
        total = 0
        for index, vm in enumerate(vms):
            total += vm.memory or 0
            if total > machine:
                what = f"the VMs up to this one need {format_size(total)}"
                remedy = f"the machine has {format_size(machine)}: give less, or run it with more"
                self.error(("vm", index, "memory"), "vm.memory", what, remedy)
                return


def _megabytes(size):
    return f"{size / MIB:.1f}M"
