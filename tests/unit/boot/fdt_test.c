// SPDX-License-Identifier: Apache-2.0
// boot/boot_fdt: trees made by libfdt, read by both, then every byte of one broken in turn. What
// our reader accepts libfdt must accept as well. tests/boot/loader/fuzz_fdt.c does the same with
// libFuzzer.
#include "boot/boot_fdt.h"

#include <criterion/criterion.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

static _Alignas(8) uint8_t blob[1024];

// A tree with all that the reader meets: empty values, unit addresses, siblings, depth.
static void make_tree(void) {
    cr_assert_eq(fdt_create(blob, sizeof(blob)), 0);
    fdt_finish_reservemap(blob);
    fdt_begin_node(blob, "");
    fdt_property_string(blob, "compatible", "bulkhead,manifest");
    fdt_property_u32(blob, "version", 1);
    fdt_begin_node(blob, "modules");
    for (uint32_t i = 0; i < 3; i++) {
        static const char *const names[] = {"module@0", "module@1", "module@2"};
        fdt_begin_node(blob, names[i]);
        fdt_property_u64(blob, "size", 0x100000000ull + i);
        fdt_property(blob, "two", "a\0b", 4);
        fdt_property(blob, "open", "abc", 3);
        fdt_property(blob, "empty", NULL, 0);
        fdt_begin_node(blob, "inner");
        fdt_end_node(blob);
        fdt_end_node(blob);
    }
    fdt_end_node(blob);
    fdt_begin_node(blob, "last");
    fdt_end_node(blob);
    fdt_end_node(blob);
    cr_assert_eq(fdt_finish(blob), 0);
}

Test(boot_fdt, tree_is_walked) {
    struct boot_fdt fdt;
    make_tree();
    cr_assert(boot_fdt_open(&fdt, blob, sizeof(blob)));
    cr_assert_eq(fdt.total_size, fdt_totalsize(blob));
    cr_assert_str_eq(boot_fdt_name(&fdt, BOOT_FDT_ROOT), "");
    uint32_t modules = boot_fdt_child(&fdt, BOOT_FDT_ROOT, "modules");
    uint32_t node = boot_fdt_first(&fdt, modules);
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t size;
        cr_assert(boot_fdt_u64(&fdt, node, "size", &size));
        cr_assert_eq(size, 0x100000000ull + i);
        cr_assert_eq(boot_fdt_name(&fdt, node)[7], (char)('0' + i));
        node = boot_fdt_next(&fdt, node);
    }
    cr_assert_eq(node, BOOT_FDT_NONE);
    cr_assert_str_eq(boot_fdt_name(&fdt, boot_fdt_next(&fdt, modules)), "last");
    cr_assert_eq(boot_fdt_next(&fdt, BOOT_FDT_ROOT), BOOT_FDT_NONE);
}

Test(boot_fdt, absence_is_told) {
    struct boot_fdt fdt;
    uint32_t size;
    make_tree();
    cr_assert(boot_fdt_open(&fdt, blob, sizeof(blob)));
    cr_assert_eq(boot_fdt_child(&fdt, BOOT_FDT_ROOT, "module"), BOOT_FDT_NONE);
    cr_assert_eq(boot_fdt_child(&fdt, BOOT_FDT_ROOT, "module@0"), BOOT_FDT_NONE);
    cr_assert_eq(boot_fdt_first(&fdt, boot_fdt_child(&fdt, BOOT_FDT_ROOT, "last")), BOOT_FDT_NONE);
    cr_assert_eq(boot_fdt_first(&fdt, BOOT_FDT_NONE), BOOT_FDT_NONE);
    cr_assert_eq(boot_fdt_next(&fdt, BOOT_FDT_NONE), BOOT_FDT_NONE);
    cr_assert_null(boot_fdt_name(&fdt, BOOT_FDT_NONE));
    cr_assert_null(boot_fdt_property(&fdt, BOOT_FDT_ROOT, "size", &size));
    cr_assert_null(boot_fdt_property(&fdt, BOOT_FDT_NONE, "size", &size));
}

Test(boot_fdt, types_are_exact) {
    struct boot_fdt fdt;
    uint32_t cell;
    uint64_t cells;
    make_tree();
    cr_assert(boot_fdt_open(&fdt, blob, sizeof(blob)));
    uint32_t node = boot_fdt_first(&fdt, boot_fdt_child(&fdt, BOOT_FDT_ROOT, "modules"));
    cr_assert_str_eq(boot_fdt_string(&fdt, BOOT_FDT_ROOT, "compatible"), "bulkhead,manifest");
    cr_assert(boot_fdt_u32(&fdt, BOOT_FDT_ROOT, "version", &cell));
    cr_assert_eq(cell, 1u);
    cr_assert_not(boot_fdt_u32(&fdt, node, "size", &cell));
    cr_assert_not(boot_fdt_u64(&fdt, BOOT_FDT_ROOT, "version", &cells));
    cr_assert_null(boot_fdt_string(&fdt, node, "two"));
    cr_assert_null(boot_fdt_string(&fdt, node, "open"));
    cr_assert_null(boot_fdt_string(&fdt, node, "empty"));
    cr_assert_null(boot_fdt_string(&fdt, node, "none"));
}

Test(boot_fdt, every_truncation_is_refused) {
    struct boot_fdt fdt;
    make_tree();
    for (uint32_t size = 0; size < fdt_totalsize(blob); size++) {
        uint8_t *copy = malloc(size > 0 ? size : 1);
        memcpy(copy, blob, size);
        cr_assert_not(boot_fdt_open(&fdt, copy, size), "at %u", size);
        free(copy);
    }
}

// Walks a whole tree, so that the sanitizers see every access.
static void touch(const struct boot_fdt *fdt, uint32_t node) {
    uint32_t size;
    boot_fdt_property(fdt, node, "no such name", &size);
    boot_fdt_string(fdt, node, "two");
    for (uint32_t child = boot_fdt_first(fdt, node); child != BOOT_FDT_NONE;
         child = boot_fdt_next(fdt, child))
        touch(fdt, child);
}

Test(boot_fdt, any_broken_byte_is_survived) {
    make_tree();
    uint32_t size = fdt_totalsize(blob);
    uint8_t *copy = aligned_alloc(8, (size + 7) & ~7u);
    for (uint32_t at = 0; at < size; at++) {
        static const uint8_t values[] = {0, 1, 2, 3, 4, 9, 0x7f, 0x80, 0xff};
        for (uint32_t i = 0; i < sizeof(values); i++) {
            struct boot_fdt fdt;
            memcpy(copy, blob, size);
            copy[at] = values[i];
            if (!boot_fdt_open(&fdt, copy, size))
                continue;
            cr_assert_eq(fdt_check_full(copy, size), 0, "byte %u = %u", at, values[i]);
            touch(&fdt, BOOT_FDT_ROOT);
        }
    }
    free(copy);
}
