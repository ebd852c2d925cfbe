// SPDX-License-Identifier: Apache-2.0
// Every port is read and written in all widths, but for the few writes that end the VM or its
// output. The guest goes on, and where no device is, ports read as all ones.
#include "runtime/cpu.h"
#include "runtime/tiny.h"

struct ports {
    uint16_t first, last;
};

// What a device answers (docs/devices.md).
static const struct ports devices[] = {
    {0x20, 0x21}, {0x40, 0x43},   {0x60, 0x61},   {0x64, 0x64},   {0x70, 0x71},   {0x92, 0x92},
    {0xa0, 0xa1}, {0x3f8, 0x3ff}, {0x4d0, 0x4d1}, {0x600, 0x60b}, {0xcf8, 0xcff},
};

// Writes that end the VM: the i8042's and the fast reset, debug exit, S5, the reset control; and
// the serial port, which would print them.
static const struct ports dangerous[] = {
    {0x60, 0x64}, {0x92, 0x92}, {0xf4, 0xf7}, {0x3f8, 0x3ff}, {0x604, 0x605}, {0xcf9, 0xcf9},
};

static bool touches(const struct ports *list, size_t count, uint32_t port, uint32_t size) {
    for (size_t i = 0; i < count; i++)
        if (port <= list[i].last && port + size > list[i].first)
            return true;
    return false;
}

static uint32_t wrong;

static void read_port(uint16_t port) {
    uint32_t values[] = {in8(port), in16(port), in32(port)};
    for (uint32_t i = 0, size = 1; size <= 4; i++, size *= 2) {
        uint32_t ones = UINT32_MAX >> (32 - 8 * size);
        if (touches(devices, ARRAY_COUNT(devices), port, size) || values[i] == ones)
            continue;
        if (wrong++ < 10)
            print("port 0x%x, %u bytes: 0x%x\n", port, size, values[i]);
    }
}

static void write_port(uint16_t port, uint32_t value) {
    if (!touches(dangerous, ARRAY_COUNT(dangerous), port, 1))
        out8(port, (uint8_t)value);
    if (!touches(dangerous, ARRAY_COUNT(dangerous), port, 2))
        out16(port, (uint16_t)value);
    if (!touches(dangerous, ARRAY_COUNT(dangerous), port, 4))
        out32(port, value);
}

void test(void) {
    for (uint32_t port = 0; port <= UINT16_MAX; port++)
        read_port((uint16_t)port);
    CHECK_EQ(wrong, 0);
    for (uint32_t port = 0; port <= UINT16_MAX; port++) {
        write_port((uint16_t)port, 0);
        write_port((uint16_t)port, UINT32_MAX);
    }
    for (uint32_t port = 0; port <= UINT16_MAX; port++)
        (void)in8((uint16_t)port);
    CHECK(true);
}
