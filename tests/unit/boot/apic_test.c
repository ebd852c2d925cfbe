// SPDX-License-Identifier: Apache-2.0
// boot/boot_apic: the rate of a timer of paper that the firmware left running, and how it is left.
#include <criterion/criterion.h>
#include <string.h>

#include "boot/boot_apic.h"

#define TSC_HZ    2400000000ull
#define READ_TIME 100u
#define SMI_TIME  1000000u

static struct {
    uint64_t tsc, hz, start;
    uint32_t svr, lvt, divide, initial;
    uint32_t svr_before; // when the timer was started
    uint32_t reads;
    bool is_deadline;
} sim;

static uint64_t sim_rdtsc(void) {
    return sim.tsc += 20;
}

// SDM 3A figure 11-10: how much the divide configuration register divides by.
static uint32_t divisor(void) {
    uint32_t code = (sim.divide & 3) | (sim.divide >> 1 & 4);
    return code == 7 ? 1 : 2u << code;
}

static uint32_t sim_read(uint32_t reg) {
    if (reg == 0xf0)
        return sim.svr;
    cr_assert_eq(reg, 0x390);
    sim.tsc += READ_TIME / 2;
    uint64_t gone =
        (uint64_t)((unsigned __int128)(sim.tsc - sim.start) * sim.hz / TSC_HZ / divisor());
    sim.tsc += READ_TIME / 2 + (sim.reads++ % 3 == 1 ? SMI_TIME : 0);
    return gone < sim.initial ? sim.initial - (uint32_t)gone : 0;
}

static void sim_write(uint32_t reg, uint32_t value) {
    switch (reg) {
    case 0xf0:
        sim.svr = value;
        break;
    case 0x320:
        sim.lvt = value;
        sim.is_deadline = (value & 1u << 18) != 0;
        break;
    case 0x3e0:
        sim.divide = value;
        break;
    default:
        cr_assert_eq(reg, 0x380);
        if (sim.is_deadline)
            break;
        cr_assert(value == 0 || (sim.lvt & 1u << 16) != 0, "it would interrupt");
        sim.svr_before = value != 0 ? sim.svr : sim.svr_before;
        sim.initial = value;
        sim.start = sim.tsc;
    }
}

// Periodic, divided by 2, open.
static uint64_t measure(uint64_t hz) {
    static const struct boot_apic apic = {sim_read, sim_write, sim_rdtsc};
    memset(&sim, 0, sizeof(sim));
    sim.hz = hz;
    sim.svr = 0x1ff;
    sim.lvt = 1u << 17 | 0x40;
    sim.initial = 1000000;
    return boot_apic_timer_hz(&apic, TSC_HZ);
}

// While an SMI falls into some of the readings.
Test(boot_apic, timer_is_measured_by_the_tsc) {
    static const uint64_t rates[] = {1000000, 25000000, 100000000, 1000000000};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        uint64_t hz = measure(rates[i]), apart = hz > rates[i] ? hz - rates[i] : rates[i] - hz;
        cr_assert_leq(apart, rates[i] / 1000, "%lu, not %lu", hz, rates[i]);
        cr_assert(sim.tsc >= TSC_HZ / 200 && sim.tsc < TSC_HZ / 100);
    }
    cr_assert_eq(measure(0), 0, "it stands still");
}

Test(boot_apic, timer_is_left_stopped_and_masked) {
    measure(100000000);
    cr_assert_eq(sim.initial, 0);
    cr_assert_eq(sim.lvt, 1u << 16 | 0xff, "one-shot, and no vector that is reserved");
    cr_assert_eq(sim.divide, 0xb);
    cr_assert_eq(sim.svr, 0x1ff);
}

Test(boot_apic, timer_counts_where_the_firmware_left_the_apic_off) {
    static const struct boot_apic apic = {sim_read, sim_write, sim_rdtsc};
    memset(&sim, 0, sizeof(sim));
    sim.hz = 100000000;
    sim.svr = 0xff;
    sim.is_deadline = true;
    cr_assert_gt(boot_apic_timer_hz(&apic, TSC_HZ), 99000000);
    cr_assert_eq(sim.svr_before, 0x1ff);
    cr_assert_eq(sim.svr, 0xff);
}
