// SPDX-License-Identifier: Apache-2.0
// Random port I/O: any port, more often one that has a device, in all widths, single and as strings
// with and without REP, from and to memory, devices and nothing. What ends the VM at once is left
// out, unless the word `ends` is there: then it ends as one of those does.
#include "runtime/apic.h"
#include "runtime/attack.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define NOWHERE   0xd0000000ULL
#define REPEAT    700u
#define COM1      0x3f8
#define COM1_IER  0x3f9
#define COM1_FCR  0x3fa
#define COM1_LCR  0x3fb
#define COM1_MCR  0x3fc
#define LCR_8N1   0x03
#define FCR_RESET 0x07
#define MCR_READY 0x0b

struct ports {
    uint16_t first, last;
};

// The i8042's and the fast reset, debug exit, S5, the reset control.
static const struct ports endings[] = {
    {0x60, 0x64}, {0x92, 0x92}, {0xf4, 0xf7}, {0x604, 0x605}, {0xcf9, 0xcf9},
};
static const struct ports serial = {0x3f8, 0x3ff}; // what is sent would be printed

static const uint16_t devices[] = {0x20,  0x21,  0x40,  0x41,  0x42,  0x43,   0x60,   0x61,  0x64,
                                   0x70,  0x71,  0x80,  0x92,  0xa0,  0xa1,   0xf4,   0x3f8, 0x3fb,
                                   0x3fd, 0x4d0, 0x4d1, 0x600, 0x602, 0x604,  0x608,  0xcf8, 0xcf9,
                                   0xcfc, 0xcfd, 0xcff, 0x0,   0x7,   0xffff, 0xfffd, 0xb2,  0x510};

static uint8_t buffer[2 * REPEAT * 4];
static bool may_end;

static bool touches(struct ports ports, uint32_t port, uint32_t size) {
    return port <= ports.last && port + size > ports.first;
}

static bool is_left_out(uint32_t port, uint32_t size) {
    if (touches(serial, port, size))
        return true;
    for (size_t i = 0; i < ARRAY_COUNT(endings); i++)
        if (touches(endings[i], port, size))
            return !may_end;
    return false;
}

static void plain(uint16_t port, uint32_t size, bool is_in) {
    uint32_t value = (uint32_t)random_value();
    if (is_in && size == 1)
        (void)in8(port);
    else if (is_in && size == 2)
        (void)in16(port);
    else if (is_in)
        (void)in32(port);
    else if (size == 1)
        out8(port, (uint8_t)value);
    else if (size == 2)
        out16(port, (uint16_t)value);
    else
        out32(port, value);
}

static uint64_t place(void) {
    switch (random_below(8)) {
    case 0:
        return NOWHERE + random_below(8192);
    case 1:
        return IOAPIC_BASE + random_below(8192);
    case 2:
        return 0x100000000ULL + random_below(8192); // not mapped
    default:
        return (uintptr_t)buffer + sizeof(buffer) / 2;
    }
}

#define STRING(code)                                                                               \
    __asm__ volatile(TRY(code)                                                                     \
                     : "+D"(address), "+S"(source), "+c"(count)                                    \
                     : "d"(port)                                                                   \
                     : TRY_CLOBBERS)

static void string(uint16_t port, uint32_t size, bool is_in) {
    uint64_t address = place(), source = address, count = random_below(REPEAT);
    uint32_t kind = random_below(2) * 3 + (size >> 1);
    if (random_one_in(2))
        __asm__ volatile("std");
    switch (is_in ? kind : kind + 6) {
    case 0:
        STRING("insb");
        break;
    case 1:
        STRING("insw");
        break;
    case 2:
        STRING("insl");
        break;
    case 3:
        STRING("rep insb");
        break;
    case 4:
        STRING("rep insw");
        break;
    case 5:
        STRING("rep insl");
        break;
    case 6:
        STRING("outsb");
        break;
    case 7:
        STRING("outsw");
        break;
    case 8:
        STRING("outsl");
        break;
    case 9:
        STRING("rep outsb");
        break;
    case 10:
        STRING("rep outsw");
        break;
    default:
        STRING("rep outsl");
        break;
    }
    __asm__ volatile("cld");
    CHECK(!trap_last.is_taken || trap_last.vector == EXC_PF);
}

static void end_well(void) {
    out8(COM1_LCR, LCR_8N1);
    out8(COM1_IER, 0);
    out8(COM1_FCR, FCR_RESET);
    out8(COM1_MCR, MCR_READY);
}

void test(void) {
    hostile_init(1500);
    may_end = cmdline_has("ends");
    for (uint64_t round = 0; round < hostile_rounds; round++) {
        uint16_t port = (uint16_t)random64();
        uint32_t size = 1u << random_below(3);
        bool is_in = random_one_in(2);
        if (random_one_in(2))
            port = (uint16_t)(devices[random_below(ARRAY_COUNT(devices))] + random_below(3) - 1);
        if (!is_in && is_left_out(port, size))
            continue;
        if (random_one_in(8))
            string(port, size, is_in);
        else
            plain(port, size, is_in);
    }
    end_well();
}
