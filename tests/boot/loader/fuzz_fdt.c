// SPDX-License-Identifier: Apache-2.0
// libFuzzer: the device-tree reader of boot/ against libfdt. Whatever ours accepts libfdt accepts
// as well, and both see the same nodes and the same properties; then the manifest reader runs over
// it.
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "boot/boot_fdt.h"
#include "boot/boot_manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int is_true) {
    if (!is_true)
        abort();
}

static void compare_properties(const struct boot_fdt *ours, uint32_t node, const void *theirs,
                               int offset) {
    int property;
    fdt_for_each_property_offset(property, theirs, offset) {
        const char *name;
        int length;
        uint32_t size;
        require(fdt_getprop_by_offset(theirs, property, &name, &length) != NULL);
        const void *first = fdt_getprop(theirs, offset, name, &length);
        require(boot_fdt_property(ours, node, name, &size) == first && size == (uint32_t)length);
    }
}

static void compare_nodes(const struct boot_fdt *ours, uint32_t node, const void *theirs,
                          int offset) {
    require(strcmp(boot_fdt_name(ours, node), fdt_get_name(theirs, offset, NULL)) == 0);
    compare_properties(ours, node, theirs, offset);
    uint32_t child = boot_fdt_first(ours, node);
    int their_child;
    fdt_for_each_subnode(their_child, theirs, offset) {
        require(child != BOOT_FDT_NONE);
        compare_nodes(ours, child, theirs, their_child);
        child = boot_fdt_next(ours, child);
    }
    require(child == BOOT_FDT_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct boot_fdt fdt;
    static struct boot_manifest manifest;
    const char *culprit;
    uint8_t *blob = aligned_alloc(8, (size + 8) & ~(size_t)7);
    memcpy(blob, data, size);
    if (boot_fdt_open(&fdt, blob, size)) {
        require(fdt_check_full(blob, size) == 0);
        compare_nodes(&fdt, BOOT_FDT_ROOT, blob, 0);
        boot_manifest_read(&manifest, blob, size, &culprit);
    }
    free(blob);
    return 0;
}
