# SPDX-License-Identifier: Apache-2.0
"""The routes that ARCHITECTURE.md draws, and docs/routes.md lists, are those of the code.

They stand in blocks of ```routes: each line is one step, each paragraph one route.

    caller -> callee    file    a call; in assembly also the use of a macro
    caller ~> label     file    a jump, or where one goes on
    caller => name      file    handed over by name: a row of a table, an address, a callback
    ... how                     it goes on elsewhere: by an event, by the processor, by a system call
    -x name                     no caller of this route names it

The file is where the caller's body stands, and there the callee is looked for. `object->member` is a call
through a pointer, `table[]` one through a table's entry, `table.member =>` the row that fills it. Every step but
the first, of a route or behind `...`, has an end in common with one before it.

A picture is a block of ```text. What it names are names of the routes, and `a -> b` in it is a step of theirs.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import tree
from tree import Problem

DOCUMENTS = (Path("ARCHITECTURE.md"), Path("docs/routes.md"))
BLOCK = re.compile(r"^```routes\n(.*?)^```", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
STEP = re.compile(r"(\S+)\s+(->|~>|=>)\s+(\S+)\s+(\S+)(?:\s.*)?")
NEVER = re.compile(r"-x\s+(\S+)")
ELSEWHERE = "..."
PICTURE_NAME = re.compile(r"(?<!struct )(?<![\w/.])[a-z]\w*_\w+(?![\w/]|\.[chS]\b)")
PICTURE_STEP = re.compile(r"(?=\b([a-z]\w*) -+> ([a-z]\w*))")


@dataclass(frozen=True)
class Step:
    caller: str
    arrow: str
    callee: str
    file: str


@dataclass
class Route:
    steps: list
    leaps: list  # the number of steps before each
    never: list


# ---- what the document says ----------------------------------------------------------------------

def parse_line(line, route):
    step, never = STEP.fullmatch(line), NEVER.fullmatch(line)
    if step:
        route.steps.append(Step(*step.groups()))
    elif line.startswith(ELSEWHERE):
        route.leaps.append(len(route.steps))
    elif never:
        route.never.append(never.group(1))
    else:
        raise Problem([line], "a step is `caller -> callee file`, see tests/check/routes.py")


def parse(text):
    routes = []
    for paragraph in "\n\n".join(BLOCK.findall(text)).split("\n\n"):
        lines = [line.strip() for line in paragraph.splitlines() if line.strip() and not line.startswith("#")]
        route = Route([], [0], [])
        for line in lines:
            parse_line(line, route)
        if route.steps:
            routes.append(route)
    return routes


# ---- what the code says --------------------------------------------------------------------------

COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|("(?:\\.|[^"\\\n])*")', re.DOTALL)
STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')


def without_comments(text):
    return COMMENT.sub(lambda match: match.group(1) or " ", text)


def c_body(lines, name):
    """Of a function, a table or a macro. Relies on the format: each begins in column 1 and ends with a brace there."""
    head = re.compile(rf"(?![\s#/]).*\b{re.escape(name)}(?:\(|\[| =|\b.*= \{{)")
    macro = re.compile(rf"#\s*define\s+{re.escape(name)}\(")
    for i, line in enumerate(lines):
        if macro.match(line):
            end = next(j for j in range(i, len(lines)) if not lines[j].endswith("\\"))
            return lines[i + 1 : end + 1] or [line.split(")", 1)[1]]
        if not head.match(line):
            continue
        begin = next((j for j in range(i, len(lines)) if re.search(r"[{;]", lines[j])), None)
        if begin is None or "{" not in lines[begin]:
            continue
        end = next((j for j in range(begin, len(lines)) if lines[j].startswith("}")), None)
        if end is None:
            continue
        return [lines[begin].split("{", 1)[1], *lines[begin + 1 : end]]
    return None


def assembly_body(lines, name):
    """Of a macro, or of a label, up to the next label that other files see."""
    if f".macro {name}" in (line.split(",")[0].rstrip() for line in lines):
        begin = next(i for i, line in enumerate(lines) if line.startswith(f".macro {name}"))
        return lines[begin + 1 : lines.index(".endm", begin)]
    if f"{name}:" not in lines:
        return None
    begin = lines.index(f"{name}:")
    end = next((j for j in range(begin + 1, len(lines)) if lines[j].startswith(".globl")), len(lines))
    return lines[begin + 1 : end]


def python_body(lines, name):
    head = re.compile(rf"(\s*)def {re.escape(name)}\(")
    for i, line in enumerate(lines):
        found = head.match(line)
        if found:
            deeper = re.compile(rf"\s{{{len(found.group(1)) + 1}}}|\s*$|\)")
            end = next((j for j in range(i + 1, len(lines)) if not deeper.match(lines[j])), len(lines))
            return lines[i + 1 : end]
    return None


def body(file, name):
    """The text of the body, without comments. None: it is not defined there."""
    text = tree.read(file)
    if file.endswith(".py"):
        found = python_body(text.splitlines(), name)
    else:
        lines = [line.rstrip() for line in without_comments(text).splitlines()]
        found = assembly_body(lines, name) if file.endswith(".S") else c_body(lines, name)
    return None if found is None else "\n".join(found)


# ---- the one against the other -------------------------------------------------------------------

def call_pattern(step):
    callee = step.callee
    if step.file.endswith(".S"):
        return rf"^\s*(?:(?:call|jmp|j\w+)\s+{callee}\b|{callee}\s*(?:$|\w))"
    if "[]" in callee:
        table, member = callee.split("[]", 1)
        return rf"\b{table}\[[^;]*?\]{re.escape(member)}\("
    return rf"(?<!\w){re.escape(callee)}\("


def pattern(step):
    if step.arrow == "->":
        return call_pattern(step)
    if step.arrow == "~>":
        return rf"(?:\b(?:jmp|j\w+|call)\s+{step.callee}\b|\b{step.callee}:)"
    member = step.caller.partition(".")[2]
    return rf"\.{member} = {step.callee}\b" if member else rf"\b{step.callee}\b"


def step_finding(step):
    if not (tree.ROOT / step.file).is_file():
        return f"there is no {step.file}"
    text = body(step.file, step.caller.partition(".")[0])
    if text is None:
        return f"{step.file} does not define {step.caller}"
    is_jump_in_c = step.arrow == "~>" and not step.file.endswith(".S")
    if not is_jump_in_c and not step.file.endswith((".S", ".py")):
        text = STRING.sub('""', text)
    if not re.search(pattern(step), text, re.MULTILINE):
        return f"{step.file}: {step.caller} has no {step.arrow} {step.callee}"
    return None


def key(name):
    """What a call through a pointer, and the row that fills that pointer, have in common."""
    return re.split(r"->|\.|\[\]", name)[-1] or name.removesuffix("[]")


def keys(name):
    return {key(name), re.split(r"->|\.|\[\]", name)[0]}


def route_findings(route):
    reached = set()
    for i, step in enumerate(route.steps):
        ends = keys(step.caller) | keys(step.callee)
        if i not in route.leaps and not ends & reached:
            yield f"{step.caller} {step.arrow} {step.callee}: nothing before it in its route leads there"
        reached |= ends
        finding = step_finding(step)
        if finding:
            yield finding
    for name in route.never:
        for step in route.steps:
            text = body(step.file, step.caller.partition(".")[0]) if (tree.ROOT / step.file).is_file() else None
            if text and re.search(rf"\b{name}\b", STRING.sub('""', text)):
                yield f"{step.file}: {step.caller} names {name}, which its route says it never does"


def words(name):
    return re.findall(r"\w+", name)


def picture_findings(text, routes):
    steps = [step for route in routes for step in route.steps]
    names = {word for step in steps for word in words(step.caller) + words(step.callee)}
    ways = {(words(step.caller)[0], words(step.callee)[-1]) for step in steps}
    for picture in PICTURE.findall(text):
        for name in PICTURE_NAME.findall(picture):
            if name not in names:
                yield f"the picture names {name}, and no route does"
        for way in PICTURE_STEP.findall(picture):
            if way not in ways:
                yield f"the picture draws {way[0]} -> {way[1]}, and no route does"


def findings(text):
    routes = parse(text)
    for route in routes:
        yield from route_findings(route)
    yield from picture_findings(text, routes)


def check_routes():
    texts = {document: tree.read(document) for document in DOCUMENTS}
    bad = [f"{document}: {finding}" for document, text in texts.items() for finding in dict.fromkeys(findings(text))]
    if bad:
        raise Problem(bad, "this is drawn, and not the way that the code takes: draw the one that it takes")
    routes = [route for text in texts.values() for route in parse(text)]
    if not routes:
        raise Problem([str(document) for document in DOCUMENTS], "no block of ```routes is left in them")
    return f"{sum(len(route.steps) for route in routes)} steps of {len(routes)} routes are in the code"
