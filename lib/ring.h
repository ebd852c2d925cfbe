// SPDX-License-Identifier: Apache-2.0
// A ring of bytes in shared memory between one writer and one reader that do not trust each other.
//
//   ring_writer_open, ring_write    the side that puts bytes in
//   ring_reader_open, ring_read     the side that takes them out
//   ring_writer_room, ring_reader_count
//
// Head counts the bytes ever put in and tail the bytes ever taken out, both modulo 2^32; the byte
// number n stands at data[n % size], and `size` is a power of two. Each side keeps its own index in
// private memory and only publishes it, and limits what it computes from the other's to the size: a
// hostile other side garbles or withholds bytes and does nothing else.
//
// Waking the other side is the caller's (an event after a write, and after a read that made room).
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ring_writer {
    uint8_t *data;
    uint32_t size;
    uint32_t *head;       // shared, ours to publish
    const uint32_t *tail; // shared, the reader's
    uint32_t position;    // what *head ought to be
};

struct ring_reader {
    const uint8_t *data;
    uint32_t size;
    const uint32_t *head; // shared, the writer's
    uint32_t *tail;       // shared, ours to publish
    uint32_t position;    // what *tail ought to be
};

// Both indices are expected to be 0 when the first side opens: a new ring is zeroed memory.
void ring_writer_open(struct ring_writer *ring, uint8_t *data, uint32_t size, uint32_t *head,
                      const uint32_t *tail);
void ring_reader_open(struct ring_reader *ring, const uint8_t *data, uint32_t size,
                      const uint32_t *head, uint32_t *tail);

// Bytes that can be written, or read, right now: 0..size.
uint32_t ring_writer_room(const struct ring_writer *ring);
uint32_t ring_reader_count(const struct ring_reader *ring);

// Puts in, or takes out, up to `count` bytes. Returns how many.
uint32_t ring_write(struct ring_writer *ring, const uint8_t *bytes, uint32_t count);
uint32_t ring_read(struct ring_reader *ring, uint8_t *bytes, uint32_t count);
