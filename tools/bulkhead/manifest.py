# SPDX-License-Identifier: Apache-2.0
"""The manifest: TOML, read and checked.

    manifest = load(path, Checks(...))      raises Refused with every error at once

An error is a line `FILE:LINE: KEY: what is wrong; remedy`. The keys are those of include/manifest_keys.h; here is what
stands around them, and what several say together. docs/manifest.md is the manual.
"""

import difflib
import re
import tomllib
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from .command import EXIT_MANIFEST, MIB, Failure, format_size, printable
from .kernelfile import compression
from .schema import HOST_KEYS, VM_KEYS
from .table import Table, kind_of
from .tomllines import key_lines

TABLES = ("vm", "host")
VMS_MAX = 256  # include/manifest.h
SHARE_MAX = 90  # percent of a CPU that real-time vCPUs may reserve: MANIFEST_SHARE_MAX


@dataclass
class Checks:
    """What load() holds the manifest to, beyond its form."""

    machine_memory: int | None = None  # bytes of the machine it is for, where that is known
    sizes: bool = True  # memory and files fit into one another, and kernels can start
    names: bool = True  # names are well-formed and differ
    test_keys: bool = False  # what no image for use may say is let through


class Values:
    """What the keys of one table say: values.memory, values.tsc_frequency. None: nothing, and there is no default."""

    def __init__(self, keys, values):
        self.__dict__.update({key.attribute: values[key.name] for key in keys})


@dataclass
class Manifest:
    path: Path
    host: Values
    vms: list[Values]

    @property
    def is_test(self):
        return any(getattr(vm, key.attribute) for vm in self.vms for key in VM_KEYS if key.is_for_tests)


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
        self.unknown_tables(document)
        host = self.read_host(document.get("host", {}))
        vms = self.read_vms(document.get("vm"))
        self.check_names(vms)
        self.check_total(vms)
        return Manifest(self.path, host, vms)

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
        except ValueError:  # Python's limit for decimal digits
            self.error(self.endless_number(), "syntax", "a number has too many digits", "write a smaller one")
        return None

    def endless_number(self):
        """The line of the number whose digits are too many: the first that the text can not be read up to."""
        lines = self.text.split("\n")

        def has_it(count):
            try:
                tomllib.loads("\n".join(lines[:count]))
            except tomllib.TOMLDecodeError:  # what is cut off there ends further on
                pass
            except ValueError:
                return True
            return False

        return bisect_left(range(len(lines)), True, key=has_it)

    # Tables

    def unknown_tables(self, document):
        for name in document:
            if name not in TABLES:
                self.unknown((name,), name, TABLES)

    def read_host(self, table):
        if not isinstance(table, dict):
            self.error(("host",), "host", f"is {kind_of(table)}, not a table", "write [host]")
            return None
        self.unknown_keys(("host",), table, HOST_KEYS, "host.")
        return Values(HOST_KEYS, Table(self, ("host",), table, "host.").read(HOST_KEYS))

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
        self.unknown_keys(path, table, VM_KEYS, "vm.")
        at = Table(self, path, table, "vm.")
        vm = Values(VM_KEYS, at.read(VM_KEYS))
        self.check_cpus(at, vm)
        self.check_budget(at, vm)
        if self.checks.sizes:
            self.check_files_fit(at, vm)
            self.check_kernel(at, vm)
        return vm

    def unknown_keys(self, path, table, keys, prefix):
        all_names = [key.name for key in keys]
        known = [key.name for key in keys if not key.is_for_tests]
        for name in table:
            if name not in all_names:
                self.unknown(path + (name,), prefix + name, known)

    def unknown(self, path, key, known):
        near = difflib.get_close_matches(path[-1], known, 1, 0.6)
        remedy = f'did you mean "{near[0]}"?' if near else f"known keys: {', '.join(known)}"
        self.error(path, key, "unknown key", remedy)

    # Across the keys of a VM

    def check_cpus(self, at, vm):
        if vm.schedule not in (None, "shared") and vm.cpus and vm.vcpus and len(vm.cpus) < vm.vcpus:
            what = f"{len(vm.cpus)} CPUs for {vm.vcpus} vCPUs that want one each"
            at.error("cpus", what, "name more CPUs, or lower vcpus")

    def check_budget(self, at, vm):
        if not vm.budget or not vm.period:
            return
        remedy = "shorten it, or lengthen the period"
        if vm.budget > vm.period:
            at.error("budget", "is longer than the period", remedy)
        elif vm.budget * 100 > vm.period * SHARE_MAX:
            at.error("budget", f"is more than {SHARE_MAX} % of the period, which no CPU can promise", remedy)

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
