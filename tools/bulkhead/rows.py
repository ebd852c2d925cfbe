# SPDX-License-Identifier: Apache-2.0
"""Reads a description: a header whose rows are macros, which C includes several times, such as include/calls.h.

    for row in rows(path, ("CALL", "HOT_CALL")): ...

A row begins in the first column. What stands in the comment above it is its text; a ruler (// ---- title ----) is the
title of the rows below it.
"""

import re
from dataclasses import dataclass

_TITLE = re.compile(r"// ---- (.*?) -+$")
_NAME = re.compile(r"[A-Z_]+(?=\()")
_STRING = re.compile(r'"(?:\\.|[^"\\])*"')


@dataclass
class Row:
    macro: str
    arguments: list[str]
    text: str  # the comment, in one line
    title: str  # of the ruler above; "" without one
    line: int  # counted from 1


def rows(path, macros):
    """The rows of these macros, in their order."""
    comment, title, at = [], "", 0
    lines = path.read_text(encoding="utf-8").split("\n")
    while at < len(lines):
        line, begin = lines[at], at
        name = _NAME.match(line)
        if heading := _TITLE.match(line):
            title, comment = heading[1], []
        elif line.startswith("//"):
            comment.append(line[2:].strip())
        elif name and name[0] in macros:
            while depth("\n".join(lines[begin : at + 1])) > 0:
                at += 1
            row = " ".join(text.strip() for text in lines[begin : at + 1])
            yield Row(*call(row), " ".join(comment), title, begin + 1)
            comment = []
        else:
            comment = []
        at += 1


def call(text):
    """("NAME", [arguments]) of NAME(arguments); a word alone has none."""
    name, _, rest = text.strip().partition("(")
    return name, split(rest.rpartition(")")[0]) if rest else []


def split(text):
    """What stands between the commas outside of parentheses and strings."""
    parts, level, at = [""], 0, 0
    while at < len(text):
        piece = _STRING.match(text, at)
        piece = piece[0] if piece else text[at]
        level += (piece == "(") - (piece == ")")
        if piece == "," and level == 0:
            parts.append("")
        else:
            parts[-1] += piece
        at += len(piece)
    return [" ".join(part.split()) for part in parts]


def depth(text):
    """How many parentheses are open at the end of the text, strings apart."""
    text = _STRING.sub("", text)
    return text.count("(") - text.count(")")


def unquote(text):
    """What stands in the string literal."""
    return text.strip().removeprefix('"').removesuffix('"').replace('\\"', '"')
