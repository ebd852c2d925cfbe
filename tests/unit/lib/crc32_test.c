// SPDX-License-Identifier: Apache-2.0
// lib/crc32: known values, and the plain bit-by-bit definition as the oracle.
#include "lib/crc32.h"

#include <criterion/criterion.h>
#include <stdlib.h>

// One bit at a time, as IEEE 802.3 defines it.
static uint32_t reference(uint32_t crc, const uint8_t *data, size_t size) {
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void fill(uint8_t *data, size_t size) {
    uint32_t state = 12345;
    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (uint8_t)(state >> 24);
    }
}

Test(crc32, knows_the_check_value) {
    cr_assert_eq(crc32_update(0, "123456789", 9), 0xcbf43926u);
    cr_assert_eq(crc32_update(0, "", 0), 0u);
    cr_assert_eq(crc32_update(0, NULL, 0), 0u);
    cr_assert_eq(crc32_update(0x1234u, NULL, 0), 0x1234u);
}

Test(crc32, every_length_and_alignment_is_as_defined) {
    uint8_t data[96];
    fill(data, sizeof(data));
    for (size_t start = 0; start < 8; start++) {
        for (size_t size = 0; start + size <= sizeof(data); size++)
            cr_assert_eq(crc32_update(0, data + start, size), reference(0, data + start, size));
    }
}

Test(crc32, pieces_add_up) {
    uint8_t data[5000];
    fill(data, sizeof(data));
    uint32_t whole = crc32_update(0, data, sizeof(data));
    for (size_t cut = 0; cut <= sizeof(data); cut += 7) {
        uint32_t crc = crc32_update(0, data, cut);
        cr_assert_eq(crc32_update(crc, data + cut, sizeof(data) - cut), whole);
    }
}
