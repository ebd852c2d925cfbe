// SPDX-License-Identifier: Apache-2.0
// A guest of one CPU, 32 KiB of RAM and a device, for the tests of the emulator.
#pragma once

#include <criterion/criterion.h>
#include <string.h>

#include "vmm/emulate/alu.h"
#include "vmm/emulate/emulate.h"

#define RAM_SIZE    0x8000u
#define CODE        0x1000u
#define DATA        0x4000u
#define STACK       0x6000u
#define DEVICE      UINT64_C(0xfee00000)
#define DEVICE_SIZE 2048u
#define MIDDLE      1024u

#define FLAGS_RESULT 0x8d5u // CF PF AF ZF SF OF
#define FLAG_CF      0x001u
#define FLAG_PF      0x004u
#define FLAG_ZF      0x040u
#define FLAG_DF      0x400u
#define FLAG_RF      0x10000u
#define FLAG_AC      0x40000u

#define CR0_PG_WP (UINT64_C(1) << 31 | UINT64_C(1) << 16)
#define CR0_PE    UINT64_C(1)
#define CR0_AM    (UINT64_C(1) << 18)
#define CR4_PAE   (UINT64_C(1) << 5)
#define EFER_LMA  (UINT64_C(1) << 10)

struct guest {
    _Alignas(4096) uint8_t ram[RAM_SIZE];
    uint8_t device[DEVICE_SIZE];
    uint64_t gpr[16];
    uint64_t rip;
    uint64_t rflags;
    struct vcpu_segment segment[6];
    struct walk_ctx walk;
    struct emulate_ctx ctx;
    struct insn insn;
    unsigned read_count;
    unsigned write_count;
    struct {
        uint64_t gpa;
        unsigned size;
    } last;
};

static struct guest guest;

static inline void *guest_ptr(void *opaque, uint64_t gpa, uint64_t length, bool is_write) {
    struct guest *g = opaque;

    (void)is_write;
    return gpa < RAM_SIZE && length <= RAM_SIZE - gpa ? g->ram + gpa : NULL;
}

static inline uint64_t mmio_read(void *opaque, uint64_t gpa, unsigned size) {
    struct guest *g = opaque;
    uint64_t value = UINT64_C(0xa5a5a5a5a5a5a5a5); // rubbish above the size

    cr_assert(gpa >= DEVICE && gpa - DEVICE + size <= DEVICE_SIZE, "%llx", (unsigned long long)gpa);
    cr_assert(size == 1 || size == 2 || size == 4 || size == 8);
    memcpy(&value, g->device + (gpa - DEVICE), size);
    g->read_count++;
    g->last.gpa = gpa;
    g->last.size = size;
    return value;
}

static inline void mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t value) {
    struct guest *g = opaque;

    cr_assert(gpa >= DEVICE && gpa - DEVICE + size <= DEVICE_SIZE, "%llx", (unsigned long long)gpa);
    cr_assert(size == 1 || size == 2 || size == 4 || size == 8);
    cr_assert(size == 8 || value >> size * 8 == 0);
    memcpy(g->device + (gpa - DEVICE), &value, size);
    g->write_count++;
    g->last.gpa = gpa;
    g->last.size = size;
}

// A guest without paging (which 64-bit code cannot have, but the emulator need not know).
static inline void start(enum decode_mode mode, const uint8_t *code, size_t count) {
    memset(&guest, 0, sizeof guest);
    memcpy(guest.ram + CODE, code, count);
    guest.rip = CODE;
    guest.rflags = 2;
    guest.gpr[INSN_RSP] = STACK;
    for (unsigned k = 0; k < 6; k++)
        guest.segment[k] = (struct vcpu_segment){.limit = UINT32_MAX, .attributes = 0xc093};
    guest.segment[INSN_CS].attributes = 0xc09b;
    guest.walk = (struct walk_ctx){
        .efer = mode == DECODE_64BIT ? EFER_LMA : 0,
        .physical_bits = 40,
        .guest_ptr = guest_ptr,
        .opaque = &guest,
    };
    guest.ctx = (struct emulate_ctx){
        .gpr = guest.gpr,
        .rip = &guest.rip,
        .rflags = &guest.rflags,
        .segment = guest.segment,
        .mode = mode,
        .walk = &guest.walk,
        .mmio_read = mmio_read,
        .mmio_write = mmio_write,
        .opaque = &guest,
    };
}

#define START(MODE, ...)                                                                           \
    start(MODE, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static inline enum emulate_result run(void) {
    return emulate_exit(&guest.ctx, &guest.insn);
}

static inline void device_set(unsigned at, uint64_t value) {
    memcpy(guest.device + at, &value, sizeof value);
}

static inline uint64_t device_get(unsigned at) {
    uint64_t value;

    memcpy(&value, guest.device + at, sizeof value);
    return value;
}

// Four levels of tables at 0 to 0x3fff below the code: linear = physical for all RAM, DEVICE at
// 0x400000; page 5 of RAM is read-only, page 7 not present.
static inline void enable_paging(void) {
    static uint64_t tables[4][512];
    static const unsigned rights = 0x3;

    memset(tables, 0, sizeof tables);
    tables[0][0] = 0x7000 | rights;
    tables[1][0] = 0x2000 | rights;
    tables[2][0] = 0x3000 | rights;
    tables[2][2] = DEVICE | rights | 0x80;
    for (unsigned k = 0; k < 7; k++)
        tables[3][k] = k << 12 | (k == 5 ? 1 : rights);
    memcpy(guest.ram, tables[0], 4096);
    memcpy(guest.ram + 0x7000, tables[1], 4096);
    memcpy(guest.ram + 0x2000, tables[2], 4096);
    memcpy(guest.ram + 0x3000, tables[3], 4096);
    guest.walk.cr0 = CR0_PG_WP;
    guest.walk.cr4 = CR4_PAE;
    guest.walk.cr3 = 0;
}

#define DEVICE_LINEAR UINT64_C(0x400000)

// What lies from 4 GiB on, and in the last page below: DATA, which begins with `opcode` [eax], ecx.
static inline void tables_above_4g(uint8_t opcode) {
    static const struct {
        unsigned at, value;
    } entries[] = {
        {0x7000 + 8 * 3, 0x5003},     {0x7000 + 8 * 4, 0x5003}, {0x5000, 0x6003},
        {0x5000 + 8 * 511, 0x6003},   {0x6000, DATA | 3},       {0x6008, DATA | 3},
        {0x6000 + 8 * 511, DATA | 3},
    };

    for (unsigned k = 0; k < sizeof entries / sizeof entries[0]; k++)
        memcpy(guest.ram + entries[k].at, &(uint64_t){entries[k].value}, 8);
    guest.ram[DATA] = opcode;
    guest.ram[DATA + 1] = 0x08;
}

static inline void expect_fault(uint8_t vector, bool has_error_code, uint32_t error_code,
                                uint64_t cr2) {
    cr_assert_eq(run(), EMULATE_FAULT);
    cr_assert_eq(guest.ctx.fault.vector, vector, "%u", guest.ctx.fault.vector);
    cr_assert_eq(guest.ctx.fault.has_error_code, has_error_code);
    cr_assert_eq(guest.ctx.fault.error_code, error_code, "%x", guest.ctx.fault.error_code);
    cr_assert_eq(guest.ctx.fault.cr2, cr2, "%llx", (unsigned long long)guest.ctx.fault.cr2);
    cr_assert_eq(guest.rip, CODE);
}

static inline void tell_exit(uint64_t gva, uint64_t gpa, uint8_t access) {
    guest.ctx.has_exit = true;
    guest.ctx.exit_access = access;
    guest.ctx.exit_gva = gva;
    guest.ctx.exit_gpa = gpa;
}
