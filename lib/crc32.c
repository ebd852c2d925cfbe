// SPDX-License-Identifier: Apache-2.0
// CRC-32, eight bytes a step ("slicing by 8", Kounavis and Berry, ISCC 2005).
//
// table[k][b] is what byte b contributes when k more bytes follow it in the same step. CRC is
// linear over XOR, so each row follows from the contributions of its eight single bits; the
// compiler expands those 64 constants into the 8 KiB table, and nothing is computed at run time.
#include "lib/crc32.h"

#define CRC32_BIT(i, bit, value) ((((i) >> (bit)) & 1u) * (value))

#define CRC32_1(i, b0, b1, b2, b3, b4, b5, b6, b7)                                                 \
    CRC32_BIT(i, 0, b0) ^ CRC32_BIT(i, 1, b1) ^ CRC32_BIT(i, 2, b2) ^ CRC32_BIT(i, 3, b3) ^        \
        CRC32_BIT(i, 4, b4) ^ CRC32_BIT(i, 5, b5) ^ CRC32_BIT(i, 6, b6) ^ CRC32_BIT(i, 7, b7)
#define CRC32_4(i, ...)                                                                            \
    CRC32_1(i, __VA_ARGS__), CRC32_1((i) + 1u, __VA_ARGS__), CRC32_1((i) + 2u, __VA_ARGS__),       \
        CRC32_1((i) + 3u, __VA_ARGS__)
#define CRC32_16(i, ...)                                                                           \
    CRC32_4(i, __VA_ARGS__), CRC32_4((i) + 4u, __VA_ARGS__), CRC32_4((i) + 8u, __VA_ARGS__),       \
        CRC32_4((i) + 12u, __VA_ARGS__)
#define CRC32_64(i, ...)                                                                           \
    CRC32_16(i, __VA_ARGS__), CRC32_16((i) + 16u, __VA_ARGS__), CRC32_16((i) + 32u, __VA_ARGS__),  \
        CRC32_16((i) + 48u, __VA_ARGS__)
#define CRC32_ROW(...)                                                                             \
    {                                                                                              \
        CRC32_64(0u, __VA_ARGS__), CRC32_64(64u, __VA_ARGS__), CRC32_64(128u, __VA_ARGS__),        \
            CRC32_64(192u, __VA_ARGS__)                                                            \
    }

// clang-format off
static const uint32_t crc32_table[8][256] = {
    CRC32_ROW(0x77073096u, 0xee0e612cu, 0x076dc419u, 0x0edb8832u, 0x1db71064u, 0x3b6e20c8u, 0x76dc4190u, 0xedb88320u),
    CRC32_ROW(0x191b3141u, 0x32366282u, 0x646cc504u, 0xc8d98a08u, 0x4ac21251u, 0x958424a2u, 0xf0794f05u, 0x3b83984bu),
    CRC32_ROW(0x01c26a37u, 0x0384d46eu, 0x0709a8dcu, 0x0e1351b8u, 0x1c26a370u, 0x384d46e0u, 0x709a8dc0u, 0xe1351b80u),
    CRC32_ROW(0xb8bc6765u, 0xaa09c88bu, 0x8f629757u, 0xc5b428efu, 0x5019579fu, 0xa032af3eu, 0x9b14583du, 0xed59b63bu),
    CRC32_ROW(0x3d6029b0u, 0x7ac05360u, 0xf580a6c0u, 0x30704bc1u, 0x60e09782u, 0xc1c12f04u, 0x58f35849u, 0xb1e6b092u),
    CRC32_ROW(0xcb5cd3a5u, 0x4dc8a10bu, 0x9b914216u, 0xec53826du, 0x03d6029bu, 0x07ac0536u, 0x0f580a6cu, 0x1eb014d8u),
    CRC32_ROW(0xa6770bb4u, 0x979f1129u, 0xf44f2413u, 0x33ef4e67u, 0x67de9cceu, 0xcfbd399cu, 0x440b7579u, 0x8816eaf2u),
    CRC32_ROW(0xccaa009eu, 0x4225077du, 0x844a0efau, 0xd3e51bb5u, 0x7cbb312bu, 0xf9766256u, 0x299dc2edu, 0x533b85dau),
};
// clang-format on

// An unaligned little-endian load that is free of alignment and aliasing trouble.
static uint32_t load32(const uint8_t *p) {
    uint32_t value;
    __builtin_memcpy(&value, p, sizeof(value));
    return value;
}

uint32_t crc32_update(uint32_t crc, const void *data, size_t size) {
    const uint8_t *p = data;
    crc = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        crc ^= load32(p);
        // Bytes that the CRC is not mixed into come straight from memory: fewer instructions.
        crc = crc32_table[7][crc & 0xff] ^ crc32_table[6][crc >> 8 & 0xff] ^
              crc32_table[5][crc >> 16 & 0xff] ^ crc32_table[4][crc >> 24] ^ crc32_table[3][p[4]] ^
              crc32_table[2][p[5]] ^ crc32_table[1][p[6]] ^ crc32_table[0][p[7]];
    }
    for (; size > 0; size--, p++)
        crc = crc >> 8 ^ crc32_table[0][(crc ^ *p) & 0xff];
    return ~crc;
}
