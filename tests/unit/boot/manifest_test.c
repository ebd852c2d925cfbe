// SPDX-License-Identifier: Apache-2.0
// boot/boot_manifest: a good manifest made with libfdt, and each single flaw in it.
#include "boot/boot_manifest.h"

#include <criterion/criterion.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "include/manifest.h"

static _Alignas(8) uint8_t blob[32768];
static struct boot_manifest manifest;
static const char *culprit;

// What the next manifest is like; tests change it.
static struct {
    const char *compatible;
    uint32_t version;
    const char *cmdline; // NULL: no node /host
    uint32_t count;
    const char *name[BOOT_MODULES_MAX + 1];
    const char *path;
    uint64_t size;
    bool has_crc;
} wanted;

static void reset(void) {
    memset(&wanted, 0, sizeof(wanted));
    wanted.compatible = MANIFEST_COMPATIBLE;
    wanted.version = MANIFEST_VERSION;
    wanted.cmdline = "a=b";
    wanted.count = 3;
    wanted.name[0] = "kernel.elf";
    wanted.name[1] = "supervisor.elf";
    wanted.name[2] = "vmm.elf";
    wanted.path = "\\bulkhead\\file";
    wanted.size = 1000;
    wanted.has_crc = true;
}

static void make_module(uint32_t index) {
    char node[16];
    snprintf(node, sizeof(node), "module@%u", index);
    fdt_begin_node(blob, node);
    if (wanted.name[index] != NULL)
        fdt_property_string(blob, "name-in-boot", wanted.name[index]);
    fdt_property_string(blob, "path", wanted.path);
    fdt_property_u64(blob, "size", wanted.size);
    if (wanted.has_crc)
        fdt_property_u32(blob, "crc32", 0xabcd0000u + index);
    fdt_end_node(blob);
}

static enum boot_manifest_error read_wanted(void) {
    cr_assert_eq(fdt_create(blob, sizeof(blob)), 0);
    fdt_finish_reservemap(blob);
    fdt_begin_node(blob, "");
    fdt_property_string(blob, "compatible", wanted.compatible);
    fdt_property_u32(blob, "version", wanted.version);
    if (wanted.cmdline != NULL) {
        fdt_begin_node(blob, "host");
        fdt_property_string(blob, "cmdline", wanted.cmdline);
        fdt_end_node(blob);
    }
    fdt_begin_node(blob, "modules");
    for (uint32_t i = 0; i < wanted.count; i++)
        make_module(i);
    fdt_end_node(blob);
    fdt_end_node(blob);
    cr_assert_eq(fdt_finish(blob), 0);
    return boot_manifest_read(&manifest, blob, fdt_totalsize(blob), &culprit);
}

#define REFUSED(change, error)                                                                     \
    do {                                                                                           \
        reset();                                                                                   \
        change;                                                                                    \
        cr_assert_eq(read_wanted(), error, "%s", #change);                                         \
    } while (0)

Test(boot_manifest, good_one_is_read) {
    reset();
    cr_assert_eq(read_wanted(), BOOT_MANIFEST_OK);
    cr_assert_str_eq(manifest.cmdline, "a=b");
    cr_assert_eq(manifest.module_count, 3u);
    cr_assert_eq(manifest.total_size, 3000u);
    cr_assert_str_eq(manifest.module[1].name, "supervisor.elf");
    cr_assert_str_eq(manifest.module[1].path, "\\bulkhead\\file");
    cr_assert_eq(manifest.module[2].crc32, 0xabcd0002u);
    cr_assert_null(culprit);
}

Test(boot_manifest, host_may_be_absent) {
    reset();
    wanted.cmdline = NULL;
    cr_assert_eq(read_wanted(), BOOT_MANIFEST_OK);
    cr_assert_str_eq(manifest.cmdline, "");
}

Test(boot_manifest, foreign_ones_are_refused) {
    cr_assert_eq(boot_manifest_read(&manifest, "xxxx", 4, &culprit), BOOT_MANIFEST_DAMAGED);
    REFUSED(wanted.compatible = "bulkhead", BOOT_MANIFEST_FOREIGN);
    REFUSED(wanted.version = 2, BOOT_MANIFEST_VERSION);
    cr_assert_eq(manifest.version, 2u);
}

Test(boot_manifest, bad_modules_are_refused) {
    static char long_path[BOOT_MANIFEST_PATH_MAX + 2];
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[0] = '\\';
    REFUSED(wanted.count = 0, BOOT_MANIFEST_ORDER);
    REFUSED(wanted.count = 1, BOOT_MANIFEST_ORDER);
    REFUSED(wanted.name[0] = "other", BOOT_MANIFEST_ORDER);
    REFUSED(wanted.name[1] = "other", BOOT_MANIFEST_ORDER);
    REFUSED(wanted.name[2] = "", BOOT_MANIFEST_NAME_LENGTH);
    REFUSED(wanted.name[2] = "kernel.elf", BOOT_MANIFEST_NAME_TWICE);
    REFUSED(wanted.name[2] = "manifest.dtb", BOOT_MANIFEST_NAME_TWICE);
    REFUSED(wanted.name[2] = NULL, BOOT_MANIFEST_INCOMPLETE);
    cr_assert_str_eq(culprit, "module@2");
    REFUSED(wanted.has_crc = false, BOOT_MANIFEST_INCOMPLETE);
    REFUSED(wanted.size = UINT64_MAX / 2, BOOT_MANIFEST_INCOMPLETE);
    REFUSED(wanted.path = "", BOOT_MANIFEST_PATH);
    REFUSED(wanted.path = "\\", BOOT_MANIFEST_PATH);
    REFUSED(wanted.path = "file", BOOT_MANIFEST_PATH);
    REFUSED(wanted.path = "\\f\xc3\xa4", BOOT_MANIFEST_PATH);
    REFUSED(wanted.path = long_path, BOOT_MANIFEST_PATH);
    REFUSED(wanted.path = long_path + 0 * (long_path[BOOT_MANIFEST_PATH_MAX] = 0),
            BOOT_MANIFEST_OK);
}

Test(boot_manifest, limits_are_kept) {
    static char names[BOOT_MODULES_MAX + 1][16];
    static char text[START_CMDLINE_MAX + 1];
    memset(text, 'n', START_CMDLINE_MAX);
    REFUSED(wanted.cmdline = text, BOOT_MANIFEST_CMDLINE);
    REFUSED(wanted.cmdline = text + 1, BOOT_MANIFEST_OK);
    REFUSED(wanted.name[2] = text + START_CMDLINE_MAX - 64, BOOT_MANIFEST_NAME_LENGTH);
    REFUSED(wanted.name[2] = text + START_CMDLINE_MAX - 63, BOOT_MANIFEST_OK);
    for (uint32_t extra = 0; extra < 2; extra++) {
        reset();
        wanted.count = BOOT_MODULES_MAX + extra;
        for (uint32_t i = 2; i < wanted.count; i++) {
            snprintf(names[i], sizeof(names[i]), "file-%u", i);
            wanted.name[i] = names[i];
        }
        cr_assert_eq(read_wanted(), extra == 0 ? BOOT_MANIFEST_OK : BOOT_MANIFEST_TOO_MANY);
    }
}

Test(boot_manifest, every_error_has_a_text_and_a_remedy) {
    for (int error = BOOT_MANIFEST_OK; error <= BOOT_MANIFEST_ORDER; error++) {
        cr_assert_gt(strlen(boot_manifest_error_text((enum boot_manifest_error)error)), 3u);
        cr_assert_gt(strlen(boot_manifest_error_remedy((enum boot_manifest_error)error)), 3u);
    }
}
