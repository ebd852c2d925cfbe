// SPDX-License-Identifier: Apache-2.0
// The ring: bytes first, index after (release), against index first, bytes after (acquire). The
// other side's index is loaded once a call, so that it cannot change between check and use.
#include "lib/ring.h"

#include "lib/string.h"

void ring_writer_open(struct ring_writer *ring, uint8_t *data, uint32_t size, uint32_t *head,
                      const uint32_t *tail) {
    *ring = (struct ring_writer){.data = data, .size = size, .head = head, .tail = tail};
}

void ring_reader_open(struct ring_reader *ring, const uint8_t *data, uint32_t size,
                      const uint32_t *head, uint32_t *tail) {
    *ring = (struct ring_reader){.data = data, .size = size, .head = head, .tail = tail};
}

// A distance that no honest side can produce counts as a full ring: the writer then waits, and the
// reader reads what stands there, though nonsense.
static uint32_t distance(uint32_t head, uint32_t tail, uint32_t size) {
    uint32_t count = head - tail;
    return count <= size ? count : size;
}

uint32_t ring_writer_room(const struct ring_writer *ring) {
    uint32_t tail = __atomic_load_n(ring->tail, __ATOMIC_ACQUIRE);
    return ring->size - distance(ring->position, tail, ring->size);
}

uint32_t ring_reader_count(const struct ring_reader *ring) {
    uint32_t head = __atomic_load_n(ring->head, __ATOMIC_ACQUIRE);
    return distance(head, ring->position, ring->size);
}

uint32_t ring_write(struct ring_writer *ring, const uint8_t *bytes, uint32_t count) {
    uint32_t room = ring_writer_room(ring);
    if (count > room) {
        count = room;
    }
    uint32_t at = ring->position % ring->size;
    uint32_t first = count < ring->size - at ? count : ring->size - at;
    memcpy(ring->data + at, bytes, first);
    memcpy(ring->data, bytes + first, count - first);
    ring->position += count;
    __atomic_store_n(ring->head, ring->position, __ATOMIC_RELEASE);
    return count;
}

// After an impossible head the reader goes on one ring before it, and so comes to an end: it would
// otherwise count up to it, through as much as 4 GiB of nonsense.
uint32_t ring_read(struct ring_reader *ring, uint8_t *bytes, uint32_t count) {
    uint32_t head = __atomic_load_n(ring->head, __ATOMIC_ACQUIRE);
    uint32_t available = distance(head, ring->position, ring->size);
    uint32_t position = head - available;
    if (count > available) {
        count = available;
    }
    uint32_t at = position % ring->size;
    uint32_t first = count < ring->size - at ? count : ring->size - at;
    memcpy(bytes, ring->data + at, first);
    memcpy(bytes + first, ring->data, count - first);
    ring->position = position + count;
    __atomic_store_n(ring->tail, ring->position, __ATOMIC_RELEASE);
    return count;
}
