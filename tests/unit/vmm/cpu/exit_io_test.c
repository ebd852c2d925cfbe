// SPDX-License-Identifier: Apache-2.0
// vmm/exit_io: IN, OUT and their string forms, on a machine whose guest has 2 MiB pages: the second
// one is read-only.
#include <criterion/criterion.h>
#include <string.h>

#include "vmm/cpu/run.h"

#define MIB           (1ULL << 20)
#define RAM           (8 * MIB)
#define TABLES        0x101000ULL // PML4, PDPT, PD in a row
#define WRITABLE      0x400000ULL
#define READ_ONLY     0x200000ULL
#define PAGE_RIGHTS   0x83u // present, writable, large
#define PORT          0xc0f0u
#define ERROR_WRITE   3u // of a page that is there
#define FLAG_DF       (1u << 10)
#define SEGMENT_FS    4u
#define ELEMENTS_MAX  1024u
#define SMALL_SEGMENT 0xfffu

enum { RAX, RCX, RSI = 6, RDI };

static struct vmm_start start = {.physical_bits = 46};
static struct vmm vmm;
static struct vcpu_page page;
static _Alignas(4096) uint8_t ram[RAM];
static struct port {
    struct device device;
    uint32_t reads, writes;
    uint32_t last;
} port;

static uint32_t port_read(struct device *device, uint16_t offset, uint8_t size) {
    (void)device, (void)offset;
    return (0xd0c0b0a0u + port.reads++) & UINT32_MAX >> (32 - 8 * size);
}
static void port_write(struct device *device, uint16_t offset, uint8_t size, uint32_t value) {
    (void)device, (void)offset;
    port.writes++;
    port.last = value & UINT32_MAX >> (32 - 8 * size);
}
static const struct device_ops port_ops = {
    .name = "port", .port_read = port_read, .port_write = port_write};

static void put(uint64_t gpa, uint64_t entry) {
    memcpy(ram + gpa, &entry, sizeof(entry));
}

static void set_up(void) {
    memset(ram, 0, sizeof(ram));
    put(TABLES, (TABLES + 0x1000) | 3);
    put(TABLES + 0x1000, (TABLES + 0x2000) | 3);
    for (uint64_t at = 0; at < RAM; at += 2 * MIB)
        put(TABLES + 0x2000 + at / (2 * MIB) * 8,
            at | (at == READ_ONLY ? PAGE_RIGHTS & ~2u : PAGE_RIGHTS));
    memset(&vmm, 0, sizeof(vmm));
    vmm.start = &start;
    vmm.vcpu[0] = (struct vcpu){.page = &page, .vmm = &vmm};
    memory_init(&vmm.machine.memory, ram, RAM);
    bus_init(&vmm.machine.board.bus);
    port = (struct port){.device = {.ops = &port_ops}};
    cr_assert_eq(bus_add_ports(&vmm.machine.board.bus, PORT, 4, &port.device, 0, 4), BUS_OK);
    page = (struct vcpu_page){
        .rip = 0x1000,
        .rflags = 2,
        .walk = {.cr0 = 0x80010001, .cr3 = TABLES, .cr4 = 0x20, .efer = 0x500, .code_size = 8}};
}

TestSuite(vmm_exit_io, .init = set_up);

static enum exit_action run_io(bool is_in, uint8_t size) {
    page.io = (struct vcpu_exit_io){.port = PORT, .size = size, .is_in = is_in};
    return exit_io(&vmm.vcpu[0]);
}

static enum exit_action run_code(bool is_in, uint8_t size, bool is_repeated) {
    page.io = (struct vcpu_exit_io){
        .port = PORT, .size = size, .is_in = is_in, .is_string = 1, .is_repeated = is_repeated};
    return exit_io(&vmm.vcpu[0]);
}

// With a segment override, which INS ignores.
static enum exit_action run_string(bool is_in, uint8_t size, bool is_repeated) {
    ram[page.rip] = 0x64; // fs
    ram[page.rip + 1] = (uint8_t)((is_in ? 0x6c : 0x6e) | (size > 1));
    return run_code(is_in, size, is_repeated);
}

Test(vmm_exit_io, in_merges_as_the_size_says) {
    const struct {
        uint8_t size;
        uint64_t rax;
    } cases[] = {{1, 0x11223344556677a0}, {2, 0x112233445566b0a0}, {4, 0xd0c0b0a0}};
    for (unsigned i = 0; i < 3; i++) {
        port.reads = 0;
        page.gpr[RAX] = 0x1122334455667788;
        cr_expect_eq(run_io(true, cases[i].size), EXIT_ADVANCE);
        cr_expect_eq(page.gpr[RAX], cases[i].rax, "size %u", cases[i].size);
    }
    cr_expect_eq(run_io(false, 2), EXIT_ADVANCE);
    cr_expect_eq(port.last, 0xb0a0);
}

Test(vmm_exit_io, ins_stores_and_outs_loads) {
    page.gpr[RDI] = WRITABLE + 0xffe; // across two pages
    cr_expect_eq(run_string(true, 4, false), EXIT_ADVANCE);
    cr_expect_eq(memcmp(ram + WRITABLE + 0xffe, "\xa0\xb0\xc0\xd0", 4), 0);
    cr_expect_eq(page.gpr[RDI], WRITABLE + 0x1002);
    page.walk.segment[SEGMENT_FS].base = 0x1000;
    page.rflags |= FLAG_DF;
    page.gpr[RSI] = WRITABLE - 2;
    cr_expect_eq(run_string(false, 4, false), EXIT_ADVANCE);
    cr_expect_eq(port.last, 0xd0c0b0a0);
    cr_expect_eq(page.gpr[RSI], WRITABLE - 6);
}

// SDM 3A 4.6.1: the processor writes for the guest, so the guest's own rights bind.
Test(vmm_exit_io, ins_to_a_read_only_page_is_a_page_fault) {
    page.gpr[RDI] = READ_ONLY + 0x10;
    page.gpr[RCX] = 5;
    cr_expect_eq(run_string(true, 1, true), EXIT_RESUME);
    cr_expect(page.dirty & VCPU_DIRTY_INJECT);
    cr_expect_eq(page.inject.vector, 14);
    cr_expect_eq(page.inject.error, ERROR_WRITE);
    cr_expect_eq(page.inject.cr2, READ_ONLY + 0x10);
    cr_expect_eq(ram[READ_ONLY + 0x10], 0);
    cr_expect(page.gpr[RCX] == 5 && page.gpr[RDI] == READ_ONLY + 0x10);
    cr_expect_eq(port.reads, 0, "the device was not asked");
    page.gpr[RSI] = READ_ONLY;
    cr_expect_eq(run_string(false, 1, false), EXIT_ADVANCE, "OUTS only reads");
}

Test(vmm_exit_io, ins_into_rom_is_lost) {
    page.gpr[RDI] = MEMORY_ROM_BASE;
    cr_expect_eq(run_string(true, 4, false), EXIT_ADVANCE);
    cr_expect_eq(ram[MEMORY_ROM_BASE], 0);
}

Test(vmm_exit_io, fault_in_the_middle_counts_what_is_done) {
    page.gpr[RDI] = READ_ONLY - 2;
    page.gpr[RCX] = 5;
    cr_expect_eq(run_string(true, 1, true), EXIT_RESUME);
    cr_expect_eq(page.inject.cr2, READ_ONLY);
    cr_expect(page.gpr[RCX] == 3 && page.gpr[RDI] == READ_ONLY && port.reads == 2);
}

// SDM 3C 26.1.1 "Relative Priority of Faults and VM Exits": the exit comes before these faults.
Test(vmm_exit_io, segments_bind_outside_64_bit_code) {
    page.walk.cr0 = 1;
    page.walk.code_size = 4;
    page.walk.segment[0] = (struct vcpu_segment){.attributes = 0x93, .limit = SMALL_SEGMENT};
    page.gpr[RDI] = SMALL_SEGMENT - 2;
    cr_expect_eq(run_string(true, 4, false), EXIT_RESUME, "beyond the limit");
    cr_expect(page.dirty & VCPU_DIRTY_INJECT && page.inject.vector == 13);
    page.dirty = 0;
    page.gpr[RDI]--;
    cr_expect_eq(run_string(true, 4, false), EXIT_ADVANCE);
    page.walk.segment[0].attributes = 0x91;
    page.gpr[RDI] = 0;
    cr_expect_eq(run_string(true, 4, false), EXIT_RESUME, "read-only data");
    cr_expect(page.dirty & VCPU_DIRTY_INJECT && page.inject.vector == 13);
}

Test(vmm_exit_io, repetition_is_left_for_interrupts_and_ends) {
    page.gpr[RDI] = WRITABLE;
    page.gpr[RCX] = ELEMENTS_MAX + 1;
    cr_expect_eq(run_string(true, 1, true), EXIT_RESUME);
    cr_expect(page.gpr[RCX] == 1 && port.reads == ELEMENTS_MAX);
    cr_expect_eq(run_string(true, 1, true), EXIT_ADVANCE);
    cr_expect(page.gpr[RCX] == 0 && port.reads == ELEMENTS_MAX + 1);
    cr_expect_eq(run_string(true, 1, true), EXIT_ADVANCE, "none is left");
    cr_expect_eq(port.reads, ELEMENTS_MAX + 1);
}

Test(vmm_exit_io, strings_are_decoded) {
    const uint8_t outs[] = {0x67, 0x65, 0x6f}, ins[] = {0x67, 0x6d}; // gs, 32-bit addresses
    page.rip = WRITABLE + 0x10000;
    memcpy(ram + page.rip, outs, sizeof(outs));
    page.walk.segment[5].base = 0x1000;
    memcpy(ram + WRITABLE, "\x11\x22\x33\x44", 4);
    page.gpr[RSI] = 1ULL << 32 | (WRITABLE - 0x1000);
    cr_expect_eq(run_code(false, 4, false), EXIT_ADVANCE);
    cr_expect_eq(port.last, 0x44332211);
    cr_expect_eq(page.gpr[RSI], WRITABLE - 0x1000 + 4);
    // Code that another vCPU changed: DS, and addresses as long as the code's.
    page.walk.segment[1] = (struct vcpu_segment){.attributes = 0x9b, .limit = UINT32_MAX};
    page.walk.segment[3] =
        (struct vcpu_segment){.base = 0x2000, .attributes = 0x93, .limit = UINT32_MAX};
    page.walk.code_size = 4;
    memcpy(ram + page.rip, ins, sizeof(ins));
    memcpy(ram + WRITABLE, "\x55\x66\x77\x88", 4);
    page.gpr[RSI] = 1ULL << 32 | (WRITABLE - 0x2000);
    cr_expect_eq(run_code(false, 4, false), EXIT_ADVANCE);
    cr_expect_eq(port.last, 0x88776655);
}
