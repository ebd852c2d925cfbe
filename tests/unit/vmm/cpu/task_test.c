// SPDX-License-Identifier: Apache-2.0
// Hardware task switches on registers and memory of paper, without paging: what is saved, loaded
// and marked, and each row of SDM 3A Table 8-1 "Exception Conditions Checked During a Task Switch".
// Paging and hostile tables: tests/fuzz/task_fuzz.c.
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/vmm/cpu/task_support.h"
#include "vmm/cpu/task.h"

#define RAM_SIZE 0x8000u
#define PAGE     0x1000u
#define GDT      0x1000u
#define OLD      0x2000u
#define NEW      0x3000u
#define LDT      0x4000u

enum {
    S_DATA = 0x08,
    S_CODE = 0x10,
    S_OLD = 0x18,
    S_NEW = 0x20,
    S_LDT = 0x28,
    S_TEST = 0x30,
    S_END = 0x38
};
#define FLAT          0x00cf000000000000ULL
#define CODE          (FLAT | 0x00009a000000ffffULL)
#define DATA          (FLAT | 0x000092000000ffffULL)
#define ABSENT        (~0x0000800000000000ULL)
#define DPL3          0x0000600000000000ULL
#define TSS(at, type) (0x67ULL | (uint64_t)(at) << 16 | (uint64_t)(type) << 40)
#define BUSY_BIT      0x0000020000000000ULL
#define NT            0x4000u

static _Alignas(4096) uint8_t ram[RAM_SIZE];
static struct vcpu_registers r;
static struct task_fault fault;
static struct task_request request;
static uint64_t rom_page; // of what is there and takes no writes

static void *guest_ptr(void *opaque, uint64_t gpa, uint64_t length, bool is_write) {
    (void)opaque;
    if (is_write && gpa / PAGE == rom_page)
        return NULL;
    return gpa < RAM_SIZE && length <= RAM_SIZE - gpa ? ram + gpa : NULL;
}
static void put(uint32_t at, uint64_t value, unsigned size) {
    memcpy(ram + at, &value, size);
}
static uint32_t get(uint32_t at, unsigned size) {
    uint32_t value = 0;
    memcpy(&value, ram + at, size);
    return value;
}
static uint64_t entry(unsigned selector) {
    uint64_t value;
    memcpy(&value, ram + GDT + (selector & ~7u), sizeof(value));
    return value;
}

static void task_set_up(void) {
    const struct vcpu_segment flat = {S_DATA, 0xc093, UINT32_MAX, 0};
    memset(ram, 0, sizeof(ram));
    rom_page = UINT64_MAX;
    r = (struct vcpu_registers){.rip = 0x5000,
                                .rflags = 0x202,
                                .cr0 = 1,
                                .dr7 = 0x7ff,
                                .es = flat,
                                .ss = flat,
                                .ds = flat,
                                .fs = flat,
                                .gs = flat,
                                .cs = {S_CODE, 0xc09b, UINT32_MAX, 0},
                                .ldtr = {.attributes = VCPU_SEGMENT_UNUSABLE},
                                .tr = {S_OLD, 0x8b, 0x67, OLD},
                                .gdtr = {.base = GDT, .limit = S_END - 1},
                                .interruptibility = 8,
                                .pending_debug = 1 << 14};
    for (unsigned i = 0; i < 8; i++)
        r.gpr[i] = 0x1000 + i;
    request = (struct task_request){.selector = S_NEW,
                                    .source = VCPU_TASK_JUMP,
                                    .instruction_length = 7,
                                    .memory = {.physical_bits = 39, .guest_ptr = guest_ptr}};
    put(GDT + S_DATA, DATA, 8);
    put(GDT + S_CODE, CODE, 8);
    put(GDT + S_OLD, TSS(OLD, 0x8b), 8);
    put(GDT + S_NEW, TSS(NEW, 0x89), 8);
    put(GDT + S_LDT, TSS(LDT, 0x82), 8);
    put(NEW + 0x20, 0x6000, 4); // EIP
    put(NEW + 0x24, 2, 4);
    for (unsigned i = 0; i < 8; i++)
        put(NEW + 0x28 + 4 * i, 0x2000 + i, 4);
    for (unsigned i = 0; i < 6; i++)
        put(NEW + 0x48 + 4 * i, i == 1 ? S_CODE : S_DATA, 2);
}

TestSuite(vmm_task, .init = task_set_up);

static enum task_result go(void) {
    enum task_result result = task_switch(&request, &r, &fault);
    const char *refused = task_state_refused(&r);
    cr_expect_null(refused, "%s", refused);
    return result;
}

static void deliver(uint8_t type, uint8_t vector, bool has_error) {
    request.source = VCPU_TASK_GATE;
    request.has_event = true;
    request.event = (struct vcpu_inject){
        .type = type, .vector = vector, .has_error = has_error, .error = 0x1234, .length = 2};
    r.has_pending = 1;
}

Test(vmm_task, jump_saves_loads_and_marks) {
    cr_assert_eq(go(), TASK_DONE);
    cr_expect_eq(get(OLD + 0x20, 4), 0x5007);
    cr_expect_eq(get(OLD + 0x24, 4), 0x202);
    cr_expect_eq(get(OLD + 0x28, 4), 0x1000);
    cr_expect_eq(get(OLD + 0x44, 4), 0x1007);
    cr_expect_eq(get(OLD + 0x4c, 2), S_CODE);
    cr_expect_eq(get(OLD + 0x5c, 2), S_DATA);
    cr_expect_eq(r.rip, 0x6000);
    cr_expect_eq(r.rflags, 2);
    cr_expect_eq(r.gpr[4], 0x2004);
    cr_expect_eq(r.tr.selector, S_NEW);
    cr_expect_eq(r.tr.base, NEW);
    cr_expect(r.cr0 & 8, "TS");
    cr_expect_eq(r.dr7, 0x6aa, "the local breakpoints are the old task's");
    cr_expect_eq(r.pending_debug, 0);
    cr_expect_eq(r.interruptibility, 8, "a jump does not end an NMI");
    cr_expect_not(entry(S_OLD) & BUSY_BIT);
    cr_expect(entry(S_NEW) & BUSY_BIT);
    cr_expect_eq(get(NEW, 2), 0, "no link");
    cr_expect(entry(S_CODE) >> 40 & 1 && entry(S_DATA) >> 40 & 1, "accessed");
}

Test(vmm_task, call_links_and_iret_returns) {
    request.source = VCPU_TASK_CALL;
    cr_assert_eq(go(), TASK_DONE);
    cr_expect_eq(get(NEW, 2), S_OLD);
    cr_expect(r.rflags & NT);
    cr_expect(entry(S_OLD) & BUSY_BIT && entry(S_NEW) & BUSY_BIT);
    request = (struct task_request){.selector = S_OLD,
                                    .source = VCPU_TASK_IRET,
                                    .instruction_length = 1,
                                    .memory = request.memory};
    cr_assert_eq(go(), TASK_DONE);
    cr_expect_eq(r.rip, 0x5007);
    cr_expect_eq(r.gpr[7], 0x1007);
    cr_expect_not(get(NEW + 0x24, 4) & NT, "cleared in the image");
    cr_expect(entry(S_OLD) & BUSY_BIT && !(entry(S_NEW) & BUSY_BIT));
    cr_expect_eq(r.interruptibility, 0, "IRET ends an NMI");
}

Test(vmm_task, events_push_their_error_code) {
    put(NEW + 0x38, 0x7000, 4);
    deliver(3, 13, true);
    cr_assert_eq(go(), TASK_DONE);
    cr_expect_eq(get(OLD + 0x20, 4), 0x5000, "a fault");
    cr_expect_eq(r.gpr[4], 0x6ffc);
    cr_expect_eq(get(0x6ffc, 4), 0x1234);
    cr_expect_eq(r.has_pending, 0);
    task_set_up();
    deliver(4, 0x40, false);
    cr_assert_eq(go(), TASK_DONE);
    cr_expect_eq(get(OLD + 0x20, 4), 0x5002, "behind INT n");
    task_set_up();
    r.interruptibility = 0;
    deliver(2, 2, false);
    cr_assert_eq(go(), TASK_DONE);
    cr_expect_eq(r.interruptibility, 8, "an NMI");
}

Test(vmm_task, sixteen_bits) {
    put(GDT + S_NEW, TSS(NEW, 0x81) - 0x67 + 0x2b, 8);
    memset(ram + NEW, 0, 0x68);
    put(NEW + 0x0e, 0x6000, 2);
    put(NEW + 0x1a, 0x7000, 2);
    for (unsigned i = 0; i < 4; i++)
        put(NEW + 0x22 + 2 * i, i == 1 ? S_CODE : S_DATA, 2);
    deliver(3, 8, true);
    cr_assert_eq(go(), TASK_DONE);
    cr_expect_eq(r.rip, 0x6000);
    cr_expect_eq(r.gpr[4], 0x6ffe);
    cr_expect_eq(get(0x6ffe, 2), 0x1234);
    cr_expect_eq(r.tr.attributes & 0xf, 3);
    cr_expect(r.fs.attributes & VCPU_SEGMENT_UNUSABLE);
}

Test(vmm_task, trap_flag_is_a_debug_exception) {
    put(NEW + 0x64, 1, 1);
    cr_assert_eq(go(), TASK_FAULT);
    cr_expect_eq(fault.vector, 1);
    cr_expect(r.dr6 & 0x8000);
    cr_expect_eq(r.rip, 0x6000);
}

// Before the commit point nothing has changed.
Test(vmm_task, bad_task_segments) {
    const struct {
        uint64_t descriptor;
        uint16_t selector;
        enum vcpu_task_source source;
        uint8_t vector;
    } rows[] = {
        {0, S_END, VCPU_TASK_JUMP, 13},
        {0, S_END, VCPU_TASK_IRET, 10},
        {0, S_TEST | 4, VCPU_TASK_JUMP, 13},
        {TSS(NEW, 0x8b), S_TEST, VCPU_TASK_JUMP, 13},
        {TSS(NEW, 0x89), S_TEST, VCPU_TASK_IRET, 10},
        {TSS(NEW, 0x82), S_TEST, VCPU_TASK_CALL, 13},
        {DATA, S_TEST, VCPU_TASK_CALL, 13},
        {TSS(NEW, 0x09), S_TEST, VCPU_TASK_CALL, 11},
        {TSS(NEW, 0x89) - 1, S_TEST, VCPU_TASK_JUMP, 10},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        static uint8_t copy[RAM_SIZE];
        task_set_up();
        put(GDT + S_TEST, rows[i].descriptor, 8);
        request.selector = rows[i].selector;
        request.source = rows[i].source;
        struct vcpu_registers before = r;
        memcpy(copy, ram, RAM_SIZE);
        cr_expect_eq(go(), TASK_FAULT, "row %zu", i);
        cr_expect_eq(fault.vector, rows[i].vector, "row %zu: %u", i, fault.vector);
        cr_expect_eq(fault.error, rows[i].selector & 0xfffc);
        cr_expect_eq(memcmp(&before, &r, sizeof(r)), 0);
        cr_expect_eq(memcmp(copy, ram, RAM_SIZE), 0);
    }
}

// Behind it they are the new task's.
Test(vmm_task, bad_segments_fault_in_the_new_task) {
    const struct {
        uint32_t field; // of the new TSS
        uint16_t selector;
        uint64_t descriptor;
        uint8_t vector;
    } rows[] = {
        {0x4c, 0, 0, 10}, // CS
        {0x4c, S_END, 0, 10},
        {0x4c, S_TEST, DATA, 10},
        {0x4c, S_TEST, CODE | DPL3, 10},
        {0x4c, S_TEST, CODE & ABSENT, 11},
        {0x50, 0, 0, 10}, // SS
        {0x50, S_TEST, CODE, 10},
        {0x50, S_TEST, DATA | DPL3, 10},
        {0x50, S_TEST | 3, DATA, 10},
        {0x50, S_TEST, DATA & ~0x0000020000000000ULL, 10},
        {0x50, S_TEST, DATA & ABSENT, 12},
        {0x54, S_TEST, CODE & ~0x0000020000000000ULL, 10}, // DS
        {0x54, S_TEST | 3, DATA, 10},
        {0x54, S_TEST, DATA & ABSENT, 11},
        {0x48, S_END, 0, 10},
        {0x58, S_TEST, TSS(NEW, 0x89), 10},
        {0x5c, S_TEST | 4, DATA, 10}, // no LDT
        {0x60, S_LDT | 4, 0, 10},     // LDT
        {0x60, S_DATA, 0, 10},
        {0x60, S_TEST, TSS(LDT, 0x02), 10},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        task_set_up();
        put(GDT + S_TEST, rows[i].descriptor, 8);
        put(NEW + rows[i].field, rows[i].selector, 2);
        cr_expect_eq(go(), TASK_FAULT, "row %zu", i);
        cr_expect_eq(fault.vector, rows[i].vector, "row %zu: %u", i, fault.vector);
        cr_expect_eq(fault.error, rows[i].selector & 0xfffc, "row %zu: %x", i, fault.error);
        cr_expect_eq(r.tr.selector, S_NEW);
        cr_expect_eq(r.rip, 0x6000);
    }
    task_set_up();
    put(NEW + 0x54, S_END, 2);
    deliver(3, 8, false);
    cr_expect_eq(go(), TASK_FAULT);
    cr_expect_eq(fault.error, S_END | 1, "external");
    cr_expect_eq(r.has_pending, 1, "for the kernel to combine");
}

Test(vmm_task, stack_limits) {
    put(GDT + S_TEST, DATA & ~FLAT, 8); // 64 KiB
    put(NEW + 0x50, S_TEST, 2);
    put(NEW + 0x38, 2, 4); // SP wraps to 0xfffe: two bytes too many
    deliver(3, 13, true);
    cr_expect_eq(go(), TASK_FAULT);
    cr_expect_eq(fault.vector, 12);
    cr_expect_eq(fault.error, 1);
}

Test(vmm_task, ldt_and_virtual_8086) {
    put(LDT + 8, DATA, 8);
    put(NEW + 0x60, S_LDT, 2);
    put(NEW + 0x5c, 0x0c, 2);
    cr_assert_eq(go(), TASK_DONE);
    cr_expect_eq(r.ldtr.base, LDT);
    cr_expect_eq(r.gs.attributes, 0xc093);
    task_set_up();
    put(NEW + 0x24, 0x20002, 4);
    put(NEW + 0x50, 0xffff, 2);
    cr_assert_eq(go(), TASK_DONE);
    cr_expect_eq(r.ss.base, 0xffff0);
    cr_expect_eq(r.cs.attributes, 0xf3);
}

Test(vmm_task, tables_on_nothing_read_ones) {
    put(GDT + S_NEW, TSS(0xff0000, 0x89), 8);
    cr_expect_eq(go(), TASK_FAULT);
    cr_expect_eq(fault.vector, 10);
}

// Each of the tables in turn: it is read as it is, and stays as it is.
Test(vmm_task, tables_in_rom_take_no_writes) {
    static const uint32_t tables[] = {GDT, OLD, NEW};
    for (unsigned i = 0; i < 2 * sizeof(tables) / sizeof(tables[0]); i++) {
        static uint8_t before[PAGE];
        task_set_up();
        request.source = i & 1 ? VCPU_TASK_CALL : VCPU_TASK_JUMP;
        rom_page = tables[i / 2] / PAGE;
        memcpy(before, ram + tables[i / 2], PAGE);
        cr_assert_eq(go(), TASK_DONE);
        cr_expect_eq(memcmp(before, ram + tables[i / 2], PAGE), 0, "table %u, source %u", i / 2,
                     i & 1);
        cr_expect_eq(r.rip, 0x6000);
        cr_expect_eq(!!(r.rflags & NT), i & 1);
    }
}
