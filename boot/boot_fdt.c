// SPDX-License-Identifier: Apache-2.0
// The strict device-tree reader; the interface is told in boot_fdt.h.
//
// One primitive, read_token, decodes the token at an offset with all bounds checked; everything
// else is a loop over it.
#include "boot/boot_fdt.h"

#include <stddef.h>

#include "lib/string.h"

enum {
    FDT_MAGIC_OFFSET = 0, // the header's fields, in bytes
    FDT_TOTALSIZE = 4,
    FDT_OFF_DT_STRUCT = 8,
    FDT_OFF_DT_STRINGS = 12,
    FDT_OFF_MEM_RSVMAP = 16,
    FDT_VERSION = 20,
    FDT_LAST_COMP_VERSION = 24,
    FDT_SIZE_DT_STRINGS = 32,
    FDT_SIZE_DT_STRUCT = 36,
    FDT_HEADER_SIZE = 40,
    FDT_VERSION_READ = 17,
    FDT_RESERVE_ENTRY_SIZE = 16,

    FDT_BEGIN_NODE = 1, // tokens
    FDT_END_NODE = 2,
    FDT_PROP = 3,
    FDT_NOP = 4,
    FDT_END = 9,
};

#define FDT_MAGIC 0xd00dfeedu

struct token {
    uint32_t kind;
    uint32_t next;        // offset of the following token
    const char *name;     // of the node or property
    const uint8_t *value; // of the property
    uint32_t value_size;
};

static uint32_t load32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// Length of the string at `offset` of a block, or UINT32_MAX when it does not end inside the block.
static uint32_t string_length(const uint8_t *block, uint32_t size, uint32_t offset) {
    for (uint32_t i = offset; i < size; i++) {
        if (block[i] == 0)
            return i - offset;
    }
    return UINT32_MAX;
}

static bool read_node_name(const struct boot_fdt *fdt, uint32_t offset, struct token *token) {
    uint32_t length = string_length(fdt->structure, fdt->structure_size, offset);
    if (length == UINT32_MAX)
        return false;
    token->name = (const char *)fdt->structure + offset;
    token->next = (offset + length + 1 + 3) & ~3u;
    return true;
}

static bool read_property(const struct boot_fdt *fdt, uint32_t offset, struct token *token) {
    if (fdt->structure_size - offset < 8)
        return false;
    token->value_size = load32(fdt->structure + offset);
    uint32_t name = load32(fdt->structure + offset + 4);
    offset += 8;
    if (token->value_size > fdt->structure_size - offset ||
        string_length(fdt->strings, fdt->strings_size, name) == UINT32_MAX)
        return false;
    token->name = (const char *)fdt->strings + name;
    token->value = fdt->structure + offset;
    token->next = (offset + token->value_size + 3) & ~3u;
    return true;
}

// Decodes the token at `offset`, a multiple of 4. The block's size is a multiple of 4 as well, and
// below 2 GiB (boot_fdt_open), so that no sum here wraps and `next` is at most the block's size.
static bool read_token(const struct boot_fdt *fdt, uint32_t offset, struct token *token) {
    if (offset >= fdt->structure_size)
        return false;
    *token = (struct token){.kind = load32(fdt->structure + offset), .next = offset + 4};
    switch (token->kind) {
    case FDT_BEGIN_NODE:
        return read_node_name(fdt, offset + 4, token);
    case FDT_PROP:
        return read_property(fdt, offset + 4, token);
    case FDT_END_NODE:
    case FDT_NOP:
    case FDT_END:
        return true;
    default:
        return false;
    }
}

// One pass over the structure block: one root node without a name, properties before children,
// balanced nodes, and nothing but FDT_END behind the root.
static bool check_structure(const struct boot_fdt *fdt) {
    struct token token;
    uint32_t depth = 0;
    bool had_child[BOOT_FDT_DEPTH_MAX + 1] = {false}; // of the open node at that depth
    for (uint32_t offset = 0; read_token(fdt, offset, &token); offset = token.next) {
        bool is_root = offset == BOOT_FDT_ROOT;
        if (token.kind == FDT_END)
            return depth == 0 && !is_root && token.next == fdt->structure_size;
        if (is_root != (depth == 0)) // before the root, or behind it
            return false;
        if (token.kind == FDT_BEGIN_NODE) {
            if (depth == BOOT_FDT_DEPTH_MAX || is_root != (token.name[0] == '\0'))
                return false;
            had_child[depth++] = true;
            had_child[depth] = false;
        } else if (is_root) {
            return false;
        } else if (token.kind == FDT_END_NODE) {
            depth--;
        } else if (token.kind == FDT_PROP && had_child[depth]) {
            return false;
        }
    }
    return false;
}

// Is [offset, offset + size) inside the blob and behind its header?
static bool block_is_inside(uint32_t offset, uint32_t size, uint32_t total) {
    return offset >= FDT_HEADER_SIZE && size <= total && offset <= total - size;
}

// The memory reservation block: pairs of u64 up to a pair of zeros. We only want it well-formed.
static bool check_reservations(const uint8_t *bytes, uint32_t offset, uint32_t total) {
    if (offset < FDT_HEADER_SIZE || offset % 8 != 0)
        return false;
    for (; offset <= total && total - offset >= FDT_RESERVE_ENTRY_SIZE;
         offset += FDT_RESERVE_ENTRY_SIZE) {
        const uint8_t *entry = bytes + offset;
        if ((load32(entry) | load32(entry + 4) | load32(entry + 8) | load32(entry + 12)) == 0)
            return true;
    }
    return false;
}

bool boot_fdt_open(struct boot_fdt *fdt, const void *blob, uint64_t size) {
    const uint8_t *bytes = blob;
    if (size < FDT_HEADER_SIZE || load32(bytes + FDT_MAGIC_OFFSET) != FDT_MAGIC)
        return false;
    uint32_t total = load32(bytes + FDT_TOTALSIZE);
    if (total < FDT_HEADER_SIZE || total > size || total > INT32_MAX)
        return false;
    if (load32(bytes + FDT_VERSION) < FDT_VERSION_READ ||
        load32(bytes + FDT_LAST_COMP_VERSION) > FDT_VERSION_READ)
        return false;
    uint32_t structure = load32(bytes + FDT_OFF_DT_STRUCT);
    uint32_t strings = load32(bytes + FDT_OFF_DT_STRINGS);
    *fdt = (struct boot_fdt){
        .structure_size = load32(bytes + FDT_SIZE_DT_STRUCT),
        .strings_size = load32(bytes + FDT_SIZE_DT_STRINGS),
        .total_size = total,
    };
    if (!block_is_inside(structure, fdt->structure_size, total) || structure % 4 != 0 ||
        fdt->structure_size % 4 != 0 || !block_is_inside(strings, fdt->strings_size, total))
        return false;
    if (!check_reservations(bytes, load32(bytes + FDT_OFF_MEM_RSVMAP), total))
        return false;
    fdt->structure = bytes + structure;
    fdt->strings = bytes + strings;
    return check_structure(fdt);
}

const char *boot_fdt_name(const struct boot_fdt *fdt, uint32_t node) {
    struct token token;
    if (!read_token(fdt, node, &token) || token.kind != FDT_BEGIN_NODE)
        return NULL;
    return token.name;
}

// From `offset`, skips properties and NOPs; BOOT_FDT_NONE when no node begins there.
static uint32_t next_begin(const struct boot_fdt *fdt, uint32_t offset) {
    struct token token;
    while (read_token(fdt, offset, &token)) {
        if (token.kind == FDT_BEGIN_NODE)
            return offset;
        if (token.kind != FDT_PROP && token.kind != FDT_NOP)
            break;
        offset = token.next;
    }
    return BOOT_FDT_NONE;
}

uint32_t boot_fdt_first(const struct boot_fdt *fdt, uint32_t node) {
    struct token token;
    if (!read_token(fdt, node, &token) || token.kind != FDT_BEGIN_NODE)
        return BOOT_FDT_NONE;
    return next_begin(fdt, token.next);
}

uint32_t boot_fdt_next(const struct boot_fdt *fdt, uint32_t node) {
    struct token token;
    uint32_t depth = 0;
    for (uint32_t offset = node; read_token(fdt, offset, &token); offset = token.next) {
        if (token.kind == FDT_BEGIN_NODE)
            depth++;
        if (token.kind == FDT_END_NODE && --depth == 0)
            return next_begin(fdt, token.next);
        if (depth == 0)
            break;
    }
    return BOOT_FDT_NONE;
}

uint32_t boot_fdt_child(const struct boot_fdt *fdt, uint32_t node, const char *name) {
    uint32_t child = boot_fdt_first(fdt, node);
    while (child != BOOT_FDT_NONE && strcmp(boot_fdt_name(fdt, child), name) != 0)
        child = boot_fdt_next(fdt, child);
    return child;
}

const uint8_t *boot_fdt_property(const struct boot_fdt *fdt, uint32_t node, const char *name,
                                 uint32_t *size) {
    struct token token;
    if (!read_token(fdt, node, &token) || token.kind != FDT_BEGIN_NODE)
        return NULL;
    while (read_token(fdt, token.next, &token)) {
        if (token.kind == FDT_PROP && strcmp(token.name, name) == 0) {
            *size = token.value_size;
            return token.value;
        }
        if (token.kind != FDT_PROP && token.kind != FDT_NOP)
            break;
    }
    return NULL;
}

const char *boot_fdt_string(const struct boot_fdt *fdt, uint32_t node, const char *name) {
    uint32_t size = 0;
    const uint8_t *value = boot_fdt_property(fdt, node, name, &size);
    if (value == NULL || size == 0 || string_length(value, size, 0) != size - 1)
        return NULL;
    return (const char *)value;
}

bool boot_fdt_u32(const struct boot_fdt *fdt, uint32_t node, const char *name, uint32_t *value) {
    uint32_t size = 0;
    const uint8_t *cell = boot_fdt_property(fdt, node, name, &size);
    if (cell == NULL || size != 4)
        return false;
    *value = load32(cell);
    return true;
}

bool boot_fdt_u64(const struct boot_fdt *fdt, uint32_t node, const char *name, uint64_t *value) {
    uint32_t size = 0;
    const uint8_t *cells = boot_fdt_property(fdt, node, name, &size);
    if (cells == NULL || size != 8)
        return false;
    *value = (uint64_t)load32(cells) << 32 | load32(cells + 4);
    return true;
}
