// SPDX-License-Identifier: Apache-2.0
// Kernels made by hand for the tests of the protocols they are started by, and what was loaded.
#pragma once

#include "vmm/load/load.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define MIB       (1ULL << 20)
#define RAM       (8 * MIB)
#define BASE      (2 * MIB)
#define TEXT      0x200u // offset of the segment in the file; headers stand at its beginning
#define TEXT_SIZE 0x200u
#define MEMORY    0x3000u // of the segment
#define FILE_SIZE (TEXT + TEXT_SIZE)
#define RSDP      0xe0000u

static uint8_t ram[RAM];
static uint8_t file[FILE_SIZE];
static struct memory memory;
static struct load_images images;
static struct load_entry entry;
static struct load_refusal refusal;
static uint8_t initrd[5000];

static inline void field(uint32_t offset, unsigned size, uint64_t value) {
    load_put(file + offset, size, value);
}

static inline void common(void) {
    memset(file, 0, sizeof(file));
    for (uint32_t i = 0; i < TEXT_SIZE; i++)
        file[TEXT + i] = (uint8_t)(i * 7 + 1);
    memset(initrd, 0x5a, sizeof(initrd));
    images = (struct load_images){.kernel_size = FILE_SIZE,
                                  .kernel_name = "kernel.img",
                                  .initrd_name = "modules.tar",
                                  .cmdline = "a=b c",
                                  .has_unrestricted_guest = true};
}

static inline void make_elf64(void) {
    common();
    memcpy(file, "\177ELF\2\1\1", 7);
    field(16, 2, 2);
    field(18, 2, 62);
    field(20, 4, 1);
    field(24, 8, BASE + 0x40);
    field(32, 8, 64);
    field(52, 2, 64);
    field(54, 2, 56);
    field(56, 2, 1);
    field(64, 4, 1); // PT_LOAD
    field(72, 8, TEXT);
    field(80, 8, BASE);
    field(88, 8, BASE);
    field(96, 8, TEXT_SIZE);
    field(104, 8, MEMORY);
}

static inline void make_elf32(void) {
    common();
    memcpy(file, "\177ELF\1\1\1", 7);
    field(16, 2, 2);
    field(18, 2, 3);
    field(20, 4, 1);
    field(24, 4, BASE + 0x40);
    field(28, 4, 52);
    field(40, 2, 52);
    field(42, 2, 32);
    field(44, 2, 1);
    field(52, 4, 1); // PT_LOAD
    field(56, 4, TEXT);
    field(60, 4, BASE);
    field(64, 4, BASE);
    field(68, 4, TEXT_SIZE);
    field(72, 4, MEMORY);
}

static inline void put_multiboot(uint32_t flags) {
    field(TEXT, 4, 0x1badb002);
    field(TEXT + 4, 4, flags);
    field(TEXT + 8, 4, 0u - 0x1badb002u - flags);
}

// With the address fields of a flat file.
static inline void put_addresses(uint32_t header, uint32_t load, uint32_t load_end,
                                 uint32_t bss_end, uint32_t start) {
    put_multiboot(1u << 16);
    field(TEXT + 12, 4, header);
    field(TEXT + 16, 4, load);
    field(TEXT + 20, 4, load_end);
    field(TEXT + 24, 4, bss_end);
    field(TEXT + 28, 4, start);
}

static inline void put_multiboot2(uint32_t length) {
    field(TEXT, 4, 0xe85250d6);
    field(TEXT + 4, 4, 0);
    field(TEXT + 8, 4, length);
    field(TEXT + 12, 4, 0u - 0xe85250d6u - length);
}

// A header tag at this offset from the header; returns where the next one goes.
static inline uint32_t put_tag(uint32_t at, uint16_t type, uint16_t flags, uint32_t size,
                               uint32_t value) {
    field(TEXT + at, 2, type);
    field(TEXT + at + 2, 2, flags);
    field(TEXT + at + 4, 4, size);
    if (size >= 12)
        field(TEXT + at + 8, 4, value);
    return (at + size + 7) & ~7u;
}

// A header of one tag, and the end.
static inline void put_multiboot2_of(uint16_t type, uint16_t flags, uint32_t size, uint32_t value) {
    memset(file + TEXT, 0, 64);
    uint32_t at = put_tag(16, type, flags, size, value);
    put_multiboot2(put_tag(at, 0, 0, 8, 0));
}

// A note within the segment, in a PT_NOTE of its own.
static inline void put_note(bool is_64, const char *owner, uint32_t type, uint64_t value,
                            uint32_t size) {
    uint32_t at = TEXT + 0x100, head = is_64 ? 64 + 56 : 52 + 32;
    uint32_t name_size = (uint32_t)strlen(owner) + 1, desc = 12 + ((name_size + 3) & ~3u);
    field(at, 4, name_size);
    field(at + 4, 4, size);
    field(at + 8, 4, type);
    memcpy(file + at + 12, owner, name_size);
    field(at + desc, size, value);
    field(head, 4, 4); // PT_NOTE
    field(head + (is_64 ? 8 : 4), is_64 ? 8 : 4, at);
    field(head + (is_64 ? 32 : 16), is_64 ? 8 : 4, desc + size);
    field(is_64 ? 56 : 44, 2, 2);
}

static inline bool load(void) {
    uint8_t *exact = malloc(images.kernel_size);
    memcpy(exact, file, images.kernel_size);
    memset(ram, 0, sizeof(ram));
    memcpy(ram + RSDP, "RSD PTR is here, and has 36 bytes...", 36);
    memory_init(&memory, ram, RAM);
    images.kernel = exact;
    refusal.text[0] = '\0';
    bool is_loaded = load_guest(&memory, &images, &entry, &refusal);
    free(exact);
    return is_loaded;
}

static inline void refused(const char *first, const char *second) {
    cr_assert_not(load());
    cr_assert(strstr(refusal.text, first), "'%s' lacks '%s'", refusal.text, first);
    cr_assert(strstr(refusal.text, second), "'%s' lacks '%s'", refusal.text, second);
    cr_assert_null(strchr(refusal.text, '\n'));
}

static inline void give_initrd(void) {
    images.initrd = initrd;
    images.initrd_size = sizeof(initrd);
}

static inline uint64_t info(uint32_t offset, unsigned size) {
    return load_get(ram + LOAD_INFO + offset, size);
}

static inline const char *text(uint64_t gpa) {
    return (const char *)ram + gpa;
}

#define MODULE ((BASE + MEMORY + 0xfff) & ~0xfffULL) // behind the kernel

static inline void check_loaded(enum load_protocol protocol) {
    cr_assert(load(), "%s", refusal.text);
    cr_assert_eq(entry.protocol, protocol);
    cr_assert_eq(entry.rip, BASE + 0x40);
    cr_assert_arr_eq(ram + BASE, file + TEXT, TEXT_SIZE);
    cr_assert_eq(ram[BASE + TEXT_SIZE], 0);
}

// The tag of this type; 0: there is none. All tags lie in the total size.
static inline uint32_t find_tag(uint32_t type) {
    uint32_t total = (uint32_t)info(0, 4), found = 0, at = 8;
    for (;; at = (at + (uint32_t)info(at + 4, 4) + 7) & ~7u) {
        cr_assert_lt(at, total);
        cr_assert_geq(info(at + 4, 4), 8);
        if (info(at, 4) == type)
            found = at;
        if (info(at, 4) == 0)
            break;
    }
    cr_assert_eq(at + 8, total);
    return found;
}
