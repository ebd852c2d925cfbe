# SPDX-License-Identifier: Apache-2.0
"""What is written about the code: names exist, links lead somewhere, each system call is documented."""

import re
import subprocess
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
    """A path of the tree, as opposed to one of a machine, beside the tree, of a build, or of an image."""
    if word.startswith(("/", "~", "-", "../", "build/")) or any(c in word for c in " $<>{}=:"):
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


# ---- indices and system calls --------------------------------------------------------------------

SIDE_CHANNELS = Path("docs/side-channels.md")
INDICES = "### Indices that others choose"
FUNCTION = re.compile(r"^[A-Za-z_].*?\b(\w+)\(")


def masking_functions():
    """The functions of ring 0 that cut an index."""
    for path in tree.with_suffix(".c", ".h"):
        if path.parts[0] not in ("arch", "kernel", "vmx", "drivers"):
            continue
        function = None
        for line in tree.read(path).splitlines():
            start = FUNCTION.match(line)
            function = start.group(1) if start else function
            if "index_mask(" in line:
                yield function


def check_indices():
    section = tree.read(SIDE_CHANNELS).split(INDICES, 1)[-1].split("\n#", 1)[0]
    listed = {word for line in section.splitlines() if line.startswith("|")
              for word in INLINE_CODE.findall(line.split("|")[2]) if "/" not in word}
    masking = set(masking_functions())
    findings = [f"{name}: listed, and has no index_mask" for name in sorted(listed - masking)]
    findings += [f"{name}: has an index_mask, and is not listed" for name in sorted(masking - listed)]
    if findings or not listed:
        raise Problem(findings, f"cut the index, or mend the table of {SIDE_CHANNELS}")
    return f"{len(listed)} functions cut the indices that others choose"


# ---- the glossary --------------------------------------------------------------------------------

GLOSSARY = Path("docs/glossary.md")
GONE = re.compile(r"^## Words that are gone\n(.*)", re.MULTILINE | re.DOTALL)
GONE_ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


def has_word(name, word):
    return f"_{word}_" in f"_{name.lower()}_"


def check_words():
    section = GONE.search(tree.read(GLOSSARY))
    gone = GONE_ROW.findall(section.group(1)) if section else []
    if not gone:
        raise Problem([str(GLOSSARY)], "it has no table of words that are gone")
    names = {name: path for path in tree.files() if path.suffix in (".c", ".h", ".S")
             for name in re.findall(r"[A-Za-z_]\w*", tree.read(path))}
    bad = [f"{path}: {name}" for name, path in sorted(names.items()) for word in gone if has_word(name, word)]
    if bad:
        raise Problem(bad, f"these words are gone: {GLOSSARY} says what stands in their place")
    return f"{len(gone)} words that are gone are in no name"


# ---- what is made from descriptions --------------------------------------------------------------

def check_abi():
    """Whether what describes the calls and the manifest's keys is whole, and the manual is made from it."""
    made = subprocess.run([tree.ROOT / "scripts" / "manual", "--check"], text=True, capture_output=True, check=False)
    if made.returncode != 0:
        raise Problem(made.stderr.strip().split("\n"), "each system call and each key has a name and a text, and its place in the manual")
    return made.stdout.strip()
