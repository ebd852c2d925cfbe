// SPDX-License-Identifier: Apache-2.0
// supervisor/console.c beside a driver that runs on another CPU: what it puts in while the
// supervisor is about to tell the room.
#define console_open           inp_test_open
#define console_is_batch       inp_test_is_batch
#define console_flush          inp_test_flush
#define console_position       inp_test_position
#define console_printed        inp_test_printed
#define console_spent          inp_test_spent
#define console_has_room       inp_test_has_room
#define console_drain          inp_test_drain
#define console_fresh_line     inp_test_fresh_line
#define console_raw            inp_test_raw
#define console_guest_raw      inp_test_guest_raw
#define console_reset_terminal inp_test_reset_terminal
#define console_guest_line     inp_test_guest_line
#define console_say            inp_test_say
#define console_print          inp_test_print
#define console_read           inp_test_read
#define console_has_said       inp_test_has_said
#define console_log            inp_test_log

static void inp_test_run_driver(void);
#define __atomic_store_n(at, value, order)                                                         \
    (inp_test_run_driver(), __atomic_store_n(at, value, order))
#include "supervisor/console.c"
#undef __atomic_store_n

#include "tests/unit/supervisor/support.h"

#include <criterion/criterion.h>

static struct console_rings inp_test_rings;
static uint32_t inp_test_comes; // bytes, before the next store

static void inp_test_run_driver(void) {
    inp_test_rings.in_head += inp_test_comes;
    inp_test_comes = 0;
}

static void inp_test_race(uint32_t is_there, uint32_t comes, unsigned int signals) {
    uint8_t bytes[64];
    console.rings = &inp_test_rings;
    inp_test_rings.in_head = inp_test_rings.in_tail + is_there;
    console.in_position = inp_test_rings.in_tail;
    inp_test_comes = comes;
    life.driver_signals = 0;
    cr_expect_eq(console_read(bytes, sizeof(bytes)), is_there < 64 ? is_there : 64);
    cr_expect_eq(life.driver_signals, signals, "%u and %u", is_there, comes);
}

// It waits for room, and nothing else would tell it.
Test(supervisor_input, driver_that_fills_the_ring_meanwhile_is_told) {
    inp_test_race(CONSOLE_IN_SIZE, 0, 1);
    inp_test_race(100, CONSOLE_IN_SIZE - 100, 1);
    inp_test_race(0, CONSOLE_IN_SIZE, 1);
    inp_test_race(100, CONSOLE_IN_SIZE - 101, 0);
    inp_test_race(0, 0, 0);
}
