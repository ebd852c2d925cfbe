// SPDX-License-Identifier: Apache-2.0
// The sections of our own image, as the firmware loaded it. One that brings everything with it,
// for PXE and HTTP boot, has two that tools/image appended:
//
//     .bhdtb      the compiled manifest
//     .bhfiles    the files that it names, in its order, each from a multiple of
//                 BOOT_SECTIONS_ALIGN
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BOOT_SECTIONS_MANIFEST ".bhdtb"
#define BOOT_SECTIONS_FILES    ".bhfiles"
#define BOOT_SECTIONS_ALIGN    4096u

struct boot_section {
    const uint8_t *data;
    uint64_t size; // bytes
};

// Finds the section called `name` (at most 8 characters) in the `size` bytes at `image`. False: the
// image has none, or is no PE image whose section lies within it.
bool boot_sections_find(const void *image, uint64_t size, const char *name,
                        struct boot_section *section);

// Where in the section of files the next one lies, behind one of `size` bytes at `offset`.
// UINT64_MAX: nowhere.
uint64_t boot_sections_next(uint64_t offset, uint64_t size);
