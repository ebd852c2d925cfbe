// SPDX-License-Identifier: Apache-2.0
// The whole board: the map of pc.h, interrupts from device to processor, time, one-piece save and
// restore, and a hostile guest that writes anything anywhere.
#include "tests/unit/vmm/device/harness.h"

#include "vmm/device/board.h"
#include "vmm/device/pc.h"

#define BOARD_RECORD_MAX 4096u

static struct dev_world world;
static struct dev_line intr;
static struct board board, copy;
static uint32_t sends, events[3], last_code, sent;
static uint32_t last_data;

static bool on_send(void *opaque, uint64_t msi_address, uint32_t data) {
    (void)opaque;
    cr_assert_eq(msi_address & ~0xff00cULL, 0xfee00000);
    cr_assert_eq(data & ~0xc7ffu, 0);
    sends++;
    last_data = data;
    return true;
}

static void on_event(void *opaque, enum board_event event, uint32_t code) {
    cr_assert_eq(opaque, &world);
    events[event]++;
    last_code = code;
}

static void on_tx(void *opaque, const uint8_t *data, size_t n) {
    (void)opaque;
    (void)data;
    sent += (uint32_t)n;
}

static void board_setup(void) {
    struct board_config config = {.host = &world.host,
                                  .ioapic = {.send = on_send},
                                  .com1 = {.tx = on_tx},
                                  .opaque = &world,
                                  .event = on_event,
                                  .utc_seconds = 1700000000,
                                  .low_ram_bytes = 256 << 20};

    dev_world_init(&world);
    board_init(&copy, &config); // its lines go nowhere
    config.pic_intr = dev_line(&intr);
    board_init(&board, &config);
}

static uint32_t in(uint16_t port) {
    return bus_port_read(&board.bus, port, 1);
}

static void out(uint16_t port, uint8_t value) {
    bus_port_write(&board.bus, port, 1, value);
}

TestSuite(dev_board, .init = board_setup, .timeout = 120);

Test(dev_board, every_port_of_the_map_is_there) {
    static const uint16_t ports[] = {0x20,  0x21,  0x40,  0x43,  0x60,  0x61, 0x64,  0x70,
                                     0x71,  0x92,  0xa0,  0xa1,  0xf4,  0xf7, 0x3f8, 0x3ff,
                                     0x4d0, 0x4d1, 0x600, 0x60b, 0xcf8, 0xcff};

    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
        cr_assert(bus_port_is_claimed(&board.bus, ports[i]), "%x", ports[i]);
    cr_assert_eq(board.bus.port_count, 13);
    cr_assert(bus_mmio_is_claimed(&board.bus, PC_IOAPIC_BASE));
    cr_assert(bus_mmio_is_claimed(&board.bus, PC_IOAPIC_BASE + PC_IOAPIC_SIZE - 1));
    cr_assert_eq(PC_MMIO_HOLE_BASE + PC_MMIO_HOLE_SIZE, PC_IOAPIC_BASE);
    cr_assert_eq(in(0x80), 0xff);
    for (uint32_t i = 0; i < BOARD_DEVICES; i++)
        cr_assert_leq(strlen(board.device[i]->ops->name), 16);
}

Test(dev_board, timer_reaches_the_processor) {
    static const uint8_t icw[][2] = {{0x20, 0x11}, {0x21, 0x30}, {0x21, 0x04}, {0x21, 0x01},
                                     {0x21, 0xfe}, {0x43, 0x34}, {0x40, 0x9c}, {0x40, 0x2e}};

    for (size_t i = 0; i < sizeof(icw) / sizeof(icw[0]); i++)
        out(icw[i][0], icw[i][1]);
    if (intr.level) { // the output rose with the control word
        pic_acknowledge(&board.pic);
        out(0x20, 0x20);
    }
    bus_mmio_write(&board.bus, PC_IOAPIC_BASE, 4, 0x14);
    bus_mmio_write(&board.bus, PC_IOAPIC_BASE + 0x10, 4, 0x40);
    for (uint32_t tick = 1; tick <= 100; tick++) {
        world.now = board_next_deadline(&board);
        board_run(&board, world.now);
        cr_assert_eq(sends, tick, "IOAPIC input 2");
        cr_assert_eq(last_data, 0x40);
        cr_assert(intr.level);
        cr_assert_eq(pic_acknowledge(&board.pic), 0x30);
        out(0x20, 0x20);
    }
    cr_assert_eq(world.now, (100ULL * 11932 * 1000000000 + 1193181) / 1193182);
}

Test(dev_board, guest_ends_its_vm) {
    bus_port_write(&board.bus, 0x604, 2, 0x3400);
    cr_assert_eq(events[BOARD_POWER_OFF], 1);
    out(0xcf9, 0x06);
    out(0x64, 0xfe);
    out(0x92, 0x01);
    cr_assert_eq(events[BOARD_RESET], 3);
    bus_port_write(&board.bus, 0xf4, 4, 0xabcd);
    cr_assert_eq(events[BOARD_DEBUG_EXIT], 1);
    cr_assert_eq(last_code, 0xabcd);
}

Test(dev_board, reset_is_power_on) {
    uint8_t fresh[BOARD_RECORD_MAX], now[BOARD_RECORD_MAX];
    size_t size = board_saved_size(&board);

    cr_assert_leq(size, BOARD_RECORD_MAX);
    board_save(&board, fresh);
    out(0x3fc, 0x0b);
    out(0x3f9, 0x0f);
    out(0x43, 0x34);
    out(0x40, 1);
    out(0x40, 0);
    bus_port_write(&board.bus, 0x602, 2, 0x100);
    pm_power_button(&board.pm);
    cr_assert_neq(board.irq.isa, 0);
    board_reset(&board);
    cr_assert_eq(board.irq.isa, 0);
    board_save(&board, now);
    cr_assert_arr_eq(fresh, now, size);
}

Test(dev_board, truncated_save_is_refused) {
    uint8_t buffer[BOARD_RECORD_MAX + 1] = {0};
    size_t size = board_saved_size(&board);

    board_save(&board, buffer);
    for (size_t n = 0; n < size; n++)
        cr_assert_eq(board_restore(&copy, buffer, n), DEVICE_RECORD_SIZE);
    cr_assert_eq(board_restore(&copy, buffer, size + 1), DEVICE_RECORD_SIZE);
    cr_assert_eq(board_restore(&copy, buffer, size), DEVICE_OK);
}

// --- the hostile guest ---------------------------------------------------------------------------

// What one device shows must be what the others see.
static void check_wires(const struct board *b) {
    uint16_t isa =
        (uint16_t)(b->pit.irq_level << PC_IRQ_PIT | b->keyboard.irq_level << PC_IRQ_KEYBOARD |
                   b->com1.irq_level << PC_IRQ_COM1 | b->rtc.irq_level << PC_IRQ_RTC |
                   b->pm.sci_level << PC_IRQ_SCI);
    uint32_t pic = (uint32_t)(b->pic.chip[0].lines & ~4) | (uint32_t)b->pic.chip[1].lines << 8;

    cr_assert_eq(b->irq.isa, isa);
    cr_assert_eq(pic, isa);
    cr_assert_eq(b->ioapic.lines, (isa & ~1u) | (isa & 1u) << 2);
    cr_assert_leq(b->com1.rx_count, UART_FIFO);
    cr_assert_lt(b->com1.rx_head, UART_FIFO);
}

static void check_saved(void) {
    static uint8_t first[BOARD_RECORD_MAX], second[BOARD_RECORD_MAX];
    size_t size = board_saved_size(&board);

    board_save(&board, first);
    cr_assert_eq(board_restore(&copy, first, size), DEVICE_OK);
    board_save(&copy, second);
    cr_assert_arr_eq(first, second, size);
    cr_assert_eq(board_next_deadline(&copy), board_next_deadline(&board));
    cr_assert_eq(pic_intr(&copy.pic), intr.level);
    check_wires(&copy);
}

static uint16_t hostile_port(uint64_t *seed) {
    static const uint16_t bases[] = {0x20,  0xa0,  0x40,  0x60,  0x70,  0x92, 0xf2,
                                     0x3f6, 0x4ce, 0x5fe, 0x604, 0xcf6, 0xcfa};
    uint64_t r = dev_random(seed);

    if (r % 16 == 0)
        return (uint16_t)(r >> 32);
    return (uint16_t)(bases[(r >> 8) % (sizeof(bases) / sizeof(bases[0]))] + (r >> 32) % 12);
}

static void hostile_access(uint64_t *seed) {
    uint64_t r = dev_random(seed), value = dev_random(seed);
    uint8_t size = (uint8_t)(1 << r % 3);
    uint16_t port = hostile_port(seed);
    uint64_t address = PC_IOAPIC_BASE - 8 + (r >> 16) % 0x30;

    switch (r >> 8 & 7) {
    case 0:
        size = (uint8_t)(1 << r % 4);
        value = bus_mmio_read(&board.bus, address, size);
        cr_assert(size == 8 || value >> 8 * size == 0);
        break;
    case 1:
        bus_mmio_write(&board.bus, address, (uint8_t)(1 << r % 4), value);
        break;
    case 2:
    case 3:
    case 4:
        value = bus_port_read(&board.bus, port, size);
        cr_assert(size == 4 || value >> 8 * size == 0);
        break;
    default:
        bus_port_write(&board.bus, port, size, (uint32_t)value);
        break;
    }
}

// Time, the processors and the outside do their part.
static void hostile_surroundings(uint64_t *seed) {
    static const uint64_t steps[] = {100, 10000, 1000000, 50000000, 5000000000, 20000000000000};
    uint64_t r = dev_random(seed);
    uint8_t bytes[20] = {0};

    world.now += r % steps[r >> 32 & 3] + (r >> 40 & 0xff ? 0 : steps[4 + (r >> 60 & 1)]);
    board_run(&board, world.now);
    cr_assert_gt(board_next_deadline(&board), world.now);
    if (r & 1)
        pic_acknowledge(&board.pic);
    if (r & 2)
        ioapic_eoi(&board.ioapic, (uint8_t)(r >> 8));
    if (r & 4)
        cr_assert_leq(uart_receive(&board.com1, bytes, r >> 8 & 15), 16);
    if ((r >> 16 & 0xff) == 0)
        pm_power_button(&board.pm);
    if ((r >> 16 & 0xfff) == 1)
        board_reset(&board);
}

Test(dev_board, survives_random_accesses) {
    uint64_t seed = 0x42756c6b68656164;

    for (uint32_t i = 0; i < 3000000; i++) {
        hostile_access(&seed);
        if (i % 8 == 0)
            hostile_surroundings(&seed);
        if (i % 64 == 0)
            check_wires(&board);
        if (i % 4096 == 0)
            check_saved();
    }
    cr_assert_gt(sends, 1000);
    cr_assert_gt(sent, 1000);
    cr_assert_gt(intr.rises, 1000);
    cr_assert_gt(events[BOARD_RESET], 100);
}

// Whatever times a record claims: behind a deadline lies a later one, and the thread that waits for
// them is not kept busy.
Test(dev_board, times_of_a_hostile_record_pass) {
    static uint8_t good[BOARD_RECORD_MAX], bad[BOARD_RECORD_MAX];
    static const uint64_t times[] = {1, 1000000000, 1ULL << 50, (1ULL << 62) - 1};
    size_t size = board_saved_size(&board);
    uint64_t seed = 4711;
    uint32_t accepted = 0;

    for (uint32_t round = 0; round < 100000; round++) {
        if (round % 100 == 0) {
            for (uint32_t i = 0; i < 200; i++)
                hostile_access(&seed);
            board_save(&board, good);
        }
        memcpy(bad, good, size);
        for (uint64_t n = dev_random(&seed) % 3 + 1; n > 0; n--) {
            uint64_t value = dev_random(&seed) >> dev_random(&seed) % 64;
            size_t bytes = 1ULL << dev_random(&seed) % 4;

            memcpy(bad + dev_random(&seed) % (size - 8), &value, bytes);
        }
        world.now = times[round % 4];
        if (board_restore(&copy, bad, size) == DEVICE_OK) {
            accepted++;
            for (uint32_t i = 0; i < 20; i++) {
                uint64_t next = board_next_deadline(&copy);

                if (next == DEVICE_NO_DEADLINE)
                    break;
                world.now = next > world.now ? next : world.now;
                board_run(&copy, world.now);
                cr_assert_gt(board_next_deadline(&copy), world.now, "round %u", round);
            }
        }
        world.now = 0;
    }
    cr_assert_gt(accepted, 5000);
}

// Two equal boards stay equal: nothing outside the record matters.
Test(dev_board, restored_board_behaves_the_same) {
    static uint8_t first[BOARD_RECORD_MAX], second[BOARD_RECORD_MAX];
    size_t size = board_saved_size(&board);
    uint64_t seed = 99;

    for (uint32_t i = 0; i < 20000; i++)
        hostile_access(&seed);
    board_save(&board, first);
    cr_assert_eq(board_restore(&copy, first, size), DEVICE_OK);
    for (uint32_t i = 0; i < 200000; i++) {
        uint16_t port = hostile_port(&seed);
        uint64_t r = dev_random(&seed);
        uint8_t bytes = (uint8_t)(1 << r % 3);

        if (i % 4 == 0) {
            world.now += r % 3000000;
            board_run(&board, world.now);
            board_run(&copy, world.now);
        }
        if (r & 0x100) {
            cr_assert_eq(bus_port_read(&board.bus, port, bytes),
                         bus_port_read(&copy.bus, port, bytes));
        } else {
            bus_port_write(&board.bus, port, bytes, (uint32_t)(r >> 32));
            bus_port_write(&copy.bus, port, bytes, (uint32_t)(r >> 32));
        }
    }
    board_save(&board, first);
    board_save(&copy, second);
    cr_assert_arr_eq(first, second, size);
}
