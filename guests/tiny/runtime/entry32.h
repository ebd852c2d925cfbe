// SPDX-License-Identifier: Apache-2.0
// Guests that are started in 32-bit mode: those whose name begins with `entry-` are linked with
// entry_32 as their entry, which switches to long mode and starts the runtime with an empty zero
// page.
#pragma once

#include "lib/types.h"

// What the processor's state was at the first instruction.
struct entry_state {
    uint32_t eax, ebx, cr0, cr3, cr4, eflags, efer;
    uint16_t cs, ds;
    uint32_t cs_limit, ds_limit;
};
extern volatile struct entry_state entry_state;
extern uint8_t entry_zero_page[];

// 32-bit protected mode without paging, flat segments, interrupts off; EAX is `magic`.
void entry_check_state(uint32_t magic);
// From now on the command line is the one at this address.
void entry_set_cmdline(uint64_t address);
// The module lies behind the image on a page of its own, and is the sequence that
// guests/tiny/initrd.c tells.
void entry_check_module(uint64_t base, uint64_t size);
// One entry of the memory map; entry_check_map at its end.
void entry_see_map(uint64_t base, uint64_t size, uint32_t type);
void entry_check_map(uint64_t memory_size);
