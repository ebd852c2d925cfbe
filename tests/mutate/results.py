# SPDX-License-Identifier: Apache-2.0
"""Results that are kept from run to run, in build/mutate/results.json. A result holds as long as all that went into it is
the same: the mutated file, and for each of its unit-test programs the objects that make links, every file that these were
compiled from, all makefiles, the names of all headers (a new one can hide another), the compiler and the libraries.
"""

import hashlib
import json
import os
import re
import subprocess
import threading
from pathlib import Path

VERSION = "1"  # of what a result means: counts up when the runner judges otherwise
DEPENDENCY = re.compile(r"^[^:\n]+:((?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)
MADE_FROM = (".asl", "mkfont")  # sources of headers that the build makes


def digest(*parts):
    whole = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        whole.update(len(data).to_bytes(8, "little") + data)
    return whole.hexdigest()


def objects_of(base, unit):
    """The objects that make links into a unit-test program, by their names below the build folder."""
    program = f"build/plain/tests/unit-{unit}"
    done = subprocess.run(["make", "-npq", "BUILD=build/plain", "SANITIZE=", program], cwd=base, text=True,
                          capture_output=True, check=False)
    for line in done.stdout.split("\n"):
        if line.startswith(f"{program}: "):
            return [name.removeprefix("build/plain/") for name in line.partition(":")[2].split()]
    raise LookupError(f"make has no rule for {program}")


def inputs_of(build, objects):
    """The sources that objects were compiled from, as the compiler wrote it down beside them."""
    found = set()
    for name in objects:
        text = (build / name).with_suffix(".d").read_text(encoding="utf-8")
        found.update(DEPENDENCY.search(text)[1].replace("\\\n", " ").split())
    return sorted(os.path.normpath(file) for file in found if not file.startswith("build/"))


def tools():
    """The compiler, and the libraries that the tests are linked with."""
    version = subprocess.run(["clang", "--version"], text=True, capture_output=True, check=True).stdout
    stats = [f"{file}:{os.stat(file).st_size}:{os.stat(file).st_mtime_ns}"
             for folder in ("/usr/include/criterion", "/usr/lib/x86_64-linux-gnu")
             for file in sorted(map(str, Path(folder).glob("*")))
             if "criterion" in file or "libfdt" in file]
    return digest(version, *stats)


class Results:
    def __init__(self, path, base):
        self.path, self.lock = path, threading.Lock()
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.inputs = kept.get("inputs", {})  # by unit
        self.killers = kept.get("killers", {})  # by key
        self.tools = tools()
        self.common = self.shared_parts(base)
        self.keys = {}

    def shared_parts(self, base):
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=base, text=True, capture_output=True,
                                check=True).stdout.split("\n")
        files = [file for file in sorted(set(listed)) if (base / file).is_file()]
        headers = [file for file in files if file.endswith(".h")]
        made = [file for file in files if file.endswith((".mk", *MADE_FROM)) or file == "Makefile"]
        return digest(VERSION, self.tools, *headers, *(digest(file, (base / file).read_bytes()) for file in made))

    def unit_key(self, base, unit):
        """None: nothing is known of what the unit is made of."""
        objects, inputs = objects_of(base, unit), self.inputs.get(unit)
        if inputs is None or not all((base / file).is_file() for file in inputs):
            return None
        return digest(self.common, unit, *objects, *(digest(file, (base / file).read_bytes()) for file in inputs))

    def read_keys(self, base, units):
        for unit in units:
            self.keys[unit] = self.unit_key(base, unit)

    def learn(self, tree, units):
        """Of a tree that was just built without a mutant."""
        for unit in units:
            self.inputs[unit] = inputs_of(tree / "build" / "plain", objects_of(tree, unit))
            self.keys[unit] = self.unit_key(tree, unit)

    def key(self, mutated, units, may_boot):
        keys = [self.keys.get(unit) for unit in units]
        return None if None in keys else digest(mutated, may_boot, *keys)

    def known(self, mutated, units, may_boot):
        """(whether it is known, what killed it or None)"""
        key = self.key(mutated, units, may_boot)
        return key in self.killers, self.killers.get(key)

    def keep(self, mutated, units, may_boot, killer):
        with self.lock:
            self.killers[self.key(mutated, units, may_boot)] = killer
            text = json.dumps({"inputs": self.inputs, "killers": self.killers}, indent=0)
            aside = self.path.with_suffix(".new")
            aside.write_text(text, encoding="utf-8")
            aside.replace(self.path)
