# SPDX-License-Identifier: Apache-2.0
"""The keys of one TOML table, each checked by what it is (include/manifest_keys.h): a name, a size, a file and so on.

    values = Table(reader, path, table, "vm.").read(VM_KEYS)

A value that is refused, after reader.error(path, key, what, remedy), is None. The reader is manifest.py's.
"""

import re

from .command import format_size
from .quantities import parse, quantity

NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,30}"
NAME_REMEDY = "use 1 to 31 of a-z, 0-9 and -, not starting with -"
HOST_NAME = "bulkhead"  # the hypervisor's own in every log, so no VM may be called so
CPUS_MAX = 1024  # 64 * MANIFEST_CPU_WORDS
SHOWN_MOST = 10**20  # a number from here on is not read by anybody; Python refuses to write one of 5000 digits

_QUANTITIES = {  # what it is, what it has to be, its units
    "TIME": ("time", "time", "us, ms or s"),
    "RATE": ("rate", "rate in whole Hz", "Hz, kHz, MHz or GHz"),
}


class Table:
    """Of each kind of value the method of that name reads it: (key, *what it may be)."""

    def __init__(self, reader, path, table, prefix):
        self.reader = reader
        self.path = path
        self.table = table
        self.prefix = prefix

    def error(self, key, what, remedy):
        self.reader.error(self.path + (key,), self.prefix + key, what, remedy)

    def read(self, keys):
        """The value of each key, by its name."""
        values = {}
        for key in keys:
            values[key.name] = self._read_key(key, values, keys)
        return values

    def _read_key(self, key, values, keys):
        if key.companion and values[key.companion] is None:
            return None  # that was refused already
        is_at_place = key.is_at_place(values)
        if key.name not in self.table:
            if key.required and is_at_place:
                where = f'with {key.companion} = "{values[key.companion]}" ' if key.companion else ""
                self.error(key.name, "is missing", f"{where}add a line such as {key.required}")
            return key.default if is_at_place else None
        if key.is_for_tests and not self.reader.checks.test_keys:
            what = "is for tests of the hypervisor: such an image is not for use"
            self.error(key.name, what, "remove the line, or give --test-keys")
            return None
        if not is_at_place:
            self._refuse_place(key, values[key.companion], keys)
            return None
        if key.kind == "CHOICE":
            return self.choice(key.name, [word.word for word in key.words])
        return getattr(self, key.kind.lower())(key.name, *key.value[1])

    def _refuse_place(self, key, word, keys):
        companion = next(other for other in keys if other.name == key.companion)
        meaning = next(it.meaning for it in companion.words if it.word == word)
        wanted = " or ".join(f'"{it}"' for it in key.companion_words)
        what = f'means nothing with {companion.name} = "{word}" ({meaning})'
        self.error(key.name, what, f"write {companion.name} = {wanted} as well, or remove it")

    # Kinds of values

    def typed(self, key, kind, remedy):
        """The value where it has the type; else None."""
        value = self.table[key]
        if type(value) is not kind:  # a bool is no int here
            self.error(key, f"is {kind_of(value)}, not {KINDS[kind]}", remedy)
            return None
        return value

    def name(self, key):
        name = self.typed(key, str, 'write it such as name = "demo"')
        if name is None or not self.reader.checks.names:
            return name
        if name == HOST_NAME:
            self.error(key, f'"{name}" is the hypervisor\'s own name', "choose another")
            return None
        return self._named(key, name, "name for a VM")

    def word(self, key):
        return self._named(key, self.typed(key, str, NAME_REMEDY), "word")

    def _named(self, key, text, what):
        if text is not None and not re.fullmatch(NAME_PATTERN, text):
            self.error(key, f'"{text}" is no {what}', NAME_REMEDY)
            return None
        return text

    def number(self, key, low, high):
        remedy = f"write a number from {low} to {high}"
        number = self.typed(key, int, remedy)
        if number is not None and not low <= number <= high:
            shown = number if abs(number) < SHOWN_MOST else "the number"
            self.error(key, f"{shown} is out of range", remedy)
            return None
        return number

    def size(self, key, step, step_unit, most, most_unit):
        """Bytes of "256M"."""
        step, most = quantity(step, step_unit), quantity(most, most_unit)
        remedy = 'write it like "256M" or "1G"'
        text = self.typed(key, str, remedy)
        if text is None:
            return None
        size = parse("SIZE", text)
        if size is None:
            self.error(key, f'"{text}" is no size', remedy)
        elif size == 0:
            self.error(key, "is zero", f'give it at least "{format_size(step)}"')
        elif size % step:
            low = size // step * step
            near = f'"{format_size(low + step)}"'
            near = f'"{format_size(low)}" or {near}' if low else near
            self.error(key, f'"{text}" is not a multiple of {format_size(step)}', f"write {near}")
        elif size > most:
            what = f'"{text}" is more than any machine has'
            self.error(key, what, f'the most is "{format_size(most)}"')
        else:
            return size
        return None

    def time(self, key, *limits):
        """Nanoseconds of "2ms"."""
        return self._quantity(key, "TIME", *limits)

    def rate(self, key, *limits):
        """Hertz of "2.4GHz"."""
        return self._quantity(key, "RATE", *limits)

    def _quantity(self, key, kind, low, low_unit, high, high_unit):
        name, proper, units = _QUANTITIES[kind]
        remedy = f'write a {name} from "{low}{low_unit}" to "{high}{high_unit}"'
        text = self.typed(key, str, remedy)
        if text is None:
            return None
        value = parse(kind, text)
        if value is None:
            self.error(key, f'"{text}" is no {proper}', f"{remedy}, in {units}")
        elif not quantity(low, low_unit) <= value <= quantity(high, high_unit):
            self.error(key, f'"{text}" is out of range', remedy)
        else:
            return value
        return None

    def cpus(self, key):
        """The set of the CPUs that "0-3,6" names."""
        remedy = f'write numbers from 0 to {CPUS_MAX - 1}, such as "0-3,6"'
        text = self.typed(key, str, remedy)
        if text is None:
            return None
        cpus = set()
        for part in text.split(","):
            match = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if not first <= last < CPUS_MAX:
                self.error(key, f'"{text}" is no list of CPUs', remedy)
                return None
            cpus.update(range(first, last + 1))
        return frozenset(cpus)

    def file(self, key):
        """The path of a file that can be read and is not empty."""
        text = self.typed(key, str, "write the path of a file, relative to the manifest")
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

    def text(self, key, most):
        text = self.typed(key, str, "write it in quotes")
        if text is None:
            return None
        if not re.fullmatch(r"[ -~]*", text):
            self.error(key, "holds characters other than printable ASCII", "remove them")
        elif len(text) > most:
            self.error(key, f"has {len(text)} characters, the most is {most}", "shorten it")
        else:
            return text
        return None

    def flag(self, key):
        return self.typed(key, bool, "write true or false, without quotes")

    def choice(self, key, words):
        remedy = "write " + " or ".join(f'"{word}"' for word in words)
        word = self.typed(key, str, remedy)
        if word is not None and word not in words:
            self.error(key, f'"{word}" is not known', remedy)
            return None
        return word


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
