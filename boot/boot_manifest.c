// SPDX-License-Identifier: Apache-2.0
// Reading the manifest; the interface is told in boot_manifest.h. Nothing of the manifest is
// believed: tools/manifest checks the same things, but what lies on the disk may come from
// elsewhere.
#include "boot/boot_manifest.h"

#include <stddef.h>

#include "include/manifest.h"
#include "lib/string.h"

static bool path_is_valid(const char *path) {
    uint32_t length = 0;
    for (; path[length] != '\0'; length++) {
        if (length == BOOT_MANIFEST_PATH_MAX || path[length] < ' ' || path[length] > '~')
            return false;
    }
    return length > 1 && path[0] == '\\';
}

static bool name_is_taken(const struct boot_manifest *manifest, const char *name) {
    if (strcmp(name, MANIFEST_MODULE_MANIFEST) == 0)
        return true;
    for (uint32_t i = 0; i < manifest->module_count; i++) {
        if (strcmp(manifest->module[i].name, name) == 0)
            return true;
    }
    return false;
}

// Reads one module node into the next slot.
static enum boot_manifest_error read_module(struct boot_manifest *manifest,
                                            const struct boot_fdt *fdt, uint32_t node,
                                            const char **culprit) {
    static const char *const first[] = {MANIFEST_MODULE_KERNEL, MANIFEST_MODULE_SUPERVISOR};
    *culprit = boot_fdt_name(fdt, node);
    if (manifest->module_count == BOOT_MODULES_MAX)
        return BOOT_MANIFEST_TOO_MANY;
    struct boot_manifest_module module = {
        .name = boot_fdt_string(fdt, node, "name-in-boot"),
        .path = boot_fdt_string(fdt, node, "path"),
    };
    if (module.name == NULL || module.path == NULL ||
        !boot_fdt_u64(fdt, node, "size", &module.size) ||
        !boot_fdt_u32(fdt, node, "crc32", &module.crc32))
        return BOOT_MANIFEST_INCOMPLETE;
    *culprit = module.name;
    uint64_t length = strlen(module.name);
    if (length == 0 || length >= START_NAME_MAX)
        return BOOT_MANIFEST_NAME_LENGTH;
    if (!path_is_valid(module.path))
        return BOOT_MANIFEST_PATH;
    if (name_is_taken(manifest, module.name))
        return BOOT_MANIFEST_NAME_TWICE;
    if (manifest->module_count < sizeof(first) / sizeof(first[0]) &&
        strcmp(module.name, first[manifest->module_count]) != 0)
        return BOOT_MANIFEST_ORDER;
    if (module.size > UINT64_MAX - manifest->total_size)
        return BOOT_MANIFEST_INCOMPLETE;
    manifest->total_size += module.size;
    manifest->module[manifest->module_count++] = module;
    return BOOT_MANIFEST_OK;
}

static enum boot_manifest_error read_modules(struct boot_manifest *manifest,
                                             const struct boot_fdt *fdt, const char **culprit) {
    uint32_t modules = boot_fdt_child(fdt, BOOT_FDT_ROOT, "modules");
    for (uint32_t node = boot_fdt_first(fdt, modules); node != BOOT_FDT_NONE;
         node = boot_fdt_next(fdt, node)) {
        enum boot_manifest_error error = read_module(manifest, fdt, node, culprit);
        if (error != BOOT_MANIFEST_OK)
            return error;
    }
    *culprit = NULL;
    return manifest->module_count >= 2 ? BOOT_MANIFEST_OK : BOOT_MANIFEST_ORDER;
}

enum boot_manifest_error boot_manifest_read(struct boot_manifest *manifest, const void *blob,
                                            uint64_t size, const char **culprit) {
    struct boot_fdt fdt;
    *culprit = NULL;
    manifest->cmdline = "";
    manifest->total_size = 0;
    manifest->version = 0;
    manifest->module_count = 0;
    if (!boot_fdt_open(&fdt, blob, size))
        return BOOT_MANIFEST_DAMAGED;
    const char *compatible = boot_fdt_string(&fdt, BOOT_FDT_ROOT, "compatible");
    if (compatible == NULL || strcmp(compatible, MANIFEST_COMPATIBLE) != 0)
        return BOOT_MANIFEST_FOREIGN;
    if (!boot_fdt_u32(&fdt, BOOT_FDT_ROOT, "version", &manifest->version) ||
        manifest->version != MANIFEST_VERSION)
        return BOOT_MANIFEST_VERSION;
    const char *cmdline =
        boot_fdt_string(&fdt, boot_fdt_child(&fdt, BOOT_FDT_ROOT, "host"), "cmdline");
    if (cmdline != NULL)
        manifest->cmdline = cmdline;
    if (strlen(manifest->cmdline) >= START_CMDLINE_MAX)
        return BOOT_MANIFEST_CMDLINE;
    return read_modules(manifest, &fdt, culprit);
}

struct explanation {
    const char *text;
    const char *remedy;
};

static const struct explanation *explain(enum boot_manifest_error error) {
    static const char copy_again[] = "copy the image to the disk again";
    static const char same_version[] = "build the image with the tools of this version";
    static const struct explanation explanations[] = {
        [BOOT_MANIFEST_OK] = {"is fine", "nothing to do"},
        [BOOT_MANIFEST_DAMAGED] = {"is damaged", copy_again},
        [BOOT_MANIFEST_FOREIGN] = {"is no Bulkhead manifest", same_version},
        [BOOT_MANIFEST_VERSION] = {"has a version that this loader does not read", same_version},
        [BOOT_MANIFEST_CMDLINE] = {"has a host command line of more than 511 bytes", "shorten it"},
        [BOOT_MANIFEST_TOO_MANY] = {"names more than 128 modules", "use fewer files"},
        [BOOT_MANIFEST_INCOMPLETE] = {"lacks a property of a module", same_version},
        [BOOT_MANIFEST_NAME_LENGTH] = {"has a module name of 0 or more than 63 bytes",
                                       "give the file another name"},
        [BOOT_MANIFEST_NAME_TWICE] = {"has a module name twice", "give one another name"},
        [BOOT_MANIFEST_PATH] = {"has a module path that is no path", same_version},
        [BOOT_MANIFEST_ORDER] = {"does not begin with kernel.elf and supervisor.elf", same_version},
    };
    _Static_assert(START_CMDLINE_MAX == 512 && BOOT_MODULES_MAX == 128 && START_NAME_MAX == 64,
                   "the limits that the texts name");
    return &explanations[error];
}

const char *boot_manifest_error_text(enum boot_manifest_error error) {
    return explain(error)->text;
}

const char *boot_manifest_error_remedy(enum boot_manifest_error error) {
    return explain(error)->remedy;
}
