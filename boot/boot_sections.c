// SPDX-License-Identifier: Apache-2.0
// Reading PE headers; the interface is told in boot_sections.h. PE Format (Microsoft), "MS-DOS
// Stub", "COFF File Header", "Section Table".
#include "boot/boot_sections.h"

#include <stddef.h>

#include "lib/string.h"

#define DOS_MAGIC   0x5a4du     // "MZ"
#define PE_MAGIC    0x00004550u // "PE\0\0"
#define DOS_PE_AT   0x3cu       // where the offset of the PE header stands
#define NAME_LENGTH 8u

struct coff_header {
    uint32_t magic; // PE_MAGIC
    uint16_t machine;
    uint16_t section_count;
    uint32_t time, symbols, symbol_count;
    uint16_t optional_size; // of the optional header, behind which the sections stand
    uint16_t flags;
};

struct section_header {
    char name[NAME_LENGTH]; // padded with NUL
    uint32_t memory_size;
    uint32_t address; // from the image's base
    uint32_t file_size, file_at, relocations_at, lines_at;
    uint16_t relocation_count, line_count;
    uint32_t flags;
};

_Static_assert(sizeof(struct coff_header) == 24, "PE Format, \"COFF File Header\"");
_Static_assert(sizeof(struct section_header) == 40, "PE Format, \"Section Table\"");

// Copies `length` bytes at `offset`, where they lie within the image.
static bool read(const uint8_t *image, uint64_t size, uint64_t offset, void *to, uint64_t length) {
    if (offset > size || length > size - offset)
        return false;
    memcpy(to, image + offset, length);
    return true;
}

static bool read_header(const uint8_t *image, uint64_t size, uint32_t *at,
                        struct coff_header *header) {
    uint16_t dos = 0;
    return read(image, size, 0, &dos, sizeof(dos)) && dos == DOS_MAGIC &&
           read(image, size, DOS_PE_AT, at, sizeof(*at)) &&
           read(image, size, *at, header, sizeof(*header)) && header->magic == PE_MAGIC;
}

bool boot_sections_find(const void *image, uint64_t size, const char *name,
                        struct boot_section *section) {
    uint32_t at = 0;
    struct coff_header header;
    char wanted[NAME_LENGTH] = {0};
    uint64_t length = strlen(name);
    if (length > NAME_LENGTH || !read_header(image, size, &at, &header))
        return false;
    memcpy(wanted, name, length);
    uint64_t table = (uint64_t)at + sizeof(header) + header.optional_size;
    for (uint32_t i = 0; i < header.section_count; i++) {
        struct section_header row;
        if (!read(image, size, table + i * sizeof(row), &row, sizeof(row)))
            return false;
        if (memcmp(row.name, wanted, NAME_LENGTH) != 0)
            continue;
        *section = (struct boot_section){(const uint8_t *)image + row.address, row.memory_size};
        return row.address <= size && row.memory_size <= size - row.address;
    }
    return false;
}

uint64_t boot_sections_next(uint64_t offset, uint64_t size) {
    uint64_t end;
    if (__builtin_add_overflow(offset, size, &end) || end > UINT64_MAX - BOOT_SECTIONS_ALIGN)
        return UINT64_MAX;
    return (end + BOOT_SECTIONS_ALIGN - 1) / BOOT_SECTIONS_ALIGN * BOOT_SECTIONS_ALIGN;
}
