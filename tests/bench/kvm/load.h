// SPDX-License-Identifier: Apache-2.0
// What stands in a guest's memory before it starts: its kernel, page tables, zero page, and ACPI
// tables that name its processors. Any failure ends the program with a line that says why.
#pragma once

#include <stdint.h>

#define ZERO_PAGE   0x7000ul
#define PAGE_TABLES 0x9000ul // 4 GiB, identically; below it is a stack

struct guest {
    uint8_t *memory;
    uint64_t size;
    uint32_t vcpu_count;
    const char *kernel; // ELF-64 or bzImage, recognised by its content
    const char *initrd; // NULL: none
    const char *cmdline;
};

// Returns where the guest begins.
uint64_t guest_load(const struct guest *guest);
