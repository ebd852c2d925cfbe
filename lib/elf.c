// SPDX-License-Identifier: Apache-2.0
// Reading ELF-64 executables; the interface is told in elf.h.
//
// Every field is loaded byte by byte from a checked offset, so no alignment, no aliasing and no
// overflow is left to the caller. Offsets are compared as `x > size - n` after `n <= size`, which
// can not wrap.
#include "lib/elf.h"

#include <stddef.h>

// Offsets and values of the ELF-64 tables, under the names of the specification.
enum {
    EI_CLASS = 4,
    EI_DATA = 5,
    EI_VERSION = 6,
    ELFCLASS64 = 2,
    ELFDATA2LSB = 1,
    EV_CURRENT = 1,
    E_TYPE = 16,
    E_MACHINE = 18,
    E_VERSION = 20,
    E_ENTRY = 24,
    E_PHOFF = 32,
    E_EHSIZE = 52,
    E_PHENTSIZE = 54,
    E_PHNUM = 56,
    EHDR_SIZE = 64,
    ET_EXEC = 2,
    EM_X86_64 = 62,
    P_TYPE = 0,
    P_FLAGS = 4,
    P_OFFSET = 8,
    P_VADDR = 16,
    P_PADDR = 24,
    P_FILESZ = 32,
    P_MEMSZ = 40,
    P_ALIGN = 48,
    PHDR_SIZE = 56,
    PT_LOAD = 1,
    PT_NOTE = 4,
    PN_XNUM = 0xffff,
    N_NAMESZ = 0,
    N_DESCSZ = 4,
    N_TYPE = 8,
    NHDR_SIZE = 12,
};

static uint32_t load16(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8;
}

static uint32_t load32(const uint8_t *p) {
    return load16(p) | load16(p + 2) << 16;
}

static uint64_t load64(const uint8_t *p) {
    return load32(p) | (uint64_t)load32(p + 4) << 32;
}

static uint64_t page_floor(uint64_t address) {
    return address & ~(uint64_t)(ELF_PAGE_SIZE - 1);
}

static const uint8_t *program_header(const struct elf_image *image, uint32_t index) {
    return image->data + image->headers + (uint64_t)index * PHDR_SIZE;
}

static enum elf_error check_identity(const uint8_t *data, uint64_t size) {
    static const uint8_t magic[4] = {0x7f, 'E', 'L', 'F'};
    for (uint64_t i = 0; i < sizeof(magic); i++) {
        if (i >= size || data[i] != magic[i])
            return ELF_NO_ELF;
    }
    if (size < EHDR_SIZE)
        return ELF_TRUNCATED;
    if (data[EI_CLASS] != ELFCLASS64 || data[EI_DATA] != ELFDATA2LSB ||
        data[EI_VERSION] != EV_CURRENT || load32(data + E_VERSION) != EV_CURRENT)
        return ELF_WRONG_CLASS;
    if (load16(data + E_MACHINE) != EM_X86_64)
        return ELF_WRONG_MACHINE;
    if (load16(data + E_TYPE) != ET_EXEC)
        return ELF_WRONG_TYPE;
    return ELF_OK;
}

// Bounds of one program header of a type that we read.
static enum elf_error check_program_header(const uint8_t *header, uint64_t size) {
    uint64_t offset = load64(header + P_OFFSET);
    uint64_t file_size = load64(header + P_FILESZ);
    uint64_t memory_size = load64(header + P_MEMSZ);
    if (file_size > size || offset > size - file_size)
        return ELF_TRUNCATED;
    if (load32(header + P_TYPE) != PT_LOAD)
        return ELF_OK;
    if (memory_size < file_size || memory_size > UINT64_MAX - load64(header + P_VADDR) ||
        memory_size > UINT64_MAX - load64(header + P_PADDR))
        return ELF_BAD_SEGMENT;
    return ELF_OK;
}

enum elf_error elf_check(struct elf_image *image, const void *data, uint64_t size) {
    const uint8_t *bytes = data;
    enum elf_error error = check_identity(bytes, size);
    if (error != ELF_OK)
        return error;
    *image = (struct elf_image){
        .data = bytes,
        .size = size,
        .entry = load64(bytes + E_ENTRY),
        .headers = load64(bytes + E_PHOFF),
        .headers_count = load16(bytes + E_PHNUM),
    };
    if (image->headers_count == 0)
        return ELF_NO_SEGMENTS;
    if (load16(bytes + E_EHSIZE) != EHDR_SIZE || load16(bytes + E_PHENTSIZE) != PHDR_SIZE ||
        image->headers_count == PN_XNUM)
        return ELF_BAD_HEADER;
    uint64_t table_size = (uint64_t)image->headers_count * PHDR_SIZE;
    if (table_size > size || image->headers > size - table_size)
        return ELF_TRUNCATED;
    bool loads = false;
    for (uint32_t i = 0; i < image->headers_count; i++) {
        const uint8_t *header = program_header(image, i);
        uint32_t type = load32(header + P_TYPE);
        if (type != PT_LOAD && type != PT_NOTE)
            continue;
        error = check_program_header(header, size);
        if (error != ELF_OK)
            return error;
        loads |= type == PT_LOAD && load64(header + P_MEMSZ) > 0;
    }
    return loads ? ELF_OK : ELF_NO_SEGMENTS;
}

bool elf_segment(const struct elf_image *image, uint32_t *cursor, struct elf_segment *segment) {
    while (*cursor < image->headers_count) {
        const uint8_t *header = program_header(image, (*cursor)++);
        if (load32(header + P_TYPE) != PT_LOAD || load64(header + P_MEMSZ) == 0)
            continue;
        *segment = (struct elf_segment){
            .file_size = load64(header + P_FILESZ),
            .virtual_address = load64(header + P_VADDR),
            .physical_address = load64(header + P_PADDR),
            .memory_size = load64(header + P_MEMSZ),
            .flags = load32(header + P_FLAGS),
        };
        if (segment->file_size > 0)
            segment->bytes = image->data + load64(header + P_OFFSET);
        return true;
    }
    return false;
}

enum elf_error elf_check_protected(const struct elf_image *image, uint64_t low, uint64_t high) {
    struct elf_segment segment;
    uint32_t cursor = 0;
    uint64_t last_page = 0;
    bool is_first = true;
    bool entry_found = false;
    while (elf_segment(image, &cursor, &segment)) {
        uint64_t last = segment.virtual_address + (segment.memory_size - 1);
        if (segment.virtual_address < low || last >= high)
            return ELF_OUT_OF_RANGE;
        if (!is_first && page_floor(segment.virtual_address) <= last_page)
            return ELF_OVERLAP;
        if ((segment.flags & ELF_FLAG_WRITE) && (segment.flags & ELF_FLAG_EXECUTE))
            return ELF_WRITABLE_CODE;
        if ((segment.flags & ELF_FLAG_EXECUTE) && image->entry >= segment.virtual_address &&
            image->entry <= last)
            entry_found = true;
        last_page = page_floor(last);
        is_first = false;
    }
    return entry_found ? ELF_OK : ELF_BAD_ENTRY;
}

// Does the note's name field, `size` bytes with its NUL, hold `owner`?
static bool note_owner_is(const uint8_t *name, uint64_t size, const char *owner) {
    for (uint64_t i = 0; i < size; i++) {
        if (name[i] != (uint8_t)owner[i])
            return false;
        if (owner[i] == '\0')
            return i + 1 == size;
    }
    return false;
}

// Searches one PT_NOTE segment. Sizes are 32 bits wide, so sums in 64 bits can not wrap.
static const uint8_t *note_in_segment(const uint8_t *notes, uint64_t size, uint64_t align,
                                      const char *owner, uint32_t type, uint32_t *found_size) {
    uint64_t offset = 0;
    while (offset < size && size - offset >= NHDR_SIZE) {
        const uint8_t *note = notes + offset;
        uint64_t name_size = load32(note + N_NAMESZ);
        uint64_t desc_size = load32(note + N_DESCSZ);
        uint64_t desc = (offset + NHDR_SIZE + name_size + align - 1) / align * align;
        if (desc > size || desc_size > size - desc)
            return NULL;
        if (load32(note + N_TYPE) == type && note_owner_is(note + NHDR_SIZE, name_size, owner)) {
            *found_size = (uint32_t)desc_size;
            return notes + desc;
        }
        offset = (desc + desc_size + align - 1) / align * align;
    }
    return NULL;
}

const uint8_t *elf_note(const struct elf_image *image, const char *owner, uint32_t type,
                        uint32_t *size) {
    for (uint32_t i = 0; i < image->headers_count; i++) {
        const uint8_t *header = program_header(image, i);
        if (load32(header + P_TYPE) != PT_NOTE)
            continue;
        uint64_t align = load64(header + P_ALIGN) == 8 ? 8 : 4;
        const uint8_t *notes = image->data + load64(header + P_OFFSET);
        const uint8_t *desc =
            note_in_segment(notes, load64(header + P_FILESZ), align, owner, type, size);
        if (desc != NULL)
            return desc;
    }
    return NULL;
}

const char *elf_error_text(enum elf_error error) {
    static const char *const texts[] = {
        [ELF_OK] = "is fine",
        [ELF_TRUNCATED] = "is cut off: a part that its ELF header names is missing",
        [ELF_NO_ELF] = "is no ELF file",
        [ELF_WRONG_CLASS] = "is not 64-bit little-endian ELF",
        [ELF_WRONG_MACHINE] = "is not for x86-64",
        [ELF_WRONG_TYPE] = "is not a fixed-address executable (ET_EXEC)",
        [ELF_BAD_HEADER] = "has a malformed ELF header",
        [ELF_NO_SEGMENTS] = "has nothing to load",
        [ELF_BAD_SEGMENT] = "has a segment of impossible size",
        [ELF_BAD_ENTRY] = "has its entry point outside its code",
        [ELF_OUT_OF_RANGE] = "has a segment outside the addresses allowed to it",
        [ELF_OVERLAP] = "has segments that overlap, are unsorted or share a page",
        [ELF_WRITABLE_CODE] = "has a segment both writable and executable",
    };
    if ((unsigned)error >= sizeof(texts) / sizeof(texts[0]))
        return "is not acceptable";
    return texts[error];
}
