// SPDX-License-Identifier: Apache-2.0
// Reading ELF-64 executables for x86-64 out of a memory buffer.
//
//   elf_check            is it such a file, and do its header and program headers stay in bounds?
//   elf_check_protected  for our own programs: may it be mapped page by page with W^X?
//   elf_segment          one PT_LOAD after another
//   elf_note             the descriptor of a note
//   elf_error_text       what to print
//
// Users: boot/ (kernel.elf), the supervisor (ring-3 programs), the VMM (guest kernels, which are
// only elf_check'ed: a vmlinux may well have writable code). The buffer is untrusted; nothing is
// allocated or written, and the buffer needs no alignment. It must not change while it is in use.
//
// Source: System V ABI, Edition 4.1 "Object Files", with the ELF-64 tables of the x86-64 psABI.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ELF_FLAG_EXECUTE 1u // PF_X
#define ELF_FLAG_WRITE   2u // PF_W
#define ELF_FLAG_READ    4u // PF_R

#define ELF_PAGE_SIZE 4096u

enum elf_error {
    ELF_OK = 0,
    ELF_TRUNCATED,     // a header or a segment lies outside the file
    ELF_NO_ELF,        // no ELF magic
    ELF_WRONG_CLASS,   // not 64-bit little-endian ELF version 1
    ELF_WRONG_MACHINE, // not x86-64
    ELF_WRONG_TYPE,    // not a fixed-address executable (ET_EXEC)
    ELF_BAD_HEADER,    // sizes of the headers are not ELF-64's
    ELF_NO_SEGMENTS,   // nothing to load
    ELF_BAD_SEGMENT,   // memory size below file size, or wraps around the address space
    ELF_BAD_ENTRY,     // the entry point lies in no executable segment
    ELF_OUT_OF_RANGE,  // a segment outside [low, high)
    ELF_OVERLAP,       // segments unsorted, or two in one page
    ELF_WRITABLE_CODE, // a segment both writable and executable
};

// A checked file. Fields are valid after elf_check said ELF_OK.
struct elf_image {
    const uint8_t *data;
    uint64_t size;
    uint64_t entry;         // virtual address
    uint64_t headers;       // offset of the program headers
    uint32_t headers_count; // of all types
};

// One PT_LOAD: `bytes` is NULL when file_size is 0. What lies between file_size and memory_size is
// zero in memory.
struct elf_segment {
    const uint8_t *bytes;
    uint64_t file_size;
    uint64_t virtual_address;
    uint64_t physical_address;
    uint64_t memory_size; // >= file_size, and never 0
    uint32_t flags;       // ELF_FLAG_*
};

// Checks the file and fills `image`, which keeps pointing into `data`. Afterwards all segments have
// their bytes inside the file, none wraps, and there is at least one; they may still overlap, be
// unsorted or lie anywhere.
enum elf_error elf_check(struct elf_image *image, const void *data, uint64_t size);

// For a checked image that is to be mapped with page rights: each PT_LOAD lies in [low, high), they
// are sorted and no two share a page of 4 KiB, none is both writable and executable, and the entry
// point is inside an executable one.
enum elf_error elf_check_protected(const struct elf_image *image, uint64_t low, uint64_t high);

// Iterates over the PT_LOADs that occupy memory, in file order: start with *cursor = 0, stop at
// false.
bool elf_segment(const struct elf_image *image, uint32_t *cursor, struct elf_segment *segment);

// Finds the first note with this owner and type in the PT_NOTE segments. Returns its descriptor
// inside the file and sets *size, or returns NULL when there is none (or it is malformed).
const uint8_t *elf_note(const struct elf_image *image, const char *owner, uint32_t type,
                        uint32_t *size);

// A few words for people, to stand behind "FILE: ", such as "is no ELF file". Never NULL.
const char *elf_error_text(enum elf_error error);
