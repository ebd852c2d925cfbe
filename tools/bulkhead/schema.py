# SPDX-License-Identifier: Apache-2.0
"""The keys of the manifest, as include/manifest_keys.h describes them.

    VM_KEYS, HOST_KEYS      all Key, in their order
    key.default             what its value is where nothing is said
    key.is_at_place(values) whether it means anything beside these values

manifest.py reads by it, compiler.py compiles by it, scripts/manual makes the manual of it.
"""

import re
from dataclasses import dataclass

from .command import ROOT
from .quantities import quantity
from .rows import call, rows, unquote

DESCRIPTION = ROOT / "include" / "manifest_keys.h"
LIMITS = ROOT / "include" / "manifest.h"

_KEYS = ("HOST_KEY", "VM_KEY", "VMM_KEY", "SCHEDULING_KEY")
_HANDED_OVER = ("NUMBER", "SIZE", "TIME", "RATE", "FLAG")  # what a VMM_KEY may be: no address of the supervisor's


@dataclass(frozen=True)
class Word:
    word: str
    meaning: str


@dataclass(frozen=True)
class Key:
    """value, without and when are (word, arguments), as the description has them."""

    macro: str  # of its row
    table: str  # "vm" or "host"
    name: str
    member: str
    value: tuple
    without: tuple
    when: tuple
    words: tuple  # the Word of a CHOICE
    text: str
    title: str
    line: int

    @property
    def attribute(self):
        """What its value is called in Python."""
        return self.name.replace("-", "_")

    @property
    def tree_name(self):
        """The property of the device tree."""
        return f"vm-{self.name}" if self.kind == "NAME" else self.name

    @property
    def kind(self):
        return self.value[0]

    @property
    def is_for_tests(self):
        return self.without[0] == "FOR_TESTS"

    @property
    def required(self):
        """An example of it as TOML, where it may not be missing; else None."""
        word, arguments = self.without
        if word != "REQUIRED":
            return None
        example = arguments[0]
        return f"{self.name} = {example}" if self.kind == "NUMBER" else f'{self.name} = "{example}"'

    @property
    def default(self):
        word, arguments = self.without
        if word == "DEFAULT":
            return quantity(*arguments)
        return {"FIRST": self.words[0].word if self.words else None, "SET": True, "EMPTY": ""}.get(word)

    @property
    def companion(self):
        """The name of the key that it goes with, or None."""
        return self.when[1][0] if self.when[0] == "WITH" else None

    @property
    def companion_words(self):
        return self.when[1][1:]

    def is_at_place(self, values):
        """values: of the keys before it, by name."""
        return self.companion is None or values.get(self.companion) in self.companion_words


def read(description=DESCRIPTION, limits=LIMITS):
    """All keys, in the order in which they are described."""
    numbers = dict(re.findall(r"^#define (\w+) +(\d+)\b", limits.read_text(encoding="utf-8"), re.MULTILINE))
    choices, keys = {}, []
    for row in rows(description, ("CHOICES", *_KEYS)):
        if row.macro == "CHOICES":
            name, *words = row.arguments
            choices[name] = tuple(Word(unquote(call(word)[1][1]), unquote(call(word)[1][2])) for word in words)
            continue
        member, name, *parts = row.arguments
        value, without, when = (_part(part, numbers) for part in parts)
        words = choices[value[1][0]] if value[0] == "CHOICE" else ()
        table = "host" if row.macro == "HOST_KEY" else "vm"
        keys.append(Key(row.macro, table, unquote(name), member, value, without, when, words, row.text, row.title, row.line))
    return keys


def _part(text, numbers):
    """(word, arguments): strings without their quotes, numbers as such, also those that have a name."""
    word, arguments = call(text)
    known = (unquote(numbers.get(argument, argument)) for argument in arguments)
    return word, tuple(int(text) if text.isdecimal() and word not in ("REQUIRED",) else text for text in known)


def problems(keys):
    """What is wrong with the description itself: (line, what)."""
    before = {}
    for key in keys:
        member = f"is_{key.attribute}" if key.kind == "FLAG" else key.attribute
        if key.member != member:
            yield key.line, f"{key.name}: its member is {key.member}, and should be {member}"
        if (key.table, key.name) in before:
            yield key.line, f"{key.name}: is described twice"
        if key.macro == "VMM_KEY" and key.kind not in _HANDED_OVER:
            yield key.line, f"{key.name}: a {key.kind} cannot be handed to a VMM: make it a VM_KEY"
        if not key.text:
            yield key.line, f"{key.name}: nothing says what it is"
        if key.companion:
            other = before.get((key.table, key.companion))
            words = [word.word for word in other.words] if other else []
            if missing := [word for word in key.companion_words if word not in words]:
                yield key.line, f"{key.name}: no key {key.companion} with {missing[0]} stands before it"
        before[key.table, key.name] = key


_ALL = read()
HOST_KEYS = [key for key in _ALL if key.table == "host"]
VM_KEYS = [key for key in _ALL if key.table == "vm"]
