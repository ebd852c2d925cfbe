# SPDX-License-Identifier: Apache-2.0
"""Mutants by rule: what clang says of a function's syntax, turned into edits of its text.

A mutant has a name that outlives edits elsewhere: file, function, rule, and the mutated line's own words. Nothing is
mutated inside a macro.
"""

import json
import re
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
SHIFTED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
SWAPPED = {"&&": "||", "||": "&&"}


@dataclass(frozen=True)
class Mutant:
    name: str  # file:function:rule:line's hash
    file: str
    begin: int  # bytes of the file that `text` replaces
    end: int
    text: str
    line: int
    shown: str  # the line, before and after


class Source:
    def __init__(self, file):
        self.file = file
        self.bytes = (ROOT / file).read_bytes()

    def line_of(self, offset):
        return self.bytes.count(b"\n", 0, offset) + 1

    def around(self, begin, end):
        first = self.bytes.rfind(b"\n", 0, begin) + 1
        last = self.bytes.find(b"\n", end)
        return first, last

    def mutant(self, function, rule, begin, end, text):
        first, last = self.around(begin, end)
        old = self.bytes[first:last].decode()
        new = (self.bytes[first:begin] + text.encode() + self.bytes[end:last]).decode()
        words = re.sub(r"\s+", " ", f"{old}>{new}")
        name = f"{self.file}:{function}:{rule}:{zlib.crc32(words.encode()):08x}"
        shown = re.sub(r"\s+", " ", old.strip()) + "  ->  " + re.sub(r"\s+", " ", new.strip())
        return Mutant(name, self.file, begin, end, text, self.line_of(begin), shown)


def syntax_of(file, function):
    command = ["clang", "-std=gnu17", "-I.", f"-I{BUILD}/include", "-D_GNU_SOURCE", '-DBULKHEAD_VERSION=""', "-fsyntax-only",
               "-w", "-Xclang", "-ast-dump=json", "-Xclang", f"-ast-dump-filter={function}", file]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    decoder, at = json.JSONDecoder(), 0
    while (at := done.stdout.find("{", at)) >= 0:
        node, at = decoder.raw_decode(done.stdout, at)
        if node.get("kind") == "FunctionDecl" and node.get("name") == function and plain(node["loc"]) is not None and \
                any(child.get("kind") == "CompoundStmt" for child in node.get("inner", [])):
            return node
    raise LookupError(f"{file} has no function {function}")


def plain(place):
    """A place's offset, or None inside a macro or in a file that this one includes."""
    return None if "expansionLoc" in place or "includedFrom" in place else place.get("offset")


def span(node):
    begin, end = node["range"]["begin"], node["range"]["end"]
    first, last = plain(begin), plain(end)
    return (first, last + end["tokLen"]) if first is not None and last is not None else None


def operator_span(source, node):
    """Where a binary operator's own token stands: between its operands."""
    left, right = (child["range"] for child in node["inner"][:2])
    end, begin = left["end"], right["begin"]
    after = plain(end)
    if after is None:  # a macro without arguments, whole, has an end, too
        place = end["expansionLoc"]
        if place.get("isMacroArgExpansion") or "offset" not in place:
            return None
        after = place["offset"]
        end = place
    before = plain(begin)
    if before is None:
        place = begin["expansionLoc"]
        if place.get("isMacroArgExpansion") or "offset" not in place:
            return None
        before = place["offset"]
    at, token = after + end["tokLen"], node["opcode"].encode()
    found = source.bytes.find(token, at, before)
    outer = span(node)
    macro = outer is None and plain(node["range"]["begin"]) is None and plain(node["range"]["end"]) is None
    return (found, found + len(token)) if found >= 0 and not macro and source.bytes.find(b";", at, before) < 0 else None


def closing(source, opening):
    depth = 0
    for i in range(opening, len(source.bytes)):
        depth += {40: 1, 41: -1}.get(source.bytes[i], 0)
        if depth == 0:
            return i
    return None


def leaves(node):
    """Whether a branch of an `if` only leaves: a check."""
    if node.get("kind") == "CompoundStmt":
        inner = node.get("inner", [])
        return bool(inner) and leaves(inner[-1])
    return node.get("kind") in ("ReturnStmt", "ContinueStmt", "BreakStmt", "GotoStmt")


def of_condition(source, node):
    begin = plain(node["range"]["begin"])
    opening = source.bytes.find(b"(", begin) if begin is not None else -1
    end = closing(source, opening) if opening >= 0 else None
    if end is None:
        return
    text = source.bytes[opening:end + 1].decode()
    yield "negate", opening, end + 1, f"(!{text})"
    if len(node["inner"]) == 2:  # no else
        yield "no-check" if leaves(node["inner"][1]) else "no-branch", opening, end + 1, f"(0 && {text})"


def of_operator(source, node):
    code = node["opcode"]
    place = operator_span(source, node)
    if place is None:
        return
    for rule, table in (("compare", NEGATED), ("shift", SHIFTED), ("logic", SWAPPED)):
        if code in table:
            yield rule, *place, table[code]
    if code == "&":
        yield "mask", *place, "| 0 *"
    if code in ("+", "-") and "*" not in node.get("type", {}).get("qualType", "*"):
        yield "sum", *place, "-" if code == "+" else "+"
    if code == "|=":
        yield "bits", *place, "= 0 ?:"


def of_index(source, node):
    place = span(node)
    if place and source.bytes[place[1] - 1:place[1]] == b"]":
        yield "index", place[1] - 1, place[1], " + 1]"


def of_statement(source, node):
    place = span(node)
    if place and source.bytes[place[1]:place[1] + 1] == b";":
        yield "no-call", *place, "(void)0"


def of_return(source, node):
    place = span(node)
    text = source.bytes[place[0]:place[1]].decode() if place else ""
    for old, new in (("return true", "return false"), ("return false", "return true")):
        if text == old:
            yield "return", *place, new
    if re.fullmatch(r"return -\w+", text):
        yield "return", *place, "return 0"


def text_of(source, node):
    """As it stands in the file, a macro by its name; None where that cannot be told."""
    ends = [node["range"][end].get("expansionLoc", node["range"][end]) for end in ("begin", "end")]
    if any("offset" not in end or "isMacroArgExpansion" in end for end in ends):
        return None
    return source.bytes[ends[0]["offset"]:ends[1]["offset"] + ends[1]["tokLen"]]


def is_bound(source, node):
    """Whether a conditional is a minimum or a maximum, `a < b ? a : b`: there `<=` is the same as `<`."""
    condition, *results = node.get("inner", [{}])
    if condition.get("opcode") not in SHIFTED or len(results) != 2:
        return False
    operands = sorted(str(text_of(source, operand)) for operand in condition["inner"])
    return operands == sorted(str(text_of(source, result)) for result in results) and "None" not in operands


def edits(source, node, parent):
    kind = node.get("kind")
    if kind == "ConditionalOperator" and is_bound(source, node):
        yield from (edit for edit in of_operator(source, node["inner"][0]) if edit[0] != "shift")
        for operand in node["inner"][0]["inner"]:
            yield from edits(source, operand, "BinaryOperator")
        return
    if kind == "IfStmt":
        yield from of_condition(source, node)
    elif kind in ("BinaryOperator", "CompoundAssignOperator"):
        yield from of_operator(source, node)
    elif kind == "ArraySubscriptExpr":
        yield from of_index(source, node)
    elif kind == "CallExpr" and parent in ("CompoundStmt", "IfStmt"):
        yield from of_statement(source, node)
    elif kind == "ReturnStmt":
        yield from of_return(source, node)
    for child in node.get("inner", []):
        yield from edits(source, child, kind)


def mutants_of(file, function):
    source, seen = Source(file), set()
    for rule, begin, end, text in edits(source, syntax_of(file, function), None):
        mutant = source.mutant(function, rule, begin, end, text)
        if mutant.name not in seen:
            seen.add(mutant.name)
            yield mutant
