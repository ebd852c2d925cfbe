// SPDX-License-Identifier: Apache-2.0
// Executables as rows of segments; the interface is told in exec.h. ELF64 is lib/elf.c's.
#include "vmm/load/exec.h"

#include "lib/string.h"
#include "lib/types.h"

// ---- ELF32 --------------------------------------------------------------------------------------

// Offsets and values of the ELF-32 tables, under the names of the specification.
enum {
    EI_CLASS = 4,
    EI_DATA = 5,
    EI_VERSION = 6,
    ELFCLASS32 = 1,
    ELFDATA2LSB = 1,
    EV_CURRENT = 1,
    E_TYPE = 16,
    E_MACHINE = 18,
    E_VERSION = 20,
    E_ENTRY = 24,
    E_PHOFF = 28,
    E_EHSIZE = 40,
    E_PHENTSIZE = 42,
    E_PHNUM = 44,
    EHDR_SIZE = 52,
    ET_EXEC = 2,
    EM_386 = 3,
    PN_XNUM = 0xffff,
    P_TYPE = 0,
    P_OFFSET = 4,
    P_VADDR = 8,
    P_PADDR = 12,
    P_FILESZ = 16,
    P_MEMSZ = 20,
    P_FLAGS = 24,
    PHDR_SIZE = 32,
    PT_LOAD = 1,
    PT_NOTE = 4,
    NHDR_SIZE = 12,
    NOTE_ALIGN = 4,
};

static const uint8_t elf_magic[] = {0x7f, 'E', 'L', 'F'};

bool exec_is_elf(const struct load_images *images) {
    return images->kernel_size >= sizeof(elf_magic) &&
           memcmp(images->kernel, elf_magic, sizeof(elf_magic)) == 0;
}

static const uint8_t *header32(const struct elf_image *elf, uint32_t index) {
    return elf->data + elf->headers + (uint64_t)index * PHDR_SIZE;
}

// All sums of two 32-bit fields are made in 64 bits and cannot wrap.
static enum elf_error check_header32(const uint8_t *header, uint64_t size) {
    uint64_t file_size = load_get(header + P_FILESZ, 4),
             memory_size = load_get(header + P_MEMSZ, 4);
    if (load_get(header + P_OFFSET, 4) + file_size > size)
        return ELF_TRUNCATED;
    if (load_get(header + P_TYPE, 4) == PT_LOAD &&
        (memory_size < file_size || load_get(header + P_VADDR, 4) + memory_size > BIT(32) ||
         load_get(header + P_PADDR, 4) + memory_size > BIT(32)))
        return ELF_BAD_SEGMENT;
    return ELF_OK;
}

static enum elf_error check_headers32(const struct elf_image *elf) {
    bool loads = false;
    for (uint32_t i = 0; i < elf->headers_count; i++) {
        const uint8_t *header = header32(elf, i);
        uint64_t type = load_get(header + P_TYPE, 4);
        if (type != PT_LOAD && type != PT_NOTE)
            continue;
        enum elf_error error = check_header32(header, elf->size);
        if (error != ELF_OK)
            return error;
        loads |= type == PT_LOAD && load_get(header + P_MEMSZ, 4) > 0;
    }
    return loads ? ELF_OK : ELF_NO_SEGMENTS;
}

static enum elf_error check_elf32(struct elf_image *elf, const uint8_t *file, uint64_t size) {
    if (size < EHDR_SIZE)
        return ELF_TRUNCATED;
    if (file[EI_DATA] != ELFDATA2LSB || file[EI_VERSION] != EV_CURRENT ||
        load_get(file + E_VERSION, 4) != EV_CURRENT)
        return ELF_WRONG_CLASS;
    if (load_get(file + E_MACHINE, 2) != EM_386)
        return ELF_WRONG_MACHINE;
    if (load_get(file + E_TYPE, 2) != ET_EXEC)
        return ELF_WRONG_TYPE;
    *elf = (struct elf_image){.data = file,
                              .size = size,
                              .entry = load_get(file + E_ENTRY, 4),
                              .headers = load_get(file + E_PHOFF, 4),
                              .headers_count = (uint32_t)load_get(file + E_PHNUM, 2)};
    if (elf->headers_count == 0)
        return ELF_NO_SEGMENTS;
    if (load_get(file + E_EHSIZE, 2) != EHDR_SIZE || load_get(file + E_PHENTSIZE, 2) != PHDR_SIZE ||
        elf->headers_count == PN_XNUM)
        return ELF_BAD_HEADER;
    if (elf->headers + (uint64_t)elf->headers_count * PHDR_SIZE > size)
        return ELF_TRUNCATED;
    return check_headers32(elf);
}

static bool segment32(const struct elf_image *elf, uint32_t *cursor, struct elf_segment *segment) {
    while (*cursor < elf->headers_count) {
        const uint8_t *header = header32(elf, (*cursor)++);
        if (load_get(header + P_TYPE, 4) != PT_LOAD || load_get(header + P_MEMSZ, 4) == 0)
            continue;
        *segment = (struct elf_segment){
            .bytes = elf->data + load_get(header + P_OFFSET, 4),
            .file_size = load_get(header + P_FILESZ, 4),
            .virtual_address = load_get(header + P_VADDR, 4),
            .physical_address = load_get(header + P_PADDR, 4),
            .memory_size = load_get(header + P_MEMSZ, 4),
            .flags = (uint32_t)load_get(header + P_FLAGS, 4),
        };
        return true;
    }
    return false;
}

static uint64_t note_align(uint64_t offset) {
    return align_up(offset, NOTE_ALIGN);
}

// In one PT_NOTE of `size` bytes. Sums of 32-bit fields are made in 64 bits.
static const uint8_t *note_in_segment32(const uint8_t *notes, uint64_t size, const char *owner,
                                        uint32_t type, uint32_t *found_size) {
    uint64_t owner_size = strlen(owner) + 1, offset = 0;
    while (offset < size && size - offset >= NHDR_SIZE) {
        const uint8_t *note = notes + offset;
        uint64_t name_size = load_get(note, 4), desc_size = load_get(note + 4, 4);
        uint64_t desc = note_align(offset + NHDR_SIZE + name_size);
        if (desc > size || desc_size > size - desc)
            return NULL;
        if (load_get(note + 8, 4) == type && name_size == owner_size &&
            memcmp(note + NHDR_SIZE, owner, owner_size) == 0) {
            *found_size = (uint32_t)desc_size;
            return notes + desc;
        }
        offset = note_align(desc + desc_size);
    }
    return NULL;
}

static const uint8_t *note32(const struct elf_image *elf, const char *owner, uint32_t type,
                             uint32_t *size) {
    for (uint32_t i = 0; i < elf->headers_count; i++) {
        const uint8_t *header = header32(elf, i);
        if (load_get(header + P_TYPE, 4) != PT_NOTE)
            continue;
        const uint8_t *desc = note_in_segment32(elf->data + load_get(header + P_OFFSET, 4),
                                                load_get(header + P_FILESZ, 4), owner, type, size);
        if (desc != NULL)
            return desc;
    }
    return NULL;
}

// ---- all formats --------------------------------------------------------------------------------

bool exec_open(const struct load_images *images, struct exec *exec, struct load_refusal *refusal) {
    const uint8_t *file = images->kernel;
    bool is_32 =
        exec_is_elf(images) && images->kernel_size > EI_CLASS && file[EI_CLASS] == ELFCLASS32;
    *exec = (struct exec){.format = is_32 ? EXEC_ELF32 : EXEC_ELF64};
    enum elf_error error = is_32 ? check_elf32(&exec->elf, file, images->kernel_size)
                                 : elf_check(&exec->elf, file, images->kernel_size);
    if (error == ELF_WRONG_MACHINE)
        return load_refuse(refusal, "kernel '%s' is %s", images->kernel_name,
                           is_32 ? "an ELF32 file, but not for i386: use one for x86"
                                 : "not for x86-64: use one for this processor");
    if (error != ELF_OK)
        return load_refuse(refusal, "kernel '%s' %s: copy or build it again", images->kernel_name,
                           elf_error_text(error));
    exec->entry = exec->elf.entry;
    return true;
}

bool exec_from_address(const struct load_images *images, const struct exec_address *address,
                       struct exec *exec, struct load_refusal *refusal) {
    uint64_t before = (uint64_t)address->header - address->load; // bytes of the header's segment
    uint64_t offset = address->header_offset - before;
    if (address->header < address->load || before > address->header_offset ||
        (address->load_end != 0 && address->load_end <= address->load) ||
        (address->bss_end != 0 && address->bss_end < MAX(address->load_end, address->load)))
        return load_refuse(refusal, "kernel '%s' has impossible addresses in its Multiboot header",
                           images->kernel_name);
    uint64_t left = images->kernel_size - offset;
    uint64_t size = address->load_end != 0 ? address->load_end - address->load : left;
    if (size > left)
        return load_refuse(refusal,
                           "kernel '%s' is truncated: %lu of %lu bytes are there; copy it again",
                           images->kernel_name, images->kernel_size, offset + size);
    uint64_t memory_size = address->bss_end != 0 ? address->bss_end - address->load : size;
    *exec = (struct exec){.format = EXEC_FLAT, .entry = address->entry};
    exec->flat = (struct elf_segment){.bytes = images->kernel + offset,
                                      .file_size = MIN(size, memory_size),
                                      .virtual_address = address->load,
                                      .physical_address = address->load,
                                      .memory_size = memory_size};
    return true;
}

const uint8_t *exec_note(const struct exec *exec, const char *owner, uint32_t type,
                         uint32_t *size) {
    if (exec->format == EXEC_FLAT)
        return NULL;
    return exec->format == EXEC_ELF32 ? note32(&exec->elf, owner, type, size)
                                      : elf_note(&exec->elf, owner, type, size);
}

static bool next_segment(const struct exec *exec, uint32_t *cursor, struct elf_segment *segment) {
    if (exec->format == EXEC_ELF64)
        return elf_segment(&exec->elf, cursor, segment);
    if (exec->format == EXEC_ELF32)
        return segment32(&exec->elf, cursor, segment);
    *segment = exec->flat;
    return (*cursor)++ == 0 && segment->memory_size > 0;
}

static bool check_segments(const struct memory *memory, const struct load_images *images,
                           const struct exec *exec, struct load_kernel *kernel,
                           struct load_refusal *refusal) {
    struct elf_segment segment;
    kernel->start = UINT64_MAX;
    kernel->end = 0;
    for (uint32_t cursor = 0; next_segment(exec, &cursor, &segment);) {
        uint64_t base = segment.physical_address;
        if (base < LOAD_KERNEL_MIN)
            return load_refuse(
                refusal,
                "kernel '%s' wants to lie at 0x%lx, but memory below 1 MiB is taken: "
                "link it to 1 MiB or above",
                images->kernel_name, base);
        if (range_exceeds(base, segment.memory_size, memory->low_size))
            return load_refuse(refusal,
                               "kernel '%s' wants 0x%lx bytes at 0x%lx, beyond the guest's %lu MiB "
                               "of low memory: set memory higher or link it lower",
                               images->kernel_name, segment.memory_size, base,
                               memory->low_size >> 20);
        kernel->start = MIN(kernel->start, base);
        kernel->end = MAX(kernel->end, base + segment.memory_size);
    }
    return true;
}

// The entry point is physical in a vmlinux; in others it may be virtual, so both are looked for.
static bool find_entry(const struct load_images *images, const struct exec *exec, uint64_t *entry,
                       struct load_refusal *refusal) {
    struct elf_segment segment;
    for (uint32_t cursor = 0; next_segment(exec, &cursor, &segment);)
        if (exec->entry - segment.physical_address < segment.memory_size) {
            *entry = exec->entry;
            return true;
        }
    for (uint32_t cursor = 0; next_segment(exec, &cursor, &segment);)
        if (exec->entry - segment.virtual_address < segment.memory_size) {
            *entry = exec->entry - segment.virtual_address + segment.physical_address;
            return true;
        }
    return load_refuse(refusal, "kernel '%s' has its entry point 0x%lx outside its segments",
                       images->kernel_name, exec->entry);
}

// What lies behind file_size is zero: RAM is, before the guest runs.
bool exec_load(const struct memory *memory, const struct load_images *images,
               const struct exec *exec, struct load_kernel *kernel, struct load_refusal *refusal) {
    struct elf_segment segment;
    if (!check_segments(memory, images, exec, kernel, refusal) ||
        !find_entry(images, exec, &kernel->entry, refusal))
        return false;
    for (uint32_t cursor = 0; next_segment(exec, &cursor, &segment);) {
        uint8_t *to = memory_pointer(memory, segment.physical_address, segment.memory_size);
        if (segment.file_size > 0)
            memcpy(to, segment.bytes, segment.file_size);
    }
    return true;
}
