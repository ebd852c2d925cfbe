// SPDX-License-Identifier: Apache-2.0
// CRC-32 of IEEE 802.3, as zlib's crc32() and the manifest's `crc32` property have it: polynomial
// 0x04c11db7, reflected, initial value and final XOR 0xffffffff.
#pragma once

#include <stddef.h>
#include <stdint.h>

// The CRC of `size` bytes at `data` that follow bytes whose CRC is `crc`; start with 0. So
// crc32_update(crc32_update(0, a, n), b, m) is the CRC of a followed by b. About three instructions
// a byte. `data` needs no alignment and may be NULL when `size` is 0.
uint32_t crc32_update(uint32_t crc, const void *data, size_t size);
