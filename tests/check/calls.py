# SPDX-License-Identifier: Apache-2.0
"""Who calls whom in ring 0 (design.md "Layers"): a layer calls only what it or a layer below defines. Seen in the
objects that make has built, so that a declaration at the wrong place, or by hand, hides nothing."""

import shutil

import layers
import tree
from tree import Problem, Skip

LAYERS = ("lib", "arch", "kernel", "vmx", "svm")
KIND = "ring0"

# What still is called upwards, by the name called. This list only gets shorter: a name that nobody
# calls upwards any more has to go.
UPWARDS = {
    # arch/ enters the kernel: each is declared in arch/, defined in kernel/. An entry has to call
    # somebody.
    "arch": {
        "kernel_main", "smp_ap_main", "syscall_dispatch", "thread_first_run", "interrupt_dispatch", "nmi_handle",
        "machine_check_handle", "machine_check_leave", "trap_before_user", "trap_kernel_exception", "trap_user_exception", "trap_user_page",
        # To go: logging belongs below arch/, the table of CPUs into it.
        "log_line", "cpu_count", "cpu_table",
    },
}


def sources():
    return [path for path in tree.with_suffix(".c", ".S") if path.parts[0] in LAYERS]


def object_of(source):
    return tree.ROOT / tree.BUILD / KIND / f"{source}.o"


def built(paths):
    """Those with an object. A library's file that no kernel needs has none; any other must have a fresh one."""
    found = [path for path in paths if object_of(path).is_file()]
    missing = [path for path in paths if path not in found and path.parts[0] != "lib"]
    stale = [path for path in found if object_of(path).stat().st_mtime < (tree.ROOT / path).stat().st_mtime]
    if missing or stale:
        what = f"{missing[0]} is not built" if missing else f"the object of {stale[0]} is older than it"
        raise Skip(f"{what}: make image-parts")
    return found


def symbols(source):
    """(defined, needed): names that the object gives to others, and those that it wants of them."""
    listed = tree.run([shutil.which("nm") or "llvm-nm", "-P", str(object_of(source))])
    if listed.returncode != 0:
        raise Problem(listed.stderr.splitlines(), f"the object of {source} cannot be read")
    rows = [line.split()[:2] for line in listed.stdout.splitlines()]
    return {name for name, kind in rows if kind in "TDBRVW"}, {name for name, kind in rows if kind == "U"}


def upward_calls(table):
    """(caller, name, where it is defined) for each call that goes up; `table`: {source: (defined, needed)}."""
    owner = {name: source for source, (defined, _) in table.items() for name in defined}
    for source, (_, needed) in sorted(table.items()):
        layer = source.parts[0]
        below = layers.BELOW[layer] | layers.EXCEPTIONS.get(source, set()) | {layer}
        for name in sorted(needed & owner.keys()):
            if owner[name].parts[0] not in below:
                yield source, name, owner[name]


def findings(table):
    calls = list(upward_calls(table))
    for source, name, where in calls:
        if name not in UPWARDS.get(source.parts[0], ()):
            yield f"{source} calls {name} of {where}"
    for layer, names in UPWARDS.items():
        for name in sorted(names - {name for source, name, _ in calls if source.parts[0] == layer}):
            yield f"nothing in {layer}/ calls {name} upwards any more: take it off the list in tests/check/calls.py"


def check_calls():
    if not (shutil.which("nm") or shutil.which("llvm-nm")):
        raise Skip("there is no nm to read objects with: run scripts/setup")
    table = {source: symbols(source) for source in built(sources())}
    bad = list(findings(table))
    if bad:
        raise Problem(bad, "a layer calls only what lies below it: move the function down, or the caller up")
    return f"{len(table)} objects call downwards, but for {sum(map(len, UPWARDS.values()))} names that are known"
