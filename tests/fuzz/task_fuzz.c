// SPDX-License-Identifier: Apache-2.0
// Hardware task switches between TSSs, by descriptors and under page tables that are the input's.
// RAM is exactly allocated, so that the sanitizers see an access beside it. What comes out, VM
// entry takes; a fault before the commit point has changed nothing; one page may be ROM, which is
// never written.
#include "tests/fuzz/input.h"
#include "tests/unit/vmm/cpu/task_support.h"
#include "vmm/cpu/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAM_SIZE   0x10000u
#define GDT        0x1000u
#define GDT_COUNT  16u
#define LDT        0x1100u
#define OLD_TSS    0x1f80u // over the end of a page
#define NEW_TSS    0x2fc0u
#define TABLES     0x8000u
#define PAGE_BYTES 0x1000u
#define CR0_PE     UINT64_C(1)
#define CR0_PG     (UINT64_C(1) << 31)
#define CR4_PSE    (UINT64_C(1) << 4)
#define CR4_PAE    (UINT64_C(1) << 5)

static void expect(bool is_true) {
    if (!is_true)
        abort();
}

static uint64_t rom; // of that page; RAM_SIZE: none

static void *guest_ptr(void *opaque, uint64_t gpa, uint64_t length, bool is_write) {
    if (is_write && gpa / PAGE_BYTES == rom / PAGE_BYTES)
        return NULL;
    return gpa < RAM_SIZE && length <= RAM_SIZE - gpa ? (uint8_t *)opaque + gpa : NULL;
}

static uint64_t descriptor(uint64_t base, uint32_t limit, unsigned access, unsigned flags) {
    return (limit & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)(access & 0xff) << 40 |
           (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)(flags & 0xf) << 52 | (base >> 24) << 56;
}

// Mostly code, data, LDTs and TSSs as a system has them; else what the input says.
static uint64_t any_descriptor(struct input *input) {
    static const uint8_t access[] = {0x9a, 0x92, 0x9b, 0x93, 0xfa, 0xf2,
                                     0x9e, 0x96, 0x82, 0xbb, 0x98, 0x12};
    unsigned kind = input_byte(input);
    if (kind < 32)
        return input_number(input, 8);
    if (kind < 64)
        return descriptor(LDT, 0x7f, 0x82, 0);
    return descriptor(kind & 1 ? 0 : input_number(input, 4), input_byte(input) & 1 ? 0xfffff : 0x7f,
                      access[kind % sizeof(access)], kind & 2 ? 0xc : input_byte(input));
}

static uint16_t any_selector(struct input *input) {
    uint8_t byte = input_byte(input);
    return byte < 16 ? (uint16_t)input_number(input, 2) : (uint16_t)(byte & 0x7f);
}

static void fill_tables(uint8_t *ram, struct input *input, bool is_wide) {
    for (unsigned i = 0; i < 64;
         i++) { // the first 256 KiB map themselves, wherever the input starts
        uint64_t entry = i * PAGE_BYTES | 7;
        memcpy(ram + TABLES + PAGE_BYTES + i * (is_wide ? 8 : 4), &entry, is_wide ? 8 : 4);
    }
    for (unsigned i = input_byte(input) % 16; i > 0; i--) {
        uint64_t entry = input_number(input, 8);
        memcpy(ram + TABLES + input_number(input, 2) % 0x2000 / 8 * 8, &entry, 8);
    }
}

static void fill_memory(uint8_t *ram, struct input *input, const struct vcpu_registers *r,
                        unsigned type) {
    bool is_pae = (r->cr4 & CR4_PAE) != 0;
    uint64_t top = (TABLES + PAGE_BYTES) | 7, directory = (TABLES + 0x800) | 1;
    for (unsigned i = 1; i < 2 * GDT_COUNT; i++) {
        uint64_t value = any_descriptor(input);
        memcpy(ram + GDT + i * 8, &value, 8);
    }
    uint64_t new = descriptor(NEW_TSS, input_byte(input) | 0x60, type, 0);
    memcpy(ram + GDT + 8, &new, 8);
    for (unsigned i = 0; i < 0x68; i++)
        ram[NEW_TSS + i] = input_byte(input);
    for (unsigned i = 0; i < 7; i++) {
        uint16_t selector = any_selector(input);
        memcpy(ram + NEW_TSS + (type & 8 ? 0x48 + 4 * i : 0x22 + 2 * i % 10), &selector, 2);
    }
    uint32_t cr3 = input_byte(input) & 3 ? TABLES : (uint32_t)input_number(input, 4);
    memcpy(ram + NEW_TSS + 0x1c, &cr3, 4);
    fill_tables(ram, input, is_pae);
    memcpy(ram + TABLES, is_pae ? &directory : &top, 8);
    if (is_pae)
        memcpy(ram + TABLES + 0x800, &top, 8);
}

static void switch_once(struct input *input, uint8_t *ram) {
    static const uint64_t paging[][2] = {
        {CR0_PE, 0}, {CR0_PE | CR0_PG, 0}, {CR0_PE | CR0_PG, CR4_PSE}, {CR0_PE | CR0_PG, CR4_PAE}};
    static const uint8_t types[] = {0x89, 0x89, 0x8b, 0x81, 0x83, 0x09};
    const uint64_t *mode = paging[input_byte(input) % 4];
    const struct vcpu_segment flat = {0x10, 0xc093, UINT32_MAX, 0};
    struct vcpu_registers r = {
        .rip = input_number(input, 4),
        .rflags = (input_number(input, 3) & 0x1d7fd7) | 2,
        .cr0 = mode[0] | (input_number(input, 3) & 0x10000),
        .cr3 = TABLES,
        .cr4 = mode[1],
        .es = flat,
        .ss = flat,
        .ds = flat,
        .fs = flat,
        .gs = flat,
        .cs = {0x18, 0xc09b, UINT32_MAX, 0},
        .ldtr = {0x20, input_byte(input) & 1 ? 0x82 : VCPU_SEGMENT_UNUSABLE, 0x7f, LDT},
        .tr = {0x28, input_byte(input) & 1 ? 0x8b : 0x83, input_byte(input) | 0x60u, OLD_TSS},
        .gdtr = {.base = GDT, .limit = GDT_COUNT * 8 - 1},
        .interruptibility = input_byte(input) & 8,
    };
    unsigned type = types[input_byte(input) % sizeof(types)];
    struct task_request request = {
        .selector = input_byte(input) < 240 ? 8 : any_selector(input),
        .source = (enum vcpu_task_source)(input_byte(input) & 3),
        .instruction_length = input_byte(input) % 16,
        .memory = {.physical_bits = 39, .guest_ptr = guest_ptr, .opaque = ram},
    };
    struct vcpu_registers before;
    struct task_fault fault;
    uint8_t copy[RAM_SIZE];
    request.has_event = request.source == VCPU_TASK_GATE;
    request.event = (struct vcpu_inject){.vector = input_byte(input),
                                         .type = input_byte(input) & 7,
                                         .has_error = input_byte(input) & 1,
                                         .error = (uint32_t)input_number(input, 2)};
    r.has_pending = request.has_event;
    fill_memory(ram, input, &r, type);
    rom = input_byte(input) % (RAM_SIZE / PAGE_BYTES + 1) * PAGE_BYTES;
    before = r;
    memcpy(copy, ram, RAM_SIZE);
    enum task_result result = task_switch(&request, &r, &fault);
    const char *refused = task_state_refused(&r);
    if (refused != NULL)
        fprintf(stderr, "VM entry refuses: %s\n", refused);
    expect(refused == NULL);
    expect(result != TASK_DONE || !r.has_pending);
    if (result == TASK_FAULT)
        expect(fault.vector == 1 || (fault.vector >= 10 && fault.vector <= 14));
    bool is_committed = r.tr.selector != before.tr.selector;
    expect(is_committed || (result == TASK_FAULT && memcmp(&before, &r, sizeof(r)) == 0));
    // But for accessed and dirty bits.
    expect(is_committed || memcmp(copy, ram, TABLES) == 0);
    expect(rom == RAM_SIZE || memcmp(copy + rom, ram + rom, PAGE_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    uint8_t *ram = calloc(1, RAM_SIZE);
    expect(ram != NULL);
    switch_once(&input, ram);
    free(ram);
    return 0;
}
