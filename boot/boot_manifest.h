// SPDX-License-Identifier: Apache-2.0
// What the boot application wants to know from the compiled manifest: the command line of the host
// and the modules. The bindings are in include/manifest.h; virtual machines are the supervisor's
// business.
#pragma once

#include <stdint.h>

#include "boot/boot_fdt.h"
#include "include/boot.h"
#include "include/start.h"

#define BOOT_MANIFEST_PATH_MAX 255u

enum boot_manifest_error {
    BOOT_MANIFEST_OK = 0,
    BOOT_MANIFEST_DAMAGED,     // no well-formed device tree
    BOOT_MANIFEST_FOREIGN,     // `compatible` is another
    BOOT_MANIFEST_VERSION,     // `version` is another
    BOOT_MANIFEST_CMDLINE,     // the command line is longer than START_CMDLINE_MAX - 1
    BOOT_MANIFEST_TOO_MANY,    // more modules than BOOT_MODULES_MAX
    BOOT_MANIFEST_INCOMPLETE,  // a module lacks a property, or it has another type
    BOOT_MANIFEST_NAME_LENGTH, // a module's name is empty or longer than START_NAME_MAX - 1
    BOOT_MANIFEST_NAME_TWICE,  // two modules have one name
    BOOT_MANIFEST_PATH,        // a path is not absolute printable ASCII of BOOT_MANIFEST_PATH_MAX
    BOOT_MANIFEST_ORDER,       // the first two are not kernel.elf and supervisor.elf
};

struct boot_manifest_module {
    const char *name;
    const char *path; // with backslashes, as UEFI wants it
    uint64_t size;    // bytes
    uint32_t crc32;
};

// Strings point into the device tree.
struct boot_manifest {
    const char *cmdline; // "" when there is none
    uint64_t total_size; // of all modules, bytes
    uint32_t version;    // what the manifest says, for the message
    uint32_t module_count;
    struct boot_manifest_module module[BOOT_MODULES_MAX]; // [0] is the kernel
};

// Reads a device tree of `size` bytes at `blob` (aligned to 4). On an error *culprit names the
// module it is about, or is NULL.
enum boot_manifest_error boot_manifest_read(struct boot_manifest *manifest, const void *blob,
                                            uint64_t size, const char **culprit);

// A few words for people, such as "is damaged", and what to do about it.
const char *boot_manifest_error_text(enum boot_manifest_error error);
const char *boot_manifest_error_remedy(enum boot_manifest_error error);
