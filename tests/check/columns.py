# SPDX-License-Identifier: Apache-2.0
"""Comments have at most 100 columns; `tests/check/wrap FILE...` makes it so.

A comment here is a line of nothing but it, or what stands behind code in C. Wrapped are only paragraphs with a line
that is too long: lines with the same prefix, up to an empty one, a list's item, a ruler or a line that ends early on
purpose. What is indented (a table of calls, an item) goes on under its text.
"""

import re
import textwrap

import tree
from tree import Problem

COLUMNS = 100
EARLY = 30  # columns that are left at the end of a sentence: the break is meant
C_SUFFIXES = {".c", ".h", ".S", ".asl", ".ld"}
HASH_SUFFIXES = {".py", ".mk", ".toml"}

_LINE = {"c": re.compile(r"(\s*//)( *)(.*)"), "hash": re.compile(r"(\s*#)( *)(?!!)(.*)")}
_TRAILING = re.compile(r"""^(?:[^"'/]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|/(?!/))+//""")
_ITEM = re.compile(r"([-*]|\d+[.)]) +")
_CLAUSE = re.compile(r"(Needs|Returns|Errors): ")  # of a call's contract: begins a line where it did
_TABLE = re.compile(r"\S+(?: \S+)*?  +(?=\S)")
_RULER = re.compile(r"[-=]{3,}|SPDX-|clang-format |.*[-=]{20,}$")
_RULER_END = re.compile(r"#? ?-{3,} .*[^-] -+$")


def kind_of(path):
    if path.suffix in C_SUFFIXES:
        return "c"
    is_hash = path.suffix in HASH_SUFFIXES or path.name == "Makefile" or tree.shebang(path) != ""
    return "hash" if is_hash else None


def find_long(path):
    """(line number, its length) of comments that are too long."""
    kind = kind_of(path)
    for number, line in enumerate(tree.read(path).split("\n"), 1) if kind else ():
        if len(line) > COLUMNS and (_LINE[kind].match(line) or (kind == "c" and _TRAILING.match(line))):
            yield number, len(line)


def check_columns():
    bad = [f"{path}:{number}: {length} columns" for path in tree.files() for number, length in find_long(path)]
    if bad:
        files = {finding.split(":")[0] for finding in bad}
        raise Problem(bad, f"comments beyond column {COLUMNS}: tests/check/wrap {' '.join(sorted(files))}")
    return f"no comment is longer than {COLUMNS} columns"


def is_comment(line, kind):
    return _LINE[kind].fullmatch(line) is not None


def hanging(text):
    """Where the lines behind go on: columns from the text's begin."""
    begin = _ITEM.match(text) or _TABLE.match(text)
    return begin.end() if begin else 0


def is_next(group, prefix, indent, text):
    """Whether this line goes on with the paragraph `group`: (prefix, indent, hang, texts)."""
    if not group or group[0] != prefix or not text or any(p.match(text) for p in (_RULER, _ITEM, _CLAUSE)):
        return False
    _prefix, first, hang, texts = group
    if len(indent) != len(first) + hang:
        return False
    if len(first) > 1 and hang == 0 and len(texts) == 1 and _TABLE.match(text):
        return False
    before = len(prefix) + len(first) + (len(texts[-1]) if len(texts) == 1 else hang + len(texts[-1]))
    room = COLUMNS - before - 1 - len(text.split(" ")[0])
    return not (room > EARLY and texts[-1][-1] in ".:;") and not (hang == 0 and _TABLE.match(text) and len(first) > 1)


def paragraphs(lines, pattern):
    """Lines as they are, and paragraphs as (prefix, indent, hang, texts, lines)."""
    group = None
    for line in lines:
        match = pattern.fullmatch(line)
        if match and is_next(group and group[:4], match[1], match[2], match[3].rstrip()):
            group[3].append(match[3].rstrip())
            group[4].append(line)
            continue
        if group:
            yield group
        group = None
        if match and match[3] and not _RULER.match(match[3]):
            group = (match[1], match[2], hanging(match[3]), [match[3].rstrip()], [line])
        else:
            yield line
    if group:
        yield group


def wrap_text(text, kind):
    out = []
    for group in paragraphs(text.split("\n"), _LINE[kind]):
        if isinstance(group, str):
            is_ruler = is_comment(group, kind) and _RULER_END.search(group)  # its dashes go to the edge
            out.append(group[:COLUMNS] if is_ruler else group)
            continue
        prefix, indent, hang, texts, lines = group
        if max(map(len, lines)) <= COLUMNS or lines[0].endswith("\\"):
            out += lines
            continue
        out += textwrap.wrap(
            " ".join(texts), COLUMNS, initial_indent=prefix + indent, subsequent_indent=prefix + indent + " " * hang,
            break_long_words=False, break_on_hyphens=False, drop_whitespace=True,
        )
    return "\n".join(out)


def wrap_file(path):
    if kind := kind_of(path):
        text = tree.read(path)
        wrapped = wrap_text(text, kind)
        if wrapped != text:
            (tree.ROOT / path).write_text(wrapped, encoding="utf-8")
    return list(find_long(path))
