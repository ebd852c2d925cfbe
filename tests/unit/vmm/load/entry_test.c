// SPDX-License-Identifier: Apache-2.0
// Kernels with a PVH note, and what all protocols have in common.
#include "tests/unit/vmm/load/entry_support.h"

// ---- PVH ----------------------------------------------------------------------------------------

static void check_start_info(void) {
    cr_assert_eq(info(0, 4), 0x336ec578);
    cr_assert_eq(info(4, 4), 1);
    cr_assert_eq(info(12, 4), 1);
    uint64_t module = info(16, 8), map = info(40, 8);
    cr_assert_eq(load_get(ram + module, 8), MODULE);
    cr_assert_eq(load_get(ram + module + 8, 8), sizeof(initrd));
    cr_assert_str_eq(text(info(24, 8)), "a=b c");
    cr_assert_eq(info(32, 8), RSDP);
    cr_assert_eq(info(48, 4), 5);
    cr_assert_eq(load_get(ram + map + 3 * 24, 8), MIB);
    cr_assert_eq(load_get(ram + map + 3 * 24 + 8, 8), RAM - MIB);
    cr_assert_eq(load_get(ram + map + 3 * 24 + 16, 4), 1);
}

Test(vmm_load_entry, pvh_note_names_the_entry) {
    for (int is_64 = 0; is_64 < 2; is_64++)
        for (uint32_t size = 4; size <= 8; size += 4) {
            is_64 ? make_elf64() : make_elf32();
            field(24, is_64 ? 8 : 4, 0); // its own is not used
            put_note(is_64, "Xen", 18, BASE + 0x40, size);
            images.rsdp = RSDP;
            give_initrd();
            check_loaded(LOAD_PVH);
            check_start_info();
        }
}

Test(vmm_load_entry, linux_starts_in_64_bit_mode_all_the_same) {
    make_elf64();
    put_note(true, "Linux", 0x100, 0, 4);
    check_loaded(LOAD_LINUX);
    make_elf64();
    put_note(true, "Xen", 6, BASE + 0x40, 4); // another note of Xen's
    check_loaded(LOAD_LINUX);
}

Test(vmm_load_entry, bad_pvh_notes_are_none) {
    make_elf32();
    put_note(false, "Xen", 18, BASE + 0x40, 2);
    refused("ELF32", "PVH");
    make_elf32();
    put_note(false, "Xeo", 18, BASE + 0x40, 4);
    refused("ELF32", "PVH");
    make_elf32();
    put_note(false, "Xen", 18, BASE + MEMORY, 4);
    refused("kernel.img", "entry");
    for (uint32_t bytes = 0; bytes < 20; bytes++) { // cut within the note
        make_elf32();
        put_note(false, "Xen", 18, BASE + 0x40, 4);
        field(52 + 32 + 16, 4, bytes);
        refused("ELF32", "PVH");
    }
}

// ---- all of them --------------------------------------------------------------------------------

Test(vmm_load_entry, without_unrestricted_guest_they_are_refused_by_name) {
    make_elf64();
    put_multiboot(0);
    images.has_unrestricted_guest = false;
    refused("Multiboot", "unrestricted guest");
    make_elf64();
    put_multiboot2_of(6, 0, 8, 0);
    images.has_unrestricted_guest = false;
    refused("Multiboot 2", "unrestricted guest");
    make_elf64();
    put_note(true, "Xen", 18, BASE + 0x40, 4);
    images.has_unrestricted_guest = false;
    refused("PVH", "unrestricted guest");
    make_elf64();
    images.has_unrestricted_guest = false;
    check_loaded(LOAD_LINUX);
}

Test(vmm_load_entry, registers_are_those_of_the_32_bit_entries) {
    static const uint32_t magic[] = {
        [LOAD_MULTIBOOT] = 0x2badb002, [LOAD_MULTIBOOT2] = 0x36d76289, [LOAD_PVH] = 0};
    for (uint32_t protocol = LOAD_MULTIBOOT; protocol <= LOAD_PVH; protocol++) {
        struct vcpu_registers r;
        memset(&r, 0xff, sizeof(r));
        load_set_registers(&(struct load_entry){.rip = BASE, .protocol = protocol}, &r);
        cr_assert_eq(r.rip, BASE);
        cr_assert_eq(r.gpr[0], magic[protocol]);
        cr_assert_eq(r.gpr[3], LOAD_INFO);
        cr_assert_eq(r.rflags, 2);
        cr_assert_eq(r.cr0 & 0x80000001, 1);
        cr_assert_eq(r.cr4 | r.cr3 | r.efer, 0);
        cr_assert_eq(r.cs.attributes, 0xc09b);
        cr_assert_eq(r.cs.limit, UINT32_MAX);
        cr_assert_eq(r.ss.attributes, 0xc093);
        cr_assert_eq(r.tr.attributes, 0x8b);
        cr_assert_eq(r.tr.limit, 0x67);
    }
    make_elf32();
    put_multiboot(0);
    cr_assert(load());
    cr_assert_eq(load_get(ram + LOAD_GDT + 0x10, 8), 0x00cf9b000000ffff);
}

Test(vmm_load_entry, compressed_kernels_get_a_hint) {
    static const struct {
        const char *magic;
        size_t size;
        const char *name;
    } all[] = {{"\x1f\x8b\x08", 3, "gunzip"},
               {"\xfd"
                "7zXZ",
                6, "unxz"},
               {"\x28\xb5\x2f\xfd", 4, "unzstd"},
               {"BZh9", 4, "bunzip2"},
               {"\x04\x22\x4d\x18", 4, "unlz4"},
               {"\x02\x21\x4c\x18", 4, "unlz4"},
               {"\x89LZO", 4, "lzop"},
               {"\x5d\0\0", 3, "unlzma"}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        common();
        memcpy(file, all[i].magic, all[i].size);
        refused("kernel.img' is compressed", all[i].name);
        images.kernel_size = 1;
        refused("kernel.img", "neither");
    }
}

Test(vmm_load_entry, damaged_elf32_is_refused) {
    static const struct {
        uint32_t offset, size, value;
    } bad[] = {
        {5, 1, 2},           // big endian
        {18, 2, 62},         // x86-64
        {18, 2, 40},         // ARM
        {16, 2, 3},          // ET_DYN
        {28, 4, FILE_SIZE},  // headers beyond the file
        {28, 4, UINT32_MAX}, // far beyond it
        {40, 2, 64},         // e_ehsize
        {42, 2, 56},         // e_phentsize
        {44, 2, 0},          // no headers
        {44, 2, 0xffff},     // PN_XNUM
        {44, 2, 100},        // more than there is
        {52, 4, 0},          // nothing to load
        {56, 4, FILE_SIZE},  // segment beyond the file
        {68, 4, UINT32_MAX}, // file size
        {72, 4, 1},          // memory below file size
        {72, 4, TEXT_SIZE - 1},
        {60, 4, UINT32_MAX}, // its virtual addresses wrap, and nothing else is wrong
        {72, 4, UINT32_MAX}, // wraps
        {64, 4, 0x1000},     // below 1 MiB
        {64, 4, UINT32_MAX}, // wraps
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        make_elf32();
        put_multiboot(0);
        field(bad[i].offset, bad[i].size, bad[i].value);
        refused("kernel.img", "");
        cr_assert_gt(strlen(refusal.text), 20, "%zu", i);
    }
    for (uint64_t size = 4; size < FILE_SIZE; size++) {
        make_elf32();
        put_multiboot(0);
        images.kernel_size = size;
        refused("kernel.img", "");
    }
}

// All that a protocol tells fits its page, at the greatest lengths.
Test(vmm_load_entry, info_fits_its_page) {
    static char cmdline[2048], name[64];
    memset(cmdline, 'x', sizeof(cmdline) - 1);
    memset(name, 'y', sizeof(name) - 1);
    make_elf32();
    put_multiboot2_of(10, 0, 24, MIB);
    images.rsdp = RSDP;
    give_initrd();
    images.cmdline = cmdline;
    images.initrd_name = name;
    cr_assert(load(), "%s", refusal.text);
    cr_assert_neq(find_tag(21), 0);
    cr_assert_lt(info(0, 4), LOAD_INFO_SIZE - 0x200, "room to grow");
}
