// SPDX-License-Identifier: Apache-2.0
// boot/boot_sections: finds the sections that tools/image appends, and survives any headers.
#include "boot/boot_sections.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_SIZE 0x4000u
#define PE_AT      0x80u
#define OPTIONAL   0xf0u // its size

static uint8_t image[IMAGE_SIZE];

static void put(uint32_t at, uint64_t value, uint32_t size) {
    memcpy(image + at, &value, size);
}

static void put_section(uint32_t index, const char *name, uint32_t address, uint32_t size) {
    uint32_t at = PE_AT + 24 + OPTIONAL + index * 40;
    memcpy(image + at, name, strlen(name));
    put(at + 8, size, 4);
    put(at + 12, address, 4);
}

// An image of three sections, as a firmware has loaded it.
static void make_image(void) {
    memset(image, 0, sizeof(image));
    memcpy(image, "MZ", 2);
    put(0x3c, PE_AT, 4);
    memcpy(image + PE_AT, "PE\0\0", 4);
    put(PE_AT + 6, 3, 2);
    put(PE_AT + 20, OPTIONAL, 2);
    put_section(0, ".text", 0x1000, 0x100);
    put_section(1, BOOT_SECTIONS_MANIFEST, 0x2000, 0x123);
    put_section(2, BOOT_SECTIONS_FILES, 0x3000, 0x1000);
}

static bool find(const char *name, struct boot_section *section) {
    return boot_sections_find(image, IMAGE_SIZE, name, section);
}

Test(boot_sections, are_found_by_name) {
    struct boot_section section;
    make_image();
    cr_assert(find(BOOT_SECTIONS_MANIFEST, &section));
    cr_assert_eq(section.data, image + 0x2000);
    cr_assert_eq(section.size, 0x123);
    cr_assert(find(BOOT_SECTIONS_FILES, &section)); // 8 characters, no NUL; up to the image's end
    cr_assert_eq(section.size, 0x1000);
    cr_assert_not(find(".bh", &section));
    cr_assert_not(find(".bhdtbs", &section));
    cr_assert_not(find(".bhfiles2", &section));
}

Test(boot_sections, beyond_the_image_are_none) {
    struct boot_section section;
    make_image();
    put_section(2, BOOT_SECTIONS_FILES, 0x3000, 0x1001);
    cr_assert_not(find(BOOT_SECTIONS_FILES, &section));
    put_section(2, BOOT_SECTIONS_FILES, UINT32_MAX, 1);
    cr_assert_not(find(BOOT_SECTIONS_FILES, &section));
    put_section(2, BOOT_SECTIONS_FILES, 1, UINT32_MAX);
    cr_assert_not(find(BOOT_SECTIONS_FILES, &section));
}

Test(boot_sections, need_a_pe_image) {
    struct boot_section section;
    make_image();
    image[1] = 'X';
    cr_assert_not(find(BOOT_SECTIONS_MANIFEST, &section));
    make_image();
    image[PE_AT] = 'X';
    cr_assert_not(find(BOOT_SECTIONS_MANIFEST, &section));
    make_image();
    put(0x3c, UINT32_MAX, 4);
    cr_assert_not(find(BOOT_SECTIONS_MANIFEST, &section));
}

// Copies of exactly that size, so that ASan sees a read behind them.
Test(boot_sections, any_headers_are_survived) {
    struct boot_section section;
    make_image();
    srand(3);
    for (uint32_t round = 0; round < 20000; round++) {
        size_t size = (size_t)rand() % 0x300 + 1;
        uint8_t *copy = malloc(size);
        memcpy(copy, image, size);
        for (int i = rand() % 4; i >= 0; i--)
            copy[(size_t)rand() % size] = (uint8_t)rand();
        if (boot_sections_find(copy, size, BOOT_SECTIONS_MANIFEST, &section)) {
            cr_assert_geq(section.data, copy);
            cr_assert_leq(section.data + section.size, copy + size);
        }
        free(copy);
    }
}

Test(boot_sections, next_file_is_aligned_and_never_wraps) {
    cr_assert_eq(boot_sections_next(0, 0), 0);
    cr_assert_eq(boot_sections_next(0, 1), 4096);
    cr_assert_eq(boot_sections_next(4096, 4096), 8192);
    cr_assert_eq(boot_sections_next(8192, 4097), 16384);
    cr_assert_eq(boot_sections_next(4096, UINT64_MAX), UINT64_MAX);
    cr_assert_eq(boot_sections_next(UINT64_MAX, 0), UINT64_MAX);
    cr_assert_eq(boot_sections_next(0, UINT64_MAX - 4095), UINT64_MAX);
}
