// SPDX-License-Identifier: Apache-2.0
// The machine's console, as it is handed on: boot/ finds it, the kernel prints on it until the
// console's driver (drivers/console/) takes it, which the supervisor starts, and when that ends.
//
// The driver and the supervisor share memory, struct console_rings: text to be printed, and what
// was typed. The kernel knows it: in a panic it prints what the driver has not.
#pragma once

#include <stdint.h>

enum console_pixel_format { BOOT_PIXEL_NONE = 0, BOOT_PIXEL_RGBX = 1, BOOT_PIXEL_BGRX = 2 };

// 32 bits a pixel; BOOT_PIXEL_NONE where the machine has no framebuffer.
struct boot_framebuffer {
    uint64_t base;
    uint32_t width;  // pixels
    uint32_t height; // lines
    uint32_t stride; // pixels a line
    uint32_t format; // enum console_pixel_format
};

// A 16550.
struct boot_uart {
    uint64_t base;     // port or physical address of its first register; 0: there is none
    uint8_t is_memory; // it is an address
    uint8_t stride;    // bytes from one register to the next
    uint8_t width;     // bytes of an access: 1, or 4
    uint32_t divisor;  // of its clock; 0: as the firmware left it
};

#define CONSOLE_OUT_SIZE 16384u // powers of two
#define CONSOLE_IN_SIZE  1024u

// Indices count bytes, modulo 2^32; byte n stands at n modulo the size. In batch mode out_tail
// stands at the beginning of a line: whoever goes on from there prints whole lines.
struct console_rings {
    uint64_t spent;       // by the driver: TSC ticks that it worked for what it printed of `out`
    uint32_t out_head;    // written by the supervisor
    uint32_t out_tail;    // by the driver
    uint32_t in_head;     // by the driver
    uint32_t in_tail;     // by the supervisor
    uint32_t room_wanted; // by the supervisor: the driver clears it, and signals, when there are
                          // fewer bytes than this in `out`; 0: nothing is wanted
    uint8_t in[CONSOLE_IN_SIZE];
    uint8_t reserved[4096 - CONSOLE_IN_SIZE - 28];
    uint8_t out[CONSOLE_OUT_SIZE];
};
_Static_assert(sizeof(struct console_rings) == 4096 + CONSOLE_OUT_SIZE, "a page, then `out`");
