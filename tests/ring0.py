# SPDX-License-Identifier: Apache-2.0
"""The lines of code that run in ring 0: of every file that is compiled into kernel.elf, or included by one that is,
generated ones too; without comments and blanks, as cloc counts them. For `make check` and `make bench`."""

import json
import subprocess


def files(root, build):
    """Of a kernel that was built."""
    objects = build / "ring0"
    sources = [path.relative_to(objects).with_suffix("") for path in objects.rglob("*.o")]
    found = {root / path for path in sources if (root / path).exists()}
    for rules in objects.rglob("*.d"):
        if (root / rules.relative_to(objects).with_suffix("")).exists():
            words = rules.read_text(encoding="utf-8").replace("\\\n", " ").split()
            found |= {root / word.rstrip(":") for word in words if not word.startswith("/") and not word.endswith(".o:")}
    return sorted(found)


def count(root, build):
    """{folder: lines}. Raises OSError or subprocess.CalledProcessError where cloc does not run."""
    languages = "--include-lang=C,C/C++ Header,Assembly"
    command = ["cloc", "--json", "--quiet", "--by-file", "--skip-uniqueness", languages, *map(str, files(root, build))]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = json.loads(output[output.index("{"):])
    folders = {}
    for name, row in rows.items():
        if name not in ("header", "SUM"):
            folder = str(root.joinpath(name).relative_to(root)).split("/", maxsplit=1)[0]
            folders[folder] = folders.get(folder, 0) + row["code"]
    return folders
