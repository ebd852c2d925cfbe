// SPDX-License-Identifier: Apache-2.0
// vmm/load: kernels that Multiboot 1 and 2 and PVH start, in ELF32, ELF64 and flat files; and each
// flaw of their headers. The file lies in a block of exactly its size, so that the sanitizers see a
// read past its end.
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

static void field(uint32_t offset, unsigned size, uint64_t value) {
    load_put(file + offset, size, value);
}

static void common(void) {
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

static void make_elf64(void) {
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

static void make_elf32(void) {
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

static void put_multiboot(uint32_t flags) {
    field(TEXT, 4, 0x1badb002);
    field(TEXT + 4, 4, flags);
    field(TEXT + 8, 4, 0u - 0x1badb002u - flags);
}

// With the address fields of a flat file.
static void put_addresses(uint32_t header, uint32_t load, uint32_t load_end, uint32_t bss_end,
                          uint32_t start) {
    put_multiboot(1u << 16);
    field(TEXT + 12, 4, header);
    field(TEXT + 16, 4, load);
    field(TEXT + 20, 4, load_end);
    field(TEXT + 24, 4, bss_end);
    field(TEXT + 28, 4, start);
}

static void put_multiboot2(uint32_t length) {
    field(TEXT, 4, 0xe85250d6);
    field(TEXT + 4, 4, 0);
    field(TEXT + 8, 4, length);
    field(TEXT + 12, 4, 0u - 0xe85250d6u - length);
}

// A header tag at this offset from the header; returns where the next one goes.
static uint32_t put_tag(uint32_t at, uint16_t type, uint16_t flags, uint32_t size, uint32_t value) {
    field(TEXT + at, 2, type);
    field(TEXT + at + 2, 2, flags);
    field(TEXT + at + 4, 4, size);
    if (size >= 12)
        field(TEXT + at + 8, 4, value);
    return (at + size + 7) & ~7u;
}

// A header of one tag, and the end.
static void put_multiboot2_of(uint16_t type, uint16_t flags, uint32_t size, uint32_t value) {
    memset(file + TEXT, 0, 64);
    uint32_t at = put_tag(16, type, flags, size, value);
    put_multiboot2(put_tag(at, 0, 0, 8, 0));
}

// A note within the segment, in a PT_NOTE of its own.
static void put_note(bool is_64, const char *owner, uint32_t type, uint64_t value, uint32_t size) {
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

static bool load(void) {
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

static void refused(const char *first, const char *second) {
    cr_assert_not(load());
    cr_assert(strstr(refusal.text, first), "'%s' lacks '%s'", refusal.text, first);
    cr_assert(strstr(refusal.text, second), "'%s' lacks '%s'", refusal.text, second);
    cr_assert_null(strchr(refusal.text, '\n'));
}

static void give_initrd(void) {
    images.initrd = initrd;
    images.initrd_size = sizeof(initrd);
}

static uint64_t info(uint32_t offset, unsigned size) {
    return load_get(ram + LOAD_INFO + offset, size);
}

static const char *text(uint64_t gpa) {
    return (const char *)ram + gpa;
}

#define MODULE ((BASE + MEMORY + 0xfff) & ~0xfffULL) // behind the kernel

static void check_loaded(enum load_protocol protocol) {
    cr_assert(load(), "%s", refusal.text);
    cr_assert_eq(entry.protocol, protocol);
    cr_assert_eq(entry.rip, BASE + 0x40);
    cr_assert_arr_eq(ram + BASE, file + TEXT, TEXT_SIZE);
    cr_assert_eq(ram[BASE + TEXT_SIZE], 0);
}

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

Test(vmm_load_entry, multiboot_starts_both_sizes_of_elf) {
    for (int is_64 = 0; is_64 < 2; is_64++) {
        is_64 ? make_elf64() : make_elf32();
        put_multiboot(7);
        give_initrd();
        check_loaded(LOAD_MULTIBOOT);
        check_multiboot_info();
    }
}

Test(vmm_load_entry, no_module_is_none) {
    make_elf32();
    put_multiboot(0);
    check_loaded(LOAD_MULTIBOOT);
    cr_assert_eq(info(20, 4), 0);
}

Test(vmm_load_entry, multiboot_addresses_place_a_flat_file) {
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

Test(vmm_load_entry, impossible_multiboot_addresses_are_refused) {
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

Test(vmm_load_entry, multiboot_requirements_are_met_or_refused) {
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

Test(vmm_load_entry, damaged_multiboot_header_is_none) {
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

// The tag of this type; 0: there is none. All tags lie in the total size.
static uint32_t find_tag(uint32_t type) {
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

Test(vmm_load_entry, multiboot2_starts_both_sizes_of_elf) {
    for (int is_64 = 0; is_64 < 2; is_64++) {
        is_64 ? make_elf64() : make_elf32();
        put_multiboot2_of(6, 0, 8, 0);
        images.rsdp = RSDP;
        give_initrd();
        check_loaded(LOAD_MULTIBOOT2);
        check_multiboot2_info();
    }
}

Test(vmm_load_entry, multiboot2_addresses_and_entry) {
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

Test(vmm_load_entry, multiboot2_requirements_are_met_or_refused) {
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

Test(vmm_load_entry, malformed_multiboot2_headers_are_refused) {
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

Test(vmm_load_entry, multiboot2_comes_before_multiboot) {
    make_elf32();
    put_multiboot2_of(6, 0, 8, 0);
    memcpy(file + TEXT + 0x80, "\x02\xb0\xad\x1b\0\0\0\0\xfe\x4f\x52\xe4", 12);
    check_loaded(LOAD_MULTIBOOT2);
    field(TEXT, 4, 0);
    check_loaded(LOAD_MULTIBOOT);
}

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
