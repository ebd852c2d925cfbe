// SPDX-License-Identifier: Apache-2.0
// lib/elf: one good file, and each single flaw in it. The file lies in a block of exactly its size,
// so that the sanitizers see a read past its end.
#include "lib/elf.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define LOW  0xffffffff80000000ull
#define HIGH (LOW + (512ull << 20))

enum { TEXT, DATA, NOTE, STACK, HEADERS };

static const struct {
    Elf64_Nhdr first;
    char first_owner[4];
    char first_desc[8];
    Elf64_Nhdr second;
    char second_owner[12];
    uint32_t second_desc;
} notes = {{4, 5, 3}, "GNU", "12345", {9, 4, 1}, "Bulkhead", 77};

// The parts of a good kernel; tests change them before they pack it.
struct parts {
    Elf64_Ehdr header;
    Elf64_Phdr segments[HEADERS];
    uint8_t bytes[256];
};

static struct parts good_parts(void) {
    const uint64_t bytes = offsetof(struct parts, bytes);
    struct parts parts = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_X86_64,
                   .e_version = EV_CURRENT,
                   .e_entry = LOW + 0x1010,
                   .e_phoff = sizeof(Elf64_Ehdr),
                   .e_ehsize = sizeof(Elf64_Ehdr),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = HEADERS},
        .segments = {
            [TEXT] = {PT_LOAD, PF_R | PF_X, bytes, LOW + 0x1000, 0x1000, 64, 64, 4096},
            [DATA] = {PT_LOAD, PF_R | PF_W, bytes + 64, LOW + 0x2040, 0x2040, 64, 0x3000, 4096},
            [NOTE] = {PT_NOTE, PF_R, bytes + 128, 0, 0, sizeof(notes), sizeof(notes), 4},
            [STACK] = {PT_GNU_STACK, PF_R | PF_W, ~0ull, 0, 0, ~0ull, 0, 16},
        }};
    memcpy(parts.bytes + 128, &notes, sizeof(notes));
    return parts;
}

static uint8_t *packed; // of the last check; freed at the next

static enum elf_error check_size(const struct parts *parts, struct elf_image *image, size_t size) {
    free(packed);
    packed = malloc(size > 0 ? size : 1);
    memcpy(packed, parts, size);
    return elf_check(image, packed, size);
}

static enum elf_error check(const struct parts *parts) {
    struct elf_image image;
    enum elf_error error = check_size(parts, &image, sizeof(*parts));
    return error == ELF_OK ? elf_check_protected(&image, LOW, HIGH) : error;
}

Test(elf, good_file_is_taken) {
    struct parts parts = good_parts();
    struct elf_image image;
    struct elf_segment segment;
    uint32_t cursor = 0;
    cr_assert_eq(check(&parts), ELF_OK);
    cr_assert_eq(check_size(&parts, &image, sizeof(parts)), ELF_OK);
    cr_assert_eq(image.entry, LOW + 0x1010);
    cr_assert(elf_segment(&image, &cursor, &segment));
    cr_assert_eq(segment.virtual_address, LOW + 0x1000);
    cr_assert_eq(segment.flags, ELF_FLAG_READ | ELF_FLAG_EXECUTE);
    cr_assert(elf_segment(&image, &cursor, &segment));
    cr_assert_eq(segment.bytes, image.data + offsetof(struct parts, bytes) + 64);
    cr_assert_eq(segment.file_size, 64u);
    cr_assert_eq(segment.memory_size, 0x3000u);
    cr_assert_eq(segment.physical_address, 0x2040u);
    cr_assert_not(elf_segment(&image, &cursor, &segment));
}

Test(elf, every_truncation_is_refused) {
    struct parts parts = good_parts();
    struct elf_image image;
    size_t end = offsetof(struct parts, bytes) + 128 + sizeof(notes);
    for (size_t size = 0; size < end; size++) {
        enum elf_error error = check_size(&parts, &image, size);
        cr_assert_eq(error, size < 4 ? ELF_NO_ELF : ELF_TRUNCATED, "at %zu", size);
    }
    cr_assert_eq(check_size(&parts, &image, end), ELF_OK);
}

#define REFUSED(change, error)                                                                     \
    do {                                                                                           \
        struct parts parts = good_parts();                                                         \
        change;                                                                                    \
        cr_assert_eq(check(&parts), error, "%s", #change);                                         \
    } while (0)

Test(elf, foreign_headers_are_refused) {
    REFUSED(parts.header.e_ident[0] = 0, ELF_NO_ELF);
    REFUSED(parts.header.e_ident[EI_CLASS] = ELFCLASS32, ELF_WRONG_CLASS);
    REFUSED(parts.header.e_ident[EI_DATA] = ELFDATA2MSB, ELF_WRONG_CLASS);
    REFUSED(parts.header.e_ident[EI_VERSION] = 0, ELF_WRONG_CLASS);
    REFUSED(parts.header.e_version = 2, ELF_WRONG_CLASS);
    REFUSED(parts.header.e_machine = EM_AARCH64, ELF_WRONG_MACHINE);
    REFUSED(parts.header.e_type = ET_DYN, ELF_WRONG_TYPE);
    REFUSED(parts.header.e_ehsize = 52, ELF_BAD_HEADER);
    REFUSED(parts.header.e_phentsize = 32, ELF_BAD_HEADER);
    REFUSED(parts.header.e_phnum = PN_XNUM, ELF_BAD_HEADER);
    REFUSED(parts.header.e_phnum = 0, ELF_NO_SEGMENTS);
    REFUSED(parts.header.e_phnum = 200, ELF_TRUNCATED);
    REFUSED(parts.header.e_phoff = ~0ull - 8, ELF_TRUNCATED);
}

Test(elf, impossible_segments_are_refused) {
    REFUSED(parts.segments[TEXT].p_offset = ~0ull, ELF_TRUNCATED);
    REFUSED(parts.segments[TEXT].p_offset = sizeof(parts) - 63, ELF_TRUNCATED);
    REFUSED(parts.segments[TEXT].p_filesz = ~0ull, ELF_TRUNCATED);
    REFUSED(parts.segments[NOTE].p_filesz = ~0ull, ELF_TRUNCATED);
    REFUSED(parts.segments[TEXT].p_memsz = 63, ELF_BAD_SEGMENT);
    REFUSED(parts.segments[TEXT].p_memsz = 0 - LOW, ELF_BAD_SEGMENT);
    REFUSED(parts.segments[TEXT].p_paddr = ~0ull - 62, ELF_BAD_SEGMENT);
    REFUSED(parts.segments[TEXT].p_type = parts.segments[DATA].p_type = PT_NULL, ELF_NO_SEGMENTS);
}

Test(elf, unprotectable_segments_are_refused) {
    REFUSED(parts.segments[TEXT].p_vaddr = LOW - 1, ELF_OUT_OF_RANGE);
    REFUSED(parts.segments[DATA].p_memsz = HIGH - LOW, ELF_OUT_OF_RANGE);
    REFUSED(parts.segments[DATA].p_vaddr = LOW + 0x1800, ELF_OVERLAP);
    REFUSED(parts.segments[DATA].p_vaddr = LOW, ELF_OVERLAP);
    REFUSED(parts.segments[TEXT].p_memsz = 0x1001, ELF_OVERLAP);
    REFUSED(parts.segments[TEXT].p_flags = PF_R | PF_W | PF_X, ELF_WRITABLE_CODE);
    REFUSED(parts.header.e_entry = LOW + 0x1040, ELF_BAD_ENTRY);
    REFUSED(parts.header.e_entry = LOW + 0x2040, ELF_BAD_ENTRY);
    REFUSED(parts.segments[TEXT].p_memsz = 0x1000, ELF_OK);
    REFUSED(parts.segments[DATA].p_memsz = HIGH - LOW - 0x2040, ELF_OK);
}

Test(elf, note_is_found_behind_another) {
    struct parts parts = good_parts();
    struct elf_image image;
    uint32_t size = 0;
    uint32_t value;
    cr_assert_eq(check_size(&parts, &image, sizeof(parts)), ELF_OK);
    const uint8_t *desc = elf_note(&image, "Bulkhead", 1, &size);
    cr_assert_not_null(desc);
    memcpy(&value, desc, sizeof(value));
    cr_assert_eq(size, 4u);
    cr_assert_eq(value, 77u);
    cr_assert_not_null(elf_note(&image, "GNU", 3, &size));
    cr_assert_eq(size, 5u);
    cr_assert_null(elf_note(&image, "Bulkhead", 2, &size));
    cr_assert_null(elf_note(&image, "Bulk", 1, &size));
    cr_assert_null(elf_note(&image, "Bulkheads", 1, &size));
}

Test(elf, note_that_leaves_its_segment_is_not_found) {
    struct elf_image image;
    uint32_t size;
    for (size_t cut = 0; cut < sizeof(notes); cut++) {
        struct parts parts = good_parts();
        parts.segments[NOTE].p_filesz = cut;
        cr_assert_eq(check_size(&parts, &image, sizeof(parts)), ELF_OK);
        cr_assert_null(elf_note(&image, "Bulkhead", 1, &size));
    }
    struct parts parts = good_parts();
    memset(parts.bytes + 128, 0xff, sizeof(Elf64_Nhdr));
    cr_assert_eq(check_size(&parts, &image, sizeof(parts)), ELF_OK);
    cr_assert_null(elf_note(&image, "Bulkhead", 1, &size));
}

Test(elf, every_error_has_a_text) {
    for (int error = ELF_OK; error <= ELF_WRITABLE_CODE; error++)
        cr_assert_gt(strlen(elf_error_text((enum elf_error)error)), 3u);
    cr_assert_not_null(elf_error_text((enum elf_error)99));
}
