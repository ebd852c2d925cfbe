// SPDX-License-Identifier: Apache-2.0
// A strict reader of flattened device trees, for the manifest.
//
// Why not libfdt: Debian ships it as ELF objects only, and the UEFI application is linked as COFF.
// The reader knows just what the manifest needs, and the tests hold it against libfdt: whatever it
// accepts libfdt accepts too, with the same nodes and the same property values.
//
//   boot_fdt_open      checks the whole tree once
//   boot_fdt_child     finds a child by name, boot_fdt_first and boot_fdt_next walk over children
//   boot_fdt_string, boot_fdt_u32, boot_fdt_u64   read properties
//
// A node is the offset of its FDT_BEGIN_NODE in the structure block; BOOT_FDT_NONE is no node. The
// blob is untrusted: every access is bounds-checked again, even after boot_fdt_open.
//
// Source: Devicetree Specification 0.4, chapter 5 "Flattened Devicetree (DTB) Format".
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BOOT_FDT_NONE      UINT32_MAX
#define BOOT_FDT_ROOT      0u
#define BOOT_FDT_DEPTH_MAX 16u

struct boot_fdt {
    const uint8_t *structure;
    const uint8_t *strings;
    uint32_t structure_size;
    uint32_t strings_size;
    uint32_t total_size; // of the blob
};

// Checks the blob of `size` bytes (bytes after its own total size are ignored) and fills `fdt`,
// which keeps pointing into it. `blob` must be aligned to 4. False when anything in it is
// malformed.
bool boot_fdt_open(struct boot_fdt *fdt, const void *blob, uint64_t size);

// Name of a node, "" for the root; NULL when `node` is none.
const char *boot_fdt_name(const struct boot_fdt *fdt, uint32_t node);

// First child of `node`; the next sibling of `node`; the child with exactly this name.
uint32_t boot_fdt_first(const struct boot_fdt *fdt, uint32_t node);
uint32_t boot_fdt_next(const struct boot_fdt *fdt, uint32_t node);
uint32_t boot_fdt_child(const struct boot_fdt *fdt, uint32_t node, const char *name);

// Value of a property, NULL when the node has none of that name. The first one counts.
const uint8_t *boot_fdt_property(const struct boot_fdt *fdt, uint32_t node, const char *name,
                                 uint32_t *size);

// A property that is exactly one NUL-terminated string; NULL otherwise.
const char *boot_fdt_string(const struct boot_fdt *fdt, uint32_t node, const char *name);

// A property that is exactly one cell, or two; false otherwise, with *value untouched.
bool boot_fdt_u32(const struct boot_fdt *fdt, uint32_t node, const char *name, uint32_t *value);
bool boot_fdt_u64(const struct boot_fdt *fdt, uint32_t node, const char *name, uint64_t *value);
