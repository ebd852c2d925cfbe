# SPDX-License-Identifier: Apache-2.0
"""The keys of one TOML table, each checked by what it is: a name, a size, a file and so on.

    at = Table(reader, path, table, "vm.")
    at.number("vcpus", 1, 64)       the value; or None, after reader.error(path, key, what, remedy)

The reader is manifest.py's.
"""

import re

from .command import MIB, TIB, format_size, parse_size

# include/manifest.h and include/boot.h
CMDLINE_MAX = 2047
VCPUS_MAX = 64
NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,30}"
HOST_NAME = "bulkhead"  # the hypervisor's own in every log, so no VM may be called so

MEMORY_STEP = 2 * MIB
MEMORY_MAX = 16 * TIB
CPUS_MAX = 256

_NANOSECONDS = {"us": 1000, "ms": 1000_000, "s": 1000_000_000}

_HERTZ = {"Hz": 0, "kHz": 3, "MHz": 6, "GHz": 9}  # powers of ten


def parse_duration(text):
    """Nanoseconds of "500us", "2ms" or "1s"; None when it is no such time."""
    match = re.fullmatch(r"([0-9]{1,9})(us|ms|s)", text)
    return int(match[1]) * _NANOSECONDS[match[2]] if match else None


def parse_frequency(text):
    """Hertz of "2.4GHz", "2400MHz" or "2400000000Hz"; None when it is no such rate."""
    match = re.fullmatch(r"([0-9]{1,10})(?:\.([0-9]{1,9}))?(Hz|kHz|MHz|GHz)", text)
    if match is None:
        return None
    decimals = match[2] or ""
    exponent = _HERTZ[match[3]] - len(decimals)
    return int(match[1] + decimals) * 10**exponent if exponent >= 0 else None


class Table:
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
            self.error(key, f"is {kind_of(value)}, not {KINDS[kind]}", remedy)
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

    def number(self, key, low, high, required=None):
        remedy = f"write a number from {low} to {high}"
        number = self.value(key, int, remedy, required)
        if number is not None and not low <= number <= high:
            self.error(key, f"{number} is out of range", remedy)
            return None
        return number

    def vcpus(self, key):
        return self.number(key, 1, VCPUS_MAX, "add a line such as vcpus = 1")

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

    def duration(self, key, low, high, required=None):
        """Nanoseconds of "2ms"; `low` and `high` are written so, too."""
        names = "time", "time", "us, ms or s"
        return self._quantity(key, parse_duration, names, low, high, required)

    def frequency(self, key, low, high):
        """Hertz of "2.4GHz"; `low` and `high` are written so, too."""
        names = "rate", "rate in whole Hz", "Hz, kHz, MHz or GHz"
        return self._quantity(key, parse_frequency, names, low, high)

    def _quantity(self, key, parse, names, low, high, required=None):
        name, proper, units = names
        remedy = f'write a {name} from "{low}" to "{high}"'
        text = self.value(key, str, remedy, required)
        if text is None:
            return None
        quantity = parse(text)
        if quantity is None:
            self.error(key, f'"{text}" is no {proper}', f"{remedy}, in {units}")
        elif not parse(low) <= quantity <= parse(high):
            self.error(key, f'"{text}" is out of range', remedy)
        else:
            return quantity
        return None

    def cpus(self, key):
        """The set of the CPUs that "0-3,6" names."""
        remedy = f'write numbers from 0 to {CPUS_MAX - 1}, such as "0-3,6"'
        text = self.value(key, str, remedy)
        if text is None:
            return None
        cpus = set()
        for part in text.split(","):
            match = re.fullmatch(r"\s*([0-9]{1,3})(?:-([0-9]{1,3}))?\s*", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if not first <= last < CPUS_MAX:
                self.error(key, f'"{text}" is no list of CPUs', remedy)
                return None
            cpus.update(range(first, last + 1))
        return frozenset(cpus)

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


KINDS = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    float: "a fraction",
    list: "a list",
    dict: "a table",
}


def kind_of(value):
    return KINDS.get(type(value), "a date or time")
