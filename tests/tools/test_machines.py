# SPDX-License-Identifier: Apache-2.0
"""What the boot application's parsers (boot/boot_*.c) find of a machine, against an independent reading: iasl's
disassembly of the tables, and plain arithmetic here. Our own machines are below; tables, memory maps and CPUID of
real ones are read where they are: $BULKHEAD_CASES, else ../shared/cases beside the checkout."""

import os
import re
import shutil
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import ROOT, DirectoryCase

CASES = Path(os.environ.get("BULKHEAD_CASES") or ROOT.parent / "shared" / "cases") / "machines"
SOURCES = ["tests/tools/read-machine.c", *(f"boot/boot_{name}.c" for name in ("clock", "map", "text", "topology"))]
SOURCES += [f"boot/{path.name}" for path in sorted((ROOT / "boot").glob("boot_acpi*.c"))]
FLAGS = "-std=gnu17 -D_GNU_SOURCE -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined".split()
FIELD = re.compile(r"^\[[0-9A-F]+h \d+ +[0-9A-F]+h?\] +(.*?) : (\S*)")
FLAG = re.compile(r"^ +(\S.*?) : ([0-3])$")
HEX16 = 0xFFFF
UNKNOWN = -1
PAGE = 4096

_reader = None


def setUpModule():  # noqa: N802: unittest's name
    global _reader  # noqa: PLW0603
    work = tempfile.mkdtemp(prefix="bulkhead-machines-")
    unittest.addModuleCleanup(shutil.rmtree, work)
    _reader = Path(work) / "read-machine"
    command = ["clang", *FLAGS, f"-I{ROOT}", "-o", _reader]
    subprocess.run([*command, *(ROOT / source for source in SOURCES)], check=True)


def read(path):
    """What the boot application finds: {word: [numbers of a line]}."""
    done = subprocess.run([_reader, path], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"read-machine ended with {done.returncode}: {done.stderr}")
    found = {}
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(rest)
    return found


# ---- the independent reading of tables ----------------------------------------------------------


def disassemble(table, work):
    """iasl's reading of a table: [(label, value)], headings of registers with the value None."""
    path = Path(work) / "table.dat"
    path.write_bytes(table)
    subprocess.run(["iasl", "-d", path], capture_output=True, check=True)
    fields = []
    for line in path.with_suffix(".dsl").read_text(encoding="latin-1").splitlines():
        if match := FIELD.match(line):
            value = match[2].strip('"')
            is_number = re.fullmatch(r"[0-9A-F]+", value)
            fields.append((match[1].strip(), int(value, 16) if is_number else None))
        elif match := FLAG.match(line):
            fields.append((match[1].strip(), int(match[2])))
    return fields


def entries(fields):
    """The entries of a list, each a dictionary."""
    found = []
    for label, value in fields:
        if label == "Subtable Type":
            found.append({})
        if found:
            found[-1].setdefault(label, value)
    return found


def register(fields, name):
    """The generic address under this heading: (space, bits, address)."""
    labels = [label for label, _ in fields]
    if name not in labels:
        return 0, 0, 0
    at = labels.index(name)
    part = dict(reversed(fields[at + 1 : at + 6]))
    return part["Space ID"], part["Bit Width"], part["Address"]


def expect_cpus(tables):
    """{APIC ID: node}, and the domains, ascending."""
    cpus = set()
    for entry in entries(tables.get("APIC", [])):
        is_wide = "Processor x2Apic ID" in entry
        apic_id = entry.get("Processor x2Apic ID", entry.get("Local Apic ID"))
        everybody = 0xFFFFFFFF if is_wide else 0xFF
        if apic_id not in (None, everybody) and entry.get("Processor Enabled") == 1:
            cpus.add(apic_id)
    affinities = [entry for entry in entries(tables.get("SRAT", [])) if entry.get("Enabled") == 1]
    domains = {}
    for entry in affinities:
        if "Proximity Domain Low(8)" in entry:
            domain = entry["Proximity Domain Low(8)"] | entry["Proximity Domain High(24)"] << 8
        else:
            domain = entry["Proximity Domain"]
        domains[id(entry)] = domain
    order = sorted(set(domains.values()))
    nodes = dict.fromkeys(cpus, UNKNOWN)
    memory = []
    for entry in affinities:
        node = order.index(domains[id(entry)])
        apic_id = entry.get("Apic ID")
        if apic_id in nodes:
            nodes[apic_id] = node
        if entry["Subtable Type"] == 1 and entry["Address Length"] > 0:
            memory.append((entry["Base Address"], entry["Address Length"], node))
    return nodes, memory


def expect_interrupts(tables):
    ioapics = []
    irqs = {irq: (irq, 0, 0) for irq in range(16)}
    for entry in entries(tables.get("APIC", [])):
        if "I/O Apic ID" in entry:
            ioapics.append((entry["Address"], entry["I/O Apic ID"], entry["Interrupt"]))
        if "Source" in entry and entry["Source"] < 16:
            level = int(entry["Trigger Mode"] == 3)
            irqs[entry["Source"]] = (entry["Interrupt"], int(entry["Polarity"] == 3), level)
    if "APIC" not in tables:
        ioapics = [(0xFEC00000, 0, 0)]
    return sorted(ioapics, key=lambda ioapic: ioapic[2]), irqs


def port(fields, register_name, legacy_name):
    space, _, address = register(fields, register_name)
    if space == 1 and 0 < address <= HEX16:
        return address
    legacy = dict(fields).get(legacy_name) or 0
    return legacy if legacy <= HEX16 else 0


def flag(fields, name):
    return any(label.startswith(name) and value == 1 for label, value in fields)


def expect_power(fields):
    """(PM1a, PM1b, SMI, enable), sleep control, (PM timer, is it 32 bits), (port, value)."""
    one = dict(reversed(fields))
    reset = register(fields, "Reset Register")
    if not flag(fields, "Reset Register Supported") or reset[0] != 1:
        reset = (0, 0, 0)
    reset = (reset[2], one.get("Value to cause reset", 0) if reset[2] else 0)
    if flag(fields, "Hardware Reduced"):
        return (0, 0, 0, 0), register(fields, "Sleep Control Register")[2], (0, 0), reset
    pm1 = (
        port(fields, "PM1A Control Block", "PM1A Control Block Address"),
        port(fields, "PM1B Control Block", "PM1B Control Block Address"),
        one["SMI Command Port"],
        one["ACPI Enable Value"],
    )
    timer = port(fields, "PM Timer Block", "PM Timer Block Address")
    return pm1, 0, (timer, int(flag(fields, "32-bit PM Timer"))), reset


def expect_button(tables):
    """The line of the button: PM1a, PM1b, size, input, trigger, why there is none."""
    fields = tables.get("FACP")
    none = "0 0 0 0 0 [{}]".format
    if fields is None:
        return none("there is no FADT")
    if flag(fields, "Hardware Reduced"):
        return none("the machine is hardware-reduced (ACPI)")
    if flag(fields, "Control Method Power Button"):
        return none("it is a control-method device, or missing")
    one = dict(reversed(fields))
    blocks = [port(fields, f"PM1{name} Event Block", f"PM1{name} Event Block Address") for name in "AB"]
    size = one["PM1 Event Block Length"] // 2 * 2
    if not blocks[0] or size < 4:
        return none("the FADT has no PM1 event registers")
    gsi, low, level = one["SCI Interrupt"], 1, 1
    for entry in entries(tables.get("APIC", [])):
        if entry.get("Source") == one["SCI Interrupt"] and entry["Bus"] == 0:
            gsi, low, level = entry["Interrupt"], int(entry["Polarity"] != 1), int(entry["Trigger Mode"] != 1)
    return f"{blocks[0]:x} {blocks[1]:x} {size} {gsi} {low << 13 | level << 15:x} []"


def expect_s5(dsdt):
    """The sleep types of `Name (_S5_, Package () {a, b, ...})`; AML's integers, byte by byte."""
    match = re.search(rb"\x08\\?_S5_\x12(?:[\x00-\x3f]|[\x40-\x7f].)(.)(.*)", dsdt, re.DOTALL)
    if not match:
        return 0, 0, 0
    types = []
    rest = match[2]
    for _ in range(2):
        size = {0x0A: 1, 0x0B: 2, 0x0C: 4}.get(rest[0], 0)
        types.append(int.from_bytes(rest[1 : 1 + size], "little") & 7 if size else rest[0] & 7)
        rest = rest[1 + size :]
    return 1, types[0], types[1]


# ---- the independent reading of a memory map ----------------------------------------------------

# By EFI_MEMORY_TYPE: free, loader, ACPI, firmware's, device; the stricter wins.
KINDS = {7: 1, 3: 1, 4: 1, 1: 2, 2: 2, 9: 5, 11: 7, 12: 7}
FIRMWARE = 6


def expect_memory(ranges, affinities=()):
    """Page by page would take too long: piece by piece, between any two bounds."""
    bounds = {bound for _, start, end in ranges for bound in (start, end)}
    bounds |= {bound for base, size, _ in affinities for bound in (base, base + size)}
    pieces = []
    for start, end in zip(sorted(bounds), sorted(bounds)[1:], strict=False):
        kinds = [KINDS.get(kind, FIRMWARE) for kind, low, high in ranges if low <= start < high]
        if not kinds:
            continue
        nodes = [node for base, size, node in affinities if base <= start < base + size]
        kind = max(kinds)
        node = nodes[0] if nodes and kind <= 5 else UNKNOWN
        if pieces and pieces[-1][0::2] == (kind, start) and pieces[-1][3] == node:
            pieces[-1] = (kind, pieces[-1][1], end, node)
        else:
            pieces.append((kind, start, end, node))
    return pieces


def expect_threads(cpus):
    """The lowest bits of the APIC IDs of `cpus` (ID, package, core) that differ within a core."""
    cores = {}
    for apic_id, package, core in cpus:
        cores.setdefault((package, core), []).append(apic_id)
    return max((ids[0] ^ other).bit_length() for ids in cores.values() for other in ids)


class Reading(DirectoryCase):
    def tables_of(self, path):
        tables = {}
        for line in path.read_text(encoding="ascii").splitlines():
            match = re.fullmatch(r"([A-Z0-9]{4}) ([0-9a-f]+)", line)
            if match:
                tables[match[1]] = bytes.fromhex(match[2])
        return tables

    def compare(self, path, ranges=()):
        """One file of tables, as boot/ reads it and as iasl does."""
        raw = self.tables_of(path)
        found = read(path)
        tables = {name: disassemble(data, self.work) for name, data in raw.items() if name != "DSDT"}
        nodes, memory = expect_cpus(tables)
        ioapics, irqs = expect_interrupts(tables)
        self.assertEqual(found.get("cpu", []), [f"{cpu} {nodes[cpu]}" for cpu in sorted(nodes)])
        self.assertEqual(found.get("ioapic", []), [f"{at:x} {name} {gsi}" for at, name, gsi in ioapics])
        self.assertEqual(found["irq"], [f"{irq} {to} {low} {level}" for irq, (to, low, level) in irqs.items()])
        self.assertEqual(found["damaged"], ["0"])
        if "FACP" in tables:
            pm1, sleep, timer, reset = expect_power(tables["FACP"])
            self.assertEqual(found["power"], [" ".join(f"{number:x}" for number in pm1)])
            self.assertEqual(found["sleep"], [f"{sleep:x}"])
            self.assertEqual(found["button"], [expect_button(tables)])
            self.assertEqual(found["timer"], [f"{timer[0]:x} {timer[1]}"])
            self.assertEqual(found["reset"], [f"{reset[0]:x} {reset[1]:x}"])
        if "DSDT" in raw:
            self.assertEqual(found["s5"], [" ".join(map(str, expect_s5(raw["DSDT"])))])
        space, bits, address = register(tables.get("SPCR", []), "Serial Port Register")
        kind = dict(tables.get("SPCR", [])).get("Interface Type")
        self.assertEqual(found.get("console", []), [f"{space} {address:x} {bits} {kind}"] if address else [])
        hpet = register(tables.get("HPET", []), "Timer Block Register")[2]
        hpet = hpet or register(tables.get("HPET", []), "Hardware Block Register")[2]
        self.assertEqual(found["hpet"], [f"{hpet:x}"])
        expected = [f"{kind} {start:x} {end:x} {node}" for kind, start, end, node in expect_memory(ranges, memory)]
        self.assertEqual(found.get("memory", []), expected)
        return found


# ---- machines of our own ------------------------------------------------------------------------


def table(signature, body, revision=1):
    head = struct.pack("<4sIBB6s8sI4sI", signature.encode(), 36 + len(body), revision, 0, b"BULKHD", b"MACHINE ", 1,
                       b"BULK", 1)
    data = bytearray(head + body)
    data[9] = -sum(data) & 0xFF
    return bytes(data)


def gas(space, bits, address, access=0):
    return struct.pack("<BBBBQ", space, bits, 0, access, address)


def madt(*entries_of):
    return table("APIC", struct.pack("<II", 0xFEE00000, 1) + b"".join(entries_of), 3)


def apic(apic_id, flags=1):
    return struct.pack("<BBBBI", 0, 8, apic_id, apic_id, flags)


def x2apic(apic_id, flags=1):
    return struct.pack("<BBHIII", 9, 16, 0, apic_id, flags, apic_id)


def ioapic(name, address, gsi):
    return struct.pack("<BBBBII", 1, 12, name, 0, address, gsi)


def override(irq, gsi, flags):
    return struct.pack("<BBBBIH", 2, 10, 0, irq, gsi, flags)


def srat(*entries_of):
    return table("SRAT", struct.pack("<IQ", 1, 0) + b"".join(entries_of), 3)


def of_apic(apic_id, domain, flags=1):
    high = (domain >> 8).to_bytes(3, "little")
    return struct.pack("<BBBBIB3sI", 0, 16, domain & 0xFF, apic_id, flags, 0, high, 0)


def of_x2apic(apic_id, domain, flags=1):
    return struct.pack("<BBHIIIII", 2, 24, 0, domain, apic_id, flags, 0, 0)


def of_memory(base, size, domain, flags=1):
    return struct.pack("<BBIHQQIIQ", 1, 40, domain, 0, base, size, 0, flags, 0)


def fadt(size, revision, flags, extended=()):
    """`extended`: {offset in the table: bytes}."""
    body = bytearray(size)
    struct.pack_into("<HIBB", body, 46, 9, 0xB2, 0xA0, 0xA1)
    struct.pack_into("<I", body, 56, 0x400)
    struct.pack_into("<I", body, 64, 0x404)
    struct.pack_into("<I", body, 76, 0x408)
    body[88:92] = bytes((4, 2, 0, 4))
    struct.pack_into("<I", body, 112, flags)
    for offset, data in dict(extended).items():
        body[offset : offset + len(data)] = data
    return table("FACP", bytes(body[36:]), revision)


S5 = bytes.fromhex("08 5f53355f 12 0a 04 0a07 0a06 00 00")
SERVER = [
    madt(*(x2apic(0x400 * socket + core, int(core < 7)) for core in range(8) for socket in (2, 0, 3, 1)),
         apic(0xFF), x2apic(0xFFFFFFFF), x2apic(0x5000, 2), ioapic(9, 0xFEC40000, 72), ioapic(8, 0xFEC00000, 0),
         ioapic(10, 0xFEC80000, 24), override(0, 2, 0), override(9, 9, 13), override(14, 20, 15)),
    srat(*(of_x2apic(0x400 * socket + core, 0x1FF + socket) for core in range(7) for socket in range(4)),
         of_memory(0, 0x80000000, 0x1FF), of_memory(0x100000000, 0x80000000, 0x1FF),
         of_memory(0x180000000, 0x100000000, 0x200), of_memory(0x280000000, 0x100000000, 0x202),
         of_memory(0x380000000, 0x100000000, 0x777, 0)),
    fadt(276, 6, 1 << 10, {116: gas(1, 8, 0x480), 128: b"\xfe", 172: gas(1, 16, 0x1804, 2),
                           208: gas(1, 32, 0x1808, 3)}),
    table("DSDT", bytes(30) + S5 + bytes(9), 2),
    table("SPCR", bytes((18, 0, 0, 0)) + gas(0, 32, 0xFE030000, 3) + bytes(28), 2),
    table("HPET", struct.pack("<I", 0x8086A701) + gas(0, 64, 0xFED00000) + bytes(4)),
]
OLD = [
    madt(*(apic(cpu, int(cpu % 3 != 1)) for cpu in (0, 4, 2, 1, 3)), ioapic(2, 0xFEC00000, 0), override(0, 2, 0)),
    fadt(116, 1, 1 << 8),
    table("DSDT", b"x\x08\\_S5_\x12\x07\x04\x0a\x05\x01\x00\x00", 1),
    table("SPCR", bytes((0, 0, 0, 0)) + gas(1, 8, 0x2F8) + bytes(28), 1),
]
REDUCED = [
    madt(apic(0), apic(1), ioapic(0, 0xFEC00000, 0), override(9, 9, 5)),
    fadt(276, 6, 1 << 20 | 1 << 10, {116: gas(0, 8, 0xFED80000), 128: b"\x01", 244: gas(1, 8, 0x405, 1)}),
    table("SPCR", bytes(44), 1),
]
MAP = [(7, 0, 0x9F000), (0, 0x9F000, 0x100000), (7, 0x100000, 0x60000000), (4, 0x60000000, 0x61000000),
       (9, 0x60800000, 0x60900000), (10, 0x60900000, 0x60A00000), (2, 0x61000000, 0x61001000),
       (11, 0xFEC00000, 0xFEC01000), (7, 0x100000000, 0x400000000)]


class OurMachines(Reading):
    def compare_own(self, tables):
        lines = [f"{data[:4].decode()} {data.hex()}" for data in tables]
        lines += [f"MEMORY {kind} {start:x} {end:x}" for kind, start, end in MAP]
        return self.compare(self.file("machine.txt", "\n".join(lines) + "\n"), MAP)

    def test_server(self):
        found = self.compare_own(SERVER)
        self.assertEqual(len(found["cpu"]), 28)
        self.assertIn("3078 3", found["cpu"])
        self.assertEqual(found["reset"], ["480 fe"])
        self.assertEqual(found["s5"], ["1 7 6"])
        self.assertEqual(found["button"], ["400 0 4 9 8000 []"])
        self.assertEqual(found["console"], ["0 fe030000 32 18"])
        self.assertIn("1 180000000 280000000 1", found["memory"])

    def test_old(self):
        found = self.compare_own(OLD)
        self.assertEqual(found["cpu"], ["0 -1", "2 -1", "3 -1"])
        self.assertEqual(found["timer"], ["408 1"])
        self.assertEqual(found["button"], ["400 0 4 9 a000 []"])
        self.assertEqual(found["s5"], ["1 5 1"])

    def test_hardware_reduced(self):
        found = self.compare_own(REDUCED)
        self.assertEqual(found["sleep"], ["405"])
        self.assertEqual(found["button"], ["0 0 0 0 0 [the machine is hardware-reduced (ACPI)]"])
        self.assertEqual(found["reset"], ["0 0"])
        self.assertNotIn("console", found)


# ---- machines of others -------------------------------------------------------------------------


def words_of(path, first):
    lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return [words[1:] for words in lines if words and words[0] == first]


class RealMachines(Reading):
    def read_acpi(self, path):
        text = []
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith("DSDT-S5"):  # some bytes of it
                aml = bytes.fromhex(line.split()[-1])
                text.append(f"DSDT {table('DSDT', aml).hex()}")
            elif not line.startswith("DMAR-HEAD"):
                text.append(line)
        self.compare(self.file("machine.txt", "\n".join(text) + "\n"))

    def read_memmap(self, path):
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line[0] != "#"]
        ranges = [(int(kind), int(start, 16), int(end, 16)) for kind, start, end in lines]
        text = "".join(f"MEMORY {kind} {start:x} {end:x}\n" for kind, start, end in ranges)
        found = read(self.file("machine.txt", text))
        pieces = expect_memory(ranges)
        self.assertEqual(found["memory"], [f"{kind} {start:x} {end:x} {node}" for kind, start, end, node in pieces])

    def read_cpuid(self, path):
        found = read(path)
        cpus = [(int(cpu[0], 16), int(cpu[1]), int(cpu[2])) for cpu in words_of(path, "A")]
        self.assertEqual(found["threads"], [str(expect_threads(cpus))])
        leaf = {int(words[0], 16): [int(word, 16) for word in words[2:]] for words in words_of(path, "C")}
        denominator, numerator, crystal, _ = leaf.get(0x15, [0, 0, 0, 0])
        told = leaf.get(0x16, [0])[0] * 1000000
        if denominator and numerator and crystal:
            told = crystal * numerator // denominator
        self.assertEqual(found["told"], [str(told)])

    def read_options(self, path):
        for line in path.read_text(encoding="ascii").splitlines():
            if not line.startswith("#"):
                found = read(self.file("options.txt", f"OPTIONS {line}\n"))
                is_shell = bytes.fromhex(line).startswith("BOOT".encode("utf-16le"))
                self.assertEqual(found["options"], ["1 [a=b]" if is_shell else "0 []"], line)


def add_tests():
    readers = {"acpi": "read_acpi", "memmap": "read_memmap", "cpuid": "read_cpuid"}
    files = [(readers[folder], path) for folder in readers for path in sorted((CASES / folder).glob("*.txt"))]
    files += [("read_options", path) for path in CASES.glob("load-options.txt")]

    def test_of(reader, path):
        return lambda self: getattr(self, reader)(path)

    for reader, path in files:
        name = f"test_{path.parent.name}_{path.stem}".replace("-", "_")
        setattr(RealMachines, name, test_of(reader, path))
    if not files:
        skip = unittest.skip(f"no folder {CASES.parent.name}/{CASES.name}: set BULKHEAD_CASES")
        RealMachines.test_machines_of_others = skip(lambda self: None)


add_tests()

if __name__ == "__main__":
    unittest.main()
