// SPDX-License-Identifier: Apache-2.0
// Kernels with a Multiboot 1 or 2 header: what starts, and what is refused by name.
#include "tests/unit/vmm/load/entry_support.h"

// ---- Multiboot 1 --------------------------------------------------------------------------------

static void check_multiboot_info(void) {
    cr_assert_eq(info(0, 4) & 0x24d, 0x24d);
    cr_assert_eq(info(4, 4), 639);
    cr_assert_eq(info(8, 4), RAM / 1024 - 1024);
    cr_assert_str_eq(text(info(16, 4)), "a=b c");
    cr_assert_eq(info(20, 4), 1);
    uint64_t module = info(24, 4);
    cr_assert_eq(load_get(ram + module, 4), MODULE);
    cr_assert_eq(load_get(ram + module + 4, 4), MODULE + sizeof(initrd));
    cr_assert_str_eq(text(load_get(ram + module + 8, 4)), "modules.tar");
    cr_assert_arr_eq(ram + MODULE, initrd, sizeof(initrd));
    cr_assert_eq(info(44, 4), 5 * 24);
    uint64_t map = info(48, 4);
    cr_assert_eq(load_get(ram + map + 3 * 24, 4), 20);
    cr_assert_eq(load_get(ram + map + 3 * 24 + 4, 8), MIB);
    cr_assert_eq(load_get(ram + map + 3 * 24 + 12, 8), RAM - MIB);
    cr_assert_eq(load_get(ram + map + 3 * 24 + 20, 4), 1);
    cr_assert_str_eq(text(info(64, 4)), "Bulkhead");
}

Test(vmm_load_multiboot, multiboot_starts_both_sizes_of_elf) {
    for (int is_64 = 0; is_64 < 2; is_64++) {
        is_64 ? make_elf64() : make_elf32();
        put_multiboot(7);
        give_initrd();
        check_loaded(LOAD_MULTIBOOT);
        check_multiboot_info();
    }
}

Test(vmm_load_multiboot, no_module_is_none) {
    make_elf32();
    put_multiboot(0);
    check_loaded(LOAD_MULTIBOOT);
    cr_assert_eq(info(20, 4), 0);
}

Test(vmm_load_multiboot, multiboot_addresses_place_a_flat_file) {
    common();
    put_addresses(BASE, BASE, 0, BASE + MEMORY, BASE + 0x40);
    check_loaded(LOAD_MULTIBOOT);
    put_addresses(BASE + TEXT, BASE, BASE + FILE_SIZE - 16, 0, BASE + 8); // with what is before
    cr_assert(load(), "%s", refusal.text);
    cr_assert_eq(entry.rip, BASE + 8);
    cr_assert_arr_eq(ram + BASE, file, FILE_SIZE - 16);
    cr_assert_eq(ram[BASE + FILE_SIZE - 16], 0);
    make_elf64(); // they count more than the ELF header
    put_addresses(BASE + MIB, BASE + MIB, 0, 0, BASE + MIB);
    cr_assert(load(), "%s", refusal.text);
    cr_assert_eq(entry.rip, BASE + MIB);
}

Test(vmm_load_multiboot, impossible_multiboot_addresses_are_refused) {
    static const uint32_t bad[][5] = {
        {BASE, BASE + 4, 0, 0, BASE},                             // header before the load address
        {BASE + TEXT + 4, BASE, 0, 0, BASE},                      // would begin before the file
        {UINT32_MAX, 0, 0, 0, BASE},                              // likewise
        {BASE, BASE, BASE, 0, BASE},                              // nothing to load
        {BASE, BASE, BASE - 1, 0, BASE},                          // ends before it begins
        {BASE, BASE, BASE + 0x100, BASE + 0xff, BASE},            // bss within the file's part
        {BASE, BASE, 0, BASE - 1, BASE},                          // bss before it
        {BASE, BASE, BASE + TEXT_SIZE + 1, 0, BASE},              // beyond the file
        {BASE, BASE, UINT32_MAX, UINT32_MAX, BASE},               // far beyond it
        {0x9000, 0x9000, 0, 0, 0x9000},                           // below 1 MiB
        {RAM, RAM, 0, 0, RAM},                                    // beyond the RAM
        {BASE, BASE, 0, UINT32_MAX, BASE},                        // bss beyond it
        {BASE, BASE, 0, 0, BASE + TEXT_SIZE},                     // entry outside
        {BASE, BASE, 0, 0, 0},                                    // likewise
        {UINT32_MAX - 0xff, UINT32_MAX - 0xff, 0, 0, UINT32_MAX}, // at the end of the addresses
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        common();
        put_addresses(bad[i][0], bad[i][1], bad[i][2], bad[i][3], bad[i][4]);
        refused("kernel.img", "");
        cr_assert_gt(strlen(refusal.text), 20, "%zu", i);
    }
}

Test(vmm_load_multiboot, multiboot_requirements_are_met_or_refused) {
    for (uint32_t flag = 0; flag < 32; flag++) {
        make_elf32();
        put_multiboot(1u << flag);
        if (flag < 3 || flag > 16)
            cr_assert(load(), "flag %u: %s", flag, refusal.text);
        else if (flag < 16)
            refused("kernel.img", "requires");
    }
    common();
    put_multiboot(0);
    refused("without addresses", "no ELF");
}

Test(vmm_load_multiboot, damaged_multiboot_header_is_none) {
    make_elf32();
    put_multiboot(0);
    field(TEXT + 8, 4, 0);
    refused("ELF32", "without a Multiboot header");
    make_elf64();
    put_multiboot(0);
    field(TEXT + 8, 4, 0);
    check_loaded(LOAD_LINUX);
}

// ---- Multiboot 2 --------------------------------------------------------------------------------

static void check_multiboot2_info(void) {
    cr_assert_str_eq(text(LOAD_INFO + find_tag(1) + 8), "a=b c");
    cr_assert_str_eq(text(LOAD_INFO + find_tag(2) + 8), "Bulkhead");
    uint32_t module = find_tag(3), basic = find_tag(4), map = find_tag(6);
    cr_assert_eq(info(module + 8, 4), MODULE);
    cr_assert_eq(info(module + 12, 4), MODULE + sizeof(initrd));
    cr_assert_str_eq(text(LOAD_INFO + module + 16), "modules.tar");
    cr_assert_eq(info(basic + 8, 4), 639);
    cr_assert_eq(info(basic + 12, 4), RAM / 1024 - 1024);
    cr_assert_eq(info(map + 4, 4), 16 + 5 * 24);
    cr_assert_eq(info(map + 8, 4), 24);
    cr_assert_eq(info(map + 16 + 3 * 24, 8), MIB);
    cr_assert_eq(info(map + 16 + 3 * 24 + 8, 8), RAM - MIB);
    cr_assert_eq(info(map + 16 + 3 * 24 + 16, 4), 1);
    cr_assert_arr_eq(text(LOAD_INFO + find_tag(14) + 8), "RSD PTR is here, and", 20);
    cr_assert_arr_eq(text(LOAD_INFO + find_tag(15) + 8), ram + RSDP, 36);
    cr_assert_eq(find_tag(21), 0);
}

Test(vmm_load_multiboot, multiboot2_starts_both_sizes_of_elf) {
    for (int is_64 = 0; is_64 < 2; is_64++) {
        is_64 ? make_elf64() : make_elf32();
        put_multiboot2_of(6, 0, 8, 0);
        images.rsdp = RSDP;
        give_initrd();
        check_loaded(LOAD_MULTIBOOT2);
        check_multiboot2_info();
    }
}

Test(vmm_load_multiboot, multiboot2_addresses_and_entry) {
    common();
    memset(file + TEXT, 0, 64);
    uint32_t at = put_tag(16, 2, 0, 24, BASE);
    field(TEXT + 16 + 12, 4, BASE);
    field(TEXT + 16 + 20, 4, BASE + MEMORY);
    at = put_tag(at, 3, 0, 12, BASE + 0x40);
    put_multiboot2(put_tag(at, 0, 0, 8, 0));
    check_loaded(LOAD_MULTIBOOT2);
    make_elf32(); // an entry alone replaces that of the ELF header
    put_multiboot2_of(3, 0, 12, BASE + 0x80);
    cr_assert(load(), "%s", refusal.text);
    cr_assert_eq(entry.rip, BASE + 0x80);
    put_multiboot2_of(3, 0, 12, BASE + MEMORY);
    refused("kernel.img", "entry");
    put_multiboot2_of(10, 0, 24, MIB); // one that could lie elsewhere is told where it does
    cr_assert(load(), "%s", refusal.text);
    cr_assert_eq(info(find_tag(21) + 8, 4), BASE);
    common();
    put_multiboot2_of(6, 0, 8, 0);
    refused("without addresses", "no ELF");
}

Test(vmm_load_multiboot, multiboot2_requirements_are_met_or_refused) {
    static const struct {
        uint16_t type;
        uint32_t size, value;
        bool is_refused;
    } tags[] = {
        {1, 12, 6, false}, {1, 12, 8, false}, {1, 12, 22, true}, {4, 12, 2, false},
        {4, 12, 3, true},  {5, 20, 0, false}, {6, 8, 0, false},  {7, 8, 0, true},
        {8, 12, 0, false}, {9, 12, 0, false}, {11, 8, 0, true},  {0x8000, 8, 0, true},
    };
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
        for (uint16_t is_optional = 0; is_optional < 2; is_optional++) {
            make_elf32();
            put_multiboot2_of(tags[i].type, is_optional, tags[i].size, tags[i].value);
            if (tags[i].is_refused && !is_optional)
                refused("kernel.img", "requires");
            else
                cr_assert(load(), "%zu: %s", i, refusal.text);
        }
}

Test(vmm_load_multiboot, malformed_multiboot2_headers_are_refused) {
    make_elf32();
    put_multiboot2_of(6, 0, 8, 0);
    field(TEXT + 4, 4, 4); // MIPS
    field(TEXT + 12, 4, 0u - 0xe85250d6u - 4 - 32);
    refused("kernel.img", "not for x86");
    static const uint32_t lengths[] = {0, 15, 16, 24, TEXT_SIZE + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        make_elf32();
        put_multiboot2_of(6, 0, 8, 0);
        put_multiboot2(lengths[i]);
        refused("kernel.img", "Multiboot 2 header");
    }
    static const uint32_t sizes[] = {0, 7, 16, 0x1000, UINT32_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        make_elf32();
        put_multiboot2_of(2, 0, 8, 0);
        field(TEXT + 16 + 4, 4, sizes[i]);
        refused("kernel.img", "Multiboot 2 header");
    }
}

Test(vmm_load_multiboot, multiboot2_comes_before_multiboot) {
    make_elf32();
    put_multiboot2_of(6, 0, 8, 0);
    memcpy(file + TEXT + 0x80, "\x02\xb0\xad\x1b\0\0\0\0\xfe\x4f\x52\xe4", 12);
    check_loaded(LOAD_MULTIBOOT2);
    field(TEXT, 4, 0);
    check_loaded(LOAD_MULTIBOOT);
}
