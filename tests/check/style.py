# SPDX-License-Identifier: Apache-2.0
"""How files look: format, licence line, paths of one machine, scripts, sizes."""

import re
import shutil

import tree
from tree import Problem, Skip

SPDX = "SPDX-License-Identifier: Apache-2.0"
SPDX_LINES = 3  # it stands in one of the first
SOURCE_SUFFIXES = {".c", ".h", ".S", ".asl", ".ld", ".py", ".mk", ".sh"}

FORMAT_BATCH = 50


def check_format():
    if not shutil.which("clang-format"):
        raise Skip("clang-format is not installed: run scripts/setup")
    tree.skip_other_clang("clang-format")
    names = [str(path) for path in tree.with_suffix(".c", ".h")]
    bad = []
    for i in range(0, len(names), FORMAT_BATCH):
        result = tree.run(["clang-format", "--dry-run", *names[i : i + FORMAT_BATCH]])
        bad += re.findall(r"^(\S+?):\d+:\d+: warning", result.stderr, re.MULTILINE)
    bad = sorted(set(bad))
    if bad:
        raise Problem(bad, f"not as .clang-format says: clang-format -i {' '.join(bad)}")
    return f"{len(names)} files are formatted"


def is_source(path):
    return path.suffix in SOURCE_SUFFIXES or path.name == "Makefile" or tree.shebang(path) != ""


def check_spdx():
    sources = [path for path in tree.files() if is_source(path)]
    bad = [path for path in sources if SPDX not in "\n".join(tree.read(path).split("\n")[:SPDX_LINES])]
    if bad:
        raise Problem(bad, f"no licence: write '{SPDX}' into the first line")
    return f"{len(sources)} files name their licence"


# Directories of one person's or one machine's, and hosts that only some network has. What anybody
# can reach is listed; a new host is a decision, so it is added here.
MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:work|root|home|Users|mnt)/[\w.-]+")
URL_HOST = re.compile(r"\bhttps?://(?:[^/\s@\"']*@)?([A-Za-z0-9.-]+)")
PUBLIC_HOSTS = {
    "127.0.0.1", "localhost", "example.com", "github.com", "deb.debian.org", "snapshot.debian.org",
    "www.debian.org", "bochs.sourceforge.io", "sourceforge.net", "downloads.sourceforge.net",
    "www.intel.com", "www.amd.com", "uefi.org", "www.kernel.org", "docs.kernel.org", "spdx.org",
    "www.apache.org", "www.qemu.org", "lwn.net", "docs.oasis-open.org",
}
# A container of its own, whose user is of our making.
PATHS_OF_CONTAINERS = {"/home/user"}


def find_machine_names(path):
    for number, line in enumerate(tree.read(path).split("\n"), 1):
        places = [p for p in MACHINE_PATH.findall(line) if not p.startswith(tuple(PATHS_OF_CONTAINERS))]
        hosts = [h for h in URL_HOST.findall(line) if h.lower().rstrip(".") not in PUBLIC_HOSTS]
        for name in places + hosts:
            yield f"{path}:{number}: {name}"


def check_paths():
    bad = [finding for path in tree.files() for finding in find_machine_names(path)]
    if bad:
        raise Problem(bad, "a path or host that only one machine knows: derive it, or add a public host "
                           "to tests/check/style.py")
    return "no path or host of one machine"


def compile_python(path):
    try:
        compile(tree.read(path), str(path), "exec")
    except SyntaxError as error:
        return [f"{path}:{error.lineno}: {error.msg}"]
    return []


def check_scripts():
    python = [p for p in tree.files() if p.suffix == ".py" or tree.shebang(p).startswith("python")]
    shell = [p for p in tree.files() if re.fullmatch(r"(ba|da)?sh( -\w+)?", tree.shebang(p))]
    bad = [finding for path in python for finding in compile_python(path)]
    if bad:
        raise Problem(bad, "Python does not parse these")
    if not shutil.which("shellcheck"):
        raise Skip(f"shellcheck is not installed, so {len(shell)} shell scripts were not read: "
                   "run scripts/setup")
    # SC1090, SC1091: a file that is sourced is not always there to be read.
    result = tree.run(["shellcheck", "--format=gcc", "--severity=warning", "--exclude=SC1090,SC1091",
                       *map(str, shell)])
    if result.returncode != 0:
        raise Problem(result.stdout.splitlines() or [result.stderr.strip()],
                      "shellcheck FILE explains each of these")
    return f"{len(python)} Python and {len(shell)} shell scripts"


# Told, not refused: conventions.md calls both a smell, and exempts tables.
FUNCTION_LINES = 60
FILE_LINES = 500
FUNCTION = re.compile(r"^(?!static const|struct|enum|union|typedef)[A-Za-z_].*?(\w+)\(.*(?:\{|,|\))$")


def long_functions(path):
    """Relies on the format: a function begins in column 1 and its last brace stands there alone."""
    name, begin = None, 0
    for number, line in enumerate(tree.read(path).split("\n"), 1):
        start = FUNCTION.match(line)
        if start and name is None:
            name, begin = start.group(1), number
        elif line == "}" and name is not None:
            if number - begin + 1 > FUNCTION_LINES:
                yield f"{path}:{begin}: {name} has {number - begin + 1} lines"
            name = None
        elif line.endswith(";") and not line.startswith(" "):
            name = None


def check_sizes():
    sources = tree.with_suffix(".c", ".h")
    notes = [note for path in sources for note in long_functions(path)]
    for path in sources:
        lines = tree.read(path).count("\n")
        if lines > FILE_LINES:
            notes.append(f"{path}: {lines} lines")
    limits = f"functions over {FUNCTION_LINES} lines and files over {FILE_LINES}"
    return [f"{len(notes)} {limits}" + (", which need a reason:" if notes else ""), *notes]
