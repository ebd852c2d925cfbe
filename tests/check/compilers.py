# SPDX-License-Identifier: Apache-2.0
"""What compilers say: both of them, clang-tidy, headers alone, and the same bytes each time."""

import hashlib
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tree
from tree import Problem, Skip

FREESTANDING = ("ring0", "ring3")  # what runs without firmware or an operating system
MESSAGE = re.compile(r"^\S+?:\d+:\d+: (?:fatal )?(?:error|warning): .*", re.MULTILINE)


def check_build():
    result = tree.make(f"-j{tree.JOBS}", "image-parts")
    if result.returncode != 0:
        raise Problem(MESSAGE.findall(result.stdout + result.stderr) or result.stderr.splitlines(),
                      "it does not build: make image-parts")
    return "kernel, supervisor, VMM and boot application build"


def messages_of(command):
    result = tree.run(command)
    if result.returncode == 0:
        return []
    return MESSAGE.findall(result.stdout + result.stderr) or [result.stderr.strip()[:500]]


def run_all(commands):
    """Runs the commands a few at a time; all their messages, each once, paths relative to the root."""
    with ThreadPoolExecutor(tree.JOBS) as pool:
        found = [message for messages in pool.map(messages_of, commands) for message in messages]
    return sorted({message.replace(f"{tree.ROOT}/", "") for message in found})


# ---- gcc -----------------------------------------------------------------------------------------

# Not gcc's, or with another meaning there: its -Wconversion warns of each `x |= flag` on narrow
# types, and what lies before a symbol of the linker script is no array to it.
GCC_FLAGS = ("-Wno-unknown-pragmas", "-Wno-conversion", "-Wno-override-init", "-Wno-array-bounds",
             "-Wno-stringop-overflow")


def check_gcc():
    if not shutil.which("gcc"):
        raise Skip("gcc is not installed: run scripts/setup")
    units = [unit for unit in tree.units() if unit.kind in FREESTANDING]
    bad = run_all(["gcc", *unit.flags, *GCC_FLAGS, "-c", str(unit.source), "-o", "/dev/null"]
                  for unit in units)
    if bad:
        raise Problem(bad, "a second compiler refuses these")
    return f"{len(units)} files compile with gcc, too"


# ---- clang-tidy ----------------------------------------------------------------------------------

# The analyzer's default budget a function is ten times as much: minutes, for no finding more.
ANALYZER_LIMIT = ("-Xclang", "-analyzer-config", "-Xclang", "max-nodes=20000")


def tidy_command(unit):
    extra = [f"--extra-arg={argument}" for argument in ANALYZER_LIMIT]
    return ["clang-tidy", "--quiet", "--warnings-as-errors=*", *extra, str(unit.source), "--", *unit.flags]


def check_tidy():
    if not shutil.which("clang-tidy"):
        raise Skip("clang-tidy is not installed: run scripts/setup")
    tree.skip_other_clang("clang-tidy")
    chosen = {unit.source: unit for unit in tree.units() if unit.kind in FREESTANDING}
    bad = [message for message in run_all(tidy_command(unit) for unit in chosen.values())
           if not message.startswith("/usr/")]
    if bad:
        raise Problem(bad, "clang-tidy (.clang-tidy says why each rule is there)")
    return f"{len(chosen)} files pass"


# ---- headers -------------------------------------------------------------------------------------

# What is included by whom decides the flags; include and lib are everybody's.
SHARED = {"include": FREESTANDING, "lib": FREESTANDING}


def header_commands(header):
    kinds = SHARED.get(header.parts[0], (None,))
    used = [tree.unit_for(Path(header.parts[0]), kind) for kind in kinds]
    if header.parts[0] == "include":
        used = [tree.unit_for(Path("lib"), kind) for kind in kinds]
    for unit in filter(None, used):
        yield ["clang", *unit.flags, "-fsyntax-only", "-Wno-unused-function",
               "-Wno-unused-macros", "-x", "c", "-include", str(header), "/dev/null"]


# Lists, each time for something else.
LISTED = {Path("include/calls.h"), Path("include/manifest_keys.h")}


def check_headers():
    # A header without a unit of its own folder (tests, guests) is another Makefile's business.
    headers = [h for h in tree.with_suffix(".h") if tree.unit_for(Path(h.parts[0])) or h.parts[0] == "include"]
    bad = [f"{h}: no `#pragma once`" for h in headers if h not in LISTED and "#pragma once" not in tree.read(h)]
    bad += run_all(command for header in headers for command in header_commands(header))
    if bad:
        raise Problem(bad, "a header includes what it uses, and may be included twice")
    return f"{len(headers)} headers compile alone"


# ---- the same bytes ------------------------------------------------------------------------------

PARTS = ("kernel.elf", "supervisor.elf", "vmm.elf", "console.elf", "boot/BOOTX64.EFI")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copy_tree(to):
    for name in tree.files():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree.ROOT / name, to / name)


def build_elsewhere(folder):
    copy_tree(folder)
    command = ["make", "--no-print-directory", f"-j{tree.JOBS}", "BUILD=elsewhere", "image-parts"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def check_repeatable():
    if tree.make(f"-j{tree.JOBS}", "image-parts").returncode != 0:
        raise Skip("the tree does not build, so there is nothing to compare with")
    with tempfile.TemporaryDirectory(prefix="bulkhead-") as name:
        folder = Path(name) / "another-directory"
        result = build_elsewhere(folder)
        if result.returncode != 0:
            raise Problem(result.stderr.splitlines()[-5:],
                          "a copy of the tracked files does not build: is a file missing from git?")
        bad = [part for part in PARTS
               if digest(folder / "elsewhere" / part) != digest(tree.ROOT / tree.BUILD / part)]
    if bad:
        raise Problem(bad, "built in another directory, these have other bytes")
    return "built in another directory, all parts have the same bytes"
