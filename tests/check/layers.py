# SPDX-License-Identifier: Apache-2.0
"""Who may include what (design.md "Layers", conventions.md 4): a layer sees only what lies below it."""

import os
import re
from pathlib import Path

import tree
from tree import Problem

BELOW = {
    "include": set(),
    "lib": {"include"},
    "arch": {"lib", "include"},
    "kernel": {"arch", "lib", "include"},
    "vmx": {"kernel", "arch", "lib", "include"},
    "svm": {"kernel", "arch", "lib", "include"},
    "drivers": {"lib", "include"},
    "boot": {"lib", "include"},
    "supervisor": {"lib", "include"},
    "vmm": {"lib", "include"},
}
# The table of contents knows all that is in the kernel.
EXCEPTIONS = {Path("kernel/main.c"): {"vmx", "svm"}}

# Of the compiler, and so there without a C library. assert.h is for static_assert alone.
FREESTANDING = {
    "assert.h", "cpuid.h", "float.h", "limits.h", "stdalign.h", "stdarg.h", "stdatomic.h", "stdbool.h",
    "stddef.h", "stdint.h", "stdnoreturn.h",
}
LIBRARIES = {"boot": {"efi.h"}, "supervisor": {"libfdt.h"}}
HOSTED = {Path("lib/string.h")}  # takes the C library's where there is one: in tests on the host

INCLUDE = re.compile(r'^#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)


def resolve(source, name):
    """The included file, relative to the root: beside the source, in the tree, or generated."""
    for base in (source.parent, Path("."), Path(tree.BUILD) / "include"):
        if (tree.ROOT / base / name).is_file():
            found = Path(os.path.normpath(base / name))
            prefix = (Path(tree.BUILD) / "include").parts
            return Path(*found.parts[len(prefix) :]) if found.parts[: len(prefix)] == prefix else found
    return None


def check_quoted(source, name):
    layer = source.parts[0]
    target = resolve(source, name)
    if target is None:
        return f"{source}: no such header: {name}"
    below = BELOW[layer] | EXCEPTIONS.get(source, set())
    if target.parts[0] != layer and target.parts[0] not in below:
        return f"{source}: {layer} may not include {target}"
    return None


def check_system(source, name):
    if name in FREESTANDING | LIBRARIES.get(source.parts[0], set()) or source in HOSTED:
        return None
    return f"{source}: <{name}> is of a C library"


def uses_run_time_assert(source):
    text = tree.read(source)
    return "<assert.h>" in text and re.search(r"(?<!static_)\bassert\(", text) is not None


def findings():
    for source in tree.with_suffix(".c", ".h", ".S"):
        if source.parts[0] not in BELOW:
            continue
        for bracket, name in INCLUDE.findall(tree.read(source)):
            yield check_system(source, name) if bracket == "<" else check_quoted(source, name)
        if uses_run_time_assert(source):
            yield f"{source}: assert() of <assert.h> needs a C library"


def check_layers():
    bad = [finding for finding in findings() if finding is not None]
    if bad:
        raise Problem(bad, "a layer includes only what lies below it: move the declaration down, or the "
                           "caller up")
    return " < ".join(["lib", "arch", "kernel", "vmx, svm"]) + "; ring 3 and boot see lib alone"
