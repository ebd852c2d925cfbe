# SPDX-License-Identifier: Apache-2.0
"""What is written about the code: names exist, links lead somewhere, each system call is documented."""

import re
from pathlib import Path

import tree
from tree import Problem, Skip

ARCHITECTURE = Path("ARCHITECTURE.md")
CODE_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SOURCES = (".c", ".h", ".S", ".asl", ".ld", ".py", ".mk")
FILE_NAME = re.compile(r"[\w.*-]+\.(c|h|S|asl|ld|py|md|mk)")
IDENTIFIER = re.compile(r"(?:(?:struct|enum|union)\s+)?([A-Za-z_]\w*)(?:\(\))?")


def is_path(word):
    """A path of the tree, as opposed to one of a machine, a build, or an image."""
    if word.startswith(("/", "~", "-", "build/")) or any(c in word for c in " $<>{}=:"):
        return False
    head = word.split("/", 1)[0]
    return ("/" in word and (tree.ROOT / head).is_dir()) or FILE_NAME.fullmatch(word) is not None


def path_exists(document, word):
    """From the root, from the document's folder, or, without a folder, anywhere: a list of one's files."""
    if "/" not in word:
        return any(path.match(word) for path in tree.files())
    folders = (tree.ROOT, (tree.ROOT / document).parent)
    return any(next(folder.glob(word.rstrip("/")), None) is not None for folder in folders)


def identifiers():
    """Every word of every source."""
    text = "\n".join(tree.read(path) for path in tree.files()
                     if path.suffix in SOURCES or path.name == "Makefile" or tree.shebang(path))
    return set(re.findall(r"[A-Za-z_]\w*", text))


def words_of(document):
    text = CODE_FENCE.sub("", tree.read(document))
    return [word.strip() for word in INLINE_CODE.findall(text)]


def missing_paths(document):
    return [f"{document}: `{word}`" for word in words_of(document)
            if is_path(word) and not path_exists(document, word)]


def missing_identifiers(document, known):
    """A word with an underscore or parentheses, or behind struct, is a name of the code's."""
    for word in words_of(document):
        name = IDENTIFIER.fullmatch(word)
        is_name = name is not None and ("_" in word or "(" in word or " " in word)
        if is_name and name.group(1) not in known:
            yield f"{document}: `{word}`"


def check_names():
    if not (tree.ROOT / ARCHITECTURE).is_file():
        raise Skip(f"there is no {ARCHITECTURE} yet")
    known = identifiers()
    words = words_of(ARCHITECTURE)
    bad = missing_paths(ARCHITECTURE) + list(missing_identifiers(ARCHITECTURE, known))
    if bad:
        raise Problem(bad, "these names are not in the tree any more: say what took their place")
    return f"{len(words)} names in {ARCHITECTURE} exist"


def link_exists(document, target):
    if re.match(r"[a-z]+:", target) or target.startswith("#"):
        return True
    return ((tree.ROOT / document).parent / target.split("#")[0]).exists()


def check_links():
    documents = tree.with_suffix(".md")
    bad = [f"{document}: {target}" for document in documents
           for target in LINK.findall(CODE_FENCE.sub("", tree.read(document)))
           if not link_exists(document, target)]
    bad += [finding for document in documents if document != ARCHITECTURE
            for finding in missing_paths(document)]
    if bad:
        raise Problem(bad, "these lead nowhere")
    return f"links and paths in {len(documents)} documents exist"


# ---- the system calls ----------------------------------------------------------------------------

ABI = Path("include/abi.h")
DISPATCH = Path("kernel/syscall.c")
CALL = re.compile(r"^    (ABI_\w+) = (\d+),")
ROW = re.compile(r"\[(ABI_\w+)\] = (\w+)")


def parse_calls():
    """[(name, number, the comment above)] of enum abi_call."""
    body = tree.read(ABI).split("enum abi_call {", 1)[1].split("};", 1)[0]
    calls, comment = [], []
    for line in body.split("\n"):
        row = CALL.match(line)
        if row:
            calls.append((row.group(1), int(row.group(2)), " ".join(comment)))
        comment = [*comment, line.strip(" /")] if line.startswith("    //") else []
    return calls


def abi_findings(calls):
    rows = dict(ROW.findall(tree.read(DISPATCH)))
    *calls, (last, count, _) = calls
    if last != "ABI_CALL_COUNT" or [number for _, number, _ in calls] != list(range(count)):
        yield f"{ABI}: the calls are not numbered from 0 to ABI_CALL_COUNT without a gap"
    for name, _, comment in calls:
        function = name.lower().replace("abi_", "call_", 1)
        if not comment.startswith("("):
            yield f"{ABI}: {name} has no comment that begins with its arguments in parentheses"
        if rows.get(name) != function:
            yield f"{DISPATCH}: {name} is not dispatched to {function}"
    for name in rows.keys() - {name for name, _, _ in calls}:
        yield f"{DISPATCH}: {name} is no call"


def check_abi():
    calls = parse_calls()
    bad = list(abi_findings(calls))
    if bad:
        raise Problem(bad, "each system call has a number, a row in the table, and a manual page above it")
    return f"{len(calls) - 1} system calls are documented and dispatched"
