// SPDX-License-Identifier: Apache-2.0
// lib/ring: bytes arrive in order, and a hostile other side reaches nothing but bytes. ASan watches
// the edges of the data, which therefore has exactly the ring's size.
#include "lib/ring.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define RING_TEST_SIZE 16u

struct ring_test {
    uint32_t head;
    uint32_t tail;
    uint8_t *data;
    struct ring_writer writer;
    struct ring_reader reader;
};

static struct ring_test ring_test_open(void) {
    return (struct ring_test){.data = calloc(RING_TEST_SIZE, 1)};
}

static void ring_test_connect(struct ring_test *t) {
    ring_writer_open(&t->writer, t->data, RING_TEST_SIZE, &t->head, &t->tail);
    ring_reader_open(&t->reader, t->data, RING_TEST_SIZE, &t->head, &t->tail);
}

Test(ring, bytes_arrive_in_order) {
    struct ring_test t = ring_test_open();
    ring_test_connect(&t);
    uint8_t next_in = 0;
    uint8_t next_out = 0;
    for (unsigned int round = 0; round < 1000; round++) {
        uint8_t bytes[RING_TEST_SIZE];
        uint32_t count = round % 7;
        for (uint32_t i = 0; i < count; i++) {
            bytes[i] = (uint8_t)(next_in + i);
        }
        next_in = (uint8_t)(next_in + ring_write(&t.writer, bytes, count));
        count = ring_read(&t.reader, bytes, round % 5);
        for (uint32_t i = 0; i < count; i++) {
            cr_assert_eq(bytes[i], next_out++);
        }
    }
    free(t.data);
}

Test(ring, full_ring_takes_no_more) {
    struct ring_test t = ring_test_open();
    ring_test_connect(&t);
    uint8_t bytes[RING_TEST_SIZE + 4] = "0123456789abcdefXYZ";
    cr_assert_eq(ring_writer_room(&t.writer), RING_TEST_SIZE);
    cr_assert_eq(ring_write(&t.writer, bytes, sizeof(bytes)), RING_TEST_SIZE);
    cr_assert_eq(ring_write(&t.writer, bytes, 1), 0);
    cr_assert_eq(ring_reader_count(&t.reader), RING_TEST_SIZE);
    uint8_t out[RING_TEST_SIZE + 4];
    cr_assert_eq(ring_read(&t.reader, out, sizeof(out)), RING_TEST_SIZE);
    cr_assert_arr_eq(out, bytes, RING_TEST_SIZE);
    cr_assert_eq(ring_read(&t.reader, out, 1), 0);
    free(t.data);
}

Test(ring, indices_wrap_at_32_bits) {
    struct ring_test t = ring_test_open();
    ring_test_connect(&t);
    t.head = t.tail = t.writer.position = t.reader.position = UINT32_MAX - 2;
    uint8_t out[8] = {0};
    cr_assert_eq(ring_write(&t.writer, (const uint8_t *)"wrapped", 8), 8);
    cr_assert_eq(ring_read(&t.reader, out, sizeof(out)), 8);
    cr_assert_str_eq((char *)out, "wrapped");
    cr_assert_eq(t.head, 5);
    free(t.data);
}

Test(ring, hostile_head_stays_in_bounds) {
    struct ring_test t = ring_test_open();
    ring_test_connect(&t);
    uint8_t out[64];
    srand(1);
    for (unsigned int round = 0; round < 10000; round++) {
        t.head = (uint32_t)rand() * 2u + (uint32_t)rand() % 2u;
        t.tail = (uint32_t)rand(); // ours: what it says there does not count
        cr_assert_leq(ring_reader_count(&t.reader), RING_TEST_SIZE);
        uint32_t count = ring_read(&t.reader, out, sizeof(out));
        cr_assert_leq(count, RING_TEST_SIZE);
        cr_assert_eq(t.reader.position, t.head, "one read of a ring's size catches up");
        cr_assert_eq(t.tail, t.reader.position);
    }
    free(t.data);
}

Test(ring, hostile_tail_stays_in_bounds) {
    struct ring_test t = ring_test_open();
    ring_test_connect(&t);
    uint8_t bytes[64];
    memset(bytes, 0xaa, sizeof(bytes));
    srand(2);
    for (unsigned int round = 0; round < 10000; round++) {
        t.tail = (uint32_t)rand() * 2u + (uint32_t)rand() % 2u;
        t.head = (uint32_t)rand();
        cr_assert_leq(ring_writer_room(&t.writer), RING_TEST_SIZE);
        uint32_t count = ring_write(&t.writer, bytes, sizeof(bytes));
        cr_assert_leq(count, RING_TEST_SIZE);
        cr_assert_eq(t.head, t.writer.position);
    }
    free(t.data);
}

Test(ring, impossible_head_is_read_to_its_end) {
    struct ring_test t = ring_test_open();
    ring_test_connect(&t);
    uint8_t out[4];
    t.head = 0x80000000u;
    uint32_t total = 0;
    uint32_t count;
    while ((count = ring_read(&t.reader, out, sizeof(out))) > 0) {
        total += count;
        cr_assert_leq(total, RING_TEST_SIZE);
    }
    cr_assert_eq(ring_reader_count(&t.reader), 0);
    free(t.data);
}

// A reader that claims to have taken more than was ever put in is one whose ring is full.
Test(ring, impossible_tail_counts_as_full) {
    struct ring_test t = ring_test_open();
    ring_test_connect(&t);
    t.tail = 5;
    cr_assert_eq(ring_writer_room(&t.writer), 0);
    t.tail = 0;
    cr_assert_eq(ring_writer_room(&t.writer), RING_TEST_SIZE, "and works again once it is mended");
    free(t.data);
}
