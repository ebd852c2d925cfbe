# SPDX-License-Identifier: Apache-2.0
"""What the checks look at: the files of the tree, and how the Makefile compiles each of them."""

import functools
import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = os.environ.get("BUILD", "build")
CLANG = "14"  # whose formatter and rules are the tree's
JOBS = int(os.environ.get("JOBS", os.cpu_count() or 1))


class Problem(Exception):
    """The check failed: one line for each finding, and what to do about them."""

    def __init__(self, findings, remedy):
        super().__init__(remedy)
        self.findings = [str(finding) for finding in findings]
        self.remedy = remedy


class Skip(Exception):
    """The check cannot run here; the text says why."""


def run(command, **options):
    """A command in the tree's root; its output is text."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)


def skip_other_clang(program):
    """What one version of it asks for another one may refuse: Debian 12's is the one."""
    version = re.search(r"version (\d+)", run([program, "--version"]).stdout)
    if version is None or version[1] != CLANG:
        raise Skip(f"{program} {version[1] if version else '?'} is not Debian 12's, {CLANG}")


def make(*arguments):
    # Nothing of an outer make's: its job server and flags are not for this one.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return run(["make", "--no-print-directory", f"BUILD={BUILD}", *arguments], env=environment)


@functools.cache
def files():
    """Every file that is, or is about to be, tracked, relative to the root."""
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    if listed.returncode != 0:
        raise Skip("this is no git checkout, so it is not known which files belong to it")
    names = sorted(set(listed.stdout.split("\0")) - {""})
    return [Path(name) for name in names if (ROOT / name).is_file()]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def with_suffix(*suffixes):
    return [path for path in files() if path.suffix in suffixes]


def shebang(path):
    """The interpreter named in the first line, or an empty string."""
    first = read(path).split("\n", 1)[0]
    return first.split("/")[-1].removeprefix("env ").strip() if first.startswith("#!") else ""


@dataclass(frozen=True)
class Unit:
    """One compilation, as make would do it."""

    source: Path
    flags: tuple

    @property
    def kind(self):
        if "-target" in self.flags:
            return "efi"
        return "ring0" if "-mcmodel=kernel" in self.flags else "ring3"


# What only matters when an object file is written.
UNUSED_FLAGS = re.compile(r"^(-MMD|-MP|-static|-ffile-prefix-map=.*)$")


def parse_compilation(line):
    words = shlex.split(line[line.index("clang ") :])
    at = words.index("-c")
    flags = tuple(word for word in words[1:at] if not UNUSED_FLAGS.match(word))
    return Unit(Path(words[at + 1]), flags)


@functools.cache
def units():
    """The compilations of everything that an image holds: a dry run of make tells them."""
    dry = make("-n", "-B", "V=1", "image-parts")
    if dry.returncode != 0:
        raise Problem(dry.stderr.splitlines(), "make the build work first: make image-parts")
    lines = [line for line in dry.stdout.splitlines() if re.search(r"\bclang .* -c \S+\.c ", line)]
    return sorted({parse_compilation(line) for line in lines}, key=lambda unit: (unit.source, unit.kind))


def unit_for(folder, kind=None):
    """Some compilation of a file in the folder: for the flags that its headers need."""
    for unit in units():
        if unit.source.parts[: len(folder.parts)] == folder.parts and kind in (None, unit.kind):
            return unit
    return None
