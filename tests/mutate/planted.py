# SPDX-License-Identifier: Apache-2.0
"""Mutants by hand: faults that no rule makes, or that survived once. Each text must stand in its file exactly once, blanks
aside, so that one that has gone stale is seen."""

import re

from rules import Mutant, Source

# (name, file, text, what stands there instead)
PLANTED = [
    ("xcomp-bv", "kernel/vcpu.c", "unsigned i = 1; i < HEADER_SIZE / sizeof(*header)", "unsigned i = 2; i < HEADER_SIZE / sizeof(*header)"),
    ("no-flush-on-a-new-cpu", "kernel/vcpu.c", "if (vcpu->npt_cpu_seen != cpu) {", "if (vcpu->npt_cpu_seen == NULL) {"),
    ("second-thread-takes-vcpu", "kernel/vcpu.c", "if (vcpu->owner != NULL) {", "if (vcpu->owner != NULL && 0) {"),
]


def mutants():
    for name, file, old, new in PLANTED:
        source = Source(file)
        words = [re.escape(word.encode()) for word in old.split()]
        found = list(re.finditer(rb"\s+".join(words), source.bytes))
        if len(found) != 1:
            raise LookupError(f"planted {name}: its text stands {len(found)} times in {file}")
        begin, end = found[0].span()
        yield Mutant(f"{file}:planted:{name}", file, begin, end, new, source.line_of(begin), f"{old}  ->  {new}")
