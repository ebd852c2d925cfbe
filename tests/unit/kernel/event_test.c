// SPDX-License-Identifier: Apache-2.0
// kernel/event.c: no signal is lost.
#include "tests/unit/kernel/support.h"

#include "kernel/event.h"

#include <criterion/criterion.h>
#include <string.h>

static struct event *event;

static void set_up(void) {
    host_init_all();
    event = host_event_create(quota_root());
    cr_assert_not_null(event);
}

TestSuite(kernel_event, .init = set_up);

static uint64_t poll_bits(void) {
    uint64_t bits = 0;
    int error = host_event_wait(event, UINT64_MAX, 0, &bits);
    cr_expect_eq(error, bits != 0 ? ABI_OK : ABI_ERROR_TIMEOUT);
    return bits;
}

Test(kernel_event, bits_gather_and_are_taken_at_once) {
    event_signal(event, 0x1);
    event_signal(event, 1ULL << 63);
    event_signal(event, 0x1);
    cr_expect_eq(poll_bits(), 0x8000000000000001ULL);
    cr_expect_eq(poll_bits(), 0);
}

Test(kernel_event, past_deadline_polls_without_blocking) {
    host_block = NULL;
    uint64_t bits;
    cr_expect_eq(host_event_wait(event, UINT64_MAX, host_now, &bits), ABI_ERROR_TIMEOUT);
    cr_expect_null(thread_current()->timeout.home, "no timer is armed");
    cr_expect_null(event->waiter);
}

static unsigned blocks;
static void signal_at_third_wake(void) {
    cr_assert_eq(event->waiter, thread_current());
    if (++blocks == 3)
        event_signal(event, 0x40);
}

Test(kernel_event, wait_survives_wakes_without_a_signal) {
    uint64_t bits;
    host_block = signal_at_third_wake;
    cr_expect_eq(host_event_wait(event, UINT64_MAX, ABI_FOREVER, &bits), ABI_OK);
    cr_expect_eq(bits, 0x40);
    cr_expect_eq(blocks, 3);
    cr_expect_eq(host_wakes, 1);
    cr_expect_eq(host_last_woken, thread_current());
    cr_expect_null(event->waiter);
    cr_expect_null(thread_current()->timeout.home, "none is armed for ever");
}

static void pass_time(void) {
    cr_expect_eq(thread_current()->timeout.cpu, cpu_current());
    host_now += 400;
}

Test(kernel_event, wait_ends_at_its_deadline) {
    uint64_t bits = 77, deadline = host_now + 1000;
    host_block = pass_time;
    cr_expect_eq(host_event_wait(event, UINT64_MAX, deadline, &bits), ABI_ERROR_TIMEOUT);
    cr_expect_eq(host_now, deadline + 200);
    cr_expect_eq(thread_current()->timeout.node.key, deadline);
    cr_expect_null(thread_current()->timeout.cpu, "the timer is cancelled");
    cr_expect_null(event->waiter);
}

static void signal_late(void) {
    host_now += 5000;
    event_signal(event, 2);
}

Test(kernel_event, signal_at_the_deadline_is_not_lost) {
    uint64_t bits;
    host_block = signal_late;
    cr_expect_eq(host_event_wait(event, UINT64_MAX, host_now + 1000, &bits), ABI_OK);
    cr_expect_eq(bits, 2);
}

static void signal_at_third_look(void) {
    host_now += 500;
    if (++blocks == 3) // before: the first look of the wait, and of its loop
        event_signal(event, 4);
}

Test(kernel_event, signal_between_deadline_and_return_is_not_lost) {
    uint64_t bits;
    host_look = signal_at_third_look;
    cr_expect_eq(host_event_wait(event, UINT64_MAX, host_now + 1300, &bits), ABI_OK);
    cr_expect_eq(bits, 4);
    cr_expect_eq(event->bits, 0);
}

Test(kernel_event, poll_needs_no_turn) {
    uint64_t bits;
    event->waiter = host_cpu(1)->current;
    cr_expect_eq(host_event_wait(event, UINT64_MAX, 0, &bits), ABI_ERROR_TIMEOUT);
    event_signal(event, 1);
    cr_expect_eq(host_event_wait(event, UINT64_MAX, 0, &bits), ABI_OK);
    cr_expect_eq(event->waiter, host_cpu(1)->current);
}

static struct process dying;
static void end_process(void) {
    dying.is_ending = 1;
}

Test(kernel_event, wait_ends_with_the_process) {
    uint64_t bits;
    thread_current()->process = &dying;
    host_block = end_process;
    cr_expect_eq(host_event_wait(event, UINT64_MAX, ABI_FOREVER, &bits), ABI_ERROR_CLOSED);
    cr_expect_null(event->waiter);
}

static int second_error;
static void wait_from_another_cpu(void) {
    uint64_t bits;
    host_run_on(1);
    second_error = host_event_wait(event, UINT64_MAX, ABI_FOREVER, &bits);
    host_run_on(0);
    event_signal(event, 8);
}

Test(kernel_event, second_waiter_is_turned_away) {
    uint64_t bits;
    host_block = wait_from_another_cpu;
    cr_expect_eq(host_event_wait(event, UINT64_MAX, ABI_FOREVER, &bits), ABI_OK);
    cr_expect_eq(bits, 8);
    cr_expect_eq(second_error, ABI_ERROR_AGAIN);
}

Test(kernel_event, signal_without_bits_wakes_nobody) {
    event->waiter = thread_current();
    event->awaited = UINT64_MAX;
    event_signal(event, 0);
    cr_expect_eq(host_wakes, 0);
    event_signal(event, 1);
    cr_expect_eq(host_wakes, 1);
}

static void signal_others_first(void) {
    if (++blocks < 3)
        event_signal(event, 0x0f);
    else
        event_signal(event, 0x30);
}

Test(kernel_event, bits_that_nobody_awaits_stay_and_wake_nobody) {
    uint64_t bits;
    event_signal(event, 0x01);
    host_block = signal_others_first;
    cr_expect_eq(host_event_wait(event, 0xf0, ABI_FOREVER, &bits), ABI_OK);
    cr_expect_eq(bits, 0x30);
    cr_expect_eq(host_wakes, 1, "%u wakes", host_wakes);
    cr_expect_eq(poll_bits(), 0x0f);
    event_signal(event, 0x01);
    cr_expect_eq(host_event_wait(event, 0xf0, 0, &bits), ABI_ERROR_TIMEOUT);
    cr_expect_eq(host_event_wait(event, 0, 0, &bits), ABI_ERROR_TIMEOUT);
    cr_expect_eq(poll_bits(), 0x01);
}

Test(kernel_event, binding_refers_and_lets_go) {
    struct event_binding binding = {NULL, 0};
    event_notify(&binding);
    event_bind(&binding, event, 0x30);
    cr_expect_eq(event->object.ref_count, 2);
    event_notify(&binding);
    cr_expect_eq(poll_bits(), 0x30);
    event_bind(&binding, event, 0x3);
    cr_expect_eq(event->object.ref_count, 2);
    event_unbind(&binding);
    event_unbind(&binding);
    cr_expect_eq(event->object.ref_count, 1);
    event_notify(&binding);
    cr_expect_eq(poll_bits(), 0);
}
