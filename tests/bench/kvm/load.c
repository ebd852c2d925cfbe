// SPDX-License-Identifier: Apache-2.0
// The interface is told in load.h. Offsets of the zero page: Linux, Documentation/x86/boot.rst and
// zero-page.rst; tables: ACPI 6.5 chapter 5.2 "ACPI System Description Tables".
#include "load.h"

#include <elf.h>
#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define CMDLINE    0x1000ul
#define PAGE       4096ul
#define LARGE_PAGE (2ul << 20)
#define PTE_TABLE  0x3ul  // present, writable
#define PTE_LARGE  0x83ul // and a page of 2 MiB

enum zero_page_field {
    ZERO_RSDP = 0x070,
    ZERO_E820_COUNT = 0x1e8,
    ZERO_HEADER = 0x1f1,
    ZERO_MAGIC = 0x202,
    ZERO_LOADER = 0x210,
    ZERO_RAMDISK = 0x218,
    ZERO_RAMDISK_SIZE = 0x21c,
    ZERO_CMDLINE = 0x228,
    ZERO_PREFERRED = 0x258,
    ZERO_HEADER_END = 0x290,
    ZERO_E820 = 0x2d0,
};

#define HEADER_MAGIC  0x53726448u // "HdrS"
#define LOADER_OTHER  0xff
#define ENTRY_64      0x200
#define SECTOR        512u
#define LOW_END       0x9fc00ul
#define HIGH_BEGIN    0x100000ul
#define E820_RAM      1u
#define ACPI_TABLES   0xe0000ul
#define LOCAL_APIC    0xfee00000u
#define IOAPIC        0xfec00000u
#define NO_RTC        (1u << 5)
#define HW_REDUCED    (1u << 20)
#define FADT_BOOT     109
#define FADT_FLAGS    112
#define FADT_DSDT     140
#define FADT_SIZE     276
#define FADT_REVISION 6
#define RSDP_SIZE     36

static uint8_t file[64 << 20];

static size_t read_file(const char *path) {
    int fd = open(path, O_RDONLY);
    size_t size = 0;
    ssize_t got = -1;
    while (fd >= 0 && (got = read(fd, file + size, sizeof(file) - size)) > 0)
        size += (size_t)got;
    if (got < 0)
        err(1, "%s", path);
    close(fd);
    return size;
}

static void put(uint8_t *at, uint64_t value, size_t size) {
    memcpy(at, &value, size);
}

static void place(const struct guest *guest, uint64_t address, const uint8_t *data, size_t size) {
    if (address > guest->size || size > guest->size - address)
        errx(1, "%s does not fit", guest->kernel);
    memcpy(guest->memory + address, data, size);
}

static uint64_t load_elf(const struct guest *guest) {
    const Elf64_Ehdr *head = (const void *)file;
    const Elf64_Phdr *segment = (const void *)(file + head->e_phoff);
    for (int i = 0; i < head->e_phnum; i++) {
        if (segment[i].p_type == PT_LOAD)
            place(guest, segment[i].p_paddr, file + segment[i].p_offset, segment[i].p_filesz);
    }
    return head->e_entry;
}

static uint64_t load_linux(const struct guest *guest, size_t size) {
    uint8_t *zero = guest->memory + ZERO_PAGE;
    size_t setup = (file[ZERO_HEADER] + 1u) * SECTOR;
    uint32_t magic;
    uint64_t address;
    memcpy(&magic, file + ZERO_MAGIC, sizeof(magic));
    memcpy(&address, file + ZERO_PREFERRED, sizeof(address));
    if (magic != HEADER_MAGIC || setup >= size)
        errx(1, "%s is neither an ELF file nor a bzImage", guest->kernel);
    memcpy(zero + ZERO_HEADER, file + ZERO_HEADER, ZERO_HEADER_END - ZERO_HEADER);
    place(guest, address, file + setup, size - setup);
    zero[ZERO_LOADER] = LOADER_OTHER;
    return address + ENTRY_64;
}

static void load_initrd(const struct guest *guest) {
    size_t size = read_file(guest->initrd);
    uint64_t address = (guest->size - size) & ~(PAGE - 1);
    place(guest, address, file, size);
    put(guest->memory + ZERO_PAGE + ZERO_RAMDISK, address, 4);
    put(guest->memory + ZERO_PAGE + ZERO_RAMDISK_SIZE, size, 4);
}

static void make_page_tables(const struct guest *guest) {
    uint64_t *root = (void *)(guest->memory + PAGE_TABLES);
    uint64_t *pointers = root + 512, *directories = pointers + 512;
    root[0] = (PAGE_TABLES + PAGE) | PTE_TABLE;
    for (uint64_t i = 0; i < 4; i++)
        pointers[i] = (PAGE_TABLES + (2 + i) * PAGE) | PTE_TABLE;
    for (uint64_t i = 0; i < 4 * 512; i++)
        directories[i] = i * LARGE_PAGE | PTE_LARGE;
}

static void set_sum(uint8_t *at, size_t size, size_t field) {
    uint8_t sum = 0;
    at[field] = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + at[i]);
    at[field] = (uint8_t)-sum;
}

// Writes a table's head around what stands at its place already; returns where the next one goes.
static uint64_t make_table(const struct guest *guest, uint64_t at, const char *name,
                           uint8_t revision, size_t size) {
    uint8_t *table = guest->memory + at;
    memcpy(table, name, 4);
    put(table + 4, size, 4);
    table[8] = revision;
    memcpy(table + 10, "BENCH KVMRUN  ", 14);
    set_sum(table, size, 9);
    return (at + size + 15) & ~15ul;
}

// A machine without legacy devices: RSDP, XSDT, an empty DSDT, FADT, MADT with local APICs and an
// IOAPIC.
static void make_acpi(const struct guest *guest) {
    uint8_t *memory = guest->memory, *entry;
    uint64_t xsdt = ACPI_TABLES + 64, dsdt = xsdt + 64, fadt, madt;
    fadt = make_table(guest, dsdt, "DSDT", 2, 36);
    put(memory + fadt + FADT_BOOT, NO_RTC, 2);
    put(memory + fadt + FADT_FLAGS, HW_REDUCED, 4);
    put(memory + fadt + FADT_DSDT, dsdt, 8);
    madt = make_table(guest, fadt, "FACP", FADT_REVISION, FADT_SIZE);
    put(memory + madt + 36, LOCAL_APIC, 4);
    entry = memory + madt + 44;
    for (uint32_t i = 0; i < guest->vcpu_count; i++, entry += 8)
        memcpy(entry, (uint8_t[8]){0, 8, (uint8_t)i, (uint8_t)i, 1}, 8);
    memcpy(entry, (uint8_t[4]){1, 12}, 4);
    put(entry + 4, IOAPIC, 4);
    (void)make_table(guest, madt, "APIC", 5, (size_t)(entry + 12 - (memory + madt)));
    put(memory + xsdt + 36, fadt, 8);
    put(memory + xsdt + 44, madt, 8);
    (void)make_table(guest, xsdt, "XSDT", 1, 52);
    uint8_t *rsdp = memory + ACPI_TABLES;
    memcpy(rsdp, "RSD PTR \0BENCH \2", 16);
    put(rsdp + 20, RSDP_SIZE, 4);
    put(rsdp + 24, xsdt, 8);
    set_sum(rsdp, 20, 8);
    set_sum(rsdp, RSDP_SIZE, 32);
}

static void make_zero_page(const struct guest *guest) {
    uint8_t *zero = guest->memory + ZERO_PAGE, *ranges = zero + ZERO_E820;
    strcpy((char *)guest->memory + CMDLINE, guest->cmdline);
    put(zero + ZERO_CMDLINE, CMDLINE, 4);
    put(zero + ZERO_RSDP, ACPI_TABLES, 8);
    put(ranges + 8, LOW_END, 8);
    put(ranges + 16, E820_RAM, 4);
    put(ranges + 20, HIGH_BEGIN, 8);
    put(ranges + 28, guest->size - HIGH_BEGIN, 8);
    put(ranges + 36, E820_RAM, 4);
    zero[ZERO_E820_COUNT] = 2;
}

uint64_t guest_load(const struct guest *guest) {
    size_t size = read_file(guest->kernel);
    bool is_elf = memcmp(file, ELFMAG, SELFMAG) == 0;
    uint64_t entry = is_elf ? load_elf(guest) : load_linux(guest, size);
    make_page_tables(guest);
    make_zero_page(guest);
    make_acpi(guest);
    if (guest->initrd != NULL)
        load_initrd(guest);
    return entry;
}
