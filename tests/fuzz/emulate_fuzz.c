// SPDX-License-Identifier: Apache-2.0
// The VMM's emulator on what a guest may give it: code, page tables, registers and mode are the input's. RAM is 64 KiB of
// exactly allocated memory, so that the sanitizers see an access beside it; everything else is a device. Devices are
// asked for 1, 2, 4 or 8 bytes within a page; RIP moves by the instruction's length or to where a branch goes, and only when
// it is done.
#include "tests/fuzz/input.h"
#include "vmm/emulate.h"

#include <stdlib.h>
#include <string.h>

#define RAM_SIZE   0x10000u
#define PAGE_BYTES 0x1000u
#define TABLES     0x8000u
#define CR0_PE     UINT64_C(1)
#define CR0_PG     (UINT64_C(1) << 31)
#define CR4_PAE    (UINT64_C(1) << 5)
#define EFER_LMA   (UINT64_C(1) << 10)
#define PHYSICAL   39u

static void expect(bool is_true) {
    if (!is_true)
        abort();
}

static void *guest_ptr(void *opaque, uint64_t gpa, uint64_t length, bool is_write) {
    (void)is_write;
    expect(length <= PAGE_BYTES);
    return gpa < RAM_SIZE && length <= RAM_SIZE - gpa ? (uint8_t *)opaque + gpa : NULL;
}

static void check_access(uint64_t gpa, unsigned size) {
    expect(size == 1 || size == 2 || size == 4 || size == 8);
    expect(gpa % PAGE_BYTES + size <= PAGE_BYTES);
    expect(gpa < UINT64_C(1) << PHYSICAL);
}

static uint64_t mmio_read(void *opaque, uint64_t gpa, unsigned size) {
    (void)opaque;
    check_access(gpa, size);
    return gpa * UINT64_C(0x9e3779b97f4a7c15);
}

static void mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t value) {
    (void)opaque;
    check_access(gpa, size);
    expect(size == 8 || value >> size * 8 == 0);
}

// Tables whose entries point at tables, RAM, devices, or are what the input says.
static void fill_tables(uint8_t *ram, struct input *input) {
    for (unsigned i = input_byte(input) % 64; i > 0; i--) {
        uint64_t at = TABLES + input_number(input, 2) % (RAM_SIZE - TABLES) / 8 * 8;
        uint64_t entry = input_number(input, 2) << 8 | 7;
        if (input_byte(input) & 1)
            entry = input_number(input, 8);
        memcpy(ram + at, &entry, sizeof(entry));
    }
}

static struct walk_ctx walk_of(struct input *input, uint8_t *ram) {
    static const struct {
        uint64_t cr0, cr4, efer;
    } paging[] = {
        {CR0_PE, 0, 0},
        {CR0_PE | CR0_PG, 0, 0},
        {CR0_PE | CR0_PG, CR4_PAE, 0},
        {CR0_PE | CR0_PG, CR4_PAE, EFER_LMA},
    };
    unsigned kind = input_byte(input) % 4;
    return (struct walk_ctx){
        .cr0 = paging[kind].cr0 | (input_number(input, 4) & 0x7ffffffe),
        .cr3 = TABLES + input_byte(input) % 8 * PAGE_BYTES,
        .cr4 = paging[kind].cr4 | (input_number(input, 3) & ~(uint64_t)(CR4_PAE | 1 << 12)),
        .efer = paging[kind].efer | (uint64_t)(input_byte(input) & 8) << 8,
        .rflags = input_number(input, 3),
        .cpl = input_byte(input) & 3,
        .physical_bits = PHYSICAL,
        .has_1g_pages = input_byte(input) & 1,
        .guest_ptr = guest_ptr,
        .opaque = ram,
    };
}

static void emulate_once(struct input *input, uint8_t *ram) {
    static const enum decode_mode modes[] = {DECODE_16BIT, DECODE_32BIT, DECODE_64BIT};
    uint64_t gpr[16], rip = input_number(input, 2), rflags = input_number(input, 3), before;
    struct vcpu_segment segments[6] = {{0}};
    struct walk_ctx walk = walk_of(input, ram);
    struct insn insn;
    struct emulate_ctx ctx = {
        .gpr = gpr,
        .rip = &rip,
        .rflags = &rflags,
        .segment = segments,
        .mode = modes[input_byte(input) % 3],
        .walk = &walk,
        .mmio_read = mmio_read,
        .mmio_write = mmio_write,
        .opaque = ram,
    };
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = input_number(input, input_byte(input) % 9);
    for (unsigned i = 0; i < 6; i++) {
        segments[i].base = input_byte(input) & 1 ? input_number(input, 4) : 0;
        segments[i].limit = input_byte(input) & 1 ? (uint32_t)input_number(input, 4) : UINT32_MAX;
        segments[i].attributes = input_byte(input) & 1 ? (uint16_t)input_number(input, 2) : 0xc093;
    }
    fill_tables(ram, input);
    for (unsigned i = 0; i < DECODE_BYTES; i++)
        ram[(rip + i) % RAM_SIZE] = input_byte(input);
    before = rip;
    enum emulate_result result = emulate_exit(&ctx, &insn);
    bool is_branch = insn.op == INSN_CALL || insn.op == INSN_JMP;
    if (result == EMULATE_DONE)
        expect(insn.length >= 1 && insn.length <= DECODE_BYTES &&
               (is_branch || (uint32_t)(rip - before) == insn.length));
    else
        expect(rip == before);
    if (result == EMULATE_FAULT)
        expect(ctx.fault.vector < 32);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    uint8_t *ram = calloc(1, RAM_SIZE);
    expect(ram != NULL);
    emulate_once(&input, ram);
    free(ram);
    return 0;
}
