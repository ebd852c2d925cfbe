# SPDX-License-Identifier: Apache-2.0
"""What is proved, and what must not be. `goals` and `statements` may only grow: the numbers when the line was written."""

from dataclasses import dataclass, field


@dataclass
class Proof:
    file: str
    goals: int
    functions: list[str]
    assumed: list[str] = field(default_factory=list)  # whose contracts are believed though they have a body
    lemmas: list[str] = field(default_factory=list)  # behind PROOF_LEMMAS; proved by themselves
    may_wrap: bool = False  # unsigned arithmetic; else a sum beyond the type is an error


@dataclass
class Mutant:
    proof: str  # a copy of its file
    old: str
    new: str
    functions: list[str]  # of which one can no longer be proved
    lemmas: list[str] = field(default_factory=list)
    may_wrap: bool = False


@dataclass
class Eva:
    file: str
    statements: int  # that are reached from tests/proof/eva_NAME.c
    options: list[str]  # where Eva has to keep states apart, or relations
    may_wrap: bool = False


@dataclass
class EvaMutant:
    eva: str  # a copy of its file
    old: str
    new: str


PROOFS = {
    "auditor": Proof("kernel/audit_judge.c", 200, [
        "blame", "audit_claim", "audit_find_place", "is_inside", "audit_judge", "audit_judge_host", "audit_judge_quota",
        "range_exceeds",
    ]),
    "quota": Proof("kernel/quota.c", 49, [
        "quota_charge", "quota_release",
    ]),
    "pagetable": Proof("lib/pagetable.c", 95, [
        "level_size", "level_index", "entry_span", "entry_is_leaf", "entry_table", "entry_write", "table_get", "leaf_fits",
    ], ["table_at", "table_alloc", "table_entry"]),
    "pagetable-walk": Proof("lib/pagetable.c", 147, ["leaf_map", "leaf_unmap", "pt_split"],
                            ["table_at", "leaf_entry", "leaf_rights"]),
    "pagetable-ranges": Proof("lib/pagetable.c", 72, ["pt_map", "lesser", "pt_unmap_some", "pt_unmap"], lemmas=["sums_of_pages"]),
    "pagetable-split": Proof("lib/pagetable.c", 40, ["leaf_split"],
                             ["table_at", "table_alloc", "leaf_entry", "table_entry"], may_wrap=True),
}

MUTANTS = {
    "auditor-takes-foreign-frames": Mutant(
        "auditor", "if (owner[i] != from) {", "if (owner[i] < from) {", ["audit_claim"]),
    "auditor-forgets-the-last-frame": Mutant(
        "auditor", "count > frame_count - first", "count > frame_count - first + 1", ["audit_claim"]),
    "auditor-ignores-the-size": Mutant(
        "auditor", "!range_exceeds(leaf->address - place->address, leaf->size, place->size)",
        "!range_exceeds(leaf->address - place->address, 0, place->size)", ["is_inside"]),
    "auditor-allows-rights": Mutant(
        "auditor", "(leaf->rights & ~place->rights) != 0", "(leaf->rights & ~place->rights) > 4", ["audit_judge"]),
    "auditor-misplaces": Mutant(
        "auditor", "run->frame.v + (first - run->offset)", "run->frame.v + (first - region->offset)", ["audit_find_place"]),
    "auditor-adds-up-wrongly": Mutant(
        "auditor", "used - kernel == found", "used - kernel >= found", ["audit_judge_quota"]),
    "quota-beyond-its-limit": Mutant(
        "quota", "bytes <= quota->limit - quota->used", "bytes <= quota->limit", ["quota_charge"]),
    "quota-releases-too-much": Mutant(
        "quota", "quota->kernel -= kernel;", "quota->kernel -= bytes;", ["quota_release"]),
    "quota-asserts-too-much": Mutant("quota", "assert(bytes <= quota->used", "assert(bytes < quota->used", ["quota_release"]),
    "pagetable-leaf-too-large": Mutant(
        "pagetable", "size >= leaf && address % leaf == 0", "size > 0 && address % leaf == 0", ["leaf_fits"]),
    "pagetable-leaf-misaligned": Mutant(
        "pagetable", "size >= leaf && address % leaf == 0", "size >= leaf && address % PAGE_SIZE == 0", ["leaf_fits"]),
    "pagetable-wrong-index": Mutant(
        "pagetable", "address / SIZE_2M % ENTRIES", "address / SIZE_2M % (ENTRIES - 1)", ["level_index"]),
    "pagetable-unmaps-beyond": Mutant(
        "pagetable-ranges", "leaf_unmap(pt, address + done, size - done)", "leaf_unmap(pt, address + size, size - done)",
        ["pt_unmap_some"], ["sums_of_pages"]),
    "pagetable-unmaps-too-far": Mutant(
        "pagetable-ranges", "return lesser(done, size);", "return done;", ["pt_unmap_some"], ["sums_of_pages"]),
    "pagetable-maps-beyond": Mutant(
        "pagetable-ranges", "(hpa_t){frame.v + done}, size - done, rights)", "(hpa_t){frame.v + done}, size, rights)",
        ["pt_map"], ["sums_of_pages"]),
    "pagetable-maps-too-much": Mutant(
        "pagetable-walk", "return level_size(level);\n        }\n        // A leaf",
        "return level_size(level + 1);\n        }\n        // A leaf", ["leaf_map"]),
    "pagetable-unmaps-too-much": Mutant(
        "pagetable-walk", "if (!leaf_split(pt, entry, level, leaf_rights(pt->format, *entry, level)))\n                return 0;",
        "return size;", ["leaf_unmap"]),
    "pagetable-splits-beyond": Mutant(
        "pagetable-split", "for (unsigned i = 0; i < ENTRIES; i++)\n        table[i] =",
        "for (unsigned i = 0; i <= ENTRIES; i++)\n        table[i] =", ["leaf_split"], may_wrap=True),
}

EVA = {
    "eva-auditor": Eva("kernel/audit_judge.c", 222, [
        "-eva-auto-loop-unroll", "20", "-eva-slevel-function", "audit_claim:40",
    ], may_wrap=True),
    "eva-quota": Eva("kernel/quota.c", 267, [
        "-eva-auto-loop-unroll", "8", "-eva-domains", "equality,symbolic-locations", "-eva-split-return", "full",
        "-eva-slevel-function", "quota_charge:10,quota_alloc_page:10,quota_create:10",
    ]),
    "eva-pagetable": Eva("lib/pagetable.c", 485, [
        "-eva-domains", "octagon", "-eva-slevel-function", "leaf_map:20,leaf_unmap:20,pt_lookup:20,pt_split:20",
        "-eva-unroll-recursive-calls", "4",
    ], may_wrap=True),
}

EVA_MUTANTS = {
    "eva-auditor-claims-one-too-far": EvaMutant(
        "eva-auditor", "count > frame_count - first", "count > frame_count - first + 1"),
    "eva-auditor-shifts-too-far": EvaMutant("eva-auditor", "owner >= OWNER_COUNT || ", ""),
    "eva-auditor-needs-a-window": EvaMutant("eva-auditor", "window == NULL || ", ""),
    "eva-quota-wraps": EvaMutant("eva-quota", "bytes <= quota->limit - quota->used", "bytes <= quota->limit"),
    "eva-quota-needs-a-page": EvaMutant(
        "eva-quota", "if (quota == NULL) {\n        quota_release", "if (parent == NULL) {\n        quota_release"),
    "eva-quota-keeps-its-lock": EvaMutant("eva-quota", "lock_drop(&quota->lock);\n    return 0;", "return 0;"),
    "eva-pagetable-index-one-too-far": EvaMutant(
        "eva-pagetable", "address / SIZE_2M % ENTRIES", "address / SIZE_2M % (ENTRIES + 1)"),
    "eva-pagetable-walks-into-a-leaf": EvaMutant(
        "eva-pagetable", "if (!is_free && entry_is_leaf(pt->format, *entry, level))\n            return 0;", ""),
    "eva-pagetable-needs-a-table": EvaMutant(
        "eva-pagetable", "if (table == NULL)\n            return 0;", ""),
    "eva-pagetable-splits-one-too-far": EvaMutant(
        "eva-pagetable", "i < ENTRIES; i++)\n        table[i] =", "i <= ENTRIES; i++)\n        table[i] ="),
    "eva-pagetable-walks-one-too-far": EvaMutant(
        "eva-pagetable", "table_walk(pt, next, level - 1, 0, ENTRIES - 1", "table_walk(pt, next, level - 1, 0, ENTRIES"),
}
