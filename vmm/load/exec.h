// SPDX-License-Identifier: Apache-2.0
// Executables as rows of segments: ELF64, ELF32, or one flat segment that a Multiboot header
// describes.
//
//   exec_open, or exec_from_address   checks that all headers and segments lie in the file
//   exec_note                         the descriptor of a note of an ELF file
//   exec_load                         copies the segments into RAM and finds the entry
//
// The file is untrusted and must not change. Source: System V ABI, Edition 4.1 "Object Files", and
// the tables of i386 and x86-64.
#pragma once

#include "lib/elf.h"
#include "vmm/load/load.h"

enum exec_format { EXEC_ELF64 = 0, EXEC_ELF32, EXEC_FLAT };

struct exec {
    enum exec_format format;
    struct elf_image elf;    // of ELF32, too
    struct elf_segment flat; // EXEC_FLAT
    uint64_t entry;          // physical or virtual
};

// The address fields of a Multiboot header, which say where the file goes as one segment.
struct exec_address {
    uint32_t header_offset;                   // of the header in the file
    uint32_t header, load, load_end, bss_end; // addresses; ends of 0: of the file, and no bss
    uint32_t entry;
};

bool exec_is_elf(const struct load_images *images);
// False: refused.
bool exec_open(const struct load_images *images, struct exec *exec, struct load_refusal *refusal);
bool exec_from_address(const struct load_images *images, const struct exec_address *address,
                       struct exec *exec, struct load_refusal *refusal);

// As elf_note, for both sizes of ELF. NULL: there is none.
const uint8_t *exec_note(const struct exec *exec, const char *owner, uint32_t type, uint32_t *size);

// Fills `kernel`: entry, start and end.
bool exec_load(const struct memory *memory, const struct load_images *images,
               const struct exec *exec, struct load_kernel *kernel, struct load_refusal *refusal);
