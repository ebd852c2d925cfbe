// SPDX-License-Identifier: Apache-2.0
// supervisor/reports.c: what is taken out of a ring that a hostile VMM writes. ASan watches the
// page's edges, which is therefore no larger than what both sides use of it.
#include "supervisor/reports.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct reports reports;
static struct vmm_reports *shared;

static void set_up(void) {
    shared = calloc(1, sizeof(*shared));
    reports_open(&reports, shared);
}

static void tear_down(void) {
    free(shared);
}
TestSuite(supervisor_ring, .init = set_up, .fini = tear_down);

static struct vmm_message *slot(uint32_t number) {
    return (struct vmm_message *)(void *)&shared->ring[number * VMM_MESSAGE_SIZE];
}

Test(supervisor_ring, messages_are_taken_in_order_and_whole) {
    struct vmm_message message;
    uint32_t count = VMM_REPORTS_RING / VMM_MESSAGE_SIZE;
    for (uint32_t i = 0; i < count; i++) {
        slot(i)->code = i;
    }
    shared->head = VMM_REPORTS_RING;
    for (uint32_t i = 0; i < count; i++) {
        cr_assert(reports_take(&reports, &message));
        cr_assert_eq(message.code, i);
    }
    cr_assert(!reports_take(&reports, &message));
    cr_assert_eq(shared->tail, VMM_REPORTS_RING);
    shared->head += VMM_MESSAGE_SIZE - 1;
    cr_assert(!reports_take(&reports, &message), "a byte is missing");
    cr_assert_eq(shared->tail, shared->head);
}

Test(supervisor_ring, what_was_taken_is_a_copy) {
    struct vmm_message message;
    strcpy(slot(0)->text, "said");
    shared->head = VMM_MESSAGE_SIZE;
    cr_assert(reports_take(&reports, &message));
    memset(shared, 0xff, sizeof(*shared));
    cr_assert_str_eq(message.text, "said");
    cr_assert_eq(message.type, 0);
}

Test(supervisor_ring, text_without_an_end_gets_one) {
    struct vmm_message message;
    memset(shared->ring, 'x', sizeof(shared->ring));
    shared->head = VMM_MESSAGE_SIZE;
    cr_assert(reports_take(&reports, &message));
    cr_assert_eq(strlen(message.text), sizeof(message.text) - 1);
}

Test(supervisor_ring, impossible_heads_are_worth_a_ring_at_most) {
    struct vmm_message message;
    srand(3);
    for (unsigned int round = 0; round < 10000; round++) {
        uint32_t taken = 0;
        shared->head = (uint32_t)rand() * 2u + (uint32_t)rand() % 2u;
        shared->tail = (uint32_t)rand();
        while (reports_take(&reports, &message)) {
            taken++;
        }
        cr_assert_leq(taken, VMM_REPORTS_RING / VMM_MESSAGE_SIZE);
    }
}

static bool is_over;

static void *scribble(void *seed) {
    uint32_t dice = *(uint32_t *)seed;
    while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
        dice = dice * 1664525u + 1013904223u;
        uint32_t at = dice >> 8;
        __atomic_store_n(&shared->ring[at % VMM_REPORTS_RING], (uint8_t)at, __ATOMIC_RELAXED);
        if (at % 4 == 0) { // mostly near, so that it jumps back over what is being read
            __atomic_store_n(&shared->head, shared->tail + at % (2 * VMM_MESSAGE_SIZE),
                             __ATOMIC_RELAXED);
        }
        if (at % 64 == 0) {
            __atomic_store_n(&shared->tail, dice, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

Test(supervisor_ring, rewritten_while_it_is_read) {
    static uint32_t seed = 7;
    struct vmm_message message;
    pthread_t thread;
    uint32_t taken = 0;
    cr_assert_eq(pthread_create(&thread, NULL, scribble, &seed), 0);
    for (uint32_t i = 0; i < 200000 || taken == 0; i++) { // the thread may be late
        if (reports_take(&reports, &message)) {
            cr_assert_lt(strlen(message.text), sizeof(message.text));
            taken++;
        }
    }
    __atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_gt(taken, 0);
}
