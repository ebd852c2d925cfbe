// SPDX-License-Identifier: Apache-2.0
// vmm/machine on the host: devices reach the backend, and a saved machine comes back as it was.
#include "vmm/machine.h"

#include <criterion/criterion.h>
#include <string.h>

#define VCPUS       2u
#define MEMORY_SIZE (16ULL << 20)

// Everything that the kernel would hold, and what it was told.
struct world {
    uint64_t now;
    uint64_t deadline;
    bool extint;
    uint32_t messages;
    char sent[64];
    size_t sent_count;
    _Alignas(8) uint8_t state[VCPUS][3][ABI_XSAVE_SIZE];
    bool refuses_writes;
};

static struct world world[2];
static struct machine machine[2];
static uint8_t saved[32768], again[sizeof(saved)];

static uint64_t now_ns(void *opaque) {
    return ((struct world *)opaque)->now;
}
static void set_now_ns(void *opaque, uint64_t ns) {
    ((struct world *)opaque)->now = ns;
}
static bool send_message(void *opaque, uint64_t address, uint32_t data) {
    (void)address;
    (void)data;
    ((struct world *)opaque)->messages++;
    return true;
}
static void set_extint(void *opaque, bool level) {
    ((struct world *)opaque)->extint = level;
}
static void transmit(void *opaque, const uint8_t *data, size_t count) {
    struct world *w = opaque;
    memcpy(w->sent + w->sent_count, data, count);
    w->sent_count += count;
}
static void set_deadline(void *opaque, uint64_t deadline) {
    ((struct world *)opaque)->deadline = deadline;
}
static bool vcpu_read(void *opaque, uint32_t index, enum vcpu_state_group group, void *state,
                      size_t size) {
    memcpy(state, ((struct world *)opaque)->state[index][group], size);
    return true;
}
static bool vcpu_write(void *opaque, uint32_t index, enum vcpu_state_group group, const void *state,
                       size_t size) {
    struct world *w = opaque;
    if (w->refuses_writes)
        return false;
    memcpy(w->state[index][group], state, size);
    return true;
}

static void make(int which, uint32_t vcpu_count) {
    struct machine_config config = {
        .backend = {.opaque = &world[which],
                    .now_ns = now_ns,
                    .set_now_ns = set_now_ns,
                    .send_message = send_message,
                    .set_extint = set_extint,
                    .transmit = transmit,
                    .set_deadline = set_deadline,
                    .vcpu_read = vcpu_read,
                    .vcpu_write = vcpu_write},
        .memory = NULL,
        .memory_size = MEMORY_SIZE,
        .rate = {.tsc_hz = 50000000, .is_stable = true},
        .vcpu_count = vcpu_count,
        .utc_seconds = 1700000000,
    };
    memset(&world[which], 0, sizeof(world[which]));
    machine_init(&machine[which], &config);
}

static void out(int which, uint16_t port, uint8_t value) {
    machine_lock(&machine[which]);
    bus_port_write(&machine[which].board.bus, port, 1, value);
    lock_release(&machine[which].lock);
}

static uint8_t in(int which, uint16_t port) {
    return (uint8_t)bus_port_read(&machine[which].board.bus, port, 1);
}

// A machine that has lived: PIT running, COM1 in use, 8259 programmed, CMOS and MSRs written.
static void live(int which) {
    struct machine *m = &machine[which];
    static const uint8_t pic[][2] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1}, {0x21, 0}};
    for (size_t i = 0; i < sizeof(pic) / sizeof(pic[0]); i++)
        out(which, pic[i][0], pic[i][1]);
    out(which, 0x43, 0x34);
    out(which, 0x40, 0x9c);
    out(which, 0x40, 0x2e);
    out(which, 0x3ff, 0x77);
    out(which, 0x70, 0x40);
    out(which, 0x71, 0x99);
    world[which].now += 20000000;
    board_run(&m->board, world[which].now);
    cr_assert(msr_write(&m->msrs[1], 0x200, 0xabc000));
    for (uint32_t i = 0; i < VCPUS; i++)
        for (int group = 0; group < 3; group++)
            memset(world[which].state[i][group], (int)(16 * i + (unsigned)group + 1),
                   ABI_XSAVE_SIZE);
}

Test(vmm_machine, devices_reach_the_backend) {
    make(0, VCPUS);
    live(0);
    out(0, 0x3f8, 'x');
    cr_assert_eq(world[0].sent_count, 1);
    cr_assert_eq(world[0].sent[0], 'x');
    cr_assert(world[0].extint); // the PIT ran out, the 8259 is open
    cr_assert_eq(pic_acknowledge(&machine[0].board.pic), 0x20);
}

Test(vmm_machine, ends_are_noted_once) {
    make(0, 1);
    out(0, 0xf4, 7);
    out(0, 0xf4, 9);
    machine_lock(&machine[0]);
    cr_assert_eq(machine_unlock(&machine[0]), MACHINE_AFTER_END);
    cr_assert_eq(machine[0].end_event, BOARD_DEBUG_EXIT);
    cr_assert_eq(machine[0].end_code, 7);
    machine_lock(&machine[0]);
    cr_assert_eq(machine_unlock(&machine[0]), 0);
}

static struct vcpu_registers *registers(int which, uint32_t vcpu) {
    return (struct vcpu_registers *)world[which].state[vcpu][VCPU_STATE_REGISTERS];
}

// The guest's TSCs go on from where the first was read; by the VM's clock they stay as far apart as
// they were.
static void check_tsc(uint64_t clock_now) {
    const struct vcpu_registers *r = registers(1, 0);
    cr_expect_eq(r->tsc_clock, clock_now);
    for (uint32_t i = 0; i < VCPUS; i++) {
        struct vcpu_registers *now = registers(1, i), *then = registers(0, i);
        cr_expect_eq(now->tsc, then->tsc);
        cr_expect_eq(now->tsc_clock - r->tsc_clock, then->tsc_clock - registers(0, 0)->tsc_clock);
    }
    for (uint32_t i = 0; i < VCPUS; i++)
        registers(1, i)->tsc_clock = registers(0, i)->tsc_clock;
}

Test(vmm_machine, save_and_restore_is_the_same_machine) {
    make(0, VCPUS);
    live(0);
    size_t size = machine_saved_size(&machine[0]);
    cr_assert_leq(size, sizeof(saved));
    cr_assert_eq(machine_save(&machine[0], saved), MACHINE_OK);
    make(1, VCPUS);
    registers(1, 0)->tsc_clock = 123456789;
    cr_assert_eq(machine_restore(&machine[1], saved, size), MACHINE_OK);
    check_tsc(123456789);
    cr_assert_eq(world[1].now, world[0].now);
    cr_assert(world[1].extint);
    cr_assert_eq(in(1, 0x3ff), 0x77);
    out(1, 0x70, 0x40);
    cr_assert_eq(in(1, 0x71), 0x99);
    cr_assert_arr_eq(world[1].state[1][VCPU_STATE_REGISTERS], world[0].state[1][0],
                     sizeof(struct vcpu_registers));
    cr_assert_arr_eq(world[1].state[0][VCPU_STATE_FPU], world[0].state[0][2], ABI_XSAVE_SIZE);
    uint64_t value;
    cr_assert(msr_read(&machine[1].msrs[1], 0x200, &value));
    cr_assert_eq(value, 0xabc000);
    cr_assert_eq(machine_save(&machine[1], again), MACHINE_OK);
    cr_assert_arr_eq(again, saved, size);
}

// The clock is the machine's where it goes on: by its rate, and as stable as it is there.
Test(vmm_machine, restore_writes_the_clock) {
    static _Alignas(4096) uint8_t ram[MEMORY_SIZE];
    make(0, VCPUS);
    live(0);
    cr_assert(msr_write(&machine[0].msrs[1], MSR_KVM_SYSTEM_TIME_NEW, 0x3000 | PVCLOCK_ENABLE));
    registers(0, 1)->tsc_adjust = 4711;
    size_t size = machine_saved_size(&machine[0]);
    cr_assert_eq(machine_save(&machine[0], saved), MACHINE_OK);
    make(1, VCPUS);
    memory_init(&machine[1].memory, ram, MEMORY_SIZE);
    cr_assert_eq(machine_restore(&machine[1], saved, size), MACHINE_OK);
    uint64_t tsc;
    memcpy(&tsc, ram + 0x3008, sizeof(tsc));
    cr_expect_eq(tsc, 4711);
    cr_expect_eq(ram[0x3000], 2, "its version");
}

// A deadline that wraps around would have passed for ever.
Test(vmm_machine, impossible_times_are_refused) {
    static const uint64_t times[] = {MACHINE_NS_MAX, UINT64_MAX - 1000, UINT64_MAX};
    make(0, VCPUS);
    live(0);
    size_t size = machine_saved_size(&machine[0]);
    cr_assert_eq(machine_save(&machine[0], saved), MACHINE_OK);
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        memcpy(saved + 32, &times[i], sizeof(times[i]));
        uint64_t before = world[0].now;
        cr_assert_eq(machine_restore(&machine[0], saved, size), MACHINE_NOT_SAVED);
        cr_assert_eq(world[0].now, before);
    }
    uint64_t latest = MACHINE_NS_MAX - 1;
    memcpy(saved + 32, &latest, sizeof(latest));
    cr_assert_eq(machine_restore(&machine[0], saved, size), MACHINE_OK);
    for (int i = 0; i < 1000; i++) {
        board_run(&machine[0].board, world[0].now);
        uint64_t next = board_next_deadline(&machine[0].board);
        cr_assert_gt(next, world[0].now);
        world[0].now = next;
    }
}

Test(vmm_machine, the_firmware_has_run) {
    make(0, 1);
    cr_assert_eq(in(0, 0x21), 0xff);
    cr_assert_eq(in(0, 0xa1), 0xff);
    cr_assert_eq(in(0, 0x4d1), 0x0e);
    out(0, 0x43, 0xe2); // the status of counter 0
    cr_assert_eq(in(0, 0x40) & 0x3f, 0x36);
    world[0].now = 1000000;
    out(0, 0x43, 0x00);
    uint16_t first = in(0, 0x40);
    first |= (uint16_t)(in(0, 0x40) << 8);
    world[0].now += 1000000;
    out(0, 0x43, 0x00);
    uint16_t second = in(0, 0x40);
    second |= (uint16_t)(in(0, 0x40) << 8);
    cr_assert_eq((uint16_t)(first - second), 2 * 1193); // by twos, in a millisecond
}

// An idle machine does not wake up for the clock that the firmware started, until somebody listens.
Test(vmm_machine, unheard_clock_costs_nothing) {
    make(0, 1);
    cr_assert_eq(board_next_deadline(&machine[0].board), DEVICE_NO_DEADLINE);
    world[0].now = 1000000000;
    world[0].deadline = DEVICE_NO_DEADLINE;
    out(0, 0x21, 0xfe); // at the 8259
    cr_assert_leq(world[0].deadline, world[0].now);
    board_run(&machine[0].board, world[0].now);
    cr_assert(world[0].extint);
    cr_assert_gt(board_next_deadline(&machine[0].board), world[0].now);
    cr_assert_leq(board_next_deadline(&machine[0].board), world[0].now + 54925400);
    out(0, 0x21, 0xff);
    cr_assert_eq(board_next_deadline(&machine[0].board), DEVICE_NO_DEADLINE);
    world[0].deadline = DEVICE_NO_DEADLINE;
    bus_mmio_write(&machine[0].board.bus, 0xfec00000, 4, 0x14); // at the IOAPIC
    bus_mmio_write(&machine[0].board.bus, 0xfec00010, 4, 0x40);
    cr_assert_leq(world[0].deadline, world[0].now + 54925400);
    world[0].now += 54925400;
    board_run(&machine[0].board, world[0].now);
    cr_assert_eq(world[0].messages, 1);
}

Test(vmm_machine, foreign_and_damaged_records_are_refused) {
    make(0, VCPUS);
    size_t size = machine_saved_size(&machine[0]);
    uint8_t *bad = again;
    cr_assert_eq(machine_save(&machine[0], saved), MACHINE_OK);
    for (size_t cut = 0; cut < size; cut += 61)
        cr_assert_eq(machine_restore(&machine[0], saved, cut), MACHINE_NOT_SAVED);
    memcpy(bad, saved, size);
    bad[0] ^= 1;
    cr_assert_eq(machine_restore(&machine[0], bad, size), MACHINE_NOT_SAVED);
    memcpy(bad, saved, size);
    bad[8]++;
    cr_assert_eq(machine_restore(&machine[0], bad, size), MACHINE_VERSION);
    memcpy(bad, saved, size);
    bad[24] ^= 1; // rate of the TSC: a Hz
    cr_assert_eq(machine_restore(&machine[0], bad, size), MACHINE_OK);
    bad[26] ^= 1; // 65536 Hz
    cr_assert_eq(machine_restore(&machine[0], bad, size), MACHINE_SHAPE);
    memcpy(bad, saved, size);
    bad[40] ^= 0x80; // bytes of board
    cr_assert_eq(machine_restore(&machine[0], bad, size), MACHINE_NOT_SAVED);
    memcpy(bad, saved, size);
    bad[48] ^= 1; // name of the first device
    cr_assert_eq(machine_restore(&machine[0], bad, size), MACHINE_DEVICE);
    make(1, 1);
    cr_assert_eq(machine_restore(&machine[1], saved, size), MACHINE_SHAPE);
    world[0].refuses_writes = true;
    cr_assert_eq(machine_restore(&machine[0], saved, size), MACHINE_VCPU);
}
