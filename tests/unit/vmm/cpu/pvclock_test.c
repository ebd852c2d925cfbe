// SPDX-License-Identifier: Apache-2.0
// vmm/cpu/pvclock.c: what a guest finds in the structures that it registered, and where the VMM
// writes and where not.
#define pvclock_write_clock pvclock_test_write_clock
#define pvclock_write_wall  pvclock_test_write_wall
#define pvclock_begin_steal pvclock_test_begin_steal
#define pvclock_scale       pvclock_test_scale
#include "vmm/cpu/pvclock.c"

#include <criterion/criterion.h>
#include <string.h>

#define RAM_SIZE 0x400000ULL
#define CLOCK_AT 0x3fe0ULL // the last place in its page
#define STEAL_AT 0x203fc0ULL
#define WALL_AT  0x300ffcULL // crosses a page

static _Alignas(4096) uint8_t ram[RAM_SIZE];
static struct memory memory;
static const struct pvclock_rate rate = {.tsc_hz = 1000000000, .is_stable = true};

static void set_up(void) {
    memset(ram, 0xaa, sizeof(ram));
    memory_init(&memory, ram, sizeof(ram));
}

TestSuite(vmm_pvclock, .init = set_up);

static bool write_clock(uint64_t value) {
    return pvclock_write_clock(&memory, &rate, value, 12345);
}

// Of the guest's RAM is changed what a structure has, and no byte more.
static void expect_kept_but(uint64_t gpa, uint64_t size) {
    for (uint64_t at = 0; at < RAM_SIZE; at++)
        if (at < gpa || at >= gpa + size)
            cr_assert_eq(ram[at], 0xaa, "byte %#lx", at);
}

Test(vmm_pvclock, scale_is_exact_to_a_part_in_a_thousand_million) {
    const uint64_t rates[] = {1000000,    50000000,   999999999,  1000000000, 1000000001,
                              1999999999, 2000000000, 2000000001, 2893202000, 3999999999,
                              4000000001, 5000000000, 7999999999, 8000000000};
    for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        uint32_t multiplier;
        int8_t shift;
        pvclock_scale(rates[i], &multiplier, &shift);
        cr_expect_geq(multiplier, 1u << 31, "%lu Hz", rates[i]);
        uint64_t ticks = rates[i] * 1000; // 1000 s
        uint64_t shifted = shift >= 0 ? ticks << shift : ticks >> -shift;
        uint64_t ns = (uint64_t)((unsigned __int128)shifted * multiplier >> 32);
        cr_expect(ns <= 1000000000000 && ns >= 1000000000000 - 1000, "%lu Hz: %lu", rates[i], ns);
    }
}

Test(vmm_pvclock, clock_shows_0_at_power_on) {
    struct clock_page *clock = (struct clock_page *)(void *)(ram + CLOCK_AT);
    clock->version = 6;
    cr_expect(write_clock(CLOCK_AT | PVCLOCK_ENABLE));
    cr_expect(clock->version == 8 && clock->tsc == 12345 && clock->ns == 0);
    cr_expect(clock->multiplier == 1u << 31 && clock->shift == 1);
    cr_expect_eq(clock->flags, CLOCK_TSC_STABLE);
    cr_expect(clock->reserved0 == 0xaaaaaaaa && clock->reserved1[1] == 0xaa);
    expect_kept_but(CLOCK_AT, sizeof(*clock));
}

Test(vmm_pvclock, clock_goes_by_the_guests_own_rate) {
    const struct pvclock_rate fast = {.tsc_hz = 4000000000, .is_stable = false};
    const struct clock_page *clock = (const void *)(ram + CLOCK_AT);
    cr_expect(pvclock_write_clock(&memory, &fast, CLOCK_AT | PVCLOCK_ENABLE, 0));
    cr_expect(clock->multiplier == 1u << 31 && clock->shift == -1);
    cr_expect_eq(clock->flags, 0, "its TSCs may differ");
}

// Whatever the guest leaves there.
Test(vmm_pvclock, version_of_a_structure_that_is_whole_is_even) {
    const uint32_t left[] = {0, 1, 2, UINT32_MAX - 1, UINT32_MAX};
    uint32_t *version = (uint32_t *)(void *)(ram + CLOCK_AT);
    for (unsigned i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        *version = left[i];
        cr_expect(write_clock(CLOCK_AT | PVCLOCK_ENABLE));
        cr_expect(*version % 2 == 0 && *version != left[i], "%u", left[i]);
    }
}

Test(vmm_pvclock, clock_is_aligned_to_4_bytes_and_crosses_no_page) {
    cr_expect(write_clock((CLOCK_AT - 4) | PVCLOCK_ENABLE));
    set_up();
    cr_expect_not(write_clock(CLOCK_AT | 2 | PVCLOCK_ENABLE));
    for (uint64_t more = 4; more < sizeof(struct clock_page); more += 4) {
        cr_expect_not(write_clock((CLOCK_AT + more) | PVCLOCK_ENABLE));
        cr_expect_not(write_clock(CLOCK_AT + more), "neither when it is switched off");
    }
    expect_kept_but(0, 0);
}

Test(vmm_pvclock, steal_time_begins_with_nothing_changed) {
    struct steal *steal = (struct steal *)(void *)(ram + STEAL_AT);
    *steal = (struct steal){.ns = 5, .version = 2, .flags = 7, .is_preempted = 1};
    cr_expect(pvclock_begin_steal(&memory, STEAL_AT | PVCLOCK_ENABLE));
    cr_expect(steal->ns == 5 && steal->version == 4 && steal->flags == 7);
    cr_expect_eq(steal->is_preempted, 0);
    expect_kept_but(STEAL_AT, sizeof(*steal));
    for (unsigned bit = 1; bit < 6; bit++)
        cr_expect_not(
            pvclock_begin_steal(&memory, (STEAL_AT & ~0xfffULL) | 1ULL << bit | PVCLOCK_ENABLE));
    expect_kept_but(STEAL_AT, sizeof(*steal));
}

Test(vmm_pvclock, wall_clock_is_in_seconds_and_nanoseconds) {
    const struct wall *wall = (const void *)(ram + WALL_AT);
    cr_expect(pvclock_write_wall(&memory, WALL_AT, 1700000000999999999));
    cr_expect(wall->seconds == 1700000000 && wall->nanoseconds == 999999999);
    cr_expect_eq(wall->version % 2, 0);
    expect_kept_but(WALL_AT, sizeof(*wall));
    set_up();
    for (unsigned off = 1; off < 4; off++)
        cr_expect_not(pvclock_write_wall(&memory, WALL_AT + off, 1));
    expect_kept_but(0, 0);
}

Test(vmm_pvclock, no_memory_to_write_is_refused) {
    const uint64_t places[] = {
        RAM_SIZE,   RAM_SIZE + 0x40, 0xa0000,
        0xbffc0,                                 // video memory
        0xf0000,    0xffff0000,      0xffffffc0, // the firmware's ROM
        0xc0000000, 0xfee00000,                  // devices
        1ULL << 32, 1ULL << 39,      1ULL << 52, 1ULL << 63, UINT64_MAX & ~63ULL,
    };
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        cr_expect_not(write_clock(places[i] | PVCLOCK_ENABLE), "%u", i);
        cr_expect_not(pvclock_begin_steal(&memory, places[i] | PVCLOCK_ENABLE), "%u", i);
        cr_expect_not(pvclock_write_wall(&memory, places[i], 1), "%u", i);
        cr_expect(write_clock(places[i]), "switched off it is a number: %u", i);
        cr_expect(pvclock_begin_steal(&memory, places[i]), "%u", i);
    }
    cr_expect_not(pvclock_write_wall(&memory, RAM_SIZE - 8, 1), "the end of it is beyond RAM");
    expect_kept_but(0, 0);
}
