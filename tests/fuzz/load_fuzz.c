// SPDX-License-Identifier: Apache-2.0
// The VMM's loader of guest kernels. An input is a list of edits of one of the good files below, or
// the file itself. What is loaded lies in the guest's RAM and starts there; what is refused is so
// in one line.
#include "vmm/load/load.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/input.h"

#define MIB       (1ULL << 20)
#define RAM       (4 * MIB)
#define BASE      (2 * MIB)
#define TEXT      0x400u // where the good files have their code, and their Multiboot headers
#define FILE_MAX  0x1000u
#define FILE_SIZE 0x800u

enum kind { RAW, LINUX, ELF64, ELF32, KINDS };

static uint8_t *ram; // of its own, so that ASan sees what lies behind it
static uint8_t file[FILE_MAX];

static void expect(bool is_true) {
    if (!is_true)
        abort();
}

static void field(uint32_t offset, unsigned size, uint64_t value) {
    load_put(file + offset, size, value);
}

static void make_linux(void) {
    field(0x1f1, 1, 1);
    field(0x1f4, 4, (FILE_SIZE - 0x400) / 16);
    field(0x1fe, 2, 0xaa55);
    field(0x202, 4, 0x53726448);
    field(0x206, 2, 0x20f);
    field(0x211, 1, 1);
    field(0x22c, 4, 0x7fffffff);
    field(0x236, 2, 0x7f);
    field(0x238, 4, 2047);
    field(0x258, 8, BASE);
    field(0x260, 4, 0x10000);
}

static void make_elf64(void) {
    static const uint64_t head[] = {BASE, BASE, 0x200, 0x1000, 0x1000};
    memcpy(file, "\177ELF\2\1\1", 7);
    field(16, 8, 0x00000001003e0002);
    field(24, 8, BASE);
    field(32, 8, 64);
    field(52, 8, 0x0000000200380040);
    field(64, 8, 0x0000000700000001);
    field(72, 8, TEXT);
    memcpy(file + 80, head, sizeof(head));
    field(120, 8, 4); // the note
    field(128, 8, TEXT + 0x100);
    field(152, 8, 20);
    field(160, 8, 20);
}

static void make_elf32(void) {
    static const uint32_t load[] = {1, TEXT, BASE, BASE, 0x200, 0x1000, 7, 0x1000};
    static const uint32_t note[] = {4, TEXT + 0x100, 0, 0, 20, 20, 4, 4};
    memcpy(file, "\177ELF\1\1\1", 7);
    field(16, 8, 0x0000000100030002);
    field(24, 4, BASE);
    field(28, 4, 52);
    field(40, 6, 0x000200200034);
    memcpy(file + 52, load, sizeof(load));
    memcpy(file + 84, note, sizeof(note));
}

// What of the entry protocols' headers the file has, by bits.
static void add_headers(uint8_t which) {
    static const uint32_t multiboot[] = {
        0x1badb002, 0x10003, 0u - 0x1badb002 - 0x10003, BASE, BASE, 0, BASE + 0x1000, BASE};
    static const uint32_t multiboot2[] = {
        0xe85250d6, 0, 64, 0u - 0xe85250d6 - 64, 1, 12, 6, 0, 10, 24, 0, 0, 0, 0, 0, 8};
    static const uint8_t note[] = "\4\0\0\0\4\0\0\0\x12\0\0\0Xen\0\0\0\x20";
    if (which & 1)
        memcpy(file + TEXT, multiboot, sizeof(multiboot));
    if (which & 2)
        memcpy(file + TEXT + 0x40, multiboot2, sizeof(multiboot2));
    if (which & 4)
        memcpy(file + TEXT + 0x100, note, sizeof(note));
}

// Bytes and words at any place of the headers; sums of Multiboot headers are made right again every
// other time.
static void edit(struct input *input) {
    while (input->left > 0) {
        uint8_t how = input_byte(input);
        uint32_t at = (uint32_t)input_number(input, 2) % FILE_SIZE;
        at = how & 1 ? at % 0x280 : at;
        at = how & 2 ? TEXT + at % 0x140 : at;
        unsigned size = 1u << (how >> 2 & 3);
        field(at, size, input_number(input, size));
        if (how & 0x40)
            field(TEXT + 8, 4, 0u - load_get(file + TEXT, 4) - load_get(file + TEXT + 4, 4));
        if (how & 0x80)
            field(TEXT + 0x4c, 4,
                  0u - load_get(file + TEXT + 0x40, 4) - load_get(file + TEXT + 0x44, 4) -
                      load_get(file + TEXT + 0x48, 4));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t initrd[100] = "modules";
    struct input input = {data, size};
    uint8_t kind = input_byte(&input), flags = input_byte(&input);
    uint64_t length = FILE_SIZE;
    if (ram == NULL)
        ram = malloc(RAM);
    memset(file, 0, sizeof(file));
    if (kind % KINDS == RAW) {
        length = input.left < FILE_MAX ? input.left : FILE_MAX;
        memcpy(file, input.at, length);
    } else {
        kind % KINDS == LINUX ? make_linux() : kind % KINDS == ELF64 ? make_elf64() : make_elf32();
        add_headers(flags);
        if (flags & 0x80)
            length = input_number(&input, 2) % FILE_SIZE;
        edit(&input);
    }
    uint8_t *exact = malloc(length + 1);
    memcpy(exact, file, length);
    struct memory memory;
    memory_init(&memory, ram, RAM);
    const struct load_images images = {.kernel = exact,
                                       .kernel_size = length,
                                       .kernel_name = "kernel",
                                       .initrd = initrd,
                                       .initrd_size = flags & 8 ? sizeof(initrd) : 0,
                                       .initrd_name = "initrd",
                                       .cmdline = "a b",
                                       .rsdp = flags & 16 ? 0xe0000 : 0,
                                       .has_unrestricted_guest = !(flags & 32)};
    struct load_entry entry;
    struct load_refusal refusal = {""};
    if (load_guest(&memory, &images, &entry, &refusal)) {
        struct vcpu_registers registers;
        expect(entry.rip >= MIB && entry.rip < RAM && entry.protocol <= LOAD_PVH);
        expect(entry.protocol == LOAD_LINUX || images.has_unrestricted_guest);
        load_set_registers(&entry, &registers);
        expect(registers.rip == entry.rip);
    } else {
        expect(strlen(refusal.text) > 10 && strchr(refusal.text, '\n') == NULL);
    }
    free(exact);
    return 0;
}
