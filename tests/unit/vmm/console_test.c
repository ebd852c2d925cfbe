// SPDX-License-Identifier: Apache-2.0
// vmm/console: nothing is lost when the ring is full, and the supervisor is told when it is worth
// it.
#include "vmm/console.h"

#include <criterion/criterion.h>
#include <string.h>

static struct vmm_console shared;
static struct console console;

static void open(void) {
    memset(&shared, 0, sizeof(shared));
    console_open(&console, &shared);
}

static enum console_tell put(const char *text) {
    return console_put(&console, (const uint8_t *)text, strlen(text));
}

Test(vmm_console, tells_once_a_line) {
    open();
    cr_assert_eq(put("h"), CONSOLE_TELL_LATER);
    cr_assert_eq(put("ello"), CONSOLE_TELL_NOBODY);
    cr_assert_eq(put("\n"), CONSOLE_TELL_NOW);
    console_told(&console);
    cr_assert_eq(put(">"), CONSOLE_TELL_LATER);
    console_told(&console);
    cr_assert_eq(put(" "), CONSOLE_TELL_LATER);
}

Test(vmm_console, tells_of_long_lines_before_they_end) {
    open();
    for (unsigned i = 0; i < CONSOLE_CHUNK - 1; i++)
        cr_assert_neq(put("x"), CONSOLE_TELL_NOW);
    cr_assert_eq(put("x"), CONSOLE_TELL_NOW);
}

Test(vmm_console, full_ring_loses_nothing) {
    open();
    for (unsigned i = 0; i < VMM_CONSOLE_OUT; i++)
        (void)put("a");
    cr_assert_not(console_is_stalled(&console));
    cr_assert_eq(put("b"), CONSOLE_TELL_NOW);
    cr_assert_eq(put("cd"), CONSOLE_TELL_NOW);
    cr_assert(console_is_stalled(&console));
    cr_assert_not(console_flush(&console));
    shared.out_tail += 2; // the supervisor took two
    cr_assert_not(console_flush(&console));
    shared.out_tail += 2;
    cr_assert_eq(put("e"), CONSOLE_TELL_NOW); // behind what waits
    cr_assert(console_flush(&console));
    cr_assert_eq(memcmp(shared.out, "bcde", 4), 0);
}

Test(vmm_console, input_arrives_and_a_full_ring_is_seen) {
    uint8_t bytes[16];
    bool was_full;
    open();
    memset(shared.in, 'k', sizeof(shared.in));
    shared.in_head = VMM_CONSOLE_IN;
    cr_assert_eq(console_get(&console, bytes, sizeof(bytes), &was_full), 16);
    cr_assert(was_full);
    cr_assert_eq(bytes[15], 'k');
    cr_assert_eq(shared.in_tail, 16);
    cr_assert_eq(console_get(&console, bytes, sizeof(bytes), &was_full), 16);
    cr_assert_not(was_full);
}

Test(vmm_console, hostile_supervisor_does_no_harm) {
    uint8_t bytes[16];
    bool was_full;
    open();
    shared.out_tail = 0x12345678;
    shared.in_head = 0x87654321;
    for (int i = 0; i < 1000; i++)
        (void)put("x");
    (void)console_flush(&console);
    cr_assert_leq(console_get(&console, bytes, sizeof(bytes), &was_full), 16);
}
