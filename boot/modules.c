// SPDX-License-Identifier: Apache-2.0
// The manifest and the modules that it names: into memory, and into boot_info and onto the start
// page in the manifest's order behind the manifest itself. kernel.elf and supervisor.elf, its
// first, are for kernel.c and supervisor.c.
#include "boot/boot_start.h"
#include "boot/loader.h"
#include "include/manifest.h"
#include "include/nodes.h"
#include "lib/string.h"

#define KIB          1024ull
#define FIRST_MODULE 2u // behind kernel.elf and supervisor.elf

EFI_STATUS modules_read_manifest(struct loader *loader) {
    struct file_contents contents;
    EFI_STATUS status =
        file_read(loader, LOADER_MANIFEST_PATH, NULL, BOOT_MEMORY_MODULE, &contents);
    if (EFI_ERROR(status))
        return status;
    const char *culprit;
    enum boot_manifest_error error =
        boot_manifest_read(&loader->manifest, contents.data, contents.size, &culprit);
    const char *text = boot_manifest_error_text(error);
    const char *remedy = boot_manifest_error_remedy(error);
    if (error == BOOT_MANIFEST_VERSION)
        return console_fail(EFI_INCOMPATIBLE_VERSION, "%s has version %u, this loader reads %u: %s",
                            LOADER_MANIFEST_PATH, loader->manifest.version, MANIFEST_VERSION,
                            remedy);
    if (error != BOOT_MANIFEST_OK && culprit != NULL)
        return console_fail(EFI_VOLUME_CORRUPTED, "%s %s (%s): %s", LOADER_MANIFEST_PATH, text,
                            culprit, remedy);
    if (error != BOOT_MANIFEST_OK)
        return console_fail(EFI_VOLUME_CORRUPTED, "%s %s: %s", LOADER_MANIFEST_PATH, text, remedy);
    boot_start_module(&loader->info, MANIFEST_MODULE_MANIFEST, contents.data, contents.size);
    console_print("Bulkhead boot: %u modules, %llu KiB\r\n", loader->manifest.module_count,
                  (loader->manifest.total_size + KIB - 1) / KIB);
    return EFI_SUCCESS;
}

EFI_STATUS modules_load(struct loader *loader) {
    for (uint32_t i = FIRST_MODULE; i < loader->manifest.module_count; i++) {
        const struct boot_manifest_module *module = &loader->manifest.module[i];
        struct file_contents contents;
        console_print("bulkhead: %s, %llu KiB\r\n", module->name, (module->size + KIB - 1) / KIB);
        EFI_STATUS status = file_read(loader, module->path, module, BOOT_MEMORY_MODULE, &contents);
        if (EFI_ERROR(status))
            return status;
        boot_start_module(&loader->info, module->name, contents.data, contents.size);
        clock_look();
    }
    return EFI_SUCCESS;
}

EFI_STATUS modules_add_nodes(struct loader *loader) {
    const uint64_t pages = (sizeof(struct nodes) + BOOT_PAGE - 1) / BOOT_PAGE;
    if (loader->info.platform->node_count < 2)
        return EFI_SUCCESS;
    uint64_t base = memory_alloc(pages, BOOT_PAGE, BOOT_MEMORY_MODULE);
    if (base == 0)
        return console_fail(EFI_OUT_OF_RESOURCES,
                            "too little memory for the table of nodes: give the machine more");
    loader->nodes = memset((void *)(uintptr_t)base, 0, pages * BOOT_PAGE);
    boot_start_module(&loader->info, NODES_MODULE, loader->nodes, sizeof(*loader->nodes));
    return EFI_SUCCESS;
}
