// SPDX-License-Identifier: Apache-2.0
// PCI by configuration mechanism #1: the host bridge is there, and where no function is there are
// all ones.
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define ADDRESS     0xcf8
#define DATA        0xcfc
#define ENABLE      BIT(31)
#define HOST_BRIDGE 0x12378086u
#define CLASS_HOST  0x0600u
#define NONE        UINT32_MAX

static uint32_t config_read(uint32_t bus, uint32_t device, uint32_t function, uint32_t offset) {
    out32(ADDRESS, (uint32_t)ENABLE | bus << 16 | device << 11 | function << 8 | offset);
    return in32(DATA);
}

void test(void) {
    uint32_t found = 0;
    CHECK_EQ(config_read(0, 0, 0, 0), HOST_BRIDGE);
    CHECK_EQ(in32(ADDRESS), ENABLE);
    CHECK_EQ(in16(DATA), 0x8086);
    CHECK_EQ(in8(DATA + 3), 0x12);
    CHECK_EQ(config_read(0, 0, 0, 8) >> 16, CLASS_HOST);
    out32(DATA, 0); // read-only
    CHECK_EQ(config_read(0, 0, 0, 0), HOST_BRIDGE);
    for (uint32_t device = 0; device < 32; device++)
        for (uint32_t function = 0; function < 8; function++)
            found += config_read(0, device, function, 0) != NONE;
    CHECK(found >= 1);
    CHECK_EQ(config_read(1, 0, 0, 0), NONE);
    CHECK_EQ(config_read(255, 31, 7, 0xfc), NONE);
    out32(ADDRESS, 0); // configuration space is off
    CHECK_EQ(in32(DATA), NONE);
}
