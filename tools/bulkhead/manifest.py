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

from .command import EXIT_MANIFEST, MIB, TIB, Failure, format_size, parse_size
from .tomllines import key_lines

# include/manifest.h and include/boot.h
CMDLINE_MAX = 2047
HOST_CMDLINE_MAX = 511
VCPUS_MAX = 64
VMS_MAX = 256
NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,30}"
HOST_NAME = "bulkhead"  # the hypervisor's own in every log, so no VM may be called so

MEMORY_STEP = 2 * MIB
MEMORY_MAX = 16 * TIB

WHEN_ALL_ENDED = ("power-off", "stay")


@dataclass
class Checks:
    """What load() holds the manifest to, beyond its form."""

    machine_memory: int | None = None  # bytes of the machine it is for, where that is known
    sizes: bool = True  # memory and files fit into one another
    names: bool = True  # names are well-formed and differ


@dataclass
class Vm:
    name: str
    vcpus: int
    memory: int  # bytes
    kernel: Path
    initrd: Path | None
    cmdline: str
    autostart: bool


@dataclass
class Manifest:
    path: Path
    vms: list[Vm]
    cmdline: str = ""
    when_all_ended: str = "power-off"


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
        self.errors.append((line, f"{self.path}:{line}: {key}: {what}; {remedy}"))

    def line_of(self, where):
        """The line of a path, or of the nearest table around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def read(self):
        document = self.parse()
        if document is None:
            return None
        self.lines = key_lines(self.text)
        self.unknown_keys((), document, ("vm", "host"), "")
        host = self.read_host(document.get("host", {}))
        vms = self.read_vms(document.get("vm"))
        self.check_names(vms)
        self.check_total(vms)
        cmdline = host.get("cmdline", "")
        return Manifest(self.path, vms, cmdline, host.get("when-all-ended", "power-off"))

    def parse(self):
        try:
            self.text = self.path.read_text(encoding="utf-8")
            return tomllib.loads(self.text)
        except OSError as error:
            what = f"can not be read ({error.strerror})"
            self.error(1, "manifest", what, "name a TOML file, see docs/manifest.md")
        except UnicodeDecodeError:
            self.error(1, "manifest", "is no UTF-8 text", "name a TOML file, see docs/manifest.md")
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
            self.error(("host",), "host", f"is {_kind(table)}, not a table", "write [host]")
            return {}
        self.unknown_keys(("host",), table, ("cmdline", "when-all-ended"), "host.")
        at = _Table(self, ("host",), table, "host.")
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
            self.error(("vm",), "vm", f"is {_kind(tables)}, not tables", "write [[vm]] above keys")
            return []
        if len(tables) > VMS_MAX:
            what = f"{len(tables)} VMs are described, the most is {VMS_MAX}"
            self.error(("vm", VMS_MAX), "vm", what, "remove some")
        return [self.read_vm(("vm", index), table) for index, table in enumerate(tables)]

    def read_vm(self, path, table):
        keys = ("name", "vcpus", "memory", "kernel", "initrd", "cmdline", "autostart")
        self.unknown_keys(path, table, keys, "vm.")
        at = _Table(self, path, table, "vm.")
        vm = Vm(
            name=at.name("name"),
            vcpus=at.vcpus("vcpus"),
            memory=at.memory("memory"),
            kernel=at.file("kernel", 'add a line such as kernel = "vmlinuz"'),
            initrd=at.file("initrd"),
            cmdline=at.cmdline("cmdline", CMDLINE_MAX),
            autostart=at.boolean("autostart", True),
        )
        if self.checks.sizes:
            at.check_files_fit(vm)
        return vm

    def unknown_keys(self, path, table, known, prefix):
        for key in table:
            if key in known:
                continue
            near = difflib.get_close_matches(key, known, 1, 0.6)
            remedy = f'did you mean "{near[0]}"?' if near else f"known keys: {', '.join(known)}"
            self.error(path + (key,), prefix + key, "unknown key", remedy)

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


class _Table:
    """The keys of one table: each method returns the checked value, or None after an error."""

    def __init__(self, reader, path, table, prefix):
        self.reader = reader
        self.path = path
        self.table = table
        self.prefix = prefix

    def error(self, key, what, remedy):
        self.reader.error(self.path + (key,), self.prefix + key, what, remedy)

    def value(self, key, kind, remedy, required=None):
        """The value where it has the type; `required` is the remedy when it is missing."""
        if key not in self.table:
            if required:
                self.error(key, "is missing", required)
            return None
        value = self.table[key]
        if type(value) is not kind:  # a bool is no int here
            self.error(key, f"is {_kind(value)}, not {_KINDS[kind]}", remedy)
            return None
        return value

    def name(self, key):
        example = 'such as name = "demo"'
        name = self.value(key, str, f"write it {example}", f"add a line {example}")
        if name is None or not self.reader.checks.names:
            return name
        if name == HOST_NAME:
            self.error(key, f'"{name}" is the hypervisor\'s own name', "choose another")
            return None
        if not re.fullmatch(NAME_PATTERN, name):
            remedy = "use 1 to 31 of a-z, 0-9 and -, not starting with -"
            self.error(key, f'"{name}" is no name for a VM', remedy)
            return None
        return name

    def vcpus(self, key):
        remedy = f"write a number from 1 to {VCPUS_MAX}"
        vcpus = self.value(key, int, remedy, "add a line such as vcpus = 1")
        if vcpus is not None and not 1 <= vcpus <= VCPUS_MAX:
            self.error(key, f"{vcpus} is out of range", remedy)
            return None
        return vcpus

    def memory(self, key):
        remedy = 'write it like "256M" or "1G"'
        text = self.value(key, str, remedy, 'add a line such as memory = "256M"')
        if text is None:
            return None
        memory = parse_size(text)
        if memory is None:
            self.error(key, f'"{text}" is no size', remedy)
        elif memory == 0:
            self.error(key, "is zero", 'give it at least "2M"')
        elif memory % MEMORY_STEP:
            low = memory // MEMORY_STEP * MEMORY_STEP
            near = f'"{format_size(low + MEMORY_STEP)}"'
            near = f'"{format_size(low)}" or {near}' if low else near
            self.error(key, f'"{text}" is not a multiple of 2M', f"write {near}")
        elif memory > MEMORY_MAX:
            what = f'"{text}" is more than any machine has'
            self.error(key, what, f'the most is "{format_size(MEMORY_MAX)}"')
        else:
            return memory
        return None

    def file(self, key, required=None):
        """The path of a file that can be read and is not empty."""
        remedy = "write the path of a file, relative to the manifest"
        text = self.value(key, str, remedy, required)
        if text is None:
            return None
        path = self.reader.path.parent / text
        try:
            if not path.is_file():
                what = "is no regular file" if path.exists() else "does not exist"
                self.error(key, f'"{text}" {what}', f"looked for {path}; correct the path")
            elif path.stat().st_size == 0:
                self.error(key, f'"{text}" is empty', f"make or copy {path} again")
            else:
                path.open("rb").close()
                return path
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.error(key, f'"{text}" can not be read ({reason})', f"check the rights of {path}")
        return None

    def cmdline(self, key, most):
        text = self.value(key, str, "write it in quotes")
        if text is None:
            return ""
        if not re.fullmatch(r"[ -~]*", text):
            self.error(key, "holds characters other than printable ASCII", "remove them")
        elif len(text) > most:
            self.error(key, f"has {len(text)} characters, the most is {most}", "shorten it")
        else:
            return text
        return ""

    def boolean(self, key, default):
        value = self.value(key, bool, "write true or false, without quotes")
        return default if value is None else value

    def choice(self, key, choices):
        remedy = "write " + " or ".join(f'"{choice}"' for choice in choices)
        value = self.value(key, str, remedy)
        if value is not None and value not in choices:
            self.error(key, f'"{value}" is not known', remedy)
            return choices[0]
        return choices[0] if value is None else value

    def check_files_fit(self, vm):
        if vm.memory is None:
            return
        memory = format_size(vm.memory)
        kernel = vm.kernel.stat().st_size if vm.kernel else 0
        initrd = vm.initrd.stat().st_size if vm.initrd else 0
        for key, size in (("kernel", kernel), ("initrd", initrd)):
            if size > vm.memory:
                what = f"the file's {_megabytes(size)} are more than the VM's memory of {memory}"
                self.error(key, what, "give the VM more memory, or a smaller file")
        if kernel <= vm.memory and initrd <= vm.memory < kernel + initrd:
            what = f"kernel and initrd have {_megabytes(kernel + initrd)} together"
            self.error("memory", what, f"give the VM more memory than {memory}")


_KINDS = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    float: "a fraction",
    list: "a list",
    dict: "a table",
}


def _kind(value):
    return _KINDS.get(type(value), "a date or time")


def _megabytes(size):
    return f"{size / MIB:.1f}M"
