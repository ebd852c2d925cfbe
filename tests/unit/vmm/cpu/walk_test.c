// SPDX-License-Identifier: Apache-2.0
//
// The walk of guest page tables, over tables built by hand in a small guest memory.

#include <criterion/criterion.h>
#include <string.h>

#include "vmm/cpu/walk.h"

#define RAM_SIZE  0x10000u
#define ROM_START 0xc000u // read-only from here on
#define TABLE5    0x1000u
#define TABLE4    0x2000u
#define TABLE3    0x3000u
#define TABLE2    0x4000u
#define TABLE1    0x5000u
#define PAGE      0x8000u

#define P  0x1u
#define W  0x2u
#define U  0x4u
#define A  0x20u
#define D  0x40u
#define PS 0x80u
#define NX (UINT64_C(1) << 63)

#define CR0_WP    (UINT64_C(1) << 16)
#define CR0_PG    (UINT64_C(1) << 31)
#define CR4_PSE   (UINT64_C(1) << 4)
#define CR4_PAE   (UINT64_C(1) << 5)
#define CR4_LA57  (UINT64_C(1) << 12)
#define CR4_SMEP  (UINT64_C(1) << 20)
#define CR4_SMAP  (UINT64_C(1) << 21)
#define EFER_LMA  (UINT64_C(1) << 10)
#define EFER_NXE  (UINT64_C(1) << 11)
#define RFLAGS_AC (UINT64_C(1) << 18)

struct guest {
    _Alignas(4096) uint8_t ram[RAM_SIZE];
    struct walk_ctx ctx;
    struct walk_result result;
    unsigned writes_asked;
    uint64_t change_at; // an entry that changes when the walk asks to write, once
    uint64_t change_to;
};

static struct guest guest;

static void *guest_ptr(void *opaque, uint64_t gpa, uint64_t length, bool is_write) {
    struct guest *g = opaque;

    if (gpa >= RAM_SIZE || length > RAM_SIZE - gpa)
        return NULL;
    if (is_write) {
        g->writes_asked++;
        if (g->change_at) {
            memcpy(g->ram + g->change_at, &g->change_to, sizeof g->change_to);
            g->change_at = 0;
        }
        if (gpa >= ROM_START)
            return NULL;
    }
    return g->ram + gpa;
}

static void set(uint64_t table, unsigned index, uint64_t entry) {
    memcpy(guest.ram + table + index * sizeof entry, &entry, sizeof entry);
}

static void set32(uint64_t table, unsigned index, uint32_t entry) {
    memcpy(guest.ram + table + index * sizeof entry, &entry, sizeof entry);
}

static uint64_t get(uint64_t table, unsigned index) {
    uint64_t entry;

    memcpy(&entry, guest.ram + table + index * sizeof entry, sizeof entry);
    return entry;
}

// 64-bit guest; linear 0x1234 of all tables' entry 0 is at PAGE + 0x234.
static void start_long(void) {
    memset(&guest, 0, sizeof guest);
    guest.ctx = (struct walk_ctx){
        .cr0 = CR0_PG | CR0_WP,
        .cr3 = TABLE4 | 0xfff, // PCID bits are no address
        .cr4 = CR4_PAE,
        .efer = EFER_LMA | EFER_NXE,
        .physical_bits = 40,
        .has_1g_pages = true,
        .guest_ptr = guest_ptr,
        .opaque = &guest,
    };
    set(TABLE4, 0, TABLE3 | P | W | U);
    set(TABLE3, 0, TABLE2 | P | W | U);
    set(TABLE2, 0, TABLE1 | P | W | U);
    set(TABLE1, 1, PAGE | P | W | U);
}

static enum walk_status walk(uint64_t gva, unsigned access) {
    memset(&guest.result, 0xee, sizeof guest.result);
    return walk_translate(&guest.ctx, gva, access, &guest.result);
}

static void expect_gpa(uint64_t gva, unsigned access, uint64_t gpa) {
    cr_assert_eq(walk(gva, access), WALK_OK);
    cr_assert_eq(guest.result.gpa, gpa, "%llx", (unsigned long long)guest.result.gpa);
}

static void expect_fault(uint64_t gva, unsigned access, uint32_t error_code) {
    cr_assert_eq(walk(gva, access), WALK_PAGE_FAULT);
    cr_assert_eq(guest.result.error_code, error_code, "%x", guest.result.error_code);
}

Test(walk, without_paging_is_identity) {
    start_long();
    guest.ctx.cr0 = 0;
    expect_gpa(0x12345, WALK_WRITE, 0x12345);
    guest.ctx.efer = 0;
    expect_gpa(UINT64_C(0x1fee00020), WALK_READ, 0xfee00020);
}

Test(walk, four_levels_of_4k) {
    start_long();
    expect_gpa(0x1234, WALK_READ, PAGE + 0x234);
    expect_fault(0x2234, WALK_READ, 0);
    expect_fault(0x2234, WALK_WRITE, WALK_ERROR_WRITE);
    guest.ctx.cpl = 3;
    expect_fault(0x2234, WALK_FETCH, WALK_ERROR_USER | WALK_ERROR_FETCH);
}

Test(walk, indices_of_every_level) {
    start_long();
    set(TABLE4, 0x1ab, TABLE3 | P);
    set(TABLE3, 0x0cd, TABLE2 | P);
    set(TABLE2, 0x1ff, TABLE1 | P);
    set(TABLE1, 0x101, PAGE | P);
    expect_gpa(UINT64_C(0xffff000000000000) | UINT64_C(0x1ab) << 39 | UINT64_C(0x0cd) << 30 |
                   UINT64_C(0x1ff) << 21 | 0x101 << 12 | 0x678,
               WALK_READ, PAGE + 0x678);
}

Test(walk, five_levels) {
    start_long();
    guest.ctx.cr4 |= CR4_LA57;
    guest.ctx.cr3 = TABLE5;
    set(TABLE5, 0x100, TABLE4 | P | W);
    expect_gpa(UINT64_C(0xff00000000001234), WALK_WRITE, PAGE + 0x234);
    cr_assert_eq(get(TABLE5, 0x100), TABLE4 | P | W | A);
    cr_assert_eq(walk(UINT64_C(0x0100000000001234), WALK_READ), WALK_NONCANONICAL);
    set(TABLE5, 0x100, TABLE4 | P | PS);
    expect_fault(UINT64_C(0xff00000000001234), WALK_READ, WALK_ERROR_PRESENT | WALK_ERROR_RESERVED);
}

Test(walk, noncanonical) {
    start_long();
    cr_assert_eq(walk(UINT64_C(0x0000800000000000), WALK_READ), WALK_NONCANONICAL);
    cr_assert_eq(walk(UINT64_C(0xffff7fffffffffff), WALK_READ), WALK_NONCANONICAL);
    expect_fault(UINT64_C(0xffff800000000000), WALK_READ, 0);
}

Test(walk, large_pages) {
    start_long();
    set(TABLE2, 1, UINT64_C(0x80200000) | P | PS | 0x1000); // PAT is no address bit
    expect_gpa(0x2abcde, WALK_READ, 0x802abcde);
    set(TABLE3, 1, UINT64_C(0x1c0000000) | P | PS);
    expect_gpa(0x52345678, WALK_READ, UINT64_C(0x1d2345678));
    guest.ctx.has_1g_pages = false;
    expect_fault(0x52345678, WALK_READ, WALK_ERROR_PRESENT | WALK_ERROR_RESERVED);
}

Test(walk, reserved_bits) {
    const uint32_t reserved = WALK_ERROR_PRESENT | WALK_ERROR_RESERVED;

    start_long();
    set(TABLE2, 1, UINT64_C(0x80200000) | P | PS | 0x2000);
    expect_fault(0x200000, WALK_READ, reserved);
    set(TABLE3, 1, UINT64_C(0x40000000) | P | PS | UINT64_C(1) << 29);
    expect_fault(0x40000000, WALK_WRITE, reserved | WALK_ERROR_WRITE);
    set(TABLE4, 1, TABLE3 | P | PS);
    expect_fault(UINT64_C(1) << 39, WALK_READ, reserved);
    for (unsigned bit = 40; bit < 52; bit++) {
        set(TABLE1, 2, PAGE | P | UINT64_C(1) << bit);
        expect_fault(0x2000, WALK_READ, reserved);
    }
    set(TABLE1, 2, PAGE | P | UINT64_C(0x7ff) << 52); // ignored
    expect_gpa(0x2000, WALK_READ, PAGE);
    set(TABLE1, 2, PAGE | NX); // not present is looked at first
    expect_fault(0x2000, WALK_READ, 0);
    guest.ctx.efer &= ~EFER_NXE;
    set(TABLE1, 2, PAGE | P | NX);
    expect_fault(0x2000, WALK_READ, reserved);
    expect_fault(0x2000, WALK_FETCH, reserved); // no I/D without NXE and SMEP
}

// SDM 3A 4.6.1, sentence by sentence.
static bool manual_allows(const struct walk_ctx *c, unsigned access, bool user, bool writable,
                          bool nx) {
    bool supervisor_mode = c->cpl < 3;

    switch (access) {
    case WALK_READ:
        if (supervisor_mode)
            return !user || !(c->cr4 & CR4_SMAP) || c->rflags & RFLAGS_AC;
        return user;
    case WALK_WRITE:
        if (supervisor_mode && !user)
            return writable || !(c->cr0 & CR0_WP);
        if (supervisor_mode)
            return (writable || !(c->cr0 & CR0_WP)) &&
                   (!(c->cr4 & CR4_SMAP) || c->rflags & RFLAGS_AC);
        return user && writable;
    default:
        if (supervisor_mode && user && c->cr4 & CR4_SMEP)
            return false;
        return (supervisor_mode || user) && !nx;
    }
}

Test(walk, permissions_as_in_the_manual) {
    static const unsigned accesses[] = {WALK_READ, WALK_WRITE, WALK_FETCH};
    static const uint64_t tables[] = {TABLE4, TABLE3, TABLE2, TABLE1};
    unsigned refused = 0;

    for (unsigned k = 0; k < 1u << 8; k++) {
        for (unsigned level = 0; level < 4; level++) {
            for (unsigned a = 0; a < 3; a++) {
                bool user = k & 1, writable = k & 2, nx = k & 4;
                unsigned index = level == 3 ? 1 : 0;
                uint64_t entry;
                bool allowed;

                start_long();
                guest.ctx.cpl = k & 8 ? 3 : 1;
                guest.ctx.cr0 = CR0_PG | (k & 16 ? CR0_WP : 0);
                guest.ctx.cr4 = CR4_PAE | (k & 32 ? CR4_SMEP : 0) | (k & 64 ? CR4_SMAP : 0);
                guest.ctx.rflags = k & 128 ? RFLAGS_AC : 0;
                entry = get(tables[level], index) & ~(uint64_t)(U | W);
                entry |= (user ? U : 0) | (writable ? W : 0) | (nx ? NX : 0);
                set(tables[level], index, entry); // one level restricts, the others do not
                allowed = manual_allows(&guest.ctx, accesses[a], user, writable, nx);
                if (allowed) {
                    expect_gpa(0x1234, accesses[a], PAGE + 0x234);
                } else {
                    refused++;
                    expect_fault(0x1234, accesses[a],
                                 WALK_ERROR_PRESENT | accesses[a] | (k & 8 ? WALK_ERROR_USER : 0));
                    cr_assert_eq(get(tables[level], index), entry); // nothing marked
                }
            }
        }
    }
    cr_assert_gt(refused, 1000);
}

Test(walk, accessed_and_dirty) {
    start_long();
    cr_assert_eq(walk(0x1234, WALK_READ), WALK_OK);
    cr_assert_eq(get(TABLE4, 0), TABLE3 | P | W | U | A);
    cr_assert_eq(get(TABLE3, 0), TABLE2 | P | W | U | A);
    cr_assert_eq(get(TABLE2, 0), TABLE1 | P | W | U | A);
    cr_assert_eq(get(TABLE1, 1), PAGE | P | W | U | A);
    cr_assert_eq(walk(0x1234, WALK_WRITE), WALK_OK);
    cr_assert_eq(get(TABLE2, 0), TABLE1 | P | W | U | A);
    cr_assert_eq(get(TABLE1, 1), PAGE | P | W | U | A | D);
    guest.writes_asked = 0;
    cr_assert_eq(walk(0x1234, WALK_WRITE), WALK_OK);
    cr_assert_eq(guest.writes_asked, 0);
}

Test(walk, dirty_goes_to_the_large_entry) {
    start_long();
    set(TABLE2, 1, PS | P | W | UINT64_C(0x200000));
    cr_assert_eq(walk(0x200000, WALK_WRITE), WALK_OK);
    cr_assert_eq(get(TABLE2, 1), UINT64_C(0x200000) | PS | P | W | A | D);
}

Test(walk, tables_in_rom_are_read_only) {
    start_long();
    guest.ctx.cr3 = ROM_START;
    set(ROM_START, 0, TABLE3 | P | W);
    expect_gpa(0x1234, WALK_WRITE, PAGE + 0x234);
    cr_assert_eq(get(ROM_START, 0), TABLE3 | P | W);
}

// Another vCPU unmaps the page between the walk's load and its marking: no bit may land in the new
// entry, and the walk must see it.
Test(walk, entry_that_changes_is_walked_again) {
    start_long();
    set(TABLE4, 0, TABLE3 | P | W | U | A);
    set(TABLE3, 0, TABLE2 | P | W | U | A);
    set(TABLE2, 0, TABLE1 | P | W | U | A);
    guest.change_at = TABLE1 + sizeof(uint64_t);
    guest.change_to = UINT64_C(0x123456789a) << 12;
    expect_fault(0x1234, WALK_READ, 0);
    cr_assert_eq(get(TABLE1, 1), UINT64_C(0x123456789a) << 12);
}

Test(walk, table_outside_memory) {
    start_long();
    set(TABLE2, 0, UINT64_C(0xfee00000) | P | W);
    expect_fault(0x1234, WALK_READ, WALK_ERROR_PRESENT | WALK_ERROR_RESERVED);
    guest.ctx.cr3 = UINT64_C(0xfee00000);
    expect_fault(0x1234, WALK_READ, WALK_ERROR_PRESENT | WALK_ERROR_RESERVED);
}

Test(walk, fast_window_gives_the_same) {
    start_long();
    guest.ctx.ram = guest.ram;
    guest.ctx.ram_size = RAM_SIZE;
    expect_gpa(0x1234, WALK_WRITE, PAGE + 0x234);
    cr_assert_eq(get(TABLE1, 1), PAGE | P | W | U | A | D);
    guest.ctx.ram_start = TABLE3;
    guest.ctx.ram_size = 0x1000;
    expect_gpa(0x1234, WALK_WRITE, PAGE + 0x234);
    guest.ctx.ram_low_size = TABLE3;
    expect_gpa(0x1234, WALK_WRITE, PAGE + 0x234);
}

static uint64_t random_state;

static uint64_t draw(void) {
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return random_state >> 33;
}

// Tables that are right but for a bit or two, seen by each kind of access.
static void draw_guest(void) {
    const uint64_t bits[] = {P,
                             W,
                             U,
                             A,
                             D,
                             PS,
                             NX,
                             UINT64_C(1) << 12,
                             UINT64_C(1) << 13,
                             UINT64_C(1) << 45,
                             UINT64_C(0xfee00000)};
    const uint64_t tables[] = {TABLE4, TABLE3, TABLE2, TABLE1};

    start_long();
    for (unsigned i = 0; i < 4; i++) {
        unsigned index = i == 3 ? 1 : 0;
        uint64_t entry = get(tables[i], index) | A | D;
        if (draw() % 2 || i == 0)
            entry &= ~(uint64_t)U;
        if (i == 2 && draw() % 3 == 0)
            entry = P | W | PS | A | D;
        if (draw() % 6 == 0)
            entry ^= bits[draw() % (sizeof bits / sizeof *bits)];
        set(tables[i], index, entry);
    }
    guest.ctx.cpl = draw() % 3 ? 0 : 3;
    guest.ctx.cr4 |= (draw() % 2 ? CR4_SMEP : 0) | (draw() % 2 ? CR4_SMAP : 0);
    guest.ctx.efer = EFER_LMA | (draw() % 2 ? EFER_NXE : 0);
    guest.ctx.rflags = draw() % 2 ? RFLAGS_AC : 0;
    guest.ctx.has_1g_pages = draw() % 2;
}

// walk_plain takes what it can only where all tables are plain RAM.
Test(walk, plain_tables_give_the_same) {
    const unsigned accesses[] = {WALK_READ, WALK_WRITE, WALK_FETCH};
    unsigned good = 0;

    for (random_state = 1; good < 5000;) {
        uint64_t gva = draw() % 16 ? 0x1234 : UINT64_C(0x0000800000001234);
        unsigned access = accesses[draw() % 3];
        draw_guest();
        struct guest before = guest;
        enum walk_status status = walk(gva, access);
        struct walk_result result = guest.result;
        struct guest after = guest;
        guest = before;
        guest.ctx.ram = guest.ram;
        guest.ctx.ram_low_size = RAM_SIZE;
        cr_assert_eq(walk(gva, access), status);
        if (status == WALK_OK)
            cr_assert_eq(guest.result.gpa, result.gpa);
        if (status == WALK_PAGE_FAULT)
            cr_assert_eq(guest.result.error_code, result.error_code);
        cr_assert_arr_eq(guest.ram, after.ram, RAM_SIZE);
        good += status == WALK_OK;
    }
}

Test(walk, pae) {
    start_long();
    guest.ctx.efer = EFER_NXE;
    guest.ctx.cr3 = TABLE3 + 0x20;  // 32-byte aligned
    set(TABLE3, 4 + 3, TABLE2 | P); // no rights in a PDPTE
    set(TABLE2, 0x1f0, TABLE1 | P | W | U);
    set(TABLE1, 7, PAGE | P | W | U);
    guest.ctx.cpl = 3;
    expect_gpa(0xfe007abc, WALK_WRITE, PAGE + 0xabc);
    cr_assert_eq(get(TABLE3, 7), TABLE2 | P); // nor an accessed bit
    cr_assert_eq(get(TABLE2, 0x1f0), TABLE1 | P | W | U | A);
    expect_fault(0x00001000, WALK_READ, WALK_ERROR_USER);
    set(TABLE1, 7, PAGE | P | W | U | UINT64_C(1) << 52); // ignored in long mode only
    expect_fault(0xfe007abc, WALK_READ, WALK_ERROR_PRESENT | WALK_ERROR_RESERVED | WALK_ERROR_USER);
    set(TABLE1, 7, PAGE | P | W | U | NX);
    expect_fault(0xfe007abc, WALK_FETCH, WALK_ERROR_PRESENT | WALK_ERROR_FETCH | WALK_ERROR_USER);
}

Test(walk, legacy_32_bit) {
    start_long();
    guest.ctx.efer = 0;
    guest.ctx.cr4 = 0;
    guest.ctx.cr3 = TABLE2 | 0x18;
    set32(TABLE2, 0x3ff, TABLE1 | P | W | PS); // PS means nothing without CR4.PSE
    set32(TABLE1, 0x3fe, PAGE | P | W);
    expect_gpa(0xffffe123, WALK_WRITE, PAGE + 0x123);
    cr_assert_eq((uint32_t)get(TABLE1, 0x3fe / 2), PAGE | P | W | A | D);
    expect_gpa(0xffffe123, WALK_FETCH, PAGE + 0x123);
    guest.ctx.cpl = 3;
    expect_fault(0xffffe123, WALK_FETCH, WALK_ERROR_PRESENT | WALK_ERROR_USER); // no I/D bit
    guest.ctx.cr4 = CR4_SMEP;
    expect_fault(0xffffe123, WALK_FETCH, WALK_ERROR_PRESENT | WALK_ERROR_USER | WALK_ERROR_FETCH);
}

Test(walk, pse36) {
    start_long();
    guest.ctx.efer = 0;
    guest.ctx.cr4 = CR4_PSE;
    guest.ctx.cr3 = TABLE2;
    set32(TABLE2, 1, 0x00800000u | P | W | PS | 0xa5u << 13);
    expect_gpa(0x00412345, WALK_WRITE, UINT64_C(0xa500812345));
    guest.ctx.physical_bits = 39; // bit 39 is bit 20 of the entry
    expect_fault(0x00412345, WALK_READ, WALK_ERROR_PRESENT | WALK_ERROR_RESERVED);
    guest.ctx.physical_bits = 40;
    set32(TABLE2, 1, 0x00800000u | P | W | PS | 1u << 21);
    expect_fault(0x00412345, WALK_READ, WALK_ERROR_PRESENT | WALK_ERROR_RESERVED);
}

Test(walk, fetch_across_pages) {
    struct walk_code code;

    start_long();
    set(TABLE1, 2, 0x6000 | P);
    for (unsigned k = 0; k < WALK_CODE_BYTES; k++) {
        guest.ram[PAGE + 0xffa + k] = (uint8_t)(k + 1);
        guest.ram[0x6000 + k] = (uint8_t)(k + 0x41);
    }
    walk_fetch(&guest.ctx, 0x1ffa, true, &code);
    cr_assert_eq(code.status, WALK_OK);
    cr_assert_eq(code.count, WALK_CODE_BYTES);
    cr_assert_eq(code.bytes[5], 6);
    cr_assert_eq(code.bytes[6], 0x41);
    cr_assert_eq(code.bytes[15], 0x4a);
    set(TABLE1, 2, 0x6000 | P | NX);
    walk_fetch(&guest.ctx, 0x1ffa, true, &code);
    cr_assert_eq(code.status, WALK_PAGE_FAULT);
    cr_assert_eq(code.count, 6);
    cr_assert_eq(code.fault_gva, 0x2000);
    cr_assert_eq(code.error_code, WALK_ERROR_PRESENT | WALK_ERROR_FETCH);
    set(TABLE1, 2, UINT64_C(0xfee00000) | P);
    walk_fetch(&guest.ctx, 0x1ffa, true, &code);
    cr_assert_eq(code.status, WALK_OK);
    cr_assert_eq(code.count, WALK_CODE_BYTES);
    cr_assert_eq(code.bytes[5], 6);
    cr_assert_eq(code.bytes[6], 0xff, "nothing answers there");
    cr_assert_eq(code.bytes[15], 0xff);
    walk_fetch(&guest.ctx, 0x1ff0, true, &code);
    cr_assert_eq(code.status, WALK_OK);
    cr_assert_eq(code.count, WALK_CODE_BYTES);
}

// SDM 1 3.3.7 "Address Calculations in 64-Bit Mode": outside of it a sum of base and offset has 32
// bits.
Test(walk, fetch_beyond_4_gib_wraps_outside_64_bit_code) {
    const uint64_t beyond = UINT64_C(0x100000000);
    struct walk_code code;

    start_long();
    set(TABLE1, 2, 0x6000 | P);
    guest.ram[PAGE + 0xffa] = 0x11;
    guest.ram[0x6000] = 0x22;
    for (unsigned at = 0xff0; at <= 0xffa; at += 10) { // within a page, and across two
        walk_fetch(&guest.ctx, beyond + 0x1000 + at, false, &code);
        cr_assert_eq(code.status, WALK_OK);
        cr_assert_eq(code.bytes[0xffa - at], 0x11);
        walk_fetch(&guest.ctx, beyond + 0x1000 + at, true, &code);
        cr_assert_eq(code.status, WALK_PAGE_FAULT);
        cr_assert_eq(code.fault_gva, beyond + 0x1000 + at);
    }
    cr_assert_eq(code.count, 0);
    walk_fetch(&guest.ctx, beyond + 0x1ffa, false, &code);
    cr_assert_eq(code.bytes[6], 0x22);
}
