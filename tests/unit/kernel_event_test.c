// SPDX-License-Identifier: Apache-2.0
// kernel/event.c and kernel/channel.c: no signal is lost, no message is lost, doubled or out of
// order, and the end of one side is told to the other.
#include "kernel_support.h"

#include "kernel/channel.h"
#include "kernel/event.h"

#include <criterion/criterion.h>
#include <string.h>

static struct event *event;
static struct channel *ends[2];

static void set_up(void) {
    host_init_all();
    event = event_create(quota_root());
    cr_assert(event != NULL && channel_create(quota_root(), ends));
}

TestSuite(kernel_event, .init = set_up);
TestSuite(kernel_channel, .init = set_up);

static uint64_t poll_bits(void) {
    uint64_t bits = 0;
    int error = event_wait(event, UINT64_MAX, 0, &bits);
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
    cr_expect_eq(event_wait(event, UINT64_MAX, host_now, &bits), ABI_ERROR_TIMEOUT);
    cr_expect_eq(host_timeout, 0);
    cr_expect_null(event->waiter);
}

static unsigned blocks;
static void signal_at_third_wake(void) {
    cr_assert_eq(event->waiter, thread_current());
    cr_expect_eq(host_timeout, ABI_FOREVER);
    if (++blocks == 3)
        event_signal(event, 0x40);
}

Test(kernel_event, wait_survives_wakes_without_a_signal) {
    uint64_t bits;
    host_block = signal_at_third_wake;
    cr_expect_eq(event_wait(event, UINT64_MAX, ABI_FOREVER, &bits), ABI_OK);
    cr_expect_eq(bits, 0x40);
    cr_expect_eq(blocks, 3);
    cr_expect_eq(host_wakes, 1);
    cr_expect_eq(host_last_woken, thread_current());
    cr_expect_null(event->waiter);
    cr_expect_eq(host_timeout, 0, "the timer is cancelled");
}

static void pass_time(void) {
    host_now += 400;
}

Test(kernel_event, wait_ends_at_its_deadline) {
    uint64_t bits = 77, deadline = host_now + 1000;
    host_block = pass_time;
    cr_expect_eq(event_wait(event, UINT64_MAX, deadline, &bits), ABI_ERROR_TIMEOUT);
    cr_expect_eq(host_now, deadline + 200);
    cr_expect_null(event->waiter);
}

static void signal_late(void) {
    host_now += 5000;
    event_signal(event, 2);
}

Test(kernel_event, signal_at_the_deadline_is_not_lost) {
    uint64_t bits;
    host_block = signal_late;
    cr_expect_eq(event_wait(event, UINT64_MAX, host_now + 1000, &bits), ABI_OK);
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
    cr_expect_eq(event_wait(event, UINT64_MAX, host_now + 1300, &bits), ABI_OK);
    cr_expect_eq(bits, 4);
    cr_expect_eq(event->bits, 0);
}

Test(kernel_event, poll_needs_no_turn) {
    uint64_t bits;
    event->waiter = host_cpu(1)->current;
    cr_expect_eq(event_wait(event, UINT64_MAX, 0, &bits), ABI_ERROR_TIMEOUT);
    event_signal(event, 1);
    cr_expect_eq(event_wait(event, UINT64_MAX, 0, &bits), ABI_OK);
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
    cr_expect_eq(event_wait(event, UINT64_MAX, ABI_FOREVER, &bits), ABI_ERROR_CLOSED);
    cr_expect_null(event->waiter);
}

static int second_error;
static void wait_from_another_cpu(void) {
    uint64_t bits;
    host_run_on(1);
    second_error = event_wait(event, UINT64_MAX, ABI_FOREVER, &bits);
    host_run_on(0);
    event_signal(event, 8);
}

Test(kernel_event, second_waiter_is_turned_away) {
    uint64_t bits;
    host_block = wait_from_another_cpu;
    cr_expect_eq(event_wait(event, UINT64_MAX, ABI_FOREVER, &bits), ABI_OK);
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
    cr_expect_eq(event_wait(event, 0xf0, ABI_FOREVER, &bits), ABI_OK);
    cr_expect_eq(bits, 0x30);
    cr_expect_eq(host_wakes, 1, "%u wakes", host_wakes);
    cr_expect_eq(poll_bits(), 0x0f);
    event_signal(event, 0x01);
    cr_expect_eq(event_wait(event, 0xf0, 0, &bits), ABI_ERROR_TIMEOUT);
    cr_expect_eq(event_wait(event, 0, 0, &bits), ABI_ERROR_TIMEOUT);
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

// ---- channels -----------------------------------------------------------------------------------

static int send(unsigned end, uint32_t value, uint32_t size) {
    uint8_t message[ABI_MESSAGE_MAX];
    memset(message, (int)(value & 0xff), sizeof(message));
    memcpy(message, &value, MIN(size, sizeof(value)));
    return channel_send(ends[end], message, size);
}

static int receive(unsigned end, uint32_t *value, uint32_t *size) {
    uint8_t message[ABI_MESSAGE_MAX];
    int error = channel_receive(ends[end], message, size);
    if (error != ABI_OK)
        return error;
    *value = 0;
    memcpy(value, message, MIN(*size, sizeof(*value)));
    for (uint32_t i = sizeof(*value); i < *size; i++)
        cr_assert_eq(message[i], (uint8_t)*value);
    return ABI_OK;
}

Test(kernel_channel, messages_cross_in_order) {
    uint32_t value, size;
    cr_assert_eq(send(0, 11, 4), ABI_OK);
    cr_assert_eq(send(0, 12, ABI_MESSAGE_MAX), ABI_OK);
    cr_assert_eq(send(1, 13, 5), ABI_OK);
    cr_assert_eq(receive(1, &value, &size), ABI_OK);
    cr_expect(value == 11 && size == 4);
    cr_assert_eq(receive(1, &value, &size), ABI_OK);
    cr_expect(value == 12 && size == ABI_MESSAGE_MAX);
    cr_expect_eq(receive(1, &value, &size), ABI_ERROR_AGAIN);
    cr_assert_eq(receive(0, &value, &size), ABI_OK);
    cr_expect(value == 13 && size == 5);
    cr_expect_eq(receive(0, &value, &size), ABI_ERROR_AGAIN);
}

Test(kernel_channel, depth_is_what_the_abi_says_for_each_side) {
    uint32_t value, size;
    for (uint32_t i = 0; i < ABI_CHANNEL_DEPTH; i++)
        cr_assert_eq(send(0, i, 4), ABI_OK);
    cr_expect_eq(send(0, 99, 4), ABI_ERROR_AGAIN);
    cr_expect_eq(send(1, 1, 4), ABI_OK, "the other way has room");
    cr_assert_eq(receive(1, &value, &size), ABI_OK);
    cr_expect_eq(value, 0);
    cr_expect_eq(send(0, 16, 4), ABI_OK);
    cr_expect_eq(send(0, 17, 4), ABI_ERROR_AGAIN);
    for (uint32_t i = 1; i <= ABI_CHANNEL_DEPTH; i++) {
        cr_assert_eq(receive(1, &value, &size), ABI_OK);
        cr_expect_eq(value, i);
    }
}

Test(kernel_channel, random_traffic_keeps_order_and_size) {
    uint32_t next[2] = {0, 0}, expected[2] = {0, 0};
    uint64_t seed = 1442695040888963407ULL;
    ends[0]->first = ends[1]->first = UINT32_MAX - 5; // the counters wrap
    for (unsigned round = 0; round < 20000; round++) {
        unsigned end = host_random(&seed) % 2;
        uint32_t value, size;
        if (host_random(&seed) % 2) {
            size = next[end] % (ABI_MESSAGE_MAX - 3) + 4;
            bool is_full = next[end] - expected[1 - end] == ABI_CHANNEL_DEPTH;
            cr_assert_eq(send(end, next[end], size), is_full ? ABI_ERROR_AGAIN : ABI_OK);
            next[end] += !is_full;
        } else {
            bool is_empty = next[1 - end] == expected[end];
            cr_assert_eq(receive(end, &value, &size), is_empty ? ABI_ERROR_AGAIN : ABI_OK);
            if (is_empty)
                continue;
            cr_assert_eq(value, expected[end]);
            cr_assert_eq(size, value % (ABI_MESSAGE_MAX - 3) + 4);
            expected[end]++;
        }
    }
}

Test(kernel_channel, close_leaves_what_was_sent) {
    uint32_t value, size;
    cr_assert_eq(send(0, 5, 4), ABI_OK);
    object_unref(&ends[0]->object);
    cr_expect_eq(send(1, 6, 4), ABI_ERROR_CLOSED);
    cr_assert_eq(receive(1, &value, &size), ABI_OK);
    cr_expect_eq(value, 5);
    cr_expect_eq(receive(1, &value, &size), ABI_ERROR_CLOSED);
}

Test(kernel_channel, arrival_and_close_are_signalled) {
    channel_bind(ends[1], event, 0x4);
    cr_expect_eq(poll_bits(), 0);
    send(0, 1, 4);
    cr_expect_eq(poll_bits(), 0x4);
    send(1, 1, 4);
    cr_expect_eq(poll_bits(), 0, "what goes out is no arrival");
    object_unref(&ends[0]->object);
    cr_expect_eq(poll_bits(), 0x4);
}

Test(kernel_channel, late_binding_is_told_what_it_missed) {
    send(0, 1, 4);
    channel_bind(ends[1], event, 0x4);
    cr_expect_eq(poll_bits(), 0x4);
    channel_bind(ends[0], event, 0x8);
    cr_expect_eq(poll_bits(), 0);
    object_unref(&ends[1]->object);
    cr_expect_eq(poll_bits(), 0x8);
    channel_bind(ends[0], event, 0x10);
    cr_expect_eq(poll_bits(), 0x10, "closed before");
}

Test(kernel_channel, rebinding_lets_the_old_event_go) {
    struct event *other = event_create(quota_root());
    channel_bind(ends[0], event, 1);
    channel_bind(ends[0], other, 1);
    cr_expect_eq(event->object.ref_count, 1);
    cr_expect_eq(other->object.ref_count, 2);
    channel_bind(ends[0], NULL, 0);
    cr_expect_eq(other->object.ref_count, 1);
    send(1, 1, 4);
    channel_bind(ends[0], event, 1);
    object_unref(&ends[0]->object);
    cr_expect_eq(event->object.ref_count, 1);
}

Test(kernel_channel, everything_comes_back_in_either_order) {
    for (unsigned first = 0; first < 2; first++) {
        struct quota *q = quota_create(quota_root(), 100 * PAGE_SIZE);
        struct channel *pair[2];
        cr_assert(channel_create(q, pair));
        channel_bind(pair[0], event, 1);
        channel_bind(pair[1], event, 2);
        object_unref(&pair[first]->object);
        object_unref(&pair[1 - first]->object);
        cr_expect_eq(quota_read(q).used, 0);
        cr_expect_eq(q->object.ref_count, 1);
        cr_expect_eq(event->object.ref_count, 1);
    }
}

Test(kernel_channel, creation_may_fail_at_any_page) {
    for (uint64_t pages = 0; pages < 9; pages++) {
        struct quota *q = quota_create(quota_root(), pages * PAGE_SIZE);
        struct channel *pair[2];
        bool is_made = channel_create(q, pair);
        cr_expect_eq(is_made, pages >= 7, "%lu pages", pages);
        if (!is_made)
            cr_expect(quota_read(q).used == 0 && q->object.ref_count == 1);
    }
}
